/* http.c: one HTTP exchange over libcurl's multi interface.
 *
 * The request is made on the loop and carried on multi.h's thread; its answer is read on the loop. A flight may leave at any time: nothing of it
 * leaves the process any more, and what the thread still has comes back later, to be wiped.
 * The gate stands in libcurl's prerequest callback, which comes after connection and TLS and before the request's first byte. Each start of
 * ours may pass it once: when libcurl tries again by itself (a POST on a kept connection that turned out dead), the second call aborts, and
 * the exchange is in doubt. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/map.h"
#include "base/slab.h"
#include "transport/form.h"
#include "transport/http.h"

enum { RENEW_BEFORE_S = 30, LONGEST_TOKEN_S = 86400, EXPECT_FROM_BYTES = 1 << 19 };

#define AGENT "tocsin"
#define ENCODINGS "gzip, deflate"

/* May the next prerequest callback go through, and who is asked. */
enum leave { LEAVE_NOT, LEAVE_FREE, LEAVE_GATE, LEAVE_GATE_AGAIN };

/* What goes out next. */
struct sending {
  const char *method;
  const struct http_url *url;
  const char *body;
  size_t body_len;
  struct curl_slist *headers; /* its own; the request's hang behind them */
};

/* While the transfer is away, all but the flight is the thread's. */
struct http {
  struct flight *flight; /* NULL: it has left */
  struct passage *passage;
  json_t *form; /* taken from the flight */
  struct netrules rules;
  struct http_request request;
  enum auth_kind auth;
  struct http_signing signing;
  struct transfer transfer;
  struct sending sending;
  struct http_url token_url;
  char *token_body;
  enum leave leave;
  unsigned redirects;
  bool renewed;
  char slot[64];
  json_t *refused;   /* the 401 that made us renew the token; the answer if that leads nowhere */
  bool passed_again; /* from there on the old refusal says nothing about what happens */
  /* what comes back */
  struct buf body;
  size_t cap;
  bool over_cap;
  struct buf head; /* the answer's header lines as they came, one after the other */
  size_t head_len; /* with those of 1xx answers before it */
  json_t *headers_in;
};

/* The argument of libcurl's callbacks is the handle. */
static struct http *http_of(const struct transfer *t) {
  return (struct http *)(void *)((char *)(uintptr_t)t - offsetof(struct http, transfer));
}

static void http_release(struct http *h) {
  transfer_release(&h->transfer);
  http_free_headers(h->sending.headers, h->request.headers);
  http_request_release(&h->request);
  http_url_release(&h->token_url);
  netrules_release(&h->rules);
  free(h->signing.scope);
  wipe_string(h->token_body);
  if (h->body.size) explicit_bzero(h->body.data, h->body.len);
  buf_release(&h->body);
  buf_release(&h->head);
  json_decref(h->headers_in);
  json_decref(h->refused);
  form_wipe(h->form);
  passage_unref(h->passage);
  slab_free(h);
}

static void http_cancel(struct flight *f) {
  struct http *h = f->state;
  h->flight = NULL;
  f->state = NULL;
  if (transfer_call_off(&h->transfer)) http_release(h);
}

static struct flight *http_leave(struct http *h) {
  struct flight *f = h->flight;
  f->state = NULL;
  http_release(h);
  return f;
}

/* ---- what comes back -------------------------------------------------------------------------------- */

static size_t on_body(char *bytes, size_t size, size_t count, void *arg) {
  struct http *h = http_of(((struct handle *)arg)->transfer);
  size_t n = size * count;
  if (h->body.len + n > h->cap) {
    h->over_cap = true;
    return 0;
  }
  buf_add(&h->body, bytes, n);
  return buf_ok(&h->body) ? n : 0;
}

