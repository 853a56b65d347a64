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

static int run(struct cli *cli, const struct options *options) { return client_show(cli, json_pack("{s:s}", "command", "now"), show); }

const struct command cmd_now = {
    .name = "now",
    .text = "what needs me now: questions, what is in doubt, what is contained, what is paused, open incidents",
    .more = "`tocsin` without a command does the same.",
    .example = "tocsin\ntocsin now --json\n",
    .run = run,
};
