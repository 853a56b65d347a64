#include "cmd/timeline.h"

#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/map.h"
#include "cmd/words.h"

enum { WHO_MOST = 28, TIME_WIDTH = 10, SEQ_WIDTH = 7, STORM = 3 };

static words_fn *words_of(enum kind kind) {
  if (kind >= KIND_COUNT) return NULL;
  return words_incident[kind]   ? words_incident[kind]
         : words_action[kind]   ? words_action[kind]
         : words_exercise[kind] ? words_exercise[kind]
                                : words_evidence[kind];
}

bool timeline_knows(enum kind kind) { return words_of(kind) != NULL; }

static enum kind kind_of(const json_t *entry) { return kind_by_name(json_str_or(entry, "type", "")); }

/* When, by whom, why, and what may be read in its place. */
static void removed(struct view *v, const json_t *removal) {
  view_put(v, " (the body was removed");
  if (removal) {
    view_put(v, " on ");
    view_moment(v, json_int_or(removal, "time", 0));
    words_member(v, " by ", removal, "by");
    words_member(v, " because ", removal, "because");
    view_put(v, "; entry %lld", (long long)json_int_or(removal, "entry", 0));
  }
  view_put(v, ")");
  words_member(v, "\ncopy with parts taken out: ", removal, "copy");
}

/* A newer version's kind, or a body that was removed. */
static enum style unknown(struct view *v, const json_t *entry) {
  const json_t *body = json_object_get(entry, "body");
  view_text(v, json_str_or(entry, "type", "?"));
  if (!json_is_object(body)) {
    view_put(v, ": ");
    view_text(v, json_str_or(entry, "meaning", ""));
    removed(v, json_object_get(entry, "removed"));
  } else {
    view_put(v, ": ");
    view_value(v, body);
  }
  return STYLE_PLAIN;
}

static enum style words(struct view *v, const json_t *entry) {
  const json_t *body = json_object_get(entry, "body");
  words_fn *fn = words_of(kind_of(entry));
  size_t before = v->out.len;
  enum style style = fn && json_is_object(body) ? fn(v, body) : STYLE_PLAIN;
  return v->out.len > before ? style : unknown(v, entry); /* a body without what its kind is about is shown as it is */
}

void timeline_words(struct view *v, const json_t *entry) { words(v, entry); }

static void who_of(const json_t *entry, char *out, size_t size) {
  const char *actor = json_str_or(entry, "actor", "?"), *name = json_str(entry, "name");
  if (strncmp(actor, "playbook:", 9) == 0) snprintf(out, size, "playbook %s", actor + 9);
  else if (strcmp(actor, "engine") == 0) snprintf(out, size, "tocsin");
  else snprintf(out, size, "%s", name && *name ? name : actor);
}

static unsigned who_width(const json_t *entries) {
  unsigned most = 6;
  size_t i;
  json_t *entry;
  json_array_foreach((json_t *)(uintptr_t)entries, i, entry) {
    char who[256];
    who_of(entry, who, sizeof who);
    unsigned n = text_columns(who);
    if (n > most) most = n;
  }
  return most < WHO_MOST ? most : WHO_MOST;
}

static void day_print(struct timeline *t, struct view *v, int64_t time) {
  if (t->day && same_day(t->day, time)) return;
  view_style(v, STYLE_DIM);
  view_put(v, "-- ");
  view_date(v, time);
  view_put(v, "\n");
  view_style(v, STYLE_PLAIN);
  t->day = time;
}

static void entry_print(struct timeline *t, struct view *v, const json_t *entry) {
  struct view what = {.now = v->now};
  char who[256];
  int64_t time = json_int_or(entry, "time", 0);
  unsigned indent = TIME_WIDTH + t->who + 2 + (t->all ? SEQ_WIDTH : 0);
  buf_init(&what.out, 1 << 20);
  enum style style = words(&what, entry);
  who_of(entry, who, sizeof who);
  day_print(t, v, time);
  if (t->all) view_put(v, "%5lld  ", (long long)json_int_or(entry, "seq", 0));
  view_clock(v, time);
  view_put(v, "  ");
  view_style(v, strncmp(json_str_or(entry, "actor", ""), "person:", 7) == 0 ? STYLE_BOLD : STYLE_DIM);
  unsigned used = view_cut(v, who, t->who);
  view_style(v, STYLE_PLAIN);
  view_pad(v, used, t->who + 2);
  view_style(v, style);
  view_block(v, what.out.data, indent);
  view_style(v, STYLE_PLAIN);
  view_put(v, "\n");
  buf_release(&what.out);
}

/* "1/3" of an entry; empty when it belongs to no step. */
static void place_of(const json_t *entry, char *out, size_t size) {
  const char *step = json_str_or(entry, "step", "");
  long long run = (long long)json_int_or(entry, "run", 0);
  if (*step) snprintf(out, size, "%lld/%s", run, step);
  else out[0] = '\0';
}

/* The last outcome of each step, by its place: what was intended before it need not be told. */
static void outcomes_find(const json_t *entries, struct map *last) {
  size_t i;
  json_t *entry;
  json_array_foreach((json_t *)(uintptr_t)entries, i, entry) {
    char place[160];
    if (kind_of(entry) != KIND_ACTION_OUTCOME) continue;
    place_of(entry, place, sizeof place);
    map_put(last, place, entry);
  }
}

static bool is_told_later(const struct map *last, const json_t *entry) {
  char place[160];
  enum kind kind = kind_of(entry);
  if (kind == KIND_ACTION_PROPOSED) return true;
  if (kind != KIND_ACTION_INTENDED) return false;
  place_of(entry, place, sizeof place);
  const json_t *outcome = map_get(last, place);
  return outcome && json_int_or(outcome, "seq", 0) > json_int_or(entry, "seq", 0);
}

/* How many alerts follow one another from i on. */
static size_t storm_length(const json_t *entries, size_t i) {
  size_t n = 0;
  while (kind_of(json_array_get(entries, i + n)) == KIND_ALERT_ATTACHED) n++;
  return n;
}

static void storm_print(struct timeline *t, struct view *v, const json_t *entries, size_t from, size_t count) {
  view_pad(v, 0, TIME_WIDTH + t->who + 2);
  view_style(v, STYLE_DIM);
  view_put(v, "and %zu more alerts, the last one at ", count);
  view_clock(v, json_int_or(json_array_get(entries, from + count - 1), "time", 0));
  view_put(v, "\n");
  view_style(v, STYLE_PLAIN);
}

void timeline_print(struct timeline *t, struct view *v, const json_t *entries) {
  struct map last;
  if (!t->who) t->who = who_width(entries);
  map_init(&last);
  outcomes_find(entries, &last);
  for (size_t i = 0; i < json_array_size(entries); i++) {
    const json_t *entry = json_array_get(entries, i);
    size_t storm = t->all ? 0 : storm_length(entries, i);
    if (!t->all && is_told_later(&last, entry)) continue;
    entry_print(t, v, entry);
    if (storm > STORM) {
      storm_print(t, v, entries, i + 1, storm - 1);
      i += storm - 1;
    }
  }
  map_release(&last, NULL);
}
