/* resp.c: a list of commands to a Redis server that is not ours (RESP2, on a worker, plain or TLS).
 *
 * Small on purpose: one connection, AUTH, the gate, then command after command until one is refused. An error reply to AUTH means that nothing
 * was sent. Our own Redis is wire/'s matter. */
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/json.h"
#include "transport/form.h"
#include "transport/pool.h"

enum { MOST_COMMANDS = 64, MOST_WORDS = 256, COMMAND_CAP = 1 << 20, REPLY_DEPTH = 8, READ_BYTES = 4096 };

struct link {
  struct job *job;
  int fd;
  SSL_CTX *context;
  SSL *ssl;
  struct buf in;
  size_t at; /* read so far of in */
  size_t cap;
};

/* ---- bytes ------------------------------------------------------------------------------------------ */

static bool link_failed(struct link *l, const char *what) {
  unsigned long code = ERR_get_error();
  char why[160] = "";
  if (code) ERR_error_string_n(code, why, sizeof why);
  job_fail(l->job, ERR_UNAVAILABLE, "%s%s%s", what, *why ? ": " : "", why);
  return false;
}

/* After an SSL call returned r: true, try again. */
static bool tls_again(struct link *l, int r) {
  switch (SSL_get_error(l->ssl, r)) {
  case SSL_ERROR_WANT_READ: return job_wait(l->job, l->fd, POLLIN);
  case SSL_ERROR_WANT_WRITE: return job_wait(l->job, l->fd, POLLOUT);
  default: return link_failed(l, "the connection was lost");
  }
}

static bool link_write(struct link *l, const char *bytes, size_t len) {
  while (len > 0) {
    ssize_t n = l->ssl ? SSL_write(l->ssl, bytes, (int)len) : send(l->fd, bytes, len, MSG_NOSIGNAL);
    if (n > 0) {
      bytes += n;
      len -= (size_t)n;
    } else if (l->ssl) {
      if (!tls_again(l, (int)n)) return false;
    } else if (errno == EAGAIN || errno == EINTR) {
      if (!job_wait(l->job, l->fd, POLLOUT)) return false;
    } else {
      job_fail(l->job, ERR_UNAVAILABLE, "the connection was lost while sending: %s", strerror(errno));
      return false;
    }
  }
  return true;
}

static bool link_more(struct link *l) {
  char chunk[READ_BYTES];
  for (;;) {
    ssize_t n = l->ssl ? SSL_read(l->ssl, chunk, sizeof chunk) : recv(l->fd, chunk, sizeof chunk, 0);
    if (n > 0) {
      buf_add(&l->in, chunk, (size_t)n);
      if (!buf_ok(&l->in)) job_fail(l->job, ERR_LIMIT, "the answer is longer than %zu bytes", l->cap);
      return buf_ok(&l->in);
    }
    if (l->ssl) {
      if (!tls_again(l, (int)n)) return false;
    } else if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
      if (!job_wait(l->job, l->fd, POLLIN)) return false;
    } else {
      job_fail(l->job, ERR_UNAVAILABLE, "the connection was closed before the answer");
      return false;
    }
  }
}

/* ---- replies ---------------------------------------------------------------------------------------- */

/* One line without its CRLF; borrowed until the next read. */
static bool read_line(struct link *l, const char **ret, size_t *ret_len) {
  for (;;) {
    char *start = l->in.data + l->at, *end = memmem(start, l->in.len - l->at, "\r\n", 2);
    if (end) {
      *ret = start;
      *ret_len = (size_t)(end - start);
      l->at += *ret_len + 2;
      return true;
    }
    if (!link_more(l)) return false;
  }
}

static bool bad_reply(struct link *l) {
  job_fail(l->job, ERR_INVALID, "the answer is no Redis reply");
  return false;
}

static bool read_number(struct link *l, const char *text, size_t len, long long *ret) {
  char copy[24], *end;
  if (len == 0 || len >= sizeof copy) return bad_reply(l);
  memcpy(copy, text, len);
  copy[len] = 0;
  errno = 0;
  *ret = strtoll(copy, &end, 10);
  return *end || errno ? bad_reply(l) : true;
}

static bool read_bulk(struct link *l, long long len, json_t **ret) {
  if (len < 0) {
    *ret = json_null();
    return true;
  }
  if ((unsigned long long)len > l->cap) {
    job_fail(l->job, ERR_LIMIT, "the answer is longer than %zu bytes", l->cap);
    return false;
  }
  while (l->in.len - l->at < (size_t)len + 2)
    if (!link_more(l)) return false;
  *ret = json_lossy(l->in.data + l->at, (size_t)len);
  l->at += (size_t)len + 2;
  return true;
}

