/* What people write and the engine loads: connectors, lists, playbooks, triggers. A reload takes all of it or none. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/log.h"
#include "base/trust.h"
#include "base/map.h"
#include "cmd/anchoring.h"
#include "cmd/daemon.h"
#include "cmd/file.h"
#include "cmd/installed.h"
#include "script/madeup.h"

struct content {
  struct registry *registry;
  struct lists *lists;
  struct router *router;
  struct map *playbooks;
  json_t *default_group;
  int64_t default_window_ms;
};

static void declaration_free_value(void *value) { declaration_free(value); }

static void content_release(struct content *c) {
  router_free(c->router);
  lists_free(c->lists);
  registry_free(c->registry);
  if (c->playbooks) map_release(c->playbooks, declaration_free_value), free(c->playbooks);
  json_decref(c->default_group);
}

static int playbook_file(const struct dirent *e) {
  size_t n = strlen(e->d_name);
  return e->d_name[0] != '.' && n > 4 && strcmp(e->d_name + n - 4, ".lua") == 0 && !(n > 9 && strcmp(e->d_name + n - 9, "_test.lua") == 0);
}

static int playbook_add(struct map *playbooks, const char *path, struct err *err) {
  struct buf text;
  struct declaration *p = NULL;
  buf_init(&text, 1 << 20);
  int r = file_read(path, &text, err);
  if (r == 0) r = playbook_load(path, text.data, text.len, &p, err);
  buf_release(&text);
  if (r == 0) declaration_free(map_put(playbooks, p->name, p));
  return r;
}

static int playbooks_load(struct content *c, const char *folder, struct err *err) {
  struct dirent **files = NULL;
  int count = scandir(folder, &files, playbook_file, alphasort), r = 0;
  if (count < 0) return err_errno(err, "cannot read the playbooks' folder %s", folder);
  c->playbooks = calloc(1, sizeof *c->playbooks);
  if (!c->playbooks) abort();
  map_init(c->playbooks);
  for (int i = 0; i < count; i++) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, files[i]->d_name);
    if (r == 0) r = playbook_add(c->playbooks, path, err);
    free(files[i]);
  }
  free(files);
  return r;
}

static int by_name(const void *a, const void *b) {
  return strcmp(((const struct trigger *)a)->playbook, ((const struct trigger *)b)->playbook);
}

static int routes_build(struct content *c, const json_t *settings, struct err *err) {
  size_t n = map_count(c->playbooks), at = 0, count = 0;
  struct trigger *triggers = calloc(n + 1, sizeof *triggers);
  void *value;
  if (!triggers) abort();
  while (map_next(c->playbooks, &at, NULL, &value)) {
    const struct declaration *p = value;
    const json_t *when = json_object_get(p->json, "when");
    if (strcmp(p->name, json_str_or(settings, "default_playbook", "triage-only")) == 0) {
      c->default_group = json_deep_copy(json_object_get(p->json, "group"));
      c->default_window_ms = json_int_or(p->json, "window", 3600000);
    }
    triggers[count++] = (struct trigger){p->name, when, json_object_get(p->json, "group"), json_int_or(p->json, "window", 3600000),
                                         json_bool_or(p->json, "shadow", false)};
  }
  qsort(triggers, count, sizeof *triggers, by_name);
  int r = router_new(triggers, count, json_object_get(settings, "suppress"), c->lists, &c->router, err);
  free(triggers);
  return r;
}

static const char *folder_of(const json_t *settings, const char *name) {
  return json_str_or(json_object_get(settings, "folders"), name, name);
}

/* A playbook that uses what is not configured is loaded, and said so: the others must go on. */
static void uses_check(const struct content *c, json_t *warnings) {
  size_t at = 0, i;
  void *value;
  json_t *use;
  struct err err;
  while (map_next(c->playbooks, &at, NULL, &value)) {
    const struct declaration *p = value;
    json_array_foreach(json_object_get(p->json, "uses"), i, use) {
      char connector[128] = "", text[512];
      const char *full = json_string_value(use) ? json_string_value(use) : "", *dot = strchr(full, '.');
      if (dot && (size_t)(dot - full) < sizeof connector) memcpy(connector, full, (size_t)(dot - full));
      const struct connector *found = registry_find(c->registry, connector, &err);
      if (found && dot && registry_action(found, dot + 1, &err)) continue;
      snprintf(text, sizeof text, "playbook %s uses %s: %s", p->name, full, err.text);
      json_array_append_new(warnings, json_string(text));
    }
  }
}

