/* What the daemon counts and checks of itself: doctor, metrics, reload; conservation is self_check.c's. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/json.h"
#include "base/log.h"
#include "cmd/daemon.h"
#include "cmd/alarm.h"
#include "cmd/anchoring.h"
#include "cmd/sealing.h"
#include "evidence/blobs.h"
#include "route/route.h"

enum { MEMORY_MS = 2000, LIST_DAYS = 90 };

/* --- making the desk and what stands around it ------------------------------------------------------------------------ */

static void *lists_now(void *arg, struct journal *journal, const char *const *texts, json_t **ret_pins) {
  struct daemon *d = arg;
  const char *name;
  json_t *digest;
  *ret_pins = lists_pins(d->lists, texts);
  json_object_foreach(*ret_pins, name, digest) {
    size_t len;
    const char *source = lists_source(d->lists, name, &len);
    actions_keep_source(d->actions, journal_incident(journal), json_string_value(digest), source, len, LIST_DAYS);
  }
  return lists_hold(d->lists);
}

static int lists_again(void *arg, const json_t *pins, const json_t *sources, void **ret, struct err *err) {
  struct lists *lists;
  int r = lists_with(((struct daemon *)arg)->lists, pins, sources, &lists, err);
  if (r == 0) *ret = lists;
  return r;
}

static void lists_drop(void *arg, void *lists) { lists_free(lists); }

static int list_look(void *arg, void *lists, int64_t now, const char *what, const json_t *args, json_t **ret, struct err *err) {
  return lists_look(lists ? lists : ((struct daemon *)arg)->lists, now, what, args, ret, err);
}

static bool alert_matches(void *arg, void *lists, int64_t now, const json_t *when, const json_t *alert) {
  return lists_alert_fits(lists ? lists : ((struct daemon *)arg)->lists, now, when, alert);
}

int daemon_desk(struct daemon *d, json_t *counts, struct err *err) {
  struct desk_deps desk = {.store = &d->store,
                           .loop = d->loop,
                           .redis = d->redis,
                           .actions = d->actions,
                           .questions = d->questions,
                           .people = d->people,
                           .registry = d->registry,
                           .settings = d->settings,
                           .lists = {.arg = d,
                                     .lists = lists_now,
                                     .lists_again = lists_again,
                                     .lists_drop = lists_drop,
                                     .list = list_look,
                                     .matches = alert_matches},
                           .node = d->node,
                           .nodes = d->nodes,
                           .key = d->letters_key,
                           .values = path_values};
  d->desk = desk_new(&desk, err);
  if (!d->desk) return err->code;
  struct intake_deps intake = {.loop = d->loop,
                               .redis = d->redis,
                               .desk = d->desk,
                               .registry = d->registry,
                               .secrets = d->secrets,
                               .clock = clock_system(),
                               .node = d->node,
                               .consumer = d->store.node,
                               .nodes = d->nodes,
                               .lease_ms = json_int_or(d->settings, "lease", 10000),
                               .settings = d->settings};
  d->intake = intake_new(&intake);
  daemon_commands(d);
  json_object_clear(counts);
  int r = daemon_content(d, counts, err); /* now there is a desk to give it to */
  if (r == 0) journal_add(d->node, KIND_ENGINE_SETTINGS, "engine", 0, NULL, json_deep_copy(counts));
  return r;
}

/* --- counts ------------------------------------------------------------------------------------------------------------ */

json_t *daemon_counts(void *arg) {
  struct daemon *d = arg;
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  json_t *counts =
      json_pack("{s:o, s:o, s:o, s:{s:I, s:I, s:I, s:I}, s:{s:I, s:b, s:I}}", "incidents", desk_counts(d->desk), "actions",
                actions_counts(d->actions), "intake", intake_metrics(d->intake), "journal", "entries_total", (json_int_t)d->store.entries,
                "waves_total", (json_int_t)d->store.waves, "retries_total", (json_int_t)d->store.retries, "unacknowledged",
                (json_int_t)d->store.unsent, "process", "max_rss_kib", (json_int_t)usage.ru_maxrss, "redis_up", redis_up(d->redis),
                "requests_sent_total", (json_int_t)transports_sent(d->transports));
  json_object_set_new(counts, "exercises", hall_counts(d->hall));
  json_t *evidence = feed_counts(d->feed);
  const struct blob_counts *files = desk_files_counted(d->desk);
  int64_t most;
  json_object_set_new(evidence, "files", json_integer((json_int_t)files->kept));
  json_object_set_new(evidence, "files_missing", json_integer((json_int_t)files->missing));
  json_object_set_new(evidence, "files_over_time", json_integer((json_int_t)(files->kept - files->times[BLOB_IN_TIME])));
  json_object_set_new(counts, "evidence", evidence);
  json_object_set_new(counts, "clock",
                      json_pack("{s:I, s:b}", "steps_total", (json_int_t)desk_clock_steps(d->desk), "synchronized",
                                clock_synchronized(&most)));
  json_object_set_new(counts, "redis", daemon_redis_counts(d));
  json_object_set_new(counts, "anchor", daemon_anchor_counts(d));
  const json_t *alerts = self_check_alerts(d->check), *intents = self_check_intents(d->check);
  if (alerts) json_object_set(counts, "alerts", (json_t *)(uintptr_t)alerts);
  if (intents) json_object_set(counts, "intents", (json_t *)(uintptr_t)intents);
  return counts;
}

