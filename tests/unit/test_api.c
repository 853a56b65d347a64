/* The API on a real socket: who asks, what is refused, clients that leave, dawdle or come in crowds. The desk behind it is this file's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "api/api.h"
#include "api/auth.h"
#include "base/json.h"

/* ---- the desk and the people that the API is linked with here ---- */

struct asked {
  desk_answer_cb *cb;
  void *arg;
};

static struct loop *loop;
static struct api *api;
static char folder[64], path[100];
static char last_by[64];
static unsigned asked_count;
static bool answer_late;
static struct asked waiting[64];
static unsigned waiting_count;
static json_t *last_command;

static void answer_now(void *arg) {
  struct asked *a = arg;
  json_t *answer = json_pack("{s:s, s:s}", "by", last_by, "said", "done");
  a->cb(a->arg, 200, answer);
  json_decref(answer);
  free(a);
}

void desk_command(struct desk *d, const struct person *by, const json_t *command, desk_answer_cb *cb, void *arg) {
  asked_count++;
  snprintf(last_by, sizeof last_by, "%s", by->name);
  json_decref(last_command);
  last_command = json_deep_copy(command);
  if (answer_late) {
    waiting[waiting_count++] = (struct asked){cb, arg};
    return;
  }
  struct asked *a = malloc(sizeof *a);
  *a = (struct asked){cb, arg};
  loop_defer(loop, answer_now, a);
}

const struct person *people_by_uid(struct people *p, uid_t uid) {
  static char name[32];
  static struct person who = {.name = name, .actor = "person:00000000", .known = true};
  snprintf(name, sizeof name, "uid:%u", (unsigned)uid);
  return &who;
}

const struct person *people_by_token(struct people *p, const char *token, size_t len) {
  static char name[] = "robot";
  static struct person who = {.name = name, .actor = "person:11111111", .known = true};
  return len == 16 && memcmp(token, "right-token-1234", 16) == 0 ? &who : NULL;
}

static json_t *counts(void *arg) {
  return json_pack("{s:{s:i, s:b}, s:f, s:s}", "alerts", "accepted_total", 5, "full", 0, "load", 0.5, "name", "ignored");
}

/* ---- helpers ---- */

static int64_t now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void begin(const struct api_config *with) {
  struct api_config config = with ? *with : (struct api_config){0};
  struct err err = {0};
  config.socket = path;
  config.counts = counts;
  if (api_new(loop, NULL, NULL, &config, &api, &err) < 0) fail_msg("%s", err.text);
}

static int setup(void **state) {
  loop = loop_new();
  snprintf(folder, sizeof folder, "/tmp/test_api.XXXXXX");
  assert_non_null(mkdtemp(folder));
  snprintf(path, sizeof path, "%s/run/api.sock", folder);
  asked_count = waiting_count = 0;
  answer_late = false;
  return 0;
}

static int teardown(void **state) {
  api_free(api);
  api = NULL;
  loop_turn(loop);
  loop_free(loop);
  json_decref(last_command);
  last_command = NULL;
  unlink(path);
  char run[160];
  snprintf(run, sizeof run, "%s/run", folder);
  rmdir(run);
  rmdir(folder);
  return 0;
}

static int client(void) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
  assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
  return fd;
}

static void put(int fd, const char *text) {
  size_t len = strlen(text);
  for (int64_t until = now_ms() + 5000; len;) {
    ssize_t n = write(fd, text, len);
    if (n > 0) text += n, len -= (size_t)n;
    else if (n < 0 && errno != EAGAIN) return; /* the other side has had enough */
    loop_turn(loop);
    assert_true(now_ms() < until);
  }
}

/* Turns the loop until the other side closed, or until `wanted` was read; what was read stands in `got`. True: it closed. */
static bool get(int fd, const char *wanted, char *got, size_t size, int64_t within_ms) {
  size_t len = 0;
  for (int64_t until = now_ms() + within_ms; now_ms() < until;) {
    loop_turn(loop);
    ssize_t n = read(fd, got + len, size - 1 - len);
    if (n == 0 || (n < 0 && errno != EAGAIN)) {
      got[len] = 0;
      return true;
    }
    if (n > 0) len += (size_t)n;
    got[len] = 0;
    if (wanted && strstr(got, wanted)) return false;
    if (n < 0) nanosleep(&(struct timespec){.tv_nsec = 500000}, NULL);
  }
  if (wanted) fail_msg("\"%s\" did not come; this did: %s", wanted, got);
  return false;
}

