#include "journal/journal.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "base/json.h"
#include "base/slab.h"
#include "base/log.h"
#include "base/text.h"
#include "evidence/leaf.h"
#include "journal/internal.h"
#include "journal/item.h"

enum {
  WAVE_MOST = 512,
  WAVE_BYTES = 8 << 20,
  STATE_EVERY = 64,
  ITEM_BYTES = 256 << 10, /* of a wave that travels as one item: readers take them by the page */
  RETRY_FIRST_MS = 50,
  RETRY_MOST_MS = 2000,
  PATIENCE_TURNS = 2,
  STATE_USUAL = 8192
};

struct waiter {
  uint64_t seq; /* waits for this entry and all before it */
  bool calm;
  journal_durable_cb *cb;
  void *arg;
  STAILQ_ENTRY(waiter) next;
};

struct watcher {
  journal_watch_cb *cb;
  void *arg;
  STAILQ_ENTRY(watcher) next;
};

/* A reply may come after its journal was freed. */
struct call {
  struct journal *j;
};

static void journal_wave(void *arg);
static void waiters_turn(void *arg);
static void tail_read(void *arg);

static struct call *call_new(struct journal *j) {
  struct call *c = slab_calloc(1, sizeof *c);
  if (!c) abort();
  c->j = j;
  j->call = c;
  return c;
}

static struct journal *call_end(struct call *c) {
  struct journal *j = c->j;
  slab_free(c);
  if (j) j->call = NULL;
  return j;
}

static void uncertain_set(struct journal *j, bool uncertain) {
  j->store->uncertain += uncertain;
  j->store->uncertain -= j->uncertain;
  j->uncertain = uncertain;
}

void journal_folded(struct journal *j, const struct entry *e) {
  if (!e || e->kind == KIND_JOURNAL_UNCERTAIN || e->kind == KIND_JOURNAL_AGREED) uncertain_set(j, state_uncertain(j->standing.json));
}

bool journal_uncertain(const struct journal *j) { return j->uncertain; }

static void key_make(const char *incident, const char *what, char key[JOURNAL_KEY]) {
  char *end = key + JOURNAL_KEY - 1;
  *text_add(text_add(text_add(key, end, "tocsin:{"), end, incident), end, what) = 0;
}

struct journal *journal_new(struct journal_store *store, const char *incident) {
  struct journal *j = slab_calloc(1, sizeof *j);
  if (!j) abort();
  j->store = store;
  text_copy(j->incident, sizeof j->incident, incident);
  key_make(j->incident, "}:journal", j->key);
  key_make(j->incident, "}:state", j->state_key);
  j->lane = redis_lane(store->redis, j->incident);
  standing_init(&j->standing, j->incident);
  memcpy(j->prev, leaf_none(), DIGEST_HEX);
  memcpy(j->acked_leaf, leaf_none(), DIGEST_HEX);
  STAILQ_INIT(&j->queue);
  STAILQ_INIT(&j->waiters);
  STAILQ_INIT(&j->watchers);
  TAILQ_INIT(&j->kept);
  kept_wake(store, j->incident, &j->kept);
  return j;
}

/* The caller's from then on. */
static struct entry *queue_next(struct journal *j) {
  struct entry *e = STAILQ_FIRST(&j->queue);
  STAILQ_REMOVE_HEAD(&j->queue, next);
  j->store->unsent--;
  return e;
}

static void queue_drop(struct journal *j) {
  while (!STAILQ_EMPTY(&j->queue)) entry_free(queue_next(j));
}

/* Calls back everyone whose entry is acknowledged, or everyone at all when err says so. */
static void waiters_call(struct journal *j, const struct err *err) {
  STAILQ_HEAD(, waiter) ready = STAILQ_HEAD_INITIALIZER(ready);
  struct waiter *w;
  while ((w = STAILQ_FIRST(&j->waiters)) && (err || w->seq <= j->acked)) {
    STAILQ_REMOVE_HEAD(&j->waiters, next);
    STAILQ_INSERT_TAIL(&ready, w, next);
  }
  while ((w = STAILQ_FIRST(&ready))) {
    STAILQ_REMOVE_HEAD(&ready, next);
    w->cb(w->arg, err);
    slab_free(w);
  }
}

