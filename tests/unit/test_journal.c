/* Journals over a real Redis that is stopped, killed and tampered with. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <inttypes.h>

#include "base/json.h"
#include "evidence/leaf.h"
#include "journal_help.h"

/* --- tests -------------------------------------------------------------------------------------------------------- */

static void test_append_and_load(void **state) {
  const char *incident = fresh();
  struct journal *j = journal_new(&store, incident);
  for (int i = 0; i < 300; i++) add(j, i);
  assert_int_equal(journal_seq(j), 300);
  assert_false(journal_idle(j));
  settle(j);
  assert_true(journal_idle(j));
  read_all(incident, NULL);
  assert_int_equal(seen.code, 0);
  assert_int_equal(seen.count, 300);
  for (int i = 0; i < 300; i++) assert_int_equal(seen.n[i], i);
  assert_same_state(journal_state(j), seen.state);
  struct journal *again = load(incident);
  assert_non_null(again);
  assert_int_equal(journal_seq(again), 300);
  assert_same_state(journal_state(again), journal_state(j));
  add(again, 300); /* the chain goes on where it was */
  settle(again);
  read_all(incident, NULL);
  assert_int_equal(seen.code, 0);
  assert_int_equal(seen.count, 301);
  journal_free(again);
  journal_free(j);
}

static void test_an_absent_journal_is_empty(void **state) {
  struct journal *j = load(fresh());
  assert_non_null(j);
  assert_int_equal(journal_seq(j), 0);
  journal_free(j);
}

static void test_state_older_newer_broken(void **state) {
  char incident[32];
  snprintf(incident, sizeof incident, "%s", fresh());
  struct journal *j = journal_new(&store, incident);
  journal_add(j, KIND_INCIDENT_OPENED, "engine", 0, NULL, json_pack("{s:s, s:i}", "title", "First", "severity_id", 3));
  journal_save_state(j);
  settle(j);
  for (int i = 0; i < 10; i++) add(j, i); /* fewer than bring the state along */
  settle(j);
  const char *stored = ask(loop, redis_link, "GET tocsin:{%s}:state", incident);
  assert_non_null(strstr(stored, "\"seq\":1,"));
  struct journal *again = load(incident);
  assert_same_state(journal_state(again), journal_state(j));
  journal_free(again);
  ask(loop, redis_link, "SET tocsin:{%s}:state {\"seq\":", incident);
  again = load(incident);
  assert_same_state(journal_state(again), journal_state(j));
  journal_free(again);
  ask(loop, redis_link, "SET tocsin:{%s}:state {\"seq\":99}", incident);
  assert_null(load(incident));
  assert_int_equal(seen.code, ERR_INVALID);
  assert_non_null(strstr(seen.text, "99"));
  journal_free(j);
}

static void test_a_foreign_writer_ends_ownership(void **state) {
  char incident[32];
  snprintf(incident, sizeof incident, "%s", fresh());
  struct journal *mine = journal_new(&store, incident);
  add(mine, 0);
  settle(mine);
  struct journal *other = load(incident);
  add(other, 1);
  settle(other);
  struct flag f = {0};
  lost = 0;
  add(mine, 2);
  journal_when_durable(mine, on_durable, &f);
  assert_true(test_until(loop, &f.done, PATIENCE_MS));
  assert_int_equal(f.calls, 1);
  assert_int_equal(f.code, ERR_CONFLICT);
  assert_int_equal(lost, 1);
  assert_non_null(strstr(lost_why.text, incident));
  add(mine, 3); /* too late: it goes nowhere */
  journal_free(mine);
  add(other, 4);
  settle(other);
  read_all(incident, NULL);
  assert_int_equal(seen.code, 0);
  assert_int_equal(seen.count, 3);
  assert_int_equal(seen.n[1], 1);
  assert_int_equal(seen.n[2], 4);
  journal_free(other);
}

