/* The one form of JSON that is hashed and stored, written straight into a buffer: the bytes are those of jansson's compact dump with sorted
 * keys (a unit test holds them side by side), in a third of its time. Every entry of every journal is made of it. */
#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/json_bytes.h"
#include "base/utf8.h"

enum { DEPTH_MOST = 2048, KEYS_NEAR = 40, NUMBER_TEXT = 64, ESCAPE_MOST = 6, SPARE = 2 };

struct member {
  uint64_t order; /* its key's first bytes, the first of them the highest */
  const char *key;
  size_t len;
  const json_t *value;
};

/* Each function here takes the place where it writes and returns what follows it, where SPARE bytes more have room; NULL: it failed. Kept in the
 * writer instead, the place would have to be stored and looked up again around every byte. */
struct writer {
  char *end; /* so far the buffer's room reaches */
  struct buf *out;
};

static char *write_value(const json_t *value, char *p, struct writer *w, unsigned depth);

static char *begin(struct writer *w) {
  size_t most = w->out->size ? w->out->size - 1 : 0;
  w->end = w->out->data + (most < w->out->cap ? most : w->out->cap);
  return w->out->data + w->out->len;
}

static __attribute__((noinline)) char *grow(struct writer *w, char *p, size_t more) {
  w->out->len = (size_t)(p - w->out->data);
  if (!buf_extend(w->out, more)) return NULL;
  w->out->len -= more;
  return begin(w);
}

static inline char *room(struct writer *w, char *p, size_t more) { return (size_t)(w->end - p) >= more ? p : grow(w, p, more); }

static char *put(const char *bytes, size_t len, char *p, struct writer *w) {
  if (!(p = room(w, p, len + SPARE))) return NULL;
  memcpy(p, bytes, len);
  return p + len;
}

/* Written at `to`, which has room for ESCAPE_MOST; returns what follows. */
static inline char *put_escape(char *to, unsigned char c) {
  static const char hex[] = "0123456789ABCDEF",
                    names[256] = {['"'] = '"', ['\\'] = '\\', ['\b'] = 'b', ['\f'] = 'f', ['\n'] = 'n', ['\r'] = 'r', ['\t'] = 't'};
  *to++ = '\\';
  if (names[c]) {
    *to++ = names[c];
    return to;
  }
  memcpy(to, "u00", 3);
  to[3] = hex[c >> 4];
  to[4] = hex[c & 15];
  return to + 5;
}

static inline bool is_escaped(unsigned char c) { return c < 0x20 || c == '"' || c == '\\'; }

static inline void store(char *to, uint64_t value, size_t bytes) {
  value = htole64(value);
  memcpy(to, &value, bytes);
}

/* On from i, as long as none of so many bytes is special and eight are left behind them. Returns how far that was. */
static inline size_t copy_wide(char *to, const char *text, size_t i, size_t len) {
  typedef signed char wide __attribute__((vector_size(16)));
  const size_t step = 2 * sizeof(wide), left = sizeof(uint64_t);
  for (; len - i >= step + left; i += step) {
    wide a, b;
    memcpy(&a, text + i, sizeof a);
    memcpy(&b, text + i + sizeof a, sizeof b);
    memcpy(to + i, &a, sizeof a); /* what is special is written anew */
    memcpy(to + i + sizeof a, &b, sizeof b);
    wide special =
        (wide)((a < 0x20) | (b < 0x20) | (a == '"') | (b == '"') | (a == '\\') | (b == '\\')); /* more than ASCII is less than 0 */
    uint64_t any[2];
    memcpy(any, &special, sizeof any);
    if (any[0] | any[1]) break;
  }
  return i;
}

/* Copies what is not special; returns how much that was. `to` has room for len, of which what follows may be written, too. The end is done once
 * more with what comes before it, so that it too goes in one step. */
