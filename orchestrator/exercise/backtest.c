#include "exercise/backtest.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/map.h"
#include "exercise/compare.h"
#include "exercise/crew.h"
#include "run/stage.h"

enum { PROGRESS_EACH = 16, WORTH_A_PROCESS = 16, PROCESSES_MOST = 32 }; /* incidents, for whose sake a process more is begun */

struct group {
  char *key;
  json_t *alerts;  /* of spec's, in the order of their times */
  int64_t until;   /* µs: a later alert opens another */
  unsigned number; /* of the incident of its first run; the next group's comes after as many as it has alerts */
};

struct testing {
  const struct backtest *spec;
  struct stage stage;
  struct rehearsal world;
  struct router *router;
  struct map open; /* key → index + 1 of its latest group */
  struct group *groups;
  size_t count, cap;
  json_t *report, *settings;
  struct map lines; /* of the totals: text → its row, borrowed */
};

/* --- from a journal ------------------------------------------------------------------------------------------------ */

static bool tells_again(const char *incident, const json_t *value) {
  const char *text = json_string_value(value), *key;
  size_t i;
  json_t *item;
  bool good = true;
  if (text) return !strstr(text, incident) && !strchr(text, '\n');
  json_array_foreach(value, i, item) good = good && tells_again(incident, item);
  json_object_foreach((json_t *)(uintptr_t)value, key, item) good = good && strcmp(key, "$secret") != 0 && tells_again(incident, item);
  return good;
}

/* The parameters that another time could bear as well: none with the incident's id, no secret, no text of several lines. */
static json_t *lasting(const char *incident, const json_t *params) {
  json_t *out = json_object(), *value;
  const char *name;
  json_object_foreach((json_t *)(uintptr_t)params, name, value) if (tells_again(incident, value)) json_object_set(out, name, value);
  return out;
}

static json_t *came_of(const json_t *body) {
  json_t *failure = json_object_get(body, "failure"), *returns = json_object_get(body, "returns");
  if (failure) return json_pack("{s:O}", "error", failure);
  return returns ? json_incref(returns) : json_object();
}

static const json_t *params_of(struct entry *const *entries, size_t count, const struct entry *e) {
  const json_t *params = json_object_get(e->body, "params");
  for (size_t i = 0; i < count && !params; i++)
    if (entries[i]->kind == KIND_ACTION_INTENDED && entries[i]->run == e->run && strcmp(entries[i]->step, e->step) == 0)
      params = json_object_get(entries[i]->body, "params");
  return params;
}

static void read_outcome(const char *incident, struct entry *const *entries, size_t count, const struct entry *e, json_t *calls) {
  const char *action = json_str(e->body, "action");
  if (!action || json_str(e->body, "undo_of") || json_bool_or(e->body, "simulated", false)) return;
  json_t *name = json_sprintf("%s.%s", json_str_or(e->body, "connector", ""), action),
         *list = json_object_get(calls, json_string_value(name)), *answer = came_of(e->body);
  if (!list) json_object_set_new(calls, json_string_value(name), list = json_array());
  json_array_append_new(list, json_pack("{s:o, s:o}", "params", lasting(incident, params_of(entries, count, e)), "answer",
                                        answer ? answer : json_object()));
  json_decref(name);
}

void backtest_read(const char *incident, struct entry *const *entries, size_t count, json_t *alerts, json_t *recorded) {
  json_t *calls = json_object();
  for (size_t i = 0; i < count; i++) {
    const struct entry *e = entries[i];
    const char *text = json_str(e->body, "raw");
    json_t *finding = json_object_get(e->body, "finding"), *raw = NULL;
    if (e->kind == KIND_ACTION_OUTCOME) read_outcome(incident, entries, count, e, calls);
    if (e->kind != KIND_ALERT_ATTACHED || !finding) continue;
    if (text && json_parse(text, strlen(text), &raw, NULL) < 0) raw = NULL;
    json_array_append_new(alerts, json_pack("{s:s, s:I, s:O, s:o, s:s}", "id", json_str_or(e->body, "id", ""), "time", (json_int_t)e->time,
                                            "finding", finding, "raw", raw ? raw : json_object(), "incident", incident));
  }
  json_object_set_new(recorded, incident, calls);
}