/* Who waits calmly sends nothing off: what comes within the next turn shares the wave. Alone it goes all the same. */
static void test_calm_waiting_shares_a_wave(void **state) {
  struct journal *j = journal_new(&store, fresh());
  struct flag calm = {0}, urgent = {0}, alone = {0};
  uint64_t waves = store.waves;
  add(j, 1);
  journal_once_durable(j, on_durable, &calm);
  loop_turn(loop);
  assert_int_equal(store.waves, waves);
  add(j, 2);
  journal_when_durable(j, on_durable, &urgent);
  assert_true(test_until(loop, &urgent.done, PATIENCE_MS));
  assert_int_equal(store.waves, waves + 1);
  assert_true(calm.done && calm.calls == 1 && calm.code == 0);
  add(j, 3);
  journal_once_durable(j, on_durable, &alone);
  assert_true(test_until(loop, &alone.done, PATIENCE_MS));
  assert_int_equal(store.waves, waves + 2);
  journal_free(j);
}

static void test_two_new_journals_of_one_name(void **state) {
  char incident[32];
  snprintf(incident, sizeof incident, "%s", fresh());
  struct journal *a = journal_new(&store, incident), *b = journal_new(&store, incident);
  struct flag f = {0}, g = {0};
  lost = 0;
  add(a, 1);
  add(b, 2);
  journal_when_durable(a, on_durable, &f);
  journal_when_durable(b, on_durable, &g);
  assert_true(test_until(loop, &f.done, PATIENCE_MS) && test_until(loop, &g.done, PATIENCE_MS));
  assert_int_equal((f.code == 0) + (g.code == 0), 1);
  assert_int_equal(lost, 1);
  journal_free(a);
  journal_free(b);
}

/* --- trouble in the middle of waves --------------------------------------------------------------------------------- */

struct storm {
  struct journal *j[4];
  char id[4][32];
  char leaf[4][MOST / 4][DIGEST_HEX]; /* as appended: the very bytes */
  int appended[4], acked[4];
};

static struct storm *storm;

struct mark {
  int which, upto;
};

static void on_mark(void *arg, const struct err *err) {
  struct mark *m = arg;
  if (!err && storm->acked[m->which] < m->upto) storm->acked[m->which] = m->upto;
  free(m);
}

static void storm_turn(int per_turn) {
  for (int k = 0; k < 4; k++) {
    for (int i = 0; i < per_turn && storm->appended[k] < MOST / 4; i++) {
      struct err err;
      json_t *body = json_pack("{s:i}", "n", storm->appended[k]);
      struct entry_spec spec = {.kind = KIND_INCIDENT_NOTED, .actor = "engine", .body = body};
      const struct entry *e = journal_append(storm->j[k], &spec, &err);
      assert_non_null(e);
      memcpy(storm->leaf[k][storm->appended[k]++], e->leaf, DIGEST_HEX);
      json_decref(body);
    }
    struct mark *m = malloc(sizeof *m);
    *m = (struct mark){k, storm->appended[k]};
    journal_when_durable(storm->j[k], on_mark, m);
  }
  loop_turn(loop);
  nanosleep(&(struct timespec){.tv_nsec = 300000}, NULL);
}

static void storm_begin(void) {
  storm = calloc(1, sizeof *storm);
  for (int k = 0; k < 4; k++) {
    snprintf(storm->id[k], sizeof storm->id[k], "%s", fresh());
    storm->j[k] = journal_new(&store, storm->id[k]);
  }
  lost = 0;
}

/* Every entry is there once, in order, with the bytes it was appended with. */
static void storm_end(void) {
  for (int k = 0; k < 4; k++) settle(storm->j[k]);
  assert_int_equal(lost, 0);
  assert_int_equal(store.unsent, 0);
  for (int k = 0; k < 4; k++) {
    assert_int_equal(storm->acked[k], storm->appended[k]);
    read_all(storm->id[k], NULL);
    if (seen.code) fail_msg("%s", seen.text);
    assert_int_equal(seen.count, storm->appended[k]);
    for (size_t i = 0; i < seen.count; i++) assert_string_equal(seen.leaf[i], storm->leaf[k][i]);
    assert_same_state(journal_state(storm->j[k]), seen.state);
    struct journal *again = load(storm->id[k]);
    assert_same_state(journal_state(storm->j[k]), journal_state(again));
    journal_free(again);
    journal_free(storm->j[k]);
  }
  free(storm);
}

