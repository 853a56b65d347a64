/* digest, clock, secret: what every journal entry is made with. HMAC by the vectors of RFC 4231. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/digest.h"
#include "base/json.h"
#include "base/secret.h"

static void hmac_is(const void *key, size_t key_len, const char *text, const char *wanted) {
  uint8_t mac[DIGEST_BYTES];
  char hex[DIGEST_HEX];
  struct digest_key ready;
  digest_hmac_sha256(key, key_len, text, strlen(text), mac);
  hex_encode(mac, sizeof mac, hex);
  assert_string_equal(hex, wanted);
  digest_key_init(&ready, key, key_len);
  for (int i = 0; i < 2; i++) { /* it serves again */
    digest_key_hmac(&ready, text, strlen(text), mac);
    hex_encode(mac, sizeof mac, hex);
    assert_string_equal(hex, wanted);
  }
}

static void test_hmac(void **state) {
  uint8_t key[131];
  memset(key, 0x0b, 20);
  hmac_is(key, 20, "Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
  hmac_is("Jefe", 4, "what do ya want for nothing?", "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
  memset(key, 0xaa, sizeof key);
  hmac_is(key, sizeof key, "Test Using Larger Than Block-Size Key - Hash Key First",
          "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
  hmac_is("", 0, "", "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
}

/* As all of its bytes in a row, also when the result takes the place of one of the two. */
static void test_pair(void **state) {
  for (unsigned i = 0; i < 1000; i++) {
    uint8_t bytes[1 + 2 * DIGEST_BYTES], wanted[DIGEST_BYTES], out[DIGEST_BYTES], one[DIGEST_BYTES];
    random_bytes(bytes, 60);
    random_bytes(bytes + 60, sizeof bytes - 60);
    digest_sha256(bytes, sizeof bytes, wanted);
    digest_sha256_pair(bytes[0], bytes + 1, bytes + 1 + DIGEST_BYTES, out);
    assert_memory_equal(out, wanted, DIGEST_BYTES);
    memcpy(one, bytes + 1, DIGEST_BYTES);
    digest_sha256_pair(bytes[0], one, bytes + 1 + DIGEST_BYTES, one);
    assert_memory_equal(one, wanted, DIGEST_BYTES);
    memcpy(one, bytes + 1 + DIGEST_BYTES, DIGEST_BYTES);
    digest_sha256_pair(bytes[0], bytes + 1, one, one);
    assert_memory_equal(one, wanted, DIGEST_BYTES);
  }
}

/* Each byte at each place, and back. */
static void test_hex(void **state) {
  uint8_t bytes[50], back[50];
  char text[101], wanted[101];
  for (size_t len = 0; len <= sizeof bytes; len++)
    for (unsigned first = 0; first < 256; first++) {
      for (size_t i = 0; i < len; i++) bytes[i] = (uint8_t)(first + 41 * i);
      for (size_t i = 0; i < len; i++) snprintf(wanted + 2 * i, 3, "%02x", bytes[i]);
      wanted[2 * len] = 0;
      hex_encode(bytes, len, text);
      assert_string_equal(text, wanted);
      assert_true(hex_decode(text, back, len));
      assert_memory_equal(back, bytes, len);
    }
}

/* Any one byte in any one place that is no digit, too few of them and too many. */
static void test_hex_refuses(void **state) {
  uint8_t back[11];
  const char digits[] = "0123456789abcdefABCDEF";
  for (size_t at = 0; at < 22; at++)
    for (int c = 0; c < 256; c++) {
      char text[] = "00112233445566778899aa";
      text[at] = (char)c;
      assert_int_equal(hex_decode(text, back, 11), c && strchr(digits, c));
    }
  assert_false(hex_decode("001122", back, 4));
  assert_false(hex_decode("0011223344", back, 4));
  assert_true(hex_decode("00aAbBcCdDeEfF", back, 7));
  assert_memory_equal(back, "\x00\xaa\xbb\xcc\xdd\xee\xff", 7);
}

static void sha256_is(const char *text, size_t times, const char *wanted) {
  struct digest_part parts[3] = {{text, strlen(text)}, {NULL, 0}, {text, strlen(text)}};
  struct digest_stream *stream = digest_stream_new();
  uint8_t digest[DIGEST_BYTES];
  char hex[DIGEST_HEX];
  for (size_t i = 0; i < times; i++) digest_stream_add(stream, text, strlen(text));
  digest_stream_end(stream, hex);
  assert_string_equal(hex, wanted);
  if (times > 2) return;
  digest_sha256_parts(parts, times == 2 ? 3 : 2, digest);
  hex_encode(digest, sizeof digest, hex);
  assert_string_equal(hex, wanted);
}

/* The examples of FIPS 180-2. */
static void test_sha256(void **state) {
  sha256_is("", 1, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  sha256_is("abc", 1, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  sha256_is("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 1,
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  sha256_is("abcabc", 1, "bbb59da3af939f7af5f360f2ceb80a496e3bae1cd87dde426db0ae40677e1c2c");
  sha256_is("abc", 2, "bbb59da3af939f7af5f360f2ceb80a496e3bae1cd87dde426db0ae40677e1c2c");
  sha256_is("aaaaaaaaaa", 100000, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

static void test_random_is_never_given_twice(void **state) {
  static uint8_t seen[3000][16];
  for (size_t i = 0; i < 3000; i++) {
    random_bytes(seen[i], sizeof seen[i]);
    for (size_t k = i > 200 ? i - 200 : 0; k < i; k++) assert_memory_not_equal(seen[i], seen[k], sizeof seen[i]);
  }
  uint8_t large[300], none[300] = {0};
  random_bytes(large, sizeof large);
  assert_memory_not_equal(large, none, sizeof large);
}

/* Nor to the child of a fork, which has all that the parent's memory holds. */
static void test_random_is_not_shared_with_a_child(void **state) {
  uint8_t ours[16], theirs[16];
  int pipes[2], status;
  random_bytes(ours, sizeof ours);
  assert_int_equal(pipe(pipes), 0);
  pid_t child = fork();
  random_bytes(ours, sizeof ours);
  if (child == 0) _exit(write(pipes[1], ours, sizeof ours) != sizeof ours);
  assert_int_equal(read(pipes[0], theirs, sizeof theirs), sizeof theirs);
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_int_equal(status, 0);
  assert_memory_not_equal(ours, theirs, sizeof ours);
  close(pipes[0]);
  close(pipes[1]);
}

static void time_is(int64_t us, const char *wanted) {
  char text[TIME_TEXT];
  int64_t back;
  time_format(us, text);
  assert_string_equal(text, wanted);
  assert_true(time_parse(text, &back));
  assert_int_equal(back, us);
}

static void test_time(void **state) {
  time_is(0, "1970-01-01T00:00:00.000000Z");
  time_is(1795458121123456, "2026-11-23T18:22:01.123456Z");
  time_is(-1, "1969-12-31T23:59:59.999999Z");
  time_is(INT64_C(-55000000000) * 1000000, "0227-02-13T22:13:20.000000Z");
  time_is(INT64_C(253402300799) * 1000000 + 999999, "9999-12-31T23:59:59.999999Z");
}

/* Every day of 800 years, and of the years in which time_format is exact a second here and there: what gmtime_r says. */
static void test_time_of_each_day(void **state) {
  for (int64_t second = -13000000000, step = 86400 - 1; second < INT64_C(253402300800); second += step) {
    time_t t = (time_t)second;
    struct tm tm;
    char text[TIME_TEXT], wanted[80];
    gmtime_r(&t, &tm);
    snprintf(wanted, sizeof wanted, "%04d-%02d-%02dT%02d:%02d:%02d.000007Z", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour,
             tm.tm_min, tm.tm_sec);
    time_format(second * 1000000 + 7, text);
    assert_string_equal(text, wanted);
    if (second > INT64_C(12000000000)) step = 1000003;
  }
  for (int64_t second = -62135596800; second < 0; second += 700001) {
    char text[TIME_TEXT];
    int64_t back;
    time_format(second * 1000000, text);
    assert_true(time_parse(text, &back));
    assert_int_equal(back, second * 1000000);
  }
}

static void redacts(const struct secrets *s, const char *text, const char *wanted) {
  struct buf out;
  buf_init(&out, 1000);
  secrets_redact(s, text, strlen(text), &out);
  assert_string_equal(out.data, wanted);
  assert_int_equal(secrets_shown(s, text, strlen(text)), strcmp(text, wanted) != 0);
  buf_release(&out);
}

static void test_redaction(void **state) {
  struct secrets *s = secrets_new();
  struct err err;
  redacts(s, "nothing known", "nothing known");
  assert_int_equal(secrets_put(s, "one", "hunter2hunter2", 14, &err), 0);
  assert_int_equal(secrets_put(s, "long", "hunter2hunter2-and-more", 23, &err), 0);
  redacts(s, "", "");
  redacts(s, "a hunter2hunter2 b", "a [secret:one] b");
  redacts(s, "hunter2hunter2-and-more", "[secret:long]");
  redacts(s, "hunter2hunter2hunter2hunter2", "[secret:one][secret:one]");
  redacts(s, "hunter2hunter", "hunter2hunter");
  assert_int_equal(secrets_put(s, "quoted", "pa\"ss\\word", 10, &err), 0);
  redacts(s, "pa\"ss\\word", "[secret:quoted]");
  redacts(s, "{\"k\":\"pa\\\"ss\\\\word\"}", "{\"k\":\"[secret:quoted]\"}");                         /* as JSON writes it */
  redacts(s, "{\\\"k\\\":\\\"pa\\\\\\\"ss\\\\\\\\word\\\"}", "{\\\"k\\\":\\\"[secret:quoted]\\\"}"); /* and JSON in JSON */
  json_t *value = json_pack("{s:s, s:[s, i], s:s}", "k", "plain", "list", "x hunter2hunter2", 5, "hunter2hunter2", "v"),
         *clean = secrets_redact_json(s, value);
  char *text = json_text(clean);
  assert_string_equal(text, "{\"[secret:one]\":\"v\",\"k\":\"plain\",\"list\":[\"x [secret:one]\",5]}");
  free(text);
  json_decref(clean);
  json_decref(value);
  secrets_free(s);
}

static int64_t cpu_exact(void) {
  struct timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* Never less than was used, never much more, and sleeping is free. */
static void test_cpu_time(void **state) {
  struct timespec nap = {.tv_nsec = 20000000};
  for (int64_t end = cpu_exact() + 20000; cpu_exact() < end;) {
    int64_t before = cpu_exact(), near = clock_cpu_near(), after = cpu_exact();
    assert_true(near + 2 >= before); /* two clocks, each cut to microseconds */
    assert_true(near <= after + CPU_TIME_NEAR);
  }
  int64_t slept = clock_cpu_near();
  nanosleep(&nap, NULL);
  assert_true(clock_cpu_near() - slept < 10000);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_hmac),
                                     cmocka_unit_test(test_pair),
                                     cmocka_unit_test(test_sha256),
                                     cmocka_unit_test(test_hex),
                                     cmocka_unit_test(test_hex_refuses),
                                     cmocka_unit_test(test_random_is_never_given_twice),
                                     cmocka_unit_test(test_random_is_not_shared_with_a_child),
                                     cmocka_unit_test(test_time),
                                     cmocka_unit_test(test_time_of_each_day),
                                     cmocka_unit_test(test_redaction),
                                     cmocka_unit_test(test_cpu_time)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
