/* `tocsin tabletop check`: our scenarios have no mistake, and each mistake is found. With the connectors and playbooks that ship. */
#include "script_help.h"

#include <dirent.h>

#include "exercise/check.h"

static struct registry *registry;
static struct lists *lists;
static struct scenario_against against;
static json_t *connectors, *playbooks;

static char *text_of(const char *path, size_t *ret_len) {
  FILE *f = fopen(path, "r");
  char *text = calloc(1, 1 << 20);
  if (!f || !text) fail_msg("%s", path);
  *ret_len = fread(text, 1, (1 << 20) - 1, f);
  fclose(f);
  return text;
}

static int lua_file(const struct dirent *e) { return strstr(e->d_name, ".lua") && !strstr(e->d_name, "_test"); }

/* For each Lua file of the folder. */
static void each_file(const char *folder, void (*fn)(const char *path, const char *text, size_t len)) {
  struct dirent **files = NULL;
  char path[512];
  size_t len;
  int n = scandir(folder, &files, lua_file, alphasort);
  assert_true(n > 0);
  for (int i = 0; i < n; i++) {
    snprintf(path, sizeof path, "%s/%s", folder, files[i]->d_name);
    char *text = text_of(path, &len);
    fn(path, text, len);
    free(text);
    free(files[i]);
  }
  free(files);
}

static void add_playbook(const char *path, const char *text, size_t len) {
  struct declaration *d = NULL;
  assert_int_equal(playbook_load(path, text, len, &d, NULL), 0);
  json_object_set(playbooks, d->name, d->json);
  declaration_free(d);
}

static void add_connector(const char *path, const char *text, size_t len) {
  struct declaration *d = NULL;
  assert_int_equal(connector_load(path, text, len, &d, NULL), 0);
  json_object_set(connectors, d->name, d->json);
  declaration_free(d);
}

static int prepare(void **state) {
  struct err err = {0};
  struct trigger triggers[32];
  const char *name;
  json_t *p;
  size_t count = 0;
  connectors = json_object();
  playbooks = json_object();
  each_file("connectors", add_connector);
  each_file("playbooks", add_playbook);
  static const char shadow[] = "return playbook { title = 'Looks on', shadow = true, when = { ['metadata.product.name'] = 'Wazuh', "
                               "['finding_info.title'] = 'seen' }, run = function() end }";
  add_playbook("looks-on.lua", shadow, sizeof shadow - 1);
  if (registry_new("connectors", NULL, &registry, &err) < 0 || lists_load("playbooks/lists", &lists, &err) < 0) fail_msg("%s", err.text);
  json_object_foreach(playbooks, name, p) if (json_object_get(p, "when") && count < 32) triggers[count++] =
      (struct trigger){name, json_object_get(p, "when"), json_object_get(p, "group"), 0, json_bool_or(p, "shadow", false)};
  against = (struct scenario_against){.connectors = connectors, .playbooks = playbooks, .normaliser = normaliser_new(registry, NULL)};
  return router_new(triggers, count, NULL, lists, &against.router, &err);
}

static int release(void **state) {
  router_free(against.router);
  normaliser_free(against.normaliser);
  lists_free(lists);
  registry_free(registry);
  json_decref(connectors);
  json_decref(playbooks);
  return 0;
}

static json_t *checked(const char *file, const char *source, size_t len) {
  struct scenario *s = NULL;
  json_t *findings = json_array();
  scenario_read(file, source, len, findings, &s);
  against.file = file;
  against.source = source;
  against.len = len;
  if (s) scenario_check(s, &against, findings);
  scenario_free(s);
  return findings;
}

static void is_whole(const char *path, const char *text, size_t len) {
  struct scenario *s = NULL;
  json_t *findings = checked(path, text, len), *found;
  size_t i;
  json_array_foreach(findings, i, found) print_error("%s\n", json_string_value(found));
  assert_int_equal(json_array_size(findings), 0);
  json_decref(findings);
  assert_int_equal(scenario_load(path, text, len, &s, NULL), 0);
  assert_int_equal(json_int_or(s->json, "duration", 0), 7200000);
  assert_in_range(json_array_size(json_object_get(s->json, "injects")), 15, 30);
  assert_true(json_array_size(json_object_get(s->json, "objectives")) >= 6);
  assert_true(json_object_size(json_object_get(s->json, "roles")) >= 4);
  scenario_free(s);
}

static void test_ours(void **state) { each_file("runbooks/tabletop", is_whole); }

