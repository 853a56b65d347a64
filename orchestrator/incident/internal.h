/* internal.h: what the files of incident/ share. */
#ifndef TOCSIN_INCIDENT_INTERNAL_H
#define TOCSIN_INCIDENT_INTERNAL_H

#include <sys/queue.h>

#include "base/json.h"
#include "base/map.h"
#include "incident/incident.h"
#include "incident/post.h"
#include "incident/sleep.h"

enum { ALERTS_KEPT = 1000, IDLE_KEPT = 512, RUNS_MOST = 1000, KEY_TEXT = 160 };

struct incident;
typedef void incident_op_cb(struct incident *inc, void *arg, const struct err *err);
/* Which of the incident's runs does somebody need awake, while any of them sleeps? Asked when the journal is there. NONE: its journal is enough, and of its
 * alerts those to come; SOME: its alerts too, and the runs that the answer names by incident_wake. */
enum wakes { WAKES_NONE, WAKES_SOME, WAKES_ALL };
typedef enum wakes incident_wakes_cb(const struct incident *inc, const void *arg, json_t *runs);

/* Something that waits until the incident is loaded. */
struct op {
  incident_op_cb *cb;
  incident_wakes_cb *wakes; /* NULL: it needs them all */
  void *arg;
  STAILQ_ENTRY(op) next;
};

struct held_run {
  struct incident *inc;
  struct run *run;
  unsigned number;
  char *playbook;
  LIST_ENTRY(held_run) next;
};

struct incident {
  struct desk *desk;
  char id[ID_INCIDENT];
  struct journal *journal;      /* NULL while it loads */
  json_t *alerts;               /* normalised, with "raw"; the first ALERTS_KEPT: ask incident_alerts */
  STAILQ_HEAD(, unread) unread; /* the newest of them, as bytes */
  size_t unread_count;
  LIST_HEAD(, held_run) runs;
  STAILQ_HEAD(, op) ops;
  LIST_HEAD(, telling) tellings;
  bool loading, lost;
  char owner[NODE_NAME];      /* another node, which owns it: then it is not loaded */
  char adopt_from[NODE_NAME]; /* it was that node's until just now: the first entry says so */
  uint64_t expected;          /* entries that its journal had when it fell asleep here */
  unsigned tries;             /* loads so far, when another's last entries came in between */
  bool recovering;            /* its journal is being read to take up what is alive in it: it stays until that has come back */
  bool leaving;               /* lost meanwhile: unloaded then */
  bool put_off;               /* its runs, or all but one, are not taken up yet */
  bool dozing;                /* some of its runs sleep: nobody has needed them since it was loaded */
  bool bare;                  /* all of them do, and its alerts are not there either */
  bool replays, queues;       /* its runs are being rebuilt, or it waits for its turn */
  unsigned busy;              /* commands, releases and notifications under way */
  unsigned retelling;         /* people are told again later */
  TAILQ_ENTRY(incident) idle, awake, turn;
  bool is_idle, watched;
  int64_t looked_at; /* µs since boot: could it sleep? */
};

/* While one run, or one alert, is tried alone. */
struct alone {
  bool holding, was_there;
  char id[ID_INCIDENT];
  unsigned run; /* 0: none */
  struct timer *look;
  desk_alone_cb *cb;
  void *arg;
};

enum { GIVEN_UP_AT_ONCE = 64 };

