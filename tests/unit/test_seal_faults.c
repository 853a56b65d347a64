/* One seal, as `tocsin serve` makes it (log, bodies, keys, catalogue), with a fault at each system call that it makes, one by one: the call fails, the process is killed there, or a write
 * says that it wrote what it did not. strace(1) counts and breaks them. After each both verifiers look, the next process goes on, and nothing is missing.
 *
 * Most calls only read, and of those each seventh is tried; a death at one leaves the disk as the next call that changes it finds it. SEAL_FAULTS=all (make chaos) tries every one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <sys/syscall.h>

#include "evidence/bodies.h"
#include "evidence/store.h"
#include "evidence/verify.h"
#include "log_help.h"
#include "tamper_help.h"

enum { BEFORE = 250, AFTER = 262, CALLS = 2000, READS = 7, SEALED = 0, REFUSED = 3 };

static struct note_signer signer;
static char base[64], work[64], key_file[128], trace_file[128];

/* From where the folder stands to AFTER entries. */
static int seal_to(const char *folder, unsigned to, struct err *err) {
  static struct store_entry entries[AFTER];
  struct store *s = NULL;
  size_t count = 0;
  int r = store_open(folder, &signer, NULL, NULL, &s, err);
  if (r == 0) r = store_ready(s, err);
  for (unsigned i = r == 0 ? (unsigned)store_size(s) : to; i < to; i++) {
    struct made *m = &made[i];
    entries[count] = (struct store_entry){.head = m->head, .head_len = m->head_len, .envelope = m->body, .envelope_len = m->body_len};
    merkle_leaf(m->head, m->head_len, &entries[count++].leaf);
  }
  if (r == 0) r = store_judge(s, entries, 0, count, err);
  if (r == 0) r = store_seal(s, entries, count, err);
  /* Should it fail, the catalogue lags behind. */
  for (bool more = r == 0; more;)
    if (store_read(s, &more, NULL) < 0) break;
  store_close(s);
  return r;
}

/* The process that is broken: test_seal_faults --seal FOLDER KEYFILE. */
static int seal_once(const char *folder, const char *key) {
  char text[512] = "";
  struct err err = {0};
  FILE *f = fopen(key, "re");
  if (!f || !fgets(text, sizeof text, f) || note_signer_read(text, &signer, &err) < 0) return 9;
  fclose(f);
  all_make(AFTER);
  syscall(SYS_getppid); /* from here on it counts */
  return seal_to(folder, AFTER, &err) == 0 ? SEALED : REFUSED;
}

/* ---- strace */

