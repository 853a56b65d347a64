#include "exercise/crew.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/json.h"

enum { PROCESSES_MOST = 64, RESULT_CAP = 256 << 20, READ_BYTES = 65536 };

struct worker {
  pid_t pid;
  int fd; /* what it says: a line of JSON for each item; -1: it has said all */
  struct buf said;
};

struct running {
  const struct crew *crew;
  struct worker workers[PROCESSES_MOST];
  unsigned count;
  json_t **results;         /* those that wait for one before them */
  size_t next, done;        /* the item whose turn it is; how many are done */
  atomic_size_t *to_be_had; /* shared: the next item that nobody has */
  struct err failure;
};

unsigned crew_size(unsigned most) {
  cpu_set_t set;
  unsigned n = sched_getaffinity(0, sizeof set, &set) == 0 ? (unsigned)CPU_COUNT(&set) : 1;
  return n < 1 ? 1 : n < most ? n : most;
}

/* --- alone ----------------------------------------------------------------------------------------------------------- */

static int alone(const struct crew *c, struct err *err) {
  int r = c->open(c->arg, err);
  for (size_t i = 0; r == 0 && i < c->items; i++) {
    json_t *result = c->work(c->arg, i);
    c->done(c->arg, i, result);
    if (c->progress) c->progress(c->arg, i + 1);
    json_decref(result);
  }
  c->close(c->arg);
  return r;
}

/* --- in a process of its own ------------------------------------------------------------------------------------------ */

static bool say(int fd, json_t *what_take) {
  char *text = json_text(what_take);
  json_decref(what_take);
  size_t len = text ? strlen(text) : 0, at = 0;
  if (text) text[len++] = '\n'; /* in place of the end: it is written by its length */
  while (at < len) {
    ssize_t n = write(fd, text + at, len - at);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    at += (size_t)n;
  }
  free(text);
  return len && at == len;
}

/* Whoever asked may be gone: then nobody hears it, and it ends like one that is done. */
_Noreturn static void be_worker(const struct running *r, int fd) {
  const struct crew *c = r->crew;
  struct err err = {0};
  size_t item;
  signal(SIGPIPE, SIG_IGN);
  bool heard = true;
  if (c->open(c->arg, &err) < 0) heard = say(fd, json_pack("{s:s, s:i}", "error", err.text, "code", err.code)) && false;
  while (heard && (item = atomic_fetch_add(r->to_be_had, 1)) < c->items)
    heard = say(fd, json_pack("{s:I, s:o}", "item", (json_int_t)item, "result", c->work(c->arg, item)));
  c->close(c->arg);
  _exit(heard ? 0 : 1);
}

static int begin_one(struct running *r, struct err *err) {
  int ends[2];
  if (pipe(ends) != 0) return err_errno(err, "cannot make a pipe");
  pid_t pid = fork();
  if (pid == 0) {
    for (unsigned i = 0; i < r->count; i++) close(r->workers[i].fd);
    close(ends[0]);
    be_worker(r, ends[1]);
  }
  close(ends[1]);
  if (pid < 0) {
    close(ends[0]);
    return err_errno(err, "cannot begin a process");
  }
  struct worker *w = &r->workers[r->count++];
  *w = (struct worker){.pid = pid, .fd = ends[0]};
  buf_init(&w->said, RESULT_CAP);
  return 0;
}

/* --- putting together --------------------------------------------------------------------------------------------------- */

static void in_order(struct running *r) {
  const struct crew *c = r->crew;
  while (r->next < c->items && r->results[r->next]) {
    c->done(c->arg, r->next, r->results[r->next]);
    json_decref(r->results[r->next]);
    r->results[r->next++] = NULL;
  }
}

static void heard(struct running *r, const char *line, size_t len) {
  json_t *said = NULL;
  if (json_parse(line, len, &said, NULL) < 0) return;
  int64_t item = json_int_or(said, "item", -1);
  const char *error = json_str(said, "error");
  if (error && !r->failure.code) err_set(&r->failure, (int)json_int_or(said, "code", ERR_IO), "%s", error);
  if (item >= (int64_t)r->next && item < (int64_t)r->crew->items && !r->results[item]) {
    r->results[item] = json_incref(json_object_get(said, "result"));
    r->done++;
    in_order(r);
    if (r->crew->progress) r->crew->progress(r->crew->arg, r->done);
  }
  json_decref(said);
}

static void listen_to(struct running *r, struct worker *w) {
  char *room = buf_extend(&w->said, READ_BYTES), *end;
  ssize_t n = room ? read(w->fd, room, READ_BYTES) : 0;
  if (room) w->said.len -= READ_BYTES - (n > 0 ? (size_t)n : 0);
  if (n < 0 && errno == EINTR) return;
  if (n <= 0) {
    close(w->fd);
    w->fd = -1;
    return;
  }
  size_t from = w->said.len - (size_t)n, begin = 0;
  while ((end = memchr(w->said.data + from, '\n', w->said.len - from))) {
    size_t stop = (size_t)(end - w->said.data);
    heard(r, w->said.data + begin, stop - begin);
    begin = from = stop + 1;
  }
  buf_consume(&w->said, begin);
}

static void listen_to_all(struct running *r) {
  for (;;) {
    struct pollfd fds[PROCESSES_MOST];
    unsigned open = 0;
    for (unsigned i = 0; i < r->count; i++) {
      fds[i] = (struct pollfd){.fd = r->workers[i].fd, .events = POLLIN}; /* poll leaves -1 alone */
      open += r->workers[i].fd >= 0;
    }
    if (!open) return;
    if (poll(fds, r->count, -1) <= 0) continue;
    for (unsigned i = 0; i < r->count; i++)
      if (fds[i].revents) listen_to(r, &r->workers[i]);
  }
}

static void end_all(struct running *r) {
  for (unsigned i = 0; i < r->count; i++) {
    int status;
    while (waitpid(r->workers[i].pid, &status, 0) < 0 && errno == EINTR) {}
    buf_release(&r->workers[i].said);
  }
  for (size_t i = r->next; i < r->crew->items; i++) json_decref(r->results[i]);
  free(r->results);
  munmap(r->to_be_had, sizeof *r->to_be_had);
}

int crew_run(const struct crew *c, struct err *err) {
  struct running r = {.crew = c};
  unsigned wanted = c->processes < PROCESSES_MOST ? c->processes : PROCESSES_MOST;
  if (wanted > c->items) wanted = (unsigned)c->items;
  if (wanted <= 1) return alone(c, err);
  void *shared = mmap(NULL, sizeof *r.to_be_had, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED) return err_errno(err, "cannot share memory between processes");
  r.to_be_had = shared;
  r.results = calloc(c->items, sizeof(json_t *));
  if (!r.results) abort();
  int code = 0;
  while (code == 0 && r.count < wanted) code = begin_one(&r, err);
  listen_to_all(&r); /* those that have begun do it all */
  if (r.done == c->items) code = 0;
  else if (r.failure.code) *err = r.failure, code = r.failure.code;
  else if (code == 0) code = err_set(err, ERR_IO, "a process ended before its time: %zu of %zu were done", r.done, c->items);
  end_all(&r);
  return code;
}
