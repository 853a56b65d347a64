/* Files in custody inside the engine: each command and each refusal, what a crash left behind, a file removed with its entry, and the end with work still to be done. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sqlite3.h>

#include "desk_stage.h"
#include "evidence/blobs.h"

static char folder[128];

/* ---- commands */

static json_t *of(const char *command) { return json_pack("{s:s, s:s, s:s}", "command", command, "id", t.id, "because", "a test"); }

static json_t *of_item(const char *command, int64_t item) {
  json_t *c = of(command);
  json_object_set_new(c, "item", json_integer(item));
  return c;
}

static json_t *with(json_t *command, const char *name, json_t *value_take) {
  json_object_set_new(command, name, value_take);
  return command;
}

static void digest(const char *content, char out[DIGEST_HEX]) {
  uint8_t raw[DIGEST_BYTES];
  digest_sha256(content, strlen(content), raw);
  hex_encode(raw, sizeof raw, out);
}

static json_t *begin_of(const char *content) {
  char sha256[DIGEST_HEX];
  digest(content, sha256);
  json_t *c = with(of("evidence.begin"), "name", json_string("a name"));
  return with(with(c, "size", json_integer((json_int_t)strlen(content))), "sha256_before", json_string(sha256));
}

static json_t *piece_of(const char *upload, int64_t offset, const char *content) {
  char *data = base64_encode(content, strlen(content));
  json_t *c = with(with(of("evidence.piece"), "upload", json_string(upload)), "offset", json_integer(offset));
  json_object_set_new(c, "data", json_string(data));
  free(data);
  return c;
}

static void begun(json_t *begin_take, char upload[64]) {
  snprintf(upload, 64, "%s", json_str_or(said("tester", begin_take, 200), "upload", ""));
}

static json_t *finish_of(const char *upload) { return with(of("evidence.finish"), "upload", json_string(upload)); }

static int64_t add(const char *content) {
  char upload[64];
  begun(begin_of(content), upload);
  said("tester", piece_of(upload, 0, content), 200);
  return json_int_or(said("tester", finish_of(upload), 200), "item", 0);
}

static const json_t *row_of(int64_t item) {
  const json_t *files = json_object_get(said("tester", of("evidence.list"), 200), "files");
  for (size_t i = 0; i < json_array_size(files); i++)
    if (json_int_or(json_array_get(files, i), "item", 0) == item) return json_array_get(files, i);
  return NULL;
}

static int setup(void **state) {
  stage_begin();
  snprintf(folder, sizeof folder, "%s/evidence", t.server.folder);
  json_t *evidence = json_object_get(t.settings, "evidence");
  json_object_set_new(evidence, "folder", json_string(folder));
  json_object_set_new(evidence, "file_most_mib", json_integer(1));
  json_object_set_new(evidence, "classes", json_pack("{s:I, s:i}", "standard", (json_int_t)86400000, "brief", 0));
  desk_up();
  const json_t *opened =
      said("tester", json_pack("{s:s, s:s, s:s, s:s}", "command", "incident.open", "title", "a case", "severity", "low", "because", "x"),
           200);
  snprintf(t.id, sizeof t.id, "%s", json_str_or(opened, "id", ""));
  return 0;
}

static int teardown(void **state) {
  desk_down();
  stage_end();
  return 0;
}

/* ---- the tests */

static void life(void **state) {
  int64_t item = add("one file"), other = add("");
  const json_t *row = row_of(item);
  assert_int_equal(json_int_or(row, "size", 0), 8);
  const json_t *got = said("guest", with(of_item("evidence.get", item), "offset", json_integer(0)), 200);
  assert_string_equal(json_str_or(got, "data", ""), "b25lIGZpbGU=");
  assert_string_equal(json_str_or(said("guest", with(of_item("evidence.get", item), "offset", json_integer(8)), 200), "data", "x"), "");
  said("tester", with(of_item("evidence.transfer", item), "to", json_string("judy")), 200);
  refused("tester", of_item("evidence.acknowledge", item), 403, "in person");
  said("judy", of_item("evidence.acknowledge", item), 200);
  said("judy", of_item("evidence.hold", item), 200);
  refused("judy", of_item("evidence.hold", item), 409, "already");
  refused("tester", of_item("evidence.delete", item), 403, "legal hold");
  said("tester", of_item("evidence.release_hold", item), 200);
  refused("tester", of_item("evidence.release_hold", item), 409, "no hold");
  refused("judy", of_item("evidence.delete", item), 403, "needs the role \"lead\"");
  said("tester", of_item("evidence.delete", item), 200);
  refused("tester", of_item("evidence.get", item), 409, "was deleted");
  refused("tester", of_item("evidence.delete", item), 409, "was deleted");
  assert_true(json_object_get(row_of(item), "deleted") != NULL);
  assert_null(json_object_get(row_of(other), "deleted"));
  assert_true(add("one file") > other); /* anew */
}

