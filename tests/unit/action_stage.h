/* action_stage.h: real actions against a real Redis and an HTTP server in the same loop that answers as the test says. */
#ifndef TOCSIN_TEST_ACTION_STAGE_H
#define TOCSIN_TEST_ACTION_STAGE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/keyvalq_struct.h>

#include "action/action.h"
#include "base/json.h"
#include "redis_server.h"

enum { PATIENCE_MS = 20000, REQUESTS = 64 };

static struct server server;
static struct loop *loop;
static struct redis *redis_link;
static struct secrets *secrets;
static struct transports *transports;
static struct registry *registry;
static struct people *people;
static struct questions *questions;
static struct actions *actions;
static struct journal_store store;
static struct journal *journal;
static json_t *guard, *settings;
static unsigned incidents, steps, kinds[KIND_COUNT];
static json_t *bodies[KIND_COUNT]; /* the newest of each kind */
static char kind_actor[KIND_COUNT][ENTRY_ACTOR];

/* --- the product: one letter says how each request is answered ------------------------------------------------------------ */

static struct {
  struct evhttp *http;
  int port;
  const char *
      script; /* 'o' 200, 'l' 200 and large, 't' 200 with a secret, 'a' 409, 'r' 429, 'g' 503, 'b' rubbish, 'x' 404, 's' never, 'c' closes, 'y'/'n'/'?' what a probe is told; the last one stays */
  unsigned requests;
  char path[REQUESTS][64], key[REQUESTS][64], body[REQUESTS][256];
  bool write[REQUESTS];   /* no GET */
  bool durable[REQUESTS]; /* was all of the journal acknowledged when it came? */
} product;

static inline void reply(struct evhttp_request *r, int status, const char *body) {
  struct evbuffer *b = evbuffer_new();
  evbuffer_add_printf(b, "%s", body);
  evhttp_add_header(evhttp_request_get_output_headers(r), "Content-Type", "application/json");
  if (status == 429) evhttp_add_header(evhttp_request_get_output_headers(r), "Retry-After", "1");
  evhttp_send_reply(r, status, NULL, b);
  evbuffer_free(b);
}

/* More than is kept of a response. */
static inline const char *large(void) {
  static char body[20100];
  snprintf(body, sizeof body, "{\"ok\":true,\"more\":\"%020000d\"}", 1);
  return body;
}

static inline void on_request(struct evhttp_request *r, void *arg) {
  unsigned n = product.requests++;
  struct evbuffer *in = evhttp_request_get_input_buffer(r);
  const char *key = evhttp_find_header(evhttp_request_get_input_headers(r), "Idempotency-Key");
  assert_true(n < REQUESTS);
  snprintf(product.path[n], sizeof product.path[n], "%s", evhttp_request_get_uri(r));
  snprintf(product.key[n], sizeof product.key[n], "%s", key ? key : "");
  ssize_t len = evbuffer_copyout(in, product.body[n], sizeof product.body[n] - 1);
  product.body[n][len > 0 ? len : 0] = 0;
  product.write[n] = evhttp_request_get_command(r) != EVHTTP_REQ_GET;
  product.durable[n] = journal_idle(journal);
  char how = *product.script;
  if (product.script[1]) product.script++;
  switch (how) {
  case 'o': reply(r, 200, "{\"ok\":true}"); break;
  case 'l': reply(r, 200, large()); break;
  case 't': reply(r, 200, "{\"token\":\"kq7-Tz93-hmXw\",\"lives\":\"1h\"}"); break;
  case 'a': reply(r, 409, "{\"ok\":true}"); break;
  case 'r': reply(r, 429, "{}"); break;
  case 'g': reply(r, 503, "{}"); break;
  case 'b': reply(r, 200, "{\"half"); break;
  case 'x': reply(r, 404, "\"gone\""); break;
  case 'y': reply(r, 200, "{\"isolated\":true}"); break;
  case 'n': reply(r, 200, "{\"isolated\":false}"); break;
  case '?': reply(r, 200, "{}"); break;
  case 'c': evhttp_connection_free(evhttp_request_get_connection(r)); break;
  default: break; /* silence */
  }
}

/* --- the connector ---------------------------------------------------------------------------------------------------------- */

