/* redis.h: the link to Redis 7: several asynchronous connections ("lanes"), pipelined, reconnecting.
 *
 * Redis keeps the order of one connection only, so whoever needs order stays on one lane
 * (redis_lane(link, key) is stable for a key). A command's callback is called exactly once and never before
 * redis_command returned: with a reply, or with an error. ERR_UNAVAILABLE and ERR_TIMEOUT mean that it is
 * not known whether Redis carried the command out; nothing is ever sent twice by the link itself.
 * An error reply of Redis arrives as err with its text (ERR_CONFLICT when it starts with "FENCE", and for an XADD whose id is not above the last one;
 * ERR_LIMIT for "OOM", ERR_UNAVAILABLE for "LOADING", "READONLY", "MASTERDOWN", "CLUSTERDOWN", "NOREPLICAS", "MISCONF", "BUSY" and
 * "TRYAGAIN", ERR_DENIED for "NOAUTH", "WRONGPASS" and "NOPERM", otherwise ERR_INVALID).
 * After a time-out the lane stays, and with it the order: what is sent next on it is carried out after the late command. Only when
 * nothing at all is heard for one time-out more is the connection given up.
 * Commands of one turn of the loop leave in one write at its end.
 * hiredis is not seen outside wire/. */
#ifndef TOCSIN_WIRE_REDIS_H
#define TOCSIN_WIRE_REDIS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/secret.h"
#include "wire/loop.h"

struct redis;
struct redis_value; /* a reply or a part of one; valid only inside the callback */

enum redis_type { REDIS_NIL, REDIS_STRING, REDIS_INTEGER, REDIS_ARRAY, REDIS_STATUS, REDIS_ERROR /* only inside an array (EXEC) */ };

/* Who is followed, when sentinels are asked. */
struct redis_master {
  bool followed;  /* there are sentinels; the rest is 0 without */
  char host[256]; /* "": not known yet */
  int port;
  int64_t epoch;        /* Sentinel's, which rises with every failover */
  unsigned sentinels;   /* named in the config; of these */
  unsigned answering;   /* these answer */
  unsigned knowing;     /* and these know the master's name */
  int quorum, replicas; /* as they say */
  int sentinels_known;  /* how many sentinels they know, with themselves */
  bool down;            /* one of them calls the master down */
  char why[200];        /* what the last one said that could not tell */
  uint64_t changes;     /* of the master since redis_new */
};
typedef void redis_master_cb(void *arg, const struct redis_master *master);

struct redis_config {
  const char *socket; /* a Unix socket's path, or NULL for host and port */
  const char *host;
  int port;
  bool tls;
  const char *tls_ca, *tls_cert, *tls_key; /* PEM files; NULL: the system's store, no client certificate */
  const char *user;                        /* NULL: the default user */
  const char *password_slot;               /* secret slot, or NULL */
  unsigned lanes;                          /* connections, 1..64 (8 is a good number) */
  int64_t timeout_ms;                      /* of one command from its sending, 0: 10 s */
  size_t most_pending;                     /* commands in flight per lane before ERR_LIMIT, 0: 65536 */
  bool bare;                               /* no function library is loaded: it is a sentinel */
  /* In place of socket and host: "host:port" of the sentinels, which say who is the master called `master`. Every connection asks the server for its ROLE and leaves one that
   * is no master; a server that answers READONLY is left at once by all. The same TLS files serve for both. */
  const char *const *sentinels;
  size_t sentinel_count;
  const char *master, *sentinel_user, *sentinel_password_slot;
  redis_master_cb *master_cb; /* another server is the master now: every lane was dropped and goes there. May be NULL */
  unsigned replicas;          /* so many must hold what redis_command_safe and redis_append carry out; 0: none */
  int64_t replica_ms;         /* and so long they have for it, less than timeout_ms; 0: 1 s */
};

typedef void redis_cb(void *arg, const struct redis_value *reply, const struct err *err);
/* up: a lane (or the first one) is usable again after none or not all were; down: a lane was lost, or could not come up for a new
 * reason. */
typedef void redis_state_cb(void *arg, bool up, const struct err *err);

/* Starts connecting at once, and for ever again with back-off (50 ms doubling to 2 s, with jitter). Each new
 * connection authenticates and loads the function library (redis_functions.lua) when it is absent or older.
 * Copies the config. */
int redis_new(struct loop *loop, const struct redis_config *config, const struct secrets *secrets, redis_state_cb *state_cb, void *arg,
              struct redis **ret, struct err *err);
