/* local.c: blocking HTTP over a Unix socket, for the command line. Nothing but that socket is ever opened. */
#include <curl/curl.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "transport/transport.h"

enum { ANSWER_CAP = 256 << 20, PATH_CAP = 8192 };

static size_t keep(char *bytes, size_t size, size_t count, void *arg) {
  struct buf *b = arg;
  buf_add(b, bytes, size * count);
  return buf_ok(b) ? size * count : 0;
}

static int explain(CURLcode code, const char *socket, const struct buf *answer, struct err *err) {
  if (code == CURLE_COULDNT_CONNECT) {
    if (access(socket, F_OK) != 0)
      return err_set(err, ERR_UNAVAILABLE, "there is no socket %s: is `tocsin serve` running, with the same settings?", socket);
    if (access(socket, W_OK) != 0) return err_set(err, ERR_DENIED, "you may not use the socket %s: ask for its group", socket);
    return err_set(err, ERR_UNAVAILABLE, "nobody answers at %s: is `tocsin serve` running?", socket);
  }
  if (code == CURLE_OPERATION_TIMEDOUT) return err_set(err, ERR_TIMEOUT, "tocsin serve gave no answer in time");
  if (answer->failed) return err_set(err, ERR_LIMIT, "the answer is longer than %d MiB", ANSWER_CAP >> 20);
  return err_set(err, ERR_UNAVAILABLE, "talking to %s failed: %s", socket, curl_easy_strerror(code));
}

int local_request(const char *socket, const char *method, const char *path, const char *body, size_t body_len, int64_t timeout_ms,
                  long *ret_status, char **ret_body, size_t *ret_len, struct err *err) {
  struct buf url, answer;
  long status = 0;
  int r = 0;
  if (path[0] != '/') return err_set(err, ERR_INTERNAL, "a path begins with a slash");
  CURL *e = curl_easy_init();
  if (!e) abort();
  struct curl_slist *headers = curl_slist_append(curl_slist_append(NULL, "Expect:"), "Content-Type: application/json");
  buf_init(&url, PATH_CAP);
  buf_init(&answer, ANSWER_CAP);
  buf_adds(&url, "http://tocsin");
  buf_adds(&url, path);
  if (!buf_ok(&url)) r = err_set(err, ERR_LIMIT, "the path is longer than %d bytes", PATH_CAP);
  if (r < 0) goto out;
  curl_easy_setopt(e, CURLOPT_URL, url.data);
  curl_easy_setopt(e, CURLOPT_UNIX_SOCKET_PATH, socket);
  curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http");
  curl_easy_setopt(e, CURLOPT_PROXY, "");
  curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(e, CURLOPT_HTTPHEADER, headers);
  curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, (long)timeout_ms);
  curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, keep);
  curl_easy_setopt(e, CURLOPT_WRITEDATA, &answer);
  if (body || strcmp(method, "POST") == 0 || strcmp(method, "PUT") == 0) {
    curl_easy_setopt(e, CURLOPT_POSTFIELDS, body ? body : "");
    curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)(body ? body_len : 0));
  }
  curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, method);
  CURLcode code = curl_easy_perform(e);
  if (code != CURLE_OK) {
    r = explain(code, socket, &answer, err);
    goto out;
  }
  curl_easy_getinfo(e, CURLINFO_RESPONSE_CODE, &status);
  *ret_status = status;
  *ret_body = buf_take(&answer, ret_len);
out:
  curl_easy_cleanup(e);
  curl_slist_free_all(headers);
  buf_release(&url);
  buf_release(&answer);
  return r;
}
