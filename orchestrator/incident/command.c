/* The one door for people's commands: who may, which incident, which handler, and the answer once it is durable. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "incident/files.h"
#include "incident/internal.h"

static void call_free(struct call *call) {
  json_decref(call->command);
  json_decref(call->answer);
  free(call);
}

/* What the engine asks itself it always hears of: there is more to free. */
void call_drop(struct call *call) {
  json_t *gone = call->inner ? json_pack("{s:s}", "error", "the engine is stopping") : NULL;
  if (call->inner) call->cb(call->arg, 503, gone);
  json_decref(gone);
  call_free(call);
}

void call_answer(struct call *call, int status, json_t *answer_take) {
  if (call->inc) incident_busy(call->inc, -1);
  call->cb(call->arg, status, answer_take);
  json_decref(answer_take);
  call_free(call);
}

int call_status(int code) {
  switch (code) {
  case ERR_INVALID: return 400;
  case ERR_DENIED: return 403;
  case ERR_NOT_FOUND: return 404;
  case ERR_CONFLICT:
  case ERR_EXISTS: return 409;
  case ERR_LIMIT: return 429;
  case ERR_UNAVAILABLE:
  case ERR_TIMEOUT:
  case ERR_CANCELLED: return 503;
  default: return 500;
  }
}

void call_fail(struct call *call, const struct err *err) {
  call_answer(call, call_status(err->code), json_pack("{s:s}", "error", err->text));
}

static void on_durable(void *arg, const struct err *err) {
  struct call *call = arg;
  json_t *answer = call->answer;
  call->answer = NULL;
  if (err) {
    json_decref(answer);
    call_fail(call, err);
  } else {
    call_answer(call, 200, answer);
  }
}

void call_answer_durable(struct call *call, struct journal *journal, json_t *answer_take) {
  call->answer = answer_take;
  journal_when_durable(journal, on_durable, call);
}

const char *call_text(struct call *call, const char *name) {
  const char *text = json_str(call->command, name);
  return text && *text ? text : NULL;
}

void desk_reply(struct call *call, int status, json_t *answer_take) { call_answer(call, status, answer_take); }

static const struct command_row *row_in(const struct command_row *rows, const char *name) {
  for (const struct command_row *r = rows; r->name; r++)
    if (strcmp(r->name, name) == 0) return r;
  return NULL;
}

static const struct command_row *row_of(const struct call *call) {
  const struct command_row *const all[] = {incident_commands, file_commands, file_commands_here, engine_commands};
  const char *name = json_str_or(call->command, "command", "");
  const struct command_row *r = call->inner || call->remote ? row_in(file_commands_inner, name) : NULL;
  for (size_t i = 0; !r && i < sizeof all / sizeof *all; i++) r = row_in(all[i], name);
  return r;
}

bool call_about(const struct call *call, char out[ID_INCIDENT]) {
  const struct command_row *row = row_of(call);
  enum about about = row ? row->about : ABOUT_ID; /* of the rooms above */
  struct id id;
  if (about == ABOUT_NONE || !id_parse(json_str_or(call->command, about == ABOUT_INCIDENT ? "incident" : "id", ""), &id)) return false;
  id_incident(out, id.mode, id.number);
  return true;
}

struct opening {
  struct call *call;
  const struct command_row *row;
};

static void with_incident(struct incident *inc, void *arg, const struct err *err) {
  struct opening *o = arg;
  struct call *call = o->call;
  const struct command_row *row = o->row;
  free(o);
  if (err && inc->owner[0]) {
    call_forward(call, inc->owner);
    return;
  }
  if (err) {
    call_fail(call, err);
    return;
  }
  if (journal_seq(inc->journal) == 0) {
    struct err none;
    err_set(&none, ERR_NOT_FOUND, "there is no incident %s; `tocsin incident list` shows them", inc->id);
    call_fail(call, &none);
    return;
  }
  call->inc = inc;
  incident_busy(inc, 1);
  row->run(call, inc);
}

