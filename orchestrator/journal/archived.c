#include "journal/archived.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "evidence/archive.h"

enum { HEAD_CAP = 1 << 20 };

struct archived {
  char *folder;
  struct note_verifier key;
  struct archive *open; /* NULL: not yet, or no more */
};

struct archived *archived_new(const char *folder, const struct note_verifier *key) {
  struct archived *a = calloc(1, sizeof *a);
  if (!a || !(a->folder = strdup(folder))) abort();
  a->key = *key;
  return a;
}

void archived_free(struct archived *a) {
  if (!a) return;
  archive_close(a->open);
  free(a->folder);
  free(a);
}

static int ready(struct archived *a, struct err *err) { return a->open ? 0 : archive_open(a->folder, &a->key, &a->open, err); }

/* A file may have been put right, or made anew, meanwhile: the next call opens it again. */
static int over(struct archived *a, int r) {
  if (r == 0 || r == ERR_NOT_FOUND) return r;
  archive_close(a->open);
  a->open = NULL;
  return r;
}

/* A body that is not there is none: whoever reads the whole journal finds out whether an entry says that it was removed (load.c). */
static int body_at(struct archived *a, const struct place *place, struct buf *out, struct err *err) {
  struct err why = {0};
  int r = archive_body(a->open, place, out, &why);
  if (r == ERR_NOT_FOUND) return 0;
  if (r < 0 && err) *err = why;
  return r;
}

static int entry_at(struct archived *a, const struct place *place, struct entry **ret, struct err *err) {
  struct buf head, body;
  char leaf[DIGEST_HEX];
  buf_init(&head, HEAD_CAP);
  buf_init(&body, ENTRY_BODY_CAP + (1 << 20));
  hex_encode(place->leaf.bytes, sizeof place->leaf.bytes, leaf);
  int r = archive_head(a->open, place->index, &head, err);
  if (r == 0) r = body_at(a, place, &body, err);
  if (r == 0) r = entry_read(head.data, head.len, leaf, body.data, body.len, ret, err);
  buf_release(&head);
  buf_release(&body);
  return r;
}

int archived_read(struct archived *a, const char *journal, uint64_t seq, struct entry **ret, struct err *err) {
  struct place place;
  int r = ready(a, err);
  if (r == 0) r = archive_find(a->open, journal, seq, &place, err);
  if (r < 0) return err_wrap(err, "%s: entry %" PRIu64 " in the evidence log", journal, seq), over(a, r);
  if ((r = entry_at(a, &place, ret, err)) < 0)
    err_wrap(err, "%s: entry %" PRIu64 ", at index %" PRIu64 " of the evidence log", journal, seq, place.index);
  return over(a, r);
}

int archived_last(struct archived *a, const char *journal, uint64_t *ret_seq, char ret_leaf[DIGEST_HEX], struct err *err) {
  struct place place;
  int r = ready(a, err);
  if (r == 0) r = archive_last(a->open, journal, &place, err);
  if (r < 0) return over(a, r);
  *ret_seq = place.seq;
  hex_encode(place.leaf.bytes, sizeof place.leaf.bytes, ret_leaf);
  return 0;
}
