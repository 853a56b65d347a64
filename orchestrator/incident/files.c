/* Files in custody (NIST SP 800-61, ISO/IEC 27037): their entries; how they go out and are destroyed.
 *
 * The bytes are durable before the entry that names them, and go after the entry that says so; what a crash leaves between is settled at the next start (desk_settle_files). */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "incident/files.h"

enum { TEXT_MOST = 4096, COPIES_MOST = 64 };
static const int64_t COPY_IDLE_US = 300000000;

struct files *files_of(struct desk *d) {
  const char *folder = json_str(json_object_get(d->deps.settings, "evidence"), "folder");
  if (d->files) return d->files;
  if (!(d->files = calloc(1, sizeof *d->files))) abort();
  LIST_INIT(&d->files->uploads);
  LIST_INIT(&d->files->coming);
  TAILQ_INIT(&d->files->copies);
  d->files->vault = vault_new(d->deps.loop, folder ? folder : "evidence");
  map_init(&d->files->adopted);
  d->files->engine = (struct person){.name = strdup("tocsin"), .actor = "engine", .roles = json_pack("[s]", "admin"), .known = true};
  return d->files;
}

static void job_drop(struct vault_job *job) {
  struct file_job *j = (struct file_job *)job;
  struct err err;
  err_set(&err, ERR_CANCELLED, "the engine is stopping");
  if (j->then) j->then(j->arg, &err);
  if (j->kept) j->kept(j->arg, j->body, &err);
  if (j->call) call_drop(j->call);
  file_job_free(j);
}

struct file_job *file_job_new(struct call *call, int (*run)(struct blobs *, struct vault_job *), void (*done)(struct vault_job *)) {
  struct file_job *j = calloc(1, sizeof *j);
  if (!j) abort();
  j->job.run = run, j->job.done = done, j->job.drop = job_drop;
  j->call = call;
  if (call && call->inc) memcpy(j->incident, call->inc->id, sizeof j->incident);
  return j;
}

void file_job_free(struct file_job *j) {
  if (j->coming) LIST_REMOVE(j, next);
  json_decref(j->body);
  buf_release(&j->out);
  free(j->bytes);
  free(j);
}

void file_fail(struct call *call, int code, const char *text) {
  struct err err;
  err_set(&err, code, "%s", text);
  call_fail(call, &err);
}

void file_call_fail(struct call *call, const struct err *err) {
  if (err->code == ERR_CANCELLED) call_drop(call);
  else call_fail(call, err);
}

/* NULL: answered already. */
const char *file_wanted(struct call *call, const char *name) {
  const char *text = call_text(call, name);
  char why[100];
  if (text && strlen(text) <= TEXT_MOST) return text;
  snprintf(why, sizeof why, text ? "`%.40s` is longer than %d bytes" : "`%.40s` is missing", name, TEXT_MOST);
  file_fail(call, text ? ERR_LIMIT : ERR_INVALID, why);
  return NULL;
}

/* ---- items */

json_t *file_of_item(struct incident *inc, int64_t item) {
  char number[24];
  snprintf(number, sizeof number, "%" PRId64, item);
  return json_object_get(json_object_get(incident_state(inc), "files"), number);
}

/* A file that is there; NULL: answered already, and the call is gone. */
static json_t *item_of(struct call *call, struct incident *inc) {
  int64_t item = json_int_or(call->command, "item", 0);
  json_t *file = file_of_item(inc, item);
  char why[200];
  if (!file) {
    snprintf(why, sizeof why, "%s keeps no file %" PRId64 "; `tocsin evidence list %s` shows them", inc->id, item, inc->id);
    file_fail(call, ERR_NOT_FOUND, why);
    return NULL;
  }
  if (!json_object_get(file, "deleted")) return file;
  snprintf(why, sizeof why, "file %" PRId64 " of %s was deleted; `tocsin incident show %s` says when and why", item, inc->id, inc->id);
  file_fail(call, ERR_CONFLICT, why);
  return NULL;
}

