/* tocsin.lua: defaults, secrets by name, connectors, and the line of every mistake. */
#include "script_help.h"

#include <sys/stat.h>
#include <unistd.h>

static char folder[64], file[96];

static int setup(void **state) {
  snprintf(folder, sizeof folder, "/tmp/tocsin-settings-XXXXXX");
  if (!mkdtemp(folder)) return -1;
  snprintf(file, sizeof file, "%s/tocsin.lua", folder);
  return 0;
}

static int teardown(void **state) {
  unlink(file);
  return rmdir(folder);
}

static int load(const char *text, json_t **ret, json_t **ret_secrets, struct err *err) {
  FILE *f = fopen(file, "w");
  assert_non_null(f);
  fputs(text, f);
  fclose(f);
  return settings_load(file, ret, ret_secrets, err);
}

static void test_defaults(void **state) {
  json_t *settings = NULL, *secrets = NULL;
  struct err err = {0};
  if (settings_load(NULL, &settings, &secrets, &err) < 0) fail_msg("%s", err.text);
  assert_string_equal(json_str(settings, "data"), "tocsin-data");
  assert_string_equal(json_string_value(json_at(settings, "api.socket")), "tocsin-data/tocsin.sock");
  assert_string_equal(json_string_value(json_at(settings, "guard.ceiling")), "notify");
  assert_json(json_object_get(settings, "run"), "{\"memory_mib\":16,\"burst\":250,\"total\":10000,\"most\":1000}");
  assert_json(json_object_get(settings, "dedupe"), "86400000");
  assert_json(json_object_get(settings, "roles"), "[\"viewer\",\"responder\",\"lead\",\"auditor\",\"admin\"]");
  assert_null(json_object_get(settings, "redis"));
  assert_int_equal(json_object_size(secrets), 0);
  json_decref(settings);
  json_decref(secrets);
}

static void test_a_whole_file(void **state) {
  json_t *settings = NULL, *secrets = NULL;
  struct err err = {0};
  char place[160];
  int r = load("local base = 'dc=corp,dc=example'\n"
               "return {\n"
               "  data = 'state',\n"
               "  redis = { host = 'r.example', tls = true, password = secret 'env:REDIS_PASSWORD' },\n"
               "  connectors = {\n"
               "    corp = ldap { url = 'ldaps://dc.example', base = base, password = secret 'file:ldap.pw' },\n"
               "    mail = smtp { url = 'smtp://m', password = secret 'command:/usr/bin/pass mail' },\n"
               "  },\n"
               "  people = { alice = { uid = 1000, roles = { 'responder' }, token = secret 'file:/etc/t' } },\n"
               "  webhook = { sources = { wazuh = { token = secret 'env:WAZUH' } } },\n"
               "  guard = { ceiling = 'contain', budgets = { { effect = 'contain', most = 5, within = '10m' } }, protected = { { type = "
               "'user', value = 'root' } } },\n"
               "  suppress = { { name = 'deploy', when = { a = 1, none = { ['ip|cidr_in'] = list 'vpn' } }, reason = 'r', owner = 'o', "
               "expires = '2027-01-01' } },\n"
               "  stop_within = '5s',\n"
               "}\n",
               &settings, &secrets, &err);
  if (r < 0) fail_msg("%s", err.text);
  snprintf(place, sizeof place, "%s/state/tocsin.sock", folder);
  assert_string_equal(json_string_value(json_at(settings, "api.socket")), place);
  assert_json(json_at(settings, "connectors.corp"),
              "{\"$connector\":\"ldap\",\"url\":\"ldaps://"
              "dc.example\",\"base\":\"dc=corp,dc=example\",\"password\":{\"$secret\":\"connectors.corp.password\"}}");
  assert_json(json_at(settings, "redis.password"), "{\"$secret\":\"redis.password\"}");
  assert_json(json_at(settings, "guard.budgets"), "[{\"effect\":\"contain\",\"most\":5,\"within\":600000,\"per\":\"all\"}]");
  assert_json(json_object_get(json_array_get(json_object_get(settings, "suppress"), 0), "when"),
              "{\"a\":1,\"none\":{\"ip|cidr_in\":{\"$list\":\"vpn\"}}}");
  assert_json(json_object_get(settings, "stop_within"), "5000");
  assert_int_equal(json_object_size(secrets), 5);
  snprintf(place, sizeof place, "file:%s/ldap.pw", folder);
  assert_string_equal(json_str(secrets, "connectors.corp.password"), place);
  assert_string_equal(json_str(secrets, "people.alice.token"), "file:/etc/t");
  assert_string_equal(json_str(secrets, "connectors.mail.password"), "command:/usr/bin/pass mail");
  json_decref(settings);
  json_decref(secrets);
}

