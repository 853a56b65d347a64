/* The Redis Function library on a real server: every function, every refusal. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "redis_server.h"
#include "wire/functions.h"

static struct server server;
static struct loop *loop;
static struct redis *link_;

#define A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define ZEROS "0000000000000000000000000000000000000000000000000000000000000000"
#define ROUTE                                                                                                                              \
  "FCALL tocsin_route 5 {tocsin:alerts}:routed {tocsin:alerts}:seen {tocsin:alerts}:group {tocsin:alerts}:ids {tocsin:alerts}:seen_in "
#define DONE                                                                                                                               \
  "FCALL tocsin_done 6 tocsin:alerts {tocsin:alerts}:routed {tocsin:alerts}:seen {tocsin:alerts}:seen_in {tocsin:alerts}:counts "          \
  "{tocsin:alerts}:dead engine "

#define expect(want, ...) assert_string_equal(ask(loop, link_, __VA_ARGS__), want)

static int fresh(void **state) {
  expect("OK", "FLUSHALL");
  return 0;
}

/* One alert in the queue, delivered to the group; its id in out. */
static void deliver(char out[64]) {
  ask(loop, link_, "XGROUP CREATE tocsin:alerts engine 0 MKSTREAM"); /* may be there already */
  snprintf(out, 64, "%s", ask(loop, link_, "XADD tocsin:alerts * alert {}"));
  assert_non_null(strchr(out, '-'));
  assert_non_null(strstr(ask(loop, link_, "XREADGROUP GROUP engine n1 COUNT 10 STREAMS tocsin:alerts >"), out));
}

static void test_same_lines(void **state) {
  FILE *f = fopen("orchestrator/wire/redis_functions.lua", "r");
  if (!f) skip(); /* not run from the project's folder */
  static char bytes[65536];
  bytes[fread(bytes, 1, sizeof bytes - 1, f)] = 0;
  fclose(f);
  assert_string_equal(bytes, redis_functions_code);
  char version[64];
  snprintf(version, sizeof version, "return %d end", REDIS_FUNCTIONS_VERSION);
  assert_non_null(strstr(redis_functions_code, version));
}

static void test_append(void **state) {
  expect("2", "FCALL tocsin_append 2 j s " ZEROS " 1 folded e1 " A " b1 e2 " B " b2");
  expect("[[1-0 [e e1 h " A " b b1]] [2-0 [e e2 h " B " b b2]]]", "XRANGE j - +");
  expect("folded", "GET s");
  expect("1", "FCALL tocsin_append 2 j s " B " 3 '' e3 " A " b3");
  expect("folded", "GET s");
  expect("!conflict FENCE last=3-0 h=" A, "FCALL tocsin_append 2 j s " B " 3 x e3 " A " b3");    /* the same once more */
  expect("!conflict FENCE last=3-0 h=" A, "FCALL tocsin_append 2 j s " A " 5 x e " B " b");      /* a gap */
  expect("!conflict FENCE last=3-0 h=" A, "FCALL tocsin_append 2 j s " ZEROS " 1 x e " B " b");  /* not new */
  expect("!conflict FENCE last=0-0 h=" ZEROS, "FCALL tocsin_append 2 j2 s " A " 2 x e " B " b"); /* a lost tail */
  expect("!conflict FENCE last=0-0 h=" ZEROS, "FCALL tocsin_append 2 j2 s " ZEROS " 2 x e " B " b");
  expect("1-0", "XADD emptied 1-0 e e h " A " b b");
  expect("1", "XDEL emptied 1-0");
  expect("!conflict FENCE last=0-0 h=" ZEROS, "FCALL tocsin_append 2 emptied s " ZEROS " 1 x e " B " b");
  expect("folded", "GET s");
  expect("3", "XLEN j");
  expect("0", "EXISTS j2");
}

static void test_append_refuses_nonsense(void **state) {
  expect("!invalid ERR append: wrong arguments", "FCALL tocsin_append 2 j s " ZEROS " 1 folded");
  expect("!invalid ERR append: wrong arguments", "FCALL tocsin_append 2 j s " ZEROS " 1 folded e " A);
  expect("!invalid ERR append: wrong arguments", "FCALL tocsin_append 2 j s " ZEROS " 0 folded e " A " b");
  expect("!invalid ERR append: wrong arguments", "FCALL tocsin_append 2 j s " ZEROS " x folded e " A " b");
  expect("0", "EXISTS j s");
}