/* Every answer ends its call: what comes behind it must not look at it. */
static void refusals(void **state) {
  static const char *const on_items[] = {"get", "transfer", "acknowledge", "hold", "release_hold", "delete", NULL};
  int64_t item = add("one file");
  char name[64], upload[64], other[64];
  for (const char *const *v = on_items; *v; v++) {
    snprintf(name, sizeof name, "evidence.%s", *v);
    refused("tester", of_item(name, 999), 404, "keeps no file 999");
    json_t *silent = of_item(name, item);
    json_object_del(silent, "because");
    if (strcmp(*v, "acknowledge") == 0) refused("tester", silent, 409, "no handing over");
    else refused("tester", silent, 400, "is missing");
  }
  static const char *const needed[] = {"name", "because", "sha256_before", NULL};
  for (const char *const *n = needed; *n; n++) {
    json_t *begin = begin_of("two");
    json_object_del(begin, *n);
    refused("tester", begin, 400, *n);
  }
  refused("tester", with(begin_of("two"), "size", json_integer((1 << 20) + 1)), 429, "file_most_mib");
  refused("tester", with(begin_of("two"), "class", json_string("gold")), 400, "no class");
  char *long_text = calloc(1, 5000);
  memset(long_text, 'x', 4999);
  refused("tester", with(begin_of("two"), "hold", json_string(long_text)), 429, "`hold` is longer"); /* never dropped without a word */
  free(long_text);
  refused("tester", with(begin_of("two"), "sha256_before", json_string("zz")), 400, "say what comes");
  refused("tester", begin_of("one file"), 409, "already");
  refused("guest", begin_of("two"), 403, "role");
  refused("tester", with(of("evidence.record"), "body", json_object()), 404, "no command"); /* nor is one to be claimed */
  refused("tester", of("evidence.offer"), 404, "no command");
  begun(begin_of("three"), upload);
  refused("tester", piece_of("nobody's", 0, "three"), 404, "begin anew");
  refused("judy", piece_of(upload, 0, "three"), 404, "begin anew");
  refused("tester", piece_of(upload, 2, "ree"), 400, "comes next");
  refused("tester", piece_of(upload, 0, "three and more"), 429, "larger");
  refused("tester", finish_of(upload), 404, "begin anew");
  begun(begin_of("four"), upload);
  said("tester", piece_of(upload, 0, "fo"), 200);
  refused("tester", finish_of(upload), 409, "another size");
  begun(begin_of("five"), upload);
  said("tester", piece_of(upload, 0, "FIVE"), 200);
  refused("tester", finish_of(upload), 409, "changed while it was read");
  begun(begin_of("six"), upload), begun(begin_of("six"), other);
  said("tester", piece_of(upload, 0, "six"), 200);
  said("tester", piece_of(other, 0, "six"), 200);
  said("tester", finish_of(upload), 200);
  refused("tester", finish_of(other), 409, "already");
}

/* Looked at from outside: the store is the vault's. */
static int unsettled(void) {
  char path[160];
  sqlite3 *db;
  sqlite3_stmt *count;
  snprintf(path, sizeof path, "%s/keys.db", folder);
  assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
  sqlite3_busy_timeout(db, WAIT_MS);
  assert_int_equal(sqlite3_prepare_v2(db, "SELECT count(*) FROM blob WHERE mark != 1", -1, &count, NULL), SQLITE_OK);
  assert_int_equal(sqlite3_step(count), SQLITE_ROW);
  int n = sqlite3_column_int(count, 0);
  sqlite3_finalize(count);
  sqlite3_close(db);
  return n;
}

