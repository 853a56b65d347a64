/* `tocsin version`. */
#include <stdio.h>

#include "build.h"
#include "cmd/command.h"

static int run(struct cli *cli, const struct options *o) {
  json_t *value = json_pack("{s:s}", "version", TOCSIN_VERSION);
  if (!cli_json(cli, value)) printf("tocsin %s\n", TOCSIN_VERSION);
  json_decref(value);
  return EXIT_DONE;
}

const struct command cmd_version = {.name = "version", .text = "which version this is", .example = "tocsin version\n", .run = run};
