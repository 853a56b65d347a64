#include "transport/form.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/digest.h"
#include "base/json.h"

enum { FILL_DEPTH = JSON_MAX_DEPTH, TEMPLATE_CAP = 1 << 20, CONCAT_CAP = 4 << 20 };

struct fill {
  const struct secrets *secrets;
  const char *idempotency_key;
};

static int fill_value(const struct fill *fill, const json_t *value, bool data, int depth, json_t **ret, struct err *err);

/* The only member of an object when its name begins with "$". */
static const char *special(const json_t *value, const json_t **ret) {
  void *it = json_object_iter((json_t *)(uintptr_t)value);
  if (!it || json_object_size(value) != 1 || json_object_iter_key(it)[0] != '$') return NULL;
  *ret = json_object_iter_value(it);
  return json_object_iter_key(it);
}

static int fill_secret(const struct fill *fill, const json_t *slot, json_t **ret, struct err *err) {
  size_t len;
  const char *name = json_string_value(slot);
  if (!name) return err_set(err, ERR_INVALID, "$secret must name a slot");
  const char *bytes = secrets_get(fill->secrets, name, &len);
  if (!bytes) return err_set(err, ERR_NOT_FOUND, "the secret %s is not known here (was it removed, or is its setting missing?)", name);
  json_t *text = json_stringn(bytes, len);
  if (!text) return err_set(err, ERR_INVALID, "the secret %s is not UTF-8 text and cannot be placed in a request", name);
  *ret = text;
  return 0;
}

static int fill_concat(const struct fill *fill, const json_t *parts, int depth, json_t **ret, struct err *err) {
  struct buf joined;
  size_t i;
  json_t *part, *filled;
  int r = 0;
  if (!json_is_array(parts)) return err_set(err, ERR_INVALID, "$concat must be a list");
  buf_init(&joined, CONCAT_CAP);
  json_array_foreach(parts, i, part) {
    struct text text;
    if ((r = fill_value(fill, part, false, depth + 1, &filled, err)) < 0) break;
    if (form_text(filled, &text)) buf_add(&joined, text.bytes, text.len);
    else r = err_set(err, ERR_INVALID, "$concat can join strings only");
    form_wipe(filled);
    if (r < 0) break;
  }
  if (r == 0 && !buf_ok(&joined)) r = err_set(err, ERR_LIMIT, "$concat makes more than %d bytes", CONCAT_CAP);
  if (r == 0) *ret = json_stringn(joined.data, joined.len);
  if (joined.size) explicit_bzero(joined.data, joined.len);
  buf_release(&joined);
  return r;
}

static int fill_encoded(const struct fill *fill, const char *how, const json_t *of, int depth, json_t **ret, struct err *err) {
  json_t *filled;
  struct text text;
  int r = fill_value(fill, of, false, depth + 1, &filled, err);
  if (r < 0) return r;
  if (!form_text(filled, &text)) {
    r = err_set(err, ERR_INVALID, "%s must hold a string", how);
  } else if (strcmp(how, "$sha256") == 0) {
    uint8_t digest[DIGEST_BYTES];
    char hex[DIGEST_HEX];
    digest_sha256(text.bytes, text.len, digest);
    hex_encode(digest, sizeof digest, hex);
    *ret = json_string(hex);
  } else {
    char *base64 = base64_encode(text.bytes, text.len);
    *ret = json_string(base64);
    wipe_string(base64);
  }
  form_wipe(filled);
  return r;
}

static int fill_special(const struct fill *fill, const char *name, const json_t *of, int depth, json_t **ret, struct err *err) {
  if (strcmp(name, "$secret") == 0) return fill_secret(fill, of, ret, err);
  if (strcmp(name, "$concat") == 0) return fill_concat(fill, of, depth, ret, err);
  if (strcmp(name, "$sha256") == 0 || strcmp(name, "$base64") == 0) return fill_encoded(fill, name, of, depth, ret, err);
  if (strcmp(name, "$idempotency_key") != 0) return err_set(err, ERR_INVALID, "%s is no value that a request knows", name);
  if (!fill->idempotency_key) return err_set(err, ERR_INVALID, "this exchange has no idempotency key");
  *ret = json_string(fill->idempotency_key);
  return 0;
}

