/* curl.c: loaded before libcurl, it answers every transfer of the engine at once with 201, without a socket: the engine beside the floor that sends nothing.
 *
 * Everything of the engine's own runs as ever, its last check before sending and its reading of headers and body included; libcurl is only
 * asked to keep the options. Not thread-safe: transfers belong to one thread. */
#define CURL_DISABLE_TYPECHECK
#include <curl/curl.h>
#include <dlfcn.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#undef curl_easy_setopt
#undef curl_easy_getinfo
#undef curl_multi_setopt

enum { SLOTS = 1 << 14 };

struct transfer {
  CURL *easy;
  struct transfer *next;
  curl_write_callback header, body;
  curl_prereq_callback ask;
  void *header_arg, *body_arg, *ask_arg, *mine;
  CURLcode result;
  bool queued, played; /* played: its last answer was not a server's */
};

struct queue {
  struct transfer *first, **end;
};

static struct transfer slots[SLOTS]; /* by handle; a handle keeps its place for good */
static struct queue waiting = {.end = &waiting.first}, done = {.end = &done.first};
static curl_multi_timer_callback on_time;
static void *on_time_arg;
static CURLM *loops; /* the engine's; curl_easy_perform makes others, for what blocks (the command line's requests): those go out as ever */

static void *real(const char *name) {
  void *found = dlsym(RTLD_NEXT, name);
  if (!found) abort();
  return found;
}

static struct transfer *transfer_of(CURL *easy) {
  for (size_t i = ((size_t)easy >> 4) % SLOTS, n = 0; n < SLOTS; i = (i + 1) % SLOTS, n++) {
    if (slots[i].easy && slots[i].easy != easy) continue;
    slots[i].easy = easy;
    return &slots[i];
  }
  abort();
}

static void push(struct queue *q, struct transfer *t) {
  t->next = NULL;
  t->queued = true;
  *q->end = t;
  q->end = &t->next;
}

static struct transfer *pop(struct queue *q) {
  struct transfer *t = q->first;
  if (!t) return NULL;
  q->first = t->next;
  if (!q->first) q->end = &q->first;
  t->queued = false;
  return t;
}

static void drop(struct queue *q, const struct transfer *t) {
  for (struct transfer **at = &q->first; *at; at = &(*at)->next) {
    if (*at != t) continue;
    *at = t->next;
    if (!*at) q->end = at;
    return;
  }
}

CURLcode curl_easy_setopt(CURL *easy, CURLoption option, ...) {
  static CURLcode (*next)(CURL *, CURLoption, ...);
  struct transfer *t = transfer_of(easy);
  CURLcode r;
  va_list args;
  if (!next) next = (CURLcode(*)(CURL *, CURLoption, ...))real("curl_easy_setopt");
  va_start(args, option);
  if (option < CURLOPTTYPE_OBJECTPOINT) {
    r = next(easy, option, va_arg(args, long));
  } else if (option >= CURLOPTTYPE_OFF_T && option < CURLOPTTYPE_BLOB) {
    r = next(easy, option, va_arg(args, curl_off_t));
  } else {
    void *value = va_arg(args, void *);
    if (option == CURLOPT_HEADERFUNCTION) t->header = (curl_write_callback)value;
    if (option == CURLOPT_HEADERDATA) t->header_arg = value;
    if (option == CURLOPT_WRITEFUNCTION) t->body = (curl_write_callback)value;
    if (option == CURLOPT_WRITEDATA) t->body_arg = value;
    if (option == CURLOPT_PREREQFUNCTION) t->ask = (curl_prereq_callback)value;
    if (option == CURLOPT_PREREQDATA) t->ask_arg = value;
    if (option == CURLOPT_PRIVATE) t->mine = value;
    r = next(easy, option, value);
  }
  va_end(args);
  return r;
}

CURLcode curl_easy_getinfo(CURL *easy, CURLINFO info, ...) {
  static CURLcode (*next)(CURL *, CURLINFO, ...);
  va_list args;
  va_start(args, info);
  void *out = va_arg(args, void *);
  va_end(args);
  if (!next) next = (CURLcode(*)(CURL *, CURLINFO, ...))real("curl_easy_getinfo");
  if (!transfer_of(easy)->played || info == CURLINFO_PRIVATE) return next(easy, info, out);
  if (info != CURLINFO_RESPONSE_CODE) return CURLE_UNKNOWN_OPTION;
  *(long *)out = 201;
  return CURLE_OK;
}

