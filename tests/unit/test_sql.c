/* The sql transport against a real PostgreSQL: quoting, verifiers, transactions, and what is known after each failure. */
#include <grp.h>
#include <pwd.h>

#include "transport_help.h"

#define BIN "/usr/lib/postgresql/15/bin/"

static struct outcome o;
static char folder[64], data[96], postgres_log[128];
static pid_t postgres;
static int port;
static uid_t uid;
static gid_t gid;

static json_t *sql_as(const char *user, const char *password, const char *more, const char *statements) {
  char text[8192];
  snprintf(text, sizeof text,
           "{\"sql\":{\"host\":\"127.0.0.1\",\"port\":%d,\"dbname\":\"postgres\",\"user\":\"%s\",\"password\":%s,\"sslmode\":\"disable\"%s,"
           "\"statements\":%s}}",
           port, user, password, more, statements);
  return help_json(text);
}

static json_t *sql(const char *more, const char *statements) { return sql_as("boss", "{\"$secret\":\"db.boss\"}", more, statements); }

static void run(const char *more, const char *statements) {
  help_run((struct exchange){.connector = "db"}, sql(more, statements), &o);
  if (o.delivery != DELIVERY_ANSWERED) fail_msg("%s: %s", statements, o.err.text);
}

static const char *state(void) { return json_str_or(o.response, "sqlstate", ""); }

static json_t *cell(size_t row, const char *column) {
  return json_object_get(json_array_get(json_object_get(o.response, "rows"), row), column);
}

static bool logs_in(const char *user, const char *password) {
  help_run((struct exchange){0}, sql_as(user, password, "", "[\"SELECT 1\"]"), &o);
  if (o.delivery == DELIVERY_ANSWERED) return true;
  assert_int_equal(o.delivery, DELIVERY_NOT_SENT);
  assert_int_equal(o.err.code, ERR_DENIED);
  return false;
}

static int up(void **unused) {
  char temporary[] = "/tmp/tocsin-sql-XXXXXX", password_file[96], number[16], hba[128];
  struct passwd *who = geteuid() == 0 ? getpwnam("postgres") : NULL;
  if (geteuid() == 0 && !who) who = getpwnam("nobody");
  snprintf(folder, sizeof folder, "%s", mkdtemp(temporary));
  snprintf(data, sizeof data, "%s/data", folder);
  snprintf(password_file, sizeof password_file, "%s/password", folder);
  snprintf(postgres_log, sizeof postgres_log, "%s/log", folder);
  write_file(password_file, "boss-password\n");
  write_file(postgres_log, "");
  if (who) {
    uid = who->pw_uid, gid = who->pw_gid;
    assert_int_equal(chown(folder, uid, gid) | chown(password_file, uid, gid) | chown(postgres_log, uid, gid), 0);
  }
  assert_int_equal(wait_exit(spawn_quiet(postgres_log, uid, gid,
                                         (const char *[]){BIN "initdb", "-D", data, "-U", "boss", "-A", "scram-sha-256", "--pwfile",
                                                          password_file, "-N", "--no-instructions", "--locale", "C", "-E", "UTF8", NULL})),
                   0);
  port = free_port();
  snprintf(number, sizeof number, "%d", port);
  snprintf(hba, sizeof hba, "unix_socket_directories=%s", folder);
  postgres = spawn_quiet(postgres_log, uid, gid,
                         (const char *[]){BIN "postgres", "-D", data, "-p", number, "-c", "listen_addresses=127.0.0.1", "-c", hba, "-c",
                                          "fsync=off", "-c", "log_statement=all", NULL});
  help_up();
  assert_int_equal(secrets_put(secrets, "db.boss", "boss-password", 13, NULL), 0);
  /* The port opens before the server lets anybody in. */
  int64_t until = now_ms() + GUARD_MS;
  do {
    assert_true(now_ms() < until);
    poll(NULL, 0, 20);
    help_run((struct exchange){0}, sql("", "[\"SELECT 1\"]"), &o);
  } while (o.delivery != DELIVERY_ANSWERED);
  return 0;
}

static int down(void **unused) {
  kill(postgres, SIGINT);
  wait_exit(postgres);
  outcome_release(&o);
  help_down();
  remove_folder(folder);
  return 0;
}

