/* fuzz_entry.c: a journal as a file, from a stranger and from us.
 *
 * Any bytes are a journal, or broken with a reason. A journal that we made of the bytes is unbroken; with one byte of its file changed it is
 * broken, or says the very same. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "evidence/leaf.h"
#include "journal/journal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ENTRIES = 3 };

static void must(bool holds) {
  if (!holds) abort();
}

static void write_journal(const uint8_t *data, size_t size, struct buf *out) {
  char prev[DIGEST_HEX];
  memcpy(prev, leaf_none(), DIGEST_HEX);
  for (uint64_t seq = 1; seq <= ENTRIES; seq++) {
    struct entry *e = NULL;
    char hex[65];
    size_t from = size * (seq - 1) / ENTRIES, n = size * seq / ENTRIES - from;
    hex_encode(data + from, n < 32 ? n : 32, hex);
    json_t *body = json_pack("{s:s, s:I}", "text", hex, "n", (json_int_t)n);
    struct entry_spec spec = {
        .kind = (enum kind)(n % KIND_COUNT), .actor = "engine", .run = (unsigned)(n % 3), .step = n % 2 ? "3.2.1" : NULL, .body = body};
    must(entry_make(&spec, "INC-000042", "n1", seq, prev, 1795459317000000 + (int64_t)n, NULL, &e, NULL) == 0);
    memcpy(prev, e->leaf, DIGEST_HEX);
    journal_export(e, out);
    entry_free(e);
    json_decref(body);
  }
}

/* The texts of all heads, one after the other. */
static void heads(const char *text, size_t len, struct buf *out) {
  for (const char *end; len && (end = memchr(text, '\n', len)); len -= (size_t)(end + 1 - text), text = end + 1) {
    json_t *line = NULL;
    must(json_parse(text, (size_t)(end - text), &line, NULL) == 0);
    buf_adds(out, json_str_or(line, "head", ""));
    buf_addc(out, '\n');
    json_decref(line);
  }
}

static void change_one(const uint8_t *data, size_t size) {
  struct buf text, before, after;
  uint64_t count = 0;
  struct err err = {0};
  buf_init(&text, 1 << 20), buf_init(&before, 1 << 20), buf_init(&after, 1 << 20);
  write_journal(data + 3, size - 3, &text);
  must(journal_verify_export(text.data, text.len, &count, NULL, &err) == 0 && count == ENTRIES);
  heads(text.data, text.len, &before);
  size_t at = ((size_t)data[0] << 8 | data[1]) % text.len;
  text.data[at] = (char)(text.data[at] ^ (data[2] ? data[2] : 1));
  if (journal_verify_export(text.data, text.len, &count, NULL, &err) == 0) {
    heads(text.data, text.len, &after);
    must(count == ENTRIES && before.len == after.len && memcmp(before.data, after.data, before.len) == 0);
  }
  buf_release(&text), buf_release(&before), buf_release(&after);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct err err = {0};
  uint64_t count = 0;
  int code = journal_verify_export((const char *)data, size, &count, NULL, &err);
  must(code == 0 ? count > 0 : err.code == code && err.text[0] && !count);
  if (size >= 3) change_one(data, size);
  return 0;
}
