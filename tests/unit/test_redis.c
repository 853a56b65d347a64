/* The link against a real server that is killed, stopped, passworded and TLS-wrapped. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "redis_server.h"

#include "redis_link.h"

#define A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define ZEROS "0000000000000000000000000000000000000000000000000000000000000000"

/* --- plain traffic ---------------------------------------------------------------------------------- */

static void test_values(void **state) {
  struct redis *link = link_up((struct redis_config){0});
  assert_string_equal(ask(loop, link, "PING"), "PONG");
  assert_string_equal(ask(loop, link, "SET v 42"), "OK");
  assert_string_equal(ask(loop, link, "GET v"), "42");
  assert_string_equal(ask(loop, link, "GET nobody"), "nil");
  assert_string_equal(ask(loop, link, "INCR v"), "43");
  assert_string_equal(ask(loop, link, "EVAL return{1,{'a',2},false} 0"), "[1 [a 2] nil]");
  redis_free(link);
}

static void binary_cb(void *arg, const struct redis_value *reply, const struct err *err) {
  size_t len;
  const char *bytes = redis_string(reply, &len);
  assert_int_equal(len, 5);
  assert_memory_equal(bytes, "a\0\r\n\xff", 5);
  assert_null(redis_item(reply, 0));
  assert_int_equal(redis_count(reply), 0);
  *(volatile bool *)arg = true;
}

static void test_bytes_survive(void **state) {
  struct redis *link = link_up((struct redis_config){0});
  const char *words[] = {"SET", "bin", "a\0\r\n\xff"};
  volatile bool done = false;
  assert_int_equal(redis_command(link, 0, NULL, NULL, 3, words, (size_t[]){3, 3, 5}, NULL), 0);
  assert_int_equal(redis_call(link, 0, binary_cb, (void *)&done, NULL, "GET", "bin", NULL), 0);
  assert_false(done); /* never before it returned */
  assert_true(test_until(loop, &done, 5000));
  redis_free(link);
}

static void test_error_codes(void **state) {
  static const struct {
    const char *text, *answer;
  } cases[] = {
      {"FENCE_last=1-0", "!invalid FENCE_last=1-0"},
      {"OOM", "!limit OOM"},
      {"READONLY", "!unavailable READONLY"},
      {"MASTERDOWN", "!unavailable MASTERDOWN"},
      {"CLUSTERDOWN", "!unavailable CLUSTERDOWN"},
      {"NOREPLICAS", "!unavailable NOREPLICAS"},
      {"LOADING", "!unavailable LOADING"},
      {"MISCONF", "!unavailable MISCONF"},
      {"BUSY", "!unavailable BUSY"},
      {"TRYAGAIN", "!unavailable TRYAGAIN"},
      {"NOAUTH", "!denied NOAUTH"},
      {"WRONGPASS", "!denied WRONGPASS"},
      {"NOPERM", "!denied NOPERM"},
      {"FENCE", "!conflict FENCE"},
      {"ERR", "!invalid ERR"},
  };
  struct redis *link = link_up((struct redis_config){0});
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    assert_string_equal(ask(loop, link, "EVAL return{err=ARGV[1]} 0 %s", cases[i].text), cases[i].answer);
  }
  assert_int_equal(strncmp(ask(loop, link, "NOSUCHCOMMAND"), "!invalid ERR unknown command", 28), 0);
  redis_free(link);
}

struct order {
  int64_t next;
  bool wrong;
  volatile bool done;
};

static void order_cb(void *arg, const struct redis_value *reply, const struct err *err) {
  struct order *o = arg;
  if (err || redis_integer(reply) != o->next) o->wrong = true;
  if (++o->next > 5000) o->done = true;
}

static void test_pipeline_keeps_order(void **state) {
  struct redis *link = link_up((struct redis_config){0});
  struct order o = {.next = 1};
  ask(loop, link, "DEL n");
  for (int i = 0; i < 5000; i++) assert_int_equal(redis_call(link, 0, order_cb, &o, NULL, "INCR", "n", NULL), 0);
  assert_int_equal(redis_pending(link, 0), 5000);
  assert_true(test_until(loop, &o.done, 10000));
  assert_false(o.wrong);
  assert_int_equal(redis_pending(link, 0), 0);
  redis_free(link);
}

static void test_large_values(void **state) {
  enum { BIG = 24 << 20 };
  struct redis *link = link_up((struct redis_config){0});
  char *bytes = malloc(BIG);
  memset(bytes, 'x', BIG);
  const char *words[] = {"SET", "big", bytes};
  struct answer a = {0};
  assert_int_equal(redis_command(link, 0, answer_cb, &a, 3, words, (size_t[]){3, 3, BIG}, NULL), 0);
  assert_true(test_until(loop, &a.done, 10000));
  assert_string_equal(a.text, "OK");
  assert_string_equal(ask(loop, link, "STRLEN big"), "25165824");
  assert_int_equal(strlen(ask(loop, link, "GET big")), sizeof a.text - 1); /* cut by the helper, not by the link */
  ask(loop, link, "DEL big");
  free(bytes);
  redis_free(link);
}

