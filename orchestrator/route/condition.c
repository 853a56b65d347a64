#include "route/condition.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "route/fold.h"

bool value_number(const json_t *value, long double *ret) {
  if (json_is_integer(value)) return *ret = (long double)json_integer_value(value), true;
  if (json_is_real(value)) return *ret = json_real_value(value), true;
  if (!json_is_string(value)) return false;
  const char *s = json_string_value(value), *p = s + (*s == '-');
  size_t len = json_string_length(value);
  if (len > 64 || len != strlen(s) || !isdigit((unsigned char)*p)) return false;
  while (isdigit((unsigned char)*p)) p++;
  if (*p == '.') {
    if (!isdigit((unsigned char)*++p)) return false;
    while (isdigit((unsigned char)*p)) p++;
  }
  if (*p == 'e' || *p == 'E') {
    p += p[1] == '+' || p[1] == '-' ? 2 : 1;
    if (!isdigit((unsigned char)*p)) return false;
    while (isdigit((unsigned char)*p)) p++;
  }
  if (*p) return false;
  *ret = strtold(s, NULL);
  return true;
}

/* One look at one test: `only` is the value that |all is at, or NULL for any of them. */
struct look {
  const struct condition *t;
  const struct value *only;
  int64_t now_us;
};

static bool compare_number(enum test test, long double have, long double want) {
  switch (test) {
  case TEST_GTE: return have >= want;
  case TEST_GT: return have > want;
  case TEST_LTE: return have <= want;
  default: return have < want;
  }
}

static bool text_fits(enum test test, const char *have, size_t have_len, const struct value *want) {
  if (have_len < want->len) return false;
  switch (test) {
  case TEST_CONTAINS: return memmem(have, have_len, want->text, want->len) != NULL;
  case TEST_STARTS: return memcmp(have, want->text, want->len) == 0;
  case TEST_ENDS: return memcmp(have + have_len - want->len, want->text, want->len) == 0;
  default: return have_len == want->len && memcmp(have, want->text, want->len) == 0;
  }
}

static bool among(const struct condition *t, const char *text, size_t len) {
  size_t low = 0, high = t->text_count;
  while (low < high) {
    size_t mid = low + (high - low) / 2;
    int order = value_compare(text, len, t->values[mid].text, t->values[mid].len);
    if (order == 0) return true;
    if (order < 0) high = mid;
    else low = mid + 1;
  }
  return false;
}

static bool text_test(const struct look *l, const char *text, size_t len) {
  const struct condition *t = l->t;
  if (t->test == TEST_EQUAL && !l->only) return among(t, text, len);
  for (size_t i = 0; i < t->value_count; i++) {
    const struct value *v = l->only ? l->only : &t->values[i];
    if (v->kind == VALUE_TEXT && text_fits(t->test, text, len, v)) return true;
    if (l->only) return false;
  }
  return false;
}

static bool texts_fit(const struct look *l, const char *text, size_t len) {
  if (!l->t->text_count || (l->only && l->only->kind != VALUE_TEXT)) return false;
  if (l->t->cased) return text_test(l, text, len);
  if (l->t->test == TEST_EQUAL && len > 3 * l->t->longest) return false; /* folding shortens to a third at most */
  struct folded f;
  fold_init(&f, text, len);
  bool fits = text_test(l, f.data, f.len);
  fold_release(&f);
  return fits;
}

/* The kinds that are no texts. */
static bool other_fits(const struct look *l, const struct value *v, const json_t *value, const char *text, size_t len) {
  struct network address;
  long double number;
  switch (v->kind) {
  case VALUE_LIST: return strlen(text) == len && lists_match(l->t->lists, v->text, text, l->now_us, NULL); /* "root\0x" is not root */
  case VALUE_NETWORK: return address_parse(text, len, &address) && network_has(&v->network, &address);
  case VALUE_NUMBER: return value_number(value, &number) && compare_number(l->t->test, number, v->number);
  case VALUE_PATTERN: return nfa_match(v->pattern, text, len);
  default: return false;
  }
}

static bool visit(void *arg, const json_t *value) {
  const struct look *l = arg;
  char room[PATH_NUMBER];
  const char *text;
  size_t len;
  if (l->t->test == TEST_EXISTS) return true;
  if (!scalar_text(value, room, &text, &len)) return false;
  if (texts_fit(l, text, len)) return true;
  if (l->only) return other_fits(l, l->only, value, text, len);
  for (size_t i = l->t->test == TEST_EQUAL ? l->t->text_count : 0; i < l->t->value_count; i++)
    if (other_fits(l, &l->t->values[i], value, text, len)) return true;
  return false;
}

static bool something(void *arg, const json_t *value) { return true; }

static bool test_match(const struct condition *t, const json_t *alert, const json_t *raw, int64_t now_us) {
  struct look l = {.t = t, .now_us = now_us};
  if (t->test == TEST_EXISTS) return path_walk(&t->path, alert, raw, visit, &l) == t->exists;
  if (t->absent && !path_walk(&t->path, alert, raw, something, NULL)) return true;
  if (!t->every) return t->value_count && path_walk(&t->path, alert, raw, visit, &l);
  for (size_t i = 0; i < t->value_count; i++) {
    l.only = &t->values[i];
    if (!path_walk(&t->path, alert, raw, visit, &l)) return false;
  }
  return true;
}

bool condition_match(const struct condition *c, const json_t *alert, const json_t *raw, int64_t now_us) {
  if (c->kind == NODE_TEST) return test_match(c, alert, raw, now_us);
  for (size_t i = 0; i < c->count; i++)
    if (condition_match(c->children[i], alert, raw, now_us) == (c->kind != NODE_ALL)) return c->kind == NODE_ANY;
  return c->kind != NODE_ANY;
}