/* --- triggers, suppression, groups ------------------------------------------------------------------------------------ */

static struct group *group_new(struct testing *t, const char *key, const json_t *first) {
  if (t->count == t->cap) {
    t->cap = t->cap ? 2 * t->cap : 64;
    t->groups = realloc(t->groups, t->cap * sizeof *t->groups);
    if (!t->groups) abort();
  }
  struct group *g = &t->groups[t->count++];
  *g = (struct group){.key = key ? strdup(key) : NULL, .alerts = json_array()};
  if (key) map_put(&t->open, key, (void *)(uintptr_t)t->count);
  json_array_append(g->alerts, (json_t *)(uintptr_t)first);
  return g;
}

static void total_add(struct testing *t, const char *name, int64_t n) {
  json_object_set_new(t->report, name, json_integer(json_int_or(t->report, name, 0) + n));
}

/* An alert that says that something has ended (OCSF activity 3) joins what is open and starts nothing. */
static void join(struct testing *t, const json_t *alert, const char *key, int64_t window_ms) {
  int64_t now = json_int_or(alert, "time", 0);
  size_t at = key ? (size_t)(uintptr_t)map_get(&t->open, key) : 0;
  struct group *g = at && t->groups[at - 1].until > now ? &t->groups[at - 1] : NULL;
  if (!g && json_int_or(json_object_get(alert, "finding"), "activity_id", 1) == 3) return;
  if (g) json_array_append(g->alerts, (json_t *)(uintptr_t)alert);
  else g = group_new(t, key, alert);
  if (now + window_ms * 1000 > g->until) g->until = now + window_ms * 1000;
  total_add(t, "attached", 1);
}

static void route(struct testing *t, const json_t *alert) {
  const json_t *finding = json_object_get(alert, "finding");
  const char *correlation = json_string_value(json_at(finding, "metadata.correlation_uid"));
  struct routing routing = {0};
  router_match(t->router, finding, json_object_get(alert, "raw"), json_int_or(alert, "time", 0), &routing);
  if (routing.suppressed_by) total_add(t, "suppressed", 1);
  else if (!routing.count) total_add(t, "unwanted", 1);
  else if (routing.matches[0].group || !correlation) join(t, alert, routing.matches[0].group, routing.matches[0].window_ms);
  else join(t, alert, correlation, routing.matches[0].window_ms);
  routing_release(&routing);
}

static int by_time(const void *a, const void *b) {
  const json_t *x = *(const json_t *const *)a, *y = *(const json_t *const *)b;
  int64_t p = json_int_or(x, "time", 0), q = json_int_or(y, "time", 0);
  return p != q ? (p < q ? -1 : 1) : strcmp(json_str_or(x, "id", ""), json_str_or(y, "id", ""));
}

static void route_all(struct testing *t) {
  size_t count = json_array_size(t->spec->alerts);
  const json_t **sorted = calloc(count + 1, sizeof *sorted);
  struct map seen;
  if (!sorted) abort();
  map_init(&seen);
  for (size_t i = 0; i < count; i++) sorted[i] = json_array_get(t->spec->alerts, i);
  qsort(sorted, count, sizeof *sorted, by_time);
  total_add(t, "alerts", (int64_t)count);
  for (size_t i = 0; i < count; i++) {
    const char *id = json_str_or(sorted[i], "id", "");
    if (map_put(&seen, id, t)) total_add(t, "duplicates", 1);
    else route(t, sorted[i]);
  }
  map_release(&seen, NULL);
  free(sorted);
  for (size_t i = 1; i < t->count; i++) t->groups[i].number = t->groups[i - 1].number + (unsigned)json_array_size(t->groups[i - 1].alerts);
}

static int make_router(struct testing *t, struct err *err) {
  const struct declaration *p = t->stage.playbook;
  struct trigger trigger = {p->name, json_object_get(p->json, "when"), json_object_get(p->json, "group"),
                            json_int_or(p->json, "window", 3600000), false};
  if (!trigger.when) return err_set(err, ERR_INVALID, "%s starts only by hand: no alert would have started it", p->name);
  return router_new(&trigger, 1, json_object_get(t->spec->settings, "suppress"), t->spec->lists, &t->router, err);
}

/* --- what a run did -------------------------------------------------------------------------------------------------- */

