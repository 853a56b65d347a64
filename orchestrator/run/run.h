/* run.h: playbook runs: steps, questions, waits, branches, cancel, replay.
 *
 * A run is a Lua state that yields verbs; each verb is a step with a path for an id ("3", "4.2.1") and one or more journal entries. A run is resumed only
 * by an entry (outcome, answer, timer, alert, cancel), one at a time, in the order of seq, from the loop, never from inside another callback. The same code
 * replays: a run that is taken up after a restart starts from the beginning and is fed what the journal holds, step by step, up to the first step without an end;
 * a step that differs from its journal (verb, action, digest of arguments) stops the run and hands it to a person.
 * A run whose playbook says `shadow = true`, in the version it is pinned to, does nothing above `read`: what it would do is an entry run.would.
 * Knows no Lua and no product. */
#ifndef TOCSIN_RUN_RUN_H
#define TOCSIN_RUN_RUN_H

#include <jansson.h>

#include "action/action.h"
#include "script/coverage.h"
#include "script/script.h"

struct runs;
struct run;

/* Of run_world.collect: body says of the file what its entry is to say, err why it is not kept. True: that entry was appended; else the file goes again. */
typedef bool run_kept_cb(void *arg, json_t *body, const struct err *err);

/* What a run may look at or ask of the rooms above it, without waiting. */
struct run_world {
  void *arg;
  /* Alerts of the incident: [{…normalised…, "raw": …}], in order; borrowed. */
  const json_t *(*alerts)(void *arg, struct journal *journal);
  /* The lists that a run is bound to from its start: those in force. *ret_pins: new {name: digest} of those whose names stand in one of the texts, each kept beside the
   * journal before what is appended next. NULL: list and matches have always the same ones. */
  void *(*lists)(void *arg, struct journal *journal, const char *const *texts, json_t **ret_pins);
  /* The same for a run that is taken up: pins as run.started has them, sources {digest: text}. ERR_NOT_FOUND: a version is in neither of them nor in force. */
  int (*lists_again)(void *arg, const json_t *pins, const json_t *sources, void **ret, struct err *err);
  void (*lists_drop)(void *arg, void *lists);
  /* "list.match" {list, value} → row or false; "list.rows" {list} → array. lists: the run's, NULL: those in force. now: µs, what has expired by then does not match. New reference. */
  int (*list)(void *arg, void *lists, int64_t now, const char *what, const json_t *args, json_t **ret, struct err *err);
  /* Does the alert fit the `when`? */
  bool (*matches)(void *arg, void *lists, int64_t now, const json_t *when, const json_t *alert);
  /* Verbs that change the incident: "severity", "assign", "tag", "note", "close": appends one entry (kind incident.…) with this run and step; only when it was so already,
   * none. Error texts go back to the playbook. */
  int (*change)(void *arg, struct journal *journal, const char *verb, const json_t *args, const char *actor, unsigned run, const char *step,
                struct err *err);
  /* Takes bytes (taken over) into custody; facts: name, because, from, tool, and where given source, class, hold. NULL: files are not kept here. Calls back exactly once, in a
   * later turn, when they are durable; never when it returned an error. */
  int (*collect)(void *arg, struct journal *journal, const json_t *facts, char *bytes_take, size_t len, run_kept_cb *cb, void *cb_arg,
                 struct err *err);
};

/* What run_world.change does with the journal; *ret_kind: of the entry that was appended. ERR_INVALID: there is no such severity. */
int run_change(struct journal *journal, const char *verb, const json_t *args, const char *actor, unsigned run, const char *step,
               enum kind *ret_kind, struct err *err);

