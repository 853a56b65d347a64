/* The nodes as people see them: a list, and emptying one: its incidents go to the others one by one, each at a safe point. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "incident/internal.h"

enum { STEP_MS = 50, GIVE_AT_ONCE = 32, NODES_MOST = 64 };

/* --- who takes what ---------------------------------------------------------------------------------------------------- */

struct takers {
  const struct desk *desk;
  const char *names[NODES_MOST];
  size_t count;
};

static void taker_add(void *arg, const char *node) {
  struct takers *t = arg;
  if (t->count < NODES_MOST && !nodes_draining(t->desk->deps.nodes, node)) t->names[t->count++] = node;
}

static struct takers takers_of(const struct desk *d) {
  struct takers t = {.desk = d};
  nodes_each(d->deps.nodes, taker_add, &t);
  return t;
}

/* Nothing of it is on its way, and all that it wrote is in Redis: whoever takes it up now finds no doubt in it. */
static bool safe(struct incident *inc) {
  return !inc->loading && !inc->recovering && !inc->busy && !inc->put_off && STAILQ_EMPTY(&inc->ops) && journal_idle(inc->journal) &&
         !actions_under_way(inc->desk->deps.actions, inc->journal);
}

struct giving {
  struct desk *desk;
  char id[ID_INCIDENT], to[NODE_NAME];
  bool given; /* Redis says whose it is now; the new owner is still to be told */
  struct timer *timer;
};

static void give_step(void *arg);

static void give_again(struct giving *g) { g->timer = timer_start(g->desk->deps.loop, STEP_MS * 5, give_step, g); }

static void on_told(void *arg, const struct err *err) {
  struct giving *g = arg;
  if (err && err->code != ERR_CANCELLED) give_again(g);
  else free(g);
}

static void on_given(void *arg, const struct redis_value *reply, const struct err *err) {
  struct giving *g = arg;
  if (err && err->code != ERR_CANCELLED) {
    give_again(g);
    return;
  }
  g->given = true;
  if (err) free(g);
  else give_step(g);
}

/* First it is out of our hands, then Redis says that it is the other's, then the other hears of it. */
static void give_step(void *arg) {
  struct giving *g = arg;
  struct desk *d = g->desk;
  timer_free(g->timer);
  g->timer = NULL;
  if (g->given) post_tell(d->post, g->to, "given", json_pack("{s:[s]}", "ids", g->id), on_told, g);
  else if (redis_call(d->deps.redis, redis_lane(d->deps.redis, NODES_OWNER), on_given, g, NULL, "FCALL", "tocsin_give", "1", NODES_OWNER,
                      g->id, nodes_self(d->deps.nodes), g->to, NULL) < 0)
    give_again(g);
}

static void give(struct desk *d, const char *id, const char *to) {
  struct giving *g = calloc(1, sizeof *g);
  if (!g) abort();
  g->desk = d;
  snprintf(g->id, sizeof g->id, "%s", id);
  snprintf(g->to, sizeof g->to, "%.47s", to);
  give_step(g);
}

static size_t give_some(struct desk *d, const struct takers *t) {
  struct incident *some[GIVE_AT_ONCE];
  size_t at = 0, count = 0;
  void *value;
  while (count < GIVE_AT_ONCE && map_next(&d->incidents, &at, NULL, &value))
    if (safe(value)) some[count++] = value;
  for (size_t i = 0; i < count; i++) {
    char id[ID_INCIDENT];
    snprintf(id, sizeof id, "%s", some[i]->id);
    incident_unload_lost(some[i]);
    give(d, id, t->names[i % t->count]);
  }
  return count;
}

/* What is ours without being in memory: containments that are still to be lifted. */
static void on_rest(void *arg, const struct redis_value *reply, const struct err *err) {
  struct desk *d = arg;
  struct takers t = takers_of(d);
  if (err || !t.count) return;
  for (size_t i = 0; i + 1 < redis_count(reply); i += 2) {
    const char *id = redis_string(redis_item(reply, i), NULL);
    if (strcmp(redis_string(redis_item(reply, i + 1), NULL), nodes_self(d->deps.nodes)) != 0 || map_get(&d->incidents, id)) continue;
    actions_ledger_drop(d->deps.actions, id);
    give(d, id, t.names[i / 2 % t.count]);
  }
}

