/* The embedded redis-server: started, refused twice, adopted, started again, mended, and left alone when it is damaged. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <poll.h>
#include <sys/pidfd.h>

#include "redis_server.h"
#include "wire/aof_tail.h"
#include "wire/embedded.h"

struct seen {
  volatile bool ready, lost, failed, stopped;
  unsigned readies, cuts;
  bool adopted;
  int code;
  char text[1024], file[AOF_PATH];
  int64_t offset, bytes;
};

static struct loop *loop;
static struct seen seen;
static char data[64], redis_folder[96];

static void on_ready(void *arg, bool adopted) {
  struct seen *s = arg;
  s->ready = true;
  s->readies++;
  s->adopted = adopted;
}
static void on_lost(void *arg, const char *why) {
  struct seen *s = arg;
  s->lost = true;
  snprintf(s->text, sizeof s->text, "%s", why);
}
static void on_cut(void *arg, const char *file, int64_t offset, int64_t bytes) {
  struct seen *s = arg;
  s->cuts++;
  s->offset = offset;
  s->bytes = bytes;
  snprintf(s->file, sizeof s->file, "%s", file);
}
static void on_failed(void *arg, const struct err *err) {
  struct seen *s = arg;
  s->failed = true;
  s->code = err->code;
  snprintf(s->text, sizeof s->text, "%s", err->text);
}
static void on_stopped(void *arg) { ((struct seen *)arg)->stopped = true; }

static struct embedded *start(const char *program) {
  struct embedded *e = NULL;
  struct err err;
  struct embedded_events events = {&seen, on_ready, on_lost, on_cut, on_failed};
  struct embedded_config config = {.folder = data, .program = program, .maxmemory = "64mb"};
  seen = (struct seen){0};
  if (embedded_start(loop, &config, &events, &e, &err)) fail_msg("%s", err.text);
  return e;
}

static struct embedded *start_ready(void) {
  struct embedded *e = start(NULL);
  if (!test_until(loop, &seen.ready, 20000)) fail_msg("not ready: %s", seen.text);
  return e;
}

static void stop(struct embedded *e) {
  embedded_stop(e, on_stopped, &seen);
  assert_false(seen.stopped);
  assert_true(test_until(loop, &seen.stopped, 15000));
  assert_int_equal(embedded_pid(e), 0);
  embedded_free(e);
}

static int setup(void **state) {
  loop = loop_new();
  snprintf(data, sizeof data, "/tmp/tocsin-data-XXXXXX");
  assert_non_null(mkdtemp(data));
  snprintf(redis_folder, sizeof redis_folder, "%s/redis", data);
  return 0;
}

/* A test that failed half-way leaves its server: ended by the pid that it wrote. */
static void end_leftover(void) {
  char path[128], text[32] = "";
  snprintf(path, sizeof path, "%s/redis.pid", redis_folder);
  FILE *f = fopen(path, "r");
  if (!f) return;
  long pid = fgets(text, sizeof text, f) ? strtol(text, NULL, 10) : 0;
  fclose(f);
  if (pid > 1) kill((pid_t)pid, SIGKILL);
}

static int teardown(void **state) {
  end_leftover();
  loop_free(loop);
  folder_remove(data);
  return 0;
}

static struct redis *connect_to(struct embedded *e) {
  struct redis *link = NULL;
  struct redis_config config = {.socket = embedded_socket(e), .lanes = 1};
  assert_int_equal(redis_new(loop, &config, NULL, NULL, NULL, &link, NULL), 0);
  link_wait_up(loop, link);
  return link;
}

static void no_problems(void *arg, const char *const *problems, const struct err *err) {
  assert_null(err);
  assert_null(problems[0]);
  *(volatile bool *)arg = true;
}

