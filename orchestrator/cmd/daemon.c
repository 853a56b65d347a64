#include "cmd/daemon.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "build.h"
#include "base/json.h"
#include "base/keyfile.h"
#include "base/log.h"
#include "base/sanitized.h"
#include "base/trust.h"
#include "cmd/command.h"
#include "anchor/anchor.h"
#include "cmd/anchoring.h"
#include "cmd/sealing.h"

enum { DRAIN_POLL_MS = 20, START_RETRY_MS = 250, LEAVE_MS = 1000, SEAL_LAST_MS = 1000 };
static const json_int_t HOT_MS = 30 * 86400000LL;

static void redis_end(struct daemon *d);

/* The private Redis must not outlive a `serve` that ends by itself: only a killed one leaves it behind, to be adopted. */
static void daemon_fail(struct daemon *d, const struct err *err) {
  bool away = !d->api && (err->code == ERR_UNAVAILABLE || err->code == ERR_TIMEOUT);
  log_error("%s%s", away ? "Redis went away while the engine was starting (nothing is lost; start it again): " : "", err->text);
  if (d->failed) return;
  d->failed = d->stopping = true;
  redis_end(d);
}

static void warn(struct daemon *d, const char *text) {
  log_warning("%s", text);
  json_array_append_new(d->problems, json_string(text));
  if (d->node) journal_add(d->node, KIND_ENGINE_WARNING, "engine", 0, NULL, json_pack("{s:s}", "text", text));
}

/* Tells systemd that we are ready (sd_notify's protocol: one datagram). */
static void notify(const char *text) {
  const char *path = getenv("NOTIFY_SOCKET");
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (!path || !*path || strlen(path) >= sizeof address.sun_path) return;
  int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return;
  memcpy(address.sun_path, path, strlen(path));
  if (address.sun_path[0] == '@') address.sun_path[0] = 0;
  sendto(fd, text, strlen(text), MSG_NOSIGNAL, (struct sockaddr *)&address, (socklen_t)(sizeof(sa_family_t) + strlen(path)));
  close(fd);
}

/* --- start: one room after the other -------------------------------------------------------------------------------- */

static void ready(struct daemon *d) {
  char took[DURATION_TEXT];
  duration_format((clock_boot(clock_system()) - d->began) / 1000, took);
  log_notice("ready after %s; commands at %s", took, d->socket);
  notify("READY=1");
  daemon_anchor_start(d);
  daemon_check_start(d);
  desk_retire_after(d->desk, json_int_or(json_object_get(d->settings, "evidence"), "hot", HOT_MS));
}

static void on_desk(void *arg, const struct err *err) {
  struct daemon *d = arg;
  struct err why;
  if (err) {
    daemon_fail(d, err);
    return;
  }
  const json_t *api = json_object_get(d->settings, "api");
  daemon_hall(d);
  struct api_config config = {.socket = d->socket, .group = json_str(api, "group"), .counts = daemon_counts, .arg = d};
  if (api_new(d->loop, d->desk, d->people, &config, &d->api, &why) < 0) {
    daemon_fail(d, &why);
    return;
  }
  desk_on_draining(d->desk, daemon_draining, d);
  desk_listen(d->desk);
  desk_node_resume(d->desk);
  intake_start(d->intake);
  d->intake_running = true;
  daemon_take_over(d);
  ready(d);
}

static void on_failover_known(void *arg, const struct err *err) {
  struct daemon *d = arg;
  struct err why;
  if (err) daemon_fail(d, err);
  else if (daemon_load(d, on_desk, &why) < 0) daemon_fail(d, &why);
}

static void on_brakes(void *arg, const struct err *err) {
  struct daemon *d = arg;
  struct err why;
  if (err) daemon_fail(d, err);
  else if (daemon_failover_load(d, on_failover_known, &why) < 0) daemon_fail(d, &why);
}

