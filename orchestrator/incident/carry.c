/* Kept files where they lie: at this node, or at another one, which is asked by letter. Bytes that pass through Redis so are sealed to whoever asked (evidence/passage.h): what its append-only file keeps of them
 * nobody can open. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "incident/files.h"

enum { WITHIN_MS = 60000, SEALED_MOST = 2 * FILE_PIECE };

static const char *own_node(const struct desk *d) { return d->deps.store->node; }

static int nobody(const char *node, struct err *err) {
  return err_set(err, ERR_CONFLICT,
                 "the file lies at node %.60s, which is not there: start it, or if it is gone for good, let a node adopt its evidence "
                 "folder (the setting evidence.adopted)",
                 node);
}

const char *file_holder(const struct desk *d, const char *node, struct err *err) {
  const char *holder = strcmp(node, own_node(d)) == 0 ? own_node(d) : d->deps.nodes ? nodes_holder(d->deps.nodes, node) : NULL;
  if (holder && strcmp(holder, own_node(d)) != 0 && !d->post) holder = NULL; /* an exercise's desk writes no letters */
  if (!holder) nobody(node, err);
  return holder;
}

static bool is_here(const struct desk *d, const char *holder) { return holder && strcmp(holder, own_node(d)) == 0; }

bool file_is_here(const struct desk *d, const char *node) { return is_here(d, file_holder(d, node, NULL)); }

static json_t *letter_of(const char *verb, const char *node, const char *incident, const char *sha256) {
  return json_pack("{s:s, s:s, s:s, s:s}", "do", verb, "node", node, "incident", incident, "sha256", sha256);
}

static struct err told(int status, const json_t *answer, const struct err *err) {
  struct err why;
  if (err) return *err;
  int code = status == 404 ? ERR_NOT_FOUND : status == 400 ? ERR_INVALID : status == 409 ? ERR_CONFLICT : ERR_UNAVAILABLE;
  err_set(&why, code, "%.400s", json_str_or(answer, "error", "the node that has the file failed"));
  return why;
}

/* ---- marking and destroying */

static int work_nobody(struct blobs *b, struct vault_job *job) { return nobody(((struct file_job *)job)->node, &job->err); }

static void job_then(struct vault_job *job) {
  struct file_job *j = (struct file_job *)job;
  j->then(j->arg, job->result < 0 ? &job->err : NULL);
  file_job_free(j);
}

static void on_done_there(void *arg, int status, const json_t *answer, const struct err *err) {
  struct file_job *j = arg;
  struct err why;
  if (err || status != 200) why = told(status, answer, err), err = &why;
  j->then(j->arg, err);
  file_job_free(j);
}

static void at_node(struct desk *d, const char *node, const char *verb, int (*run)(struct blobs *, struct vault_job *),
                    struct file_job *j) {
  const char *holder = file_holder(d, node, NULL);
  snprintf(j->node, sizeof j->node, "%.47s", node);
  if (holder && !is_here(d, holder)) {
    post_ask(d->post, holder, "file", letter_of(verb, node, j->incident, j->sha256), WITHIN_MS, on_done_there, j);
    return;
  }
  file_job_start(d, j, holder ? run : work_nobody, job_then);
}

static struct file_job *job_of(const char *incident, const char *sha256, void (*then)(void *, const struct err *), void *arg) {
  struct file_job *j = file_job_new(NULL, NULL, NULL);
  snprintf(j->incident, sizeof j->incident, "%s", incident);
  snprintf(j->sha256, sizeof j->sha256, "%s", sha256);
  j->mark = BLOB_LEAVING, j->then = then, j->arg = arg;
  return j;
}

void file_leave(struct desk *d, const char *node, const char *incident, const char *sha256, void (*then)(void *, const struct err *),
                void *arg) {
  at_node(d, node, "leave", file_work_mark, job_of(incident, sha256, then, arg));
}

void file_destroy(struct desk *d, const char *node, const char *incident, const char *sha256, void (*then)(void *, const struct err *),
                  void *arg) {
  at_node(d, node, "destroy", file_work_remove, job_of(incident, sha256, then, arg));
}

/* ---- bringing a piece */

struct carrying {
  struct call *call;
  json_t *facts;
  struct passage *passage;
};

static int work_read(struct blobs *b, struct vault_job *job) {
  struct file_job *j = (struct file_job *)job;
  buf_init(&j->out, FILE_PIECE);
  return blob_read(b, j->incident, j->sha256, j->offset, FILE_PIECE, &j->out, &job->err);
}

static void answer_piece(struct call *call, json_t *facts, const struct buf *piece) {
  char *data = base64_encode(piece->data, piece->len);
  json_object_set_new(facts, "data", json_string(data));
  call_answer(call, 200, json_incref(facts));
  free(data);
}

