#include "journal/entry.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/json_bytes.h"
#include "base/slab.h"
#include "base/text.h"
#include "evidence/leaf.h"

static const struct {
  const char *name, *meaning, *control;
} kinds[] = {
#define KIND(symbol, name, meaning, control) {name, meaning, control},
#include "journal/kinds.def"
#undef KIND
};

const char *kind_name(enum kind kind) { return kind < KIND_COUNT ? kinds[kind].name : "unknown"; }
const char *kind_meaning(enum kind kind) { return kind < KIND_COUNT ? kinds[kind].meaning : "unknown"; }
const char *kind_control(enum kind kind) { return kind < KIND_COUNT ? kinds[kind].control : ""; }

enum kind kind_by_name(const char *name) {
  for (int i = 0; i < KIND_COUNT; i++)
    if (strcmp(kinds[i].name, name) == 0) return (enum kind)i;
  return KIND_COUNT;
}

/* The envelope: random prefix, then the redacted body. Most bodies bear no secret and are written where they stay. */
static int envelope_make(const struct entry_spec *spec, const struct secrets *secrets, struct buf *out, bool *ret_changed,
                         struct err *err) {
  uint8_t prefix[ENVELOPE_PREFIX];
  random_bytes(prefix, sizeof prefix);
  buf_add(out, prefix, sizeof prefix);
  if (!spec->written) json_write(spec->body, out);
  else if (buf_ok(spec->written)) buf_add(out, spec->written->data, spec->written->len);
  else out->failed = true;
  *ret_changed = secrets && buf_ok(out) && secrets_shown(secrets, out->data + ENVELOPE_PREFIX, out->len - ENVELOPE_PREFIX);
  if (*ret_changed) {
    struct buf clean;
    buf_init(&clean, out->cap);
    buf_add(&clean, prefix, sizeof prefix);
    secrets_redact(secrets, out->data + ENVELOPE_PREFIX, out->len - ENVELOPE_PREFIX, &clean);
    explicit_bzero(out->data, out->len);
    buf_release(out);
    *out = clean;
  }
  return buf_ok(out) ? 0 : err_set(err, ERR_LIMIT, "a journal entry's body is larger than %d MiB", ENTRY_BODY_CAP >> 20);
}

static char *put(char *at, const char *bytes, size_t len) {
  memcpy(at, bytes, len);
  return at + len;
}
#define PUT(at, literal) put(at, literal, sizeof(literal) - 1)

enum { NUMBER = 20, ESCAPED = 6, LITERALS = 160 /* more than all of a head's keys and marks */ };

static char *put_number(char *at, uint64_t value) {
  char text[NUMBER], *p = text + sizeof text;
  do *--p = (char)('0' + value % 10);
  while (value /= 10);
  return put(at, p, (size_t)(text + sizeof text - p));
}

static bool is_plain(const char *text, size_t len) {
  size_t i = 0;
  for (; len - i >= sizeof(uint64_t); i += sizeof(uint64_t))
    if (special_in(load(text + i, sizeof(uint64_t)))) return false;
  while (i < len && (signed char)text[i] >= 0x20 && text[i] != '"' && text[i] != '\\') i++;
  return i == len;
}

static char *put_text(char *at, const char *text, size_t len) {
  struct buf quoted;
  if (is_plain(text, len)) return PUT(put(PUT(at, "\""), text, len), "\""); /* every actor and node of ours */
  buf_lend(&quoted, at, ESCAPED * len + 3, ESCAPED * len + 2);
  buf_add_json_string(&quoted, text, len);
  return at + quoted.len;
}

/* Written piece by piece, into room for all of it: this is the hottest formatting there is. */
static void head_write(const struct entry *e, const struct buf *envelope, const char *incident, const char *node, const char *prev,
                       struct buf *out) {
  size_t actor = strlen(e->actor), name = strlen(incident), owner = strlen(node), step = strlen(e->step), kind = strlen(kind_name(e->kind)),
         most = LITERALS + ESCAPED * (actor + owner) + name + step + kind + 2 * DIGEST_HEX + TIME_TEXT + 3 * NUMBER;
  char *head = buf_extend(out, most), *at = head;
  if (!head) abort();
  at = put_text(PUT(at, "{\"actor\":"), e->actor, actor);
  at = PUT(at, ",\"body\":\"");
  envelope_digest(envelope->data, envelope->len, at);
  at = put(PUT(at + DIGEST_HEX - 1, "\",\"incident\":\""), incident, name);
  at = put_text(PUT(at, "\",\"node\":"), node, owner);
  at = put(PUT(at, ",\"prev\":\""), prev, DIGEST_HEX - 1);
  if (e->run) at = put_number(PUT(at, "\",\"run\":"), e->run);
  at = put_number(e->run ? PUT(at, ",\"seq\":") : PUT(at, "\",\"seq\":"), e->seq);
  at = put_number(PUT(at, ",\"size\":"), envelope->len - ENVELOPE_PREFIX);
  if (step) at = PUT(put(PUT(at, ",\"step\":\""), e->step, step), "\"");
  at = PUT(at, ",\"time\":\"");
  time_format(e->time, at);
  at = put(PUT(at + strlen(at), "\",\"type\":\""), kind_name(e->kind), kind);
  at = PUT(at, "\",\"v\":1}");
  *at = 0;
  out->len -= most - (size_t)(at - head);
}

