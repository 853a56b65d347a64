/* One message from the queue to its end. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/slab.h"
#include "base/text.h"
#include "intake/message.h"

static void finish(struct message *m);
static void enrich(struct message *m);

void message_free(struct message *m) {
  struct intake *in = m->in;
  timer_free(m->retry);
  normalised_release(&m->n);
  for (size_t i = 0; i < m->wanted_count; i++) slab_free(m->wanted[i].playbook), slab_free(m->wanted[i].group);
  for (size_t i = 0; i < m->watcher_count; i++) slab_free(m->watchers[i].playbook);
  slab_free(m->watchers);
  slab_free(m->wanted);
  json_decref(m->text);
  slab_free(m->source);
  slab_free(m->alert_id);
  slab_free(m);
  intake_one_less(in);
}

static int64_t now_us(const struct message *m) { return clock_wall(m->in->deps.clock); }

/* Not now. When the intake is stopping, or the room under it has gone, the message is left alone: Redis delivers it again. */
static void later(struct message *m, loop_cb *again) {
  if (m->in->running) m->retry = timer_start(m->in->deps.loop, RETRY_MS, again, m);
  else message_free(m);
}

/* --- the end: one atomic step ------------------------------------------------------------------------------------------ */

static void finish_again(void *arg) {
  struct message *m = arg;
  timer_free(m->retry);
  m->retry = NULL;
  finish(m);
}

void message_ended(struct message *m, const struct err *err) {
  if (err) {
    later(m, finish_again); /* done is idempotent: the second call finds nothing to do */
    return;
  }
  if (m->guilty) suspect_forget(SUSPECT_ALERT, m->name, 0);
  message_free(m);
}

static void on_done(void *arg, const struct redis_value *reply, const struct err *err) { message_ended(arg, err); }

static void count(struct message *m) {
  struct intake *in = m->in;
  uint64_t *const counters[] = {&in->attached, &in->duplicates, &in->suppressed, &in->dead, &in->splits};
  static const char *const names[] = {"attached", "duplicate", "suppressed", "dead", "split"};
  for (size_t i = 0; i < 5; i++)
    if (strcmp(names[i], m->outcome) == 0) ++*counters[i];
}

static char *part_text(const struct message *m, const json_t *part) {
  char *document = json_text(part);
  json_t *fields = json_pack("{s:s, s:s}", "alert", document ? document : "", "source", m->source ? m->source : m->n.connector->instance);
  char *text = json_text(fields);
  json_decref(fields);
  free(document);
  if (!text) abort();
  return text;
}

/* With what there is beside it: a message's parts, or why it is dead. */
static void finish_with(struct message *m) {
  struct intake *in = m->in;
  struct err err;
  char now[24], keep[24];
  bool split = strcmp(m->outcome, "split") == 0;
  size_t parts = split ? json_array_size(m->n.parts) : 0, argc = 15;
  const char **argv = calloc(argc + parts + 1, sizeof *argv);
  char **texts = calloc(parts + 1, sizeof *texts);
  if (!argv || !texts) abort();
  snprintf(now, sizeof now, "%" PRId64, now_us(m) / 1000);
  snprintf(keep, sizeof keep, "%" PRId64, in->keep_ms);
  const char *const head[] = {"FCALL",
                              "tocsin_done",
                              "6",
                              in->key[KEY_QUEUE],
                              in->key[KEY_ROUTED],
                              in->key[KEY_SEEN],
                              in->key[KEY_SEEN_IN],
                              in->key[KEY_COUNTS],
                              in->key[KEY_DEAD],
                              QUEUE_GROUP,
                              m->id,
                              m->alert_id ? m->alert_id : "",
                              m->outcome,
                              now,
                              keep};
  memcpy(argv, head, sizeof head);
  for (size_t i = 0; i < parts; i++) argv[argc++] = texts[i] = part_text(m, json_array_get(m->n.parts, i));
  if (!split) argv[argc++] = m->reason; /* the bytes are there already: Redis moves them */
  if (redis_command(in->deps.redis, redis_lane(in->deps.redis, in->key[KEY_QUEUE]), on_done, m, argc, argv, NULL, &err) < 0)
    later(m, finish_again);
  for (size_t i = 0; i < parts; i++) free(texts[i]);
  free(texts);
  free(argv);
}

