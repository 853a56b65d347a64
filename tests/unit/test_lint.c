/* Declarations and what is said of them: mistakes at load with their line, and `tocsin playbook check`. */
#include "script_help.h"

static void expect_load_error(int r, const struct err *err, const char *text) {
  if (r == 0 || !strstr(err->text, text)) fail_msg("expected: %s\n     got: %s", text, r == 0 ? "loaded" : err->text);
}

#define ACTION "doc = 'd', request = function() end, result = function() end"
static const char *const playbooks[][2] = {
    {"return playbook {\n  run = function() end,\n}", "needs `title`"},
    {"return playbook {\n  title = 'x',\n  titel = 'y',\n  run = function() end,\n}",
     "playbooks/t.lua:3: `titel`: is not known here; did you mean `title`?"},
    {"return playbook {\n  title = 'x',\n  mode = 'singel',\n  run = function() end,\n}",
     "t.lua:3: `mode`: must be one of single, parallel, queued, restart; did you mean `single`?"},
    {"return playbook {\n  title = 'x',\n\n  window = '1 hour', run = function() end,\n}", "t.lua:4: `window`: must be a time"},
    {"return playbook { title = 'x', when = 'always', run = function() end }", "`when`: must be a table"},
    {"return playbook { title = 'x', when = {}, run = function() end }", "`when`: must not be empty"},
    {"return playbook {\n  title = 'x', uses = { 'ldap' },\n  run = function() end }", "t.lua:2: `uses[1]`: must be \"connector.action\""},
    {"return playbook { title = 'x', params = {\n user = { type = 'string' } }, run = function() end }",
     "t.lua:2: `params.user`: must be made by schema"},
    {"return playbook { title = 'x', params = { n = schema.integer { pattern = 'x' } }, run = function() end }",
     "schema.integer knows no `pattern`"},
    {"return playbook { title = 'x', params = { n = schema.integer { default = 'x' } }, run = function() end }", "must be a number"},
    {"return playbook { title = 'x', params = { n = schema.string { pattern = '[' } }, run = function() end }",
     "`pattern`: malformed pattern"},
    {"return playbook { title = 'x', params = { n = schema.strng {} }, run = function() end }",
     "there is no schema.strng; did you mean `string`?"},
    {"return playbook { title = 'x', run = 1 }", "`run`: must be a function"},
    {"return connector { name = 't', title = 'x' }", "t.lua"},
};

static void test_mistakes_in_playbooks(void **state) {
  for (size_t i = 0; i < sizeof playbooks / sizeof *playbooks; i++) {
    struct declaration *d = NULL;
    struct err err = {0};
    expect_load_error(playbook_load("playbooks/t.lua", playbooks[i][0], strlen(playbooks[i][0]), &d, &err), &err, playbooks[i][1]);
  }
}

static const char *const connectors[][2] = {
    {"return connector { name = 't', title = 'x' }", "a connector needs `actions` or `alert`"},
    {"return connector { name = 'other', title = 'x', alert = { source = 's', normalise = function() end } }", "name the file other.lua"},
    {"return connector { name = 't', title = 'x', actions = {\n  a = { " ACTION ", effect = 'contian' } } }",
     "t.lua:2: `actions.a.effect`: must be one of"},
    {"return connector { name = 't', title = 'x', actions = { a = { " ACTION
     ", effect = 'contain', params = { u = schema.string {} }, target = { user = 'u' } } } }",
     "needs `undo = \"action\"`"},
    {"return connector { name = 't', title = 'x', actions = { a = { " ACTION
     ", effect = 'destroy', params = { u = schema.string {} }, target = { user = 'u' }, undo = false } } }",
     "needs `recover`"},
    {"return connector { name = 't', title = 'x', actions = { a = { " ACTION ", effect = 'contain', undo = 'b' } } }",
     "a contain action needs `target`"},
    {"return connector { name = 't', title = 'x', actions = { a = { " ACTION
     ", effect = 'contain', params = { u = schema.string {} }, target = { user = 'v' }, undo = 'b' } } }",
     "there is no parameter `v`"},
    {"return connector { name = 't', title = 'x', actions = { a = { " ACTION ", effect = 'record', probe = 'lokup' }, lookup = { " ACTION
     ", effect = 'read' } } }",
     "there is no action `lokup`; did you mean `lookup`?"},
    {"return connector { name = 't', title = 'x', actions = { a = { " ACTION ", effect = 'record', probe = 'b' }, b = { " ACTION
     ", effect = 'record' } } }",
     "`b` must have the effect read"},
    {"return connector { name = 't', title = 'x', limits = { timout = '1s' }, actions = { a = { " ACTION ", effect = 'read' } } }",
     "`limits.timout`: is not known here; did you mean `timeout`?"},
    {"return connector { name = 't', title = 'x', actions = { a = { doc = 'd', effect = 'read', result = function() end } } }",
     "`actions.a`: needs `request`"},
    {"return playbook { title = 'x', run = function() end }", "must end with `return connector"},
};

