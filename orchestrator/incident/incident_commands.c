/* Commands about one incident. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "incident/internal.h"

enum { ENTRIES_SHOWN = 5000, TEXT_MOST = 16384, EXPORT_CAP = 256 << 20 };

static const char *required(struct call *call, const char *name) {
  struct err err;
  const char *text = call_text(call, name);
  if (text && strlen(text) <= TEXT_MOST) return text;
  if (text) err_set(&err, ERR_LIMIT, "`%s` is longer than %d bytes", name, TEXT_MOST);
  else err_set(&err, ERR_INVALID, "`%s` is missing", name);
  call_fail(call, &err);
  return NULL;
}

static void done(struct call *call, struct incident *inc) {
  call_answer_durable(call, inc->journal, json_pack("{s:s, s:I}", "id", inc->id, "seq", (json_int_t)journal_seq(inc->journal)));
}

static void record(struct call *call, struct incident *inc, enum kind kind, json_t *body_take) {
  journal_save_state(inc->journal);
  journal_add(inc->journal, kind, call->by->actor, 0, NULL, body_take);
  done(call, inc);
}

/* --- reading ------------------------------------------------------------------------------------------------------- */

struct reading {
  struct call *call;
  struct incident *inc;
  json_t *entries;
  struct buf lines;
  json_t *names; /* of the people in them, by their pseudonyms */
  unsigned run;  /* 0: all */
  bool exporting;
};

static bool read_entry(void *arg, const struct entry *e) {
  struct reading *r = arg;
  if (r->exporting) {
    if (strncmp(e->actor, "person:", 7) == 0 && !json_object_get(r->names, e->actor))
      json_object_set_new(r->names, e->actor, json_string(people_name(r->call->desk->deps.people, e->actor)));
    journal_export(e, &r->lines);
    return buf_ok(&r->lines);
  }
  if (!r->run || e->run == r->run) json_array_append_new(r->entries, view_entry(r->call->desk, e, incident_state(r->inc)));
  return json_array_size(r->entries) < ENTRIES_SHOWN;
}

static json_t *runbook_of(struct incident *inc) {
  const char *key;
  json_t *run, *steps = NULL;
  json_object_foreach(json_object_get(incident_state(inc), "runs"), key, run) {
    const struct declaration *p = desk_playbook(inc->desk, json_str_or(run, "playbook", ""), NULL);
    const char *name = p ? json_str(p->json, "runbook") : NULL;
    if (name && !steps) runbook_load(inc->desk->runbooks, name, &steps, NULL);
  }
  size_t i;
  json_t *step;
  json_array_foreach(steps, i, step) {
    char number[24];
    snprintf(number, sizeof number, "%lld", (long long)json_int_or(step, "n", 0));
    json_t *tick = json_object_get(json_object_get(incident_state(inc), "ticks"), number);
    if (!tick) continue;
    json_object_set_new(step, "by", json_string(people_name(inc->desk->deps.people, json_str_or(tick, "by", ""))));
    json_object_set(step, "time", json_object_get(tick, "time"));
  }
  return steps;
}

static const struct held_run *live_run(const struct incident *inc, unsigned number) {
  const struct held_run *h;
  LIST_FOREACH(h, &inc->runs, next) if (h->number == number) return h;
  return NULL;
}

static json_t *run_answer(struct reading *r) {
  char number[16];
  snprintf(number, sizeof number, "%u", r->run);
  const json_t *run = json_object_get(json_object_get(incident_state(r->inc), "runs"), number);
  const struct held_run *h = live_run(r->inc, r->run);
  json_t *view = view_run(r->call->desk, incident_state(r->inc), number, run, h ? h->run : NULL), *e;
  size_t i;
  json_array_foreach(r->entries, i, e) if (strcmp(json_str_or(e, "type", ""), "run.started") == 0) {
    json_t *body = json_object_get(e, "body");
    if (json_object_get(body, "params")) json_object_set(view, "params", json_object_get(body, "params"));
    if (json_object_get(body, "trigger")) json_object_set(view, "trigger", json_object_get(body, "trigger"));
  }
  return json_pack("{s:o, s:O}", "run", view, "entries", r->entries);
}

