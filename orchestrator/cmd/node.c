/* `tocsin node`: the nodes that share one Redis, and emptying one of them. */
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "cmd/client.h"
#include "cmd/options.h"
#include "cmd/view.h"

static void show_list(struct view *v, const json_t *answer) {
  struct table table;
  size_t i;
  json_t *node;
  table_init(&table, (const char *const[]){"NODE", "STATE", "INCIDENTS", "LEASE", "VERSION", NULL});
  json_array_foreach(json_object_get(answer, "nodes"), i, node) {
    char state[80], count[24], lease[32];
    snprintf(state, sizeof state, "%.40s%s", json_str_or(node, "state", ""), json_bool_or(node, "draining", false) ? ", draining" : "");
    snprintf(count, sizeof count, "%lld", (long long)json_int_or(node, "incidents", 0));
    snprintf(lease, sizeof lease, "%lld ms", (long long)json_int_or(node, "lease_ms", 0));
    const char *cells[] = {json_str_or(node, "node", ""), state, count, lease, json_str_or(node, "version", "")};
    table_row(&table, strncmp(state, "here", 4) == 0 || strncmp(state, "alive", 5) == 0 ? STYLE_PLAIN : STYLE_RED, cells);
  }
  table_print(&table, v);
}

static int list_run(struct cli *cli, const struct options *o) {
  return client_show(cli, json_pack("{s:s}", "command", "node.list"), show_list);
}

static const struct command node_list = {
    .name = "list",
    .text = "the nodes that share this Redis, and how many incidents each owns",
    .more =
        "A node whose counter stands still for longer than its lease is dead: the others have taken its incidents over, or are about to.",
    .example = "tocsin node list\n",
    .run = list_run,
};

static void show_drain(struct view *v, const json_t *answer) {
  view_put(v, "Node ");
  view_text(v, json_str_or(answer, "node", "?"));
  if (json_bool_or(answer, "draining", false))
    view_put(v, " takes no alert any more and gives its incidents to the others. Once `tocsin node list` shows 0, stop it.\n");
  else view_put(v, " takes work again.\n");
}

static int drain_run(struct cli *cli, const struct options *o) {
  json_t *command = json_pack("{s:s, s:b}", "command", "node.drain", "off", options_flag(o, "off"));
  if (options_count(o)) json_object_set_new(command, "node", json_string(options_word(o, 0)));
  return client_show(cli, command, show_drain);
}

static const struct option_spec drain_options[] = {{.name = "off", .text = "let it take work again"}, {0}};

static const struct command node_drain = {
    .name = "drain",
    .args = "[NODE]",
    .text = "give a node's incidents to the others, one by one, each when nothing of it is on its way",
    .more = "Without a name it is the node that answers here. A restart ends it too.",
    .example = "tocsin node drain n2\ntocsin node drain n2 --off\n",
    .options = drain_options,
    .most = 1,
    .run = drain_run,
};

static const struct command *const subs[] = {&node_list, &node_drain, NULL};

const struct command cmd_node = {.name = "node",
                                 .text = "the nodes that share one Redis: list, drain",
                                 .example = "tocsin node list\n",
                                 .subs = subs};
