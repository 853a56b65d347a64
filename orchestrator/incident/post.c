/* Letters: written, signed, read, taken out once. */
#include "incident/post.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/map.h"

#define NONCES "tocsin:nonces"

enum { BLOCK_MS = 500, COUNT = 64, RETRY_MS = 250, NONCE_BYTES = 16, NONCE = 2 * NONCE_BYTES + 1, OLD_MS = 600000, ID = 48 };

struct asked {
  struct post *post;
  char nonce[NONCE];
  struct timer *timer;
  post_answer_cb *cb;
  void *arg;
};

struct post {
  struct loop *loop;
  struct redis *redis;
  struct nodes *nodes;
  uint8_t key[DIGEST_BYTES];
  post_letter_cb *cb;
  void *arg;
  unsigned blocking;
  bool running, reading;
  char after[ID];
  struct timer *retry;
  struct map asked; /* nonce -> struct asked */
};

static void read_on(void *arg);

struct post *post_new(struct loop *loop, struct redis *redis, struct nodes *nodes, const uint8_t key[DIGEST_BYTES], post_letter_cb *cb,
                      void *arg) {
  struct post *p = calloc(1, sizeof *p);
  if (!p) abort();
  *p = (struct post){.loop = loop, .redis = redis, .nodes = nodes, .cb = cb, .arg = arg, .after = "0-0"};
  memcpy(p->key, key, DIGEST_BYTES);
  p->blocking = redis_add_blocking_lane(redis);
  map_init(&p->asked);
  return p;
}

/* --- waiting for answers ------------------------------------------------------------------------------------------ */

static void asked_end(struct asked *a, int status, const json_t *answer, const struct err *err) {
  map_remove(&a->post->asked, a->nonce);
  timer_free(a->timer);
  a->cb(a->arg, status, answer, err);
  free(a);
}

static void asked_late(void *arg) {
  struct err late;
  err_set(&late, ERR_TIMEOUT, "the node that owns it did not answer in time; look whether it was done before you repeat it");
  asked_end(arg, 503, NULL, &late);
}

void post_free(struct post *p) {
  if (!p) return;
  struct err gone = {.code = ERR_CANCELLED, .text = "the engine is stopping"};
  const char *nonce;
  void *value;
  for (size_t at = 0; map_next(&p->asked, &at, &nonce, &value); at = 0) asked_end(value, 503, NULL, &gone);
  map_release(&p->asked, NULL);
  timer_free(p->retry);
  explicit_bzero(p->key, sizeof p->key);
  free(p);
}

/* --- writing ---------------------------------------------------------------------------------------------------------- */

static void sign(const struct post *p, const char *text, size_t len, char out[DIGEST_HEX]) {
  uint8_t mac[DIGEST_BYTES];
  digest_hmac_sha256(p->key, sizeof p->key, text, len, mac);
  hex_encode(mac, sizeof mac, out);
}

static void inbox_name(const char *node, char out[96]) { snprintf(out, 96, "tocsin:node:%.47s:inbox", node); }

struct sending {
  nodes_cb *cb;
  void *arg;
};

static void on_sent(void *arg, const struct redis_value *reply, const struct err *err) {
  struct sending *s = arg;
  s->cb(s->arg, err);
  free(s);
}

static int letter_send(struct post *p, const char *to, json_t *letter_take, nodes_cb *cb, void *arg, struct err *err) {
  char inbox[96], mac[DIGEST_HEX], *text = json_text(letter_take);
  json_decref(letter_take);
  if (!text) abort();
  size_t len = strlen(text);
  inbox_name(to, inbox);
  sign(p, text, len, mac);
  struct sending *s = NULL;
  if (cb) {
    s = calloc(1, sizeof *s);
    if (!s) abort();
    *s = (struct sending){cb, arg};
  }
  int r = redis_call(p->redis, redis_lane(p->redis, inbox), s ? on_sent : NULL, s, err, "XADD", inbox, "*", "m", text, "s", mac, NULL);
  free(text);
  if (r < 0) free(s);
  return r;
}

static json_t *letter_new(const struct post *p, const char *to, const char *kind, char nonce[NONCE], json_t *body_take) {
  uint8_t bytes[NONCE_BYTES];
  random_bytes(bytes, sizeof bytes);
  hex_encode(bytes, sizeof bytes, nonce);
  return json_pack("{s:s, s:s, s:s, s:s, s:I, s:o}", "from", nodes_self(p->nodes), "to", to, "kind", kind, "nonce", nonce, "time",
                   (json_int_t)clock_steady(clock_system()), "body", body_take);
}

