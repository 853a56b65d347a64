#include "cmd/client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/api.h"
#include "base/id.h"
#include "base/json.h"
#include "cmd/view.h"
#include "transport/transport.h"

enum { ASK_TIMEOUT_MS = 120000 };

char *client_socket(const struct cli *cli) {
  const char *path = cli->socket_option ? cli->socket_option : getenv("TOCSIN_SOCKET");
  if (path && *path) return strdup(path);
  json_t *settings = cli_settings(cli, NULL);
  if (!settings) return NULL;
  char beside[4096];
  path = json_string_value(json_at(settings, "api.socket"));
  snprintf(beside, sizeof beside, "%s/tocsin.sock", json_str_or(settings, "data", "tocsin-data")); /* where `serve` puts it */
  char *copy = strdup(path && *path ? path : beside);
  json_decref(settings);
  return copy;
}

/* Why nobody answered, and what to do about it. */
static int explain(const char *path, const struct err *why, struct err *err) {
  struct stat st;
  if (why->code == ERR_TIMEOUT)
    return err_set(err, ERR_TIMEOUT, "`tocsin serve` did not answer in time (%s); `tocsin doctor` may say why", path);
  if (stat(path, &st) < 0 && errno == EACCES)
    return err_set(err, ERR_DENIED, "you may not reach %s; ask to be added to the group that the setting api.group names, or use sudo",
                   path);
  if (stat(path, &st) < 0)
    return err_set(err, ERR_UNAVAILABLE,
                   "`tocsin serve` is not running (there is no socket %s); start it with `tocsin serve` or `systemctl start tocsin`", path);
  if (access(path, R_OK | W_OK) < 0)
    return err_set(err, ERR_DENIED, "you may not use %s; ask to be added to the group that the setting api.group names, or use sudo", path);
  return err_set(err, ERR_UNAVAILABLE,
                 "nobody answers on %s: is `tocsin serve` running? start it with `tocsin serve` or `systemctl start tocsin` (%.200s)", path,
                 why->text);
}

static int code_of(long status) {
  return status == 400                    ? ERR_INVALID
         : status == 401 || status == 403 ? ERR_DENIED
         : status == 404                  ? ERR_NOT_FOUND
         : status == 409                  ? ERR_CONFLICT
         : status == 503                  ? ERR_UNAVAILABLE
                                          : ERR_INTERNAL;
}

static int answer_read(long status, const char *body, size_t len, json_t **ret, struct err *err) {
  json_t *value = NULL;
  if (json_parse_stored(body, len, &value, NULL) < 0 || !json_is_object(value)) {
    json_decref(value);
    return err_set(err, ERR_INTERNAL, "the answer of `tocsin serve` makes no sense (HTTP status %ld): is something else listening there?",
                   status);
  }
  if (status != 200) {
    err_set(err, code_of(status), "%s", json_str_or(value, "error", "it was refused without a reason"));
    json_decref(value);
    return err->code;
  }
  *ret = value;
  return 0;
}

int client_try(const struct cli *cli, const json_t *command, long *ret_status, json_t **ret, struct err *err) {
  char *path = client_socket(cli), *text = json_text(command), *body = NULL;
  size_t len = 0;
  long status = 0;
  struct err why = {0};
  int r = ERR_INVALID;
  *ret_status = 0;
  if (!path) {
    err_set(err, ERR_INVALID, "it is not known where `tocsin serve` listens");
  } else if (!text || strlen(text) > API_BODY_CAP) {
    err_set(err, r = ERR_LIMIT, "this is too much for one command (at most 1 MiB)");
  } else if (local_request(path, "POST", "/v1/command", text, strlen(text), ASK_TIMEOUT_MS, &status, &body, &len, &why) < 0) {
    r = explain(path, &why, err);
  } else {
    *ret_status = status;
    r = answer_read(status, body, len, ret, err);
  }
  free(path);
  free(text);
  free(body);
  return r;
}

int client_ask(const struct cli *cli, json_t *command_take, json_t **ret) {
  struct err err = {0};
  long status;
  int r;
  if (!command_take) {
    err_set(&err, ERR_INVALID, "the words are not UTF-8 text");
    return cli_fail(cli, &err);
  }
  r = client_try(cli, command_take, &status, ret, &err);
  json_decref(command_take);
  if (r < 0) return cli_fail(cli, &err);
  return EXIT_DONE;
}

void client_print(const struct cli *cli, const json_t *answer, void (*show)(struct view *v, const json_t *answer)) {
  struct view v;
  if (cli_json(cli, answer)) return;
  view_init(&v, cli->color, cli->width);
  show(&v, answer);
  view_flush(&v);
  view_release(&v);
}

int client_show(const struct cli *cli, json_t *command_take, void (*show)(struct view *v, const json_t *answer)) {
  json_t *answer = NULL;
  int status = client_ask(cli, command_take, &answer);
  if (status != EXIT_DONE) return status;
  client_print(cli, answer, show);
  json_decref(answer);
  return EXIT_DONE;
}

int client_id(const struct cli *cli, const char *text, char *out) {
  struct id id;
  char incident[ID_INCIDENT];
  if (!id_parse(text, &id))
    return cli_misuse(cli, "\"%.60s\" is no id; ids look like 42, INC-000042, INC-000042/1 (a run) or INC-000042/1/4 (a step)", text);
  id_incident(incident, id.mode, id.number);
  id_path(out, incident, id.run, id.step);
  return EXIT_DONE;
}
