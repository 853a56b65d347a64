/* fuzz_auditor.c: a bundle from a stranger, read by tocsin-verify; fuzz_bundle.c has the engine read the same.
 *
 * Any bytes are judged without harm, and none pass. The first byte says what the rest is: a whole archive, or the files of one (separated by a byte 0xff) in an archive made around them. */
#include <stdint.h>

int verify_main(int argc, char **argv);
#define main verify_main
#include "verify/verify.c"
#undef main
#include "verify/bundle.c"
#include "verify/read.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ROOM = 4 << 20 };
static uint8_t room[ROOM];
static size_t used;

static void must(bool holds) {
  if (!holds) abort();
}

static void put(const void *bytes, size_t len) {
  must(used + len <= ROOM);
  memcpy(room + used, bytes, len);
  used += len;
}

static void number(uint32_t value, unsigned bytes) {
  for (unsigned i = 0; i < bytes; i++) put(&(uint8_t){(uint8_t)(value >> (8 * i))}, 1);
}

static void common(const char *name, const uint8_t *bytes, uint32_t len) {
  put("\24\0\0\0\0\0\0\0\41\0", 10);
  number(crc32_of(bytes, len), 4);
  number(len, 4);
  number(len, 4);
  number((uint32_t)strlen(name), 2);
  number(0, 2);
}

static const char *const names[] = {"SHA256SUMS",
                                    "anchors/7.checkpoint",
                                    "anchors/7.consistency",
                                    "incidents/INC-000042/bodies",
                                    "incidents/INC-000042/heads",
                                    "incidents/INC-000042/proofs",
                                    "log/checkpoint",
                                    "log/key"};
enum { FILES = sizeof names / sizeof *names };
/* In which order the pieces come in the input, as fuzz_bundle takes them. */
static const int piece_of[FILES] = {7, 5, 6, 1, 0, 2, 3, 4};

static void archive_make(const uint8_t *data, size_t size) {
  const uint8_t *at[FILES];
  uint32_t len[FILES] = {0}, offset[FILES];
  for (int i = 0; i < FILES; i++) {
    const uint8_t *end = memchr(data, 0xff, size);
    at[i] = data;
    len[i] = (uint32_t)(end ? (size_t)(end - data) : size);
    data += len[i] + (end != NULL);
    size -= len[i] + (end != NULL);
  }
  used = 0;
  for (int i = 0; i < FILES; i++) {
    offset[i] = (uint32_t)used;
    put("PK\3\4", 4);
    common(names[i], at[piece_of[i]], len[piece_of[i]]);
    put(names[i], strlen(names[i]));
    put(at[piece_of[i]], len[piece_of[i]]);
  }
  uint32_t central = (uint32_t)used;
  for (int i = 0; i < FILES; i++) {
    put("PK\1\2\24\3", 6);
    common(names[i], at[piece_of[i]], len[piece_of[i]]);
    put("\0\0\0\0\0\0\0\0\xa4\x81", 10);
    number(offset[i], 4);
    put(names[i], strlen(names[i]));
  }
  uint32_t end = (uint32_t)used;
  put("PK\5\6\0\0\0\0\10\0\10\0", 12);
  number(end - central, 4);
  number(central, 4);
  number(0, 2);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  /* A key that nobody has: its public part is 32 bytes of 0x42. */
  static const char key[] = "example.com/ir/evidence+fd883615+AUJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJC";
  if (!v.key.name[0]) must(key_read(key, &v.key) && freopen("/dev/null", "w", stdout)); /* it says what is wrong */
  if (size < 1 || size > ROOM / 4) return 0;
  used = 0;
  if (data[0] == 'P') put(data, size);
  else archive_make(data + 1, size - 1);
  struct bytes zip = {malloc(used + 1), used};
  must(zip.at != NULL);
  memcpy(zip.at, room, used);
  fault_count = file_count = collected_count = removed_names = removed_ends = 0;
  incident[0] = 0;
  memset(&v.checkpoint, 0, sizeof v.checkpoint);
  v.is_signed = false;
  bundle_check(&zip, key);
  free(zip.at);
  must(fault_count > 0);
  must(data[0] == 'P' || file_count == FILES); /* what we made is an archive */
  return 0;
}
