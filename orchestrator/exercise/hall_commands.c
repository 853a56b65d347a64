/* What facilitators say: begin, look, stand still, go on, leap, skip, put in, end. */
#include "exercise/hall_commands.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "exercise/check.h"
#include "script/datafile.h"

enum { SOURCE_MOST = 1 << 20, PLAYED_MOST = 32, JUMP_MOST_MS = 7 * 86400000 };

void hall_refuse(struct call *call, int status, const char *text) {
  struct err err;
  err_set(&err, ERR_INVALID, "%s", text);
  desk_reply(call, status, json_pack("{s:s}", "error", err.text));
}

void hall_fail(struct call *call, const struct err *err) {
  int status = err->code == ERR_NOT_FOUND                                 ? 404
               : err->code == ERR_CONFLICT                                ? 409
               : err->code == ERR_DENIED                                  ? 403
               : err->code == ERR_UNAVAILABLE || err->code == ERR_TIMEOUT ? 503
                                                                          : 400;
  hall_refuse(call, status, err->text);
}

/* --- beginning --------------------------------------------------------------------------------------------------------- */

struct beginning {
  struct hall *hall;
  struct call *call;
  struct hall_content content;
  json_t *started; /* until it is taken over */
};

static void declaration_free_value(void *value) { declaration_free(value); }

void hall_content_release(struct hall_content *c) {
  router_free(c->router);
  lists_free(c->lists);
  registry_free(c->registry);
  if (c->playbooks) map_release(c->playbooks, declaration_free_value), free(c->playbooks);
  json_decref(c->default_group);
  *c = (struct hall_content){0};
}

static void beginning_fail(struct beginning *b, const struct err *err) {
  hall_fail(b->call, err);
  hall_content_release(&b->content);
  json_decref(b->started);
  free(b);
}

static void on_opened(void *arg, struct exercise *x, const struct err *err) {
  struct beginning *b = arg;
  if (err) {
    beginning_fail(b, err);
    return;
  }
  b->hall->begun++;
  desk_reply(b->call, 200,
             json_pack("{s:s, s:O, s:I, s:I, s:I}", "id", x->id, "title", json_object_get(x->scenario->json, "title"), "objectives",
                       (json_int_t)json_array_size(json_object_get(x->scenario->json, "objectives")), "injects",
                       (json_int_t)json_array_size(json_object_get(x->scenario->json, "injects")), "seed",
                       (json_int_t)json_int_or(x->started, "seed", 0)));
  free(b);
}

static void on_new_id(void *arg, const struct redis_value *reply, const struct err *err) {
  struct beginning *b = arg;
  if (err) {
    struct err why = *err;
    err_wrap(&why, "Redis does not answer, so no exercise was begun");
    beginning_fail(b, &why);
    return;
  }
  json_t *started = b->started;
  b->started = NULL;
  exercise_open(b->hall, redis_string(reply, NULL), started, &b->content, on_opened, b);
}

static json_t *playbooks_of(const struct hall_content *c) {
  json_t *all = json_object();
  size_t at = 0;
  void *value;
  while (map_next(c->playbooks, &at, NULL, &value)) {
    const struct declaration *p = value;
    json_object_set(all, p->name, p->json);
  }
  return all;
}

/* As `tocsin tabletop check`: what has a mistake is not begun. */
static int check(const struct hall_content *c, const struct scenario *s, const char *file, const char *source, struct err *err) {
  json_t *connectors = registry_declarations(c->registry), *playbooks = playbooks_of(c), *findings = json_array(), *text;
  struct normaliser *normaliser = normaliser_new(c->registry, NULL);
  struct scenario_against against = {.file = file,
                                     .source = source,
                                     .len = strlen(source),
                                     .connectors = connectors,
                                     .playbooks = playbooks,
                                     .normaliser = normaliser,
                                     .router = c->router,
                                     .only_first = true};
  size_t i;
  int r = 0;
  scenario_check(s, &against, findings);
  json_array_foreach(findings, i, text) {
    const char *found = json_string_value(text);
    if (r == 0 && strncmp(found, "error: ", 7) == 0)
      r = err_set(err, ERR_INVALID, "%.400s (`tocsin tabletop check` shows all that is wrong)", found + 7);
  }
  normaliser_free(normaliser);
  json_decref(connectors);
  json_decref(playbooks);
  json_decref(findings);
  return r;
}

