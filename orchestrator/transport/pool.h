/* pool.h: a few threads for libraries that can only wait: libldap, libcurl's SMTP, a name look-up, the RESP client.
 *
 * A job belongs to the pool from its start to its end; its flight may leave it earlier (job_cancel), and then nothing it finds matters any
 * more, nothing of it leaves any more unless it has left, and its socket is shut so that the thread comes free. Jobs are few: the action
 * layer limits them. Only transport/ includes it. */
#ifndef TOCSIN_TRANSPORT_POOL_H
#define TOCSIN_TRANSPORT_POOL_H

#include "transport/address.h"
#include "transport/flight.h"

enum { POOL_THREADS = 16, POOL_QUEUE = 4096 };

struct job;
typedef void job_run(struct job *job);                         /* on a worker */
typedef void job_done(struct flight *flight, struct job *job); /* on the loop, unless the flight has left */

struct job {
  struct pool *pool;
  struct job *next;
  struct flight *flight; /* NULL: it has left. Loop thread only */
  struct passage *passage;
  job_run *run;
  job_done *done;
  json_t *form;  /* taken from the flight */
  void *context; /* run's own, made on the loop */
  void (*release)(void *context);
  struct netrules rules;
  int64_t deadline_us;
  size_t cap;
  atomic_bool cancelled;
  pthread_mutex_t lock; /* over fd */
  int fd;
  /* what run found: a response, or an error */
  json_t *response;
  struct err err;
  bool unsent; /* an error that proves that nothing happened */
};

struct pool *pool_new(struct loop *loop);
void pool_free(struct pool *pool); /* all flights have left before */

/* Takes f->form, and context with its release (may be NULL), also on failure. done NULL: the response or the error ends the flight. */
int job_start(struct flight *f, job_run *run, job_done *done, void *context, void (*release)(void *context), struct err *err);
void job_cancel(struct flight *f);

/* For run: */
int job_left_ms(const struct job *job); /* 0: time is up, or cancelled */
/* The socket to shut on cancel; -1 before closing it. */
void job_watch(struct job *job, int fd);
bool job_pass(struct job *job); /* the gate; false: stop, whatever is set as error */
void job_fail(struct job *job, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* A TCP connection to host, with rules and deadline kept; -1 and the error set. Non-blocking, close-on-exec. */
int job_connect(struct job *job, const char *host, int port);
/* Waits until fd is ready for events (poll's); false: time is up or cancelled, the error set. */
bool job_wait(struct job *job, int fd, short events);

#endif
