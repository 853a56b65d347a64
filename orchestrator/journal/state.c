#include "journal/state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/id.h"
#include "base/json.h"
#include "base/text.h"

static const char *const severities[] = {"unknown", "informational", "low", "medium", "high", "critical", "fatal"};

const char *severity_name(int64_t id) { return id >= 0 && id <= 6 ? severities[id] : "unknown"; }

int64_t severity_by_name(const char *name) {
  for (int i = 0; i <= 6; i++)
    if (strcmp(severities[i], name) == 0) return i;
  return -1;
}

const char *state_mode(const char *incident) { return id_exercise(incident) ? "exercise" : "live"; }

static json_t *blank_value(const char *name, char kind, const char *incident) {
  switch (kind) {
  case '0': return json_integer(0);
  case '1': return json_integer(1);
  case '[': return json_array();
  case '{': return json_object();
  default: break;
  }
  if (strcmp(name, "id") == 0) return json_string(incident);
  if (strcmp(name, "mode") == 0) return json_string(state_mode(incident));
  return json_string(strcmp(name, "status") == 0 ? "open" : "unknown");
}

/* Member by member: this is the largest object of every incident, and reading a format for it takes longer than making it. In the order in which
 * it is written, so that little is left to be sorted. */
json_t *state_blank(const char *incident) {
  static const struct {
    const char *name;
    char kind;
  } members[] = {{"alerts", '0'},      {"attack", '['},      {"containments", '{'}, {"groups", '['},   {"held", '{'},
                 {"id", 's'},          {"intents", '{'},     {"mode", 's'},         {"next_run", '1'}, {"notes", '0'},
                 {"observables", '['}, {"questions", '{'},   {"recent", '{'},       {"runs", '{'},     {"seq", '0'},
                 {"severity", 's'},    {"severity_id", '0'}, {"status", 's'},       {"tags", '['},     {"ticks", '{'},
                 {"v", '1'},           {"waits", '{'}};
  json_t *state = json_object();
  for (size_t i = 0; i < sizeof members / sizeof *members; i++)
    json_object_set_new_nocheck(state, members[i].name, blank_value(members[i].name, members[i].kind, incident));
  return state;
}

bool state_has_alert(const json_t *state, const char *alert_id) {
  return json_object_get(json_object_get(state, "recent"), alert_id) != NULL;
}

static json_t *part(json_t *state, const char *name) { return json_object_get(state, name); }

static json_t *part_make(json_t *state, const char *name, json_t *blank_take) {
  json_t *p = part(state, name);
  if (p) json_decref(blank_take);
  else json_object_set_new(state, name, p = blank_take);
  return p;
}

/* A number that is nobody else's changes where it stands. */
static void set_int(json_t *object, const char *key, int64_t value) {
  json_t *old = json_object_get(object, key);
  if (json_is_integer(old) && old->refcount == 1) json_integer_set(old, value);
  else json_object_set_new_nocheck(object, key, json_integer(value));
}

static void copy(json_t *to, const json_t *from, const char *key) {
  json_t *value = json_object_get(from, key);
  if (value) json_object_set(to, key, value);
}

/* Walks over what is there: it is less than what could be, and needs no hashing. Each key is looked for from where the one before was found: at once, when they come in the
 * order of `keys`. */
static void copy_all(json_t *to, const json_t *from, const char *const *keys) {
  json_t *object = (json_t *)(uintptr_t)from;
  size_t count = 0, at = 0;
  while (keys[count]) count++;
  for (void *it = json_object_iter(object); it; it = json_object_iter_next(object, it)) {
    const char *key = json_object_iter_key(it);
    size_t tried = 0;
    for (; tried < count && strcmp(keys[at], key) != 0; tried++) at = at + 1 < count ? at + 1 : 0;
    /* `from` has it already, so the name is good. */
    if (tried < count) json_object_setn_new_nocheck(to, key, json_object_iter_key_len(it), json_incref(json_object_iter_value(it)));
  }
}

static void place(char out[ID_PATH], unsigned run, const char *step) { id_place(out, run, step); }

static void fold_severity(json_t *state, const json_t *body, bool raise_only) {
  int64_t id = json_int_or(body, "severity_id", -1);
  if (id < 0 || id > 6 || (raise_only && id <= json_int_or(state, "severity_id", 0))) return;
  set_int(state, "severity_id", id);
  json_object_set_new(state, "severity", json_string(severity_name(id)));
}