struct runs_deps {
  struct loop *loop;
  struct actions *actions;
  struct questions *questions;
  const struct registry *registry;
  struct script_limits limits;
  struct run_world world;
  /* An exercise's runs draw from its seed, so that it can be played again: fills 32 hex digits for the run of that incident. NULL: each run has a seed of its own. */
  void (*seed)(void *arg, const char *incident, unsigned run, char out[33]);
  void *seed_arg;
  struct coverage *coverage; /* tests: counts the lines that run, or NULL */
};
struct runs *runs_new(const struct runs_deps *deps);
void runs_free(struct runs *rs);
void runs_set_registry(struct runs *rs, const struct registry *registry); /* after a reload: for runs that start from now on */

struct run_spec {
  struct journal *journal;
  unsigned number;                    /* journal_state's next_run */
  const struct declaration *playbook; /* must outlive the run */
  const json_t *params;               /* checked; as settings and trigger, shared from now on: nobody changes it any more */
  const json_t *settings;             /* the playbook's own settings, or NULL */
  const json_t *trigger;              /* {"alert": id} or {"person": "person:…", "because": text}; stored */
  const char *requester;              /* "person:…" or NULL */
  void *lists;                        /* run_take_up: what world.lists_again gave, taken over; NULL: the lists in force */
  bool simulated;
  const json_t *
      simulate; /* tests: {"ldap.lock_account": returns, {"error": failure}, or a list of such for one call after the other, or {"$recorded":
                  [{"params", "answer"}…]}: what really came of calls whose given parameters are these, each used once}, or NULL */
};
/* The end of a run, in the turn after its last entry was appended; run_free is legal in it. A run that continues as another (continue_as) does not end: the same handle goes on
 * with the next number. status: "done", "failed", "cancelled", "handed_over". */
typedef void run_done_cb(void *arg, struct run *run, const char *status);

/* Appends run.started {playbook, digest, connectors: {instance: digest}, lists, seed, params, trigger} and begins in the next turn. */
int run_start(struct runs *rs, const struct run_spec *spec, run_done_cb *cb, void *arg, struct run **ret, struct err *err);
/* Takes a run up again from its journal: entries = all of the journal's entries in order as [{"seq","type","actor","run","step","time" (µs or text),"body"}]. spec.playbook is
 * the pinned version (ERR_CONFLICT when its digest is another); params, seed and trigger come from run.started. A run that the journal says has ended is replayed without
 * a new entry: cb gets its status, or "handed_over" with run_view's "error" when the replay differs. */
int run_take_up(struct runs *rs, const struct run_spec *spec, const json_t *entries, run_done_cb *cb, void *arg, struct run **ret,
                struct err *err);
/* Ends it: what may have left stays in doubt and is resolved; nothing new is sent. by: "person:…". */
void run_cancel(struct run *run, const char *by, const char *because);
/* An alert joined the incident, and world.alerts has it: wakes a wait_for that it fits. */
void run_alert(struct run *run, const json_t *alert);
/* For whoever sets the incident's clock. rests: it waits for people, time or alerts only. due: when the next of its waits looks again (µs), 0: none does. moved: look now. */
bool run_rests(const struct run *run);
bool run_waits(const struct run *run); /* the same, or for an action: actions_rest says of those */
int64_t run_due(const struct run *run);
void run_clock_moved(struct run *run);
/* Its clock was set by so much (µs) while time went on as ever: what it waits for stays as far off as it was. */
void run_clock_stepped(struct run *run, int64_t by);
/* It waits for answers, times and alerts only, all of it is in its journal, and taking it up again later gives the same. *ret_due: the next of its deadlines (µs), 0: none;
 * *ret_by_question: it is a question's. */
bool run_sleeps(const struct run *run, int64_t *ret_due, bool *ret_by_question);
bool run_replaying(const struct run *run); /* taken up, and not yet where its journal ends */
/* Unloads without an entry. */
void run_free(struct run *run);

unsigned run_number(const struct run *run);
const char *run_playbook(const struct run *run);
bool run_shadow(const struct run *run); /* it only says what it would do */
struct journal *run_journal(const struct run *run);
/* For `run show`: new {"run","playbook","status","step","line","waiting_for","memory","peak","cpu_ms","steps","error"?}. */
json_t *run_view(const struct run *run);

#endif
