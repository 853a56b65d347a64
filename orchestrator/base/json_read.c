/* Plain JSON, read in a third of jansson's time into the very tree that jansson would make. Whatever is not plain (a mistake, a number that
 * int64 does not hold, too deep a nest) is left to the careful way in json.c, which also says what is wrong with it. */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/json_bytes.h"
#include "base/utf8.h"

enum { DIGITS_MOST = 18 }; /* of an integer that surely fits */

struct reader {
  const char *p, *end;
  size_t depth, most;
};

struct text {
  const char *at;
  size_t len;
  char *own; /* when escapes had to be resolved */
};

static json_t *read_value(struct reader *r);

static void skip_spaces(struct reader *r) {
  while (r->p < r->end && (*r->p == ' ' || *r->p == '\n' || *r->p == '\t' || *r->p == '\r')) r->p++;
}

/* Steps over c behind any spaces. */
static bool take(struct reader *r, char c) {
  skip_spaces(r);
  if (r->p == r->end || *r->p != c) return false;
  r->p++;
  return true;
}

/* ---- strings */

/* Bytes of a string that end it or need a look. */
static const unsigned char special[256] = {
    [0 ... 31] = 1,
    ['"'] = 1,
    ['\\'] = 1,
    [128 ... 255] = 1,
};

/* The character of a \u escape, p behind its u; *ret_p: what follows. -1: none. */
static int32_t unicode(const char *p, const char *end, const char **ret_p) {
  int32_t high = utf8_hex4(p, end), low;
  *ret_p = p + 4;
  if (high < 0 || (high >= 0xdc00 && high < 0xe000)) return -1;
  if (high < 0xd800 || high >= 0xe000) return high;
  if (end - p < 10 || p[4] != '\\' || p[5] != 'u' || (low = utf8_hex4(p + 6, end)) < 0xdc00 || low >= 0xe000) return -1;
  *ret_p = p + 10;
  return 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
}

/* p at a backslash; the character goes to *out, which moves on. Returns what follows, NULL when it is no escape. */
static const char *put_escape(const char *p, const char *end, char **out) {
  static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
  if (end - p < 2 || !p[1]) return NULL;
  if (p[1] == 'u') {
    const char *next;
    int32_t c = unicode(p + 2, end, &next);
    if (c < 0) return NULL;
    *out = utf8_put(*out, (uint32_t)c);
    return next;
  }
  const char *known = strchr(from, p[1]);
  if (!known) return NULL;
  *(*out)++ = to[known - from];
  return p + 2;
}

/* The rest of a string with escapes, p at the first of them: resolved into memory of its own, which its written form surely fills. */
static bool read_escaped(struct reader *r, const char *start, const char *p, struct text *ret) {
  const char *end = p;
  while (end < r->end && *end != '"') end += *end == '\\' ? 2 : 1;
  if (end >= r->end) return false;
  char *own = malloc((size_t)(end - start) + 1), *out = own;
  if (!own) abort();
  memcpy(out, start, (size_t)(p - start));
  out += p - start;
  while (p && p < end) {
    if (*p == '\\') {
      p = put_escape(p, end, &out);
    } else if (!special[(unsigned char)*p]) {
      *out++ = *p++;
    } else {
      size_t n = (unsigned char)*p < 0x80 ? 0 : utf8_length((const unsigned char *)p, (size_t)(end - p));
      memcpy(out, p, n);
      out += n;
      p = n ? p + n : NULL;
    }
  }
  if (!p) {
    free(own);
    return false;
  }
  *ret = (struct text){own, (size_t)(out - own), own};
  r->p = end + 1;
  return true;
}

/* The first special byte at or behind p, or the end. */
static const char *plain_end(const char *p, const char *end) {
  for (; end - p >= (ptrdiff_t)sizeof(uint64_t); p += sizeof(uint64_t)) {
    uint64_t found = special_in(load(p, sizeof(uint64_t)));
    if (found) return p + first_of(found);
  }
  while (p < end && !special[(unsigned char)*p]) p++;
  return p;
}