static void roles_text(const struct scenario *s, struct buf *out) {
  const char *role;
  json_t *what;
  json_object_foreach(json_object_get(s->json, "roles"), role, what) buf_addf(out, "%s%s", out->len ? ", " : "", role);
}

static int role_unknown(const struct scenario *s, const char *role, struct err *err) {
  struct buf text;
  buf_init(&text, 1024);
  roles_text(s, &text);
  err_set(err, ERR_INVALID, "the scenario has no role \"%.60s\"; it has %.300s", role, text.data);
  buf_release(&text);
  return err->code;
}

/* Who plays what; in an --auto play the roles that nobody has are the script's, under names that are no person's. */
static int cast(struct hall *h, const struct scenario *s, const json_t *given, bool scripted, json_t *started, struct err *err) {
  json_t *roles = json_object(), *by_script = json_object(), *value;
  const char *role;
  int r = 0;
  json_object_set_new(started, "roles", roles);
  json_object_set_new(started, "scripted", by_script);
  json_object_foreach((json_t *)(uintptr_t)given, role, value) {
    const struct person *player = people_named(h->deps.people, json_is_string(value) ? json_string_value(value) : "");
    if (r == 0 && !json_object_get(json_object_get(s->json, "roles"), role)) r = role_unknown(s, role, err);
    if (r == 0 && !player)
      r = err_set(err, ERR_INVALID, "nobody is called \"%.60s\", so nobody plays %s; the settings' `people` name who there is",
                  json_is_string(value) ? json_string_value(value) : "", role);
    if (r == 0) json_object_set_new(roles, role, json_string(player->actor));
  }
  json_object_set_new(started, "people", json_boolean(json_object_size(roles) > 0));
  json_object_foreach(json_object_get(s->json, "roles"), role, value) {
    if (!scripted || json_object_get(roles, role)) continue;
    char actor[PERSON_ACTOR];
    snprintf(actor, sizeof actor, "person:%.16s", role);
    json_object_set_new(by_script, role, json_true());
    json_object_set_new(roles, role, json_string(actor));
  }
  return r;
}

static int speed_of(const json_t *command, json_t *started, struct err *err) {
  const json_t *given = json_object_get(command, "speed");
  double speed = given ? json_number_value(given) : 1;
  if (!(speed >= 1 && speed <= CLOCK_SPEED_MOST))
    return err_set(err, ERR_INVALID, "a speed of %g is not from 1 (as in earnest) to %d (an hour in a second)", speed, CLOCK_SPEED_MOST);
  json_object_set_new(started, "speed", json_real(speed));
  json_object_set_new(started, "paced", json_boolean(given != NULL));
  return 0;
}

static int seed_of(const json_t *command, json_t *started, struct err *err) {
  const json_t *given = json_object_get(command, "seed");
  uint32_t drawn;
  random_bytes(&drawn, sizeof drawn);
  if (given && !json_is_integer(given)) return err_set(err, ERR_INVALID, "the seed is a whole number");
  json_object_set_new(started, "seed", json_integer(given ? json_integer_value(given) : (json_int_t)(drawn >> 1)));
  return 0;
}

static int started_of(struct hall *h, const struct person *by, const json_t *command, const struct scenario *s, json_t **ret,
                      struct err *err) {
  bool scripted = json_bool_or(command, "auto", false);
  json_t *started =
      json_pack("{s:s, s:s, s:O, s:b, s:s}", "scenario", s->name, "digest", s->digest, "story", s->json, "auto", scripted, "by", by->actor);
  int r = speed_of(command, started, err);
  if (r == 0) r = seed_of(command, started, err);
  if (r == 0) r = cast(h, s, json_object_get(command, "roles"), scripted, started, err);
  if (r == 0) *ret = started;
  else json_decref(started);
  return r;
}

static size_t played(const struct hall *h) {
  const struct exercise *x;
  size_t count = 0;
  LIST_FOREACH(x, &h->all, next) count += x->stage != STAGE_CLOSED;
  return count;
}

