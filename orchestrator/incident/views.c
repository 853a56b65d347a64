/* What the desk shows: rows, states, entries, questions; people as names, ids whole, times in µs. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "incident/internal.h"

static size_t count_if(const json_t *object, const char *member, const char *a, const char *b) {
  const char *key;
  json_t *value;
  size_t n = 0;
  json_object_foreach((json_t *)(uintptr_t)object, key, value) {
    const char *text = json_str_or(value, member, "");
    if ((!a && *text) || (a && strcmp(text, a) == 0) || (b && strcmp(text, b) == 0)) n++;
  }
  return n;
}

/* Replaces a pseudonym in a member by the person's name. */
static void name_in(struct desk *d, json_t *object, const char *member) {
  const char *actor = json_str(object, member);
  if (actor && strncmp(actor, "person:", 7) == 0) json_object_set_new(object, member, json_string(people_name(d->deps.people, actor)));
}

json_t *view_row(struct desk *d, const char *id, const json_t *state) {
  static const char *const keys[] = {"title", "severity",    "severity_id", "status",   "owner",    "opened", "updated", "alerts",
                                     "mode",  "merged_into", "scenario",    "exercise", "archived", "paused", NULL};
  json_t *row = json_pack("{s:s}", "id", id);
  for (const char *const *k = keys; *k; k++) {
    json_t *value = json_object_get(state, *k);
    if (value) json_object_set(row, *k, value);
  }
  name_in(d, row, "owner");
  json_object_set_new(row, "runs", json_integer((json_int_t)json_object_size(json_object_get(state, "runs"))));
  json_object_set_new(row, "questions", json_integer((json_int_t)json_object_size(json_object_get(state, "questions"))));
  json_object_set_new(row, "in_doubt", json_integer((json_int_t)count_if(json_object_get(state, "intents"), "doubt", NULL, NULL)));
  if (state_uncertain(state)) json_object_set(row, "uncertain", json_object_get(state, "uncertain"));
  json_object_set_new(row, "contained",
                      json_integer((json_int_t)count_if(json_object_get(state, "containments"), "status", "active", "still")));
  return row;
}

/* As the outages since it was asked have moved it. */
static void deadline_in(struct desk *d, json_t *question) {
  int64_t deadline = json_int_or(question, "deadline", 0);
  if (deadline)
    json_object_set_new(question, "deadline",
                        json_integer(questions_deadline(d->deps.questions, json_int_or(question, "asked", 0), deadline)));
}

json_t *view_state(struct desk *d, const json_t *state) {
  json_t *copy = json_deep_copy(state), *part;
  const char *key;
  json_object_del(copy, "recent");
  name_in(d, copy, "owner");
  json_object_foreach(json_object_get(copy, "questions"), key, part) deadline_in(d, part);
  static const char *const with_people[] = {"runs", "containments", "ticks"};
  for (size_t i = 0; i < sizeof with_people / sizeof *with_people; i++) {
    json_object_foreach(json_object_get(copy, with_people[i]), key, part) {
      name_in(d, part, "by");
      name_in(d, part, "actor");
    }
  }
  name_in(d, json_object_get(json_object_get(copy, "uncertain"), "agreed"), "by");
  name_in(d, json_object_get(copy, "closing"), "by");
  return copy;
}

json_t *view_entry(struct desk *d, const struct entry *e, const json_t *state) {
  json_t *view = json_pack("{s:I, s:I, s:s, s:s, s:s, s:s, s:s}", "seq", (json_int_t)e->seq, "time", (json_int_t)e->time, "actor", e->actor,
                           "name", strncmp(e->actor, "person:", 7) == 0 ? people_name(d->deps.people, e->actor) : e->actor, "type",
                           kind_name(e->kind), "meaning", kind_meaning(e->kind), "control", kind_control(e->kind));
  if (e->run) json_object_set_new(view, "run", json_integer(e->run));
  if (e->step[0]) json_object_set_new(view, "step", json_string(e->step));
  if (e->body) {
    json_object_set(view, "body", e->body);
    return view;
  }
  char seq[24];
  snprintf(seq, sizeof seq, "%llu", (unsigned long long)e->seq);
  json_t *removal = json_copy(json_object_get(json_object_get(state, "removals"), seq));
  if (removal) {
    name_in(d, removal, "by");
    json_object_del(removal, "kept");
    json_object_set_new(view, "removed", removal);
  }
  return view;
}

/* Open intents of that journal, and how many of them are in doubt. */
static void count_intents(struct journal *j, int64_t *count, int64_t *in_doubt) {
  size_t doubt;
  *count += (int64_t)standing_intents(journal_standing(j), &doubt);
  *in_doubt += (int64_t)doubt;
}

int64_t desk_open_intents(const struct desk *d, int64_t *ret_in_doubt) {
  size_t at = 0;
  void *value;
  int64_t count = 0;
  *ret_in_doubt = 0;
  while (map_next(&d->incidents, &at, NULL, &value)) {
    struct incident *inc = value;
    if (inc->journal && (!inc->loading || inc->dozing) && !inc->put_off) count_intents(inc->journal, &count, ret_in_doubt);
  }
  if (d->deps.node) count_intents(d->deps.node, &count, ret_in_doubt);
  return count;
}

/* What a sleeper asks, in the form of questions_open; those of its runs that are awake are `open` already. */
static void add_questions(struct desk *d, json_t *all, const json_t *open, const json_t *state) {
  const char *incident = json_str_or(state, "id", ""), *at;
  json_t *q;
  char id[ID_PATH * 2];
  json_object_foreach(json_object_get(state, "questions"), at, q) {
    snprintf(id, sizeof id, "%s/%s", incident, at);
    if (json_object_get(open, id)) continue;
    json_t *item = json_copy(q);
    deadline_in(d, item);
    json_object_set_new(item, "id", json_string(id));
    json_object_set_new(item, "incident", json_string(incident));
    json_object_set(item, "title", json_object_get(state, "title"));
    json_object_set_new(item, "waiting_for_channel", json_false());
    json_array_append_new(all, item);
  }
}

