/* Removing a body: what was written by mistake, a secret or personal data, goes; its head stays, and with it the proof that nothing else was changed.
 *
 * The intent is an entry ("body.removing") and durable before anything is destroyed; each step may be done twice; the end is an entry ("body.removed"). Steps: the file that it took
 * into custody is destroyed, if it did; out of Redis (the journal without it in the old one's place), out of the folded state, off the disk (Redis' append-only file is written anew),
 * out of the evidence log (key and texts). Of an entry that has left Redis the log has the only copy: that goes before the state is folded anew. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "incident/files.h"
#include "journal/feed.h"

enum { AGAIN_MS = 1000, POLL_MS = 50, COPY_MOST = 256 << 10, BECAUSE_MOST = 16384 };

static const char removing_set[] = "tocsin:removing", removed_set[] = "tocsin:removed";

struct redaction {
  LIST_ENTRY(redaction) next;
  struct desk *desk;
  struct incident *inc; /* NULL: it is gone; whoever loads it next goes on */
  char id[ID_INCIDENT], name[ID_INCIDENT + 24];
  uint64_t seq, by;
  json_t *alerts; /* as the incident holds them, anew */
  struct timer *timer;
  void (*step)(struct redaction *r);
  bool asked;      /* Redis has been told to write its file anew */
  char redis[160]; /* how that went */
};

static void step_kept(struct redaction *r);
static void step_redis(struct redaction *r);
static void step_archived(struct redaction *r);
static void step_state(struct redaction *r);
static void step_file(struct redaction *r);
static void step_log(struct redaction *r);

static void redaction_free(struct redaction *r) {
  if (r->desk) LIST_REMOVE(r, next);
  if (r->inc) incident_busy(r->inc, -1);
  timer_free(r->timer);
  json_decref(r->alerts);
  free(r);
}

/* False when nothing is to be done here any more; then it is freed. */
static bool goes_on(struct redaction *r, const struct err *err) {
  if (r->inc && !(err && err->code == ERR_CANCELLED)) return true;
  redaction_free(r);
  return false;
}

static void on_timer(void *arg) {
  struct redaction *r = arg;
  timer_free(r->timer);
  r->timer = NULL;
  r->step(r);
}

static void later(struct redaction *r, int64_t ms, void (*step)(struct redaction *r)) {
  r->step = step;
  r->timer = timer_start(r->desk->deps.loop, ms, on_timer, r);
}

static void again(struct redaction *r, const struct err *err, void (*step)(struct redaction *r)) {
  log_warning("%s: its body is not removed yet (%s); tried again", r->name, err->text);
  later(r, AGAIN_MS, step);
}

static unsigned lane(const struct redaction *r) { return redis_lane(r->desk->deps.redis, r->id); }

/* ---- 0. the file, while its entry still says which one it is */

static void on_destroyed(void *arg, const struct err *err) {
  struct redaction *r = arg;
  if (!goes_on(r, err)) return;
  if (!err) step_redis(r);
  else again(r, err, step_kept);
}

/* One at a node that is not there is destroyed when it is: it was marked before the intent, and that node's next start looks. */
static void step_kept(struct redaction *r) {
  const json_t *file = file_of_item(r->inc, (int64_t)r->seq);
  const char *sha256 = json_str(file, "sha256"), *node = json_str_or(file, "node", ""), *item;
  bool to_go = sha256 && json_bool_or(file, "removed", false) && !file_by_digest(r->inc, sha256, &item);
  if (to_go && file_holder(r->desk, node, NULL)) file_destroy(r->desk, node, r->id, sha256, on_destroyed, r);
  else step_redis(r);
}

/* ---- 1. out of Redis */

static void on_out(void *arg, const struct redis_value *reply, const struct err *err) {
  struct redaction *r = arg;
  if (!goes_on(r, err)) return;
  if (err) again(r, err, step_redis);
  else if (r->seq <= journal_archived(r->inc->journal)) step_archived(r);
  else step_state(r);
}

