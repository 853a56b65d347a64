/* Hot retention: journals of closed incidents leave Redis, one after the other, once the evidence log has proved that it gives back every entry.
 *
 * The order is what makes it safe to be killed at any moment: the index `tocsin:archived` first, then the one call that takes the journal out, then `tocsin:recent`. Whatever was not
 * done is found again in `tocsin:recent` by the next round. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "incident/internal.h"
#include "journal/archived.h"
#include "journal/item.h"

enum { PAGE = 100, COMPARED_AT_ONCE = 32, EVERY_MOST_MS = 3600000, EVERY_LEAST_MS = 500 };

struct retirement {
  struct desk *desk;
  int64_t hot_ms;
  struct timer *timer;
  json_t *ids; /* of the page at hand */
  size_t next, left, passed;
  /* The one that is looked at: */
  char id[ID_INCIDENT], score[32];
  struct incident *inc;
  uint64_t compared; /* entries that Redis and the log both gave, the same */
  size_t taken;
  struct err differs;
};

static void page_ask(struct retirement *r);
static void next(struct retirement *r);
static void compare(struct retirement *r);

static unsigned lane_of(const struct retirement *r) { return redis_lane(r->desk->deps.redis, r->id); }

static void round_begin(void *arg) {
  struct retirement *r = arg;
  timer_free(r->timer);
  r->timer = NULL;
  r->left = r->passed = 0;
  page_ask(r);
}

static void round_wait(struct retirement *r) {
  int64_t every = r->hot_ms / 4;
  if (every > EVERY_MOST_MS) every = EVERY_MOST_MS;
  if (every < EVERY_LEAST_MS) every = EVERY_LEAST_MS;
  timer_free(r->timer);
  r->timer = timer_start(r->desk->deps.loop, every, round_begin, r);
}

/* Whoever holds it while it is looked at lets go of it here. */
static void let_go(struct retirement *r) {
  struct incident *inc = r->inc;
  r->inc = NULL;
  if (inc) incident_busy(inc, -1);
}

static void skip(struct retirement *r) {
  let_go(r);
  r->passed++;
  next(r);
}

/* --- the counts, at the end of a round ------------------------------------------------------------------------------------ */

static uint64_t counted(const struct redis_value *reply) { return redis_type(reply) == REDIS_INTEGER ? (uint64_t)redis_integer(reply) : 0; }

static void on_archived_count(void *arg, const struct redis_value *reply, const struct err *err) {
  struct retirement *r = arg;
  if (err && err->code == ERR_CANCELLED) return;
  if (!err) r->desk->archived = counted(reply);
  round_wait(r);
}

static void on_recent_count(void *arg, const struct redis_value *reply, const struct err *err) {
  struct retirement *r = arg;
  if (!err) r->desk->hot += counted(reply);
}

static void on_open_count(void *arg, const struct redis_value *reply, const struct err *err) {
  struct retirement *r = arg;
  if (!err) r->desk->hot = counted(reply);
}

static void count(struct retirement *r) {
  struct redis *redis = r->desk->deps.redis;
  if (r->left) log_notice("the journals of %zu closed incidents have left Redis; the evidence log holds them", r->left);
  redis_call(redis, 0, on_open_count, r, NULL, "ZCARD", "tocsin:open", NULL);
  redis_call(redis, 0, on_recent_count, r, NULL, "ZCARD", "tocsin:recent", NULL);
  if (redis_call(redis, 0, on_archived_count, r, NULL, "ZCARD", "tocsin:archived", NULL) < 0) round_wait(r);
}

/* --- taking one out ---------------------------------------------------------------------------------------------------------- */

/* By its newest entry: where lists show it, and from when on it is looked at. How: "NX", "XX" or "CH". */
static void recent_score(struct desk *d, const char *id, const json_t *state, const char *how) {
  char score[24];
  snprintf(score, sizeof score, "%" PRId64, json_int_or(state, "updated", 0) / 1000);
  redis_call(d->deps.redis, redis_lane(d->deps.redis, id), NULL, NULL, NULL, "ZADD", "tocsin:recent", how, score, id, NULL);
}

static void recent_remove(struct retirement *r) {
  redis_call(r->desk->deps.redis, lane_of(r), NULL, NULL, NULL, "ZREM", "tocsin:recent", r->id, NULL);
}

