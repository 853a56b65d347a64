/* What a text from a product's alert is taken for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "script/ocsf_text.h"

static struct span span(const char *text) { return (struct span){text, strlen(text)}; }

static void test_says(void **state) {
  static const char *const nothing[] = {"", "-", " ", " \t\r\n\v\f", "null", "(null)", "<NA>", "N/A", "n/a", " - "};
  static const struct {
    const char *text, *says;
  } something[] = {{" x ", "x"}, {"a b", "a b"}, {"Null", "Null"}, {"--", "--"}, {"\x01", "\x01"}, {"nothing", "nothing"}};
  for (size_t i = 0; i < sizeof nothing / sizeof *nothing; i++) {
    struct span s = span(nothing[i]);
    assert_false(text_says(&s));
  }
  for (size_t i = 0; i < sizeof something / sizeof *something; i++) {
    struct span s = span(something[i].text);
    assert_true(text_says(&s));
    assert_int_equal(s.len, strlen(something[i].says));
    assert_memory_equal(s.at, something[i].says, s.len);
  }
}

static void test_addresses(void **state) {
  static const char *const are[] = {
      "1.2.3.4",         "255.255.255.255", "001.2.3.4",           "::",           "::1",     "1::", "fe80::1",
      "1:2:3:4:5:6:7:8", "::ffff:1.2.3.4",  "1:2:3:4:5:6:1.2.3.4", "AbCd::ef01:2", "1:2::7:8"};
  static const char *const are_not[] = {
      "",        "1.2.3",   "1.2.3.4.5",   "256.1.1.1", "1.2.3.1234",        "1.2.3.4 ",       ":",
      ":::",     "1::2::3", "12345::",     "1:2:3",     "1:2:3:4:5:6:7:8:9", ":1:2:3:4:5:6:7", "1:",
      "::1.2.3", "g::1",    "::1.2.3.400", ":1.2.3.4",  "1.2.3.4::",         "host",           "1::2:3:4:5:6:7:8:9"};
  for (size_t i = 0; i < sizeof are / sizeof *are; i++)
    if (!text_is_ip(span(are[i]))) fail_msg("%s", are[i]);
  for (size_t i = 0; i < sizeof are_not / sizeof *are_not; i++)
    if (text_is_ip(span(are_not[i]))) fail_msg("%s", are_not[i]);
}

static void test_host_port(void **state) {
  static const struct {
    const char *text, *host, *port;
  } rows[] = {{"host:80", "host", "80"}, {"[::1]:443", "::1", "443"}, {"1.2.3.4:5", "1.2.3.4", "5"}, {"::1:80", "::1", "80"},
              {"[a:1", "a", "1"},        {"a]:1", "a", "1"},          {"host", NULL, NULL},          {"host:", NULL, NULL},
              {":80", NULL, NULL},       {"[]:80", NULL, NULL},       {"host:8o", NULL, NULL},       {"a[b:80", NULL, NULL}};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    struct span host, port;
    if (text_host_port(span(rows[i].text), &host, &port) != (rows[i].host != NULL)) fail_msg("%s", rows[i].text);
    if (!rows[i].host) continue;
    assert_int_equal(host.len, strlen(rows[i].host));
    assert_memory_equal(host.at, rows[i].host, host.len);
    assert_int_equal(port.len, strlen(rows[i].port));
    assert_memory_equal(port.at, rows[i].port, port.len);
  }
}

static void test_others(void **state) {
  assert_true(text_is_email(span("a.b@c.d")) && text_is_email(span("a@b..c")));
  assert_false(text_is_email(span("a@b")) || text_is_email(span("a@.b")) || text_is_email(span("a@b.")) || text_is_email(span("@b.c")) ||
               text_is_email(span("a@b@c.d")) || text_is_email(span("a b@c.d")) || text_is_email(span("")));
  assert_true(text_is_hash(span("d41d8cd98f00b204e9800998ecf8427e")) && text_is_hash(span("DA39A3EE5E6B4B0D3255BFEF95601890AFD80709")));
  assert_false(text_is_hash(span("00000000000000000000000000000000")) || text_is_hash(span("d41d8cd98f00b204e9800998ecf8427g")) ||
               text_is_hash(span("abc")));
  assert_int_equal(text_severity(span("CRITICAL")), 5);
  assert_int_equal(text_severity(span("very high")), 5);
  assert_int_equal(text_severity(span("informational")), 1);
  assert_int_equal(text_severity(span("unknown")), 0);
  assert_int_equal(text_severity(span("")), -1);
  assert_int_equal(text_severity(span("a word that is none of them")), -1);
}

static void test_times(void **state) {
  static const struct {
    const char *text;
    int64_t ms;
  } rows[] = {{"1970-01-01T00:00:00Z", 0},
              {"2024-02-29 23:59:59", 1709251199000},
              {"2022-03-22t14:21:53.225", 1647958913225},
              {"2022-03-22T14:21:53,2251+0100", 1647955313225},
              {"2022-03-22T14:21:53.2-01:30", 1647964313200},
              {"2022-03-22T14:21:53 UTC", 1647958913000},
              {"2022-03-22T14:21:53+01", 1647955313000},
              {"Nov 23 2026 10:00:00", 1795428000000},
              {"nov  3 2026 10:00:00.5 +02:00", 1793692800500},
              {"2022-03-22", -1},
              {"2022-03-22T14:21", -1},
              {"2022-13-22T14:21:53Z", -1},
              {"1969-12-31T23:59:59Z", -1},
              {"2022-03-22T14:21:53.Z", -1},
              {"2022-03-22T14:21:53+1", -1},
              {"2022-03-22T14:21:53 CET", -1},
              {"Nov 123 2026 10:00:00", -1},
              {"Nox 23 2026 10:00:00", -1},
              {"", -1}};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    int64_t ms = -1;
    if (text_time(span(rows[i].text), &ms) != (rows[i].ms >= 0) || ms != rows[i].ms) fail_msg("%s: %lld", rows[i].text, (long long)ms);
  }
}

static void test_epochs(void **state) {
  static const int64_t rows[][2] = {{1795428000, 1795428000000},
                                    {1795428000123, 1795428000123},
                                    {1795428000123456, 1795428000123},
                                    {1795428000123456789, 1795428000123},
                                    {99999999, -1},
                                    {-1795428000, -1}};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    int64_t ms = -1, again = -1;
    assert_int_equal(epoch_integer_ms(rows[i][0], &ms), rows[i][1] >= 0);
    assert_int_equal(epoch_number_ms((double)rows[i][0], &again), rows[i][1] >= 0);
    assert_int_equal(ms, rows[i][1]);
    assert_true(again >= rows[i][1] - 1 && again <= rows[i][1] + 1);
  }
  int64_t ms = -1;
  assert_true(epoch_number_ms(1795428000.5, &ms) && ms == 1795428000500);
  assert_false(epoch_number_ms(0x1p63, &ms) || epoch_number_ms((double)NAN, &ms));
  assert_true(text_is_number(span("12")) && text_is_number(span("12.")) && text_is_number(span("1.5")));
  assert_false(text_is_number(span("")) || text_is_number(span(".5")) || text_is_number(span("1e5")) || text_is_number(span("-1")));
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_says),   cmocka_unit_test(test_addresses), cmocka_unit_test(test_host_port),
                                     cmocka_unit_test(test_others), cmocka_unit_test(test_times),     cmocka_unit_test(test_epochs)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
