/* The Merkle tree against public vectors and our own: roots, proofs made, proofs taken and proofs refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <string.h>

#include "evidence/leaf.h"
#include "evidence/merkle.h"
#include "vectors.h"

enum { LEAVES = 1024 };

/* A tree held whole: levels[l][i]. Refuses to read what is not wholly inside. */
struct tree {
  uint64_t size;
  struct hash levels[11][LEAVES];
};

static void tree_build(struct tree *t) {
  for (unsigned l = 1; l < 11; l++)
    for (uint64_t i = 0; (i + 1) << l <= t->size; i++)
      merkle_node(&t->levels[l - 1][2 * i], &t->levels[l - 1][2 * i + 1], &t->levels[l][i]);
}

static int tree_read(void *arg, unsigned level, uint64_t index, struct hash *out, struct err *err) {
  struct tree *t = arg;
  if (level > 10 || (index + 1) << level > t->size)
    return err_set(err, ERR_INTERNAL, "asked for node %u/%llu of %llu leaves", level, (unsigned long long)index,
                   (unsigned long long)t->size);
  *out = t->levels[level][index];
  return 0;
}

static struct tree *tree_of(uint64_t size) {
  static struct tree t;
  char text[32];
  t.size = size;
  for (uint64_t i = 0; i < size; i++) {
    int n = snprintf(text, sizeof text, "entry %llu", (unsigned long long)i);
    merkle_leaf(text, (size_t)n, &t.levels[0][i]);
  }
  tree_build(&t);
  return &t;
}

static void hash_read(const char *hex, struct hash *out) { assert_true(hex_decode(hex, out->bytes, DIGEST_BYTES)); }

static void root_of(uint64_t size, struct hash *out) {
  struct err err = {0};
  if (merkle_root(size, tree_read, tree_of(size), out, &err) < 0) fail_msg("%s", err.text);
}

static void roots(void **state) {
  json_t *v = vector_json("tests/data/evidence/merkle.json"), *pair;
  size_t i;
  json_array_foreach(json_object_get(v, "roots"), i, pair) {
    struct hash want, root;
    hash_read(json_string_value(json_array_get(pair, 1)), &want);
    root_of(vector_u64(json_array_get(pair, 0)), &root);
    assert_true(hash_equal(&root, &want));
  }
  assert_int_equal(i, 23);
  json_decref(v);
}

static void same_as_journal_leaf(void **state) {
  char hex[DIGEST_HEX], mine[DIGEST_HEX];
  struct hash h;
  leaf_hash("{\"a\":1}", 7, hex);
  merkle_leaf("{\"a\":1}", 7, &h);
  hex_encode(h.bytes, DIGEST_BYTES, mine);
  assert_string_equal(hex, mine);
}

static void proof_expect(const struct merkle_proof *proof, const json_t *want) {
  assert_int_equal(proof->count, json_array_size(want));
  for (size_t i = 0; i < proof->count; i++) {
    struct hash h;
    hash_read(json_string_value(json_array_get(want, i)), &h);
    assert_true(hash_equal(&proof->hashes[i], &h));
  }
}

static void proofs_of_ours(void **state) {
  json_t *v = vector_json("tests/data/evidence/merkle.json"), *row;
  size_t i;
  json_array_foreach(json_object_get(v, "inclusion"), i, row) {
    uint64_t index = vector_u64(json_array_get(row, 0)), size = vector_u64(json_array_get(row, 1));
    struct merkle_proof proof;
    struct hash root;
    root_of(size, &root);
    struct tree *t = tree_of(size);
    assert_int_equal(merkle_inclusion(index, size, tree_read, t, &proof, NULL), 0);
    proof_expect(&proof, json_array_get(row, 2));
    assert_true(merkle_verify_inclusion(index, size, &t->levels[0][index], proof.hashes, proof.count, &root));
  }
  assert_true(i > 60);
  json_array_foreach(json_object_get(v, "consistency"), i, row) {
    uint64_t first = vector_u64(json_array_get(row, 0)), second = vector_u64(json_array_get(row, 1));
    struct merkle_proof proof;
    struct hash old, new;
    root_of(first, &old);
    root_of(second, &new);
    assert_int_equal(merkle_consistency(first, second, tree_read, tree_of(second), &proof, NULL), 0);
    proof_expect(&proof, json_array_get(row, 2));
    assert_true(merkle_verify_consistency(first, second, &old, &new, proof.hashes, proof.count));
  }
  assert_true(i > 60);
  json_decref(v);
}