static void test_retire(void **state) {
  expect("2", "FCALL tocsin_append 2 j s " ZEROS " 1 folded e1 " A " b1 e2 " B " b2");
  expect("!conflict FENCE last=2-0 h=" B, "FCALL tocsin_retire 2 j s 1 " A " n1 left"); /* something was appended since */
  expect("!conflict FENCE last=2-0 h=" B, "FCALL tocsin_retire 2 j s 2 " A " n1 left"); /* another's entry */
  expect("!conflict FENCE last=0-0 h=" ZEROS, "FCALL tocsin_retire 2 none s 2 " B " n1 left");
  expect("!invalid ERR retire: wrong arguments", "FCALL tocsin_retire 2 j s 2 " B " '' left");
  expect("!invalid ERR retire: wrong arguments", "FCALL tocsin_retire 2 j s 2 " B " n1");
  expect("2", "XLEN j");
  expect("1", "FCALL tocsin_retire 2 j s 2 " B " n1 left");
  expect("[[2-0 [h " B " n n1]]]", "XRANGE j - +");
  expect("left", "GET s");
  expect("0", "FCALL tocsin_retire 2 j s 2 " B " n1 again");
  expect("left", "GET s");
  expect("!conflict FENCE last=2-0 h=" B, "FCALL tocsin_append 2 j s " ZEROS " 1 x e " A " b"); /* never anew from zero */
  expect("1", "FCALL tocsin_append 2 j s " B " 3 '' e3 " A " b3");
  expect("[[2-0 [h " B " n n1]] [3-0 [e e3 h " A " b b3]]]", "XRANGE j - +");
  expect("1", "FCALL tocsin_retire 2 j s 3 " A " n1 left");
  expect("[[3-0 [h " A " n n1]]]", "XRANGE j - +");
}

/* One item bears a whole wave. */
static void test_items_of_several_entries(void **state) {
  expect("1-0", "XADD j 1-0 E e1 H " A " B b1 E e2 H " B " B b2");
  expect("!conflict ERR The ID specified in XADD is equal or smaller than the target stream top item", "XADD j NOMKSTREAM 1-0 e e h " A);
  expect("!conflict FENCE last=2-0 h=" B, "FCALL tocsin_append 2 j s " A " 2 x e " B " b"); /* in its middle */
  expect("!conflict FENCE last=2-0 h=" B, "FCALL tocsin_append 2 j s " ZEROS " 1 x e " B " b");
  expect("1", "FCALL tocsin_append 2 j s " B " 3 '' e3 " A " b3");
  expect("4-0",
         "XADD j NOMKSTREAM 4-0 E e4 H " B " B b4 E e5 H " A " B b5 E e6 H " B " B b6 E by\"step\":\"5\",\"type\":\"body.removing\" H " A);
  expect("!conflict FENCE no entry 6 says that the body of 5 is removed", "FCALL tocsin_remove 3 j s new 5 6");
  expect("!conflict FENCE no entry 7 says that the body of 4 is removed", "FCALL tocsin_remove 3 j s new 4 7");
  expect("1", "FCALL tocsin_remove 3 j s new 5 7");
  expect("0", "FCALL tocsin_remove 3 j s new 5 7");
  expect("[[4-0 [E e4 H " B " B b4 E e5 H " A " E e6 H " B " B b6 E by\"step\":\"5\",\"type\":\"body.removing\" H " A "]]]",
         "XRANGE j 4 +");
  expect("[[1-0 [E e1 H " A " B b1 E e2 H " B " B b2]] [3-0 [e e3 h " A " b b3]]]", "XRANGE j - 3");
  expect("!conflict FENCE last=7-0 h=" A, "FCALL tocsin_retire 2 j s 4 " B " n1 left");
  expect("1", "FCALL tocsin_retire 2 j s 7 " A " n1 left");
  expect("[[7-0 [h " A " n n1]]]", "XRANGE j - +");
}

static void test_append_far(void **state) {
  expect("4503599627370494-0", "XADD j 4503599627370494-0 e e h " A " b b");
  expect("1", "FCALL tocsin_append 2 j s " A " 4503599627370495 '' e " B " b");
  expect("[[4503599627370495-0 [e e h " B " b b]]]", "XREVRANGE j + - COUNT 1");
}

static void test_route_and_redelivery(void **state) {
  expect("[new INC-000001 1]", ROUTE "a1 5-0 1000 INC k1 60000");
  expect("[routed INC-000001 1]", ROUTE "a1 5-0 1500 INC k1 60000");
  expect("[duplicate INC-000001]", ROUTE "a1 6-0 1500 INC k1 60000");
  expect("[new INC-000001 0 INC-000002 1]", ROUTE "a2 7-0 1600 INC k1 60000 '' 0");
  expect("[routed INC-000001 0 INC-000002 1]", ROUTE "a2 7-0 999999 INC other 60000");
  expect("[new EX-000003 1]", ROUTE "a3 8-0 1600 EX '' 0");
  expect("3", "HLEN {tocsin:alerts}:routed");
}

static void test_route_same_key_twice(void **state) {
  expect("[new INC-000001 1 INC-000001 0]", ROUTE "a1 1-0 1000 INC k 0 k 0");
  expect("[new INC-000002 1 INC-000003 1]", ROUTE "a2 2-0 1000 INC '' 0 '' 0");
}

static void test_route_window_slides(void **state) {
  expect("[new INC-000001 1]", ROUTE "a1 1-0 1000 INC k 100");
  expect("[new INC-000001 0]", ROUTE "a2 2-0 1090 INC k 100"); /* pushed to 1190 */
  expect("[new INC-000001 0]", ROUTE "a3 3-0 1180 INC k 100"); /* pushed to 1280 */
  expect("INC-000001|1280", "HGET {tocsin:alerts}:group k");
  expect("[new INC-000001 0]", ROUTE "a4 4-0 1100 INC k 100"); /* a clock that steps back shortens nothing */
  expect("INC-000001|1280", "HGET {tocsin:alerts}:group k");
  expect("[new INC-000002 1]", ROUTE "a5 5-0 1280 INC k 100"); /* over */
}