static int rooms_make(struct daemon *d, struct err *err) {
  json_t *counts = json_object();
  int r = daemon_content(d, counts, err);
  if (r < 0) goto out;
  d->questions = questions_new(d->loop, d->people);
  struct actions_deps actions = {.loop = d->loop,
                                 .redis = d->redis,
                                 .secrets = d->secrets,
                                 .transports = d->transports,
                                 .registry = d->registry,
                                 .questions = d->questions,
                                 .people = d->people,
                                 .guard = json_object_get(d->settings, "guard"),
                                 .seal_key = json_object_get(d->settings, "seal_key"),
                                 .data = json_str_or(d->settings, "data", "."),
                                 .nodes = d->nodes,
                                 .lease_ms = json_int_or(d->settings, "lease", 10000)};
  d->actions = actions_new(&actions, err);
  if (!d->actions) {
    r = err->code;
    goto out;
  }
  r = daemon_desk(d, counts, err);
out:
  json_decref(counts);
  return r;
}

/* Each server once, and each problem. */
static void on_durability(void *arg, const char *const *problems, const struct err *err) {
  struct daemon *d = arg;
  if (err && err->code != ERR_CANCELLED) warn(d, err->text);
  for (; !err && problems && *problems; problems++) {
    size_t i;
    json_t *known;
    bool told = false;
    json_array_foreach(d->problems, i, known) told = told || strcmp(json_string_value(known), *problems) == 0;
    if (!told) warn(d, *problems);
  }
}

static void node_load(void *arg);

static void on_node(void *arg, struct journal *j, const struct err *err) {
  struct daemon *d = arg;
  struct err why;
  if (d->stopping) {
    journal_free(j);
    return;
  }
  if (err && (err->code == ERR_UNAVAILABLE || err->code == ERR_TIMEOUT)) { /* gone again: the next time, then */
    d->timer = timer_start(d->loop, START_RETRY_MS, node_load, d);
    return;
  }
  if (err) {
    daemon_fail(d, err);
    return;
  }
  d->node = j;
  journal_add(d->node, KIND_ENGINE_STARTED, "engine", 0, NULL,
              json_pack("{s:s, s:I, s:b}", "version", TOCSIN_VERSION, "pid", (json_int_t)getpid(), "embedded", d->embedded != NULL));
  daemon_suspect_tell(d);
  size_t i;
  json_t *problem;
  json_array_foreach(d->problems, i, problem)
      journal_add(d->node, KIND_ENGINE_WARNING, "engine", 0, NULL, json_pack("{s:O}", "text", problem));
  if (redis_check_durability(d->redis, on_durability, d, &why) < 0) warn(d, why.text);
  if (rooms_make(d, &why) < 0 || actions_load(d->actions, on_brakes, d, &why) < 0) daemon_fail(d, &why);
}

static void node_load(void *arg) {
  struct daemon *d = arg;
  struct err why;
  char node[64];
  timer_free(d->timer);
  d->timer = NULL;
  if (d->stopping) return;
  snprintf(node, sizeof node, "node-%.40s", d->store.node);
  if (journal_load(&d->store, node, on_node, d, &why) < 0) on_node(d, NULL, &why);
}

static bool tell_journal(struct daemon *d, const char *name) { return d->node && strcmp(journal_incident(d->node), name) == 0; }

/* Every connection says the same: people are told once. */
static void redis_away(struct daemon *d, const char *why) {
  if (strncmp(d->redis_told, why, sizeof d->redis_told - 1) == 0) return;
  log_warning("Redis: %s; everything waits until it is there", why);
  snprintf(d->redis_told, sizeof d->redis_told, "%s", why);
}

static void redis_back(struct daemon *d) {
  if (*d->redis_told) log_notice("Redis is there again");
  d->redis_told[0] = 0;
}

static void on_named(void *arg, const struct err *err) {
  struct daemon *d = arg;
  if (err) {
    daemon_fail(d, err);
    return;
  }
  feed_sweep(d->feed); /* now it is known who else lives */
  node_load(d);
}