static char got[1 << 16];

static void post(int fd, const char *headers, const char *body) {
  char text[8192];
  snprintf(text, sizeof text, "POST /v1/command HTTP/1.1\r\nHost: x\r\n%sContent-Length: %zu\r\n\r\n%s", headers, strlen(body), body);
  put(fd, text);
}

static void asks(const char *request, const char *status, const char *wanted) {
  int fd = client();
  put(fd, request);
  get(fd, wanted, got, sizeof got, 5000);
  if (strncmp(got + 9, status, 3) != 0) fail_msg("not %s: %s", status, got);
  close(fd);
}

/* ---- tests ---- */

static void test_the_peer_is_its_uid(void **state) {
  char expected[64];
  begin(NULL);
  int fd = client();
  post(fd, "", "{\"command\":\"now\",\"by\":\"root\",\"actor\":\"person:00000001\"}");
  snprintf(expected, sizeof expected, "{\"by\":\"uid:%u\",\"said\":\"done\"}", (unsigned)geteuid());
  get(fd, expected, got, sizeof got, 5000);
  assert_non_null(strstr(got, "HTTP/1.1 200"));
  assert_non_null(strstr(got, "application/json"));
  assert_string_equal(json_str(last_command, "command"), "now");
  post(fd, "", "{\"command\":\"contained\"}"); /* the connection lives on */
  get(fd, expected, got, sizeof got, 5000);
  assert_int_equal(asked_count, 2);
  close(fd);
}

static void test_tokens(void **state) {
  begin(NULL);
  int fd = client();
  post(fd, "Authorization: Bearer right-token-1234\r\n", "{\"command\":\"now\"}");
  get(fd, "\"by\":\"robot\"", got, sizeof got, 5000);
  post(fd, "Authorization: Bearer wrong\r\n", "{\"command\":\"now\"}");
  get(fd, "nobody's", got, sizeof got, 5000);
  assert_non_null(strstr(got, " 401 "));
  assert_int_equal(asked_count, 1);
  close(fd);
}

static void test_without_peer_credentials_a_token_is_needed(void **state) {
  struct err err = {0};
  const struct person *who = NULL;
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  assert_int_equal(auth_person(NULL, fd, NULL, &who, &err), ERR_DENIED);
  assert_null(who);
  assert_int_equal(auth_person(NULL, fd, "Basic cm9vdDo=", &who, &err), ERR_DENIED);
  assert_int_equal(auth_person(NULL, fd, "bearer right-token-1234", &who, &err), 0);
  assert_string_equal(who->name, "robot");
  close(fd);
}

static void test_what_is_refused(void **state) {
  begin(NULL);
  asks("GET /v1/command HTTP/1.1\r\nHost: x\r\n\r\n", "405", "{\"error\":\"commands are sent with POST\"}");
  asks("POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", "405", "{\"error\":");
  asks("GET /elsewhere HTTP/1.1\r\nHost: x\r\n\r\n", "404", "{\"error\":");
  asks("POST /v1/command HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", "400", "the body is empty");
  asks("POST /v1/command HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n{\"a\":", "400", "{\"error\":");
  asks("POST /v1/command HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n[]", "400", "is not a JSON object");
  asks("POST /v1/command HTTP/1.1\r\nHost: x\r\nContent-Length: 13\r\n\r\n{\"command\":1}", "400", "is not a JSON object");
  asks("POST /v1/command HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n\"\xff\xfe\"", "400", "{\"error\":");
  asks("nonsense\r\n\r\n", "400", "400");
  assert_int_equal(asked_count, 0);
}