static bool read_reply(struct link *l, int depth, json_t **ret, json_t **ret_error);

static bool read_list(struct link *l, long long count, int depth, json_t **ret) {
  json_t *list = json_array(), *item, *error = NULL;
  for (long long i = 0; i < count; i++) {
    if (!read_reply(l, depth + 1, &item, &error)) {
      json_decref(list);
      return false;
    }
    json_array_append_new(list, item ? item : error);
  }
  *ret = count < 0 ? (json_decref(list), json_null()) : list;
  return true;
}

/* Either *ret or *ret_error is set. */
static bool read_reply(struct link *l, int depth, json_t **ret, json_t **ret_error) {
  const char *line;
  size_t len;
  long long n = 0;
  *ret = *ret_error = NULL;
  if (depth > REPLY_DEPTH || !read_line(l, &line, &len)) return depth > REPLY_DEPTH ? bad_reply(l) : false;
  if (len == 0) return bad_reply(l);
  char kind = line[0];
  if (kind == '+') return *ret = json_lossy(line + 1, len - 1), true;
  if (kind == '-') return *ret_error = json_lossy(line + 1, len - 1), true;
  if (!read_number(l, line + 1, len - 1, &n)) return false;
  if (kind == ':') return *ret = json_integer(n), true;
  if (kind == '$') return read_bulk(l, n, ret);
  if (kind == '*') return read_list(l, n, depth, ret);
  return bad_reply(l);
}

/* ---- commands --------------------------------------------------------------------------------------- */

static void add_word(struct buf *out, const char *bytes, size_t len) {
  buf_addf(out, "$%zu\r\n", len);
  buf_add(out, bytes, len);
  buf_adds(out, "\r\n");
}

static bool run_command(struct link *l, const json_t *words, json_t **ret, json_t **ret_error) {
  struct buf out;
  size_t i;
  json_t *word;
  buf_init(&out, COMMAND_CAP);
  buf_addf(&out, "*%zu\r\n", json_array_size(words));
  json_array_foreach(words, i, word) {
    struct text text;
    if (form_text(word, &text)) add_word(&out, text.bytes, text.len);
  }
  bool ok = buf_ok(&out);
  if (!ok) job_fail(l->job, ERR_LIMIT, "a command is longer than %d bytes", COMMAND_CAP);
  ok = ok && link_write(l, out.data, out.len);
  if (out.size) explicit_bzero(out.data, out.len);
  buf_release(&out);
  buf_consume(&l->in, l->at);
  l->at = 0;
  return ok && read_reply(l, 0, ret, ret_error);
}

/* The log-in itself is what is asked: a refusal is an answer, and the gate stands before it. */
static bool log_in(const struct link *l) { return json_bool_or(l->job->form, "log_in", false); }

static bool authenticate(struct link *l, const char *user, const char *password) {
  json_t *words, *reply, *error;
  if (!password) return true;
  words = user ? json_pack("[sss]", "AUTH", user, password) : json_pack("[ss]", "AUTH", password);
  bool ok = run_command(l, words, &reply, &error);
  form_wipe(words);
  if (!ok) return false;
  ok = !error;
  if (error && log_in(l)) {
    json_t *response = json_object();
    json_object_set_new(response, "logged_in", json_false());
    json_object_set(response, "error", error);
    l->job->response = response;
  } else if (error) {
    job_fail(l->job, ERR_DENIED, "the log-in was refused: %.200s", json_string_value(error));
  }
  json_decref(reply);
  json_decref(error);
  return ok;
}

static void run_commands(struct link *l, const json_t *commands) {
  json_t *replies = json_array(), *response = json_object(), *words, *reply, *error = NULL;
  size_t i;
  json_object_set_new(response, "replies", replies);
  if (log_in(l)) json_object_set_new(response, "logged_in", json_true());
  json_array_foreach(commands, i, words) {
    if (!run_command(l, words, &reply, &error)) {
      json_decref(response);
      return;
    }
    if (error) break;
    json_array_append_new(replies, reply);
  }
  if (error) {
    json_object_set_new(response, "error", error);
    json_object_set_new(response, "failed", json_integer((json_int_t)i + 1));
  }
  l->job->response = response;
}

/* ---- connection ------------------------------------------------------------------------------------- */

