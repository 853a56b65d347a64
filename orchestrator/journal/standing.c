#include "journal/standing.h"

#include <stdlib.h>
#include <string.h>

#include "base/id.h"
#include "base/json.h"
#include "base/slab.h"
#include "evidence/leaf.h"

void standing_init(struct standing *s, const char *incident) {
  s->incident = incident;
  s->next_run = 1;
}

static void view_settle(struct standing *s);

static void drop(json_t **value) {
  json_decref(*value);
  *value = NULL;
}

static void bytes_drop(char **bytes) {
  slab_free(*bytes);
  *bytes = NULL;
}

static void run_release(struct standing_run *r) {
  bytes_drop(&r->actor);
  bytes_drop(&r->began.bytes);
  drop(&r->status);
  drop(&r->error);
  drop(&r->text);
}

/* What it is made of while it is plain. */
static void plain_release(struct standing *s) {
  bytes_drop(&s->opening.bytes);
  bytes_drop(&s->groups.bytes);
  bytes_drop(&s->observables.bytes);
  bytes_drop(&s->attack.bytes);
  for (size_t i = 0; i < s->recent_count; i++) bytes_drop(&s->recent[i].id);
  for (size_t i = 0; i < s->run_count; i++) run_release(&s->runs[i]);
  for (size_t i = 0; i < s->intent_count; i++) bytes_drop(&s->intents[i].body);
  s->recent_count = s->run_count = s->intent_count = 0;
}

static void form_release(struct standing *s) {
  plain_release(s);
  drop(&s->json);
  slab_free(s->bytes);
  s->bytes = NULL;
}

void standing_release(struct standing *s) {
  view_settle(s);
  form_release(s);
}

void standing_set(struct standing *s, json_t *state_take) {
  standing_release(s);
  s->json = state_take;
  s->seq = (uint64_t)json_int_or(state_take, "seq", 0);
}

/* --- folding what is usual ------------------------------------------------------------------------------------------ */

static json_t *ref(const json_t *body, const char *key) { return json_incref(json_object_get(body, key)); }

static void fold_severity(struct standing *s, const json_t *body, bool raise_only) {
  int64_t id = json_int_or(body, "severity_id", -1);
  if (id >= 0 && id <= 6 && (!raise_only || id > s->severity)) s->severity = id;
}

static void list_add(struct standing_list *l, const json_t *more, void (*add)(json_t *list, const json_t *more)) {
  if (!more) return;
  json_t *list = standing_list_value(l);
  add(list, more);
  standing_list_take(l, list);
  json_decref(list);
}

static bool fold_opened(struct standing *s, const struct entry *e) {
  static const char *const names[] = {"by", "exercise", "mode", "occurred", "playbook", "tenant", "title", NULL};
  if (s->opening.bytes) return false;
  standing_members_take(&s->opening, e->body, names);
  s->opened = e->time;
  fold_severity(s, e->body, false);
  list_add(&s->groups, json_object_get(e->body, "groups"), json_array_add_each);
  return true;
}

static size_t recent_find(const struct standing *s, const char *id) {
  size_t i = 0;
  while (i < s->recent_count && strcmp(s->recent[i].id, id) != 0) i++;
  return i;
}

static bool fold_alert(struct standing *s, const struct entry *e) {
  json_t *id = json_object_get(e->body, "id");
  if (!json_is_string(id) || strlen(json_string_value(id)) != json_string_length(id)) return false;
  size_t at = recent_find(s, json_string_value(id));
  if (at == STANDING_ALERTS) return false;
  if (at == s->recent_count) s->recent[s->recent_count++].id = standing_copy(json_string_value(id), json_string_length(id));
  s->recent[at].seq = e->seq;
  if (!s->alerts++) s->first_alert = e->time;
  s->last_alert = e->time;
  fold_severity(s, e->body, true);
  list_add(&s->observables, json_object_get(e->body, "observables"), state_observables_add);
  list_add(&s->attack, json_object_get(e->body, "attack"), json_array_add_each);
  return true;
}

