/* `tocsin tabletop show`: the facilitator's and the participants' view. */
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "cmd/blocks.h"
#include "cmd/client.h"
#include "cmd/options.h"
#include "cmd/tabletop.h"
#include "cmd/view.h"

static void heading(struct view *v, const char *text) {
  view_style(v, STYLE_BOLD);
  view_put(v, "\n%s\n", text);
  view_style(v, STYLE_PLAIN);
}

/* "T+12m 30s" */
static void since_start(struct view *v, int64_t ms) {
  char text[DURATION_TEXT];
  duration_format(ms / 1000 * 1000, text);
  view_put(v, "T+%s", ms < 1000 ? "0s" : text);
}

static void headline(struct view *v, const json_t *a) {
  char duration[DURATION_TEXT];
  view_style(v, STYLE_BOLD);
  view_id(v, json_str_or(a, "id", "?"));
  view_put(v, "  ");
  view_text(v, json_str_or(a, "title", ""));
  view_style(v, STYLE_PLAIN);
  view_put(v, "\n");
  view_block(v, json_str_or(a, "summary", ""), 0);
  view_put(v, "\n");
  duration_format(json_int_or(a, "duration", 0), duration);
  since_start(v, json_int_or(a, "elapsed", 0));
  view_put(v, " of %s; its clock shows ", duration);
  view_clock(v, json_int_or(a, "now", 0));
  if (json_bool_or(a, "paused", false)) view_put(v, " and stands still\n");
  else view_put(v, ", speed %g\n", json_number_value(json_object_get(a, "speed")));
}

/* Each on a line of its own. */
static void lines(struct view *v, const char *title, const json_t *list, void (*one)(struct view *v, const json_t *item)) {
  size_t i;
  json_t *item;
  heading(v, title);
  json_array_foreach((json_t *)(uintptr_t)list, i, item) {
    view_put(v, "  ");
    one(v, item);
    view_put(v, "\n");
  }
}

static void role(struct view *v, const json_t *r) {
  view_text(v, json_str_or(r, "role", ""));
  view_put(v, ": ");
  if (json_str(r, "player")) view_text(v, json_str(r, "player"));
  else view_put(v, json_bool_or(r, "scripted", false) ? "the script" : "anybody");
  view_put(v, " (");
  view_text(v, json_str_or(r, "what", ""));
  view_put(v, ")");
}

static void to_whom(struct view *v, const json_t *item) {
  if (!json_object_get(item, "to")) return;
  view_put(v, " to ");
  view_value(v, json_object_get(item, "to"));
}

static void happened(struct view *v, const json_t *item) {
  view_style(v, json_bool_or(item, "mine", false) ? STYLE_YELLOW : STYLE_PLAIN);
  since_start(v, json_int_or(item, "after", 0));
  view_put(v, "  ");
  view_text(v, json_str_or(item, "kind", ""));
  if (json_str(item, "source")) view_put(v, " from "), view_text(v, json_str(item, "source"));
  if (json_str(item, "from")) view_put(v, " from "), view_text(v, json_str(item, "from"));
  to_whom(v, item);
  if (json_str(item, "text")) view_put(v, ": "), view_block(v, json_str(item, "text"), 6);
  view_style(v, STYLE_PLAIN);
}

static void question(struct view *v, const json_t *q) {
  view_style(v, json_bool_or(q, "mine", false) ? STYLE_YELLOW : STYLE_PLAIN);
  view_id(v, json_str_or(q, "id", ""));
  to_whom(v, q);
  view_put(v, ": ");
  view_block(v, json_str_or(q, "text", ""), 4);
  view_style(v, STYLE_PLAIN);
  view_put(v, "\n");
  block_answer(v, q);
  if (!json_int_or(q, "deadline", 0)) return;
  view_put(v, "   (until ");
  view_moment(v, json_int_or(q, "deadline", 0));
  view_put(v, ", then ");
  view_text(v, json_str_or(q, "otherwise", ""));
  view_put(v, ")");
}

static void incident(struct view *v, const json_t *item) {
  view_id(v, json_str_or(item, "id", ""));
  view_put(v, "  ");
  view_text(v, json_str_or(item, "title", ""));
}

static void to_come(struct view *v, const json_t *item) {
  const json_t *at = json_object_get(item, "at");
  if (at) since_start(v, json_integer_value(at));
  else view_put(v, "when its condition is met");
  view_put(v, "  ");
  view_text(v, json_str_or(item, "inject", ""));
  view_put(v, " (");
  view_text(v, json_str_or(item, "kind", ""));
  view_put(v, ")");
}

static void objective(struct view *v, const json_t *item) {
  const char *verdict = json_str_or(item, "verdict", "");
  view_style(v, strcmp(verdict, "met") == 0 ? STYLE_GREEN : strcmp(verdict, "not met") == 0 ? STYLE_RED : STYLE_DIM);
  view_text(v, verdict);
  view_style(v, STYLE_PLAIN);
  view_pad(v, 2 + (unsigned)strlen(verdict), 14);
  view_text(v, json_str_or(item, "text", ""));
}

static void show_view(struct view *v, const json_t *a) {
  const json_t *came = json_object_get(a, "happened"), *asked = json_object_get(a, "questions"), *open = json_object_get(a, "incidents");
  v->now = json_int_or(a, "now", v->now); /* by its own clock */
  headline(v, a);
  lines(v, "ROLES", json_object_get(a, "roles"), role);
  lines(v, "WHAT HAS HAPPENED", came, happened);
  if (!json_array_size(came)) view_put(v, "  nothing yet\n");
  if (json_array_size(asked)) lines(v, "ASKED", asked, question);
  if (json_array_size(open)) lines(v, "INCIDENTS", open, incident);
  if (!json_bool_or(a, "facilitator", false)) return;
  lines(v, "STILL TO COME (for you alone)", json_object_get(a, "to_come"), to_come);
  lines(v, "OBJECTIVES (for you alone)", json_object_get(a, "objectives"), objective);
}

static int show(struct cli *cli, const struct options *o) {
  char id[ID_PATH];
  int status = tabletop_id(cli, options_word(o, 0), id);
  if (status != EXIT_DONE) return status;
  return client_show(cli, json_pack("{s:s, s:s, s:b}", "command", "tabletop.show", "id", id, "participant", options_flag(o, "participant")),
                     show_view);
}

static const struct option_spec show_options[] = {
    {.name = "participant", .text = "as somebody who takes part sees it: not what is still to come, nor how it is judged"}, {0}};

const struct command tabletop_show = {
    .name = "show",
    .args = "EXERCISE",
    .text = "what has happened, what is asked of whom, the clock; for the facilitator also what is to come",
    .more = "While it is played. Afterwards: tocsin tabletop report, or tocsin incident show EX-….",
    .example = "tocsin tabletop show EX-7\ntocsin tabletop show EX-7 --participant\n",
    .options = show_options,
    .least = 1,
    .most = 1,
    .run = show,
};
