/* json.h: what Tocsin asks of JSON beyond jansson itself (RFC 8259).
 *
 * jansson's vocabulary: borrowed in, new out, `_new` functions steal. Everything that a stranger sent is
 * parsed by json_parse, which bounds depth and size, keeps integers beyond 64 bits as strings of their
 * digits (jansson would refuse the document), allows NUL in strings, and refuses what is not UTF-8. */
#ifndef TOCSIN_BASE_JSON_H
#define TOCSIN_BASE_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/json_quick.h"

enum { JSON_MAX_DEPTH = 64, JSON_STORED_DEPTH = 256, JSON_FOLDED_DEPTH = 264 };

/* Parses exactly one value of any type. ERR_INVALID with line and column; ERR_LIMIT when nested deeper
 * than JSON_MAX_DEPTH. New reference. */
int json_parse(const char *bytes, size_t len, json_t **ret, struct err *err);
/* The same for what the engine itself wrote around documents of strangers, and may thus be nested JSON_STORED_DEPTH deep. */
int json_parse_stored(const char *bytes, size_t len, json_t **ret, struct err *err);
/* And for what it made of parts of such documents, in memory. */
int json_parse_folded(const char *bytes, size_t len, json_t **ret, struct err *err);
/* The fast way that both try first (json_read.c): the tree that jansson makes, or NULL for whatever is not plain or nested deeper than `depth`. New. */
json_t *json_read(const char *bytes, size_t len, size_t depth);
/* Compact, keys sorted: the one form that is hashed and stored. */
void json_write(const json_t *value, struct buf *out);
/* The same as a string that the caller frees; NULL when out of memory. */
char *json_text(const json_t *value);
/* Hex SHA-256 of json_write's bytes. */
void json_digest(const json_t *value, char out[65]);

/* Borrowed string of a member, or NULL when absent or not a string. */
const char *json_str(const json_t *object, const char *key);
/* The same with a fallback instead of NULL. */
const char *json_str_or(const json_t *object, const char *key, const char *fallback);
int64_t json_int_or(const json_t *object, const char *key, int64_t fallback);
bool json_bool_or(const json_t *object, const char *key, bool fallback);
/* Member by a dotted path ("actor.user.name"); NULL when any part is missing. Borrowed. Arrays are not
 * walked: route/ has its own path rules. */
json_t *json_at(const json_t *value, const char *path);
/* True when the array holds the string. */
bool json_array_has(const json_t *array, const char *string);
/* Appends the string, or each string of an array, that it does not hold yet; anything else is passed over. */
void json_array_add(json_t *array, const json_t *value);
void json_array_add_each(json_t *array, const json_t *values);

#endif
