/* mail.h: the `smtp` form to a message of RFC 5322. Pure but for the time, which it is given. Only smtp.c includes it. */
#ifndef TOCSIN_TRANSPORT_MAIL_H
#define TOCSIN_TRANSPORT_MAIL_H

#include <jansson.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

enum { MAIL_CAP = 4 << 20, MOST_RECIPIENTS = 100, SUBJECT_CAP = 500 };

struct mail {
  const char *url, *user, *password, *from; /* borrowed from the form */
  const json_t *to;
  bool starttls;
  char message_id[160];
  struct buf text; /* the whole message, CRLF lines */
};

/* Refuses line breaks wherever they would make a header. key (may be NULL) makes the Message-ID. */
int mail_init(struct mail *m, const json_t *form, const char *key, int64_t now_us, struct err *err);
void mail_release(struct mail *m);

#endif
