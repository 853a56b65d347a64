/* http_request.c: the `http` form to method, URL, headers and body. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/slab.h"
#include "transport/form.h"
#include "transport/http.h"

enum { MOST_SERVERS = 256 };

enum member { METHOD, URL, PATH, QUERY, HEADERS, JSON, FORM, BODY, AUTH, CONTENT_TYPE, BEARER, EXPECT, IDEMPOTENCY_KEY, MEMBERS };

static const char *const members[] = {[METHOD] = "method",
                                      [URL] = "url",
                                      [PATH] = "path",
                                      [QUERY] = "query",
                                      [HEADERS] = "headers",
                                      [JSON] = "json",
                                      [FORM] = "form",
                                      [BODY] = "body",
                                      [AUTH] = "auth",
                                      [CONTENT_TYPE] = "content_type",
                                      [BEARER] = "bearer",
                                      [EXPECT] = "expect",
                                      [IDEMPOTENCY_KEY] = "idempotency_key",
                                      [MEMBERS] = NULL};

static bool is_token(const char *text) {
  if (!*text) return false;
  for (; *text; text++)
    if (!isalnum((unsigned char)*text) && !strchr("!#$%&'*+-.^_`|~", *text)) return false;
  return true;
}

/* One block for libcurl's node and the line, which are ours to free. */
static void add_line(struct curl_slist **headers, const char *const parts[4]) {
  size_t lengths[4], len = 0;
  for (int i = 0; i < 4; i++) len += lengths[i] = strlen(parts[i]);
  struct curl_slist *node = slab_alloc(sizeof *node + len + 1);
  if (!node) abort();
  char *at = (char *)(node + 1);
  *node = (struct curl_slist){.data = at};
  for (int i = 0; i < 4; at += lengths[i++]) memcpy(at, parts[i], lengths[i]);
  *at = 0;
  while (*headers) headers = &(*headers)->next;
  *headers = node;
}

int http_add_header(struct curl_slist **headers, const char *name, const char *prefix, const char *value, struct err *err) {
  if (!is_token(name)) return err_set(err, ERR_INVALID, "http: %.64s is no header's name", name);
  if (text_has_line_break(prefix) || text_has_line_break(value))
    return err_set(err, ERR_INVALID, "http: the header %.64s holds a line break or a control character", name);
  if (strlen(name) + strlen(prefix) + strlen(value) + 2 > HEADER_CAP)
    return err_set(err, ERR_LIMIT, "http: the header %.64s is longer than %d bytes", name, HEADER_CAP);
  const char *between = *prefix || *value ? ": " : ";"; /* libcurl's way to send an empty one */
  add_line(headers, (const char *const[]){name, between, prefix, value});
  return 0;
}

void http_add_line(struct curl_slist **headers, const char *line) { add_line(headers, (const char *const[]){line, "", "", ""}); }

void http_free_headers(struct curl_slist *headers, const struct curl_slist *until) {
  for (struct curl_slist *next; headers && headers != until; headers = next) {
    next = headers->next;
    explicit_bzero(headers->data, strlen(headers->data));
    slab_free(headers);
  }
}

static bool is_unreserved(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_' || c == '~';
}

void percent_encode(struct buf *out, const char *bytes, size_t len) {
  static const char hex[] = "0123456789ABCDEF";
  for (size_t i = 0, from = 0; from < len; from = i + 1) {
    for (i = from; i < len && is_unreserved(bytes[i]);) i++;
    buf_add(out, bytes + from, i - from);
    if (i == len) return;
    unsigned char c = (unsigned char)bytes[i];
    buf_add(out, (const char[]){'%', hex[c >> 4], hex[c & 15]}, 3);
  }
}

