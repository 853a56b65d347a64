/* The catalogue's texts: filled behind the batches, searched by FTS5. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "evidence/bodies.h"
#include "evidence/catalogue_internal.h"
#include "evidence/leaf.h"
#include "evidence/texts.h"

enum { MATCH_MOST = 4096, KINDS_MOST = 256 };

/* ---- filling */

struct reading {
  struct catalogue *c;
  struct bodies *bodies;
  sqlite3_stmt *add;
  struct buf envelope, text; /* of the entry at hand */
};

/* 0 also when there is no body: it was removed, or cannot be read any more, which is the verifiers' business. */
static int body_add(struct reading *r, uint64_t index, const struct hash *leaf, struct err *err) {
  struct buf *envelope = &r->envelope;
  buf_reset(envelope);
  int e = bodies_read(r->bodies, index, leaf, envelope, err);
  if (e == 0 && envelope->len > ENVELOPE_PREFIX)
    texts_add(envelope->data + ENVELOPE_PREFIX, envelope->len - ENVELOPE_PREFIX, CATALOGUE_TEXT, &r->text);
  return e == ERR_IO ? e : 0;
}

/* Its place, unless that is in, and its texts. */
static int text_add(void *arg, uint64_t index, const void *bytes, size_t len, const struct hash *leaf, struct err *err) {
  struct reading *r = arg;
  struct buf *text = &r->text;
  buf_reset(text);
  texts_add_member(bytes, len, "actor", CATALOGUE_TEXT, text);
  texts_add_member(bytes, len, "type", CATALOGUE_TEXT, text);
  int e = index < r->c->size ? 0 : catalogue_entry_add(r->c, index, bytes, len, leaf, err);
  if (e == 0) e = body_add(r, index, leaf, err);
  if (e == 0) {
    sqlite3_bind_int64(r->add, 1, (sqlite3_int64)index);
    sqlite3_bind_text(r->add, 2, text->data, (int)text->len, SQLITE_STATIC);
    if (sqlite3_step(r->add) != SQLITE_DONE) e = catalogue_fail(r->c, err, "write");
    sqlite3_reset(r->add);
  }
  return e;
}

int catalogue_read(struct catalogue *c, const struct tlog *log, struct bodies *bodies, size_t most, bool *ret_more, struct err *err) {
  struct reading r = {.c = c, .bodies = bodies};
  char sql[96];
  int e = catalogue_usable(c) ? 0 : catalogue_follow(c, log, err);
  uint64_t size = tlog_size(log), from = c->texts, to = from + most < size ? from + most : size;
  *ret_more = false;
  if (e < 0 || from >= to) return e;
  e = catalogue_run(c, "BEGIN IMMEDIATE", err);
  if (e < 0) return e;
  if (sqlite3_prepare_v2(c->db, "INSERT INTO text (rowid, content) VALUES (?, ?)", -1, &r.add, NULL) != SQLITE_OK)
    e = catalogue_fail(c, err, "write");
  buf_init(&r.envelope, CATALOGUE_BODY);
  buf_init(&r.text, CATALOGUE_TEXT + 1024);
  bodies_read_begin(bodies);
  if (e == 0) e = tlog_each(log, from, to, text_add, &r, err);
  bodies_read_end(bodies);
  sqlite3_finalize(r.add);
  buf_release(&r.envelope);
  buf_release(&r.text);
  snprintf(sql, sizeof sql, "UPDATE done SET texts = %" PRIu64, to);
  if (e == 0) e = catalogue_run(c, sql, err);
  if (e == 0) e = catalogue_run(c, "COMMIT", err);
  if (e < 0) catalogue_rollback(c);
  if (e == 0) c->texts = to;
  if (e == 0 && c->size < to) c->size = to;
  *ret_more = e == 0 && to < size;
  return e;
}

/* Merging all segments drops what was deleted; freed pages are wiped (secure_delete), and so is the write-ahead log. */
int catalogue_forget(struct catalogue *c, uint64_t index, struct err *err) {
  char sql[96];
  snprintf(sql, sizeof sql, "SELECT count(*) FROM text WHERE rowid = %" PRIu64, index);
  if (catalogue_number(c, sql) == 0) return 0;
  snprintf(sql, sizeof sql, "DELETE FROM text WHERE rowid = %" PRIu64, index);
  int r = catalogue_run(c, sql, err);
  if (r == 0) r = catalogue_run(c, "INSERT INTO text (text) VALUES ('optimize')", err);
  return r < 0 ? r : catalogue_run(c, "PRAGMA wal_checkpoint(TRUNCATE)", err);
}

/* ---- searching */

/* As typed it may be no expression of FTS5 (10.0.0.1, app-orders): then each word that is no operator is taken as it is. */
static void words_quote(const char *match, struct buf *out) {
  while (*match) {
    size_t n = strcspn(match, " \t");
    bool operator=(n == 3 && (strncmp(match, "AND", 3) == 0 || strncmp(match, "NOT", 3) == 0)) || (n == 2 && strncmp(match, "OR", 2) == 0);
    if (n && !operator) {
      buf_addc(out, '"');
      for (size_t i = 0; i < n; i++)
        if (match[i] != '"') buf_addc(out, match[i]);
      buf_addc(out, '"');
    } else {
      buf_add(out, match, n);
    }
    buf_addc(out, ' ');
    match += n;
    while (*match == ' ' || *match == '\t') match++;
  }
}

