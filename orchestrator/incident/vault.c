#include "incident/vault.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

struct queue {
  struct vault_job *first, **last;
};

struct vault {
  struct loop *loop;
  char *folder;
  pthread_t thread;
  pthread_mutex_t lock;
  pthread_cond_t work;
  struct queue todo, done; /* under the lock */
  bool started, closing;
};

static void queue_init(struct queue *q) { *q = (struct queue){NULL, &q->first}; }

static void queue_add(struct queue *q, struct vault_job *job) {
  job->next = NULL;
  *q->last = job;
  q->last = &job->next;
}

static struct vault_job *queue_take(struct queue *q) {
  struct vault_job *job = q->first;
  if (job && !(q->first = job->next)) q->last = &q->first;
  return job;
}

static void arrived(void *arg) {
  struct vault *v = arg;
  pthread_mutex_lock(&v->lock);
  struct vault_job *job = queue_take(&v->done);
  pthread_mutex_unlock(&v->lock);
  if (job) job->done(job);
}

static void *vault_thread(void *arg) {
  struct vault *v = arg;
  struct blobs *b = NULL;
  pthread_mutex_lock(&v->lock);
  while (!v->closing) {
    struct vault_job *job = queue_take(&v->todo);
    if (!job) {
      pthread_cond_wait(&v->work, &v->lock);
      continue;
    }
    pthread_mutex_unlock(&v->lock);
    job->result = b ? 0 : blobs_open(v->folder, &b, &job->err);
    if (job->result == 0) job->result = job->run(b, job);
    pthread_mutex_lock(&v->lock);
    queue_add(&v->done, job);
    loop_post(v->loop, arrived, v); /* under the lock: the loop lives until the vault is closed */
  }
  pthread_mutex_unlock(&v->lock);
  blobs_close(b);
  return NULL;
}

struct vault *vault_new(struct loop *loop, const char *folder) {
  struct vault *v = calloc(1, sizeof *v);
  if (!v || !(v->folder = strdup(folder))) abort();
  v->loop = loop;
  queue_init(&v->todo);
  queue_init(&v->done);
  pthread_mutex_init(&v->lock, NULL);
  pthread_cond_init(&v->work, NULL);
  return v;
}

static void vault_start(struct vault *v) {
  sigset_t all, old;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, &old);
  v->started = pthread_create(&v->thread, NULL, vault_thread, v) == 0;
  pthread_sigmask(SIG_SETMASK, &old, NULL);
}

void vault_do(struct vault *v, struct vault_job *job) {
  job->err = (struct err){0};
  if (!v->started) vault_start(v);
  pthread_mutex_lock(&v->lock);
  if (v->started) {
    queue_add(&v->todo, job);
    pthread_cond_signal(&v->work);
  } else {
    job->result = err_set(&job->err, ERR_MEMORY, "cannot start the thread that keeps files");
    queue_add(&v->done, job);
    loop_post(v->loop, arrived, v);
  }
  pthread_mutex_unlock(&v->lock);
}

void vault_free(struct vault *v) {
  if (!v) return;
  pthread_mutex_lock(&v->lock);
  v->closing = true;
  pthread_cond_signal(&v->work);
  pthread_mutex_unlock(&v->lock);
  if (v->started) pthread_join(v->thread, NULL);
  loop_unpost(v->loop, arrived, v);
  for (struct vault_job *job; (job = queue_take(&v->done)) || (job = queue_take(&v->todo));) job->drop(job);
  pthread_cond_destroy(&v->work);
  pthread_mutex_destroy(&v->lock);
  free(v->folder);
  free(v);
}
