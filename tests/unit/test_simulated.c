/* A simulated exchange opens nothing: not a socket, not a program, not a secret. */
#include "transport_help.h"

static struct outcome o;

static int up(void **state) {
  help_up();
  return 0;
}

static int down(void **state) {
  outcome_release(&o);
  help_down();
  return 0;
}

static int count_fds(void) {
  int count = 0;
  for (int fd = 0; fd < 256; fd++) count += fcntl(fd, F_GETFD) >= 0;
  return count;
}

static const char *const requests[] = {
    "{\"http\":{\"method\":\"POST\",\"url\":\"http://127.0.0.1:%d/\",\"bearer\":{\"$secret\":\"nobody knows it\"}}}",
    "{\"ldap\":{\"url\":\"ldap://127.0.0.1:%d\",\"delete\":{\"dn\":\"x\"}}}",
    "{\"sql\":{\"host\":\"127.0.0.1\",\"port\":%d,\"dbname\":\"d\",\"user\":\"u\",\"statements\":[\"SELECT 1\"]}}",
    "{\"redis\":{\"host\":\"127.0.0.1\",\"port\":%d,\"commands\":[[\"PING\"]]}}",
    "{\"smtp\":{\"url\":\"smtp://127.0.0.1:%d\",\"from\":\"a@b\",\"to\":[\"c@d\"],\"subject\":\"s\",\"text\":\"t\"}}",
    "{\"exec\":{\"program\":\"/bin/touch\",\"args\":[\"/tmp/%d\"]}}",
    NULL};

/* A listening socket that nobody may knock at. */
static void opens_nothing(void **state) {
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t len = sizeof a;
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), fds;
  assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a) | listen(fd, 8) | getsockname(fd, (struct sockaddr *)&a, &len), 0);
  fds = count_fds();
  json_t *simulate = help_json("{\"already\":false,\"list\":[1,2]}");
  for (size_t i = 0; requests[i]; i++) {
    char text[512];
    const char *place = strstr(requests[i], "%d");
    snprintf(text, sizeof text, "%.*s%d%s", (int)(place - requests[i]), requests[i], ntohs(a.sin_port), place + 2);
    help_run((struct exchange){.simulated = true, .simulate = simulate}, help_json(text), &o);
    assert_int_equal(o.delivery, DELIVERY_ANSWERED);
    assert_true(json_equal(o.response, simulate));
    assert_int_equal(count_fds(), fds);
    help_run((struct exchange){.incident = "EX-000001", .simulate = simulate}, help_json(text), &o); /* the id alone is enough */
    assert_int_equal(o.delivery, DELIVERY_ANSWERED);
    assert_true(json_equal(o.response, simulate));
    assert_int_equal(count_fds(), fds);
  }
  assert_int_equal(transports_sent(transports), 0);
  assert_true(accept(fd, NULL, NULL) < 0); /* nobody knocked */
  json_decref(simulate);
  close(fd);
}

static void refused_without_answer(void **state) {
  struct err err = {0};
  assert_int_equal(help_refused((struct exchange){.simulated = true}, help_json("{\"exec\":{\"program\":\"/bin/true\"}}"), &err),
                   ERR_INVALID);
  assert_non_null(strstr(err.text, "simulate"));
  assert_int_equal(help_refused((struct exchange){.incident = "EX-000001"}, help_json("{\"exec\":{\"program\":\"/bin/true\"}}"), &err),
                   ERR_INVALID);
  json_t *simulate = json_true();
  assert_int_equal(help_refused((struct exchange){.simulated = true, .simulate = simulate}, help_json("{\"carrier-pigeon\":{}}"), &err),
                   ERR_INVALID);
  assert_int_equal(transports_sent(transports), 0);
}

/* An exercise's transports: whatever is asked, and whoever asks it; and the answer takes its time by the exercise's clock. */
static void only_simulates(void **state) {
  struct clock clock;
  struct outcome late = {0};
  struct flight *flight;
  json_t *simulate = help_json("{\"already\":true}");
  clock_init_settable(&clock, 1000000);
  transports_only_simulate(transports, &clock);
  for (size_t i = 0; requests[i]; i++) {
    char text[512];
    const char *place = strstr(requests[i], "%d");
    snprintf(text, sizeof text, "%.*s1%s", (int)(place - requests[i]), requests[i], place + 2);
    help_run((struct exchange){.incident = "INC-000001", .simulate = simulate}, help_json(text), &o);
    assert_int_equal(o.delivery, DELIVERY_ANSWERED);
    assert_true(json_equal(o.response, simulate));
  }
  json_t *q = help_json("{\"exec\":{\"program\":\"/bin/false\"}}");
  struct exchange x = {.request = q, .simulate = simulate, .timeout_ms = 1, .latency_ms = 5000};
  assert_int_equal(transports_due(transports), INT64_MAX);
  assert_int_equal(transport_start(transports, &x, outcome_cb, &late, &flight, NULL), 0);
  for (int i = 0; i < 20; i++) loop_turn(loop);
  assert_true(flight_waits(flight));
  assert_int_equal(transports_due(transports), 6000000);
  clock_set(&clock, 5999999);
  transports_clock_moved(transports);
  for (int i = 0; i < 20; i++) loop_turn(loop);
  assert_int_equal(late.calls, 0);
  clock_set(&clock, 6000000);
  transports_clock_moved(transports);
  help_wait(&late);
  assert_int_equal(late.delivery, DELIVERY_ANSWERED);
  assert_int_equal(transports_sent(transports), 0);
  outcome_release(&late);
  json_decref(q);
  json_decref(simulate);
}

static void same_gate(void **state) {
  int asked = 0;
  json_t *simulate = json_object();
  help_run((struct exchange){.simulated = true, .simulate = simulate, .gate = gate_no, .gate_arg = &asked},
           help_json("{\"exec\":{\"program\":\"/bin/true\"}}"), &o);
  assert_int_equal(o.delivery, DELIVERY_NOT_SENT);
  assert_int_equal(asked, 1);
  struct outcome c = {0};
  struct flight *flight;
  json_t *q = help_json("{\"exec\":{\"program\":\"/bin/true\"}}");
  struct exchange x = {.request = q, .simulated = true, .simulate = simulate, .timeout_ms = 1000};
  assert_int_equal(transport_start(transports, &x, outcome_cb, &c, &flight, NULL), 0);
  transport_cancel(flight);
  help_wait(&c);
  assert_int_equal(c.delivery, DELIVERY_NOT_SENT);
  assert_int_equal(c.err.code, ERR_CANCELLED);
  json_decref(q);
  json_decref(simulate);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(opens_nothing), cmocka_unit_test(refused_without_answer), cmocka_unit_test(same_gate),
                                     cmocka_unit_test(only_simulates)};
  return cmocka_run_group_tests(tests, up, down);
}
