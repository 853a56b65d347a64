/* internal.h: what the files of action/ share. One action goes through stages, each a function that either calls the next or waits for
 * something that will: question → brake → budget → limit → intent → send → answer → outcome (or doubt → resolution → intent again). */
#ifndef TOCSIN_ACTION_INTERNAL_H
#define TOCSIN_ACTION_INTERNAL_H

#include <stdatomic.h>
#include <sys/queue.h>

#include "action/action.h"
#include "base/map.h"
#include "wire/redis.h"

enum {
  SEND_WITHIN_MS = 8000, /* intent to bytes; four fifths of a lease that is shorter */
  ATTEMPTS = 3,
  RETRY_AFTER_MOST_MS = 300000,
  RESPONSE_KEPT = 16 << 10,
};

TAILQ_HEAD(action_queue, action);
TAILQ_HEAD(release_list, release);

struct action {
  struct actions *all;
  struct journal *journal;
  unsigned run;
  char step[ID_STEP], id[ID_PATH];
  char *actor, *playbook, *requester, *undo_of, *because;
  bool simulated, undoing;
  bool shadow;   /* its playbook only says what it would do: nothing above `read` is sent */
  bool exercise; /* of an EX incident: simulated, with the guardrails of earnest */
  const struct connector *connector;
  struct stand_in *stand_in; /* in its place; NULL: it is there */
  const struct form *form;
  const char *name; /* the form's, and its effect */
  enum effect effect;
  json_t *params, *target, *simulate;
  json_t *request; /* ask action_request */
  char *rendered;  /* its bytes, from which it is made again; NULL: there is the tree alone, or nothing yet */
  size_t rendered_len;
  char digest[65], key[33]; /* of the request as rendered; the idempotency key */
  char approved_for[65];    /* the digest that people were shown when they approved; "": in this life, so it is the same */
  int64_t lift_ms;
  unsigned attempt, reads; /* sends so far; helper reads (resolve, probe) so far */
  bool approved, intended, taken_up, abandoned, started, waiting_brake, budgeted, in_doubt;
  bool happened, given_up; /* how it was resolved before the process ended, which its outcome did not live to say */
  bool awaiting;           /* a Redis call of its own is under way and will come back to it */
  bool delivered;          /* its new secret lies where the settings want it; the old one beside it */
  bool orphan;             /* its journal is gone: whatever comes back only frees it */
  struct question *question;
  struct flight *flight;
  struct timer *timer;
  struct action *helper;
  int64_t began;
  /* read by the gate, perhaps on another thread */
  atomic_llong send_before_boot;
  atomic_uint epoch;
  atomic_bool stop, gate_closed;
  /* the outcome, between its entry and the callback */
  struct outcome outcome;
  json_t *returns;
  action_cb *cb;
  void *arg;
  TAILQ_ENTRY(action) next;   /* in a limit's or the brake's queue */
  TAILQ_ENTRY(action) among;  /* all that live */
  TAILQ_ENTRY(action) beside; /* those of them in its journal's slot */
  struct action_queue *queue;
};

struct limit { /* one per connector instance */
  unsigned flying;
  int64_t window_start;
  unsigned in_window;
  int64_t told; /* the window_start of the minute whose end was said to be waited for */
  struct action_queue waiting;
  struct timer *timer;
};

struct hold {
  char incident[ID_INCIDENT + 16], of[ID_PATH];
  char *key; /* connector, action and target */
  json_t *containment;
  const struct clock *clock; /* its incident's */
  int64_t lift_at;           /* µs by it, 0: never by itself */
  struct timer *timer;
  struct actions *all;
};

enum { LIVING_SLOTS = 1024 };

