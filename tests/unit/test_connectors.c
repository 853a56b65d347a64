/* The connectors' actions against real servers (tests/servers): what they change is looked at from outside, by logging in. A server that is not
 * installed skips its test by name. */
#include "transport_help.h"

#include "script/script.h"

enum { LINE = 65536 };

struct server {
  pid_t pid;
  int in;
  json_t *info;
};

struct product {
  struct declaration *declaration;
  struct connector_state *state;
};

static struct outcome o;
static json_t *returns, *failure; /* of the last action */
static json_t *made;              /* its generated parameter, as a slot */
static unsigned generated;

/* ---- servers -------------------------------------------------------------------------------------------------- */

static bool read_line(int fd, char *out, size_t size) {
  size_t n = 0;
  while (n + 1 < size && read(fd, out + n, 1) == 1 && out[n] != '\n') n++;
  out[n] = 0;
  return n > 0;
}

/* tests/servers/<name>.py says where it listens in one line of JSON and ends with its standard input. */
static bool server_start(const char *name, struct server *ret) {
  int in[2], out[2];
  char path[256], *line = malloc(LINE);
  snprintf(path, sizeof path, "tests/servers/%s.py", name);
  assert_true(line && pipe(in) == 0 && pipe(out) == 0);
  pid_t pid = fork();
  if (pid == 0) {
    dup2(in[0], 0), dup2(out[1], 1);
    for (int fd = 3; fd < 256; fd++) close(fd);
    execlp("python3", "python3", path, NULL);
    _exit(127);
  }
  close(in[0]), close(out[1]);
  bool up = read_line(out[0], line, LINE);
  close(out[0]);
  *ret = (struct server){.pid = pid, .in = in[1], .info = up ? help_json(line) : NULL};
  free(line);
  if (up) return true;
  close(in[1]);
  wait_exit(pid);
  print_message("skipped: %s cannot be started here\n", name);
  return false;
}

static void server_stop(struct server *s) {
  close(s->in);
  wait_exit(s->pid);
  json_decref(s->info);
}

static const char *told(const struct server *s, const char *path) {
  const char *text = json_string_value(json_at(s->info, path));
  if (!text) fail_msg("the server does not tell its %s", path);
  return text;
}

/* ---- actions ---------------------------------------------------------------------------------------------------- */

static struct product product_load(const char *name, const char *settings_format, ...) {
  struct product p = {0};
  struct err err = {0};
  char path[128], *text = calloc(1, LINE * 4), settings[4096];
  va_list args;
  snprintf(path, sizeof path, "connectors/%s.lua", name);
  FILE *f = fopen(path, "rb");
  assert_true(f && text);
  size_t len = fread(text, 1, LINE * 4, f);
  fclose(f);
  if (connector_load(path, text, len, &p.declaration, &err) < 0) fail_msg("%s", err.text);
  free(text);
  va_start(args, settings_format);
  vsnprintf(settings, sizeof settings, settings_format, args);
  va_end(args);
  json_t *given = help_json(settings), *checked = NULL;
  if (schema_check(json_object_get(p.declaration->json, "settings"), given, name, &checked, &err) < 0) fail_msg("%s", err.text);
  if (connector_state_new(p.declaration, checked, NULL, &p.state, &err) < 0) fail_msg("%s", err.text);
  json_decref(given);
  json_decref(checked);
  return p;
}

static void product_free(struct product *p) {
  connector_state_free(p->state);
  declaration_free(p->declaration);
}

static void secret(const char *slot, const char *value) { assert_int_equal(secrets_put(secrets, slot, value, strlen(value), NULL), 0); }

static void call(const struct product *p, const char *action, const char *part, json_t *args_take, enum script_trust trust, json_t **ret,
                 json_t **ret_failure) {
  char function[128];
  struct err err = {0};
  snprintf(function, sizeof function, "actions.%s.%s", action, part);
  if (connector_call(p->state, function, args_take, trust, ret, ret_failure, &err) < 0) fail_msg("%s: %s", function, err.text);
  json_decref(args_take);
}

