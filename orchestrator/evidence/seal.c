#include "evidence/seal.h"

#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/map.h"
#include "base/slab.h"
#include "evidence/pace.h"
#include "evidence/store.h"
#include "evidence/tiles.h"

enum { PAGE_BYTES = 64 << 10, SPARE_PAGES = 64, PATH_MOST = 4096, INTERVAL_MS = 1000, COSIGNED_CAP = 1 << 16, LAST_MS = 500 };
enum { AROUND = 320 }; /* bytes of an entry's block that are not sealed */

/* Items lie one after the other and are freed with their page, by another thread, once all of it is sealed. */
struct page {
  struct page *next;     /* while it is spare */
  atomic_size_t holders; /* items, and whoever still fills it */
  size_t used;
  max_align_t bytes[];
};

struct item {
  struct item *next;
  struct page *page;
  void *block; /* an entry's own, with all of its bytes: until it is sealed nobody here needs to look at them */
  const char *head, *envelope, *leaf;
  uint64_t seq;
  size_t head_len, envelope_len; /* head_len 0: only a look (sealer_expect), or a removal; then head is the journal's name */
  bool removal;
  char bytes[]; /* of what is no entry: the name, then the leaf */
};

struct sealer {
  pthread_t thread;
  pthread_mutex_t lock; /* over everything down to `ended` */
  pthread_cond_t wake, over;
  struct item *first, **end; /* accepted and not sealed */
  size_t items, bytes;
  struct map behind;   /* journal → its first seq to be read again, as a number in a pointer's place */
  struct map troubled; /* journal → why */
  struct sealer_status status;
  struct buf cosigned; /* signature lines for the checkpoint of cosigned_size; empty: none */
  uint64_t cosigned_size;
  int64_t checkpoint_at;
  bool stop, ended;
  void (*news)(void *arg);
  void *arg;
  /* Set once. */
  unsigned interval_ms, retry_ms;
  size_t memory;
  char folder[PATH_MOST];
  struct note_signer signer;
  disk_fault_cb *fault;
  void *fault_arg;
  struct store *store; /* the thread's own, and so are: */
  struct pace pace;
  /* SEAL_BATCH of each, for the batch at hand: to clear a megabyte and give it back each time cost as much as to fill it. */
  struct item **taken;
  struct store_entry *entries;
  struct page *page; /* the owner's: what comes next goes there; NULL: into a new one */
  /* Pages that have served, for the owner: a new one would be cut from the heap here, and put together with it again over there. */
  struct page *spare;              /* the owner's */
  _Atomic(struct page *) returned; /* by either; the owner takes all of them at once */
  atomic_size_t spares;
};

static int64_t now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void *number_box(uint64_t n) { return (void *)(uintptr_t)n; }
static uint64_t number_unbox(const void *p) { return (uint64_t)(uintptr_t)p; }

/* Under the lock: sleeps until woken or until then. */
static void sleep_until(struct sealer *s, pthread_cond_t *cond, int64_t when) {
  struct timespec t = {.tv_sec = when / 1000, .tv_nsec = when % 1000 * 1000000};
  pthread_cond_timedwait(cond, &s->lock, &t);
}

static void tell(struct sealer *s) {
  if (s->news) s->news(s->arg);
}

/* ---- journals that have to be read again, under the lock */

static void behind_add(struct sealer *s, const char *journal, uint64_t from) {
  uint64_t known = number_unbox(map_get(&s->behind, journal));
  if (map_get(&s->troubled, journal) || (known && known <= from)) return;
  map_put(&s->behind, journal, number_box(from ? from : 1));
}

static void trouble_add(struct sealer *s, const char *journal, const char *why) {
  map_remove(&s->behind, journal);
  if (!map_get(&s->troubled, journal)) map_put(&s->troubled, journal, strdup(why));
}

static void fork_told(struct sealer *s, const struct store_entry *e) {
  char why[200];
  snprintf(why, sizeof why,
           "%.80s: entry %" PRIu64 " in Redis does not go on from what the evidence log holds: Redis lost or changed entries", e->journal,
           e->seq);
  trouble_add(s, e->journal, why);
}