static void test_route_refuses_nonsense(void **state) {
  expect("!invalid ERR route: wrong arguments", ROUTE "a1 1-0 1000 INC");
  expect("!invalid ERR route: wrong arguments", ROUTE "a1 1-0 1000 INC k");
  expect("!invalid ERR route: wrong arguments", ROUTE "'' 1-0 1000 INC k 1");
  expect("!invalid ERR route: wrong window", ROUTE "a1 1-0 1000 INC k 1 k2 x");
  expect("0", "EXISTS {tocsin:alerts}:routed {tocsin:alerts}:ids {tocsin:alerts}:group");
}

static void test_done_exactly_once(void **state) {
  char id[64], dup[64];
  deliver(id);
  deliver(dup);
  expect("[new INC-000001 1]", ROUTE "a1 %s 1000 INC k 60000", id);
  expect("[duplicate INC-000001]", ROUTE "a1 %s 1000 INC k 60000", dup);
  expect("1", DONE "%s a1 duplicate 2000 5000", dup);
  expect("[routed INC-000001 1]", ROUTE "a1 %s 1000 INC k 60000", id); /* the first one's routing is untouched */
  expect("1", DONE "%s a1 attached 2000 5000", id);
  expect("0", DONE "%s a1 attached 2000 5000", id);
  expect("0", DONE "%s a1 duplicate 2000 5000", dup);
  expect("1", "HGET {tocsin:alerts}:counts attached");
  expect("1", "HGET {tocsin:alerts}:counts duplicate");
  expect("0", "HLEN {tocsin:alerts}:routed");
  expect("0", "XLEN tocsin:alerts");
  expect("2000", "ZSCORE {tocsin:alerts}:seen a1");
  expect("[duplicate INC-000001]", ROUTE "a1 99-0 3000 INC k 60000"); /* long after it was done */
}

static void test_done_suppressed(void **state) {
  char id[64];
  deliver(id);
  expect("1", DONE "%s a9 suppressed 2000 5000", id);
  expect("1", "HGET {tocsin:alerts}:counts suppressed");
  expect("[duplicate]", ROUTE "a9 99-0 3000 INC k 60000");
}

static void test_done_split(void **state) {
  char id[64];
  deliver(id);
  expect("1", DONE "%s '' split 2000 5000 {\"alert\":\"one\",\"source\":\"s\"} {\"n\":12345678,\"alert\":\"two\"}", id);
  expect("2", "XLEN tocsin:alerts");
  const char *all = ask(loop, link_, "XRANGE tocsin:alerts - +");
  assert_non_null(strstr(all, "[alert one source s]"));
  assert_non_null(strstr(all, "[alert two n 12345678]"));
  expect("1", "HGET {tocsin:alerts}:counts split");
  /* accepted = counts + waiting */
  assert_non_null(strstr(ask(loop, link_, "XINFO STREAM tocsin:alerts"), "entries-added 3"));
  deliver(id);
  expect("!invalid ERR done: a part is no object of texts", DONE "%s '' split 2000 5000 {\"a\":\"b\"} {\"a\":[]}", id);
  expect("!invalid ERR done: a part is no object of texts", DONE "%s '' split 2000 5000 {}", id);
  expect("!invalid ERR done: a part is no object of texts", DONE "%s '' split 2000 5000 nonsense", id);
  expect("3", "XLEN tocsin:alerts");
}

static void test_done_dead(void **state) {
  char id[64];
  deliver(id);
  expect("1", DONE "%s '' dead 2000 5000 not-json alert {{{ source x", id);
  expect("0", DONE "%s '' dead 2000 5000 not-json alert {{{ source x", id);
  expect("1", "XLEN {tocsin:alerts}:dead");
  assert_non_null(strstr(ask(loop, link_, "XRANGE {tocsin:alerts}:dead - +"), "[reason not-json at 2000 alert {{{ source x]"));
  expect("1", "HGET {tocsin:alerts}:counts dead");
  deliver(id);
  expect("1", DONE "%s '' dead 3000 5000 too-large", id); /* without its fields: they are moved */
  assert_non_null(strstr(ask(loop, link_, "XRANGE {tocsin:alerts}:dead - +"), "[reason too-large at 3000 alert {}]"));
}

static void test_revive_and_tally(void **state) {
  char id[64], letter[64];
  expect("[[] []]", "FCALL_RO tocsin_tally 2 nothing nothing-either");
  deliver(id);
  expect("1", DONE "%s '' dead 4000 5000 why", id);
  snprintf(letter, sizeof letter, "%s", ask(loop, link_, "XADD {tocsin:alerts}:dead * reason r at 1 alert again source s"));
  assert_non_null(strstr(ask(loop, link_, "FCALL_RO tocsin_tally 2 tocsin:alerts {tocsin:alerts}:counts"), "length 0"));
  expect("0", "FCALL tocsin_revive 2 {tocsin:alerts}:dead tocsin:alerts 1-1 10");
  expect("1", "FCALL tocsin_revive 2 {tocsin:alerts}:dead tocsin:alerts %s 10", letter);
  assert_non_null(strstr(ask(loop, link_, "XRANGE tocsin:alerts - +"), "[alert again source s]"));
  assert_null(strstr(ask(loop, link_, "XRANGE {tocsin:alerts}:dead - +"), letter));
  assert_true(strtol(ask(loop, link_, "FCALL tocsin_revive 2 {tocsin:alerts}:dead tocsin:alerts '' 10"), NULL, 10) >= 1);
  expect("0", "XLEN {tocsin:alerts}:dead");
  expect("1", "DEL tocsin:alerts");
}

