/* The sealer: what is handed over is in the log once, in order, with its body, also when the disk fails for a while. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdatomic.h>
#include <time.h>

#include "evidence/bodies.h"
#include "evidence/leaf.h"
#include "evidence/seal.h"
#include "log_help.h"

static struct note_signer signer;
static atomic_uint told, calls;

static void news(void *arg) { atomic_fetch_add(&told, 1); }

static struct sealer *start(const char *folder, disk_fault_cb *fault) {
  struct sealer_options o = {.folder = folder, .signer = &signer, .interval_ms = 20, .retry_ms = 5, .news = news, .fault = fault};
  struct sealer *s = NULL;
  struct err err = {0};
  if (sealer_start(&o, &s, &err) < 0) fail_msg("%s", err.text);
  return s;
}

static size_t text(unsigned i, const char *what, char out[64]) {
  return (size_t)snprintf(out, 64, "%s %u%.*s", what, i, (int)(i % 13), ".............");
}

static void add(struct sealer *s, unsigned from, unsigned to) {
  for (unsigned i = from; i < to; i++) {
    char head[64], body[64], leaf[DIGEST_HEX];
    size_t n = text(i, "head", head), m = text(i, "body", body);
    leaf_hash(head, n, leaf);
    sealer_add(s, head, n, leaf, body, m);
  }
}

/* Waits for it, 20 s at most. */
static void wait_sealed(struct sealer *s, uint64_t ticket) {
  struct sealer_status st;
  struct timespec nap = {.tv_nsec = 2000000};
  for (time_t until = time(NULL) + 20; time(NULL) < until; nanosleep(&nap, NULL)) {
    sealer_status(s, &st);
    if (st.sealed >= ticket) return;
  }
  fail_msg("%u sealed of %u: %s", (unsigned)st.sealed, (unsigned)ticket, st.last.text);
}

/* Every entry once and in order, every body at its place. */
static void expect(const char *folder, unsigned count) {
  char path[128];
  struct tlog *log = NULL;
  struct bodies *bodies = NULL;
  struct err err = {0};
  snprintf(path, sizeof path, "%s/log", folder);
  if (tlog_open(path, &signer, NULL, NULL, &log, &err) < 0 || bodies_open(folder, &bodies, &err) < 0) fail_msg("%s", err.text);
  assert_int_equal(tlog_size(log), count);
  for (unsigned i = 0; i < count; i += i % 256 == 255 || count < 2000 ? 1 : 5) {
    char want[64];
    struct buf b;
    struct hash leaf;
    buf_init(&b, 1000);
    size_t n = text(i, "head", want);
    if (tlog_read(log, i, &b, &err) < 0) fail_msg("%s", err.text);
    assert_string_equal(b.data, want);
    merkle_leaf(want, n, &leaf);
    buf_reset(&b);
    text(i, "body", want);
    if (bodies_read(bodies, i, &leaf, &b, &err) < 0) fail_msg("%s", err.text);
    assert_string_equal(b.data, want);
    buf_release(&b);
  }
  tlog_close(log);
  bodies_close(bodies);
}

static void seals(void **state) {
  char folder[64];
  struct sealer_status st;
  folder_make(folder);
  atomic_store(&told, 0);
  struct sealer *s = start(folder, NULL);
  add(s, 0, 3);
  wait_sealed(s, 3);
  add(s, 3, 300);
  wait_sealed(s, 300);
  sealer_status(s, &st);
  assert_int_equal(st.size, 300);
  assert_int_equal(st.accepted, 300);
  assert_true(st.age_ms >= 0 && st.age_ms < 20000 && st.failures == 0);
  assert_true(atomic_load(&told) >= 2);
  add(s, 300, 310); /* stopping seals what waits */
  assert_int_equal(sealer_stop(s, NULL), 0);
  expect(folder, 310);
  s = start(folder, NULL);
  sealer_status(s, &st);
  assert_int_equal(st.size, 310);
  add(s, 310, 6000);
  assert_int_equal(sealer_stop(s, NULL), 0);
  expect(folder, 6000);
  folder_remove(folder);
}

/* Every 41st call fails, once before it does anything and once in the middle of a write. */
static int sometimes(void *arg, enum disk_call call, const char *path, size_t *len) {
  unsigned n = atomic_fetch_add(&calls, 1);
  if (n % 41 != 40) return 0;
  if (call == DISK_WRITE && n % 2) *len = 5;
  return ENOSPC;
}

static void keeps_trying(void **state) {
  char folder[64];
  folder_make(folder);
  struct sealer *s = start(folder, NULL);
  assert_int_equal(sealer_stop(s, NULL), 0);
  atomic_store(&calls, 0);
  s = start(folder, sometimes);
  for (unsigned i = 0; i < 40; i++) {
    add(s, 10 * i, 10 * i + 10);
    if (i % 4 == 3) wait_sealed(s, 10 * i + 10);
  }
  sealer_stop(s, NULL);
  assert_true(atomic_load(&calls) > 100);
  expect(folder, 400);
  folder_remove(folder);
}

static int never(void *arg, enum disk_call call, const char *path, size_t *len) { return atomic_load(&calls) ? EIO : 0; }

static void says_so(void **state) {
  char folder[64];
  struct err err = {0};
  folder_make(folder);
  atomic_store(&calls, 0);
  struct sealer *s = start(folder, never);
  add(s, 0, 5);
  wait_sealed(s, 5);
  atomic_store(&calls, 1);
  add(s, 5, 8);
  assert_int_equal(sealer_stop(s, &err), ERR_IO);
  assert_non_null(strstr(err.text, "3 entries"));
  expect(folder, 5);
  folder_remove(folder);
}

int main(void) {
  signer = test_signer("example.com/ir/evidence");
  const struct CMUnitTest tests[] = {cmocka_unit_test(seals), cmocka_unit_test(keeps_trying), cmocka_unit_test(says_so)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
