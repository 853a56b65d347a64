/* A growing log, anchored with parties that are written from the standards (tests/servers/outside.py): stamps, cosignatures, a copy in a folder and in a bucket. */
#include "transport_help.h"

#include <dirent.h>

#include "anchor/anchor.h"
#include "anchor/check.h"
#include "anchor/stamp.h"
#include "anchor/witness.h"
#include "evidence/bodies.h"
#include "evidence/reader.h"
#include "evidence/tlog.h"
#include "evidence/verify.h"

static char folder[] = "/tmp/tocsin-anchor-XXXXXX";
static struct note_signer signer;
static struct secrets *store;
static pid_t outside;
static int port, to_outside;
static unsigned told;
static char cosigned[1024];

static const char *at(const char *format, ...) {
  static char paths[32][512];
  static unsigned n;
  char *path = paths[n++ % 32];
  va_list args;
  int len = snprintf(path, 512, "%s/", folder);
  va_start(args, format);
  vsnprintf(path + len, 512 - (size_t)len, format, args);
  va_end(args);
  return path;
}

static void read_all(const char *path, struct buf *out) {
  char piece[4096];
  ssize_t n;
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) fail_msg("there is no %s", path);
  buf_init(out, 8 << 20);
  while ((n = read(fd, piece, sizeof piece)) > 0) buf_add(out, piece, (size_t)n);
  close(fd);
}

/* Entries with bodies, as the sealer puts them down. */
static void grow(const char *evidence, unsigned from, unsigned to, const char *what) {
  struct tlog *log;
  struct bodies *bodies;
  struct err err = {0};
  char path[512];
  snprintf(path, sizeof path, "%s/log", evidence);
  if (bodies_open(evidence, &bodies, &err) < 0 || tlog_open(path, &signer, NULL, NULL, &log, &err) < 0) fail_msg("%s", err.text);
  static char texts[1024][64], hidden[1024][64];
  static struct tlog_entry entries[1024];
  static struct body list[1024];
  for (unsigned i = from; i < to; i++) {
    unsigned k = i - from;
    entries[k] = (struct tlog_entry){texts[k], (size_t)snprintf(texts[k], sizeof *texts, "%s %u", what, i), NULL};
    list[k] = (struct body){hidden[k], (size_t)snprintf(hidden[k], sizeof *hidden, "a body that nobody may read %u", i), {{0}}};
    merkle_leaf(texts[k], entries[k].len, &list[k].leaf);
  }
  if (bodies_append(bodies, tlog_size(log), list, to - from, &err) < 0 || tlog_append(log, entries, to - from, &err) < 0)
    fail_msg("%s", err.text);
  tlog_close(log);
  bodies_close(bodies);
}

static void on_news(void *arg) { told++; }

static void on_cosigned(void *arg, uint64_t size, const char *lines, size_t len) {
  snprintf(cosigned, sizeof cosigned, "%d:%.*s", (int)size, (int)len, lines);
}

/* settings with $P for the port, $F for the folder, $W for the witness's key. */
static struct anchor *make(const char *evidence, const char *settings) {
  struct buf text, key;
  struct err err = {0};
  struct anchor *a = NULL;
  read_all(at("outside/witness.vkey"), &key);
  buf_init(&text, 8192);
  for (const char *p = settings; *p; p++) {
    if (*p != '$') buf_addc(&text, *p);
    else if (*++p == 'P') buf_addf(&text, "%d", port);
    else if (*p == 'F') buf_adds(&text, folder);
    else if (*p == 'W') buf_adds(&text, key.data);
    else buf_addc(&text, *p);
  }
  json_t *value = help_json(text.data);
  struct anchor_options o = {
      .folder = evidence, .key = &signer.verifier, .settings = value, .secrets = store, .news = on_news, .cosigned = on_cosigned};
  if (anchor_new(&o, &a, &err) < 0) fail_msg("%s", err.text);
  json_decref(value);
  buf_release(&text);
  buf_release(&key);
  return a;
}

static void round_ok(struct anchor *a) {
  struct err err = {0};
  if (anchor_round(a, &err) < 0) fail_msg("%s", err.text);
}

static void round_fails(struct anchor *a, int code, const char *word) {
  struct err err = {0};
  int r = anchor_round(a, &err);
  if (r != code || !strstr(err.text, word)) fail_msg("%d instead of %d, or no word of \"%s\": %s", r, code, word, err.text);
}

