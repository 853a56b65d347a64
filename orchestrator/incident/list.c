/* Lists over many incidents: from memory where they are loaded, otherwise from the states that Redis holds. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "incident/internal.h"
#include "incident/list.h"

struct list {
  struct desk *desk;
  json_t *ids, *states;
  size_t waiting, limit;
  bool open, recent, archived;
  json_t *seen; /* {id: true}: while one moves, it stands in two indexes */
  list_cb *cb;
  void *arg;
};

struct slot {
  struct list *list;
  size_t i;
};

static void list_end(struct list *l, const struct err *err) {
  l->cb(l->arg, err ? NULL : l->states, err);
  json_decref(l->ids);
  json_decref(l->seen);
  json_decref(l->states);
  free(l);
}

static void one_less(struct list *l) {
  if (--l->waiting == 0) list_end(l, NULL);
}

static void on_state(void *arg, const struct redis_value *reply, const struct err *err) {
  struct slot *s = arg;
  json_t *state = NULL;
  size_t len;
  const char *text = err ? "" : redis_string(reply, &len);
  if (!err && redis_type(reply) == REDIS_STRING && json_parse_stored(text, len, &state, NULL) == 0)
    json_array_set_new(s->list->states, s->i, state);
  one_less(s->list);
  free(s);
}

static void state_ask(struct list *l, const char *id, size_t i) {
  struct err err;
  char key[KEY_TEXT];
  struct slot *s = calloc(1, sizeof *s);
  if (!s) abort();
  *s = (struct slot){l, i};
  snprintf(key, sizeof key, "tocsin:{%s}:state", id);
  l->waiting++;
  if (redis_call(l->desk->deps.redis, redis_lane(l->desk->deps.redis, id), on_state, s, &err, "GET", key, NULL) < 0) {
    l->waiting--;
    free(s);
  }
}

static void states_gather(struct list *l) {
  size_t i;
  json_t *id;
  l->waiting = 1;
  json_array_foreach(l->ids, i, id) {
    const struct incident *inc = map_get(&l->desk->incidents, json_string_value(id));
    bool here = inc && inc->journal && journal_seq(inc->journal);
    json_array_append_new(l->states, here ? json_deep_copy(journal_state(inc->journal)) : state_blank(json_string_value(id)));
    if (!here) state_ask(l, json_string_value(id), i);
  }
  one_less(l);
}

static void ids_take(struct list *l, const struct redis_value *reply) {
  for (size_t i = 0; i < redis_count(reply) && json_array_size(l->ids) < l->limit; i++) {
    const char *id = redis_string(redis_item(reply, i), NULL);
    if (json_object_get(l->seen, id)) continue;
    json_object_set_new(l->seen, id, json_true());
    json_array_append_new(l->ids, json_string(id));
  }
}

static void ids_ask(struct list *l);

static void on_ids(void *arg, const struct redis_value *reply, const struct err *err) {
  struct list *l = arg;
  if (err) {
    list_end(l, err);
    return;
  }
  ids_take(l, reply);
  ids_ask(l);
}

static void ids_ask(struct list *l) {
  struct err err;
  char last[24], key[DESK_KEY];
  desk_key(l->desk, l->open ? "open" : l->recent ? "recent" : "archived", key);
  if (!l->open && !l->recent && !l->archived) {
    states_gather(l);
    return;
  }
  if (l->open) l->open = false;
  else if (l->recent) l->recent = false;
  else l->archived = false;
  snprintf(last, sizeof last, "%zu", l->limit - 1);
  if (redis_call(l->desk->deps.redis, 0, on_ids, l, &err, "ZREVRANGE", key, "0", last, NULL) < 0) list_end(l, &err);
}

void desk_list(struct desk *d, bool open, bool recent, size_t limit, list_cb *cb, void *arg) {
  struct list *l = calloc(1, sizeof *l);
  if (!l) abort();
  *l = (struct list){
      .desk = d, .ids = json_array(), .states = json_array(), .limit = limit, .open = open, .recent = recent, .cb = cb, .arg = arg};
  l->archived = recent;
  l->seen = json_object();
  ids_ask(l);
}

void desk_list_of(struct desk *d, json_t *ids_take, list_cb *cb, void *arg) {
  struct list *l = calloc(1, sizeof *l);
  if (!l) abort();
  *l = (struct list){.desk = d, .ids = ids_take, .states = json_array(), .cb = cb, .arg = arg};
  ids_ask(l);
}

void desk_list_asking(struct desk *d, size_t limit, list_cb *cb, void *arg) {
  struct list *l = calloc(1, sizeof *l);
  if (!l) abort();
  *l = (struct list){.desk = d, .ids = sleepers_asking(d->sleepers, limit), .states = json_array(), .limit = limit, .cb = cb, .arg = arg};
  ids_ask(l);
}
