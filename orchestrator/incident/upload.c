/* How files come into custody: piece by piece, each on the vault's thread; then read back, and only then named by an entry. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "incident/files.h"

enum { UPLOADS_MOST = 16, TEXT_MOST = 4096, FILES_MOST = 1000 };
static const int64_t UPLOAD_IDLE_US = 300000000;

static void upload_free(struct upload *u) {
  json_decref(u->body);
  free(u);
}

static int work_cancel(struct blobs *b, struct vault_job *job) {
  struct file_job *j = (struct file_job *)job;
  blob_cancel(j->upload->writer);
  j->upload->writer = NULL;
  return 0;
}

static void cancelled(struct vault_job *job) {
  struct file_job *j = (struct file_job *)job;
  upload_free(j->upload);
  file_job_free(j);
}

/* The desk ends before: whether the job was carried out or not. */
static void cancel_drop(struct vault_job *job) {
  work_cancel(NULL, job);
  cancelled(job);
}

static void upload_end(struct files *f, struct upload *u) {
  LIST_REMOVE(u, next);
  f->count--;
}

static void upload_drop(struct files *f, struct upload *u) {
  struct file_job *j = file_job_new(NULL, work_cancel, cancelled);
  upload_end(f, u);
  j->job.drop = cancel_drop;
  j->upload = u;
  vault_do(f->vault, &j->job);
}

/* Those that nobody goes on with. */
static void uploads_sweep(struct files *f) {
  int64_t now = clock_boot(clock_system());
  struct upload *u, *next;
  for (u = LIST_FIRST(&f->uploads); u; u = next) {
    next = LIST_NEXT(u, next);
    if (!u->busy && now - u->touched > UPLOAD_IDLE_US) upload_drop(f, u);
  }
}

static int64_t retention_of(struct desk *d, const char *class) {
  const json_t *classes = json_object_get(json_object_get(d->deps.settings, "evidence"), "classes");
  return json_int_or(classes, class, -1);
}

const char *file_class(struct desk *d, const json_t *facts) {
  const char *given = json_str_or(facts, "class", "");
  return *given ? given : json_str_or(json_object_get(d->deps.settings, "evidence"), "class", "standard");
}

int file_err_twice(const struct incident *inc, const char *item, struct err *err) {
  return err_set(err, ERR_EXISTS, "%s keeps this very file already, as item %s", inc->id, item);
}

static const char *const fact_texts[] = {"name", "source",       "because",   "from", "to",
                                         "tool", "collected_by", "collected", "hold", "sha256_before"};
enum { FACT_TEXTS = sizeof fact_texts / sizeof *fact_texts };

static int facts_check(const json_t *facts, struct err *err) {
  for (size_t i = 0; i < FACT_TEXTS; i++)
    if (strlen(json_str_or(facts, fact_texts[i], "")) > TEXT_MOST)
      return err_set(err, ERR_LIMIT, "`%s` is longer than %d bytes", fact_texts[i], TEXT_MOST);
  return 0;
}

int file_may_come(struct desk *d, struct incident *inc, const json_t *facts, const char *class, int64_t size, const char *sha256,
                  struct err *err) {
  int64_t most = json_int_or(json_object_get(d->deps.settings, "evidence"), "file_most_mib", 256) << 20;
  const char *item;
  if (facts_check(facts, err) < 0) return ERR_LIMIT;
  if (size > most)
    return err_set(err, ERR_LIMIT, "the file has %" PRId64 " bytes; at most %" PRId64 " are kept (the setting evidence.file_most_mib)",
                   size, most);
  if (retention_of(d, class) < 0)
    return err_set(err, ERR_INVALID, "there is no class \"%.60s\"; the setting evidence.classes names them", class);
  if (file_by_digest(inc, sha256, &item)) return file_err_twice(inc, item, err);
  if (json_object_size(json_object_get(incident_state(inc), "files")) >= FILES_MOST)
    return err_set(err, ERR_LIMIT, "the incident has as many files as one may have (%d)", FILES_MOST);
  return 0;
}

