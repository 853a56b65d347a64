/* Waves that travel as one item of the stream: who may send one, who is refused, and how they are read back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "journal_help.h"

static int length(const char *incident) { return (int)strtol(ask(loop, redis_link, "XLEN tocsin:{%s}:journal", incident), NULL, 10); }

static void wave(struct journal *j, int entries) {
  for (int i = 0; i < entries; i++) add(j, (int)journal_seq(j) + 1);
  settle(j);
}

static struct journal *begun(char incident[32], int entries) {
  snprintf(incident, 32, "%s", fresh());
  struct journal *j = journal_new(&store, incident);
  wave(j, entries);
  lost = 0;
  return j;
}

/* All of it is there, in order: entry n says n. */
static void holds(const char *incident, size_t entries) {
  read_all(incident, NULL);
  if (seen.code) fail_msg("%s", seen.text);
  assert_int_equal(seen.count, entries);
  for (size_t i = 0; i < entries; i++) assert_int_equal(seen.n[i], i + 1);
}

static void refused(struct journal *j, int entries) {
  struct flag f = {0};
  for (int i = 0; i < entries; i++) add(j, -1);
  journal_when_durable(j, on_durable, &f);
  assert_true(test_until(loop, &f.done, PATIENCE_MS));
  assert_int_equal(f.code, ERR_CONFLICT);
  assert_int_equal(lost, 1);
}

static void test_a_wave_is_one_item(void **state) {
  char incident[32];
  struct journal *j = begun(incident, 3);
  assert_int_equal(length(incident), 1);
  wave(j, 1);
  wave(j, REDIS_ITEM_MOST);
  assert_int_equal(length(incident), 3);
  wave(j, REDIS_ITEM_MOST + 1); /* too many for one */
  assert_int_equal(length(incident), 3 + REDIS_ITEM_MOST + 1);
  wave(j, 2); /* behind that it goes on */
  assert_int_equal(length(incident), 4 + REDIS_ITEM_MOST + 1);
  holds(incident, 3 + 1 + REDIS_ITEM_MOST + REDIS_ITEM_MOST + 1 + 2);
  journal_free(j);
}

/* The function fences what its id alone does not: the first wave after loading. */
static void test_only_what_was_acknowledged_here_is_followed(void **state) {
  char incident[32];
  struct journal *j = begun(incident, 2);
  journal_free(j);
  j = load(incident);
  wave(j, 2);
  assert_int_equal(length(incident), 1 + 2);
  wave(j, 2);
  assert_int_equal(length(incident), 1 + 2 + 1);
  journal_free(j);
}

static const char *stored(const char *incident) { return ask(loop, redis_link, "GET tocsin:{%s}:state", incident); }

static void state_folds(const char *incident, int seq) {
  char wanted[32];
  snprintf(wanted, sizeof wanted, "\"seq\":%d,", seq);
  assert_non_null(strstr(stored(incident), wanted));
}

/* A state that is asked for comes behind the item, once Redis has that; a stale owner's never comes. */
static void test_a_state_behind_its_item(void **state) {
  char incident[32];
  struct journal *stale = begun(incident, 2), *owner;
  journal_save_state(stale);
  wave(stale, 3);
  assert_int_equal(length(incident), 2);
  state_folds(incident, 5);
  owner = load(incident);
  journal_save_state(owner);
  wave(owner, 1); /* with a fenced wave, which brings it along */
  state_folds(incident, 6);
  journal_save_state(owner);
  wave(owner, 3);
  assert_int_equal(length(incident), 4);
  state_folds(incident, 9);
  journal_save_state(stale);
  refused(stale, 2);
  state_folds(incident, 9);
  holds(incident, 9);
  journal_free(stale);
  journal_free(owner);
}

/* Nobody asks for one, and still no more than so many entries are folded anew after a crash. */
static void test_a_state_now_and_then(void **state) {
  char incident[32];
  struct journal *j = begun(incident, 1);
  for (int i = 0; i < 70; i++) wave(j, 1);
  int folded = (int)strtol(strstr(stored(incident), "\"seq\":") + 6, NULL, 10);
  assert_in_range(folded, 60, 70);
  journal_free(j);
}

