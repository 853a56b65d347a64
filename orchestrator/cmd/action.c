/* `tocsin action`: what is to become better after an incident or an exercise. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/digest.h"
#include "base/id.h"
#include "base/json.h"
#include "cmd/blocks.h"
#include "cmd/client.h"
#include "cmd/file.h"
#include "cmd/options.h"
#include "cmd/tabletop.h"
#include "cmd/view.h"

enum { FILE_CAP = 256 << 20, WORDS_CAP = 4096 };

/* ---- list */

void block_corrective(struct view *v, const char *title, const json_t *actions) {
  size_t i;
  json_t *a;
  if (!json_array_size(actions)) return;
  if (title) block_title(v, STYLE_RED, title);
  json_array_foreach((json_t *)(uintptr_t)actions, i, a) {
    bool closed = json_object_get(a, "closed");
    view_put(v, "  ");
    view_style(v, STYLE_BOLD);
    view_id(v, json_str_or(a, "id", "?"));
    view_style(v, STYLE_PLAIN);
    view_put(v, "  ");
    view_block(v, json_str_or(a, "text", ""), 4);
    view_put(v, "\n    owner ");
    view_text(v, json_str_or(a, "owner", "?"));
    view_put(v, ", due ");
    if (json_bool_or(a, "overdue", false)) view_style(v, STYLE_RED);
    view_date(v, json_int_or(a, "due", 0));
    if (json_bool_or(a, "overdue", false)) view_put(v, ": OVERDUE");
    view_style(v, STYLE_PLAIN);
    if (json_str(a, "recurs")) {
      view_put(v, "\n    seen before: ");
      view_text(v, json_str(a, "recurs"));
    }
    if (closed) {
      view_put(v, "\n    closed by ");
      view_text(v, json_str_or(a, "closed_by", "?"));
      view_put(v, ": ");
      view_text(v, json_str_or(a, "evidence", json_object_get(a, "file") ? "a file" : "an entry"));
    } else {
      view_put(v, "\n    tocsin action close ");
      view_text(v, json_str_or(a, "id", "?"));
      view_put(v, " --evidence …");
    }
    view_put(v, "\n");
  }
}

static void list_view(struct view *v, const json_t *answer) {
  const json_t *actions = json_object_get(answer, "corrective");
  if (!json_array_size(actions)) view_put(v, "No corrective action is open.\n");
  block_corrective(v, NULL, actions);
}

static int list_run(struct cli *cli, const struct options *o) {
  return client_show(cli,
                     json_pack("{s:s, s:b, s:b}", "command", "corrective.list", "all", options_flag(o, "all"), "overdue",
                               options_flag(o, "overdue")),
                     list_view);
}

static const struct option_spec list_options[] = {{.name = "all", .text = "closed ones too"},
                                                  {.name = "overdue", .text = "only those whose day is over"},
                                                  {0}};

static const struct command action_list = {
    .name = "list",
    .text = "corrective actions that are open, the first due one first",
    .example = "tocsin action list\ntocsin action list --overdue --json\n",
    .options = list_options,
    .run = list_run,
};

/* ---- add */

static void added_view(struct view *v, const json_t *answer) {
  view_id(v, json_str_or(answer, "id", "?"));
  view_put(v, ": due ");
  view_date(v, json_int_or(answer, "due", 0));
  if (json_str(answer, "recurs")) {
    view_put(v, "; seen before: ");
    view_text(v, json_str(answer, "recurs"));
  }
  view_put(v, "\n");
}

static void words_of(const struct options *o, struct buf *out) {
  for (unsigned i = 1; i < options_count(o); i++) buf_addf(out, "%s%s", i > 1 ? " " : "", options_word(o, i));
}

/* The owner is a role of the exercise; who played it is the person. */
static json_t *gap_command(const char *id, const json_t *gap, const json_t *roles) {
  const char *role = json_str_or(gap, "owner", "");
  return json_pack("{s:s, s:s, s:s, s:s, s:o, s:s}", "command", "corrective.add", "id", id, "text", json_str_or(gap, "text", ""), "owner",
                   json_str_or(roles, role, role), "due", json_sprintf("%lldd", (long long)json_int_or(gap, "days", 30)), "key",
                   json_str_or(gap, "key", ""));
}

/* Each gap of the exercise that is not there yet. */
static int gaps_add(const struct cli *cli, const char *word, const char *id) {
  json_t *result = NULL, *gap, *added = json_array();
  size_t i;
  int status = tabletop_judge(cli, word, &result);
  json_array_foreach(json_object_get(result, "gaps"), i, gap) {
    json_t *command = gap_command(id, gap, json_object_get(result, "roles")), *answer = NULL;
    long code = 0;
    struct err err = {0};
    if (status == EXIT_DONE && client_try(cli, command, &code, &answer, &err) < 0 && err.code != ERR_EXISTS && code != 409)
      status = cli_fail(cli, &err);
    if (answer) json_array_append_new(added, answer);
    json_decref(command);
  }
  if (status == EXIT_DONE && !cli_json(cli, added))
    printf("%zu corrective actions were added, %zu were there.\n", json_array_size(added), i - json_array_size(added));
  json_decref(added);
  json_decref(result);
  return status;
}

