/* The smtp transport against a small server that refuses, drops and stalls where it is told to. */
#include <pthread.h>

#include "transport_help.h"

enum { HEARD = 65536 };

static struct outcome o;
static struct {
  int fd, port;
  pthread_t thread;
  pthread_mutex_t lock;
  const char *at, *answer; /* when a line begins with at: say answer; NULL: drop; "": say nothing */
  char mail[HEARD], commands[HEARD];
} server;

static void say(int fd, const char *line) { send(fd, line, strlen(line), MSG_NOSIGNAL); }

static bool told(int fd, const char *line, bool *keep) {
  pthread_mutex_lock(&server.lock);
  const char *at = server.at, *answer = server.answer;
  pthread_mutex_unlock(&server.lock);
  *keep = true;
  if (!at || strncmp(line, at, strlen(at)) != 0) return false;
  if (!answer) *keep = false;
  else say(fd, answer);
  return true;
}

static void add(char *to, const char *text) {
  pthread_mutex_lock(&server.lock);
  if (strlen(to) + strlen(text) < HEARD) memcpy(to + strlen(to), text, strlen(text) + 1);
  pthread_mutex_unlock(&server.lock);
}

static void talk(int fd) {
  char line[2048];
  bool data = false, keep = true;
  FILE *in = fdopen(dup(fd), "r");
  if (!told(fd, "GREETING", &keep)) say(fd, "220 test ESMTP\r\n");
  while (keep && fgets(line, sizeof line, in)) {
    if (data) {
      add(server.mail, line);
      if (strcmp(line, ".\r\n") != 0) continue;
      data = false;
      if (!told(fd, "CONTENT", &keep)) say(fd, "250 2.0.0 queued as 42\r\n");
      continue;
    }
    add(server.commands, line);
    if (told(fd, line[0] == 'E' ? "EHLO" : line, &keep) || told(fd, line, &keep)) continue;
    if (strncmp(line, "EHLO", 4) == 0) say(fd, "250-test\r\n250 AUTH PLAIN\r\n");
    else if (strncmp(line, "AUTH", 4) == 0) say(fd, "334 \r\n");
    else if (strcmp(line, "AG1lAHNtdHAtcGFzc3dvcmQ=\r\n") == 0) say(fd, "235 welcome\r\n");
    else if (strncmp(line, "DATA", 4) == 0) data = true, say(fd, "354 go on\r\n");
    else if (strncmp(line, "QUIT", 4) == 0) say(fd, "221 bye\r\n"), keep = false;
    else say(fd, "250 fine\r\n");
  }
  fclose(in);
  close(fd);
}

static void *talk_thread(void *arg) {
  talk((int)(intptr_t)arg);
  return NULL;
}

static void *serve(void *arg) {
  for (;;) {
    pthread_t thread;
    int fd = accept4(server.fd, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0) return NULL;
    pthread_create(&thread, NULL, talk_thread, (void *)(intptr_t)fd);
    pthread_detach(thread);
  }
}

static int up(void **state) {
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t len = sizeof a;
  help_up();
  pthread_mutex_init(&server.lock, NULL);
  server.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  assert_int_equal(bind(server.fd, (struct sockaddr *)&a, sizeof a) | listen(server.fd, 8) |
                       getsockname(server.fd, (struct sockaddr *)&a, &len),
                   0);
  server.port = ntohs(a.sin_port);
  pthread_create(&server.thread, NULL, serve, NULL);
  assert_int_equal(secrets_put(secrets, "smtp", "smtp-password", 13, NULL), 0);
  return 0;
}

static int down(void **state) {
  shutdown(server.fd, SHUT_RDWR);
  close(server.fd);
  pthread_join(server.thread, NULL);
  outcome_release(&o);
  help_down();
  return 0;
}

static json_t *mail(const char *more) {
  char text[4096];
  snprintf(text, sizeof text,
           "{\"smtp\":{\"url\":\"smtp://"
           "127.0.0.1:%d\",\"starttls\":\"never\",\"from\":\"tocsin@corp.example\",\"to\":[\"one@corp.example\",\"two@corp.example\"]%s}}",
           server.port, more);
  return help_json(text);
}

#define PLAIN ",\"subject\":\"A question\",\"text\":\"First line\\n.dot\\nlast\""

static void send_mail(const char *at, const char *answer, struct exchange x, const char *more) {
  pthread_mutex_lock(&server.lock);
  server.at = at;
  server.answer = answer;
  server.mail[0] = server.commands[0] = 0;
  pthread_mutex_unlock(&server.lock);
  x.idempotency_key = "INC-000042/1/3";
  help_run(x, mail(more), &o);
}

