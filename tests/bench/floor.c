/* floor.c: the speed that nothing can exceed here: the wire work of one run, and nothing else.
 *
 * For each alert: read it from a stream through a consumer group, add ten entries to a stream of its own by plain XADD (sizes as the
 * engine's), await each of the three intents before its HTTP request is sent (path, headers and body as the engine's), await the last wave,
 * acknowledge and delete the alert. No Lua, no hashing, no checks, no fence. The engine's own numbers are given as a share of this
 * program's, from the same run.
 *
 *   floor --redis SOCKET [--url http://127.0.0.1:PORT/json] [--runs N] [--inflight N] [--connections N]
 *
 * Without --url the requests are left out. Prints "runs/s TAB seconds TAB runs TAB bytes of a run's entries" and fails when an answer is
 * not 201 or a reply is an error. The clock runs from the moment when all alerts are in the queue. */
#include <curl/curl.h>
#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <getopt.h>
#include <hiredis/async.h>
#include <hiredis/adapters/libevent.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MAX_CONNECTIONS = 64, HASH_BYTES = 64, ALERT_BYTES = 1390, REQUEST_BYTES = 183, REQUESTS = 3, READ_AT_ONCE = 64 };

/* Heads and bodies of the entries that bench_engine.py's run makes; it prints their sum beside this program's. */
enum entry { OPENED, ATTACHED, STARTED, INTENDED, SUCCEEDED, ENDED };
static const struct {
  size_t head, body;
} sizes[] = {
    [OPENED] = {289, 159},   [ATTACHED] = {289, 3090}, [STARTED] = {307, 350},
    [INTENDED] = {322, 703}, [SUCCEEDED] = {321, 357}, [ENDED] = {308, 49},
};
enum { MOST_BODY = 3090 };

struct run {
  struct run *next_free;
  size_t number;
  char id[32];  /* of the alert in the queue */
  char key[48]; /* its own stream */
  char url[256];
  int entries;  /* added so far */
  int answered; /* requests answered */
  CURL *easy;
};

static struct {
  struct event_base *base;
  redisAsyncContext *links[MAX_CONNECTIONS];
  CURLM *multi;
  struct event curl_timer;
  struct curl_slist *headers;
  const char *socket;
  const char *url;
  size_t connections, wanted, inflight_most, pushed, read, inflight, done;
  bool reading;
  struct run *runs, *free_runs;
  char filler[MOST_BODY + 1];
  struct timespec start, end;
} bench = {.connections = 8, .wanted = 20000, .inflight_most = 256};

static _Noreturn void die(const char *what, const char *why) {
  fprintf(stderr, "floor: %s: %s\n", what, why ? why : "?");
  exit(1);
}

static void must_reply(const redisReply *reply) {
  if (!reply) die("redis", "the link is lost");
  if (reply->type == REDIS_REPLY_ERROR) die("redis", reply->str);
}

static redisAsyncContext *link_of(const struct run *run) { return bench.links[run->number % bench.connections]; }

static void read_more(void);
static void request_start(struct run *run);

/* ---- entries */

/* One entry of the run's journal; cb (NULL: nobody waits) when it is durable. */
static void add_entry(struct run *run, enum entry kind, redisCallbackFn *cb) {
  char id[16];
  snprintf(id, sizeof id, "%d-0", ++run->entries);
  const char *words[] = {"XADD", run->key, id, "e", bench.filler, "h", bench.filler, "b", bench.filler};
  size_t lengths[] = {4, strlen(run->key), strlen(id), 1, sizes[kind].head, 1, HASH_BYTES, 1, sizes[kind].body};
  if (redisAsyncCommandArgv(link_of(run), cb, run, 9, words, lengths) != REDIS_OK) die("redis", link_of(run)->errstr);
}

static void on_acknowledged(redisAsyncContext *link, void *answer, void *arg) {
  struct run *run = arg;
  must_reply(answer);
  run->next_free = bench.free_runs;
  bench.free_runs = run;
  bench.inflight--;
  if (++bench.done == bench.wanted) {
    clock_gettime(CLOCK_MONOTONIC, &bench.end);
    event_base_loopbreak(bench.base);
  } else {
    read_more();
  }
}

static void on_ended(redisAsyncContext *link, void *answer, void *arg) {
  struct run *run = arg;
  must_reply(answer);
  redisAsyncCommand(link, NULL, NULL, "XACK bench:alerts bench %s", run->id);
  redisAsyncCommand(link, on_acknowledged, run, "XDEL bench:alerts %s", run->id);
}

static void on_intended(redisAsyncContext *link, void *answer, void *arg) {
  must_reply(answer);
  request_start(arg);
}

static void run_start(struct run *run) {
  run->entries = run->answered = 0;
  snprintf(run->key, sizeof run->key, "bench:{INC-%06zu}:journal", run->number);
  add_entry(run, OPENED, NULL);
  add_entry(run, ATTACHED, NULL);
  add_entry(run, STARTED, NULL);
  add_entry(run, INTENDED, on_intended);
}