static bool same_observable(const json_t *a, const json_t *b) {
  return json_equal(json_object_get(a, "value"), json_object_get(b, "value")) &&
         json_equal(json_object_get(a, "path"), json_object_get(b, "path"));
}

void state_observables_add(json_t *known, const json_t *found) {
  json_t *o, *k;
  size_t i, n;
  json_array_foreach(found, i, o) {
    bool seen = false;
    json_array_foreach(known, n, k) if ((seen = same_observable(o, k))) break;
    if (!seen && json_array_size(known) < STATE_OBSERVABLES) json_array_append(known, o);
  }
}

/* By seq, not by the object's own order, which a stored state does not keep. */
static void forget_oldest(json_t *recent) {
  const char *key, *oldest = NULL;
  json_t *seq;
  int64_t least = INT64_MAX;
  json_object_foreach(recent, key, seq) if (json_integer_value(seq) < least) least = json_integer_value(seq), oldest = key;
  if (oldest) json_object_del(recent, oldest);
}

static void fold_alert(json_t *state, const struct entry *e) {
  json_t *recent = part(state, "recent");
  const char *id = json_str(e->body, "id");
  set_int(state, "alerts", json_int_or(state, "alerts", 0) + 1);
  if (!json_object_get(state, "first_alert")) set_int(state, "first_alert", e->time);
  set_int(state, "last_alert", e->time);
  if (id && json_object_size(recent) >= STATE_RECENT) forget_oldest(recent);
  if (id) json_object_set_new(recent, id, json_integer((json_int_t)e->seq));
  fold_severity(state, e->body, true);
  state_observables_add(part(state, "observables"), json_object_get(e->body, "observables"));
  json_array_add_each(part(state, "attack"), json_object_get(e->body, "attack"));
}

enum { RUN_NUMBER = 16 };

static void run_number(char out[RUN_NUMBER], unsigned run) { *text_add_number(out, out + RUN_NUMBER - 1, run) = 0; }

static json_t *run_of(json_t *state, const struct entry *e) {
  char number[RUN_NUMBER];
  run_number(number, e->run);
  return json_object_get(part(state, "runs"), number);
}

static void choice_over(json_t *state, const char *playbook, const json_t *trigger);

static void fold_run_started(json_t *state, const struct entry *e) {
  static const char *const keys[] = {"playbook", "digest", "trigger", "group", "shadow", NULL};
  char number[RUN_NUMBER];
  json_t *run = json_pack("{s:s, s:s, s:I}", "status", "running", "actor", e->actor, "started", (json_int_t)e->time);
  run_number(number, e->run);
  choice_over(state, json_str_or(e->body, "playbook", ""), json_object_get(e->body, "trigger"));
  copy_all(run, e->body, keys);
  json_object_set_new(part(state, "runs"), number, run);
  if ((int64_t)e->run >= json_int_or(state, "next_run", 1)) set_int(state, "next_run", (int64_t)e->run + 1);
}

/* A run that ended leaves nothing waiting: questions, waits and held actions of it are gone; intents stay until they are resolved. */
static void drop_of_run(json_t *object, unsigned run) {
  char prefix[16];
  if (!json_object_size(object)) return;
  int n = snprintf(prefix, sizeof prefix, "%u/", run);
  const char *key;
  json_t *value;
  void *next;
  json_object_foreach_safe(object, next, key, value) {
    const char *kind = json_str_or(value, "kind", "ask");
    if (strncmp(key, prefix, (size_t)n) == 0 && strcmp(kind, "resolve") != 0 && strcmp(kind, "release") != 0) json_object_del(object, key);
  }
}

static void fold_run_ended(json_t *state, const struct entry *e, const char *status) {
  json_t *run = run_of(state, e);
  if (!run) return;
  json_object_set_new(run, "status", json_string(json_str_or(e->body, "status", status)));
  set_int(run, "ended", e->time);
  copy(run, e->body, "error");
  copy(run, e->body, "text");
  drop_of_run(part(state, "questions"), e->run);
  drop_of_run(part(state, "waits"), e->run);
  drop_of_run(part(state, "held"), e->run);
}

/* A parameter that a person chose stays until what it was for has begun: a run, the next such question, or a hand-over. */
static char *choice_key(const char *playbook, const json_t *trigger) {
  struct buf key;
  buf_init(&key, 8192);
  buf_addf(&key, "%s %s", playbook, json_str_or(trigger, "alert", ""));
  char *text = buf_take(&key, NULL);
  if (!text) abort();
  return text;
}

