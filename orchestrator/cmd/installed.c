#include "cmd/installed.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "cmd/file.h"

enum { SOURCE_CAP = 1 << 20, FILES_MOST = 10000 };

const char *installed_folder(const json_t *settings, const char *what) {
  char at[64];
  snprintf(at, sizeof at, "folders.%s", what);
  const char *folder = json_string_value(json_at(settings, at));
  return folder ? folder : what;
}

struct registry *installed_registry(const struct cli *cli, const json_t *settings) {
  struct registry *registry = NULL;
  struct err err = {0};
  if (registry_new(installed_folder(settings, "connectors"), json_object_get(settings, "connectors"), &registry, &err) == 0)
    return registry;
  cli_fail(cli, &err);
  return NULL;
}

static bool ends_with(const char *text, const char *end) {
  size_t n = strlen(text), m = strlen(end);
  return n > m && strcmp(text + n - m, end) == 0;
}

static int is_script(const struct dirent *entry) {
  return entry->d_name[0] != '.' && ends_with(entry->d_name, ".lua") && !ends_with(entry->d_name, "_test.lua");
}

int installed_files(const char *folder, json_t **ret, struct err *err) {
  struct dirent **names = NULL;
  int n = scandir(folder, &names, is_script, alphasort);
  if (n < 0) return err_errno(err, "cannot read the folder %s", folder);
  json_t *files = json_array();
  for (int i = 0; i < n; i++) {
    char path[4096];
    if (i < FILES_MOST && snprintf(path, sizeof path, "%s/%s", folder, names[i]->d_name) < (int)sizeof path)
      json_array_append_new(files, json_string(path));
    free(names[i]);
  }
  free(names);
  *ret = files;
  return 0;
}

typedef int load_fn(const char *file, const char *source, size_t len, struct declaration **ret, struct err *err);

static int load(const char *path, load_fn *fn, struct declaration **ret, struct err *err) {
  struct buf source;
  buf_init(&source, SOURCE_CAP);
  int r = file_read(path, &source, err);
  if (r == 0) r = fn(path, source.data, source.len, ret, err);
  buf_release(&source);
  return r;
}

int installed_playbook(const char *path, struct declaration **ret, struct err *err) { return load(path, playbook_load, ret, err); }
int installed_connector(const char *path, struct declaration **ret, struct err *err) { return load(path, connector_load, ret, err); }

json_t *installed_connectors(const json_t *settings, const struct registry *registry) {
  json_t *known = json_object(), *configured = registry_declarations(registry), *files = NULL, *path;
  size_t i;
  if (installed_files(installed_folder(settings, "connectors"), &files, NULL) < 0) files = NULL;
  json_array_foreach(files, i, path) {
    struct declaration *d = NULL;
    if (installed_connector(json_string_value(path), &d, NULL) == 0) json_object_set(known, d->name, d->json);
    declaration_free(d);
  }
  json_object_update(known, configured);
  json_decref(configured);
  json_decref(files);
  return known;
}

json_t *installed_playbooks(const json_t *settings, struct err *err) {
  json_t *known = json_object(), *files = NULL, *path;
  size_t i;
  int r = installed_files(installed_folder(settings, "playbooks"), &files, err);
  json_array_foreach(files, i, path) {
    struct declaration *d = NULL;
    if (r == 0) r = installed_playbook(json_string_value(path), &d, err);
    if (d) json_object_set(known, d->name, d->json);
    declaration_free(d);
  }
  json_decref(files);
  if (r == 0) return known;
  json_decref(known);
  return NULL;
}
