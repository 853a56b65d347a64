/* Reading a scenario: every member of the file is known, of the right kind, and names what exists. Durations and short forms are made plain here, once. */
#include "exercise/scenario.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "exercise/internal.h"
#include "journal/state.h"
#include "script/datafile.h"

enum { PATH_ROOM = 256, MEMBERS_MOST = 32, MISTAKES_MOST = 50 };

struct reader {
  const char *file, *source;
  size_t len;
  json_t *findings, *json;
  bool wrong;
  size_t conditions; /* so far: each is asked again and again while it is played */
};

enum shape {
  SHAPE_TEXT,
  SHAPE_DURATION,
  SHAPE_COUNT,
  SHAPE_TRUE,
  SHAPE_TABLE,
  SHAPE_TEXTS, /* a list; a text alone is a list of one */
  SHAPE_ANY,
  SHAPE_CONDITION,
  SHAPE_WHEN, /* a condition, or an inject's id */
  SHAPE_INJECT,
  SHAPE_ROLE,
  SHAPE_ROLES
};
struct member {
  const char *name;
  enum shape shape;
  bool required;
};

/* ---- what is wrong, and where */

/* "injects[2].alert.body" → "inject db-alert: `alert.body`: ". */
static void where(const struct reader *r, const char *path, char *out, size_t size) {
  static const char *const lists[][2] = {{"injects[", "inject"},
                                         {"objectives[", "objective"},
                                         {"answers[", "answer"},
                                         {"script[", "script item"}};
  out[0] = '\0';
  for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
    if (strncmp(path, lists[i][0], strlen(lists[i][0])) != 0) continue;
    char list[16], *end;
    snprintf(list, sizeof list, "%.*s", (int)strcspn(path, "["), path);
    long n = strtol(path + strlen(lists[i][0]), &end, 10);
    const json_t *item = json_array_get(json_object_get(r->json, list), (size_t)(n - 1));
    const char *id = json_str(item, "id") ? json_str(item, "id") : json_str(item, "action");
    path = *end == ']' ? end + 1 : end;
    if (*path == '.') path++;
    int used = id ? snprintf(out, size, "%s %.80s: ", lists[i][1], id) : snprintf(out, size, "%s #%ld: ", lists[i][1], n);
    if (used > 0 && (size_t)used < size && *path) snprintf(out + used, size - (size_t)used, "`%s`: ", path);
    return;
  }
  if (*path) snprintf(out, size, "`%s`: ", path);
}

__attribute__((format(printf, 3, 4))) static void wrong(struct reader *r, const char *path, const char *format, ...) {
  char place[PATH_ROOM * 2], text[700];
  va_list args;
  r->wrong = true;
  size_t known = json_array_size(r->findings);
  if (known == MISTAKES_MOST) json_array_append_new(r->findings, json_sprintf("error: %s: and more: mend these first", r->file));
  if (known >= MISTAKES_MOST) return;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  where(r, path, place, sizeof place);
  int line = datafile_line(r->source, r->len, path);
  json_array_append_new(r->findings, line ? json_sprintf("error: %s:%d: %s%s", r->file, line, place, text)
                                          : json_sprintf("error: %s: %s%s", r->file, place, text));
}

static void join(char out[PATH_ROOM], const char *path, const char *name) {
  snprintf(out, PATH_ROOM, "%s%s%s", path, *path ? "." : "", name);
}

/* ---- references */

static bool listed(const struct reader *r, const char *list, const char *id) {
  size_t i;
  json_t *item;
  json_array_foreach(json_object_get(r->json, list), i, item) if (strcmp(json_str_or(item, "id", ""), id) == 0) return true;
  return false;
}

static void near_in(const struct reader *r, const char *list, const char *word, char *out, size_t size) {
  const json_t *items = json_object_get(r->json, list);
  const char *names[SCENARIO_INJECTS + 1] = {NULL}, *key;
  size_t i, count = 0;
  json_t *item;
  json_array_foreach((json_t *)(uintptr_t)items, i, item) if (count < SCENARIO_INJECTS && json_str(item, "id")) names[count++] =
      json_str(item, "id");
  json_object_foreach((json_t *)(uintptr_t)items, key, item) if (count < SCENARIO_INJECTS) names[count++] = key;
  datafile_near(word, names, out, size);
}

