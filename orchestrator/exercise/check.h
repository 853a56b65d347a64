/* check.h: what is wrong with a scenario that reads well: parts of the storyline that can never come, alerts that their products could not have sent, actions and
 * playbooks that are not there, objectives that nobody could meet. Runs nothing; the alerts' formats are tried in their connectors' pure functions. */
#ifndef TOCSIN_EXERCISE_CHECK_H
#define TOCSIN_EXERCISE_CHECK_H

#include "exercise/scenario.h"
#include "intake/normalise.h"
#include "route/route.h"

/* What there is. All borrowed. */
struct scenario_against {
  const char *file, *source; /* for the lines */
  size_t len;
  const json_t *connectors; /* {name: declaration} */
  const json_t *playbooks;  /* {name: declaration} */
  struct normaliser *normaliser;
  struct router *router; /* over these playbooks */
  bool only_first;       /* only the first error is wanted: whoever asks has other things to do */
};

/* Appends texts that begin with "error: " or "warning: ". */
void scenario_check(const struct scenario *s, const struct scenario_against *a, json_t *findings);

#endif