static int up(void **state) {
  struct err err = {0};
  char text[NOTE_VERIFIER_TEXT], number[16], script[] = "tests/servers/outside.py";
  int pipes[2];
  assert_non_null(mkdtemp(folder));
  assert_int_equal(mkdir(at("outside"), 0700), 0);
  assert_int_equal(mkdir(at("outside/objects"), 0700), 0);
  assert_int_equal(note_signer_make("example.com/ir/evidence", &signer, &err), 0);
  note_verifier_write(&signer.verifier, text);
  write_file(at("outside/log.vkey"), text);
  store = secrets_new();
  secrets_put(store, "anchor.copy.1.access_key", "AKIDEXAMPLE", 11, &err);
  secrets_put(store, "anchor.copy.1.secret_key", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", 40, &err);
  secrets_put(store, "wrong", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEZ", 40, &err);
  port = free_port();
  snprintf(number, sizeof number, "%d", port);
  assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
  outside = fork();
  if (outside == 0) {
    dup2(pipes[0], 0);
    execlp("python3", "python3", script, "--folder", at("outside"), "--port", number, (char *)NULL);
    _exit(127);
  }
  close(pipes[0]);
  to_outside = pipes[1];
  WAIT_FOR(access(at("outside/ready"), F_OK) == 0);
  return 0;
}

static int down(void **state) {
  close(to_outside);
  wait_exit(outside);
  secrets_free(store);
  note_signer_wipe(&signer);
  remove_folder(folder);
  return 0;
}

/* ---- stamps */

static void stamped(void **state) {
  const char *evidence = at("stamped");
  struct buf note, reply;
  struct stamp stamp;
  struct err err = {0};
  grow(evidence, 0, 3, "entry");
  struct anchor *a = make(evidence, "{\"tsa\":[{\"url\":\"http://127.0.0.1:$P/tsa\",\"ca\":\"$F/outside/ca.pem\"}]}");
  told = 0;
  round_ok(a);
  read_all(at("stamped/anchors/3.checkpoint"), &note);
  read_all(at("stamped/anchors/3.tsr"), &reply);
  if (stamp_check(reply.data, reply.len, note.data, note.len, NULL, at("outside/ca.pem"), &stamp, &err) < 0) fail_msg("%s", err.text);
  json_t *news = anchor_news(a);
  assert_int_equal(told, 1);
  assert_string_equal(json_str(json_array_get(news, 0), "event"), "stamped");
  assert_string_equal(json_str(json_array_get(news, 0), "authority"), "CN=Outside TSA");
  json_decref(news);
  round_ok(a); /* nothing is new: nobody is asked */
  assert_int_equal(told, 1);
  anchor_free(a);
  /* An answer to another question, and one that is none: not kept. */
  a = make(evidence, "{\"tsa\":[{\"url\":\"http://127.0.0.1:$P/tsa/replay\",\"ca\":\"$F/outside/ca.pem\"}]}");
  round_ok(a);
  grow(evidence, 3, 5, "entry");
  round_fails(a, ERR_INVALID, "not to be believed");
  assert_int_not_equal(access(at("stamped/anchors/5.tsr"), F_OK), 0);
  anchor_free(a);
  a = make(evidence, "{\"tsa\":[{\"url\":\"http://127.0.0.1:$P/tsa/no\",\"ca\":\"$F/outside/ca.pem\"}]}");
  round_fails(a, ERR_INVALID, "no answer of a time-stamping authority");
  anchor_free(a);
  buf_release(&note);
  buf_release(&reply);
}

/* ---- witnesses */

static const char witness_settings[] = "{\"witness\":[{\"url\":\"http://127.0.0.1:$P/witness\",\"key\":\"$W\"}]}";

static void sound(const char *log, uint64_t size) {
  struct verify_options o = {.key = &signer.verifier, .plain = true};
  struct verify_result result;
  struct err err = {0};
  assert_int_equal(verify_log(log, &o, &result, &err), 0);
  if (result.count) fail_msg("%s %s", result.faults[0].place, result.faults[0].text);
  assert_int_equal(result.size, size);
  verify_release(&result);
}

static void witnessed(void **state) {
  const char *evidence = at("witnessed");
  struct buf note, text;
  struct witness_key key;
  struct note opened;
  struct err err = {0};
  int64_t when = 0;
  struct anchor *a = NULL;
  unsigned sizes[] = {1, 2, 7, 256, 300}, last = 0;
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    grow(evidence, last, sizes[i], "entry");
    last = sizes[i];
    if (!a) a = make(evidence, witness_settings);
    round_ok(a);
  }
  read_all(at("witnessed/anchors/300.cosigned"), &note);
  read_all(at("outside/witness.vkey"), &text);
  assert_int_equal(witness_key_read(text.data, &key, &err), 0);
  assert_int_equal(note_open(note.data, note.len, &signer.verifier, 1, &opened, &err), 0);
  assert_int_equal(witness_check(note.data + opened.text_len, note.len - opened.text_len, &key, note.data, opened.text_len, NULL, &when,
                                 &err),
                   0);
  assert_true(when >= time(NULL) - 120 && when <= time(NULL) + 5);
  assert_memory_equal(cosigned, "300:\xe2\x80\x94 witness.example/w1 ", 27);
  assert_null(strstr(note.data, "stranger"));
  note.data[3] ^= 1; /* another origin: neither signature fits */
  assert_int_equal(witness_check(note.data + opened.text_len, note.len - opened.text_len, &key, note.data, opened.text_len, NULL, &when,
                                 &err),
                   ERR_INVALID);
  anchor_free(a);
  /* What we knew of the witness is lost: it tells, and the proof follows. */
  assert_int_equal(unlink(at("witnessed/anchors/state.json")), 0);
  grow(evidence, 300, 310, "entry");
  a = make(evidence, "{\"witness\":[{\"url\":\"http://127.0.0.1:$P/witness\",\"key\":\"$W\"}],\"copy\":[{\"folder\":\"$F/cosigned\"}]}");
  round_ok(a);
  /* The copy's checkpoint bears the cosignature. */
  buf_release(&note);
  read_all(at("cosigned/log/checkpoint"), &note);
  assert_non_null(strstr(note.data, "\n\xe2\x80\x94 witness.example/w1 "));
  sound(at("cosigned/log"), 310);
  anchor_free(a);
  buf_release(&note);
  buf_release(&text);
}

/* The key's holder writes another log, and one that is cut: only the witness can tell, and does. */
static void forks_refused(void **state) {
  grow(at("forked"), 0, 400, "another entry");
  struct anchor *a = make(at("forked"), witness_settings);
  round_fails(a, ERR_CONFLICT, "was rewritten");
  assert_int_not_equal(access(at("forked/anchors/400.cosigned"), F_OK), 0);
  anchor_free(a);
  grow(at("cut"), 0, 5, "entry");
  a = make(at("cut"), witness_settings);
  round_fails(a, ERR_CONFLICT, "cut or set back");
  anchor_free(a);
}

static void liar_refused(void **state) {
  grow(at("witnessed"), 310, 312, "entry");
  struct anchor *a = make(at("witnessed"), "{\"witness\":[{\"url\":\"http://127.0.0.1:$P/witness/liar\",\"key\":\"$W\"}]}");
  round_fails(a, ERR_INVALID, "does not fit");
  assert_int_not_equal(access(at("witnessed/anchors/312.cosigned"), F_OK), 0);
  anchor_free(a);
}

/* ---- copies */

static void same_file(const char *a, const char *b) {
  struct buf x, y;
  read_all(a, &x), read_all(b, &y);
  assert_int_equal(x.len, y.len);
  assert_memory_equal(x.data, y.data, x.len);
  buf_release(&x), buf_release(&y);
}

static void folder_copied(void **state) {
  const char *evidence = at("copied");
  grow(evidence, 0, 10, "entry");
  struct anchor *a = make(evidence, "{\"tsa\":[{\"url\":\"http://127.0.0.1:$P/tsa\",\"ca\":\"$F/outside/ca.pem\"}],"
                                    "\"copy\":[{\"folder\":\"$F/there\"}]}");
  round_ok(a);
  sound(at("there/log"), 10);
  grow(evidence, 10, 600, "entry");
  round_ok(a);
  sound(at("there/log"), 600);
  same_file(at("copied/bodies/001"), at("there/bodies/001"));
  same_file(at("copied/anchors/600.tsr"), at("there/anchors/600.tsr"));
  assert_int_not_equal(access(at("there/keys.db"), F_OK), 0);
  anchor_free(a);
  /* Cut short in the middle: the checkpoint is not there yet, and what is missing is put. */
  assert_int_equal(unlink(at("there/log/checkpoint")), 0);
  assert_int_equal(unlink(at("there/log/tile/0/001")), 0);
  grow(evidence, 600, 601, "entry");
  a = make(evidence, "{\"copy\":[{\"folder\":\"$F/there\"}]}");
  round_ok(a);
  sound(at("there/log"), 601);
  anchor_free(a);
  /* Another log with the same key does not take its place. */
  grow(at("other"), 0, 700, "other");
  a = make(at("other"), "{\"copy\":[{\"folder\":\"$F/there\"}]}");
  round_fails(a, ERR_CONFLICT, "other entries");
  anchor_free(a);
  sound(at("there/log"), 601);
}

/* Whoever looks at the copy, whenever: it is sound up to its checkpoint, and its stamps speak of nothing beyond. */
static void copy_sound(const char *log, unsigned entries, unsigned least, unsigned most) {
  struct anchor_question question = {.key = &signer.verifier, .tsa_ca = at("outside/ca.pem")};
  struct err err = {0};
  json_t *found;
  sound(log, entries);
  if (anchor_check(log, &question, &found, &err) < 0) fail_msg("%s", err.text);
  if (json_array_size(json_object_get(found, "faults")) > 0)
    fail_msg("%s", json_str(json_array_get(json_object_get(found, "faults"), 0), "text"));
  assert_in_range(json_int_or(json_object_get(found, "stamped"), "size", 0), least, most);
  json_decref(found);
}

static void interrupted(void **state) {
#define STAMPED "{\"tsa\":[{\"url\":\"http://127.0.0.1:$P/tsa\",\"ca\":\"$F/outside/ca.pem\"}]"
  static const struct {
    const char *where;         /* there the round fails: a folder stands in the way */
    unsigned entries, stamped; /* stamped: at most; a folder is listed in any order */
  } stops[] = {{"log/tile/entries/001.p/54", 300, 300},
               {"log/tile/0/001.p/64", 300, 300},
               {"log/tile/1/000.p/1", 300, 300},
               {"bodies/001", 300, 300},
               {"log/checkpoint", 300, 300},
               {"anchors/360.tsr", 360, 350}};
  char evidence[512];
  struct anchor *stamps, *copies;
  snprintf(evidence, sizeof evidence, "%s", at("interrupted")); /* for longer than at() keeps it */
  grow(evidence, 0, 300, "entry");
  copies = make(evidence, STAMPED ",\"copy\":[{\"folder\":\"$F/cut\"}]}");
  round_ok(copies);
  anchor_free(copies);
  copy_sound(at("cut/log"), 300, 300, 300);
  for (size_t i = 0; i < sizeof stops / sizeof *stops; i++) {
    grow(evidence, 300 + 10 * (unsigned)i, 310 + 10 * (unsigned)i, "entry");
    stamps = make(evidence, STAMPED "}");
    round_ok(stamps);
    anchor_free(stamps);
    const char *way = at("cut/%s.new", stops[i].where);
    assert_int_equal(mkdir(way, 0700), 0);
    copies = make(evidence, "{\"copy\":[{\"folder\":\"$F/cut\"}]}");
    round_fails(copies, ERR_IO, stops[i].where);
    copy_sound(at("cut/log"), stops[i].entries, 300, stops[i].stamped);
    assert_int_equal(rmdir(way), 0);
    anchor_free(copies);
  }
  copies = make(evidence, "{\"copy\":[{\"folder\":\"$F/cut\"}]}");
  round_ok(copies);
  anchor_free(copies);
  copy_sound(at("cut/log"), 360, 360, 360);
  for (unsigned size = 310; size < 360; size += 10) same_file(at("interrupted/anchors/%u.tsr", size), at("cut/anchors/%u.tsr", size));
}

#define BUCKET                                                                                                                             \
  "\"bucket\":\"http://127.0.0.1:$P/bucket/ir\",\"region\":\"us-east-1\",\"access_key\":{\"$$secret\":\"anchor.copy.1.access_key\"},"

static void bucket_copied(void **state) {
  struct buf requests;
  char path[512];
  struct anchor *a = make(at("copied"), "{\"copy\":[{" BUCKET "\"secret_key\":{\"$$secret\":\"wrong\"}}]}");
  round_fails(a, ERR_DENIED, "SignatureDoesNotMatch");
  anchor_free(a);
  a = make(at("copied"), "{\"copy\":[{" BUCKET "\"secret_key\":{\"$$secret\":\"anchor.copy.1.secret_key\"},\"lock_days\":30}]}");
  round_ok(a);
  same_file(at("copied/log/checkpoint"), at("outside/objects/ir%%2Flog%%2Fcheckpoint"));
  same_file(at("copied/bodies/002"), at("outside/objects/ir%%2Fbodies%%2F002"));
  read_all(at("outside/requests.log"), &requests);
  assert_non_null(strstr(requests.data, "PUT /bucket/ir/log/checkpoint 200 COMPLIANCE"));
  buf_release(&requests);
  snprintf(path, sizeof path, "%s", at("outside/objects/ir%%2Flog%%2Ftile%%2F0%%2F000"));
  struct stat before, after;
  assert_int_equal(stat(path, &before), 0);
  grow(at("copied"), 601, 602, "entry");
  round_ok(a); /* goes on where it stood: full tiles are not sent again */
  assert_int_equal(stat(path, &after), 0);
  assert_true(before.st_mtim.tv_sec == after.st_mtim.tv_sec && before.st_mtim.tv_nsec == after.st_mtim.tv_nsec);
  anchor_free(a);
}

/* ---- together, in the thread */

static void others_go_on(void **state) {
  struct err err = {0};
  grow(at("thread"), 0, 4, "entry");
  char settings[512];
  snprintf(settings, sizeof settings,
           "{\"every\":20,\"tsa\":[{\"url\":\"http://127.0.0.1:%d/tsa\",\"ca\":\"$F/outside/ca.pem\"},"
           "{\"url\":\"http://127.0.0.1:$P/tsa\",\"ca\":\"$F/outside/ca.pem\"}],\"copy\":[{\"folder\":\"$F/thread-copy\"}]}",
           free_port());
  struct anchor *a = make(at("thread"), settings);
  assert_int_equal(anchor_start(a, &err), 0);
  WAIT_FOR(access(at("thread-copy/log/checkpoint"), F_OK) == 0 && access(at("thread/anchors/4-2.tsr"), F_OK) == 0);
  anchor_stop(a);
  json_t *status = anchor_status(a), *news = anchor_news(a);
  assert_int_equal(json_array_size(status), 3);
  assert_non_null(json_str(json_array_get(status, 0), "why"));
  assert_null(json_str(json_array_get(status, 1), "why"));
  assert_true(json_int_or(json_array_get(status, 1), "time", 0) > 0);
  size_t failed = 0, i;
  json_t *one;
  json_array_foreach(news, i, one) failed += strcmp(json_str_or(one, "event", ""), "failed") == 0;
  assert_int_equal(failed, 1); /* told once, however often it is tried */
  json_decref(status);
  json_decref(news);
  anchor_free(a);
}

static void bad_settings(void **state) {
  static const char *const bad[] = {"{\"tsa\":[{\"url\":\"http://x\"}]}", "{\"witness\":[{\"url\":\"http://x\",\"key\":\"no\"}]}",
                                    "{\"copy\":[{}]}", "{\"copy\":[{\"bucket\":\"http://x\",\"region\":\"r\"}]}"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    struct err err = {0};
    struct anchor *a;
    json_t *value = help_json(bad[i]);
    struct anchor_options o = {.folder = folder, .key = &signer.verifier, .settings = value, .secrets = store};
    assert_int_equal(anchor_new(&o, &a, &err), ERR_INVALID);
    json_decref(value);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(stamped),       cmocka_unit_test(witnessed),     cmocka_unit_test(forks_refused),
                                     cmocka_unit_test(liar_refused),  cmocka_unit_test(folder_copied), cmocka_unit_test(interrupted),
                                     cmocka_unit_test(bucket_copied), cmocka_unit_test(others_go_on),  cmocka_unit_test(bad_settings)};
  return cmocka_run_group_tests(tests, up, down);
}
