/* journal_help.h: journals over a real Redis, for the tests of journals: adding, reading back, loading. */
#ifndef TOCSIN_TESTS_JOURNAL_HELP_H
#define TOCSIN_TESTS_JOURNAL_HELP_H

#include "base/clock.h"
#include "base/json.h"
#include "journal/journal.h"
#include "redis_server.h"

enum { PATIENCE_MS = 20000, MOST = 20000 };

static struct server server;
static struct loop *loop;
static struct redis *redis_link;
static struct secrets *secrets;
static struct journal_store store;
static unsigned incidents;
static unsigned lost;
static struct err lost_why;

static void on_lost(void *arg, struct journal *j, const struct err *why) {
  lost++;
  lost_why = *why;
}

static int setup(void **state) {
  server_start(&server, NULL);
  loop = loop_new();
  secrets = secrets_new();
  struct redis_config config = {.socket = server.socket, .lanes = 3, .timeout_ms = 700};
  struct err err;
  if (redis_new(loop, &config, secrets, link_says, NULL, &redis_link, &err)) fail_msg("%s", err.text);
  link_wait_up(loop, redis_link);
  store =
      (struct journal_store){.loop = loop, .redis = redis_link, .secrets = secrets, .clock = clock_system(), .node = "n1", .lost = on_lost};
  return 0;
}

static int teardown(void **state) {
  redis_free(redis_link);
  loop_free(loop);
  secrets_free(secrets);
  server_stop(&server);
  return 0;
}

static const char *fresh(void) {
  static char id[32];
  snprintf(id, sizeof id, "INC-%06u", ++incidents);
  return id;
}

static void add(struct journal *j, int n) {
  journal_add(j, KIND_INCIDENT_NOTED, "engine", 0, NULL,
              json_pack("{s:i, s:s}", "n", n, "text", "a note with \"quotes\", ünïcode and \n lines"));
}

struct flag {
  volatile bool done;
  unsigned calls;
  int code;
};

static void on_durable(void *arg, const struct err *err) {
  struct flag *f = arg;
  f->calls++;
  f->code = err ? err->code : 0;
  f->done = true;
}

static void settle(struct journal *j) {
  struct flag f = {0};
  journal_when_durable(j, on_durable, &f);
  assert_int_equal(f.calls, 0); /* never at once */
  assert_true(test_until(loop, &f.done, PATIENCE_MS));
  assert_int_equal(f.calls, 1);
  assert_int_equal(f.code, 0);
}

/* --- reading back ------------------------------------------------------------------------------------------------- */

struct seen {
  volatile bool done;
  int code;
  char text[1024];
  struct journal *j;
  json_t *state; /* folded from the entries alone */
  size_t count;
  char leaf[MOST][DIGEST_HEX];
  int64_t n[MOST];
  struct buf *export;
};

static struct seen seen;

static bool on_entry(void *arg, const struct entry *e) {
  assert_true(seen.count < MOST);
  memcpy(seen.leaf[seen.count], e->leaf, DIGEST_HEX);
  seen.n[seen.count++] = json_int_or(e->body, "n", -1);
  state_fold(seen.state, e);
  if (seen.export) journal_export(e, seen.export);
  return true;
}

static void on_read(void *arg, const struct err *err) {
  seen.code = err ? err->code : 0;
  snprintf(seen.text, sizeof seen.text, "%s", err ? err->text : "");
  seen.done = true;
}

static void read_all(const char *incident, struct buf *export) {
  struct err err;
  json_decref(seen.state);
  memset(&seen, 0, sizeof seen);
  seen.state = state_blank(incident);
  seen.export = export;
  assert_int_equal(journal_read(&store, incident, 1, 0, on_entry, on_read, NULL, &err), 0);
  assert_true(test_until(loop, &seen.done, PATIENCE_MS));
}

static void on_load(void *arg, struct journal *j, const struct err *err) {
  on_read(NULL, err);
  seen.j = j;
}

static struct journal *load(const char *incident) {
  struct err err;
  seen.done = false;
  seen.j = NULL;
  assert_int_equal(journal_load(&store, incident, on_load, NULL, &err), 0);
  assert_true(test_until(loop, &seen.done, PATIENCE_MS));
  return seen.j;
}

static void assert_same_state(json_t *a, json_t *b) {
  if (json_equal(a, b)) return;
  char *x = json_text(a), *y = json_text(b);
  fail_msg("states differ:\n%s\n%s", x, y);
}

#endif
