/* The sealer: what is handed over is in the log once, in order, with its body, also when the disk fails for a while. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <malloc.h>
#include <stdatomic.h>
#include <time.h>

#include "evidence/archive.h"
#include "evidence/bodies.h"
#include "evidence/leaf.h"
#include "evidence/seal.h"
#include "evidence/store.h"
#include "evidence/verify.h"
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

static void add_one(struct sealer *s, unsigned i) {
  const struct made *m = &made[i];
  sealer_add(s, m->journal, i / JOURNALS + 1, m->head, m->head_len, m->leaf, m->body, m->body_len);
}

static void add(struct sealer *s, unsigned from, unsigned to) {
  for (unsigned i = from; i < to; i++) add_one(s, i);
}

/* Waits for it, 20 s at most. */
static void wait_size(struct sealer *s, uint64_t size) {
  struct sealer_status st;
  struct timespec nap = {.tv_nsec = 2000000};
  for (time_t until = time(NULL) + 20; time(NULL) < until; nanosleep(&nap, NULL)) {
    sealer_status(s, &st);
    if (st.open && st.size >= size && !st.waiting && !st.lag) return;
  }
  fail_msg("%u sealed of %u: %s", (unsigned)st.size, (unsigned)size, st.last.text);
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
    struct buf b;
    struct hash leaf;
    buf_init(&b, 1000);
    if (tlog_read(log, i, &b, &err) < 0) fail_msg("%s", err.text);
    assert_string_equal(b.data, made[i].head);
    merkle_leaf(made[i].head, made[i].head_len, &leaf);
    buf_reset(&b);
    if (bodies_read(bodies, i, &leaf, &b, &err) < 0) fail_msg("%s", err.text);
    assert_string_equal(b.data, made[i].body);
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
  wait_size(s, 3);
  add(s, 3, 300);
  wait_size(s, 300);
  sealer_status(s, &st);
  assert_int_equal(st.size, 300);
  assert_int_equal(st.sealed, 300);
  assert_true(st.age_ms >= 0 && st.age_ms < 20000 && st.failures == 0);
  assert_true(atomic_load(&told) >= 2);
  add(s, 300, 310); /* stopping seals what waits */
  assert_int_equal(sealer_stop(s, 20000, NULL), 0);
  expect(folder, 310);
  s = start(folder, NULL);
  wait_size(s, 310);
  add(s, 310, 6000);
  assert_int_equal(sealer_stop(s, 20000, NULL), 0);
  expect(folder, 6000);
  folder_remove(folder);
}

static struct store_entry entry_of(const struct made *m) {
  struct store_entry e = {m->head, m->body, m->head_len, m->body_len, .seq = 0};
  hex_decode(m->leaf, e.leaf.bytes, DIGEST_BYTES);
  return e;
}

/* The head with one digit of its body's digest changed. */
static char *changed_head(const struct made *m) {
  char *changed = strdup(m->head), *at = strstr(changed, "\"body\":\"") + 8;
  *at = *at == '0' ? '1' : '0';
  return changed;
}

/* A journal that another node gave up is read from its beginning while its new owner appends to it: the same entries come twice, within one batch. */
static void comes_twice(void **state) {
  enum { FIRST = 3 * JOURNALS, ALL = 2 * FIRST + 1 };
  static struct store_entry batch[ALL];
  char folder[64], *changed = changed_head(&made[JOURNALS]);
  struct store *s = NULL;
  struct err err = {0};
  folder_make(folder);
  if (store_open(folder, &signer, NULL, NULL, &s, &err) < 0 || store_ready(s, &err) < 0) fail_msg("%s", err.text);
  for (size_t i = 0; i < 2 * FIRST; i++) batch[i] = entry_of(&made[i % FIRST]);
  batch[2 * FIRST] = batch[JOURNALS];
  batch[2 * FIRST].head = changed;
  merkle_leaf(changed, strlen(changed), &batch[2 * FIRST].leaf);
  assert_int_equal(store_judge(s, batch, 0, ALL, &err), 0);
  for (size_t i = 0; i < ALL; i++) assert_int_equal(batch[i].verdict, i < FIRST ? STORE_NEW : i < 2 * FIRST ? STORE_KNOWN : STORE_FORK);
  assert_int_equal(store_seal(s, batch, ALL, &err), 0);
  assert_int_equal(store_judge(s, batch, 0, ALL, &err), 0);
  for (size_t i = 0; i < ALL; i++) assert_int_equal(batch[i].verdict, i < 2 * FIRST ? STORE_KNOWN : STORE_FORK);
  store_close(s);
  expect(folder, FIRST);
  free(changed);
  folder_remove(folder);
}

