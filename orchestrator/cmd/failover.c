/* The daemon and its Redis: how it is reached, who is its master, and what is done when that is another server. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/log.h"
#include "cmd/daemon.h"

enum { KEEP_BYTES = 32 << 20 };

static struct redis_master master_of(const struct daemon *d) {
  struct redis_master master;
  redis_master(d->redis, &master);
  return master;
}

/* What a node's record says once its journals were compared: the epoch and one, for 0 says that they never were. */
static int64_t compared_with(const struct redis_master *master) { return master->followed ? master->epoch + 1 : 0; }

/* --- connecting --------------------------------------------------------------------------------------------------------- */

static void on_compared(void *arg, size_t journals, size_t torn) {
  struct daemon *d = arg;
  struct redis_master master = master_of(d);
  log_notice("%zu journals were compared with the new master; %llu entries were appended again in all, the ends of %zu are lost", journals,
             (unsigned long long)d->store.again, torn);
  journal_add(d->node, KIND_REDIS_FAILOVER, "engine", 0, NULL,
              json_pack("{s:s, s:i, s:I, s:I, s:I, s:I}", "host", master.host, "port", master.port, "epoch", (json_int_t)master.epoch,
                        "journals", (json_int_t)journals, "again_total", (json_int_t)d->store.again, "torn", (json_int_t)torn));
  nodes_set_master(d->nodes, compared_with(&master));
}

static void on_master(void *arg, const struct redis_master *master) {
  struct daemon *d = arg;
  log_warning("Redis' master is %s:%d now (epoch %lld): the journals are compared with what it holds", master->host, master->port,
              (long long)master->epoch);
  if (d->node) journal_master_changed(d->node);
  d->durability_due = true;
  if (d->desk) desk_master_changed(d->desk, on_compared, d);
}

static void on_torn(void *arg, struct journal *j, const struct torn *torn) {
  struct daemon *d = arg;
  if (j != d->node) {
    desk_torn(d->desk, journal_incident(j), torn);
    return;
  }
  journal_go_on(j);
  journal_add(j, KIND_JOURNAL_UNCERTAIN, "engine", 0, NULL,
              json_pack("{s:s, s:I, s:I, s:s, s:O, s:I}", "why", "the new master lacks entries that were acknowledged", "from",
                        (json_int_t)torn->from, "to", (json_int_t)torn->to, "leaf", torn->leaf, "known", torn->known, "epoch",
                        (json_int_t)master_of(d).epoch));
}

int daemon_redis(struct daemon *d, const char *socket, redis_state_cb *state_cb, struct err *err) {
  const json_t *redis = json_object_get(d->settings, "redis"), *sentinels = json_object_get(redis, "sentinels");
  const char *addresses[16];
  size_t count = json_array_size(sentinels);
  for (size_t i = 0; i < count && i < 16; i++) addresses[i] = json_string_value(json_array_get(sentinels, i));
  struct redis_config config = {.socket = socket ? socket : json_str(redis, "socket"),
                                .host = json_str(redis, "host"),
                                .port = (int)json_int_or(redis, "port", 6379),
                                .tls = json_bool_or(redis, "tls", false),
                                .tls_ca = json_str(redis, "tls_ca"),
                                .tls_cert = json_str(redis, "tls_cert"),
                                .tls_key = json_str(redis, "tls_key"),
                                .user = json_str(redis, "user"),
                                .password_slot = json_str(json_object_get(redis, "password"), "$secret"),
                                .lanes = (unsigned)json_int_or(redis, "lanes", 8),
                                .sentinels = addresses,
                                .sentinel_count = count,
                                .master = json_str(redis, "master"),
                                .sentinel_user = json_str(redis, "sentinel_user"),
                                .sentinel_password_slot = json_str(json_object_get(redis, "sentinel_password"), "$secret"),
                                .master_cb = on_master,
                                .replicas = (unsigned)json_int_or(redis, "replicas", count ? 1 : 0),
                                .replica_ms = json_int_or(redis, "replica_wait", 1000)};
  if (count) config.socket = config.host = NULL;
  if (d->redis) return 0; /* the embedded server came back: the link reconnects by itself */
  d->replicas = config.replicas;
  if (count) journal_keep(&d->store, KEEP_BYTES);
  if (count) d->store.torn = on_torn;
  int r = redis_new(d->loop, &config, d->secrets, state_cb, d, &d->redis, err);
  d->store.redis = d->redis;
  return r;
}