/* Every proof of every small tree is taken, and refused after any change of it. */
static void every_small_tree(void **state) {
  unsigned taken = 0, refused = 0;
  for (uint64_t size = 1; size <= 70; size++) {
    struct hash root, old, wrong;
    struct merkle_proof proof;
    root_of(size, &root);
    for (uint64_t i = 0; i < size; i++) {
      struct tree *t = tree_of(size);
      struct hash leaf = t->levels[0][i];
      assert_int_equal(merkle_inclusion(i, size, tree_read, t, &proof, NULL), 0);
      taken += merkle_verify_inclusion(i, size, &leaf, proof.hashes, proof.count, &root);
      assert_false(merkle_verify_inclusion(i ^ 1, size, &leaf, proof.hashes, proof.count, &root));
      assert_false(merkle_verify_inclusion(i, size, &leaf, proof.hashes, proof.count + 1, &root));
      for (size_t j = 0; j < proof.count; j++) {
        proof.hashes[j].bytes[j % 32] ^= 4;
        refused += !merkle_verify_inclusion(i, size, &leaf, proof.hashes, proof.count, &root);
        proof.hashes[j].bytes[j % 32] ^= 4;
        assert_false(merkle_verify_inclusion(i, size, &leaf, proof.hashes, j, &root));
      }
    }
    for (uint64_t first = 1; first <= size; first++) {
      root_of(first, &old);
      assert_int_equal(merkle_consistency(first, size, tree_read, tree_of(size), &proof, NULL), 0);
      taken += merkle_verify_consistency(first, size, &old, &root, proof.hashes, proof.count);
      wrong = old;
      wrong.bytes[0] ^= 1;
      refused += !merkle_verify_consistency(first, size, &wrong, &root, proof.hashes, proof.count);
      for (size_t j = 0; j < proof.count; j++) assert_false(merkle_verify_consistency(first, size, &old, &root, proof.hashes, j));
    }
  }
  assert_int_equal(taken, 2 * 70 * 71 / 2);
  assert_true(refused > 12000);
}

static void out_of_range(void **state) {
  struct merkle_proof proof;
  struct err err = {0};
  assert_int_equal(merkle_inclusion(5, 5, tree_read, tree_of(5), &proof, &err), ERR_INVALID);
  assert_int_equal(merkle_consistency(0, 5, tree_read, tree_of(5), &proof, &err), ERR_INVALID);
  assert_int_equal(merkle_consistency(6, 5, tree_read, tree_of(5), &proof, &err), ERR_INVALID);
}

/* ---- public vectors */

static void public_tree8(void **state) {
  if (!vectors_public()) skip();
  json_t *v = vector_json(PUBLIC_VECTORS "/rfc6962-tree8.json"), *row, *cell;
  static struct tree t;
  size_t l, i;
  struct hash want, root;
  memset(&t, 0, sizeof t);
  json_array_foreach(json_object_get(v, "leaf_inputs_hex"), i, cell) {
    uint8_t bytes[64];
    size_t len = strlen(json_string_value(cell)) / 2;
    assert_true(hex_decode(json_string_value(cell), bytes, len));
    merkle_leaf(bytes, len, &t.levels[0][i]);
  }
  t.size = i;
  tree_build(&t);
  json_array_foreach(json_object_get(v, "node_hashes_by_level_hex"), l, row) {
    json_array_foreach(row, i, cell) {
      hash_read(json_string_value(cell), &want);
      assert_true(hash_equal(&t.levels[l][i], &want));
    }
  }
  assert_int_equal(l, 4);
  hash_read(json_str(v, "empty_root_hex"), &want);
  merkle_empty(&root);
  assert_true(hash_equal(&root, &want));
  for (uint64_t n = 1; n <= 8; n++) {
    t.size = n;
    assert_int_equal(merkle_root(n, tree_read, &t, &root, NULL), 0);
    hash_read(json_string_value(json_array_get(json_object_get(v, "root_by_size_1_to_8_hex"), n - 1)), &want);
    assert_true(hash_equal(&root, &want));
  }
  json_decref(v);
}

static struct { unsigned files, taken, refused, largest; } seen;

