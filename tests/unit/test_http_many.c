/* test_http_many.c: what HTTP exchanges share: connections, handles, and the line before a server that has enough to do. */
#include "base/slab.h"
#include "http_ask.h"
#include "transport/flight.h"

#define SIGNED                                                                                                                             \
  ",\"auth\":{\"sigv4\":{\"access_key\":\"AKIDEXAMPLE\",\"secret_key\":\"wJalrXUtnFEMI\",\"region\":\"us-east-1\",\"service\":\"iam\"}}"

static void many_at_once(void **state) {
  enum { COUNT = 200 };
  struct outcome *all = calloc(COUNT, sizeof *all);
  json_t *q = request("GET", "/ok", "");
  struct exchange x = {.request = q, .timeout_ms = 20000};
  int connections = atomic_load(&server.connections);
  for (int i = 0; i < COUNT; i++) assert_int_equal(transport_start(transports, &x, outcome_cb, &all[i], &(struct flight *){NULL}, NULL), 0);
  for (int i = 0; i < COUNT; i++) {
    help_wait(&all[i]);
    assert_int_equal(all[i].delivery, DELIVERY_ANSWERED);
    json_decref(all[i].response);
  }
  assert_true(atomic_load(&server.connections) - connections <= 64);
  json_decref(q);
  free(all);
}

/* What one request was made of is not in the next one, though libcurl's handle is the same. */
static void nothing_left_over(void **state) {
  static const char *const before[] = {"POST",   ",\"json\":{\"a\":1},\"bearer\":\"a-bearer-token\",\"headers\":{\"X-A\":\"b\"}",
                                       "HEAD",   ",\"headers\":{\"X-A\":\"b\"}",
                                       "DELETE", ",\"auth\":{\"basic\":{\"user\":\"u\",\"password\":\"password\"}}",
                                       "PUT",    ",\"body\":\"content\"",
                                       "PATCH",  "",
                                       "GET",    ",\"body\":\"content\"",
                                       "POST",   SIGNED};
  char first[REQUEST_CAP], last[REQUEST_CAP];
  struct transports *kept = transports;
  transports = transports_new(loop, secrets);
  help_run((struct exchange){0}, request("GET", "/ok", ""), &o);
  last_request(first);
  for (size_t i = 0; i < sizeof before / sizeof *before; i += 2) {
    help_run((struct exchange){0}, request(before[i], "/ok", before[i + 1]), &o);
    expect(DELIVERY_ANSWERED, 0);
    last_request(last);
    assert_memory_equal(last, before[i], strlen(before[i]));
    assert_string_not_equal(last, first);
    help_run((struct exchange){0}, request("GET", "/ok", ""), &o);
    expect(DELIVERY_ANSWERED, 0);
    assert_non_null(json_object_get(o.response, "body"));
    last_request(last);
    assert_string_equal(last, first);
  }
  transports_free(transports);
  transports = kept;
}

static int lines_with(const char *request, const char *start) {
  char line[128];
  int count = 0;
  snprintf(line, sizeof line, "\r\n%s", start);
  for (const char *p = request; (p = strcasestr(p, line)); p += 2) count++;
  return count;
}

/* Each request says once who sends it and what it unpacks, however it proves who we are; a connector may name itself. */
static void said_once(void **state) {
  static const char *const ways[] = {"",
                                     ",\"bearer\":\"a-bearer-token\",\"json\":{}",
                                     SIGNED,
                                     ",\"headers\":{\"user-agent\":\"other\"}",
                                     ",\"headers\":{\"User-Agent\":\"\"}",
                                     ",\"headers\":{\"User-Agents\":\"x\"}",
                                     ",\"auth\":{\"header\":{\"name\":\"User-Agent\",\"value\":\"other\"}}"};
  static const char *const agents[] = {"tocsin\r\n", "tocsin\r\n", "tocsin\r\n", "other\r\n", NULL, "tocsin\r\n", "other\r\n"};
  char last[REQUEST_CAP], agent[64];
  for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
    help_run((struct exchange){0}, request("POST", "/ok", ways[i]), &o);
    expect(DELIVERY_ANSWERED, 0);
    last_request(last);
    assert_int_equal(lines_with(last, "Accept-Encoding: gzip, deflate\r\n"), 1);
    assert_int_equal(lines_with(last, "Accept-Encoding:"), 1);
    assert_int_equal(lines_with(last, "User-Agent:"), 1);
    snprintf(agent, sizeof agent, "User-Agent: %s", agents[i] ? agents[i] : "");
    if (agents[i]) assert_int_equal(lines_with(last, agent), 1);
    assert_int_equal(lines_with(last, "Authorization: AWS4-HMAC-SHA256"), i == 2);
    assert_null(strstr(last, "accept-encoding;"));
  }
}