static void add_answer_header(json_t *headers, const char *line, size_t len) {
  const char *colon = memchr(line, ':', len);
  char name[128];
  size_t n = colon ? (size_t)(colon - line) : 0, value_len;
  if (!n || n >= sizeof name) return;
  for (size_t i = 0; i < n; i++) name[i] = (char)tolower((unsigned char)line[i]);
  name[n] = 0;
  const char *value = colon + 1, *end = line + len;
  while (value < end && isspace((unsigned char)*value)) value++;
  while (end > value && isspace((unsigned char)end[-1])) end--;
  value_len = (size_t)(end - value);
  const char *before = json_str(headers, name);
  if (!before) {
    json_object_set_new(headers, name, json_lossy(value, value_len));
    return;
  }
  struct buf joined;
  buf_init(&joined, HEADER_CAP * 2);
  buf_addf(&joined, "%s, ", before);
  buf_add(&joined, value, value_len);
  json_object_set_new(headers, name, json_lossy(joined.data, joined.len));
  buf_release(&joined);
}

static size_t on_header(char *bytes, size_t size, size_t count, void *arg) {
  struct http *h = http_of(((struct handle *)arg)->transfer);
  size_t n = size * count;
  h->head_len += n;
  if (h->head_len > HEADER_CAP) {
    h->over_cap = true;
    return 0;
  }
  if (n > 5 && strncmp(bytes, "HTTP/", 5) == 0) buf_reset(&h->head); /* what came before was a 1xx */
  else buf_add(&h->head, bytes, n);
  return n;
}

/* Lines are told apart by libcurl, each with its line break. */
static void read_head(struct http *h) {
  const char *line = h->head.data, *end = line + h->head.len;
  json_decref(h->headers_in);
  h->headers_in = json_object();
  while (line < end) {
    const char *next = memchr(line, '\n', (size_t)(end - line));
    next = next ? next + 1 : end;
    add_answer_header(h->headers_in, line, (size_t)(next - line));
    line = next;
  }
}

static int64_t retry_after(const struct http *h, long status) {
  const char *text = json_str(h->headers_in, "retry-after");
  if (!text || (status != 429 && status != 503)) return -1;
  char *end;
  long long seconds = strtoll(text, &end, 10);
  if (end != text && !*end) return seconds < 0 ? -1 : seconds > 31536000 ? 31536000000 : seconds * 1000;
  time_t date = curl_getdate(text, NULL);
  if (date == -1) return -1;
  int64_t ms = (int64_t)date * 1000 - clock_wall(clock_system()) / 1000;
  return ms > 0 ? ms : 0;
}

static bool looks_like_json(const struct http *h, bool *ret_declared) {
  const char *type = json_str_or(h->headers_in, "content-type", "");
  size_t n = strcspn(type, ";"), i = 0;
  *ret_declared = n >= 4 && (strncasecmp(type + n - 4, "json", 4) == 0 || (n >= 5 && strncasecmp(type + n - 5, "json ", 5) == 0));
  while (i < h->body.len && isspace((unsigned char)h->body.data[i])) i++;
  return *ret_declared || (i < h->body.len && strchr("{[", h->body.data[i]) != NULL);
}

/* ERR_INVALID when a success that should be JSON is not: then it proves nothing. */
static int make_response(struct http *h, long status, json_t **ret, struct err *err) {
  bool declared, candidate = looks_like_json(h, &declared);
  json_t *body = NULL, *response = json_object();
  json_object_set_new(response, "status", json_integer(status));
  json_object_set(response, "headers", h->headers_in);
  if (h->body.len && (candidate || h->request.expect_json) && json_parse(h->body.data, h->body.len, &body, err) < 0 &&
      (declared || h->request.expect_json) && status >= 200 && status < 300) {
    json_decref(response);
    return err_wrap(err, "the answer %ld is unreadable", status), ERR_INVALID;
  }
  if (body) json_object_set_new(response, "body", body);
  else if (h->body.len) json_object_set_new(response, "text", json_lossy(h->body.data, h->body.len));
  *ret = response;
  return 0;
}