static void query_write(const struct catalogue_query *q, struct buf *sql) {
  buf_adds(sql, "SELECT e.idx, j.name, e.seq, e.time, k.name FROM ");
  if (q->match) buf_adds(sql, "text t CROSS JOIN entry e ON e.idx = t.rowid ");
  else buf_adds(sql, "entry e ");
  buf_adds(sql, "JOIN journal j ON j.id = e.journal JOIN kind k ON k.id = e.kind WHERE e.time >= ?1 AND e.time < ?2 ");
  if (q->match) buf_adds(sql, "AND t.text MATCH ?3 ");
  if (q->journal) buf_adds(sql, "AND e.journal = (SELECT id FROM journal WHERE name = ?4) ");
  if (q->kinds) {
    buf_adds(sql, "AND k.name IN (");
    for (int i = 0; q->kinds[i] && i < KINDS_MOST; i++) buf_addf(sql, "%s?%d", i ? ", " : "", 6 + i);
    buf_adds(sql, ") ");
  }
  buf_addf(sql, "ORDER BY %s DESC LIMIT ?5", q->match ? "t.rowid" : "e.idx");
}

static void query_bind(const struct catalogue_query *q, const char *match, sqlite3_stmt *s) {
  sqlite3_bind_int64(s, 1, q->from);
  sqlite3_bind_int64(s, 2, q->to ? q->to : INT64_MAX);
  if (q->match) sqlite3_bind_text(s, 3, match, -1, SQLITE_STATIC);
  if (q->journal) sqlite3_bind_text(s, 4, q->journal, -1, SQLITE_STATIC);
  sqlite3_bind_int64(s, 5, q->most ? (sqlite3_int64)q->most : 100);
  for (int i = 0; q->kinds && q->kinds[i] && i < KINDS_MOST; i++) sqlite3_bind_text(s, 6 + i, q->kinds[i], -1, SQLITE_STATIC);
}

/* SQLITE_DONE, or what went wrong; *ret_any: something was handed out. */
static int query_run(struct catalogue *c, sqlite3_stmt *s, catalogue_hit_cb *cb, void *arg, bool *ret_any) {
  int step;
  while ((step = sqlite3_step(s)) == SQLITE_ROW) {
    *ret_any = true;
    if (!cb(arg, (uint64_t)sqlite3_column_int64(s, 0), (const char *)sqlite3_column_text(s, 1), (uint64_t)sqlite3_column_int64(s, 2),
            sqlite3_column_int64(s, 3), (const char *)sqlite3_column_text(s, 4)))
      return SQLITE_DONE;
  }
  return step;
}

int catalogue_search(struct catalogue *c, const struct catalogue_query *q, catalogue_hit_cb *cb, void *arg, struct err *err) {
  struct buf sql, quoted;
  sqlite3_stmt *s = NULL;
  bool any = false;
  buf_init(&sql, 8192);
  buf_init(&quoted, 2 * MATCH_MOST);
  query_write(q, &sql);
  int r = q->match && strlen(q->match) >= MATCH_MOST ? err_set(err, ERR_LIMIT, "the words to search for are too long") : 0;
  if (r == 0 && sqlite3_prepare_v2(c->db, sql.data, -1, &s, NULL) != SQLITE_OK) r = catalogue_fail(c, err, "search");
  if (r == 0) {
    query_bind(q, q->match, s);
    int step = query_run(c, s, cb, arg, &any);
    if (step != SQLITE_DONE && q->match && !any) {
      sqlite3_reset(s);
      words_quote(q->match, &quoted);
      query_bind(q, quoted.data, s);
      step = query_run(c, s, cb, arg, &any);
    }
    if (step == SQLITE_ERROR)
      r = err_set(err, ERR_INVALID, "this is no search: write words, \"a phrase\", AND, OR, NOT, or a beginning with a star (%.100s)",
                  sqlite3_errmsg(c->db));
    else if (step != SQLITE_DONE) r = catalogue_fail(c, err, "search");
  }
  sqlite3_finalize(s);
  buf_release(&sql);
  buf_release(&quoted);
  return r;
}

int catalogue_count(struct catalogue *c, int64_t from, int64_t to, catalogue_count_cb *cb, void *arg, struct err *err) {
  static const char sql[] =
      "SELECT k.name, e.person, count(*) FROM entry e JOIN kind k ON k.id = e.kind WHERE e.time >= ?1 AND e.time < ?2 "
      "GROUP BY e.kind, e.person";
  sqlite3_stmt *s = NULL;
  if (sqlite3_prepare_v2(c->db, sql, -1, &s, NULL) != SQLITE_OK) return catalogue_fail(c, err, "count");
  sqlite3_bind_int64(s, 1, from);
  sqlite3_bind_int64(s, 2, to ? to : INT64_MAX);
  int step;
  while ((step = sqlite3_step(s)) == SQLITE_ROW)
    cb(arg, (const char *)sqlite3_column_text(s, 0), sqlite3_column_int(s, 1) != 0, (uint64_t)sqlite3_column_int64(s, 2));
  int r = step == SQLITE_DONE ? 0 : catalogue_fail(c, err, "count");
  sqlite3_finalize(s);
  return r;
}