static const char connector_lua[] =
    "local host = schema.string { max = 100 }\n"
    "local function put(p, settings)\n"
    "  return { http = { method = 'PUT', url = settings.url, path = { 'hosts', p.host }, json = { why = p.because }, idempotency_key = "
    "'header' } }\n"
    "end\n"
    "local function done(response)\n"
    "  if response.status == 409 then return { already = true } end\n"
    "  if response.status ~= 200 then return nil, failure('refused', response) end\n"
    "  if type(response.body) ~= 'table' then error('no JSON') end\n"
    "  return { already = false }\n"
    "end\n"
    "local function isolate(more)\n"
    "  local a = { doc = 'd', docs = 'https://d.example/', effect = 'contain', target = { host = 'host' }, params = { host = host },\n"
    "    returns = { already = schema.boolean { optional = true } }, request = put, result = done, simulate = function() return { already "
    "= false } end }\n"
    "  for k, v in pairs(more) do a[k] = v end\n"
    "  return a\n"
    "end\n"
    "return connector {\n"
    "  name = 'edr', title = 'EDR', docs = 'https://d.example/', settings = { url = schema.url {}, deliver = schema.string { optional = "
    "true } },\n"
    "  limits = { timeout = '300ms', concurrent = 2, response_kib = 64 },\n"
    "  actions = {\n"
    "    isolate = isolate { undo = 'free' },\n"
    "    isolate_again = isolate { undo = 'free', idempotent = true },\n"
    "    isolate_probe = isolate { undo = 'free', probe = 'is_isolated' },\n"
    "    isolate_free_again = isolate { undo = 'free_again' },\n"
    "    isolate_free_probe = isolate { undo = 'free_probe' },\n"
    "    free_again = isolate { undo = 'isolate', idempotent = true },\n"
    "    free_probe = isolate { undo = 'isolate', probe = 'is_isolated' },\n"
    "    revoke = isolate { undo = false, recover = 'Give out a new one.' },\n"
    "    free = { doc = 'd', docs = 'https://d.example/', effect = 'contain', target = { host = 'host' }, params = { host = host }, lifts "
    "= 'isolate',\n"
    "      returns = { already = schema.boolean { optional = true } },\n"
    "      request = function(p, settings) return { http = { method = 'DELETE', url = settings.url, path = { 'hosts', p.host }, "
    "idempotency_key = 'header' } } end, result = done },\n"
    "    is_isolated = { doc = 'd', docs = 'https://d.example/', effect = 'read', target = { host = 'host' }, params = { host = host },\n"
    "      returns = { happened = schema.boolean { optional = true } },\n"
    "      request = function(p, settings) return { http = { method = 'GET', url = settings.url, path = { 'hosts', p.host } } } end,\n"
    "      result = function(r) if type(r.body) ~= 'table' then return nil, failure('refused', r) end return { happened = r.body.isolated "
    "} end },\n"
    "    say = { doc = 'd', docs = 'https://d.example/', effect = 'notify', params = { text = schema.string {} }, returns = { already = "
    "schema.boolean {} },\n"
    "      request = function(p, settings) return { http = { method = 'POST', url = settings.url, path = { 'say' }, json = { text = p.text "
    "} } } end, result = done },\n"
    "    isolate_found = isolate { undo = 'free', resolve = 'is_isolated', request = function(p, found, settings) return put(p, settings) "
    "end },\n"
    "    hook = { doc = 'd', docs = 'https://d.example/', effect = 'record', params = { url = schema.url {} }, returns = {},\n"
    "      request = function(p) return { http = { method = 'POST', url = p.url, json = {} } } end, result = function() return {} end },\n"
    "    issue = { doc = 'd', docs = 'https://d.example/', effect = 'record', params = { role = host }, returns = { token = schema.secret "
    "{}, lives = schema.string {} },\n"
    "      request = function(p, settings) return { http = { method = 'POST', url = settings.url, path = { 'tokens', p.role } } } end,\n"
    "      result = function(response) return response.body end },\n"
    "    rotate = { doc = 'd', docs = 'https://d.example/', effect = 'contain', target = { role = 'role' }, undo = false, recover = "
    "'none',\n"
    "      params = { role = host, password = schema.generated {} }, returns = { already = schema.boolean { optional = true } },\n"
    "      request = function(p, settings) return { http = { method = 'POST', url = settings.url, path = { 'roles', p.role }, json = { "
    "password = p.password } } } end,\n"
    "      result = done },\n"
    "  },\n"
    "}\n";

/* --- life ------------------------------------------------------------------------------------------------------------------- */

static inline void on_entry(void *arg, struct journal *j, const struct entry *e) {
  kinds[e->kind]++;
  json_decref(bodies[e->kind]);
  bodies[e->kind] = json_incref(entry_body(e));
  snprintf(kind_actor[e->kind], sizeof kind_actor[e->kind], "%s", e->actor);
}

static inline void forget_entries(void) {
  for (int k = 0; k < KIND_COUNT; k++) {
    kinds[k] = 0;
    json_decref(bodies[k]);
    bodies[k] = NULL;
  }
}