/* A state that comes late may tell of a body that was removed meanwhile: whoever loads it folds all of it anew. */
static void test_a_late_state_brings_no_removed_body_back(void **state) {
  char incident[32], early[4096];
  struct journal *j = begun(incident, 1);
  journal_add(j, KIND_INCIDENT_OPENED, "engine", 0, NULL, json_pack("{s:s}", "title", "not-for-these-eyes"));
  journal_save_state(j);
  settle(j);
  snprintf(early, sizeof early, "%s", stored(incident));
  assert_non_null(strstr(early, "not-for-these-eyes"));
  journal_add(j, KIND_BODY_REMOVING, "person:7f3a91c2", 0, "2", json_pack("{s:s}", "because", "a test"));
  settle(j);
  journal_free(j);
  assert_string_equal(ask(loop, redis_link, "FCALL tocsin_remove 3 tocsin:{%s}:journal tocsin:{%s}:state tocsin:{%s}:new 2 3", incident,
                          incident, incident),
                      "1");
  assert_string_equal(ask(loop, redis_link, "SET tocsin:{%s}:state %s", incident, early), "OK");
  j = load(incident);
  char *text = json_text(journal_state(j));
  assert_null(strstr(text, "not-for-these-eyes"));
  assert_non_null(strstr(text, "a test"));
  free(text);
  journal_free(j);
}

static void large(struct journal *j, int n) {
  size_t len = 200 << 10;
  char *text = malloc(len + 1);
  memset(text, 'x', len);
  text[len] = 0;
  journal_add(j, KIND_INCIDENT_NOTED, "engine", 0, NULL, json_pack("{s:i, s:s}", "n", n, "text", text));
  free(text);
}

static void test_a_large_wave_is_no_item(void **state) {
  char incident[32];
  struct journal *j = begun(incident, 1);
  for (int i = 2; i <= 3; i++) large(j, i);
  settle(j);
  assert_int_equal(length(incident), 3);
  holds(incident, 3);
  journal_free(j);
}

static void test_a_stale_owner_is_refused(void **state) {
  for (int theirs = 1; theirs <= 4; theirs++) {
    for (int more = 0; more <= 3; more += 3) {
      for (int ours = 1; ours <= 5; ours++) {
        char incident[32];
        struct journal *stale = begun(incident, 2), *owner = load(incident);
        assert_non_null(owner);
        wave(owner, theirs);
        if (more) wave(owner, more);
        refused(stale, ours);
        holds(incident, (size_t)(2 + theirs + more));
        wave(owner, 2);
        holds(incident, (size_t)(2 + theirs + more + 2));
        journal_free(stale);
        journal_free(owner);
      }
    }
  }
}

/* And the other way round: who loaded it is refused when its owner lives. */
static void test_an_adopter_that_was_late_is_refused(void **state) {
  char incident[32];
  struct journal *owner = begun(incident, 2), *late = load(incident);
  wave(owner, 3);
  refused(late, 2);
  wave(owner, 1);
  holds(incident, 6);
  journal_free(late);
  journal_free(owner);
}

/* Redis carries the wave out, but its answer comes too late to count. */
static void test_a_wave_that_arrived_is_not_sent_again(void **state) {
  char incident[32];
  struct journal *j = begun(incident, 2);
  struct flag f = {0};
  volatile bool never = false;
  uint64_t retries = store.retries;
  kill(server.pid, SIGSTOP);
  for (int n = 3; n <= 5; n++) add(j, n);
  journal_when_durable(j, on_durable, &f);
  test_until(loop, &never, 900); /* longer than a command may take */
  assert_true(store.retries > retries);
  kill(server.pid, SIGCONT);
  assert_true(test_until(loop, &f.done, PATIENCE_MS));
  assert_int_equal(f.code, 0);
  assert_int_equal(length(incident), 2);
  holds(incident, 5);
  wave(j, 2); /* fenced by the function once */
  assert_int_equal(length(incident), 4);
  wave(j, 2);
  assert_int_equal(length(incident), 5);
  holds(incident, 9);
  assert_int_equal(lost, 0);
  journal_free(j);
}

/* Entries that Redis refuses for now. */
static void held_back(struct journal *j, struct redis_entry *out, int from, int to, struct flag *f) {
  uint64_t retries = store.retries;
  assert_string_equal(ask(loop, redis_link, "CONFIG SET maxmemory 1"), "OK");
  for (int n = from; n <= to; n++) {
    add(j, n);
    const struct entry *e = journal_newest(j);
    if (out) *out++ = (struct redis_entry){e->head, e->head_len, e->leaf, e->envelope, e->envelope_len};
  }
  journal_when_durable(j, on_durable, f);
  while (store.retries < retries + 3) loop_turn(loop);
  assert_false(f->done);
}

static void test_a_full_memory_holds_a_wave_back(void **state) {
  char incident[32];
  struct journal *j = begun(incident, 2);
  struct flag f = {0};
  held_back(j, NULL, 3, 5, &f);
  assert_int_equal(length(incident), 1);
  assert_string_equal(ask(loop, redis_link, "CONFIG SET maxmemory 0"), "OK");
  assert_true(test_until(loop, &f.done, PATIENCE_MS));
  assert_int_equal(f.code, 0);
  wave(j, 2);
  assert_int_equal(length(incident), 1 + 3 + 1);
  holds(incident, 7);
  assert_int_equal(lost, 0);
  journal_free(j);
}