static inline size_t copy_plain(char *to, const char *text, size_t len) {
  const size_t step = sizeof(uint64_t), half = sizeof(uint32_t);
  uint64_t special = 0;
  size_t i = 0;
  if (len < half) {
    for (; i < len && (signed char)text[i] >= 0x20 && text[i] != '"' && text[i] != '\\'; i++) to[i] = text[i];
    return i;
  }
  if (len < step) {
    uint64_t all = load(text, half) | load(text + len - half, half) << 8 * (len - half);
    special = special_in(all) & (EACH(0x80) >> 8 * (step - len));
    store(to, all, half);
    store(to + len - half, all >> 8 * (len - half), half);
    return special ? first_of(special) : len;
  }
  for (;;) {
    uint64_t eight = load(text + i, step);
    store(to + i, eight, step);
    if ((special = special_in(eight))) return i + first_of(special);
    if (i + step == len) return len;
    i = len - i > 2 * step ? i + step : len - step;
    if (i == 2 * step) i = copy_wide(to, text, i, len); /* long enough without one: mostly there is none */
  }
}

/* A string's rest, from its first special byte on. */
static __attribute__((noinline)) char *write_rest(const char *text, size_t len, char *p, struct writer *w) {
  while (len) {
    size_t n = 1;
    if (!(p = room(w, p, len + ESCAPE_MOST))) return NULL;
    if (is_escaped((unsigned char)*text)) {
      p = put_escape(p, (unsigned char)*text);
    } else {
      n = utf8_length((const unsigned char *)text, len);
      if (!n) return NULL; /* jansson refuses it too; nothing that is stored may be unreadable */
      memcpy(p, text, n);
      p += n;
    }
    text += n;
    len -= n;
    n = copy_plain(p, text, len);
    p += n;
    text += n;
    len -= n;
  }
  return room(w, p, 1 + SPARE);
}

static inline char *write_string(const char *text, size_t len, char *p, struct writer *w) {
  if (!(p = room(w, p, len + 2 + SPARE))) return NULL;
  *p++ = '"';
  size_t n = copy_plain(p, text, len);
  p += n;
  if (n < len && !(p = write_rest(text + n, len - n, p, w))) return NULL;
  *p++ = '"';
  return p;
}

static char *write_integer(json_int_t value, char *p, struct writer *w) {
  char text[NUMBER_TEXT], *at = text + sizeof text;
  unsigned long long left = value < 0 ? 0ULL - (unsigned long long)value : (unsigned long long)value;
  do *--at = (char)('0' + left % 10);
  while (left /= 10);
  if (value < 0) *--at = '-';
  return put(at, (size_t)(text + sizeof text - at), p, w);
}

/* Rare, and jansson knows how to make them short and exact. */
static char *write_real(const json_t *value, char *p, struct writer *w) {
  char text[NUMBER_TEXT];
  size_t n = json_dumpb(value, text, sizeof text, JSON_COMPACT | JSON_ENCODE_ANY);
  return n && n <= sizeof text ? put(text, n, p, w) : NULL;
}

/* As many of the key's first bytes as a number holds: where they differ they decide, and one that ends earlier is filled with zeros. */
static inline uint64_t order_of(const char *key, size_t len) {
  const size_t whole = sizeof(uint64_t), half = sizeof(uint32_t);
  if (len >= whole) return __builtin_bswap64(load(key, whole));
  if (len >= half) return __builtin_bswap64(load(key, half) | load(key + len - half, half) << 8 * (len - half));
  uint64_t order = 0;
  for (size_t i = 0; i < len; i++) order |= (uint64_t)(unsigned char)key[i] << (56 - 8 * i);
  return order;
}