static void keys_do(const char *sql) {
  char path[160];
  sqlite3 *db;
  snprintf(path, sizeof path, "%s/keys.db", folder);
  assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
  sqlite3_busy_timeout(db, WAIT_MS);
  assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
  sqlite3_close(db);
}

/* While a file's entry is on its way to Redis, or its mark could not be written, a second upload of the same bytes that is refused takes nothing of it away. */
static void refused_beside(void **state) {
  char upload[64];
  int64_t item = add("one file");
  UNTIL(unsettled() == 0);
  keys_do("UPDATE blob SET mark = 0");
  said("tester", of_item("evidence.hold", item), 200);
  begun(begin_of("another!"), upload);
  said("tester", piece_of(upload, 0, "one file"), 200);
  refused("tester", finish_of(upload), 409, "changed while it was read");
  assert_string_equal(json_str_or(said("guest", of_item("evidence.get", item), 200), "data", ""), "b25lIGZpbGU=");
}

static size_t copies(void) {
  const json_t *entries = json_object_get(said("tester", of("incident.entries"), 200), "entries");
  size_t count = 0;
  for (size_t i = 0; i < json_array_size(entries); i++)
    count += strcmp(json_str_or(json_array_get(entries, i), "type", ""), "evidence.copied") == 0;
  return count;
}

static const json_t *got(const char *who, int64_t item, int64_t offset) {
  return said(who, with(of_item("evidence.get", item), "offset", json_integer(offset)), 200);
}

/* Whoever takes a copy is on record, wherever they begin. */
static void copied(void **state) {
  int64_t item = add("one file"), other = add("two files");
  got("guest", item, 1);
  assert_int_equal(copies(), 1);
  got("guest", item, 8); /* goes on */
  assert_int_equal(copies(), 1);
  got("judy", item, 8);
  got("guest", other, 8);
  got("guest", item, 2);
  assert_int_equal(copies(), 4);
}

static void removed_with_its_entry(void **state) {
  int64_t item = add("a private file"), held = add("a held file");
  said("tester", of_item("evidence.hold", held), 200);
  refused("tester", with(of("incident.redact"), "seq", json_integer(held)), 403, "legal hold");
  said("tester", with(of("incident.redact"), "seq", json_integer(item)), 200);
  UNTIL(json_bool_or(row_of(item), "removed", false) && !json_object_get(row_of(item), "sha256"));
  assert_null(json_object_get(row_of(item), "name"));
  refused("tester", of_item("evidence.get", item), 409, "was deleted");
  assert_true(add("a private file") > held); /* nothing of it is left */
}

/* What a crash leaves: a file without its entry, and one marked whose deletion never came on record. */
static void crashed(void **state) {
  struct blobs *b;
  struct blob_writer *w;
  char sha256[DIGEST_HEX], kept[DIGEST_HEX];
  uint64_t size;
  int64_t item = add("it stays");
  digest("it stays", kept);
  desk_down();
  assert_int_equal(blobs_open(folder, &b, NULL), 0);
  assert_int_equal(blob_begin(b, t.id, 100, &w, NULL), 0);
  assert_int_equal(blob_write(w, "orphan", 6, NULL), 0);
  assert_int_equal(blob_finish(w, NULL, sha256, &size, NULL), 0);
  assert_int_equal(blob_mark(b, t.id, kept, BLOB_LEAVING, NULL), 0);
  blobs_close(b);
  assert_int_equal(unsettled(), 2);
  desk_up();
  desk_settle_files(t.desk);
  UNTIL(unsettled() == 0);
  said("tester", with(of_item("evidence.get", item), "offset", json_integer(0)), 200);
  assert_true(add("orphan") > item);
}

/* More than may be added at a time begin before the owner has said yes to one. */
static int begun_count, begun_refused;
static void on_begun(void *arg, int status, const json_t *answer) { *(status == 200 ? &begun_count : &begun_refused) += 1; }

