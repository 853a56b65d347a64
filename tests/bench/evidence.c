/* evidence.c: what sealing costs: entries sealed and made searchable in a second, verified in a second against the hashing alone, bytes on disk, and a search.
 *
 * BENCH_ENTRIES (default 100000; memory does not grow with it) journal entries of a usual size are sealed in full batches, as under load; bytes are also taken at 10,000, to see whether
 * they grow.
 * What is verified is compared with the hashing in CPU time, so that neighbours do not decide. Prints lines for tests/bench/run. */
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "evidence/archive.h"
#include "evidence/leaf.h"
#include "evidence/seal.h"
#include "evidence/store.h"
#include "evidence/verify.h"

enum { JOURNALS = 997, SEARCHES = 50, EARLY = 10000 };

static struct note_signer signer;
static char folder[64];
static char heads[SEAL_BATCH][512], bodies[SEAL_BATCH][512], prevs[JOURNALS][DIGEST_HEX];
static struct store_entry entries[SEAL_BATCH];
static uint64_t bytes_found;

static _Noreturn void die(const char *what, const struct err *err) {
  fprintf(stderr, "evidence: %s: %s\n", what, err->text);
  exit(1);
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void line(const char *name, double value, const char *unit, const char *goal) {
  printf("%s\t%.3f\t%s\t%s\t\n", name, value, unit, goal);
}

static void entry_make(size_t at, unsigned long n) {
  static const char *const users[] = {"alice", "bob", "carol", "dave", "erin", "frank", "grace"};
  struct store_entry *e = &entries[at];
  char digest[DIGEST_HEX], *prev = prevs[n % JOURNALS];
  *e = (struct store_entry){.head = heads[at], .envelope = bodies[at]};
  e->envelope_len = (size_t)
      snprintf(bodies[at], sizeof bodies[at],
               "%032lu{\"action\":\"lock_account\",\"connector\":\"ldap\",\"params\":{\"because\":\"Multiple authentication failures "
               "followed by a success\",\"uid\":\"%s\"},\"target\":{\"user\":\"%s\"},\"text\":\"case c%lu of host h%lu\"}",
               n, users[n % 7], users[n % 7], n, n % 5003);
  envelope_digest(bodies[at], e->envelope_len, digest);
  e->head_len = (size_t)snprintf(
      heads[at], sizeof heads[at],
      "{\"actor\":\"playbook:contain-account\",\"body\":\"%s\",\"incident\":\"INC-%06lu\",\"node\":\"n1\",\"prev\":\"%s\",\"run\":1,"
      "\"seq\":%lu,\"size\":%zu,\"step\":\"3\",\"time\":\"2026-01-01T00:%02lu:%02lu.000000Z\",\"type\":\"action.intended\",\"v\":1}",
      digest, n % JOURNALS, prev, n / JOURNALS + 1, e->envelope_len, n / 60 % 60, n % 60);
  merkle_leaf(heads[at], e->head_len, &e->leaf);
  hex_encode(e->leaf.bytes, DIGEST_BYTES, prev);
}

/* Returns the seconds of sealing alone. */
static double seal(struct store *s, unsigned long from, unsigned long to) {
  double took = 0;
  struct err err = {0};
  while (from < to) {
    size_t count = to - from < SEAL_BATCH ? to - from : SEAL_BATCH;
    for (size_t i = 0; i < count; i++) entry_make(i, from + i);
    double began = now();
    if (store_ready(s, &err) < 0 || store_judge(s, entries, count, &err) < 0 || store_seal(s, entries, count, &err) < 0)
      die("sealing", &err);
    took += now() - began;
    from += count;
  }
  return took;
}

static int size_add(const char *path, const struct stat *st, int type, struct FTW *ftw) {
  if (type == FTW_F) bytes_found += (uint64_t)st->st_size;
  return 0;
}

static double bytes_of(const char *part, double count) {
  char path[128];
  snprintf(path, sizeof path, "%s/%s", folder, part);
  bytes_found = 0;
  nftw(path, size_add, 16, FTW_PHYS);
  return (double)bytes_found / count;
}

/* Of this process: what else the machine does at the time is no matter of the two that are compared. */
static double cpu(void) {
  struct timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* What no verifier can do without: each leaf and each node hashed once. */
static double hash_rate(void) {
  struct hash a = {{0}}, b = {{1}};
  double began = cpu();
  size_t n = 0;
  for (; cpu() - began < 0.5; n += SEAL_BATCH)
    for (size_t i = 0; i < SEAL_BATCH; i++) {
      merkle_leaf(heads[i], entries[i].head_len, &a);
      merkle_node(&a, &b, &b);
    }
  return (double)n / (cpu() - began);
}

static void verify(double count) {
  struct verify_options o = {.key = &signer.verifier};
  struct verify_result r;
  struct err err = {0};
  char path[128];
  double limit = hash_rate(), began = now(), used = cpu();
  snprintf(path, sizeof path, "%s/log", folder);
  if (verify_log(path, &o, &r, &err) < 0 || r.count) die("verifying", &err);
  double rate = count / (now() - began), core = count / (cpu() - used);
  verify_release(&r);
  line("evidence_verified", rate, "/s", "");
  line("evidence_verified_of_hashing", 100 * core / limit, "%", ">= 50");
}

static bool count_hit(void *arg, uint64_t index, const char *journal, uint64_t seq, int64_t time, const char *kind) {
  return ++*(int *)arg, true;
}

static void search(void) {
  struct catalogue *c = NULL;
  struct err err = {0};
  int hits = 0;
  if (catalogue_look(folder, &c, &err) < 0) die("the catalogue", &err);
  double began = now();
  for (int i = 0; i < SEARCHES; i++) {
    char words[64];
    snprintf(words, sizeof words, "carol AND h%d", 17 + i);
    struct catalogue_query q = {.match = words, .most = 100};
    if (catalogue_search(c, &q, count_hit, &hits, &err) < 0) die("searching", &err);
  }
  double took = now() - began;
  catalogue_close(c);
  if (!hits) die("searching found nothing", &err);
  line("evidence_search", 1000 * took / SEARCHES, "ms", "<= 50");
}

static int gone(const char *path, const struct stat *st, int type, struct FTW *ftw) { return remove(path); }

int main(void) {
  const char *wanted = getenv("BENCH_ENTRIES"), *tmp = getenv("TMPDIR");
  unsigned long count = wanted ? strtoul(wanted, NULL, 10) : 100000;
  struct store *s = NULL;
  struct err err = {0};
  bool more = true;
  if (count < 10 * SEAL_BATCH) count = 10 * SEAL_BATCH;
  snprintf(folder, sizeof folder, "%.40s/bench-XXXXXX", tmp ? tmp : "/tmp");
  if (!mkdtemp(folder)) die("no folder", &err);
  for (int i = 0; i < JOURNALS; i++) memcpy(prevs[i], leaf_none(), DIGEST_HEX);
  if (note_signer_make("bench.example/evidence", &signer, &err) < 0 || store_open(folder, &signer, NULL, NULL, &s, &err) < 0)
    die("start", &err);
  double took = seal(s, 0, EARLY);
  double early = bytes_of("log", EARLY) + bytes_of("bodies", EARLY);
  took += seal(s, EARLY, count);
  line("evidence_sealed", (double)count / took, "/s", "");
  double began = now();
  while (more)
    if (store_read(s, &more, &err) < 0) die("texts", &err);
  line("evidence_texts", (double)count / (now() - began), "/s", "");
  store_close(s);
  double late = bytes_of("log", (double)count) + bytes_of("bodies", (double)count);
  line("evidence_bytes", late, "B/entry", "");
  line("evidence_bytes_growth", 100 * late / early, "%", "<= 105");
  line("evidence_bytes_keys", bytes_of("keys.db", (double)count), "B/entry", "");
  line("evidence_bytes_catalogue", bytes_of("catalogue.db", (double)count), "B/entry", "");
  verify((double)count);
  search();
  nftw(folder, gone, 16, FTW_DEPTH | FTW_PHYS);
  return 0;
}