static inline json_t *json_of(const char *format, ...) {
  char text[2048];
  json_t *value = NULL;
  struct err err;
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  for (char *p = text; *p; p++)
    if (*p == '\'') *p = '"';
  if (json_parse(text, strlen(text), &value, &err) < 0) fail_msg("%s in %s", err.text, text);
  return value;
}

static inline const struct person *person(const char *name) {
  return people_by_uid(people, strcmp(name, "rita") == 0  ? 90001
                               : strcmp(name, "ron") == 0 ? 90002
                               : strcmp(name, "lea") == 0 ? 90003
                                                          : 90004);
}

static inline void guard_is(const char *text) {
  struct err err;
  json_decref(guard);
  guard = json_of("%s", text);
  if (actions) actions_free(actions);
  struct actions_deps deps = {.loop = loop,
                              .redis = redis_link,
                              .secrets = secrets,
                              .transports = transports,
                              .registry = registry,
                              .questions = questions,
                              .people = people,
                              .guard = guard,
                              .data = server.folder};
  actions = actions_new(&deps, &err);
  if (!actions) fail_msg("%s", err.text);
}

/* more: further settings of the instance, as ", 'name': value". */
static inline int registry_try(int port, const char *more, struct err *err) {
  char folder[96];
  snprintf(folder, sizeof folder, "%s/connectors", server.folder);
  registry_free(registry);
  registry = NULL;
  json_decref(settings);
  settings = json_of("{'edr': {'$connector': 'edr', 'url': 'http://127.0.0.1:%d/'%s}}", port, more);
  return registry_new(folder, settings, &registry, err);
}

static inline void registry_make(int port, const char *deliver) {
  char more[160] = "";
  struct err err;
  if (deliver) snprintf(more, sizeof more, ", 'deliver': 'file:%s'", deliver);
  if (registry_try(port, more, &err) < 0) fail_msg("%s", err.text);
}

static inline int stage_up(void **state) {
  struct err err;
  char path[128];
  server_start(&server, NULL);
  snprintf(path, sizeof path, "%s/connectors", server.folder);
  mkdir(path, 0700);
  snprintf(path, sizeof path, "%s/connectors/edr.lua", server.folder);
  FILE *f = fopen(path, "w");
  fputs(connector_lua, f);
  fclose(f);
  loop = loop_new();
  secrets = secrets_new();
  transports = transports_new(loop, secrets);
  struct redis_config config = {.socket = server.socket, .lanes = 2};
  if (redis_new(loop, &config, secrets, link_says, NULL, &redis_link, &err)) fail_msg("%s", err.text);
  link_wait_up(loop, redis_link);
  store = (struct journal_store){.loop = loop, .redis = redis_link, .secrets = secrets, .clock = clock_system(), .node = "n1"};
  product.http = evhttp_new(loop_base(loop));
  evhttp_set_allowed_methods(product.http, EVHTTP_REQ_GET | EVHTTP_REQ_PUT | EVHTTP_REQ_POST | EVHTTP_REQ_DELETE);
  struct evhttp_bound_socket *bound = evhttp_bind_socket_with_handle(product.http, "127.0.0.1", 0);
  struct sockaddr_storage at;
  socklen_t len = sizeof at;
  getsockname(evhttp_bound_socket_get_fd(bound), (struct sockaddr *)&at, &len);
  product.port = ntohs(((struct sockaddr_in *)&at)->sin_port);
  evhttp_set_gencb(product.http, on_request, NULL);
  json_t *all =
      json_of("{'rita': {'uid': 90001, 'roles': ['responder']}, 'ron': {'uid': 90002, 'roles': ['responder']}, 'lea': {'uid': 90003, "
              "'roles': ['lead', 'responder']}, 'vic': {'uid': 90004, 'roles': ['viewer']}}");
  if (people_new(all, secrets, "0123456789abcdef", 16, &people, &err) < 0) fail_msg("%s", err.text);
  json_decref(all);
  questions = questions_new(loop, people);
  registry_make(product.port, NULL);
  return 0;
}

static inline int stage_down(void **state) {
  redis_free(redis_link);
  questions_free(questions);
  evhttp_free(product.http);
  transports_free(transports);
  registry_free(registry);
  people_free(people);
  loop_free(loop);
  json_decref(settings);
  json_decref(guard);
  secrets_free(secrets);
  server_stop(&server);
  return 0;
}

