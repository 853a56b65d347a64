/* Reading journals back: pages of checked entries, from Redis and, where they have left it, from the evidence log; and loading a journal with its state. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/map.h"
#include "evidence/leaf.h"
#include "journal/archived.h"
#include "journal/internal.h"
#include "journal/item.h"
#include "journal/missing.h"

enum { PAGE = 64, AT_ONCE = 32, KEY = 64 }; /* PAGE: items; AT_ONCE: entries read from a disk in one turn of the loop */

/* What stays in Redis of a journal whose entries lie in a node's evidence log: the last one's place and hash. */
struct leftover {
  uint64_t seq;
  char leaf[DIGEST_HEX], node[ID_INCIDENT + 32];
};

struct reader {
  struct journal_store *store;
  char incident[ID_INCIDENT + 16], key[KEY];
  unsigned lane;
  uint64_t next, to;        /* the next seq wanted, and the last one (0: the end) */
  uint64_t place;           /* no item before this one bears it */
  char prev[DIGEST_HEX];    /* leaf of the entry before next; "" when unknown */
  struct leftover leftover; /* seq 0: none was met */
  struct archived *log;     /* that has what left */
  uint64_t *archived;       /* gets that seq, too; may be NULL */
  struct missing missing;
  journal_entry_cb *entry_cb;
  journal_read_cb *done_cb;
  void *arg;
};

static int page_ask(struct reader *r, struct err *err);

static void reader_done(struct reader *r, const struct err *err) {
  r->done_cb(r->arg, err);
  free(r->missing.list);
  free(r);
}

/* All of it was read. What the log does not give back was removed, or it is damaged: a lost key must not pass for a removal. */
static void reader_end(struct reader *r) {
  struct err why;
  bool whole = !r->leftover.seq || missing_check(&r->missing, &why) == 0;
  if (!whole) err_wrap(&why, "%s", r->incident);
  reader_done(r, whole ? NULL : &why);
}

/* Only the first item of all can be one. Behind it there is nothing to ask it for. */
static bool leftover_read(struct reader *r, const struct redis_value *item) {
  const char *node = item_holder(item), *leaf;
  uint64_t seq = item_end(item, &leaf);
  if (!node || seq < r->next) return false;
  r->leftover.seq = seq;
  snprintf(r->leftover.leaf, sizeof r->leftover.leaf, "%s", leaf);
  snprintf(r->leftover.node, sizeof r->leftover.node, "%s", node);
  return true;
}

/* Takes the entry over. Returns 1 to go on, 0 when the caller has had enough, or an error. */
static int entry_take(struct reader *r, struct entry *e, struct err *err) {
  bool beyond = r->to && e->seq > r->to;
  int result = r->prev[0] && !beyond ? entry_follows(e, r->next, r->prev, err) : 0;
  if (result == 0 && !beyond) {
    memcpy(r->prev, e->leaf, DIGEST_HEX);
    r->next = e->seq + 1;
    missing_note(&r->missing, e);
    result = r->entry_cb(r->arg, e) && (!r->to || r->next <= r->to) ? 1 : 0;
  }
  entry_free(e);
  return result;
}

static int page_entry(struct reader *r, const struct item_entry *found, struct err *err) {
  struct entry *e = NULL;
  if (found->seq < r->next) return 1;
  int result = entry_read(found->head, found->head_len, found->leaf, found->envelope, found->envelope_len, &e, err);
  if (result == 0) result = entry_take(r, e, err);
  return result < 0 ? err_wrap(err, "%s, entry %" PRIu64, r->incident, found->seq) : result;
}

static int page_item(struct reader *r, const struct redis_value *item, struct err *err) {
  struct item_entry found;
  const char *leaf;
  size_t at = 0;
  int result = 1;
  while (result > 0 && item_next(item, &at, &found)) result = page_entry(r, &found, err);
  if (!at && item_end(item, &leaf) >= r->next)
    return err_set(err, ERR_INVALID, "%s: item %s bears no head", r->incident, redis_string(redis_item(item, 0), NULL));
  return result;
}

static int archived_entry(struct reader *r, struct err *err) {
  struct entry *e = NULL;
  int result = archived_read(r->log, r->incident, r->next, &e, err);
  return result < 0 ? result : entry_take(r, e, err);
}

/* A few of them, then it is the others' turn. */
static void archived_turn(void *arg) {
  struct reader *r = arg;
  struct err why;
  int more = 1;
  for (int i = 0; i < AT_ONCE && more > 0 && r->next <= r->leftover.seq; i++) more = archived_entry(r, &why);
  if (more > 0 && r->next > r->leftover.seq && strcmp(r->prev, r->leftover.leaf) != 0)
    more = err_set(&why, ERR_INVALID, "%s: the evidence log holds another entry %" PRIu64 " than Redis was left with", r->incident,
                   r->leftover.seq);
  if (more < 0) reader_done(r, &why);
  else if (more == 0) reader_done(r, NULL);
  else if (r->next <= r->leftover.seq) loop_defer(r->store->loop, archived_turn, r);
  else {
    r->place = r->next;
    if (page_ask(r, &why) < 0) reader_done(r, &why);
  }
}