const json_t *file_by_digest(struct incident *inc, const char *sha256, const char **ret_item) {
  const char *key;
  json_t *file;
  json_object_foreach(json_object_get(incident_state(inc), "files"), key, file) {
    if (json_object_get(file, "deleted") || strcmp(json_str_or(file, "sha256", ""), sha256) != 0) continue;
    *ret_item = key;
    return file;
  }
  return NULL;
}

/* Appends the entry and answers once it is durable. */
static void entry_add(struct call *call, struct incident *inc, enum kind kind, json_t *file, json_t *body_take) {
  json_object_set(body_take, "item", json_object_get(call->command, "item"));
  json_object_set(body_take, "sha256", json_object_get(file, "sha256"));
  journal_save_state(inc->journal);
  uint64_t seq = journal_add(inc->journal, kind, call->by->actor, 0, NULL, body_take);
  call_answer_durable(call, inc->journal,
                      json_pack("{s:s, s:I, s:O}", "id", inc->id, "seq", (json_int_t)seq, "item", json_object_get(call->command, "item")));
}

/* What the system says of its own clock: adjtimex(2). */
json_t *file_clock(void) {
  int64_t most;
  bool good = clock_synchronized(&most);
  return json_pack("{s:s, s:I}", "state", good ? "synchronized" : "not synchronized", "error_most_us", (json_int_t)most);
}

/* ---- work */

int file_work_mark(struct blobs *b, struct vault_job *job) {
  struct file_job *j = (struct file_job *)job;
  return blob_mark(b, j->incident, j->sha256, j->mark, &job->err);
}

int file_work_remove(struct blobs *b, struct vault_job *job) {
  struct file_job *j = (struct file_job *)job;
  int r = blob_remove(b, j->incident, j->sha256, &job->err);
  return r == ERR_NOT_FOUND ? 0 : r;
}

void file_marked(struct vault_job *job) {
  struct file_job *j = (struct file_job *)job;
  if (job->result < 0) log_warning("%s: %s; the next start looks again", j->incident, job->err.text);
  file_job_free(j);
}

void file_job_start(struct desk *d, struct file_job *j, int (*run)(struct blobs *, struct vault_job *), void (*done)(struct vault_job *)) {
  j->job.run = run, j->job.done = done;
  vault_do(file_vault(d, j->node), &j->job);
}

/* ---- going out */

static uint64_t offset_of(const struct call *call) {
  int64_t offset = json_int_or(call->command, "offset", 0);
  return offset > 0 ? (uint64_t)offset : 0;
}

static void copy_drop(struct files *f, struct copy *c) {
  TAILQ_REMOVE(&f->copies, c, next);
  f->copy_count--;
  free(c);
}

/* The oldest goes when there are too many: who goes on with it is on record once more. */
static void copy_keep(const struct call *call) {
  struct files *f = files_of(call->desk);
  int64_t item = json_int_or(call->command, "item", 0), size = json_int_or(file_of_item(call->inc, item), "size", 0);
  uint64_t offset = offset_of(call), next = offset + FILE_PIECE < (uint64_t)size ? offset + FILE_PIECE : (uint64_t)size;
  if (offset >= (uint64_t)size) return; /* that was its end */
  struct copy *c = calloc(1, sizeof *c);
  if (!c) abort();
  *c = (struct copy){.item = item, .touched = clock_boot(clock_system()), .next_offset = next};
  memcpy(c->incident, call->inc->id, sizeof c->incident);
  snprintf(c->actor, sizeof c->actor, "%s", call->by->actor);
  TAILQ_INSERT_TAIL(&f->copies, c, next);
  if (++f->copy_count > COPIES_MOST) copy_drop(f, TAILQ_FIRST(&f->copies));
}

