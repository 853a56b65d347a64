/* What a test expects, and what was seen. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "run/stage.h"

enum { SHOWN = 1500 };

static void show(struct buf *out, const json_t *value) {
  char *text = value ? json_text(value) : NULL;
  buf_addf(out, "%.600s", text ? text : "nothing");
  free(text);
}

static void differ(json_t *problems, const char *what, const json_t *expected, const json_t *seen) {
  struct buf text;
  buf_init(&text, SHOWN);
  buf_addf(&text, "%s: expected ", what);
  show(&text, expected);
  buf_adds(&text, ", seen ");
  show(&text, seen);
  json_array_append_new(problems, json_string(text.data));
  buf_release(&text);
}

static bool same_value(const json_t *expected, const json_t *seen) {
  const char *key;
  json_t *value;
  if (json_is_number(expected) && json_is_number(seen))
    return !(json_number_value(expected) < json_number_value(seen)) && !(json_number_value(expected) > json_number_value(seen));
  if (!json_is_object(expected) || !json_is_object(seen))
    return json_equal(expected, seen) ||
           (!json_object_size(expected) && json_is_object(expected) && json_is_array(seen) && !json_array_size(seen));
  json_object_foreach((json_t *)(uintptr_t)expected, key, value) if (!same_value(value, json_object_get(seen, key))) return false;
  return true;
}

static bool same_action(const json_t *expected, const json_t *seen) {
  const json_t *params = json_object_get(expected, "params");
  return json_equal(json_object_get(expected, "action"), json_object_get(seen, "action")) &&
         same_value(params, json_object_get(seen, "params"));
}

static bool bears(const json_t *expected, const json_t *seen) {
  return json_is_string(expected) && json_is_string(seen) && strstr(json_string_value(seen), json_string_value(expected));
}

/* An empty Lua table is no list by itself: json_array_size tells 0 for it, as it should. */
static void compare_lists(const char *what, const json_t *expected, const json_t *seen, bool (*fits)(const json_t *, const json_t *),
                          json_t *problems) {
  bool same = json_array_size(expected) == json_array_size(seen);
  for (size_t i = 0; same && i < json_array_size(expected); i++) same = fits(json_array_get(expected, i), json_array_get(seen, i));
  if (!same) differ(problems, what, expected, seen);
}

void expect(const json_t *expected, const json_t *seen, json_t *problems) {
  static const struct {
    const char *name;
    bool list;
    bool (*fits)(const json_t *, const json_t *);
  } rules[] = {{"status", false, same_value},  {"error", false, bears},         {"says", false, bears},
               {"result", false, same_value},  {"severity", false, same_value}, {"closed", false, same_value},
               {"actions", true, same_action}, {"undone", true, same_value},    {"asks", true, bears},
               {"notes", true, bears},         {"tags", true, same_value},      {"files", true, same_value}};
  for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
    const json_t *wanted = json_object_get(expected, rules[i].name), *found = json_object_get(seen, rules[i].name);
    if (!wanted) continue;
    if (rules[i].list) compare_lists(rules[i].name, wanted, found, rules[i].fits, problems);
    else if (!rules[i].fits(wanted, found)) differ(problems, rules[i].name, wanted, found);
  }
}