/* What a group's play comes to: {"case": as in the report, "runs": [status…], "lines": [{"list", "text", "effect"?, "action"?, "target"?}…] for the totals}. */
static json_t *line(json_t *played, const char *list, const char *text) {
  json_t *made = json_pack("{s:s, s:s}", "list", list, "text", text);
  json_array_append_new(json_object_get(played, "lines"), made);
  return made;
}

static void did(json_t *run, struct buf *text) { json_array_append_new(json_object_get(run, "did"), json_stringn(text->data, text->len)); }

static void intended(json_t *played, json_t *run, const json_t *body, struct buf *text) {
  bool undo = json_str(body, "undo_of") != NULL;
  if (undo) buf_adds(text, "undo: ");
  action_text(body, text);
  did(run, text);
  json_t *total = line(played, "actions", text->data);
  json_object_set(total, "effect", json_object_get(body, "effect"));
  json_object_set_new(total, "action", json_sprintf("%s.%s", json_str_or(body, "connector", ""), json_str_or(body, "action", "")));
  if (json_object_get(body, "target")) json_object_set(total, "target", json_object_get(body, "target"));
}

static void asked(json_t *played, json_t *run, const json_t *body, struct buf *text) {
  bool own = strcmp(json_str_or(body, "kind", ""), "ask") == 0;
  buf_adds(text, json_str_or(body, "text", ""));
  line(played, own ? "questions" : "guardrails", text->data);
  buf_reset(text);
  buf_addf(text, "%s: %s", own ? "ask" : "a guardrail asks", json_str_or(body, "text", ""));
  did(run, text);
}

static void refused(json_t *played, json_t *run, const json_t *body, struct buf *text) {
  buf_addf(text, "refused: %s.%s: %s", json_str_or(body, "connector", ""), json_str_or(body, "action", ""), json_str_or(body, "why", ""));
  line(played, "guardrails", text->data);
  did(run, text);
}

static void take_entry(json_t *played, json_t *run, const json_t *e) {
  const char *type = json_str_or(e, "type", "");
  const json_t *body = json_object_get(e, "body");
  struct buf text;
  buf_init(&text, 1 << 20);
  if (strcmp(type, "action.intended") == 0) intended(played, run, body, &text);
  else if (strcmp(type, "question.asked") == 0) asked(played, run, body, &text);
  else if (strcmp(type, "action.refused") == 0) refused(played, run, body, &text);
  else if (strcmp(type, "run.handed_over") == 0) {
    buf_addf(&text, "hand over: %s", json_str_or(body, "text", ""));
    did(run, &text);
  }
  buf_release(&text);
}

/* --- playing a group --------------------------------------------------------------------------------------------------- */

static json_t *as_alert(const json_t *alert) {
  json_t *copy = json_copy(json_object_get(alert, "finding"));
  json_object_set(copy, "raw", json_object_get(alert, "raw"));
  return copy;
}

/* What really came of the calls in the incidents that these alerts were attached to. */
static json_t *recorded_of(const struct testing *t, const json_t *alerts) {
  json_t *all = json_object(), *done = json_object(), *alert, *calls;
  size_t i;
  json_array_foreach((json_t *)(uintptr_t)alerts, i, alert) {
    const char *incident = json_str(alert, "incident"), *name;
    if (!incident || json_object_get(done, incident)) continue;
    json_object_set_new(done, incident, json_true());
    json_object_foreach(json_object_get(t->spec->recorded, incident), name, calls) {
      json_t *mine = json_object_get(all, name);
      if (!mine) json_object_set_new(all, name, mine = json_pack("{s:[]}", "$recorded"));
      json_array_extend(json_object_get(mine, "$recorded"), calls);
    }
  }
  json_decref(done);
  return all;
}

static json_t *test_of(const struct testing *t, const json_t *alerts, size_t from, int64_t not_before, bool restart) {
  const json_t *first = json_array_get(alerts, from);
  json_t *later = json_array(), *settings = t->settings;
  int64_t begins = json_int_or(first, "time", 0);
  for (size_t i = from + 1; i < json_array_size(alerts); i++) {
    const json_t *alert = json_array_get(alerts, i);
    json_array_append_new(later, json_pack("{s:O, s:o}", "time", json_object_get(alert, "time"), "alert", as_alert(alert)));
  }
  return json_pack("{s:[o], s:o, s:I, s:O*, s:o, s:b}", "alerts", as_alert(first), "later", later, "begins",
                   (json_int_t)(begins > not_before ? begins : not_before), "settings", settings, "simulate", recorded_of(t, alerts),
                   "restart", restart);
}