static void on_archived_gone(void *arg, bool gone) {
  struct redaction *r = arg;
  struct err stopping = {.code = ERR_CANCELLED, .text = "the engine is stopping"};
  if (goes_on(r, gone ? NULL : &stopping)) step_state(r);
}

static void on_adopted_gone(void *arg, const struct err *err) {
  struct redaction *r = arg;
  struct feed *feed = r->desk ? r->desk->deps.store->feed : NULL;
  if (!goes_on(r, err)) return;
  if (err) again(r, err, step_archived);
  else if (feed) feed_remove(feed, r->id, r->seq, on_archived_gone, r);
  else step_state(r);
}

/* The state is folded from the log that has it, this node's or an adopted one, which must have forgotten it before; step_log finds nothing left to do. */
static void step_archived(struct redaction *r) { adopted_forget(r->desk, r->id, r->seq, on_adopted_gone, r); }

/* A corrective action's text also lies in the index of all of them; the journal still says that there was one. */
static void corrective_drop(struct redaction *r, const char *seq) {
  struct desk *d = r->desk;
  const json_t *removal = json_object_get(json_object_get(incident_state(r->inc), "removals"), seq);
  const char *id = json_str(json_object_get(removal, "kept"), "id");
  if (!id) return;
  json_object_del(d->corrective, id);
  redis_call(d->deps.redis, lane(r), NULL, NULL, NULL, "HDEL", "tocsin:corrective", id, NULL);
}

/* Every node takes it out of its own log, too: some hold journals that others own now. */
static void step_redis(struct redaction *r) {
  char journal[KEY_TEXT], state[KEY_TEXT], fresh[KEY_TEXT], seq[24], by[24];
  struct err err;
  struct redis *redis = r->desk->deps.redis;
  snprintf(journal, sizeof journal, "tocsin:{%s}:journal", r->id);
  snprintf(state, sizeof state, "tocsin:{%s}:state", r->id);
  snprintf(fresh, sizeof fresh, "tocsin:{%s}:journal.new", r->id);
  snprintf(seq, sizeof seq, "%" PRIu64, r->seq);
  snprintf(by, sizeof by, "%" PRIu64, r->by);
  corrective_drop(r, seq);
  if (redis_call(redis, lane(r), NULL, NULL, &err, "SADD", removed_set, r->name, NULL) < 0 ||
      redis_call(redis, lane(r), on_out, r, &err, "FCALL", "tocsin_remove", "3", journal, state, fresh, seq, by, NULL) < 0)
    again(r, &err, step_redis);
}

/* ---- 2. out of the folded state, in memory and in Redis */

static bool alert_keep(void *arg, const struct entry *e) {
  struct redaction *r = arg;
  if (e->kind == KIND_ALERT_ATTACHED && e->body && r->inc) incident_alert_add(r->alerts, e->body);
  return true;
}

/* A wave that was sent before may have stored the old state behind the removal: away with it. */
static void on_folded(void *arg, const struct err *err) {
  struct redaction *r = arg;
  struct err why;
  char key[KEY_TEXT];
  if (!goes_on(r, err)) return;
  snprintf(key, sizeof key, "tocsin:{%s}:state", r->id);
  if (!err && redis_call(r->desk->deps.redis, lane(r), NULL, NULL, &why, "DEL", key, NULL) < 0) err = &why;
  if (err) {
    again(r, err, step_state);
    return;
  }
  if (json_array_size(incident_alerts(r->inc))) incident_alerts_set(r->inc, json_incref(r->alerts));
  r->asked = false;
  step_file(r);
}

static void step_state(struct redaction *r) {
  struct err err;
  json_decref(r->alerts);
  r->alerts = json_array();
  if (journal_refold(r->inc->journal, alert_keep, on_folded, r, &err) < 0) again(r, &err, step_state);
}

/* ---- 3. off Redis' disk */

static bool says(const char *info, const char *line) { return strstr(info, line) != NULL; }

