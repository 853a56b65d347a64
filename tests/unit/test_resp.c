/* The redis transport against a real redis-server, plain and TLS; and against servers that answer rubbish. */
#include <pthread.h>

#include "transport_help.h"

static struct outcome o;
static char folder[64];
static pid_t redis;
static int port, tls_port;

static json_t *redis_at(int at, const char *more, const char *who, const char *commands) {
  char text[2048];
  snprintf(text, sizeof text, "{\"redis\":{\"host\":\"127.0.0.1\",\"port\":%d%s%s,\"commands\":%s}}", at, more, who, commands);
  return help_json(text);
}

#define ADMIN ",\"password\":{\"$secret\":\"redis.admin\"}"

static void run(const char *commands) {
  help_run((struct exchange){0}, redis_at(port, ",\"tls\":false", ADMIN, commands), &o);
  if (o.delivery != DELIVERY_ANSWERED) fail_msg("%s: %s", commands, o.err.text);
}

static int up(void **state) {
  char temporary[] = "/tmp/tocsin-resp-XXXXXX", conf[1024], path[96], log[96];
  snprintf(folder, sizeof folder, "%s", mkdtemp(temporary));
  snprintf(path, sizeof path, "%s/redis.conf", folder);
  snprintf(log, sizeof log, "%s/log", folder);
  make_certificates(folder);
  port = free_port();
  tls_port = free_port();
  snprintf(conf, sizeof conf,
           "bind 127.0.0.1\nport %d\ntls-port %d\ntls-cert-file %s/server.pem\ntls-key-file %s/server.key\ntls-ca-cert-file "
           "%s/ca.pem\ntls-auth-clients no\nrequirepass admin-password\nsave \"\"\ndir %s\n",
           port, tls_port, folder, folder, folder, folder);
  write_file(path, conf);
  redis = spawn_quiet(log, 0, 0, (const char *[]){"/usr/bin/redis-server", path, NULL});
  WAIT_FOR(port_open(port) && port_open(tls_port));
  help_up();
  assert_int_equal(secrets_put(secrets, "redis.admin", "admin-password", 14, NULL), 0);
  return 0;
}

static int down(void **state) {
  stop_pid(redis);
  outcome_release(&o);
  help_down();
  remove_folder(folder);
  return 0;
}

static json_t *reply(size_t i) { return json_array_get(json_object_get(o.response, "replies"), i); }

static void replies(void **state) {
  run("[[\"SET\",\"k\",\"two "
      "words\\r\\n$5\"],[\"GET\",\"k\"],[\"INCR\",\"n\"],[\"GET\",\"nothing\"],[\"RPUSH\",\"l\",1,2],[\"LRANGE\",\"l\",0,-1],[\"EVAL\","
      "\"return {1,{'a',{}},false}\",0]]");
  assert_string_equal(json_string_value(reply(0)), "OK");
  assert_string_equal(json_string_value(reply(1)), "two words\r\n$5");
  assert_int_equal(json_integer_value(reply(2)), 1);
  assert_true(json_is_null(reply(3)));
  assert_string_equal(json_string_value(json_array_get(reply(5), 1)), "2");
  json_t *nested = help_json("[1,[\"a\",[]],null]");
  assert_true(json_equal(reply(6), nested));
  json_decref(nested);
  run("[[\"SET\",\"a\",\"1\"],[\"NO-SUCH\"],[\"SET\",\"never\",\"1\"]]");
  assert_int_equal(json_int_or(o.response, "failed", 0), 2);
  assert_non_null(strstr(json_str(o.response, "error"), "unknown command"));
  run("[[\"EXISTS\",\"never\"]]");
  assert_int_equal(json_integer_value(reply(0)), 0);
}

static bool logs_in(const char *password) {
  char who[128];
  snprintf(who, sizeof who, ",\"user\":\"app\",\"password\":%s", password);
  help_run((struct exchange){0}, redis_at(port, ",\"tls\":false", who, "[[\"ACL\",\"WHOAMI\"]]"), &o);
  if (o.delivery == DELIVERY_ANSWERED) return true;
  assert_int_equal(o.delivery, DELIVERY_NOT_SENT);
  assert_int_equal(o.err.code, ERR_DENIED);
  return false;
}

