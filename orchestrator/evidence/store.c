#include "evidence/store.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/map.h"
#include "evidence/archive.h"
#include "evidence/bodies.h"
#include "evidence/tlog.h"

enum { PATH_MOST = 4096, POSITIONS = 65536, TEXTS = 1024 };

/* How far a journal is sealed, with what the batch at hand will add. */
struct position {
  uint64_t seq;
  struct hash leaf;
};

struct store {
  struct tlog *log;
  struct bodies *bodies;
  struct catalogue *catalogue;
  /* journal → struct position, of those lately seen. While `whole`, every journal is there of which the log holds an entry that the catalogue does not: that may lag behind. */
  struct map positions;
  bool whole;
  bool doubts; /* a batch was not sealed: an entry may have been changed in memory, and the next batch is looked through for it */
};

static void positions_forget(struct store *s) {
  map_release(&s->positions, free);
  map_init(&s->positions);
  s->whole = false;
}

/* From here on the catalogue alone says how far each journal is sealed. */
int store_follow(struct store *s, struct err *err) {
  catalogue_look_end(s->catalogue); /* of the judgement that needs it */
  int r = catalogue_follow(s->catalogue, s->log, err);
  s->whole = r == 0;
  return r == ERR_NOT_FOUND ? ERR_IO : r; /* a file of the log, not an entry that is looked for */
}

int store_open(const char *folder, const struct note_signer *signer, disk_fault_cb *fault, void *arg, struct store **ret, struct err *err) {
  char path[PATH_MOST];
  struct store *s = calloc(1, sizeof *s);
  if (!s) abort();
  map_init(&s->positions);
  int r = (size_t)snprintf(path, sizeof path, "%s/log", folder) < sizeof path
              ? 0
              : err_set(err, ERR_INVALID, "the path of the evidence folder is too long");
  if (r == 0) r = bodies_open(folder, &s->bodies, err);
  if (r == 0) r = tlog_open(path, signer, fault, arg, &s->log, err);
  if (r == 0) r = catalogue_open(folder, &s->catalogue, err);
  if (r == 0) *ret = s;
  else store_close(s);
  return r;
}

void store_close(struct store *s) {
  if (!s) return;
  map_release(&s->positions, free);
  catalogue_close(s->catalogue);
  tlog_close(s->log);
  bodies_close(s->bodies);
  free(s);
}

uint64_t store_size(const struct store *s) { return tlog_size(s->log); }

int store_ready(struct store *s, struct err *err) {
  if (map_count(&s->positions) >= POSITIONS) positions_forget(s);
  /* With no entries this only makes sure that the log knows where it stands. */
  int r = tlog_append(s->log, NULL, 0, err);
  return r < 0 || (s->whole && catalogue_usable(s->catalogue)) ? r : store_follow(s, err);
}

/* NULL with err; a journal that the log does not know stands at 0. */
static struct position *position_of(struct store *s, const char *journal, struct err *err) {
  struct place last = {0};
  struct err why = {0};
  struct position *p = map_get(&s->positions, journal);
  if (p) return p;
  int r = catalogue_last(s->catalogue, journal, &last, &why);
  if (r < 0 && r != ERR_NOT_FOUND) {
    if (err) *err = why;
    return NULL;
  }
  p = calloc(1, sizeof *p);
  if (!p) abort();
  *p = (struct position){last.seq, last.leaf};
  map_put(&s->positions, journal, p);
  return p;
}

/* Whether the log holds e, which is no news of its journal, or will with what comes before it in its batch. */
static int judge_again(struct store *s, struct store_entry *e, const struct store_entry *batch, struct err *err) {
  struct place place;
  int r = catalogue_size(s->catalogue) == store_size(s) ? 0 : store_follow(s, err);
  if (r == 0) r = catalogue_find(s->catalogue, e->journal, e->seq, &place, err);
  bool same = r == 0 && hash_equal(&place.leaf, &e->leaf);
  for (const struct store_entry *b = batch; r == ERR_NOT_FOUND && !same && b < e; b++)
    same = b->verdict == STORE_NEW && b->seq == e->seq && hash_equal(&b->leaf, &e->leaf) && strcmp(b->journal, e->journal) == 0;
  e->verdict = same ? STORE_KNOWN : STORE_FORK;
  return r == ERR_NOT_FOUND ? 0 : r;
}

/* Only the first entry of a journal follows on nothing: 64 zeros, as the blank position's leaf. */
static bool follows(const struct position *p, const char *prev) {
  struct hash h;
  return hex_decode(prev, h.bytes, DIGEST_BYTES) && hash_equal(&h, &p->leaf);
}

static bool intact(const struct store_entry *e) {
  struct hash leaf;
  merkle_leaf(e->head, e->head_len, &leaf);
  return hash_equal(&leaf, &e->leaf);
}