static void ask_failed(void *arg, const struct err *err) {
  struct asked *a = arg;
  if (err) asked_end(a, 503, NULL, err);
}

struct ask_failing {
  struct post *post;
  char nonce[NONCE];
  struct err err;
};

static void ask_failed_turn(void *arg) {
  struct ask_failing *f = arg;
  struct asked *a = map_get(&f->post->asked, f->nonce);
  if (a) ask_failed(a, &f->err);
  free(f);
}

void post_ask(struct post *p, const char *to, const char *kind, json_t *body_take, int64_t within_ms, post_answer_cb *cb, void *arg) {
  struct asked *a = calloc(1, sizeof *a);
  struct err err;
  if (!a) abort();
  *a = (struct asked){.post = p, .cb = cb, .arg = arg};
  json_t *letter = letter_new(p, to, kind, a->nonce, body_take);
  map_put(&p->asked, a->nonce, a);
  a->timer = timer_start(p->loop, within_ms, asked_late, a);
  if (letter_send(p, to, letter, NULL, NULL, &err) == 0) return;
  struct ask_failing *f = calloc(1, sizeof *f);
  if (!f) abort();
  *f = (struct ask_failing){.post = p, .err = err};
  memcpy(f->nonce, a->nonce, NONCE);
  loop_defer(p->loop, ask_failed_turn, f);
}

void post_tell(struct post *p, const char *to, const char *kind, json_t *body_take, nodes_cb *cb, void *arg) {
  char nonce[NONCE];
  struct err err;
  if (letter_send(p, to, letter_new(p, to, kind, nonce, body_take), cb, arg, &err) < 0 && cb) cb(arg, &err);
}

void post_answer(struct post *p, const char *to, const char *nonce, int status, json_t *answer_take) {
  json_t *body = json_pack("{s:s, s:i, s:o}", "re", nonce, "status", status, "answer", answer_take ? answer_take : json_null());
  post_tell(p, to, "answer", body, NULL, NULL);
}

/* --- reading ------------------------------------------------------------------------------------------------------------ */

struct taking {
  struct post *post;
  char inbox[96], id[ID];
  json_t *letter;
  struct timer *retry;
};

static void take(void *arg);

static void taking_free(struct taking *t) {
  timer_free(t->retry);
  json_decref(t->letter);
  free(t);
}

static void answer_came(struct post *p, const json_t *body) {
  struct asked *a = map_get(&p->asked, json_str_or(body, "re", ""));
  if (a) asked_end(a, (int)json_int_or(body, "status", 500), json_object_get(body, "answer"), NULL); /* else it came too late */
}

static void carry_out(struct post *p, const json_t *l) {
  struct letter letter = {.from = json_str_or(l, "from", ""),
                          .nonce = json_str_or(l, "nonce", ""),
                          .kind = json_str_or(l, "kind", ""),
                          .body = json_object_get(l, "body")};
  if (strcmp(letter.kind, "answer") == 0) answer_came(p, letter.body);
  else p->cb(p->arg, &letter);
}

static void on_taken(void *arg, const struct redis_value *reply, const struct err *err) {
  struct taking *t = arg;
  if (err &&
      err->code !=
          ERR_CANCELLED) { /* perhaps it was taken all the same; then the next try says 0, and it is lost like one whose node ended */
    t->retry = timer_start(t->post->loop, RETRY_MS, take, t);
    return;
  }
  int64_t took = err ? 0 : redis_integer(reply);
  if (took < 0) log_warning("a letter from node %s was refused: it came a second time", json_str_or(t->letter, "from", "?"));
  if (took == 1) carry_out(t->post, t->letter);
  taking_free(t);
}

static void take(void *arg) {
  struct taking *t = arg;
  struct err err;
  char now[24], keep[24];
  timer_free(t->retry);
  t->retry = NULL;
  snprintf(now, sizeof now, "%" PRId64, clock_steady(clock_system()) / 1000);
  snprintf(keep, sizeof keep, "%d", 2 * OLD_MS);
  if (redis_call(t->post->redis, redis_lane(t->post->redis, t->inbox), on_taken, t, &err, "FCALL", "tocsin_take", "2", t->inbox, NONCES,
                 t->id, json_str_or(t->letter, "nonce", ""), now, keep, NULL) < 0)
    t->retry = timer_start(t->post->loop, RETRY_MS, take, t);
}

static const char *field(const struct redis_value *fields, const char *name, size_t *ret_len) {
  *ret_len = 0;
  for (size_t i = 0; i + 1 < redis_count(fields); i += 2)
    if (strcmp(redis_string(redis_item(fields, i), NULL), name) == 0) return redis_string(redis_item(fields, i + 1), ret_len);
  return "";
}

