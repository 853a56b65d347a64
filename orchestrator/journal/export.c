/* A journal as a file: one JSON object a line, and the check of such a file. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "evidence/leaf.h"
#include "journal/journal.h"
#include "journal/missing.h"

void journal_export(const struct entry *e, struct buf *out) {
  buf_adds(out, "{\"head\":");
  buf_add_json_string(out, e->head, e->head_len);
  buf_addf(out, ",\"leaf\":\"%s\",\"body\":", e->leaf);
  char *body = e->envelope ? base64_encode(e->envelope, e->envelope_len) : NULL;
  if (body) buf_addf(out, "\"%s\"", body);
  else buf_adds(out, "null");
  free(body);
  buf_adds(out, "}\n");
}

/* One way to write a line, so that no byte of it can be changed unseen: not a member's name, nor the unused bits of the base64. */
static bool is_canonical(const struct entry *e, const char *line, size_t len) {
  struct buf again;
  buf_init(&again, 2 * len + 4096);
  journal_export(e, &again);
  bool same = buf_ok(&again) && again.len == len + 1 && memcmp(again.data, line, len) == 0;
  buf_release(&again);
  return same;
}

static int line_check(const char *line, size_t len, uint64_t seq, char prev[DIGEST_HEX], struct entry **ret, struct err *err) {
  json_t *value = NULL;
  struct entry *e = NULL;
  uint8_t *body = NULL;
  size_t body_len = 0;
  int r = json_parse(line, len, &value, err);
  if (r < 0) goto out;
  const char *head = json_str(value, "head"), *leaf = json_str(value, "leaf");
  const json_t *encoded = json_object_get(value, "body");
  if (!head || !leaf) {
    r = err_set(err, ERR_INVALID, "it has no head or no leaf");
    goto out;
  }
  if (json_is_string(encoded) && !(body = base64_decode(json_string_value(encoded), json_string_length(encoded), &body_len))) {
    r = err_set(err, ERR_INVALID, "the body is not base64");
    goto out;
  }
  if ((r = entry_read(head, json_string_length(json_object_get(value, "head")), leaf, body, body_len, &e, err)) < 0) goto out;
  if (!is_canonical(e, line, len)) {
    r = err_set(err, ERR_INVALID, "the line is not the one that was written, although its head and its body fit");
    goto out;
  }
  if ((r = entry_follows(e, seq, prev, err)) < 0) goto out;
  memcpy(prev, e->leaf, DIGEST_HEX);
  *ret = e, e = NULL;
out:
  entry_free(e);
  free(body);
  json_decref(value);
  return r;
}

struct kept {
  struct entry **list;
  size_t count, room;
};

static void keep(struct kept *k, struct entry *e_take) {
  if (!k) {
    entry_free(e_take);
    return;
  }
  if (k->count == k->room) {
    k->room = k->room ? 2 * k->room : 64;
    struct entry **grown = realloc(k->list, k->room * sizeof *grown);
    if (!grown) abort();
    k->list = grown;
  }
  k->list[k->count++] = e_take;
}

static int lines_check(const char *text, size_t len, struct kept *kept, struct missing *missing, uint64_t *ret_count, struct err *err) {
  char prev[DIGEST_HEX];
  uint64_t seq = 0;
  memcpy(prev, leaf_none(), DIGEST_HEX);
  while (len) {
    const char *end = memchr(text, '\n', len);
    size_t n = end ? (size_t)(end - text) : len;
    if (!end) return err_set(err, ERR_INVALID, "entry %" PRIu64 " is cut off: the file does not end with a newline", seq + 1);
    struct entry *e = NULL;
    int r = line_check(text, n, seq + 1, prev, &e, err);
    if (r < 0) return err_wrap(err, "entry %" PRIu64 " is broken", seq + 1), r;
    missing_note(missing, e);
    keep(kept, e);
    seq++;
    text += n + 1;
    len -= n + 1;
  }
  if (!seq) return err_set(err, ERR_INVALID, "there is no entry in it");
  int r = missing_check(missing, err);
  if (r < 0) return r;
  *ret_count = seq;
  return 0;
}

int journal_verify_export(const char *text, size_t len, uint64_t *ret_count, uint64_t *ret_removed, struct err *err) {
  struct missing missing = {.list = NULL};
  int r = lines_check(text, len, NULL, &missing, ret_count, err);
  if (r == 0 && ret_removed) *ret_removed = missing.removed;
  free(missing.list);
  return r;
}

int journal_read_export(const char *text, size_t len, struct entry ***ret, size_t *ret_count, struct err *err) {
  struct kept kept = {.list = NULL};
  struct missing missing = {.list = NULL};
  uint64_t count = 0;
  int r = lines_check(text, len, &kept, &missing, &count, err);
  free(missing.list);
  if (r == 0) {
    *ret = kept.list;
    *ret_count = kept.count;
    return 0;
  }
  for (size_t i = 0; i < kept.count; i++) entry_free(kept.list[i]);
  free(kept.list);
  return r;
}