static void finish(struct message *m) {
  if (strcmp(m->outcome, "split") == 0 || strcmp(m->outcome, "dead") == 0) finish_with(m);
  else together_end(m);
}

static void end(struct message *m, const char *outcome) {
  m->outcome = outcome;
  count(m);
  finish(m);
}

static void on_recorded(void *arg, const struct err *err) {
  struct message *m = arg;
  if (!err) finish(m);
  else message_free(m); /* the node's own journal is gone: the engine ends, and the message is delivered again */
}

/* Dead and suppressed alerts have no incident: they are on record in the node's own journal before they are acknowledged. */
static void end_on_record(struct message *m, const char *outcome, enum kind kind, json_t *body_take) {
  m->outcome = outcome;
  count(m);
  journal_add(m->in->deps.node, kind, "engine", 0, NULL, body_take);
  journal_when_durable(m->in->deps.node, on_recorded, m);
}

static void bury(struct message *m, const char *reason) {
  snprintf(m->reason, sizeof m->reason, "%s", reason);
  log_warning("alert %s is set aside: %s; `tocsin alert dead` shows it", m->id, m->reason);
  end_on_record(m, "dead", KIND_ALERT_DEAD,
                json_pack("{s:s, s:s, s:s, s:I}", "id", m->id, "source", m->source ? m->source : "", "reason", m->reason, "bytes",
                          (json_int_t)m->len));
}

/* --- attaching --------------------------------------------------------------------------------------------------------------- */

/* Its connector has read it before; one that has been loaded since may not be able to. */
static int find_again(struct message *m, struct err *err) {
  struct normalised again = {0};
  int r = normalise(m->in->normaliser, m->source, json_string_value(m->text), m->len, &again, err);
  if (r == 0 && !again.finding) r = err_set(err, ERR_INVALID, "its connector takes it for several by now");
  if (r < 0) {
    normalised_release(&again);
    return r;
  }
  m->n = again;
  enrich(m);
  return 0;
}

static void attach_again(void *arg) {
  struct message *m = arg;
  struct err err;
  timer_free(m->retry);
  m->retry = NULL;
  if (!m->n.finding && find_again(m, &err) < 0) {
    if (m->in->running) log_warning("alert %s cannot be read again, which could not be attached yet: %s", m->id, err.text);
    later(m, attach_again);
    return;
  }
  together_route(m); /* gets the same incidents again */
}

static void on_attached(void *arg, const struct err *err) {
  struct message *m = arg;
  if (err && !m->reason[0]) snprintf(m->reason, sizeof m->reason, "%.500s", err->text);
  if (--m->attaching) return;
  if (!m->reason[0]) {
    end(m, "attached");
  } else {
    if (m->in->running) log_warning("alert %s could not be attached yet: %s", m->id, m->reason);
    m->reason[0] = 0;
    later(m, attach_again);
  }
}

static void attach_one(struct message *m, const struct normalised *normal, const char *incident, bool created, const char *const *playbooks,
                       size_t n, const char *group) {
  struct err err;
  struct alert alert = {.id = m->alert_id,
                        .source = m->n.connector->instance,
                        .received = m->received,
                        .finding = normal->finding,
                        .most = normal->most,
                        .raw = normal->document,
                        .text = m->text,
                        .queued = m->name};
  if (desk_attach(m->in->deps.desk, incident, created, &alert, playbooks, n, group && *group ? group : NULL, on_attached, m, &err) < 0)
    on_attached(m, &err);
}

/* Playbooks whose group fell into the same incident are attached with it in one call. From then on the incident's entry has it: the message keeps its text, of which it
 * is made again in the rare case that it could not be attached, so that the trees are freed while they are still in the caches. */
