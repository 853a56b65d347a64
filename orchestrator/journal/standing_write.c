/* A plain standing written as the state of state.h is stored: its members in the order of their names. */
#include <stdlib.h>
#include <string.h>

#include "base/id.h"
#include "base/json_members.h"
#include "base/slab.h"
#include "base/text.h"
#include "journal/standing.h"

enum { MOST = STANDING_ALERTS > STANDING_INTENTS ? STANDING_ALERTS : STANDING_INTENTS };

/* A member of an object whose members' names are not known beforehand. */
struct named {
  char place[ID_PATH];
  const char *id; /* the name is this text, instead */
  size_t at;
};

static const char *name_of(const struct named *n) { return n->id ? n->id : n->place; }

static void sort(struct named *all, size_t count) {
  for (size_t i = 1; i < count; i++) {
    struct named one = all[i];
    size_t k = i;
    for (; k && strcmp(name_of(&all[k - 1]), name_of(&one)) > 0; k--) all[k] = all[k - 1];
    all[k] = one;
  }
}

static void separate(struct buf *out) {
  if (out->len && out->data[out->len - 1] != '{') buf_addc(out, ',');
}

static void add_name(struct buf *out, const char *name) {
  separate(out);
  buf_addc(out, '"');
  buf_adds(out, name);
  buf_add(out, "\":", 2);
}

static void add_named(struct buf *out, const struct named *n) {
  if (!n->id) {
    add_name(out, n->place);
    return;
  }
  separate(out);
  json_add_text(out, "", n->id);
  buf_addc(out, ':');
}

static inline void add_list(struct buf *out, const char *name, const struct standing_list *l) {
  buf_adds(out, name);
  if (l->bytes) buf_add(out, l->bytes, l->len);
  else buf_add(out, "[]", 2);
}

/* One that may be missing, too, as it was written when its entry was folded. */
static void add_written(struct buf *out, const struct standing_members *m, size_t i) {
  size_t len;
  const char *bytes = standing_member(m, i, &len);
  buf_add(out, bytes, len);
}

/* --- what is written as soon as it is folded --------------------------------------------------------------------------- */

char *standing_copy(const char *bytes, size_t len) {
  char *copy = slab_alloc(len + 1);
  if (!copy) abort();
  memcpy(copy, bytes, len);
  copy[len] = 0;
  return copy;
}

static char *taken(struct buf *text) {
  if (!buf_ok(text)) abort();
  char *bytes = standing_copy(text->data, text->len);
  buf_release(text);
  return bytes;
}

void standing_members_take(struct standing_members *m, const json_t *of, const char *const *names) {
  struct buf text;
  char near[1024];
  buf_lend(&text, near, sizeof near, UINT32_MAX / 2);
  for (size_t i = 0; names[i]; i++) {
    json_t *value = json_object_get(of, names[i]);
    if (value) {
      buf_add(&text, ",\"", 2);
      buf_adds(&text, names[i]);
      buf_add(&text, "\":", 2);
      json_write(value, &text);
    }
    m->ends[i] = (uint32_t)text.len;
  }
  m->bytes = taken(&text);
}

const char *standing_member(const struct standing_members *m, size_t i, size_t *ret_len) {
  size_t from = i ? m->ends[i - 1] : 0;
  *ret_len = m->bytes ? m->ends[i] - from : 0;
  return m->bytes ? m->bytes + from : "";
}

static json_t *parsed(const char *bytes, size_t len) {
  json_t *value = NULL;
  if (json_parse_stored(bytes, len, &value, NULL) < 0) abort(); /* they were written just so */
  return value;
}

json_t *standing_member_value(const struct standing_members *m, size_t i) {
  size_t len;
  const char *bytes = standing_member(m, i, &len), *value = len ? memchr(bytes, ':', len) : NULL; /* no name has one */
  return value ? parsed(value + 1, len - (size_t)(value + 1 - bytes)) : NULL;
}

void standing_list_take(struct standing_list *l, const json_t *list) {
  struct buf text;
  char near[1024];
  buf_lend(&text, near, sizeof near, SIZE_MAX / 2);
  json_write(list, &text);
  slab_free(l->bytes);
  l->len = text.len;
  l->bytes = taken(&text);
}

json_t *standing_list_value(const struct standing_list *l) { return l->bytes ? parsed(l->bytes, l->len) : json_array(); }

/* --- all of it ------------------------------------------------------------------------------------------------------------ */

static void add_recent(struct buf *out, const struct standing *s) {
  struct named all[MOST];
  for (size_t i = 0; i < s->recent_count; i++) all[i] = (struct named){.id = s->recent[i].id, .at = i};
  sort(all, s->recent_count);
  buf_adds(out, ",\"recent\":{");
  for (size_t i = 0; i < s->recent_count; i++) {
    add_named(out, &all[i]);
    json_add_number(out, (int64_t)s->recent[all[i].at].seq);
  }
  buf_addc(out, '}');
}