static void inject_ref(struct reader *r, const char *path, const json_t *value) {
  char hint[96];
  const char *id = json_string_value(value);
  if (!id) wrong(r, path, "names an inject by its id");
  else if (!listed(r, "injects", id)) {
    near_in(r, "injects", id, hint, sizeof hint);
    wrong(r, path, "there is no inject `%.100s`%s", id, hint);
  }
}

static void role_ref(struct reader *r, const char *path, const json_t *value) {
  char hint[96];
  const char *role = json_string_value(value);
  if (!role) wrong(r, path, "names one of `roles`");
  else if (!json_object_get(json_object_get(r->json, "roles"), role)) {
    near_in(r, "roles", role, hint, sizeof hint);
    wrong(r, path, "there is no role `%.100s`%s", role, hint);
  }
}

/* ---- values */

static void condition(struct reader *r, const char *path, json_t *c, unsigned depth);

static void duration(struct reader *r, const char *path, json_t *object, const char *name) {
  const json_t *value = json_object_get(object, name);
  int64_t ms = 0;
  if (json_is_integer(value) && json_integer_value(value) >= 0 && json_integer_value(value) <= 3650 * 86400000LL) return;
  if (json_is_string(value) && duration_parse(json_string_value(value), &ms)) json_object_set_new(object, name, json_integer(ms));
  else wrong(r, path, "is a duration like \"10m\" or \"90s\"");
}

/* A text alone becomes a list of one. */
static json_t *texts(struct reader *r, const char *path, json_t *object, const char *name) {
  json_t *value = json_object_get(object, name), *item;
  size_t i;
  bool good = json_is_string(value) || json_array_size(value);
  json_array_foreach(value, i, item) good = good && json_is_string(item);
  if (!good) wrong(r, path, "is a text, or a list of texts");
  else if (json_is_string(value)) json_object_set_new(object, name, json_pack("[O]", value));
  return good ? json_object_get(object, name) : NULL;
}

static void roles(struct reader *r, const char *path, json_t *object, const char *name) {
  size_t i;
  json_t *list = texts(r, path, object, name), *role;
  json_array_foreach(list, i, role) role_ref(r, path, role);
}

static void value_check(struct reader *r, const char *path, json_t *object, const struct member *m) {
  json_t *value = json_object_get(object, m->name);
  switch (m->shape) {
  case SHAPE_TEXT:
    if (!json_is_string(value) || !json_string_length(value)) wrong(r, path, "is a text");
    break;
  case SHAPE_DURATION: duration(r, path, object, m->name); break;
  case SHAPE_COUNT:
    if (!json_is_integer(value) || json_integer_value(value) < 1) wrong(r, path, "is a whole number from 1 on");
    break;
  case SHAPE_TRUE:
    if (!json_is_true(value)) wrong(r, path, "is `true`, or left out");
    break;
  case SHAPE_TABLE:
    if (!json_is_object(value)) wrong(r, path, "is a table with named members");
    break;
  case SHAPE_TEXTS: texts(r, path, object, m->name); break;
  case SHAPE_ANY: break;
  case SHAPE_WHEN:
    if (json_is_string(value)) json_object_set_new(object, m->name, value = json_pack("{s:O}", "fired", value));
    condition(r, path, value, 0);
    break;
  case SHAPE_CONDITION: condition(r, path, value, 0); break;
  case SHAPE_INJECT: inject_ref(r, path, value); break;
  case SHAPE_ROLE: role_ref(r, path, value); break;
  case SHAPE_ROLES: roles(r, path, object, m->name); break;
  }
}

static const struct member *member_of(const struct member *table, const char *name) {
  for (; table->name; table++)
    if (strcmp(table->name, name) == 0) return table;
  return NULL;
}

/* A misspelt member would be one that is silently not obeyed. */
static bool members(struct reader *r, const char *path, json_t *object, const struct member *table) {
  const char *key, *names[MEMBERS_MOST] = {NULL};
  char at[PATH_ROOM], hint[96];
  json_t *value;
  void *next;
  size_t count = 0;
  if (!json_is_object(object)) return wrong(r, path, "is a table with named members"), false;
  for (const struct member *m = table; m->name && count + 1 < MEMBERS_MOST; m++) names[count++] = m->name;
  json_object_foreach_safe(object, next, key, value) {
    const struct member *m = member_of(table, key);
    join(at, path, key);
    if (m) value_check(r, at, object, m);
    else wrong(r, at, "is not known here%s", datafile_near(key, names, hint, sizeof hint));
  }
  for (const struct member *m = table; m->name; m++)
    if (m->required && !json_object_get(object, m->name)) wrong(r, path, "`%s` is missing", m->name);
  return true;
}

