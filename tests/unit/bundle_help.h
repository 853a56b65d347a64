/* bundle_help.h: a log with one incident's entries among others, and the bundle of that incident. */
#ifndef TOCSIN_TESTS_BUNDLE_HELP_H
#define TOCSIN_TESTS_BUNDLE_HELP_H

#include "case_help.h"
#include "evidence/bundle.h"
#include "log_help.h"
#include "vectors.h"

struct made_bundle {
  struct made_case made;
  struct note_signer signer;
  struct bundle_entry entries[CASE_MOST];
  struct proof proofs[CASE_MOST];
  struct reader log;
  struct checkpoint earlier;
  const char *files[3]; /* what is in those in custody; ended by NULL */
  struct zip zip;
  struct buf bytes;
};

/* An entry of the incident after every ninth entry of others. */
static inline void bundle_log_fill(struct tlog *log, const struct made_case *c, size_t from, size_t until, size_t sealed) {
  static char other[2000][64];
  struct tlog_entry list[2000];
  assert_true(until <= 2000);
  for (size_t i = from; i < until; i++) {
    size_t n = i / 10;
    bool ours = i % 10 == 9 && n < sealed;
    int len = snprintf(other[i], sizeof other[i], "entry %zu of somebody else", i);
    list[i] =
        ours ? (struct tlog_entry){c->entries[n]->head, c->entries[n]->head_len, NULL} : (struct tlog_entry){other[i], (size_t)len, NULL};
  }
  assert_int_equal(tlog_append(log, list + from, until - from, NULL), 0);
}

/* The incident in b->made, `sealed` of its entries in a log of `size`; since: an earlier checkpoint of that size is proven too (0: none). */
static inline void bundle_make_of(struct made_bundle *b, size_t sealed, size_t size, size_t since) {
  char folder[64], path[128];
  struct tlog *log = NULL;
  struct buf early;
  struct merkle_proof way;
  struct note note;
  struct err err = {0};
  if (!b->signer.verifier.name[0]) b->signer = test_signer("example.com/ir/evidence");
  buf_init(&b->bytes, 64 << 20), buf_init(&early, 1 << 16);
  folder_make(folder);
  snprintf(path, sizeof path, "%s/checkpoint", folder);
  assert_int_equal(tlog_open(folder, &b->signer, NULL, NULL, &log, NULL), 0);
  if (since) {
    bundle_log_fill(log, &b->made, 0, since, sealed);
    vector_file(path, &early);
    assert_int_equal(note_open(early.data, early.len, &b->signer.verifier, 1, &note, NULL), 0);
    assert_int_equal(checkpoint_read(early.data, note.text_len, &b->earlier, NULL), 0);
  }
  bundle_log_fill(log, &b->made, since, size, sealed);
  size_t n = b->made.source.count;
  for (size_t i = 0; i < n; i++) {
    struct entry *e = b->made.entries[i];
    b->entries[i] = (struct bundle_entry){e->head, e->head_len, e->envelope, e->envelope_len};
    merkle_leaf(e->head, e->head_len, &b->proofs[i].leaf);
  }
  if (reader_open(folder, &b->signer.verifier, &b->log, &err) < 0 || proof_collect(&b->log, b->proofs, n, &err) < 0)
    fail_msg("%s", err.text);
  if (since && proof_consistency(&b->log, &b->earlier, &way, &err) < 0) fail_msg("%s", err.text);
  tlog_close(log);
  folder_remove(folder);
  assert_int_equal(bundle_add_incident(&b->zip, "INC-000042", b->entries, n, b->proofs, NULL), 0);
  for (const char **f = b->files; *f; f++) assert_int_equal(bundle_add_file(&b->zip, *f, strlen(*f), NULL), 0);
  assert_int_equal(bundle_add_log(&b->zip, &b->log, &b->signer.verifier, NULL), 0);
  if (since) assert_int_equal(bundle_add_earlier(&b->zip, "log", &b->earlier, early.data, early.len, &way, NULL), 0);
  assert_int_equal(zip_add(&b->zip, "incidents/INC-000042/report.html", "<p>", 3, NULL), 0);
  assert_int_equal(bundle_finish(&b->zip, NULL), 0);
  assert_int_equal(zip_write(&b->zip, &b->bytes, NULL), 0);
  buf_release(&early);
}

/* With a body removed; signer NULL: a new one. */
static inline void bundle_make_redacted(struct made_bundle *b, const struct note_signer *signer, size_t size, size_t since) {
  memset(b, 0, sizeof *b);
  if (signer) b->signer = *signer;
  case_redacted(&b->made);
  bundle_make_of(b, 15, size, since);
}

/* The whole incident of case_help. */
static inline void bundle_make_since(struct made_bundle *b, size_t sealed, size_t size, size_t since) {
  memset(b, 0, sizeof *b);
  case_fill(&b->made, false);
  bundle_make_of(b, sealed, size, since);
}

/* What an entry about a file in custody says; item 0: it is collected, else destroyed. */
static inline json_t *bundle_custody(const char *content, int item) {
  uint8_t digest[DIGEST_BYTES];
  char hex[DIGEST_HEX];
  digest_sha256(content, strlen(content), digest);
  hex_encode(digest, sizeof digest, hex);
  return item ? json_pack("{s:i, s:s}", "item", item, "sha256", hex)
              : json_pack("{s:s, s:s}", "name", "\"sha256\":\"0123456789\"", "sha256", hex);
}

/* As little as a bundle can be, with something of everything: a note and a file in a log of twenty, and an earlier checkpoint. */
static inline void bundle_make_small(struct made_bundle *b, const struct note_signer *signer) {
  memset(b, 0, sizeof *b);
  b->signer = *signer;
  b->files[0] = "a file";
  case_begin(&b->made);
  case_add(&b->made, KIND_INCIDENT_NOTED, "person:7f3a", 0, NULL, json_pack("{s:i}", "n", 0));
  case_add(&b->made, KIND_EVIDENCE_COLLECTED, "person:7f3a", 0, NULL, bundle_custody(b->files[0], 0));
  bundle_make_of(b, 2, 20, 3);
}

static inline void bundle_make(struct made_bundle *b, size_t sealed, size_t size) { bundle_make_since(b, sealed, size, 0); }

static inline void bundle_ask(const struct made_bundle *b, const struct checkpoint *earlier, struct bundle_result *ret) {
  struct verify_options o = {.key = &b->signer.verifier, .earlier = earlier, .earlier_count = earlier ? 1 : 0};
  assert_int_equal(bundle_verify(b->bytes.data, b->bytes.len, &o, ret, NULL), 0);
}

static inline void bundle_free(struct made_bundle *b) {
  case_free(&b->made);
  reader_close(&b->log);
  zip_release(&b->zip);
  buf_release(&b->bytes);
}

#endif