static void add_run(struct buf *out, const struct standing_run *r) {
  json_add_text(out, "{\"actor\":", r->actor);
  add_written(out, &r->began, BEGAN_DIGEST);
  if (r->otherwise) json_add_int(out, JSON_MEMBER("ended"), r->ended);
  json_add_value(out, JSON_MEMBER("error"), r->error);
  add_written(out, &r->began, BEGAN_GROUP);
  add_written(out, &r->began, BEGAN_PLAYBOOK);
  add_written(out, &r->began, BEGAN_SHADOW);
  json_add_int(out, JSON_MEMBER("started"), r->started);
  if (r->status) json_add_value(out, JSON_MEMBER("status"), r->status);
  else json_add_word(out, JSON_MEMBER("status"), r->otherwise ? r->otherwise : "running");
  json_add_value(out, JSON_MEMBER("text"), r->text);
  add_written(out, &r->began, BEGAN_TRIGGER);
  buf_addc(out, '}');
}

static void add_runs(struct buf *out, const struct standing *s) {
  struct named all[MOST];
  for (size_t i = 0; i < s->run_count; i++) {
    all[i].id = NULL;
    all[i].at = i;
    *text_add_number(all[i].place, all[i].place + sizeof all[i].place - 1, s->runs[i].number) = 0;
  }
  sort(all, s->run_count);
  buf_adds(out, ",\"runs\":{");
  for (size_t i = 0; i < s->run_count; i++) {
    add_named(out, &all[i]);
    add_run(out, &s->runs[all[i].at]);
  }
  buf_addc(out, '}');
}

static void add_member(struct buf *out, const json_t *of, const char *name) {
  json_t *value = json_object_get(of, name);
  if (!value) return;
  add_name(out, name);
  json_write(value, out);
}

static void add_intent(struct buf *out, const struct standing_intent *intent) {
  static const char *const before[] = {"action",  "attempt", "because",     "connector", "digest",    "effect", "key",
                                       "lift_at", "params",  "send_before", "settle",    "simulated", NULL},
                           *const after[] = {"target", "timeout", "undo_of", "version", NULL};
  json_t *body = parsed(intent->body, intent->len);
  buf_addc(out, '{');
  for (const char *const *k = before; *k; k++) add_member(out, body, *k);
  add_name(out, "since");
  json_add_number(out, intent->since);
  for (const char *const *k = after; *k; k++) add_member(out, body, *k);
  buf_addc(out, '}');
  json_decref(body);
}

static void add_intents(struct buf *out, const struct standing *s) {
  struct named all[MOST];
  for (size_t i = 0; i < s->intent_count; i++) {
    all[i].id = NULL;
    all[i].at = i;
    id_place(all[i].place, s->intents[i].run, s->intents[i].step);
  }
  sort(all, s->intent_count);
  buf_adds(out, ",\"intents\":{");
  for (size_t i = 0; i < s->intent_count; i++) {
    add_named(out, &all[i]);
    add_intent(out, &s->intents[all[i].at]);
  }
  buf_addc(out, '}');
}

static void add_first(struct buf *out, const struct standing *s) {
  size_t mode;
  if (s->has_acknowledged) json_add_int(out, "{\"acknowledged\":", s->acknowledged);
  json_add_int(out, s->has_acknowledged ? JSON_MEMBER("alerts") : "{\"alerts\":", s->alerts);
  add_list(out, JSON_MEMBER("attack"), &s->attack);
  add_written(out, &s->opening, OPENED_BY);
  buf_adds(out, ",\"containments\":{}");
  add_written(out, &s->opening, OPENED_EXERCISE);
  if (s->alerts) json_add_int(out, JSON_MEMBER("first_alert"), s->first_alert);
  add_list(out, JSON_MEMBER("groups"), &s->groups);
  buf_adds(out, ",\"held\":{}");
  json_add_word(out, JSON_MEMBER("id"), s->incident);
  add_intents(out, s);
  if (s->alerts) json_add_int(out, JSON_MEMBER("last_alert"), s->last_alert);
  standing_member(&s->opening, OPENED_MODE, &mode);
  if (!mode) json_add_word(out, JSON_MEMBER("mode"), state_mode(s->incident));
  add_written(out, &s->opening, OPENED_MODE);
}

static void add_last(struct buf *out, const struct standing *s) {
  json_add_int(out, JSON_MEMBER("next_run"), s->next_run);
  json_add_int(out, JSON_MEMBER("notes"), s->notes);
  add_list(out, JSON_MEMBER("observables"), &s->observables);
  add_written(out, &s->opening, OPENED_OCCURRED);
  if (s->opening.bytes) json_add_int(out, JSON_MEMBER("opened"), s->opened);
  add_written(out, &s->opening, OPENED_PLAYBOOK);
  buf_adds(out, ",\"questions\":{}");
  add_recent(out, s);
  add_runs(out, s);
  json_add_int(out, JSON_MEMBER("seq"), (int64_t)s->seq);
  json_add_word(out, JSON_MEMBER("severity"), severity_name(s->severity));
  json_add_int(out, JSON_MEMBER("severity_id"), s->severity);
  buf_adds(out, ",\"status\":\"open\",\"tags\":[]");
  add_written(out, &s->opening, OPENED_TENANT);
  buf_adds(out, ",\"ticks\":{}");
  add_written(out, &s->opening, OPENED_TITLE);
  if (s->seq) json_add_int(out, JSON_MEMBER("updated"), s->updated);
  buf_adds(out, ",\"v\":1,\"waits\":{}");
}

void standing_write(const struct standing *s, struct buf *out) {
  if (s->json) {
    json_write(s->json, out);
  } else if (s->bytes) {
    buf_add(out, s->bytes, s->len);
  } else {
    add_first(out, s);
    add_last(out, s);
    buf_addc(out, '}');
  }
}
