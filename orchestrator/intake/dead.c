/* The commands alert.push, alert.dead and alert.retry. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "intake/internal.h"

enum { DEAD_SHOWN = 100, DEAD_MOST = 10000, TEXT_SHOWN = 4000 };

struct dead_call {
  struct intake *in;
  struct call *call;
  size_t limit;
};

static struct dead_call *dead_call_new(struct intake *in, struct call *call) {
  struct dead_call *c = calloc(1, sizeof *c);
  if (!c) abort();
  c->in = in;
  c->call = call;
  return c;
}

static void fail(struct dead_call *c, const struct err *err) {
  desk_reply(c->call, err->code == ERR_INVALID ? 400 : err->code == ERR_NOT_FOUND ? 404 : 503, json_pack("{s:s}", "error", err->text));
  free(c);
}

/* --- push ---------------------------------------------------------------------------------------------------------- */

static void on_pushed(void *arg, const struct err *err) {
  struct dead_call *c = arg;
  if (err) {
    fail(c, err);
    return;
  }
  desk_reply(c->call, 200, json_pack("{s:i}", "accepted", 1));
  free(c);
}

static void do_push(void *arg, struct call *call, const struct person *by, const json_t *command) {
  struct dead_call *c = dead_call_new(arg, call);
  const json_t *text = json_object_get(command, "text");
  struct err err;
  if (!json_is_string(text) || json_string_length(text) == 0) {
    err_set(&err, ERR_INVALID, "there is no document to push: it is empty");
    fail(c, &err);
  } else if (!person_has_role(by, "responder")) {
    desk_reply(call, 403, json_pack("{s:s}", "error", "pushing alerts needs the role \"responder\""));
    free(c);
  } else if (intake_push(c->in, json_str(command, "source"), json_string_value(text), json_string_length(text), on_pushed, c, &err) < 0) {
    fail(c, &err);
  }
}

/* --- dead ------------------------------------------------------------------------------------------------------------- */

static json_t *text_json(const char *bytes, size_t len) {
  struct buf b;
  json_t *value = NULL;
  buf_init(&b, len * 6 + 16);
  buf_add_json_string(&b, bytes, len < TEXT_SHOWN ? len : TEXT_SHOWN);
  json_parse(b.data, b.len, &value, NULL);
  buf_release(&b);
  return value ? value : json_string("");
}

static json_t *letter(const struct redis_value *entry) {
  const struct redis_value *fields = redis_item(entry, 1);
  json_t *result = json_pack("{s:s}", "id", redis_string(redis_item(entry, 0), NULL));
  size_t len, size = 0;
  for (size_t i = 0; i + 1 < redis_count(fields); i += 2) {
    const char *name = redis_string(redis_item(fields, i), NULL), *value = redis_string(redis_item(fields, i + 1), &len);
    if (strcmp(name, "reason") == 0 && i == 0) json_object_set_new(result, "reason", json_string(value));
    else if (strcmp(name, "at") == 0 && i == 2)
      json_object_set_new(result, "time", json_integer(redis_integer(redis_item(fields, i + 1)) * 1000));
    else if (strcmp(name, "source") == 0) json_object_set_new(result, "source", json_string(value));
    else if (strcmp(name, "alert") == 0 || !json_object_get(result, "text")) json_object_set_new(result, "text", text_json(value, len));
    size += len;
  }
  json_object_set_new(result, "size", json_integer((json_int_t)size));
  return result;
}

static void on_dead(void *arg, const struct redis_value *reply, const struct err *err) {
  struct dead_call *c = arg;
  if (err) {
    fail(c, err);
    return;
  }
  json_t *dead = json_array();
  for (size_t i = 0; i < redis_count(reply) && i < c->limit; i++) json_array_append_new(dead, letter(redis_item(reply, i)));
  desk_reply(c->call, 200, json_pack("{s:o, s:I}", "dead", dead, "count", (json_int_t)redis_count(reply)));
  free(c);
}

static void do_dead(void *arg, struct call *call, const struct person *by, const json_t *command) {
  struct dead_call *c = dead_call_new(arg, call);
  struct err err;
  char most[16];
  int64_t limit = json_int_or(command, "limit", DEAD_SHOWN);
  c->limit = limit > 0 && limit <= DEAD_MOST ? (size_t)limit : DEAD_SHOWN;
  snprintf(most, sizeof most, "%d", DEAD_MOST);
  if (redis_call(c->in->deps.redis, redis_lane(c->in->deps.redis, c->in->key[KEY_DEAD]), on_dead, c, &err, "XREVRANGE",
                 c->in->key[KEY_DEAD], "+", "-", "COUNT", most, NULL) < 0)
    fail(c, &err);
}

/* --- retry: back on the queue and off the dead letters, in one step, inside Redis -------------------------------------------------------- */

static void on_revived(void *arg, const struct redis_value *reply, const struct err *err) {
  struct dead_call *c = arg;
  int64_t count = redis_integer(reply);
  struct err none;
  if (!err && !count) {
    err_set(&none, ERR_NOT_FOUND, "there is no such dead letter; `tocsin alert dead` lists them");
    err = &none;
  }
  if (err) {
    fail(c, err);
    return;
  }
  desk_reply(c->call, 200, json_pack("{s:I}", "retried", (json_int_t)count));
  free(c);
}

static void do_retry(void *arg, struct call *call, const struct person *by, const json_t *command) {
  struct dead_call *c = dead_call_new(arg, call);
  struct err err;
  const char *id = json_str(command, "id");
  bool all = json_bool_or(command, "all", false);
  if (!id && !all) {
    err_set(&err, ERR_INVALID, "say which: an id from `tocsin alert dead`, or --all");
    fail(c, &err);
  } else if (!person_has_role(by, "responder")) {
    desk_reply(call, 403, json_pack("{s:s}", "error", "retrying dead letters needs the role \"responder\""));
    free(c);
  } else if (redis_call(c->in->deps.redis, redis_lane(c->in->deps.redis, c->in->key[KEY_DEAD]), on_revived, c, &err, "FCALL",
                        "tocsin_revive", "2", c->in->key[KEY_DEAD], c->in->key[KEY_QUEUE], all ? "" : id, "1000", NULL) < 0) {
    fail(c, &err);
  }
}

void intake_commands(struct intake *in) {
  desk_extend(in->deps.desk, "alert.push", do_push, in);
  desk_extend(in->deps.desk, "alert.dead", do_dead, in);
  desk_extend(in->deps.desk, "alert.retry", do_retry, in);
}
