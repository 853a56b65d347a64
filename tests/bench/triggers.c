/* Time per alert to find its playbooks (parsing apart) with 10, 1,000 and 10,000 of them. Prints TSV: name, value, unit, goal. The value is the median of several
 * rounds. Most playbooks want a product that the alert is not from, or another rule of the same product, as in a real collection; five match. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/json.h"
#include "route/route.h"

enum { ROUNDS = 9, ALERTS = 5000, MATCHING = 5 };

static const char *const alert_text =
    "{\"activity_id\":1,\"class_uid\":2004,\"category_uid\":2,\"severity_id\":4,\"severity\":\"High\",\"time\":1795460521000,\"status_id\":1,"
    "\"metadata\":{\"version\":\"1.3.0\",\"product\":{\"name\":\"Wazuh\",\"vendor_name\":\"Wazuh\"},\"uid\":\"1795460521.4711\"},"
    "\"finding_info\":{\"uid\":\"1795460521.4711\",\"title\":\"Possible account compromise\",\"analytic\":{\"uid\":\"60122\",\"name\":\"windows\"},"
    "\"attacks\":[{\"technique\":{\"uid\":\"T1078\"},\"tactic\":{\"uid\":\"TA0001\"}}]},"
    "\"actor\":{\"user\":{\"name\":\"alice\",\"uid\":\"S-1-5-21\"}},\"src_endpoint\":{\"ip\":\"203.0.113.9\"},\"device\":{\"hostname\":\"dc01\"},"
    "\"observables\":[{\"name\":\"actor.user\",\"type_id\":21,\"value\":\"alice\"},{\"name\":\"src_endpoint.ip\",\"type_id\":2,\"value\":\"203.0.113.9\"}]}";
static const char *const raw_text =
    "{\"timestamp\":\"2026-11-23T18:42:01.123+0000\",\"rule\":{\"level\":12,\"id\":\"60122\",\"description\":\"Possible account compromise\",\"groups\":[\"windows\",\"authentication\"]},"
    "\"agent\":{\"id\":\"001\",\"name\":\"dc01\"},\"manager\":{\"name\":\"wazuh\"},\"data\":{\"win\":{\"system\":{\"eventID\":\"4625\"}}},\"location\":\"EventChannel\"}";

static json_t *parse(const char *text) {
  json_t *value = NULL;
  struct err err = {0};
  if (json_parse(text, strlen(text), &value, &err)) fprintf(stderr, "%s\n", err.text), exit(1);
  return value;
}

static json_t *when_of(int i) {
  char text[40];
  if (i < MATCHING) return json_pack("{s:s, s:i, s:b}", "metadata.product.name", "Wazuh", "severity_id|gte", 3, "actor.user|exists", 1);
  snprintf(text, sizeof text, "value-%d", i);
  switch (i % 6) {
  case 0: return json_pack("{s:s, s:s}", "metadata.product.name", "Wazuh", "finding_info.analytic.uid", text);
  case 1: return json_pack("{s:s, s:i}", "metadata.product.name", text, "severity_id|gte", 4);
  case 2: return json_pack("{s:s, s:s}", "raw.rule.id", text, "severity", "High");
  case 3: return json_pack("{s:s, s:s}", "finding_info.title|startswith", text, "metadata.product.name", "Wazuh");
  case 4: return json_pack("{s:s, s:[s, s]}", "device.hostname", text, "severity", "High", "Critical");
  default: return json_pack("{s:[s, s, s], s:s}", "actor.user", text, "mallory", "trudy", "finding_info.title|contains", "compromise");
  }
}

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static double now_us(void) {
  struct timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static void measure(int count) {
  struct trigger *triggers = calloc((size_t)count, sizeof *triggers);
  json_t *group = parse("[\"actor.user\"]"), *alert = parse(alert_text), *raw = parse(raw_text);
  struct router *r = NULL;
  struct err err = {0};
  double took[ROUNDS], began = now_us();
  for (int i = 0; i < count; i++) triggers[i] = (struct trigger){.playbook = "playbook", .when = when_of(i), .group = group};
  if (router_new(triggers, (size_t)count, NULL, NULL, &r, &err)) fprintf(stderr, "%s\n", err.text), exit(1);
  double built = now_us() - began;
  for (int round = 0; round < ROUNDS; round++) {
    began = now_us();
    for (int i = 0; i < ALERTS; i++) {
      struct routing out;
      router_match(r, alert, raw, 0, &out);
      if (out.count != MATCHING) fprintf(stderr, "%zu playbooks matched\n", out.count), exit(1);
      routing_release(&out);
    }
    took[round] = (now_us() - began) / ALERTS;
  }
  qsort(took, ROUNDS, sizeof *took, by_value);
  printf("triggers.match.%d\t%.2f\tus\t<10\n", count, took[ROUNDS / 2]);
  printf("triggers.build.%d\t%.1f\tms\t-\n", count, built / 1e3);
  router_free(r);
  for (int i = 0; i < count; i++) json_decref((json_t *)(uintptr_t)triggers[i].when);
  json_decref(group), json_decref(alert), json_decref(raw);
  free(triggers);
}

int main(void) {
  measure(10);
  measure(1000);
  measure(10000);
  return 0;
}
