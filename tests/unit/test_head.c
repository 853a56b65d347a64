/* Heads of journal entries: what is one, and what only looks like one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "evidence/head.h"
#include "evidence/leaf.h"
#include "journal/entry.h"

#define ZEROS "0000000000000000000000000000000000000000000000000000000000000000"

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
    assert_int_equal(entry_make(&spec, "INC-000042", "n1", (uint64_t)i + 1, leaf_none(), 1763923321123456, NULL, &e, NULL), 0);
    if (!head_scan(e->head, e->head_len, &h)) fail_msg("refused: %s", e->head);
    assert_string_equal(h.incident, "INC-000042");
    assert_string_equal(h.prev, leaf_none());
    assert_true(h.seq == (uint64_t)i + 1);
    assert_non_null(strstr(e->head, h.body));
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
                                    "{\"body\":\"" ZEROS "\",\"incident\":{},\"prev\":\"" ZEROS "\",\"seq\":1}",
                                    "{\"body\":\"" ZEROS "\",\"incident\":\"INC-1\",\"prev\":\"" ZEROS "\",\"seq\":1}\n",
                                    "{\"body\":\"" ZEROS "\",\"incident\":\"INC\n1\",\"prev\":\"" ZEROS "\",\"seq\":1}"};
  struct head h;
  static const char good[] = "{\"body\":\"" ZEROS "\",\"incident\":\"INC-1\",\"prev\":\"" ZEROS "\",\"seq\":1}";
  assert_true(head_scan(good, strlen(good), &h));
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    if (head_scan(bad[i], strlen(bad[i]), &h)) fail_msg("taken: %s", bad[i]);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(real_heads), cmocka_unit_test(others)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