/* A connection that was given up still delivers its wave, when the tail was read already and more was put behind it. */
static void test_a_wave_that_arrives_late_is_not_doubled(void **state) {
  for (int late = 1; late <= 4; late++) {
    char incident[32], key[64];
    struct journal *j = begun(incident, 2);
    struct redis_entry sent[4];
    struct flag f = {0};
    unsigned lane = redis_lane(redis_link, incident);
    snprintf(key, sizeof key, "tocsin:{%s}:journal", incident);
    held_back(j, sent, 3, 6, &f);
    assert_int_equal(redis_call(redis_link, lane, NULL, NULL, NULL, "CONFIG", "SET", "maxmemory", "0", NULL), 0);
    assert_int_equal(redis_append_item(redis_link, lane, key, 3, sent, (size_t)late, NULL, NULL, NULL), 0);
    assert_true(test_until(loop, &f.done, PATIENCE_MS));
    assert_int_equal(f.code, 0);
    assert_int_equal(length(incident), 1 + 1 + 4 - late);
    holds(incident, 6);
    wave(j, 2);
    holds(incident, 8);
    assert_int_equal(lost, 0);
    journal_free(j);
  }
}

static void test_a_journal_that_is_gone_is_not_made_anew(void **state) {
  char incident[32];
  struct journal *j = begun(incident, 2);
  assert_string_equal(ask(loop, redis_link, "DEL tocsin:{%s}:journal", incident), "1");
  refused(j, 2);
  assert_string_equal(ask(loop, redis_link, "EXISTS tocsin:{%s}:journal", incident), "0");
  journal_free(j);
}

static void test_one_that_was_emptied_is_not_new(void **state) {
  char incident[32];
  snprintf(incident, sizeof incident, "%s", fresh());
  ask(loop, redis_link, "XADD tocsin:{%s}:journal 1-0 e e", incident);
  assert_string_equal(ask(loop, redis_link, "XDEL tocsin:{%s}:journal 1-0", incident), "1");
  struct journal *j = journal_new(&store, incident);
  lost = 0;
  add(j, 1);
  volatile bool never = false;
  test_until(loop, &never, 300); /* as ever: it tries again until somebody looks */
  assert_int_equal(length(incident), 0);
  assert_false(journal_idle(j));
  journal_free(j);
}

/* What came back lacks an end that was acknowledged: a greater id must not jump over the hole. */
static void test_a_lost_end_is_found_after_a_restart(void **state) {
  char incident[32];
  struct journal *j = begun(incident, 2);
  assert_string_equal(ask(loop, redis_link, "COPY tocsin:{%s}:journal tocsin:{%s}:old", incident, incident), "1");
  wave(j, 3);
  wave(j, 2);
  server_end(&server, SIGKILL);
  for (int i = 0; i < 200 && redis_up(redis_link); i++) loop_turn(loop);
  server_spawn(&server);
  link_wait_up(loop, redis_link);
  assert_string_equal(ask(loop, redis_link, "RENAME tocsin:{%s}:old tocsin:{%s}:journal", incident, incident), "OK");
  refused(j, 2);
  holds(incident, 2);
  journal_free(j);
}

/* A server that was a replica for a while may hold another's data, though the connection never broke. */
static void test_a_server_that_served_nobody_is_doubted(void **state) {
  char incident[32];
  struct journal *j = begun(incident, 2);
  uint64_t bond = redis_bond(redis_link, 0);
  assert_string_equal(ask(loop, redis_link, "COPY tocsin:{%s}:journal tocsin:{%s}:old", incident, incident), "1");
  wave(j, 2);
  assert_int_equal(redis_bond(redis_link, 0), bond);
  assert_string_equal(ask(loop, redis_link, "REPLICAOF 127.0.0.1 1"), "OK");
  assert_non_null(strstr(ask(loop, redis_link, "SET x y"), "READONLY"));
  assert_string_equal(ask(loop, redis_link, "REPLICAOF NO ONE"), "OK");
  assert_int_not_equal(redis_bond(redis_link, 0), bond);
  assert_string_equal(ask(loop, redis_link, "RENAME tocsin:{%s}:old tocsin:{%s}:journal", incident, incident), "OK");
  refused(j, 2);
  holds(incident, 2);
  journal_free(j);
}

static uint64_t first_read, last_read;

static bool on_part(void *arg, const struct entry *e) {
  if (!first_read) first_read = e->seq;
  else assert_int_equal(e->seq, last_read + 1);
  assert_int_equal(json_int_or(e->body, "n", 0), e->seq);
  last_read = e->seq;
  return true;
}

