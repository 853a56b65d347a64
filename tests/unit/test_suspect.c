/* The suspect's file: who is noted, how processes that ended are judged, and the watchdog. Each process that ends is a real one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/suspect.h"

enum ending { PROPER, CRASH, ABORT, KILLED, SENT, IDLE_KILLED, STACK_FULL, SPIN };

static char folder[64], reason[SUSPECT_REASON];

static volatile int *volatile nowhere = (volatile int *)4096; /* nobody lives there; a null pointer would be the sanitizer's to report */
static volatile int turns;

static int deeper(volatile const char *above) {
  volatile char here[4096];
  here[0] = above ? above[0] : 1;
  return turns < 0 ? 0 : deeper(here) + here[0];
}

/* In a process of its own: opens, is alone if somebody is to be, works, and ends like this. */
static void work(enum ending how, const char *id, int ready) {
  struct suspect s;
  struct rlimit none = {0, 0};
  int null = open("/dev/null", O_WRONLY);
  for (int i = 1; i < 32; i++) signal(i, SIG_DFL); /* the test library catches some */
  setrlimit(RLIMIT_CORE, &none);
  dup2(null, STDERR_FILENO);
  if (suspect_open(folder, NULL) != 0) _exit(40);
  suspect_alone(&s);
  if (how == SPIN && suspect_watch(200, NULL) != 0) _exit(41);
  if (how != IDLE_KILLED) suspect_begin(SUSPECT_ALERT, id, 0);
  if (write(ready, "x", 1) != 1) _exit(42);
  if (how == CRASH) *nowhere = 1;
  if (how == ABORT) abort();
  if (how == STACK_FULL) _exit(deeper(NULL));
  while (how == SPIN) turns++;
  while (how != PROPER) pause();
  suspect_end();
  suspect_close();
  _exit(0);
}

static void process(enum ending how, const char *id) {
  int pipes[2], status;
  char c;
  assert_int_equal(pipe(pipes), 0);
  pid_t pid = fork();
  if (pid == 0) work(how, id, pipes[1]);
  close(pipes[1]);
  assert_int_equal(read(pipes[0], &c, 1), 1);
  close(pipes[0]);
  if (how == KILLED || how == IDLE_KILLED) kill(pid, SIGKILL);
  if (how == SENT) kill(pid, SIGSEGV);
  assert_int_equal(waitpid(pid, &status, 0), pid);
  if (how == PROPER) assert_int_equal(status, 0);
  else assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) < 40); /* a sanitizer reports and exits */
}

/* The next start, and its proper end. */
static struct suspect judged(bool *ret_unclean) {
  struct suspect s;
  assert_int_equal(suspect_open(folder, NULL), 0);
  *ret_unclean = suspect_unclean(&s);
  return s;
}

static bool guilty(const char *id) { return suspect_guilty(SUSPECT_ALERT, id, 0, reason); }

static int up(void **state) {
  char temporary[] = "/tmp/tocsin-suspect-XXXXXX";
  snprintf(folder, sizeof folder, "%s", mkdtemp(temporary));
  return 0;
}

static int down(void **state) {
  char path[96];
  suspect_close();
  snprintf(path, sizeof path, "%s/suspect", folder);
  unlink(path);
  return rmdir(folder);
}

static void test_nothing_is_suspected_without_a_file(void **state) {
  suspect_begin(SUSPECT_RUN, "INC-000001", 1);
  suspect_end();
  suspect_end(); /* one too many is no harm */
  assert_false(suspect_known(SUSPECT_RUN, "INC-000001", 1));
  struct suspect s;
  assert_false(suspect_alone(&s));
}

static void test_a_proper_end_accuses_nobody(void **state) {
  bool unclean;
  process(PROPER, "1-0");
  assert_int_equal(judged(&unclean).kind, SUSPECT_NONE);
  assert_false(unclean);
  char path[96];
  struct stat st;
  snprintf(path, sizeof path, "%s/suspect", folder);
  assert_int_equal(stat(path, &st), 0);
  assert_int_equal(st.st_mode & 0777, 0600);
}

static void test_died_outside_of_any_burst(void **state) {
  bool unclean;
  process(IDLE_KILLED, "1-0");
  assert_int_equal(judged(&unclean).kind, SUSPECT_NONE);
  assert_true(unclean);
  struct suspect s;
  assert_false(suspect_alone(&s));
}