static void test_mistakes_in_connectors(void **state) {
  for (size_t i = 0; i < sizeof connectors / sizeof *connectors; i++) {
    struct declaration *d = NULL;
    struct err err = {0};
    expect_load_error(connector_load("connectors/t.lua", connectors[i][0], strlen(connectors[i][0]), &d, &err), &err, connectors[i][1]);
  }
}

static const char ldap[] =
    "local uid = schema.string { doc = 'login' }\n"
    "return connector { name = 'ldap', title = 'LDAP', limits = { timeout = '5s', response_kib = 2 }, actions = {\n"
    "  find = { " ACTION ", effect = 'read', params = { uid = uid }, returns = { dn = schema.string {} } },\n"
    "  lock = { " ACTION
    ", effect = 'contain', params = { uid = uid }, target = { user = 'uid' }, undo = 'unlock', probe = 'find', settle = '1m' },\n"
    "  unlock = { " ACTION ", effect = 'record', params = { uid = uid } },\n"
    "  reset = { " ACTION ", effect = 'destroy', params = { uid = uid, password = schema.generated {} }, target = { user = 'uid' }, undo = "
    "false, recover = 'tell them' },\n"
    "} }";

static struct declaration *load_ldap(void) {
  struct declaration *d = NULL;
  struct err err = {0};
  if (connector_load("connectors/ldap.lua", ldap, sizeof ldap - 1, &d, &err) < 0) fail_msg("%s", err.text);
  return d;
}

static void test_what_a_connector_declares(void **state) {
  struct declaration *d = load_ldap();
  assert_json(json_object_get(d->json, "limits"), "{\"timeout\":5000,\"concurrent\":8,\"per_minute\":0,\"response\":2048}");
  const json_t *lock = json_at(d->json, "actions.lock");
  assert_true(json_is_true(json_object_get(lock, "request")));
  assert_json(json_object_get(lock, "settle"), "60000");
  assert_json(json_object_get(lock, "undo"), "\"unlock\"");
  assert_string_equal(json_str(json_at(lock, "params.because"), "type"), "string");
  assert_string_equal(json_str(json_at(lock, "params.lift_after"), "type"), "duration");
  assert_true(json_is_false(json_at(d->json, "actions.reset.undo")));
  assert_null(json_at(d->json, "actions.unlock.params.because"));
  assert_int_equal(strlen(d->digest), 64);
  declaration_free(d);
}

