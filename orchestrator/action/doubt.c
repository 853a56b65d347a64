/* An action that may or may not have happened. It is resolved by what its action declares: an idempotency key (sent again), a
 * probe (a read that tells), or a person. Never by a blind resend. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "action/internal.h"
#include "base/json.h"
#include "base/log.h"
#include "base/slab.h"

bool action_is_message(const struct action *x) { return !x->run && !x->requester && x->effect <= EFFECT_NOTIFY; }

/* --- taken up ----------------------------------------------------------------------------------------------------- */

/* What the journal knows of this step already (after a restart). */
void history_read(struct action *x, const json_t *history) {
  size_t i;
  json_t *e;
  bool asked = false;
  json_array_foreach(history, i, e) {
    const char *type = json_str_or(e, "type", "");
    const json_t *body = json_object_get(e, "body");
    if (strcmp(type, "question.asked") == 0) {
      asked = strcmp(json_str_or(body, "kind", ""), "approve") == 0;
      if (asked) snprintf(x->approved_for, sizeof x->approved_for, "%s", json_str_or(json_object_get(body, "about"), "digest", "?"));
    }
    if (strcmp(type, "question.answered") == 0 && asked && !json_bool_or(body, "more", false))
      x->approved = strcmp(json_str_or(body, "answer", ""), "approve") == 0;
    if (strcmp(type, "action.intended") == 0) {
      x->intended = true;
      x->attempt = (unsigned)json_int_or(body, "attempt", 1);
      const json_t *request = json_object_get(body, "request");
      if (json_is_object(request)) { /* sending again uses what was rendered then */
        json_decref(x->request);
        x->request = json_deep_copy(request);
        slab_free(x->rendered);
        x->rendered = NULL;
        snprintf(x->digest, sizeof x->digest, "%s", json_str_or(body, "digest", ""));
      }
    }
    if (strcmp(type, "action.resolved") == 0) {
      const char *verdict = json_str_or(body, "verdict", "");
      x->happened = strcmp(verdict, "done") == 0 || strcmp(verdict, "found") == 0;
      x->given_up = strcmp(verdict, "abandoned") == 0;
      x->intended = x->happened || x->given_up; /* else it did not happen: a new intent may follow */
    }
    x->taken_up = true;
  }
}

const json_t *history_in_doubt(const json_t *history) {
  const json_t *intent = NULL;
  size_t i;
  json_t *e;
  json_array_foreach(history, i, e) {
    const char *type = json_str_or(e, "type", ""), *verdict = json_str_or(json_object_get(e, "body"), "verdict", "");
    if (strcmp(type, "action.intended") == 0) intent = json_object_get(e, "body");
    else if (strcmp(type, "action.outcome") == 0 || (strcmp(type, "action.resolved") == 0 && state_intent_gone(verdict))) intent = NULL;
  }
  return intent;
}

struct stand_in {
  struct connector c; /* first */
  struct declaration declaration;
  struct form form;
  char instance[128], action[128], why[512];
};

void stand_in_free(struct stand_in *s) {
  if (s) form_release(&s->form);
  free(s);
}

int stand_in(struct action *x, const struct action_spec *spec, const char *why) {
  const json_t *intent = history_in_doubt(spec->history);
  struct stand_in *s = calloc(1, sizeof *s);
  if (!s) abort();
  snprintf(s->instance, sizeof s->instance, "%s", spec->connector);
  snprintf(s->action, sizeof s->action, "%s", spec->action);
  snprintf(s->why, sizeof s->why, "%s", why);
  s->c = (struct connector){.instance = s->instance, .name = s->instance, .declaration = &s->declaration};
  x->stand_in = s;
  x->connector = &s->c;
  int effect = effect_by_name(json_str_or(intent, "effect", "destroy"));
  form_init(&s->form, s->instance, "", s->action, effect < 0 ? EFFECT_DESTROY : (enum effect)effect, NULL, 0);
  x->form = &s->form;
  x->name = s->action;
  x->effect = s->form.effect;
  json_decref(x->params);
  json_decref(x->target);
  x->params = json_object_get(intent, "params") ? json_deep_copy(json_object_get(intent, "params")) : json_object();
  x->target = json_object_get(intent, "target") ? json_deep_copy(json_object_get(intent, "target")) : json_object();
  return 0;
}

/* --- resolved ------------------------------------------------------------------------------------------------------- */

void action_not_in_doubt(struct action *x) {
  x->all->in_doubt -= x->in_doubt;
  x->in_doubt = false;
}

static void resolved(struct action *x, const char *by, const char *verdict) {
  action_not_in_doubt(x);
  journal_add(x->journal, KIND_ACTION_RESOLVED, by, x->run, x->step, json_pack("{s:s}", "verdict", verdict));
}

/* It did not happen: from the brake on, with a new intent. */
static void again(struct action *x) {
  x->intended = false;
  x->all->outcomes++;
  limit_leave(x);
  if (x->abandoned) action_free(x);
  else if (x->stand_in) action_end(x, false, failure_new("not_found", x->stand_in->why, false), NULL, NULL);
  else action_brake_stage(x);
}

/* What the probe found stands for what the answer would have said, as far as the action declares it. */
static void happened(struct action *x, const json_t *found) {
  json_t *returns = json_object(), *value;
  const json_t *schema = x->form->returns;
  const char *name;
  json_object_foreach((json_t *)(uintptr_t)found, name, value) if (json_object_get(schema, name)) json_object_set(returns, name, value);
  action_end(x, true, returns, ledger_status(x, returns, false), NULL);
}