static void watcher_drop(struct journal *j, struct watcher *w) {
  STAILQ_REMOVE(&j->watchers, w, watcher, next);
  slab_free(w);
}

void journal_watch(struct journal *j, journal_watch_cb *cb, void *arg) {
  struct watcher *w = slab_calloc(1, sizeof *w);
  if (!w) abort();
  w->cb = cb;
  w->arg = arg;
  STAILQ_INSERT_TAIL(&j->watchers, w, next);
}

void journal_unwatch(struct journal *j, journal_watch_cb *cb, void *arg) {
  struct watcher *w, *next;
  for (w = STAILQ_FIRST(&j->watchers); w; w = next) {
    next = STAILQ_NEXT(w, next);
    if (w->cb == cb && w->arg == arg) watcher_drop(j, w);
  }
}

void journal_free(struct journal *j) {
  if (!j) return;
  struct err gone = {.code = ERR_CANCELLED, .text = "the journal was unloaded"};
  loop_undefer(j->store->loop, journal_wave, j);
  loop_undefer(j->store->loop, waiters_turn, j);
  timer_free(j->retry);
  if (j->call) j->call->j = NULL;
  if (j->guard) *j->guard = NULL;
  if (j->retiring) j->retiring->j = NULL;
  waiters_call(j, &gone);
  queue_drop(j);
  kept_drop(j->store, &j->kept);
  while (!STAILQ_EMPTY(&j->watchers)) watcher_drop(j, STAILQ_FIRST(&j->watchers));
  uncertain_set(j, false);
  standing_release(&j->standing);
  slab_free(j);
}

void journal_schedule(struct journal *j) {
  if (j->scheduled || j->flying || j->troubled || j->lost) return;
  j->scheduled = true;
  j->patience = PATIENCE_TURNS;
  loop_defer(j->store->loop, journal_wave, j);
}

/* While nobody waits for durability, or only calmly, two turns more: an outcome and the intent that follows it then share a wave, and so do an alert and the first
 * intent of the run that it started. */
static bool patient(struct journal *j) {
  const struct waiter *w;
  STAILQ_FOREACH(w, &j->waiters, next) if (!w->calm) return false;
  if (!j->patience) return false;
  j->patience--;
  j->scheduled = true;
  loop_defer(j->store->loop, journal_wave, j);
  return true;
}

/* --- waves ------------------------------------------------------------------------------------------- */

static void lose(struct journal *j, const struct err *why) {
  if (j->lost) return;
  j->lost = true;
  j->troubled = true;
  waiters_call(j, why);
  if (j->store->lost) j->store->lost(j->store->arg, j, why);
}

/* Said once for each reason, however many journals wait for it. */
static void tell(struct journal_store *store, const char *why) {
  if (strncmp(store->refused, why, sizeof store->refused - 1) == 0) return;
  if (*why) log_warning("Redis takes no entries at the moment (%s); they are kept and sent again until it does", why);
  else log_notice("Redis takes entries again");
  snprintf(store->refused, sizeof store->refused, "%s", why);
}

static void acknowledge(struct journal *j, size_t count) {
  while (count--) {
    struct entry *e = queue_next(j);
    __builtin_prefetch(STAILQ_FIRST(&j->queue));
    j->acked = e->seq;
    if (!count) memcpy(j->acked_leaf, e->leaf, DIGEST_HEX);
    journal_pass_on(j, e);
  }
  j->flying = 0;
  j->retry_ms = 0;
  if (j->state_flying && j->state_flying <= j->acked) j->state_seq = j->state_flying;
  j->state_flying = 0;
  tell(j->store, "");
  if (j->save_state && !j->troubled) journal_store_state(j);
  waiters_call(j, NULL);
}

