/* fuzz_bundle.c: a bundle from a stranger, read by the engine; fuzz_auditor.c has tocsin-verify read the same.
 *
 * Any bytes are judged without harm, and none pass. The first byte says what the rest is: a whole archive, or the files of one (separated by a byte 0xff) in an archive
 * made around them, so that what lies behind the archive's own checks is reached too. The key is made anew for each run, so nothing here is signed with it. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "evidence/bundle.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct note_verifier engine_key;

static void must(bool holds) {
  if (!holds) abort();
}

static void key_make(void) {
  struct note_signer signer;
  must(note_signer_make("example.com/ir/evidence", &signer, NULL) == 0);
  engine_key = signer.verifier;
  note_signer_wipe(&signer);
}

static bool engine_sound(const char *bytes, size_t len) {
  struct verify_options o = {.key = &engine_key};
  struct bundle_result r;
  must(bundle_verify(bytes, len, &o, &r, NULL) == 0);
  bool sound = r.count == 0;
  bundle_release(&r);
  return sound;
}

/* The files of a bundle out of the pieces of the input. */
static void archive_make(const uint8_t *data, size_t size, struct buf *out) {
  static const char *const names[] = {"incidents/INC-000042/heads",
                                      "incidents/INC-000042/bodies",
                                      "incidents/INC-000042/proofs",
                                      "log/checkpoint",
                                      "log/key",
                                      "anchors/7.checkpoint",
                                      "anchors/7.consistency",
                                      "SHA256SUMS"};
  struct zip z = {.count = 0};
  for (size_t i = 0; i < sizeof names / sizeof *names && size; i++) {
    const uint8_t *end = memchr(data, 0xff, size);
    size_t n = end ? (size_t)(end - data) : size;
    must(zip_add(&z, names[i], data, n, NULL) == 0);
    n += end != NULL;
    data += n;
    size -= n;
  }
  must(zip_write(&z, out, NULL) == 0);
  zip_release(&z);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct buf archive;
  if (!engine_key.name[0]) key_make();
  if (size < 1) return 0;
  buf_init(&archive, 8 << 20);
  if (data[0] == 'P') buf_add(&archive, data, size);
  else archive_make(data + 1, size - 1, &archive);
  must(!engine_sound(archive.data, archive.len));
  buf_release(&archive);
  return 0;
}
