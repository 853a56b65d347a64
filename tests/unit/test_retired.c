/* Journals that leave Redis: the evidence log gives back what was there, and what is appended goes on behind it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "journal/archived.h"
#include "journal/feed.h"
#include "journal_help.h"

/* --- leaving Redis: the evidence log gives back what was there ------------------------------------------------------ */

static char evidence[64];
static struct note_signer signer;

static int with_log(void **state) {
  struct feed *feed;
  struct err err;
  snprintf(evidence, sizeof evidence, "%s/tocsin-log-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
  assert_non_null(mkdtemp(evidence));
  assert_int_equal(note_signer_make("test.example/log", &signer, NULL), 0);
  struct feed_options o = {.store = &store, .folder = evidence, .signer = &signer, .node = "node-n1"};
  if (feed_start(&o, &feed, &err) < 0) fail_msg("%s", err.text);
  volatile bool never = false;
  for (int i = 0; i < 400 && !feed_settled(feed); i++) test_until(loop, &never, 20); /* its thread makes the files */
  assert_true(feed_settled(feed));
  store.archived = archived_new(evidence, &signer.verifier);
  return 0;
}

static int without_log(void **state) {
  archived_free(store.archived);
  store.archived = NULL;
  if (store.feed) feed_stop(store.feed, 5000, NULL);
  folder_remove(evidence);
  return 0;
}

/* Everything of it is sealed under a published checkpoint. */
static void sealed(struct journal *j) {
  struct err err;
  uint64_t last = 0;
  char leaf[DIGEST_HEX];
  volatile bool never = false;
  settle(j);
  for (int i = 0; i < 200 && (archived_last(store.archived, journal_incident(j), &last, leaf, &err) < 0 || last < journal_seq(j)); i++)
    test_until(loop, &never, 50);
  assert_int_equal(last, journal_seq(j));
}

static void retire(struct journal *j) {
  struct err err;
  sealed(j);
  seen.done = false;
  assert_int_equal(journal_retire(j, on_read, NULL, &err), 0);
  assert_int_equal(journal_retire(j, on_read, NULL, &err), ERR_CONFLICT); /* it is on its way */
  assert_true(test_until(loop, &seen.done, PATIENCE_MS));
  assert_int_equal(seen.code, 0);
  assert_int_equal(journal_archived(j), journal_seq(j));
}

static void test_retired_and_read_from_the_log(void **state) {
  enum { ENTRIES = 300 };
  char incident[32];
  struct buf before, after;
  buf_init(&before, 8 << 20);
  buf_init(&after, 8 << 20);
  snprintf(incident, sizeof incident, "%s", fresh());
  struct journal *j = journal_new(&store, incident);
  for (int i = 0; i < ENTRIES; i++) add(j, i);
  settle(j);
  read_all(incident, &before);
  retire(j);
  journal_store_state(j);
  assert_string_equal(ask(loop, redis_link, "XLEN tocsin:{%s}:journal", incident), "1");
  assert_null(strstr(ask(loop, redis_link, "GET tocsin:{%s}:state", incident), "recent")); /* and its state does not come back */
  read_all(incident, &after);
  assert_int_equal(seen.code, 0);
  assert_int_equal(seen.count, ENTRIES);
  assert_string_equal(before.data, after.data);
  add(j, ENTRIES); /* who had it in memory goes on */
  settle(j);
  journal_free(j);
  j = load(incident);
  assert_non_null(j);
  assert_int_equal(journal_seq(j), ENTRIES + 1);
  assert_int_equal(journal_archived(j), ENTRIES);
  json_t *folded = json_deep_copy(journal_state(j));
  json_object_del(folded, "archived");
  read_all(incident, NULL);
  assert_same_state(folded, seen.state);
  json_decref(folded);
  add(j, ENTRIES + 1); /* and who has loaded it */
  retire(j);
  journal_free(j);
  read_all(incident, NULL);
  assert_int_equal(seen.count, ENTRIES + 2);
  assert_int_equal(seen.n[ENTRIES + 1], ENTRIES + 1);
  buf_release(&before);
  buf_release(&after);
}

static void test_retired_elsewhere(void **state) {
  char incident[32], a[DIGEST_HEX];
  memset(a, 'a', sizeof a - 1);
  a[sizeof a - 1] = 0;
  snprintf(incident, sizeof incident, "%s", fresh());
  ask(loop, redis_link, "XADD tocsin:{%s}:journal 7-0 h %s n n2", incident, a);
  assert_null(load(incident));
  assert_int_equal(seen.code, ERR_CONFLICT);
  assert_non_null(strstr(seen.text, "node n2"));
  ask(loop, redis_link, "DEL tocsin:{%s}:journal", incident);
  ask(loop, redis_link, "XADD tocsin:{%s}:journal 7-0 h %s n n1", incident, a);
  assert_null(load(incident)); /* never as if it were new */
  if (seen.code != ERR_NOT_FOUND || !strstr(seen.text, incident)) fail_msg("%d: %s", seen.code, seen.text);
}

static void test_retired_by_a_stale_owner(void **state) {
  char incident[32];
  struct err err;
  snprintf(incident, sizeof incident, "%s", fresh());
  struct journal *stale = journal_new(&store, incident), *owner;
  add(stale, 0);
  settle(stale);
  assert_non_null(owner = load(incident));
  add(owner, 1);
  settle(owner);
  seen.done = false;
  assert_int_equal(journal_retire(stale, on_read, NULL, &err), 0);
  assert_true(test_until(loop, &seen.done, PATIENCE_MS));
  assert_int_equal(seen.code, ERR_CONFLICT);
  assert_int_equal(journal_archived(stale), 0);
  assert_string_equal(ask(loop, redis_link, "XLEN tocsin:{%s}:journal", incident), "2");
  journal_free(stale);
  journal_free(owner);
}

static volatile bool removed;

static void on_removed(void *arg, bool gone) { removed = gone; }

static void body_remove(const char *incident, uint64_t seq) {
  removed = false;
  feed_remove(store.feed, incident, seq, on_removed, NULL);
  assert_true(test_until(loop, &removed, PATIENCE_MS));
}

/* A removal is an entry of the journal; a key that was lost is damage, whatever else the journal says. */
static void test_retired_and_removed(void **state) {
  char incident[32];
  snprintf(incident, sizeof incident, "%s", fresh());
  struct journal *j = journal_new(&store, incident);
  for (int i = 0; i < 5; i++) add(j, i);
  retire(j);
  journal_add(j, KIND_BODY_REMOVING, "person:7f3a91c2", 0, "3", json_pack("{s:s, s:{s:i}}", "because", "a test", "kept", "n", 2));
  sealed(j);
  body_remove(incident, 3);
  assert_string_equal(ask(loop, redis_link, "FCALL tocsin_remove 3 tocsin:{%s}:journal tocsin:{%s}:state tocsin:{%s}:journal.new 3 6",
                          incident, incident, incident),
                      "0");
  assert_string_equal(ask(loop, redis_link, "XLEN tocsin:{%s}:journal", incident), "2"); /* its last place, and what came behind it */
  read_all(incident, NULL);
  assert_int_equal(seen.code, 0);
  assert_int_equal(seen.count, 6);
  assert_int_equal(seen.n[2], -1);
  assert_int_equal(seen.n[3], 3);
  journal_free(j);
  assert_non_null(j = load(incident)); /* its state went with the body: the journal still knows how much of it has left */
  assert_int_equal(journal_archived(j), 5);
  assert_int_equal(json_object_size(json_object_get(journal_state(j), "removals")), 1);
  retire(j);
  journal_free(j);
  body_remove(incident, 4);
  assert_null(load(incident));
  if (seen.code != ERR_INVALID || !strstr(seen.text, "entry 4 is broken: its body is missing")) fail_msg("%d: %s", seen.code, seen.text);
}

/* The process dies with everything it had in memory, and Redis with it. */
static void killed(struct journal *j, bool redis_too) {
  journal_free(j);
  if (!redis_too) return;
  server_end(&server, SIGKILL);
  volatile bool never = false;
  while (redis_up(redis_link)) test_until(loop, &never, 5);
  server_spawn(&server);
  link_wait_up(loop, redis_link);
}

enum { BEFORE, ASKED, ANSWERED, MOMENTS, CASES = 2 * MOMENTS, ENTRIES_EACH = 20 };

static struct journal *killed_at(struct journal *j, int moment, bool redis_too) {
  char incident[32];
  struct err err;
  struct buf before, after;
  buf_init(&before, 1 << 20);
  buf_init(&after, 1 << 20);
  snprintf(incident, sizeof incident, "%s", journal_incident(j));
  sealed(j);
  read_all(incident, &before);
  seen.done = false;
  if (moment != BEFORE) assert_int_equal(journal_retire(j, on_read, NULL, &err), 0);
  if (moment == ANSWERED) assert_true(test_until(loop, &seen.done, PATIENCE_MS));
  killed(j, redis_too);
  if (moment == ASKED) assert_true(test_until(loop, &seen.done, PATIENCE_MS)); /* answered or refused: it no longer matters */
  read_all(incident, &after);
  assert_int_equal(seen.code, 0);
  assert_string_equal(before.data, after.data);
  assert_non_null(j = load(incident));
  assert_int_equal(journal_seq(j), ENTRIES_EACH);
  buf_release(&before);
  buf_release(&after);
  return j;
}

/* Killed behind the check of the log, with the call on its way, and behind its answer: never is an entry in neither place, and who takes it up next goes on. */
static void test_killed_while_it_leaves(void **state) {
  struct journal *j[CASES];
  for (int i = 0; i < CASES; i++) {
    j[i] = journal_new(&store, fresh());
    for (int n = 0; n < ENTRIES_EACH; n++) add(j[i], n);
    settle(j[i]);
  }
  for (int i = 0; i < CASES; i++) add(j[i] = killed_at(j[i], i % MOMENTS, i >= MOMENTS), ENTRIES_EACH);
  for (int i = 0; i < CASES; i++) {
    retire(j[i]);
    assert_string_equal(ask(loop, redis_link, "XLEN tocsin:{%s}:journal", journal_incident(j[i])), "1");
    journal_free(j[i]);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_retired_and_read_from_the_log, with_log, without_log),
      cmocka_unit_test_setup_teardown(test_retired_elsewhere, with_log, without_log),
      cmocka_unit_test(test_retired_by_a_stale_owner),
      cmocka_unit_test_setup_teardown(test_retired_and_removed, with_log, without_log),
      cmocka_unit_test_setup_teardown(test_killed_while_it_leaves, with_log, without_log),
  };
  int failed = cmocka_run_group_tests_name("retired", tests, setup, teardown);
  json_decref(seen.state);
  return failed;
}
