#include "base/suspect.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

enum { MAGIC = 0x53555350, VERSION = 2, PAGE = 4096, DEPTH = 4, KNOWN = 16, LOOK_MS = 100, GUILTY_ENDED = 2, STACK = 64 << 10 };

/* What is worked on. Written by the loop's thread only; read by the next process, and by the watchdog once the burst is far too long. */
struct burst {
  uint32_t kind, number;
  char id[SUSPECT_ID];
  int64_t since;
};

struct page {
  uint32_t magic, version;
  uint32_t running; /* cleared by a proper end */
  char boot[CLOCK_BOOT_ID];
  int32_t alone;           /* which of `known` is to be tried alone, -1: nobody */
  uint32_t alone_now;      /* and it has begun */
  volatile uint32_t fatal; /* the signal that the process brought upon itself */
  atomic_uint depth;
  struct burst bursts[DEPTH];
  uint32_t turn; /* which of `known` is replaced next */
  struct suspect known[KNOWN];
};
_Static_assert(sizeof(struct page) <= PAGE, "the file is one page");

static struct page nowhere = {.alone = -1};
static struct page *page = &nowhere;
static int page_fd = -1;
static pid_t page_pid; /* a child that is about to exec has the page too */
static bool was_unclean, anybody;
static struct suspect found;     /* whose burst the earlier process ended in */
static atomic_ulong changes;     /* rises with each begin and end */
static char signal_stack[STACK]; /* for a crash by a full stack */

static const int fatal_signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
enum { FATAL = sizeof fatal_signals / sizeof *fatal_signals };
static struct sigaction before[FATAL];

/* --- whom we know --------------------------------------------------------------------------------------------------- */

static int find(enum suspect_kind kind, const char *id, unsigned number) {
  for (int i = 0; i < KNOWN; i++)
    if (page->known[i].kind == kind && page->known[i].number == number && strncmp(page->known[i].id, id, SUSPECT_ID - 1) == 0) return i;
  return -1;
}

static bool is_guilty(const struct suspect *s) { return s->kind && (s->alone_crashed || s->alone_ended >= GUILTY_ENDED); }

/* A free place, else that of the one who came first; who is guilty and not yet set aside, or to be tried, keeps his. */
static int place(void) {
  for (int i = 0; i < KNOWN; i++)
    if (!page->known[i].kind) return i;
  for (int tries = 0; tries < KNOWN; tries++) {
    int i = (int)(page->turn++ % KNOWN);
    if (!is_guilty(&page->known[i]) && i != page->alone) return i;
  }
  return (int)(page->turn++ % KNOWN);
}

static void anybody_look(void) {
  anybody = false;
  for (int i = 0; i < KNOWN; i++) anybody = anybody || page->known[i].kind;
}

bool suspect_known(enum suspect_kind kind, const char *id, unsigned number) { return anybody && find(kind, id, number) >= 0; }

static const char *signal_word(int number) {
  static const char *const words[FATAL] = {"SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL", "SIGABRT"};
  for (int i = 0; i < FATAL; i++)
    if (fatal_signals[i] == number) return words[i];
  return "a signal";
}

bool suspect_guilty(enum suspect_kind kind, const char *id, unsigned number, char reason[SUSPECT_REASON]) {
  int i = anybody ? find(kind, id, number) : -1;
  if (i < 0 || !is_guilty(&page->known[i])) return false;
  const struct suspect *s = &page->known[i];
  if (s->alone_crashed)
    snprintf(reason, SUSPECT_REASON, "it ended the process %u times while it was handled, the last time alone (%s)", s->ends,
             signal_word(s->signal));
  else snprintf(reason, SUSPECT_REASON, "it ended the process twice while it was handled alone");
  return true;
}

void suspect_forget(enum suspect_kind kind, const char *id, unsigned number) {
  int i = anybody ? find(kind, id, number) : -1;
  if (i < 0) return;
  page->known[i] = (struct suspect){0};
  if (page->alone == i) page->alone = -1, page->alone_now = 0;
  anybody_look();
}

