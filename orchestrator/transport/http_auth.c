/* http_auth.c: the ways in which an HTTP request proves who sends it. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/digest.h"
#include "base/json.h"
#include "transport/form.h"
#include "transport/http.h"

enum { TOKEN_LIFE_S = 300, SIGNED_CAP = BODY_CAP + URL_CAP + 4096 };

struct kind {
  const char *name;
  const char *members[8];
  const char *required[5];
};

/* In the order of enum auth_kind; bearer is a bare string. */
static const struct kind kinds[] = {
    [AUTH_BEARER] = {"bearer", {NULL}, {NULL}},
    [AUTH_BASIC] = {"basic", {"user", "password", NULL}, {"user", "password", NULL}},
    [AUTH_HEADER] = {"header", {"name", "value", "prefix", NULL}, {"name", "value", NULL}},
    [AUTH_HMAC] = {"hmac",
                   {"secret", "header", "algorithm", "prefix", "encoding", "signed", "timestamp_header", NULL},
                   {"secret", "header", NULL}},
    [AUTH_SIGV4] = {"sigv4",
                    {"access_key", "secret_key", "session_token", "region", "service", NULL},
                    {"access_key", "secret_key", "region", "service", NULL}},
    [AUTH_OAUTH2] = {"oauth2",
                     {"token_url", "client_id", "client_secret", "scope", "audience", "client_auth", NULL},
                     {"token_url", "client_id", "client_secret", NULL}},
};

static const char *const names[] = {"bearer", "basic", "header", "hmac", "sigv4", "oauth2", NULL};

static bool is_one_of(const char *text, const char *a, const char *b) {
  return !text || strcmp(text, a) == 0 || (b && strcmp(text, b) == 0);
}

static int check_words(enum auth_kind kind, const json_t *form, struct err *err) {
  if (kind == AUTH_HMAC && !is_one_of(json_str(form, "algorithm"), "sha256", NULL))
    return err_set(err, ERR_INVALID, "http.auth.hmac: algorithm can only be \"sha256\"");
  if (kind == AUTH_HMAC && !is_one_of(json_str(form, "encoding"), "hex", "base64"))
    return err_set(err, ERR_INVALID, "http.auth.hmac: encoding must be \"hex\" or \"base64\"");
  if (kind == AUTH_OAUTH2 && !is_one_of(json_str(form, "client_auth"), "basic", "body"))
    return err_set(err, ERR_INVALID, "http.auth.oauth2: client_auth must be \"basic\" or \"body\"");
  if (kind == AUTH_SIGV4 && (strchr(json_str(form, "region"), ':') || strchr(json_str(form, "service"), ':')))
    return err_set(err, ERR_INVALID, "http.auth.sigv4: a colon in region or service");
  struct http_url url = {0};
  int r = kind == AUTH_OAUTH2 ? http_url_init(&url, json_str(form, "token_url"), err) : 0;
  http_url_release(&url);
  return r;
}

int http_auth_check(const struct http_request *q, enum auth_kind *ret, struct err *err) {
  size_t at;
  char where[32];
  const char *value;
  int r;
  *ret = q->bearer ? AUTH_BEARER : AUTH_NONE;
  if (!q->auth) return 0;
  if ((r = form_members(q->auth, "http.auth", names, err)) < 0 || (r = form_one_of(q->auth, "http.auth", names, &at, err)) < 0) return r;
  enum auth_kind kind = (enum auth_kind)(at + 1);
  const struct kind *k = &kinds[kind];
  const json_t *form = json_object_get(q->auth, k->name);
  if (kind == AUTH_BEARER) {
    r = form_string(q->auth, "http.auth", "bearer", true, &value, err);
  } else {
    snprintf(where, sizeof where, "http.auth.%s", k->name);
    r = form_members(form, where, k->members, err);
    for (size_t i = 0; r == 0 && k->required[i]; i++) r = form_string(form, where, k->required[i], true, &value, err);
    for (size_t i = 0; r == 0 && k->members[i]; i++) r = form_string(form, where, k->members[i], false, &value, err);
    if (r == 0) r = check_words(kind, form, err);
  }
  if (r == 0) *ret = kind;
  return r;
}

