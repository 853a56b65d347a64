/* The ldap transport against a real slapd: what it does, what it refuses to say, and what is known after each failure. */
#include "transport_help.h"

#define ADMIN "cn=admin,dc=corp"
#define ALICE "uid=alice,ou=people,dc=corp"

static struct outcome o;
static char folder[64];
static pid_t slapd;
static int port, tls_port;

static json_t *ldap_at(const char *url, const char *more, const char *password, const char *operation) {
  char text[4096], who[256] = "";
  if (password) snprintf(who, sizeof who, "\"bind_dn\":\"" ADMIN "\",\"password\":%s,", password);
  snprintf(text, sizeof text, "{\"ldap\":{\"url\":\"%s\",%s%s%s}}", url, more, who, operation);
  return help_json(text);
}

static json_t *ldap(const char *operation) {
  char url[64];
  snprintf(url, sizeof url, "ldap://127.0.0.1:%d", port);
  return ldap_at(url, "", "{\"$secret\":\"ldap.admin\"}", operation);
}

static int run(const char *operation) {
  help_run((struct exchange){.connector = "ldap"}, ldap(operation), &o);
  if (o.delivery != DELIVERY_ANSWERED) fail_msg("%s: %s", operation, o.err.text);
  return (int)json_int_or(o.response, "code", -1);
}

static int test_bind(const char *dn, const char *password) {
  char url[64], operation[512];
  snprintf(url, sizeof url, "ldap://127.0.0.1:%d", port);
  snprintf(operation, sizeof operation, "\"bind\":{\"dn\":\"%s\",\"password\":%s}", dn, password);
  help_run((struct exchange){.connector = "ldap"}, ldap_at(url, "", NULL, operation), &o);
  assert_int_equal(o.delivery, DELIVERY_ANSWERED);
  return (int)json_int_or(o.response, "code", -1);
}

static void write_conf(void) {
  char conf[4096], path[128];
  snprintf(conf, sizeof conf,
           "include /etc/ldap/schema/core.schema\ninclude /etc/ldap/schema/cosine.schema\ninclude "
           "/etc/ldap/schema/inetorgperson.schema\nmodulepath /usr/lib/ldap\nmoduleload back_mdb\nmoduleload ppolicy\n"
           "pidfile %s/pid\nTLSCACertificateFile %s/ca.pem\nTLSCertificateFile %s/server.pem\nTLSCertificateKeyFile %s/server.key\n"
           "database mdb\nmaxsize 10485760\nsuffix dc=corp\nrootdn " ADMIN
           "\nrootpw admin-password\ndirectory %s/db\noverlay ppolicy\nppolicy_default cn=policy,dc=corp\n"
           "access to attrs=userPassword by anonymous auth by self write by * none\naccess to * by * read\n",
           folder, folder, folder, folder, folder);
  snprintf(path, sizeof path, "%s/db", folder);
  assert_int_equal(mkdir(path, 0700), 0);
  snprintf(path, sizeof path, "%s/slapd.conf", folder);
  write_file(path, conf);
}

static void fill_directory(void) {
  assert_int_equal(
      run("\"add\":{\"dn\":\"dc=corp\",\"attributes\":{\"objectClass\":[\"dcObject\",\"organization\"],\"dc\":\"corp\",\"o\":\"Corp\"}}"),
      0);
  assert_int_equal(
      run("\"add\":{\"dn\":\"ou=people,dc=corp\",\"attributes\":{\"objectClass\":\"organizationalUnit\",\"ou\":[\"people\"]}}"), 0);
  assert_int_equal(run("\"add\":{\"dn\":\"cn=policy,dc=corp\",\"attributes\":{\"objectClass\":[\"applicationProcess\",\"pwdPolicy\"],"
                       "\"cn\":\"policy\",\"pwdAttribute\":\"userPassword\",\"pwdLockout\":true}}"),
                   0);
  static const char *const names[] = {"alice", "bob", "carol, (the) * \\\\ one", NULL};
  for (size_t i = 0; names[i]; i++) {
    char operation[1024];
    snprintf(operation, sizeof operation,
             "\"add\":{\"dn\":{\"template\":\"uid=%%s,ou=people,dc=corp\",\"values\":[\"%s\"]},\"attributes\":{\"objectClass\":["
             "\"inetOrgPerson\"],\"uid\":\"%s\",\"cn\":\"N\",\"sn\":\"N\",\"userPassword\":\"old-password\"}}",
             names[i], names[i]);
    assert_int_equal(run(operation), 0);
  }
}

