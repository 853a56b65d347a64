/* `tocsin tabletop`: exercises on the real engine, with simulated connectors. */
#include "cmd/tabletop.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "cmd/installed.h"
#include "cmd/options.h"

enum { NAME = 128, NAMES_MOST = 64 };

json_t *tabletop_paths(const json_t *settings, struct err *err) {
  char folder[4096];
  json_t *paths = NULL;
  snprintf(folder, sizeof folder, "%s/tabletop", installed_folder(settings, "runbooks"));
  return installed_files(folder, &paths, err) == 0 ? paths : NULL;
}

/* "ci-credentials" */
static void name_of(const char *path, char out[NAME]) {
  const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
  snprintf(out, NAME, "%.*s", (int)strcspn(name, "."), name);
}

static int unknown(const struct cli *cli, const json_t *settings, const char *word) {
  struct err err = {0};
  json_t *paths = tabletop_paths(settings, &err), *path;
  char names[NAMES_MOST][NAME];
  const char *all[NAMES_MOST + 1] = {NULL}, *near;
  size_t i, count = 0;
  struct buf text;
  buf_init(&text, 4096);
  json_array_foreach(paths, i, path) {
    if (count == NAMES_MOST) break;
    name_of(json_string_value(path), names[count]);
    all[count] = names[count];
    buf_addf(&text, "%s%s", count++ ? ", " : "", all[i]);
  }
  if ((near = near_miss(word, all))) err_set(&err, ERR_NOT_FOUND, "there is no scenario `%.60s`; did you mean `%s`?", word, near);
  else if (count) err_set(&err, ERR_NOT_FOUND, "there is no scenario `%.60s`; there are %.300s", word, text.data);
  else
    err_set(&err, ERR_NOT_FOUND, "there is no scenario `%.60s`, nor any other in %.200s/tabletop", word,
            installed_folder(settings, "runbooks"));
  buf_release(&text);
  json_decref(paths);
  return cli_fail(cli, &err);
}

int tabletop_path(const struct cli *cli, const json_t *settings, const char *word, char **ret) {
  char path[4096];
  size_t n = strlen(word);
  bool lua = n > 4 && strcmp(word + n - 4, ".lua") == 0;
  if (strchr(word, '/') || (lua && access(word, F_OK) == 0)) {
    *ret = strdup(word);
    return EXIT_DONE;
  }
  snprintf(path, sizeof path, "%s/tabletop/%s%s", installed_folder(settings, "runbooks"), word, lua ? "" : ".lua");
  if (access(path, F_OK) != 0) return unknown(cli, settings, word);
  *ret = strdup(path);
  return EXIT_DONE;
}

static const struct command *const subs[] = {&tabletop_check,  &tabletop_run,   &tabletop_list,  &tabletop_show,   &tabletop_pause,
                                             &tabletop_resume, &tabletop_speed, &tabletop_jump,  &tabletop_skip,   &tabletop_inject,
                                             &tabletop_note,   &tabletop_end,   &tabletop_abort, &tabletop_report, NULL};

const struct command cmd_tabletop = {
    .name = "tabletop",
    .text = "exercises: scenarios that a team plays",
    .example = "tocsin tabletop run ci-credentials --speed 10\ntocsin tabletop report EX-7 -o exercise.html\n",
    .subs = subs,
};
