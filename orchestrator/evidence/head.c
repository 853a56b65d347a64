#include "evidence/head.h"

#include <string.h>

struct span {
  const char *at;
  size_t len;
};

/* A string from its opening quote; ret without the quotes, escapes as they stand. Returns what follows, NULL when it is none. */
static const char *string_skip(const char *p, const char *end, struct span *ret) {
  if (p == end || *p != '"') return NULL;
  const char *from = ++p;
  for (;;) { /* most strings bear no backslash */
    const char *quote = memchr(p, '"', (size_t)(end - p)), *escape = quote ? memchr(p, '\\', (size_t)(quote - p)) : NULL;
    p = escape ? escape + 2 : quote;
    if (!p || p >= end) return NULL;
    if (!escape) break;
  }
  *ret = (struct span){from, (size_t)(p - from)};
  return p + 1;
}

static const char *number_skip(const char *p, const char *end, struct span *ret) {
  const char *from = p;
  while (p < end && *p >= '0' && *p <= '9') p++;
  if (p == from || (*from == '0' && p - from > 1) || p - from > 19) return NULL;
  *ret = (struct span){from, (size_t)(p - from)};
  return p;
}

static bool key_is(const struct span *key, const char *name) { return key->len == strlen(name) && memcmp(key->at, name, key->len) == 0; }

/* Ascending, as sorted keys are; this also refuses a key that comes twice. */
static bool ascends(const struct span *last, const struct span *key) {
  size_t n = last->len < key->len ? last->len : key->len;
  int order = memcmp(last->at, key->at, n);
  return order < 0 || (order == 0 && last->len < key->len);
}

static bool copy(const struct span *value, char *out, size_t size) {
  if (value->len >= size || memchr(value->at, '\\', value->len)) return false;
  memcpy(out, value->at, value->len);
  out[value->len] = 0;
  return value->len > 0;
}

static bool digest_copy(const struct span *value, char out[DIGEST_HEX]) {
  uint8_t bytes[DIGEST_BYTES];
  return value->len == DIGEST_HEX - 1 && copy(value, out, DIGEST_HEX) && hex_decode(out, bytes, DIGEST_BYTES);
}

static uint64_t number(const struct span *value) {
  uint64_t n = 0;
  for (size_t i = 0; i < value->len; i++) n = n * 10 + (uint64_t)(value->at[i] - '0');
  return n;
}

/* Eight at a time: a byte below 0x20 borrows from its top bit, one above 0x7f has it already. */
static bool bears_control(const char *bytes, size_t len) {
  static const uint64_t ones = 0x0101010101010101, tops = 0x8080808080808080;
  size_t i = 0;
  for (uint64_t w; i + sizeof w <= len; i += sizeof w) {
    memcpy(&w, bytes + i, sizeof w);
    if ((w - ones * 0x20) & ~w & tops) return true;
  }
  for (; i < len; i++)
    if ((unsigned char)bytes[i] < 0x20) return true;
  return false;
}

/* It can only speak of an entry before it. */
static uint64_t removal(const struct span *type, const struct span *step, uint64_t seq) {
  struct span value;
  const char *end = step->at + step->len;
  if (!key_is(type, "body.removing") || number_skip(step->at, end, &value) != end) return 0;
  uint64_t n = number(&value);
  return n < seq ? n : 0;
}

bool head_scan(const char *bytes, size_t len, struct head *ret) {
  const char *p = bytes, *end = bytes + len;
  struct span last = {"", 0}, type = {"", 0}, step = {"", 0}, key, value;
  enum { INCIDENT = 1, PREV = 2, SEQ = 4, BODY = 8, ALL = 15 };
  int seen = 0;
  if (len < 2 || *p != '{' || bears_control(bytes, len)) return false;
  do {
    if (!(p = string_skip(p + 1, end, &key)) || !ascends(&last, &key) || p == end || *p++ != ':' || p == end) return false;
    bool text = *p == '"';
    if (!(p = text ? string_skip(p, end, &value) : number_skip(p, end, &value)) || p == end) return false;
    switch (*key.at) { /* its quote when it is empty */
    case 'i': seen |= text && key_is(&key, "incident") && copy(&value, ret->incident, sizeof ret->incident) ? INCIDENT : 0; break;
    case 'p': seen |= text && key_is(&key, "prev") && digest_copy(&value, ret->prev) ? PREV : 0; break;
    case 'b': seen |= text && key_is(&key, "body") && digest_copy(&value, ret->body) ? BODY : 0; break;
    case 's':
      seen |= !text && key_is(&key, "seq") && (ret->seq = number(&value)) > 0 ? SEQ : 0;
      if (text && key_is(&key, "step")) step = value;
      break;
    case 't':
      if (text && key_is(&key, "type")) type = value;
      break;
    default: break;
    }
    last = key;
  } while (*p == ',');
  if (seen != ALL || *p != '}' || p + 1 != end) return false;
  ret->removes = removal(&type, &step, ret->seq);
  ret->file = key_is(&type, "evidence.collected") ? HEAD_COLLECTED : key_is(&type, "evidence.deleted") ? HEAD_DELETED : HEAD_NO_FILE;
  return true;
}
