/* internal.h: what the files of this room share: one exchange at a time, the targets, the folder of what was brought back. */
#ifndef TOCSIN_ANCHOR_INTERNAL_H
#define TOCSIN_ANCHOR_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "anchor/anchor.h"
#include "evidence/reader.h"
#include "transport/transport.h"

enum { ANCHOR_NAME = 512, ANCHOR_FILE = 96, EXCHANGE_MS = 60000 };

enum target_kind { TARGET_TSA, TARGET_WITNESS, TARGET_COPY };

struct target {
  enum target_kind kind;
  unsigned number; /* among its kind, from 1 */
  char name[ANCHOR_NAME];
  const json_t *settings;
  json_t *network; /* {"ca_file"}, or NULL */
  uint64_t size;   /* the newest checkpoint that it has */
  uint64_t known;  /* a witness: how much of the log it has seen */
  int64_t time;    /* of the last success */
  unsigned failures;
  char why[256];
};

struct anchor {
  char folder[2048];
  struct note_verifier key;
  json_t *settings;
  struct secrets *secrets; /* its own: another thread's may not be used */
  struct secrets *parent;  /* the process's, which the log redacts with */
  struct loop *loop;
  struct transports *transports;
  struct disk disk; /* anchors/ */
  struct target targets[ANCHOR_TARGETS];
  size_t count;
  int64_t every_ms;
  void (*news)(void *arg);
  void (*cosigned)(void *arg, uint64_t size, const char *lines, size_t len);
  void *arg;
  /* shared with other threads */
  pthread_t thread;
  pthread_mutex_t lock; /* over events, and the targets' results */
  pthread_cond_t wake;
  json_t *events;
  bool started;
  atomic_bool stop;
  struct flight *flight;
};

struct answer {
  long status;
  json_t *headers;
  struct buf bytes;
};

/* ask.c: one HTTP exchange, waited for. request is {"http": …} and consumed; body NULL: none. ERR_CANCELLED when stopping. ret is to be released when 0. */
int anchor_ask(struct anchor *a, const struct target *t, json_t *request_take, const void *body, size_t len, size_t cap, struct answer *ret,
               struct err *err);
void answer_release(struct answer *answer);

/* Each brings one target to the reader's checkpoint. *ret_event: what to tell, new; NULL: nothing happened. */
int stamp_target(struct anchor *a, struct target *t, const struct reader *log, json_t **ret_event, struct err *err);
int witness_target(struct anchor *a, struct target *t, const struct reader *log, json_t **ret_event, struct err *err);
int copy_target(struct anchor *a, struct target *t, const struct reader *log, json_t **ret_event, struct err *err);

/* Where a copy goes: whole files, put durably and read back. Paths are relative, with slashes. */
struct store {
  int (*put)(struct store *s, const char *path, const void *bytes, size_t len, struct err *err);
  int (*get)(struct store *s, const char *path, size_t cap, struct buf *out, struct err *err); /* ERR_NOT_FOUND */
};
/* bucket.c: S3, signed with SigV4. */
struct bucket {
  struct store store;
  struct anchor *anchor;
  const struct target *target;
};
void bucket_init(struct bucket *b, struct anchor *a, const struct target *t);

#endif
