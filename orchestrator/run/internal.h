/* internal.h: what the files of run/ share.
 *
 * A run has branches (the main one, and those of parallel steps); a branch waits for one step at a time. A step has ended when its ending entry was
 * appended (run_watch sees it, and takes the view of the incident then); it is resumed when also its callback came, in the order of those entries. */
#ifndef TOCSIN_RUN_INTERNAL_H
#define TOCSIN_RUN_INTERNAL_H

#include <sys/queue.h>

#include "base/buf.h"
#include "base/suspect.h"
#include "run/run.h"

enum { STEPS_MOST = 5000, BRANCHES_MOST = 10000, AT_ONCE = 8, STORY_CAP = 64 << 10, RESULT_CAP = 4096, TRIM_MS = 5000 };

/* The incident as folded up to one entry. */
struct view {
  int64_t time;                /* of that entry */
  size_t alerts;               /* how many there were */
  struct standing_view *shown; /* members of the state that a playbook may see */
};

/* What a step gives back to the playbook; always made from the ending entry, so that replay gives the same. */
struct answer {
  bool ok;
  json_t *value; /* new, or NULL */
  enum script_trust trust;
};

/* Arg of a callback that cannot be called off: the step may be gone before it comes. */
struct ticket {
  struct step *step;
};

TAILQ_HEAD(step_list, step);
TAILQ_HEAD(branch_list, branch);

struct step {
  struct run *run;
  struct branch *branch;
  const struct verb *verb;
  char path[ID_STEP];
  json_t *args;       /* NULL once its action has them */
  char *action_name;  /* "connector.action", then */
  size_t alerts_seen; /* when the playbook asked */
  /* what it waits for */
  struct action *action;
  struct question *question;
  struct timer *timer;
  struct ticket *ticket;
  loop_cb *wake; /* the timer's, and when it is due by the incident's clock */
  int64_t due;
  int64_t until;       /* µs, 0: for ever */
  bool awake;          /* which cannot be found again in the journal */
  unsigned attempt;    /* poll, release: sub-steps begun */
  json_t *list;        /* release: what is to be released */
  struct group *group; /* parallel */
  /* its end */
  bool ended, called, queued;
  enum kind kind;
  uint64_t seq;
  json_t *body;         /* NULL where the verb answers at once */
  bool answered;        /* it did; else it is asked when the step is resumed */
  struct answer answer; /* what it answered then */
  struct view view;
  TAILQ_ENTRY(step) next, ready;
};

struct branch {
  struct run *run;
  struct script_thread *lua;
  struct step *parent; /* the parallel step; NULL: the main branch */
  size_t index;        /* 1… */
  char prefix[ID_STEP], last[ID_STEP];
  unsigned count;
  struct step *step;
  TAILQ_ENTRY(branch) next;
};

struct group {
  size_t count, most, begun, running, done, failed;
  bool stop_on_error, stopped, filling;
  json_t *results;
  struct branch_list branches;
};

struct verb {
  const char *name;
  void (*start)(struct step *s);
  /* Would an entry of this step end it? */
  bool (*ends)(const struct step *s, enum kind kind, const json_t *body);
  void (*answer)(const struct step *s, struct answer *out);
  /* Replay: are these entries [{"type", "body"…}] of this very step? */
  bool (*same)(const struct step *s, const json_t *history);
  /* After a replay: it has begun, and not ended. */
  void (*again)(struct step *s, const json_t *history);
};

struct run {
  struct runs *all;
  struct journal *journal;
  unsigned number;
  const struct declaration *playbook;
  char actor[ENTRY_ACTOR];
  json_t *params, *settings, *trigger, *simulate;
  char *requester;
  json_t *pins;       /* {instance: digest}: the connectors it is bound to, as run.started has them */
  unsigned pinned_by; /* which of the registries that were in force they are all of; 0: of none */
  void *lists;        /* and the lists; NULL: those in force */
  char seed[33];
  bool shadow;    /* it only says what it would do */
  json_t *woulds; /* in shadow: {step: its run.would's body} of what it would have contained and not undone; NULL: nothing yet */
  bool simulated, over, fresh /* to be begun anew */, pumping, watching;
  struct script *script;
  struct script_host host;
  struct branch *main;
  struct step_list steps, ready; /* all that wait; those that have ended, in the order of their ending entries */
  struct view view;              /* of the burst under way */
  struct branch *current;
  unsigned taken, draws;
  int line;
  int64_t cpu_us;
  struct buf story;
  struct replay *replay; /* while the journal's entries are fed */
  const json_t *past;    /* {step: entries} while a replay hands over to life; else NULL */
  const char *status;
  char *error;
  run_done_cb *cb;
  void *arg;
};

struct runs {
  struct runs_deps deps;
  struct timer *trim;
  bool ended;          /* some run did, since the timer was set */
  unsigned registries; /* how many were in force so far */
};

