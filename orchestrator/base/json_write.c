/* The one form of JSON that is hashed and stored, written straight into a buffer: the bytes are those of jansson's compact dump with sorted
 * keys (a unit test holds them side by side), in a third of its time. Every entry of every journal is made of it. */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/utf8.h"

enum { DEPTH_MOST = 2048, KEYS_NEAR = 24, NUMBER_TEXT = 64 };

struct member {
  const char *key;
  size_t len;
  const json_t *value;
};

static void write_value(const json_t *value, struct buf *out, unsigned depth);

static const char *escape_of(unsigned char c, char room[8]) {
  static const char hex[] = "0123456789ABCDEF";
  switch (c) {
  case '"': return "\\\"";
  case '\\': return "\\\\";
  case '\b': return "\\b";
  case '\f': return "\\f";
  case '\n': return "\\n";
  case '\r': return "\\r";
  case '\t': return "\\t";
  default: break;
  }
  memcpy(room, "\\u00", 4);
  room[4] = hex[c >> 4];
  room[5] = hex[c & 15];
  room[6] = 0;
  return room;
}

/* Which bytes need a look: 1 an escape, 2 more than ASCII. */
static const unsigned char special[256] = {
    [0 ... 31] = 1,
    ['"'] = 1,
    ['\\'] = 1,
    [128 ... 255] = 2,
};

/* A string with bytes that must be escaped or looked at; the first of them is at i. */
static void write_rest(const char *text, size_t len, size_t i, struct buf *out) {
  const unsigned char *p = (const unsigned char *)text;
  char room[8];
  size_t plain = 0;
  buf_addc(out, '"');
  while (i < len) {
    unsigned char kind = special[p[i]];
    if (kind == 0) {
      i++;
    } else if (kind == 2) {
      size_t n = utf8_length(p + i, len - i);
      if (!n) { /* jansson refuses it too; nothing that is stored may be unreadable */
        out->failed = true;
        return;
      }
      i += n;
    } else {
      buf_add(out, text + plain, i - plain);
      buf_adds(out, escape_of(p[i], room));
      plain = ++i;
    }
  }
  buf_add(out, text + plain, len - plain);
  buf_addc(out, '"');
}

/* Most strings are plain ASCII and go in by one copy, with the quotes around them and the byte behind them (a key's colon; 0: none). */
static void write_string(const char *text, size_t len, char behind, struct buf *out) {
  const unsigned char *p = (const unsigned char *)text;
  size_t i = 0;
  while (i < len && !special[p[i]]) i++;
  if (i < len) {
    write_rest(text, len, i, out);
    if (behind) buf_addc(out, behind);
    return;
  }
  char *room = buf_extend(out, len + 2 + (behind != 0));
  if (!room) return;
  room[0] = '"';
  memcpy(room + 1, text, len);
  room[len + 1] = '"';
  if (behind) room[len + 2] = behind;
}

static void write_integer(json_int_t value, struct buf *out) {
  char text[NUMBER_TEXT], *p = text + sizeof text;
  unsigned long long left = value < 0 ? 0ULL - (unsigned long long)value : (unsigned long long)value;
  do *--p = (char)('0' + left % 10);
  while (left /= 10);
  if (value < 0) *--p = '-';
  buf_add(out, p, (size_t)(text + sizeof text - p));
}

/* Rare, and jansson knows how to make them short and exact. */
static void write_real(const json_t *value, struct buf *out) {
  char text[NUMBER_TEXT];
  size_t n = json_dumpb(value, text, sizeof text, JSON_COMPACT | JSON_ENCODE_ANY);
  if (!n || n > sizeof text) out->failed = true;
  else buf_add(out, text, n);
}

static int compare(const void *a, const void *b) {
  const struct member *x = a, *y = b;
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
    struct member m = members[i];
    size_t k = i;
    for (; k && compare(&members[k - 1], &m) > 0; k--) members[k] = members[k - 1];
    members[k] = m;
  }
}

static void write_object(json_t *object, struct buf *out, unsigned depth) {
  struct member near[KEYS_NEAR], *members = near;
  size_t size = json_object_size(object), count = 0;
  if (size > KEYS_NEAR && !(members = malloc(size * sizeof *members))) {
    out->failed = true;
    return;
  }
  for (void *it = json_object_iter(object); it && count < size; it = json_object_iter_next(object, it))
    members[count++] = (struct member){json_object_iter_key(it), json_object_iter_key_len(it), json_object_iter_value(it)};
  sort(members, count);
  buf_addc(out, '{');
  for (size_t i = 0; i < count; i++) {
    if (i) buf_addc(out, ',');
    write_string(members[i].key, members[i].len, ':', out);
    write_value(members[i].value, out, depth + 1);
  }
  buf_addc(out, '}');
  if (members != near) free(members);
}

static void write_array(const json_t *array, struct buf *out, unsigned depth) {
  size_t size = json_array_size(array);
  buf_addc(out, '[');
  for (size_t i = 0; i < size; i++) {
    if (i) buf_addc(out, ',');
    write_value(json_array_get(array, i), out, depth + 1);
  }
  buf_addc(out, ']');
}

static void write_value(const json_t *value, struct buf *out, unsigned depth) {
  if (!value || depth > DEPTH_MOST || out->failed) {
    out->failed = true;
    return;
  }
  switch (json_typeof(value)) {
  case JSON_OBJECT: write_object((json_t *)(uintptr_t)value, out, depth); break;
  case JSON_ARRAY: write_array(value, out, depth); break;
  case JSON_STRING: write_string(json_string_value(value), json_string_length(value), 0, out); break;
  case JSON_INTEGER: write_integer(json_integer_value(value), out); break;
  case JSON_REAL: write_real(value, out); break;
  case JSON_TRUE: buf_adds(out, "true"); break;
  case JSON_FALSE: buf_adds(out, "false"); break;
  case JSON_NULL: buf_adds(out, "null"); break;
  }
}

void json_write(const json_t *value, struct buf *out) { write_value(value, out, 0); }

char *json_text(const json_t *value) {
  struct buf out;
  buf_init(&out, (size_t)1 << 30);
  json_write(value, &out);
  char *text = buf_take(&out, NULL);
  buf_release(&out);
  return text;
}
