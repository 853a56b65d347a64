/* Ids and places are written as printf would, cut where they do not fit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/id.h"

static void same(const char *incident, unsigned run, const char *step) {
  char got[ID_PATH], wanted[ID_PATH];
  memset(got, '~', sizeof got);
  id_path(got, incident, run, step);
  if (step && *step) snprintf(wanted, sizeof wanted, "%s/%u/%s", incident, run, step);
  else if (run) snprintf(wanted, sizeof wanted, "%s/%u", incident, run);
  else snprintf(wanted, sizeof wanted, "%s", incident);
  assert_string_equal(got, wanted);
  if (!step) return;
  id_place(got, run, step);
  snprintf(wanted, sizeof wanted, "%u/%s", run, step);
  assert_string_equal(got, wanted);
}

static void test_as_printf(void **state) {
  char text[ID_PATH + 4];
  same("INC-000042", 0, NULL);
  same("INC-000042", 0, "");
  same("INC-000042", 0, "7");
  same("INC-000042", 1, "3.2");
  same("EX-000001", 4294967295u, NULL);
  for (size_t n = ID_PATH - 20; n + 1 < sizeof text; n++) { /* about the end */
    memset(text, 'x', n);
    text[n] = 0;
    same(text, 1234567890, "1.2.3");
    same("INC-000042", 9, text);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_as_printf)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
