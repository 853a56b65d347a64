/* Several processes at one piece of work: results in order, what a failed or a dead one means, and nobody who is left behind. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/json.h"
#include "exercise/crew.h"

struct job {
  pid_t caller;
  size_t next, dies_at, seen, pids_count;
  pid_t pids[64];
  bool cannot_open;
};

static int job_open(void *arg, struct err *err) {
  const struct job *job = arg;
  return job->cannot_open ? err_set(err, ERR_LIMIT, "there is no room") : 0;
}

static json_t *job_work(void *arg, size_t item) {
  const struct job *job = arg;
  if (item + 1 == job->dies_at && getpid() != job->caller) _exit(7);
  return json_pack("{s:I, s:I, s:s#}", "square", (json_int_t)(item * item), "pid", (json_int_t)getpid(), "long",
                   "a text of some length, so that results come in pieces", (int)(item % 50));
}

static void job_close(void *arg) {}

static void job_done(void *arg, size_t item, const json_t *result) {
  struct job *job = arg;
  pid_t pid = (pid_t)json_int_or(result, "pid", 0);
  size_t i = 0;
  assert_int_equal(getpid(), job->caller);
  assert_int_equal(item, job->next++);
  assert_int_equal(json_int_or(result, "square", -1), (int64_t)(item * item));
  while (i < job->pids_count && job->pids[i] != pid) i++;
  if (i == job->pids_count) job->pids[job->pids_count++] = pid;
}

static void job_progress(void *arg, size_t done) {
  struct job *job = arg;
  assert_int_equal(done, ++job->seen);
}

static int run(struct job *job, unsigned processes, size_t items, struct err *err) {
  struct crew c = {.items = items,
                   .processes = processes,
                   .open = job_open,
                   .work = job_work,
                   .close = job_close,
                   .done = job_done,
                   .progress = job_progress,
                   .arg = job};
  job->caller = getpid();
  int r = crew_run(&c, err);
  assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* no child is left */
  return r;
}

static void test_in_order(void **state) {
  static const unsigned processes[] = {1, 2, 5, 1000};
  for (size_t i = 0; i < 4; i++) {
    struct job job = {0};
    struct err err;
    assert_int_equal(run(&job, processes[i], 3000, &err), 0);
    assert_int_equal(job.next, 3000);
    assert_int_equal(job.seen, 3000);
    if (processes[i] == 1) assert_int_equal(job.pids[0], getpid());
    else assert_true(job.pids[0] != getpid());
  }
}

static void test_nothing_to_do(void **state) {
  struct job job = {0};
  struct err err;
  assert_int_equal(run(&job, 4, 0, &err), 0);
  assert_int_equal(job.next, 0);
}

static void test_cannot_open(void **state) {
  for (unsigned processes = 1; processes < 4; processes += 2) {
    struct job job = {.cannot_open = true};
    struct err err = {0};
    assert_int_equal(run(&job, processes, 9, &err), ERR_LIMIT);
    assert_string_equal(err.text, "there is no room");
  }
}

static void test_one_dies(void **state) {
  struct job job = {.dies_at = 100};
  struct err err = {0};
  assert_int_equal(run(&job, 3, 200, &err), ERR_IO);
  assert_non_null(strstr(err.text, "a process ended before its time: 199 of 200 were done"));
  assert_int_equal(job.next, 99); /* what comes after it is not shown as if it were all */
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_in_order), cmocka_unit_test(test_nothing_to_do),
                                     cmocka_unit_test(test_cannot_open), cmocka_unit_test(test_one_dies)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