/* Only what the action knows, with new secrets for its generated parameters; checked. New. */
static json_t *params_for(const json_t *declared, const json_t *given) {
  struct err err = {0};
  const json_t *schema = json_object_get(declared, "params");
  json_t *params = json_object(), *checked = NULL, *rule;
  const char *name;
  json_object_foreach((json_t *)(uintptr_t)schema, name, rule) {
    json_t *value = json_object_get(given, name);
    if (value) json_object_set(params, name, value);
    else if (strcmp(name, "because") == 0) json_object_set_new(params, name, json_string("a test"));
    if (strcmp(json_str_or(rule, "type", ""), "generated") != 0) continue;
    char slot[32], password[32];
    snprintf(slot, sizeof slot, "made:%u", ++generated);
    snprintf(password, sizeof password, "Made-By-The-Test-%04u", generated);
    secret(slot, password);
    json_decref(made);
    made = json_pack("{s:s}", "$secret", slot);
    json_object_set(params, name, made);
  }
  if (schema_check(schema, params, "params", &checked, &err) < 0) fail_msg("%s", err.text);
  json_decref(params);
  return checked;
}

/* What the engine does with one action, guards apart. true: it returned; false: `failure` says why, its kind is "not_sent" when the transport was refused. */
static bool act_json(const struct product *p, const char *action, const json_t *given) {
  struct err err = {0};
  const json_t *declared = json_object_get(json_object_get(p->declaration->json, "actions"), action);
  assert_non_null(declared);
  json_t *params = params_for(declared, given), *request = NULL, *found = NULL;
  if (json_str(declared, "resolve")) {
    if (!act_json(p, json_str(declared, "resolve"), given)) {
      json_decref(params);
      return false;
    }
    found = json_incref(returns);
  }
  json_decref(returns), json_decref(failure);
  returns = failure = NULL;
  call(p, action, "request", found ? json_pack("[O, O]", params, found) : json_pack("[O]", params), SCRIPT_TRUSTED, &request, &failure);
  json_decref(found);
  json_decref(params);
  if (!request) return false;
  help_run((struct exchange){.connector = "test",
                             .response_cap = 1 << 20,
                             .read_only = strcmp(json_str_or(declared, "effect", ""), "read") == 0,
                             .idempotency_key = "key-1"},
           request, &o);
  if (o.delivery != DELIVERY_ANSWERED) {
    failure = json_pack("{s:s, s:s}", "kind", o.delivery == DELIVERY_NOT_SENT ? "not_sent" : "in_doubt", "message", o.err.text);
    return false;
  }
  json_t *result = NULL, *checked = NULL;
  call(p, action, "result", json_pack("[O]", o.response), SCRIPT_DATA, &result, &failure);
  if (!result) return false;
  if (schema_check(json_object_get(declared, "returns"), result, "returns", &checked, &err) < 0) fail_msg("%s: %s", action, err.text);
  json_decref(result);
  returns = checked;
  return true;
}

static bool act(const struct product *p, const char *action, const char *params) {
  json_t *given = help_json(params);
  bool ok = act_json(p, action, given);
  json_decref(given);
  return ok;
}

#define must_act(p, action, params)                                                                                                        \
  do {                                                                                                                                     \
    if (!act(p, action, params))                                                                                                           \
      fail_msg("%s %s: %s: %s", action, params, json_str_or(failure, "kind", "?"), json_str_or(failure, "message", "?"));                  \
  } while (0)
#define must_fail(p, action, params, wanted)                                                                                               \
  do {                                                                                                                                     \
    assert_false(act(p, action, params));                                                                                                  \
    assert_string_equal(json_str_or(failure, "kind", ""), wanted);                                                                         \
  } while (0)

static bool says(const char *name) { return json_is_true(json_object_get(returns, name)); }
static bool denies(const char *name) { return json_is_false(json_object_get(returns, name)); }

/* Tries the password that was made last. */
static bool made_works(const struct product *p, const char *param, const char *name) {
  json_t *given = json_pack("{s:s, s:O}", param, name, "password", made);
  bool ok = act_json(p, "password_works", given);
  json_decref(given);
  return ok && says("happened");
}

/* ---- ldap --------------------------------------------------------------------------------------------------------- */

