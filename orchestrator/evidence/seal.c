#include "evidence/seal.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "evidence/bodies.h"
#include "evidence/tlog.h"

enum { PATH_MOST = 4096, INTERVAL_MS = 1000 };

struct item {
  struct item *next;
  struct hash leaf;
  bool leaf_known;
  size_t head_len, envelope_len;
  char bytes[]; /* head, then envelope */
};

struct sealer {
  pthread_t thread;
  pthread_mutex_t lock; /* over everything down to `stop` */
  pthread_cond_t wake;
  struct item *first, **end; /* accepted and not sealed */
  size_t waiting;
  struct sealer_status status;
  int64_t checkpoint_at;
  bool stop;
  /* The thread's own. */
  struct tlog *log;
  struct bodies *bodies;
  unsigned interval_ms, retry_ms;
  void (*news)(void *arg);
  void *arg;
};

static int64_t now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Under the lock: sleeps until woken or until then. */
static void sleep_until(struct sealer *s, int64_t when) {
  struct timespec t = {.tv_sec = when / 1000, .tv_nsec = when % 1000 * 1000000};
  pthread_cond_timedwait(&s->wake, &s->lock, &t);
}

/* ---- one batch; the items stay in the queue until they are published */

static int batch_write(struct sealer *s, struct item *const *items, size_t count, struct err *err) {
  struct body *bodies = calloc(count, sizeof *bodies);
  struct tlog_entry *entries = calloc(count, sizeof *entries);
  if (!bodies || !entries) abort();
  for (size_t i = 0; i < count; i++) {
    bodies[i] = (struct body){items[i]->bytes + items[i]->head_len, items[i]->envelope_len, {{0}}};
    merkle_leaf(items[i]->bytes, items[i]->head_len, &bodies[i].leaf);
    entries[i] = (struct tlog_entry){items[i]->bytes, items[i]->head_len, items[i]->leaf_known ? &items[i]->leaf : NULL};
  }
  int r = bodies_append(s->bodies, tlog_size(s->log), bodies, count, err);
  if (r == 0) r = tlog_append(s->log, entries, count, err);
  free(bodies);
  free(entries);
  return r;
}

/* Whether the batch is in after all decides what is tried again. Returns how many of it are published. */
static size_t batch_seal(struct sealer *s, struct item *const *items, size_t count, struct err *err) {
  /* With no entries this only makes sure that the log knows where it stands. */
  if (tlog_append(s->log, NULL, 0, err) < 0) return 0;
  uint64_t before = tlog_size(s->log);
  if (batch_write(s, items, count, err) == 0) return count;
  struct err again = {0};
  if (tlog_append(s->log, NULL, 0, &again) < 0) return 0;
  return tlog_size(s->log) == before + count ? count : 0;
}

static size_t batch_take(struct sealer *s, struct item *items[SEAL_BATCH]) {
  size_t count = 0;
  for (struct item *i = s->first; i && count < SEAL_BATCH; i = i->next) items[count++] = i;
  return count;
}

static void items_drop(struct sealer *s, size_t count) {
  while (count--) {
    struct item *gone = s->first;
    s->first = gone->next;
    if (!s->first) s->end = &s->first;
    s->waiting--;
    free(gone);
  }
}

/* Under the lock, which it lets go of while it writes. Returns false when the batch failed. */
static bool batch_run(struct sealer *s) {
  struct item *items[SEAL_BATCH];
  struct err err = {0};
  size_t count = batch_take(s, items);
  pthread_mutex_unlock(&s->lock);
  size_t sealed = batch_seal(s, items, count, &err);
  pthread_mutex_lock(&s->lock);
  items_drop(s, sealed);
  s->status.size = tlog_size(s->log);
  s->status.sealed += sealed;
  s->status.failures = sealed ? 0 : s->status.failures + 1;
  if (sealed) s->checkpoint_at = now_ms();
  else s->status.last = err;
  if (s->news) {
    pthread_mutex_unlock(&s->lock);
    s->news(s->arg);
    pthread_mutex_lock(&s->lock);
  }
  return sealed > 0;
}

