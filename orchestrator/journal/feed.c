#include "journal/feed.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "base/json.h"
#include "base/log.h"
#include "journal/item.h"

enum { PAGE = 500, RETRY_MS = 500, REMOVED_MS = 30000, DAY_MS = 86400000, KEY = 64, NAME = ID_INCIDENT + 16 };

struct removal {
  feed_removed_cb *cb;
  void *arg;
  STAILQ_ENTRY(removal) next;
};

struct feed {
  struct feed_options options;
  struct sealer *sealer;
  char node[NAME];
  /* The sweep: one page of Redis' keys at a time. */
  bool sweeping, page_asked;
  char cursor[32], ahead[32]; /* of the page at hand, and of the next one */
  size_t looking;             /* newest entries that were asked for and have not come */
  bool missed;                /* one of them could not be had: the page is asked for again */
  struct timer *sweep_timer;
  /* The one journal that is being read again. */
  char journal[HEAD_INCIDENT];
  uint64_t next;
  bool pulling, reading, any;
  struct timer *pull_timer;
  STAILQ_HEAD(, removal) removals;
  struct timer *removed_timer;
  bool removals_looked;
  int64_t removed; /* how many of all removals are handed to the sealer */
  uint64_t pulled; /* entries read again, in all */
  char told[256];
};

static void pull(struct feed *f);
static void sweep_page(void *arg);
static void removed_look(void *arg);

/* ---- journals that are behind: read again from Redis, one after the other, as long as the sealer has room */

static void pull_again(void *arg) {
  struct feed *f = arg;
  timer_free(f->pull_timer);
  f->pull_timer = NULL;
  pull(f);
}

static void pull_lost(struct feed *f, uint64_t seq) {
  char why[200];
  snprintf(why, sizeof why, "%.80s: Redis holds no entry %" PRIu64 " any more, and it was never sealed", f->journal, seq);
  sealer_give_up(f->sealer, f->journal, why);
  f->pulling = false;
}

static bool pull_entry(void *arg, const struct entry *e) {
  struct feed *f = arg;
  if (e->seq != f->next) {
    pull_lost(f, f->next);
    return false;
  }
  feed_copy(f, f->journal, e);
  f->any = true;
  f->next++;
  f->pulled++;
  return sealer_room(f->sealer);
}

static void pull_read(void *arg, const struct err *err) {
  struct feed *f = arg;
  f->reading = false;
  if (err && err->code == ERR_INVALID && f->pulling) { /* changed in Redis: it will not get better */
    sealer_give_up(f->sealer, f->journal, err->text);
    f->pulling = false;
  } else if (err && err->code == ERR_CONFLICT) { /* another node's log holds it */
    f->pulling = false;
  } else if (err) {
    if (err->code != ERR_CANCELLED && !f->pull_timer) f->pull_timer = timer_start(f->options.store->loop, RETRY_MS, pull_again, f);
    return;
  } else if (f->pulling && !f->any) {
    pull_lost(f, f->next);
  } else if (f->pulling && sealer_room(f->sealer)) {
    f->pulling = false; /* to its end: what was appended since comes by itself */
  }
  pull(f);
}

static void pull(struct feed *f) {
  struct err err;
  if (f->reading || f->pull_timer || !sealer_room(f->sealer)) return; /* news of the next batch comes back here */
  if (!f->pulling) {
    if (!sealer_behind(f->sealer, f->journal, &f->next)) return;
    f->pulling = true;
    f->any = false;
  }
  f->reading = true;
  if (journal_read(f->options.store, f->journal, f->next, 0, pull_entry, pull_read, f, &err) == 0) return;
  f->reading = false;
  f->pull_timer = timer_start(f->options.store->loop, RETRY_MS, pull_again, f);
}

/* ---- the sweep */

struct look {
  struct feed *f;
  char journal[NAME];
};

