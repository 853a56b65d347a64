/* bucket.c: objects of an S3 bucket. Every request is signed with SigV4, its body's digest included; with `lock_days` nobody, the bucket's owner included, can change or remove an object until
 * then (object lock in compliance mode, which the bucket must have been made for). */
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "anchor/internal.h"
#include "base/clock.h"
#include "base/digest.h"
#include "base/json.h"

enum { ERROR_CAP = 64 * 1024, DAY_S = 86400 };

/* S3 wants an MD5 with every object that is locked: against bits that flip on the way, not against people. */
static json_t *md5_text(const void *bytes, size_t len) {
  uint8_t digest[EVP_MAX_MD_SIZE];
  unsigned n = 0;
  if (EVP_Digest(bytes, len, digest, &n, EVP_md5(), NULL) != 1) return NULL;
  char *text = base64_encode(digest, n);
  json_t *value = text ? json_string(text) : NULL;
  free(text);
  return value;
}

static json_t *request(const struct bucket *b, const char *method, const char *path) {
  const json_t *s = b->target->settings;
  json_t *parts = json_array();
  for (const char *p = path, *slash; p; p = slash ? slash + 1 : NULL) {
    slash = strchr(p, '/');
    json_array_append_new(parts, json_stringn(p, slash ? (size_t)(slash - p) : strlen(p)));
  }
  return json_pack("{s:{s:s, s:s, s:o, s:{}, s:{s:{s:O, s:O, s:s, s:s}}}}", "http", "method", method, "url", json_str(s, "bucket"), "path",
                   parts, "headers", "auth", "sigv4", "access_key", json_object_get(s, "access_key"), "secret_key",
                   json_object_get(s, "secret_key"), "region", json_str(s, "region"), "service", "s3");
}

static int refused(const char *what, const struct bucket *b, const char *path, const struct answer *answer, struct err *err) {
  const char *code = answer->bytes.len ? strstr(answer->bytes.data, "<Code>") : NULL;
  size_t n = code ? strspn(code + 6, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz") : 0;
  return err_set(err, answer->status >= 500 ? ERR_UNAVAILABLE : ERR_DENIED, "%s of %s at %s was answered with %ld%s%.*s", what, path,
                 b->target->name, answer->status, n ? " " : "", (int)n, n ? code + 6 : "");
}

static void lock_headers(json_t *headers, int64_t days) {
  char until[TIME_TEXT];
  time_t at = (time_t)(clock_wall(clock_system()) / 1000000 + days * DAY_S);
  struct tm tm;
  gmtime_r(&at, &tm);
  strftime(until, sizeof until, "%Y-%m-%dT%H:%M:%SZ", &tm);
  json_object_set_new(headers, "x-amz-object-lock-mode", json_string("COMPLIANCE"));
  json_object_set_new(headers, "x-amz-object-lock-retain-until-date", json_string(until));
}

static int bucket_put(struct store *s, const char *path, const void *bytes, size_t len, struct err *err) {
  const struct bucket *b = (const struct bucket *)s;
  struct answer answer;
  int64_t days = json_int_or(b->target->settings, "lock_days", 0);
  json_t *q = request(b, "PUT", path), *headers = json_object_get(json_object_get(q, "http"), "headers");
  json_object_set_new(headers, "Content-Type", json_string("application/octet-stream"));
  json_t *md5 = md5_text(bytes, len);
  if (md5) json_object_set_new(headers, "Content-MD5", md5);
  if (days) lock_headers(headers, days);
  int r = anchor_ask(b->anchor, b->target, q, bytes, len, ERROR_CAP, &answer, err);
  if (r < 0) return r;
  if (answer.status != 200) r = refused("writing", b, path, &answer, err);
  answer_release(&answer);
  return r;
}

static int bucket_get(struct store *s, const char *path, size_t cap, struct buf *out, struct err *err) {
  const struct bucket *b = (const struct bucket *)s;
  struct answer answer;
  int r = anchor_ask(b->anchor, b->target, request(b, "GET", path), NULL, 0, cap > ERROR_CAP ? cap : ERROR_CAP, &answer, err);
  if (r < 0) return r;
  if (answer.status == 200) buf_add(out, answer.bytes.data, answer.bytes.len);
  else if (answer.status == 404 && !strstr(answer.bytes.len ? answer.bytes.data : "", "NoSuchBucket"))
    r = err_set(err, ERR_NOT_FOUND, "%s is not there", path);
  else r = refused("reading", b, path, &answer, err);
  if (r == 0 && !buf_ok(out)) r = err_set(err, ERR_IO, "%s is larger than it was written", path);
  answer_release(&answer);
  return r;
}

void bucket_init(struct bucket *b, struct anchor *a, const struct target *t) {
  *b = (struct bucket){.store = {bucket_put, bucket_get}, .anchor = a, .target = t};
}
