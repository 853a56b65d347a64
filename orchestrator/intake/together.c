/* What messages ask of Redis, several in one call: a turn takes many from the queue, and many are done in one. As if each had asked by itself: the functions route and end one after
 * the other. A call that is refused for what is in it, not for the state of Redis, is made again for each message alone, so that one holds up nobody else. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json_warm.h"
#include "base/text.h"
#include "intake/message.h"

enum { TOGETHER_MOST = 64, PAIRS_MOST = 512, WARM_TOGETHER = 8 };

struct together {
  struct intake *in;
  struct together **open; /* where it is found while it is not sent yet */
  int (*send)(struct together *t, struct err *err);
  void (*tell)(struct message *m, const struct redis_value *answer, const struct err *err);
  size_t count, pairs;
  struct message *messages[TOGETHER_MOST];
};

static size_t pairs_of(const struct message *m) { return m->wanted_count < INCIDENTS_MOST ? m->wanted_count : INCIDENTS_MOST; }

/* What the next messages are made of has waited for the answer as long as they have. */
static void warm(struct message *const *messages, size_t count) {
  const json_t *trees[3 * WARM_TOGETHER];
  for (size_t i = 0; i < count; i++) __builtin_prefetch(&messages[i]->n), __builtin_prefetch(&messages[i]->wanted);
  for (size_t i = 0; i < count; i++) {
    __builtin_prefetch(messages[i]->wanted);
    __builtin_prefetch(messages[i]->alert_id);
    trees[3 * i] = messages[i]->n.finding;
    trees[3 * i + 1] = messages[i]->n.document;
    trees[3 * i + 2] = messages[i]->text;
  }
  json_warm(trees, 3 * count);
}

/* answers: one for each message; NULL when they have none. */
static void tell_all(struct together *t, const struct redis_value *answers, const struct err *err) {
  for (size_t i = 0; i < t->count; i++) {
    size_t left = t->count - i;
    if (i % WARM_TOGETHER == 0) warm(t->messages + i, left < WARM_TOGETHER ? left : WARM_TOGETHER);
    if (err && err->code == ERR_INVALID) t->messages[i]->apart = true;
    t->tell(t->messages[i], redis_item(answers, i), err);
  }
  free(t);
}

static void on_answer(void *arg, const struct redis_value *reply, const struct err *err) { tell_all(arg, reply, err); }

static void send_now(void *arg) {
  struct together *t = arg;
  struct err err;
  loop_undefer(t->in->deps.loop, send_now, t);
  *t->open = NULL;
  if (t->send(t, &err) < 0) tell_all(t, NULL, &err);
}

static void add(struct message *m, struct together **open, struct together as, size_t pairs) {
  struct together *t = *open;
  if (t && (m->apart || t->count == TOGETHER_MOST || t->pairs + pairs > PAIRS_MOST)) send_now(t);
  if (!(t = *open)) {
    if (!(t = malloc(sizeof *t))) abort();
    *t = as;
    t->in = m->in;
    t->open = open;
    *open = t;
    loop_defer(m->in->deps.loop, send_now, t);
  }
  t->messages[t->count++] = m;
  t->pairs += pairs;
  if (m->apart) send_now(t);
}

/* --- routing ------------------------------------------------------------------------------------------------------------------ */

static int send_routing(struct together *t, struct err *err) {
  struct intake *in = t->in;
  char now[24], prefix[64];
  const char **argv = malloc((11 + 3 * t->count + 2 * t->pairs) * sizeof *argv);
  char(*numbers)[24] = malloc((t->count + t->pairs) * sizeof *numbers);
  if (!argv || !numbers) abort();
  if (in->deps.exercise) snprintf(prefix, sizeof prefix, "EX");      /* its exercise's, which lies with this node */
  else snprintf(prefix, sizeof prefix, "INC|%s", in->deps.consumer); /* what it opens is this node's */
  snprintf(now, sizeof now, "%" PRId64, clock_steady(in->deps.clock) / 1000);
  const char *const head[] = {"FCALL",
                              "tocsin_route_all",
                              "6",
                              in->key[KEY_ROUTED],
                              in->key[KEY_SEEN],
                              in->key[KEY_GROUP],
                              in->key[KEY_IDS],
                              in->key[KEY_SEEN_IN],
                              NODES_OWNER,
                              now,
                              prefix};
  size_t argc = sizeof head / sizeof *head, n = 0;
  memcpy(argv, head, sizeof head);
  for (size_t i = 0; i < t->count; i++) {
    const struct message *m = t->messages[i];
    *text_add_number(numbers[n], numbers[n] + sizeof *numbers - 1, pairs_of(m)) = 0;
    argv[argc++] = m->alert_id;
    argv[argc++] = m->id;
    argv[argc++] = numbers[n++];
    for (size_t k = 0; k < pairs_of(m); k++) {
      *text_add_number(numbers[n], numbers[n] + sizeof *numbers - 1, (uint64_t)m->wanted[k].window_ms) = 0;
      argv[argc++] = m->wanted[k].group;
      argv[argc++] = numbers[n++];
    }
  }
  int r = redis_command_safe(in->deps.redis, redis_lane(in->deps.redis, in->key[KEY_QUEUE]), on_answer, t, argc, argv, NULL, err);
  free(numbers);
  free(argv);
  return r;
}

void together_route(struct message *m) {
  add(m, &m->in->routing, (struct together){.send = send_routing, .tell = message_routed}, pairs_of(m));
}

/* --- the end ------------------------------------------------------------------------------------------------------------------- */

static int send_ending(struct together *t, struct err *err) {
  struct intake *in = t->in;
  char now[24], keep[24];
  const char *argv[11 + 3 * TOGETHER_MOST] = {"FCALL",
                                              "tocsin_done_all",
                                              "5",
                                              in->key[KEY_QUEUE],
                                              in->key[KEY_ROUTED],
                                              in->key[KEY_SEEN],
                                              in->key[KEY_SEEN_IN],
                                              in->key[KEY_COUNTS],
                                              QUEUE_GROUP,
                                              now,
                                              keep};
  size_t argc = 11;
  snprintf(now, sizeof now, "%" PRId64, clock_wall(in->deps.clock) / 1000);
  snprintf(keep, sizeof keep, "%" PRId64, in->keep_ms);
  for (size_t i = 0; i < t->count; i++) {
    const struct message *m = t->messages[i];
    argv[argc++] = m->id;
    argv[argc++] = m->alert_id ? m->alert_id : "";
    argv[argc++] = m->outcome;
  }
  return redis_command(in->deps.redis, redis_lane(in->deps.redis, in->key[KEY_QUEUE]), on_answer, t, argc, argv, NULL, err);
}

static void tell_ended(struct message *m, const struct redis_value *none, const struct err *err) { message_ended(m, err); }

void together_end(struct message *m) { add(m, &m->in->ending, (struct together){.send = send_ending, .tell = tell_ended}, 0); }

/* --- for queue.c ----------------------------------------------------------------------------------------------------------------- */

void together_send(struct intake *in) {
  if (in->routing) send_now(in->routing);
}

void together_drop(struct intake *in) {
  struct together *const open[] = {in->routing, in->ending};
  in->routing = in->ending = NULL;
  for (size_t i = 0; i < 2; i++) {
    struct together *t = open[i];
    if (!t) continue;
    loop_undefer(in->deps.loop, send_now, t);
    for (size_t k = 0; k < t->count; k++) message_free(t->messages[k]);
    free(t);
  }
}