/* Its first entries lie in another node's log alone, from where this one took it over by its state: unless something of it is alive here it is let go of, and that node is asked. */
static bool read_elsewhere(struct reading *r, const struct err *err) {
  enum { TRIES_MOST = 4 };
  struct call *call = r->call;
  struct incident *inc = call->inc;
  if (!err || err->code != ERR_CONFLICT || !call->desk->deps.nodes || inc->lost || ++call->tries > TRIES_MOST) return false;
  incident_busy(inc, -1);
  if (incident_alive(inc)) {
    incident_busy(inc, 1);
    return false;
  }
  call->inc = NULL;
  incident_unload(inc);
  call_again(call);
  return true;
}

static void reading_free(struct reading *r) {
  json_decref(r->entries);
  json_decref(r->names);
  buf_release(&r->lines);
  free(r);
}

static void read_done(void *arg, const struct err *err) {
  struct reading *r = arg;
  struct call *call = r->call;
  struct err full;
  if (read_elsewhere(r, err)) {
    reading_free(r);
    return;
  }
  if (r->exporting && !buf_ok(&r->lines)) err_set(&full, ERR_LIMIT, "the incident is larger than %d MiB", EXPORT_CAP >> 20), err = &full;
  if (err) {
    call_fail(call, err);
  } else if (r->exporting) {
    call_answer(call, 200, json_pack("{s:s, s:O}", "lines", r->lines.data, "names", r->names));
  } else if (r->run) {
    call_answer(call, 200, run_answer(r));
  } else {
    json_t *answer = json_pack("{s:O, s:I}", "entries", r->entries, "last", (json_int_t)journal_seq(r->inc->journal)), *runbook = NULL;
    if (strcmp(json_str_or(call->command, "command", ""), "incident.show") == 0) {
      json_object_set_new(answer, "incident", view_state(call->desk, incident_state(r->inc)));
      json_object_set_new(answer, "paused", view_paused(call->desk));
      if ((runbook = runbook_of(r->inc))) json_object_set_new(answer, "runbook", runbook);
    }
    call_answer(call, 200, answer);
  }
  reading_free(r);
}

static void on_flushed(void *arg, const struct err *err) {
  struct reading *r = arg;
  struct err why;
  uint64_t from = (uint64_t)json_int_or(r->call->command, "from", 1);
  if (err) read_done(r, err);
  else if (from > journal_seq(r->inc->journal)) read_done(r, NULL);
  else if (journal_read(r->call->desk->deps.store, r->inc->id, from, 0, read_entry, read_done, r, &why) < 0) read_done(r, &why);
}

static void read_begin(struct call *call, struct incident *inc, unsigned run, bool exporting) {
  struct reading *r = calloc(1, sizeof *r);
  if (!r) abort();
  *r = (struct reading){.call = call, .inc = inc, .entries = json_array(), .names = json_object(), .run = run, .exporting = exporting};
  buf_init(&r->lines, EXPORT_CAP);
  journal_when_durable(inc->journal, on_flushed, r); /* nobody is shown what may yet be lost */
}

static void do_read(struct call *call, struct incident *inc) { read_begin(call, inc, 0, false); }
static void do_export(struct call *call, struct incident *inc) { read_begin(call, inc, 0, true); }

static void do_run_show(struct call *call, struct incident *inc) {
  struct id id;
  struct err err;
  char number[16];
  id_parse(call_text(call, "id"), &id);
  snprintf(number, sizeof number, "%u", id.run);
  if (!id.run || !json_object_get(json_object_get(incident_state(inc), "runs"), number)) {
    err_set(&err, ERR_NOT_FOUND, "%s has no run %u; write INC-000042/1, and `tocsin run list` shows them", inc->id, id.run);
    call_fail(call, &err);
    return;
  }
  read_begin(call, inc, id.run, false);
}

/* --- writing --------------------------------------------------------------------------------------------------------- */

static void do_note(struct call *call, struct incident *inc) {
  const char *text = required(call, "text"), *at;
  struct err err;
  int64_t when;
  if (!text) return;
  json_t *body = json_pack("{s:s}", "text", text);
  if ((at = call_text(call, "at"))) {
    if (!time_parse(at, &when)) {
      json_decref(body);
      err_set(&err, ERR_INVALID, "at: \"%.60s\" is no time; write 2026-11-23T18:42:00Z", at);
      call_fail(call, &err);
      return;
    }
    json_object_set_new(body, "at", json_integer(when));
  }
  int64_t corrects = json_int_or(call->command, "corrects", 0);
  if (corrects < 0 || corrects > (int64_t)journal_seq(inc->journal)) {
    json_decref(body);
    err_set(&err, ERR_INVALID, "there is no entry %" PRId64 " to correct", corrects);
    call_fail(call, &err);
    return;
  }
  if (corrects) json_object_set_new(body, "corrects", json_integer(corrects));
  record(call, inc, KIND_INCIDENT_NOTED, body);
}

