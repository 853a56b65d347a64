/* The command line's words: options, parameters, near misses, and what is said about mistakes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/json.h"
#include "cmd/options.h"

static const struct option_spec specs[] = {
    {.name = "because", .value = "TEXT", .text = "why", .required = true},
    {.name = "output", .value = "FILE", .text = "where to"},
    {.name = "yes", .text = "do not ask"},
    {0},
};
static const struct command plain = {.name = "plain", .args = "ID TEXT…", .options = specs, .least = 1, .most = 2};
static const struct command with_params = {.name = "trigger", .args = "PLAYBOOK", .options = specs, .params = true, .least = 1, .most = 1};

static struct options *parsed(const struct command *c, int argc, const char *const *argv) {
  struct options *o = NULL;
  struct err err = {0};
  if (options_parse(c, argc, (char *const *)(uintptr_t)argv, &o, &err) < 0) fail_msg("%s", err.text);
  return o;
}

static void refused(const struct command *c, int argc, const char *const *argv, const char *expected) {
  struct options *o = NULL;
  struct err err = {0};
  assert_int_equal(options_parse(c, argc, (char *const *)(uintptr_t)argv, &o, &err), ERR_INVALID);
  assert_null(o);
  if (!strstr(err.text, expected)) fail_msg("\"%s\" does not say \"%s\"", err.text, expected);
}

#define WORDS(...)                                                                                                                         \
  (int)(sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *)), (const char *[]) { __VA_ARGS__ }

static void test_both_forms_of_a_value(void **state) {
  struct options *o = parsed(&plain, WORDS("--because", "a b", "42", "--output=x=y", "--yes", "--json"));
  assert_string_equal(options_get(o, "because"), "a b");
  assert_string_equal(options_get(o, "output"), "x=y");
  assert_true(options_flag(o, "yes"));
  assert_true(options_flag(o, "json"));
  assert_false(options_flag(o, "help"));
  assert_int_equal(options_count(o), 1);
  assert_string_equal(options_word(o, 0), "42");
  assert_null(options_word(o, 1));
  options_free(o);
}

static void test_a_value_may_look_like_an_option(void **state) {
  struct options *o = parsed(&plain, WORDS("--because", "--yes", "42"));
  assert_string_equal(options_get(o, "because"), "--yes");
  assert_false(options_flag(o, "yes"));
  options_free(o);
}

static void test_the_last_one_given_holds(void **state) {
  struct options *o = parsed(&plain, WORDS("--because", "a", "--because", "b", "1"));
  assert_string_equal(options_get(o, "because"), "b");
  options_free(o);
}

static void test_two_dashes_end_options(void **state) {
  struct options *o = parsed(&plain, WORDS("1", "--", "--yes"));
  assert_int_equal(options_count(o), 2);
  assert_string_equal(options_word(o, 1), "--yes");
  options_free(o);
}

static void test_short_forms(void **state) {
  struct options *o = parsed(&plain, WORDS("-o", "file", "1", "-h"));
  assert_string_equal(options_get(o, "output"), "file");
  assert_true(options_flag(o, "help"));
  options_free(o);
}

static void test_a_lone_dash_is_a_word(void **state) {
  struct options *o = parsed(&plain, WORDS("-"));
  assert_string_equal(options_word(o, 0), "-");
  options_free(o);
}

static void test_params(void **state) {
  struct options *o = parsed(&with_params, WORDS("contain-account", "user=alice", "note=a=b c", "empty="));
  assert_int_equal(options_count(o), 1);
  assert_int_equal(json_object_size(options_params(o)), 3);
  assert_string_equal(json_str(options_params(o), "user"), "alice");
  assert_string_equal(json_str(options_params(o), "note"), "a=b c");
  assert_string_equal(json_str(options_params(o), "empty"), "");
  options_free(o);
  o = parsed(&plain, WORDS("user=alice"));
  assert_string_equal(options_word(o, 0), "user=alice");
  options_free(o);
  o = parsed(&with_params, WORDS("=x", "a b=c"));
  assert_int_equal(options_count(o), 2);
  options_free(o);
}

static void test_mistakes_say_what_to_do(void **state) {
  refused(&plain, WORDS("--becuase", "x"), "did you mean --because?");
  refused(&plain, WORDS("--zzzzzz"), "--help lists");
  refused(&plain, WORDS("--because"), "--because TEXT");
  refused(&plain, WORDS("--yes=1"), "takes no value");
  refused(&plain, WORDS("-x"), "two dashes");
  refused(&plain, WORDS("-o"), "-o FILE");
  refused(&plain,
          WORDS("--"
                "outptu=f"),
          "--output");
}

/* Text that is none would get lost on its way; a file may be called anything. */
static void test_values_that_are_not_utf8(void **state) {
  refused(&plain, WORDS("1", "--because", "M\xfcller"), "--because: this is not text in UTF-8");
  refused(&plain, WORDS("1", "--because=cut \xc3"), "--because: this is not text in UTF-8");
  struct options *o = parsed(&plain, WORDS("1", "--because", "M\xc3\xbcller", "--output", "M\xfcller"));
  assert_string_equal(options_get(o, "output"), "M\xfcller");
  options_free(o);
}

