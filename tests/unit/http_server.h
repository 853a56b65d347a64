/* http_server.h: a server that misbehaves on demand. The path says how; requests are counted and the last one is kept. */
#ifndef TOCSIN_TESTS_HTTP_SERVER_H
#define TOCSIN_TESTS_HTTP_SERVER_H

#include <pthread.h>
#include <stdatomic.h>

#include "transport_help.h"

enum { REQUEST_CAP = 65536, BOMB_BYTES = 8 << 20 };

static struct {
  int fd, port;
  pthread_t thread;
  atomic_int requests, connections, tokens;
  pthread_mutex_t lock;
  char last[REQUEST_CAP], bomb[REQUEST_CAP];
  size_t bomb_len;
} server;

static inline void put(int fd, const char *text) {
  size_t len = strlen(text);
  while (len) {
    ssize_t n = send(fd, text, len, MSG_NOSIGNAL);
    if (n <= 0) return;
    text += n, len -= (size_t)n;
  }
}

static inline void put_answer(int fd, const char *status, const char *headers, const char *body) {
  char head[1024];
  snprintf(head, sizeof head, "HTTP/1.1 %s\r\nContent-Length: %zu\r\n%s\r\n", status, strlen(body), headers);
  put(fd, head);
  put(fd, body);
}

static inline void reset(int fd) {
  struct linger hard = {1, 0};
  setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
}

static inline bool read_request(int fd, char *out) {
  size_t len = 0;
  for (;;) {
    char *end = len ? strstr(out, "\r\n\r\n") : NULL;
    char *length = end ? strcasestr(out, "Content-Length:") : NULL;
    if (end && len >= (size_t)(end + 4 - out) + (length && length < end ? strtoul(length + 15, NULL, 10) : 0)) return true;
    ssize_t n = recv(fd, out + len, REQUEST_CAP - 1 - len, 0);
    if (n <= 0) return false;
    len += (size_t)n;
    out[len] = 0;
  }
}