void suspect_text(const struct suspect *s, char out[SUSPECT_ID + 24]) {
  if (s->kind == SUSPECT_ALERT) snprintf(out, SUSPECT_ID + 24, "alert %s", s->id);
  else if (s->kind == SUSPECT_RUN) snprintf(out, SUSPECT_ID + 24, "run %s/%u", s->id, s->number);
  else snprintf(out, SUSPECT_ID + 24, "nothing");
}

/* --- judging what an earlier process left ------------------------------------------------------------------------------ */

/* The rule's first and second; it was in this burst that the process died. */
static void judge(const struct burst *b) {
  int i = find((enum suspect_kind)b->kind, b->id, b->number);
  bool alone = i >= 0 && i == page->alone && page->alone_now;
  if (i < 0) {
    i = place();
    page->known[i] = (struct suspect){.kind = (enum suspect_kind)b->kind, .number = b->number};
    memcpy(page->known[i].id, b->id, SUSPECT_ID);
  }
  struct suspect *s = &page->known[i];
  s->since = b->since;
  s->ends++;
  if (page->fatal) s->signal = (int)page->fatal;
  if (alone && page->fatal) s->alone_crashed++;
  else if (alone) s->alone_ended++;
  if (!is_guilty(s)) page->alone = i;
  else if (page->alone == i) page->alone = -1;
  found = *s;
}

/* The file may be of another program, or torn: whatever is no name is nobody. */
static bool sane(const struct page *p) {
  if (p->magic != MAGIC || p->version != VERSION || p->alone < -1 || p->alone >= KNOWN) return false;
  for (int i = 0; i < DEPTH; i++)
    if (p->bursts[i].kind > SUSPECT_RUN || !memchr(p->bursts[i].id, 0, SUSPECT_ID)) return false;
  for (int i = 0; i < KNOWN; i++)
    if ((unsigned)p->known[i].kind > SUSPECT_RUN || !memchr(p->known[i].id, 0, SUSPECT_ID)) return false;
  return p->boot[CLOCK_BOOT_ID - 1] == 0;
}

static void take_over(void) {
  char boot[CLOCK_BOOT_ID];
  clock_boot_id(boot);
  was_unclean = false;
  found = (struct suspect){0};
  if (!sane(page)) {
    memset(page, 0, PAGE);
    page->alone = -1;
  } else if (page->running) {
    unsigned depth = atomic_load(&page->depth);
    const struct burst *b = &page->bursts[(depth > DEPTH ? DEPTH : depth) - (depth ? 1 : 0)];
    was_unclean = true;
    if (depth && b->kind && strcmp(boot, page->boot) == 0) judge(b);
  }
  if (page->alone >= 0 && !page->known[page->alone].kind) page->alone = -1;
  page->magic = MAGIC;
  page->version = VERSION;
  memcpy(page->boot, boot, CLOCK_BOOT_ID);
  atomic_store(&page->depth, 0);
  page->fatal = page->alone_now = 0;
  page->running = 1;
  anybody_look();
}

/* --- signals ---------------------------------------------------------------------------------------------------------- */

/* Only what this process did to itself is proof; a signal that somebody sent is not. The signal then does what it would have done without us. */
static void on_fatal(int number, siginfo_t *info, void *context) {
  bool fault = info->si_code > 0, own = fault || info->si_pid == getpid();
  if (own && getpid() == page_pid) page->fatal = (uint32_t)number;
  for (int i = 0; i < FATAL; i++)
    if (fatal_signals[i] == number) sigaction(number, &before[i], NULL);
  if (!fault) raise(number); /* a fault comes again by itself */
}

static void signals_begin(void) {
  stack_t stack = {.ss_sp = signal_stack, .ss_size = sizeof signal_stack}, old;
  if (sigaltstack(NULL, &old) == 0 && (old.ss_flags & SS_DISABLE)) sigaltstack(&stack, NULL);
  struct sigaction action = {.sa_sigaction = on_fatal, .sa_flags = SA_SIGINFO | SA_ONSTACK};
  sigemptyset(&action.sa_mask);
  for (int i = 0; i < FATAL; i++) sigaction(fatal_signals[i], &action, &before[i]);
}