static struct standing_run *run_find(struct standing *s, unsigned number) {
  for (size_t i = 0; i < s->run_count; i++)
    if (s->runs[i].number == number) return &s->runs[i];
  return NULL;
}

static bool fold_run_started(struct standing *s, const struct entry *e) {
  static const char *const names[] = {"digest", "group", "playbook", "shadow", "trigger", NULL};
  if (s->run_count == STANDING_RUNS || run_find(s, e->run) || !json_quick_valid(e->actor, strlen(e->actor))) return false;
  struct standing_run *r = &s->runs[s->run_count++];
  *r = (struct standing_run){.number = e->run, .started = e->time, .actor = slab_strdup(e->actor)};
  standing_members_take(&r->began, e->body, names);
  if ((int64_t)e->run >= s->next_run) s->next_run = (int64_t)e->run + 1;
  return true;
}

static bool fold_run_ended(struct standing *s, const struct entry *e, const char *otherwise) {
  struct standing_run *r = run_find(s, e->run);
  if (!r) return true;
  if (r->otherwise) return false;
  r->otherwise = otherwise;
  r->ended = e->time;
  if (json_str(e->body, "status")) r->status = ref(e->body, "status");
  r->error = ref(e->body, "error");
  r->text = ref(e->body, "text");
  return true;
}

static struct standing_intent *intent_find(struct standing *s, const struct entry *e) {
  for (size_t i = 0; i < s->intent_count; i++)
    if (s->intents[i].run == e->run && strcmp(s->intents[i].step, e->step) == 0) return &s->intents[i];
  return NULL;
}

/* An entry that was written or read has its bytes with it. */
static char *body_bytes(const struct entry *e, size_t *ret_len) {
  struct buf text;
  char near[2048];
  *ret_len = e->envelope_len - ENVELOPE_PREFIX;
  if (e->envelope_len > ENVELOPE_PREFIX) return standing_copy(e->envelope + ENVELOPE_PREFIX, *ret_len);
  buf_lend(&text, near, sizeof near, SIZE_MAX / 2);
  json_write(e->body, &text);
  if (!buf_ok(&text)) abort();
  char *bytes = standing_copy(text.data, *ret_len = text.len);
  buf_release(&text);
  return bytes;
}

static bool fold_intent(struct standing *s, const struct entry *e) {
  size_t len = strlen(e->step);
  if (s->intent_count == STANDING_INTENTS || len >= STANDING_STEP || !id_step_valid(e->step) || intent_find(s, e)) return false;
  struct standing_intent *intent = &s->intents[s->intent_count++];
  *intent = (struct standing_intent){.run = e->run, .since = e->time};
  intent->body = body_bytes(e, &intent->len);
  memcpy(intent->step, e->step, len);
  return true;
}

/* What it contains from now on is more than usual. */
static bool fold_outcome(struct standing *s, const struct entry *e) {
  struct standing_intent *intent = intent_find(s, e);
  if (!intent) return true;
  if (json_bool_or(e->body, "ok", false) && json_str(e->body, "contains")) return false;
  slab_free(intent->body);
  *intent = s->intents[--s->intent_count];
  return true;
}

/* False: it is more than fits here, and nothing was changed. */
static bool fold_usual(struct standing *s, const struct entry *e) {
  switch (e->kind) {
  case KIND_INCIDENT_OPENED: return fold_opened(s, e);
  case KIND_INCIDENT_SEVERITY: return fold_severity(s, e->body, false), true;
  case KIND_INCIDENT_NOTED: return s->notes++, true;
  case KIND_ALERT_ATTACHED: return fold_alert(s, e);
  case KIND_RUN_STARTED: return fold_run_started(s, e);
  case KIND_RUN_FINISHED: return fold_run_ended(s, e, "done");
  case KIND_RUN_HANDED_OVER: return fold_run_ended(s, e, "handed_over");
  case KIND_RUN_CANCELLED: return fold_run_ended(s, e, "cancelled");
  case KIND_RUN_WOULD: return true;
  case KIND_ACTION_INTENDED: return fold_intent(s, e);
  case KIND_ACTION_OUTCOME:
  case KIND_ACTION_REFUSED: return fold_outcome(s, e);
  default: return false;
  }
}