static int by_name(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

static int encode_pair(struct buf *out, const char *name, const json_t *value, const char *where, struct err *err) {
  struct text text;
  if (!form_text(value, &text))
    return err_set(err, ERR_INVALID, "http: %s: %.64s must be a string, a number or a list of them", where, name);
  if (out->len) buf_addc(out, '&');
  percent_encode(out, name, strlen(name));
  buf_addc(out, '=');
  percent_encode(out, text.bytes, text.len);
  return 0;
}

int http_encode_pairs(const json_t *pairs, const char *where, struct buf *out, struct err *err) {
  size_t count = json_object_size(pairs), n = 0, i;
  if (count == 0) return 0;
  const char **names = calloc(count + 1, sizeof *names), *key;
  json_t *value, *item;
  int r = 0;
  if (!names) abort();
  json_object_foreach((json_t *)(uintptr_t)pairs, key, value) names[n++] = key;
  qsort(names, n, sizeof *names, by_name);
  for (n = 0; n < count && r == 0; n++) {
    value = json_object_get(pairs, names[n]);
    if (!json_is_array(value)) r = encode_pair(out, names[n], value, where, err);
    else json_array_foreach(value, i, item) if (r == 0) r = encode_pair(out, names[n], item, where, err);
  }
  free(names);
  return r;
}

/* ---- the URL ---------------------------------------------------------------------------------------- */

static bool is_dots(const char *segment, size_t len) {
  size_t dots = 0;
  for (size_t i = 0; i < len; dots++) {
    if (segment[i] == '.') i++;
    else if (len - i >= 3 && strncasecmp(segment + i, "%2e", 3) == 0) i += 3;
    else return false;
  }
  return dots == 1 || dots == 2;
}

/* "." and ".." in a path come from a value that was put where it should not be; they would lead to another place than the author wrote. */
static bool path_walks(const char *path) {
  while (*path == '/') {
    size_t len = strcspn(++path, "/?#");
    if (is_dots(path, len)) return true;
    path += len;
  }
  return false;
}

/* Where the path begins: after "https://" and a host. NULL when it is not written so. Whatever is added from there on leads to no other host. */
static const char *after_host(const char *url) {
  size_t scheme = strncasecmp(url, "https://", 8) == 0 ? 8 : strncasecmp(url, "http://", 7) == 0 ? 7 : 0;
  size_t host = scheme ? strcspn(url + scheme, "/?#") : 0;
  return host ? url + scheme + host : NULL;
}

static int check_base(const char *url, size_t *ret_origin_len, struct err *err) {
  const char *path = after_host(url);
  if (!path && strstr(url, "://") && strncasecmp(url, "http", 4) != 0)
    return err_set(err, ERR_INVALID, "http: the URL must begin with https:// or http://");
  if (!path) return err_set(err, ERR_INVALID, "http: this is no URL such as https://host/path");
  *ret_origin_len = (size_t)(path - url);
  return path_walks(path) ? err_set(err, ERR_INVALID, "http: the URL's path has a \".\" or \"..\" segment") : 0;
}

/* Takes text, whose base was checked and is as long up to the path. */
static void take_text(struct http_url *url, char *text, size_t origin_len) {
  if (!text) abort();
  url->text = text;
  url->path_query = text + origin_len;
  url->origin_len = origin_len;
}

static int parse_url(struct http_url *url, struct err *err) {
  const char *text = url->text;
  char *fragment = NULL;
  int r = 0;
  CURLUcode code;
  if (!(url->parsed = curl_url())) abort();
  code = text_has_line_break(text) ? CURLUE_MALFORMED_INPUT
                                   : curl_url_set(url->parsed, CURLUPART_URL, text, CURLU_PATH_AS_IS | CURLU_DISALLOW_USER);
  if (code == CURLUE_USER_NOT_ALLOWED) r = err_set(err, ERR_INVALID, "http: a URL must not hold a user or password; use auth");
  else if (code != CURLUE_OK) r = err_set(err, ERR_INVALID, "http: this is no URL such as https://host/path");
  else if (strchr(text, '#') && curl_url_get(url->parsed, CURLUPART_FRAGMENT, &fragment, 0) == CURLUE_OK)
    r = err_set(err, ERR_INVALID, "http: a URL must not hold a fragment (#)");
  curl_free(fragment);
  if (r < 0) http_url_release(url);
  return r;
}

int http_url_init(struct http_url *url, const char *text, struct err *err) {
  size_t origin_len;
  int r = check_base(text, &origin_len, err);
  if (r < 0) return r;
  take_text(url, strdup(text), origin_len);
  return parse_url(url, err);
}

void http_server_unref(void *server) {
  struct http_server *s = server;
  if (!s || --s->refs) return;
  curl_url_cleanup(s->parsed);
  free(s);
}

void http_url_release(struct http_url *url) {
  wipe_string(url->text);
  curl_url_cleanup(url->parsed);
  http_server_unref(url->server);
  memset(url, 0, sizeof *url);
}

CURLU *http_url_parse(struct http_url *url) {
  if (!url->parsed && parse_url(url, NULL) < 0) abort(); /* both halves were found good */
  return url->parsed;
}

char *http_url_host(const struct http_url *url) {
  char *host = NULL;
  if (curl_url_get(url->parsed ? url->parsed : url->server->parsed, CURLUPART_HOST, &host, 0) != CURLUE_OK) abort();
  return host;
}

/* A path, and perhaps a query, of nothing but what RFC 3986 lets stand there: libcurl refuses and changes nothing in it. */
static bool is_plain(const char *path_query) {
  const char *p = path_query;
  if (*p != '/') return false;
  while (is_unreserved(*p) || (*p && strchr("/?%:@!$&'()*+,;=", *p))) p++;
  return !*p && p[-1] != '?';
}

/* NULL when there is no such server. Forgotten are all when they get many, and one whose name is a secret is not remembered. */
static struct http_server *server_new(struct transports *t, const char *origin) {
  struct http_url url = {0};
  if (secrets_shown(t->secrets, origin, strlen(origin)) || http_url_init(&url, origin, NULL) < 0) return NULL;
  struct http_server *s = calloc(1, sizeof *s);
  if (!s) abort();
  *s = (struct http_server){.refs = 1, .parsed = url.parsed};
  url.parsed = NULL;
  http_url_release(&url);
  if (map_count(&t->servers) >= MOST_SERVERS) {
    map_release(&t->servers, http_server_unref);
    map_init(&t->servers);
  }
  map_put(&t->servers, origin, s);
  return s;
}

static struct http_server *server_ref(struct transports *t, const char *text, size_t origin_len) {
  char *origin = strndup(text, origin_len);
  if (!origin) abort();
  struct http_server *s = map_get(&t->servers, origin);
  if (!s) s = server_new(t, origin);
  if (s) s->refs++;
  wipe_string(origin);
  return s;
}

static int take_url(struct http_url *url, struct transports *t, char *text, size_t origin_len, struct err *err) {
  take_text(url, text, origin_len);
  if (is_plain(url->path_query)) url->server = server_ref(t, text, origin_len);
  return url->server ? 0 : parse_url(url, err);
}

static int add_path(struct buf *url, const json_t *path, struct err *err) {
  size_t i;
  json_t *segment;
  json_array_foreach(path, i, segment) {
    struct text text;
    if (!form_text(segment, &text)) return err_set(err, ERR_INVALID, "http: path: segment %zu is no string", i + 1);
    if (text.len == 0 || is_dots(text.bytes, text.len))
      return err_set(err, ERR_INVALID, "http: path: segment %zu is empty, \".\" or \"..\"", i + 1);
    if (url->len == 0 || url->data[url->len - 1] != '/') buf_addc(url, '/');
    percent_encode(url, text.bytes, text.len);
  }
  return 0;
}

static int build_url(struct http_request *q, struct transports *t, const json_t *const *in, struct err *err) {
  const char *base;
  const json_t *path, *query;
  struct buf url, pairs;
  size_t origin_len;
  int r;
  if ((r = form_string_of(in[URL], "http", "url", true, &base, err)) < 0 || (r = form_list_of(in[PATH], "http", "path", &path, err)) < 0 ||
      (r = form_object_of(in[QUERY], "http", "query", &query, err)) < 0 || (r = check_base(base, &origin_len, err)) < 0)
    return r;
  size_t before_query = strcspn(base, "?");
  buf_init(&url, URL_CAP);
  buf_init(&pairs, URL_CAP);
  buf_add(&url, base, before_query);
  if ((r = add_path(&url, path, err)) < 0 || (r = http_encode_pairs(query, "query", &pairs, err)) < 0) goto out;
  buf_adds(&url, base + before_query);
  if (pairs.len) buf_addc(&url, !base[before_query] ? '?' : '&');
  buf_add(&url, pairs.data, pairs.len);
  if (!buf_ok(&url) || !buf_ok(&pairs)) r = err_set(err, ERR_LIMIT, "http: the URL is longer than %d bytes", URL_CAP);
  else r = take_url(&q->url, t, buf_take(&url, NULL), origin_len, err);
out:
  buf_release(&url);
  buf_release(&pairs);
  return r;
}

/* ---- method, headers, body -------------------------------------------------------------------------- */

static int build_method(struct http_request *q, const json_t *const *in, struct err *err) {
  const char *method;
  int r = form_string_of(in[METHOD], "http", "method", false, &method, err);
  if (r < 0) return r;
  if (!method) method = "GET";
  for (const char *p = method; *p; p++)
    if (!isupper((unsigned char)*p) || p - method > 15) return err_set(err, ERR_INVALID, "http: method must be upper-case letters");
  if (!*method || strcmp(method, "CONNECT") == 0 || strcmp(method, "TRACE") == 0)
    return err_set(err, ERR_INVALID, "http: this method cannot be used");
  if (!(q->method = strdup(method))) abort();
  return 0;
}

static bool has_header(const json_t *headers, const char *name) {
  const char *key;
  json_t *value;
  json_object_foreach((json_t *)(uintptr_t)headers, key, value) if (strcasecmp(key, name) == 0) return true;
  return false;
}

static int build_headers(struct http_request *q, const json_t *headers, struct err *err) {
  static const char *const ours[] = {"Host", "Content-Length", "Transfer-Encoding", "Connection", "Expect", "Accept-Encoding", NULL};
  const char *key;
  json_t *value;
  int r = 0;
  for (size_t i = 0; headers && ours[i]; i++)
    if (has_header(headers, ours[i])) return err_set(err, ERR_INVALID, "http: the header %s is the transport's own", ours[i]);
  json_object_foreach((json_t *)(uintptr_t)headers, key, value) {
    struct text text;
    if (!form_text(value, &text) || strlen(text.bytes) != text.len)
      return err_set(err, ERR_INVALID, "http: the header %.64s must be a string", key);
    if ((r = http_add_header(&q->headers, key, "", text.bytes, err)) < 0) return r;
  }
  return 0;
}

static int build_body(struct http_request *q, const json_t *const *in, const char **ret_type, struct err *err) {
  const json_t *json = in[JSON], *fields, *body = in[BODY];
  const char *type;
  struct buf text;
  int r;
  if ((r = form_object_of(in[FORM], "http", "form", &fields, err)) < 0 ||
      (r = form_string_of(in[CONTENT_TYPE], "http", "content_type", false, &type, err)) < 0)
    return r;
  if ((json != NULL) + (in[FORM] != NULL) + (body != NULL) > 1)
    return err_set(err, ERR_INVALID, "http: only one of json, form and body can be sent");
  if (q->body && (json || fields || body)) return err_set(err, ERR_INVALID, "http: a body of bytes excludes json, form and body");
  if (type && !body && !q->body) return err_set(err, ERR_INVALID, "http: content_type goes with body only");
  if (body && !json_is_string(body)) return err_set(err, ERR_INVALID, "http: body must be a string");
  *ret_type = json      ? "application/json"
              : fields  ? "application/x-www-form-urlencoded"
              : body    ? (type ? type : "text/plain; charset=utf-8")
              : q->body ? (type ? type : "application/octet-stream")
                        : NULL;
  if (!*ret_type || q->body) return 0;
  buf_init(&text, BODY_CAP);
  if (json) json_write(json, &text);
  else if (fields) r = http_encode_pairs(fields, "form", &text, err);
  else buf_add(&text, json_string_value(body), json_string_length(body));
  if (r == 0 && !(q->body = buf_take(&text, &q->body_len))) r = err_set(err, ERR_LIMIT, "http: the body is longer than %d bytes", BODY_CAP);
  if (text.size) explicit_bzero(text.data, text.len);
  buf_release(&text);
  return r;
}

static int build_key(struct http_request *q, const json_t *how, const char *key, struct err *err) {
  static const char *const names[] = {"header", NULL};
  const char *name = "Idempotency-Key";
  int r;
  if (!how) return 0;
  if (!key) return err_set(err, ERR_INVALID, "http: this exchange has no idempotency key");
  if (json_is_string(how)) {
    if (strcmp(json_string_value(how), "header") != 0)
      return err_set(err, ERR_INVALID, "http: idempotency_key must be \"header\" or {header = \"Name\"}");
  } else if ((r = form_members(how, "http.idempotency_key", names, err)) < 0 ||
             (r = form_string(how, "http.idempotency_key", "header", true, &name, err)) < 0) {
    return r;
  }
  return http_add_header(&q->headers, name, "", key, err);
}

static void take_bytes(struct http_request *q, const void *body, size_t len) {
  if (!body) return;
  q->body = malloc(len + 1);
  if (!q->body) abort();
  memcpy(q->body, body, len);
  q->body_len = len;
}

int http_request_init(struct http_request *q, struct transports *t, const json_t *form, const void *body, size_t body_len,
                      const char *idempotency_key, struct err *err) {
  const json_t *in[MEMBERS], *headers;
  const char *type = NULL, *expect;
  int r;
  memset(q, 0, sizeof *q);
  take_bytes(q, body, body_len);
  if ((r = form_take(form, "http", members, in, err)) < 0 || (r = build_method(q, in, err)) < 0 || (r = build_url(q, t, in, err)) < 0 ||
      (r = form_object_of(in[HEADERS], "http", "headers", &headers, err)) < 0 || (r = build_headers(q, headers, err)) < 0 ||
      (r = build_body(q, in, &type, err)) < 0 || (r = build_key(q, in[IDEMPOTENCY_KEY], idempotency_key, err)) < 0 ||
      (r = form_string_of(in[EXPECT], "http", "expect", false, &expect, err)) < 0 ||
      (r = form_object_of(in[AUTH], "http", "auth", &q->auth, err)) < 0 ||
      (r = form_string_of(in[BEARER], "http", "bearer", false, &q->bearer, err)) < 0)
    goto out;
  if (expect && strcmp(expect, "json") != 0) r = err_set(err, ERR_INVALID, "http: expect can only be \"json\"");
  else if (q->bearer && q->auth) r = err_set(err, ERR_INVALID, "http: only one of bearer and auth can be used");
  else if (type && !has_header(headers, "Content-Type")) r = http_add_header(&q->headers, "Content-Type", "", type, err);
  q->expect_json = expect != NULL;
out:
  if (r < 0) http_request_release(q);
  return r;
}

void http_request_release(struct http_request *q) {
  http_free_headers(q->headers, NULL);
  http_url_release(&q->url);
  if (q->body) explicit_bzero(q->body, q->body_len);
  free(q->body);
  free(q->method);
  memset(q, 0, sizeof *q);
}