/* A kept connection that its server closes while nobody uses it is not used again, and costs nothing meanwhile. */
static void closed_while_kept(void **state) {
  int asked = 0;
  for (int i = 0; i < 3; i++) {
    get("/last");
    expect(DELIVERY_ANSWERED, 0);
    for (int64_t until = now_ms() + 30; now_ms() < until;) loop_turn(loop);
    help_run((struct exchange){.gate = gate_yes, .gate_arg = &asked}, request("POST", "/ok", ""), &o);
    expect(DELIVERY_ANSWERED, 0);
    assert_int_equal(asked, i + 1);
  }
}

static struct flight *start_one(const json_t *q, int64_t timeout_ms, int *asked, struct outcome *to) {
  struct flight *flight;
  struct exchange x = {.request = q, .timeout_ms = timeout_ms, .gate = gate_yes, .gate_arg = asked};
  assert_int_equal(transport_start(transports, &x, outcome_cb, to, &flight, NULL), 0);
  return flight;
}

/* As many as may be are with one server; the others wait, can be called off, and come in their turn. Another server's do not wait. */
static void waiting(void **state) {
  enum { MOST = 64 };
  static struct outcome held[MOST], called_off, late, next;
  static struct flight *holding[MOST];
  int asked = 0, never = 0, once = 0, connections = atomic_load(&server.connections);
  char text[128];
  struct transports *kept = transports;
  transports = transports_new(loop, secrets);
  json_t *silent = request("POST", "/silent", ""), *ok = request("POST", "/ok", "");
  for (int i = 0; i < MOST; i++) holding[i] = start_one(silent, 20000, &asked, &held[i]);
  struct flight *waits = start_one(ok, 20000, &never, &called_off);
  start_one(ok, 100, &never, &late);
  start_one(ok, 20000, &once, &next);
  help_wait(&late);
  assert_int_equal(late.delivery, DELIVERY_NOT_SENT);
  assert_int_equal(late.err.code, ERR_TIMEOUT);
  for (int64_t until = now_ms() + GUARD_MS; asked_now(&asked) < MOST && now_ms() < until;) loop_turn(loop);
  assert_int_equal(asked_now(&asked), MOST);
  transport_cancel(waits);
  help_wait(&called_off);
  assert_int_equal(called_off.delivery, DELIVERY_NOT_SENT);
  for (int64_t until = now_ms() + 5000; atomic_load(&server.connections) < connections + MOST && now_ms() < until;) poll(NULL, 0, 5);
  assert_int_equal(atomic_load(&server.connections), connections + MOST); /* the server counts a little later than we connect */
  snprintf(text, sizeof text, "{\"http\":{\"url\":\"http://127.0.0.1:%d/ok\"}}", free_port());
  help_run((struct exchange){0}, help_json(text), &o);
  expect(DELIVERY_NOT_SENT, ERR_UNAVAILABLE);
  assert_int_equal(once, 0);
  transport_cancel(holding[MOST / 2]);
  help_wait(&next);
  assert_int_equal(next.delivery, DELIVERY_ANSWERED);
  assert_int_equal(never, 0);
  assert_int_equal(once, 1);
  json_decref(next.response);
  json_decref(silent);
  json_decref(ok);
  transports_free(transports);
  transports = kept;
  for (int i = 0; i < MOST; i++) assert_int_equal(held[i].delivery, DELIVERY_IN_DOUBT);
}

