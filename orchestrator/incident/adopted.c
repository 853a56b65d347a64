/* Evidence folders of nodes that are gone for good, which this one has adopted (the setting evidence.adopted): their files are given from here, and what is removed anywhere is removed from them, too. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "evidence/archive.h"
#include "incident/files.h"

static const json_t *adopted_of(const struct desk *d) { return json_object_get(json_object_get(d->deps.settings, "evidence"), "adopted"); }

struct vault *file_vault(struct desk *d, const char *node) {
  struct files *f = files_of(d);
  struct vault *v = map_get(&f->adopted, node);
  const char *folder = json_str(json_object_get(adopted_of(d), node), "folder");
  if (v || !folder) return v ? v : f->vault;
  map_put(&f->adopted, node, v = vault_new(d->deps.loop, folder));
  return v;
}

/* ---- bodies that were removed */

struct forgetting {
  struct vault_job job;     /* first */
  const char *folder, *key; /* of the settings */
  char journal[ID_INCIDENT];
  uint64_t seq;
  struct forgetful *of;
};

/* One entry in every adopted folder. */
struct forgetful {
  size_t left;
  struct err err; /* of one that failed */
  void (*then)(void *arg, const struct err *err);
  void *arg;
};

/* No journal: only that what was sealed last can be found. */
static int work_forget(struct blobs *b, struct vault_job *job) {
  const struct forgetting *f = (const struct forgetting *)job;
  struct note_verifier key;
  int r = note_verifier_read(f->key, &key, &job->err);
  if (r < 0) return r;
  return *f->journal ? archive_forget(f->folder, &key, f->journal, f->seq, &job->err) : archive_ready(f->folder, &key, &job->err);
}

static void over(struct forgetful *all) {
  if (--all->left) return;
  if (all->then) all->then(all->arg, all->err.code ? &all->err : NULL);
  free(all);
}

static void forgotten(struct vault_job *job) {
  struct forgetting *f = (struct forgetting *)job;
  if (job->result < 0) f->of->err = job->err;
  if (job->result < 0 && !*f->journal) log_warning("the adopted folder %s cannot be read: %s", f->folder, job->err.text);
  else if (job->result < 0)
    log_warning("%s/%llu is not removed from the adopted folder %s yet: %s", f->journal, (unsigned long long)f->seq, f->folder,
                job->err.text);
  over(f->of);
  free(f);
}

static void forget_drop(struct vault_job *job) {
  struct forgetting *f = (struct forgetting *)job;
  err_set(&f->of->err, ERR_CANCELLED, "the engine is stopping");
  over(f->of);
  free(f);
}

void adopted_forget(struct desk *d, const char *incident, uint64_t seq, void (*then)(void *arg, const struct err *err), void *arg) {
  const char *node;
  json_t *one;
  struct forgetful *all = calloc(1, sizeof *all);
  if (!all) abort();
  *all = (struct forgetful){.left = 1, .then = then, .arg = arg};
  json_object_foreach((json_t *)(uintptr_t)adopted_of(d), node, one) {
    struct forgetting *f = calloc(1, sizeof *f);
    if (!f) abort();
    *f = (struct forgetting){.job = {.run = work_forget, .done = forgotten, .drop = forget_drop},
                             .folder = json_str_or(one, "folder", ""),
                             .key = json_str_or(one, "key", ""),
                             .seq = seq,
                             .of = all};
    snprintf(f->journal, sizeof f->journal, "%s", incident);
    all->left++;
    vault_do(file_vault(d, node), &f->job);
  }
  over(all);
}

static void on_removed(void *arg, const struct redis_value *reply, const struct err *err) {
  struct desk *d = arg;
  for (size_t i = 0; !err && i < redis_count(reply); i++) {
    char incident[ID_INCIDENT];
    struct id id;
    const char *name = redis_string(redis_item(reply, i), NULL), *slash = strchr(name, '/');
    if (!slash || (size_t)(slash - name) >= sizeof incident) continue;
    snprintf(incident, sizeof incident, "%.*s", (int)(slash - name), name);
    if (id_parse(incident, &id)) adopted_forget(d, incident, strtoull(slash + 1, NULL, 10), NULL, NULL);
  }
}

void adopted_look(struct desk *d) {
  if (!json_object_size(adopted_of(d))) return;
  adopted_forget(d, "", 0, NULL, NULL);
  redis_call(d->deps.redis, 0, on_removed, d, NULL, "SMEMBERS", "tocsin:removed", NULL);
}
