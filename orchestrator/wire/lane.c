#include "wire/lane.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/digest.h"

enum { FIRST_WORD_MS = 2000 }; /* so long the sentinels have to say who is the master before somebody is told that they do not */

static int64_t now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* --- what waits for an answer ----------------------------------------------------------------------- */

static struct pending *ring_at(struct lane *lane, size_t i) { return &lane->ring[(lane->head + i) & (lane->size - 1)]; }

static void ring_push(struct lane *lane, struct pending p) {
  if (lane->count == lane->size) {
    size_t size = lane->size ? lane->size * 2 : 64;
    struct pending *ring = malloc(size * sizeof *ring);
    if (!ring) abort();
    for (size_t i = 0; i < lane->count; i++) ring[i] = *ring_at(lane, i);
    free(lane->ring);
    lane->ring = ring;
    lane->size = size;
    lane->head = 0;
  }
  lane->count++;
  *ring_at(lane, lane->count - 1) = p;
}

static struct pending ring_pop(struct lane *lane) {
  struct pending p = *ring_at(lane, 0);
  lane->head = (lane->head + 1) & (lane->size - 1);
  lane->count--;
  return p;
}

/* --- time ------------------------------------------------------------------------------------------- */

static void tick(void *arg);

static void clock_at(struct lane *lane, int64_t due) {
  if (lane->clock && lane->clock_due <= due) return;
  timer_free(lane->clock);
  int64_t wait = due - now_ms();
  lane->clock_due = due;
  lane->clock = timer_start(lane->link->loop, wait > 0 ? wait : 0, tick, lane);
}

static void clock_stop(struct lane *lane) {
  timer_free(lane->clock);
  lane->clock = NULL;
}

/* When the first answer is late, how long silence is still borne. */
static int64_t patience_ends(struct lane *lane) {
  int64_t from = ring_at(lane, 0)->deadline;
  return (lane->heard > from ? lane->heard : from) + lane->link->timeout_ms;
}

/* Tells those whose time is over; returns when to look again, 0 for never. */
static int64_t expire(struct lane *lane, int64_t now) {
  struct redis *link = lane->link;
  uint64_t epoch = lane->epoch;
  int64_t next = 0;
  for (size_t i = 0; i < lane->count; i++) {
    struct pending *p = ring_at(lane, i);
    if (p->late) continue;
    if (p->deadline > now) {
      if (!next || p->deadline < next) next = p->deadline;
      if (!lane->blocking) break; /* one time-out for all: later ones end later */
      continue;
    }
    p->late = true;
    redis_cb *cb = p->cb;
    struct err err;
    err_set(&err, ERR_TIMEOUT, "Redis did not answer in time");
    if (cb) cb(p->arg, NULL, &err);
    if (link->freed || lane->epoch != epoch) return 0;
  }
  if (lane->count && ring_at(lane, 0)->late && (!next || patience_ends(lane) < next)) next = patience_ends(lane);
  return next;
}

static void tick(void *arg) {
  struct lane *lane = arg;
  clock_stop(lane);
  link_enter(lane->link);
  int64_t now = now_ms();
  struct err err;
  if (lane->state == LANE_CONNECTING || lane->state == LANE_GREETING) {
    err_set(&err, ERR_UNAVAILABLE, "Redis did not answer the greeting in time");
    lane_drop(lane, &err);
  } else if (lane->count && ring_at(lane, 0)->late && patience_ends(lane) <= now) {
    err_set(&err, ERR_UNAVAILABLE, "Redis has been silent for too long");
    lane_drop(lane, &err);
  } else {
    int64_t next = expire(lane, now);
    if (next && !lane->link->freed) clock_at(lane, next);
  }
  link_leave(lane->link);
}

/* --- connection ------------------------------------------------------------------------------------- */

static void connect_now(void *arg);

static void retry_later(struct lane *lane) {
  int64_t wait = LANE_BACKOFF_FIRST;
  for (unsigned i = 0; i < lane->tries && wait < LANE_BACKOFF_MOST; i++) wait *= 2;
  if (wait > LANE_BACKOFF_MOST) wait = LANE_BACKOFF_MOST;
  lane->tries++;
  uint16_t dice;
  random_bytes(&dice, sizeof dice);
  wait = wait / 2 + wait * dice / 131072; /* half of it at least, so that lanes and nodes do not come in step */
  timer_free(lane->retry);
  lane->retry = timer_start(lane->link->loop, wait, connect_now, lane);
}