static void attach_all(struct message *m, const struct redis_value *reply, bool fresh) {
  const char *ids[INCIDENTS_MOST];
  bool created[INCIDENTS_MOST];
  size_t n = 0;
  for (size_t i = 1; i + 1 < redis_count(reply) && n < m->wanted_count && n < INCIDENTS_MOST; i += 2, n++) {
    ids[n] = redis_string(redis_item(reply, i), NULL);
    created[n] = fresh && redis_integer(redis_item(reply, i + 1)) == 1;
  }
  size_t distinct = 0;
  for (size_t i = 0; i < n; i++) {
    bool first = true;
    for (size_t k = 0; k < i; k++) first = first && strcmp(ids[k], ids[i]) != 0;
    distinct += first;
  }
  m->attaching = distinct;
  struct normalised normal = m->n;
  m->n.finding = m->n.document = NULL;
  for (size_t i = 0; i < n; i++) {
    const char *playbooks[2 * INCIDENTS_MOST];
    size_t count_here = 0;
    bool first = true, new_here = false;
    for (size_t k = 0; k < i; k++) first = first && strcmp(ids[k], ids[i]) != 0;
    if (!first) continue;
    for (size_t k = i; k < n; k++) {
      if (strcmp(ids[k], ids[i]) != 0) continue;
      new_here = new_here || created[k];
      if (m->wanted[k].playbook) playbooks[count_here++] = m->wanted[k].playbook;
    }
    for (size_t k = 0; k < m->watcher_count; k++)
      if (m->watchers[k].host < n && strcmp(ids[m->watchers[k].host], ids[i]) == 0) playbooks[count_here++] = m->watchers[k].playbook;
    attach_one(m, &normal, ids[i], new_here, playbooks, count_here, m->wanted[i].group);
  }
  json_decref(normal.finding);
  json_decref(normal.document);
}

void message_routed(struct message *m, const struct redis_value *answer, const struct err *err) {
  if (err) {
    later(m, attach_again);
    return;
  }
  const char *word = redis_string(redis_item(answer, 0), NULL);
  if (strcmp(word, "duplicate") == 0) {
    end(m, "duplicate");
    return;
  }
  suspect_begin(SUSPECT_ALERT, m->name, 0);
  attach_all(m, answer, strcmp(word, "new") == 0);
  suspect_end();
}

/* --- which playbooks, which groups --------------------------------------------------------------------------------------------- */

static void want(struct message *m, const char *playbook, const char *group, int64_t window_ms) {
  m->wanted = slab_realloc(m->wanted, (m->wanted_count + 1) * sizeof *m->wanted);
  if (!m->wanted) abort();
  m->wanted[m->wanted_count++] = (struct wanted){playbook ? slab_strdup(playbook) : NULL, slab_strdup(group ? group : ""), window_ms};
}

/* Without a group of the playbook's own, what the product itself correlates (firing and resolved) still belongs together. */
static char *own_group(const struct message *m) {
  const char *correlation = json_string_value(json_at(m->n.finding, "metadata.correlation_uid"));
  struct buf key;
  if (!correlation) return NULL;
  buf_init(&key, 8192);
  buf_adds(&key, "metadata.correlation_uid=");
  buf_adds(&key, m->n.connector->instance);
  buf_addc(&key, ':');
  buf_add_json_string(&key, correlation, strlen(correlation));
  return buf_take(&key, NULL);
}

static char *default_group(const struct message *m) {
  struct buf key;
  size_t i;
  json_t *path;
  if (json_array_size(m->in->default_group) == 0) return NULL;
  buf_init(&key, 8192);
  json_array_foreach(m->in->default_group, i, path) {
    json_t *values = path_values(m->n.finding, m->n.document, json_string_value(path));
    char *text = json_text(values);
    bool none = json_array_size(values) == 0;
    buf_addf(&key, "%s%s=%s", i ? "|" : "", json_string_value(path), text ? text : "");
    free(text);
    json_decref(values);
    if (none) {
      buf_release(&key);
      return NULL;
    }
  }
  return buf_take(&key, NULL);
}