static void do_assign(struct call *call, struct incident *inc) {
  const char *to = required(call, "to");
  if (to) record(call, inc, KIND_INCIDENT_ASSIGNED, json_pack("{s:s}", "owner", to));
}

static void do_tag(struct call *call, struct incident *inc) {
  const char *tag = required(call, "tag");
  if (tag) record(call, inc, KIND_INCIDENT_TAGGED, json_pack("{s:s}", "tag", tag));
}

static void do_title(struct call *call, struct incident *inc) {
  const char *title = required(call, "title");
  if (title) record(call, inc, KIND_INCIDENT_TITLED, json_pack("{s:s}", "title", title));
}

static int severity_of(struct call *call, struct err *err) {
  const char *text = call_text(call, "severity");
  int64_t id = text ? severity_by_name(text) : -1;
  if (id < 0)
    return err_set(err, ERR_INVALID, "\"%.40s\" is no severity; say informational, low, medium, high, critical or fatal", text ? text : "");
  return (int)id;
}

static void do_severity(struct call *call, struct incident *inc) {
  struct err err;
  int id = severity_of(call, &err);
  if (id < 0) {
    call_fail(call, &err);
    return;
  }
  const char *because = call_text(call, "because");
  record(call, inc, KIND_INCIDENT_SEVERITY, json_pack("{s:i, s:s}", "severity_id", id, "because", because ? because : ""));
}

static void do_tick(struct call *call, struct incident *inc) {
  struct err err;
  int64_t n = json_int_or(call->command, "n", 0);
  json_t *steps = runbook_of(inc);
  if (n < 1 || (size_t)n > json_array_size(steps)) {
    err_set(&err, ERR_NOT_FOUND, "the runbook has %zu steps; there is no step %" PRId64, json_array_size(steps), n);
    call_fail(call, &err);
  } else {
    record(call, inc, KIND_RUNBOOK_TICKED,
           json_pack("{s:I, s:O*}", "n", (json_int_t)n, "text", json_object_get(json_array_get(steps, (size_t)n - 1), "text")));
  }
  json_decref(steps);
}

static void ungroup(struct incident *inc) {
  const json_t *groups = json_object_get(incident_state(inc), "groups");
  size_t i, count = json_array_size(groups);
  const char **argv = calloc(count + 5, sizeof *argv);
  char key[DESK_KEY];
  if (!argv) abort();
  desk_key(inc->desk, "group", key);
  argv[0] = "FCALL", argv[1] = "tocsin_ungroup", argv[2] = "1", argv[3] = key, argv[4] = inc->id;
  for (i = 0; i < count; i++) argv[5 + i] = json_string_value(json_array_get(groups, i));
  if (count) redis_command(inc->desk->deps.redis, 0, NULL, NULL, count + 5, argv, NULL, NULL);
  free(argv);
}

/* From severity high on a closing says what happened and what was learnt, or by whose name that is waived. */
static int closing_check(struct call *call, struct incident *inc, struct err *err) {
  static const char *const wanted[] = {"root_cause", "impact", "affected", "lessons"};
  if (!call_text(call, "verdict"))
    return err_set(err, ERR_INVALID, "`verdict` is missing: true_positive, false_positive, benign, duplicate or inconclusive");
  if (json_object_size(json_object_get(incident_state(inc), "questions")))
    return err_set(err, ERR_CONFLICT, "%s still asks a question; answer it, or cancel its run", inc->id);
  if (json_object_size(json_object_get(incident_state(inc), "intents")))
    return err_set(err, ERR_CONFLICT, "%s has an action in flight or in doubt; resolve it first", inc->id);
  if (!LIST_EMPTY(&inc->runs))
    return err_set(err, ERR_CONFLICT, "%s has a run under way; wait for it or `tocsin run cancel %s/%u`", inc->id, inc->id,
                   LIST_FIRST(&inc->runs)->number);
  if (json_int_or(incident_state(inc), "severity_id", 0) < 4 || call_text(call, "waive")) return 0;
  for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
    if (!call_text(call, wanted[i]))
      return err_set(err, ERR_INVALID, "an incident of severity %s is closed with `%s`, or with `waive` and a reason",
                     json_str_or(incident_state(inc), "severity", "high"), wanted[i]);
  return 0;
}

