/* outside.c: one checkpoint to one authority, and to one witness. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "anchor/internal.h"
#include "anchor/stamp.h"
#include "anchor/witness.h"
#include "base/clock.h"
#include "base/digest.h"
#include "base/json.h"

enum { COSIGNED_CAP = 1 << 18, REQUEST_CAP = 1 << 18, CONFLICTS = 3 };

static int status_error(const struct target *t, const struct answer *answer, struct err *err) {
  size_t n = 0;
  while (n < answer->bytes.len && n < 120 && answer->bytes.data[n] >= ' ' && answer->bytes.data[n] <= '~') n++;
  return err_set(err, answer->status >= 500 ? ERR_UNAVAILABLE : ERR_DENIED, "%s answered %ld%s%.*s", t->name, answer->status, n ? ": " : "",
                 (int)n, n ? answer->bytes.data : "");
}

/* The note of this size as it was first anchored: later ones may bear more signatures, and a stamp is about bytes. */
static int note_keep(struct anchor *a, const struct reader *log, struct buf *out, struct err *err) {
  char path[ANCHOR_FILE];
  struct note note;
  snprintf(path, sizeof path, "%" PRIu64 ".checkpoint", log->checkpoint.size);
  int r = disk_read(&a->disk, path, out, err);
  if (r == ERR_NOT_FOUND) {
    buf_reset(out);
    buf_add(out, log->note, log->note_len);
    return disk_replace(&a->disk, path, out->data, out->len, err);
  }
  if (r == 0) r = note_open(out->data, out->len, &a->key, 1, &note, err);
  if (r == 0 && (note.text_len != log->text_len || memcmp(out->data, log->note, note.text_len) != 0))
    r = err_set(err, ERR_INVALID, "anchors/%s is another checkpoint of the same size: the log was replaced", path);
  return r;
}

/* ---- time stamps */

static int stamp_ask(struct anchor *a, const struct target *t, const struct buf *note, struct answer *ret, struct stamp *ret_stamp,
                     struct err *err) {
  uint8_t nonce[STAMP_NONCE];
  struct buf query;
  buf_init(&query, REQUEST_CAP);
  random_bytes(nonce, sizeof nonce);
  nonce[0] |= 0x80; /* eight bytes in any spelling */
  int r = stamp_request(note->data, note->len, nonce, &query, err);
  if (r == 0)
    r = anchor_ask(a, t,
                   json_pack("{s:{s:s, s:s, s:{s:s}}}", "http", "method", "POST", "url", t->name, "headers", "Content-Type",
                             "application/timestamp-query"),
                   query.data, query.len, STAMP_CAP, ret, err);
  buf_release(&query);
  if (r < 0) return r;
  r = ret->status == 200
          ? stamp_check(ret->bytes.data, ret->bytes.len, note->data, note->len, nonce, json_str(t->settings, "ca"), ret_stamp, err)
          : status_error(t, ret, err);
  if (r < 0) answer_release(ret);
  return r;
}

int stamp_target(struct anchor *a, struct target *t, const struct reader *log, json_t **ret_event, struct err *err) {
  struct answer answer = {.status = 0};
  struct stamp stamp;
  struct buf note;
  uint8_t digest[DIGEST_BYTES];
  char path[ANCHOR_FILE], suffix[16] = "", hex[DIGEST_HEX], when[TIME_TEXT];
  buf_init(&note, NOTE_CAP);
  if (t->number > 1) snprintf(suffix, sizeof suffix, "-%u", t->number);
  snprintf(path, sizeof path, "%" PRIu64 "%s.tsr", log->checkpoint.size, suffix);
  int r = note_keep(a, log, &note, err);
  if (r == 0) r = stamp_ask(a, t, &note, &answer, &stamp, err);
  if (r == 0) r = disk_replace(&a->disk, path, answer.bytes.data, answer.bytes.len, err);
  if (r == 0) {
    digest_sha256(note.data, note.len, digest);
    hex_encode(digest, sizeof digest, hex);
    time_format(stamp.time, when);
    *ret_event = json_pack("{s:s, s:s, s:s, s:s, s:s}", "sha256", hex, "stamped", when, "serial", stamp.serial, "authority",
                           stamp.authority, "file", path);
  }
  answer_release(&answer);
  buf_release(&note);
  return r;
}

/* ---- witnesses */