static void test_ldap(void **unused) {
  struct server s;
  if (!server_start("slapd", &s)) skip();
  secret("ldap.password", told(&s, "service.password"));
  secret("old", told(&s, "people.alice.password"));
  struct product p =
      product_load("ldap", "{\"url\":\"%s\",\"bind_dn\":\"%s\",\"password\":{\"$secret\":\"ldap.password\"},\"base\":\"%s\"}",
                   told(&s, "url"), told(&s, "service.dn"), told(&s, "suffix"));
  const char *old = "{\"uid\":\"alice\",\"password\":{\"$secret\":\"old\"}}";

  must_act(&p, "find_user", "{\"uid\":\"alice\"}");
  assert_string_equal(json_str_or(returns, "dn", ""), told(&s, "people.alice.dn"));
  assert_string_equal(json_str_or(returns, "name", ""), "Alice Liddell");
  assert_true(denies("locked"));
  must_fail(&p, "find_user", "{\"uid\":\"nobody\"}", "not_found");
  must_fail(&p, "find_user", "{\"uid\":\"*\"}", "not_found"); /* a star is no wildcard */
  must_act(&p, "password_works", old);
  assert_true(says("happened"));

  must_act(&p, "lock_account", "{\"uid\":\"alice\"}");
  assert_true(denies("already"));
  must_act(&p, "is_locked", "{\"uid\":\"alice\"}");
  assert_true(says("happened"));
  must_act(&p, "password_works", old);
  assert_null(json_object_get(returns, "happened"));
  assert_int_equal(json_int_or(returns, "code", 0), 49);
  must_act(&p, "lock_account", "{\"uid\":\"alice\"}");
  assert_true(says("already"));

  must_act(&p, "unlock_account", "{\"uid\":\"alice\"}");
  assert_true(denies("already"));
  must_act(&p, "is_unlocked", "{\"uid\":\"alice\"}");
  assert_true(says("happened"));
  must_act(&p, "password_works", old); /* the same password works again */
  assert_true(says("happened"));
  must_act(&p, "unlock_account", "{\"uid\":\"alice\"}");
  assert_true(says("already"));

  must_act(&p, "set_password", "{\"uid\":\"alice\"}");
  assert_true(made_works(&p, "uid", "alice"));
  must_act(&p, "password_works", old);
  assert_null(json_object_get(returns, "happened"));
  must_fail(&p, "lock_account", "{\"uid\":\"nobody\"}", "not_found");
  product_free(&p);
  server_stop(&s);
}

/* ---- postgresql ----------------------------------------------------------------------------------------------------- */

/* A session of the role that stays open until somebody ends it. */
static void session_open(const struct product *p, const struct server *s, struct outcome *ret) {
  struct flight *flight;
  json_t *request = json_pack("{s:{s:s, s:I, s:s, s:s, s:{s:s}, s:s, s:[s]}}", "sql", "host", "127.0.0.1", "port",
                              json_integer_value(json_object_get(s->info, "port")), "dbname", "postgres", "user", "app_orders", "password",
                              "$secret", "old", "sslmode", "disable", "statements", "SELECT pg_sleep(600)");
  struct exchange x = {.request = request, .timeout_ms = 600000};
  assert_int_equal(transport_start(transports, &x, outcome_cb, ret, &flight, NULL), 0);
  json_decref(request);
  int64_t until = now_ms() + GUARD_MS;
  do {
    assert_true(now_ms() < until);
    loop_turn(loop);
    must_act(p, "role_exists", "{\"role\":\"app_orders\"}");
  } while (json_int_or(returns, "sessions", 0) < 1);
}

