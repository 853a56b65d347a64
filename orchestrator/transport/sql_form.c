#include "transport/sql_form.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/json.h"
#include "transport/form.h"

/* PostgreSQL's own numbers of the types that JSON has too (pg_type.dat). */
enum {
  TYPE_BOOL = 16,
  TYPE_INT8 = 20,
  TYPE_INT2 = 21,
  TYPE_INT4 = 23,
  TYPE_OID = 26,
  TYPE_JSON = 114,
  TYPE_FLOAT4 = 700,
  TYPE_FLOAT8 = 701,
  TYPE_JSONB = 3802
};

static int check_statement(const json_t *statement, size_t number, struct err *err) {
  static const char *const members[] = {"text", "values", "params", NULL};
  char where[40];
  const char *text;
  const json_t *list;
  int r;
  snprintf(where, sizeof where, "sql.statements[%zu]", number);
  if (json_is_string(statement)) {
    bool nul = strlen(json_string_value(statement)) != json_string_length(statement);
    return nul || !json_string_length(statement) ? err_set(err, ERR_INVALID, "%s is empty or holds a NUL byte", where) : 0;
  }
  if ((r = form_members(statement, where, members, err)) < 0 || (r = form_string(statement, where, "text", true, &text, err)) < 0 ||
      (r = form_list(statement, where, "values", &list, err)) < 0 || (r = form_list(statement, where, "params", &list, err)) < 0)
    return r;
  return json_array_size(list) > MOST_PARAMS ? err_set(err, ERR_LIMIT, "%s: more than %d params", where, MOST_PARAMS) : 0;
}

int sql_form_init(struct sql_form *q, const json_t *form, struct err *err) {
  static const char *const members[] = {"host",    "port",        "dbname", "user",       "password",
                                        "sslmode", "transaction", "log_in", "statements", NULL};
  int64_t port;
  size_t i;
  json_t *statement;
  int r;
  memset(q, 0, sizeof *q);
  if ((r = form_members(form, "sql", members, err)) < 0 || (r = form_string(form, "sql", "host", true, &q->host, err)) < 0 ||
      (r = form_integer(form, "sql", "port", 5432, 1, 65535, &port, err)) < 0 ||
      (r = form_string(form, "sql", "dbname", true, &q->dbname, err)) < 0 ||
      (r = form_string(form, "sql", "user", true, &q->user, err)) < 0 ||
      (r = form_string(form, "sql", "password", false, &q->password, err)) < 0 ||
      (r = form_string(form, "sql", "sslmode", false, &q->sslmode, err)) < 0 ||
      (r = form_bool(form, "sql", "transaction", false, &q->transaction, err)) < 0 ||
      (r = form_bool(form, "sql", "log_in", false, &q->log_in, err)) < 0 ||
      (r = form_list(form, "sql", "statements", &q->statements, err)) < 0)
    return r;
  q->port = (int)port;
  if (!q->sslmode) q->sslmode = q->host[0] == '/' ? "disable" : "verify-full";
  if (strcmp(q->sslmode, "verify-full") != 0 && strcmp(q->sslmode, "verify-ca") != 0 && strcmp(q->sslmode, "disable") != 0)
    return err_set(err, ERR_INVALID, "sql: sslmode must be verify-full, verify-ca or disable");
  if (q->log_in && (!q->password || !*q->password)) return err_set(err, ERR_INVALID, "sql: log_in needs a password to try");
  if (q->log_in && q->transaction) return err_set(err, ERR_INVALID, "sql: log_in and transaction do not go together");
  if (!*q->host || strchr(q->host, ',') || strchr(q->dbname, '='))
    return err_set(err, ERR_INVALID, "sql: host or dbname holds what it should not");
  size_t count = json_array_size(q->statements);
  if (count < (q->log_in ? 0 : 1) || count > MOST_STATEMENTS)
    return err_set(err, ERR_INVALID, "sql: statements must be a list of 1 to %d", MOST_STATEMENTS);
  json_array_foreach(q->statements, i, statement) if ((r = check_statement(statement, i + 1, err)) < 0) return r;
  return 0;
}

/* ---- rendering -------------------------------------------------------------------------------------- */

static int add_quoted(PGconn *conn, char how, const json_t *value, struct buf *out, struct err *err) {
  struct text text;
  char *(*quote)(PGconn *, const char *, size_t) = how == 'I' ? PQescapeIdentifier : PQescapeLiteral;
  if (!form_text(value, &text) || strlen(text.bytes) != text.len)
    return err_set(err, ERR_INVALID, "the value for %%%c is missing, no string, or holds a NUL byte", how);
  if (how == 'I' && !text.len) return err_set(err, ERR_INVALID, "an identifier is empty");
  char *quoted = quote(conn, text.bytes, text.len);
  if (!quoted) return err_set(err, ERR_INVALID, "the value for %%%c cannot be quoted: %s", how, PQerrorMessage(conn));
  buf_adds(out, quoted);
  explicit_bzero(quoted, strlen(quoted));
  PQfreemem(quoted);
  return 0;
}

