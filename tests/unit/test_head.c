/* Heads of journal entries: what is one, and what only looks like one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "evidence/head.h"
#include "evidence/leaf.h"
#include "journal/entry.h"

#define ZEROS63 "000000000000000000000000000000000000000000000000000000000000000"
#define ZEROS "0" ZEROS63

/* Byte by byte: these are hashed, and stay for good. */
static void bytes_are(const struct entry *e, const char *digest) {
  char run[32] = "", step[32] = "", wanted[1000];
  if (e->run) snprintf(run, sizeof run, ",\"run\":%u", e->run);
  if (e->step[0]) snprintf(step, sizeof step, ",\"step\":\"%s\"", e->step);
  snprintf(wanted, sizeof wanted,
           "{\"actor\":\"%s\",\"body\":\"%.64s\",\"incident\":\"INC-000042\",\"node\":\"n\\\"\xc3\xa9\",\"prev\":\"%s\"%s,\"seq\":%d,"
           "\"size\":%zu%s,\"time\":\"2025-11-23T18:42:01.123456Z\",\"type\":\"%s\",\"v\":1}",
           e->actor[1] == 'l' ? "playbook:we\\\"ird\\\\na,me}" : "person:7f3a", digest, leaf_none(), run, (int)e->seq, e->envelope_len - 32,
           step, kind_name(e->kind));
  assert_string_equal(e->head, wanted);
  assert_int_equal(e->head_len, strlen(wanted));
}

static void real_heads(void **state) {
  for (int i = 0; i < KIND_COUNT; i++) {
    struct entry *e = NULL;
    struct head h;
    json_t *body = json_pack("{s:i}", "n", i);
    struct entry_spec spec = {.kind = (enum kind)i,
                              .actor = i % 2 ? "playbook:we\"ird\\na,me}" : "person:7f3a",
                              .run = (unsigned)i,
                              .step = i % 3 ? "4.1.2" : NULL,
                              .body = body};
    assert_int_equal(entry_make(&spec, "INC-000042", "n\"\xc3\xa9", (uint64_t)i + 1, leaf_none(), 1763923321123456, NULL, &e, NULL), 0);
    if (!head_scan(e->head, e->head_len, &h)) fail_msg("refused: %s", e->head);
    assert_string_equal(h.incident, "INC-000042");
    assert_string_equal(h.prev, leaf_none());
    assert_true(h.seq == (uint64_t)i + 1);
    bytes_are(e, h.body);
    /* Cut anywhere or with anything behind it, it is none. */
    for (size_t n = 0; n < e->head_len; n++) assert_false(head_scan(e->head, n, &h));
    assert_false(head_scan(e->head, e->head_len + 1, &h));
    entry_free(e);
    json_decref(body);
  }
}

static void others(void **state) {
  static const char *const bad[] = {"",
                                    "{}",
                                    "[]",
                                    "one",
                                    "{\"body\":\"" ZEROS "\",\"incident\":\"INC-1\",\"prev\":\"" ZEROS "\",\"seq\":0}",
                                    "{\"body\":\"" ZEROS "\",\"incident\":\"INC-1\",\"prev\":\"" ZEROS "\",\"seq\":01}",
                                    "{\"body\":\"" ZEROS "\",\"incident\":\"INC-1\",\"prev\":\"" ZEROS "\",\"seq\":\"1\"}",
                                    "{\"body\":\"" ZEROS "\",\"incident\":\"INC-1\",\"prev\":\"" ZEROS "\",\"seq\":-1}",
                                    "{\"body\":\"" ZEROS "\",\"incident\":\"INC-1\",\"prev\":\"" ZEROS "\",\"seq\":1.5}",
                                    "{\"body\":\"" ZEROS "\",\"incident\":\"INC-1\",\"prev\":\"" ZEROS "\",\"seq\":99999999999999999999}",
                                    "{\"body\":\"" ZEROS "\",\"incident\":\"INC-1\",\"incident\":\"INC-2\",\"prev\":\"" ZEROS
                                    "\",\"seq\":1}",
                                    "{\"incident\":\"INC-1\",\"body\":\"" ZEROS "\",\"prev\":\"" ZEROS "\",\"seq\":1}",
                                    "{\"body\":\"" ZEROS "\", \"incident\":\"INC-1\",\"prev\":\"" ZEROS "\",\"seq\":1}",
                                    "{\"body\":\"" ZEROS "\",\"incident\":\"\",\"prev\":\"" ZEROS "\",\"seq\":1}",
                                    "{\"body\":\"" ZEROS "\",\"incident\":\"a\\\\b\",\"prev\":\"" ZEROS "\",\"seq\":1}",
                                    "{\"body\":\"" ZEROS "\",\"incident\":\"INC-1\",\"prev\":\"00\",\"seq\":1}",
                                    "{\"body\":\"" ZEROS "\",\"incident\":\"INC-1\",\"prev\":\"A" ZEROS63 "\",\"seq\":1}",
                                    "{\"body\":\"g" ZEROS63 "\",\"incident\":\"INC-1\",\"prev\":\"" ZEROS "\",\"seq\":1}",
                                    "{\"body\":\"" ZEROS "\",\"in_ident\":\"x\",\"incident\":\"INC-1\",\"prev\":\"" ZEROS "\",\"seq\":1}",
                                    "{\"body\":\"" ZEROS "\",\"incident\":{},\"prev\":\"" ZEROS "\",\"seq\":1}",
                                    "{\"body\":\"" ZEROS "\",\"incident\":\"INC-1\",\"prev\":\"" ZEROS "\",\"seq\":1}\n",
                                    "{\"body\":\"" ZEROS "\",\"incident\":\"INC\n1\",\"prev\":\"" ZEROS "\",\"seq\":1}"};
  struct head h;
  static const char good[] = "{\"body\":\"" ZEROS "\",\"incident\":\"INC-1\",\"prev\":\"" ZEROS "\",\"seq\":1}";
  assert_true(head_scan(good, strlen(good), &h));
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    if (head_scan(bad[i], strlen(bad[i]), &h)) fail_msg("taken: %s", bad[i]);
}

/* Every byte in every place of a string of every length: strings are scanned several bytes at a time, digests as a whole. */
static void any_byte(void **state) {
  for (size_t len = 1; len <= 70; len++) {
    for (size_t at = 0; at < len; at++) {
      for (int byte = 0; byte < 256; byte++) {
        char text[400], actor[80];
        struct head h;
        memset(actor, 'a', len);
        actor[len] = 0;
        int n = snprintf(text, sizeof text,
                         "{\"actor\":\"%s\",\"body\":\"" ZEROS "\",\"incident\":\"INC-1\",\"prev\":\"" ZEROS "\",\"seq\":1}", actor);
        text[10 + at] = (char)byte;
        bool good = byte >= 0x20 && byte != '"' && !(byte == '\\' && at == len - 1);
        if (head_scan(text, (size_t)n, &h) != good) fail_msg("byte %d at %zu of %zu: %s", byte, at, len, good ? "refused" : "taken");
        text[10 + at] = '\\'; /* what it escapes may be no control character either */
        if (at + 1 == len) continue;
        text[11 + at] = (char)byte;
        good = byte >= 0x20;
        if (head_scan(text, (size_t)n, &h) != good)
          fail_msg("escaped byte %d at %zu of %zu: %s", byte, at, len, good ? "refused" : "taken");
      }
    }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(real_heads), cmocka_unit_test(others), cmocka_unit_test(any_byte)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