static void test_done_dead_with_very_many_fields(void **state) {
  enum { WORDS = 9100 };
  char id[64];
  deliver(id);
  static const char *argv[WORDS + 32];
  size_t n = 0;
  static char fixed[1024];
  snprintf(fixed, sizeof fixed, DONE "%s '' dead 2000 5000 many", id);
  char *rest = fixed;
  for (char *word; (word = strsep(&rest, " "));) argv[n++] = strcmp(word, "''") == 0 ? "" : word;
  for (size_t i = 0; i < WORDS; i++) argv[n++] = "f";
  struct answer a = {0};
  assert_int_equal(redis_command(link_, 0, answer_cb, &a, n, argv, NULL, NULL), 0);
  assert_true(test_until(loop, &a.done, 10000));
  assert_string_equal(a.text, "1");
  assert_non_null(strstr(ask(loop, link_, "XRANGE {tocsin:alerts}:dead - +"), "fields [\"f\",\"f\""));
}

static void test_done_forgets_old(void **state) {
  char id[64];
  deliver(id);
  expect("[new INC-000001 1]", ROUTE "old %s 1000 INC k 60000", id);
  expect("1", DONE "%s old attached 1000 5000", id);
  deliver(id);
  expect("1", DONE "%s young suppressed 6000 5000", id); /* exactly 5000 old: kept */
  expect("2", "ZCARD {tocsin:alerts}:seen");
  deliver(id);
  expect("1", DONE "%s younger suppressed 6001 5000", id);
  expect("[young younger]", "ZRANGE {tocsin:alerts}:seen 0 -1");
  expect("0", "HLEN {tocsin:alerts}:seen_in");
}

static void test_done_refuses_nonsense(void **state) {
  char id[64];
  deliver(id);
  expect("!invalid ERR done: wrong arguments", DONE "%s a1 eaten 2000 5000", id);
  expect("!invalid ERR done: wrong arguments", DONE "%s a1 attached x 5000", id);
  expect("!invalid ERR done: wrong arguments", DONE "%s a1 dead 2000 5000", id);
  expect("!invalid ERR done: wrong arguments", DONE "%s a1 dead 2000 5000 why field-without-value", id);
  expect("1", "XLEN tocsin:alerts");
  expect("0", DONE "77-7 a1 attached 2000 5000");
  expect("0", "EXISTS {tocsin:alerts}:counts {tocsin:alerts}:seen");
}

#define ROUTE_ALL                                                                                                                          \
  "FCALL tocsin_route_all 6 {tocsin:alerts}:routed {tocsin:alerts}:seen {tocsin:alerts}:group {tocsin:alerts}:ids "                        \
  "{tocsin:alerts}:seen_in "                                                                                                               \
  "{tocsin:alerts}:owner "
#define DONE_ALL                                                                                                                           \
  "FCALL tocsin_done_all 5 tocsin:alerts {tocsin:alerts}:routed {tocsin:alerts}:seen {tocsin:alerts}:seen_in {tocsin:alerts}:counts "      \
  "engine "

static void test_route_all(void **state) {
  expect("[[new INC-000001 1] [new INC-000001 0] [new INC-000002 1 INC-000001 0]]",
         ROUTE_ALL "1000 INC|n1 a1 1-0 1 k 100 a2 2-0 1 k 200 a3 3-0 2 '' 0 k 0");
  expect("INC-000001|1200", "HGET {tocsin:alerts}:group k");
  expect("[INC-000001 n1 INC-000002 n1]", "HGETALL {tocsin:alerts}:owner");
  expect("{\"stream\":\"3-0\",\"incidents\":[{\"id\":\"INC-000002\",\"created\":1},{\"id\":\"INC-000001\",\"created\":0}]}",
         "HGET {tocsin:alerts}:routed a3");
  /* The same again, the same alert by another message, twice in one call; what is new counts on. */
  expect("[[routed INC-000001 1] [duplicate INC-000001] [new INC-000003 1] [duplicate INC-000003] [routed INC-000003 1]]",
         ROUTE_ALL "1000 INC|n1 a1 1-0 1 k 100 a1 9-0 1 k 100 b 4-0 1 '' 0 b 5-0 1 '' 0 b 4-0 1 '' 0");
  expect("1", "ZADD {tocsin:alerts}:seen 5 old");
  expect("1", "HSET {tocsin:alerts}:seen_in old [\"INC-000009\"]");
  expect("[[duplicate INC-000009]]", ROUTE_ALL "1000 INC old 6-0 1 '' 0");
  const char *wrong = "!invalid ERR route_all: wrong arguments";
  expect(wrong, ROUTE_ALL "1000 INC");
  expect(wrong, ROUTE_ALL "x INC c 7-0 1 '' 0");
  expect(wrong, ROUTE_ALL "1000 '' c 7-0 1 '' 0");
  expect(wrong, ROUTE_ALL "1000 INC c 7-0 0");
  expect(wrong, ROUTE_ALL "1000 INC c 7-0 1 '' 0 '' 7-0 1 '' 0");
  expect(wrong, ROUTE_ALL "1000 INC c 7-0 1 '' x");
  expect(wrong, ROUTE_ALL "1000 INC c 7-0 2 '' 0 k");
  expect(wrong, ROUTE_ALL "1000 INC c 7-0 1 '' 0 d");
  expect("0", "HEXISTS {tocsin:alerts}:routed c");
}