struct actions {
  struct actions_deps deps;
  struct map limits;                /* instance -> struct limit */
  struct map holds;                 /* "INC|1/3" -> struct hold */
  json_t *paused;                   /* scope -> {by, because, since} */
  json_t *untold;                   /* scopes paused here that Redis does not know of yet */
  json_t *kept;                     /* {digest: µs since boot}: sources that this process has put beside the journals */
  LIST_HEAD(, source_call) keeping; /* those on their way to Redis */
  int64_t brakes_epoch;
  LIST_HEAD(, brake_call) storing; /* brakes on their way to Redis */
  int64_t send_within_ms;
  struct action_queue braked;
  struct action_queue all;
  struct action_queue living[LIVING_SLOTS]; /* the same, by a hash of their journal */
  struct release_list releases;
  atomic_uint epoch; /* raised by every brake */
  bool stopping;     /* nothing more is begun */
  uint8_t seal_key[DIGEST_BYTES];
  struct digest_key step_key; /* the same, for idempotency keys */
  actions_lift_cb *lift_cb;
  void *lift_arg;
  uint64_t intents, outcomes, in_doubt, in_flight, refused;
  size_t live;
};

/* action.c */
void action_free(struct action *x);
void action_brake_stage(struct action *x);
void action_intend(struct action *x);
/* Ends it: appends action.outcome, settles the ledger, calls back in the next turn. returns_take: what result() gave, or the failure. */
void action_end(struct action *x, bool ok, json_t *returns_take, const char *status, const json_t *response);
json_t *failure_new(const char *kind, const char *message, bool retry);
int64_t action_now(const struct action *x);
/* One of the engine's own messages to people (settings' notify), which belongs to no run. */
bool action_is_message(const struct action *x);
/* Its outcome is there: the caller hears of it in the next turn, and it is freed. */
void action_call_back(struct action *x);
/* A read on behalf of x ("resolve" or "probe"), at the step "<step>.0.<k>". */
int action_helper_start(struct action *x, const char *name, const json_t *params, action_cb *cb, struct err *err);

/* body.c */
/* {"connector","action","effect","target"}, with which all bodies about it begin. New. */
json_t *action_named(const struct action *x);
json_t *action_about(struct action *x);
/* An intent's body as it is stored, every member of it. */
void action_intent_write(const struct action *x, int64_t send_before, struct buf *out);
/* The same of an outcome. response: whole; of one larger than RESPONSE_KEPT its digest is written. */
void action_outcome_write(const struct action *x, bool ok, const char *status, const json_t *response, struct buf *out);
/* A response as it is put on record. New. */
json_t *action_response_kept(const json_t *response);

/* render.c */
/* found: what its search found, or NULL. */
int action_render(struct action *x, const json_t *found, struct err *err);
/* As rendered; borrowed. NULL: it is not rendered yet. */
json_t *action_request(struct action *x);
/* It is on its way. Should it have to be sent again it is made from its bytes: the tree would have left the caches when its time came to be freed. */
void action_request_sent(struct action *x);

/* would.c */
/* May nothing of it leave because its playbook is in shadow? The one place where that is decided. */
bool guard_shadowed(const struct action *x);
/* Ends it with run.would in place of intent and outcome. */
void action_would(struct action *x);

/* guard.c */
/* Whoever waits for a brake to be on record gets ERR_CANCELLED; answers that are still on the way find nobody. */
void brakes_release(struct actions *a);
bool guard_paused(const struct actions *a, const struct action *x, const char **ret_scope);
/* A brake is on, or its journal may lack entries since a change of Redis' master and nobody has agreed to that: nothing above `read` leaves. why (may be NULL) gets a text. */
bool guard_held(const struct action *x, char why[256]);
/* The lease is not held: nothing above `read` may leave, and no intent is written. */
bool guard_lapsed(const struct action *x);
/* A protected entity: fills err with why. */
bool guard_protected(const struct action *x, struct err *err);
/* How many people must agree before it is sent, and with which role; 0: nobody. */
unsigned guard_approvals(const struct action *x, const char **ret_role, const char **ret_why);
/* Reserves in the budgets that apply, then calls cb with the rule that is used up, or NULL. */
typedef void guard_budget_cb(struct action *x, const char *rule);
void guard_budget(struct action *x, guard_budget_cb *cb);

