/* Fuzz target: a `when` and an alert, as one JSON document {"when": …, "alert": …, "raw": …} or any value taken for all three. Checks that the router
 * and the plain condition agree, besides what the sanitizers see. */
#include <stdint.h>
#include <stdlib.h>

#include "base/json.h"
#include "route/route.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_router(const json_t *when, const json_t *alert, const json_t *raw, bool matches) {
  struct trigger t = {.playbook = "fuzzed", .when = when, .group = json_object_get(alert, "group")};
  struct router *r = NULL;
  struct routing out;
  if (router_new(&t, 1, NULL, NULL, &r, NULL)) return;
  router_match(r, alert, raw, 0, &out);
  if ((out.count == 1) != matches) abort();
  routing_release(&out);
  router_free(r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  json_t *document = NULL;
  struct condition *c = NULL;
  struct err err;
  if (json_parse((const char *)data, size, &document, NULL)) return 0;
  const json_t *when = json_object_get(document, "when"), *alert = json_object_get(document, "alert"),
               *raw = json_object_get(document, "raw");
  if (!when) when = document;
  if (!alert) alert = document;
  if (!raw) raw = document;
  if (condition_compile(when, NULL, &c, &err) == 0) {
    check_router(when, alert, raw, condition_match(c, alert, raw, 0));
    condition_free(c);
  }
  json_decref(alert_observables(alert, "ip"));
  json_decref(path_values(alert, raw, "observables.value"));
  json_decref(document);
  return 0;
}