/* In data only secrets and the key are looked for, and the escaped form of outside data ("$$secret") loses its escape. */
static bool special_in_data(const char *name) { return strcmp(name, "$secret") == 0 || strcmp(name, "$idempotency_key") == 0; }

static const char *unescaped(const char *key, bool data) {
  const char *p = key;
  while (*p == '$') p++;
  return data && p - key >= 2 && strcmp(p, "secret") == 0 ? key + 1 : key;
}

static int fill_members(const struct fill *fill, const json_t *value, bool data, int depth, json_t **ret, struct err *err) {
  json_t *object = json_object(), *member, *filled;
  const char *key;
  int r = 0;
  json_object_foreach((json_t *)(uintptr_t)value, key, member) {
    if ((r = fill_value(fill, member, data || (depth == 0 && strcmp(key, "json") == 0), depth + 1, &filled, err)) < 0) break;
    json_object_set_new(object, unescaped(key, data), filled);
  }
  if (r < 0) form_wipe(object);
  else *ret = object;
  return r;
}

static int fill_items(const struct fill *fill, const json_t *value, bool data, int depth, json_t **ret, struct err *err) {
  json_t *array = json_array(), *item, *filled;
  size_t i;
  int r = 0;
  json_array_foreach(value, i, item) {
    if ((r = fill_value(fill, item, data, depth + 1, &filled, err)) < 0) break;
    json_array_append_new(array, filled);
  }
  if (r < 0) form_wipe(array);
  else *ret = array;
  return r;
}

static int fill_value(const struct fill *fill, const json_t *value, bool data, int depth, json_t **ret, struct err *err) {
  const json_t *of;
  if (depth > FILL_DEPTH) return err_set(err, ERR_LIMIT, "it is nested deeper than %d levels", FILL_DEPTH);
  if (json_is_object(value)) {
    const char *name = special(value, &of);
    if (name && (!data || special_in_data(name))) return fill_special(fill, name, of, depth, ret, err);
    return fill_members(fill, value, data, depth, ret, err);
  }
  if (json_is_array(value)) return fill_items(fill, value, data, depth, ret, err);
  /* Strings are copied, so that wiping the filled form never touches the request it came from. */
  *ret =
      json_is_string(value) ? json_stringn(json_string_value(value), json_string_length(value)) : json_incref((json_t *)(uintptr_t)value);
  return 0;
}

/* Nothing in it is called "$…", and it is not too deep: filling it would only copy it. */
static bool is_plain(const json_t *value, int depth) {
  size_t i;
  json_t *item;
  const char *key;
  if (depth > FILL_DEPTH) return false;
  if (json_is_array(value)) json_array_foreach(value, i, item) if (!is_plain(item, depth + 1)) return false;
  if (json_is_object(value))
    json_object_foreach((json_t *)(uintptr_t)value, key, item) if (key[0] == '$' || !is_plain(item, depth + 1)) return false;
  return true;
}

int form_fill(const struct secrets *secrets, const char *name, const json_t *form, const char *idempotency_key, json_t **ret,
              struct err *err) {
  const struct fill fill = {secrets, idempotency_key};
  if (!json_is_object(form)) return err_set(err, ERR_INVALID, "%s must be a table", name);
  if (is_plain(form, 0)) {
    *ret = json_incref((json_t *)(uintptr_t)form);
    return 0;
  }
  int r = fill_members(&fill, form, false, 0, ret, err);
  if (r < 0) err_wrap(err, "%s", name);
  return r;
}