/* Where it would have had an incident of its own group, that one; else the first. */
static void watch(struct message *m, const struct route_match *match) {
  size_t host = 0;
  for (size_t i = 0; i < m->wanted_count; i++)
    if (m->wanted[i].playbook && strcmp(m->wanted[i].playbook, match->playbook) == 0) return; /* the default one, which starts anyway */
  for (size_t i = m->wanted_count; match->group && i-- > 0;)
    if (strcmp(m->wanted[i].group, match->group) == 0) host = i;
  m->watchers = slab_realloc(m->watchers, (m->watcher_count + 1) * sizeof *m->watchers);
  if (!m->watchers) abort();
  m->watchers[m->watcher_count++] = (struct watcher){slab_strdup(match->playbook), host};
}

static void wanted_find(struct message *m, const struct routing *routing) {
  bool ended = json_int_or(m->n.finding, "activity_id", 1) == 3;
  char *correlated = own_group(m);
  for (size_t i = 0; i < routing->count && m->wanted_count < INCIDENTS_MOST; i++) {
    const struct route_match *match = &routing->matches[i];
    if (match->shadow) continue;
    if (match->group) want(m, ended ? NULL : match->playbook, match->group, match->window_ms);
    else want(m, ended ? NULL : match->playbook, correlated, correlated ? CORRELATION_WINDOW_MS : 0);
  }
  if (m->wanted_count == 0) {
    char *group = default_group(m);
    const char *key = group ? group : correlated;
    want(m, ended ? NULL : m->in->default_playbook, key, group ? m->in->default_window_ms : correlated ? CORRELATION_WINDOW_MS : 0);
    free(group);
  }
  for (size_t i = 0; !ended && i < routing->count && m->watcher_count < INCIDENTS_MOST; i++)
    if (routing->matches[i].shadow) watch(m, &routing->matches[i]);
  free(correlated);
}

/* What is known of the assets that an alert names: on the finding as OCSF enrichments; a critical one raises the severity by one step. */
static void enrich(struct message *m) {
  json_t *found = json_array(), *o;
  size_t i;
  bool critical = false;
  json_array_foreach(json_object_get(m->n.finding, "observables"), i, o) {
    const char *value = json_str(o, "value");
    json_t *asset = value && m->in->lists ? lists_asset(m->in->lists, value) : NULL;
    if (!asset || json_array_size(found) >= 16) continue;
    json_array_append_new(found, json_pack("{s:s, s:s, s:O}", "name", "asset", "value", value, "data", asset));
    const char *criticality = json_str_or(asset, "criticality", "");
    critical = critical || strcmp(criticality, "critical") == 0 || strcmp(criticality, "high") == 0;
  }
  int64_t severity = json_int_or(m->n.finding, "severity_id", 0);
  if (json_array_size(found)) json_object_set(m->n.finding, "enrichments", found), m->n.most = 0;
  if (critical && severity >= 1 && severity < 5) {
    json_object_set_new(m->n.finding, "severity_id", json_integer(severity + 1));
    json_object_set_new(m->n.finding, "severity", json_string(severity_name(severity + 1)));
  }
  json_decref(found);
}

static void alert_id_make(struct message *m) {
  const char *uid = json_string_value(json_at(m->n.finding, "metadata.uid"));
  struct buf id;
  buf_init(&id, 4096);
  buf_adds(&id, m->n.connector->instance);
  buf_addc(&id, ':');
  buf_adds(&id, uid && *uid && strlen(uid) < 1024 ? uid : m->id);
  m->alert_id = buf_take(&id, NULL);
}

static void read_and_route(struct message *m) {
  struct err err;
  struct routing routing = {0};
  if (m->len > DOCUMENT_CAP) {
    bury(m, "the document is larger than 8 MiB");
    return;
  }
  if (normalise(m->in->normaliser, m->source, json_string_value(m->text), m->len, &m->n, &err) < 0) {
    bury(m, err.text);
    return;
  }
  if (m->n.parts) {
    end(m, "split");
    return;
  }
  alert_id_make(m);
  enrich(m);
  router_match(m->in->router, m->n.finding, m->n.document, now_us(m), &routing);
  if (routing.suppressed_by) {
    json_t *body = json_pack("{s:s, s:s, s:s, s:O, s:O}", "id", m->alert_id, "source", m->n.connector->instance, "rule",
                             routing.suppressed_by, "suppression", routing.suppression, "finding", m->n.finding);
    if (json_quick_valid(json_string_value(m->text), m->len)) json_object_set(body, "raw", m->text);
    end_on_record(m, "suppressed", KIND_ALERT_SUPPRESSED, body);
  } else {
    wanted_find(m, &routing);
    together_route(m);
  }
  routing_release(&routing);
}