static int add_basic(struct curl_slist **headers, const char *user, const char *password, struct err *err) {
  struct buf pair;
  if (strchr(user, ':')) return err_set(err, ERR_INVALID, "http.auth: a user name cannot hold a colon");
  buf_init(&pair, HEADER_CAP / 2);
  buf_adds(&pair, user);
  buf_addc(&pair, ':');
  buf_adds(&pair, password);
  char *base64 = buf_ok(&pair) ? base64_encode(pair.data, pair.len) : NULL;
  int r = base64 ? http_add_header(headers, "Authorization", "Basic ", base64, err)
                 : err_set(err, ERR_LIMIT, "http.auth: the password is too long");
  wipe_string(base64);
  explicit_bzero(pair.data, pair.len);
  buf_release(&pair);
  return r;
}

/* What an HMAC is made over: %m method, %p path and query, %t time, %b body. */
static int signed_text(const struct http_request *q, const char *template, const char *now, struct buf *out, struct err *err) {
  for (const char *p = template; *p; p++) {
    if (*p != '%') {
      buf_addc(out, *p);
      continue;
    }
    switch (*++p) {
    case 'm': buf_adds(out, q->method); break;
    case 'p': buf_adds(out, *q->url.path_query ? q->url.path_query : "/"); break;
    case 't': buf_adds(out, now); break;
    case 'b': buf_add(out, q->body ? q->body : "", q->body_len); break;
    case '%': buf_addc(out, '%'); break;
    default: return err_set(err, ERR_INVALID, "http.auth.hmac: signed knows %%m, %%p, %%t, %%b and %%%%");
    }
  }
  return buf_ok(out) ? 0 : err_set(err, ERR_LIMIT, "http.auth.hmac: too much to sign");
}

static int add_hmac(const struct http_request *q, const json_t *form, struct curl_slist **headers, struct err *err) {
  const char *secret = json_str(form, "secret"), *stamp = json_str(form, "timestamp_header");
  char now[24], hex[DIGEST_HEX];
  uint8_t mac[DIGEST_BYTES];
  struct buf text;
  snprintf(now, sizeof now, "%" PRId64, clock_wall(clock_system()) / 1000000);
  buf_init(&text, SIGNED_CAP);
  int r = signed_text(q, json_str_or(form, "signed", "%b"), now, &text, err);
  if (r == 0) {
    digest_hmac_sha256(secret, strlen(secret), text.data, text.len, mac);
    hex_encode(mac, sizeof mac, hex);
    char *base64 = strcmp(json_str_or(form, "encoding", "hex"), "base64") == 0 ? base64_encode(mac, sizeof mac) : NULL;
    r = http_add_header(headers, json_str(form, "header"), json_str_or(form, "prefix", ""), base64 ? base64 : hex, err);
    free(base64);
  }
  if (r == 0 && stamp) r = http_add_header(headers, stamp, "", now, err);
  explicit_bzero(text.data, text.len);
  buf_release(&text);
  return r;
}

static int add_sigv4(const struct http_request *q, const json_t *form, struct http_signing *signing, struct curl_slist **headers,
                     struct err *err) {
  char scope[192], hex[DIGEST_HEX];
  uint8_t digest[DIGEST_BYTES];
  const char *session = json_str(form, "session_token");
  int n = snprintf(scope, sizeof scope, "aws:amz:%s:%s", json_str(form, "region"), json_str(form, "service"));
  if (n < 0 || (size_t)n >= sizeof scope) return err_set(err, ERR_INVALID, "http.auth.sigv4: region or service is too long");
  digest_sha256(q->body ? q->body : "", q->body_len, digest);
  hex_encode(digest, sizeof digest, hex);
  free(signing->scope);
  if (!(signing->scope = strdup(scope))) abort();
  signing->access_key = json_str(form, "access_key");
  signing->secret_key = json_str(form, "secret_key");
  int r = http_add_header(headers, "x-amz-content-sha256", "", hex, err); /* libcurl 7.88 leaves it out */
  return r == 0 && session ? http_add_header(headers, "X-Amz-Security-Token", "", session, err) : r;
}