static int alerts_count(void *arg, intake_counts_cb *cb, void *cb_arg, struct err *err) {
  return intake_counts(((struct daemon *)arg)->intake, cb, cb_arg, err);
}

static void actions_count(void *arg, int64_t *ret_open, int64_t *ret_in_doubt, int64_t *ret_attended) {
  struct daemon *d = arg;
  *ret_open = desk_open_intents(d->desk, ret_in_doubt);
  *ret_attended = (int64_t)actions_attended(d->actions);
}

static void alarm_tell(void *arg, enum alarm what, int64_t difference, const char *text) { daemon_alarm(arg, what, difference, text); }

/* --- Redis' memory: from 75 % of maxmemory on nothing new begins, what ends things goes on -------------------------------- */

static int64_t info_number(const char *info, const char *name) {
  const char *at = strstr(info, name);
  return at ? strtoll(at + strlen(name), NULL, 10) : 0;
}

static void on_memory(void *arg, const struct redis_value *reply, const struct err *err) {
  struct daemon *d = arg;
  if (err) return;
  const char *info = redis_string(reply, NULL);
  int64_t used = info_number(info, "used_memory:"), most = info_number(info, "maxmemory:");
  bool full = most > 0 && used / 3 > most / 4;
  if (full == d->nearly_full) return;
  d->nearly_full = full;
  intake_hold(d->intake, full || d->draining);
  char text[256];
  snprintf(text, sizeof text,
           full ? "Redis uses %lld of %lld bytes: no new alert is taken until there is room (close incidents, or raise maxmemory)"
                : "Redis has room again (%lld of %lld bytes): alerts are taken",
           (long long)used, (long long)most);
  log_warning("%s", text);
  journal_add(d->node, KIND_ENGINE_WARNING, "engine", 0, NULL, json_pack("{s:s}", "text", text));
}

static void memory_look(void *arg) {
  struct daemon *d = arg;
  timer_free(d->memory);
  d->memory = timer_start(d->loop, MEMORY_MS, memory_look, d);
  redis_call(d->redis, 0, on_memory, d, NULL, "INFO", "memory", NULL);
}

void daemon_check_start(struct daemon *d) {
  struct self_check_deps deps = {.loop = d->loop,
                                 .node = d->node,
                                 .every_ms = SELF_CHECK_MS,
                                 .arg = d,
                                 .alerts = alerts_count,
                                 .actions = actions_count,
                                 .alarm = alarm_tell};
  d->check = self_check_start(&deps);
  memory_look(d);
  desk_watch_files(d->desk);
}

/* --- doctor --------------------------------------------------------------------------------------------------------------- */

struct doctoring {
  struct daemon *d;
  struct call *call;
  struct blob_counts files;
  struct err files_err; /* code 0: they were counted */
};

static void finding(json_t *checks, const char *name, bool ok, const char *text, const char *mend) {
  json_t *item = json_pack("{s:s, s:b, s:s}", "check", name, "ok", ok, "text", text);
  if (!ok && mend) json_object_set_new(item, "mend", json_string(mend));
  json_array_append_new(checks, item);
}

static void check_alerts(json_t *checks, const json_t *counts, const struct err *err) {
  char text[512];
  if (err) {
    finding(checks, "alerts", false, err->text, "see why Redis does not answer");
    return;
  }
  int64_t difference = json_int_or(counts, "difference", 0);
  snprintf(text, sizeof text, "accepted %lld = attached %lld + duplicate %lld + suppressed %lld + dead %lld + split %lld + waiting %lld%s",
           (long long)json_int_or(counts, "accepted", 0), (long long)json_int_or(counts, "attached", 0),
           (long long)json_int_or(counts, "duplicate", 0), (long long)json_int_or(counts, "suppressed", 0),
           (long long)json_int_or(counts, "dead", 0), (long long)json_int_or(counts, "split", 0),
           (long long)json_int_or(counts, "waiting", 0), difference ? ": they differ" : "");
  finding(checks, "alerts", difference == 0, text,
          "somebody deleted or trimmed entries of tocsin:alerts, or wrote to its helpers: give SIEMs the user that may only XADD");
  snprintf(text, sizeof text, "%lld alerts could not be read and wait as dead letters", (long long)json_int_or(counts, "dead", 0));
  if (json_int_or(counts, "dead", 0)) finding(checks, "dead letters", true, text, NULL);
}