/* Exactly one of them is there; NULL after saying so. */
static const char *one_of(struct reader *r, const char *path, const json_t *object, const char *const *names) {
  const char *found = NULL;
  char all[256] = "";
  for (const char *const *n = names; *n; n++) {
    snprintf(all + strlen(all), sizeof all - strlen(all), "%s`%s`", n == names ? "" : n[1] ? ", " : " or ", *n);
    if (!json_object_get(object, *n)) continue;
    if (found) return wrong(r, path, "has `%s` and `%s`: one of them", found, *n), NULL;
    found = *n;
  }
  if (!found) wrong(r, path, "needs one of %s", all);
  return found;
}

/* ---- conditions */

static void leaf_value(struct reader *r, const char *path, json_t *c, const struct leaf_name *leaf) {
  const json_t *value = json_object_get(c, leaf->name);
  const char *text = json_string_value(value);
  bool some = text && *text;
  switch (leaf->value) {
  case LEAF_INJECT: inject_ref(r, path, value); break;
  case LEAF_TRUE:
    if (!json_is_true(value)) wrong(r, path, "is `true`; for the contrary write none = { … }");
    break;
  case LEAF_TARGET:
  case LEAF_QUESTION:
    if (!some && !json_is_true(value)) wrong(r, path, "is `true` or a text");
    break;
  case LEAF_ACTION:
  case LEAF_TEXT:
    if (!some) wrong(r, path, "is a text");
    break;
  case LEAF_COUNT:
    if (!json_is_integer(value) || json_integer_value(value) < 1) wrong(r, path, "is how many people, from 1 on");
    break;
  case LEAF_WORDS: texts(r, path, c, leaf->name); break;
  case LEAF_TICK:
    if (!json_is_true(value) && !json_is_integer(value)) wrong(r, path, "is `true` or the step's number");
    break;
  case LEAF_SEVERITY:
    if (!text || severity_by_name(text) < 0) wrong(r, path, "is one of informational, low, medium, high, critical, fatal");
    break;
  }
}

static void by_whom(struct reader *r, const char *path, const json_t *by) {
  if (strcmp(json_string_value(by) ? json_string_value(by) : "", "person") == 0) return;
  if (strcmp(json_string_value(by) ? json_string_value(by) : "", "playbook") == 0) return;
  role_ref(r, path, by);
}

static void condition_leaf(struct reader *r, const char *path, json_t *c, const struct leaf_name *leaf) {
  static const struct member common[] = {{"within", SHAPE_DURATION, false},
                                         {"since", SHAPE_INJECT, false},
                                         {"before", SHAPE_INJECT, false},
                                         {"by", SHAPE_ANY, false},
                                         {NULL, SHAPE_ANY, false}};
  struct member table[12] = {{leaf->name, SHAPE_ANY, true}};
  size_t n = 1;
  char at[PATH_ROOM];
  for (const struct member *m = common; m->name; m++) table[n++] = *m;
  if (strcmp(leaf->name, "answered") == 0) table[n++] = (struct member){"with", SHAPE_TEXTS, false};
  if (strcmp(leaf->name, "decided_by") == 0) table[n++] = (struct member){"question", SHAPE_TEXT, false};
  if (strcmp(leaf->name, "done") == 0) table[n++] = (struct member){"target", SHAPE_TEXT, false};
  if (!members(r, path, c, table)) return;
  join(at, path, leaf->name);
  leaf_value(r, at, c, leaf);
  join(at, path, "by");
  if (json_object_get(c, "by")) by_whom(r, at, json_object_get(c, "by"));
}

