/* triggers.c: what it costs to find the playbooks for one alert, parsing apart, with 10, 1,000 and 10,000 playbooks.
 *
 * The playbooks are of the kinds that people write: by a rule's id, by the start of a title, by one of several rule ids with filters after it, by a
 * cidr behind an exact condition. One in ten alerts is wanted by nobody. Prints lines for tests/bench/run. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "route/route.h"

enum { ALERTS = 64, MATCHES = 100000, MOST = 10000 };

static const size_t sizes[] = {10, 1000, 10000};
static const char *const products[] = {"Wazuh", "Suricata", "GuardDuty", "Falco", "Okta", "Defender XDR", "Splunk", "Elastic Security"};
static const int64_t NOW = INT64_C(1795458121000000);

static _Noreturn void die(const char *text) {
  fprintf(stderr, "triggers: %s\n", text);
  exit(1);
}

static json_t *text(const char *format, size_t n) { return json_sprintf(format, (int)n); }

static const char *product(size_t n) { return products[n % (sizeof products / sizeof *products)]; }

static json_t *when(size_t n) {
  json_t *w = json_pack("{s:s}", "metadata.product.name", product(n));
  switch (n % 4) {
  case 0: json_object_set_new(w, "finding_info.analytic.uid", text("rule-%d", n)); break;
  case 1: json_object_set_new(w, "finding_info.title|startswith", text("Detection %d:", n)); break;
  case 2:
    json_object_set_new(w, "finding_info.analytic.uid",
                        json_pack("[o, o, o]", text("rule-%d", n), text("rule-%d-b", n), text("rule-%d-c", n)));
    json_object_set_new(w, "severity_id|gte", json_integer(3));
    json_object_set_new(w, "actor.user|exists", json_true());
    break;
  default:
    json_object_set_new(w, "finding_info.analytic.uid", text("rule-%d", n));
    json_object_set_new(w, "src_endpoint.ip|cidr", json_string("10.0.0.0/8"));
    json_object_set_new(w, "finding_info.title|contains", json_string("detection"));
  }
  return w;
}

/* An alert that playbook n wants; when there is no n, nobody. */
static json_t *alert(size_t n) {
  return json_pack("{s:i, s:i, s:{s:{s:s, s:s}}, s:{s:o, s:o, s:{s:o, s:s}}, s:{s:{s:s, s:s}}, s:{s:s, s:s}, s:[{s:s, s:s, s:i}], s:I}",
                   "class_uid", 2004, "severity_id", 4, "metadata", "product", "name", product(n), "vendor_name", "Vendor", "finding_info",
                   "title", text("Detection %d: something happened", n), "uid", text("uid-%d", n), "analytic", "uid", text("rule-%d", n),
                   "name", "a rule", "actor", "user", "name", "alice", "uid", "1001", "src_endpoint", "ip", "10.1.2.3", "hostname",
                   "host-17", "observables", "name", "actor.user", "value", "alice", "type_id", 4, "time", (json_int_t)(NOW / 1000));
}

static struct router *router_of(size_t count, json_t **whens) {
  static struct trigger triggers[MOST];
  static char names[MOST][24];
  json_t *group = json_pack("[s]", "actor.user");
  struct router *router = NULL;
  struct err err = {0};
  for (size_t i = 0; i < count; i++) {
    snprintf(names[i], sizeof names[i], "playbook-%zu", i);
    triggers[i] = (struct trigger){.playbook = names[i], .when = whens[i], .group = group, .window_ms = 3600000};
  }
  if (router_new(triggers, count, NULL, NULL, &router, &err) < 0) die(err.text);
  json_decref(group);
  return router;
}

static double measure(size_t count, json_t **whens) {
  struct router *router = router_of(count, whens);
  json_t *alerts[ALERTS];
  size_t wanted = 0, expected = 0;
  for (size_t i = 0; i < ALERTS; i++) {
    size_t n = i % 10 == 9 ? MOST + i : (i * 7919) % count;
    alerts[i] = alert(n);
    if (!alerts[i]) die("the alert could not be made");
    expected += n < count;
  }
  struct timespec from, to;
  clock_gettime(CLOCK_MONOTONIC, &from);
  for (size_t i = 0; i < MATCHES; i++) {
    struct routing routing = {0};
    router_match(router, alerts[i % ALERTS], NULL, NOW, &routing);
    if (i < ALERTS) wanted += routing.count;
    routing_release(&routing);
  }
  clock_gettime(CLOCK_MONOTONIC, &to);
  if (wanted != expected) die("the router found other playbooks than those that want the alerts");
  for (size_t i = 0; i < ALERTS; i++) json_decref(alerts[i]);
  router_free(router);
  return ((double)(to.tv_sec - from.tv_sec) * 1e6 + (double)(to.tv_nsec - from.tv_nsec) / 1e3) / MATCHES;
}

int main(void) {
  static json_t *whens[MOST];
  double first = 0, last = 0;
  for (size_t i = 0; i < MOST; i++) whens[i] = when(i);
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    last = measure(sizes[i], whens);
    if (i == 0) first = last;
    printf("triggers_%zu\t%.3f\tus/alert\t<= 10\n", sizes[i], last);
  }
  printf("triggers_10000_to_10\t%.2f\tratio\t<= 2\n", last / first);
  for (size_t i = 0; i < MOST; i++) json_decref(whens[i]);
  return 0;
}