/* Does this piece follow one that the same person was just given? */
static bool copy_goes_on(const struct call *call, uint64_t offset) {
  struct files *f = files_of(call->desk);
  struct copy *c;
  TAILQ_FOREACH(c, &f->copies, next) {
    if (c->next_offset != offset || c->item != json_int_or(call->command, "item", 0) || strcmp(c->incident, call->inc->id) != 0 ||
        strcmp(c->actor, call->by->actor) != 0)
      continue;
    bool fresh = clock_boot(clock_system()) - c->touched < COPY_IDLE_US;
    copy_drop(f, c);
    return fresh;
  }
  return false;
}

/* On record: the node that the person is at has the bytes brought. */
static void copy_recorded(struct call *call) {
  const json_t *file = file_of_item(call->inc, json_int_or(call->command, "item", 0));
  json_t *facts =
      json_pack("{s:s, s:O*, s:O*, s:O*, s:O*}", "id", call->inc->id, "node", json_object_get(file, "node"), "name",
                json_object_get(file, "name"), "size", json_object_get(file, "size"), "sha256", json_object_get(file, "sha256"));
  copy_keep(call);
  if (call->remote) call_answer(call, 200, facts);
  else file_carry(call, facts);
}

static void copy_durable(void *arg, const struct err *err) {
  struct call *call = arg;
  if (err) call_fail(call, err);
  else copy_recorded(call);
}

/* The first piece is on record before it leaves, and so is each that follows none of the same person's. */
static void do_get(struct call *call, struct incident *inc) {
  const json_t *file = item_of(call, inc);
  const char *because = file ? file_wanted(call, "because") : NULL;
  struct err err;
  if (!because) return;
  if (!file_holder(call->desk, json_str_or(file, "node", ""), &err)) {
    call_fail(call, &err);
    return;
  }
  if (offset_of(call) && copy_goes_on(call, offset_of(call))) {
    copy_recorded(call);
    return;
  }
  journal_add(inc->journal, KIND_EVIDENCE_COPIED, call->by->actor, 0, NULL,
              json_pack("{s:O, s:O, s:s}", "item", json_object_get(call->command, "item"), "sha256", json_object_get(file, "sha256"),
                        "because", because));
  journal_when_durable(inc->journal, copy_durable, call);
}

static void do_list(struct call *call, struct incident *inc) {
  const char *key;
  json_t *file, *list = json_array();
  json_object_foreach(json_object_get(incident_state(inc), "files"), key, file) {
    json_t *row = json_copy(file);
    json_object_set_new(row, "item", json_integer(strtoll(key, NULL, 10)));
    json_object_set_new(row, "by", json_string(people_name(call->desk->deps.people, json_str_or(file, "by", ""))));
    json_array_append_new(list, row);
  }
  call_answer(call, 200, json_pack("{s:s, s:o}", "id", inc->id, "files", list));
}

/* ---- custody */

static void do_transfer(struct call *call, struct incident *inc) {
  json_t *file = item_of(call, inc);
  const char *to = file ? file_wanted(call, "to") : NULL, *because = to ? file_wanted(call, "because") : NULL;
  if (because)
    entry_add(call, inc, KIND_EVIDENCE_TRANSFERRED, file,
              json_pack("{s:s, s:s, s:o}", "to", to, "because", because, "clock", file_clock()));
}

/* A receiver who is named in the settings acknowledges in person; for any other somebody writes down how they did. */
static void do_acknowledge(struct call *call, struct incident *inc) {
  json_t *file = item_of(call, inc);
  if (!file) return;
  const char *to = json_str_or(file, "to", ""), *how = call_text(call, "because");
  bool known = json_object_get(json_object_get(call->desk->deps.settings, "people"), to) != NULL;
  if (!json_object_get(file, "transfer") || json_object_get(file, "acknowledged")) {
    file_fail(call, ERR_CONFLICT, "no handing over of this file waits to be acknowledged");
  } else if (known && strcmp(to, call->by->name) != 0) {
    char why[200];
    snprintf(why, sizeof why, "it was handed to %.100s, who must acknowledge it in person", to);
    file_fail(call, ERR_DENIED, why);
  } else if (!known && !how) {
    file_fail(call, ERR_INVALID, "`because` is missing: the receiver is nobody whom the settings name, so say how they acknowledged it");
  } else {
    json_t *body = json_pack("{s:s, s:O, s:s*}", "received_by", to, "transfer", json_object_get(file, "transfer"), "because", how);
    entry_add(call, inc, KIND_EVIDENCE_ACKNOWLEDGED, file, body);
  }
}