static void many_at_once(void **state) {
  char content[16];
  begun_count = begun_refused = 0;
  desk_down(), desk_up(); /* the incident has to be loaded first */
  for (int i = 0; i < 40; i++) {
    snprintf(content, sizeof content, "file %d", i);
    json_t *c = begin_of(content);
    desk_command(t.desk, people_named(t.people, "tester"), c, on_begun, NULL);
    json_decref(c);
  }
  UNTIL(begun_count + begun_refused == 40);
  assert_int_equal(begun_count, 16);
}

/* The end comes with files under way: nothing is left in memory (the sanitizers see to it), and nothing half done on the disk after the next start. */
static void stopped(void **state) {
  char first[64], second[64];
  int64_t item = add("to go");
  begun(begin_of("first"), first), begun(begin_of("second"), second);
  said("tester", piece_of(first, 0, "fi"), 200);
  send_to_desk("tester", piece_of(second, 0, "second"));
  loop_turn(t.loop);
  send_to_desk("tester", of_item("evidence.delete", item));
  loop_turn(t.loop), loop_turn(t.loop);
  desk_settle_files(t.desk);
  desk_down();
  desk_up();
  desk_settle_files(t.desk);
  UNTIL(unsettled() == 0);
}

/* The file lies at another node than the incident, and that one is not there. */
static void elsewhere(void **state) {
  int64_t item = add("one file");
  desk_down();
  t.node = "n2";
  desk_up();
  refused("tester", of_item("evidence.get", item), 409, "lies at node n1, which is not there");
  refused("tester", of_item("evidence.delete", item), 409, "lies at node n1, which is not there");
  refused("tester", with(of("incident.redact"), "seq", json_integer(item)), 409, "lies at node n1, which is not there");
  said("tester", of_item("evidence.hold", item), 200); /* what only makes an entry goes anywhere */
}

/* ---- retention by class, by a clock that stands until it is set */

static struct clock fake;
static struct blob_counts counts;
static bool counted;

static void on_counted(void *arg, const struct blob_counts *c, const struct err *err) {
  counts = *c;
  counted = true;
}

/* So many days later: what is found of the files' times. */
static void days_later(int days, unsigned due, unsigned held, unsigned busy, unsigned people) {
  int64_t until = test_now_ms() + WAIT_MS;
  clock_set(&fake, fake.offset + days * INT64_C(86400000000) + 1);
  do {
    desk_expire_files(t.desk); /* nothing is looked at twice at one time */
    if (test_now_ms() > until)
      fail_msg("due %d, held %d, busy %d, for people %d", (int)counts.times[BLOB_DUE], (int)counts.times[BLOB_HELD],
               (int)counts.times[BLOB_BUSY], (int)counts.times[BLOB_FOR_PEOPLE]);
    counted = false;
    desk_count_files(t.desk, on_counted, NULL);
    UNTIL(counted);
  } while (counts.times[BLOB_DUE] != due || counts.times[BLOB_HELD] != held || counts.times[BLOB_BUSY] != busy ||
           counts.times[BLOB_FOR_PEOPLE] != people);
}

static int64_t add_of(const char *class, const char *content) {
  char upload[64];
  begun(with(begin_of(content), "class", json_string(class)), upload);
  said("tester", piece_of(upload, 0, content), 200);
  return json_int_or(said("tester", finish_of(upload), 200), "item", 0);
}

static bool is_gone(int64_t item) { return json_object_get(row_of(item), "deleted") != NULL; }

