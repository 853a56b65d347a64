/* sql.c: a list of statements over one PostgreSQL connection, with libpq's asynchronous functions on the loop.
 *
 * The name is resolved by a worker (libpq would block), its addresses are checked, and libpq gets addresses. All statements are rendered before
 * the gate, so that a mistake in one is found before anything is sent. libpq's environment variables and files have no say. */
#include <libpq-fe.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/json.h"
#include "transport/form.h"
#include "transport/pool.h"
#include "transport/sql_form.h"

enum { ADDRESSES_CAP = 1024, MOST_ADDRESSES = 8, KEYWORDS = 20 };

struct sql {
  struct flight *flight;
  struct sql_form form;
  struct netrules rules;
  PGconn *conn;
  struct watch *watch;
  int fd, events;
  struct sql_statement *statements; /* with BEGIN and COMMIT around them in a transaction */
  size_t count, at;
  json_t *results, *rows; /* rows: of the statement under way */
  size_t bytes;
  json_t *refusal; /* {"sqlstate", "message"} of the statement that failed */
  bool lost;
};

static void sql_release(struct sql *s) {
  watch_free(s->watch);
  if (s->conn) PQfinish(s->conn);
  for (size_t i = 0; i < s->count; i++) sql_statement_release(&s->statements[i]);
  free(s->statements);
  netrules_release(&s->rules);
  json_decref(s->results);
  json_decref(s->rows);
  json_decref(s->refusal);
  free(s);
}

static struct flight *sql_leave(struct sql *s) {
  struct flight *f = s->flight;
  f->state = NULL;
  sql_release(s);
  return f;
}

static void sql_watch(struct sql *s, int events, watch_cb *cb) {
  int fd = PQsocket(s->conn);
  watch_free(s->watch);
  s->watch = watch_fd(s->flight->t->loop, fd, events, cb, s);
}

/* ---- running ---------------------------------------------------------------------------------------- */

static bool is_control(const struct sql *s, size_t at) { return s->form.transaction && (at == 0 || at + 1 == s->count); }

static void send_next(struct sql *s);

static void answer(struct sql *s) {
  json_t *response = json_object(), *last = json_array_get(s->results, json_array_size(s->results) - 1);
  json_object_set(response, "results", s->results);
  if (s->refusal) {
    size_t failed = s->form.transaction ? (s->at + 1 == s->count ? s->count - 2 : s->at) : s->at + 1;
    json_object_update(response, s->refusal);
    json_object_set_new(response, "failed", json_integer((json_int_t)failed));
  } else if (last) {
    json_object_set(response, "rows", json_object_get(last, "rows"));
    json_object_set(response, "affected", json_object_get(last, "affected"));
  }
  if (s->form.log_in) json_object_set_new(response, "logged_in", json_true());
  flight_answer(sql_leave(s), response, -1);
}

static void lost(struct sql *s) {
  char why[256];
  snprintf(why, sizeof why, "the connection was lost before the answer: %.200s", PQerrorMessage(s->conn));
  flight_fail(sql_leave(s), ERR_UNAVAILABLE, "%s", why);
}

static void add_rows(struct sql *s, const PGresult *result) {
  int rows = PQntuples(result), columns = PQnfields(result);
  for (int i = 0; i < rows; i++) {
    json_t *row = json_object();
    for (int k = 0; k < columns; k++) {
      s->bytes += (size_t)PQgetlength(result, i, k) + strlen(PQfname(result, k));
      json_object_set_new(row, PQfname(result, k), sql_field(result, i, k));
    }
    json_array_append_new(s->rows, row);
  }
}

/* An error of the server is an answer, unless it says that the outcome is not known: the session ended under it. */
static void note_error(struct sql *s, const PGresult *result) {
  const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE), *text = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
  if (!state || strncmp(state, "08", 2) == 0 || strncmp(state, "57P0", 4) == 0 || strcmp(state, "40003") == 0) {
    s->lost = true;
    return;
  }
  if (s->refusal) return;
  s->refusal = json_object();
  json_object_set_new(s->refusal, "sqlstate", json_string(state));
  json_object_set_new(s->refusal, "message", json_lossy(text ? text : "", text ? strlen(text) : 0));
}

