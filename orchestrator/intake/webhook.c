/* POST /v1/alerts/<source>: token or signature, size and rate, and 202 only once Redis has the document. */
#include <event2/buffer.h>
#include <event2/bufferevent_ssl.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/keyvalq_struct.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/digest.h"
#include "intake/internal.h"

enum { PATIENCE_S = 15, HEADERS_CAP = 16384, RETRY_AFTER_S = 5, MINUTE_US = 60000000 };

struct gauge { /* requests of one source in this minute */
  int64_t since;
  int64_t count;
};

struct webhook {
  struct intake *in;
  struct evhttp *http;
  SSL_CTX *tls;
  const json_t *sources;
  int64_t per_minute;
  struct map gauges;
  struct posting *postings; /* waiting for Redis */
};

/* A request that waits for Redis. Its client may leave first. */
struct posting {
  struct webhook *webhook;
  struct evhttp_request *request;
  struct posting *next, **link;
};

static void answer(struct evhttp_request *request, int status, const char *text) {
  struct evbuffer *body = evbuffer_new();
  json_t *value = status == 202 ? json_pack("{s:i}", "accepted", 1) : json_pack("{s:s}", "error", text);
  char *json = json_text(value);
  evbuffer_add_printf(body, "%s\n", json ? json : "{}");
  evhttp_add_header(evhttp_request_get_output_headers(request), "Content-Type", "application/json");
  if (status == 503 || status == 429) {
    char after[16];
    snprintf(after, sizeof after, "%d", status == 429 ? 60 : RETRY_AFTER_S);
    evhttp_add_header(evhttp_request_get_output_headers(request), "Retry-After", after);
  }
  evhttp_send_reply(request, status, NULL, body);
  evbuffer_free(body);
  free(json);
  json_decref(value);
}

/* --- who sends --------------------------------------------------------------------------------------------------- */

static const char *header(struct evhttp_request *request, const char *name) {
  return evhttp_find_header(evhttp_request_get_input_headers(request), name);
}

static const char *secret_of(const struct webhook *w, const json_t *source, const char *name, size_t *ret_len) {
  const char *slot = json_str(json_object_get(source, name), "$secret");
  return slot ? secrets_get(w->in->deps.secrets, slot, ret_len) : NULL;
}

/* Compares digests, so that neither length nor a common beginning shows in time. */
static bool same(const char *a, size_t a_len, const char *b, size_t b_len) {
  uint8_t x[DIGEST_BYTES], y[DIGEST_BYTES];
  digest_sha256(a, a_len, x);
  digest_sha256(b, b_len, y);
  return digest_equal(x, y, sizeof x);
}

static bool token_fits(const struct webhook *w, const json_t *source, struct evhttp_request *request) {
  size_t len;
  const char *token = secret_of(w, source, "token", &len), *given = header(request, "Authorization");
  if (!token || !given || strncasecmp(given, "Bearer ", 7) != 0) return false;
  return same(token, len, given + 7, strlen(given + 7));
}

static bool signature_fits(const struct webhook *w, const json_t *source, const json_t *rule, struct evhttp_request *request,
                           const char *body, size_t body_len) {
  size_t key_len;
  uint8_t mac[DIGEST_BYTES];
  const char *key = secret_of(w, source, "signature", &key_len), *name = json_str_or(rule, "header", "X-Hub-Signature-256"),
             *prefix = json_str_or(rule, "prefix", rule ? "" : "sha256=");
  const char *given = header(request, name);
  if (!key || !given || strncmp(given, prefix, strlen(prefix)) != 0) return false;
  digest_hmac_sha256(key, key_len, body, body_len, mac);
  char hex[DIGEST_HEX], *base64 = NULL;
  hex_encode(mac, sizeof mac, hex);
  const char *expected = hex;
  if (strcmp(json_str_or(rule, "encoding", "hex"), "base64") == 0) expected = base64 = base64_encode(mac, sizeof mac);
  given += strlen(prefix);
  bool fits = expected && same(expected, strlen(expected), given, strlen(given));
  free(base64);
  return fits;
}

