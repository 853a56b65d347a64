/* `tocsin doctor`: what is wrong with this installation, and how to mend it. Looks by itself, then asks `tocsin serve` what it sees. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/json.h"
#include "cmd/client.h"
#include "cmd/installed.h"
#include "cmd/options.h"
#include "cmd/view.h"

enum { FREE_MIB = 512 };

static void add(json_t *checks, const char *name, bool ok, const char *text, const char *mend) {
  json_array_append_new(checks, json_pack("{s:s, s:b, s:s, s:s*}", "check", name, "ok", ok, "text", text, "mend", ok ? NULL : mend));
}

/* ---- the settings and what they name ---- */

static json_t *settings_look(const struct cli *cli, json_t *checks) {
  json_t *settings = NULL;
  struct err err = {0};
  struct stat st;
  char text[4200];
  const char *path = cli->settings_path;
  if (settings_load(path, &settings, NULL, &err) < 0) {
    add(checks, "settings", false, err.text, "mend the lines named; `tocsin settings --sample` prints every setting explained");
    return NULL;
  }
  snprintf(text, sizeof text, path ? "%s is read without a mistake" : "%s", path ? path : "there is no settings file; defaults hold");
  add(checks, "settings", path != NULL, text, "write one: tocsin settings --sample > /etc/tocsin/tocsin.lua");
  if (path && stat(path, &st) == 0 && (st.st_mode & 022)) {
    snprintf(text, sizeof text, "others may write to %s", path);
    add(checks, "settings", false, text, "chmod go-w it: whoever writes it decides what is contained, and by whom");
  }
  return settings;
}

static void folder_look(json_t *checks, const json_t *settings, const char *what) {
  const char *folder = installed_folder(settings, what);
  char text[4200];
  struct stat st;
  if (stat(folder, &st) < 0 || !S_ISDIR(st.st_mode) || access(folder, R_OK | X_OK) < 0) {
    snprintf(text, sizeof text, "the folder of %s cannot be read: %s", what, folder);
    add(checks, what, false, text, "set it in the settings' `folders`, or run `tocsin` where it is");
  } else if (st.st_mode & 022) {
    snprintf(text, sizeof text, "others may write to %s", folder);
    add(checks, what, false, text, "chmod go-w it: what stands there is run");
  }
}

static void playbooks_look(json_t *checks, const json_t *settings) {
  json_t *files = NULL, *path;
  struct err err = {0};
  char text[64];
  size_t i, good = 0;
  if (installed_files(installed_folder(settings, "playbooks"), &files, &err) < 0) return; /* told by folder_look */
  json_array_foreach(files, i, path) {
    struct declaration *d = NULL;
    if (installed_playbook(json_string_value(path), &d, &err) < 0) add(checks, "playbooks", false, err.text, "tocsin playbook check all");
    else good++;
    declaration_free(d);
  }
  snprintf(text, sizeof text, "%zu playbooks can be loaded", good);
  add(checks, "playbooks", good > 0, text, "without a playbook alerts only wait in incidents");
  json_decref(files);
}

static void connectors_look(json_t *checks, const json_t *settings) {
  struct registry *registry = NULL;
  struct err err = {0};
  char text[64];
  size_t at = 0, n = 0;
  if (registry_new(installed_folder(settings, "connectors"), json_object_get(settings, "connectors"), &registry, &err) < 0) {
    add(checks, "connectors", false, err.text, "mend the connector or its settings");
    return;
  }
  while (registry_next(registry, &at)) n++;
  snprintf(text, sizeof text, "%zu connectors can be loaded", n);
  add(checks, "connectors", true, text, NULL);
  registry_free(registry);
}

/* ---- the data folder and the embedded Redis ---- */

static void space_look(json_t *checks, const char *data) {
  struct statvfs fs;
  char text[4300];
  if (statvfs(data, &fs) < 0) return;
  unsigned long long mib = (unsigned long long)fs.f_bavail * fs.f_frsize >> 20;
  snprintf(text, sizeof text, "%llu MiB are free under %s", mib, data);
  add(checks, "disk", mib >= FREE_MIB, text, "make room: on a full disk nothing can be put on record, so nothing is contained");
}

static void data_look(json_t *checks, const json_t *settings) {
  const char *data = json_str_or(settings, "data", "tocsin-data");
  struct stat st;
  char text[4300];
  if (stat(data, &st) < 0 && errno == ENOENT) {
    snprintf(text, sizeof text, "the data folder %s is not there yet; `tocsin serve` makes it", data);
    add(checks, "data", true, text, NULL);
    return;
  }
  if (stat(data, &st) == 0 && (st.st_mode & 077)) {
    snprintf(text, sizeof text, "others may look into the data folder %s", data);
    add(checks, "data", false, text, "chmod 700 it: journals and sealed secrets lie there");
  }
  space_look(checks, data);
}

