/* reach.h: which injects can ever come, and when at the earliest. Only for exercise/. */
#ifndef TOCSIN_EXERCISE_REACH_H
#define TOCSIN_EXERCISE_REACH_H

#include "exercise/scenario.h"

enum { REACH_NEVER = -1 };

struct reach {
  const json_t *injects;
  json_t *places;    /* {id: its place among the injects} */
  int64_t *earliest; /* of each inject, ms from the start; REACH_NEVER */
};

void reach_init(struct reach *r, const struct scenario *s);
void reach_release(struct reach *r);
/* Milliseconds from the start at which the condition can be true at the earliest; REACH_NEVER. Of people and playbooks everything is believed. */
int64_t reach_condition(const struct reach *r, const json_t *condition);
/* Where an inject that can never come hangs: "it waits for b, which waits for it" or "it waits for b, which never comes". */
void reach_why(const struct reach *r, size_t inject, char *out, size_t size);

#endif
