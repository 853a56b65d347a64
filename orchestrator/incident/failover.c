/* Redis has another master. What was acknowledged may be missing there, and what is missing is not made up: the journals in memory are compared with it and what is kept of them is
 * appended again (journal.h); the indexes, the owners and the counter of ids get what this process knows; a journal whose end cannot be proven says so itself (journal.uncertain), and
 * its runs send nothing above `read` until a person agrees. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "incident/internal.h"
#include "journal/item.h"

enum { LOOK_MS = 20, AGAIN_MS = 250 };

static const char UNSURE_KEY[] = "tocsin:uncertain", IDS_KEY[] = "{tocsin:alerts}:ids";

struct failover {
  struct desk *desk;
  struct timer *timer;
  bool told;                       /* the new master knows what we know */
  size_t journals, torn, checking; /* checking: journals that rest, whose length was asked for */
  desk_failover_cb *cb;
  void *arg;
};

static int64_t epoch_of(const struct desk *d) {
  struct redis_master master;
  redis_master(d->deps.redis, &master);
  return master.epoch;
}

/* --- which journals are uncertain -------------------------------------------------------------------------------------- */

/* Why entries may be missing from a journal that was just loaded; NULL: nothing says so. New. */
static json_t *reason(struct incident *inc) {
  struct desk *d = inc->desk;
  const json_t *state = incident_state(inc), *torn = json_object_get(d->torn, inc->id);
  uint64_t seq = journal_seq(inc->journal);
  int64_t written;
  const char *node = journal_last_node(inc->journal, &written);
  const json_t *unsure = json_object_get(d->unsure, node);
  int64_t epoch = json_int_or(unsure, "epoch", 0);
  if (torn) return json_copy((json_t *)(uintptr_t)torn);
  if (inc->expected > seq)
    return json_pack("{s:s, s:I, s:I}", "why", "it had more entries when it fell asleep", "from", (json_int_t)seq + 1, "to",
                     (json_int_t)inc->expected);
  if (!seq || state_at_rest(state) || !unsure || written >= json_int_or(unsure, "since", 0) ||
      json_int_or(json_object_get(state, "uncertain"), "epoch", 0) >= epoch)
    return NULL;
  return json_pack("{s:o, s:I}", "why", json_sprintf("node %s wrote it, and did not live to compare it with the new master", node), "epoch",
                   (json_int_t)epoch);
}

void uncertain_note(struct incident *inc) {
  json_t *body = reason(inc);
  inc->expected = 0;
  if (!body) return;
  if (!json_object_get(body, "epoch")) json_object_set_new(body, "epoch", json_integer(epoch_of(inc->desk)));
  log_error("%s is uncertain: %s. Its runs send nothing until a person agrees: tocsin incident show %s, tocsin incident agree %s", inc->id,
            json_str_or(body, "why", "entries are missing"), inc->id, inc->id);
  json_object_del(inc->desk->torn, inc->id);
  journal_save_state(inc->journal);
  journal_add(inc->journal, KIND_JOURNAL_UNCERTAIN, "engine", 0, NULL, body);
}

size_t desk_uncertain(const struct desk *d) {
  size_t at = 0, count = 0;
  void *value;
  while (d->deps.store->uncertain && map_next(&d->incidents, &at, NULL, &value)) {
    const struct incident *inc = value;
    count += inc->journal && !inc->lost && journal_uncertain(inc->journal);
  }
  return count;
}

void do_agree(struct call *call, struct incident *inc) {
  struct err err;
  const char *because = call_text(call, "because");
  if (!because) {
    err_set(&err, ERR_INVALID, "`because` is missing: say what you looked at");
    call_fail(call, &err);
    return;
  }
  if (!state_uncertain(incident_state(inc))) {
    err_set(&err, ERR_CONFLICT, "nothing is uncertain about %s; `tocsin incident list` shows what is", inc->id);
    call_fail(call, &err);
    return;
  }
  journal_save_state(inc->journal);
  journal_add(inc->journal, KIND_JOURNAL_AGREED, call->by->actor, 0, NULL, json_pack("{s:s}", "because", because));
  actions_agreed(call->desk->deps.actions);
  call_answer_durable(call, inc->journal, json_pack("{s:s, s:I}", "id", inc->id, "seq", (json_int_t)journal_seq(inc->journal)));
}

