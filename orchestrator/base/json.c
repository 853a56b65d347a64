#include "base/json.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/digest.h"
#include "base/utf8.h"

/* What a pre-scan learns: how deep it is nested, and whether some integer needs quoting. */
struct scan {
  size_t depth;
  bool big_integer;
};

static size_t skip_string(const char *s, size_t i, size_t len) {
  for (i++; i < len && s[i] != '"'; i++)
    if (s[i] == '\\') i++;
  return i < len ? i + 1 : len;
}

/* A number may not be a name: in quotes it would become one. */
static bool before_colon(const char *s, size_t i, size_t len) {
  while (i < len && (s[i] == ' ' || s[i] == '\t' || s[i] == '\n' || s[i] == '\r')) i++;
  return i < len && s[i] == ':';
}

/* A number token starts at i: returns its end, and whether it is an integer that int64 cannot hold. */
static size_t skip_number(const char *s, size_t i, size_t len, bool *ret_big) {
  size_t start = i, count = 0;
  bool integer = true;
  if (s[i] == '-') i++;
  for (; i < len && (isdigit((unsigned char)s[i]) || strchr("+-.eE", s[i])); i++) {
    if (!s[i]) break;
    if (isdigit((unsigned char)s[i])) count++;
    else integer = false;
  }
  *ret_big = false;
  if (integer && count >= 19) {
    bool negative = s[start] == '-';
    const char *digits = s + start + negative;
    bool over = count > 19 || memcmp(digits, negative ? "9223372036854775808" : "9223372036854775807", 19) > 0;
    *ret_big = over && *digits != '0' && !before_colon(s, i, len);
  }
  return i;
}

static struct scan scan_text(const char *s, size_t len, struct buf *quoted) {
  struct scan result = {0};
  size_t depth = 0, copied = 0, i = 0;
  while (i < len) {
    if (s[i] == '"') {
      i = skip_string(s, i, len);
    } else if (s[i] == '-' || isdigit((unsigned char)s[i])) {
      bool big;
      size_t end = skip_number(s, i, len, &big);
      if (big) result.big_integer = true;
      if (big && quoted) {
        buf_add(quoted, s + copied, i - copied);
        buf_addc(quoted, '"');
        buf_add(quoted, s + i, end - i);
        buf_addc(quoted, '"');
        copied = end;
      }
      i = end > i ? end : i + 1;
    } else {
      if ((s[i] == '{' || s[i] == '[') && ++depth > result.depth) result.depth = depth;
      if ((s[i] == '}' || s[i] == ']') && depth) depth--;
      i++;
    }
  }
  if (quoted) buf_add(quoted, s + copied, len - copied);
  return result;
}

static int parse(const char *bytes, size_t len, size_t most, json_t **ret, struct err *err) {
  json_error_t e;
  json_t *value = json_read(bytes, len, most);
  if (value) return *ret = value, 0;
  struct scan scan = scan_text(bytes, len, NULL);
  if (scan.depth > most) return err_set(err, ERR_LIMIT, "JSON nested deeper than %zu levels", most);
  struct buf quoted = {0};
  if (scan.big_integer) {
    buf_init(&quoted, len * 2 + 64);
    scan_text(bytes, len, &quoted);
    if (!buf_ok(&quoted)) return buf_release(&quoted), err_set(err, ERR_MEMORY, "no memory for a JSON document of %zu bytes", len);
    bytes = quoted.data;
    len = quoted.len;
  }
  value = json_loadb(bytes, len, JSON_DECODE_ANY | JSON_ALLOW_NUL, &e);
  if (scan.big_integer) buf_release(&quoted);
  if (!value) return err_set(err, ERR_INVALID, "not JSON (line %d, column %d: %s)", e.line, e.column, e.text);
  *ret = value;
  return 0;
}

int json_parse(const char *bytes, size_t len, json_t **ret, struct err *err) { return parse(bytes, len, JSON_MAX_DEPTH, ret, err); }

int json_parse_stored(const char *bytes, size_t len, json_t **ret, struct err *err) {
  return parse(bytes, len, JSON_STORED_DEPTH, ret, err);
}

int json_parse_folded(const char *bytes, size_t len, json_t **ret, struct err *err) {
  return parse(bytes, len, JSON_FOLDED_DEPTH, ret, err);
}

bool json_quick_valid(const char *text, size_t len) { return utf8_valid(text, len); }

void json_digest(const json_t *value, char out[65]) {
  struct buf text;
  char near[2048];
  buf_lend(&text, near, sizeof near, (size_t)1 << 30);
  json_write(value, &text);
  uint8_t digest[DIGEST_BYTES];
  digest_sha256(text.data, text.len, digest);
  hex_encode(digest, sizeof digest, out);
  buf_release(&text);
}

const char *json_str(const json_t *object, const char *key) { return json_string_value(json_object_get(object, key)); }

const char *json_str_or(const json_t *object, const char *key, const char *fallback) {
  const char *value = json_str(object, key);
  return value ? value : fallback;
}

int64_t json_int_or(const json_t *object, const char *key, int64_t fallback) {
  const json_t *value = json_object_get(object, key);
  return json_is_integer(value) ? (int64_t)json_integer_value(value) : fallback;
}

bool json_bool_or(const json_t *object, const char *key, bool fallback) {
  const json_t *value = json_object_get(object, key);
  return json_is_boolean(value) ? json_is_true(value) : fallback;
}

json_t *json_at(const json_t *value, const char *path) {
  while (value && *path) {
    size_t n = strcspn(path, ".");
    char part[256];
    if (n >= sizeof part) return NULL;
    memcpy(part, path, n);
    part[n] = 0;
    value = json_object_get(value, part);
    path += n + (path[n] == '.');
  }
  return (json_t *)(uintptr_t)value;
}

bool json_array_has(const json_t *array, const char *string) {
  size_t i;
  json_t *item;
  json_array_foreach(array, i, item) {
    const char *s = json_string_value(item);
    if (s && strcmp(s, string) == 0) return true;
  }
  return false;
}

void json_array_add(json_t *array, const json_t *value) {
  const char *text = json_string_value(value);
  if (text && !json_array_has(array, text)) json_array_append(array, (json_t *)(uintptr_t)value);
}

void json_array_add_each(json_t *array, const json_t *values) {
  size_t i;
  json_t *value;
  json_array_foreach(values, i, value) json_array_add(array, value);
}