static void do_close(struct call *call, struct incident *inc) {
  static const char *const keys[] = {"verdict", "root_cause", "impact", "affected", "lessons", "waive", NULL};
  struct err err;
  if (strcmp(json_str_or(incident_state(inc), "status", ""), "open") != 0) {
    err_set(&err, ERR_CONFLICT, "%s is %s already", inc->id, json_str_or(incident_state(inc), "status", "closed"));
    call_fail(call, &err);
    return;
  }
  if (closing_check(call, inc, &err) < 0) {
    call_fail(call, &err);
    return;
  }
  json_t *body = json_object();
  for (const char *const *k = keys; *k; k++)
    if (json_object_get(call->command, *k)) json_object_set(body, *k, json_object_get(call->command, *k));
  if (call_text(call, "waive")) json_object_set_new(body, "waived_by", json_string(call->by->actor));
  ungroup(inc);
  incident_index(inc, false);
  record(call, inc, KIND_INCIDENT_CLOSED, body);
}

static void do_reopen(struct call *call, struct incident *inc) {
  struct err err;
  const char *because = required(call, "because");
  if (!because) return;
  if (strcmp(json_str_or(incident_state(inc), "status", ""), "closed") != 0) {
    err_set(&err, ERR_CONFLICT, "%s is %s; only a closed incident is reopened", inc->id,
            json_str_or(incident_state(inc), "status", "open"));
    call_fail(call, &err);
    return;
  }
  incident_index(inc, true);
  record(call, inc, KIND_INCIDENT_REOPENED, json_pack("{s:s}", "because", because));
}

/* --- merging: the other incident takes the groups over ----------------------------------------------------------------------- */

static void merge_into(struct incident *into, void *arg, const struct err *err) {
  struct call *call = arg;
  struct incident *inc = call->inc;
  struct err why;
  char value[64], key[DESK_KEY];
  if (err || journal_seq(into->journal) == 0 || into == inc || strcmp(json_str_or(incident_state(into), "status", ""), "open") != 0) {
    if (!err) err_set(&why, ERR_CONFLICT, "%s can only be merged into another incident that is open", inc->id), err = &why;
    call_fail(call, err);
    return;
  }
  json_t *groups = json_deep_copy(json_object_get(incident_state(inc), "groups"));
  size_t i;
  json_t *group;
  desk_key(inc->desk, "group", key);
  snprintf(value, sizeof value, "%s|%" PRId64, into->id, clock_steady(inc->desk->deps.store->clock) / 1000 + 3600000);
  json_array_foreach(groups, i, group)
      redis_call(inc->desk->deps.redis, 0, NULL, NULL, NULL, "HSET", key, json_string_value(group), value, NULL);
  const char *because = call_text(call, "because");
  journal_add(into->journal, KIND_INCIDENT_MERGED, call->by->actor, 0, NULL,
              json_pack("{s:s, s:o, s:s}", "from", inc->id, "groups", groups, "because", because ? because : ""));
  incident_index(inc, false);
  record(call, inc, KIND_INCIDENT_MERGED, json_pack("{s:s, s:s}", "into", into->id, "because", because ? because : ""));
}

static void do_merge(struct call *call, struct incident *inc) {
  struct id id;
  struct err err;
  char name[ID_INCIDENT];
  const char *into = required(call, "into");
  if (!into) return;
  if (!id_parse(into, &id) || !LIST_EMPTY(&inc->runs)) {
    if (LIST_EMPTY(&inc->runs)) err_set(&err, ERR_INVALID, "\"%.60s\" is no incident's id", into);
    else err_set(&err, ERR_CONFLICT, "%s has a run under way; wait for it or cancel it before merging", inc->id);
    call_fail(call, &err);
    return;
  }
  id_incident(name, id.mode, id.number);
  if (id_exercise(name) != id_exercise(inc->id)) {
    err_set(&err, ERR_CONFLICT, "%s and %s are not merged: one is an exercise, the other is real", inc->id, name);
    call_fail(call, &err);
    return;
  }
  incident_with(call->desk, name, false, merge_into, call);
}

static void do_cancel(struct call *call, struct incident *inc) {
  struct id id;
  struct err err;
  id_parse(call_text(call, "id"), &id);
  const struct held_run *h = live_run(inc, id.run);
  if (!h) {
    err_set(&err, ERR_NOT_FOUND, "%s/%u is not running; `tocsin run list` shows what is", inc->id, id.run);
    call_fail(call, &err);
    return;
  }
  const char *because = required(call, "because");
  if (!because) return;
  journal_save_state(inc->journal);
  run_cancel(h->run, call->by->actor, because);
  done(call, inc);
}

