/* What Sentinels say and who is followed; what waits for replicas; what becomes of a journal whose end the new master lacks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <hiredis/hiredis.h>

#include "base/clock.h"
#include "base/json.h"
#include "journal/journal.h"
#include "redis_server.h"
#include "wire/aof_tail.h"
#include "wire/sentinel.h"

enum { PATIENCE_MS = 20000 };

static struct server server;
static struct loop *loop;
static struct redis *redis_link;
static struct secrets *secrets;
static struct journal_store store;

/* --- sentinels ------------------------------------------------------------------------------------------------------- */

static void test_addresses(void **state) {
  static const struct {
    const char *text, *host;
    int port;
  } good[] = {{"s1.example:26380", "s1.example", 26380},
              {"10.0.0.1", "10.0.0.1", 26379},
              {"[::1]:7000", "::1", 7000},
              {"[fe80::2]", "fe80::2", 26379}};
  static const char *const bad[] = {"", ":26379", "host:", "host:0", "host:65536", "host:26379x", "[::1", "[::1]x", "[]:1"};
  char host[SENTINEL_HOST];
  int port;
  struct err err;
  for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
    assert_int_equal(sentinel_address(good[i].text, host, &port, &err), 0);
    assert_string_equal(host, good[i].host);
    assert_int_equal(port, good[i].port);
  }
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) assert_int_equal(sentinel_address(bad[i], host, &port, &err), ERR_INVALID);
}

static int read_reply(const char *resp, struct sentinel_answer *a) {
  redisReader *reader = redisReaderCreate();
  void *reply = NULL;
  struct err err;
  redisReaderFeed(reader, resp, strlen(resp));
  assert_int_equal(redisReaderGetReply(reader, &reply), REDIS_OK);
  assert_non_null(reply);
  int r = sentinel_read(reply, a, &err);
  freeReplyObject(reply);
  redisReaderFree(reader);
  return r;
}

static void test_answers(void **state) {
  struct sentinel_answer a;
  assert_int_equal(read_reply("*14\r\n$4\r\nname\r\n$6\r\ntocsin\r\n$2\r\nip\r\n$8\r\n10.0.0.7\r\n$4\r\nport\r\n$4\r\n6380\r\n"
                              "$5\r\nflags\r\n$28\r\nmaster,o_down,s_down,force_x\r\n$12\r\nconfig-epoch\r\n$2\r\n17\r\n"
                              "$6\r\nquorum\r\n$1\r\n2\r\n$10\r\nnum-slaves\r\n$1\r\n3\r\n",
                              &a),
                   0);
  assert_true(a.said && a.master && a.down && !a.moving);
  assert_string_equal(a.host, "10.0.0.7");
  assert_int_equal(a.port, 6380);
  assert_int_equal(a.epoch, 17);
  assert_int_equal(a.quorum, 2);
  assert_int_equal(a.replicas, 3);
  assert_int_equal(a.sentinels, 1);
  assert_int_equal(read_reply("*6\r\n$2\r\nip\r\n$1\r\nh\r\n$4\r\nport\r\n$1\r\n9\r\n$5\r\nflags\r\n$27\r\nmaster,failover_in_progress\r\n",
                              &a),
                   0);
  assert_true(a.moving);
  assert_int_equal(read_reply("*2\r\n$2\r\nip\r\n$1\r\nh\r\n", &a), ERR_INVALID);
  assert_int_equal(read_reply("*4\r\n$2\r\nip\r\n$1\r\nh\r\n$4\r\nport\r\n$5\r\n70000\r\n", &a), ERR_INVALID);
  assert_int_equal(read_reply("+OK\r\n", &a), ERR_INVALID);
  assert_int_equal(read_reply("*-1\r\n", &a), ERR_INVALID);
}

/* "A1" names server A in epoch 1; "-" has said nothing, "?" knows no master, "A1*" is at a failover. */
static struct sentinel_answer say(const char *text) {
  struct sentinel_answer a = {.said = *text != '-', .master = *text != '-' && *text != '?', .port = 1};
  if (!a.master) return a;
  a.host[0] = *text;
  a.epoch = text[1] - '0';
  a.moving = text[2] == '*';
  return a;
}