/* One run; *at: the next alert that it has not seen. Returns when it ended (µs). */
static int64_t play_one(struct testing *t, json_t *all, const json_t *alerts, size_t *at, int64_t not_before, bool restart) {
  json_t *test = test_of(t, alerts, *at, not_before, restart), *played = play_unattended(&t->stage, test), *e;
  json_t *run =
      json_pack("{s:O, s:[], s:O*}", "status", json_object_get(played, "status"), "did", "error", json_object_get(played, "error"));
  size_t i;
  json_array_foreach(json_object_get(played, "entries"), i, e) take_entry(all, run, e);
  json_array_foreach(json_object_get(played, "parameters"), i, e) {
    struct buf text;
    buf_init(&text, 1024);
    buf_addf(&text, "Which `%s`? The alert names several; the first was taken.", json_string_value(e));
    line(all, "questions", text.data);
    buf_release(&text);
  }
  if (json_array_size(json_object_get(played, "problems"))) json_object_set(run, "problems", json_object_get(played, "problems"));
  int64_t ended = json_int_or(played, "ended", 0), begun = json_int_or(test, "begins", 0);
  json_object_set_new(run, "took_ms", json_integer((ended - begun) / 1000));
  json_array_append_new(json_at(all, "case.runs"), run);
  *at += 1 + (size_t)json_int_or(played, "came", 0);
  json_decref(played);
  json_decref(test);
  return ended;
}

static bool again(const char *mode) { return strcmp(mode, "single") != 0; }

/* As the engine starts runs for an incident's alerts. What runs beside another by `parallel` is played one after the other, with the clock of its own alert. */
static json_t *play_group(struct testing *t, const struct group *g) {
  const char *mode = json_str_or(t->stage.playbook->json, "mode", "single");
  bool parallel = strcmp(mode, "parallel") == 0;
  const json_t *first = json_array_get(g->alerts, 0);
  const char *title = json_string_value(json_at(json_object_get(first, "finding"), "finding_info.title"));
  json_t *did = json_array(), *run,
         *all = json_pack("{s:{s:O, s:s*, s:I, s:[], s:o}, s:[]}", "case", "case", json_object_get(first, "id"), "title", title, "alerts",
                          (json_int_t)json_array_size(g->alerts), "runs", "did", did, "lines");
  size_t at = 0, i;
  int64_t ended = 0;
  t->stage.played = g->number;
  do {
    size_t seen = at;
    ended = play_one(t, all, g->alerts, &at, parallel ? 0 : ended, strcmp(mode, "restart") == 0);
    if (parallel) at = seen + 1;
    if (strcmp(mode, "restart") == 0 && at > seen + 1) at--; /* the alert that ended it begins the next */
  } while (again(mode) && at < json_array_size(g->alerts));
  json_array_foreach(json_at(all, "case.runs"), i, run) json_array_extend(did, json_object_get(run, "did"));
  return all;
}

/* --- all of them together ------------------------------------------------------------------------------------------------ */

static void total_line(struct testing *t, const json_t *line) {
  static const char *const about[] = {"effect", "action", "target"};
  const char *list = json_str_or(line, "list", ""), *text = json_str_or(line, "text", "");
  struct buf key;
  buf_init(&key, 1 << 20);
  buf_addf(&key, "%s ", list);
  buf_adds(&key, text);
  json_t *found = map_get(&t->lines, key.data);
  if (!found) {
    found = json_pack("{s:s, s:i}", "text", text, "times", 0);
    json_array_append_new(json_object_get(t->report, list), found);
    map_put(&t->lines, key.data, found);
  }
  json_object_set_new(found, "times", json_integer(json_int_or(found, "times", 0) + 1));
  for (size_t i = 0; i < sizeof about / sizeof *about; i++)
    if (json_object_get(line, about[i])) json_object_set(found, about[i], json_object_get(line, about[i]));
  buf_release(&key);
}

