/* What the tests of scripts share: loading from texts, an incident that answers, a run that is played to its end. */
#ifndef TOCSIN_TEST_SCRIPT_HELP_H
#define TOCSIN_TEST_SCRIPT_HELP_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "script/script.h"

static inline int test_look(void *arg, const char *what, const json_t *args, json_t **ret, struct err *err) {
  const char *name = json_string_value(args);
  if (strcmp(what, "incident") == 0 && name && strcmp(name, "evil") == 0) *ret = json_pack("{s:s}", "$secret", "settings.key");
  else if (strcmp(what, "incident") == 0 && name && strcmp(name, "broken") == 0) return err_set(err, ERR_INTERNAL, "the host says no");
  else if (strcmp(what, "incident") == 0) *ret = json_sprintf("the %s", name);
  else if (strcmp(what, "alerts") == 0) *ret = json_pack("[{s:s,s:i},{s:s,s:i}]", "name", "one", "n", 1, "name", "two", "n", 2);
  else if (strcmp(what, "observables") == 0) *ret = json_pack("[{s:s,s:s}]", "type", name ? name : "any", "value", "v");
  else if (strcmp(what, "summary") == 0) *ret = json_string("all that happened");
  else if (strcmp(what, "now") == 0) *ret = json_integer(1700000000123456);
  else if (strcmp(what, "random") == 0) *ret = json_integer(0x123456789abcdef0);
  else if (strcmp(what, "list.match") == 0 && strcmp(json_str_or(args, "value", ""), "10.0.0.1") == 0)
    *ret = json_pack("{s:s,s:O}", "value", "10.0.0.1", "list", json_object_get(args, "list"));
  else if (strcmp(what, "list.match") == 0) *ret = json_false();
  else if (strcmp(what, "list.rows") == 0) *ret = json_pack("[s]", name);
  else return err_set(err, ERR_NOT_FOUND, "nothing is known of %s", what);
  return 0;
}
static const struct script_host test_host = {NULL, test_look};

static inline json_t *test_json(const char *text) {
  json_t *value = NULL;
  struct err err;
  if (json_parse(text, strlen(text), &value, &err) < 0) fail_msg("%s: %s", text, err.text);
  return value;
}

static inline void assert_json(const json_t *value, const char *expected) {
  json_t *want = test_json(expected);
  if (!json_equal(value, want)) {
    char *got = json_text(value);
    fail_msg("expected %s\n     got %s", expected, got ? got : "nothing");
  }
  json_decref(want);
}

static inline struct declaration *test_playbook(const char *source) {
  struct declaration *d = NULL;
  struct err err = {0};
  if (playbook_load("playbooks/test.lua", source, strlen(source), &d, &err) < 0) fail_msg("%s", err.text);
  return d;
}

static inline struct declaration *test_connector(const char *source) {
  struct declaration *d = NULL;
  struct err err = {0};
  if (connector_load("connectors/test.lua", source, strlen(source), &d, &err) < 0) fail_msg("%s", err.text);
  return d;
}

#endif