static void signals_end(void) {
  for (int i = 0; i < FATAL; i++) sigaction(fatal_signals[i], &before[i], NULL);
  stack_t none = {.ss_flags = SS_DISABLE}, old;
  if (sigaltstack(NULL, &old) == 0 && old.ss_sp == signal_stack) sigaltstack(&none, NULL);
}

/* --- the file ----------------------------------------------------------------------------------------------------------- */

static int map_file(int fd, const char *path, struct page **ret, struct err *err) {
  struct stat st;
  if (flock(fd, LOCK_EX | LOCK_NB) != 0)
    return err_set(err, ERR_CONFLICT, "another process has %s: a data folder belongs to one engine", path);
  if (fstat(fd, &st) != 0) return err_errno(err, "cannot look at %s", path);
  if (!S_ISREG(st.st_mode)) return err_set(err, ERR_INVALID, "%s is no file", path);
  int r = posix_fallocate(fd, 0, PAGE); /* a store into a hole of a full disk would be SIGBUS */
  if (r) return err_set(err, ERR_IO, "cannot make room for %s: %s", path, strerror(r));
  void *at = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (at == MAP_FAILED) return err_errno(err, "cannot map %s", path);
  *ret = at;
  return 0;
}

int suspect_open(const char *folder, struct err *err) {
  char path[4096];
  struct page *mapped = NULL;
  if (page != &nowhere) return err_set(err, ERR_EXISTS, "the suspect's file is open already");
  snprintf(path, sizeof path, "%s/suspect", folder);
  int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) return err_errno(err, "cannot open %s", path);
  int r = map_file(fd, path, &mapped, err);
  if (r < 0) {
    close(fd);
    return r;
  }
  page = mapped;
  page_fd = fd;
  page_pid = getpid();
  take_over();
  signals_begin();
  return 0;
}

void suspect_close(void) {
  suspect_watch_end();
  if (page == &nowhere) return;
  signals_end();
  atomic_store(&page->depth, 0);
  page->alone_now = page->running = 0;
  munmap(page, PAGE);
  close(page_fd);
  page = &nowhere;
  page_fd = -1;
  anybody = was_unclean = false;
  atomic_store(&page->depth, 0);
}

bool suspect_unclean(struct suspect *ret) {
  *ret = found;
  return was_unclean;
}

bool suspect_alone(struct suspect *ret) {
  if (page->alone < 0) return false;
  page->alone_now = 1;
  *ret = page->known[page->alone];
  return true;
}

void suspect_acquit(void) {
  if (page->alone >= 0) page->known[page->alone].alone_ended = 0;
  suspect_alone_over();
}

void suspect_alone_over(void) {
  page->alone = -1;
  page->alone_now = 0;
}

/* --- bursts --------------------------------------------------------------------------------------------------------------- */

static void changed(void) { /* one writer: no locked instruction is needed */
  atomic_store_explicit(&changes, atomic_load_explicit(&changes, memory_order_relaxed) + 1, memory_order_release);
}

