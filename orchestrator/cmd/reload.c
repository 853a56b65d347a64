/* `tocsin reload`: settings, playbooks, connectors and lists anew; all of it or nothing. */
#include "base/json.h"
#include "cmd/client.h"
#include "cmd/view.h"

static void show(struct view *v, const json_t *answer) {
  size_t i;
  json_t *warning;
  view_put(v, "Loaded anew: %lld playbooks, %lld connectors, lists. Runs that had begun keep what they began with.\n",
           (long long)json_int_or(answer, "playbooks", 0), (long long)json_int_or(answer, "connectors", 0));
  json_array_foreach(json_object_get(answer, "warnings"), i, warning) {
    view_put(v, "warning: ");
    view_text(v, json_string_value(warning));
    view_put(v, "\n");
  }
}

static int run(struct cli *cli, const struct options *options) { return client_show(cli, json_pack("{s:s}", "command", "reload"), show); }

const struct command cmd_reload = {
    .name = "reload",
    .text = "have `tocsin serve` take changed settings, playbooks, connectors and lists",
    .more = "All changes are taken, or none: a mistake anywhere is named and everything stays as it was.",
    .example = "tocsin playbook check all && tocsin reload\n",
    .run = run,
};
