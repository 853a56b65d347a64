/* Named lists and assets: CSV as it comes, expiry, networks, and errors that name file and line. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"
#include "route/csv.h"
#include "route/route.h"

static char folder[64];

static int setup(void **state) {
  snprintf(folder, sizeof folder, "/tmp/tocsin-lists-XXXXXX");
  return mkdtemp(folder) ? 0 : -1;
}

static int teardown(void **state) {
  DIR *d = opendir(folder);
  for (struct dirent *e; (e = readdir(d));)
    if (unlinkat(dirfd(d), e->d_name, 0)) (void)unlinkat(dirfd(d), e->d_name, AT_REMOVEDIR);
  closedir(d);
  return rmdir(folder);
}

static void put_bytes(const char *name, const char *bytes, size_t len) {
  char path[160];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  FILE *f = fopen(path, "wb");
  assert_non_null(f);
  assert_int_equal(fwrite(bytes, 1, len, f), len);
  fclose(f);
}
static void put(const char *name, const char *text) { put_bytes(name, text, strlen(text)); }

static struct lists *load(void) {
  struct lists *l = NULL;
  struct err err = {0};
  if (lists_load(folder, &l, &err)) fail_msg("%s", err.text);
  return l;
}

static int64_t at(const char *text) {
  int64_t us = 0;
  assert_true(time_parse(text, &us));
  return us;
}

static void test_csv_reader(void **state) {
  static const struct {
    const char *text, *records, *error;
  } cases[] = {
      {"", "[]", NULL},
      {"a,b\n1,2\n", "[[\"a\",\"b\"],[\"1\",\"2\"]]", NULL},
      {"a,b\r\n1,2", "[[\"a\",\"b\"],[\"1\",\"2\"]]", NULL},
      {"\xef\xbb\xbf"
       "a\n",
       "[[\"a\"]]", NULL},
      {"\n\r\na\n\n", "[[\"a\"]]", NULL},
      {",\n", "[[\"\",\"\"]]", NULL},
      {"a,", "[[\"a\",\"\"]]", NULL},
      {"\"a,b\",\"c\"\"d\"\n", "[[\"a,b\",\"c\\\"d\"]]", NULL},
      {"\"two\nlines\",x\n", "[[\"two\\nlines\",\"x\"]]", NULL},
      {" a , \" b \" ,c\n", "[[\"a\",\" b \",\"c\"]]", NULL},
      {"\"\"\n", "[[\"\"]]", NULL},
      {"a\n\"b", NULL, "line 2: a quote is never closed"},
      {"a\nb\"c\n", NULL, "line 2: a quote inside"},
      {"\"a\"b\n", NULL, "line 1: text behind"},
      {"a\rb\n", NULL, "line 1: a carriage return"},
      {"\"x\ny\"\na\xff\n", NULL, "line 3: a field is not UTF-8"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct csv csv;
    struct err err = {0};
    json_t *all = json_array(), *record, *want = NULL;
    size_t line;
    int rc;
    csv_init(&csv, cases[i].text, strlen(cases[i].text));
    while ((rc = csv_next(&csv, &record, &line, &err)) == 1) json_array_append_new(all, record);
    if (cases[i].error) {
      assert_true(rc < 0);
      if (!strstr(err.text, cases[i].error)) fail_msg("%s: %s", cases[i].text, err.text);
    } else {
      assert_int_equal(rc, 0);
      assert_int_equal(json_parse(cases[i].records, strlen(cases[i].records), &want, NULL), 0);
      if (!json_equal(all, want)) fail_msg("%s", cases[i].text);
      json_decref(want);
    }
    json_decref(all);
  }
}

static void test_match_and_expire(void **state) {
  put("users.csv", "value,reason,owner,expires\nAlice,on call,ops,2026-11-23\nbob,\"two, "
                   "words\",ops,2026-11-23T12:00:00Z\ncarol,,,\ndave,old,ops,2020-01-01\ndave,new,ops,\n");
  struct lists *l = load();
  json_t *row = NULL;
  int64_t morning = at("2026-11-23T08:00:00Z"), night = at("2026-11-23T23:59:59.999999Z"), tomorrow = at("2026-11-24T00:00:00Z");
  assert_true(lists_match(l, "users", "ALICE", morning, &row));
  assert_string_equal(json_str(row, "reason"), "on call");
  assert_true(lists_match(l, "users", "alice", night, NULL));
  assert_false(lists_match(l, "users", "alice", tomorrow, NULL));
  assert_true(lists_match(l, "users", "bob", morning, NULL));
  assert_false(lists_match(l, "users", "bob", night, NULL));
  assert_true(lists_match(l, "users", "carol", INT64_MAX - 1, NULL));
  assert_true(lists_match(l, "users", "dave", morning, &row));
  assert_string_equal(json_str(row, "reason"), "new");
  assert_false(lists_match(l, "users", "eve", morning, NULL));
  assert_false(lists_match(l, "users", "", morning, NULL));
  assert_false(lists_match(l, "none", "alice", morning, NULL));
  assert_false(lists_match(NULL, "users", "alice", morning, NULL));
  assert_int_equal(json_array_size(lists_rows(l, "users")), 5);
  assert_null(lists_rows(l, "none"));
  lists_free(l);
}

static void test_networks(void **state) {
  put("vpn.csv", "owner,value\nnet,10.8.0.0/16\nnet,192.0.2.7\nnet,2001:db8::/32\nnet,10.8.1.0/24\nnet,host.example\n");
  struct lists *l = load();
  json_t *row = NULL;
  assert_true(lists_match(l, "vpn", "10.8.200.1", 0, &row));
  assert_string_equal(json_str(row, "value"), "10.8.0.0/16");
  assert_true(lists_match(l, "vpn", "10.8.1.1", 0, &row));
  assert_string_equal(json_str(row, "value"), "10.8.1.0/24"); /* the narrowest */
  assert_true(lists_match(l, "vpn", "::ffff:192.0.2.7", 0, NULL));
  assert_true(lists_match(l, "vpn", "2001:0DB8:0::5", 0, NULL));
  assert_false(lists_match(l, "vpn", "192.0.2.8", 0, NULL));
  assert_false(lists_match(l, "vpn", "2001:db9::", 0, NULL));
  assert_true(lists_match(l, "vpn", "HOST.example", 0, NULL));
  lists_free(l);
}

