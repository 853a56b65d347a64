/* Attaching alerts to incidents. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/id.h"
#include "base/slab.h"
#include "base/suspect.h"
#include "base/text.h"
#include "base/utf8.h"
#include "incident/internal.h"

struct attach {
  struct desk *desk;
  struct alert alert;
  json_t *finding, *raw, *text;
  const char *id, *source, *group; /* they lie behind the playbooks */
  char queued[SUSPECT_ID];
  size_t count;
  desk_cb *cb;
  void *arg;
  bool remote; /* another node sent it on: it goes no further */
  const char *playbooks[];
};

/* Once it is on record: what it is made of is freed while it is still in the caches, not when Redis has answered. */
static void alert_let_go(struct attach *a) {
  json_decref(a->finding);
  json_decref(a->raw);
  json_decref(a->text);
  a->finding = a->raw = a->text = NULL;
}

static void attach_end(struct attach *a, const struct err *err) {
  if (a->cb) a->cb(a->arg, err);
  alert_let_go(a);
  slab_free(a);
}

static void attach_durable(void *arg, const struct err *err) { attach_end(arg, err); }

static json_t *techniques(const json_t *finding) {
  json_t *all = json_array(), *attack;
  size_t i;
  json_array_foreach(json_at(finding, "finding_info.attacks"), i, attack) {
    json_t *uid = json_at(attack, "technique.uid");
    if (json_is_string(uid) && !json_array_has(all, json_string_value(uid))) json_array_append(all, uid);
  }
  return all;
}

static json_t *short_observables(const json_t *finding) {
  static const char *const members[][2] = {{"type", "type"}, {"value", "value"}, {"path", "name"}};
  json_t *all = json_array(), *o;
  size_t i;
  json_array_foreach(json_object_get(finding, "observables"), i, o) {
    if (i >= STATE_OBSERVABLES) break;
    json_t *brief = json_object();
    for (size_t k = 0; k < 3; k++) json_object_set(brief, members[k][0], json_object_get(o, members[k][1]));
    json_array_append_new(all, brief);
  }
  return all;
}

static const char *title_of(const json_t *finding) {
  const char *title = json_string_value(json_at(finding, "finding_info.title"));
  if (!title || !*title) title = json_str(finding, "message");
  return title && *title ? title : "Alert without a title";
}

static void open_for(struct incident *inc, const struct attach *a) {
  json_t *groups = json_array();
  if (a->group) json_array_append_new(groups, json_string(a->group));
  json_t *body = json_object();
  json_object_set_new(body, "title", json_string(title_of(a->finding)));
  json_object_set_new(body, "severity_id", json_integer(json_int_or(a->finding, "severity_id", 0)));
  json_object_set_new(body, "mode", json_string(id_exercise(inc->id) ? "exercise" : "live"));
  json_object_set_new(body, "groups", groups);
  json_object_set_new(body, "by", json_string("alert"));
  if (inc->desk->deps.exercise) json_object_set_new(body, "exercise", json_string(inc->desk->deps.exercise));
  incident_open(inc, "engine", body);
}

enum { RAW_PLAIN = 1 << 20, FINDING_KEPT = 16 << 20, FINDING_PART = 64 << 10 };

/* Escaped for JSON, bytes may become six times as many; an entry has room for the very bytes of any document that intake lets in. */
static bool escapes_swell(const char *bytes, size_t len) {
  size_t more = 0;
  if (len <= RAW_PLAIN) return false;
  for (size_t i = 0; i < len; i++) more += (unsigned char)bytes[i] < ' ' ? 5 : bytes[i] == '"' || bytes[i] == '\\';
  return more > len / 3;
}

/* No text of the value is longer than this: a byte takes six as an escape, a number 25 at most. */
static size_t longest_text(const json_t *value) {
  enum { ESCAPE = 6, AROUND = 4, SCALAR = 32 };
  size_t all = SCALAR, i;
  const char *key;
  json_t *item;
  if (json_is_string(value)) return ESCAPE * json_string_length(value) + AROUND;
  json_array_foreach(value, i, item) all += longest_text(item);
  json_object_foreach((json_t *)(uintptr_t)value, key, item) all += ESCAPE * strlen(key) + AROUND + longest_text(item);
  return all;
}

static bool finding_fits(const json_t *finding, size_t most) {
  if ((most ? most : longest_text(finding)) <= FINDING_KEPT) return true;
  struct buf text;
  buf_init(&text, FINDING_KEPT);
  json_write(finding, &text);
  bool fits = buf_ok(&text);
  buf_release(&text);
  return fits;
}

/* The finding, or of one that is too large what people look for; its document is kept whole beside it. */
static json_t *finding_kept(const struct attach *a) {
  static const char *const kept[] = {"class_uid", "time", "start_time", "severity_id", "severity", "activity_id", "metadata", NULL};
  struct buf text;
  if (finding_fits(a->finding, a->alert.most)) return json_incref(a->finding);
  json_t *less = json_pack("{s:b}", "too_large", 1), *value;
  for (const char *const *k = kept; *k; k++) {
    value = json_object_get(a->finding, *k);
    buf_init(&text, FINDING_PART);
    json_write(value ? value : json_null(), &text);
    if (value && buf_ok(&text)) json_object_set(less, *k, value);
    buf_release(&text);
  }
  return less;
}