static void read_part(const char *incident, uint64_t from, uint64_t to) {
  struct err err;
  seen.done = false;
  first_read = last_read = 0;
  assert_int_equal(journal_read(&store, incident, from, to, on_part, on_read, NULL, &err), 0);
  assert_true(test_until(loop, &seen.done, PATIENCE_MS));
  assert_int_equal(seen.code, 0);
}

/* More items than one page of the reader, of every length. */
static void test_read_from_the_middle_of_an_item(void **state) {
  char incident[32];
  struct journal *j = begun(incident, 1);
  for (int i = 0; i < 90; i++) wave(j, 1 + i % REDIS_ITEM_MOST);
  assert_in_range(length(incident), 91, (int)journal_seq(j) / 2);
  holds(incident, journal_seq(j));
  for (uint64_t from = 1; from <= journal_seq(j); from++) {
    read_part(incident, from, 0);
    assert_int_equal(first_read, from);
    assert_int_equal(last_read, journal_seq(j));
    read_part(incident, from, from);
    assert_int_equal(first_read, from);
    assert_int_equal(last_read, from);
  }
  read_part(incident, journal_seq(j) + 1, 0);
  assert_int_equal(first_read, 0);
  journal_free(j);
}

static void test_load_behind_a_stored_state(void **state) {
  char incident[32];
  struct journal *j = begun(incident, 1);
  wave(j, 5);
  journal_store_state(j);
  assert_non_null(strstr(ask(loop, redis_link, "GET tocsin:{%s}:state", incident), "\"seq\":6,"));
  wave(j, 3);
  journal_free(j);
  j = load(incident);
  assert_non_null(j);
  assert_int_equal(journal_seq(j), 9);
  read_all(incident, NULL);
  assert_same_state(journal_state(j), seen.state);
  journal_free(j);
}

/* One body goes; everything else of the item stays byte for byte, and the chain holds. */
static void test_a_body_is_removed_from_the_middle_of_an_item(void **state) {
  char incident[32], before[4][DIGEST_HEX];
  struct journal *j = begun(incident, 1);
  wave(j, 3);
  read_all(incident, NULL);
  memcpy(before, seen.leaf, sizeof before);
  journal_add(j, KIND_BODY_REMOVING, "person:7f3a91c2", 0, "3", json_pack("{s:i}", "n", 5));
  add(j, 6);
  settle(j);
  assert_int_equal(length(incident), 3);
  for (int once = 1; once >= 0; once--)
    assert_string_equal(ask(loop, redis_link, "FCALL tocsin_remove 3 tocsin:{%s}:journal tocsin:{%s}:state tocsin:{%s}:journal.new 3 5",
                            incident, incident, incident),
                        once ? "1" : "0");
  assert_int_equal(length(incident), 3);
  read_all(incident, NULL);
  assert_int_equal(seen.code, 0);
  assert_int_equal(seen.count, 6);
  assert_memory_equal(before, seen.leaf, sizeof before);
  static const int64_t left[] = {1, 2, -1, 4, 5, 6};
  assert_memory_equal(left, seen.n, sizeof left);
  wave(j, 1); /* and it goes on */
  assert_int_equal(length(incident), 4);
  read_all(incident, NULL);
  assert_int_equal(seen.count, 7);
  journal_free(j);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_a_wave_is_one_item),
      cmocka_unit_test(test_only_what_was_acknowledged_here_is_followed),
      cmocka_unit_test(test_a_state_behind_its_item),
      cmocka_unit_test(test_a_state_now_and_then),
      cmocka_unit_test(test_a_late_state_brings_no_removed_body_back),
      cmocka_unit_test(test_a_large_wave_is_no_item),
      cmocka_unit_test(test_a_stale_owner_is_refused),
      cmocka_unit_test(test_an_adopter_that_was_late_is_refused),
      cmocka_unit_test(test_a_wave_that_arrived_is_not_sent_again),
      cmocka_unit_test(test_a_full_memory_holds_a_wave_back),
      cmocka_unit_test(test_a_wave_that_arrives_late_is_not_doubled),
      cmocka_unit_test(test_a_journal_that_is_gone_is_not_made_anew),
      cmocka_unit_test(test_one_that_was_emptied_is_not_new),
      cmocka_unit_test(test_a_lost_end_is_found_after_a_restart),
      cmocka_unit_test(test_a_server_that_served_nobody_is_doubted),
      cmocka_unit_test(test_read_from_the_middle_of_an_item),
      cmocka_unit_test(test_load_behind_a_stored_state),
      cmocka_unit_test(test_a_body_is_removed_from_the_middle_of_an_item),
  };
  int failed = cmocka_run_group_tests_name("waves", tests, setup, teardown);
  json_decref(seen.state);
  return failed;
}