/* Many in one call are answered, and leave Redis, as the same ones after each other. */
static void test_route_all_is_route_for_each(void **state) {
  static char all[16384], singly[16384], want[16384];
  unsigned dice = 7;
  for (unsigned call = 0; call < 40; call++) {
    unsigned now = 1000 + call * 30, alerts = 1 + call % 9;
    size_t at = (size_t)snprintf(all, sizeof all,
                                 "FCALL tocsin_route_all 6 {a}:routed {a}:seen {a}:group {a}:ids {a}:seen_in {a}:owner %u INC|n1", now),
           wanted = (size_t)snprintf(want, sizeof want, "[");
    for (unsigned i = 0; i < alerts; i++) {
      dice = dice * 1103515245u + 12345u;
      unsigned alert = dice >> 16 & 63, stream = dice >> 23 & 1, pairs = 1 + (dice >> 24) % 3;
      size_t n = (size_t)snprintf(singly, sizeof singly,
                                  "FCALL tocsin_route 6 {b}:routed {b}:seen {b}:group {b}:ids {b}:seen_in {b}:owner a%u %u-%u %u INC|n1",
                                  alert, alert, stream, now);
      at += (size_t)snprintf(all + at, sizeof all - at, " a%u %u-%u %u", alert, alert, stream, pairs);
      for (unsigned k = 0; k < pairs; k++) {
        dice = dice * 1103515245u + 12345u;
        unsigned group = dice >> 16 & 7, window = (dice >> 20 & 3) * 40;
        char text[32] = "''";
        if (group) snprintf(text, sizeof text, "k%u", group);
        n += (size_t)snprintf(singly + n, sizeof singly - n, " %s %u", text, window);
        at += (size_t)snprintf(all + at, sizeof all - at, " %s %u", text, window);
      }
      wanted += (size_t)snprintf(want + wanted, sizeof want - wanted, "%s%s", i ? " " : "", ask(loop, link_, "%s", singly));
    }
    snprintf(want + wanted, sizeof want - wanted, "]");
    assert_string_equal(ask(loop, link_, "%s", all), want);
    snprintf(want, sizeof want, "%s", ask(loop, link_, "GET {b}:ids"));
    expect(want, "GET {a}:ids");
  }
  for (unsigned i = 0; i < 64; i++) {
    snprintf(want, sizeof want, "%s", ask(loop, link_, "HGET {b}:routed a%u", i));
    expect(want, "HGET {a}:routed a%u", i);
    snprintf(want, sizeof want, "%s", ask(loop, link_, "HGET {b}:group k%u", i));
    expect(want, "HGET {a}:group k%u", i);
    snprintf(want, sizeof want, "%s", ask(loop, link_, "HGET {b}:owner INC-%06u", i));
    expect(want, "HGET {a}:owner INC-%06u", i);
  }
}

static void test_done_all(void **state) {
  char a[64], b[64], c[64], d[64], e[64];
  deliver(a), deliver(b), deliver(c), deliver(d);
  snprintf(e, sizeof e, "%s", ask(loop, link_, "XADD tocsin:alerts * alert {}"));
  expect("[[new INC-000001 1] [duplicate INC-000001] [new INC-000001 0] [new INC-000001 0]]",
         ROUTE_ALL "1000 INC a1 %s 1 k 60000 a1 %s 1 k 60000 a2 %s 1 k 60000 b2 %s 1 k 60000", a, b, c, e);
  /* Beside them one that was never there, one whose delivery the group, made anew, does not know, and one of them once more. */
  expect("5",
         DONE_ALL "2000 5000 %s a1 attached %s a1 duplicate %s a2 attached %s a3 suppressed 77-7 a4 attached %s b2 attached %s a1 attached",
         a, b, c, d, e, a);
  expect("0", DONE_ALL "2000 5000 %s a1 attached %s a1 duplicate %s a2 attached %s a3 suppressed", a, b, c, d);
  expect("[3 1 1]", "HMGET {tocsin:alerts}:counts attached duplicate suppressed");
  expect("0", "HLEN {tocsin:alerts}:routed");
  expect("0", "XLEN tocsin:alerts");
  expect("[a1 a2 a3 b2]", "ZRANGE {tocsin:alerts}:seen 0 -1");
  expect("[\"INC-000001\"]", "HGET {tocsin:alerts}:seen_in b2");
  expect("[[duplicate INC-000001] [duplicate]]", ROUTE_ALL "3000 INC a1 99-0 1 k 60000 a3 98-0 1 k 60000");
  /* What is old goes. What was trimmed away while it was under way counts. */
  deliver(a), ask(loop, link_, "XDEL tocsin:alerts %s", a);
  expect("1", DONE_ALL "7001 5000 77-7 a4 attached %s b1 suppressed", a);
  expect("[b1]", "ZRANGE {tocsin:alerts}:seen 0 -1");
  expect("0", "HLEN {tocsin:alerts}:seen_in");
  deliver(a), deliver(b);
  const char *wrong = "!invalid ERR done_all: wrong arguments";
  expect(wrong, DONE_ALL "2000 5000 %s a1 attached %s a1 dead", a, b);
  expect(wrong, DONE_ALL "2000 5000 %s a1 attached %s a1", a, b);
  expect(wrong, DONE_ALL "x 5000 %s a1 attached", a);
  expect("2", "XLEN tocsin:alerts");
}

