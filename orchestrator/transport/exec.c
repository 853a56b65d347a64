/* exec.c: one local program, without a shell.
 *
 * It gets its own process group, an environment of its own, pipes, and nothing else. Secrets reach it by stdin, a named descriptor or a named
 * variable, never by its arguments. The group is killed when time is up, when it says too much, and when the program has ended. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/json.h"
#include "transport/flight.h"
#include "transport/form.h"

enum { FIRST_FD = 3, LAST_FD = 9, PIPES_FROM = 64, MOST_ARGS = 256, MOST_ENV = 64, FEEDS = LAST_FD - FIRST_FD + 2, READ_BYTES = 16384 };

struct exec;

/* A pipe into the program. */
struct feed {
  struct exec *exec;
  int fd, target;
  const char *bytes; /* borrowed from the form */
  size_t len;
  struct watch *watch;
};

/* A pipe out of it. */
struct drain {
  struct exec *exec;
  int fd, target;
  struct buf bytes;
  struct watch *watch;
};

struct exec {
  struct flight *flight;
  struct feed feeds[FEEDS];
  size_t feed_count;
  struct drain out, error;
  char **argv, **env;
  pid_t pid;
  int pid_fd;
  struct watch *exit_watch;
};

static void free_list(char **list) {
  for (char **p = list; p && *p; p++) wipe_string(*p);
  free(list);
}

static void close_feed(struct feed *feed) {
  watch_free(feed->watch);
  feed->watch = NULL;
  if (feed->fd >= 0) close(feed->fd);
  feed->fd = -1;
}

static void close_drain(struct drain *drain) {
  watch_free(drain->watch);
  drain->watch = NULL;
  if (drain->fd >= 0) close(drain->fd);
  drain->fd = -1;
}

/* Kills and reaps: SIGKILL cannot be refused, so the wait is short. */
static void exec_kill(struct exec *x, int *ret_status) {
  if (x->pid <= 0) return;
  kill(-x->pid, SIGKILL);
  while (waitpid(x->pid, ret_status, 0) < 0 && errno == EINTR) {}
  x->pid = 0;
}

static void exec_release(struct exec *x) {
  int status;
  watch_free(x->exit_watch);
  exec_kill(x, &status);
  if (x->pid_fd >= 0) close(x->pid_fd);
  for (size_t i = 0; i < x->feed_count; i++) close_feed(&x->feeds[i]);
  close_drain(&x->out);
  close_drain(&x->error);
  if (x->out.bytes.size) explicit_bzero(x->out.bytes.data, x->out.bytes.len);
  buf_release(&x->out.bytes);
  buf_release(&x->error.bytes);
  free_list(x->argv);
  free_list(x->env);
  free(x);
}

static struct flight *exec_leave(struct exec *x) {
  struct flight *f = x->flight;
  f->state = NULL;
  exec_release(x);
  return f;
}

/* ---- while it runs ---------------------------------------------------------------------------------- */

static void on_feed(void *arg, int fd, int events) {
  struct feed *feed = arg;
  ssize_t n = write(fd, feed->bytes, feed->len);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n > 0) feed->bytes += n, feed->len -= (size_t)n;
  if (n < 0 || feed->len == 0) close_feed(feed); /* a program need not read what it is given */
}

/* False once the pipe has ended or is empty for now. */
static bool drain_some(struct drain *drain) {
  char chunk[READ_BYTES];
  ssize_t n = read(drain->fd, chunk, sizeof chunk);
  if (n > 0) buf_add(&drain->bytes, chunk, (size_t)n);
  else if (n == 0 || (errno != EAGAIN && errno != EINTR)) close_drain(drain);
  return n > 0 && buf_ok(&drain->bytes);
}

static bool over_cap(const struct exec *x) {
  return !buf_ok(&x->out.bytes) || !buf_ok(&x->error.bytes) || x->out.bytes.len + x->error.bytes.len > x->flight->response_cap;
}

static void on_drain(void *arg, int fd, int events) {
  struct exec *x = ((struct drain *)arg)->exec;
  drain_some(arg);
  if (!over_cap(x)) return;
  size_t cap = x->flight->response_cap;
  flight_fail(exec_leave(x), ERR_LIMIT, "it wrote more than %zu bytes and was killed", cap);
}

