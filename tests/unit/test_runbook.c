/* Runbooks: which lines of Markdown are steps. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/json.h"
#include "people/runbook.h"

static char folder[64], path[96];

static int setup(void **state) {
  snprintf(folder, sizeof folder, "/tmp/tocsin-runbook-XXXXXX");
  if (!mkdtemp(folder)) return -1;
  snprintf(path, sizeof path, "%s/r.md", folder);
  return 0;
}
static int teardown(void **state) { return unlink(path), rmdir(folder); }

static void put(const char *text, size_t len) {
  FILE *f = fopen(path, "wb");
  assert_non_null(f);
  assert_int_equal(fwrite(text, 1, len, f), len);
  fclose(f);
}

static void test_steps(void **state) {
  static const struct {
    const char *text, *steps; /* steps joined by | */
  } cases[] = {
      {"", ""},
      {"# Title\n\nProse, 1. not a step.\n", ""},
      {"- [ ] one\n- [x] two\n* [X] three\n+ [ ] four", "one|two|three|four"},
      {"1. one\n2) two\n10. [ ] ten\n", "one|two|ten"},
      {"- plain\n- [ ] step\n- [link](x)\n-[ ] tight\n", "step"},
      {"- [ ] wraps\n  onto a second\n  and third line\n\nprose\n", "wraps onto a second and third line"},
      {"- [ ] outer\n  - [ ] inner\n    more\n  - note\n", "outer|inner more"},
      {"```sh\n1. code\n```\n- [ ] step\n~~~~\n- [ ] no\n```\n~~~\n~~~~\n2. two\n", "step|two"},
      {"- [ ] before\n```\n- [ ] never closed\n", "before"},
      {"    1. indented code\n", ""},
      {"\t- [ ] indented code\n", ""},
      {"- [ ] crlf\r\n- [ ] too\r\n", "crlf|too"},
      {"1.5 is a number\n2026-11-23 a date\n1.\tone\n", "one"},
      {"- [ ] one\n## Next\nprose\n1. two\n", "one|two"},
      {"- [ ] ring **Ärzte** `now`\n", "ring **Ärzte** `now`"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    json_t *steps = NULL, *step;
    struct err err = {0};
    char joined[400] = "";
    size_t n, len = 0;
    put(cases[i].text, strlen(cases[i].text));
    if (runbook_load(folder, "r", &steps, &err)) fail_msg("%s: %s", cases[i].text, err.text);
    json_array_foreach(steps, n, step) {
      assert_int_equal(json_int_or(step, "n", 0), (int64_t)n + 1);
      len += (size_t)snprintf(joined + len, sizeof joined - len, "%s%s", n ? "|" : "", json_str(step, "text"));
    }
    assert_string_equal(joined, cases[i].steps);
    json_decref(steps);
  }
}

static void refused(const char *name, int code, const char *says) {
  json_t *steps = NULL;
  struct err err = {0};
  assert_int_equal(runbook_load(folder, name, &steps, &err), code);
  assert_null(steps);
  if (!strstr(err.text, says)) fail_msg("got \"%s\", expected \"…%s…\"", err.text, says);
}

static void test_refused(void **state) {
  refused("missing", ERR_NOT_FOUND, "missing.md");
  refused("../etc/passwd", ERR_INVALID, "letters, digits");
  refused("", ERR_INVALID, "letters, digits");
  refused("a.b", ERR_INVALID, "letters, digits");
  put("- [ ] ok\n- [ ]\n", 15);
  refused("r", ERR_INVALID, "r.md: line 2: a step without text");
  put("- [ ] \xff\n", 8);
  refused("r", ERR_INVALID, "not UTF-8");
  char *big = malloc(3 << 20);
  memset(big, 'x', 3 << 20);
  memcpy(big, "1. ", 3);
  put(big, 3000);
  refused("r", ERR_LIMIT, "step 1 is longer");
  put(big, 3 << 20);
  refused("r", ERR_LIMIT, "larger than");
  for (int i = 0; i < 501; i++) memcpy(big + i * 5, "1. x\n", 5);
  put(big, 501 * 5);
  refused("r", ERR_LIMIT, "more than 500");
  free(big);
  unlink(path);
  assert_int_equal(mkfifo(path, 0600), 0);
  refused("r", ERR_INVALID, "not a regular file");
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(test_steps, setup, teardown),
                                     cmocka_unit_test_setup_teardown(test_refused, setup, teardown)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