/* What is wrong with it, or NULL. */
static const char *wrong(const struct post *p, const json_t *letter, const char *to, const char *text, size_t len, const char *mac) {
  char right[DIGEST_HEX];
  int64_t age = clock_steady(clock_system()) - json_int_or(letter, "time", 0);
  sign(p, text, len, right);
  if (strlen(mac) != DIGEST_HEX - 1 || !digest_equal(mac, right, DIGEST_HEX - 1)) return "its signature is not ours";
  if (!letter || !json_is_object(json_object_get(letter, "body"))) return "it cannot be read";
  if (strcmp(json_str_or(letter, "to", ""), to) != 0) return "it is for another node";
  if (age > OLD_MS * INT64_C(1000) || age < -OLD_MS * INT64_C(1000)) return "it is too old";
  return NULL;
}

static void letter_read(struct post *p, const char *node, const struct redis_value *entry) {
  struct taking *t = calloc(1, sizeof *t);
  size_t len, mac_len;
  if (!t) abort();
  t->post = p;
  inbox_name(node, t->inbox);
  snprintf(t->id, sizeof t->id, "%s", redis_string(redis_item(entry, 0), NULL));
  const struct redis_value *fields = redis_item(entry, 1);
  const char *text = field(fields, "m", &len), *mac = field(fields, "s", &mac_len);
  if (json_parse_stored(text, len, &t->letter, NULL) < 0) t->letter = NULL;
  const char *why = wrong(p, t->letter, node, text, len, mac);
  if (!why) {
    take(t);
    return;
  }
  log_warning("a letter in the inbox of node %s was thrown away: %s", node, why);
  redis_call(p->redis, redis_lane(p->redis, t->inbox), NULL, NULL, NULL, "XDEL", t->inbox, t->id, NULL);
  taking_free(t);
}

static void on_read(void *arg, const struct redis_value *reply, const struct err *err) {
  struct post *p = arg;
  p->reading = false;
  if (err && err->code == ERR_CANCELLED) return;
  const struct redis_value *entries = err                                                  ? NULL
                                      : redis_item(redis_item(redis_item(reply, 0), 1), 0) ? redis_item(redis_item(reply, 0), 1)
                                                                                           : NULL;
  for (size_t i = 0; p->running && entries && i < redis_count(entries); i++) {
    snprintf(p->after, sizeof p->after, "%s", redis_string(redis_item(redis_item(entries, i), 0), NULL));
    letter_read(p, nodes_self(p->nodes), redis_item(entries, i));
  }
  if (!p->running) return;
  if (err) p->retry = timer_start(p->loop, RETRY_MS, read_on, p);
  else read_on(p);
}

static void read_on(void *arg) {
  struct post *p = arg;
  struct err err;
  char inbox[96], count[16], block[16];
  timer_free(p->retry);
  p->retry = NULL;
  if (!p->running || p->reading) return;
  inbox_name(nodes_self(p->nodes), inbox);
  snprintf(count, sizeof count, "%d", COUNT);
  snprintf(block, sizeof block, "%d", BLOCK_MS);
  p->reading =
      redis_call(p->redis, p->blocking, on_read, p, &err, "XREAD", "COUNT", count, "BLOCK", block, "STREAMS", inbox, p->after, NULL) == 0;
  if (!p->reading) p->retry = timer_start(p->loop, RETRY_MS, read_on, p);
}

void post_start(struct post *p) {
  p->running = true;
  read_on(p);
}

void post_stop(struct post *p) { p->running = false; }

/* --- a dead node's inbox ---------------------------------------------------------------------------------------------------- */

struct emptying {
  struct post *post;
  char node[NODE_NAME];
};

static void on_left_over(void *arg, const struct redis_value *reply, const struct err *err) {
  struct emptying *e = arg;
  for (size_t i = 0; !err && i < redis_count(reply); i++) letter_read(e->post, e->node, redis_item(reply, i));
  free(e);
}

void post_empty(struct post *p, const char *node) {
  struct err err;
  char inbox[96];
  struct emptying *e = calloc(1, sizeof *e);
  if (!e) abort();
  e->post = p;
  snprintf(e->node, sizeof e->node, "%.47s", node);
  inbox_name(node, inbox);
  if (redis_call(p->redis, redis_lane(p->redis, inbox), on_left_over, e, &err, "XRANGE", inbox, "-", "+", NULL) < 0) free(e);
}