static bool full(const struct sealer *s) { return s->items >= SEAL_BATCH || s->bytes >= SEAL_BATCH_BYTES; }

/* ---- one batch; the items stay in the queue until their fate is known */

/* Of a full batch, up to the end of a tile: an unfinished one would be written only to be replaced at once. What is left goes with the next, an interval later at most. */
static size_t tile_end(const struct sealer *s, struct item *const *items, size_t count) {
  size_t heads = 0, over;
  for (size_t i = 0; i < count; i++) heads += items[i]->head_len > 0;
  over = (s->status.size + heads) % TILE_WIDTH;
  if (over >= heads) return count;
  while (over) over -= items[--count]->head_len > 0;
  return count;
}

/* Under the lock. They stay where they are until they are dropped, and only the thread itself drops them. */
static size_t batch_take(struct sealer *s) {
  size_t count = 0, bytes = 0;
  for (struct item *i = s->first; i && count < SEAL_BATCH && (!count || bytes + i->envelope_len < SEAL_BATCH_BYTES); i = i->next) {
    s->taken[count++] = i;
    bytes += i->head_len + i->envelope_len;
  }
  return full(s) ? tile_end(s, s->taken, count) : count;
}

static void entry_set(struct store_entry *e, const struct item *i) {
  e->head = i->head;
  e->head_len = i->head_len;
  e->envelope = i->envelope;
  e->envelope_len = i->envelope_len;
  e->seq = i->seq;
  e->journal[0] = 0;
  if (!hex_decode(i->leaf, e->leaf.bytes, DIGEST_BYTES)) memset(&e->leaf, 0, sizeof e->leaf);
}

static size_t weight(const struct item *i) { return sizeof *i + (i->head_len ? AROUND : 0) + i->head_len + i->envelope_len; }

static void page_drop(struct sealer *s, struct page *p) {
  if (atomic_load(&s->spares) >= SPARE_PAGES) {
    free(p);
    return;
  }
  atomic_fetch_add(&s->spares, 1);
  p->next = atomic_load(&s->returned);
  while (!atomic_compare_exchange_weak(&s->returned, &p->next, p)) continue;
}

static void page_leave(struct sealer *s, struct page *p, size_t holders) {
  if (p && atomic_fetch_sub(&p->holders, holders) == holders) page_drop(s, p);
}

/* The first ones of the queue. They lie in another core's cache: each is asked for on its own, not after the one before it, and a page is left once for all of it. */
static void items_drop(struct sealer *s, struct item *const *items, size_t count) {
  struct page *page = NULL;
  size_t holders = 0;
  if (!count) return;
  s->first = items[count - 1]->next;
  if (!s->first) s->end = &s->first;
  s->items -= count;
  for (size_t i = 0; i < count; i++) {
    const struct item *gone = items[i];
    s->bytes -= weight(gone);
    s->status.waiting -= gone->head_len > 0;
    s->status.removing -= gone->removal;
    if (gone->page != page) {
      page_leave(s, page, holders);
      page = gone->page;
      holders = 0;
    }
    holders++;
  }
  page_leave(s, page, holders);
}

/* Of what is sealed, so without the lock: the owner would wait for it. */
static void blocks_free(struct item *const *items, size_t count) {
  for (size_t i = 0; i < count; i++) slab_free(items[i]->block);
}

/* In the order in which they came: a look says how things stood between the entries around it. */
static int batch_judge(struct sealer *s, struct store_entry *entries, struct item *const *items, size_t count, struct err *err) {
  int r = store_ready(s->store, err);
  for (size_t i = 0, to; r == 0 && i < count; i = to) {
    for (to = i; to < count && items[to]->head_len; to++) continue;
    if (to > i) r = store_judge(s->store, entries, i, to, err);
    else if (items[to++]->removal) entries[i].verdict = STORE_KNOWN;
    else r = store_compare(s->store, items[i]->head, items[i]->seq, &entries[i].leaf, &entries[i], err);
  }
  return r;
}

