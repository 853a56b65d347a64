/* incident.h: the desk: all incidents that this node owns, what people and alerts do to them.
 *
 * Alerts come from intake through desk_attach; people's commands through desk_command, which is one JSON object in and one out, the same for the
 * command line, the HTTP API and tests. A command is answered only when its entry is durable. Who commands is a struct person that the edge has
 * established; names in the command are never believed.
 * Never reads a socket, never prints. */
#ifndef TOCSIN_INCIDENT_INCIDENT_H
#define TOCSIN_INCIDENT_INCIDENT_H

#include <jansson.h>

#include "base/digest.h"
#include "journal/nodes.h"
#include "people/people.h"
#include "people/runbook.h"
#include "run/run.h"

struct desk;
struct map;

/* The number of the last exercise or exercise incident. */
#define EXERCISE_IDS "{tocsin:alerts}:exercise_ids"
#define EXERCISES_RUNNING "tocsin:exercises:running" /* {exercise: the node that plays it} */

/* One normalised alert, as intake hands it over. */
struct alert {
  const char *id;        /* "<source>:<product's id>", or "<source>:<stream id>" */
  const char *source;    /* connector or webhook source */
  int64_t received;      /* µs */
  const json_t *finding; /* OCSF Detection Finding */
  size_t most;           /* bytes that it takes as JSON at most; 0: nobody knows */
  const json_t *raw;     /* the parsed document */
  const json_t *text;    /* its very bytes, as a string's, whether they are UTF-8 or not */
  const char *queued;    /* its message in the queue, whose name is noted while it is attached (base/suspect.h); or NULL */
};

struct desk_deps {
  struct journal_store *store;
  struct loop *loop;
  struct redis *redis;
  struct actions *actions;
  struct questions *questions;
  struct people *people;
  struct registry *registry;
  const json_t *settings; /* all of them; borrowed */
  struct run_world lists; /* only .arg, .list, .matches and lists…: route's, so that incident need not know it */
  struct journal *node;   /* the orchestrator's own journal */
  struct nodes *nodes;    /* who else shares this Redis; NULL: nobody does, and nothing is claimed (tests) */
  const uint8_t *key;     /* DIGEST_BYTES: what the letters between nodes are signed with; borrowed during desk_new */
  /* "EX-000042": the desk of that exercise. Its incidents bear the fact, stand in lists of its own, never sleep, tell nobody through the settings' channels and know no outage. NULL: earnest. */
  const char *exercise;
  /* Called for every journal that is made or loaded, before anything is appended to it. May be NULL. */
  void (*on_journal)(void *arg, struct journal *journal);
  void *journal_arg;
  void (*seed)(void *arg, const char *incident, unsigned run, char out[33]); /* see runs_deps; with journal_arg */
  /* Every value at an OCSF path of an alert (route's path_values): what `from` means. New array. */
  json_t *(*values)(const json_t *finding, const json_t *raw, const char *path);
};

struct desk *desk_new(const struct desk_deps *deps, struct err *err);
void desk_free(struct desk *d);
/* Playbooks by name: struct declaration *. Replaces the set (reload); running runs keep theirs. Takes over. Runbooks' folder is borrowed. */
void desk_set_playbooks(struct desk *d, struct map *playbooks_take, const char *runbooks);
void desk_set_registry(struct desk *d, struct registry *registry);
/* Loads every open incident (tocsin:open), takes its runs, questions and containments up again; calls back when all are there. */
typedef void desk_cb(void *arg, const struct err *err);
int desk_load(struct desk *d, desk_cb *cb, void *arg, struct err *err);
/* Once it is loaded: what the node's own journal has of messages without an outcome. */
void desk_node_resume(struct desk *d);

/* Before desk_load: it takes up no run but this one, which a crash was traced to (base/suspect.h); number 0: none at all. Nothing else of the incidents is resumed
 * either. desk_alone then calls back when that run has ended or rests, or is not there (then was_there is false); desk_go_on takes up all the rest. */
void desk_hold(struct desk *d, const char *incident, unsigned number);
typedef void desk_alone_cb(void *arg, bool was_there);
void desk_alone(struct desk *d, desk_alone_cb *cb, void *arg);
void desk_alone_end(struct desk *d); /* waits for it no longer; cb does not come then */
void desk_go_on(struct desk *d, desk_cb *cb, void *arg);