static void note_result(struct sql *s, PGresult *result) {
  switch (PQresultStatus(result)) {
  case PGRES_SINGLE_TUPLE: add_rows(s, result); break;
  case PGRES_TUPLES_OK:
  case PGRES_COMMAND_OK:
  case PGRES_EMPTY_QUERY: {
    if (is_control(s, s->at)) break;
    json_t *one = json_object();
    json_object_set_new(one, "tag", json_string(PQcmdStatus(result)));
    json_object_set_new(one, "affected", json_integer(strtoll(PQcmdTuples(result), NULL, 10)));
    json_object_set(one, "rows", s->rows);
    json_array_append_new(s->results, one);
    break;
  }
  case PGRES_COPY_IN:
  case PGRES_COPY_OUT:
  case PGRES_COPY_BOTH: /* would wait for data that nobody brings */ s->lost = true; break;
  default: note_error(s, result);
  }
  PQclear(result);
}

static void on_running(void *arg, int fd, int events) {
  struct sql *s = arg;
  bool ended = false;
  int unsent = 0;
  if (((events & WATCH_READ) && !PQconsumeInput(s->conn)) || (unsent = PQflush(s->conn)) < 0) {
    lost(s);
    return;
  }
  while (!ended && !s->lost && s->bytes <= s->flight->response_cap && !PQisBusy(s->conn)) {
    PGresult *result = PQgetResult(s->conn);
    if (result) note_result(s, result);
    else ended = true;
  }
  if (s->lost || (ended && PQstatus(s->conn) == CONNECTION_BAD && !s->refusal)) {
    lost(s);
  } else if (s->bytes > s->flight->response_cap) {
    size_t cap = s->flight->response_cap;
    flight_fail(sql_leave(s), ERR_LIMIT, "the answer is longer than %zu bytes", cap);
  } else if (ended && (s->refusal || s->at + 1 == s->count)) {
    answer(s);
  } else if (ended) {
    s->at++;
    send_next(s);
  } else {
    sql_watch(s, WATCH_READ | (unsent ? WATCH_WRITE : 0), on_running);
  }
}

static void send_next(struct sql *s) {
  const struct sql_statement *q = &s->statements[s->at];
  json_decref(s->rows);
  s->rows = json_array();
  if (!PQsendQueryParams(s->conn, q->text, q->param_count, NULL, (const char *const *)q->params, NULL, NULL, 0)) {
    lost(s);
    return;
  }
  PQsetSingleRowMode(s->conn);
  int unsent = PQflush(s->conn);
  if (unsent < 0) lost(s);
  else sql_watch(s, WATCH_READ | (unsent ? WATCH_WRITE : 0), on_running);
}

/* ---- connecting ------------------------------------------------------------------------------------- */

static int control_statement(struct sql_statement *s, const char *text) {
  if (!(s->text = strdup(text))) abort();
  return 0;
}

static int render_all(struct sql *s, struct err *err) {
  size_t n = json_array_size(s->form.statements), shift = s->form.transaction ? 1 : 0;
  int r = 0;
  s->count = n + 2 * shift;
  if (!(s->statements = calloc(s->count + 1, sizeof *s->statements))) abort();
  if (shift) control_statement(&s->statements[0], "BEGIN"), control_statement(&s->statements[s->count - 1], "COMMIT");
  for (size_t i = 0; i < n && r == 0; i++)
    r = sql_render(s->conn, json_array_get(s->form.statements, i), i + 1, &s->statements[i + shift], err);
  return r;
}

static void connected(struct sql *s) {
  struct err err = {0};
  if (render_all(s, &err) < 0) {
    flight_fail(sql_leave(s), err.code, "%s", err.text);
    return;
  }
  if (PQsetnonblocking(s->conn, 1) != 0) {
    flight_fail(sql_leave(s), ERR_INTERNAL, "libpq refuses to be asynchronous");
    return;
  }
  if (!s->form.log_in && !flight_pass(s->flight)) {
    flight_fail(sql_leave(s), ERR_CANCELLED, "the last check before sending said no");
    return;
  }
  if (s->count) send_next(s);
  else answer(s);
}