static void choice_over(json_t *state, const char *playbook, const json_t *trigger) {
  char *key = choice_key(playbook, trigger);
  json_object_del(json_object_get(state, "chosen"), key);
  free(key);
}

static void fold_choice(json_t *state, const json_t *question, const struct entry *e) {
  const json_t *about = json_object_get(question, "about");
  char *key = choice_key(json_str_or(about, "playbook", ""), json_object_get(about, "trigger"));
  json_t *choice = json_deep_copy(about);
  json_object_set(choice, "answer", json_object_get(e->body, "answer"));
  json_object_set_new(part_make(state, "chosen", json_object()), key, choice);
  free(key);
}

/* A note of ours, or an entry of a playbook in shadow, says that it was handed over instead of begun. */
static void fold_not_begun(json_t *state, const struct entry *e) {
  const char *key, *playbook = json_str(e->body, "playbook");
  json_t *choice;
  void *next;
  if (!playbook || !json_bool_or(e->body, "handed_over", false)) return;
  json_t *chosen = json_object_get(state, "chosen");
  json_object_foreach_safe(chosen, next, key, choice) {
    if (strcmp(json_str_or(choice, "playbook", ""), playbook) == 0) json_object_del(chosen, key);
  }
}

static void fold_note(json_t *state, const struct entry *e) {
  set_int(state, "notes", json_int_or(state, "notes", 0) + 1);
  fold_not_begun(state, e);
}

bool state_choice_open(const json_t *state, const char *playbook, const json_t *trigger) {
  char *key = choice_key(playbook, trigger);
  bool open = json_object_get(json_object_get(state, "chosen"), key) != NULL;
  free(key);
  return open;
}

static void fold_question(json_t *state, const struct entry *e) {
  static const char *const keys[] = {"kind",    "text",      "options", "role",   "deadline", "otherwise", "exclude",
                                     "request", "approvals", "about",   "digest", "given",    "inject",    NULL};
  char at[ID_PATH];
  place(at, e->run, e->step);
  json_t *q =
      json_pack("{s:i, s:s, s:I, s:I}", "run", (int)e->run, "step", e->step, "asked", (json_int_t)e->time, "seq", (json_int_t)e->seq);
  copy_all(q, e->body, keys);
  const json_t *about = json_object_get(e->body, "about");
  if (strcmp(json_str_or(e->body, "kind", ""), "parameter") == 0)
    choice_over(state, json_str_or(about, "playbook", ""), json_object_get(about, "trigger"));
  json_object_set_new(part(state, "questions"), at, q);
}

static void fold_answer(json_t *state, const struct entry *e) {
  char at[ID_PATH];
  place(at, e->run, e->step);
  json_t *questions = part(state, "questions"), *q = json_object_get(questions, at);
  if (!q) return;
  if (json_bool_or(e->body, "more", false)) { /* an approval of several: the question stays open */
    json_t *given = json_object_get(q, "given");
    if (!given) json_object_set_new(q, "given", given = json_array());
    json_array_append_new(given, json_string(e->actor));
    return;
  }
  if (strcmp(json_str_or(q, "kind", ""), "parameter") == 0 && json_str(e->body, "answer")) fold_choice(state, q, e);
  json_object_del(questions, at);
}

static void fold_intent(json_t *state, const struct entry *e) {
  /* In the order in which an action writes them. */
  static const char *const keys[] = {"action",      "connector", "effect",  "target",  "digest",  "params",  "because",   "attempt", "key",
                                     "send_before", "settle",    "timeout", "version", "undo_of", "lift_at", "simulated", NULL};
  char at[ID_PATH];
  place(at, e->run, e->step);
  json_t *intent = json_object();
  set_int(intent, "since", e->time);
  copy_all(intent, e->body, keys);
  json_object_set_new(part(state, "intents"), at, intent);
  json_object_del(part(state, "held"), at);
}

static void fold_containment(json_t *state, const struct entry *e, const json_t *intent) {
  static const char *const from_intent[] = {"connector", "version", "action", "target", "params", "because", "lift_at", "digest", NULL};
  char at[ID_PATH];
  const char *status = json_str(e->body, "contains");
  if (!status || !intent) return;
  place(at, e->run, e->step);
  json_t *c = json_pack("{s:s, s:I}", "status", status, "since", (json_int_t)e->time);
  copy_all(c, intent, from_intent);
  copy(c, e->body, "returns");
  copy(c, e->body, "simulated");
  json_object_set_new(part(state, "containments"), at, c);
}