/* A folder that is there beside the file is taken, relative to the file. */
static void test_folders(void **state) {
  json_t *settings = NULL;
  char own[160];
  snprintf(own, sizeof own, "%s/plays", folder);
  assert_int_equal(mkdir(own, 0700), 0);
  int r = load("return { folders = { playbooks = 'plays', runbooks = '/nowhere/at/all' } }", &settings, NULL, NULL);
  rmdir(own);
  assert_int_equal(r, 0);
  assert_string_equal(json_string_value(json_at(settings, "folders.playbooks")), own);
  assert_string_equal(json_string_value(json_at(settings, "folders.runbooks")), "/nowhere/at/all");
  json_decref(settings);
}

static const struct {
  const char *text;
  const char *mistakes[4]; /* each a line, with the file's name left out */
} wrong[] = {
    {"return {\n  redsi = {},\n}", {":2: unknown setting `redsi`; did you mean `redis`?"}},
    {"return {\n  data = 5,\n  guard = {\n    ceiling = 'contian',\n  },\n  people = {\n    bob = { uid = 'x' },\n  },\n}",
     {":2: `data` must be a text, not a number",
      ":4: `guard.ceiling` must be one of read, record, notify, contain, destroy; did you mean `contain`?",
      ":7: `people.bob.uid` must be a number"}},
    {"return {\n  connectors = {\n    corp = ldap { url = 'x' },\n    lab = { url = 'x' },\n  },\n}",
     {":4: `connectors.lab` must name its connector: write it as ldap { … }"}},
    {"return {\n  redis = { password = 'hunter22' },\n}", {":2: `redis.password` must be a secret, not a text"}},
    {"return {\n  redis = { password = secret 'hunter22' },\n}", {":2: a secret is named as secret \"env:NAME\""}},
    {"return {\n  redis = { password = secrte 'env:X' },\n}", {":2: unknown name `secrte`; did you mean `secret`?"}},
    {"return {\n  stop_within = 30,\n  dedupe = 'a day',\n}", {":3: `dedupe` must be a time like"}},
    {"return {\n  webhook = { sources = {\n    wazuh = {},\n  } },\n}", {":3: `webhook.sources.wazuh` needs a `token` or a `signature`"}},
    {"return {\n  guard = { budgets = {\n    { effect = 'contain', most = 1, within = '1m' },\n    { most = 5, within = '1m' },\n  } },\n}",
     {":4: `guard.budgets[2]` must say what it is about"}},
    {"return {\n  evidence = { classes = { standard = '9d' },\n    delete = { 'standard', 'personel' } },\n}",
     {":3: `evidence.delete[2]` is none of evidence.classes"}},
    {"return {\n  data = \n}", {":3: unexpected symbol near '}'"}},
    {"data = 'x'\nreturn {}", {":1: write the settings as `return { data = … }`"}},
    {"return 5", {"must end with `return { … }`"}},
    {"return {\n  data = os.getenv('HOME'),\n}", {":2: "}},
    {"while true do end", {"CPU time"}},
    {"return {\n  people = { bob = { token = { ['$secret'] = 'x' } } } }", {"names a secret by hand"}},
};

static void test_mistakes(void **state) {
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    json_t *settings = NULL;
    struct err err = {0};
    if (load(wrong[i].text, &settings, NULL, &err) == 0) fail_msg("accepted: %s", wrong[i].text);
    assert_null(settings);
    assert_null(strstr(err.text, "hunter22"));
    for (size_t k = 0; k < 4 && wrong[i].mistakes[k]; k++)
      if (!strstr(err.text, wrong[i].mistakes[k])) fail_msg("%s\nexpected %s\ngot %s", wrong[i].text, wrong[i].mistakes[k], err.text);
  }
}

static void test_files_that_are_none(void **state) {
  json_t *settings = NULL;
  struct err err = {0};
  assert_int_equal(settings_load("/nowhere/tocsin.lua", &settings, NULL, &err), ERR_IO);
  assert_int_equal(settings_load(folder, &settings, NULL, &err), ERR_INVALID);
}

static void test_every_setting_is_described(void **state) {
  json_t *all = settings_describe(), *schema;
  const char *name;
  assert_true(json_object_size(all) >= 21);
  json_object_foreach(all, name, schema) {
    assert_non_null(json_str(schema, "type"));
    assert_non_null(json_str(schema, "doc"));
  }
  assert_string_equal(json_object_iter_key(json_object_iter(all)), "data");
  json_decref(all);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_defaults), cmocka_unit_test(test_a_whole_file),        cmocka_unit_test(test_folders),
      cmocka_unit_test(test_mistakes), cmocka_unit_test(test_files_that_are_none), cmocka_unit_test(test_every_setting_is_described),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
