/* People: who a uid or a token is, roles, pseudonyms, and settings that are refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "people/people.h"

static const char key[] = "a key of this installation";
static struct secrets *secrets;

static int setup(void **state) {
  secrets = secrets_new();
  return secrets_put(secrets, "alice", "alice-token-1", 13, NULL) || secrets_put(secrets, "bob", "bob-token-1", 11, NULL) ||
         secrets_put(secrets, "twin", "bob-token-1", 11, NULL);
}
static int teardown(void **state) { return secrets_free(secrets), 0; }

static int try(const char *settings, const char *k, struct people **ret, struct err *err) {
  json_t *json = NULL;
  assert_int_equal(json_parse(settings, strlen(settings), &json, NULL), 0);
  int rc = people_new(json, secrets, k, strlen(k), ret, err);
  json_decref(json); /* people keep nothing of the caller's */
  return rc;
}

static struct people *people_of(const char *settings) {
  struct people *p = NULL;
  struct err err = {0};
  if (try(settings, key, &p, &err)) fail_msg("%s", err.text);
  return p;
}

static const char *const team =
    "{\"bob\":{\"uid\":1001,\"token\":{\"$secret\":\"bob\"},\"roles\":[\"admin\"]},"
    "\"alice\":{\"uid\":1000,\"token\":{\"$secret\":\"alice\"},\"roles\":[\"responder\"],\"email\":\"alice@example.org\"},"
    "\"zoe\":{\"roles\":{}}}";

static void test_uids(void **state) {
  struct people *p = people_of(team);
  const struct person *alice = people_by_uid(p, 1000), *nobody = people_by_uid(p, 4242);
  assert_string_equal(alice->name, "alice");
  assert_true(alice->known);
  assert_string_equal(nobody->name, "uid:4242");
  assert_false(nobody->known);
  assert_int_equal(json_array_size(nobody->roles), 0);
  assert_ptr_equal(nobody, people_by_uid(p, 4242));
  assert_string_equal(people_name(p, nobody->actor), "uid:4242");
  assert_false(person_has_role(people_by_uid(p, 0), "responder")); /* root is nobody where somebody is named */
  assert_false(person_has_role(people_by_uid(p, geteuid()), "responder"));
  people_free(p);
}

static void test_nobody_named(void **state) {
  static const char *const empty[] = {"{}", "[]", "null"};
  for (size_t i = 0; i < sizeof empty / sizeof *empty; i++) {
    struct people *p = people_of(empty[i]);
    assert_true(person_has_role(people_by_uid(p, 0), "anything"));
    assert_true(person_has_role(people_by_uid(p, geteuid()), "admin"));
    assert_false(person_has_role(people_by_uid(p, 4242), "anything"));
    assert_null(people_by_token(p, "bob-token-1", 11));
    people_free(p);
  }
}

static void test_tokens(void **state) {
  struct people *p = people_of(team);
  assert_string_equal(people_by_token(p, "alice-token-1", 13)->name, "alice");
  assert_string_equal(people_by_token(p, "bob-token-1", 11)->name, "bob");
  assert_null(people_by_token(p, "alice-token-2", 13));
  assert_null(people_by_token(p, "alice-token-1", 12));
  assert_null(people_by_token(p, "alice-token-1\0", 14));
  assert_null(people_by_token(p, "", 0));
  assert_null(people_by_token(p, NULL, 0));
  assert_int_equal(secrets_put(secrets, "alice", "alice-token-2", 13, NULL), 0); /* a reload of the secret counts at once */
  assert_null(people_by_token(p, "alice-token-1", 13));
  assert_string_equal(people_by_token(p, "alice-token-2", 13)->name, "alice");
  secrets_drop(secrets, "alice");
  assert_null(people_by_token(p, "alice-token-2", 13));
  people_free(p);
}

static void test_roles(void **state) {
  struct people *p = people_of(team);
  assert_true(person_has_role(people_by_uid(p, 1000), "responder"));
  assert_false(person_has_role(people_by_uid(p, 1000), "admin"));
  assert_false(person_has_role(people_by_uid(p, 1000), "respond"));
  assert_true(person_has_role(people_by_uid(p, 1001), "responder"));
  assert_false(person_has_role(NULL, "responder"));
  json_t *list = people_with_role(p, "responder");
  assert_int_equal(json_array_size(list), 2);
  assert_string_equal(json_str(json_array_get(list, 0), "name"), "alice");
  assert_string_equal(json_str(json_array_get(list, 0), "email"), "alice@example.org");
  assert_string_equal(json_str(json_array_get(list, 0), "actor"), people_by_uid(p, 1000)->actor);
  assert_null(json_object_get(json_array_get(list, 1), "email"));
  json_decref(list);
  assert_ptr_equal(people_named(p, "Alice"), people_by_uid(p, 1000));
  assert_null(people_named(p, "the IT team"));
  list = people_with_role(p, "auditor");
  assert_int_equal(json_array_size(list), 1);
  json_decref(list);
  people_free(p);
}

