/* head.h: what the evidence room needs to know of a journal entry's head: whose it is, its number, and the one before it.
 *
 * A head is one flat JSON object on one line, without blanks, its keys lower-case words in ascending order, its values strings and whole numbers (DESIGN §5), digests in lower case. Anything else is
 * refused, also what a JSON parser would take. Fast: a million heads in well under a second. Pure. */
#ifndef TOCSIN_EVIDENCE_HEAD_H
#define TOCSIN_EVIDENCE_HEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/digest.h"

enum { HEAD_INCIDENT = 160 };

/* What an entry says of a file in custody (types "evidence.collected" and "evidence.deleted"). */
enum head_file { HEAD_NO_FILE, HEAD_COLLECTED, HEAD_DELETED };

/* As it stands between its quotes, in the bytes that were scanned. */
struct head_text {
  const char *at; /* NULL: there is none, or it bears an escape */
  size_t len;
};

struct head {
  char incident[HEAD_INCIDENT];
  char prev[DIGEST_HEX];
  char body[DIGEST_HEX];
  uint64_t seq;
  uint64_t
      removes; /* the entry of its journal whose body it says is removed (type "body.removing", which has that entry's number as its step); 0: none */
  enum head_file file;
  struct head_text type, time;
};

bool head_scan(const char *bytes, size_t len, struct head *ret);

#endif
