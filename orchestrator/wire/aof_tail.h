/* aof_tail.h: finds where Redis' append-only file ends well, and cuts an unfinished last command off, after copying the file.
 *
 * Knows the multi-part layout of Redis 7 (appendonlydir/, a manifest, the last incr file) and the protocol's framing, nothing of the
 * commands' meaning but MULTI and EXEC: a transaction without its EXEC is one unfinished command. Damage anywhere else is told and
 * never touched. Reads the whole file; for start-up only. */
#ifndef TOCSIN_WIRE_AOF_TAIL_H
#define TOCSIN_WIRE_AOF_TAIL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

enum { AOF_PATH = 4096 };

struct aof_tail {
  char path[AOF_PATH]; /* the last incr file */
  int64_t size;
  int64_t good;    /* everything before this offset is whole */
  bool torn;       /* what follows `good` is the beginning of one command, and the file ends in it */
  int64_t damaged; /* offset of a byte that no such file can bear there, or -1 */
};

/* folder: where appendonlydir lies. ERR_NOT_FOUND without a manifest (a fresh folder). */
int aof_tail_find(const char *folder, struct aof_tail *ret, struct err *err);
/* Copies the file to "<path>.torn-<time>" (0600, synced), then cuts it at tail->good and syncs. Only for a torn tail. */
int aof_tail_cut(const struct aof_tail *tail, struct err *err);

#endif