/* Behind the opening quote. */
static bool read_text(struct reader *r, struct text *ret) {
  const char *start = r->p, *p = start;
  for (;;) {
    p = plain_end(p, r->end);
    if (p == r->end) return false;
    if (*p == '"') break;
    if (*p == '\\') return read_escaped(r, start, p, ret);
    size_t n = (unsigned char)*p < 0x80 ? 0 : utf8_length((const unsigned char *)p, (size_t)(r->end - p));
    if (!n) return false;
    p += n;
  }
  *ret = (struct text){start, (size_t)(p - start), NULL};
  r->p = p + 1;
  return true;
}

static json_t *read_string(struct reader *r) {
  struct text text;
  r->p++;
  if (!read_text(r, &text)) return NULL;
  json_t *value = json_stringn_nocheck(text.at, text.len);
  free(text.own);
  return value;
}

/* ---- the rest */

/* Integers that surely fit, by hand; what has a point or an exponent is made by jansson, exactly. */
static json_t *read_number(struct reader *r) {
  const char *start = r->p, *p = start + (*start == '-');
  uint64_t n = 0; /* room for the one digit too many that ends the loop */
  const char *digits = p;
  for (; p < r->end && *p >= '0' && *p <= '9' && p - digits <= DIGITS_MOST; p++) n = n * 10 + (uint64_t)(*p - '0');
  if (p == digits || p - digits > DIGITS_MOST || (*digits == '0' && p - digits > 1)) return NULL;
  if (p == r->end || (*p != '.' && *p != 'e' && *p != 'E')) {
    r->p = p;
    return json_integer(*start == '-' ? -(json_int_t)n : (json_int_t)n);
  }
  while (p < r->end && *p && strchr("0123456789+-.eE", *p)) p++;
  r->p = p;
  return json_loadb(start, (size_t)(p - start), JSON_DECODE_ANY, NULL);
}

static json_t *read_word(struct reader *r, const char *word, json_t *value) {
  size_t n = strlen(word);
  if ((size_t)(r->end - r->p) < n || memcmp(r->p, word, n) != 0) return NULL;
  r->p += n;
  return value;
}

static bool read_member(struct reader *r, json_t *object) {
  struct text key;
  if (!take(r, '"') || !read_text(r, &key)) return false;
  json_t *value = memchr(key.at, 0, key.len) || !take(r, ':') ? NULL : read_value(r);
  bool good = value && json_object_setn_new_nocheck(object, key.at, key.len, value) == 0;
  free(key.own);
  return good;
}

static json_t *read_object(struct reader *r) {
  json_t *object = json_object();
  r->p++;
  if (take(r, '}')) return object;
  do {
    if (read_member(r, object)) continue;
    json_decref(object);
    return NULL;
  } while (take(r, ','));
  if (take(r, '}')) return object;
  json_decref(object);
  return NULL;
}

static json_t *read_array(struct reader *r) {
  json_t *array = json_array(), *value;
  r->p++;
  if (take(r, ']')) return array;
  do {
    if ((value = read_value(r)) && json_array_append_new(array, value) == 0) continue;
    json_decref(array);
    return NULL;
  } while (take(r, ','));
  if (take(r, ']')) return array;
  json_decref(array);
  return NULL;
}

static json_t *read_nested(struct reader *r) {
  if (r->depth == r->most) return NULL;
  r->depth++;
  json_t *value = *r->p == '{' ? read_object(r) : read_array(r);
  r->depth--;
  return value;
}

static json_t *read_value(struct reader *r) {
  skip_spaces(r);
  if (r->p == r->end) return NULL;
  switch (*r->p) {
  case '{':
  case '[': return read_nested(r);
  case '"': return read_string(r);
  case 't': return read_word(r, "true", json_true());
  case 'f': return read_word(r, "false", json_false());
  case 'n': return read_word(r, "null", json_null());
  default: return read_number(r);
  }
}

json_t *json_read(const char *bytes, size_t len, size_t depth) {
  struct reader r = {.p = bytes, .end = bytes + len, .most = depth};
  json_t *value = read_value(&r);
  skip_spaces(&r);
  if (r.p == r.end) return value;
  json_decref(value);
  return NULL;
}