/* Attaches an alert to an incident and starts the playbooks that want it (by their mode). created: the id is new, open it. cb comes when it is durable;
 * ERR_CONFLICT: another node owns it. group may be NULL. A second attach of the same alert id changes nothing. */
int desk_attach(struct desk *d, const char *incident, bool created, const struct alert *alert, const char *const *playbooks, size_t count,
                const char *group, desk_cb *cb, void *arg, struct err *err);
/* Incidents and runs held in memory now. */
size_t desk_live(const struct desk *d);
bool desk_full(struct desk *d); /* run.most reached: intake waits */

/* Answers a command: status as HTTP's (200, 400, 403, 404, 409, 503), answer JSON ({"error": text} on failure), borrowed. Exactly once, later. */
typedef void desk_answer_cb(void *arg, int status, const json_t *answer);
/* {"command": …} with:
 *  "now" {limit?} → {"paused","questions","in_doubt","contained","incidents":[…],"handed_over"}
 *  "incident.list" {status?, limit?} → {"incidents":[{id,title,severity,status,owner,opened,updated,alerts,runs,questions,in_doubt,contained}], "paused"}
 *  "incident.show" {id} → {"incident": state, "entries":[{seq,time,actor,name,type,run,step,body,meaning,control}…], "runbook":[…]}   (name: the person's name where known)
 *  "incident.entries" {id, from} → {"entries":[…], "last": seq}            (follow)
 *  "incident.export" {id} → {"lines": "…journal_export…"}
 *  "incident.open" {title, severity, because, occurred?} → {"id"}
 *  "incident.note" {id, text, at?, corrects?} · "incident.assign" {id, to} · "incident.severity" {id, severity, because} · "incident.tag" {id, tag} · "incident.title" {id, title}
 *  "incident.merge" {id, into, because} · "incident.close" {id, verdict, root_cause?, impact?, affected?, lessons?, waive?} · "incident.reopen" {id, because} · "incident.agree" {id, because} · "incident.tick" {id, n}
 *  "trigger" {playbook, incident?, because, params{}, plan: bool, simulated: bool} → plan: {"plan": {"playbook","effects","params","ceiling"…}}, else {"id", "run"}   (here and in connector.try params are texts as typed: params_read, incident/params.h)
 *  "run.list" {} · "run.show" {id} · "run.cancel" {id, because} · "answer" {id, answer} → {"id","answer"}
 *  "pause" {scope, because} · "resume" {scope, because} · "contained" {} → {"contained":[…]} · "release" {id? | target{type,value}, because} → {"id","released":[…],"still":[…],"kept":[…]}
 *  "connector.try" {connector, action, params, because, simulated} → {"outcome"} · "secret.take" {id, name} → {"value"} (once)
 *  "evidence.begin" {id, name, size, sha256_before, because, source?, from?, to?, tool?, collected?, collected_by?, class?, hold?} → {"upload", "piece": bytes}
 *  "evidence.piece" {id, upload, offset, data: base64} → {"received"} · "evidence.finish" {id, upload} → {"id","item","sha256","size"}
 *  "evidence.list" {id} → {"id", "files": [{"item","name","size","sha256","class","retain_until","node","by","collected","hold","to","transfer","acknowledged","deleted"}…]}
 *  "evidence.get" {id, item, offset, because} → {"data","id","node","name","size","sha256"} (on record, unless it goes on where the same person was) · "evidence.transfer" {id, item, to, because} · "evidence.acknowledge" {id, item, because?}
 *  "evidence.hold" {id, item, because} · "evidence.release_hold" {id, item, because} · "evidence.delete" {id, item, because} → {"id","seq","item"}
 *  "questions" {limit?} → {"questions":[…], "questions_total"} · "counts" {}   (so has "now": of what sleeps both show the first `limit`, 1000)
 *  "node.list" {} → {"nodes": [{"node","state","version","lease_ms","draining","since","incidents"}…]} · "node.drain" {node?, off?: true} → {"node","draining"}
 *  "corrective.list" {all?, overdue?} → {"corrective":[{id,incident,text,owner,due,key,recurs,added,by,overdue,closed,closed_by,evidence,entry,file}…], "counts": {open,overdue}}
 *  "corrective.add" {id, text, owner, due, key?} → {"id","due","recurs"} · "corrective.close" {id, n, evidence? | entry? | file {name,sha256,bytes}} → {"id"}   (n of INC-000042/a<n>)
 *  "reload" {} → {"playbooks": n, "connectors": n, "lists": n, "warnings": [text…]} · "doctor" {} → {"checks": [{"check", "ok", "text", "mend"}…]}
 *  "alert.push" {source?, text} → {"accepted": n} · "alert.dead" {limit?} → {"dead": [{"id","time","source","reason","size","text"}…], "count"} · "alert.retry" {id? | all: true} → {"retried": n}
 * In every answer: times are µs; people are names; ids are whole ("INC-000042", "INC-000042/1/4"). Elements (members that do not apply are left out):
 *  paused {scope: {by,because,since}} · questions [{id,incident,title,kind,text,options,role,asked,deadline,otherwise,about,exclude,by}]
 *  in_doubt [{id,incident,connector,action,effect,target,since,why}] · handed_over [{id,incident,playbook,text,since}]
 *  contained [actions_contained's + "id": "INC-000042/1/3", "because", "why"] · runs [{id,incident,playbook,status,step,line,waiting_for,started,ended,memory,steps}]
 *  incident.list's "in_doubt" and "questions" are counts, "contained" too; "now"'s "incidents" are the open ones in the same form.
 *  "run.list" {incident?, all?} → {"runs": […], "paused", "more": how many running ones it leaves out} · "run.show" {id} → {"run": {…, "params", "trigger"}, "entries": […of that run…]}
 *  "release" → also "asked": [question ids]; elements of released, still, kept: {"id","connector","action","target","why","holders"}
 *  a plan: {"playbook","title","effects": {"contain": ["ldap.lock_account"…]}, "most": "contain", "params", "missing": [names], "ceiling", "paused", "runbook"} */
