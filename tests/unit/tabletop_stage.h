/* tabletop_stage.h: a desk of earnest, a hall of exercises beside it, and what is installed, over a private redis-server. */
#ifndef TOCSIN_TESTS_TABLETOP_STAGE_H
#define TOCSIN_TESTS_TABLETOP_STAGE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/log.h"
#include "cmd/daemon.h"
#include "exercise/hall_commands.h"
#include "redis_server.h"
#include "script/script.h"

enum { PLAY_MS = 30000 };

static struct server server;
static struct loop *loop;
static struct redis *link_to;
static struct secrets *secrets;
static struct people *people;
static struct transports *live_transports;
static struct questions *live_questions;
static struct actions *live_actions;
static struct journal_store store;
static struct clock hall_clock;
static struct desk *desk;
static struct hall *hall;
static const char *suspected;   /* what the next hall hears that the process crashed in */
static struct daemon as_daemon; /* only what content wants */

static void on_link(void *arg, bool up, const struct err *err) {}

static void on_nap(void *arg) {}

/* Waits for what happens next, a millisecond at most. */
static void turn(void) {
  struct timer *t = timer_start(loop, 1, on_nap, NULL);
  loop_wait(loop);
  timer_free(t);
}

#define UNTIL(condition)                                                                                                                   \
  do {                                                                                                                                     \
    int64_t until_ = test_now_ms() + PLAY_MS;                                                                                              \
    while (!(condition)) {                                                                                                                 \
      if (test_now_ms() > until_) fail_msg("waited in vain for %s", #condition);                                                           \
      turn();                                                                                                                              \
    }                                                                                                                                      \
  } while (0)

/* --- a command and its answer --------------------------------------------------------------------------------------- */

struct reply {
  int status;
  json_t *answer;
};

static void on_reply(void *arg, int status, const json_t *answer) {
  struct reply *r = arg;
  r->status = status;
  r->answer = json_deep_copy(answer);
}

/* Takes the command over; the answer is the caller's. */
static json_t *command(const char *who, json_t *command_take, int *ret_status) {
  struct reply r = {0};
  const struct person *by = people_named(people, who);
  assert_non_null(by);
  assert_non_null(command_take);
  desk_command(desk, by, command_take, on_reply, &r);
  json_decref(command_take);
  UNTIL(r.status);
  *ret_status = r.status;
  return r.answer;
}

static inline void say(const char *who, json_t *command_take, int wanted) {
  int status;
  json_t *answer = command(who, command_take, &status);
  if (status != wanted) fail_msg("%d: %s", status, json_str_or(answer, "error", "?"));
  json_decref(answer);
}

/* It is refused, with these words. */
static inline void refused(const char *who, json_t *command_take, int wanted, const char *says) {
  int status;
  json_t *answer = command(who, command_take, &status);
  const char *error = json_str_or(answer, "error", "");
  if (status != wanted || !strstr(error, says)) fail_msg("%d: %s", status, error);
  json_decref(answer);
}

/* --- everything ------------------------------------------------------------------------------------------------------- */

static json_t *people_settings(void) {
  return json_pack("{s:{s:I, s:[s]}, s:{s:i, s:[s]}, s:{s:i, s:[s]}, s:{s:i, s:[]}}", "tester", "uid", (json_int_t)getuid(), "roles",
                   "responder", "alice", "uid", 60001, "roles", "responder", "rita", "uid", 60002, "roles", "admin", "guest", "uid", 60003,
                   "roles");
}

static void hall_open(void) {
  struct hall_deps deps = {.loop = loop,
                           .redis = link_to,
                           .secrets = secrets,
                           .people = people,
                           .settings = as_daemon.settings,
                           .desk = desk,
                           .node = "n1",
                           .runbooks = "runbooks",
                           .data = server.folder,
                           .clock = &hall_clock,
                           .suspect = suspected,
                           .content = daemon_exercise_content,
                           .arg = &as_daemon};
  hall = hall_new(&deps);
}

static void on_loaded(void *arg) { *(bool *)arg = true; }

/* As after a crash: nothing of it has said good-bye. */
static inline void hall_again(void) {
  bool loaded = false;
  hall_stop(hall);
  hall_unload(hall);
  for (int i = 0; i < 400; i++) turn(); /* what Redis still owed has come */
  hall_free(hall);
  hall_open();
  hall_load(hall, on_loaded, &loaded);
  UNTIL(loaded);
}

static void desk_open(void) {
  struct err err = {0};
  live_transports = transports_new(loop, secrets);
  live_questions = questions_new(loop, people);
  struct actions_deps actions = {.loop = loop,
                                 .redis = link_to,
                                 .secrets = secrets,
                                 .transports = live_transports,
                                 .questions = live_questions,
                                 .people = people,
                                 .data = server.folder};
  live_actions = actions_new(&actions, &err);
  store = (struct journal_store){.loop = loop, .redis = link_to, .secrets = secrets, .clock = clock_system(), .node = "n1"};
  struct desk_deps deps = {.store = &store,
                           .loop = loop,
                           .redis = link_to,
                           .actions = live_actions,
                           .questions = live_questions,
                           .people = people,
                           .settings = as_daemon.settings,
                           .values = path_values};
  desk = desk_new(&deps, &err);
  if (!desk) fail_msg("%s", err.text);
}

static int stage_up(void **state) {
  struct err err = {0};
  json_t *sources = NULL, *named = people_settings();
  struct redis_config config = {.lanes = 2};
  log_set_level(LOG_ERROR);
  server_start(&server, "");
  loop = loop_new();
  secrets = secrets_new();
  if (secrets_put(secrets, "simulated", "0f9e8d7c6b5a4938", 16, &err) < 0) fail_msg("%s", err.text);
  config.socket = server.socket;
  if (redis_new(loop, &config, secrets, on_link, NULL, &link_to, &err) < 0) fail_msg("%s", err.text);
  UNTIL(redis_up(link_to));
  redis_call(link_to, 0, NULL, NULL, NULL, "CONFIG", "SET", "appendonly", "no",
             NULL); /* what is only played need not outlive a power cut */
  if (people_new(named, secrets, "a key for tests!", 16, &people, &err) < 0) fail_msg("%s", err.text);
  json_decref(named);
  if (settings_load(NULL, &as_daemon.settings, &sources, &err) < 0) fail_msg("%s", err.text);
  json_decref(sources);
  clock_init_settable(&hall_clock, 1772359200000000); /* 2026-03-01T10:00:00Z */
  desk_open();
  hall_open();
  bool loaded = false;
  hall_load(hall, on_loaded, &loaded);
  UNTIL(loaded);
  return 0;
}

static int stage_down(void **state) {
  hall_stop(hall);
  hall_unload(hall);
  desk_unload(desk);
  actions_orphan(live_actions, NULL);
  transports_free(live_transports);
  redis_free(link_to);
  hall_free(hall);
  desk_free(desk);
  questions_free(live_questions);
  actions_free(live_actions);
  people_free(people);
  loop_free(loop);
  json_decref(as_daemon.settings);
  secrets_free(secrets);
  server_stop(&server);
  return 0;
}

/* --- playing ----------------------------------------------------------------------------------------------------------- */

static json_t *source_of(const char *path) {
  struct buf text;
  char chunk[8192];
  size_t n;
  FILE *f = fopen(path, "rb");
  if (!f) fail_msg("cannot open %s", path);
  buf_init(&text, 1 << 20);
  while ((n = fread(chunk, 1, sizeof chunk, f)) > 0) buf_add(&text, chunk, n);
  fclose(f);
  json_t *source = json_stringn(text.data, text.len);
  buf_release(&text);
  return source;
}

static inline json_t *shipped(const char *scenario, bool automatic) {
  char path[200];
  snprintf(path, sizeof path, "runbooks/tabletop/%s.lua", scenario);
  return json_pack("{s:s, s:s, s:o, s:b}", "command", "tabletop.run", "file", path, "source", source_of(path), "auto", automatic);
}

static void begin(const char *who, json_t *command_take, char id[ID_INCIDENT]) {
  int status;
  json_t *answer = command(who, command_take, &status);
  if (status != 200) fail_msg("%s", json_str_or(answer, "error", "?"));
  snprintf(id, ID_INCIDENT, "%s", json_str_or(answer, "id", ""));
  json_decref(answer);
}

/* The whole timeline of an exercise as text: each entry with its time since the start; other plays of it have other ids, and secrets are drawn anew. */
struct timeline_text {
  struct buf text;
  uint64_t base;
  int64_t began;
  struct entry **all;
  size_t count;
  bool over;
};

static size_t hex_run(const char *text) { return strspn(text, "0123456789abcdef"); }

static void add_plain(struct timeline_text *t, const char *text) {
  while (*text) {
    size_t n = hex_run(text);
    if (strncmp(text, "EX-", 3) == 0 && strspn(text + 3, "0123456789") >= 6) {
      char *end;
      buf_addf(&t->text, "EX+%llu", strtoull(text + 3, &end, 10) - (unsigned long long)t->base);
      text = end;
    } else if (n == 16 || n == 32 || n == 64) {
      buf_addc(&t->text, '#');
      text += n;
    } else {
      buf_add(&t->text, text, n ? n : 1);
      text += n ? n : 1;
    }
  }
}

static bool on_one(void *arg, const struct entry *e) {
  struct timeline_text *t = arg;
  if (!t->began) t->began = e->time;
  char *body = json_text(e->body);
  buf_addf(&t->text, "%lld %s %s %u/%s ", (long long)(e->time - t->began), kind_name(e->kind), e->actor, e->run, e->step);
  add_plain(t, body ? body : "");
  buf_addc(&t->text, '\n');
  free(body);
  return true;
}

static void on_read(void *arg, const struct err *err) {
  if (err) fail_msg("%s", err->text);
  ((struct timeline_text *)arg)->over = true;
}

static int by_text(const void *a, const void *b) {
  return strcmp(json_string_value(*(json_t *const *)a), json_string_value(*(json_t *const *)b));
}

/* The caller frees. */
static inline char *timeline_of(const char *id) {
  struct timeline_text t = {0};
  struct id parsed;
  struct err err;
  int status;
  size_t i;
  json_t *row, *ids[100], *answer = command("tester", json_pack("{s:s, s:s}", "command", "tabletop.incidents", "id", id), &status);
  assert_int_equal(status, 200);
  size_t count = 0;
  json_array_foreach(json_object_get(answer, "incidents"), i, row) if (json_int_or(row, "opened", 0) && count < 100) ids[count++] =
      json_object_get(row, "id");
  qsort(ids, count, sizeof *ids, by_text);
  assert_true(count > 1 && id_parse(id, &parsed));
  buf_init(&t.text, 8 << 20);
  t.base = parsed.number;
  for (i = 0; i < count; i++) {
    t.over = false;
    if (journal_read(&store, json_string_value(ids[i]), 1, 0, on_one, on_read, &t, &err) < 0) fail_msg("%s", err.text);
    UNTIL(t.over);
  }
  json_decref(answer);
  return buf_take(&t.text, NULL);
}

static inline void same_timeline(const char *a, const char *b) {
  size_t line = 0;
  for (size_t i = 0; a[i] || b[i]; i++) {
    if (a[i] == b[i]) {
      if (a[i] == '\n') line = i + 1;
      continue;
    }
    fail_msg("they differ:\n%.600s\n%.600s", a + line, b + line);
  }
}

#endif