struct desk {
  struct desk_deps deps;
  LIST_HEAD(, redaction) redactions;
  struct runs *runs;
  struct map incidents;  /* id -> struct incident */
  struct map *playbooks; /* name -> struct declaration */
  struct map pins;       /* digest -> struct declaration: what running runs use */
  struct map extras;     /* command -> struct extra: commands of the rooms above */
  char *runbooks;
  TAILQ_HEAD(, incident) idle;
  TAILQ_HEAD(, incident) turns; /* those that wait until others are rebuilt */
  size_t replays;
  LIST_HEAD(, place) places; /* index.c */
  STAILQ_HEAD(, place) fresh_places;
  size_t idle_count, run_count, run_most;
  size_t resting; /* runs that wait for people, time, alerts or a brake, as counted at resting_at (µs since boot) */
  int64_t resting_at, resting_pause;
  struct timer *sweep;
  struct sleepers *sleepers;
  struct outages *outages;
  uint64_t clock_steps; /* how often the clock was set since the start */
  struct alone alone;
  struct post *post; /* NULL: no other nodes */
  struct adopting *adopting;
  char giving[GIVEN_UP_AT_ONCE][ID_INCIDENT]; /* incidents that are nobody's from the end of this turn on */
  size_t giving_count;
  uint64_t highest;          /* number of an incident that this process has heard of */
  json_t *unsure;            /* {node: {epoch, since}}: what it wrote before that moment was not compared with the master of that epoch */
  json_t *torn;              /* {incident: {from, to, head, known}}: ends that a new master lacks */
  struct failover *failover; /* under way */
  struct files *files;       /* NULL until a file is kept or looked for */
  struct retirement *retirement;
  uint64_t hot, archived; /* incidents whose journals Redis holds, and those that lie in an evidence log alone; as last counted */
  struct timer *draining;
  desk_door_cb *door_cb; /* exercises: exercising.c */
  void *door_arg;
  struct incident *own; /* an exercise's own journal */
  bool given_up;        /* another node plays it */
  void (*draining_cb)(void *arg, bool draining);
  void *draining_arg;
  json_t *corrective; /* {id: corrective action}: as the index was when somebody last looked */
  struct corrective_look *corrective_look;
  struct timer *corrective_timer;
  uint64_t opened, attached, closed, runs_started, runs_ended;
};

struct extra {
  desk_extra_cb *cb;
  void *arg;
};

/* One command under way. */
struct call;
typedef void call_cb(struct call *call);
struct call {
  struct desk *desk;
  const struct person *by;
  json_t *command;
  desk_answer_cb *cb;
  void *arg;
  json_t *answer; /* while it waits for durability, or is gathered */
  struct incident *inc;
  size_t waiting;
  bool remote; /* it came from another node, and goes no further */
  bool here;   /* only what is in memory here is asked for: whoever asks puts the nodes' answers together */
  bool inner;  /* the engine gives it to itself */
  unsigned tries;
};

/* waking.c */
/* Loads it when it is not in memory; cb comes later, or at once when it is there with all its runs. fresh: the id is new, nothing is to be read. */
void incident_with(struct desk *d, const char *id, bool fresh, incident_op_cb *cb, void *arg);
/* The same for something that may leave runs of a sleeper asleep. */
void incident_with_some(struct desk *d, const char *id, bool fresh, incident_wakes_cb *wakes, incident_op_cb *cb, void *arg);
/* Does the run sleep that a place in the state belongs to ("2/3.1", or "2")? Its number then. */
bool incident_run_sleeps(const struct incident *inc, const char *at, char ret_number[16]);
void incident_wake(const struct incident *inc, const char *at, json_t *runs); /* names it in `runs`, if it sleeps */
void incident_load_failed(struct incident *inc, const struct err *err);
void incident_load(struct incident *inc);
/* Its journal is there, and says who owned it before: takes up what is alive in it. */
void incident_loaded(struct incident *inc);
void loading_forget(struct incident *inc, const struct err *why); /* it goes: those that wait for it are told why */
void loading_end(struct desk *d);

/* desk.c */
void incident_touch(struct incident *inc); /* it may be unloaded again when nothing is alive */
json_t *incident_state(struct incident *inc);
void incident_busy(struct incident *inc, int change);
void incident_let_sleep(struct incident *inc);        /* unloaded without an entry, and still this node's */
void incident_index(struct incident *inc, bool open); /* it was opened again, or closed */
/* index.c: into the list of the open or of the closed ones, however often it takes. */
void incident_place(struct desk *d, const char *id, bool open);
void incident_place_new(struct desk *d, const char *id); /* its journal has no entry: it is in no list yet */
void places_begin(struct desk *d);
void places_free(struct desk *d);
bool incident_alive(struct incident *inc); /* something of it is under way, open or waiting */
void incident_open(struct incident *inc, const char *actor, json_t *body_take);
/* alerts.c */
json_t *incident_alert(const json_t *finding, const json_t *raw); /* as a playbook sees it; new */
void incident_alert_add(json_t *alerts,
                        const json_t *body); /* that of an alert.attached, unless there are ALERTS_KEPT or its finding is gone */
void incident_alert_keep(struct incident *inc, const struct entry *e); /* the same of an entry that was just appended */
json_t *incident_alerts(struct incident *inc);                         /* all of them; borrowed until the next is kept */
void incident_alerts_set(struct incident *inc, json_t *alerts_take);
const struct declaration *desk_playbook(struct desk *d, const char *name, struct err *err);