/* However an exchange ends: called off, refused, cut, sent elsewhere, with a token that was renewed. */
static void nothing_left_over_of_failures(void **state) {
  char text[512], first[REQUEST_CAP], last[REQUEST_CAP];
  int asked = 0;
  struct transports *kept = transports;
  transports = transports_new(loop, secrets);
  help_run((struct exchange){0}, request("GET", "/ok", ""), &o);
  last_request(first);
  for (int way = 0; way < 10; way++) {
    json_t *q = request("POST", "/silent", ",\"bearer\":\"a-bearer-token\",\"json\":{\"a\":1},\"headers\":{\"X-A\":\"b\"}");
    struct exchange x = {.connector = "left", .gate = gate_yes, .gate_arg = &asked, .timeout_ms = 50};
    struct outcome off = {0};
    snprintf(text, sizeof text,
             ",\"auth\":{\"oauth2\":{\"token_url\":\"http://127.0.0.1:%d/%s\",\"client_id\":\"me%d\",\"client_secret\":\"client-secret\"}}",
             server.port, way == 8 ? "no-token" : "token", way);
    switch (way) {
    case 0: help_run(x, json_incref(q), &o); break;
    case 1:
    case 2: { /* before the loop has seen it, and under way */
      struct exchange called_off = x;
      struct flight *flight;
      called_off.request = q;
      called_off.timeout_ms = 20000;
      assert_int_equal(transport_start(transports, &called_off, outcome_cb, &off, &flight, NULL), 0);
      if (way == 2)
        for (int64_t until = now_ms() + 50; now_ms() < until;) loop_turn(loop);
      transport_cancel(flight);
      help_wait(&off);
      break;
    }
    case 3: x.gate = gate_no, help_run(x, json_incref(q), &o); break;
    case 4: x.timeout_ms = 9000, x.read_only = true, help_run(x, request("GET", "/redirect", ",\"bearer\":\"a-bearer-token\""), &o); break;
    case 5: x.timeout_ms = 9000, x.read_only = true, help_run(x, request("HEAD", "/round", ",\"bearer\":\"a-bearer-token\""), &o); break;
    case 6: x.timeout_ms = 9000, help_run(x, request("PUT", "/headers", ",\"body\":\"content\""), &o); break;
    case 7: x.timeout_ms = 9000, help_run(x, request("DELETE", "/always-401", text), &o); break;
    case 8: x.timeout_ms = 9000, help_run(x, request("PATCH", "/ok", text), &o); break;
    default: x.timeout_ms = 9000, help_run(x, request("POST", "/reset", ",\"body\":\"content\""), &o); break;
    }
    json_decref(q);
    outcome_release(&off);
    help_run((struct exchange){0}, request("GET", "/ok", ""), &o);
    expect(DELIVERY_ANSWERED, 0);
    assert_int_equal(json_int_or(o.response, "status", 0), 200);
    assert_non_null(json_object_get(o.response, "body"));
    last_request(last);
    if (strcmp(last, first) != 0) fail_msg("after way %d: %s", way, last);
  }
  transports_free(transports);
  transports = kept;
}

/* More than may run at once, of which some are answered, some are not, some are called off while they wait or run, some come too late:
 * each ends once, is asked about at most once, and the line is empty afterwards. */
static void storm(void **state) {
  enum { COUNT = 300 };
  static const char *const paths[] = {"/ok", "/ok", "/ok", "/silent", "/last", "/reset", "/headers"};
  static struct outcome all[COUNT];
  static struct flight *flights[COUNT];
  static int asked[COUNT];
  struct transports *kept = transports;
  transports = transports_new(loop, secrets);
  srandom(7);
  for (int i = 0; i < COUNT; i++) {
    json_t *q = request("POST", paths[random() % 7], "");
    flights[i] = start_one(q, 20 + random() % 600, &asked[i], &all[i]);
    json_decref(q);
    if (random() % 8 == 0) loop_turn(loop);
    int off = (int)(random() % (i + 1));
    if (random() % 4 == 0 && !all[off].calls && flights[off]) transport_cancel(flights[off]), flights[off] = NULL;
  }
  for (int i = 0; i < COUNT; i++) {
    help_wait(&all[i]);
    assert_int_equal(all[i].calls, 1);
    assert_true(asked[i] <= 1);
    if (all[i].delivery == DELIVERY_NOT_SENT) assert_int_equal(asked[i], 0);
    else assert_int_equal(asked[i], 1);
    json_decref(all[i].response);
  }
  get("/ok");
  expect(DELIVERY_ANSWERED, 0);
  transports_free(transports);
  transports = kept;
}

