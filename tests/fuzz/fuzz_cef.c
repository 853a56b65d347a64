/* fuzz_cef.c: a line of text through connectors/cef.lua.
 *
 * Whatever it is, it is a finding or has a reason why not; a finding has OCSF's class, a severity that OCSF knows, and a title. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "intake/normalise.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

static struct registry *registry;
static struct normaliser *normaliser;

static void must(bool holds) {
  if (!holds) abort();
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
  struct err err;
  if (registry_new("connectors", NULL, &registry, &err) < 0) {
    fprintf(stderr, "%s (run it from the checkout)\n", err.text);
    exit(1);
  }
  must(registry_find(registry, "cef", &err) != NULL);
  normaliser = normaliser_new(registry, NULL);
  return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct normalised n = {0};
  struct err err = {0};
  int code = normalise(normaliser, "cef", (const char *)data, size, &n, &err);
  if (code < 0) {
    must(err.code == code && err.text[0]);
    return 0;
  }
  if (n.finding) {
    int64_t severity = json_int_or(n.finding, "severity_id", -1);
    must((severity >= 0 && severity <= 6) || severity == 99);
    must(json_int_or(n.finding, "class_uid", 0) == 2004);
    must(json_is_string(json_at(n.finding, "finding_info.title")));
  }
  normalised_release(&n);
  return 0;
}
