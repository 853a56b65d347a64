#include "api/api.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/http.h>
#include <event2/listener.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/auth.h"
#include "api/guests.h"
#include "api/listen.h"
#include "base/json.h"

enum { HEADERS_CAP = 16384, METRICS_CAP = 1 << 20, ANSWER_CAP = 256 << 20, MOST_DEFAULT = 128, PATIENCE_DEFAULT = 30000 };

/* A command under way. It outlives its client and even the api: the desk answers exactly once, and only that ends it. */
struct job {
  struct api *api;            /* NULL: the api is gone */
  struct evhttp_request *req; /* NULL: the client is gone */
  LIST_ENTRY(job) link;
};

struct api {
  struct loop *loop;
  struct desk *desk;
  struct people *people;
  struct evhttp *http;
  struct guests *guests;
  char *socket;
  dev_t dev; /* of the socket that we made, so that we never remove another's */
  ino_t ino;
  json_t *(*counts)(void *arg);
  void *arg;
  LIST_HEAD(, job) jobs;
};

static const char *reason(int status) {
  static const struct {
    int status;
    const char *text;
  } list[] = {{200, "OK"},
              {400, "Bad Request"},
              {401, "Unauthorized"},
              {403, "Forbidden"},
              {404, "Not Found"},
              {405, "Method Not Allowed"},
              {409, "Conflict"},
              {413, "Content Too Large"},
              {500, "Internal Server Error"},
              {503, "Service Unavailable"}};
  for (size_t i = 0; i < sizeof list / sizeof *list; i++)
    if (list[i].status == status) return list[i].text;
  return "Answer";
}

static void send_bytes(struct evhttp_request *req, int status, const char *type, const char *bytes, size_t len) {
  struct evbuffer *body = evbuffer_new();
  struct evkeyvalq *headers = evhttp_request_get_output_headers(req);
  if (!body) abort();
  evhttp_add_header(headers, "Content-Type", type);
  evhttp_add_header(headers, "Cache-Control", "no-store");
  evbuffer_add(body, bytes, len);
  evhttp_send_reply(req, status, reason(status), body);
  evbuffer_free(body);
}

static void send_json(struct evhttp_request *req, int status, const json_t *value) {
  struct buf text;
  buf_init(&text, ANSWER_CAP);
  json_write(value, &text);
  buf_addc(&text, '\n');
  if (buf_ok(&text)) {
    send_bytes(req, status, "application/json", text.data, text.len);
  } else {
    static const char too_large[] = "{\"error\":\"the answer is too large; ask for less\"}\n";
    send_bytes(req, 500, "application/json", too_large, sizeof too_large - 1);
  }
  buf_release(&text);
}

static void send_error(struct evhttp_request *req, int status, const char *text) {
  json_t *value = json_pack("{s:s}", "error", text);
  send_json(req, status, value);
  json_decref(value);
}

static struct bufferevent *stream_of(struct evhttp_request *req) {
  return evhttp_connection_get_bufferevent(evhttp_request_get_connection(req));
}

static void on_closed(struct evhttp_connection *connection, void *arg) {
  struct job *job = arg;
  job->req = NULL; /* evhttp frees it with its connection */
}

static void on_answer(void *arg, int status, const json_t *answer) {
  struct job *job = arg;
  if (job->api && job->req) {
    evhttp_connection_set_closecb(evhttp_request_get_connection(job->req), NULL, NULL);
    guests_waiting(job->api->guests, stream_of(job->req), false);
    send_json(job->req, status, answer);
  }
  if (job->api) LIST_REMOVE(job, link);
  free(job);
}

static void begin(struct api *api, struct evhttp_request *req, const struct person *who, const json_t *command) {
  struct job *job = calloc(1, sizeof *job);
  if (!job) abort();
  *job = (struct job){.api = api, .req = req};
  LIST_INSERT_HEAD(&api->jobs, job, link);
  evhttp_connection_set_closecb(evhttp_request_get_connection(req), on_closed, job);
  guests_waiting(api->guests, stream_of(req), true);
  desk_command(api->desk, who, command, on_answer, job);
}

static int body_parse(struct evhttp_request *req, json_t **ret, struct err *err) {
  struct evbuffer *body = evhttp_request_get_input_buffer(req);
  size_t len = evbuffer_get_length(body);
  const unsigned char *bytes = len ? evbuffer_pullup(body, -1) : NULL;
  json_t *value = NULL;
  if (!bytes) return err_set(err, ERR_INVALID, "the body is empty; send one JSON object: {\"command\": \"now\"}");
  int r = json_parse((const char *)bytes, len, &value, err);
  if (r < 0) return r;
  if (!json_str(value, "command")) {
    json_decref(value);
    return err_set(err, ERR_INVALID, "the body is not a JSON object with a \"command\": {\"command\": \"now\"}");
  }
  *ret = value;
  return 0;
}

