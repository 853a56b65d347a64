#include "incident/params.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"

static json_t *value_read(const json_t *rule, const json_t *value);

static json_t *parsed(const char *text) {
  json_t *value = NULL;
  return json_parse(text, strlen(text), &value, NULL) == 0 ? value : NULL;
}

static json_t *parsed_if(const char *text, bool (*wanted)(const json_t *value)) {
  json_t *value = parsed(text);
  if (value && wanted(value)) return value;
  json_decref(value);
  return NULL;
}

static bool is_integer(const json_t *value) { return json_is_integer(value); }
static bool is_number(const json_t *value) { return json_is_number(value); }
static bool is_object(const json_t *value) { return json_is_object(value); }
static bool is_array(const json_t *value) { return json_is_array(value); }

static json_t *boolean_read(const char *text) {
  if (strcmp(text, "true") == 0 || strcmp(text, "yes") == 0) return json_true();
  return strcmp(text, "false") == 0 || strcmp(text, "no") == 0 ? json_false() : NULL;
}

/* ["a", "b"] as JSON, or a,b. */
static json_t *list_read(const json_t *rule, const char *text) {
  json_t *list = text[0] == '[' ? parsed_if(text, is_array) : NULL;
  if (list) return list;
  list = json_array();
  while (*text) {
    size_t n = strcspn(text, ",");
    json_t *word = json_stringn(text, n);
    json_array_append_new(list, value_read(json_object_get(rule, "of"), word));
    json_decref(word);
    text += n + (text[n] == ',');
  }
  return list;
}

static json_t *value_read(const json_t *rule, const json_t *value) {
  const char *text = json_string_value(value), *type = json_str_or(rule, "type", "string");
  json_t *read = NULL;
  if (!text) read = NULL;
  else if (strcmp(type, "integer") == 0) read = parsed_if(text, is_integer);
  else if (strcmp(type, "number") == 0) read = parsed_if(text, is_number);
  else if (strcmp(type, "boolean") == 0) read = boolean_read(text);
  else if (strcmp(type, "list") == 0) read = list_read(rule, text);
  else if (strcmp(type, "map") == 0) read = parsed_if(text, is_object);
  else if (strcmp(type, "any") == 0) read = parsed(text);
  return read ? read : json_incref((json_t *)(uintptr_t)value);
}

json_t *params_read(const json_t *schema, const json_t *params) {
  json_t *result = json_object(), *value;
  const char *key;
  json_object_foreach((json_t *)(uintptr_t)params, key, value)
      json_object_set_new(result, key, value_read(json_object_get(schema, key), value));
  return result;
}