static void test_whom_to_follow(void **state) {
  static const struct {
    const char *known, *say[3], *wanted; /* wanted NULL: nothing changes */
  } cases[] = {
      {"", {"-", "-", "-"}, NULL},       {"", {"?", "?", "?"}, NULL},
      {"", {"A0", "-", "-"}, "A0"}, /* the first word counts: the server itself is asked for its role */
      {"A0", {"A0", "A0", "A0"}, NULL},  {"A0", {"A0", "B1", "A0"}, "B1"}, /* one that knows the later epoch is enough */
      {"B1", {"A0", "B1", "A0"}, NULL},                                    /* others that are late do not lead back */
      {"B1", {"A0", "-", "-"}, NULL},                                      /* nor does one that was cut off */
      {"B1", {"A0", "-", "A0"}, "A0"},                                     /* but more than half of all: their memory was wiped */
      {"A0", {"A1*", "A0", "A0"}, NULL},                                   /* the old address with the next epoch is no news */
      {"A0", {"A1*", "B1", "A0"}, "B1"}, {"A0", {"A2", "A2", "A2"}, "A2"}, /* there and back: the same server, and another history */
      {"A0", {"B1", "C1", "C1"}, "C1"},  {"B1", {"B1", "C1", "-"}, NULL},  /* of as many the known one */
      {"A3", {"B2", "B2", "A3"}, NULL},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct sentinel_answer answers[3];
    struct sentinel_master known = {.port = 1}, next = {.port = 0};
    if (*cases[i].known) known.host[0] = cases[i].known[0], known.epoch = cases[i].known[1] - '0';
    for (size_t k = 0; k < 3; k++) answers[k] = say(cases[i].say[k]);
    bool changed = sentinel_pick(answers, 3, &known, &next);
    char got[4] = "";
    if (changed) snprintf(got, sizeof got, "%c%c", next.host[0], (char)('0' + next.epoch));
    if (changed != (cases[i].wanted != NULL) || (changed && strcmp(got, cases[i].wanted) != 0))
      fail_msg("case %zu: %s where %s is right", i, changed ? got : "nothing", cases[i].wanted ? cases[i].wanted : "nothing");
  }
}

/* --- waiting for replicas ------------------------------------------------------------------------------------------------- */

static void test_what_no_replica_holds(void **state) {
  enum { COUNT = 200, WAIT_MS = 100 };
  static struct answer answers[COUNT];
  struct redis_config config = {.socket = server.socket, .lanes = 1, .replicas = 1, .replica_ms = WAIT_MS};
  struct redis *link = NULL;
  struct err err;
  assert_int_equal(redis_new(loop, &config, secrets, NULL, NULL, &link, &err), 0);
  link_wait_up(loop, link);
  int64_t began = test_now_ms();
  memset(answers, 0, sizeof answers);
  for (size_t i = 0; i < COUNT; i++) {
    assert_int_equal(redis_call_safe(link, 0, answer_cb, &answers[i], &err, "INCR", "counter", NULL), 0);
    if (i % 50 == 0) loop_turn(loop); /* several batches */
  }
  assert_true(test_until(loop, &answers[COUNT - 1].done, PATIENCE_MS));
  for (size_t i = 0; i < COUNT; i++) {
    assert_int_equal(answers[i].calls, 1);
    assert_string_equal(answers[i].text, "!unavailable 0 of 1 replicas hold it");
  }
  assert_true(test_now_ms() - began < 20 * WAIT_MS);                /* batches, not each for itself */
  assert_string_equal(ask(loop, redis_link, "GET counter"), "200"); /* they were carried out, only not kept safe */
  struct answer wrong = {0}, dropped = {0}, sent = {0};
  assert_int_equal(redis_call_safe(link, 0, answer_cb, &wrong, &err, "NONSENSE", NULL), 0);
  assert_true(test_until(loop, &wrong.done, PATIENCE_MS));
  assert_int_equal(wrong.code, ERR_INVALID); /* its own error, at once */
  assert_int_equal(redis_call_safe(link, 0, answer_cb, &dropped, &err, "INCR", "counter", NULL), 0);
  loop_turn(loop);
  assert_int_equal(redis_call_safe(link, 0, answer_cb, &sent, &err, "INCR", "counter", NULL), 0);
  redis_free(link);
  assert_int_equal(dropped.code, ERR_CANCELLED);
  assert_int_equal(sent.code, ERR_CANCELLED);
  assert_int_equal(dropped.calls + sent.calls, 2);
}

