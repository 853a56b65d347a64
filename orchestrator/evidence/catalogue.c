#include "evidence/catalogue.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "evidence/catalogue_internal.h"
#include "evidence/head.h"

enum { FORM = 3, PATH_MOST = 4096, BUSY_MS = 5000, STEP = 1 << 14 };

enum { KIND_MOST = 64 };
static const char *const sql[STATEMENTS] = {
    [ADD_JOURNAL] = "INSERT OR IGNORE INTO journal (name) VALUES (?)",
    [FIND_JOURNAL] = "SELECT id FROM journal WHERE name = ?",
    [ADD_KIND] = "INSERT OR IGNORE INTO kind (name) VALUES (?)",
    [FIND_KIND] = "SELECT id FROM kind WHERE name = ?",
    [ADD_ENTRY] = "INSERT INTO entry (idx, journal, seq, leaf, time, kind, person) VALUES (?, ?, ?, ?, ?, ?, ?)",
    /* Twice in a log is a fault of the log, for the verifiers to name: the first counts. */
    [FIND_ENTRY] = "SELECT idx, seq, leaf FROM entry WHERE journal = ? AND seq = ? ORDER BY idx LIMIT 1",
    [LAST_ENTRY] = "SELECT idx, seq, leaf FROM entry WHERE journal = ? ORDER BY seq DESC, idx LIMIT 1",
};
static const char form[] = "CREATE TABLE journal (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);"
                           "CREATE TABLE kind (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);"
                           "CREATE TABLE entry (idx INTEGER PRIMARY KEY, journal INTEGER NOT NULL, seq INTEGER NOT NULL, leaf BLOB NOT "
                           "NULL, time INTEGER NOT NULL, "
                           "kind INTEGER NOT NULL, person INTEGER NOT NULL);"
                           "CREATE INDEX entry_place ON entry (journal, seq);"
                           "CREATE INDEX entry_time ON entry (time);"
                           "CREATE TABLE done (texts INTEGER NOT NULL);" /* entries whose bodies were read */
                           "INSERT INTO done VALUES (0);"
                           "CREATE VIRTUAL TABLE text USING fts5 (content, tokenize = 'unicode61', columnsize = 0);";

int catalogue_fail(struct catalogue *c, struct err *err, const char *what) {
  int code = sqlite3_errcode(c->db) & 0xff;
  if (code == SQLITE_CORRUPT || code == SQLITE_NOTADB || code == SQLITE_CONSTRAINT) c->damaged = true;
  return err_set(err, ERR_IO, "the evidence's catalogue: cannot %s: %s", what, sqlite3_errmsg(c->db));
}

int catalogue_run(struct catalogue *c, const char *text, struct err *err) {
  return sqlite3_exec(c->db, text, NULL, NULL, NULL) == SQLITE_OK ? 0 : catalogue_fail(c, err, "write");
}

static void names_forget(struct catalogue *c) {
  free(c->names);
  c->names = NULL;
}

void catalogue_rollback(struct catalogue *c) {
  names_forget(c);
  if (!sqlite3_get_autocommit(c->db)) sqlite3_exec(c->db, "ROLLBACK", NULL, NULL, NULL);
}

/* ---- opening */

static void handle_close(struct catalogue *c) {
  names_forget(c);
  for (int i = 0; i < STATEMENTS; i++) sqlite3_finalize(c->statements[i]);
  memset(c->statements, 0, sizeof c->statements);
  sqlite3_close(c->db);
  c->db = NULL;
}

int64_t catalogue_number(struct catalogue *c, const char *text) {
  sqlite3_stmt *s = NULL;
  int64_t n = -1;
  if (sqlite3_prepare_v2(c->db, text, -1, &s, NULL) == SQLITE_OK && sqlite3_step(s) == SQLITE_ROW) n = sqlite3_column_int64(s, 0);
  sqlite3_finalize(s);
  return n;
}

static int statements_make(struct catalogue *c, struct err *err) {
  for (int i = 0; i < STATEMENTS; i++)
    if (sqlite3_prepare_v3(c->db, sql[i], -1, SQLITE_PREPARE_PERSISTENT, &c->statements[i], NULL) != SQLITE_OK)
      return catalogue_fail(c, err, "read");
  return 0;
}

