/* Who may do what over the link: passwords, ACL users, the library, and settings that lose data. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "redis_server.h"
#include "wire/acl.h"

#include "redis_link.h"

#define A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
/* --- who may ---------------------------------------------------------------------------------------- */

static void test_password(void **state) {
  struct redis *admin = link_up((struct redis_config){0});
  assert_string_equal(ask(loop, admin, "ACL SETUSER eng on >right-password ~* +@all"), "OK");
  secrets_put(secrets, "good", "right-password", 14, NULL);
  secrets_put(secrets, "bad", "wrong-password", 14, NULL);
  struct redis *link = link_up((struct redis_config){.user = "eng", .password_slot = "good"});
  assert_string_equal(ask(loop, link, "ACL WHOAMI"), "eng");
  redis_free(link);
  struct news news = {0};
  link = link_new((struct redis_config){.user = "eng", .password_slot = "bad"}, &news);
  assert_true(test_until(loop, &news.down, 5000));
  assert_non_null(strstr(news.why, "WRONGPASS"));
  assert_null(strstr(news.why, "wrong-password"));
  /* The right one put later is used at the next try. */
  secrets_put(secrets, "bad", "right-password", 14, NULL);
  link_wait_up(loop, link);
  redis_free(link);
  redis_free(admin);
}

/* The ACL line with its password filled in, sent word by word. */
static void set_user(struct redis *admin, void (*line)(const char *, struct buf *), const char *name) {
  struct buf b;
  buf_init(&b, 4096);
  line(name, &b);
  char *at = strstr(b.data, "<password>");
  assert_non_null(at);
  char filled[4096];
  snprintf(filled, sizeof filled, "%.*s>%s-password%s", (int)(at - b.data), b.data, name, at + strlen("<password>"));
  assert_string_equal(ask(loop, admin, "%s", filled), "OK");
  buf_release(&b);
}

static void expect_denied(struct redis *link, const char *command) {
  const char *got = ask(loop, link, "%s", command);
  if (strncmp(got, "!denied NOPERM", 14) != 0) fail_msg("%s: %s", command, got);
}

