#include "script/madeup.h"

#include <string.h>

#include "base/json.h"

/* "^ldap[si]?://" begins with a scheme. */
static json_t *of_scheme(const json_t *schema) {
  const char *pattern = json_str_or(schema, "pattern", "");
  if (*pattern == '^') pattern++;
  return json_sprintf("%.*s://simulated.invalid", (int)strspn(pattern, "abcdefghijklmnopqrstuvwxyz"), pattern);
}

static bool fits(const json_t *schema, const json_t *value) {
  json_t *schemas = json_pack("{s:O}", "x", schema), *values = json_pack("{s:O}", "x", value), *checked = NULL;
  bool good = schema_check(schemas, values, "x", &checked, NULL) == 0;
  json_decref(schemas);
  json_decref(values);
  json_decref(checked);
  return good;
}

json_t *madeup_value(const json_t *schema) {
  static const char *const texts[] = {"simulated", "https://simulated.invalid", "192.0.2.1",    "nobody@simulated.invalid",
                                      "1s",        "simulated.invalid",         "dc=simulated", "/simulated",
                                      "1"};
  json_t *first = json_array_get(json_object_get(schema, "one_of"), 0);
  json_t *values = json_pack("[o, i, b, {s:s}, [], {}]", of_scheme(schema), (int)json_int_or(schema, "min", 1), 0, "$secret", "simulated"),
         *value, *found = NULL;
  size_t i;
  for (size_t n = 0; n < sizeof texts / sizeof *texts; n++) json_array_append_new(values, json_string(texts[n]));
  if (first) json_array_insert(values, 0, first);
  json_array_foreach(values, i, value) if (!found && fits(schema, value)) found = json_incref(value);
  json_decref(values);
  return found ? found : json_string("simulated"); /* the registry will say what is wrong with it */
}

json_t *madeup_settings(const struct declaration *d, const char *connector) {
  const char *name;
  json_t *schema, *settings = json_pack("{s:s}", "$connector", connector);
  json_object_foreach(json_object_get(d->json, "settings"), name,
                      schema) if (!json_object_get(schema, "default") && !json_bool_or(schema, "optional", false))
      json_object_set_new(settings, name, madeup_value(schema));
  return settings;
}
