/* The exec transport: no shell, no secret in arguments, nothing inherited, nothing left behind. */
#include "transport_help.h"

static struct outcome o;

static int up(void **state) {
  help_up();
  return 0;
}

static int down(void **state) {
  outcome_release(&o);
  help_down();
  return 0;
}

static void run(const char *form) { help_run((struct exchange){.timeout_ms = 20000}, help_json(form), &o); }

/* A script that the shell of the test's own choosing reads; the transport itself starts none. */
static json_t *script(const char *text, const char *more) {
  json_t *form = help_json("{\"exec\":{\"program\":\"/bin/sh\",\"args\":[\"-c\",\"\"]}}"), *inner = json_object_get(form, "exec"),
         *extra = help_json(more);
  json_array_set_new(json_object_get(inner, "args"), 1, json_string(text));
  json_object_update(inner, extra);
  json_decref(extra);
  return form;
}

static void answers(void **state) {
  run("{\"exec\":{\"program\":\"/bin/echo\",\"args\":[\"a  b\",\"$HOME;`id`\",\"*\"]}}");
  assert_int_equal(o.delivery, DELIVERY_ANSWERED);
  assert_int_equal(json_int_or(o.response, "exit", -1), 0);
  assert_string_equal(json_str(o.response, "stdout"), "a  b $HOME;`id` *\n");
  run("{\"exec\":{\"program\":\"/bin/false\"}}");
  assert_int_equal(json_int_or(o.response, "exit", -1), 1);
  run("{\"exec\":{\"program\":\"/bin/echo\",\"args\":[\"{\\\"n\\\": 3}\"]}}");
  assert_int_equal(json_integer_value(json_at(o.response, "body.n")), 3);
  help_run((struct exchange){0}, script("echo out; echo err >&2; kill -15 $$", "{}"), &o);
  assert_int_equal(json_int_or(o.response, "signal", -1), 15);
  assert_string_equal(json_str(o.response, "stderr"), "err\n");
}

static void secrets_by_pipe(void **state) {
  assert_int_equal(secrets_put(secrets, "fw.token", "exec-secret-42", 14, NULL), 0);
  help_run((struct exchange){0},
           script("read a; read b <&3; read c <&7; test \"$a\" = exec-secret-42 && test \"$b\" = three && test \"$c\" = exec-secret-42 && "
                  "test \"$T\" = exec-secret-42 && echo $a",
                  "{\"stdin\":{\"$concat\":[{\"$secret\":\"fw.token\"},\"\\n\"]},\"fds\":{\"3\":\"three\\n\",\"7\":{\"$concat\":[{\"$"
                  "secret\":\"fw.token\"},\"\\n\"]}},\"env\":{\"T\":{\"$secret\":\"fw.token\"}}}"),
           &o);
  assert_int_equal(json_int_or(o.response, "exit", -1), 0);
  assert_string_equal(json_str(o.response, "stdout"), "[secret:fw.token]\n");
}

static void nothing_inherited(void **state) {
  int leak = open("/dev/null", O_RDONLY), low = dup2(leak, 5); /* on purpose without close-on-exec */
  setenv("TOCSIN_TEST_LEAK", "yes", 1);
  help_run((struct exchange){0},
           script("ls /proc/self/fd | tr '\\n' ' '; env | sort | cut -d= -f1 | tr '\\n' ' '; pwd", "{\"cwd\":\"/tmp\"}"), &o);
  const char *out = json_str(o.response, "stdout");
  assert_true(strncmp(out, "0 1 2 3 ", 8) == 0); /* 3 is ls's own */
  assert_null(strstr(out, "5 "));
  assert_null(strstr(out, "TOCSIN_TEST_LEAK"));
  assert_non_null(strstr(out, "/tmp"));
  unsetenv("TOCSIN_TEST_LEAK");
  close(leak);
  close(low);
}

static bool alive(const char *file) {
  char text[32] = "";
  int fd = open(file, O_RDONLY | O_CLOEXEC);
  ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
  if (fd >= 0) close(fd);
  return n <= 0 || kill((pid_t)strtol(text, NULL, 10), 0) == 0;
}