/* What a node of yesterday's build has routed, with cjson's order of names. */
static void test_done_all_reads_what_was_routed_before(void **state) {
  char id[64];
  deliver(id);
  ask(loop, link_,
      "HSET {tocsin:alerts}:routed a1 "
      "{\"incidents\":[{\"created\":1,\"id\":\"INC-000007\"},{\"created\":0,\"id\":\"INC-000008\"}],\"stream\":\"%s\"}",
      id);
  expect("[[routed INC-000007 1 INC-000008 0]]", ROUTE_ALL "1000 INC a1 %s 1 k 60000", id);
  expect("1", DONE_ALL "2000 5000 %s a1 attached", id);
  expect("[\"INC-000007\",\"INC-000008\"]", "HGET {tocsin:alerts}:seen_in a1");
  expect("0", "HLEN {tocsin:alerts}:routed");
}

static void test_ungroup(void **state) {
  expect("[new INC-000001 1 INC-000002 1]", ROUTE "a1 1-0 1000 INC k1 60000 k2 60000");
  expect("1", "FCALL tocsin_ungroup 1 {tocsin:alerts}:group INC-000001 k1 k2 k3");
  expect("[k2 INC-000002|61000]", "HGETALL {tocsin:alerts}:group");
  expect("[new INC-000003 1]", ROUTE "a2 2-0 1000 INC k1 60000");
}

static void test_hold(void **state) {
  expect("1", "FCALL tocsin_hold 1 tocsin:contained user=alice {}");
  expect("0", "FCALL tocsin_hold 1 tocsin:contained user=alice {\"x\":1}");
  expect("{\"x\":1}", "HGET tocsin:contained user=alice");
  expect("1", "FCALL tocsin_unhold 1 tocsin:contained user=alice");
  expect("0", "FCALL tocsin_unhold 1 tocsin:contained user=alice");
}

static void test_budget(void **state) {
  expect("1", "FCALL tocsin_budget 1 b 1000 100 2 i1");
  expect("1", "FCALL tocsin_budget 1 b 1010 100 2 i2");
  expect("0", "FCALL tocsin_budget 1 b 1020 100 2 i3");
  expect("1", "FCALL tocsin_budget 1 b 1020 100 2 i1"); /* reserved before */
  expect("0", "FCALL tocsin_budget 1 b 1099 100 2 i3");
  expect("1", "FCALL tocsin_budget 1 b 1100 100 2 i3"); /* i1's place is free */
  expect("0", "FCALL tocsin_budget 1 b 1100 100 0 i4");
  expect("!invalid ERR budget: wrong arguments", "FCALL tocsin_budget 1 b x 100 2 i1");
}

#define STEADY "FCALL tocsin_steady 1 tocsin:clock "

static int64_t number(const char *text) { return strtoll(text, NULL, 10); }

/* The time that machines agree on is the one of the first; it is not moved by what any wall clock shows later, this server's included. */
static void test_steady(void **state) {
  int64_t before = (int64_t)time(NULL) * 1000;
  int64_t a = number(ask(loop, link_, STEADY "a 5000 ''"));
  assert_in_range(a + 5000, before, before + 60000);
  assert_int_equal(number(ask(loop, link_, STEADY "a 5500 ''")), a); /* another process, the same machine */
  expect("0", "HGET tocsin:clock #redis");
  int64_t b = number(ask(loop, link_, STEADY "b 0 ''"));
  assert_in_range(b, before, before + 60000);
  /* As when the server's clock was set forward by an hour: it shows what the machines' time is not. The first that asks tells. */
  ask(loop, link_, "HSET tocsin:clock a %lld b %lld #last %lld", (long long)(a - 3600000), (long long)(b - 3600000),
      (long long)(b - 3600000));
  assert_int_equal(number(ask(loop, link_, STEADY "a 6000 ''")), a - 3600000);
  assert_in_range(-number(ask(loop, link_, "HGET tocsin:clock #redis")), 3600000 - 60000, 3600000 + 60000);
  int64_t c = number(ask(loop, link_, STEADY "c 0 ''"));
  assert_in_range(c + 3600000, before - 60000, before + 60000); /* a new machine goes on where they are */
  /* A new master that has lost it all learns it from those that live. */
  ask(loop, link_, "DEL tocsin:clock");
  assert_int_equal(number(ask(loop, link_, STEADY "a 7000 %lld", (long long)(a - 3600000))), a - 3600000);
  assert_in_range(number(ask(loop, link_, STEADY "d 0 ''")) + 3600000, before - 60000, before + 60000);
  /* All were down, and the server's clock is two hours behind when they come back: what was reserved a minute ago still becomes old. */
  int64_t shown = number(ask(loop, link_, "HGET tocsin:clock #last"));
  ask(loop, link_, "HSET tocsin:clock #last %lld", (long long)(shown + 7200000));
  assert_int_equal(number(ask(loop, link_, STEADY "e 3000 ''")) + 3000, shown + 7200000);
  for (int i = 0; i < 450; i++) ask(loop, link_, STEADY "m%d 0 ''", i);
  assert_in_range(number(ask(loop, link_, "HLEN tocsin:clock")), 2, 202);
  expect("!invalid ERR steady: wrong arguments", STEADY "'' 0 ''");
  expect("!invalid ERR steady: wrong arguments", STEADY "a -1 ''");
}

