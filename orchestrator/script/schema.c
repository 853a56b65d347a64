#include <arpa/inet.h>
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "script/internal.h"

enum { PATH_CAP = 256, DEFAULT_MAX = 1 << 20, URL_MAX = 4096 };

/* Where a value stands: written out only for a mistake. */
struct place {
  const struct place *in; /* NULL: the outermost, whose name is the path so far */
  const char *name;       /* NULL: an element of a list */
  size_t number;          /* from 1 */
};

struct check {
  schema_report *report;
  void *arg;
  size_t mistakes;
};

/* ---- what a schema says -------------------------------------------------------------------------------------- */

enum type {
  TYPE_ANY,
  TYPE_BOOLEAN,
  TYPE_INTEGER,
  TYPE_NUMBER,
  TYPE_DURATION,
  TYPE_LIST,
  TYPE_MAP,
  TYPE_OBJECT,
  TYPE_SECRET,
  TYPE_GENERATED,
  TYPE_STRING,
  TYPE_URL,
  TYPE_IP,
  TYPE_HOST,
  TYPE_EMAIL,
  TYPES
};

static const char *const type_names[TYPES] = {"any",    "boolean",   "integer", "number", "duration", "list", "map",  "object",
                                              "secret", "generated", "string",  "url",    "ip",       "host", "email"};

/* Read in one walk: a schema has few members, and each is wanted. NULL: not there. */
struct rule {
  enum type type;
  const char *pattern;
  const json_t *min, *max, *of, *fields, *one_of, *fallback;
  bool optional;
};

/* Mostly the first letter tells. */
static inline bool named(const char *key, const char *name) { return *key == *name && strcmp(key, name) == 0; }

static enum type type_by_name(const char *name) {
  for (int i = 0; name && i < TYPES; i++)
    if (named(name, type_names[i])) return (enum type)i;
  return name ? TYPE_STRING : TYPE_ANY;
}

static struct rule rule_of(const json_t *schema) {
  struct rule r = {.type = TYPE_ANY};
  json_t *walked = (json_t *)(uintptr_t)schema;
  for (void *at = json_object_iter(walked); at; at = json_object_iter_next(walked, at)) {
    const char *key = json_object_iter_key(at);
    const json_t *value = json_object_iter_value(at);
    if (named(key, "type")) r.type = type_by_name(json_string_value(value));
    else if (named(key, "pattern")) r.pattern = json_string_value(value);
    else if (named(key, "min")) r.min = value;
    else if (named(key, "max")) r.max = value;
    else if (named(key, "of")) r.of = value;
    else if (named(key, "fields")) r.fields = value;
    else if (named(key, "one_of")) r.one_of = value;
    else if (named(key, "default")) r.fallback = value;
    else if (named(key, "optional")) r.optional = json_is_true(value);
  }
  return r;
}

static void place_text(char out[PATH_CAP], const struct place *place) {
  char path[PATH_CAP];
  if (!place->in) {
    snprintf(out, PATH_CAP, "%s", place->name);
    return;
  }
  place_text(path, place->in);
  if (place->name) snprintf(out, PATH_CAP, "%.150s%s%.100s", path, *path ? "." : "", place->name);
  else snprintf(out, PATH_CAP, "%.230s[%zu]", path, place->number);
}

__attribute__((format(printf, 3, 4))) static json_t *mistake(struct check *c, const struct place *place, const char *format, ...) {
  char text[512], path[PATH_CAP];
  place_text(path, place);
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  c->mistakes++;
  if (c->report) c->report(c->arg, path, text);
  return NULL;
}

static json_t *same(const json_t *value) { return json_incref((json_t *)(uintptr_t)value); }
static bool is_secret(const json_t *value) {
  return json_is_object(value) && json_object_size(value) == 1 && json_is_string(json_object_get(value, "$secret"));
}
static const char *kind_of(const json_t *value) {
  if (is_secret(value)) return "a secret";
  switch (json_typeof(value)) {
  case JSON_OBJECT: return "a table of names";
  case JSON_ARRAY: return "a list";
  case JSON_STRING: return "a text";
  case JSON_INTEGER:
  case JSON_REAL: return "a number";
  case JSON_TRUE:
  case JSON_FALSE: return "true or false";
  default: return "null";
  }
}

