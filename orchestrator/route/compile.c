/* From a `when` in JSON to a tree of tests. Every mistake is an error that names the member: a trigger that silently never matches is the worst kind. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "route/condition.h"
#include "route/fold.h"
#include "route/near.h"

enum { MAX_MODIFIERS = 4, MODIFIER_TEXT = 24 };

static const struct modifier {
  const char *name;
  enum test test;
} operators[] = {
    {"contains", TEST_CONTAINS},
    {"startswith", TEST_STARTS},
    {"endswith", TEST_ENDS},
    {"cidr", TEST_CIDR},
    {"cidr_in", TEST_CIDR_IN},
    {"gte", TEST_GTE},
    {"gt", TEST_GT},
    {"lte", TEST_LTE},
    {"lt", TEST_LT},
    {"re", TEST_PATTERN},
    {"exists", TEST_EXISTS},
};

static const char *const known[] = {"contains", "startswith", "endswith", "cidr",  "cidr_in", "gte", "gt", "lte", "lt",
                                    "re",       "exists",     "all",      "cased", "i",       "m",   "s",  NULL};

/* Sigma's others, and what to do instead. */
static const struct {
  const char *name, *instead;
} others[] = {
    {"neq", "put the member into none = { … }"},
    {"regex", "write |re"},
    {"regexp", "write |re"},
    {"prefix", "write |startswith"},
    {"suffix", "write |endswith"},
    {"not", "put the member into none = { … }"},
    {"in", "write the values as a list: { \"a\", \"b\" } or list \"name\""},
    {"equals", "leave the modifier out: a plain member means equal"},
    {"fieldref", "comparing two fields is not supported"},
    {"windash", "write both forms as a list of values"},
    {"base64", "write the encoded value"},
    {"base64offset", "write the three encoded values as a list with |contains"},
    {"expand", "use a named list: list \"name\""},
    {"wide", "write the value as the alert shows it"},
    {"utf16le", "write the value as the alert shows it"},
};

struct compiler {
  const struct lists *lists;
  struct err *err;
  size_t tests;
};

static int node_compile(struct compiler *c, enum node kind, const json_t *source, unsigned depth, struct condition **ret);

void condition_free(struct condition *c) {
  if (!c) return;
  for (size_t i = 0; i < c->count; i++) condition_free(c->children[i]);
  for (size_t i = 0; i < c->value_count; i++) {
    free(c->values[i].text);
    if (c->values[i].kind == VALUE_PATTERN) nfa_free(c->values[i].pattern);
  }
  path_release(&c->path);
  free(c->children);
  free(c->values);
  free(c);
}

/* ---- a member's name: path|modifier|modifier ---- */

static int unknown(struct compiler *c, const char *member, const char *modifier) {
  for (size_t i = 0; i < sizeof others / sizeof *others; i++)
    if (strcmp(others[i].name, modifier) == 0)
      return err_set(c->err, ERR_INVALID, "`%s`: the modifier |%s is not available: %s", member, modifier, others[i].instead);
  const char *meant = route_near_miss(modifier, known);
  if (meant) return err_set(c->err, ERR_INVALID, "`%s`: unknown modifier |%s; did you mean |%s?", member, modifier, meant);
  return err_set(
      c->err, ERR_INVALID,
      "`%s`: unknown modifier |%s; there are contains, startswith, endswith, cidr, cidr_in, gte, gt, lte, lt, re, exists, all, cased",
      member, modifier);
}

static unsigned flag_of(const char *modifier) {
  return strcmp(modifier, "i") == 0   ? NFA_IGNORE_CASE
         : strcmp(modifier, "m") == 0 ? NFA_MULTILINE
         : strcmp(modifier, "s") == 0 ? NFA_DOT_ALL
                                      : 0;
}