static void on_command(struct evhttp_request *req, void *arg) {
  struct api *api = arg;
  struct err err = {0};
  const struct person *who = NULL;
  json_t *command = NULL;
  if (evhttp_request_get_command(req) != EVHTTP_REQ_POST) {
    send_error(req, 405, "commands are sent with POST");
    return;
  }
  const char *authorization = evhttp_find_header(evhttp_request_get_input_headers(req), "Authorization");
  if (auth_person(api->people, (int)bufferevent_getfd(stream_of(req)), authorization, &who, &err) < 0) {
    send_error(req, err.code == ERR_DENIED ? 401 : 500, err.text);
    return;
  }
  if (body_parse(req, &command, &err) < 0) {
    send_error(req, 400, err.text);
    return;
  }
  begin(api, req, who, command);
  json_decref(command);
}

static bool only_get(struct evhttp_request *req) {
  enum evhttp_cmd_type method = evhttp_request_get_command(req);
  if (method == EVHTTP_REQ_GET || method == EVHTTP_REQ_HEAD) return true;
  send_error(req, 405, "this is only read: use GET");
  return false;
}

static void on_health(struct evhttp_request *req, void *arg) {
  static const char ok[] = "{\"ok\":true}\n";
  if (only_get(req)) send_bytes(req, 200, "application/json", ok, sizeof ok - 1);
}

static void on_metrics(struct evhttp_request *req, void *arg) {
  struct api *api = arg;
  struct buf text;
  if (!only_get(req)) return;
  json_t *counts = api->counts ? api->counts(api->arg) : NULL;
  buf_init(&text, METRICS_CAP);
  if (counts) api_metrics(counts, &text);
  send_bytes(req, 200, "text/plain; version=0.0.4; charset=utf-8", text.data, text.len);
  buf_release(&text);
  json_decref(counts);
}

static void on_other(struct evhttp_request *req, void *arg) {
  send_error(req, 404, "there is nothing here; this serves POST /v1/command, GET /healthz and GET /metrics");
}

static void http_set(struct api *api) {
  evhttp_set_max_body_size(api->http, API_BODY_CAP);
  evhttp_set_max_headers_size(api->http, HEADERS_CAP);
  evhttp_set_allowed_methods(api->http, EVHTTP_REQ_GET | EVHTTP_REQ_HEAD | EVHTTP_REQ_POST);
  evhttp_set_cb(api->http, "/v1/command", on_command, api);
  evhttp_set_cb(api->http, "/healthz", on_health, api);
  evhttp_set_cb(api->http, "/metrics", on_metrics, api);
  evhttp_set_gencb(api->http, on_other, api);
}

static int http_open(struct api *api, const struct api_config *config, struct err *err) {
  struct stat st;
  int fd;
  int r = listen_unix(config->socket, config->group, &fd, err);
  if (r < 0) return r;
  struct evconnlistener *listener =
      evconnlistener_new(loop_base(api->loop), NULL, NULL, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 0, fd);
  api->http = evhttp_new(loop_base(api->loop));
  if (!listener || !api->http || !evhttp_bind_listener(api->http, listener)) abort();
  http_set(api);
  api->guests = guests_new(api->loop, api->http, listener, config->most ? config->most : MOST_DEFAULT,
                           config->patience_ms ? config->patience_ms : PATIENCE_DEFAULT);
  api->socket = strdup(config->socket);
  if (stat(config->socket, &st) == 0) {
    api->dev = st.st_dev;
    api->ino = st.st_ino;
  }
  return 0;
}

int api_new(struct loop *loop, struct desk *desk, struct people *people, const struct api_config *config, struct api **ret,
            struct err *err) {
  struct api *api = calloc(1, sizeof *api);
  if (!api) abort();
  *api = (struct api){.loop = loop, .desk = desk, .people = people, .counts = config->counts, .arg = config->arg};
  LIST_INIT(&api->jobs);
  int r = http_open(api, config, err);
  if (r < 0) {
    free(api);
    return r;
  }
  *ret = api;
  return 0;
}

void api_set_people(struct api *api, struct people *people) { api->people = people; }

static void jobs_orphan(struct api *api) {
  struct job *job;
  while ((job = LIST_FIRST(&api->jobs))) {
    LIST_REMOVE(job, link);
    if (job->req) evhttp_connection_set_closecb(evhttp_request_get_connection(job->req), NULL, NULL);
    job->req = NULL;
    job->api = NULL;
  }
}

void api_free(struct api *api) {
  struct stat st;
  if (!api) return;
  jobs_orphan(api);
  evhttp_free(api->http);
  guests_free(api->guests);
  if (stat(api->socket, &st) == 0 && st.st_dev == api->dev && st.st_ino == api->ino) unlink(api->socket);
  free(api->socket);
  free(api);
}