static int handle_open(struct catalogue *c, struct err *err) {
  int fd = open(c->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600), r = 0;
  if (fd < 0) return err_errno(err, "cannot open %s", c->path);
  close(fd);
  if (sqlite3_open_v2(c->path, &c->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK)
    return catalogue_fail(c, err, "open");
  sqlite3_busy_timeout(c->db, BUSY_MS);
  /* The log is what must survive a power cut; this one only must not be torn by it. */
  r = catalogue_run(c, "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA secure_delete=ON", err);
  int64_t version = r == 0 ? catalogue_number(c, "PRAGMA user_version") : -1;
  if (version == 0) {
    char text[2048];
    snprintf(text, sizeof text, "BEGIN;%sPRAGMA user_version=%d;COMMIT", form, FORM);
    r = catalogue_run(c, text, err);
  } else if (r == 0 && version != FORM) {
    r = err_set(err, ERR_INVALID, "the evidence's catalogue has another form");
  }
  if (r == 0) r = statements_make(c, err);
  int64_t most = r == 0 ? catalogue_number(c, "SELECT coalesce(max(idx) + 1, 0) FROM entry") : -1;
  int64_t texts = r == 0 ? catalogue_number(c, "SELECT texts FROM done") : -1;
  if (r == 0 && (most < 0 || texts < 0)) r = catalogue_fail(c, err, "read");
  if (r == 0) c->size = (uint64_t)most, c->texts = (uint64_t)texts;
  return r;
}

static int files_remove(struct catalogue *c, struct err *err) {
  static const char *const ends[] = {"-wal", "-shm", "-journal", ""};
  char path[PATH_MOST + 16];
  handle_close(c);
  c->size = c->texts = 0;
  c->damaged = false;
  for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
    snprintf(path, sizeof path, "%s%s", c->path, ends[i]);
    if (unlink(path) != 0 && errno != ENOENT) return err_errno(err, "cannot remove %s", path);
  }
  return 0;
}

/* From nothing. */
static int begin_again(struct catalogue *c, struct err *err) {
  int r = files_remove(c, err);
  return r < 0 ? r : handle_open(c, err);
}

static int path_set(struct catalogue *c, const char *folder, struct err *err) {
  return (size_t)snprintf(c->path, sizeof c->path, "%s/catalogue.db", folder) < sizeof c->path
             ? 0
             : err_set(err, ERR_INVALID, "the path of the evidence folder is too long");
}

int catalogue_open(const char *folder, struct catalogue **ret, struct err *err) {
  struct catalogue *c = calloc(1, sizeof *c);
  struct err first = {0};
  if (!c) abort();
  int r = path_set(c, folder, err);
  if (r == 0 && handle_open(c, &first) < 0) r = begin_again(c, err);
  if (r == 0) *ret = c;
  else catalogue_close(c);
  return r;
}