void desk_command(struct desk *d, const struct person *by, const json_t *command, desk_answer_cb *cb, void *arg);

/* Commands of the rooms above (alert.*, reload, doctor) join the same door. `call` is given back to desk_reply, exactly once, perhaps later. */
struct call;
typedef void desk_extra_cb(void *arg, struct call *call, const struct person *by, const json_t *command);
void desk_extend(struct desk *d, const char *command, desk_extra_cb *cb, void *arg);
void desk_reply(struct call *call, int status, json_t *answer_take);
/* Intents without an outcome in the journals of the incidents that are loaded; and how many of these are in doubt. */
int64_t desk_open_intents(const struct desk *d, int64_t *ret_in_doubt);
json_t *desk_counts(const struct desk *d); /* new {"live", "runs", "opened_total", …} */
/* --- exercises: a desk of its own for each (desk_deps.exercise) ------------------------------------------------------------------ */
/* Of the desk of earnest: whose the exercise incident is that a command is about. *ret: the desk that it is played at. NULL: it is not played at this node; the command goes to the one
 * that plays it, and if none does it may only look (and take corrective actions on). An error refuses it. */
typedef int desk_door_cb(void *arg, const char *incident, struct desk **ret, struct err *err);
void desk_on_exercise(struct desk *d, desk_door_cb *cb, void *arg);
/* The exercise's own journal, as an incident of its desk that stays loaded; what the engine has to say goes there, too. fresh: it has no entry yet. cb's journal is NULL with err. */
typedef void desk_own_cb(void *arg, struct journal *journal, const struct err *err);
void desk_own(struct desk *d, bool fresh, desk_own_cb *cb, void *arg);
/* Nothing goes on in it by itself before people, alerts or the clock have their say. */
bool desk_rests(const struct desk *d);
int64_t desk_due(const struct desk *d); /* the next of the waits, questions and containments that the clock ends (µs); INT64_MAX: none */
void desk_clock_moved(struct desk *d);  /* what is due by it is done in the next turns */
void desk_cancel_runs(struct desk *d, const char *by, const char *because); /* all that are under way */
/* Once no run is under way: nobody is waited for any more. True when nobody has anything to do with any incident. */
bool desk_let_go(struct desk *d);
void desk_note(struct desk *d, const char *incident, const char *text); /* by the engine */
/* Another node plays it now: nothing is loaded or appended any more, and its runs end here without an entry. */
void desk_give_up(struct desk *d);
/* The rows (as incident.list's) of these ids, from memory or as Redis holds them. rows: borrowed, NULL with err. */
typedef void desk_rows_cb(void *arg, const json_t *rows, const struct err *err);
void desk_rows(struct desk *d, json_t *ids_take, desk_rows_cb *cb, void *arg);
/* The desk's own lists: "open" or "recent", "group". */
enum { DESK_KEY = 64 };
void desk_key(const struct desk *d, const char *what, char out[DESK_KEY]);