int http_auth_apply(const struct http_request *q, enum auth_kind kind, const char *token, struct http_signing *signing,
                    struct curl_slist **headers, struct err *err) {
  const json_t *form = kind == AUTH_NONE ? NULL : json_object_get(q->auth, kinds[kind].name);
  switch (kind) {
  case AUTH_NONE: return 0;
  case AUTH_BEARER: return http_add_header(headers, "Authorization", "Bearer ", q->bearer ? q->bearer : json_string_value(form), err);
  case AUTH_BASIC: return add_basic(headers, json_str(form, "user"), json_str(form, "password"), err);
  case AUTH_HEADER: return http_add_header(headers, json_str(form, "name"), json_str_or(form, "prefix", ""), json_str(form, "value"), err);
  case AUTH_HMAC: return add_hmac(q, form, headers, err);
  case AUTH_SIGV4: return add_sigv4(q, form, signing, headers, err);
  case AUTH_OAUTH2: return http_add_header(headers, "Authorization", "Bearer ", token, err);
  }
  return err_set(err, ERR_INTERNAL, "http.auth: unknown kind");
}

/* ---- OAuth 2, client credentials -------------------------------------------------------------------- */

void http_token_slot(const struct http_request *q, const char *connector, char *out, size_t size) {
  char hex[65];
  json_t *who = json_copy(json_object_get(q->auth, "oauth2"));
  json_object_del(who, "client_secret");
  json_digest(who, hex);
  json_decref(who);
  snprintf(out, size, "oauth2:%.32s:%.8s", connector, hex);
}

static int add_client(const json_t *form, struct buf *body, struct curl_slist **headers, struct err *err) {
  const char *id = json_str(form, "client_id"), *secret = json_str(form, "client_secret");
  struct buf eid, esecret;
  int r = 0;
  buf_init(&eid, HEADER_CAP);
  buf_init(&esecret, HEADER_CAP);
  percent_encode(&eid, id, strlen(id)); /* RFC 6749 2.3.1: encoded in both places */
  percent_encode(&esecret, secret, strlen(secret));
  if (strcmp(json_str_or(form, "client_auth", "basic"), "basic") == 0) r = add_basic(headers, eid.data, esecret.data, err);
  else buf_addf(body, "&client_id=%s&client_secret=%s", eid.data, esecret.data);
  explicit_bzero(esecret.data, esecret.len);
  buf_release(&eid);
  buf_release(&esecret);
  return r;
}

int http_token_request(const struct http_request *q, char **ret_body, struct curl_slist **ret_headers, struct err *err) {
  const json_t *form = json_object_get(q->auth, "oauth2");
  struct curl_slist *headers = NULL;
  struct buf body;
  buf_init(&body, HEADER_CAP * 2);
  buf_adds(&body, "grant_type=client_credentials");
  static const char *const extra[] = {"scope", "audience", NULL};
  for (size_t i = 0; extra[i]; i++) {
    const char *value = json_str(form, extra[i]);
    if (!value) continue;
    buf_addf(&body, "&%s=", extra[i]);
    percent_encode(&body, value, strlen(value));
  }
  int r = add_client(form, &body, &headers, err);
  if (r == 0) r = http_add_header(&headers, "Accept", "", "application/json", err);
  if (r == 0 && !buf_ok(&body)) r = err_set(err, ERR_LIMIT, "http.auth.oauth2: the token request is too long");
  if (r == 0) {
    *ret_body = buf_take(&body, NULL);
    *ret_headers = headers;
  } else {
    http_free_headers(headers, NULL);
  }
  if (body.size) explicit_bzero(body.data, body.len);
  buf_release(&body);
  return r;
}

int http_token_parse(const char *bytes, size_t len, char **ret_token, int64_t *ret_life_s, struct err *err) {
  json_t *answer;
  int r = json_parse(bytes, len, &answer, err);
  if (r < 0) return r;
  const char *token = json_str(answer, "access_token"), *type = json_str_or(answer, "token_type", "bearer");
  if (!token || strlen(token) < SECRET_MIN_BYTES || strlen(token) > SECRET_MAX_BYTES || text_has_line_break(token))
    r = err_set(err, ERR_INVALID, "the answer bears no usable access_token");
  else if (strcasecmp(type, "bearer") != 0) r = err_set(err, ERR_INVALID, "the token is of another type than Bearer");
  else {
    *ret_life_s = json_int_or(answer, "expires_in", TOKEN_LIFE_S);
    if (!(*ret_token = strdup(token))) abort();
  }
  form_wipe(answer);
  return r;
}