/* ---- texts ------------------------------------------------------------------------------------------------- */

static size_t characters(const char *s, size_t len) {
  size_t n = 0;
  for (size_t i = 0; i < len; i++) n += ((unsigned char)s[i] & 0xC0) != 0x80;
  return n;
}

static bool has_space(const char *s, size_t len) {
  for (size_t i = 0; i < len; i++)
    if ((unsigned char)s[i] <= ' ' || s[i] == 0x7F) return true;
  return false;
}

static bool is_url(const char *s, size_t len) {
  size_t scheme = strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789+.-");
  return scheme > 0 && islower((unsigned char)*s) && strncmp(s + scheme, "://", 3) == 0 && s[scheme + 3] && len <= URL_MAX &&
         !has_space(s, len);
}

static bool is_ip(const char *s) {
  unsigned char out[16];
  return inet_pton(AF_INET, s, out) == 1 || inet_pton(AF_INET6, s, out) == 1;
}

static bool is_host(const char *s, size_t len) {
  if (is_ip(s)) return true;
  size_t label = 0;
  if (len == 0 || len > 253) return false;
  for (size_t i = 0; i < len; i++) {
    if (s[i] == '.') {
      if (label == 0 || s[i - 1] == '-') return false;
      label = 0;
    } else if (!(isalnum((unsigned char)s[i]) || s[i] == '_' || (s[i] == '-' && label > 0)) || ++label > 63) {
      return false;
    }
  }
  return s[len - 1] != '-';
}

static bool is_email(const char *s, size_t len) {
  const char *at = strchr(s, '@');
  return at && at > s && len <= 254 && !has_space(s, len) && !strpbrk(s, "<>,;\"()") && is_host(at + 1, strlen(at + 1));
}

static json_t *check_range(struct check *c, const struct rule *rule, const json_t *value, const struct place *path, double n,
                           const char *what) {
  if (json_is_number(rule->min) && n < json_number_value(rule->min))
    return mistake(c, path, "must be at least %g%s, not %g", json_number_value(rule->min), what, n);
  if (json_is_number(rule->max) && n > json_number_value(rule->max))
    return mistake(c, path, "must be at most %g%s, not %g", json_number_value(rule->max), what, n);
  return same(value);
}

static json_t *check_text(struct check *c, const struct rule *rule, const json_t *value, const struct place *path) {
  const char *s = json_string_value(value);
  size_t len = json_string_length(value);
  struct err err = {0};
  if (!s) return mistake(c, path, "must be a text, not %s", kind_of(value));
  if (rule->type != TYPE_STRING && strlen(s) != len) return mistake(c, path, "bears a NUL byte");
  if (rule->type == TYPE_URL && !is_url(s, len)) return mistake(c, path, "is no URL (https://…)");
  if (rule->type == TYPE_IP && !is_ip(s)) return mistake(c, path, "is no IP address");
  if (rule->type == TYPE_HOST && !is_host(s, len)) return mistake(c, path, "is no host name");
  if (rule->type == TYPE_EMAIL && !is_email(s, len)) return mistake(c, path, "is no e-mail address");
  if (len > DEFAULT_MAX) return mistake(c, path, "is longer than %d bytes", DEFAULT_MAX);
  if (rule->pattern && !pattern_match(s, len, rule->pattern, &err))
    return mistake(c, path, "%s%s", err.code ? err.text : "does not have the form ", err.code ? "" : rule->pattern);
  if (!rule->min && !rule->max) return same(value);
  return check_range(c, rule, value, path, (double)characters(s, len), " characters long");
}

/* ---- the other types ---------------------------------------------------------------------------------------- */

