/* http.c: one HTTP exchange over libcurl's multi interface.
 *
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

struct http {
  struct flight *flight;
  struct netrules rules;
  struct http_request request;
  enum auth_kind auth;
  struct transfer transfer;
  struct curl_slist *headers; /* of the transfer under way; the request's own hang behind them */
  struct http_url token_url;
  char *token_body;
  enum leave leave;
  unsigned redirects;
  bool renewed;
  char slot[64];
  json_t *refused; /* the 401 that made us renew the token; the answer if that leads nowhere */
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
  http_free_headers(h->headers, h->request.headers);
  http_request_release(&h->request);
  http_url_release(&h->token_url);
  netrules_release(&h->rules);
  wipe_string(h->token_body);
  if (h->body.size) explicit_bzero(h->body.data, h->body.len);
  buf_release(&h->body);
  buf_release(&h->head);
  json_decref(h->headers_in);
  json_decref(h->refused);
  slab_free(h);
}

static void http_cancel(struct flight *f) {
  http_release(f->state);
  f->state = NULL;
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

/* libcurl: connected, TLS done, the request's first byte comes next. */
static int on_prerequest(void *arg, char *remote, char *local, int remote_port, int local_port) {
  struct http *h = http_of(((struct handle *)arg)->transfer);
  enum leave leave = h->leave;
  h->leave = LEAVE_NOT;
  if (!netrules_allow_text(&h->rules, remote)) { /* a kept connection may have been opened under another instance's rules */
    h->transfer.address_refused = true;
    return CURL_PREREQFUNC_ABORT;
  }
  bool go =
      leave == LEAVE_FREE || (leave == LEAVE_GATE && flight_pass(h->flight)) || (leave == LEAVE_GATE_AGAIN && flight_pass_again(h->flight));
  if (go && leave == LEAVE_GATE_AGAIN) { /* from here on the old refusal says nothing about what happens */
    json_decref(h->refused);
    h->refused = NULL;
  }
  return go ? CURL_PREREQFUNC_OK : CURL_PREREQFUNC_ABORT;
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

static void prepare(struct http *h, const struct http_url *url, size_t cap, void (*done)(struct transfer *, CURLcode)) {
  transfer_release(&h->transfer);
  transfer_init(&h->transfer, h->flight->t->multi, set_options, &h->rules, done);
  http_free_headers(h->headers, h->request.headers);
  h->headers = NULL;
  buf_release(&h->body);
  buf_init(&h->body, cap);
  h->cap = cap;
  h->over_cap = false;
  buf_release(&h->head);
  buf_init(&h->head, HEADER_CAP);
  h->head_len = 0;
  curl_easy_setopt(h->transfer.easy, CURLOPT_URL, url->text);
  curl_easy_setopt(h->transfer.easy, CURLOPT_CURLU, url->parsed); /* otherwise it is parsed, printed and parsed again */
}

static bool names_agent(const struct curl_slist *headers) {
  for (; headers; headers = headers->next)
    if (strncasecmp(headers->data, "User-Agent", 10) == 0 && strchr(":;", headers->data[10])) return true;
  return false;
}

/* libcurl would make these two by itself, but prints them anew for each request; its signing must not count them. */
static void add_constant(struct http *h, const struct curl_slist *own) {
  if (h->auth == AUTH_SIGV4) {
    curl_easy_setopt(h->transfer.easy, CURLOPT_USERAGENT, AGENT);
    return;
  }
  if (!names_agent(h->headers) && !names_agent(own)) http_add_line(&h->headers, "User-Agent: " AGENT);
  http_add_line(&h->headers, "Accept-Encoding: " ENCODINGS);
}

/* The form's headers, and the two that libcurl would add by itself taken away (only then: its signing would count them). */
static void finish_headers(struct http *h, struct curl_slist *own) {
  struct curl_slist **end = &h->headers;
  add_constant(h, own);
  if (h->request.body_len > EXPECT_FROM_BYTES) http_add_line(&h->headers, "Expect:");
  if (!h->request.body && !h->token_body && strcmp(h->request.method, "POST") == 0) http_add_line(&h->headers, "Content-Type:");
  while (*end) end = &(*end)->next;
  *end = own;
  curl_easy_setopt(h->transfer.easy, CURLOPT_HTTPHEADER, h->headers);
}

static void send_done(struct transfer *t, CURLcode code);

static int send_request(struct http *h, enum leave leave, struct err *err) {
  const char *token = h->auth == AUTH_OAUTH2 ? secrets_get(h->flight->t->secrets, h->slot, NULL) : NULL;
  prepare(h, &h->request.url, h->flight->response_cap, send_done);
  if (h->auth == AUTH_SIGV4) transfer_mark(&h->transfer);
  int r = http_auth_apply(&h->request, h->auth, token, h->transfer.easy, &h->headers, err);
  if (r < 0) return r;
  set_body(h->transfer.easy, h->request.method, h->request.body, h->request.body_len);
  finish_headers(h, h->request.headers);
  h->leave = leave;
  transfer_run(&h->transfer, h->request.url.text, h->request.url.origin_len);
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

static void token_done(struct transfer *t, CURLcode code) {
  struct http *h = http_of(t);
  struct err err = {0};
  long status = 0;
  curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
  if (code != CURLE_OK) {
    err.code = transfer_error(t, code, "the token's server", err.text, sizeof err.text);
  } else if (status != 200) {
    err_set(&err, status >= 500 ? ERR_UNAVAILABLE : ERR_DENIED, "the token's server answered %ld", status);
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
  prepare(h, &h->token_url, TOKEN_CAP, token_done);
  set_body(h->transfer.easy, "POST", h->token_body, strlen(h->token_body));
  h->headers = headers;
  finish_headers(h, NULL);
  h->leave = LEAVE_FREE; /* asking for a token is part of connecting, not the request */
  transfer_run(&h->transfer, h->token_url.text, h->token_url.origin_len);
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

static bool same_part(const struct http_url *a, const struct http_url *b, CURLUPart part) {
  char *x = NULL, *y = NULL;
  bool same = curl_url_get(a->parsed, part, &x, CURLU_DEFAULT_PORT) == CURLUE_OK &&
              curl_url_get(b->parsed, part, &y, CURLU_DEFAULT_PORT) == CURLUE_OK && strcasecmp(x, y) == 0;
  curl_free(x);
  curl_free(y);
  return same;
}

static bool same_origin(const struct http_url *a, const struct http_url *b) {
  return same_part(a, b, CURLUPART_SCHEME) && same_part(a, b, CURLUPART_HOST) && same_part(a, b, CURLUPART_PORT);
}

/* Reads only, nothing but GET and HEAD, nowhere else than where we were sent to. */
static bool follow(struct http *h, long status) {
  char *to = NULL;
  bool redirect = status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
  bool plain = strcmp(h->request.method, "GET") == 0 || strcmp(h->request.method, "HEAD") == 0;
  if (!redirect || !h->flight->read_only || !plain || h->redirects >= MOST_REDIRECTS) return false;
  curl_easy_getinfo(h->transfer.easy, CURLINFO_REDIRECT_URL, &to);
  struct http_url url = {0};
  if (!to || strlen(to) >= URL_CAP || http_url_init(&url, to, NULL) < 0 || !same_origin(&h->request.url, &url)) {
    http_url_release(&url);
    return false;
  }
  h->redirects++;
  http_url_release(&h->request.url);
  h->request.url = url;
  send_or_fail(h, LEAVE_FREE);
  return true;
}

static void send_failed(struct http *h, CURLcode code) {
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
  int error = transfer_error(&h->transfer, code, host, text, sizeof text);
  if (code == CURLE_ABORTED_BY_CALLBACK && h->transfer.address_refused) {
    error = ERR_DENIED;
    snprintf(text, sizeof text, "the address of %.200s may not be connected (see network.allow)", host);
  } else if (code == CURLE_ABORTED_BY_CALLBACK && flight_passed(h->flight)) {
    snprintf(text, sizeof text, "%.200s closed the kept connection after the request had begun to leave; it was not sent again", host);
  }
  curl_free(host);
  flight_fail(http_leave(h), error, "%s", text);
}

static void send_done(struct transfer *t, CURLcode code) {
  struct http *h = http_of(t);
  struct err err = {0};
  json_t *response = NULL;
  long status = 0;
  if (code != CURLE_OK) {
    send_failed(h, code);
    return;
  }
  curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
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
  if ((r = netrules_init(&h->rules, f->network, err)) < 0 ||
      (r = http_request_init(&h->request, f->form, f->body, f->body_len, f->idempotency_key, err)) < 0 ||
      (r = http_auth_check(&h->request, &h->auth, err)) < 0)
    goto out;
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