static void fold_outcome(json_t *state, const struct entry *e) {
  char at[ID_PATH];
  place(at, e->run, e->step);
  json_t *intents = part(state, "intents"), *intent = json_incref(json_object_get(intents, at));
  if (json_bool_or(e->body, "ok", false)) fold_containment(state, e, intent);
  json_object_del(intents, at);
  json_object_del(part(state, "held"), at);
  json_decref(intent);
}

static void fold_doubt(json_t *state, const struct entry *e) {
  char at[ID_PATH];
  place(at, e->run, e->step);
  json_t *intent = json_object_get(part(state, "intents"), at);
  if (intent) json_object_set_new(intent, "doubt", json_string(json_str_or(e->body, "why", "unknown")));
}

bool state_intent_gone(const char *verdict) {
  static const char *const gone[] = {"not_sent", "not_done", "did_not_happen", "sent_again"};
  for (size_t i = 0; i < sizeof gone / sizeof *gone; i++)
    if (strcmp(gone[i], verdict) == 0) return true;
  return false;
}

static void fold_resolved(json_t *state, const struct entry *e) {
  char at[ID_PATH];
  place(at, e->run, e->step);
  if (state_intent_gone(json_str_or(e->body, "verdict", ""))) json_object_del(part(state, "intents"), at);
}

static void fold_held(json_t *state, const struct entry *e) {
  static const char *const keys[] = {"connector", "action", "effect", "target", "why", NULL};
  char at[ID_PATH];
  place(at, e->run, e->step);
  json_t *held = json_pack("{s:I}", "since", (json_int_t)e->time);
  copy_all(held, e->body, keys);
  json_object_set_new(part(state, "held"), at, held);
}

/* An entry about a containment names it in body.of ("1/3"). */
static void fold_containment_status(json_t *state, const struct entry *e, const char *status) {
  json_t *c = json_object_get(part(state, "containments"), json_str_or(e->body, "of", ""));
  if (!c) return;
  json_object_set_new(c, "status", json_string(status));
  json_object_set_new(c, "by", json_string(e->actor));
  if (strcmp(status, "still") != 0) set_int(c, "ended", e->time);
  copy(c, e->body, "why");
}

static void fold_opened(json_t *state, const struct entry *e) {
  static const char *const keys[] = {"title", "mode", "playbook", "by", "occurred", "tenant", "exercise", NULL};
  copy_all(state, e->body, keys);
  set_int(state, "opened", e->time);
  fold_severity(state, e->body, false);
  json_array_add_each(part(state, "groups"), json_object_get(e->body, "groups"));
}

static void fold_closed(json_t *state, const struct entry *e) {
  json_t *closing = json_deep_copy(e->body);
  json_object_set_new(closing, "by", json_string(e->actor));
  set_int(closing, "time", e->time);
  json_object_set_new(state, "closing", closing);
  json_object_set_new(state, "status", json_string("closed"));
  json_array_clear(part(state, "groups"));
}

static void fold_tick(json_t *state, const struct entry *e) {
  char number[24];
  snprintf(number, sizeof number, "%lld", (long long)json_int_or(e->body, "n", 0));
  json_object_set_new(part(state, "ticks"), number, json_pack("{s:s, s:I}", "by", e->actor, "time", (json_int_t)e->time));
}

static void fold_wait(json_t *state, const struct entry *e, bool begins) {
  static const char *const keys[] = {"until", "ms", "within", "alert", "poll", NULL};
  char at[ID_PATH];
  place(at, e->run, e->step);
  if (!begins) {
    json_object_del(part(state, "waits"), at);
    return;
  }
  json_t *wait = json_object();
  copy_all(wait, e->body, keys);
  json_object_set_new(part(state, "waits"), at, wait);
}

static void fold_merged(json_t *state, const struct entry *e) {
  if (json_str(e->body, "into")) {
    json_object_set_new(state, "status", json_string("merged"));
    json_object_set(state, "merged_into", json_object_get(e->body, "into"));
    json_array_clear(part(state, "groups"));
  } else {
    json_array_add_each(part(state, "groups"), json_object_get(e->body, "groups"));
  }
}