static void check_evidence(struct daemon *d, json_t *checks) {
  char text[1024], verifier[NOTE_VERIFIER_TEXT];
  bool ok = daemon_sealing_finding(d, text, sizeof text);
  finding(checks, "evidence", ok, text,
          "make room and let it write to the evidence folder; nothing is lost: Redis keeps what is not sealed. If Redis lost entries, keep "
          "both as they are");
  json_t *incidents = desk_counts(d->desk);
  snprintf(text, sizeof text, "%lld incidents are in Redis, %lld have left it for the evidence log",
           (long long)json_int_or(incidents, "hot", 0), (long long)json_int_or(incidents, "archived", 0));
  finding(checks, "retention", true, text, NULL);
  json_decref(incidents);
  note_verifier_write(&d->verifier, verifier);
  finding(checks, "evidence key", true, verifier, NULL);
}

static void check_files(json_t *checks, const struct doctoring *x) {
  char text[320];
  snprintf(text, sizeof text, "%llu files are kept here, %llu of them are missing in the evidence folder%s%.160s",
           (unsigned long long)x->files.kept, (unsigned long long)x->files.missing,
           x->files_err.code ? "; they could not be counted now: " : "", x->files_err.code ? x->files_err.text : "");
  finding(checks, "files", !x->files.missing && !x->files_err.code, text,
          "restore evidence/blobs from a backup; `tocsin evidence get` names each that is missing");
}

static void check_times(json_t *checks, const uint64_t times[BLOB_TIMES]) {
  char text[300];
  if (!(times[BLOB_DUE] + times[BLOB_HELD] + times[BLOB_BUSY] + times[BLOB_FOR_PEOPLE])) return;
  snprintf(
      text, sizeof text,
      "the time of %llu files is over: %llu are destroyed within a day or so, %llu are under a legal hold, %llu wait for their incident to "
      "be closed or for a receipt, %llu are for people to delete",
      (unsigned long long)(times[BLOB_DUE] + times[BLOB_HELD] + times[BLOB_BUSY] + times[BLOB_FOR_PEOPLE]),
      (unsigned long long)times[BLOB_DUE], (unsigned long long)times[BLOB_HELD], (unsigned long long)times[BLOB_BUSY],
      (unsigned long long)times[BLOB_FOR_PEOPLE]);
  finding(checks, "files' time", true, text, NULL);
}

/* Folders of nodes that are gone, and are read here. */
static void check_adopted(json_t *checks, const struct daemon *d) {
  const char *node;
  json_t *one;
  json_object_foreach(json_object_get(json_object_get(d->settings, "evidence"), "adopted"), node, one) {
    char text[400], path[1100];
    bool lives = nodes_state(d->nodes, node) == NODE_ALIVE;
    snprintf(path, sizeof path, "%.1000s/log/checkpoint", json_str_or(one, "folder", ""));
    bool there = access(path, R_OK) == 0;
    snprintf(text, sizeof text, "the evidence folder of node %.60s is read here in its place%s%s", node,
             there ? "" : ", but cannot be read", lives ? ", but the node lives" : "");
    finding(checks, "adopted", there && !lives, text,
            lives ? "take it out of evidence.adopted and destroy the copy: what is removed at the node stays in it"
                  : "see that evidence.adopted names the whole folder, and that it belongs to the service's user");
  }
}

static void check_clock(json_t *checks, const struct daemon *d) {
  char text[200];
  int64_t most;
  bool good = clock_synchronized(&most);
  snprintf(text, sizeof text, "the system says that the clock is %s; it was set %llu times since the start",
           good ? "synchronized" : "not synchronized (A.8.17: run chrony or systemd-timesyncd)",
           (unsigned long long)desk_clock_steps(d->desk));
  finding(checks, "clock", true, text, NULL);
}

static void check_nodes(json_t *checks, const struct daemon *d) {
  json_t *nodes = nodes_list(d->nodes), *node;
  size_t i, dead = 0;
  char text[256];
  json_array_foreach(nodes, i, node) dead += strcmp(json_str_or(node, "state", ""), "dead") == 0;
  snprintf(text, sizeof text, "%zu nodes share this Redis, %zu of them dead", json_array_size(nodes), dead);
  finding(checks, "nodes", dead == 0, text,
          "start it again, or if it is gone for good: redis-cli HDEL tocsin:nodes NAME; what it owned was taken over (`tocsin node list`)");
  json_decref(nodes);
  finding(checks, "lease", nodes_held(d->nodes), nodes_held(d->nodes) ? "held" : "not held: nothing above `read` is sent",
          "Redis has not answered for the length of `lease`; it comes back by itself when Redis does");
}