/* Trouble: nothing new is sent until the tail has been read back. */
static void trouble(struct journal *j, const struct err *err) {
  j->store->retries++;
  j->troubled = true;
  j->bond = 0;
  j->retry_ms = j->retry_ms ? (j->retry_ms * 2 > RETRY_MOST_MS ? RETRY_MOST_MS : j->retry_ms * 2) : RETRY_FIRST_MS;
  log_debug("%s: an append was not acknowledged (%s); reading the tail back", j->incident, err->text);
  if (err->code != ERR_CONFLICT && redis_lane_up(j->store->redis, j->lane)) tell(j->store, err->text); /* a lost link is told by itself */
  timer_free(j->retry);
  j->retry = timer_start(j->store->loop, j->retry_ms, tail_read, j);
}

static void on_append(void *arg, const struct redis_value *reply, const struct err *err) {
  struct journal *j = call_end(arg);
  struct err gone;
  if (!j || j->lost) return;
  if (!err && redis_type(reply) == REDIS_NIL) err_set(&gone, ERR_CONFLICT, "the journal is not there any more"), err = &gone;
  if (err) {
    trouble(j, err);
    return;
  }
  j->bond = j->bond_flying;
  acknowledge(j, j->flying);
  if (!STAILQ_EMPTY(&j->queue)) journal_schedule(j);
}

/* An item's id fences a stale owner's, whatever the length of either wave: both would begin behind the same entry. It tells nothing of a gap before it; so an item follows only what
 * Redis has acknowledged over this very connection, which stood ever since, or nothing at all. */
static bool fits_item(const struct journal *j, size_t count, size_t bytes) {
  return count <= REDIS_ITEM_MOST && bytes <= ITEM_BYTES && (!j->acked || (j->bond && j->bond == j->bond_flying));
}

/* As it will be stored. It rests in these bytes when nothing of it goes on. */
static void state_for(struct journal *j, struct buf *out) {
  standing_write(&j->standing, out);
  if (buf_ok(out)) standing_rest(&j->standing, out->data, out->len);
  j->save_state = false;
  j->since_state = 0;
}

static void journal_wave(void *arg) {
  struct journal *j = arg;
  struct redis_entry wave[WAVE_MOST];
  const struct entry *e;
  size_t count = 0, bytes = 0;
  struct err err;
  j->scheduled = false;
  if (j->flying || j->troubled || j->lost || STAILQ_EMPTY(&j->queue) || patient(j)) return;
  STAILQ_FOREACH(e, &j->queue, next) {
    size_t more = e->head_len + e->envelope_len;
    if (count == WAVE_MOST || (count && bytes + more > WAVE_BYTES)) break;
    bytes += more;
    wave[count++] = (struct redis_entry){e->head, e->head_len, e->leaf, e->envelope, e->envelope_len};
  }
  j->bond_flying = redis_bond(j->store->redis, j->lane);
  bool item = fits_item(j, count, bytes),
       whole = e == NULL; /* the state folds all that was appended, so it goes only with the last of it */
  char state_bytes[STATE_USUAL];
  struct buf state;
  buf_lend(&state, state_bytes, sizeof state_bytes, SIZE_MAX / 2);
  if (whole && (j->since_state >= STATE_EVERY || (j->save_state && !item))) state_for(j, &state);
  bool stored = buf_ok(&state) && state.len;
  j->state_flying = stored ? j->seq : 0;
  j->flying = count;
  j->store->waves++;
  struct call *call = call_new(j);
  int sent = !stored && item ? redis_append_item(j->store->redis, j->lane, j->key, j->acked + 1, wave, count, on_append, call, &err)
                             : redis_append(j->store->redis, j->lane, j->key, j->state_key, j->acked_leaf, j->acked + 1, wave, count,
                                            stored ? state.data : NULL, stored ? state.len : 0, on_append, call, &err);
  if (sent < 0) {
    call_end(call);
    if (stored) j->save_state = true;
    j->state_flying = 0;
    trouble(j, &err);
  }
  buf_release(&state);
}

/* --- after trouble: what does Redis hold? --------------------------------------------------------------- */

