/* buf.h: a byte buffer that grows up to a cap it was born with.
 *
 * Adding past the cap (or out of memory) does nothing and marks the buffer failed; check once at the
 * end with buf_ok. The bytes are always followed by a NUL that len does not count, so data is a C string
 * when the content bears no NUL of its own. Never prints, never aborts. */
#ifndef TOCSIN_BASE_BUF_H
#define TOCSIN_BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

struct buf {
  char *data;  /* never NULL after buf_init */
  size_t len;  /* bytes in use */
  size_t size; /* bytes allocated, internal */
  size_t cap;  /* len never exceeds this */
  bool failed; /* something did not fit */
  bool lent;   /* data is the caller's, internal */
};

void buf_init(struct buf *b, size_t cap);
/* Begins in memory of the caller's, which must outlive it: for what is mostly short and soon copied. It has its own when that is too small. */
void buf_lend(struct buf *b, char *storage, size_t size, size_t cap);
void buf_release(struct buf *b); /* legal on a zeroed struct */
void buf_reset(struct buf *b);   /* empties, keeps the memory, clears failed */
bool buf_ok(const struct buf *b);

void buf_add(struct buf *b, const void *bytes, size_t len);
static inline void buf_adds(struct buf *b, const char *string) { buf_add(b, string, strlen(string)); } /* the compiler measures literals */
void buf_addc(struct buf *b, char c);
/* Room for len bytes more, counted as added, for the caller to write at once; NULL when they do not fit. */
char *buf_extend(struct buf *b, size_t len);
void buf_addf(struct buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The string as a JSON string literal with its quotes; bytes that are not UTF-8 become U+FFFD. */
void buf_add_json_string(struct buf *b, const char *bytes, size_t len);
/* Drops the first n bytes (n <= len). */
void buf_consume(struct buf *b, size_t n);
/* Hands the bytes to the caller (free()), leaves b empty and usable. NULL when failed. */
char *buf_take(struct buf *b, size_t *ret_len);

#endif
