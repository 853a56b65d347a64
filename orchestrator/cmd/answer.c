/* `tocsin answer`: a person's answer to a question. */
#include "base/id.h"
#include "base/json.h"
#include "cmd/client.h"
#include "cmd/options.h"
#include "cmd/view.h"

static void show(struct view *v, const json_t *answer) {
  view_id(v, json_str_or(answer, "id", "It"));
  view_put(v, " is answered: ");
  view_text(v, json_str_or(answer, "answer", ""));
  view_put(v, json_bool_or(answer, "more", false) ? " (more people must agree)\n" : "\n");
}

static int run(struct cli *cli, const struct options *o) {
  char id[ID_PATH];
  struct id parsed;
  int status = client_id(cli, options_word(o, 0), id);
  if (status != EXIT_DONE) return status;
  if (id_parse(id, &parsed) && !parsed.step[0])
    return cli_misuse(cli, "\"%s\" is no question: its id has three parts, like 42/1/4; `tocsin` lists the open ones", options_word(o, 0));
  return client_show(cli, json_pack("{s:s, s:s, s:s}", "command", "answer", "id", id, "answer", options_word(o, 1)), show);
}

const struct command cmd_answer = {
    .name = "answer",
    .args = "QUESTION ANSWER",
    .text = "answer a question that a playbook, a guardrail or an action in doubt asks",
    .more = "The beginning of an option will do. The first answer wins; a later one is told who gave it.",
    .example = "tocsin                          # lists open questions with their ids and options\ntocsin answer 42/1/4 release\n",
    .least = 2,
    .most = 2,
    .run = run,
};