static void test_engine_user(void **state) {
  static const char *const forbidden[] = {"FLUSHALL",
                                          "FLUSHDB",
                                          "XSETID tocsin:alerts 9-9",
                                          "CONFIG SET appendfsync no",
                                          "SHUTDOWN NOSAVE",
                                          "KEYS *",
                                          "EVAL return(1) 0",
                                          "REPLICAOF h 1",
                                          "FUNCTION FLUSH",
                                          "FUNCTION DELETE tocsin",
                                          "GET other",
                                          "ACL LIST",
                                          "DEBUG SLEEP 0",
                                          "MONITOR",
                                          NULL};
  struct redis *admin = link_up((struct redis_config){0});
  ask(loop, admin, "FUNCTION DELETE tocsin");
  set_user(admin, acl_engine, "engine");
  secrets_put(secrets, "engine", "engine-password", 15, NULL);
  struct redis *link = link_up((struct redis_config){.user = "engine", .password_slot = "engine"}); /* loads the library, too */
  ask(loop, link, "DEL tocsin:{INC-000001}:journal");
  assert_string_equal(ask(loop, link,
                          "FCALL tocsin_append 2 tocsin:{INC-000001}:journal tocsin:{INC-000001}:state " ZEROS " 1 x e " A " b"),
                      "1");
  assert_string_equal(ask(loop, link, "XLEN tocsin:{INC-000001}:journal"), "1");
  assert_string_equal(ask(loop, link, "XGROUP CREATE tocsin:alerts engine 0 MKSTREAM"), "OK");
  assert_non_null(strchr(ask(loop, link, "XADD tocsin:alerts 1-0 alert {}"), '-'));
  assert_non_null(strstr(ask(loop, link, "XREADGROUP GROUP engine n1 STREAMS tocsin:alerts >"), "1-0"));
  assert_string_equal(ask(loop, link,
                          "FCALL tocsin_route 5 {tocsin:alerts}:routed {tocsin:alerts}:seen {tocsin:alerts}:group {tocsin:alerts}:ids "
                          "{tocsin:alerts}:seen_in a 1-0 1000 INC k 1000"),
                      "[new INC-000001 1]");
  assert_string_equal(ask(loop, link,
                          "FCALL tocsin_done 6 tocsin:alerts {tocsin:alerts}:routed {tocsin:alerts}:seen {tocsin:alerts}:seen_in "
                          "{tocsin:alerts}:counts {tocsin:alerts}:dead engine 1-0 a attached 1000 1000"),
                      "1");
  assert_non_null(strchr(ask(loop, link, "XADD tocsin:alerts 2-0 alert {}"), '-'));
  assert_non_null(strstr(ask(loop, link, "XREADGROUP GROUP engine n1 STREAMS tocsin:alerts >"), "2-0"));
  assert_string_equal(ask(loop, link,
                          "FCALL tocsin_route_all 6 {tocsin:alerts}:routed {tocsin:alerts}:seen {tocsin:alerts}:group {tocsin:alerts}:ids "
                          "{tocsin:alerts}:seen_in {tocsin:alerts}:owner 1000 INC|n1 b 2-0 2 l 1000 '' 0"),
                      "[[new INC-000002 1 INC-000003 1]]");
  assert_string_equal(ask(loop, link,
                          "FCALL tocsin_done_all 5 tocsin:alerts {tocsin:alerts}:routed {tocsin:alerts}:seen {tocsin:alerts}:seen_in "
                          "{tocsin:alerts}:counts engine 9000 1000 2-0 b attached"),
                      "1");
  assert_non_null(strchr(ask(loop, link, "XADD tocsin:{EX-000001}:alerts * alert {}"), '-'));
  assert_string_equal(ask(loop, link, "FCALL tocsin_budget 1 tocsin:budget:live:x 1000 100 2 i"), "1");
  assert_string_equal(ask(loop, link, "FCALL tocsin_hold 1 tocsin:contained u {}"), "1");
  assert_string_equal(ask(loop, link, "FCALL tocsin_unhold 1 tocsin:contained u"), "1");
  assert_string_equal(ask(loop, link, "FCALL tocsin_ungroup 1 {tocsin:alerts}:group INC-000001 k"), "1");
  assert_string_equal(ask(loop, link, "FCALL tocsin_open_id 1 {tocsin:alerts}:ids INC"), "INC-000004");
  for (size_t i = 0; forbidden[i]; i++) expect_denied(link, forbidden[i]);
  redis_free(link);
  redis_free(admin);
}

/* The SIEM's user cannot greet as the engine does; its words are sent as that user inside a connection of the administrator's. */
static void test_siem_user(void **state) {
  static const char *const forbidden[] = {"XADD other * a b",
                                          "XADD tocsin:{EX-000001}:alerts * alert {}", /* nobody but the engine feeds an exercise */
                                          "XADD tocsin:{EX-000001}:journal * h x",
                                          "XRANGE tocsin:alerts - +",
                                          "XDEL tocsin:alerts 1-0",
                                          "XTRIM tocsin:alerts MAXLEN 0",
                                          "DEL tocsin:alerts",
                                          "GET v",
                                          "FCALL tocsin_version 0",
                                          "FLUSHALL",
                                          "INFO",
                                          NULL};
  struct redis *admin = link_up((struct redis_config){0}), *siem = link_up((struct redis_config){0});
  set_user(admin, acl_siem, "wazuh");
  assert_string_equal(ask(loop, siem, "AUTH wazuh wazuh-password"), "OK");
  assert_non_null(strchr(ask(loop, siem, "XADD tocsin:alerts * alert {}"), '-'));
  for (size_t i = 0; forbidden[i]; i++) expect_denied(siem, forbidden[i]);
  redis_free(siem);
  redis_free(admin);
  struct buf b;
  buf_init(&b, 4096);
  acl_siem("x on nopass ~* +@all", &b); /* no name */
  acl_engine("", &b);
  assert_int_equal(b.len, 0);
  buf_release(&b);
}