/* --- several nodes: each incident has one owner (NODES_OWNER); its commands and alerts reach it through its inbox -------------- */
/* Reads this node's inbox from now on. */
void desk_listen(struct desk *d);
/* The lease had lapsed: lets go of what others have taken over meanwhile, then calls back. */
void desk_look_owned(struct desk *d, loop_cb *cb, void *arg);
/* A node is gone: takes over what it owned (of several that try, one gets each), and carries out what lies in its inbox. */
void desk_take_over(struct desk *d, const char *node);
/* Has the other nodes look at once which brakes are on. */
void desk_urge(struct desk *d);
/* Gives its incidents to the other nodes, each at a moment when nothing of it is on its way, until none is left or draining is over. */
int desk_drain(struct desk *d, struct err *err);
/* Draining begins, or is over: a node that drains takes no alerts. Set before desk_listen. */
void desk_on_draining(struct desk *d, void (*cb)(void *arg, bool draining), void *arg);

/* --- Redis' master changed (redis_master) -------------------------------------------------------------------------------------- */
/* Before desk_load: what is known of nodes that did not compare their journals with a new master. */
int desk_failover_load(struct desk *d, desk_cb *cb, void *arg, struct err *err);
/* `node` died before it could compare its journals with the master of this epoch: whoever takes them up says that they are uncertain. On record for all nodes at once. */
void desk_unsure(struct desk *d, const char *node, int64_t epoch, desk_cb *cb, void *arg);
/* Every journal in memory is compared with the new master, and what else this node knows is told to it. cb once that is done: how many there were. */
typedef void desk_failover_cb(void *arg, size_t journals, size_t torn);
void desk_master_changed(struct desk *d, desk_failover_cb *cb, void *arg);
/* A journal's end is lost (journal.h): the incident is loaded anew, and is uncertain. */
void desk_torn(struct desk *d, const char *incident, const struct torn *torn);

size_t desk_uncertain(const struct desk *d); /* incidents in memory that nobody has agreed to */

/* Once all is loaded: what a crash left half done of files in custody is finished or undone. */
void desk_settle_files(struct desk *d);
/* How many files in custody this node keeps, how many of them are missing in the evidence folder, and of how many the time is over: looks at each, and calls back later; err: the numbers are those of before.
 * No call back when the engine stops meanwhile. */
struct blob_counts; /* evidence/blobs.h */
typedef void desk_counted_cb(void *arg, const struct blob_counts *counts, const struct err *err);
void desk_count_files(struct desk *d, desk_counted_cb *cb, void *arg);
void desk_watch_files(struct desk *d);                        /* counts them now, and once an hour; and looks whose time is over */
const struct blob_counts *desk_files_counted(struct desk *d); /* the last time */
/* Looks at the files whose retention is to be looked at. One of a class that the setting evidence.delete names is destroyed, on record, when its time is over, its incident is closed,
 * no hold is on it and no receipt is outstanding: not before a day after it was first found so. */
void desk_expire_files(struct desk *d);
uint64_t desk_clock_steps(const struct desk *d); /* how often the clock was set by a second or more since the start */
/* From now on the journals of incidents that are closed, at rest and untouched for so long leave Redis, once this node's evidence log gives every entry of them back; the commands read them
 * from there then, and what is appended goes on behind them. Those of several nodes: each its own. */
void desk_retire_after(struct desk *d, int64_t hot_ms);

/* Redis came back: journals in trouble read their tails. Ownership of one was lost: it is unloaded. */
void desk_redis_up(struct desk *d);
void desk_lost(struct desk *d, const char *incident);
/* Lets go of every incident without an entry (shutdown, after the journals are idle). */
void desk_unload(struct desk *d);

#endif
