/* How many files in custody this node keeps, and how many of them are missing on its disk: looked at from time to time, for `tocsin doctor` and /metrics. */
#include <stdlib.h>

#include "base/log.h"
#include "incident/files.h"

enum { EVERY_MS = 3600000 };

struct counting {
  struct vault_job job; /* first */
  struct desk *desk;
  struct blob_counts counts;
  desk_counted_cb *cb;
  void *arg;
};

static int work_count(struct blobs *b, struct vault_job *job) {
  struct counting *c = (struct counting *)job;
  return blobs_count(b, &c->counts, &job->err);
}

static void counted(struct vault_job *job) {
  struct counting *c = (struct counting *)job;
  struct files *f = files_of(c->desk);
  if (job->result < 0) log_warning("the kept files cannot be counted: %s", job->err.text);
  else if (c->counts.missing > f->counts.missing)
    log_error("%llu of %llu kept files are missing in the evidence folder: restore them from a backup; `tocsin evidence get` names each",
              (unsigned long long)c->counts.missing, (unsigned long long)c->counts.kept);
  if (job->result == 0) f->counts = c->counts;
  if (c->cb) c->cb(c->arg, &f->counts, job->result < 0 ? &job->err : NULL);
  free(c);
}

/* The engine is stopping: whoever asked hears nothing more. */
static void dropped(struct vault_job *job) { free(job); }

void desk_count_files(struct desk *d, desk_counted_cb *cb, void *arg) {
  struct counting *c = calloc(1, sizeof *c);
  if (!c) abort();
  c->job.run = work_count, c->job.done = counted, c->job.drop = dropped;
  c->desk = d, c->cb = cb, c->arg = arg;
  vault_do(files_of(d)->vault, &c->job);
}

static void again(void *arg) {
  struct desk *d = arg;
  timer_free(d->files->counting);
  d->files->counting = timer_start(d->deps.loop, EVERY_MS, again, d);
  desk_count_files(d, NULL, NULL);
  adopted_look(d);
  file_settle_ends(d);
  desk_expire_files(d);
}

void desk_watch_files(struct desk *d) {
  if (!files_of(d)->counting) again(d);
}

const struct blob_counts *desk_files_counted(struct desk *d) { return &files_of(d)->counts; }