static void flush_deferred(void *arg);

/* Lets go of everything that belongs to the connection; what is pending stays. */
static void disconnect(struct lane *lane) {
  lane->state = LANE_DOWN;
  lane->epoch++;
  if (lane->flush_due) loop_undefer(lane->link->loop, flush_deferred, lane);
  lane->flush_due = lane->out_blocked = false;
  clock_stop(lane);
  stream_close(lane->stream);
  lane->stream = NULL;
  if (lane->reader) redisReaderFree(lane->reader);
  lane->reader = NULL;
  buf_release(&lane->out); /* a lane that is down holds no memory for bytes that will never leave */
  buf_init(&lane->out, LANE_MOST_OUT);
  lane->out_sent = 0;
}

/* The lane is down already, so callbacks cannot add to the ring: it empties, even when one of them frees the link. */
static void answer_all(struct lane *lane, const struct err *err) {
  while (lane->count) {
    struct pending p = ring_pop(lane);
    if (p.cb && !p.late) p.cb(p.arg, NULL, err);
  }
  safe_drop(lane, err);
}

void lane_drop(struct lane *lane, const struct err *err) {
  struct redis *link = lane->link;
  struct err copy = *err;
  bool tell = strncmp(lane->told, copy.text, sizeof lane->told - 1) != 0; /* once for each reason, not for each try */
  disconnect(lane);
  retry_later(lane);
  link_hurry(link);
  snprintf(lane->told, sizeof lane->told, "%.*s", (int)sizeof lane->told - 1, copy.text);
  answer_all(lane, &copy);
  if (tell && !link->freed && link->state_cb) link->state_cb(link->state_arg, false, &copy);
}

void lane_cancel(struct lane *lane) {
  struct err err;
  err_set(&err, ERR_CANCELLED, "the link to Redis was closed");
  disconnect(lane);
  timer_free(lane->retry);
  lane->retry = NULL;
  answer_all(lane, &err);
}

void lane_free(struct lane *lane) {
  buf_release(&lane->out);
  free(lane->ring);
  free(lane);
}

/* --- writing ---------------------------------------------------------------------------------------- */

static void flush(struct lane *lane) {
  struct err err;
  while (lane->out_sent < lane->out.len) {
    ssize_t n = stream_write(lane->stream, lane->out.data + lane->out_sent, lane->out.len - lane->out_sent, &err);
    if (n < 0) {
      lane_drop(lane, &err);
      return;
    }
    lane->out_sent += (size_t)n;
    if (n == 0) break;
  }
  lane->out_blocked = lane->out_sent < lane->out.len;
  if (!lane->out_blocked) {
    if (lane->state != LANE_READY) explicit_bzero(lane->out.data, lane->out.len); /* a password was in it */
    if (lane->out.size > LANE_KEEP_OUT) {
      buf_release(&lane->out);
      buf_init(&lane->out, LANE_MOST_OUT);
    }
    buf_reset(&lane->out);
    lane->out_sent = 0;
  } else if (lane->out_sent > lane->out.len / 2) {
    buf_consume(&lane->out, lane->out_sent);
    lane->out_sent = 0;
  }
}

static void flush_deferred(void *arg) {
  struct lane *lane = arg;
  lane->flush_due = false;
  link_enter(lane->link);
  if (!lane->out_blocked) flush(lane);
  link_leave(lane->link);
}

enum { LENGTH_MOST = 24 }; /* a mark, a number and the line's end */

static char *put_length(char *at, char mark, size_t n) {
  size_t count = 1;
  for (size_t rest = n; rest >= 10; rest /= 10) count++;
  *at++ = mark;
  for (size_t i = count; i-- > 0; n /= 10) at[i] = (char)('0' + n % 10);
  memcpy(at + count, "\r\n", 2);
  return at + count + 2;
}