/* limit.c */
void limit_enter(struct action *x); /* calls action_intend when there is room */
void limit_leave(struct action *x);
size_t limits_waiting(const struct actions *a);
void limits_release(struct actions *a);

/* doubt.c */
/* What the journal knows of this step already (after a restart). */
void history_read(struct action *x, const json_t *history);
/* The body of an intent without an outcome among a step's entries, NULL: none. */
const json_t *history_in_doubt(const json_t *history);
/* What x sent may have happened, and its connector cannot be had or used in the version that sent it: another's probe may look elsewhere, so a person says. why: for people. */
int stand_in(struct action *x, const struct action_spec *spec, const char *why);
void stand_in_free(struct stand_in *s);
void action_doubt(struct action *x, const char *why, const json_t *response);
void action_not_in_doubt(struct action *x); /* any more, here: it is resolved, or let go of */
/* It is known to have happened; nobody has its answer. */
void action_happened(struct action *x);
void action_given_up(struct action *x);

/* answer.c */
void action_send(struct action *x);
/* What a simulated exchange answers: the caller's override, or the connector's own simulate(), or in an exercise what its scenario makes of that; {"error"}: a failure. New. */
json_t *action_simulated(struct action *x, int64_t *ret_latency_ms);

/* ledger.c */
const char *ledger_status(const struct action *x, const json_t *returns, bool proven_ours);
void ledger_hold(struct action *x, const char *status);
void ledger_lifted(struct action *x);
void ledger_announce(struct action *x);
/* An undo that ended well although nobody waits for it any more: its containment is over all the same. */
void ledger_undone(struct action *x);
void ledger_forget(struct actions *a, const char *incident, const char *of);
void ledger_release(struct actions *a);
/* Is this containment not lifted yet? */
bool ledger_in_force(const json_t *containment);
/* Does another incident of this node hold the same target, and made it so? */
bool ledger_held_by_others(const struct actions *a, const char *incident, const char *of, const json_t *containment);
json_t *ledger_holders(const struct actions *a, const char *incident, const json_t *containment); /* new: names of incidents */
/* Redis forgets that this one holds it, and says who still does; and takes that back. */
int ledger_let_go(struct actions *a, const char *incident, const char *of, const json_t *containment, redis_cb *cb, void *arg,
                  struct err *err);
void ledger_hold_again(struct actions *a, const char *incident, const char *of);

/* letting_go.c */
/* An undo's parameters, purely from what was done: {action, params, returns}. New. */
int undo_params(const struct connector *c, const char *undo, const json_t *done, json_t **ret, struct err *err);
bool ledger_rests(const struct actions *a); /* each release waits for a person or for its undo */
/* The releases of a journal that is about to go (NULL: all): their callers are told that they did not end. */
void ledger_orphan(struct actions *a, const struct journal *journal);
/* A simulated containment is held apart: it never keeps a real one in force, nor the other way round; each exercise, and each of its incidents that is not named in actions_deps.budgets, has a world of its own. */
char *ledger_key(const struct actions *a, const char *incident, const char *connector, const char *action, const json_t *target,
                 bool simulated);

/* source.c */
void sources_release(struct actions *a); /* after it nobody is told whether one was kept */

/* sealed.c */
typedef void sealed_cb(struct action *x, const struct err *err);
int sealed_init(struct actions *a, struct err *err);
/* Fills the generated parameters of x->params with new secrets (in memory only). */
int sealed_generate(struct action *x, const json_t *schema, json_t *params, struct err *err);
/* Seals all secrets whose slot belongs to this step, delivers them where the settings say, then calls cb. */
void sealed_keep(struct action *x, sealed_cb *cb);
/* The action has its end: the old secret that lay beside the delivered one goes, or goes back when the action failed for certain. */
void sealed_settle(struct action *x, bool ok);
/* Turns members that the schema calls secret into slots; then *returns is a copy of its own. */
int sealed_take_returns(struct action *x, const json_t *schema, json_t **returns, bool *ret_any, struct err *err);

#endif