static void total(void *arg, size_t i, const json_t *played) {
  struct testing *t = arg;
  json_t *runs = json_object_get(t->report, "runs"), *item;
  size_t k;
  json_array_foreach(json_object_get(played, "lines"), k, item) total_line(t, item);
  json_array_foreach(json_at(played, "case.runs"), k, item) {
    const char *status = json_str_or(item, "status", "?");
    json_object_set_new(runs, status, json_integer(json_int_or(runs, status, 0) + 1));
  }
  json_array_append(json_object_get(t->report, "cases"), json_object_get(played, "case"));
}

static int by_number(const void *a, const void *b) {
  int64_t p = *(const int64_t *)a, q = *(const int64_t *)b;
  return p < q ? -1 : p > q;
}

/* How long its runs took by the alerts' clock, waiting for people included. */
static void times_add(struct testing *t) {
  size_t i, k, n = 0, cap = 1;
  json_t *one, *run;
  int64_t sum = 0;
  json_array_foreach(json_object_get(t->report, "cases"), i, one) cap += json_array_size(json_object_get(one, "runs"));
  int64_t *took = calloc(cap, sizeof *took);
  if (!took) abort();
  json_array_foreach(json_object_get(t->report, "cases"), i, one) json_array_foreach(json_object_get(one, "runs"), k, run) {
    took[n] = json_int_or(run, "took_ms", 0);
    sum += took[n++];
  }
  qsort(took, n, sizeof *took, by_number);
  json_object_set_new(t->report, "minutes",
                      json_pack("{s:f, s:f, s:f}", "median", n ? (double)took[n / 2] / 60000 : 0.0, "most",
                                n ? (double)took[n - 1] / 60000 : 0.0, "sum", (double)sum / 60000));
  free(took);
}

/* --- all of it ------------------------------------------------------------------------------------------------------------- */

static int prepare(struct testing *t, struct err *err) {
  const json_t *settings = t->spec->settings;
  t->world.playbook = t->spec->playbook;
  t->world.connectors = t->spec->connectors;
  t->world.guard = json_object_get(settings, "guard");
  t->world.configured = json_object_get(settings, "connectors");
  t->world.values = path_values;
  t->world.world = t->spec->world;
  int r = stage_load(&t->stage, &t->world, err);
  if (r < 0) return r;
  t->settings = json_incref(json_object_get(json_object_get(settings, "playbooks"), t->stage.playbook->name));
  json_object_set_new(t->report, "playbook", json_string(t->stage.playbook->name));
  json_object_set_new(t->report, "digest", json_string(t->stage.playbook->digest));
  return make_router(t, err);
}

static int open_stage(void *arg, struct err *err) {
  struct testing *t = arg;
  return stage_open(&t->stage, &t->world, err);
}

static void close_stage(void *arg) { stage_close(&((struct testing *)arg)->stage); }

static json_t *work(void *arg, size_t i) {
  struct testing *t = arg;
  return play_group(t, &t->groups[i]);
}

static void progress(void *arg, size_t done) {
  const struct testing *t = arg;
  if (done % PROGRESS_EACH == 1 || done == t->count) t->spec->progress(t->spec->arg, done, t->count);
}

static unsigned processes(const struct testing *t) {
  unsigned most = t->spec->processes ? t->spec->processes : crew_size(PROCESSES_MOST), worth = (unsigned)(t->count / WORTH_A_PROCESS) + 1;
  if (json_array_size(json_object_get(t->world.guard, "budgets"))) return 1;
  return most < worth ? most : worth;
}

static int play_all(struct testing *t, struct err *err) {
  struct crew crew = {.items = t->count,
                      .processes = processes(t),
                      .open = open_stage,
                      .work = work,
                      .close = close_stage,
                      .done = total,
                      .progress = t->spec->progress ? progress : NULL,
                      .arg = t};
  total_add(t, "incidents", (int64_t)t->count);
  int r = crew_run(&crew, err);
  if (r == 0) times_add(t);
  return r;
}

