/* Delivery of the http transport, failure by failure; the forms; who we are; what must never happen. */
#include "http_ask.h"

#include "base/clock.h"
#include "base/digest.h"
#include "transport/address.h"

/* ---- answers ---------------------------------------------------------------------------------------- */

static void answers(void **state) {
  uint64_t before = transports_sent(transports);
  get("/ok");
  expect(DELIVERY_ANSWERED, 0);
  assert_int_equal(json_int_or(o.response, "status", 0), 200);
  assert_true(json_is_true(json_at(o.response, "body.fine")));
  assert_string_equal(json_str(json_object_get(o.response, "headers"), "x-one"), "a, b");
  assert_int_equal(transports_sent(transports), before + 1);
  get("/500");
  expect(DELIVERY_ANSWERED, 0);
  assert_int_equal(json_int_or(o.response, "status", 0), 500);
  assert_string_equal(json_str(o.response, "text"), "broken");
  get("/latin");
  assert_string_equal(json_str(o.response, "text"), "caf\xef\xbf\xbd");
}

static void retry_after(void **state) {
  get("/429");
  expect(DELIVERY_ANSWERED, 0);
  assert_int_equal(o.retry_ms, 7000);
  get("/503");
  expect(DELIVERY_ANSWERED, 0);
  int64_t due = 4039372800000 - clock_wall(clock_system()) / 1000; /* 2098-01-01 */
  assert_true(o.retry_ms > due - 5000 && o.retry_ms < due + 5000);
  get("/ok");
  assert_int_equal(o.retry_ms, -1);
}

static void redirects(void **state) {
  const struct exchange reads = {.connector = "test", .read_only = true};
  get("/redirect"); /* not a read: an answer */
  expect(DELIVERY_ANSWERED, 0);
  assert_int_equal(json_int_or(o.response, "status", 0), 302);
  help_run(reads, request("GET", "/redirect", ""), &o);
  assert_int_equal(json_int_or(o.response, "status", 0), 200);
  help_run(reads, request("GET", "/away", ""), &o);
  assert_int_equal(json_int_or(o.response, "status", 0), 302);
  help_run(reads, request("POST", "/redirect", ""), &o);
  assert_int_equal(json_int_or(o.response, "status", 0), 302);
  int before = atomic_load(&server.requests);
  help_run(reads, request("GET", "/round", ""), &o);
  expect(DELIVERY_ANSWERED, 0);
  assert_int_equal(atomic_load(&server.requests) - before, 6);
}

/* ---- not sent --------------------------------------------------------------------------------------- */

static void not_sent(void **state) {
  char text[256];
  uint64_t before = transports_sent(transports);
  snprintf(text, sizeof text, "{\"http\":{\"method\":\"POST\",\"url\":\"http://127.0.0.1:%d/\"}}", free_port());
  help_run((struct exchange){0}, help_json(text), &o);
  expect(DELIVERY_NOT_SENT, ERR_UNAVAILABLE);
  help_run((struct exchange){0}, help_json("{\"http\":{\"url\":\"http://no-such-host.invalid/\"}}"), &o);
  expect(DELIVERY_NOT_SENT, ERR_UNAVAILABLE);
  int asked = 0, requests = atomic_load(&server.requests);
  help_run((struct exchange){.gate = gate_no, .gate_arg = &asked}, request("POST", "/ok", ""), &o);
  expect(DELIVERY_NOT_SENT, ERR_CANCELLED);
  assert_int_equal(asked, 1);
  assert_int_equal(atomic_load(&server.requests), requests);
  assert_int_equal(transports_sent(transports), before);
}

static void refused_addresses(void **state) {
  static const char *const addresses[] = {"169.254.169.254",
                                          "169.254.1.1",
                                          "0.0.0.0",
                                          "224.0.0.1",
                                          "[fe80::1]",
                                          "[fd00:ec2::254]",
                                          "[::ffff:169.254.169.254]",
                                          "[64:ff9b::a9fe:a9fe]",
                                          "[::]",
                                          "[ff02::1]",
                                          "2852039166",
                                          "255.255.255.255",
                                          NULL};
  for (size_t i = 0; addresses[i]; i++) {
    char text[256];
    snprintf(text, sizeof text, "{\"http\":{\"url\":\"http://%s/latest/meta-data\"}}", addresses[i]);
    help_run((struct exchange){.timeout_ms = 3000}, help_json(text), &o);
    if (o.delivery != DELIVERY_NOT_SENT || o.err.code != ERR_DENIED) fail_msg("%s: %d %s", addresses[i], o.delivery, o.err.text);
  }
}

