#include "wire/resolve.h"

#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

/* Counted twice: once by the loop's side, once by the thread. The last one frees. */
struct mailbox {
  atomic_int owners;
  int fd; /* eventfd: the thread writes it once, after result and list */
  int result;
  struct addrinfo *list;
  char *host;
  char port[12];
};

struct resolve {
  struct mailbox *box;
  struct watch *watch;
  resolve_cb *cb;
  void *arg;
};

static void mailbox_drop(struct mailbox *box) {
  if (atomic_fetch_sub(&box->owners, 1) != 1) return;
  if (box->list) freeaddrinfo(box->list);
  close(box->fd);
  free(box->host);
  free(box);
}

static void *work(void *arg) {
  struct mailbox *box = arg;
  struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};
  box->result = getaddrinfo(box->host, box->port, &hints, &box->list);
  uint64_t one = 1;
  while (write(box->fd, &one, sizeof one) < 0 && errno == EINTR) continue;
  mailbox_drop(box);
  return NULL;
}

static void finished(void *arg, int fd, int events) {
  struct resolve *r = arg;
  uint64_t count;
  if (read(fd, &count, sizeof count) != (ssize_t)sizeof count) return;
  watch_free(r->watch);
  r->watch = NULL;
  struct addrinfo *list = r->box->list;
  r->box->list = NULL;
  if (r->box->result == 0 && list) {
    r->cb(r->arg, list, NULL);
    return;
  }
  struct err err;
  err_set(&err, ERR_UNAVAILABLE, "cannot resolve host '%s': %s", r->box->host, gai_strerror(r->box->result));
  r->cb(r->arg, NULL, &err);
}

int resolve_start(struct loop *loop, const char *host, int port, resolve_cb *cb, void *arg, struct resolve **ret, struct err *err) {
  struct mailbox *box = calloc(1, sizeof *box);
  struct resolve *r = calloc(1, sizeof *r);
  pthread_attr_t attr;
  pthread_t thread;
  int code = ERR_MEMORY;
  if (!box || !r || !(box->host = strdup(host))) goto out;
  snprintf(box->port, sizeof box->port, "%d", port);
  atomic_init(&box->owners, 2);
  box->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (box->fd < 0) {
    code = err_errno(err, "cannot make an eventfd");
    goto out;
  }
  pthread_attr_init(&attr);
  pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
  int failed = pthread_create(&thread, &attr, work, box);
  pthread_attr_destroy(&attr);
  if (failed) {
    close(box->fd);
    code = err_set(err, ERR_UNAVAILABLE, "cannot start a thread to resolve '%s': %s", host, strerror(failed));
    goto out;
  }
  *r = (struct resolve){.box = box, .cb = cb, .arg = arg};
  r->watch = watch_fd(loop, box->fd, WATCH_READ, finished, r);
  *ret = r;
  return 0;
out:
  if (code == ERR_MEMORY) err_set(err, code, "no memory to resolve '%s'", host);
  if (box) free(box->host);
  free(box);
  free(r);
  return code;
}

void resolve_free(struct resolve *r) {
  if (!r) return;
  watch_free(r->watch);
  mailbox_drop(r->box);
  free(r);
}
