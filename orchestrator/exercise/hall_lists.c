/* Which exercises there are, who plays them, and the incidents of one. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "exercise/hall_commands.h"

enum { LIST_MOST = 1000 };

struct listing {
  struct hall *hall;
  struct call *call;
  json_t *ids;
  const char *as;
  json_t *running; /* {id: node}: those that are played somewhere */
  size_t waiting;
  struct err failure;
};

/* "running", "elsewhere" (at another node), "waiting" (for one: its own is gone), "stuck" (it could not go on here), "over" */
static const char *stage_of(const struct hall *h, const struct exercise *x, const char *node) {
  if (x && !x->elsewhere) return x->stage == STAGE_CLOSED ? "over" : "running";
  if (!node) return "over";
  enum node_state state = h->deps.nodes ? nodes_state(h->deps.nodes, node) : NODE_SELF;
  if (strcmp(node, h->deps.node) == 0) return "stuck";
  return state == NODE_ALIVE ? "elsewhere" : "waiting";
}

static void mark_running(const struct listing *l, json_t *rows) {
  size_t i;
  json_t *row;
  json_array_foreach(rows, i, row) {
    const char *id = json_str_or(row, "id", ""), *node = json_str(l->running, id);
    const struct exercise *x = hall_find(l->hall, id);
    const char *stage = stage_of(l->hall, x, node);
    bool over = strcmp(stage, "over") == 0;
    json_object_set_new(row, "running", json_boolean(!over));
    json_object_set_new(row, "stage", json_string(stage));
    if (over) json_object_del(row, "paused");
    else if (node) json_object_set_new(row, "node", json_string(node));
    if (x && x->scenario) json_object_set(row, "title", json_object_get(x->scenario->json, "title"));
    if (x && x->scenario) json_object_set_new(row, "scenario", json_string(x->scenario->name));
  }
}

static void on_rows(void *arg, const json_t *rows, const struct err *err) {
  struct listing *l = arg;
  if (err) {
    hall_fail(l->call, err);
  } else {
    json_t *copy = json_deep_copy(rows);
    if (l->running) mark_running(l, copy);
    desk_reply(l->call, 200, json_pack("{s:o}", l->as, copy));
  }
  json_decref(l->running);
  free(l);
}

static void listing_one_less(struct listing *l, const struct err *err) {
  if (err) l->failure = *err;
  if (--l->waiting) return;
  if (!l->failure.code) {
    desk_rows(l->hall->deps.desk, l->ids, on_rows, l);
    return;
  }
  hall_fail(l->call, &l->failure);
  json_decref(l->ids);
  json_decref(l->running);
  free(l);
}

static void on_list(void *arg, const struct redis_value *reply, const struct err *err) {
  struct listing *l = arg;
  struct id id;
  for (size_t i = 0; !err && i < redis_count(reply); i++) {
    const char *text = redis_string(redis_item(reply, i), NULL);
    if (id_parse(text, &id) && !json_array_has(l->ids, text)) json_array_append_new(l->ids, json_string(text));
  }
  listing_one_less(l, err);
}

static void on_playing(void *arg, const struct redis_value *reply, const struct err *err) {
  struct listing *l = arg;
  for (size_t i = 0; !err && i + 1 < redis_count(reply); i += 2)
    json_object_set_new(l->running, redis_string(redis_item(reply, i), NULL), json_string(redis_string(redis_item(reply, i + 1), NULL)));
  listing_one_less(l, err);
}

static void list(struct hall *h, struct call *call, const char *as, const char *first, const char *second) {
  struct listing *l = calloc(1, sizeof *l);
  const char *keys[] = {first, second};
  char most[16];
  if (!l) abort();
  *l = (struct listing){.hall = h, .call = call, .ids = json_array(), .as = as, .waiting = 4};
  if (!second) l->running = json_object();
  snprintf(most, sizeof most, "%d", LIST_MOST - 1);
  for (size_t i = 0; i < 2; i++) {
    if (!keys[i] || redis_call(h->deps.redis, 0, on_list, l, &l->failure, "ZREVRANGE", keys[i], "0", most, NULL) < 0) l->waiting--;
  }
  if (second || redis_call(h->deps.redis, 0, on_playing, l, &l->failure, "HGETALL", EXERCISES_RUNNING, NULL) < 0) l->waiting--;
  listing_one_less(l, NULL);
}

void hall_list(void *arg, struct call *call, const struct person *by, const json_t *command) {
  const struct hall *h = arg;
  if (h->known) list(arg, call, "exercises", EXERCISES, NULL);
  else hall_refuse(call, 503, "the engine is just starting; try again in a moment");
}

bool hall_id_of(struct call *call, const json_t *command, char out[ID_INCIDENT]) {
  struct id id = {0};
  const char *text = json_str_or(command, "id", "");
  if (!id_parse(text, &id)) {
    hall_refuse(call, 400, "say which exercise: EX-000042, as `tocsin tabletop list` shows it");
    return false;
  }
  id_incident(out, MODE_EXERCISE, id.number);
  return true;
}

void hall_incidents(void *arg, struct call *call, const struct person *by, const json_t *command) {
  char id[ID_INCIDENT], open[64], recent[64];
  struct hall *h = arg;
  if (!hall_id_of(call, command, id)) return;
  struct exercise *x = hall_find(h, id);
  if (x && x->desk) { /* as they are in its memory */
    json_t *ids = json_array();
    struct listing *l = calloc(1, sizeof *l);
    if (!l) abort();
    *l = (struct listing){.hall = h, .call = call, .as = "incidents"};
    for (size_t i = 0; i < x->count; i++) json_array_append_new(ids, json_string(x->records[i].id));
    desk_rows(x->desk, ids, on_rows, l);
    return;
  }
  snprintf(open, sizeof open, "tocsin:{%s}:open", id);
  snprintf(recent, sizeof recent, "tocsin:{%s}:recent", id);
  list(h, call, "incidents", open, recent);
}
