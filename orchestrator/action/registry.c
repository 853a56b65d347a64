#include "action/registry.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/log.h"
#include "base/map.h"
#include "transport/address.h"

enum { FILE_CAP = 1 << 20, DEFAULT_TIMEOUT_MS = 20000, DEFAULT_RESPONSE = 256 << 10, DEFAULT_CONCURRENT = 8 };
enum { TIMEOUT_MOST_MS = 3600000, LIMIT_MOST = 1000000, RESPONSE_MOST_KIB = 64 << 10 }; /* what settings may ask for */

struct instance {
  struct connector c; /* first */
  struct map forms;   /* action name -> struct form */
  json_t *settings, *network;
  json_t *given;           /* as the settings have it; NULL: not mentioned */
  struct declaration *own; /* of an earlier version; NULL: the registry's */
  char *name;
};

struct registry {
  struct map declarations; /* connector name -> struct declaration */
  struct map instances;    /* instance name -> struct instance */
  struct map versions;     /* "instance@digest" -> struct instance */
};

static int file_read(const char *path, struct buf *out, struct err *err) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return err_errno(err, "cannot open %s", path);
  char chunk[16384];
  ssize_t n;
  int r = 0;
  while ((n = read(fd, chunk, sizeof chunk)) > 0) buf_add(out, chunk, (size_t)n);
  if (n < 0) r = err_errno(err, "cannot read %s", path);
  else if (!buf_ok(out)) r = err_set(err, ERR_LIMIT, "%s is larger than %d KiB", path, FILE_CAP >> 10);
  close(fd);
  return r;
}

static int declaration_add(struct registry *r, const char *path, struct err *err) {
  struct buf text;
  struct declaration *d = NULL;
  buf_init(&text, FILE_CAP);
  int result = file_read(path, &text, err);
  if (result == 0) result = connector_load(path, text.data, text.len, &d, err);
  buf_release(&text);
  if (result == 0) declaration_free(map_put(&r->declarations, json_str_or(d->json, "name", d->name), d));
  return result;
}

static int lua_only(const struct dirent *e) {
  size_t n = strlen(e->d_name);
  return e->d_name[0] != '.' && n > 4 && strcmp(e->d_name + n - 4, ".lua") == 0 && !strstr(e->d_name, "_test.lua");
}

static int folder_load(struct registry *r, const char *folder, struct err *err) {
  struct dirent **files = NULL;
  int count = scandir(folder, &files, lua_only, alphasort), result = 0;
  if (count < 0) return err_errno(err, "cannot read the connectors' folder %s", folder);
  for (int i = 0; i < count; i++) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, files[i]->d_name);
    if (result == 0) result = declaration_add(r, path, err);
    free(files[i]);
  }
  free(files);
  return result;
}

static void form_free(void *value) {
  form_release(value);
  free(value);
}

static void forms_make(struct instance *i) {
  const char *name;
  json_t *declared;
  json_object_foreach(json_object_get(i->c.declaration->json, "actions"), name, declared) {
    struct form *f = calloc(1, sizeof *f);
    if (!f) abort();
    int effect = effect_by_name(json_str_or(declared, "effect", "destroy"));
    form_init(f, i->name, i->c.declaration->digest, name, effect < 0 ? EFFECT_DESTROY : (enum effect)effect, declared, i->c.timeout_ms);
    map_put(&i->forms, name, f);
  }
}

static void instance_free(void *value) {
  struct instance *i = value;
  if (!i) return;
  map_release(&i->forms, form_free);
  connector_state_free(i->c.state);
  json_decref(i->settings);
  json_decref(i->network);
  json_decref(i->given);
  declaration_free(i->own);
  free(i->name);
  free(i);
}

/* The file's limits, and over them what the instance's settings say of them. */
static int limits_set(struct connector *c, const json_t *declared, const json_t *given, const char *where, struct err *err) {
  json_t *schema = json_pack("{s:{s:s, s:b, s:i, s:i}, s:{s:s, s:b, s:i, s:i}, s:{s:s, s:b, s:i, s:i}, s:{s:s, s:b, s:i, s:i}}", "timeout",
                             "type", "duration", "optional", 1, "min", 1, "max", TIMEOUT_MOST_MS, "concurrent", "type", "integer",
                             "optional", 1, "min", 1, "max", LIMIT_MOST, "per_minute", "type", "integer", "optional", 1, "min", 0, "max",
                             LIMIT_MOST, "response_kib", "type", "integer", "optional", 1, "min", 1, "max", RESPONSE_MOST_KIB);
  json_t *own = NULL, *none = json_object();
  char path[300];
  snprintf(path, sizeof path, "%s.limits", where);
  int result = schema_check(schema, given ? given : none, path, &own, err);
  if (result == 0) {
    int64_t kib = json_int_or(own, "response_kib", 0);
    c->timeout_ms = json_int_or(own, "timeout", json_int_or(declared, "timeout", DEFAULT_TIMEOUT_MS));
    c->response_cap = (size_t)(kib ? kib * 1024 : json_int_or(declared, "response", DEFAULT_RESPONSE));
    c->concurrent = (unsigned)json_int_or(own, "concurrent", json_int_or(declared, "concurrent", DEFAULT_CONCURRENT));
    c->per_minute = (unsigned)json_int_or(own, "per_minute", json_int_or(declared, "per_minute", 0));
  }
  json_decref(own);
  json_decref(none);
  json_decref(schema);
  return result;
}