/* --- journals --------------------------------------------------------------------------------------------------------------- */

static unsigned incidents, lost, torn;
static struct torn last_torn;
static size_t known;
static bool go_on;

static void on_lost(void *arg, struct journal *j, const struct err *why) { lost++; }

static void on_torn(void *arg, struct journal *j, const struct torn *t) {
  torn++;
  last_torn = *t;
  known = json_array_size(t->known);
  if (go_on) journal_go_on(j);
}

static int setup(void **state) {
  server_start(&server, NULL);
  loop = loop_new();
  secrets = secrets_new();
  struct redis_config config = {.socket = server.socket, .lanes = 2};
  struct err err;
  if (redis_new(loop, &config, secrets, link_says, NULL, &redis_link, &err)) fail_msg("%s", err.text);
  link_wait_up(loop, redis_link);
  store = (struct journal_store){
      .loop = loop, .redis = redis_link, .secrets = secrets, .clock = clock_system(), .node = "n1", .lost = on_lost, .torn = on_torn};
  return 0;
}

static int teardown(void **state) {
  redis_free(redis_link);
  loop_free(loop);
  secrets_free(secrets);
  server_stop(&server);
  return 0;
}

static int before(void **state) {
  journal_keep(&store, 1 << 20);
  lost = torn = 0;
  go_on = false;
  store.again = 0;
  return 0;
}

static int after(void **state) {
  journal_keep_end(&store);
  return 0;
}

static void on_durable(void *arg, const struct err *err) { *(volatile bool *)arg = !err; }

static void add(struct journal *j, int count) {
  volatile bool done = false;
  for (int i = 0; i < count; i++) journal_add(j, KIND_INCIDENT_NOTED, "engine", 0, NULL, json_pack("{s:i}", "n", i));
  journal_when_durable(j, on_durable, (void *)&done);
  assert_true(test_until(loop, &done, PATIENCE_MS));
}

/* What a replica has got so far; and that replica being the master from now on. */
static void replica_takes(const char *id) {
  ask(loop, redis_link, "DEL old");
  assert_string_equal(ask(loop, redis_link, "COPY tocsin:{%s}:journal old", id), "1");
}

static void replica_reigns(const char *id) {
  assert_string_equal(ask(loop, redis_link, "RENAME old tocsin:{%s}:journal", id), "OK");
  ask(loop, redis_link, "DEL tocsin:{%s}:state", id);
}

static const char HEAD[] = " {\"actor\":";

/* The bytes of the last entry, whatever it shares its item with. */
static const char *last(const char *id) {
  static char text[8192];
  const char *at = NULL;
  snprintf(text, sizeof text, "%s", ask(loop, redis_link, "XREVRANGE tocsin:{%s}:journal + - COUNT 1", id));
  for (char *wave; (wave = strstr(text, " H ")) || (wave = strstr(text, " B "));) wave[1] ^= 'H' ^ 'h';
  for (const char *next = text; (next = strstr(next, HEAD)); next++) at = next;
  return at ? at : text;
}

static int entries(const char *id) {
  int count = 0;
  for (const char *at = ask(loop, redis_link, "XRANGE tocsin:{%s}:journal - +", id); (at = strstr(at, HEAD)); at++) count++;
  return count;
}

static struct journal *fresh(char id[32]) {
  snprintf(id, 32, "INC-%06u", ++incidents);
  struct journal *j = journal_new(&store, id);
  add(j, 3);
  replica_takes(id);
  return j;
}

