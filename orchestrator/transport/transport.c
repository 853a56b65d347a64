#include "transport/flight.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/id.h"
#include "base/slab.h"
#include "base/json.h"
#include "transport/form.h"
#include "transport/multi.h"
#include "transport/pool.h"

static const struct transport *const table[] = {&transport_http,  &transport_ldap, &transport_sql,
                                                &transport_redis, &transport_smtp, &transport_exec};

static const int64_t LONGEST_MS = INT64_C(315360000000) /* ten years: no overflow */,
                     LATE_US = 10000 /* how late a time-out may be noticed */, LOOK_US = 1000000;

/* ---- the passage ------------------------------------------------------------------------------------ */

static struct passage *passage_new(const struct exchange *x, atomic_uint_least64_t *sent) {
  struct passage *p = slab_calloc(1, sizeof *p);
  if (!p) abort();
  atomic_init(&p->refs, 1);
  atomic_init(&p->state, PASSAGE_BEFORE);
  pthread_mutex_init(&p->lock, NULL);
  p->gate = x->gate;
  p->gate_arg = x->gate_arg;
  p->sent = sent;
  return p;
}

struct passage *passage_ref(struct passage *p) {
  atomic_fetch_add(&p->refs, 1);
  return p;
}

void passage_unref(struct passage *p) {
  if (!p || atomic_fetch_sub(&p->refs, 1) != 1) return;
  pthread_mutex_destroy(&p->lock);
  slab_free(p);
}

bool passage_is_open(const struct passage *p) { return !atomic_load(&p->closed); }

/* From `from` to sent, if the gate agrees. */
static bool passage_ask(struct passage *p, enum passage_state from) {
  bool agreed = false;
  pthread_mutex_lock(&p->lock);
  if (atomic_load(&p->state) == (int)from && passage_is_open(p)) {
    agreed = !p->gate || p->gate(p->gate_arg);
    if (agreed) atomic_fetch_add(p->sent, 1);
    if (agreed || from == PASSAGE_BEFORE) atomic_store(&p->state, agreed ? PASSAGE_SENT : PASSAGE_REFUSED);
  }
  pthread_mutex_unlock(&p->lock);
  return agreed;
}

bool passage_pass(struct passage *p) { return passage_ask(p, PASSAGE_BEFORE); }

bool passage_pass_again(struct passage *p) { return passage_ask(p, PASSAGE_SENT); }

void passage_close(struct passage *p) {
  int before = PASSAGE_BEFORE;
  pthread_mutex_lock(&p->lock);
  atomic_compare_exchange_strong(&p->state, &before, PASSAGE_CANCELLED);
  atomic_store(&p->closed, true);
  pthread_mutex_unlock(&p->lock);
}

bool flight_pass(struct flight *f) { return passage_pass(f->passage); }

bool flight_passed(const struct flight *f) { return atomic_load(&f->passage->state) == PASSAGE_SENT; }

int64_t flight_left_ms(const struct flight *f) {
  int64_t left = f->timeout_ms - (clock_boot(clock_system()) - f->started_us) / 1000;
  return left > 0 ? left : 0;
}

/* ---- the end ---------------------------------------------------------------------------------------- */

static void flight_release(struct flight *f) {
  passage_unref(f->passage);
  form_wipe(f->form);
  json_decref(f->network);
  json_decref(f->simulate);
  json_decref(f->result.response);
  slab_free(f->connector);
  slab_free(f->idempotency_key);
  slab_free(f);
}

static void flight_unlink(struct flight *f) {
  if (f->prev) f->prev->next = f->next;
  else f->t->flights = f->next;
  if (f->next) f->next->prev = f->prev;
  f->t->count--;
}

static void flight_end(void *arg) {
  struct flight *f = arg;
  flight_unlink(f);
  f->result.took_us = clock_boot(clock_system()) - f->started_us;
  f->cb(f->arg, &f->result);
  flight_release(f);
}

static void result_error(struct flight *f, int code, const char *text) {
  struct buf clean;
  f->result.err.code = code;
  buf_init(&clean, sizeof f->result.err.text - 1);
  size_t len = strlen(text), shown = secrets_cut(f->t->secrets, text, len); /* what a server said was cut, here or before */
  secrets_redact(f->t->secrets, text, shown, &clean);
  if (shown < len) buf_adds(&clean, "[secret]");
  snprintf(f->result.err.text, sizeof f->result.err.text, "%s", buf_ok(&clean) ? clean.data : "(too long to be shown safely)");
  buf_release(&clean);
  f->result.delivery = flight_passed(f) ? DELIVERY_IN_DOUBT : DELIVERY_NOT_SENT;
}

