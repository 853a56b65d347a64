/* `tocsin` and `tocsin now`: what needs me now. */
#include "base/json.h"
#include "cmd/blocks.h"
#include "cmd/client.h"

static void show(struct view *v, const json_t *answer) {
  const json_t *questions = json_object_get(answer, "questions"), *doubt = json_object_get(answer, "in_doubt"),
               *handed = json_object_get(answer, "handed_over"), *contained = json_object_get(answer, "contained"),
               *incidents = json_object_get(answer, "incidents");
  block_paused(v, json_object_get(answer, "paused"));
  block_doubt(v, "IN DOUBT", doubt);
  block_questions(v, "QUESTIONS", questions);
  long long more = (long long)json_int_or(answer, "questions_total", 0) - (long long)json_array_size(questions);
  if (more > 0) view_put(v, "  … and %lld more: `tocsin run list` names their runs\n", more);
  block_handed_over(v, "HANDED OVER", handed);
  block_corrective(v, "OVERDUE", json_object_get(answer, "overdue"));
  block_contained(v, "CONTAINED NOW", contained);
  if (!json_array_size(questions) && !json_array_size(doubt) && !json_array_size(handed))
    view_put(v, v->out.len ? "\nNothing waits for a person.\n" : "Nothing waits for a person.\n");
  if (!json_array_size(incidents)) {
    view_put(v, "No incident is open.\n");
    return;
  }
  block_title(v, STYLE_BOLD, "OPEN INCIDENTS");
  block_incidents(v, incidents);
}

/* Corrective actions whose day is over; the rest of the view does without them. */
static json_t *overdue(const struct cli *cli) {
  json_t *command = json_pack("{s:s, s:b}", "command", "corrective.list", "overdue", 1), *answer = NULL;
  long status;
  struct err err;
  json_t *found = client_try(cli, command, &status, &answer, &err) == 0 ? json_incref(json_object_get(answer, "corrective")) : NULL;
  json_decref(command);
  json_decref(answer);
  return found ? found : json_array();
}

static int run(struct cli *cli, const struct options *options) {
  json_t *answer = NULL;
  int status = client_ask(cli, json_pack("{s:s}", "command", "now"), &answer);
  if (status != EXIT_DONE) return status;
  json_object_set_new(answer, "overdue", overdue(cli));
  client_print(cli, answer, show);
  json_decref(answer);
  return status;
}

const struct command cmd_now = {
    .name = "now",
    .text = "what needs me now: questions, what is in doubt, what is contained, what is paused, overdue corrective actions, open incidents",
    .more = "`tocsin` without a command does the same.",
    .example = "tocsin\ntocsin now --json\n",
    .run = run,
};