/* An entry that was changed in memory is never sealed: its batch is refused once, then it is left out and asked for again. */
static void changed_in_memory(void **state) {
  enum { ALL = 3 * JOURNALS, CHANGED = JOURNALS + 2 };
  static struct store_entry batch[ALL];
  char folder[64], journal[HEAD_INCIDENT], *changed = changed_head(&made[CHANGED]), *last = changed_head(&made[ALL - 1]);
  uint64_t from = 0;
  struct sealer_status st;
  struct store *s = NULL;
  struct err err = {0};
  folder_make(folder);
  if (store_open(folder, &signer, NULL, NULL, &s, &err) < 0 || store_ready(s, &err) < 0) fail_msg("%s", err.text);
  for (size_t i = 0; i < ALL; i++) batch[i] = entry_of(&made[i]);
  batch[CHANGED].head = changed;
  assert_int_equal(store_judge(s, batch, 0, ALL, &err), 0);
  assert_int_equal(store_seal(s, batch, ALL, &err), ERR_IO);
  assert_int_equal(store_size(s), 0);
  assert_int_equal(store_ready(s, &err), 0);
  assert_int_equal(store_judge(s, batch, 0, ALL, &err), 0);
  for (size_t i = 0; i < ALL; i++)
    assert_int_equal(batch[i].verdict, i == CHANGED ? STORE_BROKEN : i == CHANGED + JOURNALS ? STORE_AHEAD : STORE_NEW);
  assert_string_equal(batch[CHANGED].journal, made[CHANGED].journal);
  assert_int_equal(batch[CHANGED].seq, 2);
  assert_int_equal(store_seal(s, batch, CHANGED, &err), 0);
  store_close(s);
  expect(folder, CHANGED);
  struct sealer *sealer = start(folder, NULL);
  add(sealer, CHANGED, ALL - 1);
  sealer_add(sealer, made[ALL - 1].journal, 3, last, made[ALL - 1].head_len, made[ALL - 1].leaf, made[ALL - 1].body,
             made[ALL - 1].body_len);
  wait_size(sealer, ALL - 1);
  assert_true(sealer_behind(sealer, journal, &from));
  assert_string_equal(journal, made[ALL - 1].journal);
  assert_int_equal(from, 3);
  add_one(sealer, ALL - 1);
  wait_size(sealer, ALL);
  sealer_status(sealer, &st);
  assert_true(st.failed > 0 && st.failures == 0 && st.troubled == 0);
  assert_int_equal(sealer_stop(sealer, 20000, NULL), 0);
  expect(folder, ALL);
  free(changed);
  free(last);
  folder_remove(folder);
}

static size_t checkpoint_count(const char *folder, const char *what) {
  char path[128], text[8192];
  size_t count = 0;
  snprintf(path, sizeof path, "%s/log/checkpoint", folder);
  FILE *f = fopen(path, "re");
  assert_non_null(f);
  text[fread(text, 1, sizeof text - 1, f)] = 0;
  fclose(f);
  for (const char *p = text; (p = strstr(p, what)); p++) count++;
  return count;
}

/* The checkpoint bears what witnesses sign, as long as it is the newest; the log goes on from it, in this process and the next. */
static void cosigned(void **state) {
  static const char one[] = "\xe2\x80\x94 witness.example/one "
                            "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==\n",
                    two[] = "\xe2\x80\x94 witness.example/two "
                            "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==\n";
  char folder[64], path[80];
  struct timespec nap = {.tv_nsec = 2000000};
  struct verify_options o = {.key = &signer.verifier};
  struct verify_result result;
  folder_make(folder);
  snprintf(path, sizeof path, "%s/log", folder);
  struct sealer *s = start(folder, NULL);
  add(s, 0, 3);
  wait_size(s, 3);
  sealer_cosign(s, 3, one, sizeof one - 1);
  sealer_cosign(s, 3, one, sizeof one - 1);
  sealer_cosign(s, 3, two, sizeof two - 1);
  for (int i = 0; i < 10000 && checkpoint_count(folder, "witness.example/two") == 0; i++) nanosleep(&nap, NULL);
  assert_int_equal(checkpoint_count(folder, "witness.example/one"), 1);
  assert_int_equal(checkpoint_count(folder, "witness.example/two"), 1);
  assert_int_equal(sealer_stop(s, 20000, NULL), 0);
  assert_int_equal(verify_log(path, &o, &result, NULL), 0);
  assert_int_equal(result.count, 0);
  assert_int_equal(result.size, 3);
  verify_release(&result);
  s = start(folder, NULL);
  add(s, 0, 10);
  wait_size(s, 10);
  assert_int_equal(checkpoint_count(folder, "witness.example"), 0);
  sealer_cosign(s, 3, one, sizeof one - 1); /* too late: it is of an older checkpoint */
  add(s, 10, 11);
  wait_size(s, 11);
  assert_int_equal(checkpoint_count(folder, "witness.example"), 0);
  assert_int_equal(sealer_stop(s, 20000, NULL), 0);
  expect(folder, 11);
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
  assert_int_equal(sealer_stop(s, 20000, NULL), 0);
  atomic_store(&calls, 0);
  s = start(folder, sometimes);
  for (unsigned i = 0; i < 40; i++) {
    add(s, 10 * i, 10 * i + 10);
    if (i % 4 == 3) wait_size(s, 10 * i + 10);
  }
  sealer_stop(s, 20000, NULL);
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
  wait_size(s, 5);
  atomic_store(&calls, 1);
  add(s, 5, 8);
  assert_int_equal(sealer_stop(s, 20000, &err), ERR_IO);
  assert_non_null(strstr(err.text, "3 entries"));
  expect(folder, 5);
  folder_remove(folder);
}

