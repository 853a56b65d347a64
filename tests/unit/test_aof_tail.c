/* Where an append-only file ends well: every possible cut of a small one, and damage. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>

#include "redis_server.h"
#include "wire/aof_tail.h"

static char folder[64], file[160];

static void put(const char *name, const char *bytes, size_t len) {
  char path[256];
  snprintf(path, sizeof path, "%s/appendonlydir/%s", folder, name);
  FILE *f = fopen(path, "w");
  assert_non_null(f);
  assert_int_equal(fwrite(bytes, 1, len, f), len);
  fclose(f);
}

static int setup(void **state) {
  char inner[128];
  static const char manifest[] = "file appendonly.aof.2.base.rdb seq 2 type b\n"
                                 "file appendonly.aof.4.incr.aof seq 4 type i\n"
                                 "file appendonly.aof.5.incr.aof seq 5 type i\n"
                                 "file appendonly.aof.1.base.rdb seq 1 type h\n";
  snprintf(folder, sizeof folder, "/tmp/tocsin-aof-XXXXXX");
  assert_non_null(mkdtemp(folder));
  snprintf(inner, sizeof inner, "%s/appendonlydir", folder);
  assert_int_equal(mkdir(inner, 0700), 0);
  snprintf(file, sizeof file, "%s/appendonly.aof.5.incr.aof", inner);
  put("appendonly.aof.manifest", manifest, sizeof manifest - 1);
  return 0;
}

static int teardown(void **state) {
  folder_remove(folder);
  return 0;
}

#define SET "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5\r\na\r\n*9\r\n"
#define MULTI "*1\r\n$5\r\nMULTI\r\n"
#define EXEC "*1\r\n$4\r\nEXEC\r\n"
#define NOTE "#TS:1700000000\r\n"

static struct aof_tail look(const char *bytes, size_t len) {
  struct aof_tail tail;
  struct err err;
  put("appendonly.aof.5.incr.aof", bytes, len);
  if (aof_tail_find(folder, &tail, &err)) fail_msg("%s", err.text);
  assert_string_equal(tail.path, file);
  assert_int_equal(tail.size, len);
  return tail;
}

static void test_every_cut(void **state) {
  static const char *const parts[] = {SET, NOTE, MULTI SET SET EXEC, SET, "*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n", MULTI EXEC, NULL};
  char whole[1024] = "";
  int64_t ends[16] = {0};
  size_t count = 1;
  for (size_t i = 0; parts[i]; i++) {
    strncat(whole, parts[i], sizeof whole - strlen(whole) - 1);
    ends[count++] = (int64_t)strlen(whole);
  }
  for (size_t len = 0; len <= strlen(whole); len++) {
    int64_t expected = 0;
    for (size_t i = 0; i < count; i++) {
      if (ends[i] <= (int64_t)len) expected = ends[i];
    }
    struct aof_tail tail = look(whole, len);
    assert_int_equal(tail.damaged, -1);
    assert_int_equal(tail.good, expected);
    assert_int_equal(tail.torn, expected != (int64_t)len);
  }
}

static void test_damage_is_no_torn_tail(void **state) {
  static const char *const wrong[] = {
      "x",
      SET "x",
      SET "*3\r\n#3",
      SET "*x",
      SET "*3\r\n$3\r\nSETxx$1",
      "*0\r\n",
      "*3\n",
      SET "*99999999999\r\n",
      SET "*1\r\n$999999999\r\n",
      NULL,
  };
  for (size_t i = 0; wrong[i]; i++) {
    struct aof_tail tail = look(wrong[i], strlen(wrong[i]));
    struct err err;
    assert_true(tail.damaged >= 0);
    assert_false(tail.torn);
    assert_int_equal(aof_tail_cut(&tail, &err), ERR_INVALID);
  }
  assert_true(look(SET "\0\0\0\0", strlen(SET) + 4).damaged >= 0); /* zeros are no beginning of a command */
}

static void test_cut_copies_first(void **state) {
  static const char bytes[] = SET MULTI SET;
  struct aof_tail tail = look(bytes, sizeof bytes - 1);
  assert_int_equal(aof_tail_cut(&tail, NULL), 0);
  struct aof_tail after;
  assert_int_equal(aof_tail_find(folder, &after, NULL), 0);
  assert_false(after.torn);
  assert_int_equal(after.size, strlen(SET));
  assert_int_equal(aof_tail_cut(&after, NULL), ERR_INVALID);
  char command[400];
  snprintf(command, sizeof command, "%s.torn-", file);
  struct stat st;
  bool found = false;
  /* The copy's name ends in its time: looked for by its beginning. */
  for (int64_t t = time(NULL) - 60; !found && t <= time(NULL); t++) {
    char path[512], stamp[32];
    struct tm utc;
    time_t at = (time_t)t;
    strftime(stamp, sizeof stamp, "%Y%m%dT%H%M%SZ", gmtime_r(&at, &utc));
    snprintf(path, sizeof path, "%s%s-%d", command, stamp, (int)getpid());
    found = stat(path, &st) == 0;
  }
  assert_true(found);
  assert_int_equal(st.st_size, sizeof bytes - 1);
  assert_int_equal(st.st_mode & 0777, 0600);
}

static void test_long_values(void **state) {
  enum { LONG = 300000 };
  char *bytes = malloc(LONG + 100);
  int head = snprintf(bytes, 100, SET "*2\r\n$3\r\nSET\r\n$%d\r\n", LONG);
  memset(bytes + head, 'v', LONG);
  memcpy(bytes + head + LONG, "\r\n", 2);
  size_t all = (size_t)head + LONG + 2;
  assert_false(look(bytes, all).torn);
  assert_true(look(bytes, all - 1).torn);
  assert_true(look(bytes, all - 2).torn);
  assert_true(look(bytes, all - 200000).torn);
  assert_int_equal(look(bytes, all - 200000).good, strlen(SET));
  bytes[all - 2] = 'x';
  assert_true(look(bytes, all).damaged >= 0);
  free(bytes);
}

static void test_no_manifest(void **state) {
  struct aof_tail tail;
  assert_int_equal(aof_tail_find("/nonexistent", &tail, NULL), ERR_NOT_FOUND);
  put("appendonly.aof.manifest", "file ../../x seq 1 type i\n", 26);
  assert_int_equal(aof_tail_find(folder, &tail, NULL), ERR_NOT_FOUND);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      T(test_every_cut), T(test_damage_is_no_torn_tail), T(test_cut_copies_first), T(test_long_values), T(test_no_manifest),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