/* --- secrets that wait to be taken ------------------------------------------------------------------------------------------- */

/* Of two that ask at once both have seen it sealed: it is given to the one whose removal found it there. */
static void on_removed(void *arg, const struct redis_value *reply, const struct err *err) {
  struct call *call = arg;
  struct err none;
  json_t *answer = call->answer;
  call->answer = NULL;
  if (err || redis_integer(reply) != 1) {
    if (!err) err_set(&none, ERR_CONFLICT, "%s: somebody took this secret a moment ago; the timeline says who", call->inc->id), err = &none;
    json_decref(answer);
    call_fail(call, err);
    return;
  }
  journal_add(call->inc->journal, KIND_SECRET_TAKEN, call->by->actor, 0, NULL,
              json_pack("{s:O}", "slot", json_object_get(call->command, "name")));
  call_answer_durable(call, call->inc->journal, answer);
}

static void on_unsealed(void *arg, const struct err *err) {
  struct call *call = arg;
  struct incident *inc = call->inc;
  struct err none;
  char slot[ID_PATH * 2], key[KEY_TEXT];
  size_t len;
  const char *name = call_text(call, "name");
  snprintf(slot, sizeof slot, "%s", name ? name : "");
  const char *value = err ? NULL : secrets_get(call->desk->deps.store->secrets, slot, &len);
  size_t own = strlen(inc->id);
  if (!value || strncmp(slot, inc->id, own) != 0 || slot[own] != '/') { /* INC-100000 is a beginning of INC-1000000 */
    if (!err) err_set(&none, ERR_NOT_FOUND, "%s holds no secret \"%.100s\" (it can be taken once)", inc->id, slot), err = &none;
    call_fail(call, err);
    return;
  }
  snprintf(key, sizeof key, "tocsin:{%s}:sealed", inc->id);
  call->answer = json_pack("{s:s}", "value", value);
  secrets_drop(call->desk->deps.store->secrets, slot);
  if (redis_call(call->desk->deps.redis, redis_lane(call->desk->deps.redis, inc->id), on_removed, call, &none, "HDEL", key, slot, NULL) < 0)
    on_removed(call, NULL, &none);
}

/* Its answer would lie in Redis in clear if it went by letter. */
static void do_take(struct call *call, struct incident *inc) {
  struct err err;
  if (call->remote) {
    err_set(&err, ERR_DENIED, "a secret never travels between nodes: take it at the node that has the incident");
    call_fail(call, &err);
    return;
  }
  if (!required(call, "name")) return;
  if (actions_unseal(call->desk->deps.actions, inc->id, on_unsealed, call, &err) < 0) call_fail(call, &err);
}

const struct command_row incident_commands[] = {
    {"incident.show", "viewer", NEEDS_ID, do_read},
    {"incident.entries", "viewer", NEEDS_ID, do_read},
    {"incident.export", "viewer", NEEDS_ID, do_export},
    {"incident.note", "responder", NEEDS_ID, do_note},
    {"incident.assign", "responder", NEEDS_ID, do_assign},
    {"incident.severity", "responder", NEEDS_ID, do_severity},
    {"incident.tag", "responder", NEEDS_ID, do_tag},
    {"incident.title", "responder", NEEDS_ID, do_title},
    {"incident.merge", "responder", NEEDS_ID, do_merge},
    {"incident.close", "responder", NEEDS_ID, do_close},
    {"incident.reopen", "responder", NEEDS_ID, do_reopen},
    {"incident.agree", "responder", NEEDS_ID, do_agree},
    {"incident.tick", "responder", NEEDS_ID, do_tick},
    {"run.show", "viewer", NEEDS_ID, do_run_show},
    {"run.cancel", "responder", NEEDS_ID, do_cancel},
    {"secret.take", "responder", NEEDS_ID, do_take},
    {"corrective.add", "responder", NEEDS_ID, do_corrective_add},
    {"corrective.close", "responder", NEEDS_ID, do_corrective_close},
    {"incident.redact", "admin", NEEDS_ID, do_redact},
    {"incident.exported", "viewer", NEEDS_ID, do_exported},
    {NULL, NULL, ABOUT_NONE, NULL},
};