static int up(void **state) {
  char urls[128], conf[128], log[128], temporary[] = "/tmp/tocsin-ldap-XXXXXX";
  snprintf(folder, sizeof folder, "%s", mkdtemp(temporary));
  help_up();
  make_certificates(folder);
  write_conf();
  port = free_port();
  tls_port = free_port();
  snprintf(urls, sizeof urls, "ldap://127.0.0.1:%d/ ldaps://127.0.0.1:%d/", port, tls_port);
  snprintf(conf, sizeof conf, "%s/slapd.conf", folder);
  snprintf(log, sizeof log, "%s/log", folder);
  slapd = spawn_quiet(log, 0, 0, (const char *[]){"/usr/sbin/slapd", "-f", conf, "-h", urls, "-d", "0", NULL});
  WAIT_FOR(port_open(port) && port_open(tls_port));
  assert_int_equal(secrets_put(secrets, "ldap.admin", "admin-password", 14, NULL), 0);
  fill_directory();
  return 0;
}

static int down(void **state) {
  stop_pid(slapd);
  outcome_release(&o);
  help_down();
  remove_folder(folder);
  return 0;
}

static const char *attribute(const char *name) {
  json_t *entry = json_array_get(json_object_get(o.response, "entries"), 0);
  return json_string_value(json_array_get(json_object_get(json_object_get(entry, "attributes"), name), 0));
}

static void searches(void **state) {
  assert_int_equal(run("\"search\":{\"base\":\"ou=people,dc=corp\",\"filter\":\"(&(objectClass=person)(uid=%s))\",\"values\":[\"alice\"],"
                       "\"attributes\":[\"UID\",\"cn\"]}"),
                   0);
  assert_int_equal(json_array_size(json_object_get(o.response, "entries")), 1);
  assert_string_equal(json_str(json_array_get(json_object_get(o.response, "entries"), 0), "dn"), ALICE);
  assert_string_equal(attribute("UID"), "alice"); /* spelt as asked */
  assert_int_equal(run("\"search\":{\"base\":\"dc=corp\",\"filter\":\"(uid=%s)\",\"values\":[\"*\"]}"), 0);
  assert_int_equal(json_array_size(json_object_get(o.response, "entries")), 0); /* a star is a star */
  assert_int_equal(run("\"search\":{\"base\":\"dc=corp\",\"filter\":\"(uid=%s)\",\"values\":[\"x)(|(uid=*\"]}"), 0);
  assert_int_equal(json_array_size(json_object_get(o.response, "entries")), 0);
  assert_int_equal(run("\"search\":{\"base\":\"dc=corp\",\"filter\":\"(uid=%s)\",\"values\":[\"carol, (the) * \\\\ one\"]}"), 0);
  assert_int_equal(json_array_size(json_object_get(o.response, "entries")), 1);
  assert_int_equal(run("\"search\":{\"base\":\"dc=corp\",\"limit\":2}"), 4);
  assert_true(json_is_true(json_object_get(o.response, "truncated")));
  assert_int_equal(json_array_size(json_object_get(o.response, "entries")), 2);
  assert_int_equal(run("\"search\":{\"base\":\"dc=nowhere\"}"), 32);
  assert_string_equal(json_str(o.response, "name"), "noSuchObject");
}

static void password_modify(void **state) {
  uint64_t sent = transports_sent(transports);
  assert_int_equal(secrets_put(secrets, "new.bob", "brand-New-password", 18, NULL), 0);
  assert_int_equal(test_bind("uid=bob,ou=people,dc=corp", "\"old-password\""), 0);
  assert_int_equal(run("\"password_modify\":{\"dn\":\"uid=bob,ou=people,dc=corp\",\"new\":{\"$secret\":\"new.bob\"}}"), 0);
  assert_int_equal(test_bind("uid=bob,ou=people,dc=corp", "\"old-password\""), 49);
  assert_int_equal(test_bind("uid=bob,ou=people,dc=corp", "{\"$secret\":\"new.bob\"}"), 0);
  assert_int_equal(transports_sent(transports), sent + 4);
  assert_int_equal(run("\"password_modify\":{\"dn\":\"uid=nobody,dc=corp\",\"new\":{\"$secret\":\"new.bob\"}}"), 32);
}