/* Pending callbacks get ERR_CANCELLED before it returns. */
void redis_free(struct redis *link);
bool redis_up(const struct redis *link); /* all lanes connected and ready (blocking ones apart) */
bool redis_lane_up(const struct redis *link, unsigned lane);
void redis_master(const struct redis *link, struct redis_master *ret);

unsigned redis_lane(const struct redis *link, const char *key);
unsigned redis_lanes(const struct redis *link); /* 0 … this - 1, blocking ones apart */
size_t redis_pending(const struct redis *link, unsigned lane);

/* Sends one command on a lane. lens may be NULL (strings). Arguments are copied. On error the callback is not
 * called: ERR_UNAVAILABLE while the lane is down, ERR_LIMIT when too much is in flight. cb may be NULL. */
int redis_command(struct redis *link, unsigned lane, redis_cb *cb, void *arg, size_t argc, const char *const *argv, const size_t *lens,
                  struct err *err);
/* The same with words as arguments, ended by NULL: redis_call(l, 0, cb, arg, err, "GET", key, NULL). */
int redis_call(struct redis *link, unsigned lane, redis_cb *cb, void *arg, struct err *err, ...) __attribute__((sentinel));
/* The same, and calls back only once the config's number of replicas hold what it did, and with it all that Redis had carried out before, on whatever connection (WAIT behind it, on the
 * same lane). ERR_UNAVAILABLE: it was carried out, but too few of them hold it; a change of the master may lose it. Without replicas in the config it is redis_command. */
int redis_command_safe(struct redis *link, unsigned lane, redis_cb *cb, void *arg, size_t argc, const char *const *argv, const size_t *lens,
                       struct err *err);
int redis_call_safe(struct redis *link, unsigned lane, redis_cb *cb, void *arg, struct err *err, ...) __attribute__((sentinel));
/* Replicas must hold what counts. */
bool redis_replicated(const struct redis *link);
/* Calls back once they hold all that Redis has carried out so far. */
int redis_barrier(struct redis *link, unsigned lane, redis_cb *cb, void *arg, struct err *err);
/* A connection of its own for a blocking command (XREADGROUP … BLOCK); counts as a lane of its own: returns its
 * number. Up to 8. Its time-out is the command's BLOCK plus the config's. */
unsigned redis_add_blocking_lane(struct redis *link);

enum redis_type redis_type(const struct redis_value *v);
const char *redis_string(const struct redis_value *v, size_t *ret_len);      /* "" for other types; len may be NULL */
int64_t redis_integer(const struct redis_value *v);                          /* also of a numeric string; 0 otherwise */
size_t redis_count(const struct redis_value *v);                             /* 0 for other types */
const struct redis_value *redis_item(const struct redis_value *v, size_t i); /* NULL past the end */

/* --- typed operations ------------------------------------------------------------------------------ */

enum { REDIS_ITEM_MOST = 16 }; /* entries of one item; readers rely on it, so it never grows */

struct redis_entry {
  const char *head; /* e: the head's very bytes */
  size_t head_len;
  const char *leaf; /* h: 64 hex digits */
  const void *body; /* b: the envelope */
  size_t body_len;
};
/* The fenced append (functions: tocsin_append). Adds all entries as items <first_seq>-0… to `journal` only if the
 * last entry's h there equals prev (64 hex digits; zeros for a journal that must be new), otherwise none:
 * ERR_CONFLICT. state (may be NULL) replaces the value of state_key in the same call. One call for a wave; answered as redis_command_safe is. */
int redis_append(struct redis *link, unsigned lane, const char *journal, const char *state_key, const char *prev, uint64_t first_seq,
                 const struct redis_entry *entries, size_t count, const char *state, size_t state_len, redis_cb *cb, void *arg,
                 struct err *err);

/* The same as one plain XADD, which costs a tenth of it: all entries in one item of the stream (journal/item.h) whose id bears the first one's seq. Redis
 * refuses it when an entry of that seq is there already (ERR_CONFLICT), and answers nil when first_seq is not 1 and the journal is gone; but it takes it when entries before it are
 * missing. So it is only for a journal whose last append was acknowledged while redis_bond was what it is now, and for a new one. At most REDIS_ITEM_MOST entries. */
int redis_append_item(struct redis *link, unsigned lane, const char *journal, uint64_t first_seq, const struct redis_entry *entries,
                      size_t count, redis_cb *cb, void *arg, struct err *err);
/* A number that stays the same, and is not 0, as long as what Redis acknowledged on this lane is certainly still there: the connection stood, and the server never said that it serves
 * nobody (READONLY, LOADING …). 0 while the lane is down. */
uint64_t redis_bond(const struct redis *link, unsigned lane);

