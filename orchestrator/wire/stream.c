#include "wire/stream.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "wire/resolve.h"

struct tls {
  SSL_CTX *context;
};

enum stream_state { STARTING, CONNECTING, GREETING, OPEN, OVER };

struct stream {
  struct loop *loop;
  struct stream_target target;
  struct stream_events events;
  enum stream_state state;
  struct resolve *resolve;
  struct addrinfo *addresses, *next; /* next: to be tried when the present one fails */
  int fd;
  SSL *ssl;
  struct watch *reads, *writes;
  bool drained; /* the last plain read was short: nothing more until the socket is readable again */
  struct err last;
};

/* --- TLS settings ----------------------------------------------------------------------------------- */

static const char *ssl_reason(void) {
  unsigned long code = ERR_peek_last_error();
  const char *reason = code ? ERR_reason_error_string(code) : NULL;
  return reason ? reason : "unknown TLS error";
}

static int key_is_private(const char *path, struct err *err) {
  struct stat st;
  if (stat(path, &st) != 0) return err_errno(err, "cannot read the TLS key %s", path);
  if (st.st_mode & (S_IROTH | S_IWOTH)) {
    return err_set(err, ERR_DENIED, "the TLS key %s can be read by everybody: chmod 600 it", path);
  }
  return 0;
}

static int tls_fill(SSL_CTX *context, const char *ca, const char *cert, const char *key, struct err *err) {
  SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
  SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_AUTO_RETRY);
  int trusted = ca ? SSL_CTX_load_verify_locations(context, ca, NULL) : SSL_CTX_set_default_verify_paths(context);
  if (trusted != 1) return err_set(err, ERR_INVALID, "cannot load the CA certificates %s: %s", ca ? ca : "of the system", ssl_reason());
  if (!cert) return 0;
  if (!key) key = cert;
  int code = key_is_private(key, err);
  if (code) return code;
  if (SSL_CTX_use_certificate_chain_file(context, cert) != 1) {
    return err_set(err, ERR_INVALID, "cannot load the client certificate %s: %s", cert, ssl_reason());
  }
  if (SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) != 1) {
    return err_set(err, ERR_INVALID, "cannot load the client key %s: %s", key, ssl_reason());
  }
  return 0;
}

int tls_new(const char *ca, const char *cert, const char *key, struct tls **ret, struct err *err) {
  struct tls *tls = calloc(1, sizeof *tls);
  if (!tls || !(tls->context = SSL_CTX_new(TLS_client_method()))) {
    free(tls);
    return err_set(err, ERR_MEMORY, "no memory for TLS");
  }
  ERR_clear_error();
  int code = tls_fill(tls->context, ca, cert, key, err);
  if (code) tls_free(tls);
  else *ret = tls;
  return code;
}

void tls_free(struct tls *tls) {
  if (!tls) return;
  SSL_CTX_free(tls->context);
  free(tls);
}

/* --- opening ---------------------------------------------------------------------------------------- */

static void try_next(struct stream *s);
static void socket_readable(void *arg, int fd, int events);
static void socket_writable(void *arg, int fd, int events);

static void socket_drop(struct stream *s) {
  watch_free(s->reads);
  watch_free(s->writes);
  s->reads = s->writes = NULL;
  SSL_free(s->ssl);
  s->ssl = NULL;
  if (s->fd >= 0) close(s->fd);
  s->fd = -1;
}

/* Ends the stream and tells the owner, who may close it in the callback: touch nothing afterwards. */
static void fail(struct stream *s, const struct err *err) {
  struct err copy = *err;
  s->state = OVER;
  socket_drop(s);
  s->events.failed(s->events.arg, &copy);
}

static void want_write(struct stream *s, bool wanted) {
  if (wanted == (s->writes != NULL)) return;
  if (wanted) {
    s->writes = watch_fd(s->loop, s->fd, WATCH_WRITE, socket_writable, s);
    return;
  }
  watch_free(s->writes);
  s->writes = NULL;
}

static void opened(struct stream *s) {
  s->state = OPEN;
  want_write(s, false);
  s->events.opened(s->events.arg);
}