static void archived_begin(struct reader *r) {
  struct err why;
  bool own = strcmp(r->leftover.node, r->store->node) == 0;
  r->log = own ? r->store->archived : r->store->adopted ? map_get(r->store->adopted, r->leftover.node) : NULL;
  if (!own && !r->log)
    err_set(&why, ERR_CONFLICT,
            "%s has left Redis: its first %" PRIu64
            " entries lie in the evidence log of node %s; ask there, or if it is gone for good, let a "
            "node adopt its evidence folder (the setting evidence.adopted)",
            r->incident, r->leftover.seq, r->leftover.node);
  else if (!r->log) err_set(&why, ERR_UNAVAILABLE, "%s has left Redis, and there is no evidence log", r->incident);
  else {
    loop_defer(r->store->loop, archived_turn, r);
    return;
  }
  reader_done(r, &why);
}

static void on_page(void *arg, const struct redis_value *reply, const struct err *err) {
  struct reader *r = arg;
  struct err why;
  if (err) {
    reader_done(r, err);
    return;
  }
  int more = 1;
  size_t count = redis_count(reply);
  if (leftover_read(r, redis_item(reply, 0))) {
    if (r->archived) *r->archived = r->leftover.seq;
    archived_begin(r);
    return;
  }
  for (size_t i = 0; i < count && more > 0; i++) more = page_item(r, redis_item(reply, i), &why);
  r->place = r->next;
  if (more < 0) reader_done(r, &why);
  else if (more == 0) reader_done(r, NULL);
  else if (count < PAGE) reader_end(r);
  else if (page_ask(r, &why) < 0) reader_done(r, &why);
}

static int page_ask(struct reader *r, struct err *err) {
  char from[32], count[16];
  snprintf(from, sizeof from, "%" PRIu64 "-0", r->place);
  snprintf(count, sizeof count, "%d", PAGE);
  return redis_call(r->store->redis, r->lane, on_page, r, err, "XRANGE", r->key, from, "+", "COUNT", count, NULL);
}

static int read_begin(struct journal_store *store, const char *incident, uint64_t from, uint64_t to, uint64_t *archived,
                      journal_entry_cb *entry_cb, journal_read_cb *done_cb, void *arg, struct err *err) {
  struct reader *r = calloc(1, sizeof *r);
  if (!r) abort();
  *r = (struct reader){.store = store, .next = from ? from : 1, .to = to, .entry_cb = entry_cb, .done_cb = done_cb, .arg = arg};
  snprintf(r->incident, sizeof r->incident, "%s", incident);
  snprintf(r->key, sizeof r->key, "tocsin:{%s}:journal", incident);
  r->lane = redis_lane(store->redis, incident);
  r->archived = archived;
  r->place = r->next < REDIS_ITEM_MOST ? 1 : r->next - REDIS_ITEM_MOST + 1;
  if (r->next == 1) memcpy(r->prev, leaf_none(), DIGEST_HEX);
  int result = page_ask(r, err);
  if (result < 0) free(r);
  return result;
}

int journal_read(struct journal_store *store, const char *incident, uint64_t from, uint64_t to, journal_entry_cb *entry_cb,
                 journal_read_cb *done_cb, void *arg, struct err *err) {
  return read_begin(store, incident, from, to, NULL, entry_cb, done_cb, arg, err);
}

/* --- folding anew ----------------------------------------------------------------------------------------- */

struct refold {
  struct journal *j; /* NULL: it was freed */
  json_t *state, *removals;
  journal_entry_cb *entry_cb;
  journal_read_cb *done_cb;
  void *arg;
};

static void refold_read(struct refold *r);

static void refold_end(struct refold *r, const struct err *err) {
  if (r->j) journal_guard(r->j, NULL);
  if (r->j && !err) {
    uint64_t archived = journal_archived(r->j);
    journal_swap_state(r->j, json_incref(r->state));
    if (archived) journal_set_archived(r->j, archived);
  }
  r->done_cb(r->arg, err);
  json_decref(r->state);
  json_decref(r->removals);
  free(r);
}

static bool refold_entry(void *arg, const struct entry *e) {
  struct refold *r = arg;
  if (!r->j) return false;
  state_fold_rest(r->state, e, r->removals);
  return !r->entry_cb || r->entry_cb(r->arg, e);
}

/* What was appended while it was read is read, too, once it is there. */
static void refold_durable(void *arg, const struct err *err) {
  struct refold *r = arg;
  if (err) refold_end(r, err);
  else refold_read(r);
}

