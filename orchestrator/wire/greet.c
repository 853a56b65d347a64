/* What a fresh connection says before it takes commands: HELLO with AUTH, then the function library when Redis lacks it. */
#include <string.h>

#include "wire/functions.h"
#include "wire/lane.h"

static int say(struct lane *lane, redis_cb *cb, size_t argc, const char *const *argv) {
  struct err err;
  /* The connect's clock bounds the whole greeting: no time-outs of its own. */
  int code = lane_send(lane, cb, lane, -1, argc, argv, NULL, &err);
  if (code) lane_drop(lane, &err);
  return code;
}

/* True when the greeting must stop here. A dropped lane answers its own pending greeting: no second drop then. */
static bool refused(struct lane *lane, const struct err *err, const char *what) {
  if (!err) return false;
  if (lane->state != LANE_GREETING || lane->link->freed) return true;
  struct err copy = *err;
  err_wrap(&copy, "%s", what);
  lane_drop(lane, &copy);
  return true;
}

static void loaded(void *arg, const struct redis_value *reply, const struct err *err) {
  struct lane *lane = arg;
  if (!refused(lane, err, "Redis does not take the function library")) lane_ready(lane);
}

static void load(struct lane *lane) { say(lane, loaded, 4, (const char *[]){"FUNCTION", "LOAD", "REPLACE", redis_functions_code}); }

static void version_known(void *arg, const struct redis_value *reply, const struct err *err) {
  struct lane *lane = arg;
  if (err && err->code == ERR_INVALID) {
    load(lane); /* "Function not found", or a library that is broken */
    return;
  }
  if (refused(lane, err, "Redis does not run the function library")) return;
  if (redis_integer(reply) < REDIS_FUNCTIONS_VERSION) load(lane);
  else lane_ready(lane);
}

static void ask_version(struct lane *lane) {
  if (lane->link->bare) lane_ready(lane);
  else say(lane, version_known, 3, (const char *[]){"FCALL_RO", "tocsin_version", "0"});
}

/* What the sentinels say may be old: the server itself knows best. */
static void role_known(void *arg, const struct redis_value *reply, const struct err *err) {
  struct lane *lane = arg;
  struct err other;
  const char *role = redis_string(redis_item(reply, 0), NULL);
  if (!err && strcmp(role, "master") != 0) {
    err_set(&other, ERR_UNAVAILABLE, "%s:%d is no master (its role is %.20s)", lane->link->target.host, lane->link->target.port, role);
    err = &other;
  }
  if (!refused(lane, err, "the sentinels' master")) ask_version(lane);
}

static void greeted(void *arg, const struct redis_value *reply, const struct err *err) {
  struct lane *lane = arg;
  struct err missing;
  if (err && err->code == ERR_DENIED && !lane->link->password_slot) {
    err_set(&missing, ERR_DENIED,
            "it wants a password: name it in the settings, as redis.password, and redis.user if it has one of its own");
    err = &missing;
  }
  if (refused(lane, err, "Redis refuses the greeting")) return;
  if (lane->link->sentinels) say(lane, role_known, 1, (const char *[]){"ROLE"});
  else ask_version(lane);
}

void lane_greet(struct lane *lane) {
  struct redis *link = lane->link;
  const char *password = link->password_slot ? secrets_get(link->secrets, link->password_slot, NULL) : NULL;
  if (link->password_slot && !password) {
    struct err err;
    err_set(&err, ERR_DENIED, "the secret '%s' with the password for Redis is not known", link->password_slot);
    lane_drop(lane, &err);
    return;
  }
  /* Protocol 2: the parser of hiredis 0.14 knows no other. */
  const char *words[] = {"HELLO", "2", "SETNAME", "tocsin", "AUTH", link->user ? link->user : "default", password};
  say(lane, greeted, password ? 7 : 4, words);
}