/* Goes on once all of a page is there and the sealer has room; news of its next batch comes back here. */
static void page_next(struct feed *f) {
  if (f->looking || f->page_asked || !f->sweeping || f->sweep_timer || !sealer_room(f->sealer)) return;
  if (f->missed) {
    f->missed = false;
    f->sweep_timer = timer_start(f->options.store->loop, RETRY_MS, sweep_page, f);
    return;
  }
  snprintf(f->cursor, sizeof f->cursor, "%s", f->ahead);
  if (strcmp(f->cursor, "0") == 0) {
    f->sweeping = false;
    timer_free(f->sweep_timer);
    f->sweep_timer = timer_start(f->options.store->loop, DAY_MS, sweep_page, f);
    return;
  }
  sweep_page(f);
}

/* "n1": who appended the entry with this head. Empty: nobody knows. */
static void node_of(const char *head, size_t len, char out[NAME]) {
  json_t *fields = NULL;
  if (json_parse(head, len, &fields, NULL) < 0) fields = NULL;
  snprintf(out, NAME, "%s", json_str_or(fields, "node", ""));
  json_decref(fields);
}

/* The newest entry is another's who lives: it seals it, and has all before it in its log, too. */
static bool elsewhere(const struct feed *f, const struct redis_value *last) {
  char node[NAME];
  struct item_entry e;
  size_t at = 0;
  if (!f->options.elsewhere || !item_next(last, &at, &e)) return false;
  node_of(e.head, e.head_len, node); /* one node wrote all of an item */
  return f->options.elsewhere(f->options.arg, node);
}

static void look_expect(struct look *l, const struct redis_value *reply) {
  const struct redis_value *last = redis_item(reply, 0);
  const char *leaf, *holder = item_holder(last);
  uint64_t seq = item_end(last, &leaf);
  if (holder && strcmp(holder, l->f->options.store->node) != 0) return; /* it has left Redis for another node's log: not this one's */
  if (seq && !elsewhere(l->f, last)) sealer_expect(l->f->sealer, l->journal, seq, leaf);
}

static void look_end(struct look *l, bool missed) {
  struct feed *f = l->f;
  free(l);
  f->missed |= missed;
  f->looking--;
  page_next(f);
}

static void on_look(void *arg, const struct redis_value *reply, const struct err *err) {
  struct look *l = arg;
  if (err && err->code == ERR_CANCELLED) { /* the link goes, and all of this with it */
    free(l);
    return;
  }
  if (!err) look_expect(l, reply);
  look_end(l, err != NULL);
}

/* On the journal's own lane: an append that was acknowledged before the answer came was handed over before it, too. */
static void look(struct feed *f, const char *journal) {
  struct look *l = calloc(1, sizeof *l);
  struct redis *redis = f->options.store->redis;
  struct err err;
  char key[KEY + NAME];
  if (!l) abort();
  l->f = f;
  snprintf(l->journal, sizeof l->journal, "%s", journal);
  snprintf(key, sizeof key, "tocsin:{%s}:journal", journal);
  f->looking++;
  if (redis_call(redis, redis_lane(redis, journal), on_look, l, &err, "XREVRANGE", key, "+", "-", "COUNT", "1", NULL) < 0)
    look_end(l, true);
}

/* "tocsin:{INC-000042}:journal" → "INC-000042", when it is an incident's, or this node's own. */
static bool name_of(const struct feed *f, const char *key, char journal[NAME]) {
  struct id id;
  const char *open = strchr(key, '{'), *close = strchr(key, '}');
  if (!open || !close || close < open || (size_t)(close - open - 1) >= NAME) return false;
  memcpy(journal, open + 1, (size_t)(close - open - 1));
  journal[close - open - 1] = 0;
  if (strcmp(journal, f->node) == 0) return true;
  return id_parse(journal, &id);
}