static void test_open_id(void **state) {
  expect("INC-000001", "FCALL tocsin_open_id 1 {tocsin:alerts}:ids INC");
  expect("EX-000002", "FCALL tocsin_open_id 1 {tocsin:alerts}:ids EX");
  expect("[new INC-000003 1]", ROUTE "a1 1-0 1000 INC k1 60000");
  expect("OK", "SET {tocsin:alerts}:ids 1234567");
  expect("INC-1234568", "FCALL tocsin_open_id 1 {tocsin:alerts}:ids INC");
}

#define OWNER "{tocsin:alerts}:owner "

static void test_owners(void **state) {
  expect("INC-000001", "FCALL tocsin_open_id 2 {tocsin:alerts}:ids " OWNER "INC|n1");
  expect("[n1 n1]", "FCALL tocsin_claim 1 " OWNER "INC-000001 n2 ''"); /* it stays n1's */
  expect("[n1 n1]", "FCALL tocsin_claim 1 " OWNER "INC-000001 n1 ''");
  expect("[n1 n1]", "FCALL tocsin_claim 1 " OWNER "INC-000001 n2 n3");
  expect("[n2 n1]", "FCALL tocsin_claim 1 " OWNER "INC-000001 n2 n1"); /* n1 is dead: the first to say so has it */
  expect("[n2 n2]", "FCALL tocsin_claim 1 " OWNER "INC-000001 n3 n1");
  expect("0", "FCALL tocsin_give 1 " OWNER "INC-000001 n1 n3");
  expect("1", "FCALL tocsin_give 1 " OWNER "INC-000001 n2 n3");
  expect("1", "FCALL tocsin_give 1 " OWNER "INC-000001 n3 ''");
  expect("[n1 ]", "FCALL tocsin_claim 1 " OWNER "INC-000001 n1 ''");
  expect("2", "HSET " OWNER "INC-000002 n2 INC-000003 n1");
  expect("2", "FCALL tocsin_give_up 1 " OWNER "n1 INC-000001 INC-000002 INC-000003 INC-000004"); /* only its own */
  expect("[n2]", "HVALS {tocsin:alerts}:owner");
}

static void test_route_names_the_owner(void **state) {
  const char *route = "FCALL tocsin_route 6 {tocsin:alerts}:routed {tocsin:alerts}:seen {tocsin:alerts}:group {tocsin:alerts}:ids "
                      "{tocsin:alerts}:seen_in {tocsin:alerts}:owner ";
  expect("[new INC-000001 1]", "%sa1 1-0 1000 INC|n1 k1 60000", route);
  expect("n1", "HGET " OWNER "INC-000001");
  expect("[new INC-000001 0]", "%sa2 2-0 1000 INC|n2 k1 60000", route); /* joins: the owner stays */
  expect("n1", "HGET " OWNER "INC-000001");
}

#define BEAT "FCALL tocsin_beat 2 tocsin:nodes tocsin:brakes "

static void test_beat(void **state) {
  assert_non_null(strstr(ask(loop, link_, BEAT "n1 r1 '' {\"folder\":\"f1\"}"), "\"beat\":1"));
  const char *taken = "!conflict FENCE another process runs as node n1";
  expect(taken, BEAT "n1 r2 '' {\"folder\":\"f2\"}");
  expect(taken, BEAT "n1 r2 0 {\"folder\":\"f2\"}"); /* it has moved since */
  assert_non_null(strstr(ask(loop, link_, BEAT "n1 r1 beat {\"folder\":\"f1\"}"), "\"beat\":2"));
  assert_non_null(strstr(ask(loop, link_, BEAT "n1 r2 2 {\"folder\":\"f2\"}"), "\"run\":\"r2\""));  /* it stands where it stood */
  expect(taken, BEAT "n1 r1 beat {\"folder\":\"f1\"}");                                             /* ousted */
  assert_non_null(strstr(ask(loop, link_, BEAT "n1 r3 '' {\"folder\":\"f2\"}"), "\"run\":\"r3\"")); /* the folder's own next process */
  expect("0", "FCALL tocsin_leave 1 tocsin:nodes n1 r1");
  expect("1", "FCALL tocsin_leave 1 tocsin:nodes n1 r3");
  expect("0", "HLEN tocsin:nodes");
  expect("!invalid ERR beat: wrong arguments", BEAT "n1 r1 '' nonsense");
}

static void test_brake(void **state) {
  expect("1", "FCALL tocsin_brake 2 tocsin:nodes tocsin:brakes all why");
  assert_non_null(strstr(ask(loop, link_, BEAT "n1 r1 '' {}"), "[1 [all why] ["));
  expect("2", "FCALL tocsin_brake 2 tocsin:nodes tocsin:brakes all ''");
  assert_non_null(strstr(ask(loop, link_, BEAT "n1 r1 beat {}"), "[2 [] ["));
}

