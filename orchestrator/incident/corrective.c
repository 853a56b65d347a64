/* Corrective actions: what is to become better after an incident or an exercise, until a second person closes it on evidence.
 *
 * They are entries of their incident's journal, folded into its state. Beside it stands one index over all of them, so that they are listed, counted and found again by
 * their key without reading every journal. It is written before the entry; what points to no entry is taken out when somebody tries to close it. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "incident/internal.h"

#define INDEX "tocsin:corrective"

enum { TEXT_MOST = 2000, NAME_MOST = 200, LOOK_EVERY = 60000 };

/* One look at the index under way; it may outlive the desk. */
struct corrective_look {
  struct desk *desk; /* NULL: the desk is gone */
  struct call *call; /* NULL: only for the counts */
  command_fn *then;
};

static bool is_open(const json_t *action) { return !json_object_get(action, "closed"); }

static bool is_overdue(const json_t *action, int64_t now) { return is_open(action) && json_int_or(action, "due", INT64_MAX) < now; }

static void on_index(void *arg, const struct redis_value *reply, const struct err *err) {
  struct corrective_look *look = arg;
  struct desk *d = look->desk;
  struct call *call = look->call;
  command_fn *then = look->then;
  if (d && d->corrective_look == look) d->corrective_look = NULL;
  free(look);
  if (!d) return;
  if (err) {
    if (call) call_fail(call, err);
    return;
  }
  json_object_clear(d->corrective);
  for (size_t i = 0; i + 1 < redis_count(reply); i += 2) {
    size_t len;
    json_t *action = NULL;
    const char *text = redis_string(redis_item(reply, i + 1), &len);
    if (json_parse_stored(text, len, &action, NULL) == 0)
      json_object_set_new(d->corrective, redis_string(redis_item(reply, i), NULL), action);
  }
  if (call) then(call, call->inc);
}

/* Reads the index, then goes on with the command. */
static void with_index(struct call *call, command_fn *then) {
  struct corrective_look *look = calloc(1, sizeof *look);
  struct err err;
  if (!look) abort();
  *look = (struct corrective_look){call->desk, call, then};
  if (redis_call(call->desk->deps.redis, 0, on_index, look, &err, "HGETALL", INDEX, NULL) == 0) return;
  free(look);
  call_fail(call, &err);
}

static void look_again(void *arg) {
  struct desk *d = arg;
  timer_free(d->corrective_timer);
  d->corrective_timer = timer_start(d->deps.loop, LOOK_EVERY, look_again, d);
  if (d->corrective_look) return;
  struct corrective_look *look = calloc(1, sizeof *look);
  if (!look) abort();
  look->desk = d;
  if (redis_call(d->deps.redis, 0, on_index, look, NULL, "HGETALL", INDEX, NULL) == 0) d->corrective_look = look;
  else free(look);
}

void corrective_begin(struct desk *d) { d->corrective_timer = timer_start(d->deps.loop, 0, look_again, d); }

void corrective_end(struct desk *d) {
  timer_free(d->corrective_timer);
  if (d->corrective_look) d->corrective_look->desk = NULL;
  json_decref(d->corrective);
}

json_t *corrective_counts(const struct desk *d) {
  const char *id;
  json_t *action;
  int64_t open = 0, overdue = 0, now = clock_wall(clock_system());
  json_object_foreach(d->corrective, id, action) {
    open += is_open(action);
    overdue += is_overdue(action, now);
  }
  return json_pack("{s:I, s:I}", "open", (json_int_t)open, "overdue", (json_int_t)overdue);
}

/* On the incident's own connection, so that it is there before the entry. Redacted as the entry will be. */
static void index_put(struct incident *inc, const char *id, const json_t *action) {
  struct desk *d = inc->desk;
  json_t *clean = secrets_redact_json(d->deps.store->secrets, action);
  char *text = json_text(clean);
  if (!text) abort();
  json_object_set_new(d->corrective, id, json_deep_copy(clean)); /* the state's own goes on changing */
  json_decref(clean);
  redis_call(d->deps.redis, redis_lane(d->deps.redis, inc->id), NULL, NULL, NULL, "HSET", INDEX, id, text, NULL);
  free(text);
}

/* --- list ------------------------------------------------------------------------------------------------------------------- */

static void name_shown(struct desk *d, json_t *action, const char *member) {
  if (json_str(action, member)) json_object_set_new(action, member, json_string(people_name(d->deps.people, json_str(action, member))));
}

