/* The log on disk: it grows, reopens, proves; survives a failure, a torn write or a kill at every call; and reads another project's log. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <sys/wait.h>

#include "log_help.h"
#include "vectors.h"

enum { MOST = 70000 };
static char texts[MOST][40];
static struct tlog_entry entries[MOST];
static struct hash leaves[MOST];
static struct note_signer signer;

static int setup(void **state) {
  signer = test_signer("example.com/ir/evidence");
  for (int i = 0; i < MOST; i++) {
    int n = snprintf(texts[i], sizeof texts[i], "entry %d%.*s", i, i % 17, "................");
    merkle_leaf(texts[i], (size_t)n, &leaves[i]);
    entries[i] = (struct tlog_entry){texts[i], (size_t)n, i % 3 ? &leaves[i] : NULL};
  }
  return 0;
}

static struct tlog *open_log(const char *folder, disk_fault_cb *fault, void *arg) {
  struct tlog *t = NULL;
  struct err err = {0};
  if (tlog_open(folder, &signer, fault, arg, &t, &err) < 0) fail_msg("%s", err.text);
  return t;
}

static void append(struct tlog *t, uint64_t from, uint64_t to) {
  struct err err = {0};
  if (tlog_append(t, entries + from, to - from, &err) < 0) fail_msg("%s", err.text);
}

/* Entry i gives its own bytes. */
static void expect_entry(struct tlog *t, uint64_t i) {
  struct buf b;
  struct err err = {0};
  buf_init(&b, 65536);
  if (tlog_read(t, i, &b, &err) < 0) fail_msg("entry %u: %s", (unsigned)i, err.text);
  assert_string_equal(b.data, texts[i]);
  buf_release(&b);
}

static void expect_root(struct tlog *t, uint64_t size) {
  struct hash root, want;
  assert_int_equal(tlog_size(t), size);
  tlog_root(t, &root);
  plain_root(leaves, size, &want);
  assert_true(hash_equal(&root, &want));
}

/* Size, root and the last entries are right. */
static void expect(struct tlog *t, uint64_t size, uint64_t read_from) {
  expect_root(t, size);
  for (uint64_t i = read_from; i < size; i++) expect_entry(t, i);
}

/* Size and root are right, and entries of every tile: all that a broken batch touches is near its ends. */
static void expect_some(struct tlog *t, uint64_t size, uint64_t before) {
  expect_root(t, size);
  for (uint64_t i = 0; i < size; i++)
    if (i % 61 == 0 || (i + 4 >= before && i < before + 4) || i + 4 >= size) expect_entry(t, i);
}

static bool there(const char *folder, const char *path) {
  char whole[256];
  snprintf(whole, sizeof whole, "%s/%s", folder, path);
  return access(whole, F_OK) == 0;
}

static void grows(void **state) {
  static const unsigned steps[] = {1, 1, 3, 200, 50, 1, 255, 1, 256, 512, 7, 700, 0, 69};
  char folder[64];
  uint64_t size = 0;
  folder_make(folder);
  struct tlog *t = open_log(folder, NULL, NULL);
  expect(t, 0, 0);
  for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
    append(t, size, size + steps[i]);
    size += steps[i];
    expect(t, size, size > 300 ? size - 300 : 0);
    if (i % 2) continue;
    tlog_close(t);
    t = open_log(folder, NULL, NULL);
    expect(t, size, 0);
  }
  assert_int_equal(size, 2056);
  assert_true(there(folder, "tile/0/007") && there(folder, "tile/0/008.p/8") && there(folder, "tile/entries/008.p/8") &&
              there(folder, "tile/1/000.p/8"));
  assert_false(there(folder, "tile/0/000.p") || there(folder, "tile/entries/007.p") || there(folder, "tile/2"));
  tlog_close(t);
  folder_remove(folder);
}

static void proves(void **state) {
  char folder[64];
  folder_make(folder);
  struct tlog *t = open_log(folder, NULL, NULL);
  append(t, 0, 1000);
  for (uint64_t size = 1; size <= 1000; size += 37) {
    struct merkle_proof proof;
    struct hash old, root;
    struct err err = {0};
    plain_root(leaves, size, &old);
    plain_root(leaves, 1000, &root);
    if (tlog_inclusion(t, size / 2, size, &proof, &err) < 0) fail_msg("%s", err.text);
    assert_true(merkle_verify_inclusion(size / 2, size, &leaves[size / 2], proof.hashes, proof.count, &old));
    if (tlog_consistency(t, size, 1000, &proof, &err) < 0) fail_msg("%s", err.text);
    assert_true(merkle_verify_consistency(size, 1000, &old, &root, proof.hashes, proof.count));
  }
  tlog_close(t);
  folder_remove(folder);
}