static void on_page(void *arg, const struct redis_value *reply, const struct err *err) {
  struct feed *f = arg;
  char journal[NAME];
  if (err && err->code == ERR_CANCELLED) return;
  f->page_asked = false;
  if (err) {
    timer_free(f->sweep_timer);
    f->sweep_timer = timer_start(f->options.store->loop, RETRY_MS, sweep_page, f);
    return;
  }
  const struct redis_value *keys = redis_item(reply, 1);
  f->looking++; /* this call itself: a look that fails at once comes back before the page is through */
  for (size_t i = 0; i < redis_count(keys); i++)
    if (name_of(f, redis_string(redis_item(keys, i), NULL), journal)) look(f, journal);
  f->looking--;
  snprintf(f->ahead, sizeof f->ahead, "%s", redis_string(redis_item(reply, 0), NULL));
  page_next(f);
}

static void sweep_page(void *arg) {
  struct feed *f = arg;
  struct err err;
  char count[16];
  timer_free(f->sweep_timer);
  f->sweep_timer = NULL;
  if (!f->sweeping) snprintf(f->cursor, sizeof f->cursor, "0");
  f->sweeping = f->page_asked = true;
  snprintf(count, sizeof count, "%d", PAGE);
  if (redis_call(f->options.store->redis, 0, on_page, f, &err, "SCAN", f->cursor, "MATCH", "tocsin:{*}:journal", "COUNT", count, NULL) == 0)
    return;
  f->page_asked = false;
  f->sweep_timer = timer_start(f->options.store->loop, RETRY_MS, sweep_page, f);
}

void feed_sweep(struct feed *f) {
  if (!f->sweeping) sweep_page(f);
  if (!f->removals_looked) removed_look(f);
  f->removals_looked = true;
}

void feed_adopt(struct feed *f, const char *journal) {
  sealer_read_again(f->sealer, journal, 1);
  pull(f);
}

/* ---- removals */

void feed_remove(struct feed *f, const char *journal, uint64_t seq, feed_removed_cb *cb, void *arg) {
  struct removal *r = calloc(1, sizeof *r);
  if (!r) abort();
  *r = (struct removal){.cb = cb, .arg = arg};
  STAILQ_INSERT_TAIL(&f->removals, r, next);
  sealer_remove(f->sealer, journal, seq);
}

static void removals_end(struct feed *f, bool gone) {
  struct removal *r;
  while ((r = STAILQ_FIRST(&f->removals))) {
    STAILQ_REMOVE_HEAD(&f->removals, next);
    r->cb(r->arg, gone);
    free(r);
  }
}

static void on_removed(void *arg, const struct redis_value *reply, const struct err *err) {
  struct feed *f = arg;
  struct id id;
  if (err && err->code == ERR_CANCELLED) return;
  for (size_t i = 0; !err && i < redis_count(reply); i++) {
    char journal[NAME];
    const char *name = redis_string(redis_item(reply, i), NULL), *slash = strchr(name, '/');
    if (!slash || (size_t)(slash - name) >= sizeof journal) continue;
    snprintf(journal, sizeof journal, "%.*s", (int)(slash - name), name);
    if (id_parse(journal, &id)) sealer_remove(f->sealer, journal, strtoull(slash + 1, NULL, 10));
  }
  if (!err) f->removed = (int64_t)redis_count(reply);
  f->removed_timer = timer_start(f->options.store->loop, REMOVED_MS, removed_look, f);
}

/* They are few, and all of them are looked at again only when there are others. */
static void on_removed_count(void *arg, const struct redis_value *reply, const struct err *err) {
  struct feed *f = arg;
  if (err && err->code == ERR_CANCELLED) return;
  if (!err && redis_integer(reply) != f->removed &&
      redis_call(f->options.store->redis, 0, on_removed, f, NULL, "SMEMBERS", "tocsin:removed", NULL) == 0)
    return;
  f->removed_timer = timer_start(f->options.store->loop, REMOVED_MS, removed_look, f);
}

static void removed_look(void *arg) {
  struct feed *f = arg;
  timer_free(f->removed_timer);
  f->removed_timer = NULL;
  if (redis_call(f->options.store->redis, 0, on_removed_count, f, NULL, "SCARD", "tocsin:removed", NULL) < 0)
    f->removed_timer = timer_start(f->options.store->loop, RETRY_MS, removed_look, f);
}

/* ---- the rest */