void standing_fold(struct standing *s, const struct entry *e) {
  if (e->kind <= KIND_INCIDENT_REOPENED || e->kind == KIND_ALERT_ATTACHED) view_settle(s);
  bool plain = !s->json && !s->bytes, as_bytes = e->kind == KIND_ACTION_INTENDED && e->envelope_len > ENVELOPE_PREFIX;
  if (plain && (as_bytes || e->bare || json_is_object(entry_body(e))) && fold_usual(s, e)) {
    s->updated = e->time;
    if (strncmp(e->actor, "person:", 7) == 0 && !s->has_acknowledged) s->has_acknowledged = true, s->acknowledged = e->time;
  } else {
    if (!e->bare) entry_body(e);
    state_fold(standing_json(s), e);
  }
  s->seq = e->seq;
}

/* --- its forms -------------------------------------------------------------------------------------------------------- */

/* What it is as JSON is what would be stored: there is one place that says how its members are called. */
json_t *standing_json(struct standing *s) {
  if (s->json) return s->json;
  struct buf text;
  struct err err;
  json_t *json = NULL;
  char near[4096];
  buf_lend(&text, near, sizeof near, SIZE_MAX / 2);
  if (!s->bytes) standing_write(s, &text);
  if (!buf_ok(&text) || json_parse_folded(s->bytes ? s->bytes : text.data, s->bytes ? s->len : text.len, &json, &err) < 0) abort();
  buf_release(&text);
  form_release(s);
  s->json = json;
  return json;
}

static bool goes_on(const struct standing *s) {
  for (size_t i = 0; i < s->run_count; i++)
    if (!s->runs[i].otherwise) return true;
  return s->intent_count != 0;
}

void standing_rest(struct standing *s, const char *bytes, size_t len) {
  if (s->json || s->bytes || goes_on(s)) return;
  s->bytes = standing_copy(bytes, len);
  s->len = len;
  plain_release(s);
}

/* --- looking ------------------------------------------------------------------------------------------------------------ */

static json_t *part(const struct standing *s, const char *name) { return json_object_get(s->json, name); }

uint64_t standing_seq(const struct standing *s) { return s->seq; }
size_t standing_alerts(const struct standing *s) { return s->json ? (size_t)json_int_or(s->json, "alerts", 0) : (size_t)s->alerts; }
unsigned standing_next_run(const struct standing *s) { return (unsigned)(s->json ? json_int_or(s->json, "next_run", 1) : s->next_run); }

bool standing_has_alert(struct standing *s, const char *alert_id) {
  if (s->json || s->bytes) return state_has_alert(standing_json(s), alert_id);
  return recent_find(s, alert_id) < s->recent_count;
}

const char *standing_status(const struct standing *s) { return s->json ? json_str_or(s->json, "status", "") : "open"; }
const char *standing_merged_into(const struct standing *s) { return json_str(s->json, "merged_into"); }

static bool run_fits(const json_t *playbook, const json_t *shadow, const char *wanted, bool in_shadow) {
  const char *name = json_string_value(playbook);
  return strcmp(name ? name : "", wanted) == 0 && json_is_true(shadow) == in_shadow;
}

static bool plain_run_fits(const struct standing_run *r, const char *wanted, bool in_shadow) {
  json_t *playbook = standing_member_value(&r->began, BEGAN_PLAYBOOK), *shadow = standing_member_value(&r->began, BEGAN_SHADOW);
  bool fits = run_fits(playbook, shadow, wanted, in_shadow);
  json_decref(playbook);
  json_decref(shadow);
  return fits;
}

