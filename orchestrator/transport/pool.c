#include "transport/pool.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "transport/form.h"

enum { SLICE_MS = 200, LAST_WAIT_S = 1, STACK_BYTES = 512 * 1024 };

struct pool {
  struct loop *loop;
  pthread_mutex_t lock;
  pthread_cond_t work, gone;
  struct job *first, *last;
  size_t queued;
  unsigned threads, idle;
  unsigned refs; /* the owner, each thread, each job posted to the loop */
  bool closed;
};

static void pool_unref(struct pool *pool) {
  pthread_mutex_lock(&pool->lock);
  bool last = --pool->refs == 0;
  pthread_mutex_unlock(&pool->lock);
  if (!last) return;
  pthread_cond_destroy(&pool->work);
  pthread_cond_destroy(&pool->gone);
  pthread_mutex_destroy(&pool->lock);
  free(pool);
}

struct pool *pool_new(struct loop *loop) {
  struct pool *pool = calloc(1, sizeof *pool);
  if (!pool) abort();
  pool->loop = loop;
  pool->refs = 1;
  pthread_mutex_init(&pool->lock, NULL);
  pthread_cond_init(&pool->work, NULL);
  pthread_cond_init(&pool->gone, NULL);
  return pool;
}

static void job_free(struct job *job) {
  if (job->release) job->release(job->context);
  form_wipe(job->form);
  json_decref(job->response);
  netrules_release(&job->rules);
  passage_unref(job->passage);
  pthread_mutex_destroy(&job->lock);
  free(job);
}

static void job_end(struct flight *f, struct job *job) {
  json_t *response = job->response;
  job->response = NULL;
  if (response) flight_answer(f, response, -1);
  else if (job->unsent) flight_fail_unsent(f, job->err.code, "%s", job->err.text);
  else flight_fail(f, job->err.code, "%s", job->err.text);
}

/* In the loop. */
static void job_arrived(void *arg) {
  struct job *job = arg;
  struct pool *pool = job->pool;
  struct flight *f = job->flight;
  if (f) {
    f->state = NULL;
    if (job->done) job->done(f, job);
    else job_end(f, job);
  }
  job_free(job);
  pool_unref(pool);
}

static struct job *pool_take(struct pool *pool) {
  while (!pool->first && !pool->closed) {
    pool->idle++;
    pthread_cond_wait(&pool->work, &pool->lock);
    pool->idle--;
  }
  struct job *job = pool->closed ? NULL : pool->first;
  if (!job) return NULL;
  pool->first = job->next;
  if (!pool->first) pool->last = NULL;
  pool->queued--;
  return job;
}

static void pool_post(struct pool *pool, struct job *job) {
  if (pool->closed) {
    job_free(job);
    return;
  }
  pool->refs++;
  loop_post(pool->loop, job_arrived, job); /* under the lock: the loop lives until the pool is closed */
}

static void *worker(void *arg) {
  struct pool *pool = arg;
  struct job *job;
  pthread_mutex_lock(&pool->lock);
  while ((job = pool_take(pool))) {
    pthread_mutex_unlock(&pool->lock);
    if (job_left_ms(job) > 0) job->run(job);
    else job_fail(job, ERR_TIMEOUT, "time ran out before its turn came");
    pthread_mutex_lock(&pool->lock);
    pool_post(pool, job);
  }
  pool->threads--;
  pthread_cond_broadcast(&pool->gone);
  pthread_mutex_unlock(&pool->lock);
  pool_unref(pool);
  return NULL;
}

static int pool_grow(struct pool *pool, struct err *err) {
  pthread_attr_t attr;
  pthread_t thread;
  sigset_t all, old;
  sigfillset(&all); /* signals are the loop's */
  pthread_sigmask(SIG_BLOCK, &all, &old);
  pthread_attr_init(&attr);
  pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
  pthread_attr_setstacksize(&attr, STACK_BYTES);
  int r = pthread_create(&thread, &attr, worker, pool);
  pthread_attr_destroy(&attr);
  pthread_sigmask(SIG_SETMASK, &old, NULL);
  if (r != 0) return err_set(err, ERR_LIMIT, "cannot start a thread: %s", strerror(r));
  pool->threads++;
  pool->refs++;
  return 0;
}

static int pool_add(struct pool *pool, struct job *job, struct err *err) {
  int r = 0;
  pthread_mutex_lock(&pool->lock);
  if (pool->queued >= POOL_QUEUE) r = err_set(err, ERR_LIMIT, "more than %d exchanges wait for a thread", POOL_QUEUE);
  else if (pool->queued >= pool->idle && pool->threads < POOL_THREADS) r = pool_grow(pool, err);
  if (r < 0 && pool->threads > 0 && pool->queued < POOL_QUEUE) r = 0; /* the threads there are will do it */
  if (r == 0) {
    if (pool->last) pool->last->next = job;
    else pool->first = job;
    pool->last = job;
    pool->queued++;
    pthread_cond_signal(&pool->work);
  }
  pthread_mutex_unlock(&pool->lock);
  return r;
}