static void lock_and_release(void **state) {
  assert_int_equal(run("\"modify\":{\"dn\":\"" ALICE
                       "\",\"changes\":[{\"op\":\"replace\",\"attribute\":\"pwdAccountLockedTime\",\"values\":[\"000001010000Z\"]}]}"),
                   0);
  assert_int_equal(test_bind(ALICE, "\"old-password\""), 49);
  assert_int_equal(run("\"search\":{\"base\":\"" ALICE "\",\"scope\":\"base\",\"attributes\":[\"pwdAccountLockedTime\"]}"), 0);
  assert_string_equal(attribute("pwdAccountLockedTime"), "000001010000Z");
  assert_int_equal(run("\"modify\":{\"dn\":\"" ALICE "\",\"changes\":[{\"op\":\"delete\",\"attribute\":\"pwdAccountLockedTime\"}]}"), 0);
  assert_int_equal(test_bind(ALICE, "\"old-password\""), 0); /* the same password works again */
}

static void compare_and_delete(void **state) {
  assert_int_equal(run("\"compare\":{\"dn\":\"" ALICE "\",\"attribute\":\"uid\",\"value\":\"alice\"}"), 6);
  assert_int_equal(run("\"compare\":{\"dn\":\"" ALICE "\",\"attribute\":\"uid\",\"value\":\"bob\"}"), 5);
  assert_int_equal(run("\"add\":{\"dn\":\"ou=gone,dc=corp\",\"attributes\":{\"objectClass\":\"organizationalUnit\",\"ou\":\"gone\"}}"), 0);
  assert_int_equal(run("\"delete\":{\"dn\":\"ou=gone,dc=corp\"}"), 0);
  assert_int_equal(run("\"delete\":{\"dn\":\"ou=gone,dc=corp\"}"), 32);
  assert_int_equal(run("\"modify\":{\"dn\":\"" ALICE
                       "\",\"changes\":[{\"op\":\"replace\",\"attribute\":\"noSuchAttribute\",\"values\":[\"x\"]}]}"),
                   17);
  assert_int_equal(
      run("\"modify\":{\"dn\":\"" ALICE
          "\",\"changes\":[{\"op\":\"replace\",\"attribute\":\"jpegPhoto\",\"values\":[\"/9j/4AAQ\"],\"encoding\":\"base64\"}]}"),
      0);
  assert_int_equal(run("\"search\":{\"base\":\"" ALICE "\",\"scope\":\"base\",\"attributes\":[\"jpegPhoto\"]}"), 0);
  json_t *photo =
      json_array_get(json_object_get(json_object_get(json_array_get(json_object_get(o.response, "entries"), 0), "attributes"), "jpegPhoto"),
                     0);
  assert_string_equal(json_str(photo, "base64"), "/9j/4AAQ");
}

static void redacted(void **state) {
  assert_int_equal(secrets_put(secrets, "shown", "value-to-hide", 13, NULL), 0);
  assert_int_equal(run("\"modify\":{\"dn\":\"" ALICE
                       "\",\"changes\":[{\"op\":\"replace\",\"attribute\":\"description\",\"values\":[{\"$secret\":\"shown\"}]}]}"),
                   0);
  assert_int_equal(run("\"search\":{\"base\":\"" ALICE "\",\"scope\":\"base\",\"attributes\":[\"description\"]}"), 0);
  assert_string_equal(attribute("description"), "[secret:shown]");
}

