/* What intake adds to a finding comes to stand in the finding alone, whatever the connector made it of. */
#include "script_help.h"

#include <unistd.h>

#include "intake/normalise.h"

static const char connector[] = "return connector { name = 'odd', title = 'Odd', settings = {}, alert = { source = 'the tests',\n"
                                "  recognise = function(d) return d.odd and 100 or 0 end,\n"
                                "  normalise = function(d)\n"
                                "    if d.odd == 'whole' then return d end\n"
                                "    if d.odd == 'part' then return d.event end\n"
                                "    if d.odd == 'changed' then d.event.more = 1 return d.event end\n"
                                "    if d.odd == 'parts' then return { event = d.event, list = d.list, again = d.event } end\n"
                                "    return nil, 'odder than odd'\n"
                                "  end,\n"
                                "} }\n";

static struct registry *registry;
static struct normaliser *normaliser;
static char folder[] = "/tmp/test_normalise.XXXXXX";

static int prepare(void **state) {
  char path[128];
  struct err err = {0};
  assert_non_null(mkdtemp(folder));
  snprintf(path, sizeof path, "%s/odd.lua", folder);
  FILE *f = fopen(path, "w");
  assert_non_null(f);
  fputs(connector, f);
  fclose(f);
  int r = registry_new(folder, NULL, &registry, &err);
  unlink(path);
  rmdir(folder);
  if (r < 0) fail_msg("%s", err.text);
  normaliser = normaliser_new(registry, NULL);
  return 0;
}

static int release(void **state) {
  normaliser_free(normaliser);
  registry_free(registry);
  return 0;
}

/* As intake does with what it knows of assets, and with a severity that these raise. */
static void add_members(json_t *finding) {
  json_object_set_new(finding, "severity_id", json_integer(5));
  json_object_set_new(finding, "enrichments", json_array());
}

static void test_finding_is_its_own(void **state) {
  static const char *const odd[] = {"whole", "part", "changed", "parts"};
  for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
    char text[256];
    struct err err = {0};
    struct normalised n = {0};
    snprintf(text, sizeof text, "{\"event\":{\"severity_id\":1},\"list\":[1,{\"a\":2}],\"odd\":\"%s\"}", odd[i]);
    if (normalise(normaliser, NULL, text, strlen(text), &n, &err) < 0) fail_msg("%s: %s", odd[i], err.text);
    assert_string_equal(n.connector->name, "odd");
    add_members(n.finding);
    assert_json(n.document, text);
    normalised_release(&n);
  }
}

/* What a finding takes at most is known without writing it. */
static void test_most(void **state) {
  static const char *const events[] = {"{}", "{\"\\u0001\\u0002\":\"\\u0003\\u0004\\\"\"}",
                                       "[[[],{}],-9223372036854775807,1.2345678901234567e-300,null,false]"};
  for (size_t i = 0; i < sizeof events / sizeof *events; i++) {
    char text[256];
    struct err err = {0};
    struct normalised n = {0};
    snprintf(text, sizeof text, "{\"event\":{\"e\":%s},\"list\":%s,\"odd\":\"%s\"}", events[i], events[i], i ? "parts" : "changed");
    if (normalise(normaliser, NULL, text, strlen(text), &n, &err) < 0) fail_msg("%s", err.text);
    char *written = json_text(n.finding);
    assert_in_range(strlen(written), 1, n.most);
    assert_in_range(n.most, strlen(written), 40 * strlen(written));
    free(written);
    normalised_release(&n);
  }
}

static void test_no_finding(void **state) {
  struct err err = {0};
  struct normalised n = {0};
  assert_int_equal(normalise(normaliser, "odd", "{}", 2, &n, &err), ERR_INVALID);
  assert_non_null(strstr(err.text, "odder than odd"));
  assert_null(n.document);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_finding_is_its_own), cmocka_unit_test(test_most),
                                     cmocka_unit_test(test_no_finding)};
  return cmocka_run_group_tests(tests, prepare, release);
}
