/* `tocsin alert push|dead|retry`. */
#include <stdio.h>
#include <string.h>

#include "api/api.h"
#include "base/json.h"
#include "cmd/blocks.h"
#include "cmd/client.h"
#include "cmd/file.h"
#include "cmd/options.h"

enum { PUSH_CAP = API_BODY_CAP - 4096 };

/* ---- push ---- */

static void push_view(struct view *v, const json_t *answer) {
  long long n = (long long)json_int_or(answer, "accepted", 0);
  view_put(v, "%lld alert%s in the queue.\n", n, n == 1 ? " is" : "s are");
}

static int push_run(struct cli *cli, const struct options *o) {
  struct buf text;
  struct err err = {0};
  const char *source = options_get(o, "source");
  buf_init(&text, PUSH_CAP);
  if (file_read(options_word(o, 0), &text, &err) < 0) {
    buf_release(&text);
    return cli_fail(cli, &err);
  }
  json_t *bytes = json_stringn(text.data, text.len);
  buf_release(&text);
  if (!bytes) return cli_misuse(cli, "%s is not UTF-8 text; alerts are JSON or CEF", options_word(o, 0));
  json_t *command = json_pack("{s:s, s:o}", "command", "alert.push", "text", bytes);
  if (source) json_object_set_new(command, "source", json_string(source));
  return client_show(cli, command, push_view);
}

static const struct option_spec push_options[] = {
    {.name = "source", .value = "NAME", .text = "the connector whose format it is (default: recognised by its content)"}, {0}};

static const struct command alert_push = {
    .name = "push",
    .args = "FILE|-",
    .text = "put an alert into the queue, as a SIEM would",
    .example = "tocsin alert push alert.json --source wazuh\ncurl -s https://siem.example/alert/7 | tocsin alert push -\n",
    .options = push_options,
    .least = 1,
    .most = 1,
    .run = push_run,
};

/* ---- dead ---- */

static void dead_view(struct view *v, const json_t *answer) {
  static const char *const head[] = {"ID", "CAME", "SOURCE", "BYTES", "WHY IT COULD NOT BE READ", NULL};
  const json_t *dead = json_object_get(answer, "dead");
  struct table t;
  size_t i;
  json_t *item;
  if (!json_array_size(dead)) {
    view_put(v, "No alert was set aside.\n");
    return;
  }
  table_init(&t, head);
  json_array_foreach((json_t *)(uintptr_t)dead, i, item) {
    struct view when = {.now = v->now};
    char size[24];
    buf_init(&when.out, 256);
    view_moment(&when, json_int_or(item, "time", 0));
    snprintf(size, sizeof size, "%lld", (long long)json_int_or(item, "size", 0));
    const char *cells[] = {json_str(item, "id"), when.out.data, json_str_or(item, "source", "-"), size, json_str(item, "reason")};
    table_row(&t, STYLE_PLAIN, cells);
    buf_release(&when.out);
  }
  table_print(&t, v);
  if (json_int_or(answer, "count", 0) > (int64_t)json_array_size(dead))
    view_put(v, "… %lld in all\n", (long long)json_int_or(answer, "count", 0));
  view_put(v,
           "\n  tocsin alert dead --json          shows their bytes\n  tocsin alert retry ID | --all     puts them back into the queue\n");
}

static int dead_run(struct cli *cli, const struct options *o) {
  return client_show(cli, json_pack("{s:s}", "command", "alert.dead"), dead_view);
}

static const struct command alert_dead = {
    .name = "dead",
    .text = "alerts that could not be read, with the reason and their bytes",
    .example = "tocsin alert dead\n",
    .run = dead_run,
};

/* ---- retry ---- */

static void retry_view(struct view *v, const json_t *answer) {
  long long n = (long long)json_int_or(answer, "retried", 0);
  view_put(v, "%lld alert%s back in the queue.\n", n, n == 1 ? " is" : "s are");
}

static int retry_run(struct cli *cli, const struct options *o) {
  bool all = options_flag(o, "all");
  if (all == (options_count(o) == 1)) return cli_misuse(cli, "say which: tocsin alert retry ID, or tocsin alert retry --all");
  json_t *command = json_pack("{s:s}", "command", "alert.retry");
  if (all) json_object_set_new(command, "all", json_true());
  else json_object_set_new(command, "id", json_string(options_word(o, 0)));
  return client_show(cli, command, retry_view);
}

static const struct option_spec retry_options[] = {{.name = "all", .text = "all of them"}, {0}};

static const struct command alert_retry = {
    .name = "retry",
    .args = "ID",
    .text = "put a dead letter back into the queue, after the reason was mended",
    .example = "tocsin alert retry 1763923321000-0\ntocsin alert retry --all\n",
    .options = retry_options,
    .most = 1,
    .run = retry_run,
};

static const struct command *const subs[] = {&alert_push, &alert_dead, &alert_retry, NULL};

const struct command cmd_alert = {.name = "alert",
                                  .text = "the queue: push an alert, list and retry dead letters",
                                  .example = "tocsin alert push alert.json\ntocsin alert dead\n",
                                  .subs = subs};