static void test_lanes_are_stable_and_used(void **state) {
  struct redis *link = link_up((struct redis_config){.lanes = 4});
  bool used[4] = {false};
  for (int i = 0; i < 200; i++) {
    char key[32];
    snprintf(key, sizeof key, "INC-%06d", i);
    unsigned lane = redis_lane(link, key);
    assert_true(lane < 4);
    assert_int_equal(lane, redis_lane(link, key));
    used[lane] = true;
  }
  assert_true(used[0] && used[1] && used[2] && used[3]);
  redis_free(link);
}

/* --- the fence -------------------------------------------------------------------------------------- */

static struct redis_entry entry(const char *leaf) {
  return (struct redis_entry){.head = "{}", .head_len = 2, .leaf = leaf, .body = "\0b", .body_len = 2};
}

static const char *append(struct redis *link, const char *prev, uint64_t seq, size_t count, const char *last) {
  static struct answer a;
  struct redis_entry entries[40];
  struct err err;
  for (size_t i = 0; i < count; i++) entries[i] = entry(i + 1 == count ? last : ZEROS);
  a = (struct answer){0};
  if (redis_append(link, 0, "j", "s", prev, seq, entries, count, "st", 2, answer_cb, &a, &err)) return err_name(err.code);
  return test_until(loop, &a.done, 5000) ? a.text : "no answer";
}

static void test_append_and_stale_owner(void **state) {
  struct redis *link = link_up((struct redis_config){0});
  ask(loop, link, "DEL j s");
  assert_string_equal(append(link, ZEROS, 1, 3, A), "3");
  assert_string_equal(append(link, A, 4, 40, B), "40"); /* more than fit on the stack */
  /* A stale owner's pipeline: the first is refused, and so is all that was sent behind it. */
  struct answer late[3] = {{0}};
  for (unsigned i = 0; i < 3; i++) {
    struct redis_entry e = entry(A);
    assert_int_equal(redis_append(link, 0, "j", "s", A, 4 + i, &e, 1, NULL, 0, answer_cb, &late[i], NULL), 0);
  }
  assert_true(test_until(loop, &late[2].done, 5000));
  for (unsigned i = 0; i < 3; i++) assert_string_equal(late[i].text, "!conflict FENCE last=43-0 h=" B);
  assert_string_equal(ask(loop, link, "XLEN j"), "43");
  assert_string_equal(ask(loop, link, "GET s"), "st");
  assert_string_equal(append(link, "short", 44, 1, A), "invalid");
  assert_string_equal(append(link, A, 44, 0, A), "invalid");
  redis_free(link);
}

/* --- trouble ---------------------------------------------------------------------------------------- */

static void test_killed_server(void **state) {
  struct news news = {0};
  struct redis *link = link_new((struct redis_config){0}, &news);
  link_wait_up(loop, link);
  struct answer a = {0}, b = {0};
  server_end(&server, SIGKILL);
  assert_int_equal(redis_call(link, 0, answer_cb, &a, NULL, "GET", "v", NULL), 0);
  assert_int_equal(redis_call(link, 0, answer_cb, &b, NULL, "GET", "v", NULL), 0);
  assert_true(test_until(loop, &b.done, 5000));
  assert_int_equal(a.code, ERR_UNAVAILABLE);
  assert_int_equal(b.code, ERR_UNAVAILABLE);
  assert_int_equal(a.calls + b.calls, 2);
  assert_true(news.down);
  assert_false(redis_up(link));
  assert_int_equal(redis_call(link, 0, answer_cb, &a, NULL, "GET", "v", NULL), ERR_UNAVAILABLE);
  server_spawn(&server);
  link_wait_up(loop, link);
  assert_string_equal(ask(loop, link, "PING"), "PONG");
  assert_int_equal(news.ups, 2);
  redis_free(link);
}

static void test_stopped_server_times_out_and_goes_on(void **state) {
  struct redis *link = link_up((struct redis_config){.timeout_ms = 400});
  struct answer a = {0}, b = {0};
  assert_string_equal(ask(loop, link, "SET v late"), "OK");
  kill(server.pid, SIGSTOP);
  assert_int_equal(redis_call(link, 0, answer_cb, &a, NULL, "GET", "v", NULL), 0);
  assert_true(test_until(loop, &a.done, 5000));
  assert_int_equal(a.code, ERR_TIMEOUT);
  assert_int_equal(redis_call(link, 0, answer_cb, &b, NULL, "STRLEN", "v", NULL), 0);
  kill(server.pid, SIGCONT);
  assert_true(test_until(loop, &b.done, 5000));
  assert_string_equal(b.text, "4"); /* its own answer, not the late one */
  assert_int_equal(a.calls, 1);
  redis_free(link);
}