static void tail_found(struct journal *j, const struct redis_value *reply) {
  const char *leaf;
  j->top = item_end(redis_item(reply, 0), &leaf);
  snprintf(j->top_leaf, sizeof j->top_leaf, "%s", leaf);
}

/* Back to what Redis holds; what it lacks is at the head of the queue again. */
static void rewind_to(struct journal *j, uint64_t top, const char *leaf) {
  j->acked = top;
  memcpy(j->acked_leaf, leaf, DIGEST_HEX);
  j->flying = 0;
  j->state_seq = j->state_flying = 0;
}

/* The new master has less than was acknowledged: all of the rest is kept here, and is sent again. */
static bool append_again(struct journal *j, uint64_t top, const char *leaf) {
  size_t count = 0;
  struct entry **again = top < j->acked ? kept_take(j->store, &j->kept, top, leaf, j->acked, &count) : NULL;
  if (!again) return false;
  for (size_t i = count; i > 0; i--) STAILQ_INSERT_HEAD(&j->queue, again[i - 1], next);
  free(again);
  log_notice("%s: the new master lacks %zu entries that were acknowledged; they are appended again as they were", j->incident, count);
  j->store->unsent += count;
  j->store->again += count;
  rewind_to(j, top, leaf);
  return true;
}

/* Less than was acknowledged, and not to be had any more. */
static void tear(struct journal *j, uint64_t top) {
  struct torn torn = {.from = top + 1, .to = j->acked, .known = kept_known(&j->kept, top)};
  memcpy(torn.leaf, j->acked_leaf, DIGEST_HEX);
  if (top >= torn.to) torn.from = torn.to; /* as many, but other ones: from where on nobody knows */
  log_error("%s: the new master ends with entry %" PRIu64 " and lacks what was acknowledged up to %" PRIu64, j->incident, top, j->acked);
  struct err gone = {.code = ERR_UNAVAILABLE, .text = "Redis lost entries with its master"};
  j->lost = true;
  j->comparing = false;
  waiters_call(j, &gone);
  j->store->torn(j->store->arg, j, &torn);
  json_decref(torn.known);
}

void journal_go_on(struct journal *j) {
  queue_drop(j);
  kept_drop(j->store, &j->kept);
  rewind_to(j, j->top, j->top_leaf);
  j->seq = j->top;
  memcpy(j->prev, j->top_leaf, DIGEST_HEX);
  j->troubled = j->lost = false;
  j->save_state = true;
}

static void tail_compare(struct journal *j) {
  struct err err;
  uint64_t top = j->top;
  const char *leaf = j->top_leaf;
  if (top == j->acked && strcmp(leaf, j->acked_leaf) == 0) { /* nothing of the wave is there: the same bytes again */
    j->flying = 0;
  } else if (j->comparing && append_again(j, top, leaf)) {
  } else {
    size_t count = 0;
    const struct entry *e, *match = NULL;
    STAILQ_FOREACH(e, &j->queue, next) {
      count++;
      if (count > j->flying) break;
      if (e->seq == top && strcmp(e->leaf, leaf) == 0) {
        match = e;
        break;
      }
    }
    if (!match && j->comparing && top <= j->acked && j->store->torn) {
      tear(j, top);
      return;
    }
    if (!match) {
      err_set(&err, ERR_CONFLICT, "%s: entry %" PRIu64 " in Redis is not ours; another node owns the incident, or Redis lost writes",
              j->incident, top);
      lose(j, &err);
      return;
    }
    acknowledge(j, count);
  }
  j->troubled = j->comparing = false;
  j->retry_ms = 0;
  j->save_state = true;
  if (!STAILQ_EMPTY(&j->queue)) journal_schedule(j);
}

static void on_barrier(void *arg, const struct redis_value *reply, const struct err *err) {
  struct journal *j = call_end(arg);
  if (!j || j->lost) return;
  j->reading = false;
  if (err) trouble(j, err);
  else tail_compare(j);
}