void suspect_begin(enum suspect_kind kind, const char *id, unsigned number) {
  unsigned depth = atomic_load_explicit(&page->depth, memory_order_relaxed);
  if (depth < DEPTH) {
    struct burst *b = &page->bursts[depth];
    struct timespec now;
    size_t len = strnlen(id, SUSPECT_ID - 1);
    clock_gettime(CLOCK_REALTIME_COARSE, &now); /* read from shared memory, not a system call */
    b->kind = kind;
    b->number = number;
    b->since = (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
    memcpy(b->id, id, len);
    memset(b->id + len, 0, SUSPECT_ID - len);
  }
  atomic_store_explicit(&page->depth, depth + 1, memory_order_release);
  changed();
}

void suspect_end(void) {
  unsigned depth = atomic_load_explicit(&page->depth, memory_order_relaxed);
  if (depth) atomic_store_explicit(&page->depth, depth - 1, memory_order_release);
  changed();
}

/* --- the watchdog ----------------------------------------------------------------------------------------------------------- */

static struct {
  pthread_t thread;
  pthread_mutex_t lock;
  pthread_cond_t wake;
  bool running, stop;
  clockid_t cpu;
  int64_t limit_us;
} dog = {.lock = PTHREAD_MUTEX_INITIALIZER};

static int64_t cpu_us(void) {
  struct timespec t;
  if (clock_gettime(dog.cpu, &t) != 0) return 0;
  return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* Not through the log: the thread that hangs may hold malloc's lock. */
static void bark(int64_t used_us) {
  char line[256], text[SUSPECT_ID + 24];
  unsigned depth = atomic_load(&page->depth);
  struct suspect s = {0};
  if (depth && depth <= DEPTH) {
    const struct burst *b = &page->bursts[depth - 1];
    s = (struct suspect){.kind = (enum suspect_kind)b->kind, .number = b->number};
    snprintf(s.id, sizeof s.id, "%.*s", SUSPECT_ID - 1, b->id);
  }
  suspect_text(&s, text);
  int n = snprintf(
      line, sizeof line,
      "%slevel=error msg=\"%s has used %lld.%01lld s of CPU time in one burst, the limit is %lld.%01lld s: the process is ended\"\n",
      getenv("JOURNAL_STREAM") ? "<3>" : "", text, (long long)(used_us / 1000000), (long long)(used_us / 100000 % 10),
      (long long)(dog.limit_us / 1000000), (long long)(dog.limit_us / 100000 % 10));
  if (n > 0 && write(STDERR_FILENO, line, (size_t)n < sizeof line ? (size_t)n : sizeof line - 1) < 0) (void)0;
  abort();
}

static void *watch(void *arg) {
  unsigned long last = 0;
  int64_t since = 0;
  bool inside = false;
  pthread_mutex_lock(&dog.lock);
  while (!dog.stop) {
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += LOOK_MS * 1000000L;
    if (until.tv_nsec >= 1000000000L) until.tv_sec++, until.tv_nsec -= 1000000000L;
    pthread_cond_timedwait(&dog.wake, &dog.lock, &until);
    unsigned long now = atomic_load_explicit(&changes, memory_order_acquire);
    int64_t used = cpu_us();
    if (inside && now == last && used - since > dog.limit_us) bark(used - since);
    if (!inside || now != last) since = used, last = now;
    inside = atomic_load_explicit(&page->depth, memory_order_acquire) > 0;
  }
  pthread_mutex_unlock(&dog.lock);
  return arg;
}

int suspect_watch(int64_t limit_ms, struct err *err) {
  pthread_condattr_t attr;
  sigset_t all, old;
  if (dog.running) return err_set(err, ERR_EXISTS, "the watchdog is there already");
  dog.limit_us = limit_ms * 1000;
  dog.stop = false;
  int r = pthread_getcpuclockid(pthread_self(), &dog.cpu);
  if (r) return err_set(err, ERR_IO, "no watchdog: the thread's CPU clock cannot be had: %s", strerror(r));
  pthread_condattr_init(&attr);
  pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
  pthread_cond_init(&dog.wake, &attr);
  pthread_condattr_destroy(&attr);
  sigfillset(&all); /* signals are the loop's */
  pthread_sigmask(SIG_SETMASK, &all, &old);
  r = pthread_create(&dog.thread, NULL, watch, NULL);
  pthread_sigmask(SIG_SETMASK, &old, NULL);
  if (r) return err_set(err, ERR_IO, "no watchdog: %s", strerror(r));
  dog.running = true;
  return 0;
}

void suspect_watch_end(void) {
  if (!dog.running) return;
  pthread_mutex_lock(&dog.lock);
  dog.stop = true;
  pthread_cond_signal(&dog.wake);
  pthread_mutex_unlock(&dog.lock);
  pthread_join(dog.thread, NULL);
  pthread_cond_destroy(&dog.wake);
  dog.running = false;
}