/* ---- sending ---------------------------------------------------------------------------------------- */

static bool may_leave(struct http *h, enum leave leave) {
  switch (leave) {
  case LEAVE_NOT: return false;
  case LEAVE_FREE: return passage_is_open(h->passage);
  case LEAVE_GATE: return passage_pass(h->passage);
  case LEAVE_GATE_AGAIN: return h->passed_again = passage_pass_again(h->passage);
  }
  return false;
}

/* libcurl: connected, TLS done, the request's first byte comes next. */
static int on_prerequest(void *arg, char *remote, char *local, int remote_port, int local_port) {
  struct http *h = http_of(((struct handle *)arg)->transfer);
  enum leave leave = h->leave;
  h->leave = LEAVE_NOT;
  if (!netrules_allow_text(&h->rules, remote)) { /* a kept connection may have been opened under another instance's rules */
    h->transfer.address_refused = true;
    return CURL_PREREQFUNC_ABORT;
  }
  return may_leave(h, leave) ? CURL_PREREQFUNC_OK : CURL_PREREQFUNC_ABORT;
}

static void set_body(CURL *e, const char *method, const char *body, size_t len) {
  if (strcmp(method, "HEAD") == 0) {
    curl_easy_setopt(e, CURLOPT_NOBODY, 1L);
    return;
  }
  bool wants = strcmp(method, "POST") == 0 || strcmp(method, "PUT") == 0 || strcmp(method, "PATCH") == 0;
  if (body || wants) {
    curl_easy_setopt(e, CURLOPT_POSTFIELDS, body ? body : "");
    curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)len);
  }
  if (strcmp(method, body || wants ? "POST" : "GET") != 0) curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, method);
}

/* What is the same for every exchange. */
static void set_options(struct handle *handle) {
  CURL *e = handle->easy;
  curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
  curl_easy_setopt(e, CURLOPT_PATH_AS_IS, 1L);
  curl_easy_setopt(e, CURLOPT_DISALLOW_USERNAME_IN_URL, 1L);
  curl_easy_setopt(e, CURLOPT_ACCEPT_ENCODING, ENCODINGS); /* what it unpacks */
  curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body);
  curl_easy_setopt(e, CURLOPT_WRITEDATA, handle);
  curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_header);
  curl_easy_setopt(e, CURLOPT_HEADERDATA, handle);
  curl_easy_setopt(e, CURLOPT_PREREQFUNCTION, on_prerequest);
  curl_easy_setopt(e, CURLOPT_PREREQDATA, handle);
}

static void load(struct transfer *t, CURL *e) {
  const struct http *h = http_of(t);
  const struct sending *s = &h->sending;
  curl_easy_setopt(e, CURLOPT_URL, s->url->text);
  /* otherwise it is parsed, printed and parsed again */
  curl_easy_setopt(e, CURLOPT_CURLU, s->url->parsed ? s->url->parsed : s->url->server->parsed);
  if (!s->url->parsed) curl_easy_setopt(e, CURLOPT_REQUEST_TARGET, s->url->path_query);
  set_body(e, s->method, s->body, s->body_len);
  curl_easy_setopt(e, CURLOPT_HTTPHEADER, s->headers);
  if (h->auth != AUTH_SIGV4) return;
  transfer_mark(t);
  curl_easy_setopt(e, CURLOPT_USERAGENT, AGENT);
  curl_easy_setopt(e, CURLOPT_AWS_SIGV4, h->signing.scope);
  curl_easy_setopt(e, CURLOPT_USERNAME, h->signing.access_key);
  curl_easy_setopt(e, CURLOPT_PASSWORD, h->signing.secret_key);
}

static void prepare(struct http *h, struct sending next, size_t cap, enum leave leave) {
  http_free_headers(h->sending.headers, h->request.headers);
  h->sending = next;
  h->leave = leave;
  buf_release(&h->body);
  buf_init(&h->body, cap);
  h->cap = cap;
  h->over_cap = false;
  buf_release(&h->head);
  buf_init(&h->head, HEADER_CAP);
  h->head_len = 0;
}