/* Open ones first, then by when they are due. */
static bool comes_before(const json_t *a, const json_t *b) {
  if (is_open(a) != is_open(b)) return is_open(a);
  return json_int_or(a, "due", 0) < json_int_or(b, "due", 0);
}

static void list(struct call *call, struct incident *inc) {
  struct desk *d = call->desk;
  bool all = json_bool_or(call->command, "all", false), overdue = json_bool_or(call->command, "overdue", false);
  const char *id;
  int64_t now = clock_wall(clock_system());
  json_t *rows = json_array(), *action;
  json_object_foreach(d->corrective, id, action) {
    if (!all && !is_open(action)) continue;
    if (overdue && !is_overdue(action, now)) continue;
    json_t *row = json_deep_copy(action);
    size_t at = json_array_size(rows);
    json_object_set_new(row, "id", json_string(id));
    json_object_set_new(row, "overdue", json_boolean(is_overdue(action, now)));
    name_shown(d, row, "by");
    name_shown(d, row, "closed_by");
    while (at && comes_before(row, json_array_get(rows, at - 1))) at--;
    json_array_insert_new(rows, at, row);
  }
  call_answer(call, 200, json_pack("{s:o, s:o}", "corrective", rows, "counts", corrective_counts(d)));
}

void do_corrective_list(struct call *call, struct incident *inc) { with_index(call, list); }

/* --- add -------------------------------------------------------------------------------------------------------------------- */

static const char *text_of(struct call *call, const char *name, size_t most, struct err *err) {
  const char *text = call_text(call, name);
  if (text && strlen(text) <= most) return text;
  if (text) err_set(err, ERR_LIMIT, "`%s` is longer than %zu bytes", name, most);
  else err_set(err, ERR_INVALID, "`%s` is missing", name);
  return NULL;
}

/* A day counts whole. */
static int due_of(const char *text, int64_t now, int64_t *ret, struct err *err) {
  char day[40];
  int64_t ms, at;
  if (duration_parse(text, &ms)) {
    at = now + ms * 1000;
  } else {
    snprintf(day, sizeof day, strlen(text) == 10 ? "%.10sT23:59:59Z" : "%.30s", text);
    if (!time_parse(day, &at)) return err_set(err, ERR_INVALID, "due: \"%.40s\" is no day; write 2026-12-15, or 14d", text);
  }
  if (at <= now) return err_set(err, ERR_INVALID, "due: %.40s is over already", text);
  *ret = at;
  return 0;
}

/* The newest action of the same key; NULL: it is the first. */
static const char *seen_before(const struct desk *d, const char *key) {
  const char *id, *newest = NULL;
  json_t *action;
  int64_t latest = -1;
  json_object_foreach(d->corrective, id, action) {
    if (strcmp(json_str_or(action, "key", ""), key) != 0 || json_int_or(action, "added", 0) <= latest) continue;
    latest = json_int_or(action, "added", 0);
    newest = id;
  }
  return newest;
}

static bool has_key(const struct incident *inc, const char *key) {
  const char *id;
  json_t *action;
  json_object_foreach(json_object_get(journal_state(inc->journal), "corrective"), id, action) {
    if (strcmp(json_str_or(action, "key", ""), key) == 0) return true;
  }
  return false;
}

static void add(struct call *call, struct incident *inc) {
  struct err err;
  int64_t now = clock_wall(clock_system()), due = 0;
  char id[ID_PATH];
  const char *text = text_of(call, "text", TEXT_MOST, &err), *owner = text ? text_of(call, "owner", NAME_MOST, &err) : NULL;
  const char *until = owner ? text_of(call, "due", NAME_MOST, &err) : NULL, *key = call_text(call, "key") ? call_text(call, "key") : text;
  if (!until || due_of(until, now, &due, &err) < 0) {
    call_fail(call, &err);
    return;
  }
  if (strlen(key) > TEXT_MOST || has_key(inc, key)) {
    err_set(&err, ERR_EXISTS, "%s has this corrective action already", inc->id);
    call_fail(call, &err);
    return;
  }
  const char *recurs = seen_before(call->desk, key);
  snprintf(id, sizeof id, "%s/a%zu", inc->id, json_object_size(json_object_get(incident_state(inc), "corrective")) + 1);
  json_t *body = json_pack("{s:s, s:s, s:s, s:I, s:s, s:s*}", "id", id, "text", text, "owner", owner, "due", (json_int_t)due, "key", key,
                           "recurs", recurs);
  json_t *action = json_deep_copy(body);
  json_object_update_new(action, json_pack("{s:s, s:I, s:s}", "incident", inc->id, "added", (json_int_t)now, "by", call->by->actor));
  index_put(inc, id, action);
  journal_save_state(inc->journal);
  journal_add(inc->journal, KIND_CORRECTIVE_ADDED, call->by->actor, 0, NULL, body);
  call_answer_durable(call, inc->journal, json_pack("{s:s, s:I, s:s*}", "id", id, "due", (json_int_t)due, "recurs", recurs));
  json_decref(action);
}