static int take_modifier(struct compiler *c, struct condition *t, const char *member, const char *modifier, unsigned *flags) {
  unsigned flag = flag_of(modifier);
  if (strcmp(modifier, "all") == 0) return t->every = true, 0;
  if (strcmp(modifier, "cased") == 0) return t->cased = true, 0;
  if (flag && t->test != TEST_PATTERN) return err_set(c->err, ERR_INVALID, "`%s`: |%s only follows |re", member, modifier);
  if (flag) return *flags |= flag, 0;
  for (size_t i = 0; i < sizeof operators / sizeof *operators; i++) {
    if (strcmp(operators[i].name, modifier) != 0) continue;
    if (t->test != TEST_EQUAL) return err_set(c->err, ERR_INVALID, "`%s`: two comparisons in one member; write two members", member);
    return t->test = operators[i].test, 0;
  }
  return unknown(c, member, modifier);
}

static bool takes_text(enum test test) { return test == TEST_EQUAL || test == TEST_CONTAINS || test == TEST_STARTS || test == TEST_ENDS; }

static int name_parse(struct compiler *c, struct condition *t, const char *member, unsigned *flags) {
  size_t len = strcspn(member, "|");
  struct err why = {0};
  int rc = path_compile(member, len, &t->path, &why);
  if (rc) return err_set(c->err, rc, "`%.200s`: %s", member, why.text);
  for (const char *p = member + len; *p == '|' && !rc;) {
    char modifier[MODIFIER_TEXT];
    size_t n = strcspn(++p, "|");
    if (n >= sizeof modifier) return err_set(c->err, ERR_INVALID, "`%.200s`: no modifier is that long", member);
    memcpy(modifier, p, n);
    modifier[n] = 0;
    rc = take_modifier(c, t, member, modifier, flags);
    p += n;
  }
  if (!rc && t->cased && !takes_text(t->test))
    return err_set(c->err, ERR_INVALID,
                   t->test == TEST_PATTERN ? "`%s`: |re heeds case already (|re|i ignores it)" : "`%s`: |cased goes with texts only",
                   member);
  if (!rc && t->every && t->test == TEST_EXISTS) return err_set(c->err, ERR_INVALID, "`%s`: |all and |exists do not go together", member);
  return rc;
}

/* ---- values ---- */

static int list_value(struct compiler *c, const struct condition *t, const char *member, const char *name, struct value *ret) {
  if (t->test != TEST_EQUAL && t->test != TEST_CIDR && t->test != TEST_CIDR_IN)
    return err_set(c->err, ERR_INVALID, "`%s`: a named list goes with plain members and |cidr_in", member);
  if (t->cased) return err_set(c->err, ERR_INVALID, "`%s`: named lists never heed case; leave |cased out", member);
  if (!lists_rows(c->lists, name))
    return err_set(c->err, ERR_INVALID, "`%s`: there is no list `%.64s`: create %.64s.csv in the lists' folder", member, name, name);
  *ret = (struct value){.kind = VALUE_LIST, .text = strdup(name), .len = strlen(name)};
  return ret->text ? 0 : err_set(c->err, ERR_MEMORY, "no memory for a condition");
}

static int text_value(struct compiler *c, const struct condition *t, const char *member, const json_t *source, struct value *ret) {
  char room[PATH_NUMBER];
  const char *text;
  size_t len;
  if (!scalar_text(source, room, &text, &len))
    return err_set(c->err, ERR_INVALID, "`%s`: a value must be a text, a number, true or false", member);
  if (len > CONDITION_MAX_TEXT) return err_set(c->err, ERR_LIMIT, "`%s`: a value is longer than %d bytes", member, CONDITION_MAX_TEXT);
  if (t->test != TEST_EQUAL && !len) return err_set(c->err, ERR_INVALID, "`%s`: an empty value is in every text; use |exists", member);
  if (t->test == TEST_EQUAL && memchr(text, '*', len))
    return err_set(c->err, ERR_INVALID,
                   "`%s`: `*` is no wildcard here: use |startswith, |endswith or |contains (or |re for a real asterisk)", member);
  *ret = (struct value){.kind = VALUE_TEXT, .text = malloc(len + 1), .len = len};
  if (!ret->text) return err_set(c->err, ERR_MEMORY, "no memory for a condition");
  if (t->cased) memcpy(ret->text, text, len);
  else ret->len = fold_text(text, len, ret->text);
  ret->text[ret->len] = 0;
  return 0;
}