static int ssl_failed(struct stream *s, struct err *err) {
  long verify = s->ssl ? SSL_get_verify_result(s->ssl) : X509_V_OK;
  if (verify != X509_V_OK) {
    return err_set(err, ERR_UNAVAILABLE, "the server's certificate was refused: %s", X509_verify_cert_error_string(verify));
  }
  if (!ERR_peek_last_error()) return err_set(err, ERR_UNAVAILABLE, "the server closed the TLS connection");
  return err_set(err, ERR_UNAVAILABLE, "TLS failed: %s", ssl_reason());
}

static void greet(struct stream *s) {
  ERR_clear_error();
  int n = SSL_do_handshake(s->ssl);
  if (n == 1) {
    opened(s);
    return;
  }
  int why = SSL_get_error(s->ssl, n);
  if (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE) {
    want_write(s, why == SSL_ERROR_WANT_WRITE);
    return;
  }
  struct err err;
  ssl_failed(s, &err);
  fail(s, &err);
}

static bool is_address(const char *host) {
  struct in6_addr bytes;
  return inet_pton(AF_INET, host, &bytes) == 1 || inet_pton(AF_INET6, host, &bytes) == 1;
}

static int greet_start(struct stream *s, struct err *err) {
  s->ssl = SSL_new(s->target.tls->context);
  if (!s->ssl || SSL_set_fd(s->ssl, s->fd) != 1) return err_set(err, ERR_MEMORY, "no memory for TLS");
  const char *host = s->target.host ? s->target.host : "localhost";
  int named;
  if (is_address(host)) {
    named = X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(s->ssl), host);
  } else {
    SSL_set_tlsext_host_name(s->ssl, host);
    named = SSL_set1_host(s->ssl, host);
  }
  if (named != 1) return err_set(err, ERR_INVALID, "'%s' is no name that a certificate can bear", host);
  SSL_set_connect_state(s->ssl);
  return 0;
}

static void connected(struct stream *s) {
  want_write(s, false);
  s->reads = watch_fd(s->loop, s->fd, WATCH_READ, socket_readable, s);
  if (!s->target.tls) {
    opened(s);
    return;
  }
  struct err err;
  s->state = GREETING;
  if (greet_start(s, &err)) fail(s, &err);
  else greet(s);
}