/* By whatever signal of its own making, and that is known of the file alone. */
static void guilty_by(enum ending how, const char *word) {
  bool unclean;
  process(how, "5-1");
  struct suspect s = judged(&unclean);
  assert_true(unclean);
  assert_string_equal(s.id, "5-1");
  assert_true(s.since > 0);
  assert_false(guilty("5-1")); /* others were about */
  assert_true(suspect_known(SUSPECT_ALERT, "5-1", 0));
  assert_false(suspect_known(SUSPECT_ALERT, "5-2", 0));
  assert_false(suspect_known(SUSPECT_RUN, "5-1", 0));
  suspect_close();
  process(how, "5-1"); /* alone */
  s = judged(&unclean);
  assert_int_equal(s.alone_crashed, 1);
  assert_true(guilty("5-1"));
  assert_non_null(strstr(reason, word));
  assert_false(suspect_alone(&s));
  suspect_close();
  judged(&unclean); /* the verdict stays until it is set aside */
  assert_true(guilty("5-1"));
  suspect_forget(SUSPECT_ALERT, "5-1", 0);
  assert_false(guilty("5-1"));
  suspect_close();
  judged(&unclean);
  assert_false(suspect_known(SUSPECT_ALERT, "5-1", 0));
}

static void test_a_crash_alone_is_proof(void **state) { guilty_by(CRASH, "SIGSEGV"); }
static void test_so_is_abort(void **state) { guilty_by(ABORT, "SIGABRT"); }
static void test_so_is_a_full_stack(void **state) { guilty_by(STACK_FULL, "SIG"); }
static void test_so_is_the_watchdog(void **state) { guilty_by(SPIN, "SIGABRT"); }

/* kill -9, and a SIGSEGV that somebody sends: two never condemn, a third while alone does. */
static void guilty_by_kills(enum ending how) {
  bool unclean;
  for (int i = 0; i < 2; i++) {
    process(how, "7-0");
    assert_int_equal(judged(&unclean).alone_ended, i);
    assert_false(guilty("7-0"));
    suspect_close();
  }
  process(how, "7-0");
  judged(&unclean);
  assert_true(guilty("7-0"));
  assert_string_equal(reason, "it ended the process twice while it was handled alone");
}

static void test_two_kills_condemn_nobody(void **state) { guilty_by_kills(KILLED); }
static void test_a_signal_that_was_sent_is_no_proof(void **state) { guilty_by_kills(SENT); }

static void test_kills_that_hit_others_condemn_nobody(void **state) {
  bool unclean;
  char id[16];
  for (int i = 0; i < 40; i++) { /* more than the file remembers */
    snprintf(id, sizeof id, "%d-0", i + 1);
    process(KILLED, id);
    if (i % 3 == 0) process(IDLE_KILLED, id);
  }
  judged(&unclean);
  for (int i = 0; i < 40; i++) {
    snprintf(id, sizeof id, "%d-0", i + 1);
    assert_false(guilty(id));
  }
}

static void test_killed_before_its_turn_it_is_still_tried_alone(void **state) {
  bool unclean;
  struct suspect s;
  process(CRASH, "9-0");
  process(IDLE_KILLED, "9-0");
  process(IDLE_KILLED, "9-0");
  assert_int_equal(judged(&unclean).kind, SUSPECT_NONE);
  assert_true(suspect_alone(&s));
  assert_string_equal(s.id, "9-0");
  assert_int_equal(s.ends, 1);
}

static void test_who_comes_through_is_acquitted(void **state) {
  bool unclean;
  struct suspect s;
  process(KILLED, "9-0");
  process(KILLED, "9-0");
  judged(&unclean);
  assert_true(suspect_alone(&s));
  suspect_begin(SUSPECT_ALERT, "9-0", 0);
  suspect_end();
  suspect_acquit();
  assert_true(suspect_known(SUSPECT_ALERT, "9-0", 0));
  suspect_close();
  process(KILLED, "9-0"); /* nobody is alone any more: this says nothing again */
  judged(&unclean);
  assert_false(guilty("9-0"));
  assert_true(suspect_alone(&s));
  suspect_close();
  process(KILLED, "9-0");
  judged(&unclean);
  assert_false(guilty("9-0"));
}

static void test_its_time_is_over_but_not_the_suspicion(void **state) {
  bool unclean;
  struct suspect s;
  process(CRASH, "9-0");
  judged(&unclean);
  assert_true(suspect_alone(&s));
  suspect_alone_over();
  suspect_close();
  process(CRASH, "9-0"); /* beside others */
  judged(&unclean);
  assert_false(guilty("9-0"));
  assert_true(suspect_alone(&s));
}

