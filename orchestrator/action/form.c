#include "action/form.h"

#include <stdio.h>
#include <string.h>

#include "base/json.h"

static const char *const effects[] = {"read", "record", "notify", "contain", "destroy"};

const char *effect_name(enum effect effect) { return effects[effect]; }

int effect_by_name(const char *name) {
  for (int i = 0; name && i < (int)(sizeof effects / sizeof *effects); i++)
    if (strcmp(effects[i], name) == 0) return i;
  return -1;
}

static bool has_generated(const json_t *params) {
  const char *name;
  json_t *rule;
  json_object_foreach((json_t *)(uintptr_t)params, name, rule) if (strcmp(json_str_or(rule, "type", ""), "generated") == 0) return true;
  return false;
}

static void function_name(char out[FORM_FUNCTION], const char *action, const char *function) {
  snprintf(out, FORM_FUNCTION, "actions.%s.%s", action, function);
}

void form_init(struct form *f, const char *instance, const char *version, const char *name, enum effect effect, const json_t *declared,
               int64_t timeout_ms) {
  const json_t *undo = json_object_get(declared, "undo");
  *f = (struct form){.name = name,
                     .effect = effect,
                     .params = json_object_get(declared, "params"),
                     .returns = json_object_get(declared, "returns"),
                     .target = json_object_get(declared, "target"),
                     .resolve = json_str(declared, "resolve"),
                     .probe = json_str(declared, "probe"),
                     .lifts = json_str(declared, "lifts"),
                     .idempotent = json_bool_or(declared, "idempotent", false),
                     .contains = effect == EFFECT_CONTAIN && (!declared || json_is_string(undo) || json_is_false(undo)),
                     .simulates = json_object_get(declared, "simulate") != NULL,
                     .generates = has_generated(json_object_get(declared, "params")),
                     .timeout_ms = json_int_or(declared, "timeout", timeout_ms),
                     .settle_ms = json_int_or(declared, "settle", 0),
                     .word_connector = json_string(instance),
                     .word_action = json_string(name),
                     .word_effect = json_string(effect_name(effect)),
                     .word_version = json_string(version)};
  function_name(f->request, name, "request");
  function_name(f->result, name, "result");
  function_name(f->simulate, name, "simulate");
}

void form_release(struct form *f) {
  json_decref(f->word_connector);
  json_decref(f->word_action);
  json_decref(f->word_effect);
  json_decref(f->word_version);
}
