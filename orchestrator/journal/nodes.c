/* The lease of this node, and watching the others'. */
#include "journal/nodes.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "base/clock.h"
#include "base/digest.h"
#include "base/json.h"
#include "base/log.h"
#include "base/map.h"

enum { RETRY_MS = 250, CONFIRM_MS = 20, BEATS = 4, RUN_BYTES = 8 };

struct other {
  char name[NODE_NAME], run[2 * RUN_BYTES + 1];
  int64_t beat, lease_ms, brakes, master;
  int64_t still_us; /* so long it has not moved while our own raises were answered */
  unsigned moves;   /* so often it was seen moving */
  bool dead, here;  /* here: it has a record */
  json_t *facts;
};

struct confirming {
  int64_t epoch;
  loop_cb *cb;
  void *arg;
  TAILQ_ENTRY(confirming) next;
};

struct nodes {
  struct loop *loop;
  struct redis *redis;
  struct nodes_events events;
  char node[NODE_NAME], run[2 * RUN_BYTES + 1], version[32], folder[DIGEST_HEX], key[DIGEST_HEX], expect[24];
  int64_t lease_ms, began, sent_at, heard_at, since;
  atomic_llong until;
  int64_t brakes, moved_at;
  int64_t master, former; /* epoch of the master that our journals were compared with; what an earlier process' record said */
  bool draining, started, beating, waking, leaving, soon;
  json_t *adopted; /* names */
  int64_t steady;  /* ms: the steady clock's offset */
  bool agreed;     /* it is known */
  struct map others;
  struct timer *timer;
  TAILQ_HEAD(, confirming) confirming;
  nodes_cb *cb;
  void *arg;
  loop_cb *left;
  void *left_arg;
};

static void beat(void *arg);

static int64_t now(void) { return clock_boot(clock_system()); }

struct nodes *nodes_new(struct loop *loop, struct redis *redis, const struct nodes_config *config, const struct nodes_events *events) {
  struct nodes *n = calloc(1, sizeof *n);
  uint8_t run[RUN_BYTES];
  if (!n) abort();
  *n = (struct nodes){.loop = loop, .redis = redis, .events = *events, .lease_ms = config->lease_ms};
  snprintf(n->node, sizeof n->node, "%.40s", config->node);
  snprintf(n->version, sizeof n->version, "%s", config->version);
  snprintf(n->folder, sizeof n->folder, "%s", config->folder);
  snprintf(n->key, sizeof n->key, "%s", config->key);
  random_bytes(run, sizeof run);
  hex_encode(run, sizeof run, n->run);
  const char *name;
  json_t *value;
  n->adopted = json_array();
  json_object_foreach((json_t *)(uintptr_t)config->adopted, name, value) json_array_append_new(n->adopted, json_string(name));
  map_init(&n->others);
  TAILQ_INIT(&n->confirming);
  n->since = clock_wall(clock_system());
  return n;
}

static void other_free(void *value) {
  struct other *o = value;
  json_decref(o->facts);
  free(o);
}

void nodes_free(struct nodes *n) {
  if (!n) return;
  timer_free(n->timer);
  struct confirming *c;
  while ((c = TAILQ_FIRST(&n->confirming))) {
    TAILQ_REMOVE(&n->confirming, c, next);
    free(c);
  }
  map_release(&n->others, other_free);
  json_decref(n->adopted);
  free(n);
}

const char *nodes_self(const struct nodes *n) { return n->node; }
const atomic_llong *nodes_lease(const struct nodes *n) { return &n->until; }
bool nodes_held(const struct nodes *n) { return now() < atomic_load(&n->until); }

static void after(struct nodes *n, int64_t ms, loop_cb *cb) {
  timer_free(n->timer);
  n->timer = timer_start(n->loop, ms, cb, n);
}

/* --- what the others say ------------------------------------------------------------------------------------------- */

static struct other *other_of(struct nodes *n, const char *name) {
  struct other *o = map_get(&n->others, name);
  if (o) return o;
  o = calloc(1, sizeof *o);
  if (!o) abort();
  snprintf(o->name, sizeof o->name, "%.47s", name);
  map_put(&n->others, name, o);
  return o;
}

