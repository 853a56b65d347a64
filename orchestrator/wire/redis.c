#include "wire/redis.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "wire/lane.h"

enum { MOST_LANES = 64, MOST_BLOCKING = 8, MOST_WORDS = 64, REPLICA_MS = 1000 };

/* --- life ------------------------------------------------------------------------------------------- */

static void destroy(struct redis *link) {
  for (unsigned i = 0; i < link->count; i++) lane_free(link->lanes[i]);
  sentinels_free(link->sentinels);
  tls_free(link->tls);
  free(link->socket);
  free(link->host);
  free(link->user);
  free(link->password_slot);
  free(link);
}

void link_enter(struct redis *link) { link->busy++; }

bool link_leave(struct redis *link) {
  if (--link->busy || !link->freed) return !link->freed;
  destroy(link);
  return false;
}

static char *copy(const char *text) {
  char *s = text ? strdup(text) : NULL;
  if (text && !s) abort();
  return s;
}

static int config_check(const struct redis_config *c, struct err *err) {
  if (c->lanes < 1 || c->lanes > MOST_LANES) return err_set(err, ERR_INVALID, "redis: lanes must be between 1 and %d", MOST_LANES);
  bool named = c->socket || c->host;
  if (named && c->sentinel_count) return err_set(err, ERR_INVALID, "redis: sentinels say where the master is; leave host and socket out");
  if (!named && !c->sentinel_count) return err_set(err, ERR_INVALID, "redis: a socket, a host or sentinels are needed");
  if (c->host && !c->socket && (c->port < 1 || c->port > 65535))
    return err_set(err, ERR_INVALID, "redis: port must be between 1 and 65535");
  if (c->user && !c->password_slot) return err_set(err, ERR_INVALID, "redis: a user needs a password");
  if (c->timeout_ms < 0) return err_set(err, ERR_INVALID, "redis: a time-out cannot be negative");
  return 0;
}

/* --- the master, as sentinels say --------------------------------------------------------------------- */

static bool all_ready(const struct redis *link) {
  for (unsigned i = 0; i < link->count; i++)
    if (link->lanes[i]->state != LANE_READY) return false;
  return true;
}

void link_hurry(struct redis *link) {
  if (link->sentinels && !link->freed) sentinels_hurry(link->sentinels, !all_ready(link));
}

void link_abandon(struct redis *link, const struct err *err) {
  link->leaving = false;
  for (unsigned i = 0; i < link->count && !link->freed; i++)
    if (link->lanes[i]->state != LANE_DOWN) lane_drop(link->lanes[i], err);
}

static void on_master(void *arg, const struct sentinel_master *master) {
  struct redis *link = arg;
  bool first = !link->host, same = !first && strcmp(link->host, master->host) == 0 && link->target.port == master->port;
  struct redis_master status;
  struct err err;
  if ((same && master->epoch <= link->epoch) || link->freed) return; /* the same of a later epoch was none in between */
  link->epoch = master->epoch;
  link_enter(link);
  err_set(&err, ERR_UNAVAILABLE, "the master is %s:%d now", master->host, master->port);
  link_abandon(link, &err);
  if (!link->freed) {
    free(link->host);
    link->target.host = link->host = copy(master->host);
    link->target.port = master->port;
    for (unsigned i = 0; i < link->count; i++) lane_redirect(link->lanes[i]);
    link->changes += !first;
    redis_master(link, &status);
    if (!first && link->master_cb) link->master_cb(link->state_arg, &status);
  }
  link_leave(link);
}

void redis_master(const struct redis *link, struct redis_master *ret) {
  *ret = (struct redis_master){.followed = link->sentinels != NULL, .changes = link->changes};
  if (!link->sentinels) return;
  snprintf(ret->host, sizeof ret->host, "%s", link->host ? link->host : "");
  ret->port = link->target.port;
  sentinels_status(link->sentinels, ret);
}

