/* journal.h: an incident's append-only journal, held by its one owner on this node.
 *
 * Appending folds the entry into the state at once and puts its bytes in a queue; the queue travels as one wave in one command: at the
 * end of the loop's turn when somebody waits for durability (journal_when_durable), else two turns later. One wave is under way at a
 * time, so entries pile up behind it and share the next. A small one is one item of the stream (journal/item.h), whose id is its fence, where nothing can be missing before it; every
 * other one is the fenced call of Redis' function (redis_append).
 * After a refusal, a time-out or a reconnect nothing new is sent: the tail is read back. Own bytes found there count as
 * written, unwritten ones are sent again byte for byte, foreign ones mean that ownership is lost (store.lost, and every waiting callback gets ERR_CONFLICT).
 * Where replicas must hold what counts (redis_replicated), an entry is acknowledged only once they do. After a change of the master the same comparison tells what the new one lacks: what
 * is kept of it (journal_keep) is appended again byte for byte; a tail that is not to be had any more is torn off (store.torn), and nothing is made up in its place.
 * What leaves the process (a request above `read`, an answer to a person, XACK) waits for journal_when_durable.
 * Never drops an entry silently; never blocks. */
#ifndef TOCSIN_JOURNAL_JOURNAL_H
#define TOCSIN_JOURNAL_JOURNAL_H

#include "base/clock.h"
#include "journal/entry.h"
#include "journal/standing.h"
#include "wire/loop.h"
#include "wire/redis.h"

struct journal;
struct feed;
struct archived;
struct kept;

/* A journal's end that the new master has not and nobody here keeps any more. */
struct torn {
  uint64_t from, to;     /* the entries that are missing */
  char leaf[DIGEST_HEX]; /* of the last of them, as it was acknowledged */
  json_t *known;         /* [{"seq","type","actor","run","step","time"}…] of those that are still known of, borrowed during the call */
};

/* What all journals of a node share. Filled in by the daemon; everything is borrowed and must outlive the journals. */
struct journal_store {
  struct loop *loop;
  struct redis *redis;
  struct secrets *secrets;
  const struct clock *clock;
  const char *node;
  void *arg;
  /* Ownership of an incident is lost: unload it. May be NULL. */
  void (*lost)(void *arg, struct journal *j, const struct err *why);
  /* Its end was torn off by a change of the master; the journal is of no use any more, what Redis holds has to be loaded anew. NULL: as lost. */
  void (*torn)(void *arg, struct journal *j, const struct torn *torn);
  struct kept *kept;         /* acknowledged entries that the next master may lack; made by journal_keep */
  uint64_t again;            /* acknowledged ones that a new master lacked, and that were appended again */
  struct feed *feed;         /* takes what Redis has acknowledged to the evidence log (journal/feed.h); NULL: nothing is sealed */
  struct archived *archived; /* reads it (journal/archived.h); NULL: no journal can have left Redis */
  struct map *adopted;       /* node → struct archived: logs of nodes that are gone, read in their place; NULL: none */
  /* Counts for metrics. */
  uint64_t entries, waves, retries;
  size_t unsent;     /* entries appended and not yet acknowledged, over all journals */
  size_t uncertain;  /* journals in memory that entries may be missing of, and nobody has agreed to that yet */
  char refused[160]; /* why Redis takes no entries at the moment, "" when it does */
};

typedef void journal_durable_cb(void *arg, const struct err *err); /* err NULL: it is durable */
typedef void journal_load_cb(void *arg, struct journal *j, const struct err *err);
/* One entry of a page; entries come in order. Return false to stop. */
typedef bool journal_entry_cb(void *arg, const struct entry *e);
typedef void journal_read_cb(void *arg, const struct err *err);

/* A journal that has no entry yet. incident: "INC-000042" or "node-n1". */
struct journal *journal_new(struct journal_store *store, const char *incident);
/* Reads the state and the entries after it; a journal without entries loads with seq 0. Checks the chain of what it reads. */
int journal_load(struct journal_store *store, const char *incident, journal_load_cb *cb, void *arg, struct err *err);
/* Waiting callbacks get ERR_CANCELLED. Unsent entries are lost: only after durable, or when ownership is lost. */
void journal_free(struct journal *j);

/* Keeps the newest acknowledged entries of all journals in memory, up to so many bytes (heads and envelopes), for masters that lack them. Undone by journal_keep_end. */
void journal_keep(struct journal_store *store, size_t bytes);
void journal_keep_end(struct journal_store *store);
/* The master is another one: nothing new is sent before its tail was compared. */
void journal_master_changed(struct journal *j);
/* Before journal_free: it is still this node's, or nobody's, so what is kept of it stays; its next loading puts what Redis lacks of that at its end. */
void journal_rest(struct journal *j);
/* Calls cb for each journal that rests, with the newest entry that is kept of it. */
void journal_resting(const struct journal_store *store, void (*cb)(void *arg, const char *incident, uint64_t seq), void *arg);
bool journal_comparing(const struct journal *j);
/* Only while it is compared no more: goes on behind what Redis holds, although entries are missing (the node's own journal, which nothing is replayed from). */
void journal_go_on(struct journal *j);
/* Who wrote the newest entry that was loaded, and when (µs); "" and 0 when none was. */
const char *journal_last_node(const struct journal *j, int64_t *ret_time);

