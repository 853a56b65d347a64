/* One pass over the entries; what began is found again by its place ("1/3"). */
#include <stdio.h>
#include <string.h>

#include "journal/state.h"
#include "report/internal.h"

enum { OBSERVABLES_KEPT = 500 };

const char *report_control(const char *control) {
  static const char *const names[][2] = {
      {"A.5.5", "Contact with authorities"},
      {"A.5.6", "Contact with special interest groups"},
      {"A.5.24", "Incident management planning and preparation"},
      {"A.5.25", "Assessment and decision on security events"},
      {"A.5.26", "Response to security incidents"},
      {"A.5.27", "Learning from security incidents"},
      {"A.5.28", "Collection of evidence"},
      {"A.5.33", "Protection of records"},
      {"A.5.34", "Privacy and protection of personal data"},
      {"A.6.8", "Security event reporting"},
      {"A.8.9", "Configuration management"},
      {"A.8.14", "Redundancy of information processing facilities"},
      {"A.8.15", "Logging"},
      {"A.8.16", "Monitoring activities"},
      {"A.8.17", "Clock synchronization"},
      {"A.8.24", "Use of cryptography"},
  };
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (strcmp(names[i][0], control) == 0) return names[i][1];
  return "";
}

const char *report_actor(const struct report_source *s, const char *actor, char *room, size_t size) {
  const char *name = json_str(s->names, actor);
  if (name) return name;
  if (strcmp(actor, "engine") == 0) return "tocsin";
  if (strncmp(actor, "playbook:", 9) == 0) snprintf(room, size, "playbook %s", actor + 9);
  else snprintf(room, size, "%s", actor);
  return room;
}

static json_t *part(json_t *facts, const char *name) { return json_object_get(facts, name); }

static void copy(json_t *to, const json_t *from, const char *key) {
  json_t *value = json_object_get(from, key);
  if (value && !json_is_null(value)) json_object_set(to, key, value);
}

static void copy_all(json_t *to, const json_t *from, const char *const *keys) {
  for (; *keys; keys++) copy(to, from, *keys);
}

static void copy_as(json_t *to, const char *name, const json_t *from, const char *key) {
  json_t *value = json_object_get(from, key);
  if (value) json_object_set(to, name, value);
}

static void set_text(json_t *object, const char *key, const char *text) { json_object_set_new(object, key, json_string(text)); }
static void set_int(json_t *object, const char *key, int64_t value) { json_object_set_new(object, key, json_integer(value)); }

static void set_actor(const struct report_source *s, json_t *object, const char *key, const char *actor) {
  char room[ENTRY_ACTOR + 16];
  set_text(object, key, report_actor(s, actor, room, sizeof room));
}

/* A new member of a list, with where and when it began. */
static json_t *begin(json_t *list, const struct entry *e) {
  json_t *item = json_pack("{s:I, s:I}", "seq", (json_int_t)e->seq, "time", (json_int_t)e->time);
  if (e->step[0]) json_object_set_new(item, "place", json_sprintf("%u/%s", e->run, e->step));
  json_array_append_new(list, item);
  return item;
}

/* The newest of that place which has not ended yet (any: ended or not). */
static json_t *find(json_t *list, const char *place, bool any) {
  for (size_t i = json_array_size(list); i > 0; i--) {
    json_t *item = json_array_get(list, i - 1);
    if (strcmp(json_str_or(item, "place", ""), place) == 0 && (any || !json_object_get(item, "ended"))) return item;
  }
  return NULL;
}

static json_t *find_here(json_t *list, const struct entry *e, bool any) {
  char place[ID_PATH];
  snprintf(place, sizeof place, "%u/%s", e->run, e->step);
  return find(list, place, any);
}

static void end(json_t *item, const struct entry *e) {
  set_int(item, "ended", e->time);
  set_int(item, "ended_seq", (int64_t)e->seq);
}

/* ---- kinds */

static void severity(json_t *facts, const json_t *body, bool raise_only) {
  int64_t id = json_int_or(body, "severity_id", -1);
  if (id < 0 || id > 6 || (raise_only && id <= json_int_or(facts, "severity_id", 0))) return;
  set_int(facts, "severity_id", id);
  set_text(facts, "severity", severity_name(id));
}

static void observables(json_t *facts, const json_t *finding) {
  json_t *kept = part(facts, "observables"), *o, *k;
  size_t i, n;
  json_array_foreach(json_object_get(finding, "observables"), i, o) {
    bool seen = !json_str(o, "value");
    json_array_foreach(kept, n, k) if (!seen) seen = json_equal(json_object_get(k, "value"), json_object_get(o, "value")) &&
                                                     json_equal(json_object_get(k, "name"), json_object_get(o, "name"));
    if (!seen && json_array_size(kept) < OBSERVABLES_KEPT) json_array_append(kept, o);
  }
}