static void group_is_killed(void **state) {
  char folder[] = "/tmp/tocsin-exec-XXXXXX", file[64], text[256];
  assert_non_null(mkdtemp(folder));
  snprintf(file, sizeof file, "%s/pid", folder);
  snprintf(text, sizeof text, "sleep 60 & echo $! > %s; wait", file);
  help_run((struct exchange){.timeout_ms = 1000}, script(text, "{}"), &o);
  assert_int_equal(o.delivery, DELIVERY_IN_DOUBT);
  assert_int_equal(o.err.code, ERR_TIMEOUT);
  WAIT_FOR(!alive(file));
  /* What a program leaves behind in its group does not hold the answer back, and does not live on. */
  snprintf(text, sizeof text, "sleep 60 & echo $! > %s; echo done", file);
  help_run((struct exchange){.timeout_ms = 20000}, script(text, "{}"), &o);
  assert_int_equal(o.delivery, DELIVERY_ANSWERED);
  assert_string_equal(json_str(o.response, "stdout"), "done\n");
  WAIT_FOR(!alive(file));
  remove_folder(folder);
}

static void over_cap(void **state) {
  help_run((struct exchange){.response_cap = 5000}, script("while :; do echo 0123456789012345678901234567890123456789; done", "{}"), &o);
  assert_int_equal(o.delivery, DELIVERY_IN_DOUBT);
  assert_int_equal(o.err.code, ERR_LIMIT);
}

static void big_stdin(void **state) {
  char *big = malloc(300001);
  memset(big, 'x', 300000);
  big[300000] = 0;
  json_t *form = script("wc -c", "{}");
  json_object_set_new(json_object_get(form, "exec"), "stdin", json_string(big));
  help_run((struct exchange){0}, form, &o);
  assert_int_equal(strtol(json_str(o.response, "stdout"), NULL, 10), 300000);
  form = script("exit 0", "{}"); /* it need not read it */
  json_object_set_new(json_object_get(form, "exec"), "stdin", json_string(big));
  help_run((struct exchange){0}, form, &o);
  assert_int_equal(json_int_or(o.response, "exit", -1), 0);
  free(big);
}

static void not_sent(void **state) {
  int asked = 0;
  help_run((struct exchange){.gate = gate_yes, .gate_arg = &asked}, help_json("{\"exec\":{\"program\":\"/no/such/program\"}}"), &o);
  assert_int_equal(o.delivery, DELIVERY_NOT_SENT);
  assert_int_equal(o.err.code, ERR_NOT_FOUND);
  help_run((struct exchange){.gate = gate_no, .gate_arg = &asked}, help_json("{\"exec\":{\"program\":\"/bin/true\"}}"), &o);
  assert_int_equal(o.delivery, DELIVERY_NOT_SENT);
  assert_int_equal(o.err.code, ERR_CANCELLED);
  assert_int_equal(asked, 2);
}

static void bad_forms(void **state) {
  static const char *const bad[] = {
      "{\"exec\":{\"program\":\"true\"}}",
      "{\"exec\":{\"args\":[]}}",
      "{\"exec\":{\"program\":\"/bin/echo\",\"args\":[{\"$secret\":\"fw.token\"}]}}",
      "{\"exec\":{\"program\":\"/bin/echo\",\"args\":[{\"$concat\":[\"--token=\",{\"$secret\":\"fw.token\"}]}]}}",
      "{\"exec\":{\"program\":{\"$secret\":\"fw.token\"}}}",
      "{\"exec\":{\"program\":\"/bin/echo\",\"fds\":{\"2\":\"x\"}}}",
      "{\"exec\":{\"program\":\"/bin/echo\",\"fds\":{\"12\":\"x\"}}}",
      "{\"exec\":{\"program\":\"/bin/echo\",\"shell\":true}}",
      "{\"exec\":{\"program\":\"/bin/echo\",\"env\":{\"A=B\":\"x\"}}}",
      NULL};
  for (size_t i = 0; bad[i]; i++) {
    struct err err = {0};
    if (help_refused((struct exchange){0}, help_json(bad[i]), &err) != ERR_INVALID) fail_msg("accepted: %s", bad[i]);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(answers),           cmocka_unit_test(secrets_by_pipe),
                                     cmocka_unit_test(nothing_inherited), cmocka_unit_test(group_is_killed),
                                     cmocka_unit_test(over_cap),          cmocka_unit_test(big_stdin),
                                     cmocka_unit_test(not_sent),          cmocka_unit_test(bad_forms)};
  return cmocka_run_group_tests(tests, up, down);
}
