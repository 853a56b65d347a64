/* What all commands share: errors, JSON, settings, asking for a yes. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/command.h"
#include "cmd/view.h"
#include "script/script.h"

static void complain(const struct cli *cli, const char *text) {
  if (cli->json) {
    json_t *value = json_pack("{s:s}", "error", text);
    json_dumpf(value, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(value);
    return;
  }
  struct buf clean;
  buf_init(&clean, 65536);
  for (const char *line = text; *line;) { /* the settings' mistakes come one a line */
    size_t len = strcspn(line, "\n");
    char one[1100];
    snprintf(one, sizeof one, "%.*s", (int)(len < 1024 ? len : 1024), line);
    buf_adds(&clean, "tocsin: ");
    text_clean(one, 0, &clean);
    buf_addc(&clean, '\n');
    line += len + (line[len] == '\n');
  }
  fflush(stdout);
  fwrite(clean.data, 1, clean.len, stderr);
  buf_release(&clean);
}

int cli_fail(const struct cli *cli, const struct err *err) {
  complain(cli, err->text[0] ? err->text : "it failed, and nobody said why");
  return EXIT_FAILED;
}

int cli_misuse(const struct cli *cli, const char *format, ...) {
  char text[1024];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  complain(cli, text);
  return EXIT_USAGE;
}

bool cli_json(const struct cli *cli, const json_t *value) {
  if (!cli->json) return false;
  json_dumpf(value, stdout, JSON_INDENT(2) | JSON_SORT_KEYS | JSON_ENCODE_ANY);
  putchar('\n');
  return true;
}

json_t *cli_settings(const struct cli *cli, json_t **ret_secrets) {
  json_t *settings = NULL, *secrets = NULL;
  struct err err = {0};
  if (settings_load(cli->settings_path, &settings, &secrets, &err) < 0) {
    cli_fail(cli, &err);
    return NULL;
  }
  if (ret_secrets) *ret_secrets = secrets;
  else json_decref(secrets);
  return settings;
}

int cli_confirm(const struct cli *cli, bool yes, const char *question) {
  char answer[16] = "";
  if (yes) return EXIT_DONE;
  if (!cli->terminal)
    return cli_misuse(cli, "this needs a yes, and there is no terminal to ask on: look at what it would do, then say --yes");
  fflush(stdout);
  fprintf(stderr, "%s [y/N] ", question);
  if (!fgets(answer, sizeof answer, stdin) || (answer[0] != 'y' && answer[0] != 'Y')) {
    fputs("Nothing was done.\n", stderr);
    return EXIT_FAILED;
  }
  return EXIT_DONE;
}