/* What was found counts only once the replicas hold it, too. */
static void on_tail(void *arg, const struct redis_value *reply, const struct err *err) {
  struct journal *j = call_end(arg);
  struct err why;
  if (!j || j->lost) return;
  if (!err) tail_found(j, reply);
  if (!err && redis_replicated(j->store->redis)) {
    struct call *call = call_new(j);
    if (redis_barrier(j->store->redis, j->lane, on_barrier, call, &why) == 0) return;
    call_end(call);
    err = &why;
  }
  j->reading = false;
  if (err) trouble(j, err);
  else tail_compare(j);
}

static void tail_read(void *arg) {
  struct journal *j = arg;
  struct err err;
  timer_free(j->retry);
  j->retry = NULL;
  if (!j->troubled || j->lost || j->reading || j->call) return;
  struct call *call = call_new(j);
  j->reading = true;
  if (redis_call(j->store->redis, j->lane, on_tail, call, &err, "XREVRANGE", j->key, "+", "-", "COUNT", "1", NULL) < 0) {
    call_end(call);
    j->reading = false;
    trouble(j, &err);
  }
}

void journal_redis_up(struct journal *j) {
  if (!j->troubled || j->lost || j->reading || j->call) return;
  timer_free(j->retry);
  j->retry = timer_start(j->store->loop, 0, tail_read, j);
}

/* A wave that is under way, or a tail that is being read, ends in an error: their connection was given up. */
void journal_master_changed(struct journal *j) {
  if (j->lost) return;
  j->bond = 0;
  j->troubled = j->comparing = true;
  j->retry_ms = 0;
  journal_redis_up(j);
}

bool journal_comparing(const struct journal *j) { return j->comparing && !j->lost; }
const char *journal_last_node(const struct journal *j, int64_t *ret_time) {
  *ret_time = j->last_time;
  return j->last_node;
}

/* --- appending ------------------------------------------------------------------------------------------ */

const struct entry *journal_append(struct journal *j, const struct entry_spec *spec, struct err *err) {
  struct entry *e;
  if (entry_make(spec, j->incident, j->store->node, j->seq + 1, j->prev, clock_wall(j->store->clock), j->store->secrets, &e, err) < 0)
    return NULL;
  STAILQ_INSERT_TAIL(&j->queue, e, next);
  j->store->unsent++;
  j->store->entries++;
  j->seq = e->seq;
  j->since_state++;
  memcpy(j->prev, e->leaf, DIGEST_HEX);
  standing_fold(&j->standing, e);
  journal_folded(j, e);
  journal_schedule(j);
  struct watcher *w;
  STAILQ_FOREACH(w, &j->watchers, next) w->cb(w->arg, j, e);
  json_decref(e->body); /* its bytes are all that is needed from here on; now what it is made of is still in the caches */
  e->body = NULL;
  return e;
}

uint64_t journal_add(struct journal *j, enum kind kind, const char *actor, unsigned run, const char *step, json_t *body_take) {
  struct err err;
  struct entry_spec spec = {.kind = kind, .actor = actor, .run = run, .step = step, .body = body_take};
  if (!journal_append(j, &spec, &err)) {
    json_t *instead = json_pack("{s:s, s:o*}", "error", err.text, "ok", json_incref(json_object_get(body_take, "ok")));
    spec.body = instead;
    journal_append(j, &spec, NULL);
    json_decref(instead);
  }
  json_decref(body_take);
  return j->seq;
}

const struct entry *journal_newest(const struct journal *j) {
  if (STAILQ_EMPTY(&j->queue)) return NULL;
  return (const struct entry *)(const void *)((const char *)j->queue.stqh_last - offsetof(struct entry, next));
}

static void waiters_turn(void *arg) {
  struct journal *j = arg;
  struct err gone = {.code = ERR_CONFLICT, .text = "another node owns the incident now"};
  waiters_call(j, j->lost ? &gone : NULL);
}

static void wait_for(struct journal *j, bool calm, journal_durable_cb *cb, void *arg) {
  struct waiter *w = slab_calloc(1, sizeof *w);
  if (!w) abort();
  *w = (struct waiter){.seq = j->seq, .calm = calm, .cb = cb, .arg = arg};
  STAILQ_INSERT_TAIL(&j->waiters, w, next);
  if (j->seq == j->acked || j->lost) loop_defer(j->store->loop, waiters_turn, j);
}

