/* json_quick.h: jansson's own small functions with jansson's own results, sooner. json.h brings it; nobody includes it alone.
 *
 * jansson looks at every text that it is given byte by byte, whether it is UTF-8, and measures every name anew. Here eight bytes are looked at
 * at a time (utf8_valid refuses just what jansson refuses), and texts that stand in the program are measured by the compiler and are known to
 * be good. A run makes some 250 texts and names 1,000 members: it was a third of all time in jansson. */
#ifndef TOCSIN_BASE_JSON_QUICK_H
#define TOCSIN_BASE_JSON_QUICK_H

#include <jansson.h>
#include <stdbool.h>
#include <string.h>

/* Is it UTF-8? */
bool json_quick_valid(const char *text, size_t len);

/* Always inlined: a text that is a literal is only then known to be one. */
#define JSON_QUICK static inline __attribute__((always_inline))

JSON_QUICK json_t *json_quick_stringn(const char *text, size_t len) {
  return text && json_quick_valid(text, len) ? json_stringn_nocheck(text, len) : NULL;
}

JSON_QUICK json_t *json_quick_string(const char *text) {
  size_t len = text ? strlen(text) : 0;
  return text && (__builtin_constant_p(len) || json_quick_valid(text, len)) ? json_stringn_nocheck(text, len) : NULL;
}

JSON_QUICK json_t *json_quick_get(const json_t *object, const char *key) { return key ? json_object_getn(object, key, strlen(key)) : NULL; }

JSON_QUICK int json_quick_set_new(json_t *object, const char *key, json_t *value_take) {
  size_t len = key ? strlen(key) : 0;
  if (key && (__builtin_constant_p(len) || json_quick_valid(key, len))) return json_object_setn_new_nocheck(object, key, len, value_take);
  json_decref(value_take);
  return -1;
}

JSON_QUICK int json_quick_set(json_t *object, const char *key, json_t *value) {
  return json_quick_set_new(object, key, json_incref(value));
}

#define json_stringn(text, len) json_quick_stringn(text, len)
#define json_string(text) json_quick_string(text)
#define json_object_get(object, key) json_quick_get(object, key)
#define json_object_set_new(object, key, value) json_quick_set_new(object, key, value)
#define json_object_set(object, key, value) json_quick_set(object, key, value)

#endif