static void test_silent_server_is_given_up(void **state) {
  struct news news = {0};
  struct redis *link = link_new((struct redis_config){.timeout_ms = 200}, &news);
  link_wait_up(loop, link);
  struct answer a = {0};
  kill(server.pid, SIGSTOP);
  assert_int_equal(redis_call(link, 0, answer_cb, &a, NULL, "GET", "v", NULL), 0);
  bool gone = test_until(loop, &news.down, 5000);
  kill(server.pid, SIGCONT);
  assert_true(gone);
  assert_int_equal(a.code, ERR_TIMEOUT);
  assert_int_equal(a.calls, 1);
  link_wait_up(loop, link);
  redis_free(link);
}

static void test_back_pressure(void **state) {
  struct redis *link = link_up((struct redis_config){.most_pending = 10});
  struct answer a = {0};
  struct err err;
  for (int i = 0; i < 10; i++) assert_int_equal(redis_call(link, 0, answer_cb, &a, &err, "PING", NULL), 0);
  assert_int_equal(redis_call(link, 0, answer_cb, &a, &err, "PING", NULL), ERR_LIMIT);
  for (int64_t end = test_now_ms() + 5000; a.calls < 10 && test_now_ms() < end;) loop_turn(loop);
  assert_int_equal(a.calls, 10);
  assert_string_equal(ask(loop, link, "PING"), "PONG");
  redis_free(link);
}

static void test_blocking_lane(void **state) {
  struct redis *link = link_up((struct redis_config){.timeout_ms = 150});
  unsigned lane = redis_add_blocking_lane(link);
  assert_int_equal(lane, 1);
  for (int64_t end = test_now_ms() + 5000; !redis_lane_up(link, lane) && test_now_ms() < end;) loop_turn(loop);
  ask(loop, link, "DEL q");
  struct answer a = {0};
  /* Longer than the link's time-out, yet no time-out: the command's own words count. */
  assert_int_equal(redis_call(link, lane, answer_cb, &a, NULL, "XREAD", "BLOCK", "400", "STREAMS", "q", "$", NULL), 0);
  assert_true(test_until(loop, &a.done, 5000));
  assert_string_equal(a.text, "nil");
  a = (struct answer){0};
  assert_int_equal(redis_call(link, lane, answer_cb, &a, NULL, "XREAD", "BLOCK", "0", "STREAMS", "q", "0", NULL), 0);
  assert_string_equal(ask(loop, link, "XADD q 1-0 f v"), "1-0"); /* the other lane is not held up */
  assert_true(test_until(loop, &a.done, 5000));
  assert_string_equal(a.text, "[[q [[1-0 [f v]]]]]");
  redis_free(link);
}

static void test_free_cancels_before_it_returns(void **state) {
  struct redis *link = link_up((struct redis_config){0});
  struct answer a = {0};
  assert_int_equal(redis_call(link, 0, answer_cb, &a, NULL, "PING", NULL), 0);
  redis_free(link);
  assert_int_equal(a.code, ERR_CANCELLED);
  assert_int_equal(a.calls, 1);
  redis_free(NULL);
}

struct suicide {
  struct redis *link;
  volatile bool done;
};

static void free_in_callback(void *arg, const struct redis_value *reply, const struct err *err) {
  struct suicide *s = arg;
  redis_free(s->link);
  s->done = true;
}

static void test_free_inside_a_callback(void **state) {
  struct suicide s = {.link = link_up((struct redis_config){.lanes = 2})};
  struct answer a = {0};
  assert_int_equal(redis_call(s.link, 0, free_in_callback, &s, NULL, "PING", NULL), 0);
  assert_int_equal(redis_call(s.link, 0, answer_cb, &a, NULL, "PING", NULL), 0);
  assert_true(test_until(loop, &s.done, 5000));
  assert_int_equal(a.code, ERR_CANCELLED);
  for (int i = 0; i < 20; i++) loop_turn(loop);
}

static void test_free_inside_a_callback_of_a_lost_lane(void **state) {
  struct suicide s = {.link = link_up((struct redis_config){0})};
  struct answer a = {0};
  assert_int_equal(redis_call(s.link, 0, free_in_callback, &s, NULL, "DEBUG", "SLEEP", "5", NULL), 0);
  assert_int_equal(redis_call(s.link, 0, answer_cb, &a, NULL, "PING", NULL), 0);
  server_end(&server, SIGKILL);
  assert_true(test_until(loop, &s.done, 5000));
  assert_int_equal(a.code, ERR_CANCELLED);
  server_spawn(&server);
}

