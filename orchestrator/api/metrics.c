/* Counts as Prometheus text (exposition format 0.0.4). */
#include <ctype.h>
#include <string.h>

#include "api/api.h"
#include "base/json.h"

enum { NAME_CAP = 200, DEPTH_CAP = 4 };

static void number_add(const char *name, const json_t *value, struct buf *out) {
  size_t len = strlen(name);
  bool counter = len > 6 && strcmp(name + len - 6, "_total") == 0;
  buf_addf(out, "# TYPE %s %s\n%s ", name, counter ? "counter" : "gauge", name);
  if (json_is_real(value)) buf_addf(out, "%.17g\n", json_real_value(value));
  else if (json_is_integer(value)) buf_addf(out, "%lld\n", (long long)json_integer_value(value));
  else buf_adds(out, json_is_true(value) ? "1\n" : "0\n");
}

static void object_add(const char *prefix, const json_t *object, int depth, struct buf *out) {
  const char *key;
  json_t *value;
  json_object_foreach((json_t *)(uintptr_t)object, key, value) {
    char name[NAME_CAP];
    int n = snprintf(name, sizeof name, "%s_%s", prefix, key);
    if (n < 0 || (size_t)n >= sizeof name) continue;
    for (char *p = name; *p; p++)
      if (!isalnum((unsigned char)*p)) *p = '_';
    if (json_is_object(value) && depth < DEPTH_CAP) object_add(name, value, depth + 1, out);
    else if (json_is_number(value) || json_is_boolean(value)) number_add(name, value, out);
  }
}

void api_metrics(const json_t *counts, struct buf *out) { object_add("tocsin", counts, 0, out); }
