/* question.h: what people are asked, from asking to exactly one answer.
 *
 * A question has the id of its step ("INC-000042/1/4"). Of answer and expiry the first appended wins; a later one is refused and told who was
 * first. An answer from somebody without the role, from an excluded person, or that is no option is refused and recorded. The deadline is
 * absolute and stands in the asking entry; it does not run while nobody could have been told (question_hold) or have answered (questions_lapse).
 * The callback comes once, in the turn after the answer's entry was appended; whatever leaves the process because of it waits for durability by itself. */
#ifndef TOCSIN_ACTION_QUESTION_H
#define TOCSIN_ACTION_QUESTION_H

#include <jansson.h>

#include "action/lapse.h"
#include "journal/journal.h"
#include "people/people.h"

struct questions;
struct question;

struct question_spec {
  struct journal *journal;
  unsigned run;
  const char *step;
  const char *actor; /* who asks */
  const char *kind;  /* "ask", "approve", "resolve", "parameter", "release", "budget" */
  const char *text;
  const json_t *options; /* array of strings; NULL: any text */
  const char *role;      /* NULL: "responder" */
  int64_t within_ms;
  const char *otherwise; /* what silence means; NULL: it never expires */
  const char *exclude;   /* a person who may not answer, or NULL */
  unsigned approvals;    /* how many different people must give the first option (0 or 1: one) */
  const char *inject;    /* of an exercise: the inject that asks; or NULL */
  const json_t *about;   /* what it is about (an action's plan), or NULL */
};
/* by: "person:…", or NULL when it expired. answer NULL: its journal is let go of, nothing follows; free what is yours. */
typedef void question_cb(void *arg, const char *answer, const char *by);

struct questions *questions_new(struct loop *loop, struct people *people);
void questions_free(struct questions *qs);
/* Appends question.asked and waits. When the journal's state already has this question open (after a restart), it is taken up again instead. */
struct question *question_ask(struct questions *qs, const struct question_spec *spec, question_cb *cb, void *arg);
/* Forgets it without an entry (its run has ended). NULL is legal. */
void question_drop(struct question *q);
/* The journal is about to be freed: the callbacks of its open questions come now, with answer NULL. */
void questions_forget(struct questions *qs, const struct journal *journal);
/* id as "INC-000042/1/4". text must be an option (a unique prefix will do). Appends the answer's entry; ERR_NOT_FOUND (with who answered before, when
 * known), ERR_DENIED, ERR_INVALID are recorded where an incident is concerned. *ret_journal: wait for its durability before you say "done". */
int question_answer(struct questions *qs, const char *id, const struct person *by, const char *text, struct journal **ret_journal,
                    struct err *err);
/* Open questions: new [{"id","kind","text","options","role","asked","deadline","otherwise","about"…}], oldest first. */
json_t *questions_open(const struct questions *qs);
/* The incidents' clock was set (exercises, tests): deadlines that have passed by it expire in the next turn. */
void questions_clock_moved(struct questions *qs);
/* The next deadline (µs), INT64_MAX: silence answers none of them. */
int64_t questions_due(const struct questions *qs);
size_t questions_count(const struct questions *qs);
/* From one->from to one->to (µs of the wall clock) nobody could have answered (the engine or Redis was down, or the machine stood still): that time does not
 * count, and each open question keeps at least ten minutes after it. Or the clock was set. Told in order, those of the past before the first question. */
void questions_lapse(struct questions *qs, const struct lapse *one);
const struct lapses *questions_lapses(const struct questions *qs);
/* What a deadline in an asking entry became by the lapses since it was asked (µs). 0 stays 0. */
int64_t questions_deadline(const struct questions *qs, int64_t asked, int64_t deadline);
/* Whoever keeps time. A question by this clock expires only once Redis was seen to be there at its deadline, for only then somebody could have answered.
 * due: one has come to its deadline: ask Redis for a sign of life, and say questions_alive. stepped: the clock was set; to be told to all. */
struct questions_watch {
  const struct clock *clock;
  void (*due)(void *arg);
  void (*stepped)(void *arg, const struct lapse *one);
  void *arg;
};
void questions_watched(struct questions *qs, const struct questions_watch *watch); /* NULL: nobody any more */
/* Redis answered what was asked of it at `at` (µs), and the lapses before that have been told. */
void questions_alive(struct questions *qs, int64_t at);
/* Was the clock set? Whoever compares a deadline with it asks this first; stepped comes before it returns. */
void questions_look(struct questions *qs, const struct clock *clock);
/* It waits for a person or its deadline and for nothing else: what a run that asks it needs, its journal has. *ret_due: the deadline (µs), 0: none. */
bool question_sleeps(const struct question *q, int64_t *ret_due);
/* Called after each asking: somebody tells people. */
typedef void questions_notify_cb(void *arg, struct journal *journal, const char *id, const json_t *question);
void questions_on_asked(struct questions *qs, questions_notify_cb *cb, void *arg);
/* The deadline stands still while nobody could be told (no channel has delivered yet); false lets it run on. */
void question_hold(struct questions *qs, const char *id, bool hold);

#endif
