/* message.h: one message from the queue on its way, and what it asks of Redis together with others; inside intake/ only. */
#ifndef TOCSIN_INTAKE_MESSAGE_H
#define TOCSIN_INTAKE_MESSAGE_H

#include "intake/internal.h"

enum { INCIDENTS_MOST = 64 };

struct wanted {
  char *playbook; /* a copy: a reload may come before the message's end; NULL: none */
  char *group;    /* "": a group of its own */
  int64_t window_ms;
};

/* A playbook in shadow opens no incident: it looks on in the one that the alert goes to without it. */
struct watcher {
  char *playbook;
  size_t host; /* of wanted */
};

struct message {
  struct intake *in;
  char id[48];           /* of the stream entry */
  char name[SUSPECT_ID]; /* the same among all streams: what is noted while it is handled */
  json_t *text;          /* the document's very bytes, as a string's, whether they are UTF-8 or not: its incident's entry shares them */
  size_t len;            /* of them */
  char *source;          /* that was named, or NULL */
  struct normalised n;
  char *alert_id;
  int64_t received;
  struct wanted *wanted;
  struct watcher *watchers;
  size_t wanted_count, watcher_count, attaching;
  struct timer *retry;
  const char *outcome;
  char reason[512];
  bool apart;  /* a call with others in it was refused: it makes its own */
  bool guilty; /* it ended the process: once it lies among the dead letters, that is forgotten */
};

void message_free(struct message *m);

/* together.c: the same question of several messages goes to Redis in one call, at the end of the turn or sooner (together_send); each is told by itself. */
void together_route(struct message *m); /* which incidents are its? */
void together_end(struct message *m);   /* out of the queue, counted and remembered: an outcome with nothing beside it */
/* What they answer. err: it was not done, or nobody knows; asking again is harmless. */
void message_routed(struct message *m, const struct redis_value *answer, const struct err *err);
void message_ended(struct message *m, const struct err *err);

#endif