/* At the first call there is no desk yet: only the registry is needed then. */
static void swap_in(struct daemon *d, struct content *c) {
  if (d->registry) d->old[d->old_count++] = d->registry;
  d->registry = c->registry;
  struct lists *old_lists = d->lists;
  struct router *old_router = d->router;
  d->lists = c->lists;
  d->router = c->router;
  if (d->desk) {
    desk_set_registry(d->desk, d->registry);
    desk_set_playbooks(d->desk, c->playbooks, folder_of(d->settings, "runbooks"));
    intake_set_registry(d->intake, d->registry);
    intake_set_routes(d->intake, d->router, d->lists, c->default_group, c->default_window_ms);
  } else {
    map_release(c->playbooks, declaration_free_value);
    free(c->playbooks);
  }
  router_free(old_router);
  lists_free(old_lists);
}

/* What the settings may change while the engine runs. Everything else is told to wait for a restart. */
static const char *const live_settings[] = {"guard",           "suppress", "notify",           "playbooks", "connectors",
                                            "exercise_notify", "dedupe",   "default_playbook", "anchor",    NULL};

static bool is_live(const char *name) {
  for (const char *const *n = live_settings; *n; n++)
    if (strcmp(*n, name) == 0) return true;
  return false;
}

/* New secrets only add to the store, so a reload that fails afterwards has changed nothing that is in use. */
static int settings_read(struct daemon *d, json_t **ret, struct err *err) {
  json_t *settings = NULL, *sources = NULL, *source;
  const char *slot;
  int r = d->settings_path ? trust_path(d->settings_path, "the settings", err) : 0;
  if (r == 0) r = settings_load(d->settings_path, &settings, &sources, err);
  if (r < 0) return r;
  json_object_foreach(sources, slot, source) if (r == 0) r = secrets_resolve(d->secrets, slot, json_string_value(source), err);
  json_decref(sources);
  if (r == 0) *ret = settings;
  else json_decref(settings);
  return r;
}

/* In place: rooms have borrowed these objects. */
static void settings_take(struct daemon *d, json_t *settings_take_over, json_t *warnings) {
  const char *name;
  json_t *value;
  char text[256];
  json_object_foreach(settings_take_over, name, value) {
    json_t *old = json_object_get(d->settings, name);
    if (json_equal(old, value)) continue;
    if (!is_live(name)) {
      snprintf(text, sizeof text, "`%s` has changed; that takes effect at the next start", name);
      json_array_append_new(warnings, json_string(text));
    } else if (json_is_object(old) && json_is_object(value)) {
      json_object_clear(old);
      json_object_update(old, value);
    } else {
      json_object_set(d->settings, name, value);
    }
  }
  static const char *const unborrowed[] = {"anchor", "exercise_notify"};
  for (size_t i = 0; i < 2; i++)
    if (!json_object_get(settings_take_over, unborrowed[i])) json_object_del(d->settings, unborrowed[i]);
  json_decref(settings_take_over);
}

