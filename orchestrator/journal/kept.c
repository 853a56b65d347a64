/* Acknowledged entries: what becomes of them, and those that a new master may lack. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/map.h"
#include "base/slab.h"
#include "journal/feed.h"
#include "journal/internal.h"

/* What is kept of a journal that is not in memory. */
struct resting {
  struct kept_list list; /* first: a list of one that rests is this */
  char incident[ID_INCIDENT + 16];
};

struct kept {
  struct kept_list all;
  struct map resting; /* incident -> struct resting */
  size_t bytes, most;
};

void journal_keep(struct journal_store *store, size_t bytes) {
  if (store->kept) return;
  store->kept = calloc(1, sizeof *store->kept);
  if (!store->kept) abort();
  TAILQ_INIT(&store->kept->all);
  map_init(&store->kept->resting);
  store->kept->most = bytes;
}

static size_t size_of(const struct kept_entry *p) { return sizeof *p + sizeof *p->entry + p->entry->head_len + p->entry->envelope_len; }

static void forget(struct kept *k, struct kept_entry *p) {
  TAILQ_REMOVE(&k->all, p, among);
  TAILQ_REMOVE(p->of, p, mine);
  k->bytes -= size_of(p);
}

static void drop(struct kept *k, struct kept_entry *p) {
  forget(k, p);
  if (p->rests && TAILQ_EMPTY(p->of)) free(map_remove(&k->resting, ((struct resting *)(void *)p->of)->incident));
  entry_free(p->entry);
  slab_free(p);
}

void journal_keep_end(struct journal_store *store) {
  struct kept_entry *p;
  if (!store->kept) return;
  while ((p = TAILQ_FIRST(&store->kept->all))) drop(store->kept, p);
  map_release(&store->kept->resting, free);
  free(store->kept);
  store->kept = NULL;
}

static void kept_add(struct journal_store *store, struct kept_list *of, struct entry *e_take) {
  struct kept *k = store->kept;
  struct kept_entry *p = slab_alloc(sizeof *p);
  if (!p) abort();
  json_decref(e_take->body); /* its bytes are in the envelope */
  e_take->body = NULL;
  *p = (struct kept_entry){.entry = e_take, .of = of};
  TAILQ_INSERT_TAIL(&k->all, p, among);
  TAILQ_INSERT_TAIL(of, p, mine);
  k->bytes += size_of(p);
  while (k->bytes > k->most) drop(k, TAILQ_FIRST(&k->all));
}

void journal_pass_on(struct journal *j, struct entry *e_take) {
  struct journal_store *store = j->store;
  if (store->kept) {
    if (store->feed) feed_copy(store->feed, j->incident, e_take);
    kept_add(store, &j->kept, e_take);
  } else if (store->feed) {
    feed_entry(store->feed, j->incident, e_take);
  } else {
    entry_free(e_take);
  }
}

void kept_drop(struct journal_store *store, struct kept_list *of) {
  struct kept_entry *p;
  while (store->kept && (p = TAILQ_FIRST(of))) drop(store->kept, p);
}

static void move(struct kept_list *to, struct kept_list *from, bool rests) {
  struct kept_entry *p;
  TAILQ_CONCAT(to, from, mine);
  TAILQ_FOREACH(p, to, mine) {
    p->of = to;
    p->rests = rests;
  }
}

void kept_rest(struct journal_store *store, const char *incident, struct kept_list *of) {
  if (!store->kept || TAILQ_EMPTY(of) || map_get(&store->kept->resting, incident)) return;
  struct resting *r = calloc(1, sizeof *r);
  if (!r) abort();
  TAILQ_INIT(&r->list);
  snprintf(r->incident, sizeof r->incident, "%s", incident);
  move(&r->list, of, true);
  map_put(&store->kept->resting, r->incident, r);
}

void kept_wake(struct journal_store *store, const char *incident, struct kept_list *of) {
  struct resting *r = store->kept ? map_remove(&store->kept->resting, incident) : NULL;
  if (!r) return;
  move(of, &r->list, false);
  free(r);
}

void journal_resting(const struct journal_store *store, void (*cb)(void *arg, const char *incident, uint64_t seq), void *arg) {
  size_t at = 0;
  const char *incident;
  void *value;
  while (store->kept && map_next(&store->kept->resting, &at, &incident, &value)) {
    struct resting *r = value;
    cb(arg, incident, TAILQ_LAST(&r->list, kept_list)->entry->seq);
  }
}

struct entry **kept_take(struct journal_store *store, struct kept_list *of, uint64_t top, const char *leaf, uint64_t last,
                         size_t *ret_count) {
  size_t wanted = (size_t)(last - top), n = 0;
  char prev[DIGEST_HEX];
  struct kept_entry *p, *next;
  struct entry **found = store->kept && !TAILQ_EMPTY(of) ? calloc(wanted, sizeof(struct entry *)) : NULL;
  if (!found) return NULL;
  memcpy(prev, leaf, DIGEST_HEX);
  TAILQ_FOREACH(p, of, mine) {
    if (p->entry->seq <= top) continue;
    if (n == wanted || entry_follows(p->entry, top + 1 + n, prev, NULL) < 0) break;
    memcpy(prev, p->entry->leaf, DIGEST_HEX);
    n++;
  }
  if (n < wanted) {
    free(found);
    return NULL;
  }
  *ret_count = n;
  for (p = TAILQ_FIRST(of), n = 0; n < wanted; p = next) {
    next = TAILQ_NEXT(p, mine);
    if (p->entry->seq <= top) continue;
    forget(store->kept, p);
    found[n++] = p->entry;
    slab_free(p);
  }
  return found;
}

json_t *kept_known(const struct kept_list *of, uint64_t top) {
  json_t *known = json_array();
  const struct kept_entry *p;
  TAILQ_FOREACH(p, of, mine) {
    const struct entry *e = p->entry;
    if (e->seq <= top) continue;
    json_array_append_new(known, json_pack("{s:I, s:s, s:s, s:i, s:s, s:I}", "seq", (json_int_t)e->seq, "type", kind_name(e->kind), "actor",
                                           e->actor, "run", (int)e->run, "step", e->step, "time", (json_int_t)e->time));
  }
  return known;
}