static void not_sent(void **state) {
  char url[64], closed[64];
  int asked = 0;
  const struct exchange x = {.connector = "ldap", .gate = gate_yes, .gate_arg = &asked};
  uint64_t sent = transports_sent(transports);
  snprintf(url, sizeof url, "ldap://127.0.0.1:%d", port);
  snprintf(closed, sizeof closed, "ldap://127.0.0.1:%d", free_port());
  help_run(x, ldap_at(url, "", "\"wrong-password\"", "\"delete\":{\"dn\":\"" ALICE "\"}"), &o);
  assert_int_equal(o.delivery, DELIVERY_NOT_SENT); /* bind refused */
  assert_int_equal(o.err.code, ERR_DENIED);
  help_run(x, ldap_at(closed, "", "\"wrong-password\"", "\"delete\":{\"dn\":\"" ALICE "\"}"), &o);
  assert_int_equal(o.delivery, DELIVERY_NOT_SENT);
  assert_int_equal(o.err.code, ERR_UNAVAILABLE);
  help_run(x, ldap_at("ldap://no-such-host.invalid", "", "\"wrong-password\"", "\"delete\":{\"dn\":\"" ALICE "\"}"), &o);
  assert_int_equal(o.delivery, DELIVERY_NOT_SENT);
  help_run(x, ldap_at("ldap://169.254.169.254", "", "\"wrong-password\"", "\"delete\":{\"dn\":\"" ALICE "\"}"), &o);
  assert_int_equal(o.delivery, DELIVERY_NOT_SENT);
  assert_int_equal(asked, 0);
  help_run((struct exchange){.gate = gate_no, .gate_arg = &asked}, ldap("\"delete\":{\"dn\":\"" ALICE "\"}"), &o);
  assert_int_equal(o.delivery, DELIVERY_NOT_SENT);
  assert_int_equal(o.err.code, ERR_CANCELLED);
  assert_int_equal(asked, 1);
  help_run(x, ldap("\"search\":{\"base\":\"dc=corp\",\"filter\":\"((uid=\"}"), &o);
  assert_int_equal(o.delivery, DELIVERY_NOT_SENT); /* the encoder refused, after the gate */
  assert_int_equal(o.err.code, ERR_INVALID);
  assert_int_equal(transports_sent(transports), sent + 1);
  assert_int_equal(test_bind(ALICE, "\"old-password\""), 0);
}

static void tls(void **state) {
  char url[64], plain[64], rules_text[128];
  const char *operation = "\"compare\":{\"dn\":\"" ALICE "\",\"attribute\":\"uid\",\"value\":\"alice\"}",
             *password = "{\"$secret\":\"ldap.admin\"}";
  snprintf(rules_text, sizeof rules_text, "{\"ca_file\":\"%s/ca.pem\"}", folder);
  snprintf(url, sizeof url, "ldaps://127.0.0.1:%d", tls_port);
  snprintf(plain, sizeof plain, "ldap://127.0.0.1:%d", port);
  json_t *rules = help_json(rules_text);
  help_run((struct exchange){.network = rules}, ldap_at(url, "", password, operation), &o);
  assert_int_equal(json_int_or(o.response, "code", -1), 6);
  help_run((struct exchange){.network = rules}, ldap_at(plain, "\"starttls\":true,", password, operation), &o);
  assert_int_equal(json_int_or(o.response, "code", -1), 6);
  /* The same without the CA: nobody vouches for it, so not even the password leaves. */
  help_run((struct exchange){0}, ldap_at(url, "", password, operation), &o);
  assert_int_equal(o.delivery, DELIVERY_NOT_SENT);
  help_run((struct exchange){0}, ldap_at(plain, "\"starttls\":true,", password, operation), &o);
  assert_int_equal(o.delivery, DELIVERY_NOT_SENT);
  json_decref(rules);
}