static void test_conditions_use_lists(void **state) {
  put("vpn.csv", "value,expires\n10.8.0.0/16,\nroot,\nold,2020-01-01\n");
  struct lists *l = load();
  static const struct {
    const char *when, *alert;
    bool matches;
  } cases[] = {
      {"{\"ip|cidr_in\":{\"$list\":\"vpn\"}}", "{\"ip\":[\"1.2.3.4\",\"10.8.1.1\"]}", true},
      {"{\"ip|cidr_in\":\"vpn\"}", "{\"ip\":\"10.9.1.1\"}", false},
      {"{\"u\":{\"$list\":\"vpn\"}}", "{\"u\":\"ROOT\"}", true},
      {"{\"u\":{\"$list\":\"vpn\"}}", "{\"u\":\"root\\u0000\"}", false},
      {"{\"u\":{\"$list\":\"vpn\"}}", "{\"u\":\"old\"}", false},
      {"{\"u\":[\"eve\",{\"$list\":\"vpn\"}]}", "{\"u\":\"eve\"}", true},
      {"{\"u\":[\"eve\",{\"$list\":\"vpn\"}]}", "{\"u\":\"root\"}", true},
      {"{\"u|all\":[\"eve\",{\"$list\":\"vpn\"}]}", "{\"u\":\"root\"}", false},
      {"{\"u|all\":[\"eve\",{\"$list\":\"vpn\"}]}", "{\"u\":[\"root\",\"eve\"]}", true},
      {"{\"none\":{\"ip|cidr_in\":{\"$list\":\"vpn\"}}}", "{\"ip\":\"10.8.1.1\"}", false},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    json_t *when = NULL, *alert = NULL;
    struct condition *c = NULL;
    struct err err = {0};
    assert_int_equal(json_parse(cases[i].when, strlen(cases[i].when), &when, NULL), 0);
    assert_int_equal(json_parse(cases[i].alert, strlen(cases[i].alert), &alert, NULL), 0);
    if (condition_compile(when, l, &c, &err)) fail_msg("%s", err.text);
    if (condition_match(c, alert, NULL, at("2026-11-23T00:00:00Z")) != cases[i].matches)
      fail_msg("%s on %s", cases[i].when, cases[i].alert);
    condition_free(c);
    json_decref(when), json_decref(alert);
  }
  lists_free(l);
}