static json_t *check_number(struct check *c, const struct rule *rule, const json_t *value, const struct place *path) {
  if (!json_is_number(value)) return mistake(c, path, "must be a number, not %s", kind_of(value));
  if (rule->type != TYPE_INTEGER || json_is_integer(value)) return check_range(c, rule, value, path, json_number_value(value), "");
  double n = json_real_value(value);
  if (n != floor(n) || fabs(n) > 9e15) return mistake(c, path, "must be a whole number");
  json_t *whole = json_integer((json_int_t)n), *result = check_range(c, rule, whole, path, n, "");
  json_decref(whole);
  return result;
}

static json_t *check_duration(struct check *c, const struct rule *rule, const json_t *value, const struct place *path) {
  int64_t ms;
  if (json_is_integer(value)) ms = json_integer_value(value); /* in milliseconds already: it was checked before */
  else if (!json_is_string(value) || !duration_parse(json_string_value(value), &ms))
    return mistake(c, path, "must be a time like \"20s\", \"30m\" or \"7d\"");
  json_t *number = json_integer(ms),
         *result = ms < 0 ? mistake(c, path, "must not be negative") : check_range(c, rule, number, path, (double)ms, " ms");
  json_decref(number);
  return result;
}

static json_t *check_value(struct check *c, const json_t *schema, const json_t *value, const struct place *path);
static json_t *check_object(struct check *c, const json_t *fields, const json_t *value, const struct place *path);

static json_t *check_list(struct check *c, const struct rule *rule, const json_t *value, const struct place *path) {
  bool empty = json_is_object(value) && json_object_size(value) == 0; /* Lua's {} */
  if (!json_is_array(value) && !empty) return mistake(c, path, "must be a list, not %s", kind_of(value));
  json_t *list = json_array(), *item;
  size_t i, before = c->mistakes;
  json_array_foreach((json_t *)(uintptr_t)value, i, item) {
    json_t *checked = rule->of ? check_value(c, rule->of, item, &(struct place){path, NULL, i + 1}) : same(item);
    if (checked) json_array_append_new(list, checked);
  }
  json_t *result = c->mistakes == before ? check_range(c, rule, list, path, (double)json_array_size(list), " elements long") : NULL;
  json_decref(list);
  return result;
}

static json_t *check_map(struct check *c, const struct rule *rule, const json_t *value, const struct place *path) {
  bool empty = json_is_array(value) && json_array_size(value) == 0;
  if ((!json_is_object(value) && !empty) || is_secret(value)) return mistake(c, path, "must be a table of names, not %s", kind_of(value));
  json_t *map = json_object(), *item;
  const char *key;
  size_t before = c->mistakes;
  json_object_foreach((json_t *)(uintptr_t)value, key, item) {
    json_t *checked = rule->of ? check_value(c, rule->of, item, &(struct place){path, key, 0}) : same(item);
    if (checked) json_object_set_new(map, key, checked);
  }
  json_t *result = c->mistakes == before ? check_range(c, rule, map, path, (double)json_object_size(map), " members") : NULL;
  json_decref(map);
  return result;
}

static json_t *check_one_of(struct check *c, const json_t *one_of, json_t *value, const struct place *path) {
  size_t i;
  json_t *item;
  if (!value || !json_is_array(one_of)) return value;
  json_array_foreach((json_t *)(uintptr_t)one_of, i, item) if (json_equal(item, value)) return value;
  struct suggestion near;
  char hint[96], known[256] = "";
  suggest_init(&near, json_is_string(value) ? json_string_value(value) : "");
  json_array_foreach((json_t *)(uintptr_t)one_of, i, item) {
    const char *name = json_string_value(item);
    size_t used = strlen(known);
    if (name) suggest_name(&near, name);
    if (name) snprintf(known + used, sizeof known - used, "%s%s", used ? ", " : "", name);
    else if (json_is_integer(item))
      snprintf(known + used, sizeof known - used, "%s%lld", used ? ", " : "", (long long)json_integer_value(item));
  }
  json_decref(value);
  return mistake(c, path, "must be one of %s%s", known, suggest_text(&near, hint, sizeof hint));
}