static void on_redis(void *arg, bool up, const struct err *err) {
  struct daemon *d = arg;
  struct err why;
  if (!up) {
    redis_away(d, err ? err->text : "a connection was lost");
    return;
  }
  if (redis_up(d->redis)) redis_back(d);
  if (redis_up(d->redis) && d->durability_due) d->durability_due = redis_check_durability(d->redis, on_durability, d, &why) < 0;
  if (d->node) journal_redis_up(d->node);
  if (d->desk) desk_redis_up(d->desk);
  hall_redis_up(d->hall);
  if (d->started || !redis_up(d->redis)) return;
  d->started = true;
  if (daemon_nodes(d, on_named, &why) < 0) daemon_fail(d, &why);
}

static void on_embedded_ready(void *arg, bool adopted) {
  struct daemon *d = arg;
  struct err err;
  if (adopted) log_notice("the embedded Redis of an earlier process is still there and was taken over");
  if (daemon_redis(d, embedded_socket(d->embedded), on_redis, &err) < 0) daemon_fail(d, &err);
}

static void on_embedded_lost(void *arg, const char *why) { log_warning("the embedded Redis ended (%s); it is started again", why); }

static void on_tail_cut(void *arg, const char *file, int64_t offset, int64_t bytes) {
  struct daemon *d = arg;
  char text[512];
  snprintf(text, sizeof text, "the unfinished last write of %s was cut off (%lld bytes at %lld); a copy is beside it", file,
           (long long)bytes, (long long)offset);
  warn(d, text);
}

static void on_embedded_failed(void *arg, const struct err *err) {
  struct err given_up = *err;
  given_up.code = ERR_IO; /* it does not come back by itself: its own words say what to do */
  daemon_fail(arg, &given_up);
}

/* Connects before redis is there: an absent Redis is waited for, not a failure. */
static int redis_begin(struct daemon *d, struct err *err) {
  if (json_is_object(json_object_get(d->settings, "redis")) && json_object_size(json_object_get(d->settings, "redis")))
    return daemon_redis(d, NULL, on_redis, err);
  struct embedded_config config = {.folder = json_str_or(d->settings, "data", "tocsin-data"),
                                   .maxmemory = json_str(d->settings, "redis_maxmemory")};
  struct embedded_events events = {
      .arg = d, .ready = on_embedded_ready, .lost = on_embedded_lost, .tail_cut = on_tail_cut, .failed = on_embedded_failed};
  return embedded_start(d->loop, &config, &events, &d->embedded, err);
}

/* --- stop -------------------------------------------------------------------------------------------------------------- */

static void on_gone(void *arg) { loop_stop(((struct daemon *)arg)->loop); }

static void redis_end(struct daemon *d) {
  if (d->embedded) embedded_stop(d->embedded, on_gone, d);
  else loop_stop(d->loop);
}

/* The others know that this node has gone, or Redis does not answer; comes once. */
static void on_left(void *arg) {
  struct daemon *d = arg;
  if (d->left) return;
  d->left = true;
  timer_free(d->timer);
  d->timer = NULL;
  redis_end(d);
}

static void leave(struct daemon *d) {
  d->timer = timer_start(d->loop, LEAVE_MS, on_left, d);
  nodes_leave(d->nodes, on_left, d);
}

static bool late(const struct daemon *d) {
  return clock_boot(clock_system()) - d->began > json_int_or(d->settings, "stop_within", 20000) * 1000;
}

/* What is not sealed by then stays in Redis and is found at the next start. */
static void drain_evidence(void *arg) {
  struct daemon *d = arg;
  timer_free(d->timer);
  d->timer = NULL;
  if (!feed_over(d->feed) && !late(d)) d->timer = timer_start(d->loop, DRAIN_POLL_MS, drain_evidence, d);
  else leave(d);
}