static void test_start_and_stop(void **state) {
  struct embedded *e = start_ready();
  assert_false(seen.adopted);
  struct redis *link = connect_to(e);
  assert_string_equal(ask(loop, link, "SET k v"), "OK");
  volatile bool done = false;
  assert_int_equal(redis_check_durability(link, no_problems, (void *)&done, NULL), 0);
  assert_true(test_until(loop, &done, 5000));
  assert_string_equal(ask(loop, link, "CONFIG GET maxmemory"), "[maxmemory 67108864]");
  assert_string_equal(ask(loop, link, "CONFIG GET rdbcompression"), "[rdbcompression no]");
  struct stat st;
  assert_int_equal(stat(embedded_socket(e), &st), 0);
  assert_int_equal(st.st_mode & 0777, 0600);
  assert_int_equal(stat(redis_folder, &st), 0);
  assert_int_equal(st.st_mode & 0777, 0700);
  redis_free(link);
  pid_t pid = embedded_pid(e);
  stop(e);
  assert_int_equal(kill(pid, 0), -1);
  e = start_ready();
  link = connect_to(e);
  assert_string_equal(ask(loop, link, "GET k"), "v");
  redis_free(link);
  stop(e);
}

static void test_second_start_is_refused(void **state) {
  struct embedded *e = start_ready(), *other = NULL;
  struct embedded_events events = {&seen, on_ready, on_lost, on_cut, on_failed};
  struct embedded_config config = {.folder = data};
  struct err err;
  assert_int_equal(embedded_start(loop, &config, &events, &other, &err), ERR_EXISTS);
  assert_null(other);
  assert_non_null(strstr(err.text, "`redis`"));
  stop(e);
}

/* A serve that starts the server, tells its pid and dies by SIGKILL; the pid of its child. */
static pid_t die_with_a_child(void) {
  int tell[2];
  assert_int_equal(pipe(tell), 0);
  pid_t serve = fork();
  if (serve == 0) {
    loop = loop_new();
    struct embedded *e = start_ready();
    pid_t pid = embedded_pid(e);
    if (write(tell[1], &pid, sizeof pid) < 0) _exit(1);
    for (;;) pause();
  }
  close(tell[1]);
  pid_t pid = 0;
  assert_int_equal(read(tell[0], &pid, sizeof pid), sizeof pid);
  close(tell[0]);
  kill(serve, SIGKILL);
  waitpid(serve, NULL, 0);
  return pid;
}

static void test_orphan_is_adopted(void **state) {
  pid_t orphan = die_with_a_child();
  assert_int_equal(kill(orphan, 0), 0);
  struct embedded *e = start_ready();
  assert_true(seen.adopted);
  assert_int_equal(embedded_pid(e), orphan);
  struct redis *link = connect_to(e);
  assert_string_equal(ask(loop, link, "SET k v"), "OK");
  redis_free(link);
  /* An adopted one that dies is noticed and replaced by one of our own. */
  seen.ready = false;
  kill(orphan, SIGKILL);
  assert_true(test_until(loop, &seen.lost, 5000));
  assert_true(test_until(loop, &seen.ready, 10000));
  assert_false(seen.adopted);
  link = connect_to(e);
  assert_string_equal(ask(loop, link, "GET k"), "v");
  redis_free(link);
  stop(e);
}

static void test_adopted_is_stopped(void **state) {
  pid_t orphan = die_with_a_child();
  struct embedded *e = start_ready();
  assert_true(seen.adopted);
  int fd = pidfd_open(orphan, 0);
  assert_true(fd >= 0);
  stop(e);
  struct pollfd gone = {.fd = fd, .events = POLLIN};
  assert_int_equal(poll(&gone, 1, 0), 1);
  close(fd);
}

static void test_free_leaves_it_running(void **state) {
  struct embedded *e = start_ready();
  pid_t pid = embedded_pid(e);
  embedded_free(e);
  e = start_ready();
  assert_true(seen.adopted);
  assert_int_equal(embedded_pid(e), pid);
  stop(e);
  waitpid(pid, NULL, 0); /* it was this very process's child */
}

static void test_killed_server_comes_back(void **state) {
  struct embedded *e = start_ready();
  seen.ready = false;
  kill(embedded_pid(e), SIGKILL);
  assert_true(test_until(loop, &seen.lost, 5000));
  assert_non_null(strstr(seen.text, "signal 9"));
  assert_true(test_until(loop, &seen.ready, 10000));
  assert_int_equal(seen.readies, 2);
  stop(e);
}

/* --- the tail --------------------------------------------------------------------------------------- */