/* Other people than the scenario's own: `return script { steps = { { by = "lead", answer = …, with = … }, … } }`. */
static int other_script(const json_t *command, struct scenario **s, struct err *err) {
  const char *file = json_str_or(command, "script_file", "script.lua"), *source = json_str(command, "script");
  json_t *read = NULL, *json;
  struct scenario *changed = NULL;
  if (!source) return 0;
  if (strlen(source) > SOURCE_MOST) return err_set(err, ERR_INVALID, "the script is over 1 MiB");
  int r = datafile_load(file, source, strlen(source), "script", &read, err);
  if (r < 0) return r;
  json = json_deep_copy((*s)->json);
  json_t *steps = json_object_get(read, "steps");
  bool none = json_is_object(steps) && !json_object_size(steps); /* `{}`: nobody does anything */
  if (none) json_object_set_new(json, "script", json_array());
  else if (json_is_array(steps)) json_object_set(json, "script", steps);
  r = none || json_is_array(steps) ? scenario_from_json(json, &changed, err)
                                   : err_set(err, ERR_INVALID, "%s: a script has `steps`, a list of what scripted people do", file);
  json_decref(read);
  json_decref(json);
  if (r < 0) return r;
  scenario_free(*s);
  *s = changed;
  return 0;
}

static int prepare(struct beginning *b, const struct person *by, const json_t *command, struct err *err) {
  struct hall *h = b->hall;
  struct scenario *s = NULL;
  const char *file = json_str_or(command, "file", "scenario.lua"), *source = json_str(command, "source");
  if (!person_has_role(by, "responder")) return err_set(err, ERR_DENIED, "beginning an exercise needs the role \"responder\"");
  if (!source || strlen(source) > SOURCE_MOST) return err_set(err, ERR_INVALID, "`source`, the scenario's text, is missing or over 1 MiB");
  if (played(h) >= PLAYED_MOST) return err_set(err, ERR_CONFLICT, "%d exercises are played already; end one first", PLAYED_MOST);
  int r = scenario_load(file, source, strlen(source), &s, err);
  if (r == 0) r = other_script(command, &s, err);
  if (r == 0) r = started_of(h, by, command, s, &b->started, err);
  if (r == 0) r = h->deps.content(h->deps.arg, &b->content, err);
  if (r == 0) r = check(&b->content, s, file, source, err);
  scenario_free(s);
  return r;
}

static void do_run(void *arg, struct call *call, const struct person *by, const json_t *command) {
  struct beginning *b = calloc(1, sizeof *b);
  struct err err;
  if (!b) abort();
  *b = (struct beginning){.hall = arg, .call = call};
  if (prepare(b, by, command, &err) < 0) {
    beginning_fail(b, &err);
  } else if (redis_call(b->hall->deps.redis, 0, on_new_id, b, &err, "FCALL", "tocsin_open_id", "1", EXERCISE_IDS, "EX", NULL) < 0) {
    err_wrap(&err, "Redis does not answer, so no exercise was begun");
    beginning_fail(b, &err);
  }
}

/* --- one exercise -------------------------------------------------------------------------------------------------------------- */

/* By its id or that of one of its incidents: whoever breaks it off need not look which is which. */
static struct exercise *wanted(struct hall *h, struct call *call, const json_t *command) {
  char id[ID_INCIDENT], text[300];
  struct exercise *x;
  if (!hall_id_of(call, command, id)) return NULL;
  LIST_FOREACH(x, &h->all, next) if (exercise_is(x, id) && x->stage == STAGE_PLAYING) return x;
  snprintf(text, sizeof text,
           "%s is not played: it is over, there is none of that number, or it could not go on and the log of node %.48s says why; "
           "`tocsin tabletop list` shows which there are",
           id, h->deps.node);
  hall_refuse(call, 404, text);
  return NULL;
}

static struct exercise *facilitated(struct hall *h, struct call *call, const struct person *by, const json_t *command) {
  struct exercise *x = wanted(h, call, command);
  if (!x || exercise_facilitates(x, by)) return x;
  hall_refuse(call, 403, "only who began the exercise, or an admin, facilitates it");
  return NULL;
}

static const char *because(const json_t *command, const char *otherwise) {
  const char *text = json_str(command, "because");
  return text && *text ? text : otherwise;
}

struct acting {
  struct call *call;
  char id[ID_INCIDENT];
};

static void on_acted(void *arg, const struct err *err) {
  struct acting *a = arg;
  if (err) hall_fail(a->call, err);
  else desk_reply(a->call, 200, json_pack("{s:s}", "id", a->id));
  free(a);
}