static void on_doctor(void *arg, const json_t *counts, const struct err *err) {
  struct doctoring *x = arg;
  struct daemon *d = x->d;
  json_t *checks = json_array(), *paused = actions_paused(d->actions), *actions = actions_counts(d->actions), *problem;
  size_t i;
  char text[256];
  finding(checks, "redis", redis_up(d->redis), redis_up(d->redis) ? "connected" : "not all connections are up",
          "look at the log and at Redis itself");
  daemon_redis_findings(d, checks);
  if (*d->store.refused)
    finding(checks, "entries", false, d->store.refused,
            "Redis refuses what is written; nothing is lost while it does: see why in its own log");
  json_array_foreach(d->problems, i, problem)
      finding(checks, "durability", false, json_string_value(problem), "change Redis' settings as named");
  if (json_array_size(d->problems) == 0) finding(checks, "durability", true, "every acknowledged write is on disk", NULL);
  if (*intake_deaf(d->intake))
    finding(checks, "webhook", false, intake_deaf(d->intake), "free the port or change webhook.listen, then restart");
  check_alerts(checks, counts, err);
  check_evidence(d, checks);
  check_files(checks, x);
  check_times(checks, x->files.times);
  check_adopted(checks, d);
  check_clock(checks, d);
  daemon_anchor_findings(d, checks);
  int64_t open, in_doubt, attended;
  actions_count(d, &open, &in_doubt, &attended);
  snprintf(text, sizeof text, "open in the journals %lld = in doubt %lld + in flight %lld%s", (long long)open, (long long)in_doubt,
           (long long)(attended - in_doubt), open == attended ? "" : ": they differ");
  finding(checks, "intents", open == attended, text, "restart `tocsin serve`: each open intent is taken up again; and please report this");
  snprintf(text, sizeof text, "%lld actions in doubt", (long long)json_int_or(actions, "in_doubt", 0));
  finding(checks, "in doubt", json_int_or(actions, "in_doubt", 0) == 0, text, "`tocsin` shows them and how to answer");
  snprintf(text, sizeof text, "%lld actions wait for room under a connector's limits", (long long)json_int_or(actions, "limited", 0));
  if (json_int_or(actions, "limited", 0)) finding(checks, "limits", true, text, NULL);
  snprintf(text, sizeof text, "%zu brakes are on", json_object_size(paused));
  finding(checks, "brakes", json_object_size(paused) == 0, text, "`tocsin resume` when it is time");
  check_nodes(checks, d);
  snprintf(text, sizeof text, "%zu channels tell people of questions", json_object_size(json_object_get(d->settings, "notify")));
  finding(checks, "notify", json_object_size(json_object_get(d->settings, "notify")) > 0, text,
          "name a channel in the settings' `notify`, or questions wait until somebody looks");
  snprintf(text, sizeof text, "%zu people are named", json_object_size(json_object_get(d->settings, "people")));
  finding(checks, "people", json_object_size(json_object_get(d->settings, "people")) > 0, text,
          "name people with uid and roles in the settings' `people`; until then root and the daemon's user do everything");
  json_decref(paused);
  json_decref(actions);
  desk_reply(x->call, 200, json_pack("{s:o}", "checks", checks));
  free(x);
}

static void on_files(void *arg, const struct blob_counts *counts, const struct err *err) {
  struct doctoring *x = arg;
  struct err why;
  x->files = *counts;
  if (err) x->files_err = *err;
  if (intake_counts(x->d->intake, on_doctor, x, &why) < 0) on_doctor(x, NULL, &why);
}

static void do_doctor(void *arg, struct call *call, const struct person *by, const json_t *command) {
  struct doctoring *x = calloc(1, sizeof *x);
  if (!x) abort();
  *x = (struct doctoring){.d = arg, .call = call};
  desk_count_files(x->d->desk, on_files, x);
}

static void do_reload(void *arg, struct call *call, const struct person *by, const json_t *command) {
  struct daemon *d = arg;
  struct err err;
  json_t *counts = json_object();
  if (!person_has_role(by, "responder")) {
    desk_reply(call, 403, json_pack("{s:s}", "error", "reloading needs the role \"responder\""));
  } else if (daemon_content(d, counts, &err) < 0) {
    desk_reply(call, 400, json_pack("{s:s+}", "error", "nothing was changed: ", err.text));
  } else {
    journal_add(d->node, KIND_ENGINE_SETTINGS, by->actor, 0, NULL, json_deep_copy(counts));
    desk_reply(call, 200, json_incref(counts));
  }
  json_decref(counts);
}

void daemon_commands(struct daemon *d) {
  desk_extend(d->desk, "doctor", do_doctor, d);
  desk_extend(d->desk, "reload", do_reload, d);
  daemon_sealing_commands(d);
}