static int network_value(struct compiler *c, const char *member, const json_t *source, struct value *ret) {
  struct err why = {0};
  ret->kind = VALUE_NETWORK;
  if (!json_is_string(source)) return err_set(c->err, ERR_INVALID, "`%s`: write a network such as \"10.0.0.0/8\"", member);
  int rc = network_parse(json_string_value(source), json_string_length(source), &ret->network, &why);
  return rc ? err_set(c->err, rc, "`%s`: %s", member, why.text) : 0;
}

static int pattern_value(struct compiler *c, const char *member, const json_t *source, unsigned flags, struct value *ret) {
  struct err why = {0};
  if (!json_is_string(source)) return err_set(c->err, ERR_INVALID, "`%s`: a pattern must be a text", member);
  int rc = nfa_new(json_string_value(source), json_string_length(source), flags, &ret->pattern, &why);
  if (rc) return err_set(c->err, rc, "`%s`: %s", member, why.text);
  ret->kind = VALUE_PATTERN;
  return 0;
}

static int value_compile(struct compiler *c, const struct condition *t, const char *member, const json_t *source, unsigned flags,
                         struct value *ret) {
  const char *list = json_object_size(source) == 1 ? json_str(source, "$list") : NULL;
  if (!list && t->test == TEST_CIDR_IN) list = json_string_value(source);
  if (list) return list_value(c, t, member, list, ret);
  switch (t->test) {
  case TEST_CIDR_IN: return err_set(c->err, ERR_INVALID, "`%s`: |cidr_in takes list \"name\"; |cidr takes networks", member);
  case TEST_CIDR: return network_value(c, member, source, ret);
  case TEST_PATTERN: return pattern_value(c, member, source, flags, ret);
  case TEST_GTE:
  case TEST_GT:
  case TEST_LTE:
  case TEST_LT:
    ret->kind = VALUE_NUMBER;
    return value_number(source, &ret->number) ? 0 : err_set(c->err, ERR_INVALID, "`%s`: compares with a number only", member);
  default: return text_value(c, t, member, source, ret);
  }
}

int value_compare(const char *a, size_t a_len, const char *b, size_t b_len) {
  if (a_len != b_len) return a_len < b_len ? -1 : 1;
  return memcmp(a, b, a_len);
}

/* Texts first and sorted, for the binary search. */
static int in_order(const void *a, const void *b) {
  const struct value *x = a, *y = b;
  if (x->kind != y->kind) return x->kind < y->kind ? -1 : 1;
  return x->kind == VALUE_TEXT ? value_compare(x->text, x->len, y->text, y->len) : 0;
}

static int values_compile(struct compiler *c, struct condition *t, const char *member, const json_t *source, unsigned flags) {
  size_t count = json_is_array(source) ? json_array_size(source) : 1;
  if (!count) return err_set(c->err, ERR_INVALID, "`%s`: an empty list of values never matches", member);
  if (count > CONDITION_MAX_VALUES)
    return err_set(c->err, ERR_LIMIT, "`%s`: more than %d values: put them into a named list", member, CONDITION_MAX_VALUES);
  if (!(t->values = calloc(count, sizeof *t->values))) return err_set(c->err, ERR_MEMORY, "no memory for a condition");
  for (size_t i = 0; i < count; i++) {
    const json_t *v = json_is_array(source) ? json_array_get(source, i) : source;
    if (json_is_null(v) && t->test == TEST_EQUAL && !t->every) {
      t->absent = true;
      continue;
    }
    struct value *to = &t->values[t->value_count];
    int rc = value_compile(c, t, member, v, flags, to);
    if (rc) return rc;
    t->value_count++;
    if (to->kind == VALUE_TEXT) t->text_count++, t->longest = to->len > t->longest ? to->len : t->longest;
  }
  if (t->test == TEST_EQUAL && t->value_count) qsort(t->values, t->value_count, sizeof *t->values, in_order);
  return 0;
}

