/* http.h: the parts of one HTTP exchange, shared by http.c (carrying), http_request.c (the form) and http_auth.c (who we are).
 *
 * Only these three include it. */
#ifndef TOCSIN_TRANSPORT_HTTP_H
#define TOCSIN_TRANSPORT_HTTP_H

#include "base/buf.h"
#include "transport/flight.h"
#include "transport/multi.h"

enum { MOST_REDIRECTS = 5, HEADER_CAP = 64 * 1024, TOKEN_CAP = 64 * 1024, URL_CAP = 16 * 1024, BODY_CAP = 16 << 20 };

/* What stands before the path of a URL, once libcurl found it good. Shared by the URLs that begin with it; counted on the loop, read on any thread. */
struct http_server {
  unsigned refs;
  CURLU *parsed; /* its path is / */
};

/* A URL that may be asked. Zeroed: none. */
struct http_url {
  char *text;
  const char *path_query; /* inside text */
  size_t origin_len;      /* of text: up to the path */
  /* at least one of the two */
  struct http_server *server; /* path_query is plain: it may be sent as it is */
  CURLU *parsed;              /* all of it */
};

struct http_request {
  char *method;
  struct http_url url;
  struct curl_slist *headers;
  char *body; /* NULL: none */
  size_t body_len;
  bool expect_json;
  const json_t *auth; /* borrowed from the form, or NULL */
  const char *bearer; /* the same */
};

/* body: bytes to be sent as they are (copied), or NULL. t remembers the server. */
int http_request_init(struct http_request *q, struct transports *t, const json_t *form, const void *body, size_t body_len,
                      const char *idempotency_key, struct err *err);
void http_request_release(struct http_request *q);
/* ERR_INVALID for a name or value that HTTP does not allow. */
int http_add_header(struct curl_slist **headers, const char *name, const char *prefix, const char *value, struct err *err);
void http_add_line(struct curl_slist **headers, const char *line);
/* The list up to until (NULL: all of it), wiped. Lists are libcurl's in form, but only ours to change: not for curl_slist_…. */
void http_free_headers(struct curl_slist *headers, const struct curl_slist *until);
/* Percent-encoded (RFC 3986): all but letters, digits and -._~ */
void percent_encode(struct buf *out, const char *bytes, size_t len);
/* name=value&… sorted by name, percent-encoded. */
int http_encode_pairs(const json_t *pairs, const char *where, struct buf *out, struct err *err);
/* Copies. ERR_INVALID for a URL that may not be asked: http or https, a host, nobody's password, no fragment. */
int http_url_init(struct http_url *url, const char *text, struct err *err);
void http_url_release(struct http_url *url);     /* wiped */
CURLU *http_url_parse(struct http_url *url);     /* from here on it is parsed as a whole; borrowed */
char *http_url_host(const struct http_url *url); /* for messages; curl_free() */

enum auth_kind { AUTH_NONE, AUTH_BEARER, AUTH_BASIC, AUTH_HEADER, AUTH_HMAC, AUTH_SIGV4, AUTH_OAUTH2 };

/* Checks the form of q->auth; which kind it is. */
int http_auth_check(const struct http_request *q, enum auth_kind *ret, struct err *err);
/* What libcurl signs with (AWS Signature Version 4). The keys are borrowed from the form. */
struct http_signing {
  char *scope; /* free() */
  const char *access_key, *secret_key;
};

/* Adds what proves who we are to *headers, or fills signing in (only sigv4). token: of oauth2. */
int http_auth_apply(const struct http_request *q, enum auth_kind kind, const char *token, struct http_signing *signing,
                    struct curl_slist **headers, struct err *err);
/* Slot under which an instance's token is kept. */
void http_token_slot(const struct http_request *q, const char *connector, char *out, size_t size);
/* The token request's body and Authorization header for q's oauth2. */
int http_token_request(const struct http_request *q, char **ret_body, struct curl_slist **ret_headers, struct err *err);
/* The answer's token and life in seconds. */
int http_token_parse(const char *bytes, size_t len, char **ret_token, int64_t *ret_life_s, struct err *err);

#endif