/* Once the entries before them are in. Done twice it does no harm. */
static int batch_remove(struct sealer *s, struct item *const *items, size_t count, struct err *err) {
  int r = 0;
  for (size_t i = 0; r == 0 && i < count; i++)
    if (items[i]->removal) r = store_remove(s->store, items[i]->head, items[i]->seq, err);
  return r;
}

/* Under the lock. Returns how many were sealed. */
static size_t verdicts_take(struct sealer *s, const struct store_entry *entries, struct item *const *items, size_t count) {
  size_t sealed = 0;
  for (size_t i = 0; i < count; i++) {
    const struct store_entry *e = &entries[i];
    if (items[i]->head_len && e->verdict == STORE_NEW) sealed++;
    if (e->verdict == STORE_AHEAD) behind_add(s, e->journal, e->from);
    /* Changed in memory: Redis has the bytes. Without even a name it is found when its journal's next entry comes, or at the next start. */
    if (e->verdict == STORE_BROKEN && *e->journal) behind_add(s, e->journal, e->seq);
    if (e->verdict == STORE_FORK) fork_told(s, e);
  }
  return sealed;
}

static int folder_open(struct sealer *s, struct err *err) {
  int r = s->store ? 0 : store_open(s->folder, &s->signer, s->fault, s->fault_arg, &s->store, err);
  return r < 0 ? r : store_ready(s->store, err);
}

static void failed(struct sealer *s, const struct err *err) {
  s->status.failures++;
  s->status.failed++;
  s->status.last = *err;
}

static void succeeded(struct sealer *s, size_t sealed) {
  s->status.open = true;
  s->status.size = store_size(s->store);
  s->status.sealed += sealed;
  s->status.published += sealed > 0;
  s->status.failures = 0;
  s->status.lag = store_lag(s->store);
  if (sealed) s->checkpoint_at = now_ms();
  pace_batch(&s->pace, now_ms(), sealed, s->status.lag > 0);
}

/* Under the lock, which it lets go of while it writes. False when it failed: all of it stays as it was. */
static bool batch_run(struct sealer *s) {
  struct item **items = s->taken;
  struct store_entry *entries = s->entries;
  struct err err = {0};
  size_t count = batch_take(s), sealed = 0;
  pthread_mutex_unlock(&s->lock);
  for (size_t i = 0; i < count; i++) entry_set(&entries[i], items[i]);
  int r = folder_open(s, &err);
  if (r == 0 && count) r = batch_judge(s, entries, items, count, &err);
  if (r == 0 && count) r = store_seal(s->store, entries, count, &err);
  if (r == 0 && count) r = batch_remove(s, items, count, &err);
  if (r == 0) blocks_free(items, count);
  pthread_mutex_lock(&s->lock);
  if (r == 0) sealed = verdicts_take(s, entries, items, count);
  if (r == 0) items_drop(s, items, count), succeeded(s, sealed);
  else failed(s, &err);
  tell(s);
  return r == 0;
}

/* Under the lock, which it lets go of: a step of the catalogue behind the log. */
static void catalogue_run(struct sealer *s) {
  bool more = false;
  struct err err = {0};
  int64_t began = now_ms();
  pthread_mutex_unlock(&s->lock);
  int r = store_read(s->store, &more, &err);
  uint64_t lag = store_lag(s->store);
  pthread_mutex_lock(&s->lock);
  s->status.lag = lag;
  s->status.lags_for = err;
  if (r < 0) pace_fail(&s->pace, now_ms());
  else pace_step(&s->pace, began, now_ms(), more);
}

/* Under the lock, which it lets go of while it writes. A failure loses nothing: whoever got the lines keeps them, and they are of a checkpoint that is soon an old one. */
static void cosign_run(struct sealer *s) {
  struct buf lines;
  struct err err;
  uint64_t size = s->cosigned_size;
  buf_init(&lines, COSIGNED_CAP);
  buf_add(&lines, s->cosigned.data, s->cosigned.len);
  buf_reset(&s->cosigned);
  pthread_mutex_unlock(&s->lock);
  store_cosign(s->store, size, lines.data, lines.len, &err);
  pthread_mutex_lock(&s->lock);
  buf_release(&lines);
}

