/* Whether a file or folder that decides what the engine runs can be changed by somebody who is not meant to.
 *
 * Promises: 0 only when its owner is root or we ourselves, and not everybody may write to it; otherwise what is wrong and what to type.
 * Never follows up: it looks once, at start and at reload. */
#ifndef TOCSIN_BASE_TRUST_H
#define TOCSIN_BASE_TRUST_H

#include "base/err.h"

int trust_path(const char *path, const char *what, struct err *err);

#endif