static void on_told(void *arg, const struct redis_value *reply, const struct err *err) {
  struct redaction *r = arg;
  if (!goes_on(r, err)) return;
  if (err && (err->code == ERR_DENIED || (err->code == ERR_INVALID && says(err->text, "unknown command")))) {
    snprintf(r->redis, sizeof r->redis, "its append-only file was not written anew: %.100s", err->text);
    log_warning("%s: removed from Redis, but %s; have it done (BGREWRITEAOF), else the disk still bears it", r->name, r->redis);
    step_log(r);
    return;
  }
  r->asked = err == NULL; /* else one is under way, which may have begun too early */
  later(r, POLL_MS, step_file);
}

static void on_info(void *arg, const struct redis_value *reply, const struct err *err) {
  struct redaction *r = arg;
  struct err why;
  if (!goes_on(r, err)) return;
  const char *info = err ? "" : redis_string(reply, NULL);
  snprintf(r->redis, sizeof r->redis, "%s", says(info, "aof_enabled:0") ? "it keeps no append-only file" : "written anew");
  if (err) {
    again(r, err, step_file);
  } else if (says(info, "aof_enabled:0")) {
    step_log(r);
  } else if (says(info, "aof_rewrite_in_progress:1") || says(info, "aof_rewrite_scheduled:1")) {
    later(r, POLL_MS, step_file);
  } else if (r->asked && says(info, "aof_last_bgrewrite_status:ok")) {
    step_log(r);
  } else if (r->asked) {
    r->asked = false;
    err_set(&why, ERR_IO, "Redis could not write its append-only file anew");
    again(r, &why, step_file);
  } else if (redis_call(r->desk->deps.redis, lane(r), on_told, r, &why, "BGREWRITEAOF", NULL) < 0) {
    again(r, &why, step_file);
  }
}

static void step_file(struct redaction *r) {
  struct err err;
  if (!goes_on(r, NULL)) return;
  if (redis_call(r->desk->deps.redis, lane(r), on_info, r, &err, "INFO", "persistence", NULL) < 0) again(r, &err, step_file);
}

/* ---- 4. out of the evidence log; then the end is on record */

static void on_ended(void *arg, const struct err *err) {
  struct redaction *r = arg;
  if (!goes_on(r, err)) return;
  if (!err) redis_call(r->desk->deps.redis, lane(r), NULL, NULL, NULL, "SREM", removing_set, r->name, NULL);
  redaction_free(r);
}

static void on_gone(void *arg, bool gone) {
  struct redaction *r = arg;
  char step[24];
  struct err stopping = {.code = ERR_CANCELLED, .text = "the engine is stopping"};
  if (!goes_on(r, gone ? NULL : &stopping)) return;
  snprintf(step, sizeof step, "%" PRIu64, r->seq);
  journal_save_state(r->inc->journal);
  journal_add(r->inc->journal, KIND_BODY_REMOVED, "engine", 0, step,
              json_pack("{s:I, s:I, s:s}", "seq", (json_int_t)r->seq, "by", (json_int_t)r->by, "redis", r->redis));
  journal_when_durable(r->inc->journal, on_ended, r);
}

static void step_log(struct redaction *r) {
  struct feed *feed = r->desk->deps.store->feed;
  if (feed) feed_remove(feed, r->id, r->seq, on_gone, r);
  else on_gone(r, true);
}

/* ---- beginning */

static struct redaction *redaction_new(struct incident *inc, uint64_t seq, uint64_t by) {
  struct redaction *r = calloc(1, sizeof *r);
  if (!r) abort();
  *r = (struct redaction){.desk = inc->desk, .inc = inc, .seq = seq, .by = by};
  snprintf(r->id, sizeof r->id, "%s", inc->id);
  snprintf(r->name, sizeof r->name, "%s/%" PRIu64, inc->id, seq);
  LIST_INSERT_HEAD(&inc->desk->redactions, r, next);
  incident_busy(inc, 1);
  return r;
}

static void on_intent(void *arg, const struct err *err) {
  struct redaction *r = arg;
  if (!goes_on(r, err)) return;
  if (err) redaction_free(r); /* it is another's incident now, and so is this */
  else step_kept(r);
}