/* All of it in one block, made of what is known of it and its bytes. */
static struct entry *entry_new(const struct entry *of, const char *head, size_t head_len, const char *envelope, size_t envelope_len) {
  struct entry *e = slab_alloc(sizeof *e + head_len + envelope_len + 2);
  if (!e) abort();
  *e = *of;
  e->head = e->bytes;
  e->head_len = head_len;
  memcpy(e->head, head, head_len);
  e->head[head_len] = 0;
  e->envelope = envelope_len ? e->bytes + head_len + 1 : NULL;
  e->envelope_len = envelope_len;
  if (envelope_len) memcpy(e->envelope, envelope, envelope_len);
  e->bytes[head_len + 1 + envelope_len] = 0;
  return e;
}

enum { ENVELOPE_USUAL = 8192, HEAD_USUAL = 4096 };

int entry_make(const struct entry_spec *spec, const char *incident, const char *node, uint64_t seq, const char *prev, int64_t time,
               const struct secrets *secrets, struct entry **ret, struct err *err) {
  struct entry of = {.seq = seq, .time = time, .kind = spec->kind, .run = spec->run, .bare = spec->bare};
  char head_bytes[HEAD_USUAL], envelope_bytes[ENVELOPE_USUAL];
  struct buf head, envelope;
  bool redacted = false;
  buf_lend(&head, head_bytes, sizeof head_bytes, SIZE_MAX / 2);
  buf_lend(&envelope, envelope_bytes, sizeof envelope_bytes, ENTRY_BODY_CAP + ENVELOPE_PREFIX);
  text_copy(of.step, sizeof of.step, spec->step);
  text_copy(of.actor, sizeof of.actor, spec->actor);
  int r = envelope_make(spec, secrets, &envelope, &redacted, err);
  if (r < 0) goto out;
  /* What is folded must be what is stored: a body that lost a secret on the way is read back. */
  if (!redacted && spec->written) of.body = NULL;
  else if (!redacted) of.body = json_incref((json_t *)(uintptr_t)spec->body);
  else if ((r = json_parse_stored(envelope.data + ENVELOPE_PREFIX, envelope.len - ENVELOPE_PREFIX, &of.body, err)) < 0) goto out;
  head_write(&of, &envelope, incident, node, prev, &head);
  leaf_hash(head.data, head.len, of.leaf);
  *ret = entry_new(&of, head.data, head.len, envelope.data, envelope.len);
out:
  buf_release(&head);
  buf_release(&envelope);
  return r;
}

uint64_t entry_removes(const struct entry *e) {
  char *end;
  uint64_t n = e->kind == KIND_BODY_REMOVING ? strtoull(e->step, &end, 10) : 0;
  return n && !*end && n < e->seq ? n : 0;
}

const struct entry *entry_removal(struct entry *const *entries, size_t count, uint64_t seq) {
  for (size_t i = 0; i < count; i++)
    if (entry_removes(entries[i]) == seq) return entries[i];
  return NULL;
}

/* "true_positive", "1/3", "INC-000042": what the fold's vocabularies look like. */
static bool is_word(const json_t *value) {
  static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-/.";
  const char *text = json_string_value(value);
  return text && strlen(text) <= 24 && !text[strspn(text, letters)];
}