static bool names_agent(const struct curl_slist *headers) {
  for (; headers; headers = headers->next)
    if (strncasecmp(headers->data, "User-Agent", 10) == 0 && strchr(":;", headers->data[10])) return true;
  return false;
}

/* libcurl would make these two by itself, but prints them anew for each request; its signing must not count them. */
static void add_constant(struct http *h, const struct curl_slist *own) {
  struct curl_slist **headers = &h->sending.headers;
  if (h->auth == AUTH_SIGV4) return;
  if (!names_agent(*headers) && !names_agent(own)) http_add_line(headers, "User-Agent: " AGENT);
  http_add_line(headers, "Accept-Encoding: " ENCODINGS);
}

/* The form's headers, and the two that libcurl would add by itself taken away (only then: its signing would count them). */
static void finish_headers(struct http *h, struct curl_slist *own) {
  struct curl_slist **end = &h->sending.headers;
  add_constant(h, own);
  if (h->request.body_len > EXPECT_FROM_BYTES) http_add_line(end, "Expect:");
  if (!h->sending.body && strcmp(h->sending.method, "POST") == 0) http_add_line(end, "Content-Type:");
  while (*end) end = &(*end)->next;
  *end = own;
}

static void send_it(struct http *h, const struct transfer_kind *kind) {
  const struct http_url *url = h->sending.url;
  transfer_release(&h->transfer);
  transfer_start(&h->transfer, h->flight->t->multi, kind, &h->rules, url->text, url->origin_len);
}

static void send_done(struct transfer *t);
static void token_done(struct transfer *t);

static const struct transfer_kind requests = {.setup = set_options, .load = load, .done = send_done},
                                  token_requests = {.setup = set_options, .load = load, .done = token_done};

/* Reads only, nothing but GET and HEAD. */
static bool may_follow(const struct http *h) {
  return h->flight->read_only && (strcmp(h->request.method, "GET") == 0 || strcmp(h->request.method, "HEAD") == 0);
}

static int send_request(struct http *h, enum leave leave, struct err *err) {
  const struct http_request *q = &h->request;
  const char *token = h->auth == AUTH_OAUTH2 ? secrets_get(h->flight->t->secrets, h->slot, NULL) : NULL;
  prepare(h, (struct sending){.method = q->method, .url = &q->url, .body = q->body, .body_len = q->body_len}, h->flight->response_cap,
          leave);
  int r = http_auth_apply(q, h->auth, token, &h->signing, &h->sending.headers, err);
  if (r < 0) return r;
  finish_headers(h, q->headers);
  if (h->auth == AUTH_SIGV4 || may_follow(h))
    http_url_parse(&h->request.url); /* libcurl signs the path, or takes it for where a redirect starts */
  send_it(h, &requests);
  return 0;
}

static void send_or_fail(struct http *h, enum leave leave) {
  struct err err = {0};
  if (send_request(h, leave, &err) == 0) return;
  flight_fail(http_leave(h), err.code, "%s", err.text);
}

/* The bytes live as long as the callback. */
static void answer(struct http *h, json_t *response, int64_t retry_ms) {
  struct buf body = h->body;
  memset(&h->body, 0, sizeof h->body);
  struct flight *f = http_leave(h);
  f->result.bytes = body.data;
  f->result.bytes_len = body.len;
  flight_answer(f, response, retry_ms);
  explicit_bzero(body.data, body.len);
  buf_release(&body);
}

/* ---- tokens ----------------------------------------------------------------------------------------- */

static bool token_valid(const struct http *h) {
  const int64_t *until = map_get(&h->flight->t->tokens, h->slot);
  return until && *until > clock_boot(clock_system()) && secrets_get(h->flight->t->secrets, h->slot, NULL);
}