static void acted(struct exercise *x, struct call *call) {
  struct acting *a = calloc(1, sizeof *a);
  if (!a) abort();
  a->call = call;
  snprintf(a->id, sizeof a->id, "%s", x->id);
  journal_when_durable(x->journal, on_acted, a);
}

static void do_show(void *arg, struct call *call, const struct person *by, const json_t *command) {
  struct exercise *x = wanted(arg, call, command);
  if (x) desk_reply(call, 200, exercise_show(x, by, exercise_facilitates(x, by) && !json_bool_or(command, "participant", false)));
}

static void do_end(void *arg, struct call *call, const struct person *by, const json_t *command) {
  struct exercise *x = facilitated(arg, call, by, command);
  if (!x) return;
  exercise_close(x, by->actor, "finished", because(command, "the facilitator ended it"));
  acted(x, call);
}

/* Anybody may say that this is real: it costs an exercise. */
static void do_abort(void *arg, struct call *call, const struct person *by, const json_t *command) {
  struct exercise *x = wanted(arg, call, command);
  if (!x) return;
  if (!person_has_role(by, "responder") && !exercise_facilitates(x, by)) {
    hall_refuse(call, 403, "breaking off needs the role \"responder\"");
    return;
  }
  exercise_close(x, by->actor, "aborted", because(command, "no reason was given"));
  acted(x, call);
}

static void do_pause(void *arg, struct call *call, const struct person *by, const json_t *command) {
  struct exercise *x = facilitated(arg, call, by, command);
  if (!x) return;
  if (x->halted) {
    hall_refuse(call, 409, "its clock stands still already");
    return;
  }
  journal_save_state(x->journal); /* lists elsewhere show it */
  journal_add(x->journal, KIND_EXERCISE_PAUSED, by->actor, 0, NULL, json_pack("{s:s}", "because", because(command, "")));
  x->halted = true;
  clock_pause(&x->clock);
  acted(x, call);
}

static void do_resume(void *arg, struct call *call, const struct person *by, const json_t *command) {
  struct exercise *x = facilitated(arg, call, by, command);
  if (!x) return;
  if (!x->halted) {
    hall_refuse(call, 409, "its clock goes on already");
    return;
  }
  x->halted = false;
  exercise_let_go_on(x);
  journal_save_state(x->journal); /* lists elsewhere show it */
  journal_add(x->journal, KIND_EXERCISE_RESUMED, by->actor, 0, NULL, json_object());
  acted(x, call);
}

static void do_speed(void *arg, struct call *call, const struct person *by, const json_t *command) {
  struct exercise *x = facilitated(arg, call, by, command);
  json_t *given = json_object();
  struct err err;
  if (x && !json_is_number(json_object_get(command, "speed"))) {
    hall_refuse(call, 400, "say which speed: from 1 (as in earnest) to 3600 (an hour in a second)");
  } else if (x && speed_of(command, given, &err) < 0) {
    hall_fail(call, &err);
  } else if (x) {
    exercise_set_speed(x, json_number_value(json_object_get(given, "speed")));
    journal_add(x->journal, KIND_EXERCISE_RESUMED, by->actor, 0, NULL, json_pack("{s:f}", "speed", x->clock.speed));
    acted(x, call);
  }
  json_decref(given);
}

static void do_jump(void *arg, struct call *call, const struct person *by, const json_t *command) {
  struct exercise *x = facilitated(arg, call, by, command);
  struct err err;
  if (!x) return;
  int64_t ms = json_int_or(command, "by", 0), to = exercise_now(x) + ms * 1000;
  if (ms < 1 || ms > JUMP_MOST_MS) {
    hall_refuse(call, 400, "say how far forward, as 10m or 1h, up to 7d: a clock never goes back");
    return;
  }
  if (clock_jump(&x->clock, to, &err) < 0) {
    hall_fail(call, &err);
    return;
  }
  journal_add(x->journal, KIND_EXERCISE_JUMPED, by->actor, 0, NULL, json_pack("{s:I}", "to", (json_int_t)to));
  exercise_clock_moved(x);
  exercise_drive(x);
  acted(x, call);
}