static int by_age(const void *a, const void *b) {
  const json_t *const *x = a, *const *y = b;
  int64_t p = json_int_or(*x, "asked", 0), q = json_int_or(*y, "asked", 0);
  return p < q ? -1 : p > q;
}

static json_t *oldest_first(json_t *all_take) {
  size_t count = json_array_size(all_take), i;
  json_t **list = calloc(count + 1, sizeof *list), *sorted = json_array();
  if (!list) abort();
  for (i = 0; i < count; i++) list[i] = json_array_get(all_take, i);
  qsort(list, count, sizeof *list, by_age);
  for (i = 0; i < count; i++) json_array_append(sorted, list[i]);
  free(list);
  json_decref(all_take);
  return sorted;
}

json_t *view_questions(struct desk *d, json_t *open_take, const json_t *sleeping) {
  json_t *all = open_take, *open = json_object(), *q, *state;
  size_t i;
  json_array_foreach(all, i, q) json_object_set_new(open, json_str_or(q, "id", ""), json_true());
  json_array_foreach(sleeping, i, state) add_questions(d, all, open, state);
  json_decref(open);
  all = oldest_first(all);
  json_array_foreach(all, i, q) {
    name_in(d, q, "exclude");
    json_object_del(q, "run");
    json_object_del(q, "step");
  }
  return all;
}

json_t *view_contained(struct desk *d) {
  json_t *all = actions_contained(d->deps.actions), *c;
  size_t i;
  char id[ID_PATH * 2];
  json_array_foreach(all, i, c) {
    snprintf(id, sizeof id, "%s/%s", json_str_or(c, "incident", ""), json_str_or(c, "step", ""));
    json_object_set_new(c, "id", json_string(id));
    name_in(d, c, "by");
  }
  return all;
}

json_t *view_paused(struct desk *d) {
  json_t *all = actions_paused(d->deps.actions), *p;
  const char *scope;
  json_object_foreach(all, scope, p) name_in(d, p, "by");
  return all;
}

void view_add_doubts(struct desk *d, const json_t *state, json_t *in_doubt, json_t *handed_over) {
  static const char *const keys[] = {"connector", "action", "effect", "target", "since", NULL};
  const char *incident = json_str_or(state, "id", ""), *at;
  json_t *value;
  char id[ID_PATH * 2];
  json_object_foreach(json_object_get(state, "intents"), at, value) {
    if (!in_doubt || !json_object_get(value, "doubt")) continue;
    snprintf(id, sizeof id, "%s/%s", incident, at);
    json_t *item = json_pack("{s:s, s:s, s:O}", "id", id, "incident", incident, "why", json_object_get(value, "doubt"));
    for (const char *const *k = keys; *k; k++)
      if (json_object_get(value, *k)) json_object_set(item, *k, json_object_get(value, *k));
    json_array_append_new(in_doubt, item);
  }
  if (strcmp(json_str_or(state, "status", ""), "open") != 0) return;
  json_object_foreach(json_object_get(state, "runs"), at, value) {
    const char *status = json_str_or(value, "status", "");
    if (strcmp(status, "handed_over") != 0 && strcmp(status, "failed") != 0) continue;
    if (json_bool_or(value, "shadow", false)) continue; /* it took no work on itself that could be handed over */
    snprintf(id, sizeof id, "%s/%s", incident, at);
    const char *text = json_str(value, "text");
    json_array_append_new(handed_over,
                          json_pack("{s:s, s:s, s:s, s:s, s:I}", "id", id, "incident", incident, "playbook",
                                    json_str_or(value, "playbook", ""), "text", text ? text : json_str_or(value, "error", "it failed"),
                                    "since", (json_int_t)json_int_or(value, "ended", 0)));
  }
}

/* Of a run that sleeps: "3 ask, 4.1 wait". */
static void waiting_in(json_t *view, const json_t *state, const char *number) {
  static const char *const parts[] = {"questions", "waits"};
  struct buf text;
  const char *at;
  json_t *value;
  size_t n = strlen(number);
  buf_init(&text, 4096);
  for (size_t i = 0; i < 2; i++) {
    json_object_foreach(json_object_get(state, parts[i]), at, value) {
      if (strncmp(at, number, n) != 0 || at[n] != '/') continue;
      if (!text.len) json_object_set_new(view, "step", json_string(at + n + 1));
      buf_addf(&text, "%s%s %s", text.len ? ", " : "", at + n + 1, i == 0 ? "ask" : json_object_get(value, "alert") ? "wait_for" : "wait");
    }
  }
  if (text.len) json_object_set_new(view, "waiting_for", json_string(text.data));
  buf_release(&text);
}

json_t *view_run(struct desk *d, const json_t *state, const char *number, const json_t *run, const struct run *live) {
  char id[ID_PATH * 2];
  const char *incident = json_str_or(state, "id", "");
  json_t *view = live ? run_view(live) : json_object();
  if (!live && strcmp(json_str_or(run, "status", ""), "running") == 0) waiting_in(view, state, number);
  const char *key;
  json_t *value;
  json_object_foreach((json_t *)(uintptr_t)run, key, value) if (!json_object_get(view, key) || strcmp(key, "status") != 0)
      json_object_set(view, key, value);
  snprintf(id, sizeof id, "%s/%s", incident, number);
  json_object_set_new(view, "id", json_string(id));
  json_object_set_new(view, "incident", json_string(incident));
  name_in(d, view, "actor");
  return view;
}