static void condition_group(struct reader *r, const char *path, json_t *c, const char *group, unsigned depth) {
  json_t *list = json_object_get(c, group), *item;
  char at[PATH_ROOM], each[PATH_ROOM];
  size_t i;
  join(at, path, group);
  if (json_object_size(c) != 1) wrong(r, path, "`%s` stands alone in its condition", group);
  if (json_object_size(list)) json_object_set_new(c, group, list = json_pack("[O]", list)); /* none = { closed = true } */
  if (!json_array_size(list)) wrong(r, at, "is a list of conditions");
  json_array_foreach(list, i, item) {
    snprintf(each, sizeof each, "%.200s[%zu]", at, i + 1);
    condition(r, each, item, depth + 1);
  }
}

static void condition(struct reader *r, const char *path, json_t *c, unsigned depth) {
  char hint[96];
  const char *names[MEMBERS_MOST] = {NULL}, *key = json_object_iter_key(json_object_iter(c));
  size_t count = 0;
  if (++r->conditions == SCENARIO_CONDITIONS + 1)
    wrong(r, path, "is one condition too many: a scenario has at most %d", SCENARIO_CONDITIONS);
  if (r->conditions > SCENARIO_CONDITIONS) return;
  if (depth > SCENARIO_DEPTH) return wrong(r, path, "is nested deeper than %d", SCENARIO_DEPTH);
  if (!json_is_object(c)) return wrong(r, path, "is a condition like { contained = \"host=db-1\" }");
  for (const char *const *g = condition_groups; *g; g++) {
    if (json_object_get(c, *g)) return condition_group(r, path, c, *g, depth);
    names[count++] = *g;
  }
  for (const struct leaf_name *l = condition_leaves; l->name; l++) {
    if (json_object_get(c, l->name)) return condition_leaf(r, path, c, l);
    names[count++] = l->name;
  }
  wrong(r, path, "is no condition%s", key ? datafile_near(key, names, hint, sizeof hint) : "");
}

/* ---- the parts of a scenario */

/* Lists come out of Lua as {} when they are empty. */
static json_t *list_of(struct reader *r, const char *name) {
  json_t *list = json_object_get(r->json, name);
  if (!list || (json_is_object(list) && !json_object_size(list))) json_object_set_new(r->json, name, list = json_array());
  if (!json_is_array(list)) return wrong(r, name, "is a list"), NULL;
  if (json_array_size(list) > SCENARIO_INJECTS) return wrong(r, name, "has more than %d members", SCENARIO_INJECTS), NULL;
  return list;
}

static void within_duration(struct reader *r, const char *path, const json_t *item, const char *name) {
  char at[PATH_ROOM], span[DURATION_TEXT];
  int64_t whole = json_int_or(r->json, "duration", 0);
  if (!json_is_integer(json_object_get(item, name)) || json_int_or(item, name, 0) <= whole) return;
  join(at, path, name);
  duration_format(whole, span);
  wrong(r, at, "is after the exercise's end (`duration` is %s)", span);
}

static void timing(struct reader *r, const char *path, const json_t *item, bool needed) {
  bool at = json_object_get(item, "at"), after = json_object_get(item, "after");
  if (at && after) wrong(r, path, "has `at` and `after`: one of them");
  if (!at && !after && needed) wrong(r, path, "needs `at` or `after`: when does it come?");
  if (at && json_object_get(item, "delay")) wrong(r, path, "`delay` goes with `after`");
  if (!after && json_object_get(item, "by") && json_is_integer(json_object_get(item, "by"))) wrong(r, path, "`by` goes with `after`");
  within_duration(r, path, item, "at");
  within_duration(r, path, item, "by");
}

static void unique(struct reader *r, const char *path, const char *list, const json_t *item, size_t i) {
  const char *id = json_str(item, "id");
  for (size_t k = 0; id && k < i; k++)
    if (strcmp(json_str_or(json_array_get(json_object_get(r->json, list), k), "id", ""), id) == 0)
      return wrong(r, path, "there are two of this id");
}

static const struct member question_members[] = {{"to", SHAPE_ROLE, true},         {"text", SHAPE_TEXT, true},
                                                 {"options", SHAPE_TEXTS, true},   {"otherwise", SHAPE_TEXT, true},
                                                 {"within", SHAPE_DURATION, true}, {NULL, SHAPE_ANY, false}};
static const struct member message_members[] = {{"to", SHAPE_ROLES, true}, {"text", SHAPE_TEXT, true}, {NULL, SHAPE_ANY, false}};
static const struct member call_members[] = {{"to", SHAPE_ROLES, true},
                                             {"from", SHAPE_TEXT, true},
                                             {"text", SHAPE_TEXT, true},
                                             {NULL, SHAPE_ANY, false}};