static void token_drop(struct http *h) {
  free(map_remove(&h->flight->t->tokens, h->slot));
  secrets_drop(h->flight->t->secrets, h->slot);
}

static int token_keep(struct http *h, struct err *err) {
  char *token;
  int64_t life, *until = malloc(sizeof *until);
  int r = http_token_parse(h->body.data, h->body.len, &token, &life, err);
  if (!until) abort();
  if (r == 0) {
    r = secrets_put(h->flight->t->secrets, h->slot, token, strlen(token), err);
    wipe_string(token);
  }
  if (r < 0) {
    free(until);
    return r;
  }
  life = life > LONGEST_TOKEN_S ? LONGEST_TOKEN_S : life;
  life = life > 2 * RENEW_BEFORE_S ? life - RENEW_BEFORE_S : life / 2;
  *until = clock_boot(clock_system()) + life * 1000000;
  free(map_put(&h->flight->t->tokens, h->slot, until));
  return 0;
}

/* No token: the request was not sent; or it was refused with 401, and that is the answer. */
static void token_failed(struct http *h, int code, const char *why) {
  json_t *refused = h->refused;
  h->refused = NULL;
  if (refused) answer(h, refused, -1);
  else flight_fail(http_leave(h), code, "no token: %s", why);
}

/* True: its flight had left meanwhile, and it is gone. */
static bool nobodys(struct http *h) {
  if (h->flight) return false;
  http_release(h);
  return true;
}

static void token_done(struct transfer *t) {
  struct http *h = http_of(t);
  struct err err = {0};
  if (nobodys(h)) return;
  if (t->code != CURLE_OK) {
    err.code = transfer_error(t, "the token's server", err.text, sizeof err.text);
  } else if (t->status != 200) {
    err_set(&err, t->status >= 500 ? ERR_UNAVAILABLE : ERR_DENIED, "the token's server answered %ld", t->status);
  } else if (token_keep(h, &err) == 0) {
    wipe_string(h->token_body);
    h->token_body = NULL;
    send_or_fail(h, h->refused ? LEAVE_GATE_AGAIN : LEAVE_GATE);
    return;
  }
  token_failed(h, err.code, err.text);
}

static int fetch_token(struct http *h, struct err *err) {
  struct curl_slist *headers = NULL;
  wipe_string(h->token_body);
  h->token_body = NULL;
  http_url_release(&h->token_url);
  int r = http_url_init(&h->token_url, json_str(json_object_get(h->request.auth, "oauth2"), "token_url"), err);
  if (r < 0 || (r = http_token_request(&h->request, &h->token_body, &headers, err)) < 0) return r;
  /* Asking for a token is part of connecting, not the request. */
  prepare(h,
          (struct sending){
              .method = "POST", .url = &h->token_url, .body = h->token_body, .body_len = strlen(h->token_body), .headers = headers},
          TOKEN_CAP, LEAVE_FREE);
  finish_headers(h, NULL);
  send_it(h, &token_requests);
  return 0;
}

/* A 401 with a token that we thought valid: once, get a new one and try again. */
static bool renew_token(struct http *h, json_t *response) {
  struct err err = {0};
  if (h->auth != AUTH_OAUTH2 || h->renewed) return false;
  h->renewed = true;
  token_drop(h);
  h->refused = response;
  if (fetch_token(h, &err) < 0) token_failed(h, err.code, err.text);
  return true;
}

/* ---- redirects and the end -------------------------------------------------------------------------- */

static bool same_part(CURLU *a, CURLU *b, CURLUPart part) {
  char *x = NULL, *y = NULL;
  bool same = curl_url_get(a, part, &x, CURLU_DEFAULT_PORT) == CURLUE_OK && curl_url_get(b, part, &y, CURLU_DEFAULT_PORT) == CURLUE_OK &&
              strcasecmp(x, y) == 0;
  curl_free(x);
  curl_free(y);
  return same;
}

