/* http_ask.h: one request of the http transport to the server of http_server.h, and what became of it; for the tests of that transport. */
#ifndef TOCSIN_TEST_HTTP_ASK_H
#define TOCSIN_TEST_HTTP_ASK_H

#include "http_server.h"

static struct outcome o;

static json_t *request(const char *method, const char *path, const char *more) {
  char text[2048];
  snprintf(text, sizeof text, "{\"http\":{\"method\":\"%s\",\"url\":\"http://127.0.0.1:%d%s\"%s}}", method, server.port, path, more);
  return help_json(text);
}

static void get(const char *path) { help_run((struct exchange){.connector = "test"}, request("GET", path, ""), &o); }

static void expect(enum delivery delivery, int code) {
  if (o.delivery != delivery || o.err.code != code)
    fail_msg("delivery %d code %d (%s): %s", o.delivery, o.err.code, err_name(o.err.code), o.err.text);
  assert_true((o.response != NULL) == (delivery == DELIVERY_ANSWERED));
}

static int up(void **state) {
  help_up();
  server_up();
  return 0;
}

static int down(void **state) {
  outcome_release(&o);
  help_down();
  server_down();
  return 0;
}

#endif