static void run_answered(struct run *run) {
  add_entry(run, SUCCEEDED, NULL);
  if (++run->answered < REQUESTS) add_entry(run, INTENDED, on_intended);
  else add_entry(run, ENDED, on_ended);
}

/* ---- requests */

static size_t swallow(char *bytes, size_t size, size_t count, void *arg) { return size * count; }

static void request_start(struct run *run) {
  static const char *const actions[REQUESTS] = {"first", "second", "third"};
  if (!bench.url) {
    run_answered(run);
    return;
  }
  if (!run->easy) {
    run->easy = curl_easy_init();
    if (!run->easy) die("curl", "no handle");
    curl_easy_setopt(run->easy, CURLOPT_HTTPHEADER, bench.headers);
    curl_easy_setopt(run->easy, CURLOPT_POSTFIELDSIZE, (long)REQUEST_BYTES);
    curl_easy_setopt(run->easy, CURLOPT_POSTFIELDS, bench.filler);
    curl_easy_setopt(run->easy, CURLOPT_WRITEFUNCTION, swallow);
    curl_easy_setopt(run->easy, CURLOPT_PRIVATE, run);
    curl_easy_setopt(run->easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(run->easy, CURLOPT_PROXY, "");
  }
  snprintf(run->url, sizeof run->url, "%s/%s/%zu", bench.url, actions[run->answered], run->number);
  curl_easy_setopt(run->easy, CURLOPT_URL, run->url);
  if (curl_multi_add_handle(bench.multi, run->easy) != CURLM_OK) die("curl", "the handle is refused");
}

static void requests_finish(void) {
  int left;
  for (CURLMsg *message; (message = curl_multi_info_read(bench.multi, &left));) {
    if (message->msg != CURLMSG_DONE) continue;
    CURL *easy = message->easy_handle;
    struct run *run = NULL;
    long status = 0;
    if (message->data.result != CURLE_OK) die("curl", curl_easy_strerror(message->data.result));
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&run);
    if (status != 201) die("http", "the answer is not 201");
    curl_multi_remove_handle(bench.multi, easy);
    run_answered(run);
  }
}

static void on_socket(evutil_socket_t fd, short what, void *arg) {
  int running;
  int flags = ((what & EV_READ) ? CURL_CSELECT_IN : 0) | ((what & EV_WRITE) ? CURL_CSELECT_OUT : 0);
  curl_multi_socket_action(bench.multi, fd, flags, &running);
  requests_finish();
}

static void on_curl_timer(evutil_socket_t fd, short what, void *arg) {
  int running;
  curl_multi_socket_action(bench.multi, CURL_SOCKET_TIMEOUT, 0, &running);
  requests_finish();
}

static int watch_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *socket_arg) {
  struct event *event = socket_arg;
  if (what == CURL_POLL_REMOVE) {
    if (event) event_free(event);
    curl_multi_assign(bench.multi, fd, NULL);
    return 0;
  }
  if (event) event_free(event);
  short wanted = (short)(((what & CURL_POLL_IN) ? EV_READ : 0) | ((what & CURL_POLL_OUT) ? EV_WRITE : 0) | EV_PERSIST);
  event = event_new(bench.base, fd, wanted, on_socket, NULL);
  if (!event) die("libevent", "no event");
  event_add(event, NULL);
  curl_multi_assign(bench.multi, fd, event);
  return 0;
}

static int watch_timer(CURLM *multi, long ms, void *arg) {
  if (ms < 0) {
    event_del(&bench.curl_timer);
    return 0;
  }
  struct timeval in = {ms / 1000, (ms % 1000) * 1000};
  event_add(&bench.curl_timer, &in);
  return 0;
}

/* ---- the queue */

static void on_read(redisAsyncContext *link, void *answer, void *arg) {
  const redisReply *reply = answer;
  must_reply(reply);
  bench.reading = false;
  if (reply->type != REDIS_REPLY_ARRAY || !reply->elements) return;
  const redisReply *entries = reply->element[0]->element[1];
  for (size_t i = 0; i < entries->elements; i++) {
    struct run *run = bench.free_runs;
    bench.free_runs = run->next_free;
    run->number = bench.read++;
    snprintf(run->id, sizeof run->id, "%s", entries->element[i]->element[0]->str);
    bench.inflight++;
    run_start(run);
  }
  read_more();
}

static void read_more(void) {
  size_t room = bench.inflight_most - bench.inflight;
  if (bench.reading || bench.read == bench.wanted || room < READ_AT_ONCE / 4) return;
  bench.reading = true;
  redisAsyncCommand(bench.links[0], on_read, NULL, "XREADGROUP GROUP bench me COUNT %d STREAMS bench:alerts >",
                    room < READ_AT_ONCE ? (int)room : READ_AT_ONCE);
}

