#include "cmd/alarm.h"

#include <stdio.h>

#include "base/json.h"
#include "base/log.h"

/* "tocsin-alerts-1": who sees the same counts gives the same id. */
static void name_it(const struct daemon *d, enum alarm what, int64_t difference, char *out, size_t size) {
  if (what == ALARM_ALERTS) snprintf(out, size, "tocsin-alerts-%lld", (long long)difference);
  else snprintf(out, size, "tocsin-intents-%s-%lld", json_str_or(d->settings, "node", "n1"), (long long)difference);
}

static json_t *finding(const struct daemon *d, enum alarm what, int64_t difference, const char *text) {
  char uid[200];
  name_it(d, what, difference, uid, sizeof uid);
  const char *title = what == ALARM_ALERTS ? "Tocsin misses alerts" : "Tocsin's open actions are not all attended to";
  return json_pack("{s:i, s:i, s:i, s:i, s:i, s:I, s:s, s:{s:s, s:s, s:{s:s, s:s}}, s:{s:s, s:s, s:s}}", "class_uid", 2004, "category_uid",
                   2, "activity_id", 1, "type_uid", 200401, "severity_id", 4, "time", (json_int_t)(clock_wall(clock_system()) / 1000),
                   "message", text, "metadata", "version", "1.3.0", "uid", uid, "product", "name", "Tocsin", "vendor_name", "Tocsin",
                   "finding_info", "uid", uid, "title", title, "desc", text);
}

static void on_told(void *arg, const struct err *err) {
  int64_t *told = arg;
  if (!err) return;
  *told = 0;
  log_warning("the alert about a broken conservation is not in the queue, it is tried again within a minute: %s", err->text);
}

void daemon_alarm(struct daemon *d, enum alarm what, int64_t difference, const char *text) {
  int64_t *told = &d->alarmed[what];
  struct err err;
  if (difference == *told) return;
  *told = difference;
  if (!difference) return;
  json_t *document = finding(d, what, difference, text);
  struct buf out;
  buf_init(&out, 4096);
  json_write(document, &out);
  if (intake_push(d->intake, "tocsin", out.data, out.len, on_told, told, &err) < 0) on_told(told, &err);
  buf_release(&out);
  json_decref(document);
}
