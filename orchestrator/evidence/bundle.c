/* Writing a bundle's provable part. */
#include "evidence/bundle.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char readme[] =
    "This is a bundle of evidence from Tocsin, an incident response orchestrator.\n"
    "\n"
    "incidents/<ID>/report.html is for reading. The record itself is heads and bodies beside it; log/checkpoint and proofs show that each "
    "entry stands in a signed,\n"
    "append-only log, so that none of them was changed, put in between or removed since.\n"
    "\n"
    "To check it without Tocsin:    tocsin-verify BUNDLE.zip --key NAME+HASH+BASE64\n"
    "To check it with Tocsin:       tocsin evidence verify BUNDLE.zip --key NAME+HASH+BASE64\n"
    "\n"
    "The verifier key must have reached you another way than in this file; log/key is only there to be compared with it.\n"
    "\n"
    "To check it by hand (sha256sum, base64, openssl); the whole of it is in runbooks/verify-evidence.md of Tocsin:\n"
    "\n"
    "  unzip BUNDLE.zip && sha256sum -c SHA256SUMS\n"
    "  head 7 of an incident:       sed -n 7p heads | tr -d '\\n'\n"
    "  its hash in the log:         (printf '\\0'; sed -n 7p heads | tr -d '\\n') | sha256sum      (the next head's \"prev\")\n"
    "  its body's digest:           sed -n 's/^7 //p' bodies | base64 -d | sha256sum              (the head's \"body\")\n"
    "  its body:                    sed -n 's/^7 //p' bodies | base64 -d | tail -c +33\n"
    "  a file in custody:           sha256sum blobs/*               (its name, and \"sha256\" in the body of its evidence.collected)\n"
    "  a time stamp (RFC 3161):     openssl ts -verify -data anchors/N.checkpoint -in anchors/N.tsr -CAfile CA      (a CA that you trust)\n"
    "\n"
    "A body that is \"-\" was removed; a later head of type body.removing has its number as step, and its body says by whom and why.\n"
    "A file that is not in blobs was destroyed; a later head of type evidence.deleted, and its body, say by whom and why.\n"
    "\n"
    "Not proven by the log: names.json and the views (report.html, timeline.csv, ocsf.json, stix.json). They are made from the entries; "
    "where they differ, the entries count.\n"
    "No bundle shows what was written behind its last entry.\n";

static void base64_add(struct buf *out, const void *bytes, size_t len) {
  char *text = base64_encode(bytes, len);
  if (!text) abort();
  buf_adds(out, text);
  free(text);
}

static void proof_line(struct buf *out, uint64_t seq, const struct proof *p) {
  if (!p || !p->found) {
    buf_addf(out, "%" PRIu64 " -\n", seq);
    return;
  }
  buf_addf(out, "%" PRIu64 " %" PRIu64, seq, p->index);
  for (size_t i = 0; i < p->path.count; i++) {
    buf_addc(out, ' ');
    base64_add(out, p->path.hashes[i].bytes, DIGEST_BYTES);
  }
  buf_addc(out, '\n');
}

static void body_line(struct buf *out, uint64_t seq, const struct bundle_entry *e) {
  buf_addf(out, "%" PRIu64 " ", seq);
  if (e->envelope) base64_add(out, e->envelope, e->envelope_len);
  else buf_addc(out, '-');
  buf_addc(out, '\n');
}