static const struct member alert_members[] = {{"source", SHAPE_TEXT, true},
                                              {"body", SHAPE_ANY, true},
                                              {"noise", SHAPE_TRUE, false},
                                              {NULL, SHAPE_ANY, false}};

static void world(struct reader *r, const char *path, const json_t *w) {
  const char *kind, *id;
  char at[PATH_ROOM];
  json_t *things, *thing;
  json_object_foreach((json_t *)(uintptr_t)w, kind, things) {
    join(at, path, kind);
    bool good = json_is_object(things);
    json_object_foreach(things, id, thing) good = good && json_is_object(thing);
    if (!good) wrong(r, at, "is a table of things by id: { [\"db-1\"] = { owner = \"…\" } }");
  }
}

static void content(struct reader *r, const char *path, json_t *inject, const char *kind) {
  char at[PATH_ROOM], deeper[PATH_ROOM];
  json_t *value = json_object_get(inject, kind);
  join(at, path, kind);
  if (strcmp(kind, "message") == 0) members(r, at, value, message_members);
  else if (strcmp(kind, "call") == 0) members(r, at, value, call_members);
  else if (strcmp(kind, "alert") == 0) {
    const json_t *body = json_object_get(value, "body");
    if (members(r, at, value, alert_members) && body && !json_is_object(body) && !json_is_string(body))
      wrong(r, at, "`body` is the product's document: a table, or its text");
  } else if (strcmp(kind, "question") == 0) {
    const char *otherwise = json_str(value, "otherwise");
    bool good = members(r, at, value, question_members);
    join(deeper, at, "otherwise");
    if (good && otherwise && !json_array_has(json_object_get(value, "options"), otherwise))
      wrong(r, deeper, "`%.60s` is none of the options", otherwise);
  } else if (strcmp(kind, "world") == 0 && json_is_object(value)) {
    world(r, at, value);
  }
}

static void inject(struct reader *r, const char *path, json_t *item, size_t i) {
  static const char *const kinds[] = {"alert", "message", "question", "call", "fact", "world", NULL};
  static const struct member table[] = {
      {"id", SHAPE_TEXT, true},           {"at", SHAPE_DURATION, false},    {"after", SHAPE_WHEN, false},
      {"delay", SHAPE_DURATION, false},   {"by", SHAPE_DURATION, false},    {"only_if", SHAPE_CONDITION, false},
      {"unless", SHAPE_CONDITION, false}, {"kind", SHAPE_TEXT, false},      {"alert", SHAPE_TABLE, false},
      {"message", SHAPE_TABLE, false},    {"question", SHAPE_TABLE, false}, {"call", SHAPE_TABLE, false},
      {"fact", SHAPE_TEXT, false},        {"world", SHAPE_TABLE, false},    {NULL, SHAPE_ANY, false}};
  if (!members(r, path, item, table)) return;
  const char *kind = one_of(r, path, item, kinds);
  timing(r, path, item, true);
  unique(r, path, "injects", item, i);
  if (!kind) return;
  json_object_set_new(item, "kind", json_string(kind));
  content(r, path, item, kind);
}

static void objective(struct reader *r, const char *path, json_t *item, size_t i) {
  static const struct member table[] = {{"id", SHAPE_TEXT, true},         {"text", SHAPE_TEXT, true},
                                        {"judge", SHAPE_CONDITION, true}, {"only_if", SHAPE_CONDITION, false},
                                        {"gap", SHAPE_TABLE, false},      {NULL, SHAPE_ANY, false}};
  static const struct member gap[] = {{"owner", SHAPE_ROLE, true},
                                      {"days", SHAPE_COUNT, true},
                                      {"text", SHAPE_TEXT, true},
                                      {NULL, SHAPE_ANY, false}};
  char at[PATH_ROOM];
  if (!members(r, path, item, table)) return;
  unique(r, path, "objectives", item, i);
  join(at, path, "gap");
  if (json_object_get(item, "gap")) members(r, at, json_object_get(item, "gap"), gap);
}