static void drain(void *arg) {
  struct daemon *d = arg;
  timer_free(d->timer);
  d->timer = NULL;
  if ((d->store.unsent || hall_unsent(d->hall)) && !late(d)) {
    d->timer = timer_start(d->loop, DRAIN_POLL_MS, drain, d);
    return;
  }
  if (d->store.unsent) log_error("%zu journal entries could not be written before the end", d->store.unsent);
  feed_finish(d->feed);
  drain_evidence(d);
}

static void in_flight(void *arg) {
  struct daemon *d = arg;
  timer_free(d->timer);
  d->timer = NULL;
  bool busy = actions_busy(d->actions);
  if (busy && !late(d)) {
    d->timer = timer_start(d->loop, DRAIN_POLL_MS, in_flight, d);
    return;
  }
  journal_add(d->node, KIND_ENGINE_STOPPED, "engine", 0, NULL, json_pack("{s:b}", "in_flight", busy));
  drain(d);
}

/* Comes once: nothing is under way any more, or the time for that is over. */
static void on_intake_stopped(void *arg) {
  struct daemon *d = arg;
  if (d->intake_ended) return;
  d->intake_ended = true;
  timer_free(d->timer);
  d->timer = NULL;
  in_flight(d);
}

static void daemon_stop(void *arg) {
  struct daemon *d = arg;
  if (d->stopping) { /* a second signal: at once */
    loop_stop(d->loop);
    return;
  }
  d->stopping = true;
  self_check_stop(d->check);
  daemon_alone_end(d);
  daemon_anchor_stop(d);
  d->began = clock_boot(clock_system());
  log_notice("stopping: what is in flight is finished first");
  notify("STOPPING=1");
  api_free(d->api);
  d->api = NULL;
  if (!d->actions || !d->intake) {
    redis_end(d);
    return;
  }
  d->timer = timer_start(d->loop, json_int_or(d->settings, "stop_within", 20000), on_intake_stopped, d);
  actions_stop(d->actions);
  hall_stop(d->hall);
  intake_stop(d->intake, on_intake_stopped, d);
}

static void on_hangup(void *arg) {
  struct daemon *d = arg;
  struct err err;
  json_t *counts = json_object();
  if (!d->desk || daemon_content(d, counts, &err) < 0)
    log_error("nothing was reloaded: %s", d->desk ? err.text : "the engine is still starting");
  else log_notice("reloaded");
  json_decref(counts);
}

static void on_lost(void *arg, struct journal *j, const struct err *why) {
  struct daemon *d = arg;
  log_error("%s", why->text);
  if (tell_journal(d, journal_incident(j))) daemon_fail(d, why);
  else if (d->desk) desk_lost(d->desk, journal_incident(j));
}

/* --- the whole ----------------------------------------------------------------------------------------------------------- */

static int secrets_load(struct daemon *d, const json_t *sources, struct err *err) {
  const char *slot;
  json_t *source;
  json_object_foreach((json_t *)(uintptr_t)sources, slot, source) {
    int r = secrets_resolve(d->secrets, slot, json_string_value(source), err);
    if (r < 0) return r;
  }
  return 0;
}

static int people_load(struct daemon *d, struct err *err) {
  uint8_t key[DIGEST_BYTES];
  size_t len;
  const char *slot = json_str(json_object_get(d->settings, "seal_key"), "$secret"),
             *shared = slot ? secrets_get(d->secrets, slot, &len) : NULL;
  int r = 0;
  if (shared) digest_hmac_sha256(shared, len, "people", 6, key); /* nodes with one seal key agree on pseudonyms */
  else r = keyfile(json_str_or(d->settings, "data", "."), "people.key", key, err);
  if (r == 0) r = people_new(json_object_get(d->settings, "people"), d->secrets, key, sizeof key, &d->people, err);
  return r;
}

static int folder_make(const char *path, struct err *err) {
  if (mkdir(path, 0700) != 0 && errno != EEXIST) return err_errno(err, "cannot make the data folder %s", path);
  if (access(path, R_OK | W_OK | X_OK) != 0) return err_errno(err, "the data folder %s cannot be used", path);
  return trust_path(path, "the data folder", err);
}