/* The rules alone: nothing is connected here. */
static void address_rules(void **state) {
  struct netrules none, link, some;
  struct err err = {0};
  json_t *link_json = help_json("{\"allow_link_local\":true}"),
         *some_json = help_json("{\"allow\":[\"169.254.10.0/24\",\"fd00:ec2::254\"]}"), *bad = help_json("{\"allow\":[\"10.0.0.0/40\"]}");
  assert_int_equal(netrules_init(&none, NULL, &err), 0);
  assert_int_equal(netrules_init(&link, link_json, &err), 0);
  assert_int_equal(netrules_init(&some, some_json, &err), 0);
  assert_int_equal(netrules_init(&(struct netrules){0}, bad, &err), ERR_INVALID);
  assert_true(netrules_allow_text(&none, "127.0.0.1") && netrules_allow_text(&none, "10.1.2.3") && netrules_allow_text(&none, "::1") &&
              netrules_allow_text(&none, "2001:db8::1"));
  assert_false(netrules_allow_text(&none, "169.254.3.4") || netrules_allow_text(&none, "fe80::1%eth0") ||
               netrules_allow_text(&none, "nonsense"));
  assert_true(netrules_allow_text(&link, "169.254.3.4") && netrules_allow_text(&link, "fe80::1"));
  assert_false(netrules_allow_text(&link, "169.254.169.254") || netrules_allow_text(&link, "fd00:ec2::254") ||
               netrules_allow_text(&link, "224.0.0.1"));
  assert_true(netrules_allow_text(&some, "169.254.10.9") && netrules_allow_text(&some, "fd00:ec2::254"));
  assert_false(netrules_allow_text(&some, "169.254.11.9") || netrules_allow_text(&some, "2002:a9fe:a9fe::1"));
  netrules_release(&none), netrules_release(&link), netrules_release(&some);
  json_decref(link_json), json_decref(some_json), json_decref(bad);
}

/* A server that accepts by its backlog and never speaks TLS, and one that never accepts: time runs out before the request leaves. */
static void timeout_before(void **state) {
  char text[256];
  snprintf(text, sizeof text, "{\"http\":{\"method\":\"POST\",\"url\":\"https://127.0.0.1:%d/\"}}", server.port);
  help_run((struct exchange){.timeout_ms = 300}, help_json(text), &o);
  expect(DELIVERY_NOT_SENT, ERR_TIMEOUT);
}

/* ---- in doubt --------------------------------------------------------------------------------------- */

static void in_doubt(void **state) {
  static const struct {
    const char *path;
    int code;
  } cases[] = {{"/reset", ERR_UNAVAILABLE}, {"/reset-mid", ERR_UNAVAILABLE}, {"/half", ERR_UNAVAILABLE}, {"/half-chunk", ERR_UNAVAILABLE},
               {"/empty", ERR_UNAVAILABLE}, {"/bad-line", ERR_UNAVAILABLE},  {"/bomb", ERR_LIMIT},       {"/gigabyte", ERR_LIMIT},
               {"/headers", ERR_LIMIT},     {"/silent", ERR_TIMEOUT},        {"/drip", ERR_TIMEOUT},     {"/rubbish", ERR_INVALID}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    int asked = 0;
    help_run((struct exchange){.connector = cases[i].path,
                               .timeout_ms = cases[i].code == ERR_TIMEOUT ? 400 : 10000,
                               .response_cap = 65536,
                               .gate = gate_yes,
                               .gate_arg = &asked},
             request("POST", cases[i].path, ",\"json\":{\"a\":1}"), &o);
    if (o.delivery != DELIVERY_IN_DOUBT || o.err.code != cases[i].code || asked != 1)
      fail_msg("%s: delivery %d, %s (%s), asked %d", cases[i].path, o.delivery, err_name(o.err.code), o.err.text, asked);
  }
}