void action_happened(struct action *x) { happened(x, NULL); }

void action_given_up(struct action *x) {
  x->delivered = false; /* nobody knows which secret is in force: both stay */
  action_end(x, false, failure_new("abandoned", "it was in doubt, and was given up", false), NULL, NULL);
}

static void on_person(void *arg, const char *answer, const char *by) {
  struct action *x = arg;
  x->question = NULL;
  if (strcmp(answer, "done") == 0) {
    resolved(x, by, "done");
    happened(x, NULL);
  } else if (strcmp(answer, "abandon") == 0) {
    resolved(x, by, "abandoned");
    action_given_up(x);
  } else {
    resolved(x, by, "not_done");
    again(x);
  }
}

static void ask_person(struct action *x, const char *why) {
  char text[700];
  char *target = json_text(x->target);
  json_t *options = json_pack("[s, s, s]", "done", "not done, send it", "abandon"), *about = action_about(x);
  snprintf(text, sizeof text, "Nobody knows whether %s.%s on %.200s happened (%.300s). Look there: did it?", x->connector->instance,
           x->name, target ? target : "", why);
  struct question_spec spec = {.journal = x->journal,
                               .run = x->run,
                               .step = x->step,
                               .actor = "engine",
                               .kind = "resolve",
                               .text = text,
                               .options = options,
                               .about = about};
  x->question = question_ask(x->all->deps.questions, &spec, on_person, x);
  free(target);
  json_decref(options);
  json_decref(about);
}

static void on_probe(void *arg, const struct outcome *outcome) {
  struct action *x = arg;
  x->helper = NULL;
  const json_t *told = outcome->ok ? json_object_get(outcome->returns, "happened") : NULL;
  if (json_is_true(told)) {
    resolved(x, "engine", "found");
    happened(x, outcome->returns);
  } else if (json_is_false(told) && x->attempt < ATTEMPTS) {
    resolved(x, "engine", "did_not_happen");
    again(x);
  } else {
    ask_person(x, json_is_false(told) ? "it did not happen, several times"
                  : outcome->ok       ? "the probe could not tell"
                                      : json_str_or(outcome->returns, "message", "the probe failed"));
  }
}

static void resolve(void *arg) {
  struct action *x = arg;
  struct err err;
  timer_free(x->timer);
  x->timer = NULL;
  const char *probe = x->form->probe;
  bool again_is_safe = x->form->idempotent && x->attempt < ATTEMPTS;
  if (action_is_message(x)) { /* the engine's own message to people: asking them whether it came would send the next one */
    resolved(x, "engine", "abandoned");
    action_given_up(x);
  } else if (again_is_safe && !x->abandoned) { /* nothing is sent for a run that has ended: then it must be found out */
    resolved(x, "engine", "sent_again");
    again(x);
  } else if (x->stand_in) {
    ask_person(x, x->stand_in->why);
  } else if (!probe) {
    ask_person(x, "its answer does not prove the result");
  } else if (action_helper_start(x, probe, x->params, on_probe, &err) < 0) {
    ask_person(x, err.text);
  }
}

/* When nothing of it can still be on its way: not before send_before + time-out + settle for what another process may have sent. */
static int64_t quiet_ms(const struct action *x) {
  int64_t settle = x->form->settle_ms;
  if (!x->taken_up || x->attempt == 0) return settle;
  char at[ID_PATH];
  id_place(at, x->run, x->step);
  const json_t *intent = json_object_get(json_object_get(journal_state(x->journal), "intents"), at);
  int64_t wait = (json_int_or(intent, "timeout", 0) + settle) * 1000, until = json_int_or(intent, "send_before", 0) + wait;
  /* Another node's, whose clock may be wrong: it held no lease any more when ours began, by our clock. */
  int64_t adopted = json_int_or(journal_state(x->journal), "adopted", 0) + wait;
  if (adopted > until) until = adopted;
  /* Never longer than all of it takes: the clock may have been set back since. */
  int64_t most = json_int_or(intent, "send_before", 0) - json_int_or(intent, "since", 0) + wait, left = until - action_now(x);
  if (most > 0 && left > most) left = most;
  return left > 0 ? left / 1000 : 0;
}

void action_doubt(struct action *x, const char *why, const json_t *response) {
  char at[ID_PATH];
  id_place(at, x->run, x->step);
  const json_t *intent = json_object_get(json_object_get(journal_state(x->journal), "intents"), at);
  x->all->in_doubt += !x->in_doubt;
  x->in_doubt = true;
  if (!json_object_get(intent, "doubt")) {
    json_t *body =
        json_pack("{s:s, s:s, s:s, s:O}", "why", why, "connector", x->connector->instance, "action", x->name, "target", x->target);
    if (response) json_object_set(body, "response", (json_t *)(uintptr_t)response);
    journal_add(x->journal, KIND_ACTION_IN_DOUBT, "engine", x->run, x->step, body);
    journal_save_state(x->journal);
  }
  log_warning("%s: %s.%s is in doubt: %s", x->id, x->connector->instance, x->name, why);
  limit_leave(x);
  timer_free(x->timer);
  x->timer = timer_start(x->all->deps.loop, quiet_ms(x), resolve, x);
  x->taken_up = false;
}