static bool known_sender(const struct webhook *w, const char *name, const json_t *source, struct evhttp_request *request, const char *body,
                         size_t len) {
  const struct connector *c = registry_find(w->in->deps.registry, json_str_or(source, "format", name), NULL);
  const json_t *rule = c ? json_object_get(json_object_get(c->declaration->json, "alert"), "signature") : NULL;
  bool token = json_object_get(source, "token"), signature = json_object_get(source, "signature");
  if (!token && !signature) return false;
  return (!token || token_fits(w, source, request)) && (!signature || signature_fits(w, source, rule, request, body, len));
}

static bool too_many(struct webhook *w, const char *source) {
  struct gauge *g = map_get(&w->gauges, source);
  int64_t now = clock_boot(clock_system());
  if (!g) {
    g = calloc(1, sizeof *g);
    if (!g) abort();
    map_put(&w->gauges, source, g);
  }
  if (now - g->since >= MINUTE_US) *g = (struct gauge){.since = now};
  return ++g->count > w->per_minute;
}

/* --- requests -------------------------------------------------------------------------------------------------------- */

static void unlink_posting(struct posting *p) {
  *p->link = p->next;
  if (p->next) p->next->link = p->link;
}

static void on_gone(struct evhttp_connection *connection, void *arg) {
  struct posting *p = arg;
  p->request = NULL; /* libevent frees it with its connection */
}

static void on_pushed(void *arg, const struct err *err) {
  struct posting *p = arg;
  if (p->request && p->webhook) {
    evhttp_connection_set_closecb(evhttp_request_get_connection(p->request), NULL, NULL);
    if (err) answer(p->request, 503, "the alert cannot be kept now; send it again");
    else answer(p->request, 202, NULL);
  }
  if (p->webhook) unlink_posting(p);
  free(p);
}

static void accept_body(struct webhook *w, const char *source, struct evhttp_request *request, const char *body, size_t len) {
  struct err err;
  struct posting *p = calloc(1, sizeof *p);
  if (!p) abort();
  *p = (struct posting){.webhook = w, .request = request, .next = w->postings, .link = &w->postings};
  if (p->next) p->next->link = &p->next;
  w->postings = p;
  evhttp_connection_set_closecb(evhttp_request_get_connection(request), on_gone, p);
  if (intake_push(w->in, source, body, len, on_pushed, p, &err) < 0) on_pushed(p, &err);
}

static void on_alert(struct evhttp_request *request, void *arg) {
  struct webhook *w = arg;
  const char *path = evhttp_uri_get_path(evhttp_request_get_evhttp_uri(request)), *name = path ? path + strlen("/v1/alerts/") : "";
  struct evbuffer *input = evhttp_request_get_input_buffer(request);
  size_t len = evbuffer_get_length(input);
  if (!path || strncmp(path, "/v1/alerts/", strlen("/v1/alerts/")) != 0) {
    answer(request, 404, "only POST /v1/alerts/<source> is served here");
    return;
  }
  if (evhttp_request_get_command(request) != EVHTTP_REQ_POST) {
    answer(request, 405, "send alerts with POST");
    return;
  }
  const json_t *source = json_object_get(w->sources, name);
  const char *body = len ? (const char *)evbuffer_pullup(input, -1) : "";
  /* An unknown source and a wrong token look the same from outside. */
  if (!source || !known_sender(w, name, source, request, body, len)) answer(request, 401, "unknown source, or wrong token or signature");
  else if (too_many(w, name)) answer(request, 429, "too many alerts from this source in a minute");
  else if (!len) answer(request, 400, "the body is empty");
  else if (w->in->held || !redis_up(w->in->deps.redis)) answer(request, 503, "the alert cannot be kept now; send it again");
  else accept_body(w, name, request, body, len);
}

/* --- listening ----------------------------------------------------------------------------------------------------------- */

static struct bufferevent *tls_connection(struct event_base *base, void *arg) {
  struct webhook *w = arg;
  SSL *ssl = SSL_new(w->tls);
  return ssl ? bufferevent_openssl_socket_new(base, -1, ssl, BUFFEREVENT_SSL_ACCEPTING, BEV_OPT_CLOSE_ON_FREE) : NULL;
}