static void gigabyte_is_cut_early(void **state) {
  help_run((struct exchange){.response_cap = 1 << 20}, request("GET", "/gigabyte", ""), &o);
  expect(DELIVERY_IN_DOUBT, ERR_LIMIT);
  assert_true(o.took_us < 3000000);
}

/* libcurl repeats a POST by itself when a kept connection turns out dead; the gate stops it. */
static void no_blind_repeat(void **state) {
  int asked = 0;
  char last[REQUEST_CAP];
  struct transports *kept = transports;
  transports = transports_new(loop, secrets); /* so that exactly one connection is kept */
  help_run((struct exchange){0}, request("GET", "/ok", ""), &o);
  int connections = atomic_load(&server.connections), requests = atomic_load(&server.requests);
  help_run((struct exchange){.gate = gate_yes, .gate_arg = &asked}, request("POST", "/dies-on-reuse", ",\"body\":\"effect\""), &o);
  expect(DELIVERY_IN_DOUBT, ERR_UNAVAILABLE);
  assert_non_null(strstr(o.err.text, "not sent again"));
  assert_int_equal(asked, 1);
  assert_int_equal(atomic_load(&server.requests), requests + 1); /* it arrived once */
  last_request(last);
  assert_non_null(strstr(last, "POST /dies-on-reuse"));
  WAIT_FOR(atomic_load(&server.connections) == connections + 1); /* libcurl did try again */
  assert_int_equal(transports_sent(transports), 2);
  transports_free(transports);
  transports = kept;
}

static void cancelled(void **state) {
  struct outcome c = {0};
  struct flight *flight;
  int asked = 0;
  json_t *q = request("POST", "/silent", "");
  struct exchange x = {.request = q, .timeout_ms = 10000, .gate = gate_yes, .gate_arg = &asked};
  assert_int_equal(transport_start(transports, &x, outcome_cb, &c, &flight, NULL), 0);
  transport_cancel(flight);
  assert_int_equal(c.calls, 0);
  help_wait(&c);
  assert_int_equal(c.delivery, DELIVERY_NOT_SENT);
  assert_int_equal(c.err.code, ERR_CANCELLED);
  memset(&c, 0, sizeof c);
  int requests = atomic_load(&server.requests);
  assert_int_equal(transport_start(transports, &x, outcome_cb, &c, &flight, NULL), 0);
  while (atomic_load(&server.requests) == requests) loop_turn(loop);
  transport_cancel(flight);
  help_wait(&c);
  assert_int_equal(c.delivery, DELIVERY_IN_DOUBT);
  assert_int_equal(c.err.code, ERR_CANCELLED);
  json_decref(q);
}

static void freed_with_flights(void **state) {
  struct transports *kept = transports;
  struct outcome c = {0};
  struct flight *flight;
  json_t *q = request("POST", "/silent", "");
  struct exchange x = {.request = q, .timeout_ms = 10000};
  transports = transports_new(loop, secrets);
  int requests = atomic_load(&server.requests);
  assert_int_equal(transport_start(transports, &x, outcome_cb, &c, &flight, NULL), 0);
  while (atomic_load(&server.requests) == requests) loop_turn(loop);
  transports_free(transports);
  transports = kept;
  json_decref(q);
  assert_int_equal(c.calls, 1);
  assert_int_equal(c.delivery, DELIVERY_IN_DOUBT);
}

/* ---- forms ------------------------------------------------------------------------------------------ */

