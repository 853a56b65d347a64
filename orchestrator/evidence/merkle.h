/* merkle.h: the Merkle tree of RFC 6962 §2.1 (the same as RFC 9162 §2.1): roots, inclusion and consistency proofs, and their checks.
 *
 * A tree is known by its size and by a function that reads the hash of a whole subtree: node (level, index) covers the leaves
 * [index << level, (index + 1) << level). Only nodes that lie wholly inside the tree are ever asked for.
 * The checks take numbers and proofs from strangers: any size up to 2^64-1, any length of proof. Pure: opens nothing, keeps nothing. */
#ifndef TOCSIN_EVIDENCE_MERKLE_H
#define TOCSIN_EVIDENCE_MERKLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/digest.h"
#include "base/err.h"

struct hash {
  uint8_t bytes[DIGEST_BYTES];
};

bool hash_equal(const struct hash *a, const struct hash *b);
void merkle_leaf(const void *bytes, size_t len, struct hash *out);                     /* SHA-256(0x00 ‖ bytes) */
void merkle_node(const struct hash *left, const struct hash *right, struct hash *out); /* SHA-256(0x01 ‖ left ‖ right) */
void merkle_empty(struct hash *out);                                                   /* the root of no leaves: SHA-256 of nothing */

enum { MERKLE_PROOF_MAX = 72 };
struct merkle_proof {
  struct hash hashes[MERKLE_PROOF_MAX];
  size_t count;
};

/* 0, or what went wrong. */
typedef int merkle_read_cb(void *arg, unsigned level, uint64_t index, struct hash *out, struct err *err);

int merkle_root(uint64_t size, merkle_read_cb *read, void *arg, struct hash *ret, struct err *err);
/* index < size, else ERR_INVALID. */
int merkle_inclusion(uint64_t index, uint64_t size, merkle_read_cb *read, void *arg, struct merkle_proof *ret, struct err *err);
/* 0 < first <= second, else ERR_INVALID. */
int merkle_consistency(uint64_t first, uint64_t second, merkle_read_cb *read, void *arg, struct merkle_proof *ret, struct err *err);

bool merkle_verify_inclusion(uint64_t index, uint64_t size, const struct hash *leaf, const struct hash *proof, size_t count,
                             const struct hash *root);
/* A first tree of no leaves proves nothing and is refused. */
bool merkle_verify_consistency(uint64_t first, uint64_t second, const struct hash *first_root, const struct hash *second_root,
                               const struct hash *proof, size_t count);

#endif