static int sentinels_begin(struct redis *link, const struct redis_config *config, struct err *err) {
  struct sentinels_config sentinels = {.addresses = config->sentinels,
                                       .count = config->sentinel_count,
                                       .master = config->master,
                                       .tls = config->tls,
                                       .tls_ca = config->tls_ca,
                                       .tls_cert = config->tls_cert,
                                       .tls_key = config->tls_key,
                                       .user = config->sentinel_user,
                                       .password_slot = config->sentinel_password_slot};
  return config->sentinel_count ? sentinels_new(link->loop, &sentinels, link->secrets, on_master, link, &link->sentinels, err) : 0;
}

int redis_new(struct loop *loop, const struct redis_config *config, const struct secrets *secrets, redis_state_cb *state_cb, void *arg,
              struct redis **ret, struct err *err) {
  struct tls *tls = NULL;
  int code = config_check(config, err);
  if (!code && config->tls) code = tls_new(config->tls_ca, config->tls_cert, config->tls_key, &tls, err);
  if (code) return code;
  struct redis *link = calloc(1, sizeof *link);
  if (!link) abort();
  *link = (struct redis){
      .loop = loop,
      .secrets = secrets,
      .socket = copy(config->socket),
      .host = copy(config->host),
      .user = copy(config->user),
      .password_slot = copy(config->password_slot),
      .tls = tls,
      .timeout_ms = config->timeout_ms ? config->timeout_ms : 10000,
      .most_pending = config->most_pending ? config->most_pending : 65536,
      .state_cb = state_cb,
      .state_arg = arg,
      .ordinary = config->lanes,
      .count = config->lanes,
  };
  link->bare = config->bare;
  link->master_cb = config->master_cb;
  link->replicas = config->replicas;
  link->replica_ms = config->replica_ms ? config->replica_ms : REPLICA_MS;
  link->target = (struct stream_target){.socket = link->socket, .host = link->host, .port = config->port, .tls = tls};
  code = sentinels_begin(link, config, err);
  if (code) {
    link->count = 0;
    destroy(link);
    return code;
  }
  for (unsigned i = 0; i < link->count; i++) link->lanes[i] = lane_new(link, false);
  *ret = link;
  return 0;
}

void redis_free(struct redis *link) {
  if (!link || link->freed) return;
  link->freed = true;
  link->busy++;
  for (unsigned i = 0; i < link->count; i++) lane_cancel(link->lanes[i]);
  sentinels_free(link->sentinels);
  link->sentinels = NULL;
  link_leave(link);
}

/* --- lanes ------------------------------------------------------------------------------------------ */

bool redis_up(const struct redis *link) {
  for (unsigned i = 0; i < link->ordinary; i++) {
    if (link->lanes[i]->state != LANE_READY) return false;
  }
  return true;
}

bool redis_lane_up(const struct redis *link, unsigned lane) { return lane < link->count && link->lanes[lane]->state == LANE_READY; }

uint64_t redis_bond(const struct redis *link, unsigned lane) {
  return redis_lane_up(link, lane) ? 1 + link->lanes[lane]->epoch + link->doubts : 0;
}

unsigned redis_lane(const struct redis *link, const char *key) {
  uint32_t hash = 2166136261u; /* FNV-1a: only spreads, no stranger gains by a collision */
  for (; *key; key++) hash = (hash ^ (unsigned char)*key) * 16777619u;
  return hash % link->ordinary;
}

unsigned redis_lanes(const struct redis *link) { return link->ordinary; }

size_t redis_pending(const struct redis *link, unsigned lane) { return lane < link->count ? link->lanes[lane]->count : 0; }

unsigned redis_add_blocking_lane(struct redis *link) {
  if (link->count - link->ordinary >= MOST_BLOCKING) abort(); /* a fixed number of callers, each once */
  link->lanes[link->count] = lane_new(link, true);
  return link->count++;
}

/* --- commands --------------------------------------------------------------------------------------- */