static void forms(void **state) {
  char last[REQUEST_CAP];
  help_run(
      (struct exchange){.idempotency_key = "key-1"},
      request(
          "PUT", "/ok",
          ",\"path\":[\"a "
          "b\",\"x/../"
          "y\",7],\"query\":{\"z\":\"1&2\",\"a\":[\"p\",\"q\"],\"t\":true},\"headers\":{\"X-Reason\":\"why\"},\"json\":{\"k\":[1,null]},"
          "\"idempotency_key\":\"header\""),
      &o);
  last_request(last);
  assert_non_null(strstr(last, "PUT /ok/a%20b/x%2F..%2Fy/7?a=p&a=q&t=true&z=1%262 HTTP/1.1\r\n"));
  assert_non_null(strstr(last, "\r\nIdempotency-Key: key-1\r\n"));
  assert_non_null(strstr(last, "\r\nX-Reason: why\r\n"));
  assert_non_null(strstr(last, "\r\nContent-Type: application/json\r\n"));
  assert_non_null(strstr(last, "\r\n\r\n{\"k\":[1,null]}"));
  help_run((struct exchange){.idempotency_key = "key-2"},
           request("POST", "/ok", ",\"form\":{\"b\":\"ä\",\"a\":1},\"idempotency_key\":{\"header\":\"X-Request-Id\"}"), &o);
  last_request(last);
  assert_non_null(strstr(last, "X-Request-Id: key-2\r\n"));
  assert_non_null(strstr(last, "\r\n\r\na=1&b=%C3%A4"));
  help_run((struct exchange){.idempotency_key = "key-3"},
           request("POST", "/ok",
                   ",\"json\":{\"dedup\":{\"$idempotency_key\":true},\"d\":{\"$concat\":[\"a\"]},\"e\":{\"$$secret\":\"x\"}}"),
           &o);
  last_request(last);
  assert_non_null(strstr(last, "{\"d\":{\"$concat\":[\"a\"]},\"dedup\":\"key-3\",\"e\":{\"$secret\":\"x\"}}"));
  help_run((struct exchange){0}, request("DELETE", "/ok", ""), &o);
  last_request(last);
  assert_non_null(strstr(last, "DELETE /ok HTTP/1.1\r\n"));
  help_run((struct exchange){0}, request("HEAD", "/ok", ""), &o);
  expect(DELIVERY_ANSWERED, 0);
  help_run((struct exchange){0}, request("POST", "/ok", ""), &o);
  last_request(last);
  assert_non_null(strstr(last, "Content-Length: 0\r\n"));
}

static void bad_forms(void **state) {
  static const char *const bad[] = {"{}",
                                    "{\"http\":{},\"ldap\":{}}",
                                    "{\"gopher\":{}}",
                                    "{\"http\":5}",
                                    "{\"http\":{}}",
                                    "{\"http\":{\"url\":\"ftp://h/\"}}",
                                    "{\"http\":{\"url\":\"http:h\"}}",
                                    "{\"http\":{\"url\":\"http:/h/x\"}}",
                                    "{\"http\":{\"url\":\"http:///h/x\"}}",
                                    "{\"http\":{\"url\":\"http:////h/x\"}}",
                                    "{\"http\":{\"url\":\"https:/h?a=://b\"}}",
                                    "{\"http\":{\"url\":\"http://\",\"path\":[\"elsewhere.example\"]}}",
                                    "{\"http\":{\"url\":\"http:/\",\"path\":[\"elsewhere.example\"]}}",
                                    "{\"http\":{\"url\":\"http://@h/\"}}",
                                    "{\"http\":{\"url\":\"http://:p@h/\"}}",
                                    "{\"http\":{\"url\":\"http://u:p@h/\"}}",
                                    "{\"http\":{\"url\":\"http://h/#x\"}}",
                                    "{\"http\":{\"url\":\"http://h/a/../b\"}}",
                                    "{\"http\":{\"url\":\"http://h/%2e%2E/b\"}}",
                                    "{\"http\":{\"url\":\"http://h/\",\"path\":[\"..\"]}}",
                                    "{\"http\":{\"url\":\"http://h/\",\"path\":[\"\"]}}",
                                    "{\"http\":{\"url\":\"http://h/ x\"}}",
                                    "{\"http\":{\"url\":\"http://h/\\r\\nX: y\"}}",
                                    "{\"http\":{\"url\":\"file:///etc/passwd\"}}",
                                    "{\"http\":{\"url\":\"http://h/\",\"headers\":{\"A\":\"b\\r\\nC: d\"}}}",
                                    "{\"http\":{\"url\":\"http://h/\",\"headers\":{\"A b\":\"c\"}}}",
                                    "{\"http\":{\"url\":\"http://h/\",\"headers\":{\"host\":\"c\"}}}",
                                    "{\"http\":{\"url\":\"http://h/\",\"json\":1,\"body\":\"x\"}}",
                                    "{\"http\":{\"url\":\"http://h/\",\"method\":\"get\"}}",
                                    "{\"http\":{\"url\":\"http://h/\",\"metod\":\"GET\"}}",
                                    "{\"http\":{\"url\":\"http://h/\",\"bearer\":{\"$secret\":\"nobody\"}}}",
                                    "{\"http\":{\"url\":\"http://h/\",\"auth\":{\"magic\":1}}}",
                                    "{\"http\":{\"url\":\"http://h/\",\"auth\":{\"basic\":{\"user\":\"u\"}}}}",
                                    "{\"http\":{\"url\":\"http://h/\",\"idempotency_key\":\"header\"}}",
                                    "{\"http\":{\"url\":\"http://h\\u0000/\"}}",
                                    NULL};
  for (size_t i = 0; bad[i]; i++) {
    struct err err = {0};
    int r = help_refused((struct exchange){0}, help_json(bad[i]), &err);
    if (r >= 0 || !err.text[0]) fail_msg("accepted: %s", bad[i]);
  }
}

