/* `tocsin tabletop`: exercises on the real engine, with simulated connectors. */
#include "cmd/tabletop.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cmd/installed.h"

char *tabletop_path(const json_t *settings, const char *word) {
  char path[4096];
  size_t n = strlen(word);
  bool lua = n > 4 && strcmp(word + n - 4, ".lua") == 0;
  if (strchr(word, '/') || (lua && access(word, F_OK) == 0)) return strdup(word);
  snprintf(path, sizeof path, "%s/tabletop/%s%s", installed_folder(settings, "runbooks"), word, lua ? "" : ".lua");
  return strdup(path);
}

json_t *tabletop_paths(const json_t *settings, struct err *err) {
  char folder[4096];
  json_t *paths = NULL;
  snprintf(folder, sizeof folder, "%s/tabletop", installed_folder(settings, "runbooks"));
  return installed_files(folder, &paths, err) == 0 ? paths : NULL;
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
