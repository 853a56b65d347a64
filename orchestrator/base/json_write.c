/* The one form of JSON that is hashed and stored, written straight into a buffer: the bytes are those of jansson's compact dump with sorted
 * keys (a unit test holds them side by side), in a third of its time. Every entry of every journal is made of it. */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/utf8.h"

enum { DEPTH_MOST = 2048, KEYS_NEAR = 40, NUMBER_TEXT = 64, ESCAPE_MOST = 6 };

struct member {
  const char *key;
  size_t len;
  const json_t *value;
};

/* Where the next byte goes, and how far the buffer's room reaches: looked up once for many bytes. */
struct writer {
  char *p, *end;
  struct buf *out;
};

static void write_value(const json_t *value, struct writer *w, unsigned depth);

/* What was written so far is in the buffer. */
static void settle(struct writer *w) { w->out->len = (size_t)(w->p - w->out->data); }

static void unsettle(struct writer *w) {
  size_t most = w->out->size ? w->out->size - 1 : 0;
  w->p = w->out->data + w->out->len;
  w->end = w->out->data + (most < w->out->cap ? most : w->out->cap);
  if (w->out->failed) w->end = w->p;
}

static bool grow(struct writer *w, size_t more) {
  settle(w);
  bool good = buf_extend(w->out, more) != NULL;
  if (good) w->out->len -= more;
  unsettle(w);
  return good;
}

static inline bool room(struct writer *w, size_t more) { return (size_t)(w->end - w->p) >= more || grow(w, more); }

static void fail(struct writer *w) {
  w->out->failed = true;
  w->end = w->p;
}

static void put(struct writer *w, const char *bytes, size_t len) {
  if (!room(w, len)) return;
  memcpy(w->p, bytes, len);
  w->p += len;
}

static inline void put_char(struct writer *w, char c) {
  if (room(w, 1)) *w->p++ = c;
}

/* Written at `to`, which has room for ESCAPE_MOST; returns what follows. */
static char *put_escape(char *to, unsigned char c) {
  static const char hex[] = "0123456789ABCDEF", from[] = "\"\\\b\f\n\r\t", names[] = "\"\\bfnrt";
  const char *known = c ? strchr(from, c) : NULL;
  *to++ = '\\';
  if (known) {
    *to++ = names[known - from];
    return to;
  }
  memcpy(to, "u00", 3);
  to[3] = hex[c >> 4];
  to[4] = hex[c & 15];
  return to + 5;
}

/* Which bytes need a look: 1 an escape, 2 more than ASCII. */
static const unsigned char special[256] = {
    [0 ... 31] = 1,
    ['"'] = 1,
    ['\\'] = 1,
    [128 ... 255] = 2,
};

#define EACH(byte) (UINT64_C(0x0101010101010101) * (byte))

/* Is one of eight bytes special? A byte's borrow can only spoil those above it, and comes from one that is special itself. */
static inline bool special_in(uint64_t eight) {
  uint64_t quote = eight ^ EACH('"'), backslash = eight ^ EACH('\\');
  return ((eight | (eight - EACH(0x20)) | (quote - EACH(1)) | (backslash - EACH(1))) & EACH(0x80)) != 0;
}

static inline uint64_t load(const char *from, size_t bytes) {
  uint64_t value = 0;
  memcpy(&value, from, bytes);
  return value;
}

static size_t copy_each(char *to, const char *text, size_t len) {
  size_t i = 0;
  for (; i < len && !special[(unsigned char)text[i]]; i++) to[i] = text[i];
  return i;
}

/* Copies what is not special; returns how much that was. `to` has room for len. The end is done once more with what comes before it, so
 * that it too goes in one step. */
static inline size_t copy_plain(char *to, const char *text, size_t len) {
  const size_t step = sizeof(uint64_t), half = sizeof(uint32_t);
  if (len < half) return copy_each(to, text, len);
  if (len < step) {
    uint64_t low = load(text, half), high = load(text + len - half, half);
    if (special_in(low | high << 32)) return copy_each(to, text, len);
    memcpy(to, &low, half);
    memcpy(to + len - half, &high, half);
    return len;
  }
  for (size_t i = 0;; i = len - i > 2 * step ? i + step : len - step) {
    uint64_t eight = load(text + i, step);
    if (special_in(eight)) return i + copy_each(to + i, text + i, len - i);
    memcpy(to + i, &eight, step);
    if (i + step == len) return len;
  }
}

/* A string's rest, from its first special byte on. */
static void write_rest(const char *text, size_t len, struct writer *w) {
  while (len && room(w, len + ESCAPE_MOST)) {
    size_t n = 0;
    if (special[(unsigned char)*text] == 1) {
      w->p = put_escape(w->p, (unsigned char)*text);
      n = 1;
    } else if (special[(unsigned char)*text]) {
      n = utf8_length((const unsigned char *)text, len);
      if (!n) { /* jansson refuses it too; nothing that is stored may be unreadable */
        fail(w);
        return;
      }
      memcpy(w->p, text, n);
      w->p += n;
    }
    text += n;
    len -= n;
    n = copy_plain(w->p, text, len);
    w->p += n;
    text += n;
    len -= n;
  }
}