CURLMcode curl_multi_setopt(CURLM *multi, CURLMoption option, ...) {
  static CURLMcode (*next)(CURLM *, CURLMoption, ...);
  CURLMcode r;
  va_list args;
  if (!next) next = (CURLMcode(*)(CURLM *, CURLMoption, ...))real("curl_multi_setopt");
  va_start(args, option);
  if (option == CURLMOPT_TIMERFUNCTION) {
    loops = multi;
    on_time = va_arg(args, curl_multi_timer_callback);
    r = CURLM_OK;
  } else if (option == CURLMOPT_TIMERDATA) {
    on_time_arg = va_arg(args, void *);
    r = CURLM_OK;
  } else if ((int)option < CURLOPTTYPE_OBJECTPOINT) {
    r = next(multi, option, va_arg(args, long));
  } else {
    r = next(multi, option, va_arg(args, void *));
  }
  va_end(args);
  return r;
}

CURLMcode curl_multi_add_handle(CURLM *multi, CURL *easy) {
  bool first = !waiting.first;
  struct transfer *t = transfer_of(easy);
  t->played = multi == loops;
  if (!t->played) return ((CURLMcode(*)(CURLM *, CURL *))real("curl_multi_add_handle"))(multi, easy);
  push(&waiting, t);
  if (first) on_time(multi, 0, on_time_arg);
  return CURLM_OK;
}

CURLMcode curl_multi_remove_handle(CURLM *multi, CURL *easy) {
  struct transfer *t = transfer_of(easy);
  if (multi != loops) return ((CURLMcode(*)(CURLM *, CURL *))real("curl_multi_remove_handle"))(multi, easy);
  if (!t->queued) return CURLM_OK;
  drop(&waiting, t);
  drop(&done, t);
  t->queued = false;
  return CURLM_OK;
}

static CURLcode play(struct transfer *t) {
  static const char *const headers[] = {"HTTP/1.1 201 Created\r\n", "Content-Type: application/json\r\n", "Content-Length: 21\r\n",
                                        "Connection: keep-alive\r\n", "\r\n"};
  static const char body[] = "{\"ok\":true,\"id\":\"42\"}";
  char here[] = "127.0.0.1";
  if (t->ask && t->ask(t->ask_arg, here, here, 80, 0) != CURL_PREREQFUNC_OK) return CURLE_ABORTED_BY_CALLBACK;
  for (size_t i = 0; i < sizeof headers / sizeof *headers; i++) {
    char line[64];
    size_t len = strlen(headers[i]);
    memcpy(line, headers[i], len + 1);
    if (t->header && t->header(line, 1, len, t->header_arg) != len) return CURLE_WRITE_ERROR;
  }
  char bytes[sizeof body];
  memcpy(bytes, body, sizeof body);
  return t->body(bytes, 1, sizeof body - 1, t->body_arg) == sizeof body - 1 ? CURLE_OK : CURLE_WRITE_ERROR;
}

CURLMcode curl_multi_socket_action(CURLM *multi, curl_socket_t fd, int events, int *running) {
  struct queue now = waiting;
  if (!now.first) now.end = &now.first;
  waiting = (struct queue){.end = &waiting.first};
  for (struct transfer *t; (t = pop(&now));) {
    t->result = play(t);
    push(&done, t);
  }
  *running = 0;
  return CURLM_OK;
}

CURLMsg *curl_multi_info_read(CURLM *multi, int *left) {
  static CURLMsg message;
  if (multi != loops) return ((CURLMsg * (*)(CURLM *, int *)) real("curl_multi_info_read"))(multi, left);
  struct transfer *t = pop(&done);
  *left = done.first != NULL;
  if (!t) return NULL;
  message = (CURLMsg){.msg = CURLMSG_DONE, .easy_handle = t->easy, .data.result = t->result};
  return &message;
}