static void on_retired(void *arg, const struct err *err) {
  struct retirement *r = arg;
  if (err && err->code == ERR_CANCELLED) return;
  if (err) {
    log_warning("%s stays in Redis for now: %s", r->id, err->text);
    skip(r);
    return;
  }
  /* What was appended while it left lies behind its last place, and leaves another time. */
  if (r->inc->lost || journal_archived(r->inc->journal) == journal_seq(r->inc->journal)) recent_remove(r);
  else retire_restored(r->inc);
  r->left++;
  let_go(r);
  next(r);
}

static bool past(const struct retirement *r, const json_t *state) {
  return json_int_or(state, "updated", INT64_MAX) <= clock_wall(r->desk->deps.store->clock) - r->hot_ms * 1000;
}

/* Nor while the lease has lapsed: it may be another's by now. */
static bool may_leave(const struct retirement *r) {
  const json_t *state = incident_state(r->inc);
  const struct nodes *nodes = r->desk->deps.nodes;
  return !r->inc->lost && (!nodes || nodes_held(nodes)) && journal_seq(r->inc->journal) && !state_unfinished(state) && past(r, state);
}

/* Not this time. One that was touched since it was closed is looked at when it is old enough. */
static void stay(struct retirement *r) {
  if (r->inc->lost || past(r, incident_state(r->inc))) {
    skip(r);
    return;
  }
  recent_score(r->desk, r->id, incident_state(r->inc), "XX");
  let_go(r);
  next(r);
}

static void leave(struct retirement *r) {
  struct err err;
  uint64_t seq;
  char leaf[DIGEST_HEX];
  if (!may_leave(r) || r->compared != journal_seq(r->inc->journal)) { /* something came in between */
    stay(r);
    return;
  }
  if (archived_last(r->desk->deps.store->archived, r->id, &seq, leaf, &err) < 0 || seq != r->compared) {
    skip(r);
    return;
  }
  redis_call(r->desk->deps.redis, lane_of(r), NULL, NULL, NULL, "ZADD", "tocsin:archived", r->score, r->id, NULL);
  if (journal_retire(r->inc->journal, on_retired, r, &err) < 0) on_retired(r, &err);
}

/* --- comparing: what Redis holds and what the log gives back, byte for byte ---------------------------------------------------- */

static int same(struct retirement *r, const struct entry *e, struct err *err) {
  struct entry *sealed = NULL;
  int result = archived_read(r->desk->deps.store->archived, r->id, e->seq, &sealed, err);
  if (result < 0) return result;
  if (strcmp(sealed->leaf, e->leaf) != 0 || sealed->envelope_len != e->envelope_len ||
      (e->envelope_len && memcmp(sealed->envelope, e->envelope, e->envelope_len) != 0))
    result = err_set(err, ERR_INVALID, "%s: entry %" PRIu64 " in Redis is not what the evidence log gives back", r->id, e->seq);
  entry_free(sealed);
  return result;
}

static bool compare_entry(void *arg, const struct entry *e) {
  struct retirement *r = arg;
  if (same(r, e, &r->differs) < 0) return false;
  r->compared = e->seq;
  return ++r->taken < COMPARED_AT_ONCE;
}

static void compared(void *arg, const struct err *err) {
  struct retirement *r = arg;
  if (err && err->code == ERR_CANCELLED) return;
  if (!err && r->differs.code) err = &r->differs;
  if (err) { /* not sealed yet is nothing to say: the next round finds it */
    if (err->code != ERR_NOT_FOUND) log_error("%s stays in Redis: %s", r->id, err->text);
    skip(r);
  } else if (r->taken == COMPARED_AT_ONCE && r->compared < journal_seq(r->inc->journal)) {
    compare(r);
  } else {
    leave(r);
  }
}

static void compare(struct retirement *r) {
  struct err err;
  r->taken = 0;
  r->differs.code = 0;
  if (r->inc->lost) skip(r);
  else if (journal_read(r->desk->deps.store, r->id, r->compared + 1, 0, compare_entry, compared, r, &err) < 0) compared(r, &err);
}

static void on_loaded(struct incident *inc, void *arg, const struct err *err) {
  struct retirement *r = arg;
  if (err && err->code == ERR_CANCELLED) return;
  if (err || incident_alive(inc)) {
    skip(r);
    return;
  }
  r->inc = inc;
  incident_busy(inc, 1);
  r->compared = 0;
  if (may_leave(r)) compare(r);
  else stay(r);
}