/* ---- who we are ------------------------------------------------------------------------------------- */

static void secrets_stay(void **state) {
  char last[REQUEST_CAP];
  assert_int_equal(secrets_put(secrets, "edr.token", "s3cret-Token/42", 15, NULL), 0);
  help_run((struct exchange){0}, request("GET", "/echo-secret", ",\"bearer\":{\"$secret\":\"edr.token\"}"), &o);
  last_request(last);
  assert_non_null(strstr(last, "Authorization: Bearer s3cret-Token/42\r\n"));
  assert_non_null(strstr(json_str(o.response, "text"), "[secret:edr.token]"));
  assert_null(strstr(json_str(o.response, "text"), "s3cret"));
  help_run((struct exchange){0},
           request("GET", "/echo-secret",
                   ",\"auth\":{\"header\":{\"name\":\"Authorization\",\"prefix\":\"token \",\"value\":{\"$secret\":\"edr.token\"}}}"),
           &o);
  last_request(last);
  assert_non_null(strstr(last, "Authorization: token s3cret-Token/42\r\n"));
  help_run((struct exchange){0},
           request("GET", "/echo-secret", ",\"auth\":{\"basic\":{\"user\":\"me\",\"password\":{\"$secret\":\"edr.token\"}}}"), &o);
  last_request(last);
  assert_non_null(strstr(last, "Authorization: Basic bWU6czNjcmV0LVRva2VuLzQy\r\n"));
  assert_null(strstr(json_str(o.response, "text"), "czNjcmV0LVRva2VuLzQ"));
}

/* An error's text is cut; a secret that the cut goes through is no secret any more that redaction knows. */
static void secret_cut_in_error(void **state) {
  char host[701], text[256];
  for (size_t i = 0; i < sizeof host - 1; i++) host[i] = i % 50 == 49 ? '.' : (char)('a' + (i * i + i / 7) % 26);
  host[sizeof host - 1] = 0;
  assert_int_equal(secrets_put(secrets, "long.host", host, sizeof host - 1, NULL), 0);
  snprintf(text, sizeof text, "{\"http\":{\"url\":{\"$concat\":[\"http://\",{\"$secret\":\"long.host\"},\":1/\"]}}}");
  help_run((struct exchange){0}, help_json(text), &o);
  assert_int_equal(o.delivery, DELIVERY_NOT_SENT);
  host[12] = 0;
  assert_null(strstr(o.err.text, host));
  assert_non_null(strstr(o.err.text, "[secret"));
}

