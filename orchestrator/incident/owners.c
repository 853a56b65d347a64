/* Which node owns an incident: claiming it, adopting it from a node that is gone, letting go of what is lost. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "incident/internal.h"
#include "journal/feed.h"

enum { TRIES = 5, AGAIN_MS = 250, LOOK_AT_ONCE = 500, ADOPT_AT_ONCE = 32 };

static unsigned owner_lane(const struct desk *d) { return redis_lane(d->deps.redis, NODES_OWNER); }

/* --- claiming ------------------------------------------------------------------------------------------------------- */

static void give_now(void *arg);

static void claim(struct incident *inc, const char *from, redis_cb *cb) {
  struct desk *d = inc->desk;
  struct err err;
  give_now(d); /* it may be among them */
  if (redis_call(d->deps.redis, owner_lane(d), cb, inc, &err, "FCALL", "tocsin_claim", "1", NODES_OWNER, inc->id, nodes_self(d->deps.nodes),
                 from, NULL) < 0)
    incident_load_failed(inc, &err);
}

static void claimed(struct incident *inc, const struct redis_value *reply) {
  struct desk *d = inc->desk;
  struct err err;
  const char *owner = redis_string(redis_item(reply, 0), NULL), *before = redis_string(redis_item(reply, 1), NULL);
  enum node_state state = nodes_state(d->deps.nodes, owner);
  if (state == NODE_SELF) {
    if (*before && strcmp(before, owner) != 0) snprintf(inc->adopt_from, sizeof inc->adopt_from, "%.47s", before);
    incident_load(inc);
    return;
  }
  snprintf(inc->owner, sizeof inc->owner, "%.47s", owner);
  err_set(&err, ERR_CONFLICT, "%s is owned by node %s", inc->id, inc->owner);
  incident_load_failed(inc, &err);
}

static void on_claim_from(void *arg, const struct redis_value *reply, const struct err *err) {
  if (err) incident_load_failed(arg, err);
  else claimed(arg, reply);
}

static void on_claim(void *arg, const struct redis_value *reply, const struct err *err) {
  struct incident *inc = arg;
  if (err) {
    incident_load_failed(inc, err);
    return;
  }
  const char *owner = redis_string(redis_item(reply, 0), NULL);
  enum node_state state = nodes_state(inc->desk->deps.nodes, owner);
  if (state == NODE_DEAD || state == NODE_ABSENT) claim(inc, owner, on_claim_from); /* of several that try, one gets it */
  else claimed(inc, reply);
}

void owner_claim(struct incident *inc) {
  if (!inc->desk->deps.nodes) incident_load(inc); /* nor has an exercise's desk any: whoever plays it owns all of it */
  else claim(inc, "", on_claim);
}

static void give_now(void *arg) {
  struct desk *d = arg;
  const char *argv[5 + GIVEN_UP_AT_ONCE] = {"FCALL", "tocsin_give_up", "1", NODES_OWNER, d->giving_count ? nodes_self(d->deps.nodes) : ""};
  for (size_t i = 0; i < d->giving_count; i++) argv[5 + i] = d->giving[i];
  if (d->giving_count) redis_command(d->deps.redis, owner_lane(d), NULL, NULL, 5 + d->giving_count, argv, NULL, NULL);
  d->giving_count = 0;
  loop_undefer(d->deps.loop, give_now, d);
}

void owner_unclaim(struct incident *inc) {
  struct desk *d = inc->desk;
  if (!d->deps.nodes) return;
  if (d->giving_count == GIVEN_UP_AT_ONCE) give_now(d);
  if (!d->giving_count) loop_last(d->deps.loop, give_now, d);
  snprintf(d->giving[d->giving_count++], ID_INCIDENT, "%s", inc->id);
}

void owners_give_up(struct desk *d) { give_now(d); }

void owners_end(struct desk *d) {
  d->giving_count = 0;
  loop_undefer(d->deps.loop, give_now, d);
}

/* Nobody's, until somebody wants it. What it contains stays ours to lift. */
void owner_release(struct incident *inc) {
  if (incident_at_rest(inc) || !standing_holds_targets(journal_standing(inc->journal))) owner_unclaim(inc);
}

/* --- adopting ---------------------------------------------------------------------------------------------------------- */

static void load_again(void *arg) {
  struct incident *inc = arg;
  journal_free(inc->journal);
  inc->journal = NULL;
  incident_load(inc);
}

