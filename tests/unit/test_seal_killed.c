/* A sealer whose catalogue lags is killed at any moment, again and again: what it sealed is in once and in order, no removed body comes back, and the catalogue catches up. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

#include "evidence/archive.h"
#include "evidence/bodies.h"
#include "evidence/store.h"
#include "log_help.h"

enum { ALL = 20000, LIVES = 30, BATCH = 700, AGAIN = 40, EACH = 37 };

static struct note_signer signer;
static char folder[64];
static bool *removed; /* by index; shared with those that are killed */
static unsigned seed;

static unsigned chance(unsigned below) { return (seed = seed * 1103515245 + 12345) / 65536 % below; }

static void batch_seal(struct store *s, unsigned from, unsigned to) {
  static struct store_entry entries[BATCH + AGAIN];
  size_t count = 0;
  struct err err = {0};
  for (unsigned i = from; i < to; i++) {
    const struct made *m = &made[i];
    entries[count] = (struct store_entry){.head = m->head, .head_len = m->head_len, .envelope = m->body, .envelope_len = m->body_len};
    merkle_leaf(m->head, m->head_len, &entries[count++].leaf);
  }
  if (store_ready(s, &err) < 0 || store_judge(s, entries, 0, count, &err) < 0 || store_seal(s, entries, count, &err) < 0) {
    fprintf(stderr, "# %s\n", err.text);
    _exit(1);
  }
  for (size_t i = 0; i < count; i++)
    if (entries[i].verdict != STORE_NEW && entries[i].verdict != STORE_KNOWN) _exit(2);
}

/* One of what is sealed; on record before it is said to be done. */
static void one_remove(struct store *s, unsigned i) {
  if (store_remove(s, made[i].journal, i / JOURNALS + 1, NULL) < 0) _exit(3);
  removed[i] = true;
}

/* Until it is killed, or all is in. */
static void live(void) {
  struct store *s = NULL;
  bool more;
  if (store_open(folder, &signer, NULL, NULL, &s, NULL) < 0 || store_ready(s, NULL) < 0) _exit(4);
  while (store_size(s) < ALL) {
    unsigned size = (unsigned)store_size(s), from = chance(4) || size < AGAIN ? size : size - AGAIN, to = size + 1 + chance(BATCH - 1);
    batch_seal(s, from, to < ALL ? to : ALL);
    if (chance(3) == 0 && store_read(s, &more, NULL) < 0) _exit(5);
    if (chance(6) == 0) one_remove(s, chance((unsigned)store_size(s) / EACH + 1) * EACH % (unsigned)store_size(s));
  }
  store_close(s);
  _exit(0);
}

static void life(void) {
  struct timespec nap = {.tv_nsec = (long)chance(30000) * 1000 + 1000000};
  int status = 0;
  chance(2);
  pid_t pid = fork();
  assert_true(pid >= 0);
  if (pid == 0) live();
  nanosleep(&nap, NULL);
  kill(pid, SIGKILL);
  assert_int_equal(waitpid(pid, &status, 0), pid);
  if (WIFEXITED(status) && WEXITSTATUS(status)) fail_msg("what is left cannot be gone on with: %d", WEXITSTATUS(status));
}

static void expect(uint64_t size) {
  struct archive *a = NULL;
  struct err err = {0};
  uint64_t known = 0, read = 0;
  if (archive_open(folder, &signer.verifier, &a, &err) < 0) fail_msg("%s", err.text);
  assert_int_equal(catalogue_extent(archive_catalogue(a), &known, &read, &err), 0);
  assert_true(known == size && read == size);
  for (unsigned i = 0; i < size; i++) {
    struct place place;
    struct buf body;
    buf_init(&body, 1000);
    if (archive_find(a, made[i].journal, i / JOURNALS + 1, &place, &err) < 0) fail_msg("%s", err.text);
    assert_int_equal(place.index, i);
    int r = archive_body(a, &place, &body, &err);
    if (removed[i]) assert_int_equal(r, ERR_NOT_FOUND);
    else if (r != ERR_NOT_FOUND || i % EACH) assert_int_equal(r, 0); /* killed while it removed it, it may be gone */
    if (r == 0) assert_string_equal(body.data, made[i].body);
    buf_release(&body);
  }
  archive_close(a);
}

static void killed(void **state) {
  struct store *s = NULL;
  struct err err = {0};
  folder_make(folder);
  for (int i = 0; i < LIVES; i++) life();
  if (store_open(folder, &signer, NULL, NULL, &s, &err) < 0 || store_ready(s, &err) < 0) fail_msg("%s", err.text);
  uint64_t size = store_size(s);
  printf("# %u entries, of which the catalogue lacks %u\n", (unsigned)size, (unsigned)store_lag(s));
  for (bool more = true; more;) assert_int_equal(store_read(s, &more, &err), 0);
  assert_int_equal(store_lag(s), 0);
  store_close(s);
  expect(size);
  folder_remove(folder);
}

int main(void) {
  const char *given = getenv("TOCSIN_SEED");
  seed = given ? (unsigned)strtoul(given, NULL, 10) : (unsigned)time(NULL);
  printf("# TOCSIN_SEED=%u\n", seed);
  removed = mmap(NULL, ALL * sizeof *removed, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  all_make(ALL);
  signer = test_signer("example.com/ir/evidence");
  const struct CMUnitTest tests[] = {cmocka_unit_test(killed)};
  int r = cmocka_run_group_tests(tests, NULL, NULL);
  free(made);
  return r;
}