static void refold_done(void *arg, const struct err *err) {
  struct refold *r = arg;
  struct err gone;
  if (!r->j) err_set(&gone, ERR_CANCELLED, "the journal was unloaded"), err = &gone;
  if (err || (uint64_t)json_int_or(r->state, "seq", 0) == journal_seq(r->j)) refold_end(r, err);
  else journal_when_durable(r->j, refold_durable, r);
}

static void refold_read(struct refold *r) {
  struct err err;
  uint64_t from = (uint64_t)json_int_or(r->state, "seq", 0) + 1;
  if (journal_read(journal_store_of(r->j), journal_incident(r->j), from, 0, refold_entry, refold_done, r, &err) < 0) refold_end(r, &err);
}

int journal_refold(struct journal *j, journal_entry_cb *entry_cb, journal_read_cb *done_cb, void *arg, struct err *err) {
  struct refold *r = calloc(1, sizeof *r);
  if (!r) abort();
  *r = (struct refold){.j = j, .state = state_blank(journal_incident(j)), .entry_cb = entry_cb, .done_cb = done_cb, .arg = arg};
  r->removals = json_deep_copy(json_object_get(journal_state(j), "removals"));
  int result = journal_guard(j, &r->j) ? 0 : err_set(err, ERR_CONFLICT, "%s is being folded anew", journal_incident(j));
  if (result == 0) {
    result = journal_read(journal_store_of(j), journal_incident(j), 1, 0, refold_entry, refold_done, r, err);
    if (result == 0) return 0;
    journal_guard(j, NULL);
  }
  json_decref(r->state);
  json_decref(r->removals);
  free(r);
  return result;
}

/* --- loading: GET state, then the entries from the one it folds on ---------------------------------------- */

struct loader {
  struct journal *j;
  bool from_scratch; /* no state was stored */
  uint64_t folded;   /* what the stored one folds */
  bool removed;      /* it may tell of a body that was removed afterwards */
  uint64_t archived; /* entries that have left Redis, as what was left of the journal says */
  journal_load_cb *cb;
  void *arg;
};

static bool load_entry(void *arg, const struct entry *e) {
  struct loader *l = arg;
  l->removed |= e->kind == KIND_BODY_REMOVING && e->seq > l->folded;
  journal_take_entry(l->j, e);
  return true;
}

static void load_end(void *arg, const struct err *err) {
  struct loader *l = arg;
  if (!err && l->archived) journal_set_archived(l->j, l->archived);
  if (err) journal_free(l->j);
  else journal_catch_up(l->j);
  l->cb(l->arg, err ? NULL : l->j, err);
  free(l);
}

static void load_done(void *arg, const struct err *err) {
  struct loader *l = arg;
  struct err why;
  uint64_t folded = standing_seq(journal_standing(l->j));
  if (!err && folded > journal_seq(l->j)) {
    err_set(&why, ERR_INVALID, "%s: the stored state folds entry %" PRIu64 ", but the journal ends at %" PRIu64 ": entries are missing",
            journal_incident(l->j), folded, journal_seq(l->j));
    err = &why;
  }
  /* What was kept of removed bodies stands behind them: a second time, knowing it. */
  if (!err && l->archived) journal_set_archived(l->j, l->archived);
  if (!err && (l->from_scratch || l->removed) && json_object_get(journal_state(l->j), "removals")) {
    if (journal_refold(l->j, NULL, load_end, l, &why) == 0) return;
    err = &why;
  }
  load_end(l, err);
}

static void on_state(void *arg, const struct redis_value *reply, const struct err *err) {
  struct loader *l = arg;
  struct err why;
  json_t *state = NULL;
  size_t len;
  if (err) {
    load_done(l, err);
    return;
  }
  const char *text = redis_string(reply, &len);
  /* An unreadable state costs only time: the journal is folded from its first entry. */
  if (redis_type(reply) == REDIS_STRING && json_parse_stored(text, len, &state, NULL) == 0 && json_is_object(state)) {
    if (json_int_or(state, "seq", 0)) journal_set_state(l->j, state);
    else json_decref(state); /* only what lists show: all of it is folded anew */
  }
  l->folded = standing_seq(journal_standing(l->j));
  l->from_scratch = !l->folded;
  if (read_begin(journal_store_of(l->j), journal_incident(l->j), l->folded ? l->folded : 1, 0, &l->archived, load_entry, load_done, l,
                 &why) < 0)
    load_done(l, &why);
}

int journal_load(struct journal_store *store, const char *incident, journal_load_cb *cb, void *arg, struct err *err) {
  struct loader *l = calloc(1, sizeof *l);
  char key[KEY];
  if (!l) abort();
  *l = (struct loader){.j = journal_new(store, incident), .cb = cb, .arg = arg};
  snprintf(key, sizeof key, "tocsin:{%s}:state", incident);
  int r = redis_call(store->redis, redis_lane(store->redis, incident), on_state, l, err, "GET", key, NULL);
  if (r < 0) {
    journal_free(l->j);
    free(l);
  }
  return r;
}