json_t *file_body(struct desk *d, const json_t *facts, const char *class) {
  int64_t now = clock_wall(d->deps.store->clock);
  json_t *body = json_pack("{s:s, s:I, s:s, s:o}", "class", class, "retain_until", (json_int_t)(now + retention_of(d, class) * 1000),
                           "node", d->deps.store->node, "clock", file_clock());
  for (size_t i = 0; i < FACT_TEXTS; i++) {
    const char *text = json_str_or(facts, fact_texts[i], "");
    if (*text) json_object_set_new(body, fact_texts[i], json_string(text));
  }
  if (!json_object_get(body, "to")) json_object_set_new(body, "to", json_sprintf("the evidence folder of node %s", d->deps.store->node));
  return body;
}

bool file_coming(struct desk *d, const char *incident, const char *sha256) {
  const struct files *f = files_of(d);
  const struct upload *u;
  const struct file_job *j;
  LIST_FOREACH(u, &f->uploads, next)
  if (strcmp(u->incident, incident) == 0 && strcmp(json_str_or(u->body, "sha256_before", ""), sha256) == 0) return true;
  LIST_FOREACH(j, &f->coming, next) if (strcmp(j->incident, incident) == 0 && strcmp(j->sha256, sha256) == 0) return true;
  return false;
}

/* May it come? Then the owner says so. */
void file_do_offer(struct call *call, struct incident *inc) {
  struct err err;
  int64_t replaces = json_int_or(call->command, "replaces", 0);
  if (file_may_come(call->desk, inc, call->command, json_str_or(call->command, "class", ""), json_int_or(call->command, "size", 0),
                    json_str_or(call->command, "sha256", ""), &err) < 0)
    call_fail(call, &err);
  else call_answer(call, 200, json_pack("{s:s, s:I}", "id", inc->id, "replaces", (json_int_t)(file_of_item(inc, replaces) ? replaces : 0)));
}

static void on_offered(void *arg, int status, const json_t *answer) {
  struct call *call = arg;
  uint8_t random[UPLOAD_TOKEN / 2];
  if (status != 200) {
    call_answer(call, status, json_deep_copy(answer));
    return;
  }
  struct files *f = files_of(call->desk);
  if (f->count >= UPLOADS_MOST) { /* others came while the owner was asked */
    file_fail(call, ERR_LIMIT, "too many files are being added now; try again soon");
    return;
  }
  struct upload *u = calloc(1, sizeof *u);
  if (!u) abort();
  random_bytes(random, sizeof random);
  hex_encode(random, sizeof random, u->token);
  snprintf(u->incident, sizeof u->incident, "%s", json_str_or(answer, "id", ""));
  snprintf(u->actor, sizeof u->actor, "%s", call->by->actor);
  u->size = (uint64_t)json_int_or(call->command, "size", 0);
  u->touched = clock_boot(clock_system());
  u->body = file_body(call->desk, call->command, file_class(call->desk, call->command));
  if (json_int_or(answer, "replaces", 0)) json_object_set(u->body, "replaces", json_object_get(answer, "replaces"));
  LIST_INSERT_HEAD(&f->uploads, u, next);
  f->count++;
  call_answer(call, 200, json_pack("{s:s, s:i}", "upload", u->token, "piece", FILE_PIECE));
}

/* The file stays at the node that the person is at, whoever owns the incident. */
void file_do_begin(struct call *call, struct incident *none) {
  struct files *f = files_of(call->desk);
  const char *name = file_wanted(call, "name"), *because = name ? file_wanted(call, "because") : NULL;
  const char *before = because ? file_wanted(call, "sha256_before") : NULL;
  uint8_t digest[DIGEST_BYTES];
  struct err err = {0};
  if (!before) return; /* answered, and the call is gone */
  int64_t size = json_int_or(call->command, "size", -1);
  uploads_sweep(f);
  if (call->remote) err_set(&err, ERR_DENIED, "another node plays the exercise: add the file there");
  else if (size < 0 || strlen(before) != DIGEST_HEX - 1 || !hex_decode(before, digest, DIGEST_BYTES))
    err_set(&err, ERR_INVALID, "`size` and `sha256_before` say what comes");
  else if (f->count >= UPLOADS_MOST) err_set(&err, ERR_LIMIT, "too many files are being added now; try again soon");
  else facts_check(call->command, &err);
  if (err.code) {
    call_fail(call, &err);
    return;
  }
  desk_command_inner(call->desk, call->by,
                     json_pack("{s:s, s:O*, s:s, s:I, s:s, s:O*}", "command", "evidence.offer", "id", json_object_get(call->command, "id"),
                               "class", file_class(call->desk, call->command), "size", (json_int_t)size, "sha256", before, "replaces",
                               json_object_get(call->command, "replaces")),
                     on_offered, call);
}