/* Eight megabytes of zeros, as gzip packs them. */
static inline void make_bomb(void) {
  char folder[] = "/tmp/tocsin-bomb-XXXXXX", plain[64], packed[64];
  assert_non_null(mkdtemp(folder));
  snprintf(plain, sizeof plain, "%s/zeros", folder), snprintf(packed, sizeof packed, "%s/zeros.gz", folder);
  int fd = open(plain, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  assert_int_equal(ftruncate(fd, BOMB_BYTES), 0);
  close(fd);
  assert_int_equal(run_program(packed, "/bin/gzip", "-9", "-c", plain, NULL), 0);
  fd = open(packed, O_RDONLY | O_CLOEXEC);
  ssize_t n = read(fd, server.bomb, sizeof server.bomb);
  assert_true(n > 1000 && n < (ssize_t)sizeof server.bomb);
  server.bomb_len = (size_t)n;
  close(fd);
  remove_folder(folder);
}

static inline void put_bomb(int fd) {
  char head[256];
  snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %zu\r\n\r\n", server.bomb_len);
  put(fd, head);
  send(fd, server.bomb, server.bomb_len, MSG_NOSIGNAL);
}

static inline void put_gigabyte(int fd) {
  static char block[65536];
  put(fd, "HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n");
  for (int i = 0; i < 16384; i++)
    if (send(fd, block, sizeof block, MSG_NOSIGNAL) <= 0) return;
}

static inline void wait_closed(int fd) {
  char byte;
  while (recv(fd, &byte, 1, 0) > 0) {}
}

/* True: keep the connection. */
static inline bool serve_one(int fd, const char *q, bool first) {
  const char *path = strchr(q, ' ') ? strchr(q, ' ') + 1 : "";
#define IS(p) (strncmp(path, p " ", sizeof(p)) == 0 || strncmp(path, p "?", sizeof(p)) == 0)
  const char *fine = strncmp(q, "HEAD ", 5) == 0 ? "" : "{\"fine\":true}"; /* a body after HEAD would be the next answer's beginning */
  if (IS("/ok")) return put_answer(fd, "200 OK", "Content-Type: application/json\r\nX-One: a\r\nX-One: b\r\n", fine), true;
  if (IS("/last")) return put_answer(fd, "200 OK", "", "bye"), false;
  if (IS("/echo-secret")) {
    const char *at = strcasestr(q, "Authorization: "), *end = at ? strstr(at, "\r\n") : NULL;
    char body[512];
    snprintf(body, sizeof body, "you sent %.*s", at ? (int)(end - at) : 0, at ? at : "");
    return put_answer(fd, "200 OK", "", body), true;
  }
  if (IS("/500")) return put_answer(fd, "500 Oops", "", "broken"), true;
  if (IS("/503")) return put_answer(fd, "503 Busy", "Retry-After: Wed, 01 Jan 2098 00:00:00 GMT\r\n", ""), true;
  if (IS("/429")) return put_answer(fd, "429 Slow down", "Retry-After: 7\r\n", ""), true;
  if (IS("/redirect")) return put_answer(fd, "302 Found", "Location: /ok\r\n", ""), true;
  if (IS("/away")) return put_answer(fd, "302 Found", "Location: http://localhost:1/ok\r\n", ""), true;
  if (IS("/round")) return put_answer(fd, "302 Found", "Location: /round\r\n", ""), true;
  if (IS("/rubbish")) return put_answer(fd, "200 OK", "Content-Type: application/json\r\n", "{\"half\":"), true;
  if (IS("/latin")) return put_answer(fd, "200 OK", "", "caf\xe9"), true;
  if (IS("/dies-on-reuse")) return first ? (put_answer(fd, "200 OK", "", "first"), true) : false;
  if (IS("/bad-line")) return put(fd, "HELLO what is this\r\n\r\n"), false;
  if (IS("/empty")) return false;
  if (IS("/reset")) return reset(fd), false;
  if (IS("/reset-mid")) return put(fd, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"), poll(NULL, 0, 20), reset(fd), false;
  if (IS("/half")) return put(fd, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"), false;
  if (IS("/half-chunk")) return put(fd, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"), false;
  if (IS("/silent")) return wait_closed(fd), false;
  if (IS("/drip")) {
    put(fd, "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n");
    while (send(fd, "x", 1, MSG_NOSIGNAL) == 1) poll(NULL, 0, 50);
    return false;
  }
  if (IS("/bomb")) return put_bomb(fd), true;
  if (IS("/gigabyte")) return put_gigabyte(fd), false;
  if (IS("/headers")) {
    put(fd, "HTTP/1.1 200 OK\r\n");
    for (int i = 0; i < 3000; i++) put(fd, "X-Filler: 0123456789012345678901234567890123456789\r\n");
    return put(fd, "Content-Length: 0\r\n\r\n"), true;
  }
  if (IS("/token")) {
    char body[128];
    snprintf(body, sizeof body, "{\"access_token\":\"token-number-%d\",\"expires_in\":3600,\"token_type\":\"Bearer\"}",
             atomic_fetch_add(&server.tokens, 1) + 1);
    return put_answer(fd, "200 OK", "Content-Type: application/json\r\n", body), true;
  }
  if (IS("/no-token")) return put_answer(fd, "401 No", "", ""), true;
  if (IS("/needs-second")) return put_answer(fd, strstr(q, "token-number-2") ? "200 OK" : "401 No", "", ""), true;
  if (IS("/always-401")) return put_answer(fd, "401 No", "", "go away"), true;
#undef IS
  return put_answer(fd, "404 Not Found", "", ""), true;
}

static inline void *serve_connection(void *arg) {
  int fd = (int)(intptr_t)arg;
  char *request = malloc(REQUEST_CAP);
  for (bool first = true; read_request(fd, request); first = false) {
    pthread_mutex_lock(&server.lock);
    memcpy(server.last, request, strlen(request) + 1);
    pthread_mutex_unlock(&server.lock);
    atomic_fetch_add(&server.requests, 1); /* whoever has waited for the count finds the request */
    if (!serve_one(fd, request, first)) break;
  }
  free(request);
  close(fd);
  return NULL;
}

static inline void *serve(void *arg) {
  for (;;) {
    int fd = accept4(server.fd, NULL, NULL, SOCK_CLOEXEC);
    pthread_t thread;
    if (fd < 0) return NULL;
    atomic_fetch_add(&server.connections, 1);
    pthread_create(&thread, NULL, serve_connection, (void *)(intptr_t)fd);
    pthread_detach(thread);
  }
}

static inline void server_up(void) {
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t len = sizeof a;
  pthread_mutex_init(&server.lock, NULL);
  make_bomb();
  server.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  assert_int_equal(bind(server.fd, (struct sockaddr *)&a, sizeof a), 0);
  assert_int_equal(listen(server.fd, 64), 0);
  assert_int_equal(getsockname(server.fd, (struct sockaddr *)&a, &len), 0);
  server.port = ntohs(a.sin_port);
  pthread_create(&server.thread, NULL, serve, NULL);
}

static inline void server_down(void) {
  shutdown(server.fd, SHUT_RDWR);
  close(server.fd);
  pthread_join(server.thread, NULL);
}

static inline void last_request(char *out) {
  pthread_mutex_lock(&server.lock);
  memcpy(out, server.last, strlen(server.last) + 1);
  pthread_mutex_unlock(&server.lock);
}

#endif