/* The next one of its journal is hashed once, when the log reads back what it wrote, and not here before: should it have been changed in memory, nothing of its batch is sealed, and
 * then every entry is hashed here until that one is found. */
static int judge(struct store *s, struct store_entry *e, const struct store_entry *batch, struct err *err) {
  struct head head;
  e->verdict = STORE_BROKEN;
  e->journal[0] = 0;
  if (e->head_len > TILE_ENTRY_MAX || !head_scan(e->head, e->head_len, &head)) return 0;
  memcpy(e->journal, head.incident, sizeof e->journal);
  e->seq = head.seq;
  struct position *p = position_of(s, e->journal, err);
  if (!p) return ERR_IO;
  bool next = e->seq == p->seq + 1 && follows(p, head.prev);
  if ((!next || s->doubts) && !intact(e)) return 0;
  e->from = p->seq + 1;
  if (e->seq <= p->seq) return judge_again(s, e, batch, err);
  if (next) {
    e->verdict = STORE_NEW;
    *p = (struct position){e->seq, e->leaf};
  } else {
    e->verdict = e->seq > p->seq + 1 ? STORE_AHEAD : STORE_FORK;
  }
  return 0;
}

int store_judge(struct store *s, struct store_entry *batch, size_t from, size_t count, struct err *err) {
  int r = 0;
  catalogue_look_begin(s->catalogue);
  for (size_t i = from; r == 0 && i < count; i++) r = judge(s, &batch[i], batch, err);
  catalogue_look_end(s->catalogue);
  if (r < 0) positions_forget(s);
  return r;
}

int store_compare(struct store *s, const char *journal, uint64_t seq, const struct hash *leaf, struct store_entry *ret, struct err *err) {
  struct position *p = position_of(s, journal, err);
  if (!p) positions_forget(s); /* what was judged before it in its batch is not in, and is judged again */
  if (!p) return ERR_IO;
  snprintf(ret->journal, sizeof ret->journal, "%s", journal);
  ret->seq = seq;
  ret->from = p->seq + 1;
  if (seq > p->seq) ret->verdict = STORE_AHEAD;
  else ret->verdict = seq == p->seq && hash_equal(&p->leaf, leaf) ? STORE_KNOWN : STORE_FORK;
  return 0;
}

static int batch_write(struct store *s, const struct body *bodies, const struct tlog_entry *entries, size_t count, struct err *err) {
  uint64_t first = tlog_size(s->log);
  struct err again = {0};
  int r = bodies_append(s->bodies, first, bodies, count, err);
  if (r < 0) return r;
  r = tlog_append(s->log, entries, count, err);
  /* It may have failed behind the rename: whether the batch is in after all decides what is tried again. */
  return r < 0 && tlog_append(s->log, NULL, 0, &again) == 0 && tlog_size(s->log) == first + count ? 0 : r;
}

int store_seal(struct store *s, const struct store_entry *entries, size_t count, struct err *err) {
  struct body *bodies = malloc((count + 1) * sizeof *bodies);
  struct tlog_entry *heads = malloc((count + 1) * sizeof *heads);
  size_t n = 0;
  if (!bodies || !heads) abort();
  for (size_t i = 0; i < count; i++) {
    const struct store_entry *e = &entries[i];
    if (e->verdict != STORE_NEW) continue;
    bodies[n] = (struct body){e->envelope, e->envelope_len, e->leaf};
    heads[n++] = (struct tlog_entry){e->head, e->head_len, &e->leaf};
  }
  int r = n ? batch_write(s, bodies, heads, n, err) : 0;
  s->doubts = r < 0;
  if (r < 0) positions_forget(s);
  free(bodies);
  free(heads);
  return r;
}

int store_cosign(struct store *s, uint64_t size, const char *lines, size_t len, struct err *err) {
  return tlog_cosign(s->log, size, lines, len, err);
}

int store_remove(struct store *s, const char *journal, uint64_t seq, struct err *err) {
  int r = catalogue_size(s->catalogue) == store_size(s) ? 0 : store_follow(s, err);
  return r < 0 ? r : archive_forget_entry(s->bodies, s->catalogue, journal, seq, err);
}

uint64_t store_lag(const struct store *s) {
  uint64_t size = store_size(s), texts = catalogue_texts(s->catalogue);
  return size > texts ? size - texts : 0;
}

int store_read(struct store *s, bool *ret_more, struct err *err) {
  struct err why;
  int r = catalogue_read(s->catalogue, s->log, s->bodies, TEXTS, ret_more, err);
  /* A body that the disk does not give must not keep what came after it from being found, retired or removed. */
  if (r < 0) store_follow(s, &why);
  return r;
}

int store_rebuild(struct store *s, struct err *err) {
  bool more = true;
  int r = catalogue_rebuild(s->catalogue, s->log, err);
  while (r == 0 && more) r = store_read(s, &more, err);
  return r;
}