static void test_assets(void **state) {
  put("assets.csv", "id,owner,criticality,tenant\nDB-01,dba,critical,acme\nlaptop-7,,,\n");
  struct lists *l = load();
  assert_string_equal(json_str(lists_asset(l, "db-01"), "criticality"), "critical");
  assert_non_null(lists_asset(l, "Laptop-7"));
  assert_null(lists_asset(l, "db-02"));
  assert_null(lists_asset(NULL, "db-02"));
  assert_null(lists_rows(l, "assets"));
  lists_free(l);
}

static void test_all_or_none(void **state) {
  static const struct {
    const char *file, *text, *says;
  } cases[] = {
      {"a.csv", "", "/a.csv: line 1: the file is empty"},
      {"a.csv", "name,reason\n", "/a.csv: line 1: no column `value`"},
      {"a.csv", "value,resaon\n", "did you mean `reason`?"},
      {"a.csv", "value,value\n", "twice"},
      {"a.csv", "value\nx\n\n\"\"\n", "/a.csv: line 4: `value` is empty"},
      {"a.csv", "value,expires\nx,tomorrow\n", "/a.csv: line 2: expires `tomorrow` is no date"},
      {"a.csv", "value,expires\nx,2026-02-30\n", "line 2: expires"},
      {"a.csv", "value\nx,y\n", "line 2: 2 fields, but the first line names 1"},
      {"a.csv", "value\n10.0.0.1/8\n", "line 2: `10.0.0.1/8` has bits set behind its prefix: write 10.0.0.0/8"},
      {"a.csv", "value\n10.0.0/8\n", "line 2: `10.0.0/8` is not an address or network"},
      {"a.csv", "value\nb\"c\n", "/a.csv: line 2: a quote inside"},
      {"a b.csv", "value\nx\n", "letters, digits"},
      {"assets.csv", "id,criticality\nx,huge\n", "/assets.csv: line 2: criticality"},
      {"assets.csv", "id\nx\nX\n", "/assets.csv: line 3: asset `X` is there twice"},
  };
  put("good.csv", "value\nx\n");
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct lists *l = NULL;
    struct err err = {0};
    char path[160];
    put(cases[i].file, cases[i].text);
    assert_true(lists_load(folder, &l, &err) < 0);
    assert_null(l);
    if (!strstr(err.text, cases[i].says)) fail_msg("got \"%s\", expected \"…%s…\"", err.text, cases[i].says);
    snprintf(path, sizeof path, "%s/%s", folder, cases[i].file);
    unlink(path);
  }
  struct lists *l = load();
  assert_true(lists_match(l, "good", "x", 0, NULL));
  lists_free(l);
}

static void test_odd_files(void **state) {
  struct lists *l = NULL;
  struct err err = {0};
  char path[160];
  assert_int_equal(lists_load("/nonexistent/lists", &l, &err), 0);
  assert_int_equal(strlen(lists_digest(l)), 64);
  assert_false(lists_match(l, "x", "y", 0, NULL));
  lists_free(l), l = NULL;
  put("notes.txt", "\"");
  put(".hidden.csv", "\"");
  lists_free(load());
  snprintf(path, sizeof path, "%s/pipe.csv", folder);
  assert_int_equal(mkfifo(path, 0600), 0);
  l = NULL;
  assert_true(lists_load(folder, &l, &err) < 0);
  assert_non_null(strstr(err.text, "not a regular file"));
}

static void test_digest(void **state) {
  char before[65];
  put("a.csv", "value\nx\n");
  struct lists *l = load();
  memcpy(before, lists_digest(l), 65);
  lists_free(l);
  l = load();
  assert_string_equal(before, lists_digest(l));
  lists_free(l);
  put("a.csv", "value\ny\n");
  l = load();
  assert_string_not_equal(before, lists_digest(l));
  lists_free(l);
}