static void test_postgresql(void **unused) {
  struct server s;
  struct outcome session = {0};
  if (!server_start("postgres", &s)) skip();
  secret("pg.password", told(&s, "service.password"));
  secret("old", told(&s, "roles.app_orders"));
  struct product p = product_load(
      "postgresql",
      "{\"host\":\"127.0.0.1\",\"port\":%lld,\"user\":\"%s\",\"password\":{\"$secret\":\"pg.password\"},\"sslmode\":\"disable\"}",
      (long long)json_integer_value(json_object_get(s.info, "port")), told(&s, "service.role"));
  const char *old = "{\"role\":\"app_orders\",\"password\":{\"$secret\":\"old\"}}", *role = "{\"role\":\"app_orders\"}";

  must_act(&p, "role_exists", "{\"role\":\"nobody\"}");
  assert_true(denies("exists"));
  must_act(&p, "password_works", old);
  session_open(&p, &s, &session);

  must_act(&p, "rotate_password", role);
  assert_int_equal(json_int_or(returns, "sessions_ended", -1), 1);
  assert_true(made_works(&p, "role", "app_orders"));
  must_act(&p, "password_works", old);
  assert_true(denies("happened"));
  if (!session.calls) help_wait(&session);
  assert_true(session.delivery == DELIVERY_IN_DOUBT ||
              strcmp(json_str_or(session.response, "sqlstate", ""), "57P01") == 0); /* cut off in the middle */
  outcome_release(&session);
  must_fail(&p, "rotate_password", "{\"role\":\"no\\\"body\"}", "not_found");

  must_act(&p, "disable_login", role);
  assert_true(denies("already"));
  must_act(&p, "login_disabled", role);
  assert_true(says("happened"));
  assert_false(made_works(&p, "role", "app_orders"));
  must_act(&p, "disable_login", role);
  assert_true(says("already"));
  must_act(&p, "enable_login", role);
  assert_true(denies("already"));
  must_act(&p, "login_enabled", role);
  assert_true(says("happened"));
  must_act(&p, "rotate_password", role);
  assert_true(made_works(&p, "role", "app_orders"));
  product_free(&p);
  server_stop(&s);
}

/* ---- redis ------------------------------------------------------------------------------------------------------------ */

static void test_redis(void **unused) {
  struct server s;
  if (!server_start("redis", &s)) skip();
  secret("redis.password", told(&s, "admin.password"));
  secret("old", told(&s, "app.password"));
  struct product p =
      product_load("redis",
                   "{\"host\":\"127.0.0.1\",\"port\":%lld,\"tls\":false,\"password\":{\"$secret\":\"redis.password\"},\"save\":\"acl\"}",
                   (long long)json_integer_value(json_object_get(s.info, "port")));
  const char *old = "{\"user\":\"app\",\"password\":{\"$secret\":\"old\"}}", *user = "{\"user\":\"app\"}";

  must_act(&p, "user_exists", "{\"user\":\"nobody\"}");
  assert_true(denies("exists"));
  must_act(&p, "password_works", old);
  must_act(&p, "rotate_password", user);
  assert_null(json_object_get(returns, "warning"));
  assert_true(made_works(&p, "user", "app"));
  must_act(&p, "password_works", old);
  assert_true(denies("happened"));
  must_fail(&p, "rotate_password", "{\"user\":\"nobody\"}", "not_found");
  must_act(&p, "user_exists", "{\"user\":\"nobody\"}");
  assert_true(denies("exists")); /* looking for it did not make it */

  must_act(&p, "disable_user", user);
  assert_true(denies("already"));
  must_act(&p, "is_disabled", user);
  assert_true(says("happened"));
  must_act(&p, "disable_user", user);
  assert_true(says("already"));
  must_act(&p, "enable_user", user);
  assert_true(denies("already"));
  must_act(&p, "is_enabled", user);
  assert_true(says("happened"));
  must_act(&p, "rotate_password", user);
  assert_true(made_works(&p, "user", "app"));
  product_free(&p);
  server_stop(&s);
}

/* ---- rt ----------------------------------------------------------------------------------------------------------------- */