/* The other functions of the library are called with redis_command; every key of a call lies in one slot. A = {tocsin:alerts}.
 *
 * FCALL tocsin_route 5 A:routed A:seen A:group A:ids A:seen_in  <alert id> <stream id> <now_ms> <INC|EX> (<group key or ''> <window_ms>)…
 *   One incident per pair: the group's live one (its window is pushed to now + window), else a new one. Replies
 *   [new, id, created, id, created…]; [routed, …] with the very same incidents and flags for a redelivery of the same stream id;
 *   [duplicate, id, id…] (no flags; may be without ids) when another message bore this alert id, in work or seen before.
 * FCALL tocsin_done 6 tocsin:alerts A:routed A:seen A:seen_in A:counts A:dead  <consumer group> <stream id> <alert id or ''>
 *   <attached|duplicate|suppressed|split|dead> <now_ms> <keep_ms> …
 *   split: then one JSON object of strings per part, each becomes a new message; dead: then the reason; the raw fields are moved from the queue (or those that follow are taken: name, value…).
 *   1: done now, 0: was done before and nothing happened.
 * FCALL tocsin_route_all 6 A:routed A:seen A:group A:ids A:seen_in A:owner  <now_ms> <INC|EX> (<alert id> <stream id> <n> (<group key or ''> <window_ms>)×n)…
 *   What route replies for each, as if they had been routed one after the other.
 * FCALL tocsin_done_all 5 tocsin:alerts A:routed A:seen A:seen_in A:counts  <consumer group> <now_ms> <keep_ms> (<stream id> <alert id or ''> <attached|duplicate|suppressed>)…
 *   As done for each; how many were done now.
 * FCALL tocsin_revive 2 A:dead tocsin:alerts  <letter's id or ''> <most>     how many letters went back on the queue
 * FCALL_RO tocsin_tally 2 tocsin:alerts A:counts               [XINFO STREAM's reply, HGETALL's reply] of one moment
 * FCALL tocsin_ungroup 1 A:group  <incident> <group key>…     how many keys were removed
 * FCALL tocsin_open_id 1 A:ids  <INC|EX>                       "INC-000043"
 *   route, route_all and open_id with one key more, A:owner, and the prefix "INC|n1": what they open is owned by n1.
 * FCALL tocsin_claim 1 A:owner  <incident> <node> <from or ''>   [owner now, owner before or '']: the node's when nobody's, its own, or from's
 * FCALL tocsin_retire 2 <journal> <state>  <last seq> <its leaf hash> <node> <state that stays>   1: all but that place left Redis, 0: had before; FENCE: another is the last
 * FCALL tocsin_give 1 A:owner  <incident> <node> <to or ''>      1 when it was the node's to give
 * FCALL tocsin_beat 2 tocsin:nodes tocsin:brakes  <node> <run> <beat, or what its counter stood at> <facts>   [brakes' epoch, brakes, nodes]; FENCE: another's name
 * FCALL tocsin_leave 1 tocsin:nodes  <node> <run>               1 when the record was this run's
 * FCALL tocsin_brake 2 tocsin:nodes tocsin:brakes  <scope> <value, '' releases>   the brakes' new epoch
 * FCALL tocsin_at_least 1 <a counter>  <number>                what it stands at now: the number at least
 * FCALL tocsin_take 2 <inbox> <nonces>  <message> <nonce> <now_ms> <keep_ms>     1: the caller's to carry out, 0: taken already, -1: a nonce seen before
 * FCALL tocsin_let_go 1 <a target's holders>  <holder>          who still holds it; exactly the last of several gets none
 * FCALL tocsin_remove 3 <journal> <state> <journal>.new  <seq> <seq of the entry that says so>   the journal without that body, the state gone; 1, or 0: not here, or gone
 *   before; FENCE: no such entry says so
 * FCALL tocsin_hold 1 tocsin:contained  <field> <json>         1 when new;  FCALL tocsin_unhold 1 tocsin:contained <field>
 * FCALL tocsin_budget 1 <sorted set>  <now_ms> <window_ms> <most> <id>   1: reserved (also when it was before), 0: spent
 * done, done_all, ungroup, unhold and what nodes call (from claim on) also work when Redis' memory is full. */

/* What Redis' own settings would lose (appendfsync, aof-load-truncated, no-appendfsync-on-rewrite, maxmemory-policy, RDB only…): calls
 * back with one text per problem, NULL-ended, once. */
typedef void redis_durability_cb(void *arg, const char *const *problems, const struct err *err);
int redis_check_durability(struct redis *link, redis_durability_cb *cb, void *arg, struct err *err);

#endif