/* A scenario of two injects with these parts put in; the findings must be as many, and the first bear the words. */
static void finds(const char *injects, const char *more, size_t count, const char *words) {
  char source[4000];
  snprintf(source, sizeof source,
           "return scenario { title = 'T', summary = 'S', duration = '1h', roles = { lead = 'leads' },\n"
           "injects = { { id = 'first', at = '1m', message = { to = 'lead', text = 'x' } },\n"
           "{ id = 'ask', at = '2m', question = { to = 'lead', text = '?', options = { 'yes', 'no' }, otherwise = 'no', within = '5m' } "
           "},\n%s },\n"
           "objectives = { { id = 'o', text = 'O', judge = %s } },\n%s }",
           injects, strncmp(more, "judge", 5) == 0 ? more + 5 : "{ closed = true }", strncmp(more, "judge", 5) == 0 ? "" : more);
  json_t *findings = checked("x.lua", source, strlen(source));
  const char *first = json_string_value(json_array_get(findings, 0));
  if (json_array_size(findings) != count || (words && !strstr(first ? first : "", words)))
    fail_msg("expected %zu: \"%s\", got %zu: \"%s\"", count, words ? words : "", json_array_size(findings), first ? first : "");
  json_decref(findings);
}

static void test_reach(void **state) {
  finds("{ id = 'a', after = 'first', delay = '5m', fact = 'x' }", "", 0, NULL);
  finds("{ id = 'a', after = { answered = 'ask', with = 'yes' }, by = '50m', fact = 'x' }", "", 0, NULL);
  finds("{ id = 'a', after = 'a', fact = 'x' }", "", 1, "error: x.lua:4: inject a: it can never come: it waits for itself");
  finds("{ id = 'a', after = 'b', fact = 'x' }, { id = 'b', after = 'a', fact = 'x' }", "", 2,
        "it waits for b, which waits for it: a loop");
  finds("{ id = 'a', after = 'b', by = '9m', fact = 'x' }, { id = 'b', after = 'a', fact = 'x' }", "", 0, NULL);
  finds("{ id = 'a', after = { answered = 'ask', with = 'maybe' }, fact = 'x' }, { id = 'b', after = 'a', fact = 'x' }", "", 2,
        "inject a: it can never come: what it waits for cannot be");
  finds("{ id = 'a', after = 'first', delay = '60m', fact = 'x' }", "", 1, "inject a: it comes 1h 1m after the start at the earliest");
  finds("{ id = 'a', after = { fired = 'first', within = '30s' }, fact = 'x' }", "", 1, "inject a: it can never come");
  finds("{ id = 'a', at = '5m', only_if = { silent = 'first' }, fact = 'x' }", "", 1,
        "inject a: it can never come"); /* first asks nothing */
}

static void test_actions_and_targets(void **state) {
  finds("{ id = 'a', after = { contained = 'hots=db' }, fact = 'x' }", "", 1, "nothing can contain `hots=db`");
  finds("{ id = 'a', after = { done = 'ldpa.lock_account' }, fact = 'x' }", "", 1, "there is no connector `ldpa`; did you mean `ldap`?");
  finds("{ id = 'a', after = { started = 'looks-on' }, fact = 'x' }", "", 1, "the playbook looks-on is in shadow: no run of it counts");
  finds("", "script = { { by = 'lead', at = '1m', run = 'looks-on' } }", 1, "the playbook looks-on is in shadow: it takes no action above");
  finds("{ id = 'a', after = { started = 'contain-acount' }, fact = 'x' }", "", 1,
        "there is no playbook `contain-acount`; did you mean `contain-account`?");
  finds("", "answers = { { action = 'ldap.lock_acount', already = true } }", 1, "no action `lock_acount`; did you mean `lock_account`?");
  finds("", "answers = { { action = 'ldap.lock_account', params = { user = 'x' }, already = true } }", 1,
        "ldap.lock_account has no `user`");
  finds("", "answers = { { action = 'ldap.find_user', already = true } }", 1, "does not say whether it was so already");
  finds("", "answers = { { action = 'rt.*', fails = { kind = 'unavailable', message = '503' } } }", 0, NULL);
  finds("", "script = { { by = 'lead', at = '1m', run = 'release', params = { tiket = 1 } } }", 1,
        "release has no `tiket`; did you mean `ticket`?");
  finds("", "script = { { by = 'lead', answer = 'ask', with = 'maybe' } }", 1, "script item s1");
}