static void rows_and_types(void **unused) {
  run("", "[{\"text\":\"SELECT 7::int8 AS n, true AS b, 1.5::float8 AS f, NULL AS z, 'caf\u00e9' AS t, '{\\\"a\\\":[1]}'::jsonb AS j, "
          "$1::text AS p, $2::int AS q, 'NaN'::float8 AS nan\",\"params\":[\"it's\",42]}]");
  assert_int_equal(json_integer_value(cell(0, "n")), 7);
  assert_true(json_is_true(cell(0, "b")));
  assert_true(json_real_value(cell(0, "f")) > 1.4);
  assert_true(json_is_null(cell(0, "z")));
  assert_string_equal(json_string_value(cell(0, "t")), "caf\xc3\xa9");
  assert_int_equal(json_integer_value(json_array_get(json_object_get(cell(0, "j"), "a"), 0)), 1);
  assert_string_equal(json_string_value(cell(0, "p")), "it's");
  assert_int_equal(json_integer_value(cell(0, "q")), 42);
  assert_string_equal(json_string_value(cell(0, "nan")), "NaN");
  run("", "[\"SELECT generate_series(1,50) AS n\",\"SELECT 1 WHERE 'a%' LIKE 'a%'\"]");
  json_t *first = json_array_get(json_object_get(o.response, "results"), 0);
  assert_int_equal(json_array_size(json_object_get(first, "rows")), 50);
  assert_int_equal(json_int_or(first, "affected", 0), 50);
}

static void quoting(void **unused) {
  run("", "[{\"text\":\"CREATE TABLE %I (%I text)\",\"values\":[\"odd\\\"; DROP TABLE x; --\",\"co'l\"]},{\"text\":\"INSERT INTO %I VALUES "
          "(%L)\",\"values\":[\"odd\\\"; DROP TABLE x; --\",\"it's '); DROP\"]},"
          "{\"text\":\"SELECT * FROM %I\",\"values\":[\"odd\\\"; DROP TABLE x; --\"]}]");
  assert_string_equal(state(), "");
  assert_string_equal(json_string_value(cell(0, "co'l")), "it's '); DROP");
  run("", "[\"SELECT 1; SELECT 2\"]"); /* one statement per text */
  assert_string_equal(state(), "42601");
}

static bool log_has(const char *needle) {
  char *text = calloc(1, 1 << 20);
  int fd = open(postgres_log, O_RDONLY | O_CLOEXEC);
  ssize_t n = read(fd, text, (1 << 20) - 1);
  bool found = n > 0 && memmem(text, (size_t)n, needle, strlen(needle));
  close(fd);
  free(text);
  return found;
}

static void password_rotation(void **unused) {
  assert_int_equal(secrets_put(secrets, "old.app", "Old-App-Password", 16, NULL), 0);
  assert_int_equal(secrets_put(secrets, "new.app", "New-App-Password", 16, NULL), 0);
  run("",
      "[{\"text\":\"CREATE ROLE %I LOGIN PASSWORD %P\",\"values\":[\"app\",{\"role\":\"app\",\"password\":{\"$secret\":\"old.app\"}}]}]");
  assert_string_equal(state(), "");
  assert_true(logs_in("app", "{\"$secret\":\"old.app\"}"));
  run("", "[{\"text\":\"ALTER ROLE %I PASSWORD %P\",\"values\":[\"app\",{\"role\":\"app\",\"password\":{\"$secret\":\"new.app\"}}]}]");
  assert_string_equal(json_str(json_array_get(json_object_get(o.response, "results"), 0), "tag"), "ALTER ROLE");
  assert_false(logs_in("app", "{\"$secret\":\"old.app\"}"));
  assert_true(logs_in("app", "{\"$secret\":\"new.app\"}"));
  WAIT_FOR(log_has("ALTER ROLE")); /* it logs every statement: the verifier is there, the password is not */
  assert_true(log_has("SCRAM-SHA-256$"));
  assert_false(log_has("New-App-Password"));
  assert_false(log_has("Old-App-Password"));
  run("", "[{\"text\":\"SELECT %L AS p\",\"values\":[{\"$secret\":\"new.app\"}]}]");
  assert_string_equal(json_string_value(cell(0, "p")), "[secret:new.app]");
}

static void transactions(void **unused) {
  run("", "[\"CREATE TABLE t (n int PRIMARY KEY)\"]");
  run(",\"transaction\":true", "[\"INSERT INTO t VALUES (1)\",\"INSERT INTO t VALUES (1)\",\"INSERT INTO t VALUES (2)\"]");
  assert_string_equal(state(), "23505");
  assert_int_equal(json_int_or(o.response, "failed", 0), 2);
  assert_int_equal(json_array_size(json_object_get(o.response, "results")), 1);
  run("", "[\"SELECT count(*) AS n FROM t\"]");
  assert_int_equal(json_integer_value(cell(0, "n")), 0);
  run("", "[\"INSERT INTO t VALUES (1)\",\"INSERT INTO t VALUES (1)\"]"); /* each by itself */
  assert_int_equal(json_int_or(o.response, "failed", 0), 2);
  run(",\"transaction\":true", "[\"INSERT INTO t VALUES (5)\",\"INSERT INTO t VALUES (6)\"]");
  assert_string_equal(state(), "");
  assert_int_equal(json_int_or(o.response, "affected", 0), 1);
  run("", "[\"SELECT count(*) AS n FROM t\"]");
  assert_int_equal(json_integer_value(cell(0, "n")), 3);
}

