/* script.h: one Lua 5.4 state: allowed libraries only, capped memory, budgets of CPU time, and a bridge to JSON.
 *
 * Lua is not seen outside script/: values cross as JSON. Strings are bytes on the Lua side; bytes that are not UTF-8 become U+FFFD on
 * the way out. Empty tables cross as {} unless made by `array{}`; JSON null is the value `null`. Integers stay integers.
 *
 * A secret is an opaque userdata in Lua and {"$secret": "<slot>"} in JSON. Data from outside (SCRIPT_DATA) that happens to have a member of
 * that name stays data: on the way in such a key gets another "$" ("$$secret"); on the way out a plain table with the key "$secret" is
 * refused. Only SCRIPT_TRUSTED JSON (settings, the engine's own values, what another state handed out) makes secrets.
 *
 * Nothing here blocks: a burst ends by a yield, a return, an error, or its budget. A state is used by one thread at a time. */
#ifndef TOCSIN_SCRIPT_SCRIPT_H
#define TOCSIN_SCRIPT_SCRIPT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* SCRIPT_DOCUMENT, for arguments of connector_call only: data whose tables are made when the script looks into them. What it returns of them
 * untouched is the very value that went in: treat it as constant. */
enum script_trust { SCRIPT_DATA, SCRIPT_TRUSTED, SCRIPT_DOCUMENT };

struct script_limits {
  size_t memory;    /* bytes, 0: 16 MiB */
  int64_t burst_ms; /* CPU time of one resume or call, 0: 250 */
  int64_t total_ms; /* CPU time in all, 0: 10,000 */
};

/* ---- declarations --------------------------------------------------------------------------------- */

/* A loaded file. declaration is the file's table without its functions (a function is `true`), after the prelude has checked its shape.
 *
 * Playbook: {"title", "attack": […], "when": {…}|[{…}…], "group": […], "window": ms, "mode": "single"|"parallel"|"queued"|"restart", "uses": ["ldap.lock_account"…],
 *   "runbook", "params": {name: schema}, "settings": {name: schema}, "run": true}. A list named in `when` is {"$list": "vpn-egress"}.
 * Connector: {"name", "title", "docs", "settings": {…}, "limits": {"timeout": ms, "concurrent", "per_minute", "response": bytes}, "network", "actions": {name:
 *   {"doc", "effect", "target": {type: param}, "params": {…}, "returns": {…}, "request": true, "result": true, "simulate": true, "idempotent": bool, "probe":
 *   "action", "undo": "action"|false, "undo_params": true, "recover": "text", "resolve": "action", "settle": ms, "timeout": ms, "role": …}}, "alert": {"source", "recognise": true, "split": true, "normalise": true, "signature": {…}}}. */
struct declaration {
  char *name;   /* from the file's name */
  char *source; /* the very bytes */
  size_t source_len;
  char digest[65]; /* SHA-256 of source, hex */
  json_t *json;
  json_t *uses;                  /* of a playbook: {"ldap": ["lock_account"…]}; shared, never changed */
  json_t *calls;                 /* and its calls_of; internal */
  struct declaration_code *code; /* compiled, internal */
};
/* name without path and ".lua". `file` is only for messages ("playbooks/contain-account.lua:12: …"). */
int playbook_load(const char *file, const char *source, size_t len, struct declaration **ret, struct err *err);
int connector_load(const char *file, const char *source, size_t len, struct declaration **ret, struct err *err);
void declaration_free(struct declaration *d);
/* Static check of a playbook's text for `tocsin playbook check`: indexing an untested result, unused `uses`, missing `because`… appends texts with line numbers
 * (errors begin with "error: ", warnings with "warning: ") to the array. connectors: {name: declaration.json} of what is configured, may be NULL. */
int playbook_lint(const struct declaration *d, const json_t *connectors, json_t *findings, struct err *err);

/* ---- a connector's state: pure calls -------------------------------------------------------------- */

struct connector_state;
/* settings: checked JSON with secrets as slots (trusted), frozen. */
int connector_state_new(const struct declaration *d, const json_t *settings, const struct script_limits *limits,
                        struct connector_state **ret, struct err *err);
void connector_state_free(struct connector_state *c);
/* Calls the function at a dotted path of the declaration ("actions.lock_account.request", "alert.normalise"). Arguments: args (a JSON array, each element pushed with `trust`),
 * then the settings. Up to two results come back: *ret (the first; NULL for nil) and, when the first is nil or false, *ret_failure (the second: {"kind", "message",
 * "retry"} or a string turned into that). ERR_INVALID for a raise (with its message), ERR_LIMIT for a budget. Purity is enforced: no yield, globals frozen. */
int connector_call(struct connector_state *c, const char *function, const json_t *args, enum script_trust trust, json_t **ret,
                   json_t **ret_failure, struct err *err);
/* The same with one argument before the settings. */
int connector_call_with(struct connector_state *c, const char *function, const json_t *arg, enum script_trust trust, json_t **ret,
                        json_t **ret_failure, struct err *err);

/* How many bytes what the last call gave takes as JSON at most, whatever is escaped in it. */
size_t connector_gave(const struct connector_state *c);

/* ---- a playbook's run ------------------------------------------------------------------------------ */