static bool start_tls(struct link *l, const char *host) {
  const char *ca = l->job->rules.ca_file;
  unsigned char ip[16];
  bool is_ip = inet_pton(AF_INET, host, ip) == 1 || inet_pton(AF_INET6, host, ip) == 1;
  int r;
  ERR_clear_error();
  l->context = SSL_CTX_new(TLS_client_method());
  if (!l->context || (ca ? SSL_CTX_load_verify_locations(l->context, ca, NULL) : SSL_CTX_set_default_verify_paths(l->context)) != 1)
    return link_failed(l, "the CA certificates cannot be read");
  SSL_CTX_set_min_proto_version(l->context, TLS1_2_VERSION);
  SSL_CTX_set_verify(l->context, SSL_VERIFY_PEER, NULL);
  SSL_CTX_set_mode(l->context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  l->ssl = SSL_new(l->context);
  if (!l->ssl || SSL_set_fd(l->ssl, l->fd) != 1) return link_failed(l, "TLS cannot be started");
  if (is_ip ? X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(l->ssl), host) != 1
            : SSL_set1_host(l->ssl, host) != 1 || SSL_set_tlsext_host_name(l->ssl, host) != 1)
    return link_failed(l, "TLS cannot be started");
  while ((r = SSL_connect(l->ssl)) != 1) {
    long verified = SSL_get_verify_result(l->ssl);
    if (verified != X509_V_OK) {
      job_fail(l->job, ERR_DENIED, "the certificate of %.200s is not to be believed: %s (set network.ca_file to its CA)", host,
               X509_verify_cert_error_string(verified));
      return false;
    }
    if (!tls_again(l, r)) return false;
  }
  return true;
}

static void resp_work(struct job *job) {
  const json_t *form = job->form;
  const char *host = json_str(form, "host");
  struct link l = {.job = job, .cap = job->cap};
  l.fd = job_connect(job, host, (int)json_int_or(form, "port", 6379));
  if (l.fd < 0) return;
  job_watch(job, l.fd);
  buf_init(&l.in, job->cap + READ_BYTES);
  bool asks_log_in = log_in(&l), ok = !json_bool_or(form, "tls", true) || start_tls(&l, host);
  ok = ok && (!asks_log_in || job_pass(job)) && authenticate(&l, json_str(form, "user"), json_str(form, "password"));
  if (ok && (asks_log_in || job_pass(job))) run_commands(&l, json_object_get(form, "commands"));
  job_watch(job, -1);
  SSL_free(l.ssl);
  SSL_CTX_free(l.context);
  close(l.fd);
  buf_release(&l.in);
}

static int check_commands(const json_t *commands, bool log_in_only, struct err *err) {
  size_t i, k, count = json_array_size(commands);
  json_t *words, *word;
  if (count < (log_in_only ? 0 : 1) || count > MOST_COMMANDS)
    return err_set(err, ERR_INVALID, "redis: commands must be a list of 1 to %d lists", MOST_COMMANDS);
  json_array_foreach(commands, i, words) {
    size_t n = json_array_size(words);
    if (n < 1 || n > MOST_WORDS) return err_set(err, ERR_INVALID, "redis: command %zu must be a list of 1 to %d words", i + 1, MOST_WORDS);
    json_array_foreach(words, k, word) {
      struct text text;
      if (!form_text(word, &text)) return err_set(err, ERR_INVALID, "redis: word %zu of command %zu is no string", k + 1, i + 1);
    }
  }
  return 0;
}

static int resp_start(struct flight *f, struct err *err) {
  static const char *const members[] = {"host", "port", "tls", "user", "password", "log_in", "commands", NULL};
  const char *host, *user, *password;
  int64_t port;
  bool tls, tests;
  int r;
  if ((r = form_members(f->form, "redis", members, err)) < 0 || (r = form_string(f->form, "redis", "host", true, &host, err)) < 0 ||
      (r = form_integer(f->form, "redis", "port", 6379, 1, 65535, &port, err)) < 0 ||
      (r = form_bool(f->form, "redis", "tls", true, &tls, err)) < 0 || (r = form_string(f->form, "redis", "user", false, &user, err)) < 0 ||
      (r = form_string(f->form, "redis", "password", false, &password, err)) < 0 ||
      (r = form_bool(f->form, "redis", "log_in", false, &tests, err)) < 0 ||
      (r = check_commands(json_object_get(f->form, "commands"), tests, err)) < 0)
    return r;
  if (tests && !password) return err_set(err, ERR_INVALID, "redis: log_in needs a password to try");
  if (user && !password) return err_set(err, ERR_INVALID, "redis: user needs password");
  return job_start(f, resp_work, NULL, NULL, NULL, err);
}

const struct transport transport_redis = {"redis", resp_start, job_cancel};