static void test_library_is_loaded_and_replaced(void **state) {
  struct redis *link = link_up((struct redis_config){0});
  assert_string_equal(ask(loop, link, "FUNCTION DELETE tocsin"), "OK");
  redis_free(link);
  link = link_up((struct redis_config){.lanes = 8});
  assert_true(atoll(ask(loop, link, "FCALL_RO tocsin_version 0")) >= 1);
  const char *old =
      "#!lua name=tocsin\nredis.register_function{function_name='tocsin_version',callback=function() return 0 end,flags={'no-writes'}}";
  struct answer a = {0};
  assert_int_equal(redis_call(link, 0, answer_cb, &a, NULL, "FUNCTION", "LOAD", "REPLACE", old, NULL), 0);
  assert_true(test_until(loop, &a.done, 5000));
  assert_string_equal(a.text, "tocsin");
  redis_free(link);
  link = link_up((struct redis_config){0});
  assert_true(atoll(ask(loop, link, "FCALL_RO tocsin_version 0")) >= 1);
  redis_free(link);
}

static void test_wrong_configs(void **state) {
  struct redis *link = NULL;
  struct err err;
  struct redis_config wrong[] = {
      {.socket = "/x", .lanes = 0},
      {.socket = "/x", .lanes = 65},
      {.lanes = 1},
      {.host = "h", .port = 0, .lanes = 1},
      {.host = "h", .port = 70000, .lanes = 1},
      {.socket = "/x", .lanes = 1, .user = "u"},
      {.host = "h", .port = 1, .lanes = 1, .tls = true, .tls_ca = "/nonexistent.pem"},
  };
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    assert_int_equal(redis_new(loop, &wrong[i], secrets, NULL, NULL, &link, &err), ERR_INVALID);
    assert_null(link);
  }
}

struct durability {
  volatile bool done;
  unsigned count;
  char first[256];
};

static void durability_cb(void *arg, const char *const *problems, const struct err *err) {
  struct durability *d = arg;
  d->done = true;
  for (d->count = 0; !err && problems[d->count]; d->count++) continue;
  if (d->count) snprintf(d->first, sizeof d->first, "%s", problems[0]);
}

static void test_durability(void **state) {
  struct redis *link = link_up((struct redis_config){0});
  struct durability d = {0};
  ask(loop, link, "CONFIG SET aof-load-truncated no");
  assert_int_equal(redis_check_durability(link, durability_cb, &d, NULL), 0);
  assert_true(test_until(loop, &d.done, 5000));
  assert_int_equal(d.count, 0);
  ask(loop, link, "CONFIG SET appendfsync everysec");
  ask(loop, link, "CONFIG SET maxmemory-policy allkeys-lru");
  d.done = false;
  assert_int_equal(redis_check_durability(link, durability_cb, &d, NULL), 0);
  assert_true(test_until(loop, &d.done, 5000));
  assert_int_equal(d.count, 2);
  assert_non_null(strstr(d.first, "appendfsync"));
  ask(loop, link, "CONFIG SET appendfsync always");
  ask(loop, link, "CONFIG SET maxmemory-policy noeviction");
  redis_free(link);
}

int main(void) {
  server_start(&server, "enable-debug-command yes");
  secrets = secrets_new();
  loop = loop_new();
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_password),      cmocka_unit_test(test_engine_user),
      cmocka_unit_test(test_siem_user),     cmocka_unit_test(test_library_is_loaded_and_replaced),
      cmocka_unit_test(test_wrong_configs), cmocka_unit_test(test_durability),
  };
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  loop_free(loop);
  secrets_free(secrets);
  server_stop(&server);
  return failed;
}