/* passed: how long our own raises have been answered since the last look, at most. */
static void other_look(struct nodes *n, struct other *o, json_t *facts_take, int64_t passed) {
  const char *run = json_str_or(facts_take, "run", "");
  int64_t count = json_int_or(facts_take, "beat", 0);
  bool moved = !o->facts || count != o->beat || strcmp(run, o->run) != 0;
  o->moves += moved && o->facts;
  if (moved && o->dead) log_notice("node %s is back", o->name);
  o->beat = count;
  o->lease_ms = json_int_or(facts_take, "lease_ms", n->lease_ms);
  o->brakes = json_int_or(facts_take, "brakes", 0);
  o->master = json_int_or(facts_take, "master", 0);
  o->here = true;
  snprintf(o->run, sizeof o->run, "%.16s", run);
  json_decref(o->facts);
  o->facts = facts_take;
  o->still_us = moved ? 0 : o->still_us + passed;
  if (moved) o->dead = false;
}

/* A tenth more than its lease, for clocks that do not run alike. */
static bool stands_still(const struct other *o) { return o->still_us > o->lease_ms * 1100; }

static void tell_gone(struct nodes *n, const json_t *names) {
  size_t i;
  json_t *name;
  json_array_foreach(names, i, name) n->events.gone(n->events.arg, json_string_value(name));
}

/* Who has just died, and who has taken its record away. */
static json_t *gone_now(struct nodes *n) {
  json_t *gone = json_array();
  size_t at = 0;
  void *value;
  while (map_next(&n->others, &at, NULL, &value)) {
    struct other *o = value;
    if (!o->here && o->facts) {
      json_array_append_new(gone, json_string(o->name));
      log_notice("node %s has left", o->name);
      json_decref(o->facts);
      o->facts = NULL;
      o->dead = false;
    } else if (o->here && !o->dead && stands_still(o)) {
      o->dead = true;
      json_array_append_new(gone, json_string(o->name));
      log_warning("node %s is called dead: its counter has stood still for %" PRId64 " ms", o->name, o->still_us / 1000);
    }
  }
  return gone;
}

static void others_look(struct nodes *n, const struct redis_value *pairs) {
  size_t at = 0, len;
  void *value;
  int64_t passed = n->heard_at ? n->sent_at - n->heard_at : 0, most = n->lease_ms * 1000 * 2 / BEATS;
  if (passed < 0) passed = 0;
  if (passed > most) passed = most;
  while (map_next(&n->others, &at, NULL, &value)) ((struct other *)value)->here = false;
  for (size_t i = 0; i + 1 < redis_count(pairs); i += 2) {
    const char *name = redis_string(redis_item(pairs, i), NULL), *text = redis_string(redis_item(pairs, i + 1), &len);
    json_t *facts = NULL;
    if (*name == '#' || strcmp(name, n->node) == 0 || json_parse(text, len, &facts, NULL) < 0) continue;
    if (json_is_object(facts)) other_look(n, other_of(n, name), facts, passed);
    else json_decref(facts);
  }
  n->heard_at = now();
}

enum node_state nodes_state(const struct nodes *n, const char *node) {
  const struct other *o = map_get(&n->others, node);
  if (strcmp(node, n->node) == 0) return NODE_SELF;
  return !o || !o->facts ? NODE_ABSENT : o->dead ? NODE_DEAD : NODE_ALIVE;
}

bool nodes_draining(const struct nodes *n, const char *node) {
  const struct other *o = map_get(&n->others, node);
  return strcmp(node, n->node) == 0 ? n->draining : o && json_bool_or(o->facts, "draining", false);
}

void nodes_each(const struct nodes *n, void (*cb)(void *arg, const char *node), void *arg) {
  size_t at = 0;
  void *value;
  while (map_next(&n->others, &at, NULL, &value)) {
    const struct other *o = value;
    if (o->facts && !o->dead) cb(arg, o->name);
  }
}

static bool adopts(const json_t *names, const char *node) {
  size_t i;
  json_t *name;
  json_array_foreach((json_t *)(uintptr_t)names, i,
                     name) if (json_is_string(name) && strcmp(json_string_value(name), node) == 0) return true;
  return false;
}

