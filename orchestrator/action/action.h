/* action.h: one action from call to outcome: validate → render → guardrails → approval → limits → intent → send → outcome.
 *
 * Promises: nothing above `read` is sent before its intent is durable, while a brake is on, past its send_before, or without the
 * approvals that the settings ask for; no playbook can step over that. The callback comes exactly once, later, and only when the
 * outcome is known: an action in doubt stays here until its idempotency key, its probe or a person has resolved it. Every step of it is an
 * entry of the incident's journal under the action's own step.
 * Never repeats blindly, never lets a secret into an entry, knows no Lua. */
#ifndef TOCSIN_ACTION_ACTION_H
#define TOCSIN_ACTION_ACTION_H

#include <jansson.h>

#include "action/question.h"
#include "action/registry.h"
#include "journal/journal.h"
#include "journal/nodes.h"
#include "people/people.h"
#include "transport/transport.h"

struct actions;
struct action;

struct actions_deps {
  struct loop *loop;
  struct redis *redis;
  struct secrets *secrets;
  struct transports *transports;
  struct registry *registry;
  struct questions *questions;
  struct people *people;
  const json_t *guard;    /* settings' guard; borrowed */
  const json_t *seal_key; /* settings' seal_key slot or NULL */
  const char *data;       /* the data folder, for the default seal key */
  /* A back-test's or an exercise's name: its incidents share their budgets and what they hold, and with nobody else; NULL: each exercise's incident has its own. */
  const char *budgets;
  /* An exercise's world: what a simulated action answers in place of `own`, what its connector would (taken over); or that again. *ret_latency_ms: how long it takes. id: "EX-000042/1/3". May be NULL. */
  json_t *(*answers)(void *arg, const char *connector, const char *action, const char *id, const json_t *params, json_t *own_take,
                     int64_t *ret_latency_ms);
  void *answers_arg;
  struct nodes *nodes; /* the lease that must be held while something above `read` leaves; NULL: there is none (tests) */
  int64_t lease_ms;
};

/* The key that secrets are sealed with, which all nodes share: the setting's, else the data folder's own. */
int actions_seal_key(const json_t *setting, const struct secrets *secrets, const char *data, uint8_t out[DIGEST_BYTES], struct err *err);
struct actions *actions_new(const struct actions_deps *deps, struct err *err);
void actions_free(struct actions *a);
/* After a reload: for actions that start from now on. The old one must live on while its actions do. */
void actions_set_registry(struct actions *a, struct registry *registry);

/* Puts a playbook, a connector or a list beside the journals, by its digest, so that whoever takes up what began with it finds it: before what is then
 * appended to this incident's journal. days: for how long, since it was last needed here (a list may be large, and change each day); 0: for good. */
void actions_keep_source(struct actions *a, const char *incident, const char *digest, const char *source, size_t len, unsigned days);

struct outcome {
  bool ok;
  json_t *
      returns; /* borrowed; ok: what result() returned, checked against `returns`, secrets as slots (trusted); failed: {"kind", "message", "retry"} */
  const char *status; /* what became of a containment: "active", "found", or NULL */
};
typedef void action_cb(void *arg, const struct outcome *outcome);

struct action_spec {
  struct journal *journal;
  unsigned run;
  const char *step;
  const char *actor;     /* "playbook:contain-account" */
  const char *playbook;  /* brakes by playbook; NULL: a person's own command */
  const char *connector; /* instance or, when it is the only one of its kind, the connector's name */
  const char *version;   /* digest of the connector that the run is bound to; NULL: the one in force */
  const char *action;
  const json_t *params;  /* as called; borrowed during the call */
  const char *requester; /* a person who asked for it ("person:…"): the ceiling is theirs, and they cannot approve; NULL: an alert's */
  bool simulated;
  bool shadow;            /* of a shadow run: what is above `read` ends with run.would, and never leaves */
  const json_t *simulate; /* overriding simulated returns, or NULL: the connector's own simulate() */
  const char *undo_of;    /* "1/3": the containment that this undoes */
  const json_t *history;  /* what the journal holds of this step already: [{"type", "body", "seq", "actor"}…]; NULL: nothing */
};

/* ERR_INVALID (unknown action, wrong parameter, a request() that raised) and ERR_DENIED are mistakes of the caller: nothing is journalled, nothing follows. */
int action_start(struct actions *a, const struct action_spec *spec, action_cb *cb, void *arg, struct action **ret, struct err *err);
/* Nothing more is sent; what may have left stays in doubt and is resolved without the caller. No callback follows. */
void action_abandon(struct action *action);

/* The journal is about to be freed (ownership lost, shutdown): nothing more is sent for it or written to it; no callback follows. NULL: all of them. */
void actions_orphan(struct actions *a, const struct journal *journal);