static void *sealer_thread(void *arg) {
  struct sealer *s = arg;
  int64_t next = 0, not_before = 0;
  slab_join();
  pthread_mutex_lock(&s->lock);
  while (!s->stop) {
    int64_t now = now_ms(), step = s->status.open && !s->status.failures ? pace_next(&s->pace) : INT64_MAX;
    bool due = (!s->status.open || (s->items && (now >= next || full(s)))) && now >= not_before;
    if (!due && s->cosigned.len && s->status.open) {
      cosign_run(s);
      continue;
    }
    if (now >= step && (!due || pace_late(&s->pace, now))) {
      catalogue_run(s);
      continue;
    }
    if (!due) {
      /* An idle sealer keeps looking once an interval; a batch that is full wakes it. */
      int64_t until = full(s) || next < not_before ? not_before : next;
      if (until <= now) until = now + s->interval_ms;
      sleep_until(s, &s->wake, until < step ? until : step);
      continue;
    }
    bool ok = batch_run(s);
    next = now_ms() + s->interval_ms;
    not_before = ok ? 0 : now_ms() + s->retry_ms;
  }
  while (s->items && batch_run(s)) continue;
  for (int64_t until = now_ms() + LAST_MS; s->status.open && s->pace.lags && now_ms() < until && !*s->status.lags_for.text;)
    catalogue_run(s);
  store_close(s->store);
  s->store = NULL;
  s->ended = true;
  pthread_cond_signal(&s->over);
  pthread_mutex_unlock(&s->lock);
  slab_leave();
  return NULL;
}

/* ---- the owner's side */

/* NULL: there is none. */
static struct page *page_spare(struct sealer *s) {
  struct page *p = s->spare ? s->spare : atomic_exchange(&s->returned, NULL);
  if (!p) return NULL;
  s->spare = p->next;
  atomic_fetch_sub(&s->spares, 1);
  return p;
}

static void sealer_free(struct sealer *s) {
  for (struct item *i; (i = s->first); items_drop(s, &i, 1)) blocks_free(&i, 1);
  page_leave(s, s->page, 1);
  for (struct page *p; (p = page_spare(s));) free(p);
  buf_release(&s->cosigned);
  map_release(&s->behind, NULL);
  map_release(&s->troubled, free);
  free(s->taken);
  free(s->entries);
  note_signer_wipe(&s->signer);
  pthread_cond_destroy(&s->wake);
  pthread_cond_destroy(&s->over);
  pthread_mutex_destroy(&s->lock);
  free(s);
}

/* Signals are the loop's business. */
static int thread_start(struct sealer *s) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int r = pthread_create(&s->thread, NULL, sealer_thread, s);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return r;
}

int sealer_start(const struct sealer_options *o, struct sealer **ret, struct err *err) {
  pthread_condattr_t monotonic;
  struct sealer *s = calloc(1, sizeof *s);
  if (!s || !(s->taken = malloc(SEAL_BATCH * sizeof(struct item *))) || !(s->entries = malloc(SEAL_BATCH * sizeof *s->entries))) abort();
  s->end = &s->first;
  s->interval_ms = o->interval_ms ? o->interval_ms : INTERVAL_MS;
  s->retry_ms = o->retry_ms ? o->retry_ms : SEAL_RETRY_MS;
  s->memory = o->memory ? o->memory : SEAL_MEMORY;
  s->news = o->news;
  s->arg = o->arg;
  s->signer = *o->signer;
  s->fault = o->fault;
  s->fault_arg = o->fault_arg;
  s->checkpoint_at = now_ms();
  buf_init(&s->cosigned, COSIGNED_CAP);
  map_init(&s->behind);
  map_init(&s->troubled);
  pthread_mutex_init(&s->lock, NULL);
  pthread_condattr_init(&monotonic);
  pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
  pthread_cond_init(&s->wake, &monotonic);
  pthread_cond_init(&s->over, &monotonic);
  pthread_condattr_destroy(&monotonic);
  int r = 0;
  if ((size_t)snprintf(s->folder, sizeof s->folder, "%s", o->folder) >= sizeof s->folder)
    r = err_set(err, ERR_INVALID, "the path of the evidence folder is too long");
  if (r == 0 && thread_start(s) != 0) r = err_set(err, ERR_MEMORY, "cannot start the sealer's thread");
  if (r == 0) *ret = s;
  else sealer_free(s);
  return r;
}