const char *nodes_holder(const struct nodes *n, const char *node) {
  enum node_state state = nodes_state(n, node);
  size_t at = 0;
  void *value;
  if (state == NODE_SELF || (state != NODE_ALIVE && adopts(n->adopted, node))) return n->node;
  if (state == NODE_ALIVE) return ((const struct other *)map_get(&n->others, node))->name;
  while (map_next(&n->others, &at, NULL, &value)) {
    const struct other *o = value;
    if (o->facts && !o->dead && adopts(json_object_get(o->facts, "adopted"), node)) return o->name;
  }
  return NULL;
}

static int by_node(const void *a, const void *b) {
  const json_t *const *x = a, *const *y = b;
  return strcmp(json_str_or(*x, "node", ""), json_str_or(*y, "node", ""));
}

json_t *nodes_list(const struct nodes *n) {
  size_t at = 0, count = 0;
  void *value;
  json_t **rows = calloc(map_count(&n->others) + 1, sizeof *rows), *list = json_array();
  if (!rows) abort();
  rows[count++] =
      json_pack("{s:s, s:s, s:s, s:I, s:b, s:I}", "node", n->node, "state", nodes_held(n) ? "here" : "here, without a lease", "version",
                n->version, "lease_ms", (json_int_t)n->lease_ms, "draining", n->draining, "since", (json_int_t)n->since);
  while (map_next(&n->others, &at, NULL, &value)) {
    const struct other *o = value;
    if (!o->facts) continue;
    rows[count++] = json_pack("{s:s, s:s, s:s, s:I, s:b, s:I}", "node", o->name, "state", o->dead ? "dead" : "alive", "version",
                              json_str_or(o->facts, "version", ""), "lease_ms", (json_int_t)o->lease_ms, "draining",
                              json_bool_or(o->facts, "draining", false), "since", (json_int_t)json_int_or(o->facts, "since", 0));
  }
  qsort(rows, count, sizeof *rows, by_node);
  for (size_t i = 0; i < count; i++) json_array_append_new(list, rows[i]);
  free(rows);
  return list;
}

/* --- brakes that everybody has seen ----------------------------------------------------------------------------------- */

static bool confirmed(const struct nodes *n, int64_t epoch) {
  size_t at = 0;
  void *value;
  if (n->brakes < epoch) return false;
  while (map_next(&n->others, &at, NULL, &value)) {
    const struct other *o = value;
    if (o->facts && !o->dead && o->brakes < epoch) return false;
  }
  return true;
}

static void confirmed_tell(struct nodes *n) {
  struct confirming *c, *next;
  for (c = TAILQ_FIRST(&n->confirming); c; c = next) {
    next = TAILQ_NEXT(c, next);
    if (!confirmed(n, c->epoch)) continue;
    TAILQ_REMOVE(&n->confirming, c, next);
    c->cb(c->arg);
    free(c);
  }
}

void nodes_when_confirmed(struct nodes *n, int64_t epoch, loop_cb *cb, void *arg) {
  struct confirming *c = calloc(1, sizeof *c);
  if (!c) abort();
  *c = (struct confirming){epoch, cb, arg, {NULL, NULL}};
  TAILQ_INSERT_TAIL(&n->confirming, c, next);
  if (n->events.urge) n->events.urge(n->events.arg);
  nodes_nudge(n);
}

/* --- raising the counter -------------------------------------------------------------------------------------------- */

static void next_beat(struct nodes *n) {
  int64_t ms = !TAILQ_EMPTY(&n->confirming) ? CONFIRM_MS : n->lease_ms / BEATS;
  after(n, n->soon ? 0 : ms, beat);
  n->soon = false;
}

static void renew(struct nodes *n) { atomic_store(&n->until, n->sent_at + n->lease_ms * 1000); }

static void woken(void *arg) {
  struct nodes *n = arg;
  n->waking = false;
  renew(n);
  log_notice("node %s holds its lease again", n->node);
  n->events.held(n->events.arg);
  n->soon = true; /* what was looked through took its time */
  next_beat(n);
}

static void started(struct nodes *n) {
  n->started = true;
  renew(n);
  n->cb(n->arg, NULL);
}

static void begin_look(void *arg);

static void beat_failed(struct nodes *n, const struct err *err) {
  if (err->code == ERR_CANCELLED || n->leaving) return;
  if (err->code != ERR_CONFLICT) {
    after(n, RETRY_MS, n->started ? beat : begin_look);
  } else if (n->started) {
    atomic_store(&n->until, 0);
    n->events.ousted(n->events.arg, err);
  } else { /* it moved between the look and the taking */
    after(n, RETRY_MS, begin_look);
  }
}