static void delivered(void **state) {
  int asked = 0;
  uint64_t sent = transports_sent(transports);
  send_mail(NULL, NULL, (struct exchange){.gate = gate_yes, .gate_arg = &asked},
            PLAIN ",\"user\":\"me\",\"password\":{\"$secret\":\"smtp\"},\"headers\":{\"X-Tocsin-Incident\":\"INC-000042\"},\"reply_to\":"
                  "\"soc@corp.example\"");
  assert_int_equal(o.delivery, DELIVERY_ANSWERED);
  assert_int_equal(json_int_or(o.response, "status", 0), 250);
  assert_string_equal(json_str(o.response, "message"), "2.0.0 queued as 42");
  assert_int_equal(asked, 1);
  assert_int_equal(transports_sent(transports), sent + 1);
  assert_non_null(strstr(server.commands, "MAIL FROM:<tocsin@corp.example>"));
  assert_non_null(strstr(server.commands, "RCPT TO:<two@corp.example>"));
  assert_non_null(strstr(server.commands, "AUTH PLAIN"));
  assert_non_null(strstr(server.mail, "\r\nSubject: A question\r\n"));
  assert_non_null(strstr(server.mail, "\r\nTo: <one@corp.example>,\r\n <two@corp.example>\r\n"));
  assert_non_null(strstr(server.mail, "\r\nX-Tocsin-Incident: INC-000042\r\n"));
  assert_non_null(strstr(server.mail, "\r\nReply-To: <soc@corp.example>\r\n"));
  assert_true(strncmp(server.mail, "Date: ", 6) == 0);
  assert_non_null(strstr(server.mail, "\r\n\r\nFirst line\r\n..dot\r\nlast\r\n.\r\n"));
}

/* The same key makes the same Message-ID: a repeat is recognisable. */
static void same_message_id(void **state) {
  char first[160], *at;
  send_mail(NULL, NULL, (struct exchange){0}, PLAIN);
  assert_non_null(at = strstr(server.mail, "Message-ID: "));
  snprintf(first, sizeof first, "%.*s", (int)strcspn(at, "\r"), at);
  assert_string_equal(first + 12, json_str(o.response, "message_id"));
  send_mail(NULL, NULL, (struct exchange){0}, PLAIN);
  assert_non_null(strstr(server.mail, first));
}

static void not_ascii(void **state) {
  send_mail(
      NULL, NULL, (struct exchange){0},
      ",\"subject\":\"Z\u00fcrich: ein Konto, das gesperrt wurde, wartet auf eine Antwort \u2014 bitte\",\"text\":\"Gr\u00fc\u00dfe\\n\"");
  assert_int_equal(json_int_or(o.response, "status", 0), 250);
  assert_non_null(strstr(server.mail, "\r\nSubject: =?UTF-8?B?WsO8cmljaDog"));
  assert_non_null(strstr(server.mail, "?=\r\n =?UTF-8?B?"));
  assert_non_null(strstr(server.mail, "Content-Transfer-Encoding: base64\r\n\r\nR3LDvMOfZQ0K\r\n"));
}

static void refused_is_an_answer(void **state) {
  send_mail("RCPT TO:<two", "550 5.1.1 no such user\r\n", (struct exchange){0}, PLAIN);
  assert_int_equal(o.delivery, DELIVERY_ANSWERED);
  assert_int_equal(json_int_or(o.response, "status", 0), 550);
  assert_string_equal(json_str(o.response, "message"), "5.1.1 no such user");
  assert_string_equal(server.mail, "");
  send_mail("CONTENT", "554 5.7.1 looks like spam\r\n", (struct exchange){0}, PLAIN);
  assert_int_equal(o.delivery, DELIVERY_ANSWERED);
  assert_int_equal(json_int_or(o.response, "status", 0), 554);
}

static void not_sent(void **state) {
  static const struct {
    const char *at, *answer;
    int code;
  } cases[] = {{"GREETING", "554 go away\r\n", ERR_UNAVAILABLE},
               {"GREETING", NULL, ERR_UNAVAILABLE},
               {"AUTH", "535 no\r\n", ERR_DENIED},
               {"MAIL", NULL, ERR_UNAVAILABLE},
               {"RCPT", NULL, ERR_UNAVAILABLE},
               {"DATA", NULL, ERR_UNAVAILABLE},
               {"DATA", "", ERR_TIMEOUT}};
  int asked = 0;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    send_mail(cases[i].at, cases[i].answer,
              (struct exchange){.timeout_ms = cases[i].code == ERR_TIMEOUT ? 400 : 10000, .gate = gate_yes, .gate_arg = &asked},
              PLAIN ",\"user\":\"me\",\"password\":{\"$secret\":\"smtp\"}");
    if (o.delivery != DELIVERY_NOT_SENT || o.err.code != cases[i].code)
      fail_msg("%s: delivery %d, %s (%s)", cases[i].at, o.delivery, err_name(o.err.code), o.err.text);
  }
  assert_int_equal(asked, 0);
  send_mail(NULL, NULL, (struct exchange){.gate = gate_no, .gate_arg = &asked}, PLAIN);
  assert_int_equal(o.delivery, DELIVERY_NOT_SENT);
  assert_int_equal(o.err.code, ERR_CANCELLED);
  assert_int_equal(asked, 1);
  assert_string_equal(server.mail, "");
}

