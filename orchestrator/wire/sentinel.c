#include "wire/sentinel.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ASK_MS = 500, ASK_SOON_MS = 50, ANSWER_MS = 1500 };

/* --- what they say ------------------------------------------------------------------------------------------------- */

int sentinel_address(const char *text, char host[SENTINEL_HOST], int *ret_port, struct err *err) {
  const char *end = *text == '[' ? strchr(text, ']') : NULL, *from = end ? text + 1 : text, *after;
  long port = SENTINEL_PORT;
  if (*text == '[' && !end) return err_set(err, ERR_INVALID, "\"%.100s\": the ] is missing", text);
  if (!end) end = strchr(text, ':') ? strchr(text, ':') : text + strlen(text);
  after = *end == ']' ? end + 1 : end;
  if (*after == ':') {
    char *rest;
    port = strtol(after + 1, &rest, 10);
    if (rest == after + 1 || *rest || port < 1 || port > 65535) return err_set(err, ERR_INVALID, "\"%.100s\" has no valid port", text);
  } else if (*after) {
    return err_set(err, ERR_INVALID, "\"%.100s\" is no host:port", text);
  }
  size_t len = (size_t)(end - from);
  if (!len || len >= SENTINEL_HOST) return err_set(err, ERR_INVALID, "\"%.100s\" names no host", text);
  memcpy(host, from, len);
  host[len] = 0;
  *ret_port = (int)port;
  return 0;
}

static const struct redis_value *field(const struct redis_value *pairs, const char *name) {
  for (size_t i = 0; i + 1 < redis_count(pairs); i += 2)
    if (strcmp(redis_string(redis_item(pairs, i), NULL), name) == 0) return redis_item(pairs, i + 1);
  return NULL;
}

int sentinel_read(const struct redis_value *reply, struct sentinel_answer *ret, struct err *err) {
  size_t len;
  const char *host = redis_string(field(reply, "ip"), &len), *flags = redis_string(field(reply, "flags"), NULL);
  int64_t port = redis_integer(field(reply, "port"));
  if (!len || len >= SENTINEL_HOST || port < 1 || port > 65535)
    return err_set(err, ERR_INVALID, "a sentinel's answer names no master; is it a sentinel?");
  *ret = (struct sentinel_answer){.said = true,
                                  .master = true,
                                  .port = (int)port,
                                  .epoch = redis_integer(field(reply, "config-epoch")),
                                  .moving = strstr(flags, "failover_in_progress") != NULL,
                                  .down = strstr(flags, "s_down") || strstr(flags, "o_down") || strstr(flags, "disconnected"),
                                  .quorum = (int)redis_integer(field(reply, "quorum")),
                                  .sentinels = (int)redis_integer(field(reply, "num-other-sentinels")) + 1,
                                  .replicas = (int)redis_integer(field(reply, "num-slaves"))};
  memcpy(ret->host, host, len);
  return 0;
}

/* --- whom to follow ------------------------------------------------------------------------------------------------- */

static bool names(const struct sentinel_answer *a, const char *host, int port, int64_t epoch) {
  return a->said && a->master && !a->moving && a->epoch == epoch && a->port == port && strcmp(a->host, host) == 0;
}

static size_t votes(const struct sentinel_answer *answers, size_t count, const char *host, int port, int64_t epoch) {
  size_t n = 0;
  for (size_t i = 0; i < count; i++) n += names(&answers[i], host, port, epoch);
  return n;
}

bool sentinel_pick(const struct sentinel_answer *answers, size_t count, const struct sentinel_master *known, struct sentinel_master *ret) {
  const struct sentinel_answer *best = NULL;
  size_t best_votes = 0;
  for (size_t i = 0; i < count; i++) {
    const struct sentinel_answer *a = &answers[i];
    if (!a->said || !a->master || a->moving) continue;
    size_t n = votes(answers, count, a->host, a->port, a->epoch);
    n = 2 * n + names(a, known->host, known->port, a->epoch); /* of equal ones the known one */
    if (best && (a->epoch < best->epoch || (a->epoch == best->epoch && n <= best_votes))) continue;
    best = a;
    best_votes = n;
  }
  if (!best) return false;
  bool same = strcmp(best->host, known->host) == 0 && best->port == known->port;
  if (same && best->epoch == known->epoch) return false;
  if (known->host[0] && best->epoch < known->epoch && best_votes / 2 * 2 <= count) return false;
  *ret = (struct sentinel_master){.port = best->port, .epoch = best->epoch};
  snprintf(ret->host, sizeof ret->host, "%s", best->host);
  return true;
}

/* --- asking them ------------------------------------------------------------------------------------------------------ */

struct sentinel {
  struct sentinels *all;
  struct redis *link;
  struct sentinel_answer answer;
  int64_t heard; /* ms of CLOCK_MONOTONIC */
  bool asking;
};

struct sentinels {
  struct loop *loop;
  char *master_name;
  struct sentinel each[SENTINELS_MOST];
  size_t count;
  struct sentinel_master known;
  struct timer *timer;
  bool hurry, freed;
  unsigned busy;
  char why[200]; /* what the last one that could not tell said */
  sentinels_cb *cb;
  void *arg;
};

static int64_t now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void release(struct sentinels *s) {
  free(s->master_name);
  free(s);
}

