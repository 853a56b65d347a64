/* test_http_thread.c: what happens between the loop and libcurl's thread: an exchange that is called off, held back or left behind at any moment
 * of its way ends once, as what is known of it says. */
#include <dirent.h>
#include <sys/syscall.h>

#include "base/slab.h"
#include "http_ask.h"

enum { MOST = 64 /* with one server at a time */, LARGE = 12 << 20 };

static struct transports *kept;
static atomic_llong slept_s; /* how long the machine was asleep */

/* Which is counted by one clock alone; timers stood still meanwhile. */
int clock_gettime(clockid_t id, struct timespec *t) {
  int r = (int)syscall(SYS_clock_gettime, id, t);
  if (id == CLOCK_BOOTTIME) t->tv_sec += atomic_load(&slept_s);
  return r;
}

static int begin(void **state) {
  kept = transports;
  transports = transports_new(loop, secrets);
  return 0;
}

static int end(void **state) {
  if (transports != kept) transports_free(transports);
  transports = kept;
  return 0;
}

static void start(const json_t *q, transport_gate *gate, void *gate_arg, struct outcome *to, struct flight **ret) {
  struct exchange x = {.request = q, .connector = "test", .timeout_ms = 20000, .gate = gate, .gate_arg = gate_arg};
  assert_int_equal(transport_start(transports, &x, outcome_cb, to, ret, NULL), 0);
}

static void expect_cancelled(struct outcome *of, enum delivery delivery) {
  help_wait(of);
  assert_int_equal(of->delivery, delivery);
  assert_int_equal(of->err.code, ERR_CANCELLED);
  outcome_release(of);
}

/* Long enough for whatever is going to happen here to have happened. */
static void turns(int ms) {
  for (int64_t until = now_ms() + ms; now_ms() < until; poll(NULL, 0, 1)) loop_turn(loop);
}

static void wait_until_asked(const int *asked) {
  for (int64_t until = now_ms() + GUARD_MS; asked_now(asked) == 0; poll(NULL, 0, 1)) {
    if (now_ms() > until) fail_msg("the gate was never asked");
    loop_turn(loop);
  }
}

static bool gate_open_while(void *arg) { return atomic_load((atomic_bool *)arg); }

/* Connections are taken by its backlog; nobody ever reads. */
static int deaf_server(int *ret_port) {
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t len = sizeof a;
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
  assert_int_equal(listen(fd, 128), 0);
  assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
  *ret_port = ntohs(a.sin_port);
  return fd;
}

static json_t *to_port(const char *scheme, int port) {
  char text[128];
  snprintf(text, sizeof text, "{\"http\":{\"method\":\"POST\",\"url\":\"%s://127.0.0.1:%d/\"}}", scheme, port);
  return help_json(text);
}

static json_t *large_request(int port) {
  json_t *q = to_port("http", port);
  char *body = malloc(LARGE + 1);
  memset(body, 'x', LARGE);
  body[LARGE] = 0;
  json_object_set_new(json_object_get(q, "http"), "body", json_string(body));
  free(body);
  return q;
}

static int threads(void) {
  DIR *folder = opendir("/proc/self/task");
  int count = 0;
  for (struct dirent *e; (e = readdir(folder));) count += e->d_name[0] != '.';
  closedir(folder);
  return count;
}

/* Whoever sends nothing may fork; and nothing stays behind. */
static void only_when_needed(void **state) {
  int before = threads();
  json_t *bad = help_json("{\"ldap\":{}}");
  assert_true(help_refused((struct exchange){0}, bad, NULL) < 0);
  assert_int_equal(threads(), before);
  get("/ok");
  expect(DELIVERY_ANSWERED, 0);
  transports_free(transports);
  transports = kept;
  assert_true(threads() <= before + 1); /* the server's, for the connection */
}

static void called_off_connecting(void **state) {
  int port, asked = 0, fd = deaf_server(&port);
  json_t *q = to_port("https", port); /* TLS never answers */
  for (int ms = 0; ms <= 60; ms += 20) {
    struct outcome c = {0};
    struct flight *flight;
    start(q, gate_yes, &asked, &c, &flight);
    if (ms) turns(ms);
    transport_cancel(flight);
    expect_cancelled(&c, DELIVERY_NOT_SENT);
  }
  turns(20);
  assert_int_equal(asked, 0);
  json_decref(q);
  close(fd);
}