int daemon_content(struct daemon *d, json_t *ret_counts, struct err *err) {
  struct content c = {0};
  json_t *fresh = NULL;
  size_t count = 0, at = 0;
  json_t *warnings = json_array();
  if (d->old_count == REGISTRIES_MOST)
    return err_set(err, ERR_LIMIT, "reloaded %d times since the start; restart to go on", REGISTRIES_MOST);
  const json_t *settings = d->settings;
  int r = d->intake_running ? settings_read(d, &fresh, err) : 0;
  if (fresh) settings = fresh;
  if (r == 0) r = registry_new(folder_of(d->settings, "connectors"), json_object_get(settings, "connectors"), &c.registry, err);
  if (r == 0) r = lists_load(folder_of(d->settings, "lists"), &c.lists, err);
  if (r == 0) r = playbooks_load(&c, folder_of(d->settings, "playbooks"), err);
  if (r == 0) r = routes_build(&c, settings, err);
  if (r == 0 && fresh) r = daemon_anchor_check(d, fresh, err);
  if (r < 0) {
    content_release(&c);
    json_decref(fresh);
    json_decref(warnings);
    return r;
  }
  uses_check(&c, warnings);
  if (fresh) settings_take(d, fresh, warnings), daemon_anchor_again(d);
  while (registry_next(c.registry, &at)) count++;
  json_object_set_new(ret_counts, "playbooks", json_integer((json_int_t)map_count(c.playbooks)));
  json_object_set_new(ret_counts, "connectors", json_integer((json_int_t)count));
  json_object_set_new(ret_counts, "lists", json_string(lists_digest(c.lists)));
  json_object_set_new(ret_counts, "warnings", warnings);
  swap_in(d, &c);
  json_decref(c.default_group);
  hall_take_over(d->hall); /* what could not go on for a mistake in the files may do so now */
  return 0;
}

/* --- for an exercise ---------------------------------------------------------------------------------------------------- */

static bool configured(const json_t *connectors, const char *name) {
  const char *instance;
  json_t *settings;
  json_object_foreach((json_t *)(uintptr_t)connectors, instance,
                      settings) if (strcmp(json_str_or(settings, "$connector", ""), name) == 0) return true;
  return false;
}

/* The settings' connectors, and each other that is installed with values that lead nowhere: a team rehearses also what it has not bought. */
static int connectors_all(const struct daemon *d, json_t **ret, struct err *err) {
  json_t *all = json_object_get(d->settings, "connectors") ? json_deep_copy(json_object_get(d->settings, "connectors")) : json_object();
  json_t *files = NULL, *path;
  size_t i;
  int r = installed_files(folder_of(d->settings, "connectors"), &files, err);
  json_array_foreach(files, i, path) {
    struct declaration *c = NULL;
    if (r == 0) r = installed_connector(json_string_value(path), &c, err);
    if (r == 0 && json_object_size(json_object_get(c->json, "settings")) && !configured(all, c->name) && !json_object_get(all, c->name))
      json_object_set_new(all, c->name, madeup_settings(c, c->name));
    declaration_free(c);
  }
  json_decref(files);
  if (r == 0) *ret = all;
  else json_decref(all);
  return r;
}

int daemon_exercise_content(void *arg, struct hall_content *ret, struct err *err) {
  struct daemon *d = arg;
  struct content c = {0};
  json_t *connectors = NULL;
  int r = connectors_all(d, &connectors, err);
  if (r == 0) r = registry_new(folder_of(d->settings, "connectors"), connectors, &c.registry, err);
  if (r == 0) r = lists_load(folder_of(d->settings, "lists"), &c.lists, err);
  if (r == 0) r = playbooks_load(&c, folder_of(d->settings, "playbooks"), err);
  if (r == 0) r = routes_build(&c, d->settings, err);
  json_decref(connectors);
  if (r < 0) {
    content_release(&c);
    return r;
  }
  *ret = (struct hall_content){.registry = c.registry,
                               .lists = c.lists,
                               .router = c.router,
                               .playbooks = c.playbooks,
                               .default_group = c.default_group,
                               .default_window_ms = c.default_window_ms};
  return 0;
}
