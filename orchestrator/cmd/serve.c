#include <stdlib.h>

#include "base/log.h"
#include "base/slab.h"
#include "base/trust.h"
#include "cmd/command.h"
#include "cmd/daemon.h"
#include "cmd/options.h"

static int serve(struct cli *cli, const struct options *options) {
  slab_install();
  struct err err;
  if (cli->settings_path && trust_path(cli->settings_path, "the settings", &err) < 0) return cli_fail(cli, &err);
  json_t *secrets = NULL, *settings = cli_settings(cli, &secrets);
  if (!settings) return EXIT_FAILED;
  if (options_flag(options, "debug")) log_set_level(LOG_DEBUG);
  return daemon_run(cli->settings_path, settings, secrets);
}

static const struct option_spec serve_options[] = {{"debug", NULL, "log what only helps to find a bug", false}, {0}};

const struct command cmd_serve = {
    .name = "serve",
    .text = "run the orchestrator in the foreground",
    .more =
        "Without `redis` in the settings it starts a private Redis in its data folder. SIGTERM finishes what is in flight; SIGHUP reloads.",
    .example = "  tocsin serve --settings /etc/tocsin/tocsin.lua\n",
    .options = serve_options,
    .run = serve,
};