static struct page *page_new(struct sealer *s) {
  struct page *p = page_spare(s);
  if (!p) p = malloc(sizeof *p + PAGE_BYTES);
  if (!p) abort();
  atomic_init(&p->holders, 1);
  p->used = 0;
  return p;
}

static struct page *page_for(struct sealer *s, size_t bytes) {
  if (s->page && PAGE_BYTES - s->page->used >= bytes) return s->page;
  page_leave(s, s->page, 1);
  return s->page = page_new(s);
}

static struct item *item_new(struct sealer *s, size_t bytes) {
  size_t size = (sizeof(struct item) + bytes + sizeof(max_align_t) - 1) / sizeof(max_align_t) * sizeof(max_align_t);
  struct page *p = page_for(s, size);
  struct item *i = (struct item *)(void *)((char *)p->bytes + p->used);
  memset(i, 0, sizeof *i);
  i->page = p;
  p->used += size;
  atomic_fetch_add(&p->holders, 1);
  return i;
}

/* The newest one was refused: the next lies in its place. */
static void item_back(struct sealer *s, struct item *i) {
  slab_free(i->block);
  i->page->used = (size_t)((char *)i - (char *)i->page->bytes);
  page_leave(s, i->page, 1);
}

static void item_push(struct sealer *s, struct item *i) {
  *s->end = i;
  s->end = &i->next;
  s->items++;
  s->bytes += weight(i);
  s->status.waiting += i->head_len > 0;
  s->status.removing += i->removal;
  if (full(s)) pthread_cond_signal(&s->wake);
}

void sealer_take(struct sealer *s, const char *journal, const struct sealer_entry *e) {
  struct item *i = item_new(s, 0);
  i->block = e->block_take;
  i->seq = e->seq;
  i->head = e->head;
  i->head_len = e->head_len;
  i->envelope = e->envelope;
  i->envelope_len = e->envelope_len;
  i->leaf = e->leaf;
  pthread_mutex_lock(&s->lock);
  bool fits = s->items == 0 || s->bytes + e->head_len + e->envelope_len < s->memory;
  if (fits) item_push(s, i);
  else behind_add(s, journal, e->seq);
  pthread_mutex_unlock(&s->lock);
  if (!fits) item_back(s, i);
}

void sealer_add(struct sealer *s, const char *journal, uint64_t seq, const void *head, size_t head_len, const char *leaf,
                const void *envelope, size_t envelope_len) {
  size_t leaf_size = strlen(leaf) + 1;
  char *block = slab_alloc(head_len + envelope_len + leaf_size);
  if (!block) abort();
  memcpy(block, head, head_len);
  if (envelope_len) memcpy(block + head_len, envelope, envelope_len);
  memcpy(block + head_len + envelope_len, leaf, leaf_size);
  const char *envelope_at = block + head_len, *leaf_at = envelope_at + envelope_len;
  sealer_take(s, journal, &(struct sealer_entry){seq, block, head_len, envelope_at, envelope_len, leaf_at, block});
}

/* leaf: hex, "" or something else that is none. */
static struct item *item_named(struct sealer *s, const char *journal, uint64_t seq, const char *leaf) {
  size_t len = strlen(journal) + 1, leaf_size = strlen(leaf) == DIGEST_HEX - 1 ? DIGEST_HEX : 1;
  struct item *i = item_new(s, len + leaf_size);
  i->seq = seq;
  i->head = memcpy(i->bytes, journal, len);
  i->leaf = memcpy(i->bytes + len, leaf_size == 1 ? "" : leaf, leaf_size);
  return i;
}

static void item_hand_over(struct sealer *s, struct item *i) {
  pthread_mutex_lock(&s->lock);
  item_push(s, i);
  pthread_mutex_unlock(&s->lock);
}