static void do_hold(struct call *call, struct incident *inc) {
  json_t *file = item_of(call, inc);
  const char *because = file ? file_wanted(call, "because") : NULL;
  if (!because) return;
  if (json_object_get(file, "hold")) file_fail(call, ERR_CONFLICT, "the file is under a hold already");
  else entry_add(call, inc, KIND_EVIDENCE_HELD, file, json_pack("{s:s}", "because", because));
}

static void do_lift(struct call *call, struct incident *inc) {
  json_t *file = item_of(call, inc);
  const char *because = file ? file_wanted(call, "because") : NULL;
  if (!because) return;
  if (!json_object_get(file, "hold")) file_fail(call, ERR_CONFLICT, "the file is under no hold");
  else entry_add(call, inc, KIND_EVIDENCE_HOLD_LIFTED, file, json_pack("{s:s}", "because", because));
}

/* ---- deleting: marked where it lies, on record, then destroyed */

static const json_t *leaving_file(const struct call *call) { return file_of_item(call->inc, json_int_or(call->command, "item", 0)); }

static void deleted(void *arg, const struct err *err) {
  struct call *call = arg;
  json_t *answer = call->answer;
  struct err why;
  call->answer = NULL;
  if (!err) {
    call_answer(call, 200, answer);
    return;
  }
  json_decref(answer);
  why = *err;
  err_wrap(&why, "the deletion is on record, and will be tried again");
  file_call_fail(call, &why);
}

static void delete_durable(void *arg, const struct err *err) {
  struct call *call = arg;
  const json_t *file = leaving_file(call);
  if (err) call_fail(call, err);
  else file_destroy(call->desk, json_str_or(file, "node", ""), call->inc->id, json_str_or(file, "sha256", ""), deleted, call);
}

static void leaving(void *arg, const struct err *err) {
  struct call *call = arg;
  struct incident *inc = call->inc;
  if (err && err->code == ERR_CANCELLED) {
    call_drop(call);
    return;
  }
  const json_t *file = leaving_file(call);
  int64_t again;
  bool held = json_object_get(file, "hold") != NULL, gone = inc->lost || json_object_get(file, "deleted");
  struct err why;
  bool expires = strcmp(json_str_or(call->command, "command", ""), "evidence.expire") == 0; /* also when another node's engine asked */
  bool kept = expires && file && !gone && file_time(call->desk, inc, file, &again) != BLOB_DUE;
  if (err || held || gone || kept) { /* what came in between counts; the mark is looked at again at the next start */
    if (!err) err_set(&why, ERR_CONFLICT, "something else was done with the file meanwhile: look again"), err = &why;
    call_fail(call, err);
    return;
  }
  bool early = json_int_or(file, "retain_until", 0) > clock_wall(call->desk->deps.store->clock);
  json_t *body =
      json_pack("{s:O, s:O, s:s, s:O*, s:O*, s:O*, s:b}", "item", json_object_get(call->command, "item"), "sha256",
                json_object_get(file, "sha256"), "because", call_text(call, "because"), "name", json_object_get(file, "name"), "class",
                json_object_get(file, "class"), "retain_until", json_object_get(file, "retain_until"), "before_retention", early);
  journal_save_state(inc->journal);
  uint64_t seq = journal_add(inc->journal, KIND_EVIDENCE_DELETED, call->by->actor, 0, NULL, body);
  call->answer = json_pack("{s:s, s:I, s:O}", "id", inc->id, "seq", (json_int_t)seq, "item", json_object_get(call->command, "item"));
  journal_when_durable(inc->journal, delete_durable, call);
}