/* A corrective action; its entry that closes it names it again. */
static void fold_corrective(json_t *state, const struct entry *e) {
  static const char *const added[] = {"text", "owner", "due", "key", "recurs", NULL}, *const closed[] = {"evidence", "entry", "file", NULL};
  json_t *all = part(state, "corrective");
  const char *id = json_str(e->body, "id");
  if (!id) return;
  if (!all) json_object_set_new(state, "corrective", all = json_object());
  json_t *action = json_object_get(all, id);
  if (e->kind == KIND_CORRECTIVE_ADDED) {
    json_object_set_new(all, id,
                        action = json_pack("{s:O, s:I, s:s}", "incident", part(state, "id"), "added", (json_int_t)e->time, "by", e->actor));
    copy_all(action, e->body, added);
  } else if (action) {
    copy_all(action, e->body, closed);
    set_int(action, "closed", e->time);
    json_object_set_new(action, "closed_by", json_string(e->actor));
  }
}

static void fold_removing(json_t *state, const struct entry *e) {
  static const char *const keys[] = {"because", "copy", "kept", NULL};
  if (!entry_removes(e)) return;
  json_t *one = json_pack("{s:I, s:I, s:s, s:b}", "entry", (json_int_t)e->seq, "time", (json_int_t)e->time, "by", e->actor, "done", 0);
  copy_all(one, e->body, keys);
  json_object_set_new(part_make(state, "removals", json_object()), e->step, one);
  json_t *file = json_object_get(part(state, "files"), e->step);
  if (file && !json_object_get(file, "deleted")) set_int(file, "deleted", e->time), json_object_set_new(file, "removed", json_true());
}

static void fold_removed(json_t *state, const struct entry *e) {
  json_t *one = json_object_get(part(state, "removals"), e->step);
  if (one) json_object_set_new(one, "done", json_true());
}

/* "files": what was taken into custody, by the seq of the entry that says so; one that was deleted stays, with its digest; "removed": with that entry's body. */
static void fold_file(json_t *state, const struct entry *e) {
  static const char *const keys[] = {"name", "size", "sha256", "class", "retain_until", "node", "hold", "replaces", NULL};
  char number[24];
  json_t *files = part(state, "files");
  if (!files) json_object_set_new(state, "files", files = json_object());
  json_t *file = json_pack("{s:s, s:I}", "by", e->actor, "collected", (json_int_t)e->time);
  copy_all(file, e->body, keys);
  snprintf(number, sizeof number, "%llu", (unsigned long long)e->seq);
  json_object_set_new(files, number, file);
}

static void fold_custody(json_t *state, const struct entry *e) {
  char number[24];
  snprintf(number, sizeof number, "%lld", (long long)json_int_or(e->body, "item", 0));
  json_t *file = json_object_get(part(state, "files"), number);
  if (!file) return;
  if (e->kind == KIND_EVIDENCE_HELD) json_object_set_new(file, "hold", json_string(json_str_or(e->body, "because", "(removed)")));
  if (e->kind == KIND_EVIDENCE_HOLD_LIFTED) json_object_del(file, "hold");
  if (e->kind == KIND_EVIDENCE_TRANSFERRED) {
    json_object_set_new(file, "to", json_string(json_str_or(e->body, "to", "(removed)")));
    set_int(file, "transfer", (int64_t)e->seq);
    json_object_del(file, "acknowledged");
  }
  if (e->kind == KIND_EVIDENCE_ACKNOWLEDGED) set_int(file, "acknowledged", e->time);
  if (e->kind == KIND_EVIDENCE_DELETED) set_int(file, "deleted", e->time);
}

static void fold_uncertain(json_t *state, const struct entry *e) {
  static const char *const keys[] = {"epoch", "why", "from", "to", NULL};
  json_t *u = json_pack("{s:I, s:I}", "since", (json_int_t)e->time, "entry", (json_int_t)e->seq);
  copy_all(u, e->body, keys);
  json_object_set_new(state, "uncertain", u);
}

static void fold_agreed(json_t *state, const struct entry *e) {
  json_t *agreed = json_pack("{s:s, s:I}", "by", e->actor, "time", (json_int_t)e->time);
  copy(agreed, e->body, "because");
  json_object_set_new(part_make(state, "uncertain", json_object()), "agreed", agreed);
}

bool state_uncertain(const json_t *state) {
  const json_t *u = json_object_get(state, "uncertain");
  return u && !json_object_get(u, "agreed");
}

