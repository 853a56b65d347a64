/* settings.h: the sample settings file. */
#ifndef TOCSIN_CMD_SETTINGS_H
#define TOCSIN_CMD_SETTINGS_H

#include "base/buf.h"

/* A whole tocsin.lua with every setting explained and commented out. Pure. */
void settings_sample(struct buf *out);

#endif