static int witness_ask(struct anchor *a, const struct target *t, const struct reader *log, uint64_t old, struct answer *ret,
                       struct err *err) {
  struct buf body;
  buf_init(&body, REQUEST_CAP);
  int r = witness_request(log, old, &body, err);
  if (r == 0)
    r = anchor_ask(a, t,
                   json_pack("{s:{s:s, s:s, s:[s], s:{s:s}}}", "http", "method", "POST", "url", t->name, "path", "add-checkpoint",
                             "headers", "Content-Type", "text/plain; charset=utf-8"),
                   body.data, body.len, WITNESS_ANSWER_CAP, ret, err);
  buf_release(&body);
  return r;
}

/* 409 says how much it knows; another of our tries, or another node with our key, may have been first. */
static int witness_submit(struct anchor *a, struct target *t, const struct reader *log, struct answer *ret, struct err *err) {
  for (int i = 0; i < CONFLICTS; i++) {
    uint64_t known = 0;
    int r = witness_ask(a, t, log, t->known, ret, err);
    if (r < 0 || ret->status == 200) return r;
    bool conflict = ret->status == 409 && strcmp(json_str_or(ret->headers, "content-type", ""), "text/x.tlog.size") == 0 &&
                    witness_size(ret->bytes.data, ret->bytes.len, &known);
    if (!conflict || known == t->known) r = status_error(t, ret, err);
    if (conflict && known > log->checkpoint.size)
      r = err_set(err, ERR_CONFLICT,
                  "the witness has signed %" PRIu64 " entries of this log, which has only %" PRIu64
                  ": it was cut or set back; check it with tocsin evidence verify",
                  known, log->checkpoint.size);
    if (ret->status == 422)
      r = err_set(err, ERR_CONFLICT,
                  "the witness says that this log does not go on from the %" PRIu64 " entries that it has signed: it was rewritten",
                  t->known);
    if (conflict) t->known = known;
    answer_release(ret);
    if (r < 0) return r;
  }
  return err_set(err, ERR_CONFLICT, "%s names another size each time", t->name);
}

/* Adds the lines to the file of cosigned notes. */
static int cosigned_keep(struct anchor *a, const struct reader *log, const struct buf *lines, struct err *err) {
  char path[ANCHOR_FILE];
  struct buf note;
  snprintf(path, sizeof path, "%" PRIu64 ".cosigned", log->checkpoint.size);
  buf_init(&note, COSIGNED_CAP);
  int r = disk_read(&a->disk, path, &note, err);
  if (r == ERR_NOT_FOUND) {
    buf_reset(&note);
    r = note_keep(a, log, &note, err);
  }
  if (r == 0) buf_add(&note, lines->data, lines->len);
  if (r == 0) r = buf_ok(&note) ? disk_replace(&a->disk, path, note.data, note.len, err) : err_set(err, ERR_LIMIT, "too many cosignatures");
  buf_release(&note);
  return r;
}

int witness_target(struct anchor *a, struct target *t, const struct reader *log, json_t **ret_event, struct err *err) {
  struct answer answer = {.status = 0};
  struct witness_key key;
  struct buf lines;
  int64_t seconds = 0;
  char path[ANCHOR_FILE], when[TIME_TEXT];
  buf_init(&lines, WITNESS_ANSWER_CAP);
  int r = witness_key_read(json_str_or(t->settings, "key", ""), &key, err);
  if (r == 0) r = witness_submit(a, t, log, &answer, err);
  if (r == 0) r = witness_check(answer.bytes.data, answer.bytes.len, &key, log->note, log->text_len, &lines, &seconds, err);
  if (r == ERR_NOT_FOUND) r = err_set(err, ERR_INVALID, "%s answered without a cosignature of %s: is the key right?", t->name, key.name);
  if (r == 0) r = cosigned_keep(a, log, &lines, err);
  if (r == 0) {
    t->known = log->checkpoint.size;
    if (a->cosigned) a->cosigned(a->arg, log->checkpoint.size, lines.data, lines.len);
    snprintf(path, sizeof path, "%" PRIu64 ".cosigned", log->checkpoint.size);
    time_format(seconds * 1000000, when);
    *ret_event = json_pack("{s:s, s:s, s:s}", "cosigned", when, "witness", key.name, "file", path);
  }
  answer_release(&answer);
  buf_release(&lines);
  return r;
}