void file_delete(struct call *call, struct incident *inc, const json_t *file) {
  const char *node = json_str_or(file, "node", "");
  struct err err;
  if (!file_holder(call->desk, node, &err)) call_fail(call, &err);
  else file_leave(call->desk, node, inc->id, json_str_or(file, "sha256", ""), leaving, call);
}

static void do_delete(struct call *call, struct incident *inc) {
  const json_t *file = item_of(call, inc);
  const char *because = file ? file_wanted(call, "because") : NULL;
  char until[TIME_TEXT], why[300];
  if (!because) return;
  int64_t retain = json_int_or(file, "retain_until", 0);
  if (json_object_get(file, "hold")) {
    file_fail(call, ERR_DENIED, "the file is under a legal hold: it may not be deleted; `tocsin evidence release-hold` lifts it");
  } else if (retain > clock_wall(call->desk->deps.store->clock) && !person_has_role(call->by, "lead")) {
    time_format(retain, until);
    snprintf(why, sizeof why, "its class \"%.60s\" keeps the file until %.10s: to delete it earlier needs the role \"lead\"",
             json_str_or(file, "class", ""), until);
    file_fail(call, ERR_DENIED, why);
  } else {
    file_delete(call, inc, file);
  }
}

const struct command_row file_commands_here[] = {{"evidence.begin", "responder", ABOUT_ID, file_do_begin},
                                                 {"evidence.piece", "responder", ABOUT_ID, file_do_piece},
                                                 {"evidence.finish", "responder", ABOUT_ID, file_do_finish},
                                                 {NULL, NULL, ABOUT_NONE, NULL}};
const struct command_row file_commands_inner[] = {{"evidence.offer", "responder", NEEDS_ID, file_do_offer},
                                                  {"evidence.record", "responder", NEEDS_ID, file_do_record},
                                                  {"evidence.expire", "admin", NEEDS_ID, file_do_expire},
                                                  {NULL, NULL, ABOUT_NONE, NULL}};
const struct command_row file_commands[] = {{"evidence.list", "viewer", NEEDS_ID, do_list},
                                            {"evidence.get", "viewer", NEEDS_ID, do_get},
                                            {"evidence.transfer", "responder", NEEDS_ID, do_transfer},
                                            {"evidence.acknowledge", "viewer", NEEDS_ID, do_acknowledge},
                                            {"evidence.hold", "responder", NEEDS_ID, do_hold},
                                            {"evidence.release_hold", "lead", NEEDS_ID, do_lift},
                                            {"evidence.delete", "responder", NEEDS_ID, do_delete},
                                            {NULL, NULL, ABOUT_NONE, NULL}};

/* ---- after a crash */

/* Is it in custody, as lying at that node? */
static bool listed_there(const json_t *answer, const char *node, const char *sha256) {
  size_t i;
  json_t *row;
  json_array_foreach(json_object_get(answer, "files"), i, row) {
    if (!json_object_get(row, "deleted") && strcmp(json_str_or(row, "sha256", ""), sha256) == 0)
      return strcmp(json_str_or(row, "node", ""), node) == 0;
  }
  return false;
}

/* What its incident says, whoever owns it. */
static void settled(void *arg, int status, const json_t *answer) {
  struct file_job *j = arg;
  struct desk *d = j->desk;
  if (status != 200 && status != 404) {
    log_warning("%s: a file that was being added or deleted when the process ended is looked at again later: %s", j->incident,
                json_str_or(answer, "error", ""));
    file_job_free(j);
    return;
  }
  bool kept = listed_there(answer, *j->node ? j->node : d->deps.store->node, j->sha256);
  if (j->ends && (kept || status == 404)) { /* somebody may be deleting it now */
    file_job_free(j);
    return;
  }
  if (!kept && file_coming(d, j->incident, j->sha256)) { /* it is being added again, by a person or a run that goes on */
    file_job_free(j);
    return;
  }
  log_notice("%s: a file that was being %s when the process ended %s", j->incident, j->mark == BLOB_NEW ? "added" : "deleted",
             kept ? "is on record, and stays" : "is not on record, and was removed");
  j->mark = BLOB_KEPT;
  file_job_start(d, j, kept ? file_work_mark : file_work_remove, file_marked);
}