/* Starts connecting to one address; 0 when it has begun (or is done already, which the socket's becoming writable tells). */
static int connect_to(struct stream *s, int family, const struct sockaddr *address, socklen_t len, struct err *err) {
  s->fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (s->fd < 0) return err_errno(err, "cannot make a socket");
  if (family != AF_UNIX) {
    int on = 1;
    setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(s->fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    int idle = 15;
    setsockopt(s->fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
    setsockopt(s->fd, IPPROTO_TCP, TCP_KEEPINTVL, &idle, sizeof idle);
  }
  if (connect(s->fd, address, len) == 0 || errno == EINPROGRESS) return 0;
  return err_errno(err, "cannot connect to %s", s->target.socket ? s->target.socket : s->target.host);
}

static void connect_unix(struct stream *s) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  size_t len = strlen(s->target.socket);
  struct err err;
  if (len >= sizeof address.sun_path) {
    err_set(&err, ERR_INVALID, "the socket's path is longer than the system allows (%zu bytes): %s", sizeof address.sun_path - 1,
            s->target.socket);
    fail(s, &err);
    return;
  }
  memcpy(address.sun_path, s->target.socket, len);
  if (connect_to(s, AF_UNIX, (const struct sockaddr *)&address, sizeof address, &err)) fail(s, &err);
  else want_write(s, true);
}

static void try_next(struct stream *s) {
  while (s->next) {
    struct addrinfo *a = s->next;
    s->next = a->ai_next;
    socket_drop(s);
    if (connect_to(s, a->ai_family, a->ai_addr, a->ai_addrlen, &s->last) == 0) {
      want_write(s, true);
      return;
    }
  }
  fail(s, &s->last);
}

static void resolved(void *arg, struct addrinfo *list, const struct err *err) {
  struct stream *s = arg;
  if (err) {
    fail(s, err);
    return;
  }
  s->addresses = s->next = list;
  try_next(s);
}

static void begin(void *arg) {
  struct stream *s = arg;
  struct err err;
  s->state = CONNECTING;
  if (s->target.socket) connect_unix(s);
  else if (resolve_start(s->loop, s->target.host, s->target.port, resolved, s, &s->resolve, &err)) fail(s, &err);
}

struct stream *stream_open(struct loop *loop, const struct stream_target *target, const struct stream_events *events) {
  struct stream *s = calloc(1, sizeof *s);
  if (!s) abort();
  *s = (struct stream){.loop = loop, .target = *target, .events = *events, .fd = -1};
  err_set(&s->last, ERR_UNAVAILABLE, "no address to connect to");
  loop_defer(loop, begin, s);
  return s;
}

void stream_close(struct stream *s) {
  if (!s) return;
  if (s->state == STARTING) loop_undefer(s->loop, begin, s);
  /* Says goodbye without waiting for an answer. */
  if (s->ssl && s->state == OPEN) SSL_shutdown(s->ssl);
  socket_drop(s);
  resolve_free(s->resolve);
  if (s->addresses) freeaddrinfo(s->addresses);
  free(s);
}

/* --- an open stream --------------------------------------------------------------------------------- */

static void socket_readable(void *arg, int fd, int events) {
  struct stream *s = arg;
  s->drained = false;
  if (s->state == GREETING) greet(s);
  else if (s->state == OPEN) s->events.readable(s->events.arg);
}

static void socket_writable(void *arg, int fd, int events) {
  struct stream *s = arg;
  if (s->state == GREETING) {
    greet(s);
    return;
  }
  if (s->state == OPEN) {
    want_write(s, false);
    s->events.writable(s->events.arg);
    return;
  }
  int problem = 0;
  socklen_t len = sizeof problem;
  getsockopt(fd, SOL_SOCKET, SO_ERROR, &problem, &len);
  if (!problem) {
    connected(s);
    return;
  }
  err_set(&s->last, ERR_UNAVAILABLE, "cannot connect to %s: %s", s->target.socket ? s->target.socket : s->target.host, strerror(problem));
  try_next(s);
}

static ssize_t ssl_result(struct stream *s, int n, struct err *err) {
  if (n > 0) return n;
  int why = SSL_get_error(s->ssl, n);
  if (why == SSL_ERROR_WANT_WRITE) want_write(s, true);
  if (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE) return 0;
  return ssl_failed(s, err);
}

ssize_t stream_read(struct stream *s, void *bytes, size_t len, struct err *err) {
  if (s->ssl) {
    ERR_clear_error();
    return ssl_result(s, SSL_read(s->ssl, bytes, (int)len), err);
  }
  if (s->drained) return 0;
  ssize_t n;
  do n = recv(s->fd, bytes, len, 0);
  while (n < 0 && errno == EINTR);
  if (n > 0) {
    s->drained = (size_t)n < len;
    return n;
  }
  if (n == 0) return err_set(err, ERR_UNAVAILABLE, "the server closed the connection");
  if (errno == EAGAIN || errno == EWOULDBLOCK) return 0;
  return err_set(err, ERR_UNAVAILABLE, "the connection broke: %s", strerror(errno));
}

ssize_t stream_write(struct stream *s, const void *bytes, size_t len, struct err *err) {
  if (s->ssl) {
    ERR_clear_error();
    ssize_t n = ssl_result(s, SSL_write(s->ssl, bytes, len > 1 << 20 ? 1 << 20 : (int)len), err);
    if (n >= 0 && (size_t)n < len) want_write(s, true);
    return n;
  }
  ssize_t n;
  do n = send(s->fd, bytes, len, MSG_NOSIGNAL);
  while (n < 0 && errno == EINTR);
  if (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK) {
    return err_set(err, ERR_UNAVAILABLE, "the connection broke: %s", strerror(errno));
  }
  if (n < 0) n = 0;
  if ((size_t)n < len) want_write(s, true);
  return n;
}
