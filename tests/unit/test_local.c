/* local_request: HTTP over a Unix socket, as the command line talks to `tocsin serve`. */
#include <pthread.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "transport_help.h"

static char folder[64], path[96], heard[4096];
static int listener;

static void *serve_once(void *arg) {
  int fd = accept(listener, NULL, NULL);
  size_t len = 0;
  while (len < sizeof heard - 1 && !strstr(heard, "{\"q\":1}")) {
    ssize_t n = recv(fd, heard + len, sizeof heard - 1 - len, 0);
    if (n <= 0) break;
    len += (size_t)n;
    heard[len] = 0;
  }
  const char *answer = arg;
  send(fd, answer, strlen(answer), MSG_NOSIGNAL);
  close(fd);
  return NULL;
}

static int up(void **state) {
  char temporary[] = "/tmp/tocsin-local-XXXXXX";
  struct sockaddr_un a = {.sun_family = AF_UNIX};
  snprintf(folder, sizeof folder, "%s", mkdtemp(temporary));
  snprintf(path, sizeof path, "%s/socket", folder);
  snprintf(a.sun_path, sizeof a.sun_path, "%s", path);
  listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  assert_int_equal(bind(listener, (struct sockaddr *)&a, sizeof a) | listen(listener, 4), 0);
  return 0;
}

static int down(void **state) {
  close(listener);
  remove_folder(folder);
  return 0;
}

static void round_trip(void **state) {
  pthread_t thread;
  struct err err = {0};
  long status = 0;
  char *body = NULL;
  size_t len = 0;
  char answer[] = "HTTP/1.1 202 Accepted\r\nContent-Length: 5\r\n\r\nhello";
  setenv("http_proxy", "http://127.0.0.1:1", 1);
  pthread_create(&thread, NULL, serve_once, answer);
  assert_int_equal(local_request(path, "POST", "/v1/commands/pause", "{\"q\":1}", 7, 5000, &status, &body, &len, &err), 0);
  pthread_join(thread, NULL);
  unsetenv("http_proxy");
  assert_int_equal(status, 202);
  assert_string_equal(body, "hello");
  assert_int_equal(len, 5);
  assert_non_null(strstr(heard, "POST /v1/commands/pause HTTP/1.1\r\n"));
  free(body);
}

static void failures(void **state) {
  struct err err = {0};
  long status = -1;
  char *body = NULL, nowhere[160];
  size_t len = 0;
  snprintf(nowhere, sizeof nowhere, "%s/no-such-socket", folder);
  assert_int_equal(local_request(nowhere, "GET", "/", NULL, 0, 1000, &status, &body, &len, &err), ERR_UNAVAILABLE);
  assert_non_null(strstr(err.text, "tocsin serve"));
  assert_int_equal(local_request(path, "GET", "/", NULL, 0, 100, &status, &body, &len, &err),
                   ERR_TIMEOUT); /* it accepts by its backlog only */
  assert_int_equal(status, -1);
  assert_null(body);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(round_trip), cmocka_unit_test(failures)};
  return cmocka_run_group_tests(tests, up, down);
}