static void acl_password(void **state) {
  assert_int_equal(secrets_put(secrets, "new.app", "New-App-Password", 16, NULL), 0);
  run("[[\"ACL\",\"SETUSER\",\"app\",\"on\",\"+@all\",\">old-app-password\"]]");
  assert_true(logs_in("\"old-app-password\""));
  run("[[\"ACL\",\"SETUSER\",\"app\",\"resetpass\",{\"$concat\":[\"#\",{\"$sha256\":{\"$secret\":\"new.app\"}}]}],[\"ECHO\",{\"$secret\":"
      "\"new.app\"}]]");
  assert_string_equal(json_string_value(reply(0)), "OK");
  assert_string_equal(json_string_value(reply(1)), "[secret:new.app]");
  assert_false(logs_in("\"old-app-password\""));
  assert_true(logs_in("{\"$secret\":\"new.app\"}"));
}

static void log_in(void **state) {
  int asked = 0;
  const struct exchange x = {.gate = gate_yes, .gate_arg = &asked};
  help_run(x, redis_at(port, ",\"tls\":false,\"log_in\":true", ",\"password\":\"wrong-password\"", "[]"), &o);
  assert_int_equal(o.delivery, DELIVERY_ANSWERED);
  assert_true(json_is_false(json_object_get(o.response, "logged_in")));
  assert_non_null(strstr(json_str(o.response, "error"), "WRONGPASS"));
  help_run(x, redis_at(port, ",\"tls\":false,\"log_in\":true", ADMIN, "[]"), &o);
  assert_true(json_is_true(json_object_get(o.response, "logged_in")));
  help_run(x, redis_at(port, ",\"tls\":false,\"log_in\":true", ADMIN, "[[\"PING\"]]"), &o);
  assert_string_equal(json_string_value(reply(0)), "PONG");
  assert_int_equal(asked, 3);
}

static void tls(void **state) {
  char rules_text[128];
  snprintf(rules_text, sizeof rules_text, "{\"ca_file\":\"%s/ca.pem\"}", folder);
  json_t *rules = help_json(rules_text);
  help_run((struct exchange){.network = rules}, redis_at(tls_port, "", ADMIN, "[[\"PING\"]]"), &o);
  assert_int_equal(o.delivery, DELIVERY_ANSWERED);
  assert_string_equal(json_string_value(reply(0)), "PONG");
  help_run((struct exchange){0}, redis_at(tls_port, "", ADMIN, "[[\"PING\"]]"), &o);
  assert_int_equal(o.delivery, DELIVERY_NOT_SENT);
  assert_int_equal(o.err.code, ERR_DENIED);
  help_run((struct exchange){.network = rules, .timeout_ms = 3000}, redis_at(port, "", ADMIN, "[[\"PING\"]]"), &o); /* no TLS there */
  assert_int_equal(o.delivery, DELIVERY_NOT_SENT);
  json_decref(rules);
}

static void not_sent(void **state) {
  int asked = 0;
  const struct exchange x = {.gate = gate_yes, .gate_arg = &asked};
  uint64_t sent = transports_sent(transports);
  help_run(x, redis_at(port, ",\"tls\":false", ",\"password\":\"wrong-password\"", "[[\"FLUSHALL\"]]"), &o);
  assert_int_equal(o.delivery, DELIVERY_NOT_SENT);
  assert_int_equal(o.err.code, ERR_DENIED);
  help_run(x, redis_at(free_port(), ",\"tls\":false", ADMIN, "[[\"FLUSHALL\"]]"), &o);
  assert_int_equal(o.delivery, DELIVERY_NOT_SENT);
  assert_int_equal(o.err.code, ERR_UNAVAILABLE);
  help_run(x, help_json("{\"redis\":{\"host\":\"169.254.169.254\",\"commands\":[[\"PING\"]]}}"), &o);
  assert_int_equal(o.err.code, ERR_DENIED);
  help_run(x, help_json("{\"redis\":{\"host\":\"no-such-host.invalid\",\"commands\":[[\"PING\"]]}}"), &o);
  assert_int_equal(o.err.code, ERR_UNAVAILABLE);
  assert_int_equal(asked, 0);
  help_run((struct exchange){.gate = gate_no, .gate_arg = &asked}, redis_at(port, ",\"tls\":false", ADMIN, "[[\"FLUSHALL\"]]"), &o);
  assert_int_equal(o.delivery, DELIVERY_NOT_SENT);
  assert_int_equal(asked, 1);
  assert_int_equal(transports_sent(transports), sent);
}