static void refused_by_server(void **unused) {
  run("", "[\"SELEC 1\"]");
  assert_string_equal(state(), "42601");
  assert_int_equal(json_int_or(o.response, "failed", 0), 1);
  run("", "[{\"text\":\"ALTER ROLE %I NOLOGIN\",\"values\":[\"nobody here\"]}]");
  assert_string_equal(state(), "42704");
}

static void not_sent(void **unused) {
  int asked = 0;
  const struct exchange x = {.gate = gate_yes, .gate_arg = &asked};
  uint64_t sent = transports_sent(transports);
  int open_port = port;
  help_run(x, sql_as("boss", "\"wrong-password\"", "", "[\"SELECT 1\"]"), &o);
  assert_int_equal(o.delivery, DELIVERY_NOT_SENT);
  assert_int_equal(o.err.code, ERR_DENIED);
  port = free_port();
  help_run(x, sql("", "[\"SELECT 1\"]"), &o);
  port = open_port;
  assert_int_equal(o.delivery, DELIVERY_NOT_SENT);
  assert_int_equal(o.err.code, ERR_UNAVAILABLE);
  help_run(x, help_json("{\"sql\":{\"host\":\"no-such-host.invalid\",\"dbname\":\"d\",\"user\":\"u\",\"statements\":[\"SELECT 1\"]}}"), &o);
  assert_int_equal(o.delivery, DELIVERY_NOT_SENT);
  assert_int_equal(o.err.code, ERR_UNAVAILABLE);
  help_run(x, help_json("{\"sql\":{\"host\":\"169.254.169.254\",\"dbname\":\"d\",\"user\":\"u\",\"statements\":[\"SELECT 1\"]}}"), &o);
  assert_int_equal(o.delivery, DELIVERY_NOT_SENT);
  assert_int_equal(o.err.code, ERR_DENIED);
  help_run(x, sql("", "[{\"text\":\"SELECT %I\",\"values\":[]}]"), &o); /* found when rendering, before the gate */
  assert_int_equal(o.delivery, DELIVERY_NOT_SENT);
  assert_int_equal(o.err.code, ERR_INVALID);
  /* This server has no TLS: with the default nothing is sent, not even the password. */
  char text[512];
  snprintf(text, sizeof text,
           "{\"sql\":{\"host\":\"localhost\",\"port\":%d,\"dbname\":\"postgres\",\"user\":\"boss\",\"password\":{\"$secret\":\"db.boss\"},"
           "\"statements\":[\"SELECT 1\"]}}",
           port);
  help_run(x, help_json(text), &o);
  assert_int_equal(o.delivery, DELIVERY_NOT_SENT);
  assert_int_equal(o.err.code, ERR_DENIED);
  assert_int_equal(asked, 0);
  help_run((struct exchange){.gate = gate_no, .gate_arg = &asked}, sql("", "[\"CREATE TABLE never (n int)\"]"), &o);
  assert_int_equal(o.delivery, DELIVERY_NOT_SENT);
  assert_int_equal(o.err.code, ERR_CANCELLED);
  assert_int_equal(asked, 1);
  assert_int_equal(transports_sent(transports), sent);
}

/* Testing a credential: a refused log-in is then what was asked for. */
static void log_in(void **unused) {
  int asked = 0;
  const struct exchange x = {.gate = gate_yes, .gate_arg = &asked};
  char text[512];
  help_run(x, sql_as("boss", "\"wrong-password\"", ",\"log_in\":true", "[]"), &o);
  assert_int_equal(o.delivery, DELIVERY_ANSWERED);
  assert_true(json_is_false(json_object_get(o.response, "logged_in")));
  assert_string_equal(state(), "28P01");
  assert_null(strstr(json_str(o.response, "message"), "LOCATION"));
  help_run(x, sql_as("boss", "{\"$secret\":\"db.boss\"}", ",\"log_in\":true", "[]"), &o);
  assert_true(json_is_true(json_object_get(o.response, "logged_in")));
  help_run(x, sql_as("boss", "{\"$secret\":\"db.boss\"}", ",\"log_in\":true", "[\"SELECT 3 AS n\"]"), &o);
  assert_true(json_is_true(json_object_get(o.response, "logged_in")));
  assert_int_equal(json_integer_value(cell(0, "n")), 3);
  assert_int_equal(asked, 3);
  help_run((struct exchange){.gate = gate_no, .gate_arg = &asked}, sql_as("boss", "\"wrong-password\"", ",\"log_in\":true", "[]"), &o);
  assert_int_equal(o.delivery, DELIVERY_NOT_SENT);
  snprintf(text, sizeof text,
           "{\"sql\":{\"host\":\"127.0.0.1\",\"port\":%d,\"dbname\":\"d\",\"user\":\"u\",\"password\":\"some-password\",\"sslmode\":"
           "\"disable\",\"log_in\":true}}",
           free_port());
  help_run((struct exchange){0}, help_json(text), &o);
  assert_int_equal(o.err.code, ERR_UNAVAILABLE); /* nobody said anything about the credential */
}