/* The caller's own, of this incident, that no other request is at; NULL: answered already. */
static struct upload *upload_of(struct call *call) {
  const char *token = call_text(call, "upload");
  char incident[ID_INCIDENT];
  struct upload *u;
  LIST_FOREACH(u, &files_of(call->desk)->uploads, next)
  if (token && strlen(token) == UPLOAD_TOKEN - 1 && digest_equal(u->token, token, UPLOAD_TOKEN - 1)) break;
  if (u && call_about(call, incident) && strcmp(u->incident, incident) == 0 && strcmp(u->actor, call->by->actor) == 0 && !u->busy) {
    u->busy = true;
    u->touched = clock_boot(clock_system());
    return u;
  }
  file_fail(call, ERR_NOT_FOUND, "this file is not being added (any more): begin anew");
  return NULL;
}

static struct file_job *job_of(struct call *call, struct upload *u, int (*run)(struct blobs *, struct vault_job *),
                               void (*done)(struct vault_job *)) {
  struct file_job *j = file_job_new(call, run, done);
  memcpy(j->incident, u->incident, sizeof j->incident);
  j->upload = u;
  return j;
}

static int work_piece(struct blobs *b, struct vault_job *job) {
  struct file_job *j = (struct file_job *)job;
  struct upload *u = j->upload;
  int r = u->writer ? 0 : blob_begin(b, j->incident, u->size, &u->writer, &job->err);
  return r < 0 ? r : blob_write(u->writer, j->bytes, j->len, &job->err);
}

static void piece_done(struct vault_job *job) {
  struct file_job *j = (struct file_job *)job;
  struct upload *u = j->upload;
  struct call *call = j->call;
  u->busy = false;
  if (job->result < 0) {
    upload_drop(files_of(call->desk), u);
    call_fail(call, &job->err);
  } else {
    u->received += j->len;
    call_answer(call, 200, json_pack("{s:I}", "received", (json_int_t)u->received));
  }
  file_job_free(j);
}

void file_do_piece(struct call *call, struct incident *none) {
  struct upload *u = upload_of(call);
  if (!u) return;
  size_t len = 0;
  const char *data = json_str_or(call->command, "data", "");
  uint8_t *bytes = base64_decode(data, strlen(data), &len);
  if (!bytes || len > FILE_PIECE || json_int_or(call->command, "offset", -1) != (int64_t)u->received) {
    free(bytes);
    u->busy = false;
    file_fail(call, ERR_INVALID, "this is not the piece that comes next");
    return;
  }
  struct file_job *j = job_of(call, u, work_piece, piece_done);
  j->bytes = bytes, j->len = len;
  vault_do(files_of(call->desk)->vault, &j->job);
}

/* What lies on the disk now, read back as whoever asks for it would get it. */
static int digest_again(struct blobs *b, const char *incident, const char *sha256, uint64_t size, struct err *err) {
  enum { AT_ONCE = 4 << 20 };
  struct digest_stream *s = digest_stream_new();
  struct buf out;
  char again[DIGEST_HEX];
  int r = 0;
  buf_init(&out, AT_ONCE);
  for (uint64_t at = 0; r == 0 && at < size; at += out.len) {
    buf_reset(&out);
    r = blob_read(b, incident, sha256, at, AT_ONCE, &out, err);
    if (r == 0 && !out.len) r = err_set(err, ERR_IO, "the file was not kept whole");
    digest_stream_add(s, out.data, out.len);
  }
  digest_stream_end(s, again);
  buf_release(&out);
  if (r == 0 && strcmp(again, sha256) != 0) r = err_set(err, ERR_IO, "what was kept is not what was sent: is the disk sound?");
  return r;
}

