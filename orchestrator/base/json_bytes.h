/* json_bytes.h: the bytes of a JSON text, eight at a time; for whoever reads or writes it himself. */
#ifndef TOCSIN_BASE_JSON_BYTES_H
#define TOCSIN_BASE_JSON_BYTES_H

#include <endian.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define EACH(byte) (UINT64_C(0x0101010101010101) * (byte))

/* The top bits of those of eight bytes that need an escape or are more than ASCII. A byte's borrow can only spoil those above it, which lie further
 * on, and comes from one that is special itself: the first is right. */
static inline uint64_t special_in(uint64_t eight) {
  uint64_t quote = eight ^ EACH('"'), backslash = eight ^ EACH('\\');
  return (eight | (eight - EACH(0x20)) | (quote - EACH(1)) | (backslash - EACH(1))) & EACH(0x80);
}

static inline size_t first_of(uint64_t special) { return (size_t)__builtin_ctzll(special) / 8; }

static inline uint64_t load(const char *from, size_t bytes) {
  uint64_t value = 0;
  memcpy(&value, from, bytes);
  return le64toh(value);
}

#endif