static void answer(struct reader *r, const char *path, json_t *item, size_t i) {
  static const char *const kinds[] = {"fails", "returns", "already", "latency", NULL}, *const outcomes[] = {"fails", "returns", "already",
                                                                                                            NULL};
  static const struct member table[] = {{"action", SHAPE_TEXT, true},        {"params", SHAPE_TABLE, false},
                                        {"where", SHAPE_TABLE, false},       {"from", SHAPE_INJECT, false},
                                        {"until", SHAPE_INJECT, false},      {"lasts", SHAPE_DURATION, false},
                                        {"only_if", SHAPE_CONDITION, false}, {"latency", SHAPE_DURATION, false},
                                        {"fails", SHAPE_TABLE, false},       {"returns", SHAPE_TABLE, false},
                                        {"already", SHAPE_TRUE, false},      {NULL, SHAPE_ANY, false}};
  static const struct member fails[] = {{"kind", SHAPE_TEXT, true}, {"message", SHAPE_TEXT, true}, {NULL, SHAPE_ANY, false}};
  char at[PATH_ROOM];
  if (!members(r, path, item, table)) return;
  bool some = false; /* one that only takes its time keeps the connector's own simulation */
  for (const char *const *n = outcomes; *n; n++) some = some || json_object_get(item, *n);
  if (some) one_of(r, path, item, outcomes);
  else one_of(r, path, item, kinds);
  join(at, path, "fails");
  if (json_object_get(item, "fails")) members(r, at, json_object_get(item, "fails"), fails);
}

static void script_item(struct reader *r, const char *path, json_t *item, size_t i) {
  static const char *const acts[] = {"answer", "note", "run", "release", "tag", "severity", "assign", "tick", "close", NULL};
  static const struct member table[] = {{"id", SHAPE_TEXT, false},
                                        {"by", SHAPE_ROLE, true},
                                        {"at", SHAPE_DURATION, false},
                                        {"after", SHAPE_WHEN, false},
                                        {"delay", SHAPE_DURATION, false},
                                        {"only_if", SHAPE_CONDITION, false},
                                        {"unless", SHAPE_CONDITION, false},
                                        {"answer", SHAPE_TEXT, false},
                                        {"with", SHAPE_TEXT, false},
                                        {"note", SHAPE_TEXT, false},
                                        {"run", SHAPE_TEXT, false},
                                        {"params", SHAPE_TABLE, false},
                                        {"release", SHAPE_TEXT, false},
                                        {"tag", SHAPE_TEXT, false},
                                        {"severity", SHAPE_TEXT, false},
                                        {"assign", SHAPE_ROLE, false},
                                        {"tick", SHAPE_COUNT, false},
                                        {"close", SHAPE_TABLE, false},
                                        {NULL, SHAPE_ANY, false}};
  static const struct member close[] = {{"verdict", SHAPE_TEXT, false},  {"root_cause", SHAPE_TEXT, false}, {"impact", SHAPE_TEXT, false},
                                        {"affected", SHAPE_TEXT, false}, {"lessons", SHAPE_TEXT, false},    {"waive", SHAPE_TEXT, false},
                                        {NULL, SHAPE_ANY, false}};
  char at[PATH_ROOM];
  const char *question = json_str(item, "answer");
  if (json_is_object(item) && !json_object_get(item, "id")) json_object_set_new(item, "id", json_sprintf("s%zu", i + 1));
  if (question && !json_object_get(item, "at") && !json_object_get(item, "after"))
    json_object_set_new(item, "after", json_pack("{s:s}", "asked", question));
  if (!members(r, path, item, table)) return;
  one_of(r, path, item, acts);
  if (json_object_get(item, "close")) join(at, path, "close"), members(r, at, json_object_get(item, "close"), close);
  if (question && !json_object_get(item, "with")) wrong(r, path, "`answer` needs `with`: which option?");
  timing(r, path, item, true);
  unique(r, path, "script", item, i);
}

static void each(struct reader *r, const char *name, void (*check)(struct reader *r, const char *path, json_t *item, size_t i)) {
  char path[PATH_ROOM];
  size_t i;
  json_t *list = list_of(r, name), *item;
  json_array_foreach(list, i, item) {
    snprintf(path, sizeof path, "%s[%zu]", name, i + 1);
    check(r, path, item, i);
  }
}