/* One of the scenario that has not come yet. */
static const json_t *open_inject(const struct exercise *x, struct call *call, const json_t *command) {
  const char *wanted_id = json_str_or(command, "inject", "");
  char text[256];
  size_t i;
  json_t *inject;
  struct scenario_play p = exercise_play(x);
  json_t *result = scenario_judge(x->scenario, &p, exercise_now(x), false);
  const char *status = "";
  const json_t *found = NULL;
  json_array_foreach(json_object_get(x->scenario->json, "injects"), i, inject) {
    if (strcmp(json_str_or(inject, "id", ""), wanted_id) != 0) continue;
    found = inject;
    status = json_str_or(json_array_get(json_object_get(result, "injects"), i), "status", "");
  }
  bool came = strcmp(status, "came") == 0 || strcmp(status, "skipped") == 0;
  if (!found || came)
    snprintf(text, sizeof text, found ? "inject %.60s %s already" : "the scenario has no inject \"%.60s\"", wanted_id,
             strcmp(status, "came") == 0 ? "came" : "was skipped");
  json_decref(result);
  if (found && !came) return found;
  hall_refuse(call, found ? 409 : 404, text);
  return NULL;
}

static void do_skip(void *arg, struct call *call, const struct person *by, const json_t *command) {
  struct exercise *x = facilitated(arg, call, by, command);
  const json_t *inject = x ? open_inject(x, call, command) : NULL;
  if (!inject) return;
  journal_add(x->journal, KIND_EXERCISE_SKIPPED, by->actor, 0, NULL,
              json_pack("{s:O, s:s}", "inject", json_object_get(inject, "id"), "because", because(command, "")));
  exercise_drive(x);
  acted(x, call);
}

/* A message of the facilitator's own. */
static json_t *own_message(const struct exercise *x, const json_t *command) {
  json_t *message = json_pack("{s:O}", "text", json_object_get(command, "text"));
  if (json_object_get(command, "to")) json_object_set(message, "to", json_object_get(command, "to"));
  return json_pack("{s:o, s:s, s:o, s:b}", "id", json_sprintf("added-%llu", (unsigned long long)journal_seq(x->journal) + 1), "kind",
                   "message", "message", message, "added", 1);
}

/* Nobody would ever see what is for a role that is not there. */
static int to_known(const struct scenario *s, const json_t *to, struct err *err) {
  size_t i;
  json_t *role;
  int r = !to || (json_is_array(to) && json_array_size(to)) ? 0 : err_set(err, ERR_INVALID, "`to` is a list of roles");
  json_array_foreach((json_t *)(uintptr_t)to, i, role) {
    const char *name = json_is_string(role) ? json_string_value(role) : "";
    if (r == 0 && !json_object_get(json_object_get(s->json, "roles"), name)) r = role_unknown(s, name, err);
  }
  return r;
}

static void do_inject(void *arg, struct call *call, const struct person *by, const json_t *command) {
  struct exercise *x = facilitated(arg, call, by, command);
  const char *text = json_str(command, "text");
  struct err err;
  if (!x) return;
  if (text && to_known(x->scenario, json_object_get(command, "to"), &err) < 0) {
    hall_fail(call, &err);
    return;
  }
  if (text && (!*text || strlen(text) > 8000)) {
    hall_refuse(call, 400, "a message has 1 to 8000 bytes");
    return;
  }
  json_t *own = text ? own_message(x, command) : NULL;
  const json_t *inject = own ? own : open_inject(x, call, command);
  if (!inject) return;
  exercise_inject(x, inject, exercise_now(x), by->actor);
  json_decref(own);
  exercise_drive(x);
  acted(x, call);
}

void hall_commands(struct hall *h) {
  static const struct {
    const char *name;
    desk_extra_cb *cb;
  } all[] = {{"tabletop.run", do_run},     {"tabletop.list", hall_list},   {"tabletop.incidents", hall_incidents},
             {"tabletop.show", do_show},   {"tabletop.end", do_end},       {"tabletop.abort", do_abort},
             {"tabletop.pause", do_pause}, {"tabletop.resume", do_resume}, {"tabletop.speed", do_speed},
             {"tabletop.jump", do_jump},   {"tabletop.skip", do_skip},     {"tabletop.inject", do_inject}};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) desk_extend(h->deps.desk, all[i].name, all[i].cb, h);
}