static bool under_way(const struct incident *inc, uint64_t seq) {
  const struct redaction *r;
  LIST_FOREACH(r, &inc->desk->redactions, next) if (r->inc == inc && r->seq == seq) return true;
  return false;
}

void redactions_resume(struct incident *inc) {
  const char *seq;
  json_t *one;
  json_object_foreach(json_object_get(incident_state(inc), "removals"), seq, one) {
    uint64_t n = strtoull(seq, NULL, 10);
    if (json_bool_or(one, "done", false) || under_way(inc, n)) continue;
    log_notice("%s/%s: its removal goes on", inc->id, seq);
    journal_when_durable(inc->journal, on_intent, redaction_new(inc, n, (uint64_t)json_int_or(one, "entry", 0)));
  }
}

/* What waits for a reply ends when that comes. */
void redactions_forget(struct incident *inc) {
  struct redaction *r, *next;
  for (r = LIST_FIRST(&inc->desk->redactions); r; r = next) {
    next = LIST_NEXT(r, next);
    if (r->inc != inc) continue;
    r->inc = NULL;
    inc->busy--;
    if (r->timer) redaction_free(r);
  }
}

void redactions_free(struct desk *d) {
  struct redaction *r;
  while ((r = LIST_FIRST(&d->redactions))) {
    LIST_REMOVE(r, next);
    r->desk = NULL;
  }
}

/* ---- the command */

struct asking {
  struct call *call;
  uint64_t seq;
  bool found, gone, marked; /* marked: the file is, so that a crash between leaves nothing behind */
  enum kind kind;
  unsigned run;
  json_t *kept, *bundles; /* bundles: handed out before */
};

static bool asking_entry(void *arg, const struct entry *e) {
  struct asking *a = arg;
  if (e->seq != a->seq) return false;
  a->found = true;
  a->gone = !e->body;
  a->kind = e->kind;
  a->run = e->run;
  a->kept = entry_residue(e);
  return false;
}

/* The state names a run that made it ("1/3"). */
static bool contains_still(const json_t *state, unsigned run) {
  const char *at;
  json_t *c;
  json_object_foreach(json_object_get(state, "containments"), at, c) {
    const char *status = json_str_or(c, "status", "");
    if (strtoul(at, NULL, 10) == run && (strcmp(status, "active") == 0 || strcmp(status, "still") == 0)) return true;
  }
  return false;
}

/* What is alive is replayed from its bodies after a restart: those stay until it has ended. */
static int needed_still(struct incident *inc, const struct asking *a, struct err *err) {
  const json_t *state = incident_state(inc);
  if (!LIST_EMPTY(&inc->runs))
    return err_set(err, ERR_CONFLICT,
                   "%s has a run under way (%s/%u), which a restart replays from these entries: wait for it, or `tocsin run cancel %s/%u`",
                   inc->id, inc->id, LIST_FIRST(&inc->runs)->number, inc->id, LIST_FIRST(&inc->runs)->number);
  if (json_object_size(json_object_get(state, "questions")))
    return err_set(err, ERR_CONFLICT, "%s still asks a question, whose text and answers lie in these entries: answer it first", inc->id);
  if (json_object_size(json_object_get(state, "intents")) || json_object_size(json_object_get(state, "held")))
    return err_set(err, ERR_CONFLICT, "%s has an action in flight, held or in doubt, which is told from these entries: resolve it first",
                   inc->id);
  const json_t *corrective = json_object_get(json_object_get(state, "corrective"), json_str_or(a->kept, "id", ""));
  if (corrective && !json_object_get(corrective, "closed"))
    return err_set(err, ERR_CONFLICT, "entry %" PRIu64 " is a corrective action that is still open: close it first", a->seq);
  if (a->run && contains_still(state, a->run))
    return err_set(err, ERR_CONFLICT,
                   "entry %" PRIu64 " is of run %s/%u, which still contains something and is needed to lift it: `tocsin release %s` first",
                   a->seq, inc->id, a->run, inc->id);
  return 0;
}