static void alert(json_t *facts, const struct entry *e) {
  const json_t *finding = json_object_get(e->body, "finding");
  json_t *a = begin(part(facts, "alerts"), e);
  int64_t detected = ocsf_time(finding, "time"), event = ocsf_time(finding, "start_time");
  if (!event) event = ocsf_time(finding, "finding_info.first_seen_time");
  copy(a, e->body, "id");
  copy(a, e->body, "source");
  copy(a, e->body, "received");
  copy(a, e->body, "severity_id");
  if (json_at(finding, "finding_info")) json_object_set(a, "finding_info", json_at(finding, "finding_info"));
  if (json_at(finding, "metadata.product.name")) json_object_set(a, "product", json_at(finding, "metadata.product.name"));
  if (detected) set_int(a, "detected", detected);
  if (event) set_int(a, "event", event);
  severity(facts, e->body, true);
  json_array_add_each(part(facts, "attack"), json_object_get(e->body, "attack"));
  observables(facts, finding);
}

static void opened(const struct report_source *s, json_t *facts, const struct entry *e) {
  static const char *const keys[] = {"title", "mode", "occurred", NULL};
  copy_all(facts, e->body, keys);
  set_int(facts, "opened", e->time);
  set_int(facts, "opened_seq", (int64_t)e->seq);
  set_actor(s, facts, "opened_by", e->actor);
  severity(facts, e->body, false);
}

static void intended(const struct report_source *s, json_t *facts, const struct entry *e) {
  static const char *const keys[] = {"connector", "action", "effect", "target", "because", "undo_of", NULL};
  json_t *action = begin(part(facts, "actions"), e);
  copy_all(action, e->body, keys);
  set_actor(s, action, "by", e->actor);
}

static void contained(const struct report_source *s, json_t *facts, const struct entry *e, const json_t *action) {
  static const char *const keys[] = {"connector", "action", "target", "simulated", NULL};
  const char *how = json_str(e->body, "contains");
  if (!how || !json_bool_or(e->body, "ok", false)) return;
  json_t *c = begin(part(facts, "containments"), e);
  copy_all(c, e->body, keys);
  copy(c, action, "because");
  set_actor(s, c, "by", e->actor);
  set_text(c, "status", how);
}

static void outcome(const struct report_source *s, json_t *facts, const struct entry *e) {
  static const char *const keys[] = {"connector", "action", "effect", "target", NULL};
  if (json_str(e->body, "verb")) return; /* a file that a simulated run would have kept */
  json_t *action = find_here(part(facts, "actions"), e, false);
  if (!action) { /* a read has no intent: it began before it ended */
    int64_t took = json_int_or(e->body, "took_ms", 0);
    action = begin(part(facts, "actions"), e);
    set_int(action, "time", e->time - (took > 0 ? took : 0) * 1000);
    set_actor(s, action, "by", e->actor);
  }
  copy_all(action, e->body, keys);
  copy(action, e->body, "ok");
  end(action, e);
  contained(s, facts, e, action);
}

static void released(const struct report_source *s, json_t *facts, const struct entry *e, const char *status) {
  json_t *c = find(part(facts, "containments"), json_str_or(e->body, "of", ""), true);
  if (!c) return;
  set_text(c, "status", status);
  if (strcmp(status, "still") != 0) end(c, e);
  set_actor(s, c, "ended_by", e->actor);
  set_int(c, "ended_seq", (int64_t)e->seq);
  copy(c, e->body, "why");
  copy(c, e->body, "holders");
  copy(c, e->body, "recovered");
}

static void asked(json_t *facts, const struct entry *e) {
  static const char *const keys[] = {"text", "role", "options", "otherwise", "kind", NULL};
  copy_all(begin(part(facts, "questions"), e), e->body, keys);
}

static void answered(const struct report_source *s, json_t *facts, const struct entry *e) {
  json_t *q = find_here(part(facts, "questions"), e, false);
  if (!q || (e->kind == KIND_QUESTION_ANSWERED && json_bool_or(e->body, "more", false))) return;
  copy(q, e->body, "answer");
  set_actor(s, q, "by", e->kind == KIND_QUESTION_EXPIRED ? "nobody in time" : e->actor);
  end(q, e);
}

static void run_started(const struct report_source *s, json_t *facts, const struct entry *e) {
  json_t *run = begin(part(facts, "runs"), e);
  json_object_set_new(run, "place", json_sprintf("%u", e->run));
  set_int(run, "run", e->run);
  copy(run, e->body, "playbook");
  bool shadow = json_bool_or(e->body, "shadow", false);
  if (shadow) json_object_set_new(run, "playbook", json_sprintf("%s (shadow)", json_str_or(e->body, "playbook", "?")));
  copy(run, e->body, "digest");
  copy(run, json_object_get(e->body, "trigger"), "because");
  set_actor(s, run, "by", e->actor);
  if (!json_bool_or(e->body, "engine", false) && !shadow) json_array_add(part(facts, "playbooks"), json_object_get(e->body, "playbook"));
}

