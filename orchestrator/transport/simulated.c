/* simulated.c: answers with what the connector's `simulate` returned. Opens nothing, sends nothing, knows no secret. The gate is asked all the
 * same, so that an exercise meets the same brakes; what passes it here does not count as sent. */
#include "transport/flight.h"

static void simulated_come(void *arg) {
  struct flight *f = arg;
  flight_answer(f, json_incref(f->simulate), -1);
}

/* It takes its time by the exercise's clock. */
static void simulated_answer(void *arg) {
  struct flight *f = arg;
  if (f->passage->gate && !f->passage->gate(f->passage->gate_arg)) {
    flight_fail(f, ERR_CANCELLED, "the last check before sending said no; nothing was sent");
    return;
  }
  if (f->t->simulated_by && f->latency_ms > 0) f->due = clock_wall(f->t->simulated_by) + f->latency_ms * 1000;
  else simulated_come(f);
}

static int simulated_start(struct flight *f, struct err *err) {
  loop_defer(f->t->loop, simulated_answer, f);
  return 0;
}

static void simulated_cancel(struct flight *f) {
  f->due = 0;
  loop_undefer(f->t->loop, simulated_answer, f);
  loop_undefer(f->t->loop, simulated_come, f);
}

bool flight_waits(const struct flight *f) { return f->due != 0; }

int64_t transports_due(const struct transports *t) {
  int64_t due = INT64_MAX;
  for (const struct flight *f = t->flights; f; f = f->next)
    if (f->due && f->due < due) due = f->due;
  return due;
}

void transports_clock_moved(struct transports *t) {
  int64_t now = t->simulated_by ? clock_wall(t->simulated_by) : 0;
  for (struct flight *f = t->flights; f; f = f->next) {
    if (!f->due || f->due > now) continue;
    f->due = 0;
    loop_defer(t->loop, simulated_come, f);
  }
}

const struct transport transport_simulated = {"simulated", simulated_start, simulated_cancel};
