/* The incident as an OCSF 1.3 Incident Finding. */
#include <string.h>

#include "report/internal.h"

static int64_t ms(const json_t *moment) { return json_int_or(moment, "time", 0) / 1000; }

static int verdict_id(const char *verdict) {
  static const struct {
    const char *word;
    int id;
  } ids[] = {{"false_positive", 1}, {"true_positive", 2}, {"benign", 5}, {"inconclusive", 7}, {"duplicate", 10}};
  for (size_t i = 0; i < sizeof ids / sizeof *ids; i++)
    if (strcmp(ids[i].word, verdict) == 0) return ids[i].id;
  return 99;
}

/* uid and title are required of each. */
static json_t *finding_list(const json_t *facts) {
  json_t *list = json_array(), *alert;
  size_t i;
  json_array_foreach(json_object_get(facts, "alerts"), i, alert) {
    json_t *info = json_deep_copy(json_object_get(alert, "finding_info"));
    if (!json_is_object(info)) json_decref(info), info = json_object();
    if (!json_str(info, "uid")) json_object_set_new(info, "uid", json_string(json_str_or(alert, "id", "unknown")));
    if (!json_str(info, "title")) json_object_set_new(info, "title", json_string(json_str_or(facts, "title", "Alert without a title")));
    json_array_append_new(list, info);
  }
  if (!json_array_size(list))
    json_array_append_new(list, json_pack("{s:s, s:s}", "uid", json_str_or(facts, "id", ""), "title",
                                          json_str_or(facts, "title", "Without a title")));
  return list;
}

static json_t *attacks(const json_t *facts) {
  json_t *list = json_array(), *technique;
  size_t i;
  json_array_foreach(json_object_get(facts, "attack"), i, technique) {
    json_array_append_new(list, json_pack("{s:{s:O}}", "technique", "uid", technique));
  }
  return list;
}

static void closing_add(json_t *out, const json_t *closing) {
  const char *verdict = json_str(closing, "verdict"), *lessons = json_str(closing, "lessons");
  if (verdict) {
    json_object_set_new(out, "verdict_id", json_integer(verdict_id(verdict)));
    json_object_set_new(out, "verdict", json_string(verdict));
  }
  if (lessons) json_object_set_new(out, "comment", json_string(lessons));
}

/* 1 new, 2 in progress, 5 closed. */
static int status_id(const json_t *facts) {
  if (strcmp(json_str_or(facts, "status", "open"), "open") != 0) return 5;
  return json_is_object(json_at(facts, "times.acknowledged")) ? 2 : 1;
}

json_t *report_ocsf(const json_t *facts) {
  static const char *const statuses[] = {"", "New", "In Progress", "", "", "Closed"};
  static const char *const activities[] = {"", "Create", "Update", "Close"};
  int status = status_id(facts), activity = status == 5 ? 3 : json_int_or(facts, "entries", 0) > 2 ? 2 : 1;
  const char *id = json_str_or(facts, "id", ""), *owner = json_str(facts, "owner");
  json_t *out =
      json_pack("{s:i, s:s, s:i, s:s, s:i, s:s, s:i, s:I, s:s, s:I, s:s, s:i, s:s, s:I, s:o}", "class_uid", 2005, "class_name",
                "Incident Finding", "category_uid", 2, "category_name", "Findings", "activity_id", activity, "activity_name",
                activities[activity], "type_uid", 200500 + activity, "time", (json_int_t)(json_int_or(facts, "last", 0) / 1000), "desc",
                json_str_or(facts, "title", "Without a title"), "severity_id", (json_int_t)json_int_or(facts, "severity_id", 0), "severity",
                json_str_or(facts, "severity", "unknown"), "status_id", status, "status", statuses[status], "end_time",
                (json_int_t)(json_int_or(facts, "last", 0) / 1000), "finding_info_list", finding_list(facts));
  json_object_set_new(out, "metadata",
                      json_pack("{s:s, s:s, s:[s], s:{s:s, s:s}}", "version", "1.3.0", "uid", id, "profiles", "incident", "product", "name",
                                "Tocsin", "vendor_name", "Tocsin"));
  /* One of the two is required. */
  if (owner) json_object_set_new(out, "assignee", json_pack("{s:s}", "name", owner));
  else json_object_set_new(out, "assignee_group", json_pack("{s:s}", "name", "not assigned"));
  const json_t *times = json_object_get(facts, "times"), *start = json_object_get(times, "occurred");
  if (!json_is_object(start)) start = json_object_get(times, "detected");
  if (!json_is_object(start)) start = json_object_get(times, "received");
  if (json_is_object(start)) json_object_set_new(out, "start_time", json_integer(ms(start)));
  if (json_array_size(json_object_get(facts, "attack"))) json_object_set_new(out, "attacks", attacks(facts));
  if (json_array_size(json_object_get(facts, "observables"))) json_object_set(out, "observables", json_object_get(facts, "observables"));
  closing_add(out, json_object_get(facts, "closing"));
  json_object_set_new(out, "unmapped", json_pack("{s:O, s:s}", "times", times, "mode", json_str_or(facts, "mode", "live")));
  return out;
}