/* Whatever the transport says, a refused or cancelled passage explains a failure better. */
static void result_reason(struct flight *f, int code, const char *text) {
  if (atomic_load(&f->passage->state) == PASSAGE_REFUSED)
    result_error(f, ERR_CANCELLED, "the last check before sending said no; nothing was sent");
  else result_error(f, code, text);
}

void flight_answer(struct flight *f, json_t *response, int64_t retry_after_ms) {
  f->result.delivery = DELIVERY_ANSWERED;
  f->result.response = secrets_redact_json(f->t->secrets, response);
  json_decref(response);
  f->result.retry_after_ms = retry_after_ms;
  flight_end(f);
}

void flight_fail(struct flight *f, int code, const char *format, ...) {
  char text[sizeof f->result.err.text];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  passage_close(f->passage);
  result_reason(f, code, text);
  flight_end(f);
}

void flight_fail_unsent(struct flight *f, int code, const char *format, ...) {
  char text[sizeof f->result.err.text];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  passage_close(f->passage);
  result_reason(f, code, text);
  f->result.delivery = DELIVERY_NOT_SENT;
  flight_end(f);
}

/* The caller of a cancel must not be called back before it returned: the end comes in the loop's next turn. */
static void flight_stop(struct flight *f, int code, const char *text) {
  if (f->ending) return;
  f->ending = true;
  passage_close(f->passage);
  f->transport->cancel(f);
  result_reason(f, code, text);
}

void flight_abort(struct flight *f, int code, const char *text) {
  if (f->ending) return;
  flight_stop(f, code, text);
  flight_end(f);
}

void transport_cancel(struct flight *f) {
  if (f->ending) return;
  flight_stop(f, ERR_CANCELLED, "it was cancelled");
  loop_defer(f->t->loop, flight_end, f);
}

/* ---- time-outs -------------------------------------------------------------------------------------- */

static int64_t flight_due(const struct flight *f) {
  return f->started_us + (f->timeout_ms < LONGEST_MS ? f->timeout_ms : LONGEST_MS) * 1000;
}

static void flight_timeout(struct flight *f) {
  char text[96];
  snprintf(text, sizeof text, "no answer within %lld ms", (long long)f->timeout_ms);
  flight_stop(f, ERR_TIMEOUT, text);
  loop_defer(f->t->loop, flight_end, f);
}

static void alarm_rings(void *arg);

/* Never far ahead: while the machine sleeps a timer stands still, and the clock by which it is set does not. */
static void alarm_set(struct transports *t, int64_t due_us) {
  if (t->alarm && t->alarm_us <= due_us) return;
  int64_t now = clock_boot(clock_system()), most = now + LOOK_US;
  timer_free(t->alarm);
  t->alarm_us = due_us < most ? due_us : most;
  t->alarm = timer_start(t->loop, (t->alarm_us - now + 999) / 1000, alarm_rings, t);
}

/* One alarm for all: most flights end long before their time, and leave it alone. */
static void alarm_rings(void *arg) {
  struct transports *t = arg;
  int64_t now = clock_boot(clock_system()), next = INT64_MAX;
  timer_free(t->alarm);
  t->alarm = NULL;
  for (struct flight *f = t->flights; f; f = f->next) {
    int64_t due = flight_due(f);
    if (f->ending) continue;
    if (due <= now) flight_timeout(f);
    else if (due < next) next = due;
  }
  if (next != INT64_MAX) alarm_set(t, next > now + LATE_US ? next : now + LATE_US);
}

/* ---- the start -------------------------------------------------------------------------------------- */

static const struct transport *find_transport(const json_t *request, const json_t **ret_form, struct err *err) {
  void *it = json_object_iter((json_t *)(uintptr_t)request);
  if (!json_is_object(request) || json_object_size(request) != 1) {
    err_set(err, ERR_INVALID, "a request is a table with exactly one member: http, ldap, sql, redis, smtp or exec");
    return NULL;
  }
  for (size_t i = 0; i < sizeof table / sizeof *table; i++)
    if (strcmp(table[i]->name, json_object_iter_key(it)) == 0) {
      *ret_form = json_object_iter_value(it);
      return table[i];
    }
  err_set(err, ERR_INVALID, "there is no transport %.64s: http, ldap, sql, redis, smtp and exec exist", json_object_iter_key(it));
  return NULL;
}