void incident_unload(struct incident *inc);      /* nothing of it is alive */
void incident_unload_lost(struct incident *inc); /* another node has it: its runs end here without an entry */
void incident_free(struct incident *inc);

/* owners.c */
void owner_claim(struct incident *inc); /* goes on with incident_load or incident_load_failed */
void owner_release(struct incident *inc);
void owner_unclaim(struct incident *inc); /* it could not be loaded here */
void owners_give_up(struct desk *d);      /* now, and not at the end of the turn */
void owners_end(struct desk *d);          /* there is no Redis any more */
/* Its first entry here, when another had it; then incident_loaded. */
void owner_adopted(struct incident *inc);
void desk_adopt(struct desk *d, const char *id, const char *from);
void adopting_free(struct desk *d);

/* failover.c: a change of Redis' master. */
/* Its journal is loaded: does what is known say that it lacks entries? Then it says so itself, and its runs send nothing above `read` until a person agrees. */
void uncertain_note(struct incident *inc);
void uncertain_free(struct desk *d);

/* elsewhere.c */
/* Hands a command to the incident's owner; the answer comes back to whoever asked. */
void call_forward(struct call *call, const char *owner);
/* Does another node own the incident that the command is about? Then it goes there, else `go_on` is called, perhaps later. */
void call_to_owner(struct call *call, call_cb *go_on);
/* Asks the other nodes too and puts the answers together, when it is a command about everything: true. */
bool call_gather(struct call *call, call_cb *go_on);
bool desk_has_others(const struct desk *d);
void elsewhere_letter(void *arg, const struct letter *letter);

/* retire.c */
void retire_free(struct desk *d);
/* One that has left Redis was read from the log: what is appended to it now leaves again later. */
void retire_restored(struct incident *inc);

/* attach.c */
struct attach;
/* An alert that another node has routed; cb as desk_attach's. */
void attach_from_letter(struct desk *d, const json_t *body, desk_cb *cb, void *arg);

/* start.c */
int incident_start(struct incident *inc, const char *playbook, const json_t *params, const json_t *trigger, const char *requester,
                   bool simulated, unsigned *ret_run, struct err *err);
/* Starts the playbook for an alert, by its mode; asks a person when a parameter is ambiguous. */
void incident_start_for_alert(struct incident *inc, const char *playbook, const struct alert *alert);
/* Would an alert of this playbook begin, or begin anew, a run? */
bool incident_starts_for_alert(const struct incident *inc, const char *playbook);
/* The sleeping runs that it would end first. */
void incident_restarts_for_alert(const struct incident *inc, const char *playbook, json_t *runs);
void incident_choose_again(struct incident *inc, const json_t *entries);
void incident_run_keep(struct incident *inc, struct run *run, const char *playbook);
void incident_run_done(void *arg, struct run *run, const char *status);
json_t *playbook_settings(struct desk *d, const struct declaration *p);

/* release.c */
typedef void release_done_cb(void *arg, json_t *released, json_t *still, json_t *kept);
/* A run of the engine's own that lifts these containments one by one, last first. ofs: array of "1/3". */
void incident_release(struct incident *inc, const char *actor, const char *requester, const char *because, const json_t *ofs,
                      release_done_cb *cb, void *arg);
void desk_lift(void *arg, const char *incident, const char *of);
json_t *failure_text(const char *message); /* {"message"} */

/* recover.c */
/* Runs of this version may go on when another is in force. */
void desk_pin(struct desk *d, const struct declaration *p);
/* Takes up what its journal says is alive, and is not in memory; of its runs only `some` (number -> true; NULL: all). */
void incident_recover(struct incident *inc, const json_t *some, desk_cb *cb, void *arg);

/* outage.c: finds the time in which nobody could have answered, by a beat that Redis answers, and tells it to the questions and the sleepers. */
struct outages;
/* Those of the past, and the one that ends now with this start; then the beat goes on by itself. cb comes once they are known. */
int outages_begin(struct desk *d, desk_cb *cb, void *arg, struct err *err);
void outages_free(struct outages *o);

/* alone.c */
/* May this run be taken up now? */
bool alone_allows(const struct incident *inc, unsigned number);
/* A run that ended the process while it was alone is handed over: true. */
bool alone_set_aside(struct incident *inc, unsigned number);