/* A name is looked up by a thread of libcurl's, which takes and gives back memory as we do; some are called off while it is at it. */
static void by_name(void **state) {
  enum { COUNT = 40 };
  char text[128];
  snprintf(text, sizeof text, "{\"http\":{\"url\":\"http://localhost:%d/ok\"}}", server.port);
  json_t *q = help_json(text);
  for (int round = 0; round < 10; round++) {
    static struct outcome all[COUNT];
    struct flight *flights[COUNT];
    struct transports *kept = transports;
    transports = transports_new(loop, secrets);
    int asked = 0;
    memset(all, 0, sizeof all);
    for (int i = 0; i < COUNT; i++) flights[i] = start_one(q, 20000, &asked, &all[i]);
    if (round % 2) loop_turn(loop);
    for (int i = round & 2; i < COUNT; i += 3) transport_cancel(flights[i]);
    for (int i = 0; i < COUNT; i++) {
      help_wait(&all[i]);
      assert_true(all[i].delivery == DELIVERY_ANSWERED || all[i].err.code == ERR_CANCELLED);
      json_decref(all[i].response);
    }
    transports_free(transports);
    transports = kept;
  }
  json_decref(q);
}

static void post_to(const char *host) {
  char text[256];
  snprintf(text, sizeof text, "{\"http\":{\"method\":\"POST\",\"url\":\"http://%s:%d/ok\"}}", host, server.port);
  help_run((struct exchange){.connector = "test"}, help_json(text), &o);
}

/* What is remembered of a server makes no other URL of it good, changes nothing that is sent, and never gets much. */
static void known_server(void **state) {
  static const char *const bad[] = {"/ok#x", "/o k", "/ok\\n", "/a/../ok", "/%2e", "@127.0.0.1/ok", "x/ok"};
  static const char *const asked[][2] = {
      {"/ok", "/ok"},       {"", "/"},       {"?x=1", "/?x=1"}, {"/ok?a=%2f&b=?", "/ok?a=%2f&b=?"}, {"/%zz%C3%a4", "/%zz%C3%a4"},
      {"//ok//", "//ok//"}, {"/a<b", "/a<b"}};
  char last[REQUEST_CAP], line[256], url[64], host[32];
  get("/ok");
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    struct err err = {0};
    assert_int_equal(help_refused((struct exchange){0}, request("POST", bad[i], ""), &err), ERR_INVALID);
  }
  for (size_t i = 0; i < sizeof asked / sizeof *asked; i++) {
    help_run((struct exchange){0}, request("POST", asked[i][0], ""), &o);
    expect(DELIVERY_ANSWERED, 0);
    last_request(last);
    snprintf(line, sizeof line, "POST %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n", asked[i][1], server.port);
    assert_memory_equal(last, line, strlen(line));
  }
  assert_int_equal(secrets_put(secrets, "host", "127.0.99.7", 10, NULL), 0);
  snprintf(url, sizeof url, "http://127.0.99.7:%d", server.port);
  post_to("127.0.99.7");
  expect(DELIVERY_NOT_SENT, ERR_UNAVAILABLE);
  assert_null(map_get(&transports->servers, url));
  secrets_drop(secrets, "host");
  for (int i = 0; i < 300; i++) {
    snprintf(host, sizeof host, "127.0.%d.%d", 1 + i / 100, 1 + i % 100);
    post_to(host);
    expect(DELIVERY_NOT_SENT, ERR_UNAVAILABLE);
    assert_true(map_count(&transports->servers) > 0 && map_count(&transports->servers) <= 256);
  }
  get("/ok");
  expect(DELIVERY_ANSWERED, 0);
}

int main(void) {
  slab_install(); /* as the engine does */
  const struct CMUnitTest tests[] = {cmocka_unit_test(many_at_once), cmocka_unit_test(nothing_left_over),
                                     cmocka_unit_test(said_once),    cmocka_unit_test(closed_while_kept),
                                     cmocka_unit_test(waiting),      cmocka_unit_test(nothing_left_over_of_failures),
                                     cmocka_unit_test(storm),        cmocka_unit_test(by_name),
                                     cmocka_unit_test(known_server)};
  return cmocka_run_group_tests(tests, up, down);
}
