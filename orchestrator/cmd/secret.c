/* `tocsin secret take`: a sealed secret, once. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/id.h"
#include "base/json.h"
#include "cmd/client.h"
#include "cmd/file.h"
#include "cmd/options.h"

/* The value is written as it is: it is asked for by name, and a file or a pipe wants its very bytes. */
static int take_print(const struct cli *cli, const struct options *o, const json_t *answer) {
  const json_t *value = json_object_get(answer, "value");
  const char *file = options_get(o, "output");
  struct err err = {0};
  if (!json_is_string(value)) {
    err_set(&err, ERR_INTERNAL, "the answer holds no secret");
    return cli_fail(cli, &err);
  }
  if (file && file_write(file, json_string_value(value), json_string_length(value), &err) < 0) return cli_fail(cli, &err);
  if (file) {
    if (!cli->json) printf("Written to %s (0600).\n", file);
    return EXIT_DONE;
  }
  if (cli_json(cli, answer)) return EXIT_DONE;
  fwrite(json_string_value(value), 1, json_string_length(value), stdout);
  putchar('\n');
  return EXIT_DONE;
}

/* Losing it because a file cannot be written would be for ever: that is found out before it is taken. */
static int place_check(const struct cli *cli, const char *file) {
  if (!file || strcmp(file, "-") == 0) return EXIT_DONE;
  if (access(file, F_OK) == 0) return cli_misuse(cli, "%s is there already; name a new file", file);
  struct err err = {0};
  if (file_write(file, "", 0, &err) < 0) return cli_fail(cli, &err);
  return EXIT_DONE;
}

static int take_run(struct cli *cli, const struct options *o) {
  char id[ID_PATH], slot[ID_PATH * 2];
  json_t *answer = NULL;
  const char *file = options_get(o, "output");
  int status = client_id(cli, options_word(o, 0), id);
  if (status == EXIT_DONE)
    status = cli_confirm(cli, options_flag(o, "yes"), "It can be taken only once, and goes on record with your name. Take it?");
  if (status == EXIT_DONE) status = place_check(cli, file);
  if (status != EXIT_DONE) return status;
  snprintf(slot, sizeof slot, "%s:%s", id, options_word(o, 1));
  id[strcspn(id, "/")] = '\0';
  status = client_ask(cli, json_pack("{s:s, s:s, s:s}", "command", "secret.take", "id", id, "name", slot), &answer);
  if (status == EXIT_DONE) status = take_print(cli, o, answer);
  else if (file && strcmp(file, "-") != 0) unlink(file); /* ours, and empty */
  json_decref(answer);
  return status;
}

static const struct option_spec take_options[] = {
    {.name = "output", .value = "FILE", .text = "write it to a new file (0600) instead of the terminal; -o for short"},
    {.name = "yes", .text = "do not ask"},
    {0},
};

static const struct command secret_take = {
    .name = "take",
    .args = "STEP NAME",
    .text = "hand out a sealed secret: once, to somebody with the role for it, on record",
    .more = "`tocsin incident show` says which step sealed which secret: INC-000042/1/3:new_password is `42/1/3 new_password`.",
    .example = "tocsin secret take 42/1/3 new_password -o alice.password\n",
    .options = take_options,
    .least = 2,
    .most = 2,
    .run = take_run,
};

static const struct command *const subs[] = {&secret_take, NULL};

const struct command cmd_secret = {.name = "secret",
                                   .text = "secrets that playbooks made or received",
                                   .example = "tocsin secret take 42/1/3 new_password\n",
                                   .subs = subs};