static int daemon_init(struct daemon *d, const json_t *secrets, struct err *err) {
  const char *data = json_str_or(d->settings, "data", "tocsin-data"), *socket = json_str(json_object_get(d->settings, "api"), "socket");
  char path[4096];
  snprintf(path, sizeof path, "%s/tocsin.sock", data);
  d->socket = strdup(socket && *socket ? socket : path);
  d->secrets = secrets_new();
  d->loop = loop_new();
  d->transports = transports_new(d->loop, d->secrets);
  d->problems = json_array();
  d->store = (struct journal_store){.loop = d->loop,
                                    .secrets = d->secrets,
                                    .clock = clock_system(),
                                    .node = json_str_or(d->settings, "node", "n1"),
                                    .arg = d,
                                    .lost = on_lost};
  d->signals[0] = watch_signal(d->loop, SIGTERM, daemon_stop, d);
  d->signals[1] = watch_signal(d->loop, SIGINT, daemon_stop, d);
  d->signals[2] = watch_signal(d->loop, SIGHUP, on_hangup, d);
  int r = folder_make(data, err);
  if (r == 0) daemon_suspect_open(d, data);
  if (r == 0) r = secrets_load(d, secrets, err);
  if (r == 0) r = people_load(d, err);
  if (r == 0) r = daemon_sealing_start(d, err);
  if (r == 0) r = redis_begin(d, err);
  return r;
}

static void daemon_release(struct daemon *d) {
  anchor_free(d->anchor);
  struct err err;
  timer_free(d->timer);
  self_check_stop(d->check);
  timer_free(d->memory);
  timer_free(d->alone);
  for (size_t i = 0; i < 3; i++) watch_free(d->signals[i]);
  api_free(d->api);
  hall_unload(d->hall);
  if (d->desk) desk_unload(d->desk); /* first: runs let go of their actions before those go */
  if (d->actions) actions_orphan(d->actions, NULL);
  transports_free(d->transports);
  if (d->redis) redis_free(d->redis);
  nodes_free(d->nodes);
  hall_free(d->hall);
  if (d->desk) desk_free(d->desk);
  journal_keep_end(&d->store);
  journal_free(d->node); /* while there is an intake: messages wait for it */
  intake_free(d->intake);
  self_check_free(d->check);
  if (feed_stop(d->feed, SEAL_LAST_MS, &err) < 0) log_warning("%s", err.text);
  daemon_sealing_end(d);
  questions_free(d->questions);
  actions_free(d->actions);
  embedded_free(d->embedded);
  router_free(d->router);
  lists_free(d->lists);
  registry_free(d->registry);
  for (size_t i = 0; i < d->old_count; i++) registry_free(d->old[i]);
  people_free(d->people);
  loop_free(d->loop);
  if (d->folder_lock >= 0) close(d->folder_lock);
  json_decref(d->problems);
  json_decref(d->settings);
  free(d->socket);
  secrets_free(d->secrets);
  suspect_close();
}

/* Its memory holds every secret: it is neither written to a file nor handed to a collector of crashes, nor read by another process of our user. */
static void memory_keep(void) {
  struct rlimit none = {0, 0};
  setrlimit(RLIMIT_CORE, &none);
#if !TOCSIN_SANITIZED /* the leak checker has to look into it */
  prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
#endif
}

int daemon_run(const char *settings_path, json_t *settings_take, json_t *secrets_take) {
  struct daemon d = {.settings_path = settings_path, .settings = settings_take, .folder_lock = -1, .began = clock_boot(clock_system())};
  struct err err;
  umask(077);
  memory_keep();
  signal(SIGPIPE, SIG_IGN);
  if (daemon_init(&d, secrets_take, &err) < 0) {
    log_error("%s", err.text);
    d.failed = true;
  } else {
    loop_run(d.loop);
  }
  json_decref(secrets_take);
  bool failed = d.failed;
  daemon_release(&d);
  return failed ? EXIT_FAILED : EXIT_DONE;
}