int backtest(const struct backtest *spec, json_t **ret_report, struct err *err) {
  struct testing t = {.spec = spec};
  struct err local;
  t.report = json_pack("{s:i, s:i, s:i, s:i, s:i, s:i, s:{}, s:[], s:[], s:[], s:[]}", "alerts", 0, "unwanted", 0, "suppressed", 0,
                       "duplicates", 0, "attached", 0, "incidents", 0, "runs", "actions", "questions", "guardrails", "cases");
  map_init(&t.open);
  map_init(&t.lines);
  if (!err) err = &local;
  int r = prepare(&t, err);
  if (r == 0) route_all(&t);
  if (r == 0) r = play_all(&t, err);
  if (r == 0) *ret_report = json_incref(t.report);
  for (size_t i = 0; i < t.count; i++) free(t.groups[i].key), json_decref(t.groups[i].alerts);
  free(t.groups);
  map_release(&t.open, NULL);
  map_release(&t.lines, NULL);
  router_free(t.router);
  stage_close(&t.stage);
  json_decref(t.settings);
  json_decref(t.report);
  return r;
}

/* --- two versions ------------------------------------------------------------------------------------------------------------- */

/* What the one list has more often than the other. */
static json_t *without(const json_t *list, const json_t *other) {
  json_t *left = json_copy((json_t *)(uintptr_t)other), *out = json_array(), *text, *item;
  size_t i, k;
  json_array_foreach((json_t *)(uintptr_t)list, i, text) {
    bool found = false;
    json_array_foreach(left, k, item) {
      if (!json_equal(text, item)) continue;
      json_array_remove(left, k);
      found = true;
      break;
    }
    if (!found) json_array_append(out, text);
  }
  json_decref(left);
  return out;
}

static json_t *by_case(const json_t *report) {
  json_t *out = json_object(), *one;
  size_t i;
  json_array_foreach(json_object_get(report, "cases"), i, one) json_object_set(out, json_str_or(one, "case", ""), one);
  return out;
}

static void compare_totals(const json_t *report, const char *side, json_t *rows) {
  size_t i;
  json_t *total;
  json_array_foreach(json_object_get(report, "actions"), i, total) {
    const char *text = json_str_or(total, "text", "");
    json_t *line = json_object_get(rows, text);
    if (!line) json_object_set_new(rows, text, line = json_pack("{s:s, s:i, s:i}", "text", text, "before", 0, "after", 0));
    json_object_set(line, side, json_object_get(total, "times"));
  }
}

static json_t *totals(const json_t *before, const json_t *after) {
  json_t *rows = json_object(), *out = json_array(), *line;
  const char *text;
  compare_totals(before, "before", rows);
  compare_totals(after, "after", rows);
  json_object_foreach(rows, text, line) if (json_int_or(line, "before", 0) != json_int_or(line, "after", 0)) json_array_append(out, line);
  json_decref(rows);
  return out;
}

static void compare_pair(const json_t *old, const json_t *new, json_t *different, json_int_t *same) {
  json_t *nothing = json_array(), *was = json_object_get(old, "did"), *is = json_object_get(new, "did");
  json_t *before = without(was ? was : nothing, is ? is : nothing), *after = without(is ? is : nothing, was ? was : nothing);
  bool equal = old && new && !json_array_size(before) && !json_array_size(after);
  const json_t *one = new ? new : old;
  if (equal) ++*same;
  else
    json_array_append_new(different, json_pack("{s:O, s:O*, s:O, s:O, s:b, s:b}", "case", json_object_get(one, "case"), "title",
                                               json_object_get(one, "title"), "before", before, "after", after, "in_before", old != NULL,
                                               "in_after", new != NULL));
  json_decref(before);
  json_decref(after);
  json_decref(nothing);
}

json_t *backtest_compare(const json_t *before, const json_t *after) {
  json_t *old = by_case(before), *new = by_case(after), *different = json_array(), *one;
  json_int_t same = 0;
  size_t i;
  json_array_foreach(json_object_get(before, "cases"), i, one)
      compare_pair(one, json_object_get(new, json_str_or(one, "case", "")), different, &same);
  json_array_foreach(json_object_get(after, "cases"), i, one) if (!json_object_get(old, json_str_or(one, "case", "")))
      compare_pair(NULL, one, different, &same);
  json_decref(old);
  json_decref(new);
  return json_pack("{s:I, s:o, s:o}", "same", same, "different", different, "actions", totals(before, after));
}