/* A server that reads and never answers: before the bind's answer nothing was sent, after the gate it is in doubt. */
static void silent_server(void **state) {
  char url[64];
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t len = sizeof a;
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), asked = 0;
  assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
  assert_int_equal(listen(fd, 8), 0);
  assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
  snprintf(url, sizeof url, "ldap://127.0.0.1:%d", ntohs(a.sin_port));
  const struct exchange x = {.timeout_ms = 400, .gate = gate_yes, .gate_arg = &asked};
  help_run(x, ldap_at(url, "", "\"some-password\"", "\"delete\":{\"dn\":\"" ALICE "\"}"), &o);
  assert_int_equal(o.delivery, DELIVERY_NOT_SENT);
  assert_int_equal(o.err.code, ERR_TIMEOUT);
  assert_int_equal(asked, 0);
  help_run(x, ldap_at(url, "", NULL, "\"delete\":{\"dn\":\"" ALICE "\"}"), &o); /* anonymous: no bind to wait for */
  assert_int_equal(o.delivery, DELIVERY_IN_DOUBT);
  assert_int_equal(o.err.code, ERR_TIMEOUT);
  assert_int_equal(asked, 1);
  struct outcome c = {0};
  struct flight *flight;
  json_t *q = ldap_at(url, "", NULL, "\"delete\":{\"dn\":\"" ALICE "\"}");
  struct exchange slow = {.request = q, .timeout_ms = 20000};
  uint64_t sent = transports_sent(transports);
  assert_int_equal(transport_start(transports, &slow, outcome_cb, &c, &flight, NULL), 0);
  WAIT_FOR(transports_sent(transports) == sent + 1);
  transport_cancel(flight);
  help_wait(&c);
  assert_int_equal(c.delivery, DELIVERY_IN_DOUBT);
  assert_int_equal(c.err.code, ERR_CANCELLED);
  json_decref(q);
  close(fd);
}

static void bad_forms(void **state) {
  static const char *const bad[] = {
      "{\"ldap\":{\"url\":\"http://h\",\"delete\":{\"dn\":\"x\"}}}",
      "{\"ldap\":{\"url\":\"ldap://h\"}}",
      "{\"ldap\":{\"url\":\"ldap://h\",\"delete\":{\"dn\":\"x\"},\"add\":{\"dn\":\"x\"}}}",
      "{\"ldap\":{\"url\":\"ldap://h\",\"bind_dn\":\"x\",\"password\":\"\",\"delete\":{\"dn\":\"x\"}}}",
      "{\"ldap\":{\"url\":\"ldap://h\",\"bind\":{\"dn\":\"x\",\"password\":\"\"}}}",
      "{\"ldap\":{\"url\":\"ldap://h\",\"bind_dn\":\"x\",\"delete\":{\"dn\":\"x\"}}}",
      "{\"ldap\":{\"url\":\"ldap://h/dc=x\",\"delete\":{\"dn\":\"x\"}}}",
      "{\"ldap\":{\"url\":\"ldap://a ldap://b\",\"delete\":{\"dn\":\"x\"}}}",
      "{\"ldap\":{\"url\":\"ldaps://h\",\"starttls\":true,\"delete\":{\"dn\":\"x\"}}}",
      "{\"ldap\":{\"url\":\"ldap://h\",\"search\":{\"base\":\"x\",\"filter\":\"(a=%s)\"}}}",
      "{\"ldap\":{\"url\":\"ldap://h\",\"search\":{\"base\":\"x\",\"limit\":100000}}}",
      "{\"ldap\":{\"url\":\"ldap://h\",\"modify\":{\"dn\":\"x\",\"changes\":[{\"op\":\"set\",\"attribute\":\"a\"}]}}}",
      "{\"ldap\":{\"url\":\"ldap://h\",\"modify\":{\"dn\":\"x\",\"changes\":[{\"op\":\"add\",\"attribute\":\"a b\"}]}}}",
      "{\"ldap\":{\"url\":\"ldap://h\",\"modify\":{\"dn\":\"x\",\"changes\":{}}}}",
      NULL};
  for (size_t i = 0; bad[i]; i++) {
    struct err err = {0};
    if (help_refused((struct exchange){0}, help_json(bad[i]), &err) != ERR_INVALID) fail_msg("accepted: %s", bad[i]);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(searches),
                                     cmocka_unit_test(password_modify),
                                     cmocka_unit_test(lock_and_release),
                                     cmocka_unit_test(compare_and_delete),
                                     cmocka_unit_test(redacted),
                                     cmocka_unit_test(not_sent),
                                     cmocka_unit_test(tls),
                                     cmocka_unit_test(silent_server),
                                     cmocka_unit_test(bad_forms)};
  return cmocka_run_group_tests(tests, up, down);
}
