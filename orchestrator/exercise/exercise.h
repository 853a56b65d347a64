/* exercise.h: what the files about playing share. Only for exercise/. */
#ifndef TOCSIN_EXERCISE_EXERCISE_H
#define TOCSIN_EXERCISE_EXERCISE_H

#include <sys/queue.h>

#include "base/clock_scaled.h"
#include "exercise/hall.h"
#include "exercise/scenario.h"

/* The entries of one journal, in order: what is due, answered and judged is read from them. */
struct record_of {
  char id[ID_INCIDENT];
  struct entry **entries;
  size_t count, cap;
};

enum exercise_stage { STAGE_OPENING, STAGE_PLAYING, STAGE_CLOSING, STAGE_CLOSED };

struct exercise;
typedef void exercise_cb(void *arg, struct exercise *x, const struct err *err);

struct exercise {
  struct hall *hall;
  char id[ID_INCIDENT];
  uint64_t number;
  enum exercise_stage stage;
  struct scenario *scenario;
  struct hall_content content;
  json_t *settings; /* as they were when it began */
  struct clock_scaled clock;
  struct journal_store store;
  struct transports *transports;
  struct questions *questions;
  struct actions *actions;
  struct desk *desk;
  struct intake *intake;
  struct journal *journal; /* its own */
  /* as it was begun */
  json_t *started; /* exercise.started's body */
  int64_t began;   /* of its clock */
  /* what has happened */
  struct record_of *records; /* its own first */
  struct scenario_journal *journals;
  size_t count;
  bool changed;         /* since it was last seen what is due */
  int64_t injects_next; /* when time alone makes one due */
  uint64_t entries_seen;
  unsigned still;
  int64_t pace;           /* of the hall's clock: until then a leap waits; 0: none */
  size_t putting, saying; /* alerts on their way to the stream; scripted commands under way */
  struct timer *timer;
  bool halted;     /* the facilitator has its clock stand still */
  int64_t stirred; /* leaping: when something last happened, by the hall's clock */
  bool stopped;    /* the engine stops */
  bool elsewhere;  /* another node plays it now */
  struct err failure;
  size_t waiting; /* for Redis, while it is opened or closed */
  exercise_cb *opened_cb;
  void *opened_arg;
  json_t *ids; /* resuming: its incidents still to be read */
  LIST_ENTRY(exercise) next;
};
LIST_HEAD(exercise_list, exercise);

struct hall {
  struct hall_deps deps;
  struct exercise_list all;
  uint64_t begun;
  size_t loading;
  bool known;   /* which exercises are to go on */
  bool stopped; /* the engine stops */
  loop_cb *loaded_cb;
  void *loaded_arg;
  struct timer *retry;
};

#define EXERCISES "tocsin:exercises"

/* ---- exercise.c: its life */
/* A new one, or one that goes on (started NULL: its journal says all). started: as exercise.started keeps it. cb once it is played, or with err; then it is gone. */
/* content (NULL: it is loaded): taken over, empty afterwards. */
void exercise_open(struct hall *h, const char *id, json_t *started_take, struct hall_content *content, exercise_cb *cb, void *arg);
/* No more is played; everybody is let go of, then it is freed. status "finished" or "aborted"; actor: who says so. */
void exercise_close(struct exercise *x, const char *actor, const char *status, const char *because);
/* Another node plays it now: it goes without a word. */
void exercise_give_up(struct exercise *x);
void exercise_unload(struct exercise *x);
void exercise_free(struct exercise *x);
void hall_content_release(struct hall_content *c);
int64_t exercise_now(const struct exercise *x);
/* Its play as scenario.h reads it; valid until the next entry. */
struct scenario_play exercise_play(const struct exercise *x);
/* The incident that people write to: the first that is open, else the exercise itself. */
const char *exercise_incident(const struct exercise *x);
bool exercise_is(const struct exercise *x, const char *incident);
double exercise_speed(const struct exercise *x);
/* {"role": "lead"…}: who plays it; NULL: nobody is named. */
const char *exercise_player(const struct exercise *x, const char *role);

/* ---- drive.c: what is due */
void exercise_drive(struct exercise *x); /* soon */
void exercise_clock_moved(struct exercise *x);
bool exercise_leaps(const struct exercise *x);
void exercise_let_go_on(struct exercise *x); /* its clock, unless it is halted or leaps */
void exercise_set_speed(struct exercise *x, double speed);
/* An inject comes now. */
void exercise_inject(struct exercise *x, const json_t *inject, int64_t due, const char *actor);
/* After a restart: what was asked is waited for again, and the last alert is put in if it was not. */
void exercise_inject_again(struct exercise *x);

/* ---- tell.c: outside of the engine, where the settings have a channel for it */
void exercise_tell(struct exercise *x, const json_t *to, const char *title, const char *text); /* to: roles; NULL: everybody */
void exercise_tell_inject(struct exercise *x, const json_t *inject, const char *step);

/* ---- answers.c: what simulated connectors say */
json_t *exercise_answer(void *arg, const char *connector, const char *action, const char *id, const json_t *params, json_t *own_take,
                        int64_t *ret_latency_ms);
void exercise_seed(void *arg, const char *incident, unsigned run, char out[33]);

/* ---- scripted.c: people who are not there */
bool exercise_scripted(const struct exercise *x, const char *role);
/* Does the item of the script; what comes of it is in the journals. */
void scripted_play(struct exercise *x, const json_t *item);
void scripted_again(struct exercise *x); /* after a restart: what was cut short between the two */

/* ---- show.c: new; facilitator: with what is still to come. by: whose messages are marked as theirs. */
json_t *exercise_show(struct exercise *x, const struct person *by, bool facilitator);
bool exercise_facilitates(const struct exercise *x, const struct person *by);

#endif