static void drain_step(void *arg) {
  struct desk *d = arg;
  struct takers t = takers_of(d);
  timer_free(d->draining);
  d->draining = NULL;
  if (!nodes_draining(d->deps.nodes, nodes_self(d->deps.nodes))) return;
  if (t.count) give_some(d, &t);
  bool empty = map_count(&d->incidents) == 0;
  if (t.count && empty) redis_call(d->deps.redis, redis_lane(d->deps.redis, NODES_OWNER), on_rest, d, NULL, "HGETALL", NODES_OWNER, NULL);
  d->draining = timer_start(d->deps.loop, empty ? STEP_MS * 20 : STEP_MS, drain_step, d);
}

int desk_drain(struct desk *d, struct err *err) {
  if (!d->post || !takers_of(d).count)
    return err_set(err, ERR_CONFLICT, "there is no other node that could take the incidents; `tocsin node list` shows who there is");
  nodes_set_draining(d->deps.nodes, true);
  d->draining_cb(d->draining_arg, true);
  if (!d->draining) d->draining = timer_start(d->deps.loop, 0, drain_step, d);
  return 0;
}

void desk_on_draining(struct desk *d, void (*cb)(void *arg, bool draining), void *arg) {
  d->draining_cb = cb;
  d->draining_arg = arg;
}

/* --- commands ------------------------------------------------------------------------------------------------------------ */

static int64_t owned_by(const struct redis_value *owners, const char *node) {
  int64_t count = 0;
  for (size_t i = 0; i < redis_count(owners); i++) count += strcmp(redis_string(redis_item(owners, i), NULL), node) == 0;
  return count;
}

static void on_owners(void *arg, const struct redis_value *reply, const struct err *err) {
  struct call *call = arg;
  if (err) {
    call_fail(call, err);
    return;
  }
  json_t *nodes = nodes_list(call->desk->deps.nodes), *node;
  size_t i;
  json_array_foreach(nodes, i, node) json_object_set_new(node, "incidents", json_integer(owned_by(reply, json_str_or(node, "node", ""))));
  call_answer(call, 200, json_pack("{s:o}", "nodes", nodes));
}

static bool together(struct call *call) {
  struct err err;
  if (call->desk->deps.nodes && call->desk->post) return true;
  err_set(&err, ERR_CONFLICT, "this engine knows of no nodes");
  call_fail(call, &err);
  return false;
}

void do_node_list(struct call *call, struct incident *inc) {
  struct err err;
  struct desk *d = call->desk;
  if (!together(call)) return;
  if (redis_call(d->deps.redis, redis_lane(d->deps.redis, NODES_OWNER), on_owners, call, &err, "HVALS", NODES_OWNER, NULL) < 0)
    call_fail(call, &err);
}

static void answer_draining(struct call *call, bool draining) {
  struct desk *d = call->desk;
  log_notice("node %s %s", nodes_self(d->deps.nodes), draining ? "gives its incidents to the others and takes none" : "takes work again");
  journal_add(d->deps.node, KIND_ENGINE_WARNING, call->by->actor, 0, NULL,
              json_pack("{s:s}", "text", draining ? "this node is drained: its incidents go to the others" : "this node takes work again"));
  call_answer_durable(call, d->deps.node, json_pack("{s:s, s:b}", "node", nodes_self(d->deps.nodes), "draining", draining));
}

void do_node_drain(struct call *call, struct incident *inc) {
  struct err err;
  if (!together(call)) return;
  struct desk *d = call->desk;
  const char *node = call_text(call, "node");
  bool off = json_bool_or(call->command, "off", false);
  enum node_state state = node ? nodes_state(d->deps.nodes, node) : NODE_SELF;
  if (state == NODE_ALIVE) {
    call_forward(call, node);
  } else if (state != NODE_SELF) {
    err_set(&err, ERR_NOT_FOUND, "there is no living node %.40s; `tocsin node list` shows who there is", node);
    call_fail(call, &err);
  } else if (off) {
    nodes_set_draining(d->deps.nodes, false);
    d->draining_cb(d->draining_arg, false);
    answer_draining(call, false);
  } else if (desk_drain(d, &err) < 0) {
    call_fail(call, &err);
  } else {
    answer_draining(call, true);
  }
}
