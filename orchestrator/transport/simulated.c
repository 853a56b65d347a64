/* simulated.c: answers with what the connector's `simulate` returned. Opens nothing, sends nothing, knows no secret. The gate is asked all the
 * same, so that an exercise meets the same brakes; what passes it here does not count as sent. */
#include "transport/flight.h"

static void simulated_answer(void *arg) {
  struct flight *f = arg;
  if (f->passage->gate && !f->passage->gate(f->passage->gate_arg)) {
    flight_fail(f, ERR_CANCELLED, "the last check before sending said no; nothing was sent");
    return;
  }
  flight_answer(f, json_incref(f->simulate), -1);
}

static int simulated_start(struct flight *f, struct err *err) {
  loop_defer(f->t->loop, simulated_answer, f);
  return 0;
}

static void simulated_cancel(struct flight *f) { loop_undefer(f->t->loop, simulated_answer, f); }

const struct transport transport_simulated = {"simulated", simulated_start, simulated_cancel};