static void test_objectives_and_roles(void **state) {
  finds("", "judge{ answered = 'ask', with = 'maybe' }", 1, "x.lua:5: objective o: nobody can meet it");
  finds("", "judge{ all = { { closed = true }, { asked = 'first' } } }", 1, "objective o: nobody can meet it");
  finds("", "judge{ any = { { closed = true }, { asked = 'first' } } }", 0, NULL);
  finds("{ id = 'a', at = '3m', call = { to = 'press', from = 'x', text = 'y' } }", "", 1, "there is no role `press`");
  static const char lonely[] =
      "return scenario { title = 'T', summary = 'S', duration = '1h', roles = { lead = 'leads', press = 'speaks' },\n"
      "injects = { { id = 'a', at = '1m', message = { to = 'lead', text = 'x' } } },\n"
      "objectives = { { id = 'o', text = 'O', judge = { closed = true } } } }";
  json_t *findings = checked("x.lua", lonely, strlen(lonely));
  assert_json(findings, "[\"error: x.lua:1: role press: nobody plays it: nothing is ever said to it or asked of it\"]");
  json_decref(findings);
}

#define WAZUH(level, more) WAZUH_SAYS(level, "d", more)
#define WAZUH_SAYS(level, title, more)                                                                                                     \
  "{ id = 'a', at = '3m', alert = { source = 'wazuh', " more                                                                               \
  " body = { timestamp = '{time}', id = '1.2', agent = { id = '1', name = 'h' }, manager = { name = 'm' },"                                \
  "rule = { level = " level ", description = '" title "', id = '5', mitre = { id = { 'T1078' } } }, data = { srcuser = 'eve' } } } }"

static void test_alerts(void **state) {
  finds(WAZUH("13", ""), "", 0, NULL);
  finds(WAZUH("3", ""), "", 1, "inject a: no playbook wants it: say noise = true");
  finds(WAZUH("3", "noise = true,"), "", 0, NULL);
  finds(WAZUH("13", "noise = true,"), "", 1, "it is called noise, but the playbook contain-account wants it");
  finds(WAZUH_SAYS("3", "seen", ""), "", 1, "warning: x.lua:4: inject a: only the playbook looks-on wants it, which is in shadow");
  finds(WAZUH_SAYS("3", "seen", "noise = true,"), "", 0, NULL);
  finds(WAZUH_SAYS("13", "seen", ""), "", 0, NULL); /* another one wants it, too */
  finds(WAZUH_SAYS("13", "seen", "noise = true,"), "", 1, "it is called noise, but the playbook contain-account wants it");
  finds("{ id = 'a', at = '3m', alert = { source = 'wazuh', body = { title = 'I am no alert of Wazuh' } } }", "", 1,
        "x.lua:4: inject a: wazuh could not have sent it: it looks like one of generic");
  finds("{ id = 'a', at = '3m', alert = { source = 'wazuh', body = '{ \"rule\": ' } }", "", 1, "wazuh could not have sent it: ");
  finds("{ id = 'a', at = '3m', alert = { source = 'wazhu', body = {} } }", "", 1, "there is no connector `wazhu`; did you mean `wazuh`?");
  finds("{ id = 'a', at = '3m', alert = { source = 'ldap', body = {} } }", "", 1, "ldap sends no alerts");
}

/* The engine wants to know whether, and has no time for all of it: a loop of five thousand conditions. */
static void test_only_the_first(void **state) {
  enum { INJECTS = 490, EACH = 10 };
  struct buf source;
  buf_init(&source, 1 << 20);
  buf_adds(&source, "return scenario { title = 'T', summary = 'S', duration = '1h', roles = { lead = 'leads' },\n"
                    "objectives = { { id = 'o', text = 'O', judge = { closed = true } } }, injects = {");
  for (int i = 0; i < INJECTS; i++) {
    buf_addf(&source, "{ id = 'i%d', message = { to = 'lead', text = 'x' }, after = { all = {", i);
    for (int k = 1; k < EACH; k++) buf_addf(&source, "{ fired = 'i%d' },", (i + k) % INJECTS);
    buf_adds(&source, "} } },\n");
  }
  buf_adds(&source, "} }");
  against.only_first = true;
  json_t *findings = checked("x.lua", source.data, source.len);
  assert_int_equal(json_array_size(findings), 1);
  assert_non_null(strstr(json_string_value(json_array_get(findings, 0)), "it can never come: it waits for i1, which waits for i2"));
  json_decref(findings);
  against.only_first = false;
  buf_release(&source);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_ours),
                                     cmocka_unit_test(test_reach),
                                     cmocka_unit_test(test_actions_and_targets),
                                     cmocka_unit_test(test_objectives_and_roles),
                                     cmocka_unit_test(test_alerts),
                                     cmocka_unit_test(test_only_the_first)};
  return cmocka_run_group_tests(tests, prepare, release);
}