/* libpq's words without the lines that say where in the server's source they come from. */
static void connect_reason(struct sql *s, char *out, size_t size) {
  size_t n = 0;
  for (const char *line = PQerrorMessage(s->conn); *line && n + 1 < size;) {
    size_t len = strcspn(line, "\n");
    if (strncmp(line, "LOCATION:", 9) != 0)
      n += (size_t)snprintf(out + n, size - n, "%s%.*s", n ? " " : "", (int)(len < 300 ? len : 300), line);
    line += len + (line[len] == '\n');
  }
}

static void connect_failed(struct sql *s) {
  char why[512] = "";
  const char *said = PQerrorMessage(s->conn);
  /* SQLSTATEs of a refused log-in, whatever language the server speaks; they are there because of PQERRORS_VERBOSE. */
  const char *state = strstr(said, " 28P01: ") ? "28P01" : strstr(said, " 28000: ") ? "28000" : NULL;
  connect_reason(s, why, sizeof why);
  if (state && s->form.log_in) {
    json_t *response = json_object();
    json_object_set_new(response, "logged_in", json_false());
    json_object_set_new(response, "sqlstate", json_string(state));
    json_object_set_new(response, "message", json_lossy(why, strlen(why)));
    flight_answer(sql_leave(s), response, -1);
    return;
  }
  bool denied = state || strstr(said, "certificate") || strstr(said, "SSL") || PQconnectionNeedsPassword(s->conn);
  flight_fail(sql_leave(s), denied ? ERR_DENIED : ERR_UNAVAILABLE, "%s", why);
}

static void on_connecting(void *arg, int fd, int events) {
  struct sql *s = arg;
  /* The socket may be another one from now on (libpq tries the next address): never keep a watch on the old. */
  watch_free(s->watch);
  s->watch = NULL;
  switch (PQconnectPoll(s->conn)) {
  case PGRES_POLLING_READING: sql_watch(s, WATCH_READ, on_connecting); break;
  case PGRES_POLLING_WRITING: sql_watch(s, WATCH_WRITE, on_connecting); break;
  case PGRES_POLLING_OK: connected(s); break;
  default: connect_failed(s);
  }
}

static void no_notice(void *arg, const PGresult *result) {}

struct keywords {
  const char *names[KEYWORDS], *values[KEYWORDS];
  size_t count;
};

static void keyword(struct keywords *k, const char *name, const char *value) {
  if (!value) return;
  k->names[k->count] = name;
  k->values[k->count++] = value;
}

/* hosts and addresses: comma-separated lists of the same length, or NULL for a Unix socket. */
static void sql_connect(struct sql *s, const char *hosts, const char *addresses) {
  char port[8], options[64];
  struct keywords k = {0};
  snprintf(port, sizeof port, "%d", s->form.port);
  snprintf(options, sizeof options, "-c statement_timeout=%lld", (long long)flight_left_ms(s->flight) + 1);
  keyword(&k, "host", hosts ? hosts : s->form.host);
  keyword(&k, "hostaddr", addresses);
  keyword(&k, "port", port);
  keyword(&k, "user", s->form.user);
  keyword(&k, "password", s->form.password);
  keyword(&k, "passfile", "/dev/null");
  keyword(&k, "sslmode", s->form.sslmode);
  keyword(&k, "sslrootcert", s->rules.ca_file ? s->rules.ca_file : "/etc/ssl/certs/ca-certificates.crt");
  keyword(&k, "gssencmode", "disable");
  keyword(&k, "target_session_attrs", "any");
  keyword(&k, "application_name", "tocsin");
  keyword(&k, "client_encoding", "UTF8");
  keyword(&k, "options", options); /* what we no longer wait for must not go on for ever */
  keyword(&k, "dbname", s->form.dbname);
  if (s->form.log_in && !flight_pass(s->flight)) { /* a refused log-in counts at the server: this is the effect */
    flight_fail(sql_leave(s), ERR_CANCELLED, "the last check before sending said no");
    return;
  }
  s->conn = PQconnectStartParams(k.names, k.values, 0);
  if (!s->conn) abort();
  PQsetErrorVerbosity(s->conn, PQERRORS_VERBOSE);
  PQsetNoticeReceiver(s->conn, no_notice, NULL);
  if (PQstatus(s->conn) == CONNECTION_BAD) connect_failed(s);
  else sql_watch(s, WATCH_WRITE, on_connecting);
}

