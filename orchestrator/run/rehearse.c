/* The stage of a rehearsal: files, made-up settings, a private redis-server, and one play after the other. */
#include "run/rehearse.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "run/stage.h"
#include "script/madeup.h"
#include "script/testfile.h"

enum { FILE_CAP = 1 << 20, REDIS_MS = 20000 };
static const int64_t BEGINS = 1767261600000000; /* 2026-01-01T10:00:00Z: the same day for every test, so that none passes on Mondays only */

static void on_nap(void *arg) {}

void stage_nap(struct stage *st) {
  struct timer *t = timer_start(st->loop, 1, on_nap, st->loop);
  loop_wait(st->loop);
  timer_free(t);
}

static bool nap_until(struct stage *st, const bool *flag) {
  int64_t deadline = clock_boot(clock_system()) + (int64_t)REDIS_MS * 1000;
  while (!*flag && !st->failure.code && clock_boot(clock_system()) < deadline) stage_nap(st);
  return *flag;
}

/* --- files -------------------------------------------------------------------------------------------------------- */

static int file_read(const char *path, struct buf *out, struct err *err) {
  int fd = open(path, O_RDONLY | O_CLOEXEC), r = 0;
  char chunk[16384];
  ssize_t n = 0;
  if (fd < 0) return err_errno(err, "cannot open %s", path);
  while (buf_ok(out) && (n = read(fd, chunk, sizeof chunk)) > 0) buf_add(out, chunk, (size_t)n);
  if (n < 0) r = err_errno(err, "cannot read %s", path);
  else if (!buf_ok(out)) r = err_set(err, ERR_LIMIT, "%s is larger than %d KiB", path, FILE_CAP >> 10);
  close(fd);
  return r;
}

int stage_load(struct stage *st, const struct rehearsal *spec, struct err *err) {
  struct buf text;
  st->spec = spec;
  buf_init(&text, FILE_CAP);
  int r = file_read(st->spec->playbook, &text, err);
  if (r == 0) r = playbook_load(st->spec->playbook, text.data, text.len, &st->playbook, err);
  if (r == 0) json_object_set_new(st->playbook->json, "shadow", json_false()); /* what is only played is played as it would be in earnest */
  buf_reset(&text);
  if (r == 0 && st->spec->tests) r = file_read(st->spec->tests, &text, err);
  if (r == 0 && st->spec->tests) r = testfile_load(st->spec->tests, text.data, text.len, &st->tests, err);
  buf_release(&text);
  if (r == 0 && st->spec->tests) r = coverage_new(st->playbook, &st->coverage, err);
  return r;
}

/* --- made-up settings ----------------------------------------------------------------------------------------------- */

static int settings_of(struct stage *st, const char *instance, json_t **ret, struct err *err) {
  char path[4096];
  const char *connector = json_str_or(json_object_get(st->spec->configured, instance), "$connector", instance);
  struct buf text;
  struct declaration *d = NULL;
  buf_init(&text, FILE_CAP);
  snprintf(path, sizeof path, "%s/%s.lua", st->spec->connectors, connector);
  int r = file_read(path, &text, err);
  if (r == 0) r = connector_load(path, text.data, text.len, &d, err);
  buf_release(&text);
  if (r < 0) return r;
  json_t *settings = madeup_settings(d, connector);
  declaration_free(d);
  *ret = settings;
  return 0;
}

/* The connectors that the playbook uses, each as the only instance of its kind. */
static int make_registry(struct stage *st, struct err *err) {
  json_t *all = json_object(), *use;
  size_t i;
  int r = 0;
  json_array_foreach(json_object_get(st->playbook->json, "uses"), i, use) {
    char connector[128];
    const char *text = json_string_value(use);
    snprintf(connector, sizeof connector, "%.*s", (int)(text ? strcspn(text, ".") : 0), text ? text : "");
    json_t *settings = NULL;
    if (r < 0 || json_object_get(all, connector)) continue;
    r = settings_of(st, connector, &settings, err);
    if (r == 0) json_object_set_new(all, connector, settings);
  }
  if (r == 0) r = registry_new(st->spec->connectors, all, &st->registry, err);
  json_decref(all);
  return r;
}

/* --- the stage ------------------------------------------------------------------------------------------------------ */

static void on_state(void *arg, bool up, const struct err *err) {
  struct stage *st = arg;
  st->up = redis_up(st->redis);
}

static void on_ready(void *arg, bool adopted) {
  struct stage *st = arg;
  struct redis_config config = {.socket = embedded_socket(st->embedded), .lanes = 1};
  if (!st->redis) redis_new(st->loop, &config, st->secrets, on_state, st, &st->redis, &st->failure);
  st->store.redis = st->redis;
}