static void on_beat(void *arg, const struct redis_value *reply, const struct err *err) {
  struct nodes *n = arg;
  n->beating = false;
  if (err) {
    beat_failed(n, err);
    return;
  }
  if (n->leaving) return;
  int64_t epoch = redis_integer(redis_item(reply, 0));
  bool lapsed = n->started && now() >= atomic_load(&n->until); /* however early it was sent: the others may not have seen it in time */
  n->events.brakes(n->events.arg, epoch, redis_item(reply, 1));
  n->soon = n->soon || epoch != n->brakes; /* who waits for our confirmation need not wait for our next turn */
  n->brakes = epoch;
  others_look(n, redis_item(reply, 2));
  json_t *gone = gone_now(n);
  bool first = !n->started;
  if (first) started(n);
  else if (lapsed) n->waking = true;
  else renew(n);
  confirmed_tell(n);
  if (n->waking) {
    log_warning("the lease of node %s had lapsed: the process or Redis stood still; looking what is still ours", n->node);
    n->events.lapsed(n->events.arg, woken, n);
  }
  if (!first) tell_gone(n, gone);
  json_decref(gone);
  if (!n->waking && !n->leaving) next_beat(n);
}

static void on_steady(void *arg, const struct redis_value *reply, const struct err *err) {
  struct nodes *n = arg;
  if (n->agreed || err) return;
  n->agreed = true;
  n->steady = redis_integer(reply);
  clock_steady_set(n->steady * 1000);
}

/* On the beat's own lane: it is answered first. Said with every beat, for a new master may not know it. */
static void steady_agree(struct nodes *n) {
  char machine[CLOCK_BOOT_ID], boot[24], known[24] = "";
  clock_boot_id(machine);
  snprintf(boot, sizeof boot, "%" PRId64, now() / 1000);
  if (n->agreed) snprintf(known, sizeof known, "%" PRId64, n->steady);
  redis_call(n->redis, redis_lane(n->redis, NODES_KEY), on_steady, n, NULL, "FCALL", "tocsin_steady", "1", NODES_CLOCK,
             machine[0] ? machine : n->run, boot, known, NULL);
}

static void beat(void *arg) {
  struct nodes *n = arg;
  struct err err;
  timer_free(n->timer);
  n->timer = NULL;
  if (n->beating || n->leaving || n->waking) return;
  json_t *facts = json_pack("{s:s, s:s, s:s, s:I, s:I, s:b, s:I, s:I, s:O}", "folder", n->folder, "key", n->key, "version", n->version,
                            "lease_ms", (json_int_t)n->lease_ms, "brakes", (json_int_t)n->brakes, "draining", n->draining, "since",
                            (json_int_t)n->since, "master", (json_int_t)n->master, "adopted", n->adopted);
  char *text = json_text(facts);
  n->beating = true;
  n->soon = false;
  n->sent_at = now();
  steady_agree(n);
  if (redis_call(n->redis, redis_lane(n->redis, NODES_KEY), on_beat, n, &err, "FCALL", "tocsin_beat", "2", NODES_KEY, NODES_BRAKES, n->node,
                 n->run, n->started ? "beat" : n->expect, text, NULL) < 0) {
    n->beating = false;
    beat_failed(n, &err);
  }
  free(text);
  json_decref(facts);
}

void nodes_nudge(struct nodes *n) {
  if (!n->started || n->leaving || n->waking) return;
  n->soon = true;
  if (!n->beating) after(n, 0, beat);
}

void nodes_set_master(struct nodes *n, int64_t epoch) {
  n->master = epoch;
  nodes_nudge(n);
}

int64_t nodes_master(const struct nodes *n, const char *node) {
  const struct other *o = strcmp(node, n->node) == 0 ? NULL : map_get(&n->others, node);
  return strcmp(node, n->node) == 0 ? n->former : o ? o->master : 0;
}

void nodes_set_draining(struct nodes *n, bool draining) {
  n->draining = draining;
  nodes_nudge(n);
}

/* --- taking the name -------------------------------------------------------------------------------------------------- */