static void role_texts(struct reader *r) {
  const char *role;
  json_t *text;
  json_t *all = json_object_get(r->json, "roles");
  if (json_is_object(all) && !json_object_size(all)) wrong(r, "roles", "somebody must take part");
  json_object_foreach(all, role, text) if (!json_is_string(text)) wrong(r, "roles", "`%.60s` says in words what this role does", role);
}

static void shape(struct reader *r) {
  static const struct member table[] = {{"name", SHAPE_TEXT, false},        {"title", SHAPE_TEXT, true},   {"summary", SHAPE_TEXT, true},
                                        {"duration", SHAPE_DURATION, true}, {"roles", SHAPE_TABLE, true},  {"objectives", SHAPE_ANY, true},
                                        {"world", SHAPE_TABLE, false},      {"answers", SHAPE_ANY, false}, {"injects", SHAPE_ANY, true},
                                        {"script", SHAPE_ANY, false},       {NULL, SHAPE_ANY, false}};
  members(r, "", r->json, table);
  role_texts(r);
  if (!json_object_get(r->json, "world")) json_object_set_new(r->json, "world", json_object());
  if (json_is_object(json_object_get(r->json, "world"))) world(r, "world", json_object_get(r->json, "world"));
  each(r, "injects", inject);
  each(r, "objectives", objective);
  each(r, "answers", answer);
  each(r, "script", script_item);
  if (!r->wrong && !json_array_size(json_object_get(r->json, "injects"))) wrong(r, "injects", "nothing happens: there is none");
  if (!r->wrong && !json_array_size(json_object_get(r->json, "objectives"))) wrong(r, "objectives", "nothing is exercised: there is none");
}

/* ---- whole */

static char *name_of(const char *file) {
  const char *slash = strrchr(file, '/'), *base = slash ? slash + 1 : file;
  size_t len = strlen(base);
  if (len > 4 && strcmp(base + len - 4, ".lua") == 0) len -= 4;
  char *name = strndup(base, len);
  if (!name) abort();
  return name;
}

/* Takes json over. */
static struct scenario *scenario_new(json_t *json_take, const char *name) {
  struct scenario *s = calloc(1, sizeof *s);
  if (!s) abort();
  json_object_set_new(json_take, "name", json_string(name));
  s->json = json_take;
  s->name = name_of(name);
  json_digest(s->json, s->digest);
  return s;
}

void scenario_read(const char *file, const char *source, size_t len, json_t *findings, struct scenario **ret) {
  struct reader r = {.file = file, .source = source, .len = len, .findings = findings};
  struct err err = {0};
  *ret = NULL;
  if (datafile_load(file, source, len, "scenario", &r.json, &err) < 0) {
    json_array_append_new(findings, json_sprintf("error: %s", err.text));
    return;
  }
  shape(&r);
  char *name = r.wrong ? NULL : name_of(file);
  if (name) *ret = scenario_new(r.json, name);
  else json_decref(r.json);
  free(name);
}

static int first_of(const json_t *findings, struct err *err) {
  const char *text = json_string_value(json_array_get(findings, 0));
  size_t n = json_array_size(findings);
  if (n > 1) return err_set(err, ERR_INVALID, "%.900s (and %zu more: tocsin tabletop check)", text + strlen("error: "), n - 1);
  return err_set(err, ERR_INVALID, "%.1000s", text ? text + strlen("error: ") : "the scenario cannot be read");
}

int scenario_load(const char *file, const char *source, size_t len, struct scenario **ret, struct err *err) {
  json_t *findings = json_array();
  struct scenario *s = NULL;
  scenario_read(file, source, len, findings, &s);
  if (s) *ret = s;
  int r = s ? 0 : first_of(findings, err);
  json_decref(findings);
  return r;
}

int scenario_from_json(const json_t *json, struct scenario **ret, struct err *err) {
  const char *name = json_str(json, "name");
  if (!name) return err_set(err, ERR_INVALID, "this is no scenario: it has no name");
  struct reader r = {.file = name, .findings = json_array(), .json = json_deep_copy(json)};
  shape(&r);
  int code = r.wrong ? first_of(r.findings, err) : 0;
  if (code == 0) *ret = scenario_new(r.json, name);
  else json_decref(r.json);
  json_decref(r.findings);
  return code;
}

void scenario_free(struct scenario *s) {
  if (!s) return;
  json_decref(s->json);
  free(s->name);
  free(s);
}
