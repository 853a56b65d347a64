/* Telling people of questions, through the channels that the settings name. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "incident/internal.h"

enum { AGAIN_MS = 60000, TRIES = 10 };

struct telling {
  struct desk *desk;
  struct incident *inc; /* lets go of it before it goes itself */
  LIST_ENTRY(telling) next;
  char id[ID_PATH];
  char *channel;
  json_t *question;
  struct timer *again;
  unsigned tries, number;
  unsigned run;
  char step[ID_STEP];
};

static void telling_free(struct telling *t) {
  LIST_REMOVE(t, next);
  timer_free(t->again);
  free(t->channel);
  json_decref(t->question);
  free(t);
}

static bool still_open(const struct telling *t) {
  char at[ID_PATH];
  snprintf(at, sizeof at, "%u/%s", t->run, t->step);
  return json_object_get(json_object_get(incident_state(t->inc), "questions"), at);
}

static void tell(struct telling *t);

static void tell_again(void *arg) {
  struct telling *t = arg;
  timer_free(t->again);
  t->again = NULL;
  t->inc->retelling--;
  if (still_open(t)) tell(t);
  else telling_free(t);
}

static void told(struct telling *t, bool ok, const char *why) {
  json_t *body = json_pack("{s:s, s:b}", "channel", t->channel, "ok", ok);
  if (why) json_object_set_new(body, "why", json_string(why));
  journal_add(t->inc->journal, KIND_QUESTION_NOTIFIED, "engine", t->run, t->step, body);
  incident_busy(t->inc, -1);
  if (ok) question_hold(t->desk->deps.questions, t->id, false);
  if (!ok) log_warning("%s: nobody could be told through %s: %s", t->id, t->channel, why ? why : "");
  if (ok || ++t->tries >= TRIES || !still_open(t)) telling_free(t);
  else t->inc->retelling++, t->again = timer_start(t->desk->deps.loop, AGAIN_MS, tell_again, t);
}

static void on_sent(void *arg, const struct outcome *outcome) {
  struct telling *t = arg;
  told(t, outcome->ok, outcome->ok ? NULL : json_str_or(outcome->returns, "message", "it failed"));
}

static void text_of(const struct telling *t, struct buf *out) {
  size_t i;
  json_t *option;
  buf_addf(out, "%s\n\n", json_str_or(t->question, "text", ""));
  buf_addf(out, "Answer with:  tocsin answer %s ", t->id);
  json_array_foreach(json_object_get(t->question, "options"), i, option) buf_addf(out, "%s%s", i ? " | " : "", json_string_value(option));
  const char *otherwise = json_str(t->question, "otherwise");
  if (otherwise) {
    char time[TIME_TEXT];
    time_format(json_int_or(t->question, "deadline", 0), time);
    buf_addf(out, "\nWithout an answer by %s: %s", time, otherwise);
  }
  buf_adds(out, "\n");
}

static json_t *params_of(const struct telling *t, const json_t *channel, const json_t *schema) {
  json_t *params = json_object_get(channel, "params") ? json_deep_copy(json_object_get(channel, "params")) : json_object();
  struct buf text;
  char subject[256];
  buf_init(&text, 16384);
  text_of(t, &text);
  snprintf(subject, sizeof subject, "[%s] %s", t->id, json_str_or(incident_state(t->inc), "title", "a question waits"));
  for (char *p = subject; *p; p++)
    if ((unsigned char)*p < 0x20) *p = ' ';
  if (json_object_get(schema, "subject") && !json_object_get(params, "subject"))
    json_object_set_new(params, "subject", json_string(subject));
  if (json_object_get(schema, "text") && !json_object_get(params, "text")) json_object_set_new(params, "text", json_string(text.data));
  buf_release(&text);
  return params;
}

static void tell(struct telling *t) {
  struct desk *d = t->desk;
  struct err err;
  struct incident *inc = t->inc;
  const json_t *channel = json_object_get(json_object_get(d->deps.settings, "notify"), t->channel);
  char connector[128] = "", step[64];
  const char *full = json_str_or(channel, "action", ""), *dot = strchr(full, '.');
  incident_busy(inc, 1);
  if (dot && (size_t)(dot - full) < sizeof connector) memcpy(connector, full, (size_t)(dot - full));
  const struct connector *c = registry_find(d->deps.registry, connector, &err);
  const json_t *action = c && dot ? registry_action(c, dot + 1, &err) : NULL;
  if (!action) {
    told(t, false, err.text);
    return;
  }
  json_t *params = params_of(t, channel, json_object_get(action, "params"));
  snprintf(step, sizeof step, "%llu.%u.%u", (unsigned long long)journal_seq(inc->journal), t->number, t->tries + 1);
  struct action_spec spec = {
      .journal = inc->journal, .run = 0, .step = step, .actor = "engine", .connector = connector, .action = dot + 1, .params = params};
  struct action *started;
  if (action_start(d->deps.actions, &spec, on_sent, t, &started, &err) < 0) told(t, false, err.text);
  json_decref(params);
}

static bool for_role(const json_t *channel, const char *role) {
  const json_t *roles = json_object_get(channel, "roles");
  return !roles || json_array_size(roles) == 0 || json_array_has(roles, role);
}

void desk_notify(void *arg, struct journal *journal, const char *id, const json_t *question) {
  struct desk *d = arg;
  struct incident *inc = map_get(&d->incidents, journal_incident(journal));
  const char *name;
  json_t *channel;
  struct id parsed;
  unsigned number = 0;
  if (!inc || inc->journal != journal || d->deps.exercise) return;
  json_object_foreach(json_object_get(d->deps.settings, "notify"), name, channel) {
    if (!for_role(channel, json_str_or(question, "role", "responder")) || !id_parse(id, &parsed)) continue;
    struct telling *t = calloc(1, sizeof *t);
    if (!t) abort();
    *t = (struct telling){
        .desk = d, .inc = inc, .channel = strdup(name), .question = json_deep_copy(question), .run = parsed.run, .number = ++number};
    LIST_INSERT_HEAD(&inc->tellings, t, next);
    snprintf(t->id, sizeof t->id, "%s", id);
    snprintf(t->step, sizeof t->step, "%s", parsed.step);
    question_hold(d->deps.questions, id, true); /* until the first channel has delivered */
    tell(t);
  }
}

/* Its actions are orphans already: none of them calls back. */
void notify_forget(struct incident *inc) {
  struct telling *t;
  while ((t = LIST_FIRST(&inc->tellings))) {
    bool later = t->again != NULL;
    telling_free(t);
    if (later) inc->retelling--;
    else incident_busy(inc, -1);
  }
}