static void give_up(void *arg) {
  struct incident *inc = arg;
  struct err err;
  err_set(&err, ERR_UNAVAILABLE, "%s could not be taken over yet: its entries could not be written", inc->id);
  incident_load_failed(inc, &err);
}

/* From here on the fence refuses whatever the earlier owner may still send. It was quicker: then what it wrote is read first. */
static void on_adopted(void *arg, const struct err *err) {
  struct incident *inc = arg;
  if (err && err->code == ERR_CANCELLED) return;
  if (err) {
    loop_defer(inc->desk->deps.loop, ++inc->tries < TRIES ? load_again : give_up, inc);
    return;
  }
  log_notice("%s was taken over from node %s", inc->id, inc->adopt_from);
  inc->adopt_from[0] = 0;
  struct journal_store *store = inc->desk->deps.store;
  if (store->feed) feed_adopt(store->feed, inc->id); /* all of it, from its first entry on, is in this node's log too */
  incident_loaded(inc);
}

/* Whoever wrote last in an exercise played it. */
static void played_before(struct incident *inc) {
  const struct desk_deps *deps = &inc->desk->deps;
  int64_t written;
  const char *node = journal_last_node(inc->journal, &written);
  if (deps->exercise && *node && strcmp(node, deps->store->node) != 0) snprintf(inc->adopt_from, sizeof inc->adopt_from, "%.47s", node);
}

void owner_adopted(struct incident *inc) {
  played_before(inc);
  if (!inc->adopt_from[0] || journal_seq(inc->journal) == 0) {
    incident_loaded(inc);
    return;
  }
  journal_save_state(inc->journal);
  journal_add(inc->journal, KIND_INCIDENT_ADOPTED, "engine", 0, NULL, json_pack("{s:s}", "from", inc->adopt_from));
  journal_when_durable(inc->journal, on_adopted, inc);
}

struct adopting {
  struct desk *desk;
  json_t *ids, *again; /* [[id, from]…]; those that Redis could not give for the moment */
  size_t next, under_way;
  struct timer *timer;
};

static void adopt_more(struct adopting *a);

static void adopt_again(void *arg) {
  struct adopting *a = arg;
  timer_free(a->timer);
  a->timer = NULL;
  json_array_extend(a->ids, a->again);
  json_array_clear(a->again);
  adopt_more(a);
}

static void on_one(struct incident *inc, void *arg, const struct err *err) {
  struct adopting *a = arg;
  a->under_way--;
  if (err && err->code == ERR_CANCELLED) return; /* the engine is stopping: no further one is begun, Redis may be gone already */
  /* One that has left Redis for the log of the node that is gone is nobody's: it is read when that log is there. */
  if (err && !inc->owner[0] && err->code != ERR_CONFLICT) json_array_append_new(a->again, json_string(inc->id));
  adopt_more(a);
}

static void adopt_more(struct adopting *a) {
  a->under_way++;
  while (a->under_way <= ADOPT_AT_ONCE && a->next < json_array_size(a->ids)) {
    a->under_way++;
    incident_with(a->desk, json_string_value(json_array_get(a->ids, a->next++)), false, on_one, a);
  }
  if (--a->under_way) return;
  json_array_clear(a->ids);
  a->next = 0;
  if (json_array_size(a->again) && !a->timer) a->timer = timer_start(a->desk->deps.loop, AGAIN_MS, adopt_again, a);
}

static struct adopting *adopting(struct desk *d) {
  if (d->adopting) return d->adopting;
  d->adopting = calloc(1, sizeof *d->adopting);
  if (!d->adopting) abort();
  *d->adopting = (struct adopting){.desk = d, .ids = json_array(), .again = json_array()};
  return d->adopting;
}

void adopting_free(struct desk *d) {
  if (!d->adopting) return;
  timer_free(d->adopting->timer);
  json_decref(d->adopting->ids);
  json_decref(d->adopting->again);
  free(d->adopting);
  d->adopting = NULL;
}

/* One that a living node gave us: it is ours already, and its first entry says whose it was. */
static void on_given(struct incident *inc, void *arg, const struct err *err) {
  char *from = arg;
  free(from);
}

void desk_adopt(struct desk *d, const char *id, const char *from) {
  struct incident *inc = map_get(&d->incidents, id);
  if (inc) return;
  incident_with(d, id, false, on_given, strdup(from));
  if ((inc = map_get(&d->incidents, id)) && inc->loading && !inc->adopt_from[0])
    snprintf(inc->adopt_from, sizeof inc->adopt_from, "%.47s", from);
}

