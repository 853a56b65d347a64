#include "anchor/anchor.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "anchor/internal.h"
#include "anchor/witness.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"

enum { STATE_CAP = 1 << 18, EVERY_MS = 600000 };

static const char *const kinds[] = {"tsa", "witness", "copy"};
static const char *const done[] = {"stamped", "cosigned", "copied"};

/* ---- targets */

/* The bytes of a secret in the settings go into the anchor's own store, under the same name. */
static int secret_take(struct anchor *a, struct secrets *from, const json_t *settings, const char *member, struct err *err) {
  const char *slot = json_str(json_object_get(settings, member), "$secret");
  size_t len;
  const char *bytes = slot && from ? secrets_get(from, slot, &len) : NULL;
  if (!bytes) return err_set(err, ERR_INVALID, "anchor.copy: a bucket needs %s = secret \"file:…\"", member);
  return secrets_put(a->secrets, slot, bytes, len, err);
}

static int target_check(struct anchor *a, struct secrets *from, struct target *t, struct err *err) {
  struct witness_key key;
  const char *ca = json_str(t->settings, "ca");
  switch (t->kind) {
  case TARGET_TSA:
    if (!ca || access(ca, R_OK) != 0)
      return err_set(err, ERR_INVALID, "anchor.tsa: ca must name the certificate (PEM) that %s's stamps lead to%s%s", t->name,
                     ca ? ": cannot read " : "", ca ? ca : "");
    return 0;
  case TARGET_WITNESS: return witness_key_read(json_str_or(t->settings, "key", ""), &key, err);
  case TARGET_COPY: break;
  }
  if (json_str(t->settings, "folder")) return 0;
  if (!json_str(t->settings, "region")) return err_set(err, ERR_INVALID, "anchor.copy: a bucket needs its region");
  int r = secret_take(a, from, t->settings, "access_key", err);
  return r < 0 ? r : secret_take(a, from, t->settings, "secret_key", err);
}

static int target_add(struct anchor *a, struct secrets *from, enum target_kind kind, unsigned number, const json_t *settings,
                      struct err *err) {
  const char *folder = json_str(settings, "folder"), *bucket = json_str(settings, "bucket"), *ca = json_str(settings, "ca_file");
  const char *name = kind != TARGET_COPY ? json_str(settings, "url") : folder ? folder : bucket;
  if (a->count == ANCHOR_TARGETS) return err_set(err, ERR_LIMIT, "anchor: more than %d targets", ANCHOR_TARGETS);
  if (!name || (folder && bucket))
    return err_set(err, ERR_INVALID, "anchor.%s: entry %u needs %s", kinds[kind], number,
                   kind == TARGET_COPY ? "either folder or bucket" : "url");
  struct target *t = &a->targets[a->count];
  *t = (struct target){.kind = kind, .number = number, .settings = settings};
  if ((size_t)snprintf(t->name, sizeof t->name, "%s", name) >= sizeof t->name)
    return err_set(err, ERR_LIMIT, "anchor.%s: entry %u is too long", kinds[kind], number);
  int r = target_check(a, from, t, err);
  if (r < 0) return r;
  if (ca) t->network = json_pack("{s:s}", "ca_file", ca);
  a->count++;
  return 0;
}

/* ---- what was done last: only to show it, and to go on with */

static void state_read(struct anchor *a) {
  struct buf text;
  json_t *state = NULL;
  buf_init(&text, STATE_CAP);
  if (disk_read(&a->disk, "state.json", &text, NULL) == 0) json_parse(text.data, text.len, &state, NULL);
  for (size_t i = 0; i < a->count; i++) {
    struct target *t = &a->targets[i];
    const json_t *one = json_object_get(json_object_get(state, kinds[t->kind]), t->name);
    t->size = (uint64_t)json_int_or(one, "size", 0);
    t->known = (uint64_t)json_int_or(one, "known", 0);
    t->time = json_int_or(one, "time", 0);
  }
  json_decref(state);
  buf_release(&text);
}

static int state_write(struct anchor *a, struct err *err) {
  struct buf text;
  json_t *state = json_pack("{s:{}, s:{}, s:{}}", kinds[0], kinds[1], kinds[2]);
  for (size_t i = 0; i < a->count; i++) {
    const struct target *t = &a->targets[i];
    json_object_set_new(json_object_get(state, kinds[t->kind]), t->name,
                        json_pack("{s:I, s:I, s:I}", "size", (json_int_t)t->size, "known", (json_int_t)t->known, "time",
                                  (json_int_t)t->time));
  }
  buf_init(&text, STATE_CAP);
  json_write(state, &text);
  int r = buf_ok(&text) ? disk_replace(&a->disk, "state.json", text.data, text.len, err) : err_set(err, ERR_LIMIT, "too many targets");
  buf_release(&text);
  json_decref(state);
  return r;
}