static void compared(struct journal *j) {
  journal_master_changed(j);
  for (int64_t end = test_now_ms() + PATIENCE_MS; journal_comparing(j) && test_now_ms() < end;) loop_turn(loop);
  assert_false(journal_comparing(j));
}

static void test_a_kept_tail_is_appended_again(void **state) {
  char id[32], before_text[8192];
  struct journal *j = fresh(id);
  add(j, 2);
  snprintf(before_text, sizeof before_text, "%s", last(id));
  replica_reigns(id);
  assert_string_not_equal(last(id), before_text);
  compared(j);
  add(j, 0);
  assert_int_equal(store.again, 2);
  add(j, 1);
  assert_int_equal(entries(id), 6);
  ask(loop, redis_link, "XDEL tocsin:{%s}:journal 6-0", id);
  assert_string_equal(last(id), before_text); /* byte for byte */
  assert_int_equal(lost + torn, 0);
  journal_free(j);
}

static void test_nothing_is_missing(void **state) {
  char id[32];
  struct journal *j = fresh(id);
  compared(j);
  add(j, 1);
  assert_int_equal(store.again, 0);
  assert_int_equal(lost + torn, 0);
  journal_free(j);
}

static struct journal *loaded;

static void on_load(void *arg, struct journal *j, const struct err *err) {
  loaded = j;
  *(volatile bool *)arg = true;
}

static struct journal *load(const char *id) {
  volatile bool done = false;
  struct err err;
  loaded = NULL;
  assert_int_equal(journal_load(&store, id, on_load, (void *)&done, &err), 0);
  assert_true(test_until(loop, &done, PATIENCE_MS));
  return loaded;
}

/* The master that is chosen had lost power: its file ends in the middle of the last entry, and is cut and read again. */
static void test_an_end_torn_on_disk_is_appended_again(void **state) {
  char id[32], before_text[8192];
  struct aof_tail tail;
  struct err err;
  struct journal *j = fresh(id);
  add(j, 2);
  snprintf(before_text, sizeof before_text, "%s", last(id));
  kill(server.pid, SIGKILL);
  waitpid(server.pid, NULL, 0);
  assert_int_equal(aof_tail_find(server.folder, &tail, &err), 0);
  assert_false(tail.torn);
  assert_int_equal(truncate(tail.path, tail.size - 100), 0);
  assert_int_equal(aof_tail_find(server.folder, &tail, &err), 0);
  assert_true(tail.torn);
  assert_int_equal(aof_tail_cut(&tail, &err), 0);
  server_spawn(&server);
  for (int64_t end = test_now_ms() + PATIENCE_MS; redis_up(redis_link) && test_now_ms() < end;) loop_turn(loop);
  link_wait_up(loop, redis_link);
  assert_int_equal(entries(id), 3); /* both went with one command */
  compared(j);
  add(j, 0);
  assert_int_equal(store.again, 2);
  assert_string_equal(last(id), before_text);
  journal_free(j);
  j = load(id);
  assert_int_equal(journal_seq(j), 5);
  assert_int_equal(json_int_or(journal_state(j), "notes", 0), 5);
  assert_int_equal(lost + torn, 0);
  journal_free(j);
}

static void test_one_that_rests_is_whole_when_it_is_loaded(void **state) {
  char id[32], before_text[8192];
  struct journal *j = fresh(id);
  add(j, 2);
  snprintf(before_text, sizeof before_text, "%s", last(id));
  journal_rest(j);
  journal_free(j);
  replica_reigns(id);
  j = load(id);
  assert_int_equal(journal_seq(j), 5);
  assert_int_equal(json_int_or(journal_state(j), "notes", 0), 5);
  add(j, 0);
  assert_string_equal(last(id), before_text);
  journal_free(j);
  /* Let go of for good, nothing of it is kept. */
  replica_takes(id);
  j = load(id);
  add(j, 1);
  journal_free(j);
  replica_reigns(id);
  j = load(id);
  assert_int_equal(journal_seq(j), 5);
  journal_free(j);
}