/* A form that bears nothing to fill in is sent as it is, and is the caller's as before when it was sent; with a secret in it a copy is wiped. */
static void request_stays(void **state) {
  static const char *const bodies[] = {",\"json\":{\"a\":[\"b\",{\"c\":1}]},\"headers\":{\"X-A\":\"b\"}",
                                       ",\"json\":{\"a\":[\"b\",{\"$secret\":\"edr.kept\"}],\"$$secret\":\"x\",\"d\":\"e\"}"};
  char last[REQUEST_CAP];
  assert_int_equal(secrets_put(secrets, "edr.kept", "s3cret-kept", 11, NULL), 0);
  for (size_t i = 0; i < 2; i++) {
    json_t *mine = request("POST", "/ok", bodies[i]), *same = json_deep_copy(mine);
    help_run((struct exchange){0}, json_incref(mine), &o);
    expect(DELIVERY_ANSWERED, 0);
    assert_true(json_equal(mine, same));
    assert_int_equal(mine->refcount, 1);
    last_request(last);
    assert_non_null(strstr(last, i == 0 ? "{\"a\":[\"b\",{\"c\":1}]}" : "{\"$secret\":\"x\",\"a\":[\"b\",\"s3cret-kept\"],\"d\":\"e\"}"));
    json_decref(mine);
    json_decref(same);
  }
}

static void hmac(void **state) {
  char last[REQUEST_CAP], hex[DIGEST_HEX], want[200], signed_text[200], stamp[32] = "";
  uint8_t mac[DIGEST_BYTES];
  help_run((struct exchange){0},
           request("POST", "/ok",
                   ",\"path\":[\"x\"],\"body\":\"content\",\"auth\":{\"hmac\":{\"secret\":\"shared-secret\",\"header\":\"X-Signature\","
                   "\"prefix\":\"v0=\",\"signed\":\"%m:%p:%t:%b\","
                   "\"timestamp_header\":\"X-Time\"}}"),
           &o);
  last_request(last);
  char *at = strstr(last, "X-Time: ");
  assert_non_null(at);
  snprintf(stamp, sizeof stamp, "%.*s", (int)strcspn(at + 8, "\r"), at + 8);
  snprintf(signed_text, sizeof signed_text, "POST:/ok/x:%s:content", stamp);
  digest_hmac_sha256("shared-secret", 13, signed_text, strlen(signed_text), mac);
  hex_encode(mac, sizeof mac, hex);
  snprintf(want, sizeof want, "X-Signature: v0=%s\r\n", hex);
  assert_non_null(strstr(last, want));
}

static void header_value(const char *last, const char *name, char *out, size_t size) {
  const char *at = strcasestr(last, name);
  assert_non_null(at);
  at += strlen(name);
  at += strspn(at, " ");
  snprintf(out, size, "%.*s", (int)strcspn(at, "\r"), at);
}

static void hmac_text(const void *key, size_t len, const char *text, uint8_t out[DIGEST_BYTES]) {
  digest_hmac_sha256(key, len, text, strlen(text), out);
}

/* Signature Version 4, worked out here from what arrived (AWS General Reference, "Create a signed request"). */
static void sigv4(void **state) {
  char last[REQUEST_CAP], date[32], content[80], authorization[512], canonical[4096], names[256], hex[DIGEST_HEX], to_sign[512], scope[64],
      day[9], line[512];
  uint8_t key[DIGEST_BYTES], digest[DIGEST_BYTES];
  help_run((struct exchange){0},
           request("POST", "/ok",
                   ",\"query\":{\"b\":\"2\",\"a\":\"x "
                   "y\"},\"form\":{\"Action\":\"DeleteAccessKey\"},\"auth\":{\"sigv4\":{\"access_key\":\"AKIDEXAMPLE\","
                   "\"secret_key\":\"wJalrXUtnFEMIK7MDENG\",\"region\":\"us-east-1\",\"service\":\"iam\"}}"),
           &o);
  expect(DELIVERY_ANSWERED, 0);
  last_request(last);
  header_value(last, "X-Amz-Date:", date, sizeof date);
  header_value(last, "x-amz-content-sha256:", content, sizeof content);
  header_value(last, "Authorization:", authorization, sizeof authorization);
  digest_sha256("Action=DeleteAccessKey", 22, digest);
  hex_encode(digest, sizeof digest, hex);
  assert_string_equal(content, hex);
  char *at = strstr(authorization, "SignedHeaders=");
  assert_non_null(at);
  snprintf(names, sizeof names, "%.*s", (int)strcspn(at + 14, ","), at + 14);
  assert_non_null(strstr(names, "x-amz-content-sha256"));
  size_t n = (size_t)snprintf(canonical, sizeof canonical, "POST\n/ok\na=x%%20y&b=2\n");
  for (char *save = names, *name; (name = strsep(&save, ";"));) {
    char label[80], value[200];
    snprintf(label, sizeof label, "\r\n%s:", name);
    header_value(last, label, value, sizeof value);
    n += (size_t)snprintf(canonical + n, sizeof canonical - n, "%s:%s\n", name, value);
    if (save) save[-1] = ';';
  }
  char *list = strstr(authorization, "SignedHeaders=") + 14;
  snprintf(canonical + n, sizeof canonical - n, "\n%.*s\n%s", (int)strcspn(list, ","), list, content);
  digest_sha256(canonical, strlen(canonical), digest);
  hex_encode(digest, sizeof digest, hex);
  snprintf(day, sizeof day, "%.8s", date);
  snprintf(scope, sizeof scope, "%s/us-east-1/iam/aws4_request", day);
  snprintf(to_sign, sizeof to_sign, "AWS4-HMAC-SHA256\n%s\n%s\n%s", date, scope, hex);
  hmac_text("AWS4wJalrXUtnFEMIK7MDENG", 24, day, key);
  hmac_text(key, 32, "us-east-1", digest);
  hmac_text(digest, 32, "iam", key);
  hmac_text(key, 32, "aws4_request", digest);
  hmac_text(digest, 32, to_sign, key);
  hex_encode(key, sizeof key, hex);
  snprintf(line, sizeof line, "Signature=%s", hex);
  if (!strstr(authorization, line)) fail_msg("%s\nwanted %s\ncanonical:\n%s", authorization, line, canonical);
}