/* --- nodes that did not compare theirs ---------------------------------------------------------------------------------- */

struct unsure {
  struct desk *desk;
  char node[NODE_NAME], value[64];
  struct timer *timer;
  desk_cb *cb;
  void *arg;
};

static void unsure_send(void *arg);

static void on_unsure(void *arg, const struct redis_value *reply, const struct err *err) {
  struct unsure *u = arg;
  if (err && err->code != ERR_CANCELLED) {
    u->timer = timer_start(u->desk->deps.loop, AGAIN_MS, unsure_send, u);
    return;
  }
  if (!err && u->cb) u->cb(u->arg, NULL);
  free(u);
}

static void unsure_send(void *arg) {
  struct unsure *u = arg;
  struct redis *redis = u->desk->deps.redis;
  timer_free(u->timer);
  u->timer = NULL;
  if (redis_call_safe(redis, redis_lane(redis, UNSURE_KEY), on_unsure, u, NULL, "HSET", UNSURE_KEY, u->node, u->value, NULL) < 0)
    u->timer = timer_start(u->desk->deps.loop, AGAIN_MS, unsure_send, u);
}

static void unsure_know(struct desk *d, const char *node, int64_t epoch, int64_t since) {
  json_object_set_new(d->unsure, node, json_pack("{s:I, s:I}", "epoch", (json_int_t)epoch, "since", (json_int_t)since));
}

void desk_unsure(struct desk *d, const char *node, int64_t epoch, desk_cb *cb, void *arg) {
  int64_t now = clock_wall(d->deps.store->clock);
  struct unsure *u = calloc(1, sizeof *u);
  if (!u) abort();
  *u = (struct unsure){.desk = d, .cb = cb, .arg = arg};
  snprintf(u->node, sizeof u->node, "%.47s", node);
  snprintf(u->value, sizeof u->value, "%" PRId64 " %" PRId64, epoch, now);
  log_warning("node %s did not compare its journals with Redis' new master: those that live are uncertain when they are taken up", node);
  unsure_know(d, node, epoch, now);
  unsure_send(u);
}

struct knowing {
  struct desk *desk;
  desk_cb *cb;
  void *arg;
};

static void on_known(void *arg, const struct redis_value *reply, const struct err *err) {
  struct knowing *k = arg;
  for (size_t i = 0; !err && i + 1 < redis_count(reply); i += 2) {
    int64_t epoch, since;
    if (sscanf(redis_string(redis_item(reply, i + 1), NULL), "%" SCNd64 " %" SCNd64, &epoch, &since) == 2)
      unsure_know(k->desk, redis_string(redis_item(reply, i), NULL), epoch, since);
  }
  k->cb(k->arg, err);
  free(k);
}

int desk_failover_load(struct desk *d, desk_cb *cb, void *arg, struct err *err) {
  struct knowing *k = calloc(1, sizeof *k);
  if (!k) abort();
  *k = (struct knowing){d, cb, arg};
  int r = redis_call(d->deps.redis, redis_lane(d->deps.redis, UNSURE_KEY), on_known, k, err, "HGETALL", UNSURE_KEY, NULL);
  if (r < 0) free(k);
  return r;
}

/* --- an end that is lost -------------------------------------------------------------------------------------------------- */

struct reload {
  struct desk *desk;
  const struct incident *old;
  char id[ID_INCIDENT];
  struct timer *timer;
};

static void reload(void *arg);

