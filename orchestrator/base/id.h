/* id.h: the forms of Tocsin's ids: INC-000042, EX-000042, INC-000042/1 (run), INC-000042/1/3.2.1 (step).
 *
 * An id names a place. Parsing accepts what tired people type: "42", "inc-42", "INC-000042". */
#ifndef TOCSIN_BASE_ID_H
#define TOCSIN_BASE_ID_H

#include <stdbool.h>
#include <stdint.h>

enum { ID_INCIDENT = 24, ID_STEP = 64, ID_PATH = 128 };

enum mode { MODE_LIVE, MODE_EXERCISE };

struct id {
  enum mode mode;
  uint64_t number;
  unsigned run;       /* 0: none given */
  char step[ID_STEP]; /* "" : none given */
};

/* "INC-000042" or "EX-000042". */
void id_incident(char out[ID_INCIDENT], enum mode mode, uint64_t number);
/* Is it an exercise's? Asked of the id, which the engine gives, and of nothing that an alert, a playbook or a person says. */
bool id_exercise(const char *incident);
/* "INC-000042/1/3.2", "INC-000042/1" without a step, "INC-000042" without both; run 0 with a step is one of the engine's own. */
void id_path(char out[ID_PATH], const char *incident, unsigned run, const char *step);
/* "1/3.2": the same within an incident. */
void id_place(char out[ID_PATH], unsigned run, const char *step);
/* Parses any of the forms; false when the text is none. */
bool id_parse(const char *text, struct id *ret);
/* A step path: digits and single dots, "3" or "4.1.2". */
bool id_step_valid(const char *step);
/* Which of two places ("1/4.2.1", or steps alone) a playbook comes to first: number by number. <0, 0, >0. */
int id_step_compare(const char *a, const char *b);

#endif