static void on_ended(void *arg, int fd, int events) {
  struct exec *x = arg;
  json_t *response = json_object(), *body = NULL;
  int status = 0;
  exec_kill(x, &status); /* it has ended: this reaps it, and ends whatever it left behind in its group */
  while (x->out.fd >= 0 && !over_cap(x) && drain_some(&x->out)) {}
  while (x->error.fd >= 0 && !over_cap(x) && drain_some(&x->error)) {}
  if (over_cap(x)) {
    size_t cap = x->flight->response_cap;
    json_decref(response);
    flight_fail(exec_leave(x), ERR_LIMIT, "it wrote more than %zu bytes", cap);
    return;
  }
  if (WIFEXITED(status)) json_object_set_new(response, "exit", json_integer(WEXITSTATUS(status)));
  else json_object_set_new(response, "signal", json_integer(WTERMSIG(status)));
  json_object_set_new(response, "stdout", json_lossy(x->out.bytes.data, x->out.bytes.len));
  json_object_set_new(response, "stderr", json_lossy(x->error.bytes.data, x->error.bytes.len));
  if (x->out.bytes.len && strchr("{[", x->out.bytes.data[0]) && json_parse(x->out.bytes.data, x->out.bytes.len, &body, NULL) == 0)
    json_object_set_new(response, "body", body);
  flight_answer(exec_leave(x), response, -1);
}

/* ---- the start -------------------------------------------------------------------------------------- */

/* Both ends close-on-exec and above every number that the program will use; ours does not block. */
static int make_pipe(int *ret_ours, int *ret_theirs, bool we_read) {
  int ends[2], high[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return -1;
  for (int i = 0; i < 2; i++) {
    high[i] = fcntl(ends[i], F_DUPFD_CLOEXEC, PIPES_FROM);
    close(ends[i]);
  }
  if (high[0] < 0 || high[1] < 0) {
    if (high[0] >= 0) close(high[0]);
    if (high[1] >= 0) close(high[1]);
    return -1;
  }
  *ret_ours = high[we_read ? 0 : 1];
  *ret_theirs = high[we_read ? 1 : 0];
  return fcntl(*ret_ours, F_SETFL, O_NONBLOCK);
}

static int start_child(struct exec *x, const char *cwd, struct err *err) {
  int theirs[FEEDS + 2], count = 0, r = 0;
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attr;
  sigset_t none, all;
  posix_spawn_file_actions_init(&actions);
  posix_spawnattr_init(&attr);
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  posix_spawnattr_setpgroup(&attr, 0);
  posix_spawnattr_setsigmask(&attr, &none);
  posix_spawnattr_setsigdefault(&attr, &all);
  for (int fd = FIRST_FD; fd <= LAST_FD; fd++) posix_spawn_file_actions_addclose(&actions, fd);
  for (size_t i = 0; r == 0 && i < x->feed_count; i++) {
    if ((r = make_pipe(&x->feeds[i].fd, &theirs[count], false)) < 0) break;
    posix_spawn_file_actions_adddup2(&actions, theirs[count++], x->feeds[i].target);
  }
  for (struct drain *d = &x->out; r == 0; d = &x->error) {
    if ((r = make_pipe(&d->fd, &theirs[count], true)) < 0) break;
    posix_spawn_file_actions_adddup2(&actions, theirs[count++], d->target);
    if (d == &x->error) break;
  }
  if (r < 0) r = err_errno(err, "cannot make a pipe");
  if (r == 0 && cwd) posix_spawn_file_actions_addchdir_np(&actions, cwd);
  if (r == 0) posix_spawn_file_actions_addclosefrom_np(&actions, LAST_FD + 1);
  int spawned = r == 0 ? posix_spawn(&x->pid, x->argv[0], &actions, &attr, x->argv, x->env) : 0;
  if (spawned != 0) {
    x->pid = 0;
    r = err_set(err, spawned == ENOENT ? ERR_NOT_FOUND : ERR_IO, "cannot start %.200s: %s", x->argv[0], strerror(spawned));
  }
  while (count > 0) close(theirs[--count]);
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attr);
  return r;
}

static void exec_run(void *arg) {
  struct flight *f = arg;
  struct exec *x = f->state;
  struct err err = {0};
  const char *cwd = json_str(f->form, "cwd");
  if (!flight_pass(f)) {
    flight_fail(exec_leave(x), ERR_CANCELLED, "the last check before sending said no");
    return;
  }
  if (start_child(x, cwd ? cwd : "/", &err) < 0) {
    flight_fail_unsent(exec_leave(x), err.code, "%s", err.text);
    return;
  }
  x->pid_fd = (int)syscall(SYS_pidfd_open, x->pid, 0);
  if (x->pid_fd < 0) {
    flight_fail(exec_leave(x), ERR_IO, "cannot watch the program: %s", strerror(errno));
    return;
  }
  x->exit_watch = watch_fd(f->t->loop, x->pid_fd, WATCH_READ, on_ended, x);
  for (size_t i = 0; i < x->feed_count; i++) {
    if (x->feeds[i].len) x->feeds[i].watch = watch_fd(f->t->loop, x->feeds[i].fd, WATCH_WRITE, on_feed, &x->feeds[i]);
    else close_feed(&x->feeds[i]);
  }
  x->out.watch = watch_fd(f->t->loop, x->out.fd, WATCH_READ, on_drain, &x->out);
  x->error.watch = watch_fd(f->t->loop, x->error.fd, WATCH_READ, on_drain, &x->error);
}