/* STARTTLS is required unless the form says never. */
static void no_tls_no_mail(void **state) {
  char text[512];
  snprintf(text, sizeof text,
           "{\"smtp\":{\"url\":\"smtp://"
           "127.0.0.1:%d\",\"from\":\"a@b.c\",\"to\":[\"d@e.f\"],\"user\":\"me\",\"password\":{\"$secret\":\"smtp\"}%s}}",
           server.port, PLAIN);
  pthread_mutex_lock(&server.lock);
  server.at = NULL, server.commands[0] = 0;
  pthread_mutex_unlock(&server.lock);
  help_run((struct exchange){0}, help_json(text), &o);
  assert_int_equal(o.delivery, DELIVERY_NOT_SENT);
  assert_int_equal(o.err.code, ERR_DENIED);
  assert_null(strstr(server.commands, "AUTH"));
}

static void in_doubt(void **state) {
  send_mail("CONTENT", NULL, (struct exchange){0}, PLAIN);
  assert_int_equal(o.delivery, DELIVERY_IN_DOUBT);
  assert_int_equal(o.err.code, ERR_UNAVAILABLE);
  send_mail("CONTENT", "", (struct exchange){.timeout_ms = 400}, PLAIN);
  assert_int_equal(o.delivery, DELIVERY_IN_DOUBT);
  assert_int_equal(o.err.code, ERR_TIMEOUT);
}

static void no_injection(void **state) {
  static const char *const bad[] = {",\"subject\":\"a\\r\\nBcc: x@y.z\",\"text\":\"t\"",
                                    ",\"subject\":\"a\\nb\",\"text\":\"t\"",
                                    ",\"subject\":\"s\",\"text\":\"t\",\"reply_to\":\"a@b.c\\r\\nX: y\"",
                                    ",\"subject\":\"s\",\"text\":\"t\",\"headers\":{\"Bcc\":\"x@y.z\"}",
                                    ",\"subject\":\"s\",\"text\":\"t\",\"headers\":{\"X-A\":\"b\\r\\nBcc: x@y.z\"}",
                                    ",\"subject\":\"s\",\"text\":\"t\",\"headers\":{\"X-A: b\\r\\nBcc\":\"x@y.z\"}",
                                    ",\"subject\":\"s\"",
                                    ",\"text\":\"t\"",
                                    NULL};
  struct err err = {0};
  for (size_t i = 0; bad[i]; i++)
    if (help_refused((struct exchange){0}, mail(bad[i]), &err) != ERR_INVALID) fail_msg("accepted: %s", bad[i]);
  static const char *const forms[] = {
      "{\"smtp\":{\"url\":\"smtp://h\",\"from\":\"a@b.c> X\",\"to\":[\"d@e.f\"],\"subject\":\"s\",\"text\":\"t\"}}",
      "{\"smtp\":{\"url\":\"smtp://h\",\"from\":\"a@b.c\",\"to\":[\"d@e.f>\\r\\nDATA\"],\"subject\":\"s\",\"text\":\"t\"}}",
      "{\"smtp\":{\"url\":\"smtp://h\",\"from\":\"a@b.c\",\"to\":[],\"subject\":\"s\",\"text\":\"t\"}}",
      "{\"smtp\":{\"url\":\"http://h\",\"from\":\"a@b.c\",\"to\":[\"d@e.f\"],\"subject\":\"s\",\"text\":\"t\"}}",
      "{\"smtp\":{\"url\":\"smtp://u:p@h\",\"from\":\"a@b.c\",\"to\":[\"d@e.f\"],\"subject\":\"s\",\"text\":\"t\"}}",
      NULL};
  for (size_t i = 0; forms[i]; i++)
    if (help_refused((struct exchange){0}, help_json(forms[i]), &err) != ERR_INVALID) fail_msg("accepted: %s", forms[i]);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(delivered), cmocka_unit_test(same_message_id),
                                     cmocka_unit_test(not_ascii), cmocka_unit_test(refused_is_an_answer),
                                     cmocka_unit_test(not_sent),  cmocka_unit_test(no_tls_no_mail),
                                     cmocka_unit_test(in_doubt),  cmocka_unit_test(no_injection)};
  return cmocka_run_group_tests(tests, up, down);
}
