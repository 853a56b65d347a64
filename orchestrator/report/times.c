/* The times that are reckoned from the entries, each with the entry that it comes from. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "report/internal.h"

json_t *fact_moment(int64_t time, uint64_t seq, const char *how) {
  return json_pack("{s:I, s:I, s:s}", "time", (json_int_t)time, "seq", (json_int_t)seq, "how", how);
}

int64_t ocsf_time(const json_t *finding, const char *path) {
  const json_t *value = json_at(finding, path);
  int64_t us = 0;
  if (json_is_integer(value) && json_integer_value(value) > 0 && json_integer_value(value) < INT64_MAX / 1000)
    return json_integer_value(value) * 1000;
  if (json_is_string(value) && time_parse(json_string_value(value), &us) && us > 0) return us;
  return 0;
}

/* The member's smallest value among the alerts. */
static json_t *earliest(const json_t *alerts, const char *member, const char *how) {
  int64_t least = 0, seq = 0;
  size_t i;
  json_t *alert;
  json_array_foreach((json_t *)(uintptr_t)alerts, i, alert) {
    int64_t t = json_int_or(alert, member, 0);
    if (t > 0 && (!least || t < least)) least = t, seq = json_int_or(alert, "seq", 0);
  }
  return least ? fact_moment(least, (uint64_t)seq, how) : json_null();
}

static json_t *occurred(const json_t *facts) {
  const json_t *set = json_object_get(facts, "occurred");
  uint64_t seq = (uint64_t)json_int_or(facts, "opened_seq", 0);
  int64_t us = json_is_integer(set) ? json_integer_value(set) : 0;
  if (us > 0 || (json_is_string(set) && time_parse(json_string_value(set), &us)))
    return fact_moment(us, seq, "set by the person who opened the incident");
  return earliest(json_object_get(facts, "alerts"), "event", "the earliest event that an alert is about");
}

static json_t *received(const json_t *facts) {
  const json_t *alerts = json_object_get(facts, "alerts");
  json_t *found = earliest(alerts, "received", "the first alert reached Tocsin");
  if (!json_is_null(found)) return found;
  json_t *first = json_array_get(alerts, 0);
  if (first) return fact_moment(json_int_or(first, "time", 0), (uint64_t)json_int_or(first, "seq", 0), "the first alert was attached");
  int64_t opened = json_int_or(facts, "opened", 0);
  return opened ? fact_moment(opened, (uint64_t)json_int_or(facts, "opened_seq", 0), "a person opened the incident") : json_null();
}

static json_t *acknowledged(const struct report_source *s) {
  for (size_t i = 0; i < s->count; i++)
    if (strncmp(s->entries[i]->actor, "person:", 7) == 0)
      return fact_moment(s->entries[i]->time, s->entries[i]->seq, "a person's first act");
  return json_null();
}

static bool says_contained(const struct entry *e) {
  return e->kind == KIND_INCIDENT_TAGGED && strncmp(e->actor, "person:", 7) == 0 &&
         strcmp(json_str_or(e->body, "tag", ""), "contained") == 0;
}

/* The entry by which a person said that it is contained: the tag, else the first closing. 0: nobody has. */
static uint64_t said_contained(const struct report_source *s) {
  for (size_t i = 0; i < s->count; i++)
    if (says_contained(s->entries[i])) return s->entries[i]->seq;
  for (size_t i = 0; i < s->count; i++)
    if (s->entries[i]->kind == KIND_INCIDENT_CLOSED) return s->entries[i]->seq;
  return 0;
}

static json_t *contained(const struct report_source *s, const json_t *facts) {
  uint64_t until = said_contained(s);
  const json_t *last = NULL;
  size_t i;
  json_t *c;
  json_array_foreach(json_object_get(facts, "containments"), i, c) {
    if (!until || (uint64_t)json_int_or(c, "seq", 0) < until) last = c;
  }
  if (!last) return json_null();
  return fact_moment(json_int_or(last, "time", 0), (uint64_t)json_int_or(last, "seq", 0),
                     until ? "the last containment before a person said so" : "the last containment so far");
}

/* The release after which nothing was contained any more. */
static json_t *all_released(const json_t *facts) {
  int64_t time = 0, seq = 0;
  size_t i;
  json_t *c;
  json_array_foreach(json_object_get(facts, "containments"), i, c) {
    const char *status = json_str_or(c, "status", "");
    if (strcmp(status, "active") == 0 || strcmp(status, "still") == 0 || strcmp(status, "kept") == 0) return json_null();
    if (strcmp(status, "released") == 0 && json_int_or(c, "ended_seq", 0) > seq)
      time = json_int_or(c, "ended", 0), seq = json_int_or(c, "ended_seq", 0);
  }
  return seq ? fact_moment(time, (uint64_t)seq, "the last containment was released") : json_null();
}

static json_t *recovered(const json_t *facts) {
  json_t *released = all_released(facts);
  const json_t *closing = strcmp(json_str_or(facts, "status", ""), "closed") == 0 ? json_object_get(facts, "closing") : NULL;
  int64_t closed = json_int_or(closing, "time", 0);
  if (!closed || (!json_is_null(released) && json_int_or(released, "time", 0) <= closed)) return released;
  json_decref(released);
  return fact_moment(closed, (uint64_t)json_int_or(closing, "seq", 0), "the incident was closed");
}

void facts_times(const struct report_source *s, json_t *facts) {
  json_object_set_new(facts, "times",
                      json_pack("{s:o, s:o, s:o, s:o, s:o, s:o}", "occurred", occurred(facts), "detected",
                                earliest(json_object_get(facts, "alerts"), "detected", "the earliest time that a product gave its alert"),
                                "received", received(facts), "acknowledged", acknowledged(s), "contained", contained(s, facts), "recovered",
                                recovered(facts)));
}