static struct aof_tail tail_now(void) {
  struct aof_tail tail;
  struct err err;
  if (aof_tail_find(redis_folder, &tail, &err)) fail_msg("%s", err.text);
  return tail;
}

#define H1 "1111111111111111111111111111111111111111111111111111111111111111"
#define H2 "2222222222222222222222222222222222222222222222222222222222222222"
#define ZEROS "0000000000000000000000000000000000000000000000000000000000000000"

static void test_torn_tail_is_mended(void **state) {
  struct embedded *e = start_ready();
  struct redis *link = connect_to(e);
  assert_string_equal(ask(loop, link, "FCALL tocsin_append 2 j s " ZEROS " 1 x e1 " H1 " b1"), "1");
  int64_t before = tail_now().size;
  /* Three entries are one transaction: torn in its last command, all of it must go. */
  assert_string_equal(ask(loop, link, "FCALL tocsin_append 2 j s " H1 " 2 y e2 " H1 " b2 e3 " H1 " b3 e4 " H2 " b4"), "3");
  redis_free(link);
  stop(e);
  struct aof_tail tail = tail_now();
  assert_false(tail.torn);
  assert_int_equal(truncate(tail.path, tail.size - 5), 0);
  e = start_ready();
  assert_int_equal(seen.cuts, 1);
  assert_string_equal(seen.file, tail.path);
  assert_int_equal(seen.offset, before);
  assert_int_equal(seen.bytes, tail.size - 5 - before);
  link = connect_to(e);
  assert_string_equal(ask(loop, link, "XLEN j"), "1");
  assert_string_equal(ask(loop, link, "GET s"), "x");
  assert_string_equal(ask(loop, link, "FCALL tocsin_append 2 j s " H1 " 2 y e2 " H2 " b2"), "1");
  redis_free(link);
  stop(e);
}

static void test_damage_stops(void **state) {
  struct embedded *e = start_ready();
  struct redis *link = connect_to(e);
  ask(loop, link, "SET a 1");
  int64_t at = tail_now().size;
  ask(loop, link, "SET b 2");
  ask(loop, link, "SET c 3");
  redis_free(link);
  stop(e);
  struct aof_tail tail = tail_now();
  int fd = open(tail.path, O_WRONLY);
  assert_int_equal(pwrite(fd, "!", 1, (off_t)at), 1);
  close(fd);
  e = start(NULL);
  assert_true(test_until(loop, &seen.failed, 20000));
  assert_int_equal(seen.code, ERR_IO);
  assert_int_equal(seen.cuts, 0);
  assert_non_null(strstr(seen.text, "backup"));
  assert_int_equal(tail_now().size, tail.size); /* untouched */
  stop(e);
}

/* --- what cannot start ------------------------------------------------------------------------------ */

static void test_no_program(void **state) {
  struct embedded *e = start("/nonexistent/redis-server");
  assert_true(test_until(loop, &seen.failed, 5000));
  assert_non_null(strstr(seen.text, "No such file"));
  embedded_free(e);
}

static void test_a_program_that_ends_at_once(void **state) {
  struct embedded *e = start("/bin/false");
  assert_true(test_until(loop, &seen.failed, 10000));
  assert_non_null(strstr(seen.text, "status 1"));
  embedded_free(e);
}

static void test_wrong_settings(void **state) {
  struct embedded *e = NULL;
  struct embedded_events events = {.arg = &seen};
  struct err err;
  struct embedded_config config = {.folder = data, .maxmemory = "1gb\nport 6379"};
  assert_int_equal(embedded_start(loop, &config, &events, &e, &err), ERR_INVALID);
  char longer[300];
  snprintf(longer, sizeof longer, "%s/%0120d", data, 1);
  config = (struct embedded_config){.folder = longer};
  assert_int_equal(embedded_start(loop, &config, &events, &e, &err), ERR_INVALID);
  assert_null(e);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      T(test_start_and_stop),
      T(test_second_start_is_refused),
      T(test_orphan_is_adopted),
      T(test_adopted_is_stopped),
      T(test_free_leaves_it_running),
      T(test_killed_server_comes_back),
      T(test_torn_tail_is_mended),
      T(test_damage_stops),
      T(test_no_program),
      T(test_a_program_that_ends_at_once),
      T(test_wrong_settings),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