json_t *entry_residue(const struct entry *e) {
  static const char *const flags[] = {"ok", "more", "n", "severity_id", "simulated", "engine", "item", NULL};
  json_t *kept = json_object(), *value;
  const char *const of_kind[] = {"of",
                                 "contains",
                                 "mode",
                                 e->kind == KIND_INCIDENT_MERGED ? "into" : NULL,
                                 e->kind == KIND_ACTION_RESOLVED ? "verdict" : NULL,
                                 e->kind == KIND_RUN_FINISHED ? "status" : NULL,
                                 e->kind == KIND_CORRECTIVE_ADDED || e->kind == KIND_CORRECTIVE_CLOSED ? "id" : NULL};
  for (const char *const *k = flags; *k; k++)
    if ((value = json_object_get(e->body, *k)) && (json_is_boolean(value) || json_is_integer(value))) json_object_set(kept, *k, value);
  for (size_t i = 0; i < sizeof of_kind / sizeof *of_kind; i++)
    if (of_kind[i] && is_word(value = json_object_get(e->body, of_kind[i]))) json_object_set(kept, of_kind[i], value);
  return kept;
}

static int head_parse(struct entry *e, char digest[DIGEST_HEX], struct err *err) {
  json_t *head = NULL;
  int r = json_parse(e->head, e->head_len, &head, err);
  if (r < 0) return err_wrap(err, "the head");
  const char *time = json_str(head, "time"), *body = json_str(head, "body"), *type = json_str(head, "type");
  if (!time || !body || !type || strlen(body) != DIGEST_HEX - 1 || !time_parse(time, &e->time)) {
    r = err_set(err, ERR_INVALID, "the head lacks a valid time, type or body digest");
  } else {
    e->seq = (uint64_t)json_int_or(head, "seq", 0);
    e->kind = kind_by_name(type);
    e->run = (unsigned)json_int_or(head, "run", 0);
    text_copy(e->step, sizeof e->step, json_str(head, "step"));
    text_copy(e->actor, sizeof e->actor, json_str(head, "actor"));
    memcpy(digest, body, DIGEST_HEX);
  }
  json_decref(head);
  return r;
}

static int body_read(struct entry *e, const char *digest, struct err *err) {
  char found[DIGEST_HEX];
  envelope_digest(e->envelope, e->envelope_len, found);
  if (strcmp(found, digest) != 0 || e->envelope_len < ENVELOPE_PREFIX)
    return err_set(err, ERR_INVALID, "the body was changed: its digest is %.12s…, the head says %.12s…", found, digest);
  int r = json_parse_stored(e->envelope + ENVELOPE_PREFIX, e->envelope_len - ENVELOPE_PREFIX, &e->body, err);
  return r < 0 ? err_wrap(err, "the body") : 0;
}

int entry_read(const char *head, size_t head_len, const char *leaf, const void *envelope, size_t envelope_len, struct entry **ret,
               struct err *err) {
  static const struct entry nothing;
  char digest[DIGEST_HEX];
  struct entry *e = entry_new(&nothing, head, head_len, envelope, envelope_len);
  leaf_hash(head, head_len, e->leaf);
  int r = 0;
  if (strcmp(e->leaf, leaf) != 0) r = err_set(err, ERR_INVALID, "the head was changed: its hash is %.12s…, recorded %.12s…", e->leaf, leaf);
  if (r == 0) r = head_parse(e, digest, err);
  if (r == 0 && envelope_len) r = body_read(e, digest, err);
  if (r < 0) {
    entry_free(e);
    return r;
  }
  *ret = e;
  return 0;
}

void entry_free(struct entry *e) {
  if (!e) return;
  json_decref(e->body);
  slab_free(e);
}

json_t *entry_body(const struct entry *e) {
  struct entry *own = (struct entry *)(uintptr_t)e;
  if (!e->body && e->envelope_len > ENVELOPE_PREFIX &&
      json_parse_stored(e->envelope + ENVELOPE_PREFIX, e->envelope_len - ENVELOPE_PREFIX, &own->body, NULL) < 0)
    abort(); /* they were written just so */
  return e->body;
}

int entry_follows(const struct entry *e, uint64_t seq, const char *prev, struct err *err) {
  json_t *head = NULL;
  int r = json_parse(e->head, e->head_len, &head, err);
  if (r < 0) return r;
  const char *named = json_str_or(head, "prev", "");
  if (e->seq != seq) r = err_set(err, ERR_INVALID, "expected entry %" PRIu64 ", found entry %" PRIu64, seq, e->seq);
  else if (strcmp(named, prev) != 0)
    r = err_set(err, ERR_INVALID, "entry %" PRIu64 " does not follow the one before it: it names %.12s…, that one's hash is %.12s…", seq,
                named, prev);
  json_decref(head);
  return r;
}