/* What was acknowledged before the kill must be there after it, before anything is sent again: checked at the end by order and bytes. */
static void test_killed_in_the_middle(void **state) {
  storm_begin();
  for (int round = 0; round < 6; round++) {
    for (int i = 0; i < 40 + 13 * round; i++) storm_turn(3);
    server_end(&server, SIGKILL);
    for (int i = 0; i < 20; i++) storm_turn(2); /* goes on appending while nobody listens */
    server_spawn(&server);
    for (int64_t end = test_now_ms() + PATIENCE_MS; !redis_up(redis_link) && test_now_ms() < end;) storm_turn(0);
    assert_true(redis_up(redis_link));
    for (int k = 0; k < 4; k++) journal_redis_up(storm->j[k]);
  }
  assert_true(store.retries > 0);
  storm_end();
}

static void test_stopped_and_gone_on(void **state) {
  uint64_t before = store.retries;
  storm_begin();
  for (int round = 0; round < 2; round++) {
    for (int i = 0; i < 30; i++) storm_turn(3);
    kill(server.pid, SIGSTOP);
    for (int64_t end = test_now_ms() + 900; test_now_ms() < end;) storm_turn(round); /* longer than a command may take */
    kill(server.pid, SIGCONT);
    for (int i = 0; i < 30; i++) storm_turn(3);
  }
  storm_end();
  assert_true(store.retries > before);
}

static void test_freed_with_callbacks_waiting(void **state) {
  struct journal *j = journal_new(&store, fresh());
  struct flag f = {0}, g = {0};
  add(j, 1);
  journal_when_durable(j, on_durable, &f);
  journal_when_durable(j, on_durable, &g);
  journal_forget(j, on_durable, &g);
  loop_turn(loop); /* the wave is under way */
  journal_free(j);
  assert_int_equal(f.calls, 1);
  assert_int_equal(f.code, ERR_CANCELLED);
  assert_int_equal(g.calls, 0);
  for (int i = 0; i < 200; i++) loop_turn(loop); /* the reply finds nobody */
}

static void test_an_entry_too_large_says_so(void **state) {
  const char *incident = fresh();
  struct journal *j = journal_new(&store, incident);
  char *big = malloc(ENTRY_BODY_CAP + 10);
  memset(big, 'x', ENTRY_BODY_CAP + 9);
  big[ENTRY_BODY_CAP + 9] = 0;
  journal_add(j, KIND_ACTION_OUTCOME, "engine", 1, "1", json_pack("{s:s, s:b}", "text", big, "ok", 1));
  free(big);
  settle(j);
  read_all(incident, NULL);
  assert_int_equal(seen.count, 1);
  journal_free(j);
}

/* The deepest document that is let in, in a body around it. */
static void test_deep_bodies_come_back(void **state) {
  char incident[32], text[256] = "";
  struct err err;
  json_t *deep = NULL;
  snprintf(incident, sizeof incident, "%s", fresh());
  memset(text, '[', JSON_MAX_DEPTH);
  memset(text + JSON_MAX_DEPTH, ']', JSON_MAX_DEPTH);
  assert_int_equal(json_parse(text, 2 * JSON_MAX_DEPTH, &deep, &err), 0);
  struct journal *j = journal_new(&store, incident);
  journal_add(j, KIND_INCIDENT_CLOSED, "engine", 0, NULL, json_pack("{s:{s:o}}", "finding", "unmapped", deep));
  journal_save_state(j);
  add(j, 1);
  settle(j);
  struct journal *again = load(incident);
  if (!again) fail_msg("%s", seen.text);
  assert_same_state(journal_state(again), journal_state(j));
  journal_free(again);
  read_all(incident, NULL);
  assert_int_equal(seen.count, 2);
  journal_free(j);
}

