#include "evidence/head.h"

#include <endian.h>
#include <string.h>

struct span {
  const char *at;
  size_t len;
  bool escaped, digest; /* it bears a backslash; it is a SHA-256 in hex, in lower case */
};

/* The first quote, backslash or control character from p on, or end. Eight bytes at a time: one below n borrows from its own top bit when n is taken off (one above 0x7f has that bit already),
 * and what it borrows from the byte above it, which lies further on, comes too late to matter. */
static const char *plain_end(const char *p, const char *end) {
  static const uint64_t ones = 0x0101010101010101, tops = 0x8080808080808080;
  for (uint64_t w; (size_t)(end - p) >= sizeof w; p += sizeof w) {
    memcpy(&w, p, sizeof w);
    w = le64toh(w);
    uint64_t quote = w ^ ones * '"', escape = w ^ ones * '\\';
    uint64_t hit = (((quote - ones) & ~quote) | ((escape - ones) & ~escape) | ((w - ones * 0x20) & ~w)) & tops;
    if (hit) return p + __builtin_ctzll(hit) / 8;
  }
  while (p < end && *p != '"' && *p != '\\' && (unsigned char)*p >= 0x20) p++;
  return p;
}

static bool is_digest(const char *p) {
  unsigned char strange = 0; /* no branch: the compiler takes many at a time */
  for (int i = 0; i < DIGEST_HEX - 1; i++) {
    unsigned char c = (unsigned char)p[i];
    strange |= (unsigned char)(c - '0') > 9 && (unsigned char)(c - 'a') > 5;
  }
  return !strange;
}

/* A string from its opening quote; ret without the quotes, escapes as they stand. Returns what follows, NULL when it is none. */
static const char *string_skip(const char *p, const char *end, struct span *ret) {
  if (p == end || *p != '"') return NULL;
  const char *from = ++p;
  bool escaped = false;
  /* Two digests are half of a head. */
  if (end - p >= DIGEST_HEX && p[DIGEST_HEX - 1] == '"' && is_digest(p)) {
    *ret = (struct span){from, DIGEST_HEX - 1, .digest = true};
    return p + DIGEST_HEX;
  }
  while ((p = plain_end(p, end)) < end && *p == '\\') {
    if (end - p < 2 || (unsigned char)p[1] < 0x20) return NULL;
    escaped = true;
    p += 2;
  }
  if (p >= end || *p != '"') return NULL;
  *ret = (struct span){from, (size_t)(p - from), .escaped = escaped};
  return p + 1;
}

/* A key is a lower-case word. */
static const char *key_skip(const char *p, const char *end, struct span *ret) {
  if (p == end || *p != '"') return NULL;
  const char *from = ++p;
  while (p < end && *p >= 'a' && *p <= 'z') p++;
  if (p >= end || *p != '"') return NULL;
  *ret = (struct span){from, (size_t)(p - from), .digest = false};
  return p + 1;
}

static const char *number_skip(const char *p, const char *end, struct span *ret) {
  const char *from = p;
  while (p < end && *p >= '0' && *p <= '9') p++;
  if (p == from || (*from == '0' && p - from > 1) || p - from > 19) return NULL;
  *ret = (struct span){from, (size_t)(p - from), .digest = false};
  return p;
}

static bool key_is(const struct span *key, const char *name) {
  return key->len == strlen(name) && memcmp(key->at, name, strlen(name)) == 0;
}

/* Ascending, as sorted keys are; this also refuses a key that comes twice. */
static bool ascends(const struct span *last, const struct span *key) {
  if (last->len && key->len && *last->at != *key->at) return (unsigned char)*last->at < (unsigned char)*key->at; /* mostly */
  size_t n = last->len < key->len ? last->len : key->len;
  int order = memcmp(last->at, key->at, n);
  return order < 0 || (order == 0 && last->len < key->len);
}

static bool copy(const struct span *value, char *out, size_t size) {
  if (value->len >= size || value->escaped) return false;
  memcpy(out, value->at, value->len);
  out[value->len] = 0;
  return value->len > 0;
}

static bool digest_copy(const struct span *value, char out[DIGEST_HEX]) {
  if (!value->digest) return false;
  memcpy(out, value->at, DIGEST_HEX - 1);
  out[DIGEST_HEX - 1] = 0;
  return true;
}

static uint64_t number(const struct span *value) {
  uint64_t n = 0;
  for (size_t i = 0; i < value->len; i++) n = n * 10 + (uint64_t)(value->at[i] - '0');
  return n;
}

/* It can only speak of an entry before it. */
static uint64_t removal(const struct span *type, const struct span *step, uint64_t seq) {
  struct span value;
  const char *end = step->at + step->len;
  if (!key_is(type, "body.removing") || number_skip(step->at, end, &value) != end) return 0;
  uint64_t n = number(&value);
  return n < seq ? n : 0;
}

static struct head_text text_of(const struct span *s) {
  return s->escaped || !s->len ? (struct head_text){NULL, 0} : (struct head_text){s->at, s->len};
}

bool head_scan(const char *bytes, size_t len, struct head *ret) {
  const char *p = bytes, *end = bytes + len;
  struct span last = {.at = ""}, type = last, time = last, step = last, key, value;
  enum { INCIDENT = 1, PREV = 2, SEQ = 4, BODY = 8, ALL = 15 };
  int seen = 0;
  if (len < 2 || *p != '{') return false;
  do {
    if (!(p = key_skip(p + 1, end, &key)) || !ascends(&last, &key) || p == end || *p++ != ':' || p == end) return false;
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
      if (text && key_is(&key, "time")) time = value;
      break;
    default: break;
    }
    last = key;
  } while (*p == ',');
  if (seen != ALL || *p != '}' || p + 1 != end) return false;
  ret->type = text_of(&type);
  ret->time = text_of(&time);
  ret->removes = removal(&type, &step, ret->seq);
  ret->file = key_is(&type, "evidence.collected") ? HEAD_COLLECTED : key_is(&type, "evidence.deleted") ? HEAD_DELETED : HEAD_NO_FILE;
  return true;
}