static void called_off_sending(void **state) {
  int port, asked = 0, fd = deaf_server(&port);
  struct outcome c = {0};
  struct flight *flight;
  json_t *q = large_request(port);
  start(q, gate_yes, &asked, &c, &flight);
  wait_until_asked(&asked);
  transport_cancel(flight);
  expect_cancelled(&c, DELIVERY_IN_DOUBT);
  json_decref(q);
  close(fd);
}

static void called_off_while_answered(void **state) {
  static const char *const paths[] = {"/drip", "/gigabyte", "/silent"};
  for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
    int requests = atomic_load(&server.requests);
    struct outcome c = {0};
    struct flight *flight;
    json_t *q = request("POST", paths[i], "");
    start(q, NULL, NULL, &c, &flight);
    while (atomic_load(&server.requests) == requests) loop_turn(loop);
    turns(i == 0 ? 20 : 1);
    if (!c.calls) transport_cancel(flight);
    help_wait(&c);
    assert_int_equal(c.delivery, DELIVERY_IN_DOUBT); /* or the gigabyte was too much before */
    outcome_release(&c);
    json_decref(q);
  }
}

/* The answer is there already, and the loop has not looked yet: nobody wants it any more. */
static void called_off_too_late(void **state) {
  int asked = 0, requests = atomic_load(&server.requests);
  struct outcome c = {0};
  struct flight *flight;
  json_t *q = request("POST", "/ok", "");
  start(q, gate_yes, &asked, &c, &flight);
  loop_turn(loop);
  loop_turn(loop); /* it is handed over; from here on the loop does not turn */
  WAIT_FOR(atomic_load(&server.requests) > requests);
  poll(NULL, 0, 50);
  transport_cancel(flight);
  expect_cancelled(&c, DELIVERY_IN_DOUBT);
  turns(20);
  assert_int_equal(asked, 1);
  json_decref(q);
}

/* A brake that is pulled between the handing over and the first byte. */
static void held_back_on_the_way(void **state) {
  static struct outcome held[MOST];
  struct flight *holding[MOST], *flight;
  struct outcome c = {0};
  atomic_bool open = true;
  int requests = atomic_load(&server.requests);
  json_t *silent = request("POST", "/silent", ""), *q = request("POST", "/ok", "");
  for (int i = 0; i < MOST; i++) start(silent, NULL, NULL, &held[i], &holding[i]);
  start(q, gate_open_while, &open, &c, &flight); /* waits for its turn, on the thread */
  while (atomic_load(&server.requests) < requests + MOST) loop_turn(loop);
  atomic_store(&open, false);
  transport_cancel(holding[0]);
  help_wait(&c);
  assert_int_equal(c.delivery, DELIVERY_NOT_SENT);
  assert_int_equal(c.err.code, ERR_CANCELLED);
  assert_non_null(strstr(c.err.text, "the last check before sending said no"));
  assert_int_equal(atomic_load(&server.requests), requests + MOST);
  transports_free(transports);
  transports = kept;
  for (int i = 0; i < MOST; i++) assert_int_equal(held[i].calls, 1);
  json_decref(silent);
  json_decref(q);
}

/* Neither the token's request nor the second try leaves for a flight that is gone, and the gate is not asked for it. */
static void called_off_before_the_second_try(void **state) {
  char more[256];
  int asked = 0;
  struct outcome c = {0};
  struct flight *flight;
  atomic_store(&server.tokens, 0);
  snprintf(more, sizeof more,
           ",\"auth\":{\"oauth2\":{\"token_url\":\"http://127.0.0.1:%d/token\",\"client_id\":\"late\",\"client_secret\":\"secret-1\"}}",
           server.port);
  json_t *q = request("POST", "/always-401", more);
  int requests = atomic_load(&server.requests);
  start(q, gate_yes, &asked, &c, &flight);
  while (atomic_load(&server.requests) < requests + 3) loop_turn(loop); /* token, 401, token: the second try is being handed over */
  transport_cancel(flight);
  expect_cancelled(&c, DELIVERY_IN_DOUBT);
  int before = asked;
  turns(30);
  assert_true(before <= 2 && asked == before);
  json_decref(q);
}