/* The file that the entry took into custody, while it is kept; NULL: none. */
static const json_t *kept_file(const struct asking *a) {
  const json_t *file = a->kind == KIND_EVIDENCE_COLLECTED ? file_of_item(a->call->inc, (int64_t)a->seq) : NULL;
  return file && !json_object_get(file, "deleted") ? file : NULL;
}

/* A file goes with its entry; what forbids to destroy it forbids this. */
static int kept_file_may(const struct asking *a, struct err *err) {
  const json_t *file = kept_file(a);
  const char *id = a->call->inc->id;
  if (file && json_object_get(file, "hold"))
    return err_set(err, ERR_DENIED,
                   "file %" PRIu64 " is under a legal hold: it may not be destroyed; `tocsin evidence release-hold %s %" PRIu64
                   "` lifts it",
                   a->seq, id, a->seq);
  return file && !file_holder(a->call->desk, json_str_or(file, "node", ""), err) ? err->code : 0;
}

static void redact(struct asking *a) {
  struct call *call = a->call;
  struct incident *inc = call->inc;
  struct err err;
  char step[24];
  snprintf(step, sizeof step, "%" PRIu64, a->seq);
  struct redaction *r = redaction_new(inc, a->seq, 0);
  json_t *body =
      json_pack("{s:I, s:s, s:s, s:O, s:O, s:O*}", "seq", (json_int_t)a->seq, "type", kind_name(a->kind), "because",
                call_text(call, "because"), "kept", a->kept, "bundles", a->bundles, "copy", json_object_get(call->command, "copy"));
  if (redis_call(inc->desk->deps.redis, lane(r), NULL, NULL, &err, "SADD", removing_set, r->name, NULL) < 0) {
    json_decref(body);
    redaction_free(r);
    call_fail(call, &err);
    return;
  }
  r->by = journal_add(inc->journal, KIND_BODY_REMOVING, call->by->actor, 0, step, body);
  journal_when_durable(inc->journal, on_intent, r);
  call_answer_durable(call, inc->journal,
                      json_pack("{s:s, s:I, s:I, s:O}", "id", inc->id, "seq", (json_int_t)a->seq, "entry", (json_int_t)r->by, "bundles",
                                a->bundles));
}

static void asking_free(struct asking *a) {
  json_decref(a->kept);
  json_decref(a->bundles);
  free(a);
}

static void asking_end(struct asking *a, const struct err *err);

static void on_marked(void *arg, const struct err *err) {
  struct asking *a = arg;
  a->marked = true;
  if (!err || err->code != ERR_CANCELLED) {
    asking_end(a, err);
    return;
  }
  call_drop(a->call);
  asking_free(a);
}

static void asking_end(struct asking *a, const struct err *err) {
  struct incident *inc = a->call->inc;
  struct err why = {0};
  if (err) why = *err;
  else if (inc->lost) err_set(&why, ERR_CONFLICT, "another node has taken %s over; ask it", inc->id);
  else if (!a->found)
    err_set(&why, ERR_NOT_FOUND, "%s has no entry %" PRIu64 "; `tocsin incident show %s --all` shows them", inc->id, a->seq, inc->id);
  else if (a->gone || under_way(inc, a->seq)) err_set(&why, ERR_CONFLICT, "the body of %s/%" PRIu64 " was removed before", inc->id, a->seq);
  else if (needed_still(inc, a, &why) == 0) kept_file_may(a, &why);
  const json_t *file = why.code || a->marked ? NULL : kept_file(a);
  if (file) {
    file_leave(inc->desk, json_str_or(file, "node", ""), inc->id, json_str_or(file, "sha256", ""), on_marked, a);
    return;
  }
  if (why.code) call_fail(a->call, &why);
  else redact(a);
  asking_free(a);
}

static void exports_key(const struct incident *inc, char out[KEY_TEXT]) { snprintf(out, KEY_TEXT, "tocsin:{%s}:exports", inc->id); }