/* --- who did not live to compare its journals with the master ----------------------------------------------------------------- */

static void on_own_unsure(void *arg, const struct err *err) {
  struct daemon *d = arg;
  struct redis_master master = master_of(d);
  nodes_set_master(d->nodes, compared_with(&master));
  d->failover_cb(d, NULL);
}

static void on_unsure_known(void *arg, const struct err *err) {
  struct daemon *d = arg;
  struct redis_master master = master_of(d);
  int64_t former = nodes_master(d->nodes, nodes_self(d->nodes));
  if (err) d->failover_cb(d, err);
  else if (former && former < compared_with(&master)) desk_unsure(d->desk, nodes_self(d->nodes), master.epoch, on_own_unsure, d);
  else on_own_unsure(d, NULL);
}

int daemon_failover_load(struct daemon *d, desk_cb *cb, struct err *err) {
  d->failover_cb = cb;
  return desk_failover_load(d->desk, on_unsure_known, d, err);
}

struct going {
  struct daemon *d;
  daemon_gone_cb *cb;
  char node[NODE_NAME];
};

static void on_gone_unsure(void *arg, const struct err *err) {
  struct going *g = arg;
  g->cb(g->d, g->node);
  free(g);
}

void daemon_failover_gone(struct daemon *d, const char *node, daemon_gone_cb *cb) {
  struct redis_master master = master_of(d);
  int64_t compared = nodes_master(d->nodes, node);
  if (!compared || compared >= compared_with(&master)) {
    cb(d, node);
    return;
  }
  struct going *g = calloc(1, sizeof *g);
  if (!g) abort();
  *g = (struct going){.d = d, .cb = cb};
  snprintf(g->node, sizeof g->node, "%.47s", node);
  desk_unsure(d->desk, node, master.epoch, on_gone_unsure, g);
}

/* --- for doctor and metrics ------------------------------------------------------------------------------------------------------ */

static void finding(json_t *checks, const char *name, bool ok, const char *text, const char *mend) {
  json_t *item = json_pack("{s:s, s:b, s:s}", "check", name, "ok", ok, "text", text);
  if (!ok) json_object_set_new(item, "mend", json_string(mend));
  json_array_append_new(checks, item);
}

void daemon_redis_findings(struct daemon *d, json_t *checks) {
  struct redis_master m = master_of(d);
  char text[700];
  size_t uncertain = desk_uncertain(d->desk);
  snprintf(text, sizeof text, "%zu incidents may lack entries since Redis' master changed", uncertain);
  if (uncertain)
    finding(checks, "uncertain", false, text,
            "look at what each did (`tocsin incident list` names them), then: tocsin incident agree INCIDENT --because …");
  if (!m.followed) return;
  snprintf(text, sizeof text, "%u of %u sentinels answer, %u know the master, quorum %d%s%.200s", m.answering, m.sentinels, m.knowing,
           m.quorum, *m.why && m.knowing < m.sentinels ? "; the last that could not tell said: " : "",
           m.knowing < m.sentinels ? m.why : "");
  finding(checks, "sentinels", m.knowing * 2 > m.sentinels && (int)m.knowing >= m.quorum, text,
          "start those that are away, and see that redis.master in the settings is the name that they know; without a majority nobody "
          "elects a new master");
  snprintf(text, sizeof text, "%s:%d of epoch %lld, with %d replicas, %u of which must hold an entry before it counts%s", m.host, m.port,
           (long long)m.epoch, m.replicas, d->replicas, m.down ? "; a sentinel calls it down" : "");
  finding(checks, "master", !m.down && m.replicas >= (int)d->replicas && (m.replicas || !m.knowing), text,
          "start a replica: without one a failover has nowhere to go, and with fewer than redis.replicas everything waits");
}

json_t *daemon_redis_counts(struct daemon *d) {
  struct redis_master m = master_of(d);
  return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I}", "sentinels_answering", (json_int_t)m.answering, "replicas", (json_int_t)m.replicas,
                   "master_epoch", (json_int_t)m.epoch, "failovers_total", (json_int_t)m.changes, "appended_again_total",
                   (json_int_t)d->store.again, "followed", (json_int_t)m.followed);
}