/* ---- one round */

static void told(struct anchor *a, const struct target *t, const char *what, uint64_t size, json_t *event_take) {
  json_t *event = event_take ? event_take : json_object();
  json_object_set_new(event, "event", json_string(what));
  json_object_set_new(event, "what", json_string(kinds[t->kind]));
  json_object_set_new(event, "target", json_string(t->name));
  json_object_set_new(event, "size", json_integer((json_int_t)size));
  pthread_mutex_lock(&a->lock);
  json_array_append_new(a->events, event);
  pthread_mutex_unlock(&a->lock);
  if (a->news) a->news(a->arg);
}

static void target_failed(struct anchor *a, struct target *t, uint64_t size, const struct err *why) {
  pthread_mutex_lock(&a->lock);
  bool first = t->failures++ == 0 || strncmp(t->why, why->text, sizeof t->why - 1) != 0;
  snprintf(t->why, sizeof t->why, "%s", why->text);
  pthread_mutex_unlock(&a->lock);
  if (first) told(a, t, "failed", size, json_pack("{s:s, s:s}", "why", t->why, "error", err_name(why->code)));
}

static int target_run(struct anchor *a, struct target *t, const struct reader *log, struct err *err) {
  static int (*const run[])(struct anchor *, struct target *, const struct reader *, json_t **,
                            struct err *) = {stamp_target, witness_target, copy_target};
  json_t *event = NULL;
  uint64_t size = log->checkpoint.size;
  struct err why = {0};
  int r = run[t->kind](a, t, log, &event, &why);
  if (r < 0) {
    if (r != ERR_CANCELLED) target_failed(a, t, size, &why);
    return err_set(err, r, "%s: %s", t->name, why.text);
  }
  pthread_mutex_lock(&a->lock);
  t->size = size;
  t->time = clock_wall(clock_system());
  t->failures = 0;
  t->why[0] = 0;
  pthread_mutex_unlock(&a->lock);
  told(a, t, done[t->kind], size, event);
  return 0;
}

int anchor_round(struct anchor *a, struct err *err) {
  char path[sizeof a->folder + 8];
  struct reader log;
  struct err each;
  bool changed = false;
  snprintf(path, sizeof path, "%s/log", a->folder);
  int r = reader_open(path, &a->key, &log, err), first = 0;
  if (r < 0) return r;
  for (size_t i = 0; i < a->count && log.checkpoint.size; i++) { /* copies come last: they take the stamps along */
    struct target *t = &a->targets[i];
    if (t->size == log.checkpoint.size) continue;
    r = target_run(a, t, &log, first < 0 ? &each : err);
    if (r < 0 && first == 0) first = r;
    changed = changed || r == 0;
  }
  reader_close(&log);
  if (changed && (r = state_write(a, first < 0 ? &each : err)) < 0 && first == 0) first = r;
  return first;
}

/* ---- the thread */

static void sleep_for(struct anchor *a, int64_t ms) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  int64_t until = (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000 + ms;
  t = (struct timespec){.tv_sec = until / 1000, .tv_nsec = until % 1000 * 1000000};
  pthread_mutex_lock(&a->lock);
  while (!atomic_load(&a->stop) && pthread_cond_timedwait(&a->wake, &a->lock, &t) == 0) continue;
  pthread_mutex_unlock(&a->lock);
}

static void *anchor_thread(void *arg) {
  struct anchor *a = arg;
  struct err err;
  while (!atomic_load(&a->stop)) {
    int64_t retry = a->every_ms < ANCHOR_RETRY_MS ? a->every_ms : ANCHOR_RETRY_MS;
    int r = anchor_round(a, &err);
    sleep_for(a, r < 0 ? retry : a->every_ms);
  }
  return NULL;
}

int anchor_start(struct anchor *a, struct err *err) {
  if (pthread_create(&a->thread, NULL, anchor_thread, a) != 0) return err_set(err, ERR_MEMORY, "cannot start the anchor's thread");
  a->started = true;
  return 0;
}

/* On the anchor's thread. */
static void on_stop(void *arg) {
  struct anchor *a = arg;
  if (a->flight) transport_cancel(a->flight);
}