/* Whatever is handed over and however often: once, in order, and what is missing is asked for. */
static void exact(void **state) {
  char folder[64], journal[HEAD_INCIDENT], why[256];
  uint64_t from = 0;
  struct sealer_status st;
  folder_make(folder);
  struct sealer *s = start(folder, NULL);
  add(s, 0, 70);
  add(s, 30, 70);
  wait_size(s, 70);
  assert_int_equal(sealer_stop(s, 20000, NULL), 0);
  s = start(folder, NULL);
  add(s, 0, 70); /* an earlier process did */
  for (unsigned i = 70; i < 140; i++)
    if (i != 77) add_one(s, i); /* the second entry that journal 0 gets here is missing */
  wait_size(s, 70 + 70 - 9);
  assert_true(sealer_behind(s, journal, &from));
  assert_string_equal(journal, "INC-000000");
  assert_int_equal(from, 12);
  for (unsigned i = 70; i < 140; i += JOURNALS) add_one(s, i);
  wait_size(s, 140);
  sealer_expect(s, made[139].journal, 20, made[139].leaf);
  sealer_expect(s, made[3].journal, 25, made[139].leaf);
  for (time_t until = time(NULL) + 20; !sealer_behind(s, journal, &from) && time(NULL) < until;) continue;
  assert_string_equal(journal, made[3].journal);
  assert_int_equal(from, 21);
  sealer_status(s, &st);
  assert_true(st.size == 140 && st.behind == 0 && st.troubled == 0 && st.failures == 0);
  sealer_expect(s, made[4].journal, 19, made[4].leaf); /* Redis went back behind the log */
  for (time_t until = time(NULL) + 20; st.troubled == 0 && time(NULL) < until;) sealer_status(s, &st);
  sealer_trouble(s, why);
  assert_non_null(strstr(why, made[4].journal));
  assert_int_equal(sealer_stop(s, 20000, NULL), 0);
  folder_remove(folder);
}

/* What does not fit into memory is let go and named; a catalogue that is damaged or gone is made anew. */
static void bounded(void **state) {
  char folder[64], journal[HEAD_INCIDENT], path[128];
  uint64_t from = 0;
  struct err err = {0};
  struct archive *a = NULL;
  struct place place;
  folder_make(folder);
  atomic_store(&calls, 1);
  struct sealer_options o = {.folder = folder, .signer = &signer, .interval_ms = 20, .retry_ms = 5, .memory = 8000, .fault = never};
  struct sealer *s = NULL;
  assert_int_equal(sealer_start(&o, &s, &err), 0);
  add(s, 0, 700);
  struct sealer_status st;
  sealer_status(s, &st);
  assert_true(st.waiting > 0 && st.waiting < 40 && st.behind == JOURNALS);
  atomic_store(&calls, 0);
  wait_size(s, 1);
  for (time_t until = time(NULL) + 20; time(NULL) < until;) {
    while (sealer_behind(s, journal, &from)) {
      unsigned n = (unsigned)strtoul(journal + 4, NULL, 10);
      for (uint64_t i = from; i <= 700 / JOURNALS && sealer_room(s); i++) add_one(s, n + (unsigned)(i - 1) * JOURNALS);
    }
    sealer_status(s, &st);
    if (st.size == 700) break;
    for (unsigned i = 700 - JOURNALS; i < 700; i++) add_one(s, i); /* as live entries would, it shows who is behind */
  }
  assert_int_equal(st.size, 700);
  sealer_stop(s, 20000, NULL);
  snprintf(path, sizeof path, "%s/catalogue.db", folder);
  file_put_bytes(path, "no database at all, but long enough to look at: ................................................", 90);
  s = start(folder, NULL);
  add(s, 0, 700);
  wait_size(s, 700);
  sealer_status(s, &st);
  assert_int_equal(st.size, 700);
  if (archive_open(folder, &signer.verifier, &a, &err) < 0) fail_msg("%s", err.text);
  for (unsigned i = 0; i < 700; i += 13) {
    struct merkle_proof proof;
    struct buf body, head;
    if (archive_find(a, made[i].journal, i / JOURNALS + 1, &place, &err) < 0) fail_msg("%s", err.text);
    assert_int_equal(archive_inclusion(a, place.index, &proof, &err), 0);
    const struct checkpoint *c = archive_checkpoint(a);
    assert_true(merkle_verify_inclusion(place.index, c->size, &place.leaf, proof.hashes, proof.count, &c->root));
    buf_init(&body, 1000);
    buf_init(&head, 1000);
    assert_int_equal(archive_head(a, place.index, &head, &err), 0);
    assert_string_equal(head.data, made[i].head);
    buf_release(&head);
    assert_int_equal(archive_body(a, &place, &body, &err), 0);
    assert_string_equal(body.data, made[i].body);
    buf_release(&body);
  }
  assert_int_equal(archive_last(a, "INC-000002", &place, &err), 0);
  assert_int_equal(place.seq, 100);
  assert_int_equal(archive_find(a, "INC-000002", 101, &place, &err), ERR_NOT_FOUND);
  assert_int_equal(archive_last(a, "INC-000099", &place, &err), ERR_NOT_FOUND);
  archive_close(a);
  sealer_stop(s, 20000, NULL);
  folder_remove(folder);
}