static void test_take(void **state) {
  expect("1-0", "XADD in 1-0 m x");
  expect("2-0", "XADD in 2-0 m x");
  expect("3-0", "XADD in 3-0 m x");
  expect("1", "FCALL tocsin_take 2 in nonces 1-0 a 1000 500");
  expect("0", "FCALL tocsin_take 2 in nonces 1-0 a 1000 500");  /* somebody has it */
  expect("-1", "FCALL tocsin_take 2 in nonces 2-0 a 1400 500"); /* another message with the same nonce */
  expect("1", "FCALL tocsin_take 2 in nonces 3-0 a 1501 500");  /* so old a message is refused by its time */
  expect("!invalid ERR take: wrong arguments", "FCALL tocsin_take 2 in nonces 4-0 a x 500");
}

static void test_let_go(void **state) {
  expect("1", "SADD holders a|1/1");
  expect("1", "SADD holders b|1/1");
  expect("[b|1/1]", "FCALL tocsin_let_go 1 holders a|1/1");
  expect("[b|1/1]", "FCALL tocsin_let_go 1 holders a|1/1");
  expect("[]", "FCALL tocsin_let_go 1 holders b|1/1");
}

static void test_ends_when_memory_is_full(void **state) {
  char id[64];
  deliver(id);
  expect("1", "SADD holders a|1/1");
  expect("1", "HSET contained a|1/1 {}");
  expect("OK", "CONFIG SET maxmemory 1");
  const char *refused = ask(loop, link_, "FCALL tocsin_append 2 j s " ZEROS " 1 x e " A " b");
  assert_int_equal(strncmp(refused, "!limit OOM", 10), 0);
  expect("1", DONE "%s a1 suppressed 2000 5000", id);
  expect("[]", "FCALL tocsin_let_go 1 holders a|1/1");
  expect("1", "FCALL tocsin_unhold 1 contained a|1/1");
  expect("0", "FCALL tocsin_ungroup 1 groups INC-000001 g");
  assert_non_null(strstr(ask(loop, link_, BEAT "n1 r1 '' {}"), "\"beat\":1"));
  expect("1", "FCALL tocsin_leave 1 tocsin:nodes n1 r1");
  expect("1", "FCALL tocsin_brake 2 tocsin:nodes tocsin:brakes all why");
  expect("OK", "CONFIG SET maxmemory 0");
}

int main(void) {
  server_start(&server, NULL);
  loop = loop_new();
  struct redis_config config = {.socket = server.socket, .lanes = 1};
  if (redis_new(loop, &config, NULL, link_says, NULL, &link_, NULL)) return 1;
  link_wait_up(loop, link_);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_same_lines),
      cmocka_unit_test_setup(test_append, fresh),
      cmocka_unit_test_setup(test_retire, fresh),
      cmocka_unit_test_setup(test_append_refuses_nonsense, fresh),
      cmocka_unit_test_setup(test_items_of_several_entries, fresh),
      cmocka_unit_test_setup(test_append_far, fresh),
      cmocka_unit_test_setup(test_route_and_redelivery, fresh),
      cmocka_unit_test_setup(test_route_same_key_twice, fresh),
      cmocka_unit_test_setup(test_route_window_slides, fresh),
      cmocka_unit_test_setup(test_route_refuses_nonsense, fresh),
      cmocka_unit_test_setup(test_done_exactly_once, fresh),
      cmocka_unit_test_setup(test_done_suppressed, fresh),
      cmocka_unit_test_setup(test_done_split, fresh),
      cmocka_unit_test_setup(test_done_dead, fresh),
      cmocka_unit_test_setup(test_revive_and_tally, fresh),
      cmocka_unit_test_setup(test_done_dead_with_very_many_fields, fresh),
      cmocka_unit_test_setup(test_done_forgets_old, fresh),
      cmocka_unit_test_setup(test_done_refuses_nonsense, fresh),
      cmocka_unit_test_setup(test_route_all, fresh),
      cmocka_unit_test_setup(test_route_all_is_route_for_each, fresh),
      cmocka_unit_test_setup(test_done_all, fresh),
      cmocka_unit_test_setup(test_done_all_reads_what_was_routed_before, fresh),
      cmocka_unit_test_setup(test_ungroup, fresh),
      cmocka_unit_test_setup(test_hold, fresh),
      cmocka_unit_test_setup(test_budget, fresh),
      cmocka_unit_test_setup(test_steady, fresh),
      cmocka_unit_test_setup(test_open_id, fresh),
      cmocka_unit_test_setup(test_owners, fresh),
      cmocka_unit_test_setup(test_route_names_the_owner, fresh),
      cmocka_unit_test_setup(test_beat, fresh),
      cmocka_unit_test_setup(test_brake, fresh),
      cmocka_unit_test_setup(test_take, fresh),
      cmocka_unit_test_setup(test_let_go, fresh),
      cmocka_unit_test_setup(test_ends_when_memory_is_full, fresh),
  };
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  redis_free(link_);
  loop_free(loop);
  server_stop(&server);
  return failed;
}
