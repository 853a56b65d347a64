/* acl.h: the two Redis users that Tocsin knows, as ACL text: a SIEM that may only add to the queue, and the engine.
 *
 * The texts bear no password: `tocsin doctor` and the README show them, an administrator puts `>password` (or `#sha256`) where
 * "<password>" stands. Never sends anything. */
#ifndef TOCSIN_WIRE_ACL_H
#define TOCSIN_WIRE_ACL_H

#include "base/buf.h"

/* One "ACL SETUSER …" line each, without a newline. name is checked: letters, digits, '-' and '_' (else nothing is added). */
void acl_siem(const char *name, struct buf *out);
void acl_engine(const char *name, struct buf *out);

#endif