static void three_levels(void **state) {
  char folder[64];
  folder_make(folder);
  struct tlog *t = open_log(folder, NULL, NULL);
  for (uint64_t i = 0; i < MOST; i += 5000) append(t, i, i + 5000);
  expect(t, MOST, MOST - 2);
  tlog_close(t);
  t = open_log(folder, NULL, NULL);
  expect(t, MOST, MOST - 500);
  assert_true(there(folder, "tile/0/272") && there(folder, "tile/0/273.p/112") && there(folder, "tile/1/000") &&
              there(folder, "tile/1/001.p/17") && there(folder, "tile/2/000.p/1"));
  tlog_close(t);
  folder_remove(folder);
}

static void one_writer(void **state) {
  char folder[64];
  struct tlog *other = NULL;
  folder_make(folder);
  struct tlog *t = open_log(folder, NULL, NULL);
  assert_int_equal(tlog_open(folder, &signer, NULL, NULL, &other, NULL), ERR_CONFLICT);
  tlog_close(t);
  tlog_close(open_log(folder, NULL, NULL));
  folder_remove(folder);
}

static void refuse(const char *folder, const struct note_signer *key) {
  struct tlog *t = NULL;
  struct err err = {0};
  assert_int_not_equal(tlog_open(folder, key, NULL, NULL, &t, &err), 0);
  assert_null(t);
}

static void refuses_damage(void **state) {
  struct note_signer same_name = test_signer("example.com/ir/evidence"), other = test_signer("example.com/other");
  static const char *const damage[] = {"tile/0/001.p/44", "tile/1/000.p/1", "tile/entries/001.p/44", "checkpoint"};
  char folder[64], path[256];
  folder_make(folder);
  struct tlog *t = open_log(folder, NULL, NULL);
  append(t, 0, 300);
  tlog_close(t);
  refuse(folder, &same_name);
  refuse(folder, &other);
  for (size_t i = 0; i < sizeof damage / sizeof *damage; i++) {
    struct buf bytes;
    buf_init(&bytes, 1 << 20);
    snprintf(path, sizeof path, "%s/%s", folder, damage[i]);
    vector_file(path, &bytes);
    bytes.data[bytes.len / 2] ^= 1;
    file_put_bytes(path, bytes.data, bytes.len);
    refuse(folder, &signer);
    assert_int_equal(unlink(path), 0);
    refuse(folder, &signer);
    bytes.data[bytes.len / 2] ^= 1;
    file_put_bytes(path, bytes.data, bytes.len);
    tlog_close(open_log(folder, NULL, NULL));
    buf_release(&bytes);
  }
  folder_remove(folder);
}

static void wrong_leaf(void **state) {
  struct tlog_entry e = {"abc", 3, &leaves[5]};
  static char big[TILE_ENTRY_MAX + 1];
  char folder[64];
  folder_make(folder);
  struct tlog *t = open_log(folder, NULL, NULL);
  append(t, 0, 5);
  assert_int_equal(tlog_append(t, &e, 1, NULL), ERR_IO);
  e = (struct tlog_entry){big, sizeof big, NULL};
  assert_int_equal(tlog_append(t, &e, 1, NULL), ERR_LIMIT);
  expect(t, 5, 0);
  append(t, 5, 10);
  expect(t, 10, 0);
  tlog_close(t);
  folder_remove(folder);
}

/* ---- faults */

enum how { ERROR_ONCE, TORN_ONCE, DEAD, KILLED, HOWS };
struct fault {
  unsigned calls, at; /* at 0: never */
  enum how how;
  bool silent;
};

static int fault_step(void *arg, enum disk_call call, const char *path, size_t *len) {
  struct fault *f = arg;
  f->calls++;
  if (!f->at || f->calls < f->at) return 0;
  if (f->how == KILLED) {
    if (call == DISK_WRITE) return *len = 11, EIO; /* half a file first; the next call kills */
    _exit(7);
  }
  if (f->calls > f->at && f->how != DEAD) return 0;
  if (call == DISK_WRITE && f->how != ERROR_ONCE) *len = 11;
  return ENOSPC;
}

/* From `before` entries, one batch up to `after`, broken at call `at`. Returns false when the batch has fewer calls. */
static bool batch_broken(const char *base, uint64_t before, uint64_t after, unsigned at, enum how how) {
  char folder[64];
  struct fault fault = {.at = 0, .how = how};
  bool broke = true;
  folder_make(folder);
  folder_copy(base, folder);
  if (how == KILLED) {
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
      struct tlog *t = NULL;
      if (tlog_open(folder, &signer, fault_step, &fault, &t, NULL) < 0) _exit(9);
      fault.calls = 0;
      fault.at = at;
      _exit(tlog_append(t, entries + before, after - before, NULL) == 0 ? 0 : 7);
    }
    int status = 0;
    waitpid(pid, &status, 0);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) != 9);
    broke = WEXITSTATUS(status) == 7;
  } else {
    struct tlog *t = open_log(folder, fault_step, &fault);
    fault.calls = 0;
    fault.at = at;
    int r = tlog_append(t, entries + before, after - before, NULL);
    broke = fault.calls >= at;
    if (how != DEAD && r < 0) {
      /* The same process goes on: it asks where it stands, and appends what is missing and more. */
      append(t, 0, 0);
      uint64_t size = tlog_size(t);
      assert_true(size == before || size == after);
      expect_some(t, size, before);
      append(t, size, after);
      expect_some(t, after, before);
    }
    tlog_close(t);
  }
  /* Another process opens what is there and goes on with other sizes. */
  struct tlog *t = open_log(folder, NULL, NULL);
  uint64_t size = tlog_size(t);
  assert_true(size == before || size == after);
  expect_some(t, size, before);
  append(t, size, size + 3);
  expect_some(t, size + 3, before);
  append(t, size + 3, size + 300);
  tlog_close(t);
  t = open_log(folder, NULL, NULL);
  expect_some(t, size + 300, before);
  tlog_close(t);
  folder_remove(folder);
  return broke;
}