int file_keep(struct blobs *b, struct file_job *j, struct blob_writer *w, const char *before) {
  char expected[DIGEST_HEX];
  snprintf(expected, sizeof expected, "%s", before);
  int r = blob_finish(w, expected, j->sha256, &j->size, &j->job.err);
  if (r < 0) return r;
  r = digest_again(b, j->incident, j->sha256, j->size, &j->job.err);
  if (r < 0) blob_remove(b, j->incident, j->sha256, NULL);
  return r;
}

static int work_finish(struct blobs *b, struct vault_job *job) {
  struct file_job *j = (struct file_job *)job;
  struct upload *u = j->upload;
  int r = u->writer ? 0 : blob_begin(b, j->incident, 0, &u->writer, &job->err);
  if (r < 0) return r;
  struct blob_writer *w = u->writer;
  u->writer = NULL;
  return file_keep(b, j, w, json_str_or(u->body, "sha256_before", ""));
}

/* Until it is marked as kept nobody may take it for what a crash left: its incident, which may be another node's, does not name it yet. */
static void coming(struct file_job *j, bool comes) {
  if (comes) LIST_INSERT_HEAD(&files_of(j->call->desk)->coming, j, next);
  else if (j->coming) LIST_REMOVE(j, next);
  j->coming = comes;
}

/* What the owner appends. The file is on a disk by now. */
void file_do_record(struct call *call, struct incident *inc) {
  const json_t *body = json_object_get(call->command, "body"), *size = json_object_get(body, "size");
  struct err err;
  const char *sha256 = json_str_or(body, "sha256", "");
  if (!size) err_set(&err, ERR_INVALID, "`body` says what was kept");
  else if (file_may_come(call->desk, inc, body, json_str_or(body, "class", ""), json_integer_value(size), sha256, &err) == 0) err.code = 0;
  if (err.code) { /* somebody else was faster */
    call_fail(call, &err);
    return;
  }
  journal_save_state(inc->journal);
  uint64_t seq = journal_add(inc->journal, KIND_EVIDENCE_COLLECTED, call->by->actor, 0, NULL, json_deep_copy(body));
  call_answer_durable(call, inc->journal,
                      json_pack("{s:s, s:I, s:s, s:O}", "id", inc->id, "item", (json_int_t)seq, "sha256", sha256, "size",
                                (json_t *)(uintptr_t)size));
}

/* A refusal may mean that the incident has it from elsewhere: it is asked. Without an answer nobody knows whether the entry is there: the next start looks. */
static void on_recorded(void *arg, int status, const json_t *answer) {
  struct file_job *j = arg;
  struct call *call = j->call;
  struct desk *d = call->desk;
  call_answer(call, status, json_deep_copy(answer));
  j->call = NULL; /* it is gone; the job goes on */
  j->mark = status == 200 ? BLOB_KEPT : BLOB_NEW;
  if (status == 200) file_job_start(d, j, file_work_mark, file_marked);
  else if (status < 500) coming(j, false), file_settle(d, j);
  else file_job_free(j);
}

static void finished(struct vault_job *job) {
  struct file_job *j = (struct file_job *)job;
  struct upload *u = j->upload;
  struct call *call = j->call;
  json_t *body = json_incref(u->body);
  upload_end(files_of(call->desk), u);
  upload_free(u);
  if (job->result < 0) {
    json_decref(body);
    call_fail(call, &job->err);
    file_job_free(j);
    return;
  }
  json_object_set_new(body, "sha256", json_string(j->sha256));
  json_object_set_new(body, "size", json_integer((json_int_t)j->size));
  coming(j, true);
  desk_command_inner(call->desk, call->by, json_pack("{s:s, s:s, s:o}", "command", "evidence.record", "id", j->incident, "body", body),
                     on_recorded, j);
}

void file_do_finish(struct call *call, struct incident *none) {
  struct upload *u = upload_of(call);
  if (!u) return;
  if (u->received != u->size) {
    upload_drop(files_of(call->desk), u);
    file_fail(call, ERR_CONFLICT, "the file changed while it was read: it has another size now; nothing was kept");
    return;
  }
  struct file_job *j = job_of(call, u, work_finish, finished);
  vault_do(files_of(call->desk)->vault, &j->job);
}

void file_uploads_free(struct files *f) {
  struct upload *u;
  while ((u = LIST_FIRST(&f->uploads))) {
    LIST_REMOVE(u, next);
    blob_cancel(u->writer);
    upload_free(u);
  }
}