void do_corrective_add(struct call *call, struct incident *inc) { with_index(call, add); }

/* --- close ------------------------------------------------------------------------------------------------------------------ */

/* Whoever owns it does not say that it is done; where the owner is no person of the settings (a team, a role), whoever added it does not either. */
static int second_person(const struct call *call, const char *id, const json_t *action, struct err *err) {
  const char *owner = json_str_or(action, "owner", "");
  if (strcasecmp(owner, call->by->name) == 0) return err_set(err, ERR_DENIED, "you own %s: a second person looks at it and closes it", id);
  if (people_named(call->desk->deps.people, owner) || strcmp(json_str_or(action, "by", ""), call->by->actor) != 0) return 0;
  return err_set(err, ERR_DENIED,
                 "you added %s, and its owner %.60s is no person of the settings: a second person looks at it and closes it", id, owner);
}

/* A text, an entry of this journal, or a file's name, size and digest: at least one. */
static int evidence_of(struct call *call, struct incident *inc, json_t **ret, struct err *err) {
  const char *text = call_text(call, "evidence");
  const json_t *file = json_object_get(call->command, "file");
  int64_t entry = json_int_or(call->command, "entry", 0);
  if (text && strlen(text) > TEXT_MOST) return err_set(err, ERR_LIMIT, "`evidence` is longer than %d bytes", TEXT_MOST);
  if (entry < 0 || entry > (int64_t)journal_seq(inc->journal))
    return err_set(err, ERR_NOT_FOUND, "there is no entry %" PRId64 " in %s", entry, inc->id);
  if (file && (!json_str(file, "name") || !json_str(file, "sha256") || strlen(json_str(file, "name")) > NAME_MOST ||
               strlen(json_str(file, "sha256")) != 64))
    return err_set(err, ERR_INVALID, "`file` says name, sha256 and bytes");
  if (!text && !entry && !file) return err_set(err, ERR_INVALID, "`evidence` is missing: what shows that it is done?");
  json_t *body = json_pack("{s:s*}", "evidence", text);
  if (entry) json_object_set_new(body, "entry", json_integer(entry));
  if (file)
    json_object_set_new(body, "file",
                        json_pack("{s:s, s:s, s:I}", "name", json_str(file, "name"), "sha256", json_str(file, "sha256"), "bytes",
                                  (json_int_t)json_int_or(file, "bytes", 0)));
  *ret = body;
  return 0;
}

static void no_such(struct call *call, const struct incident *inc, const char *id) {
  struct err err;
  json_object_del(call->desk->corrective, id);
  redis_call(call->desk->deps.redis, 0, NULL, NULL, NULL, "HDEL", INDEX, id, NULL);
  err_set(&err, ERR_NOT_FOUND, "there is no corrective action %s; `tocsin action list` shows them", id);
  call_fail(call, &err);
}

static void close_one(struct call *call, struct incident *inc) {
  struct err err;
  char id[ID_PATH];
  json_t *body = NULL;
  snprintf(id, sizeof id, "%s/a%" PRId64, inc->id, json_int_or(call->command, "n", 0));
  const json_t *action = json_object_get(json_object_get(incident_state(inc), "corrective"), id);
  if (!action) {
    no_such(call, inc, id);
    return;
  }
  int r = is_open(action) ? second_person(call, id, action, &err) : err_set(&err, ERR_CONFLICT, "%s is closed already", id);
  if (r == 0) r = evidence_of(call, inc, &body, &err);
  if (r < 0) {
    call_fail(call, &err);
    return;
  }
  json_object_set_new(body, "id", json_string(id));
  journal_save_state(inc->journal);
  journal_add(inc->journal, KIND_CORRECTIVE_CLOSED, call->by->actor, 0, NULL, body);
  action = json_object_get(json_object_get(incident_state(inc), "corrective"), id);
  index_put(inc, id, action);
  call_answer_durable(call, inc->journal, json_pack("{s:s}", "id", id));
}

void do_corrective_close(struct call *call, struct incident *inc) { with_index(call, close_one); }
