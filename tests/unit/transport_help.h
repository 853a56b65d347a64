/* transport_help.h: one exchange at a time against servers that the test itself starts. */
#ifndef TOCSIN_TESTS_TRANSPORT_HELP_H
#define TOCSIN_TESTS_TRANSPORT_HELP_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/json.h"
#include "transport/transport.h"

enum { GUARD_MS = 30000 };

struct outcome {
  int calls;
  enum delivery delivery;
  json_t *response;
  struct err err;
  int64_t retry_ms, took_us;
};

static struct loop *loop;
static struct secrets *secrets;
static struct transports *transports;

static inline void help_up(void) {
  loop = loop_new();
  secrets = secrets_new();
  transports = transports_new(loop, secrets);
}

static inline void help_down(void) {
  transports_free(transports);
  loop_turn(loop);
  secrets_free(secrets);
  loop_free(loop);
}

static inline void outcome_cb(void *arg, const struct exchange_result *result) {
  struct outcome *o = arg;
  o->calls++;
  o->delivery = result->delivery;
  json_decref(o->response);
  o->response = json_incref(result->response);
  o->err = result->err;
  o->retry_ms = result->retry_after_ms;
  o->took_us = result->took_us;
  loop_stop(loop);
}

static inline void outcome_release(struct outcome *o) {
  json_decref(o->response);
  memset(o, 0, sizeof *o);
}

static inline void guard_cb(void *arg) { fail_msg("no callback within %d ms", GUARD_MS); }

static inline void help_wait(struct outcome *o) {
  struct timer *guard = timer_start(loop, GUARD_MS, guard_cb, NULL);
  while (!o->calls) loop_run(loop);
  timer_free(guard);
  assert_int_equal(o->calls, 1);
}

static inline struct json_t *help_json(const char *text) {
  json_t *value = NULL;
  struct err err = {0};
  if (json_parse(text, strlen(text), &value, &err) < 0) fail_msg("%s in %s", err.text, text);
  return value;
}

/* Runs an exchange to its end. request is a new reference and is consumed. */
static inline void help_run(struct exchange x, json_t *request, struct outcome *o) {
  struct err err = {0};
  struct flight *flight;
  outcome_release(o);
  x.request = request;
  if (!x.timeout_ms) x.timeout_ms = 10000;
  if (transport_start(transports, &x, outcome_cb, o, &flight, &err) < 0) fail_msg("not started: %s", err.text);
  json_decref(request);
  assert_int_equal(o->calls, 0);
  help_wait(o);
}

/* The start itself must refuse; the text goes to ret. */
static inline int help_refused(struct exchange x, json_t *request, struct err *ret) {
  struct flight *flight;
  static struct outcome never;
  x.request = request;
  if (!x.timeout_ms) x.timeout_ms = 10000;
  int r = transport_start(transports, &x, outcome_cb, &never, &flight, ret);
  json_decref(request);
  return r;
}

/* They are asked on the thread that sends. */
static inline bool gate_no(void *arg) { return __atomic_add_fetch((int *)arg, 1, __ATOMIC_SEQ_CST) == 0; }

static inline bool gate_yes(void *arg) { return __atomic_add_fetch((int *)arg, 1, __ATOMIC_SEQ_CST) != 0; }

static inline int asked_now(const int *asked) { return __atomic_load_n(asked, __ATOMIC_SEQ_CST); }

static inline int free_port(void) {
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t len = sizeof a;
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
  assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
  close(fd);
  return ntohs(a.sin_port);
}

static inline bool port_open(int port) {
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  bool open = connect(fd, (struct sockaddr *)&a, sizeof a) == 0;
  close(fd);
  return open;
}

static inline int64_t now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Polls a condition with a deadline; between the looks the process yields in poll(), it does not guess a time. */
#define WAIT_FOR(condition)                                                                                                                \
  do {                                                                                                                                     \
    int64_t until_ = now_ms() + GUARD_MS;                                                                                                  \
    while (!(condition)) {                                                                                                                 \
      if (now_ms() > until_) fail_msg("never became true: %s", #condition);                                                                \
      poll(NULL, 0, 5);                                                                                                                    \
    }                                                                                                                                      \
  } while (0)

/* Starts a program with its output in a file; uid 0 keeps ours. */
static inline pid_t spawn_quiet(const char *log, uid_t uid, gid_t gid, const char *const argv[]) {
  pid_t pid = fork();
  assert_true(pid >= 0);
  if (pid > 0) return pid;
  int fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600), null = open("/dev/null", O_RDONLY);
  dup2(null, 0), dup2(fd, 1), dup2(fd, 2);
  if (uid && (setgid(gid) != 0 || setuid(uid) != 0)) _exit(126);
  execv(argv[0], (char *const *)(uintptr_t)argv);
  _exit(127);
}

static inline int wait_exit(pid_t pid) {
  int status = 0;
  while (waitpid(pid, &status, 0) < 0) {}
  return WIFEXITED(status) ? WEXITSTATUS(status) : 256;
}

static inline void stop_pid(pid_t pid) {
  if (pid <= 0) return;
  kill(pid, SIGTERM);
  wait_exit(pid);
}

static inline void write_file(const char *path, const char *text) {
  int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  assert_true(fd >= 0);
  assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
  close(fd);
}

static inline int run_program(const char *log, const char *first, ...) {
  const char *argv[32] = {first};
  va_list args;
  size_t n = 1;
  va_start(args, first);
  while (n < 31 && (argv[n] = va_arg(args, const char *))) n++;
  va_end(args);
  argv[n] = NULL;
  return wait_exit(spawn_quiet(log, 0, 0, argv));
}

/* A CA and a certificate for localhost and 127.0.0.1 in folder: ca.pem, server.pem, server.key. */
static inline void make_certificates(const char *folder) {
  char ca[256], ca_key[256], cert[256], key[256], request[256], extra[256], log[256];
  snprintf(ca, sizeof ca, "%s/ca.pem", folder), snprintf(ca_key, sizeof ca_key, "%s/ca.key", folder);
  snprintf(cert, sizeof cert, "%s/server.pem", folder), snprintf(key, sizeof key, "%s/server.key", folder);
  snprintf(request, sizeof request, "%s/server.csr", folder), snprintf(extra, sizeof extra, "%s/server.ext", folder),
      snprintf(log, sizeof log, "%s/openssl.log", folder);
  write_file(extra, "subjectAltName=DNS:localhost,IP:127.0.0.1\n");
  assert_int_equal(run_program(log, "/usr/bin/openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                               "-days", "2", "-subj", "/CN=Test CA", "-keyout", ca_key, "-out", ca, NULL),
                   0);
  assert_int_equal(run_program(log, "/usr/bin/openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj",
                               "/CN=localhost", "-keyout", key, "-out", request, NULL),
                   0);
  assert_int_equal(run_program(log, "/usr/bin/openssl", "x509", "-req", "-in", request, "-CA", ca, "-CAkey", ca_key, "-CAcreateserial",
                               "-days", "2", "-extfile", extra, "-out", cert, NULL),
                   0);
}

static inline void remove_folder(const char *folder) {
  const char *argv[] = {"/bin/rm", "-rf", "--", folder, NULL};
  wait_exit(spawn_quiet("/dev/null", 0, 0, argv));
}

#endif
