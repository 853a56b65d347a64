/* anchoring.h: anchors as a part of the running engine: what came back goes on record, what fails is said, and neither sealing nor a run ever waits for it. */
#ifndef TOCSIN_CMD_ANCHORING_H
#define TOCSIN_CMD_ANCHORING_H

#include "cmd/daemon.h"

/* When the settings name a target; what is wrong with it is a warning. */
void daemon_anchor_start(struct daemon *d);
/* Whether these settings' `anchor` can be used. */
int daemon_anchor_check(const struct daemon *d, const json_t *settings, struct err *err);
/* Begins anew with the daemon's settings and secrets as they are now; a round follows at once. */
void daemon_anchor_again(struct daemon *d);
/* Ends an exchange under way; what came until then is put on record. */
void daemon_anchor_stop(struct daemon *d);
void daemon_anchor_findings(const struct daemon *d, json_t *checks);
/* New: ages in seconds (-1: never) and failures, for metrics. */
json_t *daemon_anchor_counts(const struct daemon *d);

#endif
