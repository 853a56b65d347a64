#include "wire/embedded.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "wire/aof_tail.h"
#include "wire/embedded_files.h"
#include "wire/stream.h"

enum {
  PING_EVERY = 10,
  PING_PATIENCE = 5000,   /* an accepted PING without any answer is asked again on a new connection */
  ADOPT_PATIENCE = 30000, /* for a living child without a socket: it is starting, or ending */
  STOP_PATIENCE = 10000,
  BACKOFF_FIRST = 100,
  BACKOFF_MOST = 5000,
  GOOD_LIFE = 10000, /* after so long a life the back-off begins anew */
  FIRST_TRIES = 3,   /* a server that was never ready is given up after so many */
};

enum phase { IDLE, ADOPTING, STARTING, READY, STOPPING, GONE };

struct embedded {
  struct loop *loop;
  struct embedded_events events;
  char folder[EMBEDDED_PATH], socket[EMBEDDED_PATH], program[EMBEDDED_PATH];
  enum phase phase;
  int serve_fd; /* lock of the one serve; ours alone */
  int lock_fd;  /* lock of the one redis-server; shared with the child, -1 while an adopted child alone holds it */
  pid_t pid;    /* 0: none */
  int pid_fd;
  bool ours; /* our own child: to be reaped */
  bool ends_with_us;
  struct watch *exit_watch;
  struct timer *timer; /* next ping, next start, or the end of a patience */
  struct stream *ping;
  struct stream_target target;
  unsigned tries;
  bool was_ready;
  int64_t since; /* of this phase, CLOCK_MONOTONIC milliseconds */
  loop_cb *stopped_cb;
  void *stopped_arg;
};

static void launch(struct embedded *e);
static void ping_now(void *arg);

static int64_t now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void enter(struct embedded *e, enum phase phase) {
  e->phase = phase;
  e->since = now_ms();
}

static void timer_set(struct embedded *e, int64_t ms, loop_cb *cb) {
  timer_free(e->timer);
  e->timer = cb ? timer_start(e->loop, ms, cb, e) : NULL;
}

static void ping_end(struct embedded *e) {
  stream_close(e->ping);
  e->ping = NULL;
}

/* Lets go of the process's handles; the process itself is not touched. */
static void process_forget(struct embedded *e) {
  watch_free(e->exit_watch);
  e->exit_watch = NULL;
  if (e->pid_fd >= 0) close(e->pid_fd);
  e->pid_fd = -1;
  e->pid = 0;
  ping_end(e);
}

/* The end: nothing follows. */
static void give_up(struct embedded *e, const struct err *err) {
  process_forget(e);
  timer_set(e, 0, NULL);
  enter(e, GONE);
  if (e->events.failed) e->events.failed(e->events.arg, err);
}

/* --- is it there? ----------------------------------------------------------------------------------- */

static void ping_again(void *arg, const struct err *err) {
  struct embedded *e = arg;
  ping_end(e);
  timer_set(e, PING_EVERY, ping_now);
}

static void ping_opened(void *arg) {
  struct embedded *e = arg;
  struct err err;
  if (stream_write(e->ping, "PING\r\n", 6, &err) < 0) ping_again(e, &err);
}

static void ping_answered(void *arg) {
  struct embedded *e = arg;
  char text[64];
  struct err err;
  ssize_t n = stream_read(e->ping, text, sizeof text, &err);
  if (n == 0) return;
  if (n < 5 || memcmp(text, "+PONG", 5) != 0) { /* -LOADING: it takes as long as it takes */
    ping_again(e, NULL);
    return;
  }
  ping_end(e);
  timer_set(e, 0, NULL);
  e->was_ready = true;
  enter(e, READY);
  if (e->events.ready) e->events.ready(e->events.arg, !e->ours);
}

static void ping_stuck(void *arg) { ping_again(arg, NULL); }

static void ping_now(void *arg) {
  struct embedded *e = arg;
  e->ping = stream_open(e->loop, &e->target,
                        &(struct stream_events){.arg = e, .opened = ping_opened, .readable = ping_answered, .failed = ping_again});
  timer_set(e, PING_PATIENCE, ping_stuck);
}

/* --- it ended --------------------------------------------------------------------------------------- */

