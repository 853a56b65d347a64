#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "wire/lane.h"
#include "wire/redis.h"

/* --- the fenced append ------------------------------------------------------------------------------ */

enum { ITEM_FIXED = 4, ITEM_PER_ENTRY = 6, APPEND_FIXED = 8, APPEND_PER_ENTRY = 3, APPEND_SMALL = 16, APPEND_MOST = 4096 };

static bool is_leaf(const char *text) {
  if (!text || strlen(text) != 64) return false;
  unsigned char strange = 0; /* no branch: the compiler takes many at a time */
  for (int i = 0; i < 64; i++)
    strange |= (unsigned char)((unsigned char)text[i] - '0') > 9 && (unsigned char)((unsigned char)text[i] - 'a') > 5;
  return !strange;
}

static int leaf_refused(struct err *err) { return err_set(err, ERR_INVALID, "a leaf hash must be 64 hex digits"); }

static int append_check(uint64_t first_seq, const struct redis_entry *entries, size_t count, struct err *err) {
  if (count < 1 || count > APPEND_MOST) return err_set(err, ERR_INVALID, "an append takes 1 to %d entries, not %zu", APPEND_MOST, count);
  if (first_seq < 1 || first_seq > UINT64_C(1) << 52) return err_set(err, ERR_INVALID, "an append begins at seq 1 or later");
  bool good = true;
  for (size_t i = 0; i < count; i++) good = good && is_leaf(entries[i].leaf);
  return good ? 0 : leaf_refused(err);
}

static void put(const char **argv, size_t *lens, size_t *at, const void *bytes, size_t len) {
  argv[*at] = len ? bytes : "";
  lens[(*at)++] = len;
}

int redis_append(struct redis *link, unsigned lane, const char *journal, const char *state_key, const char *prev, uint64_t first_seq,
                 const struct redis_entry *entries, size_t count, const char *state, size_t state_len, redis_cb *cb, void *arg,
                 struct err *err) {
  int code = is_leaf(prev) ? append_check(first_seq, entries, count, err) : leaf_refused(err);
  if (code) return code;
  const char *small_argv[APPEND_FIXED + APPEND_SMALL * APPEND_PER_ENTRY];
  size_t small_lens[APPEND_FIXED + APPEND_SMALL * APPEND_PER_ENTRY];
  size_t words = APPEND_FIXED + count * APPEND_PER_ENTRY, n = 0;
  bool small = count <= APPEND_SMALL;
  const char **argv = small ? small_argv : malloc(words * sizeof *argv);
  size_t *lens = small ? small_lens : malloc(words * sizeof *lens);
  if (!argv || !lens) {
    code = err_set(err, ERR_MEMORY, "no memory for an append");
    goto out;
  }
  char seq[24];
  size_t seq_len = (size_t)(text_add_number(seq, seq + sizeof seq, first_seq) - seq);
  put(argv, lens, &n, "FCALL", 5);
  put(argv, lens, &n, "tocsin_append", 13);
  put(argv, lens, &n, "2", 1);
  put(argv, lens, &n, journal, strlen(journal));
  put(argv, lens, &n, state_key, strlen(state_key));
  put(argv, lens, &n, prev, 64);
  put(argv, lens, &n, seq, seq_len);
  put(argv, lens, &n, state, state ? state_len : 0);
  for (size_t i = 0; i < count; i++) {
    put(argv, lens, &n, entries[i].head, entries[i].head_len);
    put(argv, lens, &n, entries[i].leaf, 64);
    put(argv, lens, &n, entries[i].body, entries[i].body_len);
  }
  code = redis_command_safe(link, lane, cb, arg, n, argv, lens, err);
out:
  if (!small) {
    free(argv);
    free(lens);
  }
  return code;
}

