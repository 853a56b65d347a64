/* JSON Schema (draft 2020-12) of our schemas, for editors, the HTTP API and documentation. */
#include <string.h>

#include "base/json.h"
#include "script/internal.h"

static const char *type_name(const char *type) {
  if (strcmp(type, "integer") == 0 || strcmp(type, "number") == 0 || strcmp(type, "boolean") == 0) return type;
  if (strcmp(type, "list") == 0) return "array";
  if (strcmp(type, "map") == 0 || strcmp(type, "object") == 0 || strcmp(type, "secret") == 0 || strcmp(type, "generated") == 0)
    return "object";
  return strcmp(type, "any") == 0 ? NULL : "string";
}

static const char *format_name(const char *type) {
  static const char *const formats[][2] = {{"url", "uri"}, {"email", "email"}, {"host", "hostname"}};
  for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
    if (strcmp(formats[i][0], type) == 0) return formats[i][1];
  return NULL;
}

static void copy(const json_t *schema, const char *from, json_t *out, const char *to) {
  json_t *value = json_object_get(schema, from);
  if (value) json_object_set(out, to, value);
}

static json_t *object_json(const json_t *fields);

static json_t *value_json(const json_t *schema) {
  const char *type = json_str_or(schema, "type", "any"), *as = type_name(type), *format = format_name(type);
  bool text = as && strcmp(as, "string") == 0 && strcmp(type, "duration") != 0, list = strcmp(type, "list") == 0;
  if (strcmp(type, "object") == 0) {
    json_t *object = object_json(json_object_get(schema, "fields"));
    copy(schema, "doc", object, "description");
    return object;
  }
  json_t *out = json_object();
  if (as) json_object_set_new(out, "type", json_string(as));
  if (format) json_object_set_new(out, "format", json_string(format));
  if (strcmp(type, "ip") == 0) json_object_set_new(out, "anyOf", json_pack("[{s:s},{s:s}]", "format", "ipv4", "format", "ipv6"));
  if (strcmp(type, "duration") == 0) json_object_set_new(out, "examples", json_pack("[s,s]", "20s", "30m"));
  if (strcmp(type, "secret") == 0 || strcmp(type, "generated") == 0)
    json_object_set_new(out, "properties", json_pack("{s:{s:s}}", "$secret", "type", "string")),
        json_object_set_new(out, "required", json_pack("[s]", "$secret"));
  copy(schema, "doc", out, "description");
  copy(schema, "default", out, "default");
  copy(schema, "one_of", out, "enum");
  copy(schema, "pattern", out, "x-lua-pattern");
  if (strcmp(type, "duration") != 0) {
    copy(schema, "min", out, text ? "minLength" : list ? "minItems" : strcmp(type, "map") == 0 ? "minProperties" : "minimum");
    copy(schema, "max", out, text ? "maxLength" : list ? "maxItems" : strcmp(type, "map") == 0 ? "maxProperties" : "maximum");
  }
  const json_t *of = json_object_get(schema, "of");
  if (of) json_object_set_new(out, list ? "items" : "additionalProperties", value_json(of));
  return out;
}

static json_t *object_json(const json_t *fields) {
  json_t *properties = json_object(), *required = json_array(), *schema;
  const char *name;
  json_object_foreach((json_t *)(uintptr_t)fields, name, schema) {
    json_object_set_new(properties, name, value_json(schema));
    bool absent = json_object_get(schema, "default") || json_bool_or(schema, "optional", false) ||
                  strcmp(json_str_or(schema, "type", ""), "generated") == 0;
    if (!absent) json_array_append_new(required, json_string(name));
  }
  return json_pack("{s:s, s:o, s:o, s:b}", "type", "object", "properties", properties, "required", required, "additionalProperties", 0);
}

json_t *schema_json(const json_t *schema) {
  json_t *out = object_json(schema);
  json_object_set_new(out, "$schema", json_string("https://json-schema.org/draft/2020-12/schema"));
  return out;
}