static void test_secrets_never_reach_redis(void **state) {
  const char *incident = fresh();
  struct err err;
  struct journal *j = journal_new(&store, incident);
  assert_int_equal(secrets_put(secrets, "t", "hunter2-hunter2", 15, &err), 0);
  journal_add(j, KIND_INCIDENT_NOTED, "engine", 0, NULL, json_pack("{s:s}", "text", "it is hunter2-hunter2."));
  settle(j);
  assert_null(strstr(ask(loop, redis_link, "XRANGE tocsin:{%s}:journal - +", incident), "hunter2-hunter2"));
  read_all(incident, NULL);
  assert_same_state(journal_state(j), seen.state); /* folded is what is stored */
  secrets_drop(secrets, "t");
  journal_free(j);
}

static void on_bytes(void *arg, struct journal *j, const struct entry *e) {
  assert_string_equal(json_str_or(entry_body(e), "because", ""), arg);
  assert_ptr_equal(entry_body(e), e->body);
}

static struct entry_spec intent(const struct buf *written, const char *step) {
  return (struct entry_spec){.kind = KIND_ACTION_INTENDED, .actor = "engine", .run = 1, .step = step, .written = written};
}

/* A body that is given as its bytes is what the same body is as a tree: stored, folded, seen, and without secrets. */
static void test_a_body_as_bytes(void **state) {
  static const char *const shown[][2] = {{"no reason", "no reason"}, {"hunter2-hunter2", "[secret:t]"}};
  const char *incident = fresh();
  struct err err;
  struct journal *j = journal_new(&store, incident);
  assert_int_equal(secrets_put(secrets, "t", "hunter2-hunter2", 15, &err), 0);
  for (size_t i = 0; i < 2; i++) {
    struct buf written;
    char because[32];
    buf_init(&written, 4096);
    buf_addf(&written, "{\"action\":\"lock\",\"because\":\"%s\"}", shown[i][0]);
    snprintf(because, sizeof because, "%s", shown[i][1]);
    struct entry_spec spec = intent(&written, i ? "2" : "1");
    journal_watch(j, on_bytes, because);
    const struct entry *e = journal_append(j, &spec, &err);
    assert_non_null(e);
    if (!i) assert_memory_equal(e->envelope + ENVELOPE_PREFIX, written.data, written.len);
    journal_unwatch(j, on_bytes, because);
    buf_release(&written);
  }
  settle(j);
  assert_null(strstr(ask(loop, redis_link, "XRANGE tocsin:{%s}:journal - +", incident), "hunter2-hunter2"));
  read_all(incident, NULL);
  assert_int_equal(seen.count, 2);
  assert_same_state(journal_state(j), seen.state);
  secrets_drop(secrets, "t");
  journal_free(j);
}

static void test_bytes_that_could_not_be_made(void **state) {
  struct buf written;
  struct err err = {0};
  struct journal *j = journal_new(&store, fresh());
  buf_init(&written, 4);
  buf_adds(&written, "{\"too\":\"long\"}");
  struct entry_spec spec = intent(&written, "1");
  assert_null(journal_append(j, &spec, &err));
  assert_int_equal(err.code, ERR_LIMIT);
  assert_int_equal(journal_seq(j), 0);
  buf_release(&written);
  journal_free(j);
}

/* Who asks for the newest entry when all are acknowledged, or none was appended, gets none. */
static void test_the_newest_entry(void **state) {
  struct journal *j = journal_new(&store, fresh());
  assert_null(journal_newest(j));
  add(j, 1);
  assert_int_equal(journal_newest(j)->seq, 1);
  add(j, 2);
  assert_int_equal(journal_newest(j)->seq, 2);
  settle(j);
  assert_null(journal_newest(j));
  journal_free(j);
}