int redis_append_item(struct redis *link, unsigned lane, const char *journal, uint64_t first_seq, const struct redis_entry *entries,
                      size_t count, redis_cb *cb, void *arg, struct err *err) {
  const char *argv[ITEM_FIXED + REDIS_ITEM_MOST * ITEM_PER_ENTRY];
  size_t lens[ITEM_FIXED + REDIS_ITEM_MOST * ITEM_PER_ENTRY], n = 0;
  if (count > REDIS_ITEM_MOST) return err_set(err, ERR_INVALID, "an item takes %d entries at most, not %zu", REDIS_ITEM_MOST, count);
  int code = append_check(first_seq, entries, count, err);
  if (code) return code;
  char id[28];
  size_t id_len = (size_t)(text_add(text_add_number(id, id + sizeof id, first_seq), id + sizeof id, "-0") - id);
  put(argv, lens, &n, "XADD", 4);
  put(argv, lens, &n, journal, strlen(journal));
  if (first_seq > 1) put(argv, lens, &n, "NOMKSTREAM", 10);
  put(argv, lens, &n, id, id_len);
  for (size_t i = 0; i < count; i++) {
    put(argv, lens, &n, count > 1 ? "E" : "e", 1);
    put(argv, lens, &n, entries[i].head, entries[i].head_len);
    put(argv, lens, &n, count > 1 ? "H" : "h", 1);
    put(argv, lens, &n, entries[i].leaf, 64);
    put(argv, lens, &n, count > 1 ? "B" : "b", 1);
    put(argv, lens, &n, entries[i].body, entries[i].body_len);
  }
  return redis_command_safe(link, lane, cb, arg, n, argv, lens, err);
}

/* --- what the server's settings would lose ---------------------------------------------------------- */

struct setting {
  const char *name, *wanted, *problem;
};

static const struct setting settings[] = {
    {"appendonly", "yes", "appendonly is off: a restart of Redis loses what came after the last RDB save; set appendonly yes"},
    {"appendfsync", "always",
     "appendfsync is not always: a crash loses up to a second or more of acknowledged writes; set appendfsync always"},
    {"aof-load-truncated", "no", "aof-load-truncated is yes: a torn tail is dropped silently at start; set aof-load-truncated no"},
    {"no-appendfsync-on-rewrite", "no", "no-appendfsync-on-rewrite is yes: writes during a rewrite are not durable; set it to no"},
    {"maxmemory-policy", "noeviction",
     "maxmemory-policy evicts keys when memory is full: journals would vanish; set maxmemory-policy noeviction"},
    {"min-replicas-to-write", "0",
     "min-replicas-to-write is 0: a master that was cut off goes on taking alerts that the next one will not have; set "
     "min-replicas-to-write 1"}, /* a problem only where there are replicas, and then the other way round */
};
enum { SETTINGS = sizeof settings / sizeof *settings, MIN_REPLICAS = SETTINGS - 1 };

struct durability {
  bool replicated;
  redis_durability_cb *cb;
  void *arg;
};

static const char *found(const struct redis_value *reply, const char *name) {
  for (size_t i = 0; i + 1 < redis_count(reply); i += 2) {
    if (strcmp(redis_string(redis_item(reply, i), NULL), name) == 0) return redis_string(redis_item(reply, i + 1), NULL);
  }
  return NULL;
}

static void durability_known(void *arg, const struct redis_value *reply, const struct err *err) {
  struct durability *d = arg;
  const char *problems[SETTINGS + 1];
  size_t n = 0;
  for (size_t i = 0; !err && i < SETTINGS; i++) {
    const char *value = found(reply, settings[i].name);
    bool fits = value && strcmp(value, settings[i].wanted) == 0;
    if (i == MIN_REPLICAS ? d->replicated && fits : !fits) problems[n++] = settings[i].problem;
  }
  problems[n] = NULL;
  d->cb(d->arg, err ? NULL : problems, err);
  free(d);
}

int redis_check_durability(struct redis *link, redis_durability_cb *cb, void *arg, struct err *err) {
  const char *words[2 + SETTINGS] = {"CONFIG", "GET"};
  for (size_t i = 0; i < SETTINGS; i++) words[2 + i] = settings[i].name;
  struct durability *d = malloc(sizeof *d);
  if (!d) return err_set(err, ERR_MEMORY, "no memory to ask Redis for its settings");
  *d = (struct durability){.replicated = link->replicas || link->sentinels, .cb = cb, .arg = arg};
  int code = redis_command(link, 0, durability_known, d, 2 + SETTINGS, words, NULL, err);
  if (code) free(d);
  return code;
}