/* On a worker: the name's addresses that may be connected, as an array of texts. */
static void resolve(struct job *job) {
  struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG}, *all = NULL;
  const char *host = json_str(job->form, "host");
  json_t *list = json_array();
  int r = getaddrinfo(host, NULL, &hints, &all);
  if (r != 0) job_fail(job, ERR_UNAVAILABLE, "the name %.128s cannot be resolved: %s", host, gai_strerror(r));
  for (struct addrinfo *at = all; at && json_array_size(list) < MOST_ADDRESSES; at = at->ai_next) {
    char text[ADDRESS_TEXT];
    address_text(at->ai_addr, text);
    if (netrules_allow(&job->rules, at->ai_addr)) json_array_append_new(list, json_string(text));
  }
  if (all) freeaddrinfo(all);
  if (r == 0 && !json_array_size(list))
    job_fail(job, ERR_DENIED, "the address of %.128s may not be connected (link-local, metadata or multicast; see network.allow)", host);
  job->response = list;
}

static struct sql *sql_new(struct flight *f) {
  struct sql *s = calloc(1, sizeof *s);
  if (!s || !(s->results = json_array())) abort();
  s->flight = f;
  if (netrules_init(&s->rules, f->network, NULL) < 0 || sql_form_init(&s->form, f->form, NULL) < 0)
    abort(); /* both were checked at the start */
  f->state = s;
  return s;
}

static void resolved(struct flight *f, struct job *job) {
  struct buf hosts, addresses;
  size_t i;
  json_t *address;
  if (job->err.code) {
    flight_fail(f, job->err.code, "%s", job->err.text);
    return;
  }
  f->form = job->form;
  job->form = NULL;
  struct sql *s = sql_new(f);
  buf_init(&hosts, ADDRESSES_CAP * MOST_ADDRESSES);
  buf_init(&addresses, ADDRESSES_CAP);
  json_array_foreach(job->response, i, address) {
    buf_addf(&hosts, "%s%s", i ? "," : "", s->form.host);
    buf_addf(&addresses, "%s%s", i ? "," : "", json_string_value(address));
  }
  if (buf_ok(&hosts) && buf_ok(&addresses)) sql_connect(s, hosts.data, addresses.data);
  else flight_fail(sql_leave(s), ERR_INVALID, "sql: the host's name is too long");
  buf_release(&hosts);
  buf_release(&addresses);
}

static void connect_local(void *arg) {
  struct flight *f = arg;
  sql_connect(f->state, NULL, NULL);
}

static int sql_start(struct flight *f, struct err *err) {
  struct sql_form check;
  struct netrules rules;
  int r;
  if ((r = sql_form_init(&check, f->form, err)) < 0 || (r = netrules_init(&rules, f->network, err)) < 0) return r;
  netrules_release(&rules);
  if (check.host[0] != '/') return job_start(f, resolve, resolved, NULL, NULL, err);
  sql_new(f);
  loop_defer(f->t->loop, connect_local, f);
  return 0;
}

static bool is_resolving(const struct flight *f) { return f->form == NULL; }

static void sql_cancel(struct flight *f) {
  loop_undefer(f->t->loop, connect_local, f);
  if (is_resolving(f)) job_cancel(f);
  else if (f->state) sql_release(f->state);
  f->state = NULL;
}

const struct transport transport_sql = {"sql", sql_start, sql_cancel};