static json_t *check_type(struct check *c, const struct rule *rule, const json_t *value, const struct place *path) {
  switch (rule->type) {
  case TYPE_ANY: return same(value);
  case TYPE_BOOLEAN: return json_is_boolean(value) ? same(value) : mistake(c, path, "must be true or false, not %s", kind_of(value));
  case TYPE_INTEGER:
  case TYPE_NUMBER: return check_number(c, rule, value, path);
  case TYPE_DURATION: return check_duration(c, rule, value, path);
  case TYPE_LIST: return check_list(c, rule, value, path);
  case TYPE_MAP: return check_map(c, rule, value, path);
  case TYPE_OBJECT: return check_object(c, rule->fields, value, path);
  case TYPE_SECRET:
  case TYPE_GENERATED: return is_secret(value) ? same(value) : mistake(c, path, "must be a secret, not %s", kind_of(value));
  default: return check_text(c, rule, value, path);
  }
}

static json_t *check_rule(struct check *c, const struct rule *rule, const json_t *value, const struct place *path) {
  json_t *checked = check_type(c, rule, value, path);
  return rule->one_of ? check_one_of(c, rule->one_of, checked, path) : checked;
}

static json_t *check_value(struct check *c, const json_t *schema, const json_t *value, const struct place *path) {
  struct rule rule = rule_of(schema);
  return check_rule(c, &rule, value, path);
}

/* ---- objects with named members ------------------------------------------------------------------------------ */

static void check_unknown(struct check *c, const json_t *fields, const json_t *value, const struct place *path) {
  const char *key, *known;
  json_t *item, *schema;
  json_object_foreach((json_t *)(uintptr_t)value, key, item) {
    if (json_object_get(fields, key)) continue;
    struct suggestion near;
    char hint[96];
    suggest_init(&near, key);
    json_object_foreach((json_t *)(uintptr_t)fields, known, schema) suggest_name(&near, known);
    mistake(c, &(struct place){path, key, 0}, "is not known here%s", suggest_text(&near, hint, sizeof hint));
  }
}

/* An object whose members all have defaults is there even when nothing of it was written. */
static json_t *absent_value(struct check *c, const struct rule *rule, const struct place *place) {
  if (rule->fallback) return check_rule(c, rule, rule->fallback, place);
  if (rule->optional || rule->type == TYPE_GENERATED) return NULL;
  return mistake(c, place, "is missing");
}

static json_t *check_object(struct check *c, const json_t *fields, const json_t *value, const struct place *path) {
  const char *name;
  json_t *schema, *result = json_object();
  size_t before = c->mistakes;
  bool empty = json_is_array(value) && json_array_size(value) == 0;
  if ((!json_is_object(value) && !empty) || is_secret(value)) {
    json_decref(result);
    return mistake(c, path, "must be a table of names, not %s", kind_of(value));
  }
  check_unknown(c, fields, value, path);
  json_object_foreach((json_t *)(uintptr_t)fields, name, schema) {
    const json_t *member = json_object_get(value, name);
    const struct place place = {path, name, 0};
    const struct rule rule = rule_of(schema);
    json_t *checked = member && !json_is_null(member) ? check_rule(c, &rule, member, &place) : absent_value(c, &rule, &place);
    if (checked) json_object_set_new(result, name, checked);
  }
  if (c->mistakes == before) return result;
  json_decref(result);
  return NULL;
}

json_t *schema_apply(const json_t *schema, const json_t *value, const char *path, schema_report *report, void *arg) {
  struct check c = {report, arg, 0};
  return check_object(&c, schema, value, &(struct place){.name = path});
}