struct scanning {
  struct desk *desk;
  char node[NODE_NAME];
};

static void scan(struct scanning *s, const char *cursor);

static void on_scan(void *arg, const struct redis_value *reply, const struct err *err) {
  struct scanning *s = arg;
  const struct redis_value *pairs = err ? NULL : redis_item(reply, 1);
  if (err && err->code == ERR_CANCELLED) {
    free(s);
    return;
  }
  struct adopting *a = adopting(s->desk);
  for (size_t i = 0; pairs && i + 1 < redis_count(pairs); i += 2)
    if (strcmp(redis_string(redis_item(pairs, i + 1), NULL), s->node) == 0)
      json_array_append_new(a->ids, json_string(redis_string(redis_item(pairs, i), NULL)));
  if (pairs) adopt_more(a);
  const char *cursor = err ? "0" : redis_string(redis_item(reply, 0), NULL);
  if (err || strcmp(cursor, "0") != 0) scan(s, cursor);
  else free(s);
}

static void scan(struct scanning *s, const char *cursor) {
  struct desk *d = s->desk;
  if (redis_call(d->deps.redis, owner_lane(d), on_scan, s, NULL, "HSCAN", NODES_OWNER, cursor, "COUNT", "500", NULL) < 0) free(s);
}

void desk_take_over(struct desk *d, const char *node) {
  struct scanning *s = calloc(1, sizeof *s);
  if (!s) abort();
  s->desk = d;
  snprintf(s->node, sizeof s->node, "%.47s", node);
  scan(s, "0");
  post_empty(d->post, node);
}

/* --- after the lease had lapsed ----------------------------------------------------------------------------------------- */

struct looking {
  struct desk *desk;
  json_t *ids;
  size_t next, asked;
  struct timer *timer;
  loop_cb *cb;
  void *arg;
};

static void look_on(void *arg);

static void look_end(struct looking *l) {
  loop_defer(l->desk->deps.loop, l->cb, l->arg);
  timer_free(l->timer);
  json_decref(l->ids);
  free(l);
}

static void on_owners(void *arg, const struct redis_value *reply, const struct err *err) {
  struct looking *l = arg;
  if (err && err->code == ERR_CANCELLED) {
    look_end(l);
    return;
  }
  if (err) {
    l->timer = timer_start(l->desk->deps.loop, AGAIN_MS, look_on, l);
    return;
  }
  for (size_t i = 0; i < l->asked; i++) {
    const struct redis_value *owner = redis_item(reply, i);
    struct incident *inc = map_get(&l->desk->incidents, json_string_value(json_array_get(l->ids, l->next + i)));
    if (inc && redis_type(owner) != REDIS_STRING) { /* another may have had it, and let go of it: whoever wants it next reads it anew */
      if (!incident_alive(inc)) incident_unload(inc);
      continue;
    }
    if (!inc || strcmp(redis_string(owner, NULL), nodes_self(l->desk->deps.nodes)) == 0) continue;
    log_warning("%s was taken over by node %s while this one stood still", inc->id, redis_string(owner, NULL));
    desk_lost(l->desk, inc->id);
  }
  l->next += l->asked;
  look_on(l);
}

static void look_on(void *arg) {
  struct looking *l = arg;
  const char *argv[2 + LOOK_AT_ONCE] = {"HMGET", NODES_OWNER};
  timer_free(l->timer);
  l->timer = NULL;
  for (l->asked = 0; l->asked < LOOK_AT_ONCE && l->next + l->asked < json_array_size(l->ids); l->asked++)
    argv[2 + l->asked] = json_string_value(json_array_get(l->ids, l->next + l->asked));
  struct desk *d = l->desk;
  if (!l->asked) look_end(l);
  else if (redis_command(d->deps.redis, owner_lane(d), on_owners, l, 2 + l->asked, argv, NULL, NULL) < 0)
    l->timer = timer_start(d->deps.loop, AGAIN_MS, look_on, l);
}

void desk_look_owned(struct desk *d, loop_cb *cb, void *arg) {
  struct looking *l = calloc(1, sizeof *l);
  const char *id;
  void *value;
  if (!l) abort();
  *l = (struct looking){.desk = d, .ids = json_array(), .cb = cb, .arg = arg};
  for (size_t at = 0; map_next(&d->incidents, &at, &id, &value);) json_array_append_new(l->ids, json_string(id));
  look_on(l);
}