static int read_args(struct exec *x, const json_t *form, struct err *err) {
  const char *program;
  const json_t *args;
  size_t i;
  json_t *arg;
  int r;
  if ((r = form_string(form, "exec", "program", true, &program, err)) < 0 || (r = form_list(form, "exec", "args", &args, err)) < 0)
    return r;
  if (program[0] != '/') return err_set(err, ERR_INVALID, "exec: program must be an absolute path");
  if (json_array_size(args) > MOST_ARGS) return err_set(err, ERR_LIMIT, "exec: more than %d args", MOST_ARGS);
  x->argv = calloc(json_array_size(args) + 2, sizeof *x->argv);
  if (!x->argv || !(x->argv[0] = strdup(program))) abort();
  json_array_foreach(args, i, arg) {
    struct text text;
    if (!form_text(arg, &text) || strlen(text.bytes) != text.len)
      return err_set(err, ERR_INVALID, "exec: argument %zu is no string, or holds a NUL byte", i + 1);
    if (!(x->argv[i + 1] = strdup(text.bytes))) abort();
  }
  return 0;
}

static void put_env(struct exec *x, size_t at, const char *name, const char *value) {
  size_t size = strlen(name) + strlen(value) + 2;
  if (!(x->env[at] = malloc(size))) abort();
  snprintf(x->env[at], size, "%s=%s", name, value);
}

static int read_env(struct exec *x, const json_t *form, struct err *err) {
  const json_t *env;
  const char *name;
  json_t *value;
  size_t n = 0;
  int r = form_object(form, "exec", "env", &env, err);
  if (r < 0) return r;
  if (json_object_size(env) > MOST_ENV) return err_set(err, ERR_LIMIT, "exec: more than %d variables", MOST_ENV);
  if (!(x->env = calloc(json_object_size(env) + 3, sizeof *x->env))) abort();
  json_object_foreach((json_t *)(uintptr_t)env, name, value) {
    struct text text;
    if (!*name || strchr(name, '=') || !form_text(value, &text) || strlen(text.bytes) != text.len)
      return err_set(err, ERR_INVALID, "exec: env: %.64s cannot be set", name);
    put_env(x, n++, name, text.bytes);
  }
  if (!json_object_get(env, "PATH")) put_env(x, n++, "PATH", "/usr/local/bin:/usr/bin:/bin");
  if (!json_object_get(env, "LANG")) put_env(x, n++, "LANG", "C.UTF-8");
  return 0;
}

static void add_feed(struct exec *x, int target, const json_t *text) {
  x->feeds[x->feed_count++] =
      (struct feed){.exec = x, .fd = -1, .target = target, .bytes = json_string_value(text), .len = json_string_length(text)};
}

static int read_feeds(struct exec *x, const json_t *form, struct err *err) {
  const json_t *fds, *input = json_object_get(form, "stdin");
  const char *name;
  json_t *value;
  int r = form_object(form, "exec", "fds", &fds, err);
  if (r < 0) return r;
  if (input && !json_is_string(input)) return err_set(err, ERR_INVALID, "exec: stdin must be a string");
  add_feed(x, STDIN_FILENO, input);
  json_object_foreach((json_t *)(uintptr_t)fds, name, value) {
    if (strlen(name) != 1 || name[0] < '0' + FIRST_FD || name[0] > '0' + LAST_FD)
      return err_set(err, ERR_INVALID, "exec: fds: only \"3\" to \"9\"");
    if (!json_is_string(value)) return err_set(err, ERR_INVALID, "exec: fds: %s must be a string", name);
    add_feed(x, name[0] - '0', value);
  }
  return 0;
}

static int exec_start(struct flight *f, struct err *err) {
  static const char *const members[] = {"program", "args", "stdin", "env", "fds", "cwd", NULL};
  const char *cwd;
  int r;
  struct exec *x = calloc(1, sizeof *x);
  if (!x) abort();
  x->flight = f;
  x->pid_fd = -1;
  x->out = (struct drain){.exec = x, .fd = -1, .target = STDOUT_FILENO};
  x->error = (struct drain){.exec = x, .fd = -1, .target = STDERR_FILENO};
  buf_init(&x->out.bytes, f->response_cap + READ_BYTES);
  buf_init(&x->error.bytes, f->response_cap + READ_BYTES);
  if ((r = form_members(f->form, "exec", members, err)) < 0 || (r = form_string(f->form, "exec", "cwd", false, &cwd, err)) < 0 ||
      (r = read_args(x, f->form, err)) < 0 || (r = read_env(x, f->form, err)) < 0 || (r = read_feeds(x, f->form, err)) < 0) {
    exec_release(x);
    return r;
  }
  f->state = x;
  loop_defer(f->t->loop, exec_run, f);
  return 0;
}

static void exec_cancel(struct flight *f) {
  loop_undefer(f->t->loop, exec_run, f);
  if (f->state) exec_release(f->state);
  f->state = NULL;
}

const struct transport transport_exec = {"exec", exec_start, exec_cancel};