static void over(void **state) {
  json_t *evidence = json_object_get(t.settings, "evidence");
  json_object_set_new(json_object_get(evidence, "classes"), "personal", json_integer(90 * INT64_C(86400000)));
  json_object_set_new(evidence, "delete", json_pack("[s]", "personal"));
  clock_init_settable(&fake, clock_wall(clock_system()));
  t.store.clock = &fake;
  int64_t goes = add_of("personal", "to go"), held = add_of("personal", "held"), handed = add_of("personal", "handed over"),
          people = add_of("standard", "for people");
  said("tester", of_item("evidence.hold", held), 200);
  said("tester", with(of_item("evidence.transfer", handed), "to", json_string("judy")), 200);
  UNTIL(unsettled() == 0);
  days_later(0, 0, 0, 0, 0);
  days_later(89, 0, 0, 0, 1); /* a class that the settings do not name: a person says so */
  days_later(2, 0, 1, 2, 1);  /* its incident is open */
  said("tester", with(with(of("incident.close"), "verdict", json_string("benign")), "waive", json_string("a test")), 200);
  days_later(1, 1, 1, 1, 1); /* told, and not done yet */
  assert_false(is_gone(goes));
  days_later(1, 0, 1, 1, 1);
  assert_true(is_gone(goes));
  assert_false(is_gone(held) || is_gone(handed) || is_gone(people));
  const json_t *entries = json_object_get(said("tester", of("incident.entries"), 200), "entries");
  const json_t *last = json_array_get(entries, json_array_size(entries) - 1), *body = json_object_get(last, "body");
  assert_string_equal(json_str_or(last, "type", ""), "evidence.deleted");
  assert_string_equal(json_str_or(last, "actor", ""), "engine");
  assert_string_equal(json_str_or(body, "class", ""), "personal");
  assert_non_null(strstr(json_str_or(body, "because", ""), "its class \"personal\" keeps it until "));
  assert_int_equal(json_int_or(body, "item", 0), goes);
  assert_true(json_is_false(json_object_get(body, "before_retention")));
  said("judy", of_item("evidence.acknowledge", handed), 200);
  said("tester", of_item("evidence.release_hold", held), 200);
  days_later(1, 2, 0, 0, 1);
  said("tester", of_item("evidence.hold", held), 200); /* there is a day for that */
  said("tester", of("incident.reopen"), 200);
  days_later(1, 0, 1, 1, 1);
  assert_false(is_gone(held) || is_gone(handed));
}

/* A clock whose wall somebody sets on. */
static int64_t set_on;
static int64_t wrong_wall(const struct clock *c) { return c->offset + set_on; }

/* The clock is put a year on, and then two days more: neither is a day that has passed. */
static void clock_wrong(void **state) {
  static const int64_t day = INT64_C(86400000000);
  json_t *evidence = json_object_get(t.settings, "evidence");
  json_object_set_new(json_object_get(evidence, "classes"), "personal", json_integer(90 * INT64_C(86400000)));
  json_object_set_new(evidence, "delete", json_pack("[s]", "personal"));
  clock_init_settable(&fake, clock_wall(clock_system()));
  fake.wall = wrong_wall;
  set_on = 0;
  t.store.clock = &fake;
  int64_t item = add_of("personal", "stays its time");
  said("tester", with(with(of("incident.close"), "verdict", json_string("benign")), "waive", json_string("a test")), 200);
  UNTIL(unsettled() == 0);
  set_on = 365 * day;
  days_later(0, 1, 0, 0, 0);
  set_on += 2 * day;
  for (int i = 0; i < 20; i++) days_later(0, 1, 0, 0, 0);
  assert_false(is_gone(item));
  set_on = 0; /* noticed, and set right */
  days_later(1, 0, 0, 0, 0);
  assert_false(is_gone(item));
  days_later(89, 1, 0, 0, 0);
  assert_false(is_gone(item));
  days_later(1, 0, 0, 0, 0);
  assert_true(is_gone(item));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(life, setup, teardown),
      cmocka_unit_test_setup_teardown(refusals, setup, teardown),
      cmocka_unit_test_setup_teardown(refused_beside, setup, teardown),
      cmocka_unit_test_setup_teardown(copied, setup, teardown),
      cmocka_unit_test_setup_teardown(removed_with_its_entry, setup, teardown),
      cmocka_unit_test_setup_teardown(crashed, setup, teardown),
      cmocka_unit_test_setup_teardown(many_at_once, setup, teardown),
      cmocka_unit_test_setup_teardown(stopped, setup, teardown),
      cmocka_unit_test_setup_teardown(elsewhere, setup, teardown),
      cmocka_unit_test_setup_teardown(over, setup, teardown),
      cmocka_unit_test_setup_teardown(clock_wrong, setup, teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