static bool in_path(const char *program) {
  const char *path = getenv("PATH");
  for (const char *at = path ? path : "/usr/bin:/bin"; *at;) {
    char full[4096];
    size_t n = strcspn(at, ":");
    snprintf(full, sizeof full, "%.*s/%s", (int)n, at, program);
    if (access(full, X_OK) == 0) return true;
    at += n + (at[n] == ':');
  }
  return false;
}

static void redis_look(json_t *checks, const json_t *settings) {
  if (json_object_size(json_object_get(settings, "redis"))) return;
  bool there = in_path("redis-server");
  add(checks, "redis-server", there,
      there ? "it is installed, for the embedded Redis" : "it is not installed, and the settings name no Redis",
      "apt-get install redis-server, or set `redis` in the settings");
}

/* ---- the daemon ---- */

/* What people have promised each other, and is late. */
static void corrective_look(const struct cli *cli, json_t *checks) {
  json_t *command = json_pack("{s:s, s:b}", "command", "corrective.list", "overdue", 1), *answer = NULL;
  struct err err;
  long status;
  char text[128];
  if (client_try(cli, command, &status, &answer, &err) == 0) {
    long long open = (long long)json_int_or(json_object_get(answer, "counts"), "open", 0);
    long long overdue = (long long)json_int_or(json_object_get(answer, "counts"), "overdue", 0);
    snprintf(text, sizeof text, "%lld corrective actions are open, %lld of them overdue", open, overdue);
    if (open)
      add(checks, "corrective actions", !overdue, text, "tocsin action list --overdue; see to them, and have a second person close them");
  }
  json_decref(answer);
  json_decref(command);
}

static void daemon_look(const struct cli *cli, json_t *checks, const json_t *settings) {
  json_t *command = json_pack("{s:s}", "command", "doctor"), *answer = NULL;
  struct err err = {0};
  long status = 0;
  if (!settings && !cli->socket_option) {
    json_decref(command);
    return;
  }
  if (client_try(cli, command, &status, &answer, &err) < 0) {
    add(checks, "tocsin serve", false, err.text, status ? "look at its log" : "start it: tocsin serve, or systemctl start tocsin");
  } else {
    add(checks, "tocsin serve", true, "it runs and answers", NULL);
    json_array_extend(checks, json_object_get(answer, "checks"));
    corrective_look(cli, checks);
  }
  json_decref(answer);
  json_decref(command);
}

static void show(struct view *v, const json_t *answer) {
  size_t i, wrong = 0;
  json_t *check;
  json_array_foreach(json_object_get(answer, "checks"), i, check) {
    bool ok = json_bool_or(check, "ok", false);
    const char *name = json_str_or(check, "check", "?");
    view_style(v, ok ? STYLE_GREEN : STYLE_RED);
    view_put(v, ok ? "ok     " : "WRONG  ");
    view_style(v, STYLE_PLAIN);
    view_text(v, name);
    view_pad(v, text_columns(name), 14);
    view_block(v, json_str_or(check, "text", ""), 21);
    view_put(v, "\n");
    wrong += !ok;
    if (ok || !json_str(check, "mend")) continue;
    view_pad(v, 0, 21);
    view_put(v, "-> ");
    view_block(v, json_str(check, "mend"), 24);
    view_put(v, "\n");
  }
  if (wrong) view_put(v, "\n%zu of %zu checks want mending.\n", wrong, i);
  else view_put(v, "\nNothing is wrong.\n");
}

static int run(struct cli *cli, const struct options *o) {
  static const char *const folders[] = {"playbooks", "connectors", "lists", "runbooks"};
  json_t *checks = json_array(), *settings = settings_look(cli, checks), *answer, *check;
  size_t i;
  int status = EXIT_DONE;
  if (settings) {
    for (i = 0; i < sizeof folders / sizeof *folders; i++) folder_look(checks, settings, folders[i]);
    connectors_look(checks, settings);
    playbooks_look(checks, settings);
    data_look(checks, settings);
    redis_look(checks, settings);
  }
  daemon_look(cli, checks, settings);
  json_array_foreach(checks, i, check) if (!json_bool_or(check, "ok", false)) status = EXIT_FAILED;
  answer = json_pack("{s:o, s:b}", "checks", checks, "ok", status == EXIT_DONE);
  client_print(cli, answer, show);
  json_decref(answer);
  json_decref(settings);
  return status;
}

const struct command cmd_doctor = {
    .name = "doctor",
    .text = "what is wrong with this installation, and how to mend it",
    .more = "Looks at settings, folders, permissions, playbooks and connectors, then asks `tocsin serve` about Redis, durability and "
            "alerts. Exit status 1 when something wants mending.",
    .example = "tocsin doctor\n",
    .run = run,
};