bool form_has_secret(const json_t *value) {
  size_t i;
  json_t *item;
  const char *key;
  if (json_object_get(value, "$secret")) return true;
  json_array_foreach(value, i, item) if (form_has_secret(item)) return true;
  json_object_foreach((json_t *)(uintptr_t)value, key, item) if (form_has_secret(item)) return true;
  return false;
}

void wipe_string(char *text) {
  if (text) explicit_bzero(text, strlen(text));
  free(text);
}

/* What somebody else holds too is not ours to wipe, nor what is inside it. */
static void wipe(const json_t *value) {
  size_t i;
  json_t *item;
  const char *key;
  if (value->refcount != 1) return;
  if (json_is_string(value)) explicit_bzero((char *)(uintptr_t)json_string_value(value), json_string_length(value));
  json_array_foreach(value, i, item) wipe(item);
  json_object_foreach((json_t *)(uintptr_t)value, key, item) wipe(item);
}

void form_wipe(json_t *form) {
  if (!form) return;
  wipe(form);
  json_decref(form);
}

static size_t name_at(const char *const *names, const char *name) {
  size_t i = 0;
  while (names[i] && (names[i][0] != name[0] || strcmp(names[i], name) != 0)) i++;
  return i;
}

int form_take(const json_t *form, const char *where, const char *const *names, const json_t **values, struct err *err) {
  json_t *from = (json_t *)(uintptr_t)form;
  if (!json_is_object(form)) return err_set(err, ERR_INVALID, "%s must be a table", where);
  for (size_t i = 0; values && names[i]; i++) values[i] = NULL;
  for (void *it = json_object_iter(from); it; it = json_object_iter_next(from, it)) {
    const char *key = json_object_iter_key(it);
    size_t at = name_at(names, key);
    if (!names[at]) return err_set(err, ERR_INVALID, "%s has no member %.64s", where, key);
    if (values && strlen(key) == json_object_iter_key_len(it)) values[at] = json_object_iter_value(it); /* no NUL within */
  }
  return 0;
}

int form_members(const json_t *form, const char *where, const char *const *names, struct err *err) {
  return form_take(form, where, names, NULL, err);
}

int form_string(const json_t *form, const char *where, const char *key, bool required, const char **ret, struct err *err) {
  return form_string_of(json_object_get(form, key), where, key, required, ret, err);
}

int form_string_of(const json_t *value, const char *where, const char *key, bool required, const char **ret, struct err *err) {
  if (!value && !required) {
    *ret = NULL;
    return 0;
  }
  if (!value) return err_set(err, ERR_INVALID, "%s needs %s", where, key);
  if (!json_is_string(value)) return err_set(err, ERR_INVALID, "%s: %s must be a string", where, key);
  if (strlen(json_string_value(value)) != json_string_length(value))
    return err_set(err, ERR_INVALID, "%s: %s holds a NUL byte", where, key);
  *ret = json_string_value(value);
  return 0;
}

int form_bool(const json_t *form, const char *where, const char *key, bool fallback, bool *ret, struct err *err) {
  const json_t *value = json_object_get(form, key);
  if (value && !json_is_boolean(value)) return err_set(err, ERR_INVALID, "%s: %s must be true or false", where, key);
  *ret = value ? json_is_true(value) : fallback;
  return 0;
}

int form_integer(const json_t *form, const char *where, const char *key, int64_t fallback, int64_t least, int64_t most, int64_t *ret,
                 struct err *err) {
  const json_t *value = json_object_get(form, key);
  int64_t n = json_is_integer(value) ? (int64_t)json_integer_value(value) : fallback;
  if ((value && !json_is_integer(value)) || n < least || n > most)
    return err_set(err, ERR_INVALID, "%s: %s must be a whole number from %lld to %lld", where, key, (long long)least, (long long)most);
  *ret = n;
  return 0;
}

int form_list(const json_t *form, const char *where, const char *key, const json_t **ret, struct err *err) {
  return form_list_of(json_object_get(form, key), where, key, ret, err);
}

