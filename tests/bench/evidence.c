/* evidence.c: what sealing costs: entries sealed and made searchable in a second, verified in a second against the hashing alone, bytes on disk, a search, and what of it grows with the log.
 *
 * 100,000 journal entries of a usual size, of 997 incidents at a time and 20 to each, are sealed in full batches, as under load, each batch durable before the next. What is verified is compared with the hashing in CPU time, so
 * that neighbours do not decide. Then, in the first round, another log grows from 10,000 entries to BENCH_ENTRIES (default a million, which is also where the search is timed): there
 * nothing waits for the disk, whose part is the same for each batch, and costs are CPU time and bytes for each entry, as a share of what they were when the log was small.
 * Ten million entries are 10 GB: two minutes with TMPDIR=/dev/shm, on a busy disk more. Prints lines for tests/bench/run. */
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "evidence/archive.h"
#include "evidence/leaf.h"
#include "evidence/seal.h"
#include "evidence/store.h"
#include "evidence/verify.h"

enum { JOURNALS = 997, LONG = 20, SEARCHES = 50, SMALL = 10000, USUAL = 100000, MILLION = 1000000, AGAIN = 20 };

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

/* Of this process: what else the machine does at the time is no matter of the two that are compared. */
static double cpu(void) {
  struct timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void line(const char *name, double value, const char *unit, const char *goal) {
  printf("%s\t%.3f\t%s\t%s\t\n", name, value, unit, goal);
}

static void entry_make(size_t at, unsigned long n) {
  static const char *const users[] = {"alice", "bob", "carol", "dave", "erin", "frank", "grace"};
  struct store_entry *e = &entries[at];
  char digest[DIGEST_HEX], *prev = prevs[n % JOURNALS];
  unsigned long seq = n / JOURNALS % LONG + 1, incident = n / JOURNALS / LONG * JOURNALS + n % JOURNALS;
  if (seq == 1) memcpy(prev, leaf_none(), DIGEST_HEX);
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
      "\"seq\":%lu,\"size\":%zu,\"step\":\"3\",\"time\":\"2026-01-%02luT%02lu:%02lu:%02lu.%lu00000Z\",\"type\":\"action.intended\",\"v\":"
      "1}",
      digest, incident, prev, seq, e->envelope_len, n / 864000 % 31 + 1, n / 36000 % 24, n / 600 % 60, n / 10 % 60, n % 10);
  merkle_leaf(heads[at], e->head_len, &e->leaf);
  hex_encode(e->leaf.bytes, DIGEST_BYTES, prev);
}

/* These two stand before libc's, for the log, the keys and the catalogue alike. */
static bool waits = true;
int fsync(int fd) { return waits ? (int)syscall(SYS_fsync, fd) : 0; }
int fdatasync(int fd) { return waits ? (int)syscall(SYS_fdatasync, fd) : 0; }