static const struct {
  const char *body;
  const char *finding; /* NULL: none */
} lints[] = {
    {"local x = act.ldap.find { uid = 'a' }\n if x then return x.dn end", NULL},
    {"local x, why = act.ldap.find { uid = 'a' }\n if not x then return why end\n return x.dn", NULL},
    {"local x = must(act.ldap.find { uid = 'a' })\n return x.dn", NULL},
    {"local x = act.ldap.find { uid = 'a' }\n return x.dn", "warning: playbooks/p.lua:3: `x` is indexed untested"},
    {"return act.ldap.find { uid = 'a' }.dn", "warning: playbooks/p.lua:2: the result of ldap.find is indexed untested"},
    {"act.ldap.lock { uid = 'a' } act.ldap.find { uid = 'b' }", "error: playbooks/p.lua:2: ldap.lock needs `because`"},
    {"act.ldap.find { uuid = 'b' }", "error: playbooks/p.lua:2: ldap.find takes no `uuid`; did you mean `uid`?"},
    {"act.ldap.find { uid = 'b' } act.ldap.unlock { uid = 'b' }",
     "error: playbooks/p.lua:2: `ldap.unlock` is called but `uses` does not name it"},
    {"return incident.title", "names ldap.find, which nothing calls"},
    {"act.ldap.find { uid = 'b' } incident:ask { 'x', within = '1m' }", "the question has no `otherwise`"},
    {"act.ldap.find { uid = 'b' } incident:ask { 'x', otherwise = 'a' }", "the question has no `within`"},
    {"act.ldap.find { uid = 'b' } incident:ask { 'x', within = '1m', options = { 'a', 'b' }, otherwise = 'c' }",
     "`otherwise` is not one of"},
    {"act.ldap.find { uid = 'b' } incident:ask { 'x', within = '1m', options = { 'a', 'b' }, otherwise = 'b' }", NULL},
    {"act.ldap.find { uid = 'b' }\n return incidnt.title", "error: playbooks/p.lua:3: unknown name `incidnt`; did you mean `incident`?"},
    {"act.ldap.find { uid = 'b' } os.exit()", "unknown name `os`"},
    {"return incident:poll { 'ldap.find', params = { uid = 'a' }, within = '1m', when = { dn = 'x' } }", NULL},
    {"act.ldap.find { uid = 'b' } act.ldpa.find { uid = 'b' }", "no connector is configured for `ldpa.find`"},
    {"act.ldap.find { uid = 'b' } -- act.ldap.steal {}\n local s = [[ act.ldap.steal {} ]] return s", NULL},
    {"for _, name in ipairs { 'find' } do act.ldap[name] { uid = 'a' } end", NULL},
};

static void lint_one(const json_t *declared, const char *body, const char *finding) {
  char *source = NULL;
  if (asprintf(&source, "return playbook { title = 'T', uses = { 'ldap.find'%s }, run = function(incident, act)\n %s\nend }",
               strstr(body, "ldap.lock") ? ", 'ldap.lock'" : "", body) < 0)
    abort();
  struct declaration *d = NULL;
  struct err err = {0};
  if (playbook_load("playbooks/p.lua", source, strlen(source), &d, &err) < 0) fail_msg("%s", err.text);
  json_t *findings = json_array();
  assert_int_equal(playbook_lint(d, declared, findings, &err), 0);
  char *text = json_text(findings);
  if (finding ? !strstr(text, finding) : json_array_size(findings) != 0)
    fail_msg("%s\nexpected %s\ngot %s", body, finding ? finding : "nothing", text);
  free(text);
  json_decref(findings);
  declaration_free(d);
  free(source);
}

static void test_lint(void **state) {
  struct declaration *d = load_ldap();
  json_t *declared = json_pack("{s:O}", "ldap", d->json);
  for (size_t i = 0; i < sizeof lints / sizeof *lints; i++) lint_one(declared, lints[i].body, lints[i].finding);
  lint_one(declared, "local r = act.ldap.reset { uid = 'a', because = 'b' } if r then incident:undo(r) end", "ldap.reset cannot be undone");
  json_decref(declared);
  declaration_free(d);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_mistakes_in_playbooks),
      cmocka_unit_test(test_mistakes_in_connectors),
      cmocka_unit_test(test_what_a_connector_declares),
      cmocka_unit_test(test_lint),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