static json_t *attached_body(const struct attach *a) {
  json_t *finding = finding_kept(a);
  bool whole = finding == a->finding;
  const char *bytes = json_string_value(a->text);
  size_t len = json_string_length(a->text);
  json_t *body = json_object();
  json_object_set_new(body, "id", json_string(a->id));
  json_object_set_new(body, "source", json_string(a->source));
  json_object_set_new(body, "received", json_integer(a->alert.received));
  json_object_set_new(body, "finding", finding);
  json_object_set_new(body, "severity_id", json_integer(json_int_or(a->finding, "severity_id", 0)));
  json_object_set_new(body, "observables", whole ? short_observables(a->finding) : json_array());
  json_object_set_new(body, "attack", whole ? techniques(a->finding) : json_array());
  if (utf8_valid(bytes, len) && !escapes_swell(bytes, len)) {
    json_object_set(body, "raw", a->text);
  } else { /* not UTF-8, or it would swell: the very bytes all the same */
    char *text = base64_encode(bytes, len);
    json_object_set_new(body, "raw_base64", json_string(text ? text : ""));
    free(text);
  }
  return body;
}

static void wake_runs(struct incident *inc, const struct attach *a) {
  struct held_run *h, *next;
  for (h = LIST_FIRST(&inc->runs); h; h = next) {
    next = LIST_NEXT(h, next);
    run_alert(h->run, a->finding);
  }
}

/* --- to the node that owns it ----------------------------------------------------------------------------------------- */

enum { ATTACH_WITHIN_MS = 15000 };

static void on_attached_there(void *arg, int status, const json_t *answer, const struct err *err) {
  struct err why;
  if (!err && status != 200) err_set(&why, ERR_UNAVAILABLE, "%s", json_str_or(answer, "error", "its owner could not")), err = &why;
  attach_end(arg, err); /* not attached: it is routed again, and its owner asked for again */
}

static void attach_there(struct incident *inc, struct attach *a) {
  json_t *playbooks = json_array();
  char *raw = base64_encode(json_string_value(a->text), json_string_length(a->text));
  for (size_t i = 0; i < a->count; i++) json_array_append_new(playbooks, json_string(a->playbooks[i]));
  json_t *body = json_pack("{s:s, s:s, s:s, s:I, s:O, s:O?, s:s, s:s?, s:s, s:o}", "incident", inc->id, "id", a->id, "source", a->source,
                           "received", (json_int_t)a->alert.received, "finding", a->finding, "document", a->raw, "raw", raw ? raw : "",
                           "group", a->group, "queued", a->queued, "playbooks", playbooks);
  free(raw);
  post_ask(inc->desk->post, inc->owner, "attach", body, ATTACH_WITHIN_MS, on_attached_there, a);
}

/* Whether a sleeping run's own version of a list would let it pass is for the run to say. */
static bool names_list(const json_t *when) {
  const char *key;
  json_t *value;
  size_t i;
  bool found = false;
  json_array_foreach(when, i, value) found |= names_list(value);
  json_object_foreach((json_t *)(uintptr_t)when, key, value) found |= strcmp(key, "$list") == 0 || names_list(value);
  return found;
}

/* Of those that sleep the runs that wait for this very alert, or that make room for another. */
static enum wakes attach_wakes(const struct incident *inc, const void *arg, json_t *runs) {
  const struct attach *a = arg;
  const struct desk *d = inc->desk;
  const json_t *state = journal_state(inc->journal), *when;
  const char *at;
  json_t *wait;
  bool starts = false;
  char number[16];
  if (json_str(state, "merged_into") || state_has_alert(state, a->id)) return WAKES_NONE;
  for (size_t i = 0; i < a->count; i++) {
    if (!incident_starts_for_alert(inc, a->playbooks[i])) continue;
    incident_restarts_for_alert(inc, a->playbooks[i], runs);
    starts = true;
  }
  json_t *alert = incident_alert(a->finding, a->raw);
  json_object_foreach(json_object_get(state, "waits"), at, wait) {
    when = json_object_get(wait, "alert");
    if (!when || !d->deps.lists.matches || !incident_run_sleeps(inc, at, number)) continue;
    if (names_list(when) || d->deps.lists.matches(d->deps.lists.arg, NULL, clock_wall(d->deps.store->clock), when, alert))
      incident_wake(inc, at, runs);
  }
  json_decref(alert);
  return starts || json_object_size(runs) ? WAKES_SOME : WAKES_NONE;
}