static void test_check(void **state) {
  struct err err = {0};
  struct options *o = parsed(&plain, WORDS("1"));
  assert_int_equal(options_check(&plain, o, &err), ERR_INVALID);
  assert_non_null(strstr(err.text, "--because TEXT is missing"));
  options_free(o);
  o = parsed(&plain, WORDS("--because", "x"));
  assert_int_equal(options_check(&plain, o, &err), ERR_INVALID);
  assert_non_null(strstr(err.text, "tocsin plain ID TEXT"));
  options_free(o);
  o = parsed(&plain, WORDS("--because", "x", "a", "b", "c"));
  assert_int_equal(options_check(&plain, o, &err), ERR_INVALID);
  assert_non_null(strstr(err.text, "\"c\" is one word too many"));
  options_free(o);
  o = parsed(&plain, WORDS("--because", "x", "a", "b"));
  assert_int_equal(options_check(&plain, o, &err), 0);
  options_free(o);
}

static void test_near_misses(void **state) {
  const char *const names[] = {"incident", "evidence", "alert", "run", "resume", "release", NULL};
  assert_string_equal(near_miss("incidnet", names), "incident");
  assert_string_equal(near_miss("evi", names), "evidence");
  assert_string_equal(near_miss("alrt", names), "alert");
  assert_string_equal(near_miss("relese", names), "release");
  assert_null(near_miss("kubernetes", names));
  assert_null(near_miss("x", names));
  char longest[600];
  memset(longest, 'a', sizeof longest - 1);
  longest[sizeof longest - 1] = 0;
  assert_null(near_miss(longest, names));
}

static void test_words_that_are_not_utf8_stay_words(void **state) {
  struct options *o = parsed(&with_params, WORDS("user=\xff"));
  assert_int_equal(options_count(o), 1);
  assert_int_equal(json_object_size(options_params(o)), 0);
  options_free(o);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_both_forms_of_a_value),
      cmocka_unit_test(test_a_value_may_look_like_an_option),
      cmocka_unit_test(test_the_last_one_given_holds),
      cmocka_unit_test(test_two_dashes_end_options),
      cmocka_unit_test(test_short_forms),
      cmocka_unit_test(test_a_lone_dash_is_a_word),
      cmocka_unit_test(test_params),
      cmocka_unit_test(test_mistakes_say_what_to_do),
      cmocka_unit_test(test_values_that_are_not_utf8),
      cmocka_unit_test(test_check),
      cmocka_unit_test(test_near_misses),
      cmocka_unit_test(test_words_that_are_not_utf8_stay_words),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