static void reload_again(struct reload *r, int64_t ms) { r->timer = timer_start(r->desk->deps.loop, ms, reload, r); }

/* Whoever has it now wrote last, and has compared it. What only cannot be read now is still said when it can. */
static void on_reloaded(struct incident *inc, void *arg, const struct err *err) {
  struct reload *r = arg;
  bool again = err && err->code != ERR_CANCELLED && !inc->owner[0];
  if (err && inc->owner[0]) json_object_del(r->desk->torn, r->id);
  if (again) log_error("%s is not loaded anew yet: %s", r->id, err->text);
  if (again) reload_again(r, AGAIN_MS);
  else free(r);
}

/* The old one may still be held by what is under way. */
static void reload(void *arg) {
  struct reload *r = arg;
  struct desk *d = r->desk;
  timer_free(r->timer);
  r->timer = NULL;
  if (r->old && json_object_get(d->torn, r->id) && map_get(&d->incidents, r->id) == r->old) reload_again(r, LOOK_MS);
  else r->old = NULL, incident_with(d, r->id, false, on_reloaded, r);
}

void desk_torn(struct desk *d, const char *incident, const struct torn *torn) {
  struct reload *r = calloc(1, sizeof *r);
  if (!r) abort();
  *r = (struct reload){.desk = d, .old = map_get(&d->incidents, incident)};
  snprintf(r->id, sizeof r->id, "%s", incident);
  json_object_set_new(d->torn, incident,
                      json_pack("{s:s, s:I, s:I, s:s, s:O}", "why", "the new master lacks entries that were acknowledged", "from",
                                (json_int_t)torn->from, "to", (json_int_t)torn->to, "leaf", torn->leaf, "known", torn->known));
  if (d->failover) d->failover->torn++;
  desk_lost(d, incident);
  reload_again(r, LOOK_MS);
}

/* --- what the new master is told -------------------------------------------------------------------------------------------- */

struct claiming {
  struct desk *desk;
  char id[ID_INCIDENT];
};

static void claim(struct claiming *c, const char *from);

/* A claim of ours may be lost; then it is nobody's, or a dead node's again. */
static void on_owner(void *arg, const struct redis_value *reply, const struct err *err) {
  struct claiming *c = arg;
  const char *owner = err ? "" : redis_string(redis_item(reply, 0), NULL);
  enum node_state state = err ? NODE_SELF : nodes_state(c->desk->deps.nodes, owner);
  if (state == NODE_DEAD || state == NODE_ABSENT) {
    claim(c, owner);
    return;
  }
  if (state == NODE_ALIVE) log_warning("%s is owned by node %s, as the new master says", c->id, owner);
  if (state == NODE_ALIVE) desk_lost(c->desk, c->id);
  free(c);
}

static void claim(struct claiming *c, const char *from) {
  struct desk_deps *deps = &c->desk->deps;
  if (redis_call(deps->redis, redis_lane(deps->redis, NODES_OWNER), on_owner, c, NULL, "FCALL", "tocsin_claim", "1", NODES_OWNER, c->id,
                 nodes_self(deps->nodes), from, NULL) < 0)
    free(c);
}

static void tell_one(struct incident *inc) {
  struct desk *d = inc->desk;
  if (!inc->journal || inc->loading || inc->lost) return;
  incident_place(d, inc->id, strcmp(json_str_or(incident_state(inc), "status", ""), "open") == 0);
  actions_ledger_load(d->deps.actions, inc->id, incident_state(inc), d->deps.store->clock);
  if (!d->deps.nodes) return;
  struct claiming *c = calloc(1, sizeof *c);
  if (!c) abort();
  c->desk = d;
  snprintf(c->id, sizeof c->id, "%s", inc->id);
  claim(c, "");
}

