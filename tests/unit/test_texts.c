/* Texts of stored bodies: the same as a walk over the parsed tree gives, and no harm from bytes that are no JSON. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "evidence/texts.h"

enum { MOST = 200 };

static void tree_add(const json_t *value, struct buf *out) {
  const char *key;
  json_t *member;
  size_t i;
  if (json_is_string(value)) {
    buf_add(out, json_string_value(value), json_string_length(value));
    buf_addc(out, ' ');
  }
  json_array_foreach((json_t *)(uintptr_t)value, i, member) tree_add(member, out);
  json_object_foreach((json_t *)(uintptr_t)value, key, member) if (strcmp(key, "raw") != 0) tree_add(member, out);
}

static void same_as_tree(void **state) {
  static const char *const documents[] = {
      "{}",
      "[]",
      "\"one\"",
      "{\"a\":\"b\",\"c\":[\"d\",1,true,null,{\"e\":\"f\"}],\"g\":-1.5e3}",
      "{\"raw\":{\"x\":[\"hidden\",{\"raw\":\"hidden\"}],\"y\":\"a}b]c\"},\"z\":\"seen\"}",
      "{\"raw\":\"hidden, \\\"too\\\"\",\"z\":\"seen\",\"raw2\":\"seen\"}",
      "{\"list\":[\"raw\",\"seen\"],\"raw\":17,\"z\":{\"raw\":[],\"y\":\"seen\"}}",
      "{\"a\":\"quote \\\" back \\\\ slash \\/ \\b\\f\\n\\r\\t\",\"\\\"k\\\"\":\"\\\\\"}",
      "{\"a\":\"\\u0041\\u00e9\\u20AC\\ud83d\\ude00 \xc3\xa9\"}",
      "{\"big\":123456789012345678901234567890,\"small\":42,\"z\":\"seen\"}",
      " { \"a\" : \"b\" , \"raw\" : [ \"x\" ] , \"c\" : \"d\" } ",
  };
  for (size_t i = 0; i < sizeof documents / sizeof *documents; i++) {
    struct buf tree, found;
    json_t *value = NULL;
    buf_init(&tree, 4096);
    buf_init(&found, 4096);
    assert_int_equal(json_parse(documents[i], strlen(documents[i]), &value, NULL), 0);
    tree_add(value, &tree);
    texts_add(documents[i], strlen(documents[i]), 4096, &found);
    assert_string_equal(found.data, tree.data);
    json_decref(value);
    buf_release(&tree);
    buf_release(&found);
  }
}

static void too_long(void **state) {
  struct buf out;
  char text[MOST + 100];
  snprintf(text, sizeof text, "[\"short\",\"%0*d\",\"behind\"]", MOST, 7);
  buf_init(&out, MOST);
  texts_add(text, strlen(text), MOST, &out);
  assert_string_equal(out.data, "short behind ");
  buf_release(&out);
}

static void member(void **state) {
  static const char head[] = "{\"actor\":\"playbook:\\\"type\\\":x\",\"seq\":7,\"time\":\"type\",\"type\":\"run.started\"}";
  struct buf out;
  buf_init(&out, MOST);
  texts_add_member(head, strlen(head), "actor", MOST, &out);
  texts_add_member(head, strlen(head), "type", MOST, &out);
  texts_add_member(head, strlen(head), "seq", MOST, &out);
  texts_add_member(head, strlen(head), "absent", MOST, &out);
  assert_string_equal(out.data, "playbook:\"type\":x run.started ");
  buf_release(&out);
}

/* Cut and changed in every place, each in memory of its very length, for the sanitizer to watch. */
static void odd_bytes(void **state) {
  static const char sample[] = "{\"raw\":[{\"a\":\"b\\\\\"}],\"c\":\"\\ud83d\\ude00\\u12\",\"d\":-1e5,\"raw\":";
  for (size_t n = 0; n < sizeof sample; n++) {
    for (size_t at = 0; at < n; at++) {
      static const char changes[] = "\"\\{}[],:u0";
      for (size_t c = 0; c < sizeof changes; c++) {
        struct buf out;
        char *bytes = malloc(n);
        assert_non_null(bytes);
        memcpy(bytes, sample, n);
        bytes[at] = changes[c];
        buf_init(&out, MOST);
        texts_add(bytes, n, MOST, &out);
        texts_add_member(bytes, n, "c", MOST, &out);
        assert_true(buf_ok(&out));
        buf_release(&out);
        free(bytes);
      }
    }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(same_as_tree), cmocka_unit_test(too_long), cmocka_unit_test(member),
                                     cmocka_unit_test(odd_bytes)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
