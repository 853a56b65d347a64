/* A journal that leaves: memory, while what is kept of it stays; or Redis, for good. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/slab.h"
#include "base/log.h"
#include "journal/internal.h"

/* --- leaving memory --------------------------------------------------------------------------------------- */

void journal_rest(struct journal *j) { kept_rest(j->store, j->incident, &j->kept); }

static bool take_again(struct journal *j, struct entry *e) {
  struct entry *whole = NULL;
  if (entry_read(e->head, e->head_len, e->leaf, e->envelope, e->envelope_len, &whole, NULL) < 0) return false;
  standing_fold(&j->standing, whole);
  journal_folded(j, whole);
  entry_free(e);
  STAILQ_INSERT_TAIL(&j->queue, whole, next);
  j->store->unsent++;
  j->store->again++;
  j->seq = whole->seq;
  memcpy(j->prev, whole->leaf, DIGEST_HEX);
  return true;
}

void journal_catch_up(struct journal *j) {
  size_t count = 0, i = 0;
  const struct kept_entry *last = TAILQ_LAST(&j->kept, kept_list);
  struct entry **again =
      last && last->entry->seq > j->seq ? kept_take(j->store, &j->kept, j->seq, j->prev, last->entry->seq, &count) : NULL;
  while (i < count && take_again(j, again[i])) i++;
  if (count)
    log_notice("%s: the new master lacks %zu entries that were acknowledged; they are appended again as they were", j->incident, i);
  for (; i < count; i++) entry_free(again[i]); /* its own bytes do not fit together: memory was broken */
  free(again);
  j->save_state = true;
  if (!STAILQ_EMPTY(&j->queue)) journal_schedule(j);
}

/* --- leaving Redis ---------------------------------------------------------------------------------------- */

static void on_retired(void *arg, const struct redis_value *reply, const struct err *err) {
  struct retiring *r = arg;
  if (r->j) r->j->retiring = NULL;
  if (r->j && !err) journal_set_archived(r->j, r->seq);
  r->cb(r->arg, err);
  free(r);
}

static json_t *state_left(struct journal *j) {
  static const char *const keys[] = {"v",      "id",      "mode",   "title",       "severity", "severity_id", "status", "owner",
                                     "opened", "updated", "alerts", "merged_into", "scenario", "exercise",    NULL};
  json_t *left = json_pack("{s:I}", "archived", (json_int_t)j->seq);
  for (const char *const *k = keys; *k; k++)
    if (json_object_get(journal_state(j), *k)) json_object_set(left, *k, json_object_get(journal_state(j), *k));
  return left;
}

int journal_retire(struct journal *j, journal_read_cb *cb, void *arg, struct err *err) {
  char seq[24];
  if (j->seq != j->acked || j->lost || j->troubled || j->retiring || !j->seq)
    return err_set(err, ERR_CONFLICT, "%s has entries that are not in Redis yet", j->incident);
  struct retiring *r = calloc(1, sizeof *r);
  json_t *left = state_left(j);
  char *state = json_text(left);
  if (!r || !state) abort();
  *r = (struct retiring){j, j->acked, cb, arg};
  snprintf(seq, sizeof seq, "%" PRIu64, j->acked);
  int result = redis_call(j->store->redis, j->lane, on_retired, r, err, "FCALL", "tocsin_retire", "2", j->key, j->state_key, seq,
                          j->acked_leaf, j->store->node, state, NULL);
  if (result == 0) j->retiring = r;
  else free(r);
  json_decref(left);
  free(state);
  return result;
}