/* --- which --------------------------------------------------------------------------------------------------------------------- */

static bool left_already(const struct redis_value *reply) { return item_holder(redis_item(reply, 0)) != NULL; }

/* Nobody else's is loaded: an incident that nobody owns would be this node's by it. */
static bool sealed_here(const struct retirement *r, const struct redis_value *reply) {
  const char *here;
  uint64_t seq, end = item_end(redis_item(reply, 0), &here);
  char leaf[DIGEST_HEX];
  if (archived_last(r->desk->deps.store->archived, r->id, &seq, leaf, NULL) < 0) return false;
  return seq == end && strcmp(here, leaf) == 0;
}

static void on_last(void *arg, const struct redis_value *reply, const struct err *err) {
  struct retirement *r = arg;
  if (err && err->code == ERR_CANCELLED) return;
  const struct incident *inc = map_get(&r->desk->incidents, r->id);
  if (!err && left_already(reply) && !inc) {
    recent_remove(r);
    next(r);
  } else if (err || left_already(reply) || !sealed_here(r, reply)) {
    skip(r); /* one that was only read goes from the index once it is let go of */
  } else {
    incident_with(r->desk, r->id, false, on_loaded, r);
  }
}

static void next_turn(void *arg) {
  struct retirement *r = arg;
  char key[KEY_TEXT];
  if (r->next + 1 >= json_array_size(r->ids)) {
    if (json_array_size(r->ids) < 2 * PAGE) count(r);
    else page_ask(r);
    return;
  }
  snprintf(r->id, sizeof r->id, "%s", json_string_value(json_array_get(r->ids, r->next)));
  snprintf(r->score, sizeof r->score, "%s", json_string_value(json_array_get(r->ids, r->next + 1)));
  r->next += 2;
  snprintf(key, sizeof key, "tocsin:{%s}:journal", r->id);
  if (redis_call(r->desk->deps.redis, lane_of(r), on_last, r, NULL, "XREVRANGE", key, "+", "-", "COUNT", "1", NULL) < 0) round_wait(r);
}

static void next(struct retirement *r) { loop_defer(r->desk->deps.loop, next_turn, r); }

static void on_page(void *arg, const struct redis_value *reply, const struct err *err) {
  struct retirement *r = arg;
  if (err && err->code == ERR_CANCELLED) return;
  if (err) {
    round_wait(r);
    return;
  }
  json_array_clear(r->ids);
  r->next = 0;
  for (size_t i = 0; i < redis_count(reply); i++) json_array_append_new(r->ids, json_string(redis_string(redis_item(reply, i), NULL)));
  next(r);
}

/* Behind those that stay. */
static void page_ask(struct retirement *r) {
  char until[32], offset[24], most[16];
  snprintf(until, sizeof until, "%" PRId64, clock_wall(r->desk->deps.store->clock) / 1000 - r->hot_ms);
  snprintf(offset, sizeof offset, "%zu", r->passed);
  snprintf(most, sizeof most, "%d", PAGE);
  if (redis_call(r->desk->deps.redis, 0, on_page, r, NULL, "ZRANGEBYSCORE", "tocsin:recent", "-inf", until, "WITHSCORES", "LIMIT", offset,
                 most, NULL) < 0)
    round_wait(r);
}

/* Read back it stands in both lists; should something be appended, it leaves again. */
void retire_restored(struct incident *inc) {
  const json_t *state = incident_state(inc);
  if (strcmp(json_str_or(state, "status", ""), "open") != 0) recent_score(inc->desk, inc->id, state, "CH");
}

void desk_retire_after(struct desk *d, int64_t hot_ms) {
  if (d->retirement || !d->deps.store->archived) return;
  d->retirement = calloc(1, sizeof *d->retirement);
  if (!d->retirement) abort();
  *d->retirement = (struct retirement){.desk = d, .hot_ms = hot_ms, .ids = json_array()};
  round_begin(d->retirement);
}

void retire_free(struct desk *d) {
  struct retirement *r = d->retirement;
  if (!r) return;
  d->retirement = NULL;
  loop_undefer(d->deps.loop, next_turn, r);
  timer_free(r->timer);
  json_decref(r->ids);
  free(r);
}
