/* sql_form.h: the `sql` form checked, and its statements rendered by libpq's own quoting. Only sql.c includes it. */
#ifndef TOCSIN_TRANSPORT_SQL_FORM_H
#define TOCSIN_TRANSPORT_SQL_FORM_H

#include <jansson.h>
#include <libpq-fe.h>
#include <stdbool.h>

#include "base/err.h"

enum { MOST_STATEMENTS = 64, MOST_PARAMS = 64, STATEMENT_CAP = 1 << 20 };

struct sql_form { /* borrowed from the form */
  const char *host, *dbname, *user, *password, *sslmode;
  int port;
  bool transaction;
  bool log_in; /* the log-in itself is what is asked: a refusal is an answer, statements may be absent */
  const json_t *statements;
};

struct sql_statement {
  char *text;
  char *params[MOST_PARAMS]; /* NULL: SQL null */
  int param_count;
};

int sql_form_init(struct sql_form *q, const json_t *form, struct err *err);
/* Needs a live connection: quoting depends on it. */
int sql_render(PGconn *conn, const json_t *statement, size_t number, struct sql_statement *ret, struct err *err);
void sql_statement_release(struct sql_statement *s);
/* One field of a row as JSON by its type. New. */
json_t *sql_field(const PGresult *result, int row, int column);

#endif
