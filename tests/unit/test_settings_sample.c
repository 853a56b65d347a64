/* The sample settings: what the repository ships is what is printed, and every line of it is true. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "cmd/file.h"
#include "cmd/settings.h"
#include "script/script.h"

static struct buf sample;

static int setup(void **state) {
  buf_init(&sample, 1 << 20);
  settings_sample(&sample);
  return 0;
}

static int teardown(void **state) {
  buf_release(&sample);
  return 0;
}

static void load(const char *text, size_t len, json_t **ret) {
  char folder[] = "/tmp/test_sample.XXXXXX", path[64];
  struct err err = {0};
  assert_non_null(mkdtemp(folder));
  snprintf(path, sizeof path, "%s/tocsin.lua", folder);
  assert_int_equal(file_write(path, text, len, &err), 0);
  int r = settings_load(path, ret, NULL, &err);
  unlink(path);
  rmdir(folder);
  if (r < 0) fail_msg("%s", err.text);
}

static void test_the_shipped_file_is_what_is_printed(void **state) {
  struct buf shipped;
  struct err err = {0};
  buf_init(&shipped, 1 << 20);
  if (file_read("tocsin.lua.example", &shipped, &err) < 0) fail_msg("%s (run it from the repository's top)", err.text);
  assert_string_equal(shipped.data, sample.data); /* else: tocsin settings --sample > tocsin.lua.example */
  buf_release(&shipped);
}

static void test_as_it_is_it_means_the_defaults(void **state) {
  json_t *settings = NULL, *defaults = NULL;
  struct err err = {0};
  load(sample.data, sample.len, &settings);
  assert_int_equal(settings_load(NULL, &defaults, NULL, &err), 0);
  /* paths are relative to the file, so only the rest can be equal */
  static const char *const paths[] = {"data", "api", "folders"};
  for (size_t i = 0; i < 3; i++) {
    json_object_del(settings, paths[i]);
    json_object_del(defaults, paths[i]);
  }
  json_object_del(json_object_get(settings, "evidence"), "folder");
  json_object_del(json_object_get(defaults, "evidence"), "folder");
  assert_true(json_equal(settings, defaults));
  json_decref(settings);
  json_decref(defaults);
}

static void test_every_commented_setting_is_accepted(void **state) {
  struct buf all;
  json_t *settings = NULL;
  unsigned count = 0;
  buf_init(&all, 1 << 20);
  for (const char *line = sample.data; *line;) {
    size_t n = strcspn(line, "\n") + 1, indent = strspn(line, " ");
    bool setting = strncmp(line + indent, "--", 2) == 0 && line[indent + 2] != ' ' && line[indent + 2] != '\n';
    /* the braces and lines inside of an example begin with two dashes as well, and may go on with spaces */
    if (strncmp(line + indent, "--  ", 4) == 0) setting = true;
    if (setting) buf_add(&all, line + indent + 2, n - indent - 2);
    else buf_add(&all, line, n);
    count += setting;
    line += n;
  }
  assert_true(count > 60);
  load(all.data, all.len, &settings);
  assert_string_equal(json_string_value(json_at(settings, "connectors.corp.$connector")), "ldap");
  assert_int_equal(json_integer_value(json_at(settings, "redis.lanes")), 8);
  assert_int_equal(json_integer_value(json_object_get(json_array_get(json_at(settings, "guard.budgets"), 0), "within")), 600000);
  json_decref(settings);
  buf_release(&all);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_the_shipped_file_is_what_is_printed, setup, teardown),
      cmocka_unit_test_setup_teardown(test_as_it_is_it_means_the_defaults, setup, teardown),
      cmocka_unit_test_setup_teardown(test_every_commented_setting_is_accepted, setup, teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