static void test_rt(void **unused) {
  struct server s;
  char id[64], text[256];
  if (!server_start("rt", &s)) skip();
  secret("rt.token", told(&s, "token"));
  struct product p =
      product_load("rt", "{\"url\":\"%s\",\"token\":{\"$secret\":\"rt.token\"},\"queue\":\"%s\"}", told(&s, "url"), told(&s, "queue"));
  const char *ticket = "{\"subject\":\"It's a \\\\ test\",\"reference\":\"INC-000042\",\"content\":\"first\\nsecond\"}";

  must_act(&p, "find_ticket", ticket);
  assert_true(denies("happened"));
  must_act(&p, "create_ticket", ticket);
  json_int_t made_id = json_int_or(returns, "id", 0);
  assert_true(made_id > 0);
  must_act(&p, "find_ticket", ticket);
  assert_true(says("happened"));
  assert_int_equal(json_int_or(returns, "id", 0), made_id);
  snprintf(id, sizeof id, "{\"id\":%lld}", (long long)made_id);
  must_act(&p, "get_ticket", id);
  assert_string_equal(json_str_or(returns, "subject", ""), "[INC-000042] It's a \\ test");
  snprintf(text, sizeof text, "{\"id\":%lld,\"content\":\"locked\"}", (long long)made_id);
  must_act(&p, "comment", text);
  must_act(&p, "resolve", id);
  must_act(&p, "get_ticket", id);
  assert_string_equal(json_str_or(returns, "status", ""), "resolved");
  must_act(&p, "reopen", id);
  must_act(&p, "search", "{\"query\":\"Queue = 'Security'\"}");
  assert_int_equal(json_int_or(returns, "total", 0), 1);
  must_fail(&p, "get_ticket", "{\"id\":999999}", "not_found");
  assert_false(act(&p, "create_ticket", "{\"subject\":\"x\",\"queue\":\"No such queue\"}"));
  assert_false(act(&p, "comment", "{\"id\":999999,\"content\":\"x\"}"));
  secret("rt.token", "1-14-00000000000000000000000000000000");
  must_fail(&p, "get_ticket", id, "denied");
  product_free(&p);
  server_stop(&s);
}

/* ---- alertmanager, smtp ---------------------------------------------------------------------------------------------------- */

static void test_alertmanager(void **unused) {
  struct server s;
  char silence[128];
  if (!server_start("alertmanager", &s)) skip();
  struct product p = product_load("alertmanager", "{\"url\":\"%s\"}", told(&s, "url"));
  must_act(&p, "silence",
           "{\"alertname\":\"BruteForce\",\"matchers\":{\"instance\":\"web01\"},\"ends_at\":4102444800000,\"comment\":\"a test\"}");
  snprintf(silence, sizeof silence, "{\"silence_id\":\"%s\"}", json_str_or(returns, "silence_id", "?"));
  must_act(&p, "silences", "{}");
  assert_int_equal(json_array_size(json_object_get(returns, "silences")), 1);
  must_act(&p, "expire_silence", silence);
  must_act(&p, "silences", "{}");
  assert_int_equal(json_array_size(json_object_get(returns, "silences")), 0);
  must_fail(&p, "silence", "{\"alertname\":\"BruteForce\",\"ends_at\":\"tomorrow\",\"comment\":\"a test\"}", "invalid");
  product_free(&p);
  server_stop(&s);
}

static void test_smtp(void **unused) {
  struct server s;
  char path[512];
  if (!server_start("smtp", &s)) skip();
  struct product p = product_load(
      "smtp", "{\"url\":\"smtp://127.0.0.1:%lld\",\"starttls\":\"never\",\"from\":\"tocsin@example.org\",\"to\":[\"oncall@example.org\"]}",
      (long long)json_integer_value(json_object_get(s.info, "port")));
  must_act(&p, "send", "{\"subject\":\"Z\u00fcrich\\nBcc: x@example.org\",\"text\":\"a question waits\",\"incident\":\"INC-000042\"}");
  snprintf(path, sizeof path, "%s/0001.eml", told(&s, "folder"));
  assert_int_equal(access(path, R_OK), 0);
  product_free(&p);
  server_stop(&s);
}

static int up(void **unused) {
  help_up();
  return 0;
}

static int down(void **unused) {
  json_decref(returns), json_decref(failure), json_decref(made);
  outcome_release(&o);
  help_down();
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_ldap), cmocka_unit_test(test_postgresql),   cmocka_unit_test(test_redis),
      cmocka_unit_test(test_rt),   cmocka_unit_test(test_alertmanager), cmocka_unit_test(test_smtp),
  };
  return cmocka_run_group_tests_name("connectors", tests, up, down);
}