/* At start, not when the first request wants to leave. */
static int network_check(const json_t *network, const char *where, struct err *err) {
  struct netrules rules;
  int result = netrules_init(&rules, network, err);
  if (result < 0) return err_wrap(err, "%s", where);
  netrules_release(&rules);
  return 0;
}

/* The settings that belong to the core, not to the connector's schema. */
static json_t *own_settings(const json_t *given) {
  json_t *copy = json_copy((json_t *)(uintptr_t)given);
  json_object_del(copy, "$connector");
  json_object_del(copy, "network");
  json_object_del(copy, "limits");
  return copy;
}

static int instance_new(const char *name, struct declaration *d, const json_t *given, struct instance **ret, struct err *err) {
  struct instance *i = calloc(1, sizeof *i);
  char where[256];
  if (!i) abort();
  map_init(&i->forms);
  i->name = strdup(name);
  i->given = json_incref((json_t *)(uintptr_t)given);
  json_t *own = given ? own_settings(given) : json_object();
  snprintf(where, sizeof where, "connectors.%s", name);
  int result = schema_check(json_object_get(d->json, "settings"), own, where, &i->settings, err);
  json_decref(own);
  i->network = json_incref(json_object_get(given, "network"));
  if (!i->network) i->network = json_incref(json_object_get(d->json, "network"));
  i->c = (struct connector){.instance = i->name,
                            .name = json_str_or(d->json, "name", d->name),
                            .declaration = d,
                            .settings = i->settings,
                            .network = i->network,
                            .forms = &i->forms};
  if (result == 0) result = network_check(i->network, where, err);
  if (result == 0) result = limits_set(&i->c, json_object_get(d->json, "limits"), json_object_get(given, "limits"), where, err);
  if (result == 0) result = connector_state_new(d, i->settings, NULL, &i->c.state, err);
  if (result < 0) {
    instance_free(i);
    return result;
  }
  forms_make(i);
  *ret = i;
  return 0;
}

static int instance_add(struct registry *r, const char *name, struct declaration *d, const json_t *given, struct err *err) {
  struct instance *i;
  int result = instance_new(name, d, given, &i, err);
  if (result == 0) map_put(&r->instances, name, i);
  return result;
}

static int instances_from_settings(struct registry *r, const json_t *settings, struct err *err) {
  const char *name;
  json_t *given;
  json_object_foreach((json_t *)(uintptr_t)settings, name, given) {
    const char *kind = json_str_or(given, "$connector", name);
    struct declaration *d = map_get(&r->declarations, kind);
    if (!d) return err_set(err, ERR_NOT_FOUND, "connectors.%s: there is no connector `%s` in the connectors' folder", name, kind);
    int result = instance_add(r, name, d, given, err);
    if (result < 0) return result;
  }
  return 0;
}

static bool has_instance(const struct registry *r, const char *name) {
  size_t at = 0;
  void *value;
  while (map_next(&r->instances, &at, NULL, &value))
    if (strcmp(((struct instance *)value)->c.name, name) == 0) return true;
  return false;
}

/* A connector that can do without settings (an alert format) needs no mention in them. */
static void instances_by_themselves(struct registry *r) {
  size_t at = 0;
  const char *name;
  void *value;
  while (map_next(&r->declarations, &at, &name, &value))
    if (!has_instance(r, name)) instance_add(r, name, value, NULL, NULL);
}

int registry_new(const char *folder, const json_t *settings, struct registry **ret, struct err *err) {
  struct registry *r = calloc(1, sizeof *r);
  if (!r) abort();
  map_init(&r->declarations);
  map_init(&r->instances);
  map_init(&r->versions);
  int result = folder_load(r, folder, err);
  if (result == 0) result = instances_from_settings(r, settings, err);
  if (result < 0) {
    registry_free(r);
    return result;
  }
  instances_by_themselves(r);
  *ret = r;
  return 0;
}

