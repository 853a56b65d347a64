/* Retention by class: files whose time is over go when the settings say so. The node that has a file asks its incident's owner, who judges and makes the entry; one file after the other. What was found is noted
 * beside the file's key, with the time of the next look, so that no incident is loaded in vain. That time is the steady clock's: a day has to pass, and not the wall clock to be set on by one. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "incident/files.h"

enum { AT_ONCE = 200 };
static const int64_t DAY_US = INT64_C(86400000000),
                     LOOK_US = 30 * DAY_US; /* the longest time between two looks: the clock may have been wrong at one */

/* ---- judging, at the owner */

static bool engine_deletes(const struct desk *d, const char *class) {
  return json_array_has(json_object_get(json_object_get(d->deps.settings, "evidence"), "delete"), class);
}

enum blob_time file_time(struct desk *d, struct incident *inc, const json_t *file, int64_t *ret_at) {
  int64_t now = clock_wall(d->deps.store->clock), until = json_int_or(file, "retain_until", 0);
  bool awaited = json_object_get(file, "transfer") && !json_object_get(file, "acknowledged");
  *ret_at = clock_steady(d->deps.store->clock) + (until <= now ? DAY_US : until - now < LOOK_US ? until - now : LOOK_US);
  if (until > now) return BLOB_IN_TIME;
  if (json_object_get(file, "hold")) return BLOB_HELD;
  if (!engine_deletes(d, json_str_or(file, "class", ""))) return BLOB_FOR_PEOPLE;
  return awaited || strcmp(json_str_or(incident_state(inc), "status", ""), "closed") != 0 ? BLOB_BUSY : BLOB_DUE;
}

/* {id, sha256, node: where it lies, found: at the last look} → {"time", "at"}, or what a deletion answers. */
void file_do_expire(struct call *call, struct incident *inc) {
  const char *item = "", *class;
  char until[TIME_TEXT];
  int64_t at = clock_steady(call->desk->deps.store->clock) + DAY_US;
  const json_t *file = file_by_digest(inc, json_str_or(call->command, "sha256", ""), &item);
  bool known = file && strcmp(json_str_or(file, "node", ""), json_str_or(call->command, "node", "")) == 0;
  enum blob_time time = known ? file_time(call->desk, inc, file, &at) : BLOB_IN_TIME;
  if (time != BLOB_DUE || json_int_or(call->command, "found", 0) != BLOB_DUE) {
    call_answer(call, 200, json_pack("{s:i, s:I}", "time", (int)time, "at", (json_int_t)at));
    return;
  }
  class = json_str_or(file, "class", "");
  time_format(json_int_or(file, "retain_until", 0), until);
  json_object_set_new(call->command, "item", json_integer(strtoll(item, NULL, 10)));
  json_object_set_new(call->command, "because",
                      json_sprintf("its class \"%s\" keeps it until %.10s, and the settings have such files deleted then", class, until));
  file_delete(call, inc, file);
}

/* ---- looking, at the node that has them */

struct expiring {
  struct vault_job job; /* first */
  struct desk *desk;
  char node[NODE_NAME]; /* whose folder it is that was adopted; "": our own */
  struct blob_info *list;
  size_t count, next;
  enum blob_time time; /* what was found of the one at hand */
  int64_t at, now;
};

static void look(struct expiring *x);
static void list_begin(struct expiring *x);

static void end(struct expiring *x) {
  if (x->desk->files) x->desk->files->expiring--;
  free(x->list);
  free(x);
}

static void job_drop(struct vault_job *job) { end((struct expiring *)job); }

static int work_looked(struct blobs *b, struct vault_job *job) {
  struct expiring *x = (struct expiring *)job;
  const struct blob_info *info = &x->list[x->next];
  return blob_looked(b, info->incident, info->sha256, x->time, x->at, &job->err);
}

static void looked(struct vault_job *job) {
  struct expiring *x = (struct expiring *)job;
  if (job->result < 0) log_warning("whose time is over cannot be noted: %s", job->err.text);
  x->next++;
  if (job->result < 0) end(x);
  else look(x);
}

static void on_judged(void *arg, int status, const json_t *answer) {
  struct expiring *x = arg;
  const struct blob_info *info = &x->list[x->next];
  if (status >= 500) { /* Redis is away, or the owner is: the next hour, then */
    end(x);
  } else if (status == 200 && json_object_get(answer, "seq")) {
    log_notice("%s: a file was deleted by its class, entry %" PRId64, info->incident, json_int_or(answer, "seq", 0));
    x->next++;
    look(x);
  } else {
    x->time = status == 200 ? (enum blob_time)json_int_or(answer, "time", 0) : info->time;
    x->at = status == 200 ? json_int_or(answer, "at", 0) : x->now + DAY_US;
    x->job = (struct vault_job){.run = work_looked, .done = looked, .drop = job_drop};
    vault_do(file_vault(x->desk, x->node), &x->job);
  }
}

static void look(struct expiring *x) {
  struct desk *d = x->desk;
  const struct blob_info *info = &x->list[x->next];
  if (x->next >= x->count) {
    if (x->count == AT_ONCE) list_begin(x);
    else end(x);
    return;
  }
  desk_command_inner(d, &files_of(d)->engine,
                     json_pack("{s:s, s:s, s:s, s:s, s:i}", "command", "evidence.expire", "id", info->incident, "sha256", info->sha256,
                               "node", *x->node ? x->node : d->deps.store->node, "found", (int)info->time),
                     on_judged, x);
}

static int work_list(struct blobs *b, struct vault_job *job) {
  struct expiring *x = (struct expiring *)job;
  return blobs_to_look(b, x->now, AT_ONCE, &x->list, &x->count, &job->err);
}

static void listed(struct vault_job *job) {
  struct expiring *x = (struct expiring *)job;
  if (job->result < 0) log_warning("whose time is over cannot be looked for: %s", job->err.text);
  look(x);
}

static void list_begin(struct expiring *x) {
  free(x->list);
  x->list = NULL;
  x->count = x->next = 0;
  x->now = clock_steady(x->desk->deps.store->clock);
  x->job = (struct vault_job){.run = work_list, .done = listed, .drop = job_drop};
  vault_do(file_vault(x->desk, x->node), &x->job);
}

static void begin(struct desk *d, const char *node) {
  struct expiring *x = calloc(1, sizeof *x);
  if (!x) abort();
  *x = (struct expiring){.desk = d};
  snprintf(x->node, sizeof x->node, "%.47s", node);
  files_of(d)->expiring++;
  list_begin(x);
}

void desk_expire_files(struct desk *d) {
  const char *node;
  json_t *one;
  if (files_of(d)->expiring) return;
  begin(d, "");
  json_object_foreach(json_object_get(json_object_get(d->deps.settings, "evidence"), "adopted"), node, one) if (file_is_here(d, node))
      begin(d, node);
}