static void test_an_end_that_nobody_has_is_torn(void **state) {
  char id[32];
  struct journal *j = fresh(id);
  add(j, 2);
  journal_keep_end(&store);
  journal_keep(&store, 700); /* too small for all of them */
  add(j, 4);
  replica_reigns(id);
  compared(j);
  assert_int_equal(torn, 1);
  assert_int_equal(lost, 0);
  assert_int_equal(last_torn.from, 4);
  assert_int_equal(last_torn.to, 9);
  assert_true(known > 0 && known < 6);
  assert_int_equal(entries(id), 3); /* nothing is made up */
  journal_redis_up(j);              /* it is of no use any more */
  for (int i = 0; i < 50; i++) loop_turn(loop);
  assert_int_equal(torn, 1);
  journal_free(j);
}

static void test_the_nodes_own_goes_on(void **state) {
  char id[32];
  struct journal *j = fresh(id);
  journal_keep_end(&store);
  add(j, 2);
  replica_reigns(id);
  go_on = true;
  compared(j);
  assert_int_equal(torn, 1);
  add(j, 1);
  assert_int_equal(journal_seq(j), 4);
  assert_int_equal(entries(id), 4);
  journal_free(j);
}

static void test_another_owner_was_quicker(void **state) {
  char id[32];
  struct journal *j = fresh(id), *other;
  add(j, 2);
  replica_reigns(id);
  struct journal_store theirs = store;
  theirs.node = "n2";
  theirs.kept = NULL;
  struct journal_store *mine = &store;
  struct journal_store saved = *mine;
  *mine = theirs;
  other = load(id);
  add(other, 3); /* further than ours */
  *mine = saved;
  compared(j);
  assert_int_equal(lost + torn, 1);
  assert_int_equal(entries(id), 6); /* ours added nothing */
  journal_free(j);
  *mine = theirs;
  journal_free(other);
  *mine = saved;
}

/* --- the state ------------------------------------------------------------------------------------------------------------------ */

static void fold(json_t *state, enum kind kind, const char *actor, json_t *body_take) {
  struct entry e = {.seq = (uint64_t)json_int_or(state, "seq", 0) + 1, .time = 1, .kind = kind, .body = body_take};
  snprintf(e.actor, sizeof e.actor, "%s", actor);
  state_fold(state, &e);
  json_decref(body_take);
}

static void test_uncertain_until_a_person_agrees(void **state) {
  json_t *s = state_blank("INC-000001");
  assert_false(state_uncertain(s));
  fold(s, KIND_JOURNAL_UNCERTAIN, "engine", json_pack("{s:i, s:s}", "epoch", 3, "why", "lost"));
  assert_true(state_uncertain(s));
  assert_int_equal(json_int_or(json_object_get(s, "uncertain"), "epoch", 0), 3);
  fold(s, KIND_JOURNAL_AGREED, "person:1", json_pack("{s:s}", "because", "looked"));
  assert_false(state_uncertain(s));
  fold(s, KIND_JOURNAL_UNCERTAIN, "engine", json_pack("{s:i}", "epoch", 4)); /* the next one needs a look of its own */
  assert_true(state_uncertain(s));
  json_decref(s);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_addresses),
      cmocka_unit_test(test_answers),
      cmocka_unit_test(test_whom_to_follow),
      cmocka_unit_test(test_what_no_replica_holds),
      cmocka_unit_test_setup_teardown(test_a_kept_tail_is_appended_again, before, after),
      cmocka_unit_test_setup_teardown(test_an_end_torn_on_disk_is_appended_again, before, after),
      cmocka_unit_test_setup_teardown(test_nothing_is_missing, before, after),
      cmocka_unit_test_setup_teardown(test_one_that_rests_is_whole_when_it_is_loaded, before, after),
      cmocka_unit_test_setup_teardown(test_an_end_that_nobody_has_is_torn, before, after),
      cmocka_unit_test_setup_teardown(test_the_nodes_own_goes_on, before, after),
      cmocka_unit_test_setup_teardown(test_another_owner_was_quicker, before, after),
      cmocka_unit_test(test_uncertain_until_a_person_agrees),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
