/* Sending a request and reading its answer: what is proven, what is in doubt, what may be tried again. */
#include <stdlib.h>
#include <stdio.h>
#include <string.h>

#include "action/internal.h"
#include "base/json.h"
#include "base/suspect.h"

/* The last check before bytes leave; may run on another thread, so it reads atomics only. */
static bool gate(void *arg) {
  struct action *x = arg;
  bool open =
      !atomic_load(&x->stop) && !guard_shadowed(x) &&
      (x->effect == EFFECT_READ || (atomic_load(&x->epoch) == atomic_load(&x->all->epoch) &&
                                    clock_boot(clock_system()) < atomic_load(&x->send_before_boot) && (x->simulated || !guard_lapsed(x))));
  if (!open) atomic_store(&x->gate_closed, true);
  return open;
}

static void retry_read(void *arg) {
  struct action *x = arg;
  timer_free(x->timer);
  x->timer = NULL;
  x->attempt++;
  action_send(x);
}

static void intend_again(void *arg) {
  struct action *x = arg;
  timer_free(x->timer);
  x->timer = NULL;
  limit_leave(x);
  action_brake_stage(x);
}

/* Proven not to have happened: on record, and then from the brake on, with a new intent. */
static void not_sent(struct action *x, const char *why, int64_t after_ms) {
  if (x->effect != EFFECT_READ) {
    x->intended = false;
    x->all->outcomes++; /* the intent has its end; the next one counts by itself */
    journal_add(x->journal, KIND_ACTION_RESOLVED, "engine", x->run, x->step, json_pack("{s:s, s:s}", "verdict", "not_sent", "why", why));
  }
  if (x->abandoned) {
    action_free(x);
    return;
  }
  x->timer = timer_start(x->all->deps.loop, after_ms, x->effect == EFFECT_READ ? retry_read : intend_again, x);
}

static int64_t backoff(const struct action *x) { return x->attempt < 2 ? 500 : x->attempt < 3 ? 2000 : 5000; }

static void doubt(struct action *x, const char *why, const json_t *response) {
  json_t *kept = action_response_kept(response);
  action_doubt(x, why, kept);
  json_decref(kept);
}

static bool gateway_error(const json_t *response) {
  int64_t status = json_int_or(response, "status", 0);
  return status == 502 || status == 503 || status == 504 || status == 408;
}

static void conclude(struct action *x, json_t *returns_take, const json_t *response) {
  struct err err;
  json_t *checked = NULL;
  const json_t *schema = x->form->returns;
  bool secret = false;
  int r = json_is_object(returns_take) || !schema ? 0 : err_set(&err, ERR_INVALID, "it returned no table");
  if (r == 0 && schema) r = sealed_take_returns(x, schema, &returns_take, &secret, &err);
  if (r == 0 && schema) r = schema_check(schema, returns_take, "returns", &checked, &err);
  if (r < 0 && x->effect != EFFECT_READ) {
    doubt(x, err.text, response);
  } else if (r < 0) {
    action_end(x, false, failure_new("unreadable", err.text, false), NULL, response);
  } else {
    json_t *returns = checked ? checked : json_incref(returns_take);
    action_end(x, true, returns, ledger_status(x, returns, true), response);
  }
  json_decref(returns_take);
}

static void read_answer(struct action *x, const json_t *response) {
  struct err err;
  json_t *returns = NULL, *failure = NULL;
  int r = connector_call_with(x->connector->state, x->form->result, response, SCRIPT_DOCUMENT, &returns, &failure, &err);
  if (r < 0 && x->effect != EFFECT_READ) {
    doubt(x, err.text, response);
  } else if (r < 0) {
    action_end(x, false, failure_new("unreadable", err.text, false), NULL, response);
  } else if (failure || !returns) {
    action_end(x, false,
               failure ? json_incref(failure) : failure_new("refused", "the connector gave neither a result nor a failure", false), NULL,
               response);
  } else {
    conclude(x, json_incref(returns), response);
  }
  json_decref(failure);
  json_decref(returns);
}