/* A long list of equal and of different values loads and answers at once. */
static void test_large(void **state) {
  enum { ROWS = 100000, ROOM = 32 };
  char *text = malloc((size_t)ROWS * ROOM), last[ROOM];
  size_t len = (size_t)snprintf(text, ROOM, "value\n");
  for (int i = 0; i < ROWS; i++) len += (size_t)snprintf(text + len, ROOM, i % 2 ? "same\n" : "user-%d\n", i);
  put_bytes("big.csv", text, len);
  free(text);
  struct lists *l = load();
  snprintf(last, sizeof last, "USER-%d", ROWS - 2);
  assert_true(lists_match(l, "big", last, 0, NULL));
  assert_true(lists_match(l, "big", "same", 0, NULL));
  assert_false(lists_match(l, "big", "user-1", 0, NULL));
  lists_free(l);
}

/* A run that began with other versions finds them: from memory, from what was kept, or it is told which one nobody has. */
static void test_versions(void **state) {
  static const char *const source[] = {"list(\"vip\")", "{}", NULL}, *const none[] = {"nothing", NULL};
  struct err err;
  struct lists *before, *after, *with;
  size_t len;
  put_bytes("vip.csv", "value\nann\n", 10);
  put_bytes("net.csv", "value\n10.0.0.0/8\n", 17);
  before = load();
  json_t *pins = lists_pins(before, source), *nothing = lists_pins(before, none), *sources = json_object();
  assert_int_equal(json_object_size(pins), 1);
  assert_int_equal(json_object_size(nothing), 0);
  const char *digest = json_string_value(json_object_get(pins, "vip")), *text = lists_source(before, "vip", &len);
  assert_int_equal(len, 10);
  json_object_set_new(sources, digest, json_stringn(text, len));
  put_bytes("vip.csv", "value\nbob\n", 10);
  put_bytes("net.csv", "value\n192.168.0.0/16\n", 21);
  after = load();

  assert_int_equal(lists_with(before, pins, NULL, &with, &err), 0); /* in force: the very same */
  assert_ptr_equal(with, before);
  lists_free(with);
  assert_int_equal(lists_with(after, pins, sources, &with, &err), 0);
  assert_true(lists_match(with, "vip", "ann", 0, NULL));
  assert_false(lists_match(with, "vip", "bob", 0, NULL));
  assert_true(lists_match(with, "net", "192.168.1.1", 0, NULL)); /* not bound to: as it is now */
  assert_true(lists_match(after, "vip", "bob", 0, NULL));
  lists_free(after); /* a reload; the run goes on */
  assert_true(lists_match(with, "net", "192.168.1.1", 0, NULL));
  assert_int_equal(lists_with(with, pins, NULL, &after, &err), 0);
  lists_free(after);
  lists_free(with);

  after = load();
  assert_int_equal(lists_with(after, pins, NULL, &with, &err), ERR_NOT_FOUND);
  assert_non_null(strstr(err.text, "the list vip of digest"));
  json_object_set_new(sources, digest, json_string("value\neve\n"));
  assert_int_equal(lists_with(after, pins, sources, &with, &err), ERR_CONFLICT);
  lists_free(after);
  lists_free(before);
  json_decref(pins);
  json_decref(nothing);
  json_decref(sources);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_csv_reader),
      cmocka_unit_test_setup_teardown(test_match_and_expire, setup, teardown),
      cmocka_unit_test_setup_teardown(test_networks, setup, teardown),
      cmocka_unit_test_setup_teardown(test_conditions_use_lists, setup, teardown),
      cmocka_unit_test_setup_teardown(test_assets, setup, teardown),
      cmocka_unit_test_setup_teardown(test_all_or_none, setup, teardown),
      cmocka_unit_test_setup_teardown(test_odd_files, setup, teardown),
      cmocka_unit_test_setup_teardown(test_digest, setup, teardown),
      cmocka_unit_test_setup_teardown(test_large, setup, teardown),
      cmocka_unit_test_setup_teardown(test_versions, setup, teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