/* Returns the seconds of sealing alone, by that clock. */
static double seal(struct store *s, unsigned long from, unsigned long to, double (*clock)(void)) {
  double took = 0;
  struct err err = {0};
  while (from < to) {
    size_t count = to - from < SEAL_BATCH ? to - from : SEAL_BATCH;
    for (size_t i = 0; i < count; i++) entry_make(i, from + i);
    double began = clock();
    if (store_ready(s, &err) < 0 || store_judge(s, entries, 0, count, &err) < 0 || store_seal(s, entries, count, &err) < 0)
      die("sealing", &err);
    if (store_follow(s, &err) < 0) die("the catalogue", &err);
    took += clock() - began;
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

/* Without the kernel's part: a small log is read from memory, a large one from the disk. */
static double cpu_own(void) {
  struct rusage used;
  getrusage(RUSAGE_SELF, &used);
  return (double)used.ru_utime.tv_sec + (double)used.ru_utime.tv_usec / 1e6;
}

/* Returns the seconds by that clock. */
static double verify(double (*clock)(void)) {
  struct verify_options o = {.key = &signer.verifier};
  struct verify_result r;
  struct err err = {0};
  char path[128];
  double used = clock();
  snprintf(path, sizeof path, "%s/log", folder);
  if (verify_log(path, &o, &r, &err) < 0 || r.count) die("verifying", &err);
  used = clock() - used;
  verify_release(&r);
  return used;
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

static void texts(struct store *s) {
  struct err err = {0};
  for (bool more = true; more;)
    if (store_read(s, &more, &err) < 0) die("texts", &err);
}

static int gone(const char *path, const struct stat *st, int type, struct FTW *ftw) { return remove(path); }

static struct store *begin(void) {
  const char *tmp = getenv("TMPDIR");
  struct store *s = NULL;
  struct err err = {0};
  snprintf(folder, sizeof folder, "%.40s/bench-XXXXXX", tmp ? tmp : "/tmp");
  if (!mkdtemp(folder)) die("no folder", &err);
  if (store_open(folder, &signer, NULL, NULL, &s, &err) < 0) die("start", &err);
  return s;
}

static void end(struct store *s) {
  store_close(s);
  nftw(folder, gone, 16, FTW_DEPTH | FTW_PHYS);
}

static void usual(void) {
  struct store *s = begin();
  line("evidence_sealed", USUAL / seal(s, 0, USUAL, now), "/s", "");
  double began = now();
  texts(s);
  line("evidence_texts", USUAL / (now() - began), "/s", "");
  line("evidence_bytes", bytes_of("log", USUAL) + bytes_of("bodies", USUAL), "B/entry", "");
  line("evidence_bytes_keys", bytes_of("keys.db", USUAL), "B/entry", "");
  line("evidence_bytes_catalogue", bytes_of("catalogue.db", USUAL), "B/entry", "");
  double limit = hash_rate(), used = 0;
  for (int i = 0; i < AGAIN; i++) used += verify(cpu) / AGAIN;
  line("evidence_verified", USUAL / used, "/s", "");
  line("evidence_verified_of_hashing", 100 * USUAL / used / limit, "%", ">= 50");
  end(s);
}

/* For each entry: bytes, CPU seconds of sealing and of verifying. */
struct cost {
  double bytes, sealing, verifying;
};

/* Of a log of `count` entries; sealing it is measured by the entries from there to `to`, verifying it is done that often. */
static struct cost cost(struct store *s, unsigned long count, unsigned long to, int times) {
  double n = (double)count;
  struct cost c = {.bytes = bytes_of("log", n) + bytes_of("bodies", n) + bytes_of("keys.db", n)};
  for (int i = 0; i < times; i++) c.verifying += verify(cpu_own) / n / times;
  c.sealing = seal(s, count, to, cpu) / (double)(to - count);
  return c;
}

static void growth(unsigned long count) {
  struct store *s = begin();
  struct rusage used;
  waits = false;
  seal(s, 0, SMALL, cpu);
  struct cost small = cost(s, SMALL, SMALL + USUAL, AGAIN);
  seal(s, SMALL + USUAL, MILLION, cpu);
  texts(s);
  search();
  seal(s, MILLION, count, cpu);
  struct cost large = cost(s, count, count + USUAL, 1);
  getrusage(RUSAGE_SELF, &used);
  line("evidence_growth_entries", (double)count, "", "");
  line("evidence_growth_bytes", 100 * large.bytes / small.bytes, "%", "<= 105");
  line("evidence_growth_sealing", 100 * large.sealing / small.sealing, "%", "<= 125");
  line("evidence_growth_verifying", 100 * large.verifying / small.verifying, "%", "<= 125");
  line("evidence_growth_memory", (double)used.ru_maxrss / 1024, "MiB", "");
  end(s);
}

int main(void) {
  const char *wanted = getenv("BENCH_ENTRIES"), *round = getenv("BENCH_ROUND");
  unsigned long count = wanted ? strtoul(wanted, NULL, 10) : MILLION;
  if (note_signer_make("bench.example/evidence", &signer, &(struct err){0}) < 0) return 1;
  usual();
  if (!round || strcmp(round, "1") == 0) growth(count > MILLION ? count : MILLION);
  return 0;
}