/* ---- the tree ---- */

static int test_compile(struct compiler *c, const char *member, const json_t *source, struct condition **ret) {
  unsigned flags = 0;
  if (++c->tests > CONDITION_MAX_TESTS) return err_set(c->err, ERR_LIMIT, "more than %d conditions", CONDITION_MAX_TESTS);
  struct condition *t = calloc(1, sizeof *t);
  if (!t) return err_set(c->err, ERR_MEMORY, "no memory for a condition");
  *t = (struct condition){.kind = NODE_TEST, .lists = c->lists};
  int rc = name_parse(c, t, member, &flags);
  if (!rc && t->test == TEST_EXISTS) {
    t->exists = json_is_true(source);
    if (!json_is_boolean(source)) rc = err_set(c->err, ERR_INVALID, "`%s`: write true or false", member);
  } else if (!rc) {
    rc = values_compile(c, t, member, source, flags);
  }
  if (rc) return condition_free(t), rc;
  *ret = t;
  return 0;
}

static int member_compile(struct compiler *c, const char *member, const json_t *source, unsigned depth, struct condition **ret) {
  static const char *const reserved[] = {"all", "not", "or", "and", "condition"};
  bool any = strcmp(member, "any") == 0, none = strcmp(member, "none") == 0;
  if (any || none) {
    int rc = node_compile(c, any ? NODE_ANY : NODE_NONE, source, depth + 1, ret);
    return rc ? err_wrap(c->err, "%s", member) : 0;
  }
  for (size_t i = 0; i < sizeof reserved / sizeof *reserved; i++)
    if (strcmp(member, reserved[i]) == 0)
      return err_set(c->err, ERR_INVALID, "`%s`: members are and-ed already; any = { … } is or, none = { … } is not", member);
  return test_compile(c, member, source, ret);
}

/* An object's members, or an array's objects (each of them and-ed in itself). */
static int node_compile(struct compiler *c, enum node kind, const json_t *source, unsigned depth, struct condition **ret) {
  size_t size = json_is_object(source) ? json_object_size(source) : json_array_size(source), i;
  const char *key;
  json_t *item;
  int rc = 0;
  if (depth > CONDITION_MAX_DEPTH) return err_set(c->err, ERR_LIMIT, "conditions nested deeper than %d levels", CONDITION_MAX_DEPTH);
  if (!size) return err_set(c->err, ERR_INVALID, "write members such as [\"metadata.product.name\"] = \"Wazuh\"; there are none");
  if (size > CONDITION_MAX_TESTS) return err_set(c->err, ERR_LIMIT, "more than %d conditions", CONDITION_MAX_TESTS);
  struct condition *n = calloc(1, sizeof *n);
  if (!n || !(n->children = calloc(size, sizeof(struct condition *))))
    return free(n), err_set(c->err, ERR_MEMORY, "no memory for a condition");
  n->kind = kind;
  if (json_is_object(source)) {
    json_object_foreach((json_t *)(uintptr_t)source, key, item) {
      if ((rc = member_compile(c, key, item, depth, &n->children[n->count]))) goto out;
      n->count++;
    }
  }
  json_array_foreach(source, i, item) {
    if (!json_is_object(item)) rc = err_set(c->err, ERR_INVALID, "a list of conditions holds tables of members only");
    else rc = node_compile(c, NODE_ALL, item, depth + 1, &n->children[n->count]);
    if (rc) goto out;
    n->count++;
  }
out:
  if (rc) return condition_free(n), rc;
  *ret = n;
  return 0;
}

int condition_compile(const json_t *when, const struct lists *lists, struct condition **ret, struct err *err) {
  struct err own = {0};
  struct compiler c = {.lists = lists, .err = err ? err : &own};
  if (!json_is_object(when) && !json_is_array(when)) return err_set(err, ERR_INVALID, "a condition must be a table of members");
  return node_compile(&c, json_is_array(when) ? NODE_ANY : NODE_ALL, when, 0, ret);
}