/* run.c */
int64_t run_now(const struct run *run);
/* What comes until suspect_end is done in this run's name. */
static inline void run_burst(const struct run *run) { suspect_begin(SUSPECT_RUN, journal_incident(run->journal), run->number); }
/* It has ended the process before: what leads to its next burst is to be in Redis first, so that a crash can be repeated while it is alone. */
static inline bool run_hurries(const struct run *run) {
  return !suspect_known(SUSPECT_RUN, journal_incident(run->journal), run->number) || journal_idle(run->journal);
}
static inline bool run_quiet(const struct run *run) { return run->over || run->fresh; }
/* Ends everything that waits, and appends the ending entry; during a replay that is put off until all of the journal was read. */
void run_end(struct run *run, enum kind kind, const char *actor, json_t *body_take, const char *status);
/* The last of it. body_take NULL: the journal has the entry already. */
void run_close(struct run *run, enum kind kind, const char *actor, json_t *body_take, const char *status);
void run_failed(struct run *run, const char *error, const char *traceback, int line);
void run_restart(struct run *run, json_t *params_take);
void run_clear(struct run *run);

/* look.c: by the lists that it is bound to. */
bool run_matches(const struct run *run, const json_t *when, const json_t *alert);

/* steps.c */
struct branch *branch_new(struct run *run, struct step *parent, size_t index);
void branch_free(struct branch *b);
void branch_begin(struct branch *b);
void step_free(struct step *s);
struct step *step_find(const struct run *run, const char *path);
/* Its ending entry: takes the view. now: folded up to that entry. body NULL: it was removed, or its callback brings what it says. */
void step_ended(struct step *s, enum kind kind, const json_t *body, int64_t time, struct standing *now);
/* What its callback brings, where its ending entry was appended without a tree: the very value that was written. Else the entry has answered. */
void step_answer(struct step *s, bool ok, json_t *value);
/* Its callback: it is resumed when its turn comes. */
void step_called(struct step *s);
void step_wake(struct step *s);
/* A mistake: on record, and a failure for the playbook. */
void step_refuse(struct step *s, const char *kind, const char *why);
uint64_t step_add(struct step *s, enum kind kind, json_t *body_take);
void run_watch(void *arg, struct journal *j, const struct entry *e);
void run_observe(struct run *run);
void run_pump(void *arg);
void run_pump_durable(void *arg, const struct err *err);

/* parallel.c */
extern const struct verb verb_parallel;
void group_free(struct group *g);
void parallel_branch_ended(struct branch *b, bool ok, json_t *value_take);

/* verbs.c, waits.c, undo.c, collect.c */
const struct verb *verb_find(const char *name);
/* It answers from its ending entry's body alone, of which nothing else is needed later. */
bool verb_at_once(const struct verb *verb);
extern const struct verb verb_wait, verb_wait_for, verb_poll, verb_undo, verb_release, verb_collect;
json_t *collect_shown(const struct step *s); /* new: digest and size of what it would keep */
const struct connector *run_connector(const struct run *run, const char *name, struct err *err);
void verb_spec(const struct step *s, const char *path, const char *connector, const char *action, const json_t *params,
               const json_t *history, struct action_spec *out);
bool verb_refused(const struct step *s, enum kind kind, const json_t *body);
/* "1/3": what an undo names. */
void undo_place(const struct step *s, char out[ID_PATH]);
json_t *contained_now(const struct step *s); /* of the incident, the newest first; new array of "1/3" */
void refused_answer(const struct step *s, struct answer *out);
void wait_for_look(struct step *s);
void wake_after(struct step *s, int64_t us, loop_cb *cb);
json_t *failure_of(const char *kind, const char *message, bool retry);
/* The entry of that kind among a step's; NULL when there is none. */
const json_t *history_find(const json_t *history, enum kind kind);
/* Each of these members that both have is the same, once secrets' values are redacted as the journal's are. */
bool args_agree(const struct step *s, const json_t *args, const json_t *body, const char *const *keys);

/* shadow.c */
/* As verb_find, for a run in shadow: the one table of what such a run may do. */
const struct verb *shadow_verb(const char *name);
/* A step of a run in shadow has ended: what it would have contained can be undone from now on. */
void shadow_ended(struct step *s);

/* replay.c */
int replay_prepare(struct run *run, const json_t *entries, struct err *err);
void replay_feed(struct run *run);
void replay_step(struct step *s);
void replay_keep_end(struct replay *r, enum kind kind, const char *actor, json_t *body_take, const char *status);
void replay_free(struct replay *r);

/* look.c */
int look(void *arg, const char *what, const json_t *args, json_t **ret, struct err *err);
void view_take(struct view *out, int64_t time, struct standing *now);
void run_view_release(struct view *v);
void story_add(struct run *run, const struct step *s, const struct answer *a);

#endif
