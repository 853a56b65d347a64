/* What a playbook takes into custody: as a person's file (upload.c), but its bytes are at hand, and the run's step is the entry. */
#include <stdlib.h>
#include <string.h>

#include "incident/files.h"

static int work_collect(struct blobs *b, struct vault_job *job) {
  struct file_job *j = (struct file_job *)job;
  struct blob_writer *w = NULL;
  int r = blob_begin(b, j->incident, j->len, &w, &job->err);
  if (r == 0 && (r = blob_write(w, j->bytes, j->len, &job->err)) < 0) blob_cancel(w);
  return r < 0 ? r : file_keep(b, j, w, j->sha256);
}

static void entry_durable(void *arg, const struct err *err) {
  struct file_job *j = arg;
  j->mark = BLOB_KEPT;
  if (err) file_job_free(j); /* not known whether the entry is there: the next start looks */
  else file_job_start(j->desk, j, file_work_mark, file_marked);
}

static void collected(struct vault_job *job) {
  struct file_job *j = (struct file_job *)job;
  struct incident *inc = map_get(&j->desk->incidents, j->incident);
  const char *item;
  LIST_REMOVE(j, next);
  j->coming = false;
  bool twice = job->result == 0 && inc && inc->journal && file_by_digest(inc, j->sha256, &item);
  if (twice) file_err_twice(inc, item, &job->err);
  json_object_set_new(j->body, "sha256", json_string(j->sha256));
  json_object_set_new(j->body, "size", json_integer((json_int_t)j->size));
  bool on_record = j->kept(j->arg, j->body, job->result < 0 || twice ? &job->err : NULL);
  j->kept = NULL;
  if (on_record) journal_when_durable(j->journal, entry_durable, j);
  else if (job->result < 0 || twice || file_coming(j->desk, j->incident, j->sha256)) file_job_free(j);
  else file_job_start(j->desk, j, file_work_remove, file_marked); /* the run has ended meanwhile */
}

int desk_collect(struct desk *d, struct journal *journal, const json_t *facts, char *bytes_take, size_t len, run_kept_cb *cb, void *arg,
                 struct err *err) {
  struct incident *inc = map_get(&d->incidents, journal_incident(journal));
  const char *class = file_class(d, facts);
  uint8_t digest[DIGEST_BYTES];
  char sha256[DIGEST_HEX], now[TIME_TEXT];
  digest_sha256(bytes_take, len, digest);
  hex_encode(digest, sizeof digest, sha256);
  int r = inc ? file_may_come(d, inc, facts, class, (int64_t)len, sha256, err) : err_set(err, ERR_NOT_FOUND, "the incident is not here");
  if (r < 0) {
    free(bytes_take);
    return r;
  }
  struct file_job *j = file_job_new(NULL, work_collect, collected);
  memcpy(j->incident, inc->id, sizeof j->incident);
  memcpy(j->sha256, sha256, sizeof j->sha256);
  j->desk = d, j->journal = journal;
  j->bytes = (uint8_t *)bytes_take, j->len = len;
  j->body = file_body(d, facts, class);
  json_object_set_new(j->body, "sha256_before", json_string(sha256));
  time_format(clock_wall(d->deps.store->clock), now);
  json_object_set_new(j->body, "collected", json_string(now));
  j->kept = cb, j->arg = arg;
  j->coming = true;
  LIST_INSERT_HEAD(&files_of(d)->coming, j, next);
  vault_do(files_of(d)->vault, &j->job);
  return 0;
}