static void in_doubt(void **unused) {
  help_run((struct exchange){.timeout_ms = 800}, sql("", "[\"SELECT pg_sleep(20)\"]"), &o);
  assert_int_equal(o.delivery, DELIVERY_IN_DOUBT);
  assert_int_equal(o.err.code, ERR_TIMEOUT);
  help_run((struct exchange){.response_cap = 10000}, sql("", "[\"SELECT repeat('x', 100) FROM generate_series(1,1000000)\"]"), &o);
  assert_int_equal(o.delivery, DELIVERY_IN_DOUBT);
  assert_int_equal(o.err.code, ERR_LIMIT);
  /* The session is ended under the statement. */
  run("", "[\"SELECT 1\"]");
  help_run((struct exchange){0}, sql("", "[\"SELECT pg_terminate_backend(pg_backend_pid())\",\"SELECT 1\"]"), &o);
  assert_int_equal(o.delivery, DELIVERY_IN_DOUBT);
  assert_int_equal(o.err.code, ERR_UNAVAILABLE);
}

static void cancelled(void **unused) {
  struct outcome c = {0};
  struct flight *flight;
  json_t *q = sql("", "[\"SELECT pg_sleep(20)\"]");
  struct exchange x = {.request = q, .timeout_ms = 30000};
  uint64_t sent = transports_sent(transports);
  assert_int_equal(transport_start(transports, &x, outcome_cb, &c, &flight, NULL), 0);
  transport_cancel(flight); /* while the name is looked up */
  help_wait(&c);
  assert_int_equal(c.delivery, DELIVERY_NOT_SENT);
  memset(&c, 0, sizeof c);
  assert_int_equal(transport_start(transports, &x, outcome_cb, &c, &flight, NULL), 0);
  while (transports_sent(transports) == sent) loop_turn(loop);
  transport_cancel(flight);
  help_wait(&c);
  assert_int_equal(c.delivery, DELIVERY_IN_DOUBT);
  json_decref(q);
}

static void local_socket(void **unused) {
  char text[512];
  snprintf(text, sizeof text,
           "{\"sql\":{\"host\":\"%s\",\"port\":%d,\"dbname\":\"postgres\",\"user\":\"boss\",\"password\":{\"$secret\":\"db.boss\"},"
           "\"statements\":[\"SELECT 5 AS n\"]}}",
           folder, port);
  help_run((struct exchange){0}, help_json(text), &o);
  assert_int_equal(o.delivery, DELIVERY_ANSWERED);
  assert_int_equal(json_integer_value(cell(0, "n")), 5);
}

static void bad_forms(void **unused) {
  static const char *const bad[] = {
      "{\"sql\":{\"host\":\"h\",\"dbname\":\"d\",\"user\":\"u\",\"statements\":[]}}",
      "{\"sql\":{\"host\":\"h\",\"dbname\":\"d\",\"user\":\"u\",\"statements\":[\"\"]}}",
      "{\"sql\":{\"host\":\"h\",\"dbname\":\"d\",\"user\":\"u\",\"sslmode\":\"prefer\",\"statements\":[\"SELECT 1\"]}}",
      "{\"sql\":{\"dbname\":\"d\",\"user\":\"u\",\"statements\":[\"SELECT 1\"]}}",
      "{\"sql\":{\"host\":\"a,b\",\"dbname\":\"d\",\"user\":\"u\",\"statements\":[\"SELECT 1\"]}}",
      "{\"sql\":{\"host\":\"h\",\"dbname\":\"host=evil\",\"user\":\"u\",\"statements\":[\"SELECT 1\"]}}",
      "{\"sql\":{\"host\":\"h\",\"port\":70000,\"dbname\":\"d\",\"user\":\"u\",\"statements\":[\"SELECT 1\"]}}",
      NULL};
  for (size_t i = 0; bad[i]; i++) {
    struct err err = {0};
    if (help_refused((struct exchange){0}, help_json(bad[i]), &err) != ERR_INVALID) fail_msg("accepted: %s", bad[i]);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(rows_and_types), cmocka_unit_test(quoting),           cmocka_unit_test(password_rotation),
      cmocka_unit_test(transactions),   cmocka_unit_test(refused_by_server), cmocka_unit_test(not_sent),
      cmocka_unit_test(log_in),         cmocka_unit_test(in_doubt),          cmocka_unit_test(cancelled),
      cmocka_unit_test(local_socket),   cmocka_unit_test(bad_forms)};
  return cmocka_run_group_tests(tests, up, down);
}