int bundle_add_incident(struct zip *z, const char *incident, const struct bundle_entry *entries, size_t count, const struct proof *proofs,
                        struct err *err) {
  struct buf heads, bodies, paths;
  char name[ZIP_NAME];
  buf_init(&heads, BUNDLE_BODIES_CAP), buf_init(&bodies, BUNDLE_BODIES_CAP), buf_init(&paths, BUNDLE_BODIES_CAP);
  for (size_t i = 0; i < count; i++) {
    buf_add(&heads, entries[i].head, entries[i].head_len);
    buf_addc(&heads, '\n');
    body_line(&bodies, i + 1, &entries[i]);
    proof_line(&paths, i + 1, proofs ? &proofs[i] : NULL);
  }
  int r = buf_ok(&heads) && buf_ok(&bodies) && buf_ok(&paths)
              ? 0
              : err_set(err, ERR_LIMIT, "%s is larger than %d MiB", incident, BUNDLE_BODIES_CAP >> 20);
  const struct {
    const char *name;
    const struct buf *bytes;
  } files[] = {{"heads", &heads}, {"bodies", &bodies}, {"proofs", &paths}};
  for (size_t i = 0; r == 0 && i < sizeof files / sizeof *files; i++) {
    snprintf(name, sizeof name, "incidents/%.80s/%s", incident, files[i].name);
    r = zip_add(z, name, files[i].bytes->data, files[i].bytes->len, err);
  }
  buf_release(&heads), buf_release(&bodies), buf_release(&paths);
  return r;
}

int bundle_add_file(struct zip *z, const void *bytes, size_t len, struct err *err) {
  uint8_t digest[DIGEST_BYTES];
  char hex[DIGEST_HEX], name[ZIP_NAME];
  digest_sha256(bytes, len, digest);
  hex_encode(digest, sizeof digest, hex);
  snprintf(name, sizeof name, "blobs/%s", hex);
  for (size_t i = 0; i < z->count; i++)
    if (strcmp(z->files[i].name, name) == 0) return 0;
  return zip_add(z, name, bytes, len, err);
}

void bundle_key_text(const struct note_verifier *key, char out[NOTE_VERIFIER_TEXT + 1]) {
  note_verifier_write(key, out);
  size_t n = strlen(out);
  out[n] = '\n';
  out[n + 1] = 0;
}

int bundle_add_log(struct zip *z, const struct reader *log, const struct note_verifier *key, struct err *err) {
  char text[NOTE_VERIFIER_TEXT + 1];
  bundle_key_text(key, text);
  int r = zip_add(z, "log/checkpoint", log->note, log->note_len, err);
  return r < 0 ? r : zip_add(z, "log/key", text, strlen(text), err);
}

int bundle_add_earlier(struct zip *z, const char *folder, const struct checkpoint *earlier, const void *note, size_t note_len,
                       const struct merkle_proof *path, struct err *err) {
  char name[ZIP_NAME];
  struct buf lines;
  buf_init(&lines, 1 << 16);
  for (size_t i = 0; i < path->count; i++) {
    base64_add(&lines, path->hashes[i].bytes, DIGEST_BYTES);
    buf_addc(&lines, '\n');
  }
  snprintf(name, sizeof name, "%.60s/%" PRIu64 ".checkpoint", folder, earlier->size);
  int r = zip_add(z, name, note, note_len, err);
  snprintf(name, sizeof name, "%.60s/%" PRIu64 ".consistency", folder, earlier->size);
  if (r == 0) r = zip_add(z, name, lines.data, lines.len, err);
  buf_release(&lines);
  return r;
}

static int by_name(const void *a, const void *b) { return strcmp(((const struct zip_file *)a)->name, ((const struct zip_file *)b)->name); }

int bundle_finish(struct zip *z, struct err *err) {
  struct buf sums;
  int r = zip_add(z, "README.txt", readme, strlen(readme), err);
  if (r < 0) return r;
  qsort(z->files, z->count, sizeof *z->files, by_name);
  buf_init(&sums, (size_t)z->count * (ZIP_NAME + DIGEST_HEX + 4));
  for (size_t i = 0; i < z->count; i++) {
    uint8_t digest[DIGEST_BYTES];
    char hex[DIGEST_HEX];
    digest_sha256(z->files[i].bytes, z->files[i].len, digest);
    hex_encode(digest, sizeof digest, hex);
    buf_addf(&sums, "%s  %s\n", hex, z->files[i].name);
  }
  r = zip_add(z, "SHA256SUMS", sums.data, sums.len, err);
  buf_release(&sums);
  return r;
}