static void on_pushed(redisAsyncContext *link, void *answer, void *arg) {
  must_reply(answer);
  if (++bench.pushed < bench.wanted) return;
  clock_gettime(CLOCK_MONOTONIC, &bench.start);
  read_more();
}

static void push_alerts(void) {
  redisAsyncCommand(bench.links[0], NULL, NULL, "FLUSHALL SYNC");
  redisAsyncCommand(bench.links[0], NULL, NULL, "XGROUP CREATE bench:alerts bench 0 MKSTREAM");
  for (size_t i = 0; i < bench.wanted; i++)
    redisAsyncCommand(bench.links[0], on_pushed, NULL, "XADD bench:alerts * alert %b", bench.filler, (size_t)ALERT_BYTES);
}

/* ---- the whole */

static void on_connect(const redisAsyncContext *link, int status) {
  if (status != REDIS_OK) die(bench.socket, link->errstr);
}

static void links_open(void) {
  for (size_t i = 0; i < bench.connections; i++) {
    redisAsyncContext *link = redisAsyncConnectUnix(bench.socket);
    if (!link || link->err) die(bench.socket, link ? link->errstr : "no memory");
    if (redisLibeventAttach(link, bench.base) != REDIS_OK) die("libevent", "cannot attach");
    redisAsyncSetConnectCallback(link, on_connect);
    bench.links[i] = link;
  }
}

static void multi_open(void) {
  curl_global_init(CURL_GLOBAL_DEFAULT);
  bench.multi = curl_multi_init();
  if (!bench.multi) die("curl", "no multi handle");
  curl_multi_setopt(bench.multi, CURLMOPT_SOCKETFUNCTION, watch_socket);
  curl_multi_setopt(bench.multi, CURLMOPT_TIMERFUNCTION, watch_timer);
  curl_multi_setopt(bench.multi, CURLMOPT_MAX_HOST_CONNECTIONS, 64L);
  curl_multi_setopt(bench.multi, CURLMOPT_MAXCONNECTS, 64L);
  evtimer_assign(&bench.curl_timer, bench.base, on_curl_timer, NULL);
  bench.headers = curl_slist_append(NULL, "Content-Type: application/json");
  bench.headers = curl_slist_append(bench.headers, "User-Agent: tocsin");
  bench.headers = curl_slist_append(bench.headers, "Accept-Encoding: gzip, deflate");
  bench.headers = curl_slist_append(bench.headers, "Idempotency-Key: 0123456789abcdef0123456789abcdef");
}

static size_t number(const char *text, size_t least, size_t most) {
  char *end;
  errno = 0;
  unsigned long value = strtoul(text, &end, 10);
  if (errno || *end || value < least || value > most) die(text, "not a number that makes sense here");
  return value;
}

static void options(int argc, char **argv) {
  static const struct option known[] = {{"redis", 1, 0, 'r'},    {"url", 1, 0, 'u'},         {"runs", 1, 0, 'n'},
                                        {"inflight", 1, 0, 'i'}, {"connections", 1, 0, 'c'}, {0}};
  for (int c; (c = getopt_long(argc, argv, "", known, NULL)) != -1;) {
    switch (c) {
    case 'r': bench.socket = optarg; break;
    case 'u': bench.url = optarg; break;
    case 'n': bench.wanted = number(optarg, 1, 10000000); break;
    case 'i': bench.inflight_most = number(optarg, READ_AT_ONCE, 100000); break;
    case 'c': bench.connections = number(optarg, 1, MAX_CONNECTIONS); break;
    default: exit(2);
    }
  }
  if (!bench.socket) die("--redis", "is needed");
}

int main(int argc, char **argv) {
  options(argc, argv);
  memset(bench.filler, 'x', MOST_BODY);
  bench.runs = calloc(bench.inflight_most, sizeof *bench.runs);
  bench.base = event_base_new();
  if (!bench.runs || !bench.base) die("start", "no memory");
  for (size_t i = 0; i < bench.inflight_most; i++) {
    bench.runs[i].next_free = bench.free_runs;
    bench.free_runs = &bench.runs[i];
  }
  multi_open();
  links_open();
  push_alerts();
  event_base_dispatch(bench.base);
  if (bench.done != bench.wanted) die("end", "not all runs came to their end");
  double seconds = (double)(bench.end.tv_sec - bench.start.tv_sec) + (double)(bench.end.tv_nsec - bench.start.tv_nsec) / 1e9;
  static const enum entry kinds[] = {OPENED, ATTACHED, STARTED, INTENDED, SUCCEEDED, INTENDED, SUCCEEDED, INTENDED, SUCCEEDED, ENDED};
  size_t bytes = 0;
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) bytes += sizes[kinds[i]].head + HASH_BYTES + sizes[kinds[i]].body;
  printf("%.0f\t%.3f\t%zu\t%zu\n", (double)bench.done / seconds, seconds, bench.done, bytes);
  return 0;
}