static void answered(struct action *x, const struct exchange_result *result) {
  int64_t status = json_int_or(result->response, "status", 0);
  bool idempotent = x->form->idempotent;
  if (x->simulated) {
    const json_t *error = json_object_get(result->response, "error");
    if (error) action_end(x, false, json_deep_copy(error), NULL, NULL);
    else action_end(x, true, json_deep_copy(result->response), ledger_status(x, result->response, true), NULL);
    return;
  }
  /* 429 says that it did nothing; 503 with Retry-After is only believed of reads and of what may be repeated. */
  bool told_to_wait = status == 429 || (result->retry_after_ms >= 0 && (x->effect == EFFECT_READ || idempotent));
  if (told_to_wait && x->attempt < ATTEMPTS && !x->abandoned) {
    int64_t after = result->retry_after_ms >= 0 ? result->retry_after_ms : backoff(x);
    not_sent(x, "the server asked to wait", after > RETRY_AFTER_MOST_MS ? RETRY_AFTER_MOST_MS : after);
    return;
  }
  if (gateway_error(result->response) && x->effect == EFFECT_READ && x->attempt < ATTEMPTS) {
    not_sent(x, "gateway error", backoff(x));
    return;
  }
  if (gateway_error(result->response) && x->effect != EFFECT_READ) {
    char why[64];
    snprintf(why, sizeof why, "gateway error: HTTP %lld", (long long)status);
    doubt(x, why, result->response);
    return;
  }
  read_answer(x, result->response);
}

static void on_answer(void *arg, const struct exchange_result *result) {
  struct action *x = arg;
  x->flight = NULL;
  x->all->in_flight--;
  if (x->orphan) {
    action_free(x);
    return;
  }
  bool again = x->attempt < ATTEMPTS && !x->abandoned;
  if (result->delivery == DELIVERY_ANSWERED) {
    suspect_begin(SUSPECT_RUN, journal_incident(x->journal), x->run); /* what a stranger's server wrote is read */
    answered(x, result);
    suspect_end();
  } else if (x->abandoned && x->effect == EFFECT_READ) {
    action_free(x);
  } else if (result->delivery == DELIVERY_NOT_SENT) {
    bool gate_said_no = atomic_exchange(&x->gate_closed, false);
    if (gate_said_no && !x->abandoned) x->attempt--, not_sent(x, "it was held back at the last moment", 0);
    else if (again && result->err.code != ERR_INVALID && result->err.code != ERR_DENIED) not_sent(x, result->err.text, backoff(x));
    else if (x->abandoned) not_sent(x, result->err.text, 0);
    else action_end(x, false, failure_new(err_name(result->err.code), result->err.text, true), NULL, NULL);
  } else if (x->effect == EFFECT_READ) {
    if (again) not_sent(x, result->err.text, backoff(x));
    else action_end(x, false, failure_new(err_name(result->err.code), result->err.text, true), NULL, NULL);
  } else {
    action_doubt(x, result->err.text, NULL);
  }
}

/* What the connector's own simulate() says. New. */
static json_t *simulated_own(struct action *x) {
  struct err err;
  json_t *returns = NULL, *failure = NULL;
  if (!x->form->simulates) return json_object();
  int r = connector_call_with(x->connector->state, x->form->simulate, x->params, SCRIPT_DATA, &returns, &failure, &err);
  if (r < 0) failure = failure_new("simulation", err.text, false);
  if (failure) {
    json_decref(returns);
    return json_pack("{s:o}", "error", failure);
  }
  return returns ? returns : json_object();
}

json_t *action_simulated(struct action *x, int64_t *ret_latency_ms) {
  const struct actions_deps *deps = &x->all->deps;
  *ret_latency_ms = 0;
  if (x->simulate) return json_incref(x->simulate);
  if (!x->exercise || !deps->answers) return simulated_own(x);
  return deps->answers(deps->answers_arg, x->connector->name, x->name, x->id, x->params, simulated_own(x), ret_latency_ms);
}

void action_send(struct action *x) {
  struct err err;
  int64_t latency_ms = 0;
  json_t *simulate = x->simulated ? action_simulated(x, &latency_ms) : NULL, *nothing = action_request(x) ? NULL : json_object();
  struct exchange exchange = {.request = nothing ? nothing : x->request,
                              .incident = journal_incident(x->journal),
                              .simulated = x->simulated,
                              .simulate = simulate,
                              .latency_ms = latency_ms,
                              .read_only = x->effect == EFFECT_READ,
                              .connector = x->connector->instance,
                              .idempotency_key = x->key,
                              .timeout_ms = x->form->timeout_ms,
                              .response_cap = x->connector->response_cap,
                              .network = x->connector->network,
                              .gate = gate,
                              .gate_arg = x};
  x->all->in_flight++;
  int r = transport_start(x->all->deps.transports, &exchange, on_answer, x, &x->flight, &err);
  json_decref(simulate);
  json_decref(nothing);
  if (r == 0) action_request_sent(x);
  if (r == 0) return;
  x->all->in_flight--;
  action_end(x, false, failure_new(err_name(err.code), err.text, false), NULL, NULL);
}