static void fold_body(json_t *state, const struct entry *e) {
  switch (e->kind) {
  case KIND_INCIDENT_OPENED: fold_opened(state, e); break;
  case KIND_INCIDENT_ASSIGNED: copy(state, e->body, "owner"); break;
  case KIND_INCIDENT_SEVERITY: fold_severity(state, e->body, false); break;
  case KIND_INCIDENT_TAGGED: json_array_add(part(state, "tags"), json_object_get(e->body, "tag")); break;
  case KIND_INCIDENT_TITLED: copy(state, e->body, "title"); break;
  case KIND_INCIDENT_NOTED: fold_note(state, e); break;
  case KIND_RUN_WOULD: fold_not_begun(state, e); break;
  case KIND_INCIDENT_MERGED: fold_merged(state, e); break;
  case KIND_INCIDENT_CLOSED: fold_closed(state, e); break;
  case KIND_INCIDENT_REOPENED: json_object_set_new(state, "status", json_string("open")); break;
  case KIND_INCIDENT_ADOPTED: set_int(state, "adopted", e->time); break;
  case KIND_ALERT_ATTACHED: fold_alert(state, e); break;
  case KIND_RUN_STARTED: fold_run_started(state, e); break;
  case KIND_RUN_FINISHED: fold_run_ended(state, e, "done"); break;
  case KIND_RUN_HANDED_OVER: fold_run_ended(state, e, "handed_over"); break;
  case KIND_RUN_CANCELLED: fold_run_ended(state, e, "cancelled"); break;
  case KIND_QUESTION_ASKED: fold_question(state, e); break;
  case KIND_QUESTION_ANSWERED:
  case KIND_QUESTION_EXPIRED: fold_answer(state, e); break;
  case KIND_ACTION_HELD: fold_held(state, e); break;
  case KIND_ACTION_INTENDED: fold_intent(state, e); break;
  case KIND_ACTION_IN_DOUBT: fold_doubt(state, e); break;
  case KIND_ACTION_RESOLVED: fold_resolved(state, e); break;
  case KIND_ACTION_OUTCOME:
  case KIND_ACTION_REFUSED: fold_outcome(state, e); break;
  case KIND_WAIT_STARTED: fold_wait(state, e, true); break;
  case KIND_WAIT_ENDED: fold_wait(state, e, false); break;
  case KIND_CONTAINMENT_RELEASED: fold_containment_status(state, e, "released"); break;
  case KIND_CONTAINMENT_KEPT: fold_containment_status(state, e, "kept"); break;
  case KIND_CONTAINMENT_STILL: fold_containment_status(state, e, "still"); break;
  case KIND_RUNBOOK_TICKED: fold_tick(state, e); break;
  case KIND_CORRECTIVE_ADDED:
  case KIND_CORRECTIVE_CLOSED: fold_corrective(state, e); break;
  case KIND_EVIDENCE_COLLECTED: fold_file(state, e); break;
  case KIND_EVIDENCE_TRANSFERRED:
  case KIND_EVIDENCE_ACKNOWLEDGED:
  case KIND_EVIDENCE_HELD:
  case KIND_EVIDENCE_HOLD_LIFTED:
  case KIND_EVIDENCE_DELETED: fold_custody(state, e); break;
  case KIND_JOURNAL_UNCERTAIN: fold_uncertain(state, e); break;
  case KIND_JOURNAL_AGREED: fold_agreed(state, e); break;
  case KIND_EXERCISE_STARTED: copy(state, e->body, "scenario"); break;
  case KIND_EXERCISE_PAUSED: json_object_set_new(state, "paused", json_true()); break;
  case KIND_EXERCISE_RESUMED:
    if (!json_object_get(e->body, "speed")) json_object_del(state, "paused");
    break;
  case KIND_BODY_REMOVING: fold_removing(state, e); break;
  case KIND_BODY_REMOVED: fold_removed(state, e); break;
  default: break;
  }
}

void state_fold(json_t *state, const struct entry *e) { state_fold_rest(state, e, NULL); }

void state_fold_rest(json_t *state, const struct entry *e, const json_t *removals) {
  set_int(state, "seq", (int64_t)e->seq);
  set_int(state, "updated", e->time);
  if (strncmp(e->actor, "person:", 7) == 0 && !json_object_get(state, "acknowledged")) set_int(state, "acknowledged", e->time);
  if (e->body) {
    fold_body(state, e);
    return;
  }
  char seq[24];
  snprintf(seq, sizeof seq, "%llu", (unsigned long long)e->seq);
  const json_t *kept = json_object_get(json_object_get(removals, seq), "kept");
  struct entry rest = *e;
  rest.body = json_is_object(kept) ? json_copy((json_t *)(uintptr_t)kept) : json_object();
  fold_body(state, &rest);
  json_decref(rest.body);
}