/* A server that answers each connection with the next of these, whatever it hears. */
static const char *const rubbish[] = {"",
                                      "hello\r\n",
                                      "$999999999\r\n",
                                      "$5\r\nabc",
                                      "*3\r\n:1\r\n",
                                      ":12x\r\n",
                                      "\r\n",
                                      "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n"};
enum { RUBBISH = sizeof rubbish / sizeof *rubbish };

static void *serve_rubbish(void *arg) {
  int fd = *(int *)arg;
  for (size_t i = 0; i < RUBBISH; i++) {
    char in[256];
    int c = accept(fd, NULL, NULL);
    if (c < 0) break;
    if (recv(c, in, sizeof in, 0) > 0 && *rubbish[i]) send(c, rubbish[i], strlen(rubbish[i]), MSG_NOSIGNAL);
    close(c);
  }
  return NULL;
}

static void in_doubt(void **state) {
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t len = sizeof a;
  pthread_t thread;
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a) | listen(fd, 8) | getsockname(fd, (struct sockaddr *)&a, &len), 0);
  pthread_create(&thread, NULL, serve_rubbish, &fd);
  for (size_t i = 0; i < RUBBISH; i++) {
    help_run((struct exchange){.response_cap = 4096}, redis_at(ntohs(a.sin_port), ",\"tls\":false", "", "[[\"PING\"]]"), &o);
    if (o.delivery != DELIVERY_IN_DOUBT) fail_msg("rubbish %zu: delivery %d, %s", i, o.delivery, o.err.text);
  }
  pthread_join(thread, NULL);
  help_run((struct exchange){.timeout_ms = 300}, redis_at(ntohs(a.sin_port), ",\"tls\":false", "", "[[\"PING\"]]"),
           &o); /* nobody accepts any more */
  assert_int_equal(o.delivery, DELIVERY_IN_DOUBT);
  assert_int_equal(o.err.code, ERR_TIMEOUT);
  help_run((struct exchange){.timeout_ms = 300}, redis_at(ntohs(a.sin_port), ",\"tls\":false", ADMIN, "[[\"PING\"]]"), &o);
  assert_int_equal(o.delivery, DELIVERY_NOT_SENT); /* still at AUTH */
  close(fd);
}

static void bad_forms(void **state) {
  static const char *const bad[] = {"{\"redis\":{\"host\":\"h\",\"commands\":[]}}",
                                    "{\"redis\":{\"host\":\"h\",\"commands\":[[]]}}",
                                    "{\"redis\":{\"host\":\"h\",\"commands\":[\"PING\"]}}",
                                    "{\"redis\":{\"host\":\"h\",\"user\":\"u\",\"commands\":[[\"PING\"]]}}",
                                    "{\"redis\":{\"commands\":[[\"PING\"]]}}",
                                    "{\"redis\":{\"host\":\"h\",\"commands\":[[{}]]}}",
                                    NULL};
  for (size_t i = 0; bad[i]; i++) {
    struct err err = {0};
    if (help_refused((struct exchange){0}, help_json(bad[i]), &err) != ERR_INVALID) fail_msg("accepted: %s", bad[i]);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(replies),  cmocka_unit_test(acl_password), cmocka_unit_test(log_in),
                                     cmocka_unit_test(tls),      cmocka_unit_test(not_sent),     cmocka_unit_test(in_doubt),
                                     cmocka_unit_test(bad_forms)};
  return cmocka_run_group_tests(tests, up, down);
}
