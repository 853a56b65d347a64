/* What other nodes own: commands go to the owner, lists are put together from all, and what comes in by letter is carried out here. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "incident/files.h"
#include "journal/item.h"

enum { WITHIN_MS = 60000, LIST_WITHIN_MS = 5000, MOVED_MS = 250, MOVED_MOST = 40 };

static void count_one(void *arg, const char *node) { ++*(size_t *)arg; }

bool desk_has_others(const struct desk *d) {
  size_t count = 0;
  if (d->post) nodes_each(d->deps.nodes, count_one, &count);
  return count > 0;
}

static json_t *person_pack(const struct person *by) {
  json_t *person = json_pack("{s:s, s:s, s:O, s:b}", "name", by->name, "actor", by->actor, "roles", by->roles, "known", by->known);
  if (by->email) json_object_set_new(person, "email", json_string(by->email));
  return person;
}

static json_t *command_pack(const struct call *call, bool here) {
  return json_pack("{s:O, s:o, s:b}", "command", call->command, "by", person_pack(call->by), "here", here);
}

/* --- to the owner ------------------------------------------------------------------------------------------------------ */

struct forwarding {
  struct call *call;
  struct timer *timer;
};

static void restart(void *arg) {
  struct forwarding *f = arg;
  struct call *call = f->call;
  timer_free(f->timer);
  free(f);
  call_again(call);
}

/* It has just changed hands: the new owner is asked, which may be this node. */
static void again(struct call *call) {
  struct forwarding *f = calloc(1, sizeof *f);
  if (!f) abort();
  f->call = call;
  f->timer = timer_start(call->desk->deps.loop, MOVED_MS, restart, f);
}

static void on_forwarded(void *arg, int status, const json_t *answer, const struct err *err) {
  struct call *call = arg;
  if (err) call_fail(call, err);
  else if (json_bool_or(answer, "moved", false) && ++call->tries < MOVED_MOST) again(call);
  else if (status == 200 && strcmp(json_str_or(call->command, "command", ""), "evidence.get") == 0)
    file_carry(call, json_deep_copy(answer));
  else call_answer(call, status, json_deep_copy(answer));
}

void call_forward(struct call *call, const char *owner) {
  if (call->remote) {
    call_answer(call, 503, json_pack("{s:s, s:b}", "error", "the incident has just changed hands; try again", "moved", 1));
    return;
  }
  if (strcmp(json_str_or(call->command, "command", ""), "secret.take") == 0) {
    struct err err;
    err_set(&err, ERR_CONFLICT, "the incident is with node %s, and a secret never travels between nodes: take it there", owner);
    call_fail(call, &err);
    return;
  }
  post_ask(call->desk->post, owner, "command", command_pack(call, false), WITHIN_MS, on_forwarded, call);
}

struct finding {
  struct call *call;
  call_cb *go_on;
  char id[ID_INCIDENT];
};

static bool alive(const struct call *call, const char *node) { return *node && nodes_state(call->desk->deps.nodes, node) == NODE_ALIVE; }

/* Its first entries may lie in a node's evidence log alone (retire.c): only that one can take it up, or who has adopted that log. */
static void on_first(void *arg, const struct redis_value *reply, const struct err *err) {
  struct finding *f = arg;
  struct call *call = f->call;
  call_cb *go_on = f->go_on;
  const char *holder = err ? NULL : item_holder(redis_item(reply, 0));
  free(f);
  if (holder) holder = nodes_holder(call->desk->deps.nodes, holder);
  if (err) call_fail(call, err);
  else if (holder && alive(call, holder)) call_forward(call, holder);
  else go_on(call);
}

static void holder_find(struct finding *f) {
  struct redis *redis = f->call->desk->deps.redis;
  struct err err;
  char key[KEY_TEXT];
  snprintf(key, sizeof key, "tocsin:{%s}:journal", f->id);
  if (redis_call(redis, redis_lane(redis, f->id), on_first, f, &err, "XRANGE", key, "-", "+", "COUNT", "1", NULL) == 0) return;
  call_fail(f->call, &err);
  free(f);
}