/* Appends and returns the entry (borrowed until the next append; its body is in its envelope alone), or NULL with err (only ERR_LIMIT). spec.body must not be changed afterwards. */
const struct entry *journal_append(struct journal *j, const struct entry_spec *spec, struct err *err);
/* The same with a body that it takes over; aborts nothing: a body too large is replaced by one that says so. Returns the seq. */
uint64_t journal_add(struct journal *j, enum kind kind, const char *actor, unsigned run, const char *step, json_t *body_take);
/* The newest entry, borrowed until it is acknowledged or the next is appended (its body is in its envelope alone); NULL: it is acknowledged. */
const struct entry *journal_newest(const struct journal *j);
/* Calls back when all that was appended until now is acknowledged by Redis; exactly once, later. */
void journal_when_durable(struct journal *j, journal_durable_cb *cb, void *arg);
/* The same for what nobody waits for: it makes no wave leave sooner. */
void journal_once_durable(struct journal *j, journal_durable_cb *cb, void *arg);
/* Removes pending callbacks with this cb and arg. */
void journal_forget(struct journal *j, journal_durable_cb *cb, void *arg);
bool journal_idle(const struct journal *j); /* nothing unsent or unacknowledged */
/* Calls cb for every entry appended from now on, once it is folded into the state and before journal_append returns. The cb may look, never append or unwatch. */
typedef void journal_watch_cb(void *arg, struct journal *j, const struct entry *e);
void journal_watch(struct journal *j, journal_watch_cb *cb, void *arg);
void journal_unwatch(struct journal *j, journal_watch_cb *cb, void *arg);
/* Tell it after the link came back: a journal in trouble reads its tail. */
void journal_redis_up(struct journal *j);
/* Has the folded state stored with the next wave, or once Redis has that (done by itself every 64 entries). */
void journal_save_state(struct journal *j);
/* Before the journal is let go of: stores the state by itself, unless Redis has this one. Nothing when there are unacknowledged entries. */
void journal_store_state(struct journal *j);

/* Takes the journal out of Redis: one call that leaves its last entry's place and hash, from where the next append goes on as ever, and of the state what lists show ("archived": its last
 * seq). Only when every entry was read back from this node's evidence log, and nothing is unacknowledged. Done by no stale owner: Redis refuses when the last entry is another by now.
 * cb comes with ERR_CONFLICT then; the journal may go meanwhile, cb still comes. */
int journal_retire(struct journal *j, journal_read_cb *cb, void *arg, struct err *err);
uint64_t journal_archived(const struct journal *j); /* entries that lie in the evidence log alone; 0: none */

const char *journal_incident(const struct journal *j);
uint64_t journal_seq(const struct journal *j);
json_t *journal_state(struct journal *j);             /* borrowed; read only for everyone but the fold */
struct standing *journal_standing(struct journal *j); /* the same for those who need little of it; read only, too */
bool journal_uncertain(const struct journal *j);      /* state_uncertain of its state, without a look at it */
struct journal_store *journal_store_of(const struct journal *j);

/* Reads stored entries from seq `from` to `to` (0: the end) in pages; every entry is checked, and the chain when from is 1. */
int journal_read(struct journal_store *store, const char *incident, uint64_t from, uint64_t to, journal_entry_cb *entry_cb,
                 journal_read_cb *done_cb, void *arg, struct err *err);

/* Folds the journal anew from its first entry, as Redis holds it, because a body was removed; the new state takes the old one's place at once with cb (NULL err). entry_cb
 * sees every entry on the way, those that are appended meanwhile too. ERR_CANCELLED when the journal is freed first. One at a time. */
int journal_refold(struct journal *j, journal_entry_cb *entry_cb, journal_read_cb *done_cb, void *arg, struct err *err);

/* Checks entries in their export form, one JSON object a line {"head": text, "leaf": hex, "body": base64 or null}: prints nothing; *ret_count entries were read.
 * ERR_INVALID names the first broken entry; a body may be missing only when a later entry says that it was removed (*ret_removed, may be NULL: how many are). The file need
 * not be trusted. */
int journal_verify_export(const char *text, size_t len, uint64_t *ret_count, uint64_t *ret_removed, struct err *err);
/* The same, and hands out the entries that it read: an array of *ret_count, each for entry_free, the array for free. */
int journal_read_export(const char *text, size_t len, struct entry ***ret, size_t *ret_count, struct err *err);
/* Appends an entry in that form, with its newline. */
void journal_export(const struct entry *e, struct buf *out);

#endif