/* How long a blocking command may wait by its own words; -1: for ever. */
static int64_t block_ms(size_t argc, const char *const *argv, const size_t *lens) {
  for (size_t i = 1; i + 1 < argc; i++) {
    size_t len = lens ? lens[i] : strlen(argv[i]);
    if (len != 5 || strncasecmp(argv[i], "BLOCK", 5) != 0) continue;
    char digits[24] = "";
    size_t n = lens ? lens[i + 1] : strlen(argv[i + 1]);
    memcpy(digits, argv[i + 1], n < sizeof digits ? n : sizeof digits - 1);
    long long ms = strtoll(digits, NULL, 10);
    return ms > 0 ? ms : -1;
  }
  return 0;
}

int redis_command(struct redis *link, unsigned lane, redis_cb *cb, void *arg, size_t argc, const char *const *argv, const size_t *lens,
                  struct err *err) {
  if (lane >= link->count || argc == 0) return err_set(err, ERR_INTERNAL, "redis_command: no such lane, or no words");
  struct lane *l = link->lanes[lane];
  if (l->state != LANE_READY || link->freed) return err_set(err, ERR_UNAVAILABLE, "Redis is not connected");
  int64_t timeout = link->timeout_ms;
  if (l->blocking) {
    int64_t block = block_ms(argc, argv, lens);
    timeout = block < 0 ? -1 : timeout + block;
  }
  return lane_send(l, cb, arg, timeout, argc, argv, lens, err);
}

static int words_of(va_list args, const char *words[MOST_WORDS], size_t *ret_count, struct err *err) {
  const char *word;
  size_t count = 0;
  while ((word = va_arg(args, const char *)) && count < MOST_WORDS) words[count++] = word;
  *ret_count = count;
  return word ? err_set(err, ERR_INTERNAL, "redis_call: more than %d words", MOST_WORDS) : 0;
}

int redis_call(struct redis *link, unsigned lane, redis_cb *cb, void *arg, struct err *err, ...) {
  const char *words[MOST_WORDS];
  size_t count;
  va_list args;
  va_start(args, err);
  int r = words_of(args, words, &count, err);
  va_end(args);
  return r < 0 ? r : redis_command(link, lane, cb, arg, count, words, NULL, err);
}

int redis_call_safe(struct redis *link, unsigned lane, redis_cb *cb, void *arg, struct err *err, ...) {
  const char *words[MOST_WORDS];
  size_t count;
  va_list args;
  va_start(args, err);
  int r = words_of(args, words, &count, err);
  va_end(args);
  return r < 0 ? r : redis_command_safe(link, lane, cb, arg, count, words, NULL, err);
}

/* --- values ----------------------------------------------------------------------------------------- */

static const redisReply *reply_of(const struct redis_value *v) { return (const redisReply *)v; }

enum redis_type redis_type(const struct redis_value *v) {
  if (!v) return REDIS_NIL;
  switch (reply_of(v)->type) {
  case REDIS_REPLY_STRING: return REDIS_STRING;
  case REDIS_REPLY_INTEGER: return REDIS_INTEGER;
  case REDIS_REPLY_ARRAY: return REDIS_ARRAY;
  case REDIS_REPLY_STATUS: return REDIS_STATUS;
  case REDIS_REPLY_ERROR: return REDIS_ERROR;
  default: return REDIS_NIL;
  }
}

const char *redis_string(const struct redis_value *v, size_t *ret_len) {
  enum redis_type type = redis_type(v);
  bool text = type == REDIS_STRING || type == REDIS_STATUS || type == REDIS_ERROR;
  if (ret_len) *ret_len = text ? reply_of(v)->len : 0;
  return text ? reply_of(v)->str : "";
}

int64_t redis_integer(const struct redis_value *v) {
  if (redis_type(v) == REDIS_INTEGER) return reply_of(v)->integer;
  const char *text = redis_string(v, NULL);
  char *end;
  long long n = strtoll(text, &end, 10);
  return *text && !*end ? n : 0;
}

size_t redis_count(const struct redis_value *v) { return redis_type(v) == REDIS_ARRAY ? reply_of(v)->elements : 0; }

const struct redis_value *redis_item(const struct redis_value *v, size_t i) {
  return i < redis_count(v) ? (const struct redis_value *)reply_of(v)->element[i] : NULL;
}