/* The bound is on what the process holds, not only on what is counted: large ones that are refused leave no page behind that a small one keeps. */
static void holds_no_more(void **state) {
  enum { MEMORY = 4 << 20, LARGE = 100000 };
  static char large[LARGE];
  char folder[64];
  struct sealer *s = NULL;
  struct err err = {0};
  const struct made *m = &made[0];
  folder_make(folder);
  atomic_store(&calls, 1);
  struct sealer_options o = {.folder = folder, .signer = &signer, .interval_ms = 1000, .retry_ms = 1000, .memory = MEMORY, .fault = never};
  assert_int_equal(sealer_start(&o, &s, &err), 0);
  size_t before = mallinfo2().uordblks + mallinfo2().hblkhd;
  for (unsigned i = 0; i < 700; i++) {
    sealer_add(s, m->journal, 1, m->head, m->head_len, m->leaf, large, sizeof large);
    add_one(s, i);
  }
  size_t held = mallinfo2().uordblks + mallinfo2().hblkhd - before;
  if (held > 2 * MEMORY) fail_msg("%zu bytes are held for %d", held, MEMORY);
  atomic_store(&calls, 0);
  sealer_stop(s, 20000, NULL);
  folder_remove(folder);
}

/* A body goes once what was handed over before is in, also while it waits in memory; the head stays, and the others do. */
static void removes(void **state) {
  char folder[64];
  struct bodies *bodies = NULL;
  struct buf b;
  struct hash leaf;
  const struct made *m = &made[JOURNALS];
  folder_make(folder);
  struct sealer *s = start(folder, NULL);
  add(s, 0, 3 * JOURNALS);
  sealer_remove(s, m->journal, 2);
  sealer_remove(s, m->journal, 2);
  sealer_remove(s, "INC-999999", 2); /* of another node */
  assert_int_equal(sealer_stop(s, 20000, NULL), 0);
  assert_int_equal(bodies_open(folder, &bodies, NULL), 0);
  for (unsigned i = 0; i < 3 * JOURNALS; i++) {
    buf_init(&b, 1000);
    merkle_leaf(made[i].head, made[i].head_len, &leaf);
    assert_int_equal(bodies_read(bodies, i, &leaf, &b, NULL), i == JOURNALS ? ERR_NOT_FOUND : 0);
    buf_release(&b);
  }
  bodies_close(bodies);
  folder_remove(folder);
}

int main(void) {
  all_make(6000);
  signer = test_signer("example.com/ir/evidence");
  const struct CMUnitTest tests[] = {cmocka_unit_test(seals),    cmocka_unit_test(comes_twice),  cmocka_unit_test(changed_in_memory),
                                     cmocka_unit_test(cosigned), cmocka_unit_test(keeps_trying), cmocka_unit_test(says_so),
                                     cmocka_unit_test(exact),    cmocka_unit_test(bounded),      cmocka_unit_test(holds_no_more),
                                     cmocka_unit_test(removes)};
  int r = cmocka_run_group_tests(tests, NULL, NULL);
  free(made);
  return r;
}