static void *sealer_thread(void *arg) {
  struct sealer *s = arg;
  int64_t next = now_ms() + s->interval_ms, not_before = 0;
  pthread_mutex_lock(&s->lock);
  while (!s->stop) {
    int64_t now = now_ms();
    bool due = s->waiting && (now >= next || s->waiting >= SEAL_BATCH) && now >= not_before;
    if (!due) {
      /* An idle sealer keeps looking once an interval; a batch that is full wakes it. */
      int64_t until = s->waiting >= SEAL_BATCH || next < not_before ? not_before : next;
      sleep_until(s, until > now ? until : now + s->interval_ms);
      continue;
    }
    bool ok = batch_run(s);
    next = now_ms() + s->interval_ms;
    not_before = ok ? 0 : now_ms() + s->retry_ms;
  }
  while (s->waiting && batch_run(s)) continue;
  pthread_mutex_unlock(&s->lock);
  digest_thread_end();
  return NULL;
}

/* ---- the caller's side */

static void sealer_free(struct sealer *s) {
  items_drop(s, s->waiting);
  tlog_close(s->log);
  bodies_close(s->bodies);
  pthread_cond_destroy(&s->wake);
  pthread_mutex_destroy(&s->lock);
  free(s);
}

int sealer_start(const struct sealer_options *o, struct sealer **ret, struct err *err) {
  char path[PATH_MOST];
  pthread_condattr_t monotonic;
  struct sealer *s = calloc(1, sizeof *s);
  if (!s) abort();
  s->end = &s->first;
  s->interval_ms = o->interval_ms ? o->interval_ms : INTERVAL_MS;
  s->retry_ms = o->retry_ms ? o->retry_ms : SEAL_RETRY_MS;
  s->news = o->news;
  s->arg = o->arg;
  pthread_mutex_init(&s->lock, NULL);
  pthread_condattr_init(&monotonic);
  pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
  pthread_cond_init(&s->wake, &monotonic);
  pthread_condattr_destroy(&monotonic);
  int r = (size_t)snprintf(path, sizeof path, "%s/log", o->folder) < sizeof path
              ? 0
              : err_set(err, ERR_INVALID, "the path of the evidence folder is too long");
  if (r == 0) r = bodies_open(o->folder, &s->bodies, err);
  if (r == 0) r = tlog_open(path, o->signer, o->fault, o->fault_arg, &s->log, err);
  if (r < 0) goto out;
  s->status.size = tlog_size(s->log);
  s->checkpoint_at = now_ms();
  if (pthread_create(&s->thread, NULL, sealer_thread, s) != 0) {
    r = err_set(err, ERR_MEMORY, "cannot start the sealer's thread");
    goto out;
  }
  *ret = s;
  s = NULL;
out:
  if (s) sealer_free(s);
  return r;
}

uint64_t sealer_add(struct sealer *s, const void *head, size_t head_len, const char *leaf, const void *envelope, size_t envelope_len) {
  struct item *i = malloc(sizeof *i + head_len + envelope_len);
  if (!i) abort();
  i->next = NULL;
  i->head_len = head_len;
  i->envelope_len = envelope_len;
  i->leaf_known = leaf && hex_decode(leaf, i->leaf.bytes, DIGEST_BYTES);
  memcpy(i->bytes, head, head_len);
  if (envelope_len) memcpy(i->bytes + head_len, envelope, envelope_len);
  pthread_mutex_lock(&s->lock);
  *s->end = i;
  s->end = &i->next;
  uint64_t ticket = ++s->status.accepted;
  if (++s->waiting == SEAL_BATCH) pthread_cond_signal(&s->wake);
  pthread_mutex_unlock(&s->lock);
  return ticket;
}

void sealer_status(struct sealer *s, struct sealer_status *ret) {
  pthread_mutex_lock(&s->lock);
  *ret = s->status;
  ret->age_ms = now_ms() - s->checkpoint_at;
  pthread_mutex_unlock(&s->lock);
}

int sealer_stop(struct sealer *s, struct err *err) {
  pthread_mutex_lock(&s->lock);
  s->stop = true;
  pthread_cond_signal(&s->wake);
  pthread_mutex_unlock(&s->lock);
  pthread_join(s->thread, NULL);
  int r = s->waiting ? err_set(err, ERR_IO, "%zu entries could not be sealed: %s", s->waiting, s->status.last.text) : 0;
  sealer_free(s);
  return r;
}