bool standing_ran(struct standing *s, const char *playbook, bool shadow, bool running) {
  const char *number;
  json_t *run;
  if (standing_next_run(s) == 1) return false;
  for (size_t i = 0; i < s->run_count; i++)
    if ((!running || !s->runs[i].otherwise) && plain_run_fits(&s->runs[i], playbook, shadow)) return true;
  if (!s->json && !s->bytes) return false;
  json_object_foreach(json_object_get(standing_json(s), "runs"), number, run) {
    bool fits = run_fits(json_object_get(run, "playbook"), json_object_get(run, "shadow"), playbook, shadow);
    if (fits && (!running || strcmp(json_str_or(run, "status", ""), "running") == 0)) return true;
  }
  return false;
}

bool standing_busy(const struct standing *s) {
  if (!s->json) return s->intent_count != 0;
  return json_object_size(part(s, "questions")) || json_object_size(part(s, "intents")) || json_object_size(part(s, "held"));
}

bool standing_holds_targets(const struct standing *s) { return s->json && state_holds_targets(s->json); }

size_t standing_intents(const struct standing *s, size_t *ret_in_doubt) {
  const char *at;
  json_t *intent;
  *ret_in_doubt = 0;
  json_object_foreach(part(s, "intents"), at, intent) {
    if (json_object_get(intent, "doubt")) ++*ret_in_doubt;
  }
  return s->json ? json_object_size(part(s, "intents")) : s->intent_count;
}

static void show(json_t *shown, const char *name, json_t *value) {
  if (value) json_object_set(shown, name, value);
}

static json_t *plain_shown(const struct standing *s) {
  json_t *shown = json_object(), *title = standing_member_value(&s->opening, OPENED_TITLE),
         *mode = standing_member_value(&s->opening, OPENED_MODE);
  json_object_set_new(shown, "id", json_string(s->incident));
  show(shown, "title", title);
  json_object_set_new(shown, "severity", json_string(severity_name(s->severity)));
  json_object_set_new(shown, "severity_id", json_integer(s->severity));
  json_object_set_new(shown, "status", json_string("open"));
  json_object_set_new(shown, "mode", mode ? mode : json_string(state_mode(s->incident)));
  if (s->alerts) json_object_set_new(shown, "first_alert", json_integer(s->first_alert));
  if (s->alerts) json_object_set_new(shown, "last_alert", json_integer(s->last_alert));
  if (s->opening.bytes) json_object_set_new(shown, "opened", json_integer(s->opened));
  json_object_set_new(shown, "tags", json_array());
  json_object_set_new(shown, "attack", standing_list_value(&s->attack));
  json_decref(title);
  return shown;
}

static json_t *shown_now(struct standing *s) {
  static const char *const kept[] = {"id",   "title",       "severity",   "severity_id", "status", "owner",
                                     "mode", "first_alert", "last_alert", "opened",      NULL};
  if (!s->json && !s->bytes) return plain_shown(s);
  const json_t *state = standing_json(s);
  json_t *shown = json_object();
  for (const char *const *k = kept; *k; k++) show(shown, *k, json_object_get(state, *k));
  json_object_set_new(shown, "tags", json_copy(json_object_get(state, "tags")));
  json_object_set_new(shown, "attack", json_copy(json_object_get(state, "attack")));
  return shown;
}

struct standing_view {
  unsigned holders;
  struct standing *of; /* NULL: it is another by now, and fields are there if anybody holds this */
  json_t *fields;
};

struct standing_view *standing_look(struct standing *s) {
  if (!s->view) {
    s->view = slab_alloc(sizeof *s->view);
    if (!s->view) abort();
    *s->view = (struct standing_view){.holders = 1, .of = s};
  }
  s->view->holders++;
  return s->view;
}

const json_t *standing_view_fields(struct standing_view *v) {
  if (!v->fields && v->of) v->fields = shown_now(v->of);
  return v->fields;
}

void standing_view_drop(struct standing_view *v) {
  if (!v || --v->holders) return;
  json_decref(v->fields);
  slab_free(v);
}

/* What it shows is about to change. */
static void view_settle(struct standing *s) {
  struct standing_view *v = s->view;
  if (!v) return;
  if (v->holders > 1) standing_view_fields(v);
  v->of = NULL;
  s->view = NULL;
  standing_view_drop(v);
}