static inline int compare(const void *a, const void *b) {
  const struct member *x = a, *y = b;
  if (x->order != y->order) return x->order < y->order ? -1 : 1; /* mostly enough */
  size_t shorter = x->len < y->len ? x->len : y->len;
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

static inline char *write_key(const struct member *m, char *p, struct writer *w) {
  const size_t whole = sizeof(uint64_t);
  if (m->len - 1 < whole) { /* its bytes are at hand, and are written with what then lies behind them */
    uint64_t key = __builtin_bswap64(m->order);
    if (!(p = room(w, p, 1 + whole + 2 + SPARE))) return NULL;
    if (!(special_in(key) & (EACH(0x80) >> 8 * (whole - m->len)))) {
      *p++ = '"';
      store(p, key, whole);
      p += m->len;
      *p++ = '"';
      *p++ = ':';
      return p;
    }
  }
  if ((p = write_string(m->key, m->len, p, w))) *p++ = ':';
  return p;
}

/* In the order of their keys. Their values lie scattered: they are on their way from memory while the others are looked at. */
static size_t members_of(json_t *object, struct member *members, size_t size) {
  size_t count = 0;
  for (void *it = json_object_iter(object); it && count < size; it = json_object_iter_next(object, it), count++) {
    struct member *m = &members[count];
    m->value = json_object_iter_value(it);
    __builtin_prefetch(m->value);
    m->key = json_object_iter_key(it);
    m->len = json_object_iter_key_len(it);
    m->order = order_of(m->key, m->len);
  }
  sort(members, count);
  return count;
}

static char *write_object(json_t *object, char *p, struct writer *w, unsigned depth) {
  struct member near[KEYS_NEAR], *members = near;
  size_t size = json_object_size(object);
  if (size > KEYS_NEAR && !(members = malloc(size * sizeof *members))) return NULL;
  size_t count = members_of(object, members, size);
  if ((p = room(w, p, 1 + SPARE))) *p++ = '{';
  for (size_t i = 0; p && i < count; i++) {
    const json_t *value = members[i].value;
    if (i) *p++ = ',';
    if (!(p = write_key(&members[i], p, w))) break;
    p = json_is_string(value) ? write_string(json_string_value(value), json_string_length(value), p, w)
                              : write_value(value, p, w, depth + 1);
  }
  if (members != near) free(members);
  if (p && (p = room(w, p, 1 + SPARE))) *p++ = '}';
  return p;
}

static char *write_array(const json_t *array, char *p, struct writer *w, unsigned depth) {
  size_t size = json_array_size(array);
  if ((p = room(w, p, 1 + SPARE))) *p++ = '[';
  for (size_t i = 0; p && i < size; i++) {
    if (i) *p++ = ',';
    p = write_value(json_array_get(array, i), p, w, depth + 1);
  }
  if (p && (p = room(w, p, 1 + SPARE))) *p++ = ']';
  return p;
}

static char *write_value(const json_t *value, char *p, struct writer *w, unsigned depth) {
  if (!value || depth > DEPTH_MOST) return NULL;
  switch (json_typeof(value)) {
  case JSON_OBJECT: return write_object((json_t *)(uintptr_t)value, p, w, depth);
  case JSON_ARRAY: return write_array(value, p, w, depth);
  case JSON_STRING: return write_string(json_string_value(value), json_string_length(value), p, w);
  case JSON_INTEGER: return write_integer(json_integer_value(value), p, w);
  case JSON_REAL: return write_real(value, p, w);
  case JSON_TRUE: return put("true", 4, p, w);
  case JSON_FALSE: return put("false", 5, p, w);
  case JSON_NULL: return put("null", 4, p, w);
  }
  return NULL;
}

/* Room is asked for before it is known how much is needed, so the cap is a little higher meanwhile. */
void json_write(const json_t *value, struct buf *out) {
  if (out->failed) return;
  struct writer w = {.out = out};
  const size_t cap = out->cap, len = out->len;
  out->cap += ESCAPE_MOST + SPARE;
  char *end = write_value(value, begin(&w), &w, 0);
  out->len = end ? (size_t)(end - out->data) : len;
  out->cap = cap;
  if (!end || out->len > cap) out->failed = true, out->len = len;
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