/* With a key's colon behind it, or nothing (0). */
static inline void write_string(const char *text, size_t len, char behind, struct writer *w) {
  if (!room(w, len + 3)) return;
  *w->p++ = '"';
  size_t n = copy_plain(w->p, text, len);
  w->p += n;
  if (n < len) {
    write_rest(text + n, len - n, w);
    if (!room(w, 2)) return;
  }
  *w->p++ = '"';
  if (behind) *w->p++ = behind;
}

static void write_integer(json_int_t value, struct writer *w) {
  char text[NUMBER_TEXT], *p = text + sizeof text;
  unsigned long long left = value < 0 ? 0ULL - (unsigned long long)value : (unsigned long long)value;
  do *--p = (char)('0' + left % 10);
  while (left /= 10);
  if (value < 0) *--p = '-';
  put(w, p, (size_t)(text + sizeof text - p));
}

/* Rare, and jansson knows how to make them short and exact. */
static void write_real(const json_t *value, struct writer *w) {
  char text[NUMBER_TEXT];
  size_t n = json_dumpb(value, text, sizeof text, JSON_COMPACT | JSON_ENCODE_ANY);
  if (!n || n > sizeof text) fail(w);
  else put(w, text, n);
}

static inline int compare(const void *a, const void *b) {
  const struct member *x = a, *y = b;
  size_t shorter = x->len < y->len ? x->len : y->len;
  if (shorter && *x->key != *y->key) return (unsigned char)*x->key < (unsigned char)*y->key ? -1 : 1; /* mostly enough */
  int r = memcmp(x->key, y->key, shorter);
  return r ? r : (x->len > y->len) - (x->len < y->len);
}

/* Small objects are the rule, and mostly nearly sorted. */
static void sort(struct member *members, size_t count) {
  if (count > KEYS_NEAR) {
    qsort(members, count, sizeof *members, compare);
    return;
  }
  for (size_t i = 1; i < count; i++) {
    if (compare(&members[i - 1], &members[i]) < 0) continue;
    struct member m = members[i];
    size_t k = i;
    for (; k && compare(&members[k - 1], &m) > 0; k--) members[k] = members[k - 1];
    members[k] = m;
  }
}

static void write_object(json_t *object, struct writer *w, unsigned depth) {
  struct member near[KEYS_NEAR], *members = near;
  size_t size = json_object_size(object), count = 0;
  if (size > KEYS_NEAR && !(members = malloc(size * sizeof *members))) {
    fail(w);
    return;
  }
  for (void *it = json_object_iter(object); it && count < size; it = json_object_iter_next(object, it))
    members[count++] = (struct member){json_object_iter_key(it), json_object_iter_key_len(it), json_object_iter_value(it)};
  sort(members, count);
  put_char(w, '{');
  for (size_t i = 0; i < count; i++) {
    if (i) put_char(w, ',');
    write_string(members[i].key, members[i].len, ':', w);
    write_value(members[i].value, w, depth + 1);
  }
  put_char(w, '}');
  if (members != near) free(members);
}

static void write_array(const json_t *array, struct writer *w, unsigned depth) {
  size_t size = json_array_size(array);
  put_char(w, '[');
  for (size_t i = 0; i < size; i++) {
    if (i) put_char(w, ',');
    write_value(json_array_get(array, i), w, depth + 1);
  }
  put_char(w, ']');
}

static void write_value(const json_t *value, struct writer *w, unsigned depth) {
  if (!value || depth > DEPTH_MOST || w->out->failed) {
    fail(w);
    return;
  }
  switch (json_typeof(value)) {
  case JSON_OBJECT: write_object((json_t *)(uintptr_t)value, w, depth); break;
  case JSON_ARRAY: write_array(value, w, depth); break;
  case JSON_STRING: write_string(json_string_value(value), json_string_length(value), 0, w); break;
  case JSON_INTEGER: write_integer(json_integer_value(value), w); break;
  case JSON_REAL: write_real(value, w); break;
  case JSON_TRUE: put(w, "true", 4); break;
  case JSON_FALSE: put(w, "false", 5); break;
  case JSON_NULL: put(w, "null", 4); break;
  }
}

/* Room is asked for before it is known how much is needed, so the cap is a little higher meanwhile. */
void json_write(const json_t *value, struct buf *out) {
  struct writer w = {.out = out};
  const size_t cap = out->cap, len = out->len;
  out->cap += ESCAPE_MOST;
  unsettle(&w);
  write_value(value, &w, 0);
  settle(&w);
  out->cap = cap;
  if (out->len > cap) out->failed = true, out->len = len;
  if (out->size) out->data[out->len] = 0;
}

char *json_text(const json_t *value) {
  struct buf out;
  buf_init(&out, (size_t)1 << 30);
  json_write(value, &out);
  char *text = buf_take(&out, NULL);
  buf_release(&out);
  return text;
}