/* The whole command, or nothing of it when it does not fit. */
static bool add_command(struct buf *out, size_t argc, const char *const *argv, const size_t *lens) {
  size_t most = LENGTH_MOST;
  for (size_t i = 0; i < argc; i++) most += LENGTH_MOST + (lens ? lens[i] : strlen(argv[i])) + 2;
  char *at = buf_extend(out, most);
  if (!at) {
    out->failed = false;
    return false;
  }
  at = put_length(at, '*', argc);
  for (size_t i = 0; i < argc; i++) {
    size_t len = lens ? lens[i] : strlen(argv[i]);
    at = put_length(at, '$', len);
    memcpy(at, argv[i], len);
    memcpy(at + len, "\r\n", 2);
    at += len + 2;
  }
  *at = 0;
  out->len = (size_t)(at - out->data);
  return true;
}

int lane_send(struct lane *lane, redis_cb *cb, void *arg, int64_t timeout_ms, size_t argc, const char *const *argv, const size_t *lens,
              struct err *err) {
  if (lane->count >= lane->link->most_pending) return err_set(err, ERR_LIMIT, "too many commands wait for Redis on one connection");
  if (!add_command(&lane->out, argc, argv, lens)) return err_set(err, ERR_LIMIT, "too many bytes wait for Redis on one connection");
  int64_t deadline = timeout_ms < 0 ? INT64_MAX : now_ms() + timeout_ms;
  ring_push(lane, (struct pending){.cb = cb, .arg = arg, .deadline = deadline});
  if (deadline != INT64_MAX && (!lane->clock || lane->blocking)) clock_at(lane, deadline);
  /* Once per turn: everything that the turn's callbacks send leaves in one write. */
  if (!lane->flush_due && !lane->out_blocked) {
    lane->flush_due = true;
    loop_last(lane->link->loop, flush_deferred, lane);
  }
  return 0;
}

/* --- reading ---------------------------------------------------------------------------------------- */

static int reply_code(const char *text) {
  static const struct {
    const char *word;
    int code;
  } words[] = {
      {"FENCE", ERR_CONFLICT},         {"OOM", ERR_LIMIT},
      {"LOADING", ERR_UNAVAILABLE},    {"READONLY", ERR_UNAVAILABLE},
      {"MASTERDOWN", ERR_UNAVAILABLE}, {"CLUSTERDOWN", ERR_UNAVAILABLE},
      {"NOREPLICAS", ERR_UNAVAILABLE}, {"MISCONF", ERR_UNAVAILABLE},
      {"BUSY", ERR_UNAVAILABLE},       {"TRYAGAIN", ERR_UNAVAILABLE},
      {"NOAUTH", ERR_DENIED},          {"WRONGPASS", ERR_DENIED},
      {"NOPERM", ERR_DENIED},
  };
  static const char taken[] = "ERR The ID specified in XADD is equal or smaller";
  size_t len = strcspn(text, " ");
  if (strncmp(text, taken, sizeof taken - 1) == 0) return ERR_CONFLICT;
  for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
    if (strlen(words[i].word) == len && memcmp(words[i].word, text, len) == 0) return words[i].code;
  }
  return ERR_INVALID;
}

static void answer(struct lane *lane, const redisReply *reply) {
  struct pending p = ring_pop(lane);
  bool error = reply->type == REDIS_REPLY_ERROR;
  if (error && lane->link->sentinels && strncmp(reply->str, "READONLY", 8) == 0) lane->link->leaving = true;
  int code = error ? reply_code(reply->str) : 0;
  lane->link->doubts += code == ERR_UNAVAILABLE;
  if (!p.cb || p.late) return;
  if (!error) {
    p.cb(p.arg, (const struct redis_value *)reply, NULL);
    return;
  }
  struct err err;
  err_set(&err, code, "%s", reply->str);
  p.cb(p.arg, NULL, &err);
}

/* Hands out every complete answer. False when the connection ended meanwhile. */
static bool answer_complete(struct lane *lane) {
  struct redis *link = lane->link;
  uint64_t epoch = lane->epoch;
  for (;;) {
    void *reply = NULL;
    bool bad = redisReaderGetReply(lane->reader, &reply) != REDIS_OK || lane->reader->len > LANE_MOST_IN || (reply && !lane->count);
    if (bad) {
      struct err err;
      if (reply) freeReplyObject(reply);
      err_set(&err, ERR_UNAVAILABLE, "the answer is not what Redis says: %s", lane->reader->errstr);
      lane_drop(lane, &err);
      return false;
    }
    if (!reply) return true;
    answer(lane, reply);
    if (link->taken != reply) freeReplyObject(reply);
    link->taken = NULL;
    if (link->freed || lane->epoch != epoch) return false;
  }
}