void pool_free(struct pool *pool) {
  struct timespec until;
  if (!pool) return;
  pthread_mutex_lock(&pool->lock);
  pool->closed = true;
  for (struct job *job = pool->first, *next; job; job = next) {
    next = job->next;
    job_free(job);
  }
  pool->first = pool->last = NULL;
  pthread_cond_broadcast(&pool->work);
  clock_gettime(CLOCK_REALTIME, &until);
  until.tv_sec += LAST_WAIT_S;
  /* A thread in the middle of a name look-up cannot be woken; it ends by itself and finds the pool closed. */
  while (pool->threads > 0 && pthread_cond_timedwait(&pool->gone, &pool->lock, &until) == 0) {}
  pthread_mutex_unlock(&pool->lock);
  pool_unref(pool);
}

int job_start(struct flight *f, job_run *run, job_done *done, void *context, void (*release)(void *context), struct err *err) {
  struct job *job = calloc(1, sizeof *job);
  if (!job) abort();
  int r = netrules_init(&job->rules, f->network, err);
  if (r < 0) {
    if (release) release(context);
    free(job);
    return r;
  }
  job->context = context;
  job->release = release;
  pthread_mutex_init(&job->lock, NULL);
  job->pool = f->t->pool;
  job->flight = f;
  job->passage = passage_ref(f->passage);
  job->run = run;
  job->done = done;
  job->deadline_us = f->started_us + f->timeout_ms * 1000;
  job->cap = f->response_cap;
  job->fd = -1;
  job->form = f->form;
  f->form = NULL;
  if ((r = pool_add(job->pool, job, err)) < 0) job_free(job);
  else f->state = job;
  return r;
}

void job_cancel(struct flight *f) {
  struct job *job = f->state;
  if (!job) return;
  job->flight = NULL;
  f->state = NULL;
  atomic_store(&job->cancelled, true);
  pthread_mutex_lock(&job->lock);
  if (job->fd >= 0) shutdown(job->fd, SHUT_RDWR);
  pthread_mutex_unlock(&job->lock);
}

int job_left_ms(const struct job *job) {
  int64_t left = (job->deadline_us - clock_boot(clock_system())) / 1000;
  if (atomic_load(&job->cancelled) || left <= 0) return 0;
  return left > INT32_MAX ? INT32_MAX : (int)left;
}

void job_watch(struct job *job, int fd) {
  pthread_mutex_lock(&job->lock);
  job->fd = fd;
  if (fd >= 0 && atomic_load(&job->cancelled)) shutdown(fd, SHUT_RDWR);
  pthread_mutex_unlock(&job->lock);
}

bool job_pass(struct job *job) {
  if (passage_pass(job->passage)) return true;
  job_fail(job, ERR_CANCELLED, "the last check before sending said no");
  return false;
}

void job_fail(struct job *job, int code, const char *format, ...) {
  va_list args;
  if (job->err.code) return; /* the first reason is the reason */
  job->err.code = code;
  va_start(args, format);
  vsnprintf(job->err.text, sizeof job->err.text, format, args);
  va_end(args);
}

bool job_wait(struct job *job, int fd, short events) {
  for (;;) {
    int left = job_left_ms(job);
    struct pollfd p = {.fd = fd, .events = events};
    if (left <= 0) {
      job_fail(job, ERR_TIMEOUT, "no answer in time");
      return false;
    }
    if (poll(&p, 1, left < SLICE_MS ? left : SLICE_MS) > 0) return true;
  }
}

static int connect_one(struct job *job, const struct addrinfo *at) {
  char text[ADDRESS_TEXT];
  int error = 0;
  socklen_t size = sizeof error;
  address_text(at->ai_addr, text);
  if (!netrules_allow(&job->rules, at->ai_addr)) {
    job->err = (struct err){0};
    job_fail(job, ERR_DENIED, "the address %s may not be connected (link-local, metadata or multicast; see network.allow)", text);
    return -1;
  }
  int fd = socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return -1;
  if (connect(fd, at->ai_addr, at->ai_addrlen) == 0) return fd;
  if (errno != EINPROGRESS) error = errno;
  else if (!job_wait(job, fd, POLLOUT)) goto fail;
  else if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0) error = errno;
  if (error == 0) return fd;
  job->err = (struct err){0};
  job_fail(job, ERR_UNAVAILABLE, "cannot connect to %s: %s", text, strerror(error));
fail:
  close(fd);
  return -1;
}

int job_connect(struct job *job, const char *host, int port) {
  struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG}, *all = NULL;
  char service[8];
  int fd = -1;
  snprintf(service, sizeof service, "%d", port);
  int r = getaddrinfo(host, service, &hints, &all);
  if (r != 0) {
    job_fail(job, ERR_UNAVAILABLE, "the name %.128s cannot be resolved: %s", host, gai_strerror(r));
    return -1;
  }
  for (struct addrinfo *at = all; at && fd < 0 && job_left_ms(job) > 0; at = at->ai_next) fd = connect_one(job, at);
  if (fd < 0) job_fail(job, ERR_TIMEOUT, "no connection to %.128s in time", host);
  else job->err = (struct err){0};
  freeaddrinfo(all);
  return fd;
}