static void on_bundles(void *arg, const struct redis_value *reply, const struct err *err) {
  struct asking *a = arg;
  for (size_t i = 0; !err && i < redis_count(reply); i++) {
    json_t *one = NULL;
    size_t len;
    const char *text = redis_string(redis_item(reply, i), &len);
    if (json_parse_stored(text, len, &one, NULL) == 0) json_array_append_new(a->bundles, one);
  }
  asking_end(a, err);
}

static void asking_done(void *arg, const struct err *err) {
  struct asking *a = arg;
  struct incident *inc = a->call->inc;
  struct err why;
  char key[KEY_TEXT];
  exports_key(inc, key);
  if (err) asking_end(a, err);
  else if (redis_call(inc->desk->deps.redis, redis_lane(inc->desk->deps.redis, inc->id), on_bundles, a, &why, "HVALS", key, NULL) < 0)
    asking_end(a, &why);
}

/* id, seq, because, perhaps copy: what may be read in its place. */
void do_redact(struct call *call, struct incident *inc) {
  struct err err;
  int64_t seq = json_int_or(call->command, "seq", 0);
  const char *because = call_text(call, "because"), *copy = call_text(call, "copy");
  if (seq < 1) err_set(&err, ERR_INVALID, "`seq` is missing: the number of the entry");
  else if (!because) err_set(&err, ERR_INVALID, "`because` is missing: a removal says why");
  else if (strlen(because) > BECAUSE_MOST || (copy && strlen(copy) > COPY_MOST))
    err_set(&err, ERR_LIMIT, "`because` has at most %d bytes, `copy` %d", BECAUSE_MOST, COPY_MOST);
  else err.code = 0;
  if (err.code) {
    call_fail(call, &err);
    return;
  }
  struct asking *a = calloc(1, sizeof *a);
  if (!a) abort();
  *a = (struct asking){.call = call, .seq = (uint64_t)seq, .bundles = json_array()};
  if (journal_read(inc->desk->deps.store, inc->id, a->seq, a->seq, asking_entry, asking_done, a, &err) < 0) asking_done(a, &err);
}

static void on_export_kept(void *arg, const struct redis_value *reply, const struct err *err) {
  struct call *call = arg;
  struct journal *node = call->desk->deps.node;
  if (err) {
    call_fail(call, err);
    return;
  }
  json_t *body = json_pack("{s:s, s:O, s:O*}", "incident", call->inc->id, "sha256", json_object_get(call->command, "sha256"), "file",
                           json_object_get(call->command, "file"));
  uint64_t seq = journal_add(node, KIND_EVIDENCE_EXPORTED, call->by->actor, 0, NULL, body);
  call_answer_durable(call, node, json_pack("{s:s, s:I}", "id", call->inc->id, "seq", (json_int_t)seq));
}

/* A bundle was made: on record in the node's own journal, for the incident's would be another one by it; and kept beside the incident, so that whoever removes something
 * later learns who has it. id, sha256, file. */
void do_exported(struct call *call, struct incident *inc) {
  struct err err;
  uint8_t digest[DIGEST_BYTES];
  char key[KEY_TEXT];
  struct redis *redis = inc->desk->deps.redis;
  const char *sha256 = call_text(call, "sha256"), *file = call_text(call, "file");
  if (!sha256 || strlen(sha256) != DIGEST_HEX - 1 || !hex_decode(sha256, digest, sizeof digest) || (file && strlen(file) > 255)) {
    err_set(&err, ERR_INVALID, "`sha256` is the digest of the bundle, 64 hex digits; `file` its name, 255 bytes at most");
    call_fail(call, &err);
    return;
  }
  exports_key(inc, key);
  json_t *one = json_pack("{s:I, s:s, s:s, s:s*}", "time", (json_int_t)clock_wall(inc->desk->deps.store->clock), "by", call->by->actor,
                          "sha256", sha256, "file", file);
  char *text = json_text(one);
  if (redis_call(redis, redis_lane(redis, inc->id), on_export_kept, call, &err, "HSET", key, sha256, text, NULL) < 0) call_fail(call, &err);
  free(text);
  json_decref(one);
}
