/* log_help.h: what the tests of the evidence log share: folders, entries, an independent root, heads of journals. */
#ifndef TOCSIN_TESTS_LOG_HELP_H
#define TOCSIN_TESTS_LOG_HELP_H

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "evidence/leaf.h"
#include "evidence/tlog.h"

/* In memory where possible: thousands of fsyncs would take minutes on a disk. */
static inline void folder_make(char out[64]) {
  snprintf(out, 64, "%s/tocsin-log-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
  assert_non_null(mkdtemp(out));
}

static inline int folder_unlink(const char *path, const struct stat *st, int type, struct FTW *ftw) { return remove(path); }

static inline void folder_remove(const char *path) { nftw(path, folder_unlink, 16, FTW_DEPTH | FTW_PHYS); }

static inline struct note_signer test_signer(const char *name) {
  struct note_signer s = {0};
  assert_int_equal(note_signer_make(name, &s, NULL), 0);
  return s;
}

/* The root of the leaves by the definition, with nothing of the log's. */
static inline void plain_root(const struct hash *leaves, uint64_t n, struct hash *out) {
  if (n == 0) merkle_empty(out);
  else if (n == 1) *out = leaves[0];
  else {
    struct hash left, right;
    uint64_t k = 1;
    while (k * 2 < n) k *= 2;
    plain_root(leaves, k, &left);
    plain_root(leaves + k, n - k, &right);
    merkle_node(&left, &right, out);
  }
}

static inline void file_put_bytes(const char *path, const void *bytes, size_t len) {
  FILE *f = fopen(path, "wb");
  assert_non_null(f);
  assert_int_equal(fwrite(bytes, 1, len, f), len);
  assert_int_equal(fclose(f), 0);
}

/* Copies every file below one folder into another. */
static char copy_from[256], copy_to[256];
static inline int copy_one(const char *path, const struct stat *st, int type, struct FTW *ftw) {
  char target[1024];
  snprintf(target, sizeof target, "%s%s", copy_to, path + strlen(copy_from));
  if (type == FTW_D) return mkdir(target, 0700) != 0 && access(target, F_OK) != 0;
  struct buf bytes;
  char piece[65536];
  size_t n;
  FILE *f = fopen(path, "rb");
  if (!f) return -1;
  buf_init(&bytes, 64 << 20);
  while ((n = fread(piece, 1, sizeof piece, f)) > 0) buf_add(&bytes, piece, n);
  fclose(f);
  file_put_bytes(target, bytes.data, bytes.len);
  buf_release(&bytes);
  return 0;
}

static inline void folder_copy(const char *from, const char *to) {
  snprintf(copy_from, sizeof copy_from, "%s", from);
  snprintf(copy_to, sizeof copy_to, "%s", to);
  assert_int_equal(nftw(from, copy_one, 16, FTW_PHYS), 0);
}

/* ---- heads of journals with their bodies */

/* Entry seq of journal n: a head as journals have it. The chain is made anew each time, from the first on. */
struct made {
  char head[512], body[64], leaf[DIGEST_HEX], journal[32];
  size_t head_len, body_len;
};

enum { JOURNALS = 7 };
static struct made *made; /* entry i is number i / JOURNALS + 1 of journal i % JOURNALS */

static inline void all_make(unsigned count) {
  made = calloc(count, sizeof *made);
  for (unsigned i = 0; i < count; i++) {
    struct made *m = &made[i];
    char digest[DIGEST_HEX];
    snprintf(m->journal, sizeof m->journal, "INC-%06u", i % JOURNALS);
    m->body_len = (size_t)snprintf(m->body, sizeof m->body, "%032u body %u%.*s", i, i, (int)(i % 13), ".............");
    envelope_digest(m->body, m->body_len, digest);
    m->head_len = (size_t)snprintf(m->head, sizeof m->head, "{\"body\":\"%s\",\"incident\":\"%s\",\"prev\":\"%s\",\"seq\":%u}", digest,
                                   m->journal, i < JOURNALS ? leaf_none() : made[i - JOURNALS].leaf, i / JOURNALS + 1);
    leaf_hash(m->head, m->head_len, m->leaf);
  }
}

#endif