static void run_ended(json_t *facts, const struct entry *e, const char *status) {
  char place[ID_PATH];
  snprintf(place, sizeof place, "%u", e->run);
  json_t *run = find(part(facts, "runs"), place, false);
  if (!run) return;
  set_text(run, "status", json_str_or(e->body, "status", status));
  end(run, e);
}

static void closed(const struct report_source *s, json_t *facts, const struct entry *e) {
  json_t *closing = json_deep_copy(e->body);
  set_actor(s, closing, "by", e->actor);
  set_int(closing, "time", e->time);
  set_int(closing, "seq", (int64_t)e->seq);
  json_object_set_new(facts, "closing", closing);
  set_text(facts, "status", "closed");
}

static void merged(json_t *facts, const struct entry *e) {
  if (!json_str(e->body, "into")) return;
  set_text(facts, "status", "merged");
  copy(facts, e->body, "into");
}

/* One line of the chain of custody. */
static void custody(const struct report_source *s, json_t *facts, const struct entry *e) {
  static const char *const keys[] = {"name",         "size",  "sha256",       "sha256_before", "source",
                                     "from",         "to",    "node",         "tool",          "collected",
                                     "collected_by", "class", "because",      "hold",          "received_by",
                                     "transfer",     "clock", "retain_until", "replaces",      "before_retention"};
  json_t *list = json_object_get(facts, "custody");
  if (!list) json_object_set_new(facts, "custody", list = json_array());
  json_t *row = begin(list, e);
  set_actor(s, row, "by", e->actor);
  set_text(row, "what", kind_name(e->kind) + strlen("evidence."));
  set_int(row, "item", e->kind == KIND_EVIDENCE_COLLECTED ? (int64_t)e->seq : json_int_or(e->body, "item", 0));
  for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) copy(row, e->body, keys[i]);
  if (!e->envelope_len) json_object_set_new(row, "removed", json_true());
}

static void fold(const struct report_source *s, json_t *facts, const struct entry *e) {
  switch (e->kind) {
  case KIND_INCIDENT_OPENED: opened(s, facts, e); break;
  case KIND_INCIDENT_ASSIGNED: copy(facts, e->body, "owner"); break;
  case KIND_INCIDENT_SEVERITY: severity(facts, e->body, false); break;
  case KIND_INCIDENT_TAGGED: json_array_add(part(facts, "tags"), json_object_get(e->body, "tag")); break;
  case KIND_INCIDENT_TITLED: copy(facts, e->body, "title"); break;
  case KIND_INCIDENT_MERGED: merged(facts, e); break;
  case KIND_INCIDENT_CLOSED: closed(s, facts, e); break;
  case KIND_INCIDENT_REOPENED: set_text(facts, "status", "open"); break;
  case KIND_ALERT_ATTACHED: alert(facts, e); break;
  case KIND_RUN_STARTED: run_started(s, facts, e); break;
  case KIND_RUN_FINISHED: run_ended(facts, e, "done"); break;
  case KIND_RUN_HANDED_OVER: run_ended(facts, e, "handed over"); break;
  case KIND_RUN_CANCELLED: run_ended(facts, e, "cancelled"); break;
  case KIND_ACTION_INTENDED: intended(s, facts, e); break;
  case KIND_ACTION_OUTCOME: outcome(s, facts, e); break;
  case KIND_QUESTION_ASKED: asked(facts, e); break;
  case KIND_QUESTION_ANSWERED:
  case KIND_QUESTION_EXPIRED: answered(s, facts, e); break;
  case KIND_CONTAINMENT_RELEASED: released(s, facts, e, "released"); break;
  case KIND_CONTAINMENT_KEPT: released(s, facts, e, "kept"); break;
  case KIND_EVIDENCE_COLLECTED:
  case KIND_EVIDENCE_COPIED:
  case KIND_EVIDENCE_TRANSFERRED:
  case KIND_EVIDENCE_ACKNOWLEDGED:
  case KIND_EVIDENCE_HELD:
  case KIND_EVIDENCE_HOLD_LIFTED:
  case KIND_EVIDENCE_DELETED: custody(s, facts, e); break;
  case KIND_CONTAINMENT_STILL: released(s, facts, e, "still"); break;
  default: break;
  }
}