static void on_owner(void *arg, const struct redis_value *reply, const struct err *err) {
  struct finding *f = arg;
  const char *owner = err || redis_type(reply) != REDIS_STRING ? "" : redis_string(reply, NULL);
  if (!err && !alive(f->call, owner)) { /* nobody's, ours, or a dead node's, which is taken over by loading it */
    holder_find(f);
    return;
  }
  if (err) call_fail(f->call, err);
  else call_forward(f->call, owner);
  free(f);
}

void call_to_owner(struct call *call, call_cb *go_on) {
  struct desk *d = call->desk;
  struct err err;
  char id[ID_INCIDENT];
  const struct incident *inc = d->post && call_about(call, id) ? map_get(&d->incidents, id) : NULL;
  if (!d->post || inc || !call_about(call, id)) {
    go_on(call);
    return;
  }
  struct finding *f = calloc(1, sizeof *f);
  if (!f) abort();
  *f = (struct finding){.call = call, .go_on = go_on};
  memcpy(f->id, id, sizeof f->id);
  if (redis_call(d->deps.redis, redis_lane(d->deps.redis, NODES_OWNER), on_owner, f, &err, "HGET", NODES_OWNER, id, NULL) == 0) return;
  free(f);
  call_fail(call, &err);
}

/* --- from all -------------------------------------------------------------------------------------------------------------- */

struct gathering {
  struct call *call;             /* who asked */
  json_t *own, *theirs, *failed; /* answers: this node's, an array of the others', and the first that was none, with its status */
  int status;
  size_t waiting;
};

static size_t place_of(const json_t *array, const char *id) {
  size_t i;
  json_t *item;
  json_array_foreach(array, i, item) if (strcmp(json_str_or(item, "id", ""), id) == 0) return i;
  return json_array_size(array);
}

/* The owner's row stands for what this node knows of it. */
static void merge_array(json_t *into, const json_t *from) {
  size_t i;
  json_t *item;
  json_array_foreach(from, i, item) {
    const char *id = json_str(item, "id");
    size_t at = id ? place_of(into, id) : json_array_size(into);
    if (at < json_array_size(into)) json_array_set(into, at, item);
    else json_array_append(into, item);
  }
}

static void merge(json_t *into, const json_t *answer) {
  const char *name;
  json_t *value;
  json_object_foreach((json_t *)(uintptr_t)answer, name, value) {
    json_t *have = json_object_get(into, name);
    if (json_is_array(value) && json_is_array(have)) merge_array(have, value);
  }
}

/* Whoever answers last: this node's rows of what it does not own may be old, and never replace the owner's. */
static void gathered(struct gathering *g) {
  size_t i;
  json_t *one;
  if (--g->waiting) return;
  struct call *call = g->call;
  json_t *answer = json_incref(g->own);
  int status = 200;
  json_array_foreach(g->theirs, i, one) {
    if (answer) merge(answer, one);
    else answer = json_incref(one);
  }
  if (!answer && g->failed) answer = json_incref(g->failed), status = g->status;
  if (!answer) answer = json_pack("{s:s}", "error", "no node answered"), status = 0;
  json_decref(g->own);
  json_decref(g->theirs);
  json_decref(g->failed);
  free(g);
  call_answer(call, status, answer);
}

static void failure_keep(struct gathering *g, int status, const json_t *answer) {
  if (g->failed) return;
  g->failed = json_deep_copy(answer);
  g->status = status;
}

static void on_theirs(void *arg, int status, const json_t *answer, const struct err *err) {
  struct gathering *g = arg;
  if (err) log_warning("a list is not whole: %s", err->text);
  else if (status == 200) json_array_append_new(g->theirs, json_deep_copy(answer));
  else failure_keep(g, status, answer);
  gathered(g);
}

static void on_ours(void *arg, int status, const json_t *answer) {
  struct gathering *g = arg;
  if (status == 200) g->own = json_deep_copy(answer);
  else failure_keep(g, status, answer);
  gathered(g);
}

static void ask_one(void *arg, const char *node) {
  struct gathering *g = arg;
  bool acts = strcmp(json_str_or(g->call->command, "command", ""), "release") == 0;
  g->waiting++;
  post_ask(g->call->desk->post, node, "command", command_pack(g->call, true), acts ? WITHIN_MS : LIST_WITHIN_MS, on_theirs, g);
}

