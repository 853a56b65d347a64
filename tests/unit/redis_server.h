/* redis_server.h: a private redis-server for one test program, on a Unix socket in a folder of its own, ended by its pid. */
#ifndef TOCSIN_TEST_REDIS_SERVER_H
#define TOCSIN_TEST_REDIS_SERVER_H

#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "wire/loop.h"
#include "wire/redis.h"

struct server {
  char folder[64], socket[96], config[96];
  pid_t pid;
};

static inline int64_t test_now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Turns the loop until *done or the deadline (the loop itself does not block here: nothing else wakes it). */
static inline bool test_until(struct loop *loop, const volatile bool *done, int64_t ms) {
  for (int64_t end = test_now_ms() + ms; !*done && test_now_ms() < end;) {
    loop_turn(loop);
    if (!*done) nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL); /* not to eat a core between two looks */
  }
  return *done;
}

static inline void server_spawn(struct server *s) {
  s->pid = fork();
  if (s->pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    execlp("redis-server", "redis-server", s->config, (char *)NULL);
    _exit(127);
  }
}

/* more: further lines of its settings. */
static inline void server_start(struct server *s, const char *more) {
  snprintf(s->folder, sizeof s->folder, "/tmp/tocsin-test-XXXXXX");
  if (!mkdtemp(s->folder)) abort();
  snprintf(s->socket, sizeof s->socket, "%s/redis.sock", s->folder);
  snprintf(s->config, sizeof s->config, "%s/redis.conf", s->folder);
  FILE *f = fopen(s->config, "w");
  if (!f) abort();
  fprintf(f, "unixsocket %s\ndir %s\nport 0\nsave \"\"\nappendonly yes\nappendfsync always\nlogfile %s/log\n%s\n", s->socket, s->folder,
          s->folder, more ? more : "");
  fclose(f);
  server_spawn(s);
}

static inline void server_end(struct server *s, int signo) {
  if (s->pid <= 0) return;
  kill(s->pid, signo);
  waitpid(s->pid, NULL, 0);
  s->pid = 0;
}

static inline int remove_one(const char *path, const struct stat *st, int type, struct FTW *at) { return remove(path); }

static inline void folder_remove(const char *path) { nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS); }

static inline void server_stop(struct server *s) {
  server_end(s, SIGKILL);
  folder_remove(s->folder);
}

/* A reply copied out as text: "[new INC-000001 1]", "OK", "7", "nil", or "!conflict FENCE …" for an error. */
struct answer {
  volatile bool done;
  unsigned calls;
  int code;
  char text[4096];
};

static inline void answer_add(struct answer *a, const struct redis_value *v) {
  size_t at = strlen(a->text), room = sizeof a->text - at;
  switch (redis_type(v)) {
  case REDIS_NIL: snprintf(a->text + at, room, "nil"); return;
  case REDIS_INTEGER: snprintf(a->text + at, room, "%lld", (long long)redis_integer(v)); return;
  case REDIS_ARRAY: break;
  default: snprintf(a->text + at, room, "%s", redis_string(v, NULL)); return;
  }
  snprintf(a->text + at, room, "[");
  for (size_t i = 0; i < redis_count(v); i++) {
    if (i) strncat(a->text, " ", sizeof a->text - strlen(a->text) - 1);
    answer_add(a, redis_item(v, i));
  }
  strncat(a->text, "]", sizeof a->text - strlen(a->text) - 1);
}

static inline void answer_cb(void *arg, const struct redis_value *reply, const struct err *err) {
  struct answer *a = arg;
  a->calls++;
  a->done = true;
  a->code = err ? err->code : 0;
  a->text[0] = 0;
  if (err) snprintf(a->text, sizeof a->text, "!%s %s", err_name(err->code), err->text);
  else answer_add(a, reply);
}

/* For debugging: what the link says of itself. */
static inline void link_says(void *arg, bool up, const struct err *err) {
  if (err) fprintf(stderr, "# link down: %s\n", err->text);
}

static inline void link_wait_up(struct loop *loop, struct redis *link) {
  for (int64_t end = test_now_ms() + 10000; !redis_up(link) && test_now_ms() < end;) {
    loop_turn(loop);
    nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL);
  }
  if (!redis_up(link)) {
    fprintf(stderr, "the link did not come up\n");
    abort();
  }
}

/* Splits the words at single spaces ('' is an empty word), sends, waits, gives the reply as text (static). */
static inline const char *ask(struct loop *loop, struct redis *link, const char *format, ...) {
  static struct answer a;
  static char line[8192];
  const char *argv[128];
  size_t argc = 0;
  va_list args;
  va_start(args, format);
  vsnprintf(line, sizeof line, format, args);
  va_end(args);
  char *rest = line;
  for (char *word; argc < 128 && (word = strsep(&rest, " "));) argv[argc++] = strcmp(word, "''") == 0 ? "" : word;
  a = (struct answer){0};
  struct err err;
  if (redis_command(link, 0, answer_cb, &a, argc, argv, NULL, &err)) return err_name(err.code);
  return test_until(loop, &a.done, 10000) ? a.text : "no answer";
}

#endif
