/* desk_stage.h: a desk with a Redis of its own, three people (tester: everything, judy: responder's work, guest: looks), and commands to it. */
#ifndef TOCSIN_UNIT_DESK_STAGE_H
#define TOCSIN_UNIT_DESK_STAGE_H

#include "base/json.h"
#include "base/log.h"
#include "incident/incident.h"
#include "redis_server.h"
#include "route/route.h"
#include "script/script.h"

enum { WAIT_MS = 20000 };

static struct {
  struct server server;
  struct loop *loop;
  struct redis *redis;
  struct secrets *secrets;
  struct people *people;
  struct transports *transports;
  struct questions *questions;
  struct actions *actions;
  struct journal_store store;
  struct desk *desk;
  json_t *settings;
  const struct clock *clock;
  const char *node;
  struct run_world lists;
  void (*nodes_up)(void); /* makes `nodes` once Redis is there; NULL: a desk without any */
  struct nodes *nodes;
  char id[64];
} t;

static void on_link(void *arg, bool up, const struct err *err) {}
static void on_nap(void *arg) {}

static void turn(void) {
  struct timer *timer = timer_start(t.loop, 1, on_nap, NULL);
  loop_wait(t.loop);
  timer_free(timer);
}

#define UNTIL(condition)                                                                                                                   \
  do {                                                                                                                                     \
    int64_t until_ = test_now_ms() + WAIT_MS;                                                                                              \
    while (!(condition)) {                                                                                                                 \
      if (test_now_ms() > until_) fail_msg("waited in vain for %s", #condition);                                                           \
      turn();                                                                                                                              \
    }                                                                                                                                      \
  } while (0)

/* ---- commands */

static struct reply {
  int status;
  json_t *answer;
} reply;

static void on_reply(void *arg, int status, const json_t *answer) {
  struct reply *r = arg;
  r->status = status;
  json_decref(r->answer);
  r->answer = json_deep_copy(answer);
}

static void send_to_desk(const char *who, json_t *command_take) {
  const struct person *by = people_named(t.people, who);
  assert_non_null(by);
  assert_non_null(command_take);
  reply.status = 0;
  desk_command(t.desk, by, command_take, on_reply, &reply);
  json_decref(command_take);
}

/* Borrowed until the next. */
static const json_t *said(const char *who, json_t *command_take, int wanted) {
  send_to_desk(who, command_take);
  UNTIL(reply.status);
  if (reply.status != wanted) fail_msg("%d: %s", reply.status, json_str_or(reply.answer, "error", "?"));
  return reply.answer;
}

static void refused(const char *who, json_t *command_take, int wanted, const char *says) {
  const char *error = json_str_or(said(who, command_take, wanted), "error", "");
  if (!strstr(error, says)) fail_msg("%s", error);
}

/* ---- the desk */

static void desk_up(void) {
  struct err err = {0};
  struct redis_config config = {.lanes = 2, .socket = t.server.socket};
  if (redis_new(t.loop, &config, t.secrets, on_link, NULL, &t.redis, &err) < 0) fail_msg("%s", err.text);
  UNTIL(redis_up(t.redis));
  if (t.nodes_up) t.nodes_up();
  t.transports = transports_new(t.loop, t.secrets);
  t.questions = questions_new(t.loop, t.people);
  struct actions_deps actions = {.loop = t.loop,
                                 .redis = t.redis,
                                 .secrets = t.secrets,
                                 .transports = t.transports,
                                 .questions = t.questions,
                                 .people = t.people,
                                 .data = t.server.folder};
  t.actions = actions_new(&actions, &err);
  if (!t.actions) fail_msg("%s", err.text);
  t.store = (struct journal_store){.loop = t.loop, .redis = t.redis, .secrets = t.secrets, .clock = t.clock, .node = t.node};
  struct desk_deps deps = {.store = &t.store,
                           .loop = t.loop,
                           .redis = t.redis,
                           .actions = t.actions,
                           .questions = t.questions,
                           .people = t.people,
                           .nodes = t.nodes,
                           .settings = t.settings,
                           .lists = t.lists,
                           .values = path_values};
  t.desk = desk_new(&deps, &err);
  if (!t.desk) fail_msg("%s", err.text);
}

static void desk_down(void) {
  desk_unload(t.desk);
  actions_orphan(t.actions, NULL);
  transports_free(t.transports);
  redis_free(t.redis); /* as the daemon: what it still owed is told first */
  nodes_free(t.nodes);
  t.nodes = NULL;
  desk_free(t.desk);
  questions_free(t.questions);
  actions_free(t.actions);
}

/* All but the desk itself; then the settings, the clock and the lists may still be changed. */
static void stage_begin(void) {
  struct err err = {0};
  json_t *sources = NULL;
  json_t *named =
      json_pack("{s:{s:I, s:[s, s, s]}, s:{s:i, s:[s]}, s:{s:i, s:[s]}}", "tester", "uid", (json_int_t)getuid(), "roles", "responder",
                "lead", "admin", "judy", "uid", 60001, "roles", "responder", "guest", "uid", 60002, "roles", "viewer");
  log_set_level(LOG_ERROR);
  memset(&t, 0, sizeof t);
  t.node = "n1";
  t.clock = clock_system();
  server_start(&t.server, "");
  t.loop = loop_new();
  t.secrets = secrets_new();
  if (people_new(named, t.secrets, "a key for tests!", 16, &t.people, &err) < 0) fail_msg("%s", err.text);
  if (settings_load(NULL, &t.settings, &sources, &err) < 0) fail_msg("%s", err.text);
  json_decref(sources);
  json_object_set_new(t.settings, "people", named);
}

static void stage_end(void) {
  people_free(t.people);
  loop_free(t.loop);
  json_decref(t.settings);
  secrets_free(t.secrets);
  server_stop(&t.server);
  json_decref(reply.answer);
  reply.answer = NULL;
}

/* For a group of tests that share one desk. */
static inline int desk_setup(void **state) {
  stage_begin();
  desk_up();
  return 0;
}

static inline int desk_teardown(void **state) {
  desk_down();
  stage_end();
  return 0;
}

#endif