int form_list_of(const json_t *value, const char *where, const char *key, const json_t **ret, struct err *err) {
  bool empty = json_is_object(value) && json_object_size(value) == 0;
  if (value && !empty && !json_is_array(value)) return err_set(err, ERR_INVALID, "%s: %s must be a list", where, key);
  *ret = empty ? NULL : value;
  return 0;
}

int form_object(const json_t *form, const char *where, const char *key, const json_t **ret, struct err *err) {
  return form_object_of(json_object_get(form, key), where, key, ret, err);
}

int form_object_of(const json_t *value, const char *where, const char *key, const json_t **ret, struct err *err) {
  bool empty = json_is_array(value) && json_array_size(value) == 0;
  if (value && !empty && !json_is_object(value)) return err_set(err, ERR_INVALID, "%s: %s must be a table with names", where, key);
  *ret = empty ? NULL : value;
  return 0;
}

int form_one_of(const json_t *form, const char *where, const char *const *names, size_t *ret, struct err *err) {
  size_t found = 0, at = 0;
  struct buf all;
  for (size_t i = 0; names[i]; i++)
    if (json_object_get(form, names[i])) found++, at = i;
  if (found == 1) {
    *ret = at;
    return 0;
  }
  buf_init(&all, 512);
  for (size_t i = 0; names[i]; i++) buf_addf(&all, "%s%s", i ? ", " : "", names[i]);
  err_set(err, ERR_INVALID, "%s needs exactly one of %s", where, all.data);
  buf_release(&all);
  return ERR_INVALID;
}

bool form_text(const json_t *value, struct text *out) {
  out->bytes = out->number;
  if (json_is_string(value)) {
    out->bytes = json_string_value(value);
    out->len = json_string_length(value);
    return true;
  }
  if (json_is_boolean(value)) snprintf(out->number, sizeof out->number, "%s", json_is_true(value) ? "true" : "false");
  else if (json_is_integer(value)) snprintf(out->number, sizeof out->number, "%lld", (long long)json_integer_value(value));
  else if (json_is_real(value)) snprintf(out->number, sizeof out->number, "%.17g", json_real_value(value));
  else return false;
  out->len = strlen(out->number);
  return true;
}

bool text_has_line_break(const char *text) {
  for (; *text; text++)
    if (((unsigned char)*text < 32 && *text != '\t') || *text == 127) return true;
  return false;
}

int form_template(const char *template, const json_t *values, const char *where, escape_add *add, struct buf *out, struct err *err) {
  size_t next = 0;
  for (const char *p = template; *p; p++) {
    struct text text;
    if (p[0] != '%') {
      buf_addc(out, *p);
    } else if (p[1] == '%') {
      buf_addc(out, *p++);
    } else if (p[1] != 's') {
      return err_set(err, ERR_INVALID, "%s: a percent sign must be %%s or %%%%", where);
    } else if (!form_text(json_array_get(values, next), &text)) {
      return err_set(err, ERR_INVALID, "%s: value %zu is missing or no string", where, next + 1);
    } else {
      add(out, text.bytes, text.len);
      next++;
      p++;
    }
  }
  if (next != json_array_size(values))
    return err_set(err, ERR_INVALID, "%s: %zu values for %zu places", where, json_array_size(values), next);
  return buf_ok(out) ? 0 : err_set(err, ERR_LIMIT, "%s: it is too long", where);
}

json_t *json_lossy(const char *bytes, size_t len) {
  json_t *text = json_stringn(bytes, len);
  if (text) return text;
  struct buf quoted;
  buf_init(&quoted, len * 6 + 64);
  buf_add_json_string(&quoted, bytes, len);
  if (!buf_ok(&quoted) || json_parse(quoted.data, quoted.len, &text, NULL) < 0) text = json_string("");
  buf_release(&quoted);
  return text;
}