static bool same_origin(CURLU *a, CURLU *b) {
  return same_part(a, b, CURLUPART_SCHEME) && same_part(a, b, CURLUPART_HOST) && same_part(a, b, CURLUPART_PORT);
}

/* Nowhere else than where we were sent to. */
static bool follow(struct http *h, long status) {
  const char *to = h->transfer.redirect;
  bool redirect = status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
  if (!redirect || !may_follow(h) || h->redirects >= MOST_REDIRECTS) return false;
  struct http_url url = {0};
  if (!to || strlen(to) >= URL_CAP || http_url_init(&url, to, NULL) < 0 ||
      !same_origin(http_url_parse(&h->request.url), http_url_parse(&url))) {
    http_url_release(&url);
    return false;
  }
  h->redirects++;
  http_url_release(&h->request.url);
  h->request.url = url;
  send_or_fail(h, LEAVE_FREE);
  return true;
}

static void send_failed(struct http *h) {
  CURLcode code = h->transfer.code;
  char text[512];
  if (h->refused) { /* the gate or the connection stopped the second try: the 401 is what we know */
    token_failed(h, 0, "");
    return;
  }
  if (h->over_cap) {
    size_t cap = h->cap;
    flight_fail(http_leave(h), ERR_LIMIT, "the answer is longer than %zu bytes", cap);
    return;
  }
  char *host = http_url_host(&h->request.url);
  int error = transfer_error(&h->transfer, host, text, sizeof text);
  if (code == CURLE_ABORTED_BY_CALLBACK && h->transfer.address_refused) {
    error = ERR_DENIED;
    snprintf(text, sizeof text, "the address of %.200s may not be connected (see network.allow)", host);
  } else if (code == CURLE_ABORTED_BY_CALLBACK && flight_passed(h->flight)) {
    snprintf(text, sizeof text, "%.200s closed the kept connection after the request had begun to leave; it was not sent again", host);
  }
  curl_free(host);
  flight_fail(http_leave(h), error, "%s", text);
}

static void send_done(struct transfer *t) {
  struct http *h = http_of(t);
  struct err err = {0};
  json_t *response = NULL;
  long status = t->status;
  if (nobodys(h)) return;
  if (h->passed_again) {
    json_decref(h->refused);
    h->refused = NULL;
  }
  if (t->code != CURLE_OK) {
    send_failed(h);
    return;
  }
  read_head(h);
  if (follow(h, status)) return;
  if (make_response(h, status, &response, &err) < 0) {
    flight_fail(http_leave(h), ERR_INVALID, "%s", err.text);
    return;
  }
  if (status == 401 && renew_token(h, response)) return;
  answer(h, response, retry_after(h, status));
}

static int http_start(struct flight *f, struct err *err) {
  struct http *h = slab_calloc(1, sizeof *h);
  int r;
  if (!h) abort();
  h->flight = f;
  h->passage = passage_ref(f->passage);
  h->form = f->form;
  f->form = NULL;
  if ((r = multi_ready(f->t->multi, err)) < 0 || (r = netrules_init(&h->rules, f->network, err)) < 0 ||
      (r = http_request_init(&h->request, f->t, h->form, f->body, f->body_len, f->idempotency_key, err)) < 0 ||
      (r = http_auth_check(&h->request, &h->auth, err)) < 0)
    goto out;
  if (!h->request.auth && !h->request.bearer) { /* all else was copied */
    form_wipe(h->form);
    h->form = NULL;
  }
  if (h->auth == AUTH_OAUTH2) http_token_slot(&h->request, f->connector, h->slot, sizeof h->slot);
  r = h->auth == AUTH_OAUTH2 && !token_valid(h) ? fetch_token(h, err) : send_request(h, LEAVE_GATE, err);
  f->state = h;
out:
  if (r < 0) {
    http_release(h);
    f->state = NULL;
  }
  return r;
}

const struct transport transport_http = {"http", http_start, http_cancel};
