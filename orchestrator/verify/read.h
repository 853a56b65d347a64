/* read.h: what tocsin-verify reads: files, keys, signed notes, hashes, the heads of journal entries.
 *
 * tocsin-verify checks an evidence log without Tocsin. It needs libc and libcrypto, shares no code with the engine, and is meant to be read
 * by whoever has to rely on it: begin with verify.c. Formats: C2SP tlog-tiles, tlog-checkpoint and signed-note; hashing: RFC 6962 §2.1. */
#ifndef TOCSIN_VERIFY_READ_H
#define TOCSIN_VERIFY_READ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { HASH = 32, WIDTH = 256, LEVELS = 8, NAME = 256, KEPT = 64, FILE_CAP = 32 << 20, BUNDLE_CAP = 2000 << 20 };

struct bytes {
  uint8_t *at; /* free() */
  size_t len;
};

/* Whole file of a folder (NULL: of the current one). False when it is not there or over the cap. */
bool file_load(const char *folder, const char *path, size_t cap, struct bytes *ret);

void hash_leaf(const void *bytes, size_t len, uint8_t out[HASH]);
void hash_node(const uint8_t left[HASH], const uint8_t right[HASH], uint8_t out[HASH]);
void hash_bytes(const void *bytes, size_t len, uint8_t out[HASH]);
void hash_hex(const uint8_t hash[HASH], char out[2 * HASH + 1]);
void hash_text(const void *bytes, size_t len, char out[2 * HASH + 1]); /* both */

/* One spelling only: standard alphabet, padding, unused bits zero. Returns the number of bytes, -1 when it is not base64 or over max. */
long base64_read(const char *text, size_t len, uint8_t *out, size_t max);

struct key {
  char name[NAME];
  uint8_t id[4], public_key[32];
};
bool key_read(const char *text, struct key *ret); /* "name+hash+base64" */

enum note_state { SIGNED, UNSIGNED, WRONG_KEY, CHANGED, OTHER_LOG, NO_NOTE };
struct checkpoint {
  char origin[NAME];
  uint64_t size;
  uint8_t root[HASH];
  bool readable; /* the three members above hold what it says, signed or not */
};
enum note_state checkpoint_open(const void *note, size_t len, const struct key *key, struct checkpoint *ret);

/* What is checked, and against what. */
extern struct question {
  const char *folder;
  struct key key;
  bool plain; /* entries are no heads of journals */
  struct checkpoint checkpoint;
  bool is_signed;
  struct {
    struct checkpoint checkpoint;
    const char *file;
  } kept[KEPT]; /* earlier checkpoints, by whoever checks */
  size_t kept_count;
} v;

struct head {
  char incident[NAME], type[32], prev[2 * HASH + 1], body[2 * HASH + 1]; /* type "": none that matters here */
  uint64_t seq, removes;                                                 /* removes: the entry whose body it says is removed; 0: none */
};
/* A journal entry's head: one line of compact JSON. False when it is none. */
bool head_read(const char *bytes, size_t len, struct head *ret);

struct lines {
  const char *at, *end; /* what is left */
  const char *line;     /* the one at hand, without its newline; NULL: there is none */
  size_t len;
};
struct lines lines_of(const void *text, size_t len);
void line_next(struct lines *l);

bool number_read(const char *text, size_t len, uint64_t *ret); /* decimal, no leading zero */

/* One line of the verdict: what is wrong (changed, missing, reordered, added, gap, stale, unsigned, wrong-key), where, and why. */
void fault_at(const char *kind, const char *place, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* verify.c: judges the note; v.checkpoint and v.is_signed are what it says. NULL: there is none. */
void checkpoint_check(const void *note, size_t len);
/* bundle.c: all of a ZIP; key_text as it was given. Returns how many entries led to the signed root. */
uint64_t bundle_check(const struct bytes *zip, const char *key_text);

#endif