static void attach_to(struct incident *inc, void *arg, const struct err *err) {
  struct attach *a = arg;
  if (err && inc->owner[0] && !a->remote) {
    attach_there(inc, a);
    return;
  }
  if (err) {
    attach_end(a, err);
    return;
  }
  const char *into = standing_merged_into(journal_standing(inc->journal));
  if (into) {
    incident_with_some(inc->desk, into, false, attach_wakes, attach_to, a);
    return;
  }
  suspect_begin(a->queued[0] ? SUSPECT_ALERT : SUSPECT_NONE, a->queued, 0);
  if (!standing_has_alert(journal_standing(inc->journal), a->id)) {
    if (journal_seq(inc->journal) == 0) open_for(inc, a);
    else if (strcmp(standing_status(journal_standing(inc->journal)), "closed") == 0) {
      incident_index(inc, true);
      journal_add(inc->journal, KIND_INCIDENT_REOPENED, "engine", 0, NULL,
                  json_pack("{s:s}", "because", "an alert of its group came while it was being closed"));
    }
    journal_add(inc->journal, KIND_ALERT_ATTACHED, "engine", 0, NULL, attached_body(a));
    inc->desk->attached++;
    incident_alert_keep(inc, journal_newest(inc->journal));
    wake_runs(inc, a);
    a->alert.finding = a->finding;
    a->alert.raw = a->raw;
    a->alert.text = a->text;
    a->alert.id = a->id;
    a->alert.source = a->source;
    for (size_t i = 0; i < a->count; i++) incident_start_for_alert(inc, a->playbooks[i], &a->alert);
  }
  suspect_end();
  alert_let_go(a);
  journal_once_durable(inc->journal, attach_durable, a); /* its place in the queue waits for it, nobody else */
  incident_touch(inc);
}

/* Copies the text to *at, which moves on behind it. */
static const char *lay_text(char **at, const char *text) {
  size_t size = strlen(text) + 1;
  char *copy = memcpy(*at, text, size);
  *at += size;
  return copy;
}

/* In one block with all that the caller may let go of. */
static struct attach *attach_new(const struct alert *alert, const char *const *playbooks, size_t count, const char *group) {
  size_t texts = strlen(alert->id) + strlen(alert->source) + (group ? strlen(group) : 0) + 3;
  for (size_t i = 0; i < count; i++) texts += strlen(playbooks[i]) + 1;
  struct attach *a = slab_alloc(sizeof *a + count * sizeof *a->playbooks + texts);
  if (!a) abort();
  char *at = (char *)&a->playbooks[count];
  *a = (struct attach){.alert = *alert, .count = count};
  a->finding = json_incref((json_t *)(uintptr_t)alert->finding);
  a->raw = json_incref((json_t *)(uintptr_t)alert->raw);
  a->text = json_incref((json_t *)(uintptr_t)alert->text);
  a->id = lay_text(&at, alert->id);
  a->source = lay_text(&at, alert->source);
  a->group = group ? lay_text(&at, group) : NULL;
  text_copy(a->queued, sizeof a->queued, alert->queued ? alert->queued : "");
  for (size_t i = 0; i < count; i++) a->playbooks[i] = lay_text(&at, playbooks[i]);
  return a;
}

static void attach_begin(struct desk *d, const char *incident, bool created, const struct alert *alert, const char *const *playbooks,
                         size_t count, const char *group, bool remote, desk_cb *cb, void *arg) {
  struct attach *a = attach_new(alert, playbooks, count, group);
  a->desk = d;
  a->cb = cb;
  a->arg = arg;
  a->remote = remote;
  incident_with_some(d, incident, created, attach_wakes, attach_to, a);
}

int desk_attach(struct desk *d, const char *incident, bool created, const struct alert *alert, const char *const *playbooks, size_t count,
                const char *group, desk_cb *cb, void *arg, struct err *err) {
  attach_begin(d, incident, created, alert, playbooks, count, group, false, cb, arg);
  return 0;
}

void attach_from_letter(struct desk *d, const json_t *body, desk_cb *cb, void *arg) {
  enum { PLAYBOOKS_MOST = 128 }; /* twice intake's incidents of one alert */
  const char *playbooks[PLAYBOOKS_MOST], *raw = json_str_or(body, "raw", ""), *incident = json_str_or(body, "incident", "");
  size_t len = 0, count = 0, i;
  json_t *name;
  struct id parsed;
  uint8_t *bytes = base64_decode(raw, strlen(raw), &len);
  if (!bytes || !id_parse(incident, &parsed) || !json_is_object(json_object_get(body, "finding"))) {
    struct err bad;
    free(bytes);
    err_set(&bad, ERR_INVALID, "the letter bears no alert");
    cb(arg, &bad);
    return;
  }
  json_array_foreach(json_object_get(body, "playbooks"), i, name) if (json_is_string(name) && count < PLAYBOOKS_MOST) playbooks[count++] =
      json_string_value(name);
  json_t *text = json_stringn_nocheck((const char *)bytes, len);
  if (!text) abort();
  struct alert alert = {.id = json_str_or(body, "id", ""),
                        .source = json_str_or(body, "source", ""),
                        .received = json_int_or(body, "received", 0),
                        .finding = json_object_get(body, "finding"),
                        .raw = json_object_get(body, "document"),
                        .text = text,
                        .queued = json_str(body, "queued")};
  attach_begin(d, incident, false, &alert, playbooks, count, json_str(body, "group"), true, cb, arg);
  json_decref(text);
  free(bytes);
}