static void readable(void *arg) {
  static char bytes[64 << 10]; /* the loop's thread only, and never across a callback */
  struct lane *lane = arg;
  struct redis *link = lane->link;
  link_enter(link);
  for (;;) {
    struct err err;
    ssize_t n = stream_read(lane->stream, bytes, sizeof bytes, &err);
    if (n < 0) lane_drop(lane, &err);
    if (n <= 0) break;
    lane->heard = now_ms();
    redisReaderFeed(lane->reader, bytes, (size_t)n); /* its failing shows in the next GetReply */
    if (!answer_complete(lane)) break;
  }
  if (link->leaving && !link->freed) {
    struct err err;
    err_set(&err, ERR_UNAVAILABLE, "%s:%d is no master any more", link->target.host, link->target.port);
    link_abandon(link, &err);
  }
  link_leave(link);
}

static void writable(void *arg) {
  struct lane *lane = arg;
  struct redis *link = lane->link;
  uint64_t epoch = lane->epoch;
  link_enter(link);
  lane->out_blocked = false;
  flush(lane);
  bool alive = !link->freed && lane->epoch == epoch;
  if (alive) readable(lane); /* TLS may have waited for room to write before it could read */
  link_leave(link);
}

/* --- coming up -------------------------------------------------------------------------------------- */

static void opened(void *arg) {
  struct lane *lane = arg;
  link_enter(lane->link);
  lane->state = LANE_GREETING;
  lane->heard = now_ms();
  lane_greet(lane);
  link_leave(lane->link);
}

static void failed(void *arg, const struct err *err) {
  struct lane *lane = arg;
  link_enter(lane->link);
  lane_drop(lane, err);
  link_leave(lane->link);
}

/* Nobody has said yet which server is the master. */
static bool nowhere(struct lane *lane) {
  struct err err;
  struct redis_master master;
  if (!lane->link->sentinels || lane->link->target.host) return false;
  redis_master(lane->link, &master);
  err_set(&err, ERR_UNAVAILABLE, "no sentinel says which server is the master%s%.150s", *master.why ? ": " : "", master.why);
  link_enter(lane->link);
  lane_drop(lane, &err);
  link_leave(lane->link);
  return true;
}

static void connect_now(void *arg) {
  struct lane *lane = arg;
  timer_free(lane->retry);
  lane->retry = NULL;
  if (nowhere(lane)) return;
  lane->reader = redisReaderCreate();
  if (!lane->reader) abort();
  lane->reader->maxbuf = 1 << 20;
  lane->state = LANE_CONNECTING;
  lane->stream =
      stream_open(lane->link->loop, &lane->link->target,
                  &(struct stream_events){.arg = lane, .opened = opened, .readable = readable, .writable = writable, .failed = failed});
  clock_at(lane, now_ms() + lane->link->timeout_ms);
}

void lane_redirect(struct lane *lane) {
  lane->tries = 0;
  timer_free(lane->retry);
  lane->retry = timer_start(lane->link->loop, 0, connect_now, lane);
}

void lane_ready(struct lane *lane) {
  struct redis *link = lane->link;
  clock_stop(lane);
  lane->state = LANE_READY;
  lane->tries = 0;
  lane->told[0] = 0;
  link_hurry(link);
  if (link->state_cb) link->state_cb(link->state_arg, true, NULL);
}

struct lane *lane_new(struct redis *link, bool blocking) {
  struct lane *lane = calloc(1, sizeof *lane);
  if (!lane) abort();
  lane->link = link;
  lane->blocking = blocking;
  buf_init(&lane->out, LANE_MOST_OUT);
  STAILQ_INIT(&lane->waited);
  STAILQ_INIT(&lane->unwaited);
  lane->retry = timer_start(link->loop, link->sentinels && !link->target.host ? FIRST_WORD_MS : 0, connect_now, lane);
  return lane;
}
