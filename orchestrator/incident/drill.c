/* What a drill found (`tocsin evidence drill`), on record in the node's own journal: the archive was read by whoever ran it, not by the engine. */
#include <string.h>

#include "base/id.h"
#include "base/json.h"
#include "incident/internal.h"

enum { WHY_MOST = 1000 };

void do_drilled(struct call *call, struct incident *inc) {
  static const char *const kept[] = {"incident", "ok", "entries", "removed", "size", "compared", "seed", "why"};
  struct journal *node = call->desk->deps.node;
  const json_t *result = json_object_get(call->command, "result");
  const char *why = json_str_or(result, "why", ""), *incident = json_str_or(result, "incident", "");
  struct err err;
  if (!json_is_boolean(json_object_get(result, "ok")) || strlen(why) > WHY_MOST || strlen(incident) >= ID_INCIDENT) {
    err_set(&err, ERR_INVALID, "`result` says whether the drill went well: {incident, ok, entries, …}");
    call_fail(call, &err);
    return;
  }
  json_t *body = json_object();
  for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
    if (json_is_integer(json_object_get(result, kept[i])) || json_is_boolean(json_object_get(result, kept[i])) || json_str(result, kept[i]))
      json_object_set(body, kept[i], json_object_get(result, kept[i]));
  uint64_t seq = journal_add(node, KIND_EVIDENCE_DRILLED, call->by->actor, 0, NULL, body);
  call_answer_durable(call, node, json_pack("{s:s, s:I}", "node", nodes_self(call->desk->deps.nodes), "seq", (json_int_t)seq));
}