static void read_here(struct vault_job *job) {
  struct file_job *j = (struct file_job *)job;
  if (job->result < 0) call_fail(j->call, &job->err);
  else answer_piece(j->call, j->body, &j->out);
  file_job_free(j);
}

static void on_piece(void *arg, int status, const json_t *answer, const struct err *err) {
  struct carrying *c = arg;
  struct err why;
  struct buf piece;
  const char *sealed = json_str_or(answer, "sealed", "");
  buf_init(&piece, FILE_PIECE);
  if (err || status != 200) why = told(status, answer, err), err = &why;
  else if (passage_open(c->passage, sealed, strlen(sealed), &piece, &why) < 0) err = &why;
  if (err) file_call_fail(c->call, err);
  else answer_piece(c->call, c->facts, &piece);
  buf_release(&piece);
  passage_free(c->passage);
  json_decref(c->facts);
  free(c);
}

static void ask_there(struct call *call, const char *holder, const char *node, uint64_t offset, json_t *facts_take) {
  struct carrying *c = calloc(1, sizeof *c);
  char public[PASSAGE_PUBLIC];
  if (!c) abort();
  *c = (struct carrying){.call = call, .facts = facts_take, .passage = passage_new(public)};
  json_t *letter = letter_of("read", node, json_str_or(facts_take, "id", ""), json_str_or(facts_take, "sha256", ""));
  json_object_set_new(letter, "offset", json_integer((json_int_t)offset));
  json_object_set_new(letter, "to", json_string(public));
  post_ask(call->desk->post, holder, "file", letter, WITHIN_MS, on_piece, c);
}

void file_carry(struct call *call, json_t *facts_take) {
  struct desk *d = call->desk;
  struct err err;
  int64_t at = json_int_or(call->command, "offset", 0);
  uint64_t offset = at > 0 ? (uint64_t)at : 0;
  const char *node = json_str_or(facts_take, "node", ""), *holder = file_holder(d, node, &err);
  if (!holder) {
    json_decref(facts_take);
    call_fail(call, &err);
  } else if (!is_here(d, holder)) {
    ask_there(call, holder, node, offset, facts_take);
  } else {
    struct file_job *j = file_job_new(call, NULL, NULL);
    snprintf(j->incident, sizeof j->incident, "%s", json_str_or(facts_take, "id", ""));
    snprintf(j->sha256, sizeof j->sha256, "%s", json_str_or(facts_take, "sha256", ""));
    snprintf(j->node, sizeof j->node, "%.47s", node);
    j->offset = offset, j->body = facts_take;
    file_job_start(d, j, work_read, read_here);
  }
}

/* ---- what other nodes ask for */

/* On the vault's thread. */
static int work_read_sealed(struct blobs *b, struct vault_job *job) {
  struct file_job *j = (struct file_job *)job;
  struct buf sealed;
  int r = work_read(b, job);
  buf_init(&sealed, SEALED_MOST);
  if (r == 0) r = passage_seal(j->to, j->out.data, j->out.len, &sealed, &job->err);
  buf_release(&j->out);
  j->out = sealed;
  return r;
}

static void letter_done(struct vault_job *job) {
  struct file_job *j = (struct file_job *)job;
  json_t *answer = job->result < 0 ? json_pack("{s:s}", "error", job->err.text)
                   : j->out.data   ? json_pack("{s:s}", "sealed", j->out.data)
                                   : json_object();
  post_answer(j->desk->post, j->from, j->nonce, job->result < 0 ? call_status(job->err.code) : 200, answer);
  file_job_free(j);
}

void file_letter(struct desk *d, const struct letter *letter) {
  static const struct {
    const char *verb;
    int (*run)(struct blobs *, struct vault_job *);
  } verbs[] = {{"read", work_read_sealed}, {"leave", file_work_mark}, {"destroy", file_work_remove}};
  const char *verb = json_str_or(letter->body, "do", ""), *node = json_str_or(letter->body, "node", "");
  int64_t offset = json_int_or(letter->body, "offset", 0);
  struct file_job *j = job_of(json_str_or(letter->body, "incident", ""), json_str_or(letter->body, "sha256", ""), NULL, NULL);
  int (*run)(struct blobs *, struct vault_job *) = work_nobody;
  j->desk = d;
  j->offset = offset > 0 ? (uint64_t)offset : 0;
  snprintf(j->to, sizeof j->to, "%s", json_str_or(letter->body, "to", ""));
  snprintf(j->node, sizeof j->node, "%.47s", node);
  snprintf(j->from, sizeof j->from, "%.47s", letter->from);
  snprintf(j->nonce, sizeof j->nonce, "%.47s", letter->nonce);
  for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
    if (strcmp(verbs[i].verb, verb) == 0 && file_is_here(d, node)) run = verbs[i].run;
  file_job_start(d, j, run, letter_done);
}