static void test_a_body_too_large_never_reaches_the_desk(void **state) {
  begin(NULL);
  int fd = client();
  put(fd, "POST /v1/command HTTP/1.1\r\nHost: x\r\nContent-Length: 104857600\r\n\r\n{");
  assert_true(get(fd, NULL, got, sizeof got, 5000)); /* closed at once: nobody reads 100 MB first */
  close(fd);
  fd = client();
  put(fd, "POST /v1/command HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
  char *chunk = malloc(70000);
  memset(chunk, 'a', 70000);
  memcpy(chunk, "10000\r\n", 7);
  memcpy(chunk + 7 + 65536, "\r\n", 3);
  for (int i = 0; i < 40; i++) put(fd, chunk);
  free(chunk);
  assert_true(get(fd, NULL, got, sizeof got, 5000));
  close(fd);
  assert_int_equal(asked_count, 0);
  asks("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", "200", "{\"ok\":true}");
}

static void test_health_and_metrics(void **state) {
  begin(NULL);
  asks("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", "200", "{\"ok\":true}");
  asks("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", "200", "tocsin_load 0.5");
  assert_non_null(strstr(got, "# TYPE tocsin_alerts_accepted_total counter\ntocsin_alerts_accepted_total 5\n"));
  assert_non_null(strstr(got, "# TYPE tocsin_alerts_full gauge\ntocsin_alerts_full 0\n"));
  assert_null(strstr(got, "ignored"));
}

static void turn_until(bool (*done)(void)) {
  for (int64_t until = now_ms() + 5000; !done();) {
    loop_turn(loop);
    assert_true(now_ms() < until);
  }
}

static bool one_waits(void) { return waiting_count == 1; }

static void test_a_client_that_leaves_early_costs_nothing(void **state) {
  begin(NULL);
  answer_late = true;
  int fd = client();
  post(fd, "", "{\"command\":\"now\"}");
  turn_until(one_waits);
  close(fd);
  for (int i = 0; i < 50; i++) loop_turn(loop);
  json_t *answer = json_pack("{s:s}", "said", "too late");
  waiting[0].cb(waiting[0].arg, 200, answer);
  json_decref(answer);
  for (int i = 0; i < 50; i++) loop_turn(loop);
  answer_late = false;
  asks("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", "200", "{\"ok\":true}");
}

static void test_an_answer_after_the_api_is_gone(void **state) {
  begin(NULL);
  answer_late = true;
  int fd = client();
  post(fd, "", "{\"command\":\"now\"}");
  turn_until(one_waits);
  api_free(api);
  api = NULL;
  json_t *answer = json_object();
  waiting[0].cb(waiting[0].arg, 200, answer);
  json_decref(answer);
  assert_true(get(fd, NULL, got, sizeof got, 5000));
  close(fd);
}

static void test_a_slow_client_is_cut_off(void **state) {
  struct api_config config = {.patience_ms = 300};
  begin(&config);
  int fd = client(), silent = client();
  int64_t start = now_ms();
  bool over = false;
  put(fd, "POST /v1/command HTTP/1.1\r\n");
  for (int i = 0; !over && now_ms() < start + 8000; i++) { /* a byte now and then, for ever */
    char c = "X-Slow: "[i % 8];
    if (write(fd, &c, 1) < 0 && errno != EAGAIN) over = true;
    char ignored[64];
    over = over || get(fd, NULL, ignored, sizeof ignored, 20);
  }
  assert_true(over);
  assert_true(get(silent, NULL, got, sizeof got, 5000));
  close(fd);
  close(silent);
  assert_int_equal(asked_count, 0);
}

static void test_a_slow_desk_is_waited_for(void **state) {
  struct api_config config = {.patience_ms = 200};
  begin(&config);
  answer_late = true;
  int fd = client();
  post(fd, "", "{\"command\":\"now\"}");
  turn_until(one_waits);
  assert_false(get(fd, NULL, got, sizeof got, 1500)); /* patience is for clients */
  json_t *answer = json_pack("{s:s}", "said", "at last");
  waiting[0].cb(waiting[0].arg, 409, answer);
  json_decref(answer);
  get(fd, "at last", got, sizeof got, 5000);
  assert_non_null(strstr(got, " 409 Conflict"));
  close(fd);
}

static void test_fifty_at_once(void **state) {
  int fds[50];
  begin(NULL);
  for (int i = 0; i < 50; i++) fds[i] = client();
  for (int i = 0; i < 50; i++) post(fds[i], "", "{\"command\":\"now\"}");
  for (int i = 0; i < 50; i++) {
    get(fds[i], "\"said\":\"done\"", got, sizeof got, 5000);
    close(fds[i]);
  }
  assert_int_equal(asked_count, 50);
}

static void test_more_than_the_house_holds_wait_their_turn(void **state) {
  struct api_config config = {.most = 4, .patience_ms = 500};
  int fds[12];
  begin(&config);
  for (int i = 0; i < 12; i++) fds[i] = client(); /* the kernel holds those that are not accepted yet */
  for (int i = 0; i < 12; i++) {
    post(fds[i], "Connection: close\r\n", "{\"command\":\"now\"}");
    get(fds[i], "\"said\":\"done\"", got, sizeof got, 5000);
    close(fds[i]);
  }
  assert_int_equal(asked_count, 12);
}

/* ---- the socket itself ---- */

static void test_modes(void **state) {
  struct stat st;
  char run[160];
  begin(NULL);
  assert_int_equal(stat(path, &st), 0);
  assert_true(S_ISSOCK(st.st_mode));
  assert_int_equal(st.st_mode & 07777, 0660);
  snprintf(run, sizeof run, "%s/run", folder);
  assert_int_equal(stat(run, &st), 0);
  assert_int_equal(st.st_mode & 07777, 0700);
  api_free(api);
  api = NULL;
  assert_int_equal(stat(path, &st), -1);
}

static void test_a_living_socket_is_never_taken(void **state) {
  struct api_config config = {.socket = path};
  struct api *second = NULL;
  struct err err = {0};
  begin(NULL);
  assert_int_equal(api_new(loop, NULL, NULL, &config, &second, &err), ERR_EXISTS);
  assert_null(second);
  assert_non_null(strstr(err.text, "tocsin serve"));
  asks("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", "200", "{\"ok\":true}");
}

static void test_a_dead_socket_is_replaced(void **state) {
  char run[160];
  snprintf(run, sizeof run, "%s/run", folder);
  assert_int_equal(mkdir(run, 0700), 0);
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
  close(fd);
  begin(NULL);
  asks("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", "200", "{\"ok\":true}");
}

static void test_other_things_are_left_alone(void **state) {
  char run[160];
  struct api_config config = {.socket = path};
  struct err err = {0};
  snprintf(run, sizeof run, "%s/run", folder);
  assert_int_equal(mkdir(run, 0700), 0);
  int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
  close(fd);
  assert_int_equal(api_new(loop, NULL, NULL, &config, &api, &err), ERR_EXISTS);
  assert_int_equal(access(path, F_OK), 0);
  config.group = "no-such-group-here";
  assert_int_equal(api_new(loop, NULL, NULL, &config, &api, &err), ERR_NOT_FOUND);
  assert_non_null(strstr(err.text, "groupadd"));
  char longest[300];
  memset(longest, 'x', sizeof longest - 1);
  longest[0] = '/';
  longest[sizeof longest - 1] = 0;
  config = (struct api_config){.socket = longest};
  assert_int_equal(api_new(loop, NULL, NULL, &config, &api, &err), ERR_INVALID);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(test_the_peer_is_its_uid),
      TEST(test_tokens),
      TEST(test_without_peer_credentials_a_token_is_needed),
      TEST(test_what_is_refused),
      TEST(test_a_body_too_large_never_reaches_the_desk),
      TEST(test_health_and_metrics),
      TEST(test_a_client_that_leaves_early_costs_nothing),
      TEST(test_an_answer_after_the_api_is_gone),
      TEST(test_a_slow_client_is_cut_off),
      TEST(test_a_slow_desk_is_waited_for),
      TEST(test_fifty_at_once),
      TEST(test_more_than_the_house_holds_wait_their_turn),
      TEST(test_modes),
      TEST(test_a_living_socket_is_never_taken),
      TEST(test_a_dead_socket_is_replaced),
      TEST(test_other_things_are_left_alone),
  };
  signal(SIGPIPE, SIG_IGN);
  return cmocka_run_group_tests(tests, NULL, NULL);
}