/* Who only looks wakes no run, who ends one that one. */
static enum wakes command_wakes(const struct incident *inc, const void *arg, json_t *runs) {
  const struct opening *o = arg;
  struct id id;
  char number[24];
  if (o->row->role && strcmp(o->row->role, "viewer") == 0) return WAKES_NONE;
  if (strcmp(o->row->name, "run.cancel") != 0 || !id_parse(call_text(o->call, "id"), &id)) return WAKES_ALL;
  snprintf(number, sizeof number, "%u", id.run);
  incident_wake(inc, number, runs);
  return WAKES_SOME;
}

static void run_row(struct call *call, const struct command_row *row) {
  struct err err;
  char name[ID_INCIDENT];
  if (row->about != NEEDS_ID) {
    row->run(call, NULL);
    return;
  }
  if (!call_about(call, name)) {
    err_set(&err, ERR_INVALID, "\"%.60s\" is no incident's id; write 42 or INC-000042", json_str_or(call->command, "id", ""));
    call_fail(call, &err);
    return;
  }
  struct opening *o = calloc(1, sizeof *o);
  if (!o) abort();
  *o = (struct opening){call, row};
  incident_with_some(call->desk, name, false, command_wakes, with_incident, o);
}

/* NULL: the handler asks by itself, because a refusal is on record. Whoever has any role may look. */
static bool may(const struct person *by, const char *role) {
  if (!role || person_has_role(by, role)) return true;
  return strcmp(role, "viewer") == 0 && json_array_size(by->roles) > 0;
}

static void refuse(struct call *call, const char *name, const char *role) {
  struct err err;
  log_warning("%s may not %s", call->by->name, name);
  err_set(&err, ERR_DENIED, "%s needs the role \"%s\", which %s has not got; the settings' `people` give roles", name, role,
          call->by->name);
  call_fail(call, &err);
}

static void here(struct call *call) { run_row(call, row_of(call)); }

static void incident_row(struct call *call) {
  if (row_in(file_commands_here, json_str_or(call->command, "command", ""))) here(call);
  else if (!call_gather(call, here)) call_to_owner(call, here);
}

static void room_above(struct call *call) {
  const struct extra *extra = map_get(&call->desk->extras, json_str_or(call->command, "command", ""));
  extra->cb(extra->arg, call, call->by, call->command);
}

static void command_turn(void *arg) {
  struct call *call = arg;
  struct desk *d = call->desk;
  struct err err;
  const char *name = json_str_or(call->command, "command", "");
  const struct command_row *row = row_of(call);
  const struct extra *extra = row ? NULL : map_get(&d->extras, name);
  if (!row && !extra) {
    err_set(&err, ERR_NOT_FOUND, "there is no command \"%.60s\"", name);
    call_fail(call, &err);
  } else if (!may(call->by, extra ? "viewer" : row->role)) {
    refuse(call, name, extra ? "viewer" : row->role);
  } else {
    call_to_exercise(call, extra ? room_above : incident_row);
  }
}

void call_again(struct call *call) { loop_defer(call->desk->deps.loop, command_turn, call); }

static void command_begin(struct call call) {
  struct call *copy = calloc(1, sizeof *copy);
  if (!copy) abort();
  *copy = call;
  loop_defer(copy->desk->deps.loop, command_turn, copy);
}

void desk_command(struct desk *d, const struct person *by, const json_t *command, desk_answer_cb *cb, void *arg) {
  command_begin((struct call){.desk = d, .by = by, .command = json_deep_copy(command), .cb = cb, .arg = arg});
}

void desk_command_inner(struct desk *d, const struct person *by, json_t *command_take, desk_answer_cb *cb, void *arg) {
  struct call *call = calloc(1, sizeof *call);
  if (!call) abort();
  *call = (struct call){.desk = d, .by = by, .command = command_take, .cb = cb, .arg = arg, .inner = true};
  command_turn(call);
}

void desk_command_remote(struct desk *d, const struct person *by, const json_t *command, bool here, desk_answer_cb *cb, void *arg) {
  command_begin((struct call){.desk = d, .by = by, .command = json_deep_copy(command), .cb = cb, .arg = arg, .remote = true, .here = here});
}