/* A program's arguments are in every process list. */
static int check_args(const struct transport *transport, const json_t *form, struct err *err) {
  if (transport != &transport_exec ||
      !(form_has_secret(json_object_get(form, "args")) || form_has_secret(json_object_get(form, "program"))))
    return 0;
  return err_set(err, ERR_INVALID, "exec: a secret must not stand in args, where every user sees it; use stdin, fds or env");
}

static char *copy(const char *text) {
  char *result = text ? slab_strdup(text) : NULL;
  if (text && !result) abort();
  return result;
}

static struct flight *flight_new(struct transports *t, const struct exchange *x, exchange_cb *cb, void *arg) {
  struct flight *f = slab_alloc(sizeof *f);
  if (!f) abort();
  memset(f, 0, offsetof(struct flight, result.err.text) + 1);
  f->t = t;
  f->passage = passage_new(x, &t->sent);
  f->connector = copy(x->connector ? x->connector : "");
  f->idempotency_key = copy(x->idempotency_key);
  f->network = json_incref((json_t *)(uintptr_t)x->network);
  f->simulate = json_incref((json_t *)(uintptr_t)x->simulate);
  f->body = x->body;
  f->body_len = x->body_len;
  f->read_only = x->read_only;
  f->latency_ms = x->latency_ms;
  f->timeout_ms = x->timeout_ms > 0 ? x->timeout_ms : TIMEOUT_DEFAULT_MS;
  f->response_cap = x->response_cap ? x->response_cap : RESPONSE_CAP_DEFAULT;
  f->started_us = clock_boot(clock_system());
  f->cb = cb;
  f->arg = arg;
  f->result.retry_after_ms = -1;
  return f;
}

int transport_start(struct transports *t, const struct exchange *x, exchange_cb *cb, void *arg, struct flight **ret, struct err *err) {
  const json_t *form = NULL;
  /* A simulated action need not be rendered: what it would be searched by, nobody answers. */
  bool simulated = x->simulated || t->simulated_by || id_exercise(x->incident), blank = simulated && json_object_size(x->request) == 0;
  const struct transport *transport = blank ? &transport_simulated : find_transport(x->request, &form, err);
  if (!transport) return ERR_INVALID;
  if (!blank && check_args(transport, form, err) < 0) return ERR_INVALID;
  if (t->count >= MOST_FLIGHTS) return err_set(err, ERR_LIMIT, "more than %d exchanges are under way", MOST_FLIGHTS);
  if (simulated && !x->simulate) return err_set(err, ERR_INVALID, "the action has no `simulate`, and in a simulation nothing is sent");
  struct flight *f = flight_new(t, x, cb, arg);
  int r = 0;
  /* The one place where earnest and play part: a simulated exchange meets no transport that can open anything, and no secret. */
  f->transport = simulated ? &transport_simulated : transport;
  if (!simulated) r = form_fill(t->secrets, transport->name, form, x->idempotency_key, &f->form, err);
  if (r == 0) r = f->transport->start(f, err);
  if (r < 0) {
    flight_release(f);
    return r;
  }
  if (!t->simulated_by) alarm_set(t, flight_due(f));
  f->next = t->flights;
  if (t->flights) t->flights->prev = f;
  t->flights = f;
  t->count++;
  if (ret) *ret = f;
  return 0;
}

struct transports *transports_new(struct loop *loop, struct secrets *secrets) {
  struct transports *t = calloc(1, sizeof *t);
  if (!t) abort();
  setenv("LDAPNOINIT", "1", 1); /* libldap: neither ldap.conf nor the environment has a say; set before there are threads */
  signal(SIGPIPE, SIG_IGN);     /* a peer that went away is an error code, not the end of the process */
  t->loop = loop;
  t->secrets = secrets;
  map_init(&t->tokens);
  map_init(&t->servers);
  t->multi = multi_new(loop);
  t->pool = pool_new(loop);
  return t;
}

void transports_only_simulate(struct transports *t, const struct clock *clock) { t->simulated_by = clock; }

void transports_free(struct transports *t) {
  if (!t) return;
  while (t->flights) {
    struct flight *f = t->flights;
    if (!f->ending) flight_stop(f, ERR_CANCELLED, "Tocsin is stopping");
    else loop_undefer(t->loop, flight_end, f);
    flight_end(f);
  }
  timer_free(t->alarm);
  map_release(&t->tokens, free);
  map_release(&t->servers, http_server_unref);
  multi_free(t->multi);
  pool_free(t->pool);
  free(t);
}

uint64_t transports_sent(const struct transports *t) { return atomic_load(&t->sent); }
