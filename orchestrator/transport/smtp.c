/* smtp.c: one mail through libcurl.
 *
 * Greeting, TLS, log-in, sender and recipients can all fail without anything having happened; the gate stands where the server has said 354 and
 * the content's first byte comes next. A refusal in words is an answer; silence after the content began is a doubt. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "transport/flight.h"
#include "transport/form.h"
#include "transport/mail.h"
#include "transport/multi.h"

struct smtp {
  struct flight *flight;
  struct netrules rules;
  struct mail mail;
  struct transfer transfer;
  struct curl_slist *to;
  size_t at;      /* of the message, read by libcurl so far */
  bool begun;     /* connected and logged in: the mail's own commands come next */
  bool asked;     /* the gate */
  char last[256]; /* the server's last line */
};

static void smtp_release(struct smtp *s) {
  transfer_release(&s->transfer);
  curl_slist_free_all(s->to);
  mail_release(&s->mail);
  netrules_release(&s->rules);
  free(s);
}

static struct flight *smtp_leave(struct smtp *s) {
  struct flight *f = s->flight;
  f->state = NULL;
  smtp_release(s);
  return f;
}

static void smtp_cancel(struct flight *f) {
  smtp_release(f->state);
  f->state = NULL;
}

static int on_begin(void *arg, char *remote, char *local, int remote_port, int local_port) {
  struct smtp *s = arg;
  s->begun = true;
  return netrules_allow_text(&s->rules, remote) ? CURL_PREREQFUNC_OK : CURL_PREREQFUNC_ABORT;
}

static size_t on_content(char *out, size_t size, size_t count, void *arg) {
  struct smtp *s = arg;
  size_t n = s->mail.text.len - s->at, room = size * count;
  if (!s->asked && !flight_pass(s->flight)) return CURL_READFUNC_ABORT;
  s->asked = true;
  if (n > room) n = room;
  memcpy(out, s->mail.text.data + s->at, n);
  s->at += n;
  return n;
}

static size_t on_line(char *bytes, size_t size, size_t count, void *arg) {
  struct smtp *s = arg;
  int n = (int)(size * count < sizeof s->last ? size * count : sizeof s->last - 1);
  snprintf(s->last, sizeof s->last, "%.*s", n, bytes);
  s->last[strcspn(s->last, "\r\n")] = 0;
  return size * count;
}

static size_t no_body(char *bytes, size_t size, size_t count, void *arg) { return size * count; }

static void on_done(struct transfer *t, CURLcode code) {
  struct smtp *s = (struct smtp *)(void *)((char *)t - offsetof(struct smtp, transfer));
  char text[512];
  long status = 0;
  curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
  if (code == CURLE_OK || (s->begun && status >= 400)) {
    const char *words = strlen(s->last) > 4 ? s->last + 4 : "";
    json_t *response = json_object();
    json_object_set_new(response, "status", json_integer(status));
    json_object_set_new(response, "message", json_lossy(words, strlen(words)));
    json_object_set_new(response, "message_id", json_string(s->mail.message_id));
    flight_answer(smtp_leave(s), response, -1);
    return;
  }
  int error = transfer_error(t, code, s->mail.url, text, sizeof text);
  if (!s->begun && status >= 400) {
    error = code == CURLE_LOGIN_DENIED ? ERR_DENIED : ERR_UNAVAILABLE;
    snprintf(text, sizeof text, "%.200s refused before the mail began: %.200s", s->mail.url, s->last);
  }
  flight_fail(smtp_leave(s), error, "%s", text);
}

static void set_options(struct smtp *s) {
  CURL *e = s->transfer.easy;
  curl_easy_setopt(e, CURLOPT_URL, s->mail.url);
  curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "smtp,smtps");
  curl_easy_setopt(e, CURLOPT_USE_SSL, (long)(s->mail.starttls ? CURLUSESSL_ALL : CURLUSESSL_NONE));
  curl_easy_setopt(e, CURLOPT_FRESH_CONNECT, 1L); /* a connection of its own: libcurl has nothing to try again on */
  curl_easy_setopt(e, CURLOPT_FORBID_REUSE, 1L);
  if (s->mail.user) curl_easy_setopt(e, CURLOPT_USERNAME, s->mail.user);
  if (s->mail.user) curl_easy_setopt(e, CURLOPT_PASSWORD, s->mail.password);
  curl_easy_setopt(e, CURLOPT_MAIL_FROM, s->mail.from);
  curl_easy_setopt(e, CURLOPT_MAIL_RCPT, s->to);
  curl_easy_setopt(e, CURLOPT_UPLOAD, 1L);
  curl_easy_setopt(e, CURLOPT_INFILESIZE_LARGE, (curl_off_t)s->mail.text.len);
  curl_easy_setopt(e, CURLOPT_READFUNCTION, on_content);
  curl_easy_setopt(e, CURLOPT_READDATA, s);
  curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, no_body);
  curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_line);
  curl_easy_setopt(e, CURLOPT_HEADERDATA, s);
  curl_easy_setopt(e, CURLOPT_PREREQFUNCTION, on_begin);
  curl_easy_setopt(e, CURLOPT_PREREQDATA, s);
}

static int smtp_start(struct flight *f, struct err *err) {
  struct smtp *s = calloc(1, sizeof *s);
  size_t i;
  json_t *to;
  int r;
  if (!s) abort();
  s->flight = f;
  if ((r = netrules_init(&s->rules, f->network, err)) < 0 || (r = mail_init(&s->mail, f->form, f->idempotency_key, clock_wall(clock_system()), err)) < 0) {
    smtp_release(s);
    return r;
  }
  json_array_foreach(s->mail.to, i, to) if (!(s->to = curl_slist_append(s->to, json_string_value(to)))) abort();
  transfer_init(&s->transfer, f->t->multi, &s->rules, on_done);
  set_options(s);
  f->state = s;
  transfer_run(&s->transfer);
  return 0;
}

const struct transport transport_smtp = {"smtp", smtp_start, smtp_cancel};