static int add_run(struct cli *cli, const struct options *o) {
  struct buf text;
  char id[ID_PATH];
  const char *owner = options_get(o, "owner"), *due = options_get(o, "due");
  int status = client_id(cli, options_word(o, 0), id);
  if (status != EXIT_DONE) return status;
  if (options_flag(o, "gaps")) return gaps_add(cli, options_word(o, 0), id);
  if (options_count(o) < 2) return cli_misuse(cli, "say what is to be done: tocsin action add %s TEXT --owner NAME --due DAY", id);
  if (!owner || !due) return cli_misuse(cli, "say --owner NAME and --due DAY: an action without them is a wish");
  buf_init(&text, WORDS_CAP);
  words_of(o, &text);
  status = client_show(cli,
                       json_pack("{s:s, s:s, s:s, s:s, s:s, s:s*}", "command", "corrective.add", "id", id, "text", text.data, "owner",
                                 owner, "due", due, "key", options_get(o, "key")),
                       added_view);
  buf_release(&text);
  return status;
}

static const struct option_spec add_options[] = {{.name = "owner", .value = "NAME", .text = "who sees to it"},
                                                 {.name = "due", .value = "DAY", .text = "until when: 2026-12-15, or 14d"},
                                                 {.name = "key",
                                                  .value = "KEY",
                                                  .text = "what it is about; the same key again is a recurrence (default: the text)"},
                                                 {.name = "gaps", .text = "of an exercise: add each gap that its report names"},
                                                 {0}};

static const struct command action_add = {
    .name = "add",
    .args = "INCIDENT [TEXT…]",
    .text = "take on a corrective action, with owner and due date",
    .more = "It is an entry of the incident's journal and stays open until it is closed, when the incident is closed too. When an action "
            "of the same key was "
            "there before, open or closed, the new one names it.",
    .example = "tocsin action add 42 \"Lock machine accounts without asking\" --owner alice --due 30d\ntocsin action add EX-7 --gaps\n",
    .options = add_options,
    .least = 1,
    .most = 200,
    .run = add_run,
};

/* ---- close */

/* The file itself stays where it is; what is kept says which it was. */
static int file_of(const char *path, json_t **ret, struct err *err) {
  uint8_t digest[DIGEST_BYTES];
  char hex[DIGEST_HEX];
  struct buf bytes;
  const char *slash = strrchr(path, '/');
  buf_init(&bytes, FILE_CAP);
  int r = file_read(path, &bytes, err);
  if (r == 0) {
    digest_sha256(bytes.data, bytes.len, digest);
    hex_encode(digest, sizeof digest, hex);
    *ret = json_pack("{s:s, s:s, s:I}", "name", slash ? slash + 1 : path, "sha256", hex, "bytes", (json_int_t)bytes.len);
  }
  buf_release(&bytes);
  return r;
}

/* "INC-000042/a1", "42/a1". */
static int id_of(const struct cli *cli, const char *word, char id[ID_PATH], int64_t *ret_n) {
  char head[ID_PATH], *end = NULL;
  const char *slash = strrchr(word, '/');
  if (slash && (slash[1] == 'a' || slash[1] == 'A')) *ret_n = strtoll(slash + 2, &end, 10);
  if (!end || *end || *ret_n < 1 || (size_t)(slash - word) >= sizeof head)
    return cli_misuse(cli, "\"%.60s\" is no corrective action; write INC-000042/a1 as `tocsin action list` shows it", word);
  snprintf(head, sizeof head, "%.*s", (int)(slash - word), word);
  return client_id(cli, head, id);
}

static void closed_view(struct view *v, const json_t *answer) {
  view_id(v, json_str_or(answer, "id", "?"));
  view_put(v, ": closed\n");
}

static int close_run(struct cli *cli, const struct options *o) {
  char id[ID_PATH], *end = NULL;
  int64_t n = 0;
  struct err err = {0};
  json_t *file = NULL;
  const char *path = options_get(o, "file"), *entry = options_get(o, "entry");
  long long seq = entry ? strtoll(entry, &end, 10) : 0;
  int status = id_of(cli, options_word(o, 0), id, &n);
  if (status != EXIT_DONE) return status;
  if (entry && (*end || seq < 1)) return cli_misuse(cli, "--entry is an entry's number, not \"%.40s\"", entry);
  if (path && file_of(path, &file, &err) < 0) return cli_fail(cli, &err);
  json_t *command = json_pack("{s:s, s:s, s:I, s:s*, s:o*}", "command", "corrective.close", "id", id, "n", (json_int_t)n, "evidence",
                              options_get(o, "evidence"), "file", file);
  if (entry) json_object_set_new(command, "entry", json_integer(seq));
  return client_show(cli, command, closed_view);
}

static const struct option_spec close_options[] = {
    {.name = "evidence", .value = "TEXT", .text = "what shows that it is done, and where that lies"},
    {.name = "entry", .value = "N", .text = "the entry of the incident's journal that shows it"},
    {.name = "file", .value = "FILE", .text = "a file that shows it: its name, size and SHA-256 are kept, not its content"},
    {0}};

static const struct command action_close = {
    .name = "close",
    .args = "ACTION",
    .text = "close a corrective action, on evidence, as a second person",
    .more = "Whoever owns an action does not close it; when its owner is no person of the settings (a team, a role), whoever added it does "
            "not either. "
            "Evidence is a text, an entry or a file; at least one.",
    .example =
        "tocsin action close 42/a1 --evidence \"change 812 is live, tried on 3 December\"\ntocsin action close EX-7/a2 --file drill.pdf\n",
    .options = close_options,
    .least = 1,
    .most = 1,
    .run = close_run,
};

static const struct command *const subs[] = {&action_list, &action_add, &action_close, NULL};

const struct command cmd_action = {
    .name = "action",
    .text = "corrective actions after incidents and exercises: list, add, close them",
    .example = "tocsin action list\ntocsin action add 42 \"Test the pager at night\" --owner alice --due 14d\n",
    .subs = subs,
};