/* --- over the network ------------------------------------------------------------------------------- */

/* A port that was free a moment ago: Redis cannot be asked to choose one. Taken between is a failed start, tried again. */
static int free_port(void) {
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t len = sizeof a;
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  if (bind(fd, (struct sockaddr *)&a, sizeof a) || getsockname(fd, (struct sockaddr *)&a, &len)) abort();
  close(fd);
  return ntohs(a.sin_port);
}

static int run(const char *folder, const char *const argv[]) {
  pid_t pid = fork();
  if (pid == 0) {
    int null = open("/dev/null", O_RDWR);
    dup2(null, 1);
    dup2(null, 2);
    if (chdir(folder) != 0) _exit(126);
    execvp(argv[0], (char *const *)(uintptr_t)argv); /* POSIX: execvp changes no argument */
    _exit(127);
  }
  int status;
  waitpid(pid, &status, 0);
  return status;
}

static void test_tls_is_verified(void **state) {
  struct server secure;
  char more[512], folder[] = "/tmp/tocsin-tls-XXXXXX", ca[64];
  assert_non_null(mkdtemp(folder));
  const char *openssl[] = {
      "openssl", "req",  "-x509",    "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",  "-keyout",
      "key.pem", "-out", "cert.pem", "-days",   "2",  "-subj",    "/CN=localhost",           "-addext", "subjectAltName=DNS:localhost",
      NULL};
  assert_int_equal(run(folder, openssl), 0);
  int port = free_port();
  snprintf(more, sizeof more,
           "tls-port %d\nbind 127.0.0.1\ntls-cert-file %s/cert.pem\ntls-key-file %s/key.pem\ntls-ca-cert-file %s/cert.pem\n"
           "tls-auth-clients no",
           port, folder, folder, folder);
  server_start(&secure, more);
  snprintf(ca, sizeof ca, "%s/cert.pem", folder);
  struct redis_config config = {.host = "localhost", .port = port, .tls = true, .tls_ca = ca, .lanes = 2};
  struct redis *link = link_up(config);
  assert_string_equal(ask(loop, link, "PING"), "PONG");
  struct order o = {.next = 1};
  for (int i = 0; i < 5000; i++) assert_int_equal(redis_call(link, 1, order_cb, &o, NULL, "INCR", "n", NULL), 0);
  assert_true(test_until(loop, &o.done, 10000));
  assert_false(o.wrong);
  redis_free(link);

  struct news news = {0};
  config.host = "127.0.0.1"; /* the certificate does not bear this name */
  link = link_new(config, &news);
  assert_true(test_until(loop, &news.down, 5000));
  assert_non_null(strstr(news.why, "certificate was refused"));
  redis_free(link);

  news = (struct news){0};
  config.host = "localhost";
  config.tls_ca = NULL; /* nobody vouches for it */
  link = link_new(config, &news);
  assert_true(test_until(loop, &news.down, 5000));
  assert_non_null(strstr(news.why, "certificate was refused"));
  redis_free(link);
  server_stop(&secure);
  folder_remove(folder);
}

static void test_unknown_host(void **state) {
  struct news news = {0};
  struct redis *link = link_new((struct redis_config){.host = "no-such-host.invalid", .port = 6379, .timeout_ms = 3000}, &news);
  assert_true(test_until(loop, &news.down, 8000));
  redis_free(link);
  /* Freed while the name is being looked up: the thread must find nothing to break. */
  link = link_new((struct redis_config){.host = "no-such-host.invalid", .port = 6379}, NULL);
  for (int i = 0; i < 3; i++) loop_turn(loop);
  redis_free(link);
}

int main(void) {
  server_start(&server, "enable-debug-command yes");
  secrets = secrets_new();
  loop = loop_new();
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_values),
      cmocka_unit_test(test_bytes_survive),
      cmocka_unit_test(test_error_codes),
      cmocka_unit_test(test_pipeline_keeps_order),
      cmocka_unit_test(test_large_values),
      cmocka_unit_test(test_lanes_are_stable_and_used),
      cmocka_unit_test(test_append_and_stale_owner),
      cmocka_unit_test(test_killed_server),
      cmocka_unit_test(test_stopped_server_times_out_and_goes_on),
      cmocka_unit_test(test_silent_server_is_given_up),
      cmocka_unit_test(test_back_pressure),
      cmocka_unit_test(test_blocking_lane),
      cmocka_unit_test(test_free_cancels_before_it_returns),
      cmocka_unit_test(test_free_inside_a_callback),
      cmocka_unit_test(test_free_inside_a_callback_of_a_lost_lane),
      cmocka_unit_test(test_tls_is_verified),
      cmocka_unit_test(test_unknown_host),
  };
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  loop_free(loop);
  secrets_free(secrets);
  server_stop(&server);
  return failed;
}