static void test_pseudonyms(void **state) {
  struct people *p = people_of(team), *again = people_of(team), *other = NULL;
  const struct person *alice = people_by_uid(p, 1000);
  assert_int_equal(try(team, "another key", &other, NULL), 0);
  assert_int_equal(strlen(alice->actor), 15);
  assert_int_equal(strncmp(alice->actor, "person:", 7), 0);
  assert_int_equal(strspn(alice->actor + 7, "0123456789abcdef"), 8);
  assert_string_equal(alice->actor, people_by_uid(again, 1000)->actor);
  assert_string_not_equal(alice->actor, people_by_uid(other, 1000)->actor);
  assert_string_not_equal(alice->actor, people_by_uid(p, 1001)->actor);
  assert_string_equal(people_name(p, alice->actor), "alice");
  assert_string_equal(people_name(p, "playbook:contain-account"), "playbook:contain-account");
  assert_string_equal(people_name(p, "person:00000000"), "person:00000000");
  assert_null(people_name(p, NULL));
  people_free(p), people_free(again), people_free(other);
}

/* RFC 4231, test case 2: HMAC-SHA-256 of "what do ya want for nothing?" under "Jefe" begins 5bdcc146. */
static void test_pseudonym_is_the_hmac(void **state) {
  struct people *p = NULL;
  assert_int_equal(try("{\"what do ya want for nothing?\":{\"uid\":7}}", "Jefe", &p, NULL), 0);
  assert_string_equal(people_by_uid(p, 7)->actor, "person:5bdcc146");
  people_free(p);
}

static void test_mistakes_are_named(void **state) {
  static const struct {
    const char *settings, *says;
  } cases[] = {
      {"{\"a\":{\"uid\":-1}}", "people.a.uid"},
      {"{\"a\":{\"uid\":\"7\"}}", "id -u"},
      {"{\"a\":{\"uid\":4294967295}}", "people.a.uid"},
      {"{\"a\":{\"token\":\"in the clear\"}}", "never the token itself"},
      {"{\"a\":{\"token\":{\"$secret\":\"gone\"}}}", "not resolved"},
      {"{\"a\":{\"roles\":\"admin\"}}", "people.a.roles"},
      {"{\"a\":{\"roles\":[7]}}", "a role is a word"},
      {"{\"a\":{\"email\":\"nobody\"}}", "people.a.email"},
      {"{\"a\":{\"email\":\"a@b\\r\\nRCPT TO:<c@d>\"}}", "people.a.email"},
      {"{\"a\":{\"email\":\"a@b,c@d\"}}", "people.a.email"},
      {"{\"a\":{\"role\":[]}}", "unknown member `role`"},
      {"{\"a\":7}", "people.a: write"},
      {"{\"\":{}}", "a name has"},
      {"{\"a\\nb\":{}}", "control character"},
      {"{\"uid:0\":{}}", "may not hold `:`"},
      {"{\"person:12345678\":{}}", "may not hold `:`"},
      {"{\"a\":{\"uid\":7},\"b\":{\"uid\":7}}", "a and b have the same uid"},
      {"{\"a\":{\"token\":{\"$secret\":\"bob\"}},\"b\":{\"token\":{\"$secret\":\"twin\"}}}", "a and b have the same token"},
      {"7", "people = {"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct people *p = NULL;
    struct err err = {0};
    if (try(cases[i].settings, key, &p, &err) == 0) fail_msg("%s should be refused", cases[i].settings);
    assert_null(p);
    if (!strstr(err.text, cases[i].says)) fail_msg("got \"%s\", expected \"…%s…\"", err.text, cases[i].says);
    assert_null(strstr(err.text, "in the clear"));
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_uids, setup, teardown),
      cmocka_unit_test_setup_teardown(test_nobody_named, setup, teardown),
      cmocka_unit_test_setup_teardown(test_tokens, setup, teardown),
      cmocka_unit_test_setup_teardown(test_roles, setup, teardown),
      cmocka_unit_test_setup_teardown(test_pseudonyms, setup, teardown),
      cmocka_unit_test_setup_teardown(test_pseudonym_is_the_hmac, setup, teardown),
      cmocka_unit_test_setup_teardown(test_mistakes_are_named, setup, teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
