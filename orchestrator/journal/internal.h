/* internal.h: what the files of a journal share, and nobody else. */
#ifndef TOCSIN_JOURNAL_INTERNAL_H
#define TOCSIN_JOURNAL_INTERNAL_H

#include <sys/queue.h>

#include "journal/journal.h"

TAILQ_HEAD(kept_list, kept_entry);

struct kept_entry {
  struct entry *entry;
  struct kept_list *of;                /* of its journal */
  bool rests;                          /* its journal is not in memory */
  TAILQ_ENTRY(kept_entry) among, mine; /* all kept ones, and those of its journal, oldest first */
};

enum { JOURNAL_KEY = 64 };

/* What each entry touches stands side by side. */
struct journal {
  struct journal_store *store;
  uint64_t seq;               /* of the newest entry appended here */
  uint64_t acked;             /* of the newest that Redis has acknowledged */
  STAILQ_HEAD(, entry) queue; /* not acknowledged yet, in order; the first `flying` of them are under way */
  STAILQ_HEAD(, watcher) watchers;
  size_t flying;
  STAILQ_HEAD(, waiter) waiters;
  unsigned since_state, patience, lane;
  bool scheduled, save_state, troubled, reading, lost, uncertain;
  bool comparing;    /* with another master than the one that acknowledged its entries */
  struct call *call; /* the Redis call under way; detached when the journal is freed first */
  uint64_t bond,
      bond_flying; /* with Redis (redis_bond) when it acknowledged the newest entry, and when the wave under way was sent; 0: none */
  uint64_t state_seq, state_flying; /* what the stored state folds, and what the one under way does (0: none is) */
  int64_t retry_ms;
  char prev[DIGEST_HEX]; /* leaf of the newest appended */
  char acked_leaf[DIGEST_HEX];
  char incident[ID_INCIDENT + 16];
  char key[JOURNAL_KEY];
  struct standing standing;
  char state_key[JOURNAL_KEY];
  struct kept_list kept; /* acknowledged ones, of which the newest are remembered */
  uint64_t top;          /* what the tail that was read ends with */
  char top_leaf[DIGEST_HEX];
  char last_node[48];
  int64_t last_time;
  struct timer *retry;
  struct journal **guard; /* who folds it anew */
  struct retiring *retiring;
};

struct retiring {
  struct journal *j;
  uint64_t seq;
  journal_read_cb *cb;
  void *arg;
};

/* Its queue travels at the end of the turn, or a little later. */
void journal_schedule(struct journal *j);

/* kept.c: acknowledged entries of all journals, the oldest of which goes when they are too many bytes. */
/* One that was just acknowledged goes on to the evidence log, and is kept if any are. Its bytes have left the caches by then, and nobody looks at them here. */
void journal_pass_on(struct journal *j, struct entry *e_take);
/* Those behind `top`, whose leaf is `leaf`, without a gap up to `last`; NULL: they are not all here. They are kept no longer: an array of *ret_count for free, its elements
 * for the queue. */
struct entry **kept_take(struct journal_store *store, struct kept_list *of, uint64_t top, const char *leaf, uint64_t last,
                         size_t *ret_count);
/* What is known of those behind `top`. New. */
json_t *kept_known(const struct kept_list *of, uint64_t top);
void kept_drop(struct journal_store *store, struct kept_list *of);
/* The journal goes and what is kept of it stays; the journal comes, and finds it. */
void kept_rest(struct journal_store *store, const char *incident, struct kept_list *of);
void kept_wake(struct journal_store *store, const char *incident, struct kept_list *of);
/* What was loaded is not all that is kept: the rest is appended as it was, and folded. */
void journal_catch_up(struct journal *j);

/* An entry was folded, which may have changed whether it is uncertain; e NULL: its state is another. */
void journal_folded(struct journal *j, const struct entry *e);
/* The state that was stored; entries up to its seq are folded already. Takes it over. */
void journal_set_state(struct journal *j, json_t *state_take);
/* An entry that Redis holds: the newest so far, acknowledged. Folded unless the state holds it already. */
void journal_take_entry(struct journal *j, const struct entry *e);
/* Entries up to this one have left Redis, and so has the state that folds them: it is stored anew only when something is appended. */
void journal_set_archived(struct journal *j, uint64_t seq);

/* A state folded anew takes the place of the one that it has; what Redis has stored of the old one is not relied on. */
void journal_swap_state(struct journal *j, json_t *state_take);
/* *handle is set to NULL when the journal is freed first. handle NULL: no more. False: somebody else's is set. */
bool journal_guard(struct journal *j, struct journal **handle);

#endif