/* A hash of any length other than 32 is refused before any arithmetic, as a reader of proofs must. */
static bool hash_from(const json_t *value, struct hash *out) {
  size_t len = 0;
  uint8_t *bytes = json_is_string(value) ? base64_decode(json_string_value(value), json_string_length(value), &len) : NULL;
  bool ok = bytes && len == DIGEST_BYTES;
  if (ok) memcpy(out->bytes, bytes, DIGEST_BYTES);
  free(bytes);
  return ok;
}

/* One public vector compares roots of eleven bytes; shorter ones are filled up with zeros to keep them different. */
static bool root_from(const json_t *value, struct hash *out) {
  size_t len = 0;
  uint8_t *bytes = json_is_string(value) ? base64_decode(json_string_value(value), json_string_length(value), &len) : NULL;
  bool ok = bytes && len <= DIGEST_BYTES;
  memset(out, 0, sizeof *out);
  if (ok) memcpy(out->bytes, bytes, len);
  free(bytes);
  return ok;
}

static bool proof_from(const json_t *value, struct hash *out, size_t *ret_count) {
  *ret_count = json_array_size(value);
  assert_true(*ret_count < MERKLE_PROOF_MAX);
  for (size_t i = 0; i < *ret_count; i++)
    if (!hash_from(json_array_get(value, i), &out[i])) return false;
  return true;
}

static uint64_t number(const json_t *v, const char *key) {
  uint64_t n = vector_u64(json_object_get(v, key));
  seen.largest += n == UINT64_MAX;
  return n;
}

static void one_vector(const char *path) {
  json_t *v = vector_json(path);
  struct hash a, b, proof[MERKLE_PROOF_MAX];
  size_t count;
  bool ok;
  if (json_object_get(v, "leafIdx")) {
    uint64_t index = number(v, "leafIdx"), size = number(v, "treeSize");
    ok = hash_from(json_object_get(v, "leafHash"), &a) && hash_from(json_object_get(v, "root"), &b) &&
         proof_from(json_object_get(v, "proof"), proof, &count) && merkle_verify_inclusion(index, size, &a, proof, count, &b);
  } else {
    uint64_t first = number(v, "size1"), second = number(v, "size2");
    ok = root_from(json_object_get(v, "root1"), &a) && root_from(json_object_get(v, "root2"), &b) &&
         proof_from(json_object_get(v, "proof"), proof, &count) && merkle_verify_consistency(first, second, &a, &b, proof, count);
  }
  if (ok == json_is_true(json_object_get(v, "wantErr"))) fail_msg("%s: %s", path, ok ? "taken" : "refused");
  seen.files++;
  if (ok) seen.taken++;
  else seen.refused++;
  json_decref(v);
}

static void walk(const char *folder) {
  DIR *dir = opendir(folder);
  assert_non_null(dir);
  for (struct dirent *e; (e = readdir(dir));) {
    char path[1024];
    size_t len = strlen(e->d_name);
    if (e->d_name[0] == '.') continue;
    snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
    if (len > 5 && strcmp(e->d_name + len - 5, ".json") == 0) one_vector(path);
    else walk(path);
  }
  closedir(dir);
}

static void public_inclusion(void **state) {
  if (!vectors_public()) skip();
  memset(&seen, 0, sizeof seen);
  walk(PUBLIC_VECTORS "/transparency-dev-merkle/testdata/inclusion");
  print_message("inclusion: %u vectors, %u taken, %u refused, %u with 2^64-1\n", seen.files, seen.taken, seen.refused, seen.largest);
  assert_int_equal(seen.files, 98);
  assert_int_equal(seen.taken, 6);
  assert_int_equal(seen.refused, 92);
  assert_int_equal(seen.largest, 2);
}

static void public_consistency(void **state) {
  if (!vectors_public()) skip();
  memset(&seen, 0, sizeof seen);
  walk(PUBLIC_VECTORS "/transparency-dev-merkle/testdata/consistency");
  print_message("consistency: %u vectors, %u taken, %u refused, %u with 2^64-1\n", seen.files, seen.taken, seen.refused, seen.largest);
  assert_int_equal(seen.files, 98);
  assert_int_equal(seen.taken, 6);
  assert_int_equal(seen.refused, 92);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(roots),
      cmocka_unit_test(same_as_journal_leaf),
      cmocka_unit_test(proofs_of_ours),
      cmocka_unit_test(every_small_tree),
      cmocka_unit_test(out_of_range),
      cmocka_unit_test(public_tree8),
      cmocka_unit_test(public_inclusion),
      cmocka_unit_test(public_consistency),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