/* Each test: a new incident, an open guard, a product that says yes. */
static inline int test_up(void **state) {
  char id[32];
  forget_entries();
  memset(product.path, 0, sizeof product.path);
  product.requests = 0;
  product.script = "o";
  steps = 0;
  guard_is("{'ceiling': 'destroy'}");
  snprintf(id, sizeof id, "INC-%06u", ++incidents);
  journal = journal_new(&store, id);
  journal_watch(journal, on_entry, NULL);
  return 0;
}

static inline int test_down(void **state) {
  actions_orphan(actions, NULL);
  for (int i = 0; i < 50; i++) loop_turn(loop); /* cancelled flights come back */
  questions_forget(questions, journal);
  journal_free(journal);
  actions_free(actions);
  actions = NULL;
  forget_entries();
  return 0;
}

/* --- one action ------------------------------------------------------------------------------------------------------------- */

struct result {
  volatile bool done;
  unsigned calls;
  bool ok;
  char status[16], kind[32], message[512];
  struct action *action;
};

static inline void on_outcome(void *arg, const struct outcome *outcome) {
  struct result *r = arg;
  r->calls++;
  r->done = true;
  r->ok = outcome->ok;
  snprintf(r->status, sizeof r->status, "%s", outcome->status ? outcome->status : "");
  snprintf(r->kind, sizeof r->kind, "%s", json_str_or(outcome->returns, "kind", ""));
  snprintf(r->message, sizeof r->message, "%s", json_str_or(outcome->returns, "message", ""));
}

struct how {
  const char *requester, *undo_of;
  bool simulated, shadow;
  unsigned run; /* 0: 1 */
  bool engine;  /* run 0 */
  const json_t *history;
};

static inline int try_start(struct result *r, const char *action, const char *params, struct how how, struct err *err) {
  char step[16];
  json_t *given = json_of("%s", params);
  memset(r, 0, sizeof *r);
  snprintf(step, sizeof step, "%u", ++steps);
  struct action_spec spec = {.journal = journal,
                             .run = how.engine ? 0
                                    : how.run  ? how.run
                                               : 1,
                             .step = step,
                             .actor = how.engine ? "engine" : "playbook:test",
                             .playbook = how.engine ? NULL : "test",
                             .connector = "edr",
                             .action = action,
                             .params = given,
                             .requester = how.requester,
                             .simulated = how.simulated,
                             .shadow = how.shadow,
                             .undo_of = how.undo_of,
                             .history = how.history};
  int code = action_start(actions, &spec, on_outcome, r, &r->action, err);
  json_decref(given);
  assert_int_equal(r->calls, 0);
  return code;
}

static inline void start(struct result *r, const char *action, const char *params, struct how how) {
  struct err err;
  if (try_start(r, action, params, how, &err) < 0) fail_msg("%s", err.text);
}

static inline void wait_for(struct result *r) {
  if (!test_until(loop, &r->done, PATIENCE_MS)) fail_msg("no outcome; %u requests", product.requests);
  assert_int_equal(r->calls, 1);
}

/* Until the condition holds; the loop turns meanwhile. */
#define UNTIL(condition)                                                                                                                   \
  do {                                                                                                                                     \
    int64_t end_ = test_now_ms() + PATIENCE_MS;                                                                                            \
    while (!(condition)) {                                                                                                                 \
      if (test_now_ms() > end_) fail_msg("never became true: %s", #condition);                                                             \
      loop_turn(loop);                                                                                                                     \
      nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL);                                                                              \
    }                                                                                                                                      \
  } while (0)

/* Nothing of the kind happens for a while. */
#define NEVER(condition, ms)                                                                                                               \
  do {                                                                                                                                     \
    for (int64_t end_ = test_now_ms() + (ms); test_now_ms() < end_;) {                                                                     \
      loop_turn(loop);                                                                                                                     \
      if (condition) fail_msg("became true: %s", #condition);                                                                              \
      nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL);                                                                              \
    }                                                                                                                                      \
  } while (0)

static inline int say(const char *name, const char *answer, struct err *err) {
  struct journal *j;
  json_t *open = questions_open(questions);
  char id[ID_PATH];
  snprintf(id, sizeof id, "%s", json_str_or(json_array_get(open, 0), "id", "none"));
  assert_int_equal(json_array_size(open), 1);
  json_decref(open);
  return question_answer(questions, id, person(name), answer, &j, err);
}

static inline void answer_with(const char *name, const char *answer) {
  struct err err;
  UNTIL(questions_count(questions) == 1);
  if (say(name, answer, &err) < 0) fail_msg("%s", err.text);
}

static inline const json_t *state_part(const char *name) { return json_object_get(journal_state(journal), name); }
static inline const char *verdict(void) { return json_str_or(bodies[KIND_ACTION_RESOLVED], "verdict", "none"); }

#endif
