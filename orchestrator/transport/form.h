/* form.h: reading request forms: secrets into their places, members checked by name, lists and texts.
 *
 * form_fill is the only place where secrets meet a request. A filled form is plain JSON; it must be released with form_wipe. Every error
 * names the member. Only transport/ includes it. */
#ifndef TOCSIN_TRANSPORT_FORM_H
#define TOCSIN_TRANSPORT_FORM_H

#include <jansson.h>
#include <stdbool.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/secret.h"

/* The form (of the transport `name`) with every value of README.md put in: a new copy, or form itself when there is nothing to put in. ERR_INVALID, ERR_NOT_FOUND for an unknown slot. */
int form_fill(const struct secrets *secrets, const char *name, const json_t *form, const char *idempotency_key, json_t **ret,
              struct err *err);
/* Whether a secret would be placed anywhere in value. */
bool form_has_secret(const json_t *value);
/* Overwrites every string that nobody else holds, then lets go. NULL is legal. */
void form_wipe(json_t *form);
void wipe_string(char *text); /* overwrites and frees; NULL is legal */

/* form is an object with no members but names (NULL-ended). */
int form_members(const json_t *form, const char *where, const char *const *names, struct err *err);
/* The same; values[i] becomes that of names[i], borrowed, or NULL: for the checks below that end in _of. */
int form_take(const json_t *form, const char *where, const char *const *names, const json_t **values, struct err *err);
/* A string without NUL; *ret NULL when absent and not required. */
int form_string(const json_t *form, const char *where, const char *key, bool required, const char **ret, struct err *err);
int form_bool(const json_t *form, const char *where, const char *key, bool fallback, bool *ret, struct err *err);
int form_integer(const json_t *form, const char *where, const char *key, int64_t fallback, int64_t least, int64_t most, int64_t *ret,
                 struct err *err);
/* *ret borrowed, NULL when absent; an empty object counts as an empty list (Lua's {}) and gives NULL. */
int form_list(const json_t *form, const char *where, const char *key, const json_t **ret, struct err *err);
int form_object(const json_t *form, const char *where, const char *key, const json_t **ret, struct err *err);
/* The same three of a value that is at hand, or NULL when there is none. */
int form_string_of(const json_t *value, const char *where, const char *key, bool required, const char **ret, struct err *err);
int form_list_of(const json_t *value, const char *where, const char *key, const json_t **ret, struct err *err);
int form_object_of(const json_t *value, const char *where, const char *key, const json_t **ret, struct err *err);
/* The one member of form that is among names; ERR_INVALID unless exactly one. Its index. */
int form_one_of(const json_t *form, const char *where, const char *const *names, size_t *ret, struct err *err);

struct text {
  const char *bytes; /* borrowed from the value, or number */
  size_t len;
  char number[32];
};
/* Strings, numbers and booleans as text; false for anything else. out must stay where it is. */
bool form_text(const json_t *value, struct text *out);
bool text_has_line_break(const char *text); /* CR, LF or another control character but tab */
/* The %s of template filled with values, each through add; "%%" is one percent sign. where names the member. */
typedef void escape_add(struct buf *out, const char *bytes, size_t len);
int form_template(const char *template, const json_t *values, const char *where, escape_add *add, struct buf *out, struct err *err);
/* Bytes as a JSON string; what is not UTF-8 becomes U+FFFD. New. */
json_t *json_lossy(const char *bytes, size_t len);

#endif