static void reap(struct embedded *e, char *why, size_t size) {
  int status = 0;
  if (!e->ours) {
    snprintf(why, size, "redis-server (adopted, pid %d) ended", (int)e->pid);
    return;
  }
  while (waitpid(e->pid, &status, 0) < 0 && errno == EINTR) continue;
  if (WIFSIGNALED(status)) snprintf(why, size, "redis-server was ended by signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
  else snprintf(why, size, "redis-server ended with status %d", WEXITSTATUS(status));
}

/* A server that did not come up may have refused a torn tail. 0: nothing wrong there or mended (*ret_cut), else what to do. */
static int mend_tail(struct embedded *e, bool *ret_cut, struct err *err) {
  struct aof_tail tail;
  int code = aof_tail_find(e->folder, &tail, err);
  if (code == ERR_NOT_FOUND) return 0;
  if (code) return code;
  if (tail.damaged >= 0) {
    return err_set(
        err, ERR_IO,
        "the append-only file %s is damaged at byte %lld (not just cut short at its end), so nothing is mended by itself: restore "
        "the folder from a backup, or copy it and examine the copy with redis-check-aof",
        tail.path, (long long)tail.damaged);
  }
  if (!tail.torn) return 0;
  code = aof_tail_cut(&tail, err);
  if (code) return code;
  *ret_cut = true;
  if (e->events.tail_cut) e->events.tail_cut(e->events.arg, tail.path, tail.good, tail.size - tail.good);
  return 0;
}

static void launch_cb(void *arg) { launch(arg); }

static void launch_later(struct embedded *e) {
  int64_t wait = BACKOFF_FIRST;
  for (unsigned i = 0; i < e->tries && wait < BACKOFF_MOST; i++) wait *= 2;
  e->tries++;
  timer_set(e, wait < BACKOFF_MOST ? wait : BACKOFF_MOST, launch_cb);
}

static void ended_before_ready(struct embedded *e, const char *why) {
  struct err err;
  bool cut = false;
  if (mend_tail(e, &cut, &err)) {
    give_up(e, &err);
    return;
  }
  if (cut) {
    timer_set(e, 0, launch_cb);
    return;
  }
  if (!e->was_ready && e->tries + 1 >= FIRST_TRIES) {
    char line[400];
    embedded_log_line(e->folder, line, sizeof line);
    err_set(&err, ERR_UNAVAILABLE, "%s; its last words in %s/redis.log: %s", why, e->folder, line);
    give_up(e, &err);
    return;
  }
  launch_later(e);
}

static void stopped(struct embedded *e) {
  enter(e, GONE);
  timer_set(e, 0, NULL);
  if (e->stopped_cb) e->stopped_cb(e->stopped_arg);
}

static void process_ended(void *arg, int fd, int events) {
  struct embedded *e = arg;
  char why[256];
  enum phase was = e->phase;
  int64_t life = now_ms() - e->since;
  reap(e, why, sizeof why);
  process_forget(e);
  timer_set(e, 0, NULL);
  if (was == STOPPING) {
    stopped(e);
    return;
  }
  enter(e, IDLE);
  if (was != READY) {
    ended_before_ready(e, why);
    return;
  }
  if (life >= GOOD_LIFE) e->tries = 0;
  launch_later(e);
  char line[400], text[700];
  embedded_log_line(e->folder, line, sizeof line);
  snprintf(text, sizeof text, "%s%s%s", why, *line ? "; the last line of its log: " : "", line);
  if (e->events.lost) e->events.lost(e->events.arg, text);
}

static int process_watch(struct embedded *e, pid_t pid, bool ours, struct err *err) {
  int fd = pidfd_open(pid, 0);
  if (fd < 0) return err_errno(err, "cannot watch redis-server (pid %d)", (int)pid);
  e->pid = pid;
  e->pid_fd = fd;
  e->ours = ours;
  e->exit_watch = watch_fd(e->loop, fd, WATCH_READ, process_ended, e);
  return 0;
}

/* --- starting --------------------------------------------------------------------------------------- */

/* In the child, between fork and exec: only what is safe there. */
static void child(const struct embedded *e, pid_t parent, int report, char *const argv[]) {
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
  setsid(); /* a Ctrl-C at the terminal must not reach it before the last append */
  if (e->ends_with_us) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(126); /* it has ended meanwhile */
  }
  umask(077);
  int null = open("/dev/null", O_RDWR);
  if (null >= 0 && chdir(e->folder) == 0) {
    dup2(null, 0);
    dup2(null, 1);
    dup2(null, 2);
    close_range(3, ~0U, CLOSE_RANGE_CLOEXEC);
    fcntl(e->lock_fd, F_SETFD, 0); /* the lock lives as long as the server does */
    execvp(e->program, argv);
  }
  int problem = errno;
  if (write(report, &problem, sizeof problem) < 0) _exit(126);
  _exit(127);
}

/* Forks and waits (a moment) until the program is running or could not be. */
static int spawn(struct embedded *e, pid_t *ret, struct err *err) {
  static char config[] = "redis.conf";
  char *argv[] = {e->program, config, NULL};
  int report[2], problem = 0;
  if (pipe2(report, O_CLOEXEC) != 0) return err_errno(err, "cannot make a pipe");
  pid_t parent = getpid(), pid = fork();
  if (pid == 0) child(e, parent, report[1], argv);
  int code = pid < 0 ? err_errno(err, "cannot start %s", e->program) : 0;
  close(report[1]);
  ssize_t n = 0;
  if (!code) {
    do n = read(report[0], &problem, sizeof problem);
    while (n < 0 && errno == EINTR);
  }
  close(report[0]);
  if (n > 0) {
    waitpid(pid, NULL, 0);
    errno = problem;
    code = err_errno(err, "cannot start %s (install the package redis-server, or name a server with the setting `redis`)", e->program);
  }
  if (!code) *ret = pid;
  return code;
}