static json_t *with_token(const char *path, const char *token_path) {
  char more[512];
  snprintf(more, sizeof more,
           ",\"auth\":{\"oauth2\":{\"token_url\":\"http://"
           "127.0.0.1:%d%s\",\"client_id\":\"me\",\"client_secret\":\"client-secret-1\",\"scope\":\"a b\"}}",
           server.port, token_path);
  return request("POST", path, more);
}

static void oauth2(void **state) {
  char last[REQUEST_CAP];
  int asked = 0;
  atomic_store(&server.tokens, 0);
  struct exchange x = {.connector = "okta", .gate = gate_yes, .gate_arg = &asked};
  help_run(x, with_token("/echo-secret", "/token"), &o);
  expect(DELIVERY_ANSWERED, 0);
  assert_int_equal(asked, 1); /* asking for a token is no sending */
  assert_null(strstr(json_str(o.response, "text"), "token-number"));
  assert_non_null(strstr(json_str(o.response, "text"), "[secret:oauth2:okta:"));
  help_run(x, with_token("/echo-secret", "/token"), &o);
  assert_int_equal(atomic_load(&server.tokens), 1); /* kept */
  help_run(x, with_token("/needs-second", "/token"), &o);
  assert_int_equal(json_int_or(o.response, "status", 0), 200); /* renewed once on 401, the gate asked anew */
  assert_int_equal(atomic_load(&server.tokens), 2);
  assert_int_equal(asked, 4);
  help_run(x, with_token("/always-401", "/token"), &o);
  assert_int_equal(json_int_or(o.response, "status", 0), 401);
  assert_int_equal(atomic_load(&server.tokens), 3);
  x.connector = "other";
  help_run(x, with_token("/ok", "/no-token"), &o);
  expect(DELIVERY_NOT_SENT, ERR_DENIED);
  last_request(last);
  assert_non_null(strstr(last, "Authorization: Basic bWU6Y2xpZW50LXNlY3JldC0x\r\n"));
  assert_non_null(strstr(last, "grant_type=client_credentials&scope=a%20b"));
}

/* ---- TLS, by a real nginx --------------------------------------------------------------------------- */