/* The run looks at the engine without waiting: look(arg, "incident", args) → new JSON. What is asked, and its args:
 *   "incident"     a text: the member's name (id, title, severity, severity_id, status, owner, mode…) → its value, null for none
 *   "alerts"       NULL → the list; asked at most once a burst, elements cross one by one when they are read
 *   "observables"  a text (the type), or NULL for all · "summary" NULL → a text · "now" NULL → microseconds · "random" NULL → a 64-bit integer
 *   "list.match"   {"list", "value"} → the row, or false or null · "list.rows" a text (the list's name) → a list
 * The result is pushed as SCRIPT_DATA; an error is raised in the script with its text. In Lua now() is in milliseconds, as OCSF's times are. */
struct script_host {
  void *arg;
  int (*look)(void *arg, const char *what, const json_t *args, json_t **ret, struct err *err);
};

struct script;
struct script_thread; /* the main thread, or a branch of a parallel step; freed with its script */

enum script_status { SCRIPT_YIELDED, SCRIPT_DONE, SCRIPT_FAILED };

/* What a burst ended with. Verbs and their args:
 *   "action"   {"connector", "action", "params": {…}}            (act.<connector>.<action>{…}; `because` stays in params)
 *   "ask"      {"text", "role", "options": […], "within": ms, "otherwise", "approvals": k}
 *   "wait"     {"ms"}                                             (incident:wait "30m")
 *   "wait_for" {"alert": {when…}, "within": ms}
 *   "poll"     {"connector", "action", "params", "every": ms, "within": ms, "until": {when on the returns…}}
 *   "note" {"text"} · "hand_over" {"text", "why"} · "severity" {"severity"} · "assign" {"to"} · "tag" {"tag"} · "close" {"verdict", …}
 *   "collect"  {"name", "content": text or table, "because", "source", "tool", "class", "hold"}
 *   "undo"     {"step"}                                           (incident:undo(result): the result table remembers its step)
 *   "release"  {"of": "incident"}                                 (incident:release_all())
 *   "parallel" {"count", "max", "stop_on_error"}                  (then script_branch for each item)
 *   "continue_as" {"params"} */
struct script_yield {
  enum script_status status;
  const char *verb; /* borrowed until the thread is resumed */
  json_t *args;     /* yielded: the verb's arguments; done: the function's result or NULL. New reference, the caller's */
  struct err err;   /* failed: message; code ERR_LIMIT for budgets, ERR_MEMORY, otherwise ERR_INVALID */
  char *traceback;  /* failed: the caller frees; may be NULL */
  int line;         /* of the playbook where it stands, 0 unknown */
  int64_t spent_us; /* CPU time of the burst */
};

/* Loads the playbook into a state of its own, ready to run. uses: the actions it may name, as {"ldap": ["lock_account"…]} (act has these and no others). host must outlive it. */
int script_new(const struct declaration *playbook, const json_t *uses, const struct script_limits *limits, const struct script_host *host,
               struct script **ret, struct err *err);
void script_free(struct script *s);
/* Gives back what this thread keeps of ended runs for those to come (up to some 40 MiB). */
void script_trim(void);
size_t script_memory(const struct script *s, size_t *ret_peak);
/* First burst of the main thread: run(incident, act, params, settings). params are data, settings trusted (may be NULL). Outcome in *out. */
struct script_thread *script_start(struct script *s, const json_t *params, const json_t *settings, struct script_yield *out);
/* Gives the yield its answer and goes on (after "hand_over" and "continue_as" nothing goes on: the outcome is SCRIPT_DONE). For actions: ok true → value is what the action returned (a table that also remembers step: pass it), false → value is {"kind","message","retry"} and
 * Lua sees nil, failure. For other verbs value is the result (an answer's text, an alert…), NULL for none (ask, wait_for and poll then give nil, the others true); trust says how it is pushed.
 * ok false gives nil and value as the failure, for every verb. */
void script_resume(struct script_thread *t, const char *step, bool ok, const json_t *value, enum script_trust trust,
                   struct script_yield *out);
/* After a "parallel" yield of t: starts the branch for item i (1-based). Each branch is resumed by itself; when all have ended, resume t with ok = true and value = an array of
 * {"ok", "result", "error"} in the items' order. */
struct script_thread *script_branch(struct script_thread *t, size_t i, struct script_yield *out);
void script_yield_release(struct script_yield *y);

/* ---- schemas and settings --------------------------------------------------------------------------- */

/* Checks value (an object) against {name: schema} and returns it with defaults filled in: a new object, or another reference to value when that is as it shall be. schema: {"type": string|integer|number|boolean|url|secret|generated|duration|list|map|any|ip|host|email,
 * "doc", "default", "optional": bool, "pattern" (Lua pattern), "min", "max" (length or value), "one_of": […], "of": schema, "from": …}. Unknown names are errors with a near miss suggested. `where` begins the message. */
int schema_check(const json_t *schema, const json_t *value, const char *where, json_t **ret, struct err *err);
/* JSON Schema (draft 2020-12) of {name: schema}. New. */
json_t *schema_json(const json_t *schema);
/* Length-bounded and step-bounded Lua pattern match; false also for a malformed or too costly pattern (then err is set). */
bool pattern_match(const char *subject, size_t len, const char *pattern, struct err *err);

/* tocsin.lua → JSON with every default, each mistake a line of err ("tocsin.lua:12: unknown setting `redsi`; did you mean `redis`?"). Secrets named by `secret "env:…"` come back as {"$secret": "<slot>"} with
 * *ret_secrets {slot: source}. path NULL: all defaults. */
int settings_load(const char *path, json_t **ret, json_t **ret_secrets, struct err *err);
/* Every setting with its type, default and text, for --help, the man page and the sample file. New. */
json_t *settings_describe(void);

#endif