static void decide(struct sentinels *s) {
  struct sentinel_answer answers[SENTINELS_MOST];
  struct sentinel_master next;
  for (size_t i = 0; i < s->count; i++) {
    answers[i] = s->each[i].answer;
    answers[i].said = answers[i].said && now_ms() - s->each[i].heard < SENTINEL_FRESH_MS;
  }
  if (!sentinel_pick(answers, s->count, &s->known, &next)) return;
  s->known = next;
  s->busy++;
  s->cb(s->arg, &next);
  if (--s->busy == 0 && s->freed) release(s);
}

static void on_answer(void *arg, const struct redis_value *reply, const struct err *err) {
  struct sentinel *one = arg;
  struct sentinels *s = one->all;
  struct err why;
  one->asking = false;
  if (err && err->code == ERR_CANCELLED) return;
  if (!err && sentinel_read(reply, &one->answer, &why) < 0) err = &why;
  if (err) {
    if (err->code == ERR_INVALID) one->answer = (struct sentinel_answer){.said = true};
    one->heard = now_ms();
    snprintf(s->why, sizeof s->why, "%.190s", err->text);
    return;
  }
  one->heard = now_ms();
  decide(s);
}

static void ask(struct sentinel *one) {
  if (one->asking || !one->link) return;
  one->asking = redis_call(one->link, 0, on_answer, one, NULL, "SENTINEL", "MASTER", one->all->master_name, NULL) == 0;
}

static void ask_all(void *arg) {
  struct sentinels *s = arg;
  timer_free(s->timer);
  s->timer = timer_start(s->loop, s->hurry ? ASK_SOON_MS : ASK_MS, ask_all, s);
  for (size_t i = 0; i < s->count; i++) ask(&s->each[i]);
}

static void on_state(void *arg, bool up, const struct err *err) {
  struct sentinel *one = arg;
  if (up) ask(one);
  else if (err) snprintf(one->all->why, sizeof one->all->why, "%.190s", err->text);
}

void sentinels_hurry(struct sentinels *s, bool hurry) {
  if (s->hurry == hurry) return;
  s->hurry = hurry;
  if (!hurry) return;
  timer_free(s->timer);
  s->timer = timer_start(s->loop, 0, ask_all, s);
}

void sentinels_status(const struct sentinels *s, struct redis_master *ret) {
  ret->sentinels = (unsigned)s->count;
  ret->epoch = s->known.epoch;
  snprintf(ret->why, sizeof ret->why, "%s", s->why);
  for (size_t i = 0; i < s->count; i++) {
    const struct sentinel_answer *a = &s->each[i].answer;
    if (!a->said || now_ms() - s->each[i].heard >= SENTINEL_FRESH_MS) continue;
    ret->answering++;
    if (!a->master) continue;
    ret->knowing++;
    if (a->quorum > ret->quorum) ret->quorum = a->quorum;
    if (a->replicas > ret->replicas) ret->replicas = a->replicas;
    if (a->sentinels > ret->sentinels_known) ret->sentinels_known = a->sentinels;
    ret->down = ret->down || a->down;
  }
}

static int link_new(struct sentinels *s, const struct sentinels_config *config, const struct secrets *secrets, size_t i, struct err *err) {
  struct redis_config redis = {.tls = config->tls,
                               .tls_ca = config->tls_ca,
                               .tls_cert = config->tls_cert,
                               .tls_key = config->tls_key,
                               .user = config->user,
                               .password_slot = config->password_slot,
                               .lanes = 1,
                               .timeout_ms = ANSWER_MS,
                               .bare = true};
  char host[SENTINEL_HOST];
  int r = sentinel_address(config->addresses[i], host, &redis.port, err);
  if (r < 0) {
    err_wrap(err, "redis.sentinels");
    return r;
  }
  redis.host = host;
  s->each[i].all = s;
  return redis_new(s->loop, &redis, secrets, on_state, &s->each[i], &s->each[i].link, err);
}

int sentinels_new(struct loop *loop, const struct sentinels_config *config, const struct secrets *secrets, sentinels_cb *cb, void *arg,
                  struct sentinels **ret, struct err *err) {
  if (config->count < 1 || config->count > SENTINELS_MOST)
    return err_set(err, ERR_INVALID, "redis.sentinels names 1 to %d sentinels", SENTINELS_MOST);
  if (!config->master || !*config->master)
    return err_set(err, ERR_INVALID, "redis.master is missing: the name that the sentinels know the master by");
  struct sentinels *s = calloc(1, sizeof *s);
  if (!s || !(s->master_name = strdup(config->master))) abort();
  s->loop = loop;
  s->cb = cb;
  s->arg = arg;
  s->count = config->count;
  s->hurry = true;
  for (size_t i = 0; i < s->count; i++) {
    int r = link_new(s, config, secrets, i, err);
    if (r == 0) continue;
    sentinels_free(s);
    return r;
  }
  s->timer = timer_start(loop, ASK_SOON_MS, ask_all, s);
  *ret = s;
  return 0;
}

void sentinels_free(struct sentinels *s) {
  if (!s) return;
  timer_free(s->timer);
  s->timer = NULL;
  for (size_t i = 0; i < s->count; i++) {
    redis_free(s->each[i].link);
    s->each[i].link = NULL;
  }
  s->freed = true;
  if (!s->busy) release(s);
}