/* --- the entry ------------------------------------------------------------------------------------------------------------------- */

static char *copy_bytes(const char *bytes, size_t len) {
  char *copy = slab_alloc(len + 1);
  if (!copy) abort();
  memcpy(copy, bytes, len);
  copy[len] = 0;
  return copy;
}

/* The value of the first of some names that the entry has. Borrowed; NULL: it has none of them. */
static const char *field(const struct redis_value *fields, const char *const *names, size_t *ret_len) {
  for (; *names; names++)
    for (size_t i = 0; i + 1 < redis_count(fields); i += 2)
      if (strcmp(redis_string(redis_item(fields, i), NULL), *names) == 0) return redis_string(redis_item(fields, i + 1), ret_len);
  return NULL;
}

/* It has ended the process while it was alone: its bytes are kept, and nobody reads them again until a person wants it. */
static bool set_aside(struct message *m) {
  char reason[SUSPECT_REASON];
  if (!suspect_guilty(SUSPECT_ALERT, m->name, 0, reason)) return false;
  m->guilty = true;
  bury(m, reason);
  return true;
}

static void text_keep(struct message *m, const char *text, size_t len) {
  m->text = json_stringn_nocheck(text, len);
  if (!m->text) abort();
  m->len = len;
}

/* A log shipper's fields: the message itself when it is a document, otherwise all fields as one. */
static void text_of_fields(struct message *m, const struct redis_value *fields) {
  static const char *const messages[] = {"message", "MESSAGE", "msg", "MSG", NULL};
  size_t len = 0;
  const char *text = field(fields, messages, &len);
  json_t *parsed = NULL;
  if (text && ((len && json_parse(text, len, &parsed, NULL) == 0 && json_is_object(parsed)) || strncmp(text, "CEF:", 4) == 0)) {
    text_keep(m, text, len);
  } else {
    struct buf all;
    buf_init(&all, DOCUMENT_CAP * 2);
    buf_addc(&all, '{');
    for (size_t i = 0, count = redis_count(fields) & ~(size_t)1; i < count; i++) {
      size_t n;
      const char *part = redis_string(redis_item(fields, i), &n);
      if (i) buf_addc(&all, i % 2 ? ':' : ',');
      buf_add_json_string(&all, part, n);
    }
    buf_addc(&all, '}');
    text_keep(m, buf_ok(&all) ? all.data : "", buf_ok(&all) ? all.len : 0);
    buf_release(&all);
  }
  json_decref(parsed);
}

void intake_message(struct intake *in, const struct redis_value *entry) {
  static const char *const alert[] = {"alert", NULL}, *const source[] = {"source", NULL};
  const struct redis_value *fields = redis_item(entry, 1);
  size_t from_len = 0;
  struct message *m = slab_calloc(1, sizeof *m);
  if (!m) abort();
  m->in = in;
  m->received = now_us(m);
  text_copy(m->id, sizeof m->id, redis_string(redis_item(entry, 0), NULL));
  if (in->deps.exercise) snprintf(m->name, sizeof m->name, "%.20s:%.26s", in->deps.exercise, m->id);
  else text_copy(m->name, sizeof m->name, m->id);
  const char *text = field(fields, alert, &m->len), *from = field(fields, source, &from_len);
  if (text && from_len) m->source = copy_bytes(from, from_len);
  if (set_aside(m)) return;
  suspect_begin(SUSPECT_ALERT, m->name, 0);
  if (text) text_keep(m, text, m->len);
  else text_of_fields(m, fields);
  if (redis_count(fields) < 2)
    bury(m, "the entry was taken out of the queue before it was read: nothing may trim or delete from tocsin:alerts");
  else read_and_route(m);
  suspect_end();
}
