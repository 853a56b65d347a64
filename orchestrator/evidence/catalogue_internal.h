/* catalogue_internal.h: what the two halves of the catalogue share: places (catalogue.c) and texts (catalogue_search.c). */
#ifndef TOCSIN_EVIDENCE_CATALOGUE_INTERNAL_H
#define TOCSIN_EVIDENCE_CATALOGUE_INTERNAL_H

#include <sqlite3.h>

#include "evidence/catalogue.h"
#include "evidence/head.h"

enum { CATALOGUE_PATH = 4096 };
enum { ADD_JOURNAL, FIND_JOURNAL, ADD_KIND, FIND_KIND, ADD_ENTRY, FIND_ENTRY, LAST_ENTRY, STATEMENTS };

/* The numbers of names that came lately: entries of a batch are of few journals and kinds. Only of a writer; what a rollback may have taken back is forgotten. */
enum { CATALOGUE_NAMES = 512 };
struct catalogue_name {
  int statement; /* that adds it */
  int64_t id;    /* 0: none is here */
  char name[HEAD_INCIDENT];
};

struct catalogue {
  char path[CATALOGUE_PATH];
  sqlite3 *db;
  sqlite3_stmt *statements[STATEMENTS];
  uint64_t size, texts;         /* of the log's entries: those that are in, and those whose texts are in, too */
  struct catalogue_name *names; /* CATALOGUE_NAMES, each in the one place that its letters give; NULL: none yet */
  bool checked;                 /* against the log and in itself, since it was opened */
  bool damaged;                 /* SQLite has said so: made anew before it is used again */
};

int catalogue_fail(struct catalogue *c, struct err *err, const char *what);
int catalogue_run(struct catalogue *c, const char *text, struct err *err);
int catalogue_entry_add(struct catalogue *c, uint64_t index, const void *bytes, size_t len, const struct hash *leaf, struct err *err);
void catalogue_rollback(struct catalogue *c);                    /* of a transaction that failed, if it is still one */
int64_t catalogue_number(struct catalogue *c, const char *text); /* one number that a query gives; -1 without */

#endif