int catalogue_look(const char *folder, struct catalogue **ret, struct err *err) {
  struct catalogue *c = calloc(1, sizeof *c);
  if (!c) abort();
  int r = path_set(c, folder, err);
  if (r == 0 && access(c->path, F_OK) != 0) r = err_set(err, ERR_NOT_FOUND, "there is no catalogue %s", c->path);
  if (r == 0 && sqlite3_open_v2(c->path, &c->db, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK)
    r = catalogue_fail(c, err, "open");
  if (r == 0) sqlite3_busy_timeout(c->db, BUSY_MS);
  if (r == 0 && catalogue_number(c, "PRAGMA user_version") != FORM)
    r = err_set(err, ERR_INVALID, "the catalogue %s cannot be read; make it anew: tocsin evidence rebuild", c->path);
  if (r == 0) r = statements_make(c, err);
  if (r == 0) *ret = c;
  else catalogue_close(c);
  return r;
}

void catalogue_close(struct catalogue *c) {
  if (!c) return;
  handle_close(c);
  free(c);
}

uint64_t catalogue_size(const struct catalogue *c) { return c->size; }
uint64_t catalogue_texts(const struct catalogue *c) { return c->texts; }
bool catalogue_usable(const struct catalogue *c) { return c->db && c->checked && !c->damaged; }

int catalogue_extent(struct catalogue *c, uint64_t *ret_size, uint64_t *ret_texts, struct err *err) {
  int64_t size = catalogue_number(c, "SELECT coalesce(max(idx) + 1, 0) FROM entry"), texts = catalogue_number(c, "SELECT texts FROM done");
  if (size < 0 || texts < 0) return catalogue_fail(c, err, "read");
  *ret_size = (uint64_t)size;
  *ret_texts = (uint64_t)texts;
  return 0;
}

/* ---- looking up */

/* 1: found, 0: not, or an error. */
static int name_find(struct catalogue *c, int statement, const char *name, int64_t *ret, struct err *err) {
  sqlite3_stmt *s = c->statements[statement];
  sqlite3_bind_text(s, 1, name, -1, SQLITE_STATIC);
  int step = sqlite3_step(s);
  if (step == SQLITE_ROW) *ret = sqlite3_column_int64(s, 0);
  sqlite3_reset(s);
  return step == SQLITE_ROW ? 1 : step == SQLITE_DONE ? 0 : catalogue_fail(c, err, "read");
}

static int place_get(struct catalogue *c, sqlite3_stmt *s, struct place *ret, struct err *err) {
  int step = sqlite3_step(s), r = 0;
  if (step == SQLITE_ROW && sqlite3_column_bytes(s, 2) == DIGEST_BYTES) {
    *ret = (struct place){.index = (uint64_t)sqlite3_column_int64(s, 0), .seq = (uint64_t)sqlite3_column_int64(s, 1)};
    memcpy(ret->leaf.bytes, sqlite3_column_blob(s, 2), DIGEST_BYTES);
  } else {
    r = step == SQLITE_DONE ? err_set(err, ERR_NOT_FOUND, "the evidence log holds no such entry") : catalogue_fail(c, err, "read");
  }
  sqlite3_reset(s);
  return r;
}

static int lookup(struct catalogue *c, int statement, const char *journal, uint64_t seq, struct place *ret, struct err *err) {
  int64_t id = 0;
  int found = name_find(c, FIND_JOURNAL, journal, &id, err);
  if (found <= 0) return found < 0 ? found : err_set(err, ERR_NOT_FOUND, "the evidence log holds nothing of %.100s", journal);
  sqlite3_stmt *s = c->statements[statement];
  sqlite3_bind_int64(s, 1, id);
  if (statement == FIND_ENTRY) sqlite3_bind_int64(s, 2, (sqlite3_int64)seq);
  return place_get(c, s, ret, err);
}

int catalogue_find(struct catalogue *c, const char *journal, uint64_t seq, struct place *ret, struct err *err) {
  return lookup(c, FIND_ENTRY, journal, seq, ret, err);
}

int catalogue_last(struct catalogue *c, const char *journal, struct place *ret, struct err *err) {
  return lookup(c, LAST_ENTRY, journal, 0, ret, err);
}

void catalogue_look_begin(struct catalogue *c) {
  if (c->db) sqlite3_exec(c->db, "BEGIN", NULL, NULL, NULL);
}

void catalogue_look_end(struct catalogue *c) {
  if (c->db && !sqlite3_get_autocommit(c->db)) sqlite3_exec(c->db, "COMMIT", NULL, NULL, NULL);
}

/* ---- adding */

static int done(struct catalogue *c, sqlite3_stmt *s, struct err *err) {
  int step = sqlite3_step(s), r = step == SQLITE_DONE ? 0 : catalogue_fail(c, err, "write");
  sqlite3_reset(s);
  return r;
}

static struct catalogue_name *name_place(struct catalogue *c, const char *name) {
  uint32_t hash = 2166136261U; /* FNV-1a */
  if (!c->names && !(c->names = calloc(CATALOGUE_NAMES, sizeof *c->names))) abort();
  for (; *name; name++) hash = (hash ^ (uint8_t)*name) * 16777619U;
  return &c->names[hash % CATALOGUE_NAMES];
}

/* The name's number; one that is new gets one. `add` stands before its look-up among the statements. */
static int name_make(struct catalogue *c, int add, const char *name, int64_t *ret, struct err *err) {
  struct catalogue_name *place = name_place(c, name);
  if (place->id && place->statement == add && strcmp(place->name, name) == 0) return *ret = place->id, 0;
  int found = name_find(c, add + 1, name, ret, err), r = found < 0 ? found : 0;
  if (found == 0) {
    sqlite3_bind_text(c->statements[add], 1, name, -1, SQLITE_STATIC);
    if ((r = done(c, c->statements[add], err)) == 0) *ret = sqlite3_last_insert_rowid(c->db);
  }
  if (r == 0) *place = (struct catalogue_name){.statement = add, .id = *ret};
  if (r == 0) snprintf(place->name, sizeof place->name, "%s", name);
  return r;
}

static void text_copy(const struct head_text *text, char out[KIND_MOST]) {
  size_t len = text->at && text->len < KIND_MOST ? text->len : 0;
  if (len) memcpy(out, text->at, len);
  out[len] = 0;
}

/* An entry that is no head of a journal is in nobody's way: it is found by its index only. */
int catalogue_entry_add(struct catalogue *c, uint64_t index, const void *bytes, size_t len, const struct hash *leaf, struct err *err) {
  struct head head = {.seq = 0};
  int64_t journal = 0, kind = 0, time = 0;
  char text[KIND_MOST];
  bool known = head_scan(bytes, len, &head);
  int r = known ? name_make(c, ADD_JOURNAL, head.incident, &journal, err) : 0;
  text_copy(&head.time, text);
  if (r == 0 && !time_parse(text, &time)) time = 0;
  text_copy(&head.type, text);
  if (r == 0) r = name_make(c, ADD_KIND, text, &kind, err);
  if (r < 0) return r;
  sqlite3_stmt *s = c->statements[ADD_ENTRY];
  sqlite3_bind_int64(s, 1, (sqlite3_int64)index);
  sqlite3_bind_int64(s, 2, journal);
  sqlite3_bind_int64(s, 3, known ? (sqlite3_int64)head.seq : 0);
  sqlite3_bind_blob(s, 4, leaf->bytes, DIGEST_BYTES, SQLITE_STATIC);
  sqlite3_bind_int64(s, 5, time);
  sqlite3_bind_int64(s, 6, kind);
  sqlite3_bind_int64(s, 7, known && memmem(bytes, len, "{\"actor\":\"person:", 17) == bytes);
  return done(c, s, err);
}

static int end(struct catalogue *c, int r, uint64_t size, struct err *err) {
  if (r == 0) r = catalogue_run(c, "COMMIT", err);
  if (r < 0) catalogue_rollback(c);
  if (r == 0) c->size = size;
  return r;
}

static int follow_one(void *arg, uint64_t index, const void *bytes, size_t len, const struct hash *leaf, struct err *err) {
  return catalogue_entry_add(arg, index, bytes, len, leaf, err);
}

static int follow_on(struct catalogue *c, const struct tlog *log, struct err *err) {
  int r = 0;
  while (r == 0 && c->size < tlog_size(log)) {
    uint64_t to = c->size + STEP < tlog_size(log) ? c->size + STEP : tlog_size(log);
    if ((r = catalogue_run(c, "BEGIN IMMEDIATE", err)) == 0) r = end(c, tlog_each(log, c->size, to, follow_one, c, err), to, err);
  }
  return r;
}

/* Whether its newest entry is the log's at that index. */
static bool fits(struct catalogue *c, const struct tlog *log) {
  struct buf bytes;
  struct hash leaf;
  char text[128];
  sqlite3_stmt *s = NULL;
  bool same = c->size == 0;
  if (c->size == 0 || c->size > tlog_size(log)) return same;
  buf_init(&bytes, TILE_ENTRY_MAX);
  snprintf(text, sizeof text, "SELECT leaf FROM entry WHERE idx = %" PRIu64, c->size - 1);
  if (tlog_read(log, c->size - 1, &bytes, NULL) == 0 && sqlite3_prepare_v2(c->db, text, -1, &s, NULL) == SQLITE_OK &&
      sqlite3_step(s) == SQLITE_ROW && sqlite3_column_bytes(s, 0) == DIGEST_BYTES) {
    merkle_leaf(bytes.data, bytes.len, &leaf);
    same = memcmp(sqlite3_column_blob(s, 0), leaf.bytes, DIGEST_BYTES) == 0;
  }
  sqlite3_finalize(s);
  buf_release(&bytes);
  return same && (uint64_t)catalogue_number(c, "SELECT count(*) FROM entry") == c->size;
}

int catalogue_rebuild(struct catalogue *c, const struct tlog *log, struct err *err) {
  int r = begin_again(c, err);
  if (r == 0) r = follow_on(c, log, err);
  c->checked = r == 0;
  return r;
}

/* An index that lies about how far a journal is sealed would have it sealed twice: looked for once, before it is first used. */
static bool sound(struct catalogue *c) {
  sqlite3_stmt *s = NULL;
  bool ok = sqlite3_prepare_v2(c->db, "PRAGMA integrity_check(1)", -1, &s, NULL) == SQLITE_OK && sqlite3_step(s) == SQLITE_ROW &&
            strcmp((const char *)sqlite3_column_text(s, 0), "ok") == 0;
  sqlite3_finalize(s);
  return ok;
}

int catalogue_follow(struct catalogue *c, const struct tlog *log, struct err *err) {
  if (!c->db || c->damaged || (!c->checked && !(sound(c) && fits(c, log)))) return catalogue_rebuild(c, log, err);
  c->checked = true;
  int r = follow_on(c, log, err);
  return r < 0 && c->damaged ? catalogue_rebuild(c, log, err) : r;
}