/* Of a body that was removed, what the removal has kept of it. */
static void fold_rest(const struct report_source *s, json_t *facts, const struct entry *e) {
  const struct entry *removal = e->body ? NULL : entry_removal(s->entries, s->count, e->seq);
  json_t *kept = json_object_get(removal ? removal->body : NULL, "kept");
  struct entry rest = *e;
  rest.body = e->body ? json_incref(e->body) : json_is_object(kept) ? json_copy(kept) : json_object();
  fold(s, facts, &rest);
  json_decref(rest.body);
}

void report_words(const struct report_source *s, const struct entry *e, struct buf *out) {
  const struct entry *removal = e->body ? NULL : entry_removal(s->entries, s->count, e->seq);
  char stamp[STAMP_TEXT], room[ENTRY_ACTOR + 16];
  if (e->body) {
    s->words(s->words_arg, e, out);
    return;
  }
  buf_addf(out, "%s (its body was removed", kind_meaning(e->kind));
  if (removal) {
    stamp_text(removal->time, stamp);
    buf_addf(out, " on %s by %s because %s; entry %llu", stamp, report_actor(s, removal->actor, room, sizeof room),
             json_str_or(removal->body, "because", "(removed, too)"), (unsigned long long)removal->seq);
  }
  buf_adds(out, ")");
  const char *text = removal ? json_str(removal->body, "copy") : NULL;
  if (text) buf_adds(out, " copy with parts taken out: "), buf_adds(out, text);
}

/* Who decided what. Results of what a person set going are not decisions of theirs, though they bear the person's name. */
static bool is_decision(const struct entry *e) {
  switch (e->kind) {
  case KIND_QUESTION_EXPIRED:
  case KIND_ACTION_REFUSED:
  case KIND_ALERT_SUPPRESSED: return true;
  case KIND_ACTION_INTENDED:
  case KIND_ACTION_PROPOSED:
  case KIND_ACTION_HELD:
  case KIND_ACTION_OUTCOME:
  case KIND_QUESTION_ASKED:
  case KIND_RUN_FINISHED:
  case KIND_WAIT_STARTED:
  case KIND_WAIT_ENDED:
  case KIND_PARALLEL_STARTED:
  case KIND_PARALLEL_ENDED: return false;
  default: return strncmp(e->actor, "person:", 7) == 0;
  }
}

static void decision(const struct report_source *s, json_t *facts, const struct entry *e) {
  json_t *d = begin(part(facts, "decisions"), e);
  set_actor(s, d, "by", e->actor);
  json_object_set_new(d, "person", json_boolean(strncmp(e->actor, "person:", 7) == 0));
  set_text(d, "type", kind_name(e->kind));
  if (e->kind == KIND_QUESTION_ANSWERED || e->kind == KIND_QUESTION_EXPIRED)
    copy_as(d, "about", find_here(part(facts, "questions"), e, true), "text");
  const char *of = json_str(e->body, "of");
  if (of) copy_as(d, "target", find(part(facts, "containments"), of, true), "target");
}

static void control(json_t *facts, const struct entry *e) {
  json_t *controls = part(facts, "controls"), *list = json_object_get(controls, kind_control(e->kind));
  if (!kind_control(e->kind)[0]) return;
  if (!list) json_object_set_new(controls, kind_control(e->kind), list = json_array());
  json_array_append_new(list, json_integer((json_int_t)e->seq));
}

bool report_exercised(const struct report_source *s) { return strncmp(s->incident, "EX-", 3) == 0; }

json_t *report_facts(const struct report_source *s) {
  json_t *facts =
      json_pack("{s:s, s:s, s:s, s:i, s:I, s:[], s:[], s:[], s:[], s:[], s:[], s:[], s:[], s:[], s:[], s:[], s:{}}", "id", s->incident,
                "status", "open", "severity", "unknown", "severity_id", 0, "entries", (json_int_t)s->count, "alerts", "playbooks", "attack",
                "tags", "observables", "removed", "containments", "decisions", "questions", "runs", "actions", "controls");
  for (size_t i = 0; i < s->count; i++) {
    const struct entry *e = s->entries[i];
    if (i == 0) set_int(facts, "first", e->time);
    set_int(facts, "last", e->time);
    control(facts, e);
    if (is_decision(e)) decision(s, facts, e);
    fold_rest(s, facts, e);
    if (!e->body) json_array_append_new(part(facts, "removed"), json_integer((json_int_t)e->seq));
  }
  if (!json_object_get(facts, "mode")) set_text(facts, "mode", report_exercised(s) ? "exercise" : "live");
  if (report_exercised(s)) /* on every page and in every format, whoever reads it */
    json_object_set_new(facts, "title", json_sprintf("EXERCISE: %s", json_str_or(facts, "title", "without a title")));
  facts_times(s, facts);
  return facts;
}
