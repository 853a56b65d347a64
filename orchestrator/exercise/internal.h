/* internal.h: what the files about scenarios share. */
#ifndef TOCSIN_EXERCISE_INTERNAL_H
#define TOCSIN_EXERCISE_INTERNAL_H

#include "exercise/scenario.h"

/* ---- condition.c */

/* What a condition's own member may be; ended by a NULL name. */
enum leaf_value {
  LEAF_INJECT,
  LEAF_TRUE,
  LEAF_TARGET,
  LEAF_ACTION,
  LEAF_QUESTION,
  LEAF_COUNT,
  LEAF_WORDS,
  LEAF_TEXT,
  LEAF_TICK,
  LEAF_SEVERITY
};
struct leaf_name {
  const char *name;
  enum leaf_value value;
};
extern const struct leaf_name condition_leaves[];
/* all, any, none; ended by NULL. */
extern const char *const condition_groups[];

/* One entry of all the journals, in order of time. */
struct moment {
  const char *incident;
  const struct entry *entry;
  size_t order; /* as the journals were given */
};
/* A play with its entries in one row. Released by story_release. */
struct story {
  const struct scenario *scenario;
  const struct scenario_play *play;
  struct moment *moments;
  size_t count;
};
void story_init(struct story *s, const struct scenario *scenario, const struct scenario_play *play);
void story_release(struct story *s);
/* The first entry of that kind whose body's member is the text, not after `cut`; NULL: none. */
const struct moment *story_find(const struct story *s, enum kind kind, const char *member, const char *text, int64_t cut);

enum truth { TRUTH_OPEN, TRUTH_MET, TRUTH_NOT, TRUTH_MOOT };
struct finding {
  enum truth truth;
  int64_t time;     /* when it was decided */
  int64_t changes;  /* open: when time alone decides it, INT64_MAX: never */
  json_t *shown;    /* [{incident, seq}] that decided it; NULL: none */
  const char *moot; /* the inject that never came */
};
/* As it was at `cut`. final: nothing comes after, so what is open is not met, and what hangs on an inject that did not come is moot. */
struct finding condition_eval(const struct story *s, const json_t *condition, int64_t cut, bool final);

/* ---- story.c */

enum timing { TIMING_OPEN, TIMING_DUE, TIMING_LEFT_OUT };
/* When an inject (or an item of the script) is due, if that is known. *ret_due is also set for one that is left out, and to when time alone may make it due for an open one. */
enum timing story_timing(const struct story *s, const json_t *item, int64_t now, int64_t *ret_due);

#endif
