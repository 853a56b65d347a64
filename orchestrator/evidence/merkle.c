#include "evidence/merkle.h"

#include <string.h>

bool hash_equal(const struct hash *a, const struct hash *b) { return memcmp(a->bytes, b->bytes, DIGEST_BYTES) == 0; }

void merkle_leaf(const void *bytes, size_t len, struct hash *out) {
  const struct digest_part parts[] = {{"\0", 1}, {bytes, len}};
  digest_sha256_parts(parts, 2, out->bytes);
}

void merkle_node(const struct hash *left, const struct hash *right, struct hash *out) {
  digest_sha256_pair(1, left->bytes, right->bytes, out->bytes);
}

void merkle_empty(struct hash *out) { digest_sha256("", 0, out->bytes); }

/* The largest power of two below n (n > 1), as its exponent. */
static unsigned split_level(uint64_t n) { return 63 - (unsigned)__builtin_clzll(n - 1); }

static bool power_of_two(uint64_t n) { return n && (n & (n - 1)) == 0; }

/* The hash of the leaves [from, to), from being a multiple of the power of two that covers them. */
static int range_hash(uint64_t from, uint64_t to, merkle_read_cb *read, void *arg, struct hash *ret, struct err *err) {
  uint64_t n = to - from;
  if (power_of_two(n)) {
    unsigned level = (unsigned)__builtin_ctzll(n);
    return read(arg, level, from >> level, ret, err);
  }
  uint64_t middle = from + (UINT64_C(1) << split_level(n));
  struct hash left, right;
  int r = range_hash(from, middle, read, arg, &left, err);
  if (r == 0) r = range_hash(middle, to, read, arg, &right, err);
  if (r == 0) merkle_node(&left, &right, ret);
  return r;
}

int merkle_root(uint64_t size, merkle_read_cb *read, void *arg, struct hash *ret, struct err *err) {
  struct hash root;
  int r = 0;
  if (size == 0) merkle_empty(&root);
  else r = range_hash(0, size, read, arg, &root, err);
  if (r == 0) *ret = root;
  return r;
}

/* Proofs are collected from the root down, but sent from the leaf up. */
static void proof_turn(struct merkle_proof *p) {
  for (size_t i = 0; i < p->count / 2; i++) {
    struct hash h = p->hashes[i];
    p->hashes[i] = p->hashes[p->count - 1 - i];
    p->hashes[p->count - 1 - i] = h;
  }
}

int merkle_inclusion(uint64_t index, uint64_t size, merkle_read_cb *read, void *arg, struct merkle_proof *ret, struct err *err) {
  if (index >= size)
    return err_set(err, ERR_INVALID, "there is no entry %llu in a log of %llu", (unsigned long long)index, (unsigned long long)size);
  struct merkle_proof proof = {.count = 0};
  uint64_t from = 0, to = size;
  while (to - from > 1) {
    uint64_t middle = from + (UINT64_C(1) << split_level(to - from));
    bool left = index < middle;
    int r = range_hash(left ? middle : from, left ? to : middle, read, arg, &proof.hashes[proof.count], err);
    if (r < 0) return r;
    proof.count++;
    if (left) to = middle;
    else from = middle;
  }
  proof_turn(&proof);
  *ret = proof;
  return 0;
}

int merkle_consistency(uint64_t first, uint64_t second, merkle_read_cb *read, void *arg, struct merkle_proof *ret, struct err *err) {
  if (first == 0 || first > second)
    return err_set(err, ERR_INVALID, "no log of %llu entries can be shown to be the start of one of %llu", (unsigned long long)first,
                   (unsigned long long)second);
  struct merkle_proof proof = {.count = 0};
  uint64_t from = 0, to = second;
  int r = 0;
  while (first != to) {
    uint64_t middle = from + (UINT64_C(1) << split_level(to - from));
    bool left = first <= middle;
    if ((r = range_hash(left ? middle : from, left ? to : middle, read, arg, &proof.hashes[proof.count], err)) < 0) return r;
    proof.count++;
    if (left) to = middle;
    else from = middle;
  }
  /* The whole first tree is known to whoever checks; any other start is not. */
  if (from != 0) {
    if ((r = range_hash(from, to, read, arg, &proof.hashes[proof.count], err)) < 0) return r;
    proof.count++;
  }
  proof_turn(&proof);
  *ret = proof;
  return 0;
}

/* RFC 9162 §2.1.3.2. */
bool merkle_verify_inclusion(uint64_t index, uint64_t size, const struct hash *leaf, const struct hash *proof, size_t count,
                             const struct hash *root) {
  if (index >= size) return false;
  uint64_t at = index, last = size - 1;
  struct hash h = *leaf;
  for (size_t i = 0; i < count; i++) {
    if (last == 0) return false;
    if ((at & 1) || at == last) {
      merkle_node(&proof[i], &h, &h);
      while (!(at & 1) && at != 0) at >>= 1, last >>= 1;
    } else {
      merkle_node(&h, &proof[i], &h);
    }
    at >>= 1;
    last >>= 1;
  }
  return last == 0 && hash_equal(&h, root);
}

/* RFC 9162 §2.1.4.2. */
bool merkle_verify_consistency(uint64_t first, uint64_t second, const struct hash *first_root, const struct hash *second_root,
                               const struct hash *proof, size_t count) {
  if (first == 0 || first > second) return false;
  if (first == second) return count == 0 && hash_equal(first_root, second_root);
  if (count == 0) return false;
  uint64_t at = first - 1, last = second - 1;
  while (at & 1) at >>= 1, last >>= 1;
  size_t i = 0;
  struct hash old = power_of_two(first) ? *first_root : proof[i++], new = old;
  for (; i < count; i++) {
    if (last == 0) return false;
    if ((at & 1) || at == last) {
      merkle_node(&proof[i], &old, &old);
      merkle_node(&proof[i], &new, &new);
      while (!(at & 1) && at != 0) at >>= 1, last >>= 1;
    } else {
      merkle_node(&new, &proof[i], &new);
    }
    at >>= 1;
    last >>= 1;
  }
  return last == 0 && hash_equal(&old, first_root) && hash_equal(&new, second_root);
}
