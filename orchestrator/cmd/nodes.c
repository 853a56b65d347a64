/* The daemon as one of several nodes: its name, its lease, and what it does when one is lost. */
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <string.h>
#include <unistd.h>

#include "base/keyfile.h"
#include "base/json.h"
#include "base/log.h"
#include "build.h"
#include "cmd/daemon.h"

/* What says which folder this is; locked for as long as we live, so that whoever has the lock knows the process before it to be gone. An
 * embedded Redis keeps a lock of its own. */
static int folder_take(struct daemon *d, char identity[DIGEST_HEX], struct err *err) {
  const char *data = json_str_or(d->settings, "data", "tocsin-data");
  uint8_t bytes[DIGEST_BYTES];
  char path[4096];
  int r = keyfile(data, "node.id", bytes, err);
  if (r < 0) return r;
  hex_encode(bytes, sizeof bytes, identity);
  if (d->embedded) return 0;
  snprintf(path, sizeof path, "%s/node.id", data);
  d->folder_lock = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  if (d->folder_lock < 0) return err_errno(err, "cannot open %s", path);
  if (flock(d->folder_lock, LOCK_EX | LOCK_NB) != 0)
    return err_set(err, ERR_EXISTS, "another tocsin serve runs on the data folder %s: stop it, or give this one a folder of its own", data);
  return 0;
}

/* Nodes with one key agree on this without showing the key. */
static int key_print(struct daemon *d, char print[DIGEST_HEX], struct err *err) {
  uint8_t key[DIGEST_BYTES], mac[DIGEST_BYTES];
  int r = actions_seal_key(json_object_get(d->settings, "seal_key"), d->secrets, json_str_or(d->settings, "data", "."), key, err);
  if (r < 0) return r;
  digest_hmac_sha256(key, sizeof key, "nodes", 5, mac);
  hex_encode(mac, 8, print);
  digest_hmac_sha256(key, sizeof key, "letters", 7, d->letters_key);
  explicit_bzero(key, sizeof key);
  return 0;
}

static void on_brakes(void *arg, int64_t epoch, const struct redis_value *pairs) {
  struct daemon *d = arg;
  if (d->actions) actions_brakes(d->actions, epoch, pairs);
}

static void on_lapsed(void *arg, loop_cb *go_on, void *go_on_arg) {
  struct daemon *d = arg;
  if (d->hall) hall_look_owned(d->hall);
  if (d->desk) desk_look_owned(d->desk, go_on, go_on_arg);
  else loop_defer(d->loop, go_on, go_on_arg);
}

static void on_held(void *arg) {
  struct daemon *d = arg;
  if (d->actions) actions_lease_held(d->actions);
}

static void take_over(struct daemon *d, const char *node) {
  if (d->stopping) return;
  desk_take_over(d->desk, node);
  intake_take_over(d->intake, node);
  hall_take_over(d->hall);
}

static void on_gone(void *arg, const char *node) {
  struct daemon *d = arg;
  feed_sweep(d->feed); /* what it had not sealed of incidents that nobody takes over, because they are closed */
  if (!d->api || d->stopping || nodes_draining(d->nodes, nodes_self(d->nodes))) return;
  daemon_failover_gone(d, node, take_over);
}

void daemon_take_over(struct daemon *d) {
  json_t *nodes = nodes_list(d->nodes), *node;
  size_t i;
  json_array_foreach(nodes, i, node) if (strcmp(json_str_or(node, "state", ""), "dead") == 0) on_gone(d, json_str_or(node, "node", ""));
  json_decref(nodes);
  intake_take_over_strays(d->intake);
}

static void on_urge(void *arg) {
  struct daemon *d = arg;
  if (d->desk) desk_urge(d->desk);
}

static void on_ousted(void *arg, const struct err *err) {
  struct daemon *d = arg;
  log_error("%s; this process ends, for two must not share a name", err->text);
  d->failed = true;
  loop_stop(d->loop);
}

void daemon_draining(void *arg, bool draining) {
  struct daemon *d = arg;
  d->draining = draining;
  intake_hold(d->intake, d->nearly_full || draining);
}

int daemon_nodes(struct daemon *d, nodes_cb *cb, struct err *err) {
  char identity[DIGEST_HEX], print[DIGEST_HEX];
  int r = folder_take(d, identity, err);
  if (r == 0) r = key_print(d, print, err);
  if (r < 0) return r;
  struct nodes_config config = {.node = d->store.node,
                                .version = TOCSIN_VERSION,
                                .folder = identity,
                                .key = print,
                                .lease_ms = json_int_or(d->settings, "lease", 10000),
                                .adopted = json_object_get(json_object_get(d->settings, "evidence"), "adopted")};
  struct nodes_events events = {
      .arg = d, .brakes = on_brakes, .lapsed = on_lapsed, .held = on_held, .gone = on_gone, .urge = on_urge, .ousted = on_ousted};
  d->nodes = nodes_new(d->loop, d->redis, &config, &events);
  nodes_start(d->nodes, cb, d);
  return 0;
}
