/* ask.c: the anchor's thread waits for one exchange at a time, on a loop of its own. */
#include <stdlib.h>
#include <string.h>

#include "anchor/internal.h"
#include "base/json.h"

enum { ANSWER_CAP_MOST = 1 << 30 };

struct waiting {
  struct anchor *anchor;
  struct answer *answer;
  struct err err;
  bool done;
};

static void on_answer(void *arg, const struct exchange_result *result) {
  struct waiting *w = arg;
  w->done = true;
  w->anchor->flight = NULL;
  w->err = result->err;
  if (result->delivery == DELIVERY_ANSWERED) {
    w->err.code = 0;
    w->answer->status = (long)json_int_or(result->response, "status", 0);
    w->answer->headers = json_incref(json_object_get(result->response, "headers"));
    buf_add(&w->answer->bytes, result->bytes, result->bytes_len);
  }
  loop_stop(w->anchor->loop);
}

int anchor_ask(struct anchor *a, const struct target *t, json_t *request_take, const void *body, size_t len, size_t cap, struct answer *ret,
               struct err *err) {
  struct waiting w = {.anchor = a, .answer = ret};
  struct exchange x = {.request = request_take,
                       .connector = t->name,
                       .timeout_ms = EXCHANGE_MS,
                       .response_cap = cap < ANSWER_CAP_MOST ? cap : ANSWER_CAP_MOST,
                       .network = t->network,
                       .body = body,
                       .body_len = len};
  memset(ret, 0, sizeof *ret);
  buf_init(&ret->bytes, x.response_cap);
  int r = atomic_load(&a->stop) ? err_set(err, ERR_CANCELLED, "Tocsin is stopping")
                                : transport_start(a->transports, &x, on_answer, &w, &a->flight, err);
  json_decref(request_take);
  if (r < 0) goto out;
  while (!w.done) loop_run(a->loop);
  if (w.err.code) r = err_set(err, w.err.code, "%s", w.err.text);
out:
  if (r < 0) answer_release(ret);
  return r;
}

void answer_release(struct answer *answer) {
  json_decref(answer->headers);
  buf_release(&answer->bytes);
  memset(answer, 0, sizeof *answer);
}