/* notify.c */
void desk_notify(void *arg, struct journal *journal, const char *id, const json_t *question);
/* Whoever is being told, or would be again, is not: the incident goes. */
void notify_forget(struct incident *inc);

/* views.c */
json_t *view_row(struct desk *d, const char *id, const json_t *state);
json_t *view_state(struct desk *d, const json_t *state);
/* state: its incident's, which says why a body is gone; may be NULL. */
json_t *view_entry(struct desk *d, const struct entry *e, const json_t *state);
json_t *view_questions(struct desk *d, json_t *open_take,
                       const json_t *sleeping); /* questions_open's, and states of incidents that sleep */
json_t *view_contained(struct desk *d);
json_t *view_paused(struct desk *d);
void view_add_doubts(struct desk *d, const json_t *state, json_t *in_doubt, json_t *handed_over);
json_t *view_run(struct desk *d, const json_t *state, const char *number, const json_t *run, const struct run *live);

/* command.c */
void call_answer(struct call *call, int status, json_t *answer_take);
void call_fail(struct call *call, const struct err *err);
int call_status(int code); /* as HTTP's, of an error */
/* collect.c: run_world.collect */
int desk_collect(struct desk *d, struct journal *journal, const json_t *facts, char *bytes_take, size_t len, run_kept_cb *cb, void *arg,
                 struct err *err);
void call_drop(struct call *call); /* without an answer: the desk ends */
/* Answers with 200 once the journal's last entry is durable. */
void call_answer_durable(struct call *call, struct journal *journal, json_t *answer_take);
const char *call_text(struct call *call, const char *name);
void call_again(struct call *call); /* from its beginning: whom it is about has changed hands */
/* One that the engine gives by itself, or in the course of another; carried out at once, so cb may come before this returns. by lives until then. */
void desk_command_inner(struct desk *d, const struct person *by, json_t *command_take, desk_answer_cb *cb, void *arg);
void desk_command_remote(struct desk *d, const struct person *by, const json_t *command, bool here, desk_answer_cb *cb, void *arg);

/* Every command's handler; `inc` is NULL unless the command needs one. */
typedef void command_fn(struct call *call, struct incident *inc);
/* Which member names the incident that a command is about: none, whatever else it says; `id` or `incident`, if it is there; `id`, without which it is nothing. */
enum about { ABOUT_NONE, ABOUT_ID, ABOUT_INCIDENT, NEEDS_ID };
struct command_row {
  const char *name, *role;
  enum about about;
  command_fn *run;
};
/* The incident that the command is about; false: none. */
bool call_about(const struct call *call, char out[ID_INCIDENT]);
extern const struct command_row incident_commands[], engine_commands[];
command_fn do_node_list, do_node_drain; /* drain.c */
command_fn do_agree;                    /* failover.c */

/* engine_commands.c: a member that is a text; NULL: it is missing, and the call has its answer. */
const char *call_required(struct call *call, const char *name);
/* Opens one for the call, in its words; what follows is the call's. */
void call_new_incident(struct call *call);

/* by_hand.c */
command_fn do_try;
void try_in(struct incident *inc, struct call *call); /* the incident was made for it */

/* corrective.c */
command_fn do_corrective_list, do_corrective_add, do_corrective_close;
void corrective_begin(struct desk *d);
void corrective_end(struct desk *d);
json_t *corrective_counts(const struct desk *d); /* new {"open", "overdue"} */

/* exercising.c */
/* Is the command about an exercise? Then the desk that it is played at becomes the call's, or it goes to the node that plays it; else `go_on` is called, perhaps later. */
void call_to_exercise(struct call *call, call_cb *go_on);
/* An exercise's desk has its own incidents and no others, whoever names them. The journal is there. */
bool incident_belongs(const struct incident *inc);
/* An exercise's incident at the desk of earnest: it is only looked at. */
bool incident_at_rest(const struct incident *inc);
/* A journal was made or loaded. */
void incident_journal(struct incident *inc);

/* redact.c: takes the body of an entry out of everything that holds it, step by step; a step that fails is tried again, and what a dead process had begun goes on. */
command_fn do_redact, do_exported;
command_fn do_drilled;                        /* drill.c */
void redactions_resume(struct incident *inc); /* those that its journal has begun and not ended */
void redactions_forget(struct incident *inc); /* it goes: they go on where it is loaded next */
void redactions_free(struct desk *d);

#endif