static int tls_make(struct webhook *w, const json_t *settings, struct err *err) {
  const char *cert = json_str(settings, "tls_cert"), *key = json_str(settings, "tls_key");
  if (!cert && !key) return 0;
  if (!cert || !key) return err_set(err, ERR_INVALID, "webhook.tls_cert and webhook.tls_key go together");
  w->tls = SSL_CTX_new(TLS_server_method());
  if (!w->tls || !SSL_CTX_set_min_proto_version(w->tls, TLS1_2_VERSION)) return err_set(err, ERR_INTERNAL, "TLS cannot be set up");
  if (SSL_CTX_use_certificate_chain_file(w->tls, cert) != 1 || SSL_CTX_use_PrivateKey_file(w->tls, key, SSL_FILETYPE_PEM) != 1 ||
      SSL_CTX_check_private_key(w->tls) != 1)
    return err_set(err, ERR_INVALID, "webhook.tls_cert %s and tls_key do not make a pair that can be read: %s", cert,
                   ERR_reason_error_string(ERR_get_error()));
  evhttp_set_bevcb(w->http, tls_connection, w);
  return 0;
}

static int listen_on(struct webhook *w, const char *listen, struct err *err) {
  char host[256];
  const char *colon = strrchr(listen, ':');
  size_t n = colon ? (size_t)(colon - listen) : 0;
  if (!colon || n >= sizeof host || !n) return err_set(err, ERR_INVALID, "webhook.listen = \"%s\": write \"127.0.0.1:8470\"", listen);
  memcpy(host, listen, n);
  host[n] = 0;
  if (host[0] == '[' && host[n - 1] == ']') host[n - 1] = 0, memmove(host, host + 1, n - 1);
  unsigned long port = strtoul(colon + 1, NULL, 10);
  if (!port || port > 65535) return err_set(err, ERR_INVALID, "webhook.listen = \"%s\": there is no such port", listen);
  if (evhttp_bind_socket(w->http, host, (ev_uint16_t)port) != 0) return err_errno(err, "cannot listen on %s", listen);
  return 0;
}

int webhook_start(struct intake *in, struct webhook **ret, struct err *err) {
  const json_t *settings = json_object_get(in->deps.settings, "webhook");
  const char *listen = json_str_or(settings, "listen", "");
  if (!*listen || json_object_size(json_object_get(settings, "sources")) == 0) return 0;
  struct webhook *w = calloc(1, sizeof *w);
  if (!w) abort();
  w->in = in;
  w->sources = json_object_get(settings, "sources");
  w->per_minute = json_int_or(settings, "per_minute", 6000);
  map_init(&w->gauges);
  w->http = evhttp_new(loop_base(in->deps.loop));
  if (!w->http) abort();
  evhttp_set_max_body_size(w->http, (ev_ssize_t)json_int_or(settings, "max_body_kib", 1024) * 1024);
  evhttp_set_max_headers_size(w->http, HEADERS_CAP);
  evhttp_set_timeout(w->http, PATIENCE_S);
  evhttp_set_allowed_methods(w->http, EVHTTP_REQ_POST | EVHTTP_REQ_GET | EVHTTP_REQ_PUT | EVHTTP_REQ_HEAD);
  evhttp_set_gencb(w->http, on_alert, w);
  int r = tls_make(w, settings, err);
  if (r == 0) r = listen_on(w, listen, err);
  if (r < 0) {
    webhook_free(w);
    return r;
  }
  log_notice("webhook: %s://%s/v1/alerts/<source>", w->tls ? "https" : "http", listen);
  *ret = w;
  return 0;
}

void webhook_free(struct webhook *w) {
  if (!w) return;
  for (struct posting *p = w->postings, *next; p; p = next) {
    next = p->next;
    if (p->request) {
      evhttp_connection_set_closecb(evhttp_request_get_connection(p->request), NULL, NULL);
      answer(p->request, 503, "the engine is stopping; send it again");
    }
    p->webhook = NULL;
    p->request = NULL;
  }
  evhttp_free(w->http);
  SSL_CTX_free(w->tls);
  map_release(&w->gauges, free);
  free(w);
}
