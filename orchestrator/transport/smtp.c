/* smtp.c: one mail through libcurl.
 *
 * On a worker, because libcurl 7.88 waits in place for the answer to the content: a server that stalls there would stop the loop.
 * Greeting, TLS, log-in, sender and recipients can all fail without anything having happened; the gate stands where the server has said 354 and
 * the content's first byte comes next. A refusal in words is an answer; silence after the content began is a doubt. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "transport/form.h"
#include "transport/mail.h"
#include "transport/multi.h"
#include "transport/pool.h"

struct smtp {
  struct job *job;
  struct mail mail;
  struct transfer transfer;
  struct curl_slist *to;
  size_t at;      /* of the message, read by libcurl so far */
  bool begun;     /* connected and logged in: the mail's own commands come next */
  bool asked;     /* the gate */
  char last[256]; /* the server's last line */
};

static void smtp_release(void *arg) {
  struct smtp *s = arg;
  curl_slist_free_all(s->to);
  mail_release(&s->mail);
  free(s);
}

/* As multi.c's, and a cancel must be able to shut it. */
static curl_socket_t on_open(void *arg, curlsocktype purpose, struct curl_sockaddr *address) {
  struct smtp *s = arg;
  if (!netrules_allow(&s->job->rules, &address->addr)) {
    s->transfer.address_refused = true;
    return CURL_SOCKET_BAD;
  }
  int fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
  job_watch(s->job, fd);
  return fd;
}

static int on_close(void *arg, curl_socket_t fd) {
  job_watch(((struct smtp *)arg)->job, -1);
  return close(fd);
}

static int on_begin(void *arg, char *remote, char *local, int remote_port, int local_port) {
  struct smtp *s = arg;
  s->begun = true;
  return netrules_allow_text(&s->job->rules, remote) ? CURL_PREREQFUNC_OK : CURL_PREREQFUNC_ABORT;
}

static size_t on_content(char *out, size_t size, size_t count, void *arg) {
  struct smtp *s = arg;
  size_t n = s->mail.text.len - s->at, room = size * count;
  if (!s->asked && !job_pass(s->job)) return CURL_READFUNC_ABORT;
  s->asked = true;
  if (n > room) n = room;
  memcpy(out, s->mail.text.data + s->at, n);
  s->at += n;
  return n;
}

static size_t on_line(char *bytes, size_t size, size_t count, void *arg) {
  struct smtp *s = arg;
  int n = (int)(size * count < sizeof s->last ? size * count : sizeof s->last - 1);
  if (n > 3 && strncmp(bytes, "221", 3) == 0) return size * count; /* the answer to QUIT says nothing about the mail */
  snprintf(s->last, sizeof s->last, "%.*s", n, bytes);
  s->last[strcspn(s->last, "\r\n")] = 0;
  return size * count;
}

static size_t no_body(char *bytes, size_t size, size_t count, void *arg) { return size * count; }

static json_t *make_response(const struct smtp *s, long status) {
  const char *words = strlen(s->last) > 4 ? s->last + 4 : "";
  json_t *response = json_object();
  json_object_set_new(response, "status", json_integer(status));
  json_object_set_new(response, "message", json_lossy(words, strlen(words)));
  json_object_set_new(response, "message_id", json_string(s->mail.message_id));
  return response;
}

static void conclude(struct smtp *s) {
  char text[512];
  CURLcode code = s->transfer.code;
  long status = s->transfer.status;
  if (code == CURLE_OK || (s->begun && status >= 400)) {
    s->job->response = make_response(s, status);
  } else if (!s->begun && status >= 400) {
    job_fail(s->job, code == CURLE_LOGIN_DENIED ? ERR_DENIED : ERR_UNAVAILABLE, "%.200s refused before the mail began: %.200s", s->mail.url,
             s->last);
  } else {
    int error = transfer_error(&s->transfer, s->mail.url, text, sizeof text);
    job_fail(s->job, error, "%s", text);
  }
}

static void set_options(struct smtp *s, CURL *e) {
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
  curl_easy_setopt(e, CURLOPT_OPENSOCKETFUNCTION, on_open);
  curl_easy_setopt(e, CURLOPT_OPENSOCKETDATA, s);
  curl_easy_setopt(e, CURLOPT_CLOSESOCKETFUNCTION, on_close);
  curl_easy_setopt(e, CURLOPT_CLOSESOCKETDATA, s);
  curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, (long)job_left_ms(s->job) + 1);
  curl_easy_setopt(e, CURLOPT_PREREQFUNCTION, on_begin);
  curl_easy_setopt(e, CURLOPT_PREREQDATA, s);
}

static void smtp_work(struct job *job) {
  struct smtp *s = job->context;
  s->job = job;
  set_options(s, transfer_alone(&s->transfer, &job->rules));
  transfer_perform(&s->transfer);
  conclude(s);
  transfer_release(&s->transfer);
}

static int smtp_start(struct flight *f, struct err *err) {
  struct smtp *s = calloc(1, sizeof *s);
  size_t i;
  json_t *to;
  if (!s) abort();
  int r = mail_init(&s->mail, f->form, f->idempotency_key, clock_wall(clock_system()), err);
  if (r < 0) {
    smtp_release(s);
    return r;
  }
  json_array_foreach(s->mail.to, i, to) if (!(s->to = curl_slist_append(s->to, json_string_value(to)))) abort();
  return job_start(f, smtp_work, NULL, s, smtp_release, err);
}

const struct transport transport_smtp = {"smtp", smtp_start, job_cancel};