/* The verifier is made here: the clear text reaches neither the server nor its log. */
static int add_verifier(PGconn *conn, const json_t *value, struct buf *out, struct err *err) {
  static const char *const members[] = {"role", "password", NULL};
  const char *role, *password;
  int r;
  if ((r = form_members(value, "the value for %P", members, err)) < 0 ||
      (r = form_string(value, "the value for %P", "role", true, &role, err)) < 0 ||
      (r = form_string(value, "the value for %P", "password", true, &password, err)) < 0)
    return r;
  if (!*password) return err_set(err, ERR_INVALID, "the password for %%P is empty");
  char *verifier = PQencryptPasswordConn(conn, password, role, "scram-sha-256");
  if (!verifier) return err_set(err, ERR_INVALID, "the password for %%P cannot be encrypted: %s", PQerrorMessage(conn));
  char *quoted = PQescapeLiteral(conn, verifier, strlen(verifier));
  PQfreemem(verifier);
  if (!quoted) return err_set(err, ERR_INVALID, "the verifier cannot be quoted");
  buf_adds(out, quoted);
  PQfreemem(quoted);
  return 0;
}

static int render_text(PGconn *conn, const char *text, const json_t *values, struct buf *out, struct err *err) {
  size_t next = 0;
  int r = 0;
  for (const char *p = text; *p && r == 0; p++) {
    if (*p != '%') {
      buf_addc(out, *p);
      continue;
    }
    char how = *++p;
    if (how == '%') buf_addc(out, '%');
    else if (how == 'I' || how == 'L') r = add_quoted(conn, how, json_array_get(values, next++), out, err);
    else if (how == 'P') r = add_verifier(conn, json_array_get(values, next++), out, err);
    else r = err_set(err, ERR_INVALID, "a percent sign must be %%I, %%L, %%P or %%%%");
  }
  if (r == 0 && next != json_array_size(values)) r = err_set(err, ERR_INVALID, "%zu values for %zu places", json_array_size(values), next);
  return r;
}

static int render_params(const json_t *params, struct sql_statement *s, struct err *err) {
  size_t i;
  json_t *value;
  json_array_foreach(params, i, value) {
    struct text text;
    s->param_count = (int)i + 1;
    if (json_is_null(value)) continue;
    if (!form_text(value, &text) || strlen(text.bytes) != text.len)
      return err_set(err, ERR_INVALID, "param %zu is no string, number, boolean or null", i + 1);
    if (!(s->params[i] = strdup(text.bytes))) abort();
  }
  return 0;
}

int sql_render(PGconn *conn, const json_t *statement, size_t number, struct sql_statement *ret, struct err *err) {
  const json_t *values = json_object_get(statement, "values");
  const char *text = json_is_string(statement) ? json_string_value(statement) : json_str(statement, "text");
  struct sql_statement s = {0};
  struct buf out;
  int r = 0;
  buf_init(&out, STATEMENT_CAP);
  if (json_is_array(values)) r = render_text(conn, text, values, &out, err);
  else buf_adds(&out, text);
  if (r == 0) r = render_params(json_object_get(statement, "params"), &s, err);
  if (r == 0 && !(s.text = buf_take(&out, NULL))) r = err_set(err, ERR_LIMIT, "it is longer than %d bytes", STATEMENT_CAP);
  if (out.size) explicit_bzero(out.data, out.len);
  buf_release(&out);
  if (r == 0) *ret = s;
  else sql_statement_release(&s), err_wrap(err, "sql.statements[%zu]", number);
  return r;
}

void sql_statement_release(struct sql_statement *s) {
  wipe_string(s->text);
  for (int i = 0; i < s->param_count; i++) wipe_string(s->params[i]);
  memset(s, 0, sizeof *s);
}

json_t *sql_field(const PGresult *result, int row, int column) {
  const char *text = PQgetvalue(result, row, column);
  size_t len = (size_t)PQgetlength(result, row, column);
  json_t *value = NULL;
  if (PQgetisnull(result, row, column)) return json_null();
  switch (PQftype(result, column)) {
  case TYPE_BOOL: return json_boolean(text[0] == 't');
  case TYPE_INT2:
  case TYPE_INT4:
  case TYPE_INT8:
  case TYPE_OID: return json_integer(strtoll(text, NULL, 10));
  case TYPE_FLOAT4:
  case TYPE_FLOAT8: value = json_real(strtod(text, NULL)); break; /* NULL for NaN and infinity: then as text */
  case TYPE_JSON:
  case TYPE_JSONB:
    if (json_parse(text, len, &value, NULL) < 0) value = NULL;
    break;
  default: break;
  }
  return value ? value : json_lossy(text, len);
}