void journal_when_durable(struct journal *j, journal_durable_cb *cb, void *arg) { wait_for(j, false, cb, arg); }
void journal_once_durable(struct journal *j, journal_durable_cb *cb, void *arg) { wait_for(j, true, cb, arg); }

void journal_forget(struct journal *j, journal_durable_cb *cb, void *arg) {
  struct waiter *w, *next;
  for (w = STAILQ_FIRST(&j->waiters); w; w = next) {
    next = STAILQ_NEXT(w, next);
    if (w->cb != cb || w->arg != arg) continue;
    STAILQ_REMOVE(&j->waiters, w, waiter, next);
    slab_free(w);
  }
}

bool journal_idle(const struct journal *j) { return STAILQ_EMPTY(&j->queue) && STAILQ_EMPTY(&j->waiters); }
void journal_save_state(struct journal *j) { j->save_state = true; }

/* Needs no fence: all that it folds is in Redis, so even a stale owner's is a true state of that very journal, only an older one; a load sees what was removed since. */
void journal_store_state(struct journal *j) {
  if (j->state_seq == j->seq || j->seq != j->acked) return;
  char bytes[STATE_USUAL];
  struct buf state;
  buf_lend(&state, bytes, sizeof bytes, SIZE_MAX / 2);
  state_for(j, &state);
  if (buf_ok(&state) && redis_call(j->store->redis, j->lane, NULL, NULL, NULL, "SET", j->state_key, state.data, NULL) == 0)
    j->state_seq = j->seq;
  else j->save_state = true;
  buf_release(&state);
}

void journal_set_archived(struct journal *j, uint64_t seq) {
  json_object_set_new(journal_state(j), "archived", json_integer((json_int_t)seq));
  if (j->seq == seq) j->state_seq = seq;
}

uint64_t journal_archived(const struct journal *j) { return (uint64_t)json_int_or(j->standing.json, "archived", 0); }

const char *journal_incident(const struct journal *j) { return j->incident; }
uint64_t journal_seq(const struct journal *j) { return j->seq; }
json_t *journal_state(struct journal *j) { return standing_json(&j->standing); }
struct standing *journal_standing(struct journal *j) {
  return &j->standing;
}
struct journal_store *journal_store_of(const struct journal *j) {
  return j->store;
}

/* --- for load.c ------------------------------------------------------------------------------------------- */

void journal_set_state(struct journal *j, json_t *state_take) {
  standing_set(&j->standing, state_take);
  j->state_seq = standing_seq(&j->standing);
  journal_folded(j, NULL);
}

void journal_swap_state(struct journal *j, json_t *state_take) {
  standing_set(&j->standing, state_take);
  j->state_seq = 0;
  j->save_state = true;
  journal_folded(j, NULL);
}

bool journal_guard(struct journal *j, struct journal **handle) {
  if (handle && j->guard) return false;
  j->guard = handle;
  return true;
}

/* Keys are sorted, and a quote inside of a text bears a backslash. */
static void last_node_keep(struct journal *j, const struct entry *e) {
  static const char key[] = ",\"node\":\"";
  const char *at = e->head_len ? memmem(e->head, e->head_len, key, sizeof key - 1) : NULL;
  size_t n = 0;
  if (at) at += sizeof key - 1;
  while (at && at + n < e->head + e->head_len && at[n] != '"' && n + 1 < sizeof j->last_node) n++;
  memcpy(j->last_node, at ? at : "", n);
  j->last_node[n] = 0;
  j->last_time = e->time;
}

void journal_take_entry(struct journal *j, const struct entry *e) {
  last_node_keep(j, e);
  if (e->seq > standing_seq(&j->standing)) standing_fold(&j->standing, e);
  journal_folded(j, e);
  j->seq = j->acked = e->seq;
  memcpy(j->prev, e->leaf, DIGEST_HEX);
  memcpy(j->acked_leaf, e->leaf, DIGEST_HEX);
}