void sealer_expect(struct sealer *s, const char *journal, uint64_t seq, const char *leaf) {
  struct item *i = item_named(s, journal, seq, leaf);
  item_hand_over(s, i);
}

void sealer_remove(struct sealer *s, const char *journal, uint64_t seq) {
  struct item *i = item_named(s, journal, seq, "");
  i->removal = true;
  item_hand_over(s, i);
}

bool sealer_room(struct sealer *s) {
  pthread_mutex_lock(&s->lock);
  bool room = s->items < 4 * SEAL_BATCH && s->bytes < s->memory / 2;
  pthread_mutex_unlock(&s->lock);
  return room;
}

bool sealer_behind(struct sealer *s, char ret_journal[HEAD_INCIDENT], uint64_t *ret_from) {
  const char *journal;
  void *from;
  size_t at = 0;
  pthread_mutex_lock(&s->lock);
  bool found = map_next(&s->behind, &at, &journal, &from);
  if (found) {
    snprintf(ret_journal, HEAD_INCIDENT, "%s", journal);
    *ret_from = number_unbox(from);
    map_remove(&s->behind, ret_journal);
  }
  pthread_mutex_unlock(&s->lock);
  return found;
}

void sealer_read_again(struct sealer *s, const char *journal, uint64_t from) {
  pthread_mutex_lock(&s->lock);
  behind_add(s, journal, from);
  pthread_mutex_unlock(&s->lock);
}

void sealer_cosign(struct sealer *s, uint64_t size, const char *lines, size_t len) {
  pthread_mutex_lock(&s->lock);
  if (s->cosigned_size != size) buf_reset(&s->cosigned);
  s->cosigned_size = size;
  buf_add(&s->cosigned, lines, len);
  if (!buf_ok(&s->cosigned)) buf_reset(&s->cosigned);
  pthread_cond_signal(&s->wake);
  pthread_mutex_unlock(&s->lock);
}

void sealer_give_up(struct sealer *s, const char *journal, const char *why) {
  pthread_mutex_lock(&s->lock);
  trouble_add(s, journal, why);
  pthread_mutex_unlock(&s->lock);
}

void sealer_trouble(struct sealer *s, char ret[256]) {
  const char *journal;
  void *why = NULL;
  size_t at = 0;
  pthread_mutex_lock(&s->lock);
  if (!map_next(&s->troubled, &at, &journal, &why)) why = NULL;
  snprintf(ret, 256, "%s", why ? (const char *)why : "");
  pthread_mutex_unlock(&s->lock);
}

void sealer_status(struct sealer *s, struct sealer_status *ret) {
  pthread_mutex_lock(&s->lock);
  *ret = s->status;
  ret->behind = map_count(&s->behind);
  ret->troubled = map_count(&s->troubled);
  ret->age_ms = now_ms() - s->checkpoint_at;
  pthread_mutex_unlock(&s->lock);
}

void sealer_finish(struct sealer *s) {
  pthread_mutex_lock(&s->lock);
  s->stop = true;
  pthread_cond_signal(&s->wake);
  pthread_mutex_unlock(&s->lock);
}

bool sealer_ended(struct sealer *s) {
  pthread_mutex_lock(&s->lock);
  bool ended = s->ended;
  pthread_mutex_unlock(&s->lock);
  return ended;
}

int sealer_stop(struct sealer *s, int64_t within_ms, struct err *err) {
  int64_t until = now_ms() + within_ms;
  sealer_finish(s);
  pthread_mutex_lock(&s->lock);
  while (!s->ended && now_ms() < until) sleep_until(s, &s->over, until);
  bool ended = s->ended;
  s->news = NULL;
  pthread_mutex_unlock(&s->lock);
  if (!ended) {
    pthread_detach(s->thread);
    return err_set(err, ERR_TIMEOUT,
                   "the evidence folder does not answer; what is not sealed stays in Redis and is sealed at the next start");
  }
  pthread_join(s->thread, NULL);
  int r = s->status.waiting ? err_set(err, ERR_IO, "%zu entries could not be sealed: %s", s->status.waiting, s->status.last.text) : 0;
  sealer_free(s);
  return r;
}
