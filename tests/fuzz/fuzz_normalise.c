/* fuzz_normalise.c: bytes from the queue through every connector that reads alerts.
 *
 * Asked twice: recognised by content, and told that a connector sent it (which one follows from the size). Either way there is a finding,
 * several parts, or a reason in words; each part is a document that can be read in turn. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "intake/normalise.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

enum { SOURCES_MOST = 64, PARTS_MOST = 8 };

static struct registry *registry;
static struct normaliser *normaliser;
static const char *sources[SOURCES_MOST];
static size_t source_count;

static void must(bool holds) {
  if (!holds) abort();
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
  struct err err;
  const struct connector *c;
  size_t at = 0;
  if (registry_new("connectors", NULL, &registry, &err) < 0) {
    fprintf(stderr, "%s (run it from the checkout)\n", err.text);
    exit(1);
  }
  while ((c = registry_next(registry, &at)) && source_count < SOURCES_MOST)
    if (json_object_get(c->declaration->json, "alert")) sources[source_count++] = c->instance;
  must(source_count > 10);
  normaliser = normaliser_new(registry, NULL);
  return 0;
}

static void check(const char *source, const char *text, size_t len, bool part) {
  struct normalised n = {0};
  struct err err = {0};
  int code = normalise(normaliser, source, text, len, &n, &err);
  if (code < 0) {
    must(err.code == code && err.text[0] && !n.document && !n.finding && !n.parts);
    return;
  }
  must(n.connector && n.document && json_is_object(n.finding) != (json_array_size(n.parts) > 1));
  if (n.finding) {
    int64_t severity = json_int_or(n.finding, "severity_id", 0);
    must((severity >= 0 && severity <= 6) || severity == 99);
    const json_t *observables = json_object_get(n.finding, "observables");
    must(!observables || json_is_array(observables));
  }
  for (size_t i = 0; !part && i < json_array_size(n.parts) && i < PARTS_MOST; i++) {
    char *document = json_text(json_array_get(n.parts, i));
    must(document != NULL);
    check(n.connector->instance, document, strlen(document), true);
    free(document);
  }
  normalised_release(&n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  check(NULL, (const char *)data, size, false);
  check(sources[size % source_count], (const char *)data, size, false);
  return 0;
}