static void test_the_innermost_is_the_suspect(void **state) {
  bool unclean;
  struct suspect s;
  assert_int_equal(suspect_open(folder, NULL), 0);
  suspect_close();
  pid_t pid = fork();
  if (pid == 0) {
    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
    if (suspect_open(folder, NULL) != 0) _exit(40);
    suspect_begin(SUSPECT_ALERT, "1-0", 0);
    suspect_begin(SUSPECT_RUN, "INC-000007", 3);
    for (int i = 0; i < 9; i++) suspect_begin(SUSPECT_ALERT, "deep", 0); /* deeper than there is room for */
    for (int i = 0; i < 9; i++) suspect_end();
    kill(getpid(), SIGKILL);
  }
  waitpid(pid, NULL, 0);
  s = judged(&unclean);
  char name[SUSPECT_ID + 24];
  suspect_text(&s, name);
  assert_string_equal(name, "run INC-000007/3");
}

static void spoil(size_t at, const void *bytes, size_t len) {
  char path[96];
  snprintf(path, sizeof path, "%s/suspect", folder);
  int fd = open(path, O_WRONLY | O_CREAT, 0600);
  assert_true(fd >= 0);
  assert_int_equal(pwrite(fd, bytes, len, (off_t)at), len);
  close(fd);
}

static void test_another_boot_proves_nothing(void **state) {
  bool unclean;
  process(CRASH, "1-0");
  spoil(12, "another-boot", 12);
  assert_int_equal(judged(&unclean).kind, SUSPECT_NONE);
  assert_true(unclean);
}

static void test_a_spoilt_file_is_no_evidence(void **state) {
  bool unclean;
  char junk[4096];
  process(CRASH, "1-0");
  memset(junk, 0xff, sizeof junk);
  for (size_t at = 0; at < sizeof junk; at += 128) {
    spoil(at, junk, 128);
    judged(&unclean);
    suspect_begin(SUSPECT_ALERT, "2-0", 0);
    suspect_end();
    suspect_close();
  }
  spoil(0, junk, sizeof junk);
  assert_int_equal(judged(&unclean).kind, SUSPECT_NONE);
}

static void test_one_process_at_a_time(void **state) {
  int status;
  assert_int_equal(suspect_open(folder, NULL), 0);
  pid_t pid = fork();
  if (pid == 0) execl("/proc/self/exe", "test_suspect", "--open", folder, (char *)NULL);
  waitpid(pid, &status, 0);
  assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 7);
}

static void test_the_watchdog_measures_cpu_not_waiting(void **state) {
  struct timespec start, now;
  int status;
  pid_t pid = fork();
  if (pid == 0) {
    if (suspect_open(folder, NULL) != 0 || suspect_watch(200, NULL) != 0) _exit(1);
    suspect_begin(SUSPECT_ALERT, "1-0", 0);
    struct timespec wait = {0, 700000000}; /* a burst that uses nothing */
    nanosleep(&wait, NULL);
    suspect_end();
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &start);
    do { /* many short bursts, one inside the other or after the other, are no long one */
      suspect_begin(SUSPECT_RUN, "INC-000001", 1);
      for (int i = 0; i < 100000; i++) turns++;
      suspect_begin(SUSPECT_RUN, "INC-000001", 1);
      suspect_end();
      suspect_end();
      clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    } while ((now.tv_sec - start.tv_sec) * 1000 + (now.tv_nsec - start.tv_nsec) / 1000000 < 600);
    suspect_close();
    _exit(0);
  }
  waitpid(pid, &status, 0);
  assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, up, down)

int main(int argc, char **argv) {
  struct err err;
  if (argc == 3 && strcmp(argv[1], "--open") == 0) return suspect_open(argv[2], &err) == ERR_CONFLICT ? 7 : 1;
  const struct CMUnitTest tests[] = {
      TEST(test_nothing_is_suspected_without_a_file),
      TEST(test_a_proper_end_accuses_nobody),
      TEST(test_died_outside_of_any_burst),
      TEST(test_a_crash_alone_is_proof),
      TEST(test_so_is_abort),
      TEST(test_so_is_a_full_stack),
      TEST(test_so_is_the_watchdog),
      TEST(test_two_kills_condemn_nobody),
      TEST(test_a_signal_that_was_sent_is_no_proof),
      TEST(test_kills_that_hit_others_condemn_nobody),
      TEST(test_killed_before_its_turn_it_is_still_tried_alone),
      TEST(test_who_comes_through_is_acquitted),
      TEST(test_its_time_is_over_but_not_the_suspicion),
      TEST(test_the_innermost_is_the_suspect),
      TEST(test_another_boot_proves_nothing),
      TEST(test_a_spoilt_file_is_no_evidence),
      TEST(test_one_process_at_a_time),
      TEST(test_the_watchdog_measures_cpu_not_waiting),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