/* In every state at once: each comes to its end before transports_free returns. */
static void left_behind(void **state) {
  enum { KINDS = 5, EACH = 6 };
  static struct outcome all[KINDS * EACH];
  int port, asked[KINDS] = {0}, fd = deaf_server(&port), requests = atomic_load(&server.requests);
  json_t *ways[KINDS] = {to_port("https", port), large_request(port), request("POST", "/drip", ""), request("POST", "/silent", ""),
                         request("POST", "/ok", "")};
  memset(all, 0, sizeof all);
  for (int i = 0; i < KINDS * EACH; i++) {
    struct flight *flight;
    if (i == (KINDS - 1) * EACH) { /* the last of them have only just been handed over */
      while (atomic_load(&server.requests) < requests + 2 * EACH) loop_turn(loop);
    }
    start(ways[i / EACH], gate_yes, &asked[i / EACH], &all[i], &flight);
  }
  int64_t from = now_ms();
  transports_free(transports);
  transports = kept;
  assert_true(now_ms() - from < 1000);
  for (int i = 0; i < KINDS * EACH; i++) {
    assert_int_equal(all[i].calls, 1);
    assert_int_equal(all[i].err.code, ERR_CANCELLED);
    if (i / EACH == 0 || i / EACH == 4) assert_int_equal(all[i].delivery, DELIVERY_NOT_SENT);
    if (i / EACH == 2 || i / EACH == 3) assert_int_equal(all[i].delivery, DELIVERY_IN_DOUBT);
  }
  assert_int_equal(asked[0], 0);
  assert_int_equal(asked[4], 0);
  for (int i = 0; i < KINDS; i++) json_decref(ways[i]);
  close(fd);
}

/* One alarm serves all: whichever was started first, each ends at its own time, and those that ended before do not matter. */
static void each_at_its_time(void **state) {
  static const int64_t ms[] = {400, 60, 9000, 200, 60, 130};
  enum { COUNT = sizeof ms / sizeof *ms };
  struct outcome all[COUNT];
  struct flight *flights[COUNT];
  json_t *silent = request("POST", "/silent", "");
  memset(all, 0, sizeof all);
  for (int i = 0; i < COUNT; i++) {
    struct exchange x = {.request = silent, .timeout_ms = ms[i]};
    assert_int_equal(transport_start(transports, &x, outcome_cb, &all[i], &flights[i], NULL), 0);
  }
  get("/ok");
  expect(DELIVERY_ANSWERED, 0);
  transport_cancel(flights[4]);
  expect_cancelled(&all[4], DELIVERY_IN_DOUBT);
  for (int i = 0; i < COUNT; i++) {
    if (i == 2 || i == 4) continue;
    help_wait(&all[i]);
    assert_int_equal(all[i].err.code, ERR_TIMEOUT);
    assert_true(all[i].took_us >= ms[i] * 1000);
    assert_true(all[i].took_us < ms[i] * 1000 + 2000000); /* the machine may be busy */
  }
  assert_int_equal(all[2].calls, 0);
  transport_cancel(flights[2]);
  expect_cancelled(&all[2], DELIVERY_IN_DOUBT);
  json_decref(silent);
}

/* A timer that was set before the machine slept is late by as long; no time-out waits for it. */
static void in_time_after_a_sleep(void **state) {
  struct outcome before = {0}, after = {0};
  json_t *silent = request("POST", "/silent", "");
  struct exchange x = {.request = silent, .timeout_ms = 20000};
  assert_int_equal(transport_start(transports, &x, outcome_cb, &before, NULL, NULL), 0);
  turns(20);
  atomic_fetch_add(&slept_s, 30);
  int64_t from = now_ms();
  x.timeout_ms = 60;
  assert_int_equal(transport_start(transports, &x, outcome_cb, &after, NULL, NULL), 0);
  help_wait(&after);
  assert_int_equal(after.err.code, ERR_TIMEOUT);
  assert_true(now_ms() - from < 8000); /* the machine may be busy */
  help_wait(&before);
  assert_int_equal(before.err.code, ERR_TIMEOUT);
  assert_int_equal(before.delivery, DELIVERY_IN_DOUBT);
  json_decref(silent);
}

int main(void) {
  slab_install(); /* as the engine does */
  const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(only_when_needed, begin, end),
                                     cmocka_unit_test_setup_teardown(called_off_connecting, begin, end),
                                     cmocka_unit_test_setup_teardown(called_off_sending, begin, end),
                                     cmocka_unit_test_setup_teardown(called_off_while_answered, begin, end),
                                     cmocka_unit_test_setup_teardown(called_off_too_late, begin, end),
                                     cmocka_unit_test_setup_teardown(held_back_on_the_way, begin, end),
                                     cmocka_unit_test_setup_teardown(called_off_before_the_second_try, begin, end),
                                     cmocka_unit_test_setup_teardown(left_behind, begin, end),
                                     cmocka_unit_test_setup_teardown(each_at_its_time, begin, end),
                                     cmocka_unit_test_setup_teardown(in_time_after_a_sleep, begin, end)};
  return cmocka_run_group_tests(tests, up, down);
}