/* Its exit status, or minus the signal that ended it. */
static int traced(const char *inject, const char *folder) {
  char self[512], trace[160], arg[200];
  ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
  assert_true(n > 0);
  self[n] = 0;
  snprintf(trace, sizeof trace, "trace=%.*s", inject ? (int)strcspn(inject, ":") : 3, inject ? inject : "all");
  snprintf(arg, sizeof arg, "inject=%s", inject ? inject : "");
  const char *const words[] = {"strace",
                               "-qq",
                               "-y",
                               "-o",
                               trace_file,
                               "-e",
                               trace,
                               inject ? "-e" : "--",
                               inject ? arg : self,
                               inject ? "--" : "--seal",
                               inject ? self : folder,
                               inject ? "--seal" : key_file,
                               inject ? folder : NULL,
                               key_file,
                               NULL};
  pid_t pid = fork();
  assert_true(pid >= 0);
  if (pid == 0) {
    setenv("ASAN_OPTIONS", "detect_leaks=0", 1); /* LeakSanitizer wants to trace, too */
    execvp("strace", (char **)(uintptr_t)words);
    _exit(127);
  }
  int status = 0;
  assert_int_equal(waitpid(pid, &status, 0), pid);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static struct call {
  char name[32];
  unsigned number; /* among those of its name, from the start of the process */
  bool changes;    /* it may change what is on the disk */
  bool of_log;     /* it writes to a file of the log */
} calls[CALLS];
static size_t call_count;

/* What a seal calls, from a run that is not broken. */
static void calls_learn(void) {
  static const char *const changing[] = {"pwrite64", "write",    "fsync",  "fdatasync", "ftruncate", "openat", "mkdir",
                                         "mkdirat",  "renameat", "rename", "unlink",    "unlinkat",  "fchown"};
  char line[4096];
  bool counts = false;
  folder_copy(base, work);
  int status = traced(NULL, work);
  if (status == 127) return; /* there is no strace */
  assert_int_equal(status, SEALED);
  FILE *f = fopen(trace_file, "re");
  assert_non_null(f);
  static struct call all[CALLS];
  size_t n = 0;
  while (fgets(line, sizeof line, f) && n < CALLS) {
    struct call *c = &all[n];
    char *end = strchr(line, '(');
    if (!end || end == line || end - line >= (int)sizeof c->name || !strncmp(line, "exit", 4)) continue;
    snprintf(c->name, sizeof c->name, "%.*s", (int)(end - line), line);
    c->number = 1;
    c->changes = false;
    for (size_t i = 0; i < sizeof changing / sizeof *changing; i++) c->changes |= strcmp(c->name, changing[i]) == 0;
    for (size_t i = 0; i < n; i++) c->number += strcmp(all[i].name, c->name) == 0;
    c->of_log = strcmp(c->name, "pwrite64") == 0 && strstr(line, "/log/");
    n++;
    if (counts && (STRIDE == 1 || !strstr(" mmap munmap madvise mprotect futex ", c->name)))
      calls[call_count++] = *c; /* those are the sanitizer's own */
    counts = counts || strcmp(c->name, "getppid") == 0;
  }
  fclose(f);
  assert_true(n < CALLS && call_count > 100);
}

/* ---- after it */

/* Both verifiers find the log sound; how long it is. */
static uint64_t sound_size(const char *what) {
  char log[128];
  struct verify_options o = {.key = &signer.verifier};
  struct verify_result r;
  struct verdict other;
  struct err err = {0};
  snprintf(log, sizeof log, "%s/log", work);
  door_ask(log, NULL);
  if (verify_log(log, &o, &r, &err) < 0) fail_msg("%s: %s", what, err.text);
  door_answer(&other);
  if (r.count || !other.sound) fail_msg("%s: not sound: %s / %s", what, r.count ? r.faults[0].text : "", other.text);
  uint64_t size = r.size;
  verify_release(&r);
  return size;
}

static void bodies_expect(const char *what) {
  struct bodies *b = NULL;
  struct err err = {0};
  if (bodies_open(work, &b, &err) < 0) fail_msg("%s: %s", what, err.text);
  for (unsigned i = BEFORE - 20; i < AFTER; i++) {
    struct hash leaf;
    struct buf body;
    buf_init(&body, 1000);
    merkle_leaf(made[i].head, made[i].head_len, &leaf);
    if (bodies_read(b, i, &leaf, &body, &err) < 0) fail_msg("%s: body %u: %s", what, i, err.text);
    assert_string_equal(body.data, made[i].body);
    buf_release(&body);
  }
  bodies_close(b);
}

static int work_away(const char *path, const struct stat *st, int type, struct FTW *ftw) { return ftw->level ? remove(path) : 0; }

static unsigned sealed, refused, killed;

static void broken_at(const char *inject) {
  struct err err = {0};
  nftw(work, work_away, 16, FTW_DEPTH | FTW_PHYS);
  folder_copy(base, work);
  int status = traced(inject, work);
  uint64_t size = sound_size(inject);
  sealed += status == SEALED;
  refused += status == REFUSED;
  killed += status < 0;
  if (size != BEFORE && size != AFTER) fail_msg("%s: %u entries", inject, (unsigned)size);
  if (status == SEALED && size != AFTER) fail_msg("%s: it says that it sealed", inject);
  if (status > 0 && status != REFUSED) fail_msg("%s: exit status %d", inject, status);
  if (seal_to(work, AFTER, &err) < 0) fail_msg("%s: it does not go on: %s", inject, err.text);
  if (sound_size(inject) != AFTER) fail_msg("%s: entries are missing", inject);
  bodies_expect(inject);
}

/* ---- the tests */

/* The calls that are tried, each as "NAME:HOW:when=NUMBER". Returns how many. */
static unsigned try_each(const char *how, unsigned reads) {
  unsigned tried = 0, number = 0;
  sealed = refused = killed = 0;
  for (size_t i = 0; i < call_count; i++) {
    const struct call *c = &calls[i];
    char inject[100];
    bool wanted = getenv("SEAL_FAULTS") || c->changes || (reads && i % reads == 0);
    if (!wanted || number++ % STRIDE) continue;
    snprintf(inject, sizeof inject, "%s:%s:when=%u", c->name, how, c->number);
    broken_at(inject);
    tried++;
  }
  print_message("%u of %zu calls broken (%s): %u seals went on, %u were refused, %u processes died\n", tried, call_count, how, sealed,
                refused, killed);
  return tried;
}

static void every_call(void **state) {
  if (!call_count) skip();
  assert_true(try_each("error=EIO", READS) > 100 / STRIDE);
  assert_true(sealed && refused);
}

static void every_death(void **state) {
  if (!call_count) skip();
  unsigned tried = try_each("signal=KILL", 0);
  assert_true(tried > 100 / STRIDE);
  assert_int_equal(killed, tried);
}

/* Nothing was written, and the answer is that five bytes were. SQLite trusts its disk; the log reads back before it signs. */
static void lying_writes(void **state) {
  char inject[100];
  unsigned tried = 0;
  if (!call_count) skip();
  refused = 0;
  for (size_t i = 0; i < call_count; i++) {
    if (!calls[i].of_log) continue;
    snprintf(inject, sizeof inject, "pwrite64:retval=5:when=%u", calls[i].number);
    broken_at(inject);
    tried++;
  }
  assert_true(tried >= 5 && refused);
}

static int up(void **state) {
  struct buf text;
  struct err err = {0};
  signer = test_signer("example.com/ir/evidence");
  folder_make(base), folder_make(work);
  snprintf(key_file, sizeof key_file, "%s.key", base);
  snprintf(trace_file, sizeof trace_file, "%s.trace", base);
  buf_init(&text, 4096);
  note_signer_write(&signer, &text);
  file_put_bytes(key_file, text.data, text.len);
  buf_release(&text);
  all_make(AFTER);
  if (seal_to(base, BEFORE, &err) < 0) fail_msg("%s", err.text);
  tamper_open("seal", &signer);
  calls_learn();
  return 0;
}

static int down(void **state) {
  door_close();
  unlink(key_file), unlink(trace_file);
  folder_remove(base), folder_remove(work);
  free(made);
  return 0;
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(every_call), cmocka_unit_test(every_death), cmocka_unit_test(lying_writes)};
  if (argc == 4 && strcmp(argv[1], "--seal") == 0) return seal_once(argv[2], argv[3]);
  return cmocka_run_group_tests(tests, up, down);
}