static void refused(struct nodes *n) {
  struct err err;
  err_set(&err, ERR_EXISTS,
          "another tocsin serve runs as node %s on this Redis (its lease is being renewed): give each node a `node` name of its own in its "
          "settings",
          n->node);
  n->cb(n->arg, &err);
}

/* A living node that seals with another key. *ret_unsure: there is one of which it is not known yet whether it lives. */
static const struct other *other_key(const struct nodes *n, bool *ret_unsure) {
  size_t at = 0;
  void *value;
  while (map_next(&n->others, &at, NULL, &value)) {
    const struct other *o = value;
    const char *key = json_str(o->facts, "key");
    if (!key || strcmp(key, n->key) == 0 || stands_still(o)) continue;
    if (o->moves) return o;
    *ret_unsure = true;
  }
  return NULL;
}

static void refused_key(struct nodes *n, const struct other *o) {
  struct err err;
  err_set(&err, ERR_DENIED, "node %s seals with another key: give all nodes that share a Redis the same `seal_key` in their settings",
          o->name);
  n->cb(n->arg, &err);
}

static json_t *record_of(const struct redis_value *pairs, const char *node) {
  json_t *facts = NULL;
  size_t len;
  for (size_t i = 0; i + 1 < redis_count(pairs); i += 2) {
    if (strcmp(redis_string(redis_item(pairs, i), NULL), node) != 0) continue;
    const char *text = redis_string(redis_item(pairs, i + 1), &len);
    if (json_parse(text, len, &facts, NULL) < 0) facts = NULL;
  }
  return facts;
}

/* The name is ours when nobody has it, or who had it ran on this very folder, or its counter stands still for longer than its lease. */
static void on_records(void *arg, const struct redis_value *reply, const struct err *err) {
  struct nodes *n = arg;
  bool unsure = false;
  char stands[24];
  if (err) {
    beat_failed(n, err);
    return;
  }
  json_t *facts = record_of(reply, n->node);
  int64_t lease = json_int_or(facts, "lease_ms", 0);
  snprintf(stands, sizeof stands, "%" PRId64, json_int_or(facts, "beat", 0));
  bool same = facts && strcmp(json_str_or(facts, "folder", ""), n->folder) == 0, moved = n->expect[0] && strcmp(stands, n->expect) != 0;
  bool free_name = !facts || same || (n->expect[0] && now() - n->moved_at > lease * 1100);
  n->master = n->former = json_int_or(facts, "master", 0);
  json_decref(facts);
  if (!n->expect[0]) n->moved_at = now();
  snprintf(n->expect, sizeof n->expect, "%s", stands);
  others_look(n, reply);
  const struct other *o = other_key(n, &unsure);
  if (moved && !same) refused(n);
  else if (o) refused_key(n, o);
  else if (free_name && !unsure) beat(n);
  else after(n, RETRY_MS, begin_look);
}

static void begin_look(void *arg) {
  struct nodes *n = arg;
  struct err err;
  timer_free(n->timer);
  n->timer = NULL;
  n->sent_at = now();
  if (redis_call(n->redis, redis_lane(n->redis, NODES_KEY), on_records, n, &err, "HGETALL", NODES_KEY, NULL) < 0) beat_failed(n, &err);
}

void nodes_start(struct nodes *n, nodes_cb *cb, void *arg) {
  n->cb = cb;
  n->arg = arg;
  begin_look(n);
}

static void on_left(void *arg, const struct redis_value *reply, const struct err *err) {
  struct nodes *n = arg;
  if (n->left) n->left(n->left_arg);
}

void nodes_leave(struct nodes *n, loop_cb *cb, void *arg) {
  struct err err;
  struct confirming *c;
  n->leaving = true;
  while ((c = TAILQ_FIRST(&n->confirming))) {
    TAILQ_REMOVE(&n->confirming, c, next);
    c->cb(c->arg);
    free(c);
  }
  n->left = cb;
  n->left_arg = arg;
  atomic_store(&n->until, 0);
  timer_free(n->timer);
  n->timer = NULL;
  if (!n->started || redis_call(n->redis, redis_lane(n->redis, NODES_KEY), on_left, n, &err, "FCALL", "tocsin_leave", "1", NODES_KEY,
                                n->node, n->run, NULL) < 0)
    if (cb) loop_defer(n->loop, cb, arg);
}