/* Most values are as they shall be: nothing is filled in, nothing takes another form. Such a one is its own result. A composed member counts as another form. */
static bool is_itself(const json_t *fields, const json_t *value) {
  struct check silent = {0};
  const struct place nowhere = {.name = ""};
  const char *name;
  json_t *schema;
  size_t known = 0;
  if (!json_is_object(value) || is_secret(value)) return false;
  json_object_foreach((json_t *)(uintptr_t)fields, name, schema) {
    const json_t *member = json_object_get(value, name);
    const struct rule rule = rule_of(schema);
    bool composed = rule.type == TYPE_LIST || rule.type == TYPE_MAP || rule.type == TYPE_OBJECT;
    if (!member && !rule.fallback && (rule.optional || rule.type == TYPE_GENERATED)) continue;
    if (!member || json_is_null(member) || composed) return false;
    json_t *checked = check_rule(&silent, &rule, member, &nowhere);
    json_decref(checked);
    if (checked != member) return false;
    known++;
  }
  return known == json_object_size(value);
}

struct first {
  const char *where;
  struct err *err;
  bool any;
};

static void keep_first(void *arg, const char *path, const char *text) {
  struct first *first = arg;
  if (!first->any) err_set(first->err, ERR_INVALID, "%s%s`%s` %s", first->where, *first->where ? ": " : "", path, text);
  first->any = true;
}

int schema_check(const json_t *schema, const json_t *value, const char *where, json_t **ret, struct err *err) {
  struct first first = {where ? where : "", err, false};
  if (is_itself(schema, value)) {
    *ret = same(value);
    return 0;
  }
  json_t *empty = value ? NULL : json_object();
  json_t *result = schema_apply(schema, value ? value : empty, "", keep_first, &first);
  json_decref(empty);
  if (!result) return ERR_INVALID;
  *ret = result;
  return 0;
}

/* ---- a schema's own form --------------------------------------------------------------------------------------- */

/* Members that each kind of type takes beside doc, default, optional, from and one_of. */
static const char *members_of(const char *type) {
  if (strcmp(type, "string") == 0 || strcmp(type, "url") == 0 || strcmp(type, "host") == 0 || strcmp(type, "email") == 0)
    return " pattern min max ";
  if (strcmp(type, "integer") == 0 || strcmp(type, "number") == 0 || strcmp(type, "duration") == 0) return " min max ";
  if (strcmp(type, "list") == 0 || strcmp(type, "map") == 0) return " of min max ";
  if (strcmp(type, "object") == 0) return " fields ";
  if (strcmp(type, "generated") == 0) return " min max length alphabet ";
  return " ";
}

static bool word_in(const char *words, const char *word) {
  char padded[80];
  snprintf(padded, sizeof padded, " %.70s ", word);
  return strstr(words, padded) != NULL;
}

int schema_valid(const json_t *schema, struct err *err) {
  static const char always[] = " type doc default optional from one_of ";
  const char *type = json_str_or(schema, "type", "any"), *key, *pattern = json_str(schema, "pattern");
  json_t *item;
  json_object_foreach((json_t *)(uintptr_t)schema, key, item) {
    if (word_in(always, key) || word_in(members_of(type), key)) continue;
    return err_set(err, ERR_INVALID, "schema.%s knows no `%s`", type, key);
  }
  if (json_object_get(schema, "doc") && !json_str(schema, "doc")) return err_set(err, ERR_INVALID, "`doc` must be a text");
  if (json_object_get(schema, "one_of") && !json_array_size(json_object_get(schema, "one_of")))
    return err_set(err, ERR_INVALID, "`one_of` must be a list");
  if (json_object_get(schema, "from") && !json_str(schema, "from")) return err_set(err, ERR_INVALID, "`from` must be a path");
  struct err wrong = {0};
  if (pattern) pattern_match("", 0, pattern, &wrong);
  if (wrong.code) return err_set(err, ERR_INVALID, "`pattern`: %s", wrong.text);
  const json_t *fallback = json_object_get(schema, "default");
  if (!fallback) return 0;
  struct first first = {"", err, false};
  struct check c = {keep_first, &first, 0};
  json_decref(check_value(&c, schema, fallback, &(struct place){.name = "default"}));
  return c.mistakes ? ERR_INVALID : 0;
}