static int launch_try(struct embedded *e, struct err *err) {
  /* An adopted child took its lock with it: ours now, unless a rewriting child of its own still runs. */
  int code = e->lock_fd >= 0 ? 0 : embedded_lock(e->folder, "lock", &e->lock_fd, err);
  if (code) return code;
  pid_t pid = 0;
  code = spawn(e, &pid, err);
  if (code) return code;
  code = process_watch(e, pid, true, err);
  if (code) {
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    return code;
  }
  enter(e, STARTING);
  timer_set(e, PING_EVERY, ping_now);
  return 0;
}

static void launch(struct embedded *e) {
  struct err err;
  int code = launch_try(e, &err);
  if (!code) return;
  if (code == ERR_EXISTS || e->was_ready) launch_later(e);
  else give_up(e, &err);
}

/* --- adopting --------------------------------------------------------------------------------------- */

/* Somebody holds the lock: a redis-server whose parent died. It is found by its socket, as the kernel tells who listens there. */
static void adopt(void *arg) {
  struct embedded *e = arg;
  struct err err;
  if (embedded_lock(e->folder, "lock", &e->lock_fd, &err) == 0) { /* it ended meanwhile */
    enter(e, IDLE);
    timer_set(e, 0, launch_cb);
    return;
  }
  pid_t pid = embedded_listener(e->socket), written = embedded_pid_file(e->folder);
  if (pid && pid == written && process_watch(e, pid, false, &err) == 0) {
    enter(e, STARTING);
    timer_set(e, 0, ping_now);
    return;
  }
  if (now_ms() - e->since < ADOPT_PATIENCE) {
    timer_set(e, 50, adopt);
    return;
  }
  err_set(&err, ERR_UNAVAILABLE,
          "a process holds %s/lock, yet no redis-server of this folder answers on its socket (pid file: %d): end that process, then start "
          "again",
          e->folder, (int)written);
  give_up(e, &err);
}

/* --- the caller's side ------------------------------------------------------------------------------ */

static void first_launch(void *arg) {
  struct embedded *e = arg;
  struct err err;
  if (embedded_lock(e->folder, "lock", &e->lock_fd, &err) == ERR_EXISTS) {
    enter(e, ADOPTING);
    adopt(e);
    return;
  }
  launch(e);
}

int embedded_start(struct loop *loop, const struct embedded_config *config, const struct embedded_events *events, struct embedded **ret,
                   struct err *err) {
  struct embedded *e = calloc(1, sizeof *e);
  if (!e) return err_set(err, ERR_MEMORY, "no memory for the embedded Redis");
  *e = (struct embedded){.loop = loop, .events = *events, .serve_fd = -1, .lock_fd = -1, .pid_fd = -1};
  e->ends_with_us = config->ends_with_us;
  snprintf(e->program, sizeof e->program, "%s", config->program ? config->program : "redis-server");
  int code = embedded_folder_make(config->folder, e->folder, e->socket, err);
  if (!code) code = embedded_lock(e->folder, "serve.lock", &e->serve_fd, err);
  if (code == ERR_EXISTS) {
    err_set(err, ERR_EXISTS,
            "another `tocsin serve` runs on %s: an embedded Redis serves one node; for a second node name a shared server with the setting "
            "`redis`",
            config->folder);
  }
  if (!code) code = embedded_write_config(e->folder, config->maxmemory, err);
  if (code) {
    embedded_free(e);
    return code;
  }
  e->target = (struct stream_target){.socket = e->socket};
  timer_set(e, 0, first_launch);
  *ret = e;
  return 0;
}

const char *embedded_socket(const struct embedded *e) { return e->socket; }

pid_t embedded_pid(const struct embedded *e) { return e->pid; }

static void stop_at_once(void *arg) { stopped(arg); }

static void stop_hard(void *arg) {
  struct embedded *e = arg;
  pidfd_send_signal(e->pid_fd, SIGKILL, NULL, 0);
}

void embedded_stop(struct embedded *e, loop_cb *done, void *arg) {
  e->stopped_cb = done;
  e->stopped_arg = arg;
  ping_end(e);
  if (!e->pid) {
    timer_set(e, 0, stop_at_once);
    return;
  }
  enter(e, STOPPING);
  pidfd_send_signal(e->pid_fd, SIGTERM, NULL, 0);
  timer_set(e, STOP_PATIENCE, stop_hard);
}

void embedded_free(struct embedded *e) {
  if (!e) return;
  process_forget(e);
  timer_free(e->timer);
  if (e->lock_fd >= 0) close(e->lock_fd);
  if (e->serve_fd >= 0) close(e->serve_fd);
  free(e);
}