static bool about_all(const struct call *call) {
  static const char *const names[] = {"now", "incident.list", "run.list", "questions", "contained", NULL};
  const char *command = json_str_or(call->command, "command", "");
  if (strcmp(command, "release") == 0) return !json_str(call->command, "id") && json_object_get(call->command, "target");
  for (const char *const *n = names; *n; n++)
    if (strcmp(*n, command) == 0) return true;
  return false;
}

bool call_gather(struct call *call, call_cb *go_on) {
  if (call->remote || call->here || !about_all(call) || !desk_has_others(call->desk)) return false;
  struct gathering *g = calloc(1, sizeof *g);
  if (!g) abort();
  *g = (struct gathering){.call = call, .theirs = json_array(), .waiting = 1};
  struct call *own = calloc(1, sizeof *own);
  if (!own) abort();
  *own = (struct call){.desk = call->desk, .by = call->by, .command = json_deep_copy(call->command), .cb = on_ours, .arg = g};
  nodes_each(call->desk->deps.nodes, ask_one, g);
  go_on(own);
  return true;
}

/* --- letters ------------------------------------------------------------------------------------------------------------------ */

struct remote {
  struct desk *desk;
  struct person by;
  json_t *roles;
  char from[NODE_NAME], nonce[48];
};

static struct remote *remote_new(struct desk *d, const struct letter *letter) {
  struct remote *r = calloc(1, sizeof *r);
  if (!r) abort();
  r->desk = d;
  snprintf(r->from, sizeof r->from, "%.47s", letter->from);
  snprintf(r->nonce, sizeof r->nonce, "%.47s", letter->nonce);
  return r;
}

static void remote_answer(struct remote *r, int status, json_t *answer_take) {
  post_answer(r->desk->post, r->from, r->nonce, status, answer_take);
  free(r->by.name);
  free(r->by.email);
  json_decref(r->roles);
  free(r);
}

static void on_carried_out(void *arg, int status, const json_t *answer) { remote_answer(arg, status, json_deep_copy(answer)); }

/* The signature says that a node of ours has established who it is. */
static void letter_command(struct desk *d, const struct letter *letter) {
  const json_t *by = json_object_get(letter->body, "by");
  struct remote *r = remote_new(d, letter);
  const char *email = json_str(by, "email");
  r->roles = json_deep_copy(json_object_get(by, "roles"));
  r->by = (struct person){.name = strdup(json_str_or(by, "name", "?")),
                          .email = email ? strdup(email) : NULL,
                          .roles = r->roles,
                          .known = json_bool_or(by, "known", false)};
  snprintf(r->by.actor, sizeof r->by.actor, "%s", json_str_or(by, "actor", ""));
  desk_command_remote(d, &r->by, json_object_get(letter->body, "command"), json_bool_or(letter->body, "here", false), on_carried_out, r);
}

static void on_attached(void *arg, const struct err *err) {
  remote_answer(arg, err ? 503 : 200, err ? json_pack("{s:s}", "error", err->text) : json_object());
}

static void letter_given(struct desk *d, const struct letter *letter) {
  size_t i;
  json_t *id;
  struct id parsed;
  json_array_foreach(json_object_get(letter->body, "ids"), i, id) if (json_is_string(id) && id_parse(json_string_value(id), &parsed))
      desk_adopt(d, json_string_value(id), letter->from);
}

void elsewhere_letter(void *arg, const struct letter *letter) {
  struct desk *d = arg;
  if (strcmp(letter->kind, "command") == 0) letter_command(d, letter);
  else if (strcmp(letter->kind, "attach") == 0) attach_from_letter(d, letter->body, on_attached, remote_new(d, letter));
  else if (strcmp(letter->kind, "given") == 0) letter_given(d, letter);
  else if (strcmp(letter->kind, "file") == 0) file_letter(d, letter);
  else if (strcmp(letter->kind, "brakes") == 0) nodes_nudge(d->deps.nodes);
  else log_warning("a letter of node %s is of a kind that this version does not know: %.40s", letter->from, letter->kind);
}

static void urge_one(void *arg, const char *node) {
  struct desk *d = arg;
  post_tell(d->post, node, "brakes", json_object(), NULL, NULL);
}

void desk_urge(struct desk *d) {
  if (d->post) nodes_each(d->deps.nodes, urge_one, d);
}

void desk_listen(struct desk *d) {
  if (d->post) post_start(d->post);
}
