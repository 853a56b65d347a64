/* alarm.h: what the engine finds wrong with its own counts goes to responders as an alert like any other.
 *
 * Promises: one alert per difference. Its finding bears the same id for the same difference, so a restart, a retry or another node that
 * finds it too is a duplicate and opens nothing (for as long as Tocsin remembers an alert's id). What Redis did not take is tried again
 * at the next check. Never counts anything itself, never keeps an alert back for long: it goes through the queue, so it is counted too.
 * The document is an OCSF 1.3.0 Detection Finding (class 2004), severity high. */
#ifndef TOCSIN_CMD_ALARM_H
#define TOCSIN_CMD_ALARM_H

#include "cmd/daemon.h"

/* what: ALARM_ALERTS (all nodes see the same counts) or ALARM_INTENTS (this node's own). difference 0: all is well again, the next one is told.
 * text: for people; borrowed. Errors are logged. */
void daemon_alarm(struct daemon *d, enum alarm what, int64_t difference, const char *text);

#endif