void file_settle(struct desk *d, struct file_job *j) {
  j->desk = d;
  desk_command_inner(d, &files_of(d)->engine, json_pack("{s:s, s:s}", "command", "evidence.list", "id", j->incident), settled, j);
}

struct unsettled {
  struct vault_job job; /* first */
  struct desk *desk;
  char node[NODE_NAME]; /* whose folder it is that was adopted; "": our own */
  bool ends;            /* only those that are leaving, and only if that is on record */
  struct blob_info *list;
  size_t count;
};

static int work_list(struct blobs *b, struct vault_job *job) {
  struct unsettled *u = (struct unsettled *)job;
  int r = u->ends ? 0 : blobs_clear(b, &job->err); /* nobody has begun to add a file by then */
  return r < 0 ? r : blobs_unsettled(b, &u->list, &u->count, &job->err);
}

static void listed(struct vault_job *job) {
  struct unsettled *u = (struct unsettled *)job;
  if (job->result < 0) log_warning("the kept files cannot be looked through: %s", job->err.text);
  for (size_t i = 0; i < u->count; i++) {
    if (u->ends && u->list[i].mark != BLOB_LEAVING) continue;
    struct file_job *j = file_job_new(NULL, NULL, NULL);
    j->mark = u->list[i].mark;
    j->ends = u->ends;
    snprintf(j->incident, sizeof j->incident, "%.*s", (int)sizeof j->incident - 1, u->list[i].incident);
    memcpy(j->sha256, u->list[i].sha256, sizeof j->sha256);
    memcpy(j->node, u->node, sizeof j->node);
    file_settle(u->desk, j);
  }
  free(u->list);
  free(u);
}

static void list_drop(struct vault_job *job) {
  struct unsettled *u = (struct unsettled *)job;
  free(u->list);
  free(u);
}

static void settle_at(struct desk *d, const char *node, bool ends) {
  struct unsettled *u = calloc(1, sizeof *u);
  if (!u) abort();
  u->job.run = work_list, u->job.done = listed, u->job.drop = list_drop;
  u->desk = d;
  u->ends = ends;
  snprintf(u->node, sizeof u->node, "%.47s", node);
  vault_do(file_vault(d, node), &u->job);
}

static void settle_all(struct desk *d, bool ends) {
  const char *node;
  json_t *one;
  settle_at(d, "", ends);
  json_object_foreach(json_object_get(json_object_get(d->deps.settings, "evidence"), "adopted"), node, one) if (file_is_here(d, node))
      settle_at(d, node, ends);
}

void desk_settle_files(struct desk *d) { settle_all(d, false); }
void file_settle_ends(struct desk *d) { settle_all(d, true); }

static void vault_free_value(void *value) { vault_free(value); }

void files_free(struct desk *d) {
  struct file_job *j;
  if (!d->files) return;
  timer_free(d->files->counting);
  vault_free(d->files->vault);
  map_release(&d->files->adopted, vault_free_value);
  file_uploads_free(d->files);
  while ((j = LIST_FIRST(&d->files->coming))) { /* their owners' answers end them */
    LIST_REMOVE(j, next);
    j->coming = false;
  }
  while (!TAILQ_EMPTY(&d->files->copies)) copy_drop(d->files, TAILQ_FIRST(&d->files->copies));
  free(d->files->engine.name);
  json_decref((json_t *)(uintptr_t)d->files->engine.roles);
  free(d->files);
  d->files = NULL;
}