static void tell(struct desk *d) {
  char highest[24];
  size_t at = 0;
  void *value;
  /* The number of an incident that lives here must not be given to another one. */
  snprintf(highest, sizeof highest, "%" PRIu64, d->highest);
  redis_call(d->deps.redis, redis_lane(d->deps.redis, "tocsin:alerts"), NULL, NULL, NULL, "FCALL", "tocsin_at_least", "1", IDS_KEY, highest,
             NULL);
  while (map_next(&d->incidents, &at, NULL, &value)) tell_one(value);
}

/* --- journals that are not in memory ------------------------------------------------------------------------------------------ */

struct checking {
  struct desk *desk;
  char id[ID_INCIDENT];
  uint64_t seq; /* that it had */
};

static void on_awake(struct incident *inc, void *arg, const struct err *err) {
  struct failover *f = ((struct desk *)arg)->failover;
  if (f && f->checking) f->checking--;
}

/* Shorter than what is kept of it: its loading appends that again. */
static void on_top(void *arg, const struct redis_value *reply, const struct err *err) {
  struct checking *c = arg;
  struct desk *d = c->desk;
  const char *leaf;
  bool lacks = !err && item_end(redis_item(reply, 0), &leaf) < c->seq;
  if (lacks) incident_with(d, c->id, false, on_awake, d);
  else if (d->failover && d->failover->checking) d->failover->checking--; /* a second change of the master begins anew */
  free(c);
}

static void check_one(void *arg, const char *incident, uint64_t seq) {
  struct failover *f = arg;
  struct redis *redis = f->desk->deps.redis;
  char key[KEY_TEXT];
  struct checking *c = calloc(1, sizeof *c);
  if (!c) abort();
  *c = (struct checking){.desk = f->desk, .seq = seq};
  snprintf(c->id, sizeof c->id, "%.*s", ID_INCIDENT - 1, incident);
  snprintf(key, sizeof key, "tocsin:{%s}:journal", c->id);
  if (redis_call(redis, redis_lane(redis, c->id), on_top, c, NULL, "XREVRANGE", key, "+", "-", "COUNT", "1", NULL) == 0) f->checking++;
  else free(c);
}

/* --- the whole -------------------------------------------------------------------------------------------------------------- */

static bool comparing(const struct desk *d) {
  size_t at = 0;
  void *value;
  while (map_next(&d->incidents, &at, NULL, &value)) {
    const struct incident *inc = value;
    if (inc->journal && journal_comparing(inc->journal)) return true;
  }
  return false;
}

static void look(void *arg) {
  struct failover *f = arg;
  struct desk *d = f->desk;
  timer_free(f->timer);
  f->timer = NULL;
  bool up = redis_up(d->deps.redis);
  if (up && !f->told) {
    f->told = true;
    tell(d);
    journal_resting(d->deps.store, check_one, f);
  }
  if (!up || f->checking || comparing(d) || json_object_size(d->torn)) {
    f->timer = timer_start(d->deps.loop, LOOK_MS, look, f);
    return;
  }
  d->failover = NULL;
  f->cb(f->arg, f->journals, f->torn);
  free(f);
}

void desk_master_changed(struct desk *d, desk_failover_cb *cb, void *arg) {
  struct failover *f = d->failover ? d->failover : calloc(1, sizeof *f);
  size_t at = 0;
  void *value;
  if (!f) abort();
  timer_free(f->timer);
  *f = (struct failover){.desk = d, .torn = f->torn, .cb = cb, .arg = arg};
  d->failover = f;
  actions_master_changed(d->deps.actions);
  while (map_next(&d->incidents, &at, NULL, &value)) {
    struct incident *inc = value;
    if (!inc->journal) continue;
    journal_master_changed(inc->journal);
    f->journals++;
  }
  f->timer = timer_start(d->deps.loop, LOOK_MS, look, f);
}

void uncertain_free(struct desk *d) {
  if (d->failover) timer_free(d->failover->timer);
  free(d->failover);
  json_decref(d->unsure);
  json_decref(d->torn);
}