void anchor_stop(struct anchor *a) {
  if (!a || !a->started) return;
  atomic_store(&a->stop, true);
  pthread_mutex_lock(&a->lock);
  pthread_cond_signal(&a->wake);
  pthread_mutex_unlock(&a->lock);
  loop_post(a->loop, on_stop, a);
  pthread_join(a->thread, NULL);
  a->started = false;
}

json_t *anchor_news(struct anchor *a) {
  pthread_mutex_lock(&a->lock);
  json_t *news = a->events;
  a->events = json_array();
  pthread_mutex_unlock(&a->lock);
  return news;
}

json_t *anchor_status(struct anchor *a) {
  json_t *list = json_array();
  pthread_mutex_lock(&a->lock);
  for (size_t i = 0; i < a->count; i++) {
    const struct target *t = &a->targets[i];
    json_array_append_new(list, json_pack("{s:s, s:s, s:I, s:I, s:s?}", "what", kinds[t->kind], "target", t->name, "size",
                                          (json_int_t)t->size, "time", (json_int_t)t->time, "why", t->failures ? t->why : NULL));
  }
  pthread_mutex_unlock(&a->lock);
  return list;
}

/* ---- */

static int targets_make(struct anchor *a, struct secrets *from, struct err *err) {
  int r = 0;
  for (size_t kind = 0; r == 0 && kind < sizeof kinds / sizeof *kinds; kind++) {
    const json_t *list = json_object_get(a->settings, kinds[kind]);
    for (size_t i = 0; r == 0 && i < json_array_size(list); i++)
      r = target_add(a, from, (enum target_kind)kind, (unsigned)i + 1, json_array_get(list, i), err);
  }
  return r;
}

static void lock_init(struct anchor *a) {
  pthread_condattr_t monotonic;
  pthread_mutex_init(&a->lock, NULL);
  pthread_condattr_init(&monotonic);
  pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
  pthread_cond_init(&a->wake, &monotonic);
  pthread_condattr_destroy(&monotonic);
}

/* All but the folder. */
static int anchor_make(const struct anchor_options *o, struct anchor **ret, struct err *err) {
  struct anchor *a = calloc(1, sizeof *a);
  if (!a) abort();
  lock_init(a);
  a->disk.fd = -1;
  if (o->key) a->key = *o->key;
  a->news = o->news;
  a->cosigned = o->cosigned;
  a->arg = o->arg;
  a->settings = json_deep_copy(o->settings);
  a->every_ms = json_int_or(a->settings, "every", EVERY_MS);
  a->events = json_array();
  a->secrets = secrets_new();
  a->parent = o->secrets;
  log_set_secrets(a->parent); /* the log redacts with the process's own store */
  a->loop = loop_new();
  a->transports = transports_new(a->loop, a->secrets);
  int r = (size_t)snprintf(a->folder, sizeof a->folder, "%s", o->folder) < sizeof a->folder
              ? targets_make(a, o->secrets, err)
              : err_set(err, ERR_INVALID, "the path of the evidence folder is too long");
  if (r == 0) *ret = a;
  else anchor_free(a);
  return r;
}

int anchor_settings_check(const json_t *settings, struct secrets *secrets, struct err *err) {
  struct anchor_options options = {.folder = "", .settings = settings, .secrets = secrets};
  struct anchor *a = NULL;
  int r = anchor_make(&options, &a, err);
  if (r == 0) anchor_free(a);
  return r;
}

int anchor_new(const struct anchor_options *o, struct anchor **ret, struct err *err) {
  char path[4096];
  struct anchor *a = NULL;
  int r = anchor_make(o, &a, err);
  if (r < 0) return r;
  snprintf(path, sizeof path, "%s/anchors", a->folder);
  if ((r = disk_open(&a->disk, path, NULL, NULL, err)) == 0) {
    state_read(a);
    *ret = a;
  } else {
    a->disk.fd = -1;
    anchor_free(a);
  }
  return r;
}

void anchor_free(struct anchor *a) {
  if (!a) return;
  anchor_stop(a);
  transports_free(a->transports);
  loop_turn(a->loop);
  loop_free(a->loop);
  const bool own = a->disk.fd > 0;
  if (own) disk_close(&a->disk);
  for (size_t i = 0; i < a->count; i++) json_decref(a->targets[i].network);
  secrets_free(a->secrets);
  log_set_secrets(a->parent);
  json_decref(a->settings);
  json_decref(a->events);
  pthread_cond_destroy(&a->wake);
  pthread_mutex_destroy(&a->lock);
  free(a);
}