static void on_lost(void *arg, const char *why) {}
static void on_cut(void *arg, const char *file, int64_t offset, int64_t bytes) {}

static void on_failed(void *arg, const struct err *err) {
  struct stage *st = arg;
  st->failure = *err;
}

static void on_gone(void *arg) { ((struct stage *)arg)->gone = true; }

static int make_folder(struct stage *st, struct err *err) {
  snprintf(st->folder, sizeof st->folder, "/tmp/tocsin-test-XXXXXX");
  if (mkdtemp(st->folder)) return 0;
  st->folder[0] = 0;
  return err_errno(err, "cannot make a folder in /tmp");
}

static int make_people(struct stage *st, struct err *err) {
  uint8_t key[DIGEST_BYTES];
  random_bytes(key, sizeof key);
  json_t *people = json_object();
  for (json_int_t i = 0; i < STAGE_PEOPLE; i++) {
    char name[24] = "tester";
    if (i) snprintf(name, sizeof name, "tester %d", (int)i + 1);
    json_object_set_new(people, name, json_pack("{s:I, s:[s]}", "uid", (json_int_t)getuid() + i, "roles", "admin"));
  }
  int r = people_new(people, st->secrets, key, sizeof key, &st->people, err);
  json_decref(people);
  return r;
}

int stage_open(struct stage *st, const struct rehearsal *spec, struct err *err) {
  int r = st->playbook ? 0 : stage_load(st, spec, err);
  if (r < 0) return r;
  st->loop = loop_new();
  st->secrets = secrets_new();
  st->transports = transports_new(st->loop, st->secrets);
  st->guard = spec->guard ? json_deep_copy(spec->guard) : json_pack("{s:s}", "ceiling", "destroy");
  st->begins = BEGINS;
  clock_init_settable(&st->clock, BEGINS);
  st->store = (struct journal_store){.loop = st->loop, .secrets = st->secrets, .clock = &st->clock, .node = "test"};
  if ((r = secrets_put(st->secrets, "simulated", "simulated-secret", 16, err)) < 0 || (r = make_people(st, err)) < 0 ||
      (r = make_registry(st, err)) < 0 || (r = make_folder(st, err)) < 0)
    return r;
  struct embedded_config config = {.folder = st->folder, .ends_with_us = true};
  struct embedded_events events = {st, on_ready, on_lost, on_cut, on_failed};
  if ((r = embedded_start(st->loop, &config, &events, &st->embedded, err)) < 0) return r;
  if (nap_until(st, &st->up)) { /* what is only played need not outlive a power cut */
    redis_call(st->redis, 0, NULL, NULL, NULL, "CONFIG", "SET", "appendonly", "no", NULL);
    return 0;
  }
  if (!st->failure.code) err_set(&st->failure, ERR_TIMEOUT, "the private redis-server did not answer in %d seconds", REDIS_MS / 1000);
  *err = st->failure;
  return err->code;
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *at) { return remove(path); }

void stage_close(struct stage *st) {
  redis_free(st->redis);
  if (st->embedded) {
    st->failure.code = 0;
    embedded_stop(st->embedded, on_gone, st);
    nap_until(st, &st->gone);
    embedded_free(st->embedded);
  }
  if (st->folder[0]) nftw(st->folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
  registry_free(st->registry);
  people_free(st->people);
  transports_free(st->transports);
  secrets_free(st->secrets);
  loop_free(st->loop);
  coverage_free(st->coverage);
  declaration_free(st->playbook);
  json_decref(st->tests);
  json_decref(st->guard);
  *st = (struct stage){0};
}

static int by_name(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

/* In the order of their names: a Lua table keeps none. */
static json_t *report_of(struct stage *st) {
  const char *name, **names = calloc(json_object_size(st->tests) + 1, sizeof *names);
  json_t *test, *results = json_array();
  json_int_t passed = 0, failed = 0;
  size_t count = 0;
  if (!names) abort();
  json_object_foreach(st->tests, name, test) names[count++] = name;
  qsort(names, count, sizeof *names, by_name);
  for (size_t i = 0; i < count; i++) {
    json_t *result = play(st, names[i], json_object_get(st->tests, names[i]));
    if (json_bool_or(result, "ok", false)) passed++;
    else failed++;
    json_array_append_new(results, result);
  }
  free(names);
  return json_pack("{s:s, s:I, s:I, s:o, s:o}", "playbook", st->playbook->name, "passed", passed, "failed", failed, "tests", results,
                   "coverage", coverage_report(st->coverage));
}

int rehearse(const struct rehearsal *spec, json_t **ret_report, struct err *err) {
  struct stage st = {0};
  struct err local;
  int r = stage_open(&st, spec, err ? err : &local);
  if (r == 0) *ret_report = report_of(&st);
  stage_close(&st);
  return r;
}