/* --- exports ---------------------------------------------------------------------------------------------------------- */

static void export_make(struct buf *out, int entries) {
  char incident[32];
  snprintf(incident, sizeof incident, "%s", fresh());
  struct journal *j = journal_new(&store, incident);
  for (int i = 0; i < entries; i++) add(j, i);
  settle(j);
  journal_free(j);
  buf_init(out, 1 << 20);
  read_all(incident, out);
  assert_int_equal(seen.count, entries);
}

static void test_every_byte_of_an_export(void **state) {
  struct buf file;
  struct err err;
  uint64_t count = 0;
  export_make(&file, 3);
  assert_int_equal(journal_verify_export(file.data, file.len, &count, NULL, &err), 0);
  assert_int_equal(count, 3);
  size_t line = 1;
  for (size_t i = 0; i < file.len; i++) {
    char wanted[32], was = file.data[i];
    snprintf(wanted, sizeof wanted, "entry %zu", line);
    for (int bit = 0; bit < 8; bit++) {
      file.data[i] = (char)(was ^ (1 << bit));
      count = 77;
      int r = journal_verify_export(file.data, file.len, &count, NULL, &err);
      if (r != ERR_INVALID)
        fail_msg("byte %zu ('%c', bit %d) can be changed unseen: %.80s", i, was, bit, file.data + (i > 20 ? i - 20 : 0));
      assert_int_equal(count, 77);
      if (was != '\n' && !strstr(err.text, wanted)) fail_msg("byte %zu: %s, wanted %s", i, err.text, wanted);
    }
    file.data[i] = was;
    line += was == '\n';
  }
  for (size_t n = 0; n < file.len; n++) { /* every cut but those between lines */
    int r = journal_verify_export(file.data, n, &count, NULL, &err);
    assert_int_equal(r == 0, n && file.data[n - 1] == '\n');
  }
  buf_release(&file);
}

static void verify_lines(const char *const *lines, size_t n, const char *wanted) {
  struct buf file;
  struct err err = {0};
  uint64_t count;
  buf_init(&file, 1 << 20);
  for (size_t i = 0; i < n; i++) buf_adds(&file, lines[i]);
  int r = journal_verify_export(file.data, file.len, &count, NULL, &err);
  if (wanted && (r != ERR_INVALID || !strstr(err.text, wanted))) fail_msg("%s, wanted %s", r ? err.text : "accepted", wanted);
  if (!wanted) assert_int_equal(r, 0);
  buf_release(&file);
}

/* Lines of a journal in which body 2 is missing, and entry 4 says of which one it was removed. */
static void removal_lines(const char *names, struct buf *out) {
  struct entry *e[4];
  buf_init(out, 1 << 20);
  for (int i = 0; i < 4; i++) {
    json_t *body = json_pack("{s:i}", "n", i);
    struct entry_spec spec = {.kind = i == 3 ? KIND_BODY_REMOVING : KIND_INCIDENT_NOTED,
                              .actor = "engine",
                              .step = i == 3 ? names : NULL,
                              .body = body};
    assert_int_equal(entry_make(&spec, "INC-000042", "n1", (uint64_t)i + 1, i ? e[i - 1]->leaf : leaf_none(), 1000000, NULL, &e[i], NULL),
                     0);
    json_decref(body);
    if (i == 1) e[i]->envelope = NULL, e[i]->envelope_len = 0;
    journal_export(e[i], out);
  }
  for (int i = 0; i < 4; i++) entry_free(e[i]);
}

