/* self_check.h: the orchestrator counts itself, each minute: what was accepted against what became of it, open actions against those that somebody attends to.
 *
 * Promises: an entry each time in the node's own journal (engine.checked): the figures, or where nothing has changed since the last time only the number of the
 * entry that has them, so a minute costs about 350 bytes, and a log whose end was cut off shows a gap. A difference is an engine.warning and an alarm; one between
 * actions only when it stays from one time to the next, for what is just being taken up is in one of the two counts.
 * While Redis cannot be asked nothing is counted, and the next time comes all the same. Never mends anything. */
#ifndef TOCSIN_CMD_SELF_CHECK_H
#define TOCSIN_CMD_SELF_CHECK_H

#include "intake/intake.h"
#include "journal/journal.h"

enum { SELF_CHECK_MS = 60000 };

struct self_check;

enum alarm { ALARM_ALERTS, ALARM_INTENTS, ALARMS };

struct self_check_deps {
  struct loop *loop;
  struct journal *node;
  int64_t every_ms;
  void *arg; /* of the functions */
  /* As intake_counts: {"accepted","attached","duplicate","suppressed","dead","split","waiting","difference"}; cb exactly once, or a negative code. */
  int (*alerts)(void *arg, intake_counts_cb *cb, void *cb_arg, struct err *err);
  /* Actions without an outcome in whatever journal, those of them that are in doubt, and how many somebody here cares for. */
  void (*actions)(void *arg, int64_t *ret_open, int64_t *ret_in_doubt, int64_t *ret_attended);
  /* As daemon_alarm; difference 0: all is well. */
  void (*alarm)(void *arg, enum alarm what, int64_t difference, const char *text);
};

/* Counts at once, and from then on. */
struct self_check *self_check_start(const struct self_check_deps *deps);
/* No more entries; what is still being counted comes back to nobody. */
void self_check_stop(struct self_check *s);
void self_check_free(struct self_check *s); /* after whoever counts is gone */

/* What was found the last time: borrowed, NULL: not yet. */
const json_t *self_check_alerts(const struct self_check *s);
const json_t *self_check_intents(const struct self_check *s); /* {"open","in_doubt","in_flight","difference"} */

#endif