static void declaration_free_value(void *value) { declaration_free(value); }

void registry_free(struct registry *r) {
  if (!r) return;
  map_release(&r->versions, instance_free);
  map_release(&r->instances, instance_free);
  map_release(&r->declarations, declaration_free_value);
  free(r);
}

const struct connector *registry_find(const struct registry *r, const char *name, struct err *err) {
  const struct instance *found = map_get(&r->instances, name);
  if (found) return &found->c;
  size_t at = 0, count = 0;
  void *value;
  while (map_next(&r->instances, &at, NULL, &value))
    if (strcmp(((struct instance *)value)->c.name, name) == 0) found = value, count++;
  if (count == 1) return &found->c;
  if (count) err_set(err, ERR_INVALID, "`%s` has %zu instances; name one of them, as the settings' `connectors` do", name, count);
  else err_set(err, ERR_NOT_FOUND, "there is no connector `%s`: the settings' `connectors` name none", name);
  return NULL;
}

const json_t *registry_action(const struct connector *c, const char *action, struct err *err) {
  const json_t *found = json_object_get(json_object_get(c->declaration->json, "actions"), action);
  if (!found)
    err_set(err, ERR_NOT_FOUND, "the connector `%s` has no action `%s`; `tocsin connector show %s` lists them", c->instance, action,
            c->instance);
  return found;
}

const struct form *registry_form(const struct connector *c, const char *action, struct err *err) {
  const struct form *found = c->forms ? map_get(c->forms, action) : NULL;
  if (!found) registry_action(c, action, err); /* says why */
  return found;
}

const struct connector *registry_next(const struct registry *r, size_t *at) {
  void *value;
  return map_next(&r->instances, at, NULL, &value) ? &((struct instance *)value)->c : NULL;
}

json_t *registry_declarations(const struct registry *r) {
  json_t *all = json_object();
  size_t at = 0;
  const struct connector *c;
  while ((c = registry_next(r, &at))) json_object_set(all, c->instance, c->declaration->json);
  return all;
}

/* --- earlier versions ------------------------------------------------------------------------------------------------- */

static void version_key(char *out, size_t size, const char *instance, const char *digest) {
  snprintf(out, size, "%s@%s", instance, digest);
}

int registry_version_add(struct registry *r, const char *instance, const char *digest, const char *source, size_t len, struct err *err) {
  const struct instance *now = map_get(&r->instances, instance);
  struct declaration *d = NULL;
  struct instance *i = NULL;
  char key[400];
  version_key(key, sizeof key, instance, digest);
  if (!now) return err_set(err, ERR_NOT_FOUND, "the settings' `connectors` have no `%s` any more", instance);
  if (strcmp(now->c.declaration->digest, digest) == 0 || map_get(&r->versions, key)) return 0;
  int result = connector_load(now->c.name, source, len, &d, err);
  if (result < 0) return result;
  if (strcmp(d->digest, digest) != 0)
    result = err_set(err, ERR_CONFLICT, "the kept source of %s was changed: its digest is %s", key, d->digest);
  if (result == 0) result = instance_new(instance, d, now->given, &i, err);
  if (result < 0) {
    declaration_free(d);
    return result;
  }
  i->own = d;
  map_put(&r->versions, key, i);
  return 0;
}

static void inherit_all(struct registry *r, const struct map *from) {
  size_t at = 0;
  void *value;
  struct err err;
  while (map_next(from, &at, NULL, &value)) {
    const struct connector *c = &((struct instance *)value)->c;
    const struct declaration *d = c->declaration;
    if (registry_version_add(r, c->instance, d->digest, d->source, d->source_len, &err) < 0)
      log_warning("runs that began with an earlier version of %s cannot go on: %s", c->instance, err.text);
  }
}

void registry_inherit(struct registry *r, const struct registry *old) {
  inherit_all(r, &old->instances);
  inherit_all(r, &old->versions);
}

const struct connector *registry_find_version(const struct registry *r, const char *name, const char *digest, struct err *err) {
  const struct connector *now = registry_find(r, name, err);
  char key[400];
  if (!now || !digest || strcmp(now->declaration->digest, digest) == 0) return now;
  version_key(key, sizeof key, now->instance, digest);
  const struct instance *found = map_get(&r->versions, key);
  if (found) return &found->c;
  err_set(err, ERR_NOT_FOUND, "%s of digest %s is not to be found any more; in force is %s", now->instance, digest,
          now->declaration->digest);
  return NULL;
}