static void test_missing_bodies_of_an_export(void **state) {
  static const char *const wrong[] = {"1", "3", "4", "5", "22", "2.1", ""};
  struct buf file;
  struct err err;
  uint64_t count, removed = 0;
  removal_lines("2", &file);
  if (journal_verify_export(file.data, file.len, &count, &removed, &err) < 0) fail_msg("%s", err.text);
  assert_int_equal(removed, 1);
  buf_release(&file);
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    removal_lines(wrong[i], &file);
    assert_int_equal(journal_verify_export(file.data, file.len, &count, NULL, &err), ERR_INVALID);
    assert_non_null(strstr(err.text, "entry 2 is broken: its body is missing"));
    buf_release(&file);
  }
}

static void test_lines_dropped_swapped_repeated(void **state) {
  struct buf file, other;
  char *line[5], *foreign[5];
  export_make(&file, 5);
  export_make(&other, 5);
  char *rest = file.data, *rest_of_other = other.data;
  for (int i = 0; i < 5; i++) {
    char with[8192];
    snprintf(with, sizeof with, "%s\n", strsep(&rest, "\n"));
    line[i] = strdup(with);
    snprintf(with, sizeof with, "%s\n", strsep(&rest_of_other, "\n"));
    foreign[i] = strdup(with);
  }
#define LINES(wanted, ...)                                                                                                                 \
  verify_lines((const char *const[]){__VA_ARGS__}, sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *), wanted)
  LINES(NULL, line[0], line[1], line[2], line[3], line[4]);
  LINES("entry 1", line[1], line[2]);
  LINES("entry 3", line[0], line[1], line[3], line[4]);
  LINES("entry 2", line[0], line[2], line[1], line[3], line[4]);
  LINES("entry 4", line[0], line[1], line[2], line[2], line[3], line[4]);
  LINES("entry 3", line[0], line[1], foreign[2], line[3], line[4]);
  LINES("entry 6", line[0], line[1], line[2], line[3], line[4], line[0]);
  LINES("entry 3", line[0], line[1], "\n", line[2]);
  LINES("no entry", "");
  for (int i = 0; i < 5; i++) free(line[i]), free(foreign[i]);
  buf_release(&file);
  buf_release(&other);
}

/* The chain of a stored journal whose bytes somebody changed in Redis itself. */
static void test_tampered_in_redis(void **state) {
  char incident[32];
  snprintf(incident, sizeof incident, "%s", fresh());
  struct journal *j = journal_new(&store, incident);
  add(j, 0);
  settle(j);
  journal_free(j);
  ask(loop, redis_link, "XADD tocsin:{%s}:journal 2-0 e {} h 00 b x", incident);
  assert_null(load(incident));
  assert_int_equal(seen.code, ERR_INVALID);
  assert_non_null(strstr(seen.text, incident));
  assert_non_null(strstr(seen.text, "entry 2"));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_append_and_load),
      cmocka_unit_test(test_an_absent_journal_is_empty),
      cmocka_unit_test(test_state_older_newer_broken),
      cmocka_unit_test(test_a_foreign_writer_ends_ownership),
      cmocka_unit_test(test_calm_waiting_shares_a_wave),
      cmocka_unit_test(test_two_new_journals_of_one_name),
      cmocka_unit_test(test_freed_with_callbacks_waiting),
      cmocka_unit_test(test_an_entry_too_large_says_so),
      cmocka_unit_test(test_deep_bodies_come_back),
      cmocka_unit_test(test_secrets_never_reach_redis),
      cmocka_unit_test(test_a_body_as_bytes),
      cmocka_unit_test(test_bytes_that_could_not_be_made),
      cmocka_unit_test(test_the_newest_entry),
      cmocka_unit_test(test_every_byte_of_an_export),
      cmocka_unit_test(test_missing_bodies_of_an_export),
      cmocka_unit_test(test_lines_dropped_swapped_repeated),
      cmocka_unit_test(test_tampered_in_redis),
      cmocka_unit_test(test_killed_in_the_middle),
      cmocka_unit_test(test_stopped_and_gone_on),
  };
  int failed = cmocka_run_group_tests_name("journal", tests, setup, teardown);
  json_decref(seen.state);
  return failed;
}