static pid_t start_nginx(const char *folder, int port) {
  char conf[2048], path[128], log[128];
  make_certificates(folder);
  snprintf(conf, sizeof conf,
           "daemon off; pid %s/pid; error_log %s/error.log; events {} http { access_log off; client_body_temp_path %s/b; proxy_temp_path "
           "%s/p; fastcgi_temp_path %s/f; uwsgi_temp_path %s/u; scgi_temp_path %s/s;"
           " server { listen 127.0.0.1:%d ssl; listen 127.0.0.2:%d ssl; ssl_certificate %s/server.pem; ssl_certificate_key %s/server.key; "
           "location / { return 200 "
           "'over tls'; } } }",
           folder, folder, folder, folder, folder, folder, folder, port, port, folder, folder);
  snprintf(path, sizeof path, "%s/nginx.conf", folder);
  snprintf(log, sizeof log, "%s/out.log", folder);
  write_file(path, conf);
  pid_t pid = spawn_quiet(log, 0, 0, (const char *[]){"/usr/sbin/nginx", "-c", path, "-p", folder, NULL});
  WAIT_FOR(port_open(port));
  return pid;
}

static void tls(void **state) {
  char folder[] = "/tmp/tocsin-http-XXXXXX", text[256], rules_text[128];
  assert_non_null(mkdtemp(folder));
  int port = free_port();
  pid_t pid = start_nginx(folder, port);
  snprintf(rules_text, sizeof rules_text, "{\"ca_file\":\"%s/ca.pem\"}", folder);
  json_t *rules = help_json(rules_text);
  snprintf(text, sizeof text, "{\"http\":{\"method\":\"POST\",\"url\":\"https://localhost:%d/\"}}", port);
  int asked = 0;
  help_run((struct exchange){.gate = gate_yes, .gate_arg = &asked}, help_json(text), &o);
  expect(DELIVERY_NOT_SENT, ERR_DENIED); /* a certificate that nobody vouches for */
  assert_int_equal(asked, 0);
  help_run((struct exchange){.network = rules}, help_json(text), &o);
  expect(DELIVERY_ANSWERED, 0);
  assert_string_equal(json_str(o.response, "text"), "over tls");
  snprintf(text, sizeof text, "{\"http\":{\"method\":\"POST\",\"url\":\"https://127.0.0.2:%d/\"}}", port);
  help_run((struct exchange){.network = rules}, help_json(text), &o);
  expect(DELIVERY_NOT_SENT, ERR_DENIED); /* its certificate names another */
  snprintf(text, sizeof text, "{\"http\":{\"method\":\"POST\",\"url\":\"https://localhost:%d/\"}}", port);
  help_run((struct exchange){0}, help_json(text), &o);
  expect(DELIVERY_NOT_SENT, ERR_DENIED); /* nothing of another instance's rules is left behind */
  help_run((struct exchange){.network = rules}, help_json(text), &o);
  expect(DELIVERY_ANSWERED, 0);
  json_decref(rules);
  stop_pid(pid);
  remove_folder(folder);
}

/* ---- the environment has no say --------------------------------------------------------------------- */

static void no_proxy(void **state) {
  setenv("http_proxy", "http://127.0.0.1:1", 1);
  setenv("ALL_PROXY", "http://127.0.0.1:1", 1);
  get("/ok");
  expect(DELIVERY_ANSWERED, 0);
  unsetenv("http_proxy");
  unsetenv("ALL_PROXY");
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(answers),
                                     cmocka_unit_test(retry_after),
                                     cmocka_unit_test(redirects),
                                     cmocka_unit_test(not_sent),
                                     cmocka_unit_test(refused_addresses),
                                     cmocka_unit_test(address_rules),
                                     cmocka_unit_test(timeout_before),
                                     cmocka_unit_test(in_doubt),
                                     cmocka_unit_test(gigabyte_is_cut_early),
                                     cmocka_unit_test(no_blind_repeat),
                                     cmocka_unit_test(cancelled),
                                     cmocka_unit_test(freed_with_flights),
                                     cmocka_unit_test(forms),
                                     cmocka_unit_test(bad_forms),
                                     cmocka_unit_test(secrets_stay),
                                     cmocka_unit_test(secret_cut_in_error),
                                     cmocka_unit_test(request_stays),
                                     cmocka_unit_test(hmac),
                                     cmocka_unit_test(sigv4),
                                     cmocka_unit_test(oauth2),
                                     cmocka_unit_test(tls),
                                     cmocka_unit_test(no_proxy)};
  return cmocka_run_group_tests(tests, up, down);
}