static void survives(void **state) {
  static const unsigned sizes[][2] = {{0, 1}, {3, 5}, {250, 262}, {255, 256}, {256, 257}, {500, 1030}};
  unsigned tried = 0;
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    char base[64];
    folder_make(base);
    struct tlog *t = open_log(base, NULL, NULL);
    append(t, 0, sizes[i][0]);
    tlog_close(t);
    for (int how = 0; how < HOWS; how++) {
      unsigned at = 1;
      while (batch_broken(base, sizes[i][0], sizes[i][1], at, (enum how)how)) at++;
      tried += at - 1;
      assert_true(at > 10);
    }
    folder_remove(base);
  }
  print_message("a batch was broken at %u places\n", tried);
  assert_true(tried > 400);
}

/* A first opening that is broken at any call can be repeated. */
static void begins(void **state) {
  for (unsigned at = 1;; at++) {
    struct fault fault = {.at = at, .how = DEAD};
    struct tlog *t = NULL;
    char folder[64];
    folder_make(folder);
    int r = tlog_open(folder, &signer, fault_step, &fault, &t, NULL);
    tlog_close(t);
    t = open_log(folder, NULL, NULL);
    append(t, 0, 2);
    expect(t, 2, 0);
    tlog_close(t);
    folder_remove(folder);
    if (r == 0) {
      assert_true(at > 6);
      return;
    }
  }
}

/* ---- another project's log */

static void tessera(void **state) {
  if (!vectors_public()) skip();
  json_t *v = vector_json(PUBLIC_VECTORS "/signed-notes.json");
  struct note_signer mine = signer;
  struct hash theirs[16], root;
  struct tlog *t;
  char folder[64], path[256];
  folder_make(folder);
  folder_copy(PUBLIC_VECTORS "/tessera-testlog", folder);
  assert_int_equal(note_signer_read(json_str(v, "tessera_test_skey"), &signer, NULL), 0);
  t = open_log(folder, NULL, NULL);
  assert_int_equal(tlog_size(t), 15);
  for (uint64_t i = 0; i < 15; i++) {
    struct buf b;
    buf_init(&b, 65536);
    assert_int_equal(tlog_read(t, i, &b, NULL), 0);
    merkle_leaf(b.data, b.len, &theirs[i]);
    buf_release(&b);
  }
  /* Each of their checkpoints is signed, has the root of its entries, and is the start of every later one. */
  for (uint64_t i = 0; i <= 15; i++) {
    struct buf b;
    struct note note;
    struct checkpoint c;
    buf_init(&b, 65536);
    snprintf(path, sizeof path, PUBLIC_VECTORS "/tessera-testlog/checkpoint.%u", (unsigned)i);
    vector_file(path, &b);
    assert_int_equal(note_open(b.data, b.len, &signer.verifier, 1, &note, NULL), 0);
    assert_int_equal(checkpoint_read(b.data, note.text_len, &c, NULL), 0);
    plain_root(theirs, c.size, &root);
    assert_int_equal(c.size, i);
    assert_true(hash_equal(&root, &c.root));
    for (uint64_t j = i; i && j <= 15; j++) {
      struct merkle_proof proof;
      struct hash later;
      plain_root(theirs, j, &later);
      assert_int_equal(tlog_consistency(t, i, j, &proof, NULL), 0);
      assert_true(merkle_verify_consistency(i, j, &root, &later, proof.hashes, proof.count));
    }
    buf_release(&b);
  }
  append(t, 0, 500);
  assert_int_equal(tlog_size(t), 515);
  tlog_close(t);
  tlog_close(open_log(folder, NULL, NULL));
  folder_remove(folder);
  signer = mine;
  json_decref(v);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(grows),      cmocka_unit_test(proves),         cmocka_unit_test(three_levels),
      cmocka_unit_test(one_writer), cmocka_unit_test(refuses_damage), cmocka_unit_test(wrong_leaf),
      cmocka_unit_test(survives),   cmocka_unit_test(begins),         cmocka_unit_test(tessera),
  };
  return cmocka_run_group_tests(tests, setup, NULL);
}