/* Renders without sending (plans, `trigger` before it asks): new {"connector","action","effect","target","request"}. */
int action_plan(struct actions *a, const struct action_spec *spec, json_t **ret, struct err *err);

/* Lifts one containment ("1/3" of the journal) under a step of its own: sends its undo, by the version of the connector that contained it, or records that another
 * incident still holds the target, or asks a person when we only found it so, or that version is not to be found. outcome.ok false: it is still contained. spec gives journal, run, step, actor, playbook, requester, simulated. */
int action_release(struct actions *a, const struct action_spec *spec, const char *of, action_cb *cb, void *arg, struct action **ret,
                   struct err *err);
/* In a shadow run: the undo of what it would have contained; done: that run.would's body, borrowed. ERR_DENIED: it has no undo, a person would be asked. */
int action_would_undo(struct actions *a, const struct action_spec *spec, const char *of, const json_t *done, action_cb *cb, void *arg,
                      struct action **ret, struct err *err);
/* Does it begin with a question? */
bool actions_release_asks(const struct actions *a, const json_t *containment);
/* Everything contained now, from the ledger: new [{"incident","step","connector","version","action","target":{…},"since","lift_at","status","holders":[…]}]. */
json_t *actions_contained(const struct actions *a);
/* Rebuilds the ledger's part of one incident from its state (at start, after adoption). clock: the incident's; borrowed for as long as actions lives. */
void actions_ledger_load(struct actions *a, const char *incident, const json_t *state, const struct clock *clock);
/* The incident is another node's now: so are its containments. */
void actions_ledger_drop(struct actions *a, const char *incident);
/* How many of this journal are on their way, or wait for an answer of Redis: not a moment to give the incident away. */
size_t actions_under_way(const struct actions *a, const struct journal *journal);
/* lift_after: cb is called when a containment's time has come. */
typedef void actions_lift_cb(void *arg, const char *incident, const char *of);
void actions_on_lift(struct actions *a, actions_lift_cb *cb, void *arg);
/* The incidents' clock was set (exercises, tests): what has lasted long enough by it is lifted in the next turn. */
void actions_clock_moved(struct actions *a);
/* This clock was set by so much (µs) while time went on as ever: what lifts by itself does so as late as before. */
void actions_clock_stepped(struct actions *a, const struct clock *clock, int64_t by);

/* --- brakes: scope is "all", a playbook's name or a connector's ------------------------------------------------------------- */
typedef void actions_brake_cb(void *arg, const struct err *err);
/* Takes force at once in this process, and calls back when Redis holds it and every other node that lives has confirmed it. body {"by","because"}. */
int actions_pause(struct actions *a, const char *scope, const char *by, const char *because, actions_brake_cb *cb, void *arg,
                  struct err *err);
int actions_resume(struct actions *a, const char *scope, actions_brake_cb *cb, void *arg, struct err *err);
json_t *actions_paused(const struct actions *a); /* new {scope: {"by","because","since"}} */
/* Reads the brakes that Redis holds; runs wait until it has called back. */
int actions_load(struct actions *a, actions_brake_cb *cb, void *arg, struct err *err);

/* The brakes as Redis held them at this epoch (with every renewal of the lease): what came from other nodes takes force. */
void actions_brakes(struct actions *a, int64_t epoch, const struct redis_value *pairs);
/* Another server is Redis' master: its brakes may be older than ours, which stay in force and are told to it; sources may be missing there. */
void actions_master_changed(struct actions *a);
/* The process is going to end: nothing more is begun, not even a read, and what is under way comes to its end; busy until then. An exercise stands still by itself. */
void actions_stop(struct actions *a);
bool actions_busy(const struct actions *a);
/* People agreed to what a journal may lack: what waited for that goes on. */
void actions_agreed(struct actions *a);
/* The lease is held again: what waited for it goes on. */
void actions_lease_held(struct actions *a);

/* Puts the secrets that were sealed for an incident back into the store (after a restart, before its runs are taken up; before `secret take`). */
int actions_unseal(struct actions *a, const char *incident, actions_brake_cb *cb, void *arg, struct err *err);

/* Intents without an outcome that somebody here cares for: on their way, or in doubt. */
size_t actions_attended(const struct actions *a);
/* How many wait for a person or for a brake to be released: they cost memory only. */
size_t actions_resting(const struct actions *a);
/* Everything that lives waits for a person, a brake or the clock of transports_only_simulate. */
bool actions_rest(const struct actions *a);
/* When the next containment is lifted (µs of its incident's clock), INT64_MAX: none by itself. */
int64_t actions_due(const struct actions *a);
/* Counts for metrics and doctor: new {"intents","outcomes","in_doubt","in_flight","refused","live","limited"}. */
json_t *actions_counts(const struct actions *a);

#endif