void feed_entry(struct feed *f, const char *journal, struct entry *e_take) {
  struct entry *e = e_take;
  json_decref(e->body);
  sealer_take(f->sealer, journal, &(struct sealer_entry){e->seq, e->head, e->head_len, e->envelope, e->envelope_len, e->leaf, e});
}

void feed_copy(struct feed *f, const char *journal, const struct entry *e) {
  sealer_add(f->sealer, journal, e->seq, e->head, e->head_len, e->leaf, e->envelope, e->envelope_len);
}

/* Said once for each reason. */
static void told(struct feed *f, const struct sealer_status *status) {
  char now[256] = "";
  if (status->failures) snprintf(now, sizeof now, "%s", status->last.text);
  else sealer_trouble(f->sealer, now);
  if (strcmp(now, f->told) == 0) return;
  if (status->failures)
    log_error("the evidence log takes nothing at the moment (%s); Redis keeps it, and it is sealed as soon as it can be", now);
  else if (*now) log_error("evidence: %s", now);
  else log_notice("the evidence log is whole again");
  snprintf(f->told, sizeof f->told, "%s", now);
}

static void on_news(void *arg) {
  struct feed *f = arg;
  struct sealer_status status;
  feed_status(f, &status);
  told(f, &status);
  if (!status.removing) removals_end(f, true);
  pull(f);
  page_next(f);
  if (f->options.news) f->options.news(f->options.arg, &status);
}

/* On the sealer's thread. */
static void wake(void *arg) {
  struct feed *f = arg;
  loop_post(f->options.store->loop, on_news, f);
}

int feed_start(const struct feed_options *options, struct feed **ret, struct err *err) {
  struct feed *f = calloc(1, sizeof *f);
  if (!f) abort();
  f->options = *options;
  snprintf(f->node, sizeof f->node, "%s", options->node);
  STAILQ_INIT(&f->removals);
  struct sealer_options sealer = {.folder = options->folder, .signer = options->signer, .news = wake, .arg = f};
  int r = sealer_start(&sealer, &f->sealer, err);
  if (r == 0) *ret = options->store->feed = f;
  else free(f);
  return r;
}

void feed_status(struct feed *f, struct sealer_status *ret) {
  sealer_status(f->sealer, ret);
  ret->behind += f->pulling;
}

void feed_trouble(struct feed *f, char ret[256]) { sealer_trouble(f->sealer, ret); }

bool feed_settled(struct feed *f) {
  struct sealer_status status;
  feed_status(f, &status);
  return status.open && !status.waiting && !status.removing && !status.behind && !status.lag && !f->sweeping;
}

json_t *feed_counts(struct feed *f) {
  struct sealer_status s;
  feed_status(f, &s);
  return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:b, s:I, s:I, s:f}", "entries", (json_int_t)s.size, "sealed_total",
                   (json_int_t)s.sealed, "checkpoints_total", (json_int_t)s.published, "unsealed", (json_int_t)s.waiting, "journals_behind",
                   (json_int_t)s.behind, "journals_troubled", (json_int_t)s.troubled, "unsearchable", (json_int_t)s.lag, "up",
                   s.open && !s.failures, "failures_total", (json_int_t)s.failed, "read_again_total", (json_int_t)f->pulled,
                   "checkpoint_age_seconds", (double)s.age_ms / 1000);
}

void feed_cosign(struct feed *f, uint64_t size, const char *lines, size_t len) { sealer_cosign(f->sealer, size, lines, len); }

void feed_finish(struct feed *f) { sealer_finish(f->sealer); }
bool feed_over(struct feed *f) { return sealer_ended(f->sealer); }

int feed_stop(struct feed *f, int64_t within_ms, struct err *err) {
  if (!f) return 0;
  f->options.store->feed = NULL;
  int r = sealer_stop(f->sealer, within_ms, err);
  removals_end(f, false);
  timer_free(f->removed_timer);
  timer_free(f->sweep_timer);
  timer_free(f->pull_timer);
  free(f);
  return r;
}
