#include "evidence/zip.h"

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LOCAL = 30, CENTRAL = 46, END = 22, VERSION = 20, MADE_BY = 3 << 8 | 20, DATE = 0x21 /* 1980-01-01 */ };
static const uint32_t LOCAL_MARK = 0x04034b50, CENTRAL_MARK = 0x02014b50, END_MARK = 0x06054b50, MODE = 0100644U << 16;

bool zip_name_valid(const char *name, size_t len) {
  bool begins = true;
  if (len == 0 || len >= ZIP_NAME) return false;
  for (size_t i = 0; i < len; i++) {
    char c = name[i];
    bool word = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
    if (!(word || (!begins && (c == '.' || c == '/')))) return false;
    begins = c == '/';
  }
  return !begins;
}

static uint32_t crc32_of(const char *bytes, size_t len) {
  static uint32_t table[256];
  if (!table[1]) {
    for (uint32_t i = 0; i < 256; i++) {
      uint32_t c = i;
      for (int bit = 0; bit < 8; bit++) c = c & 1 ? c >> 1 ^ 0xedb88320U : c >> 1;
      table[i] = c;
    }
  }
  uint32_t crc = UINT32_MAX;
  for (size_t i = 0; i < len; i++) crc = crc >> 8 ^ table[(crc ^ (uint8_t)bytes[i]) & 0xff];
  return ~crc;
}

static struct zip_file *file_new(struct zip *z) {
  if (z->count == z->room) {
    z->room = z->room ? 2 * z->room : 64;
    struct zip_file *grown = realloc(z->files, z->room * sizeof *grown);
    if (!grown) abort();
    z->files = grown;
  }
  memset(&z->files[z->count], 0, sizeof *z->files);
  return &z->files[z->count++];
}

void zip_release(struct zip *z) {
  for (size_t i = 0; i < z->count; i++) free(z->files[i].owned);
  free(z->files);
  memset(z, 0, sizeof *z);
}

/* ---- writing */

int zip_add(struct zip *z, const char *name, const void *bytes, size_t len, struct err *err) {
  if (!zip_name_valid(name, strlen(name))) return err_set(err, ERR_INVALID, "%.120s is no name for a file in an archive", name);
  if (z->count == ZIP_FILES)
    return err_set(err, ERR_LIMIT, "more than %d files do not fit into one archive: export a shorter period", ZIP_FILES);
  struct zip_file *f = file_new(z);
  f->owned = malloc(len + 1);
  if (!f->owned) abort();
  if (len) memcpy(f->owned, bytes, len);
  f->owned[len] = 0;
  snprintf(f->name, sizeof f->name, "%s", name);
  f->bytes = f->owned;
  f->len = len;
  return 0;
}

static void put(struct buf *out, uint32_t value, unsigned bytes) {
  for (unsigned i = 0; i < bytes; i++) buf_addc(out, (char)(value >> (8 * i)));
}

/* What both headers of a file have in common. */
static void common_write(struct buf *out, const struct zip_file *f, uint32_t crc) {
  put(out, VERSION, 2);
  put(out, 0, 4); /* no flag, stored */
  put(out, DATE << 16, 4);
  put(out, crc, 4);
  put(out, (uint32_t)f->len, 4);
  put(out, (uint32_t)f->len, 4);
  put(out, (uint32_t)strlen(f->name), 2);
  put(out, 0, 2);
}

static void local_write(struct buf *out, const struct zip_file *f, uint32_t crc) {
  put(out, LOCAL_MARK, 4);
  common_write(out, f, crc);
  buf_adds(out, f->name);
}

static void central_write(struct buf *out, const struct zip_file *f, uint32_t crc, uint32_t at) {
  put(out, CENTRAL_MARK, 4);
  put(out, MADE_BY, 2);
  common_write(out, f, crc);
  put(out, 0, 4); /* no comment, first disk */
  put(out, 0, 2);
  put(out, MODE, 4);
  put(out, at, 4);
  buf_adds(out, f->name);
}

static void end_write(struct buf *out, size_t count, size_t central_len, size_t central_at) {
  put(out, END_MARK, 4);
  put(out, 0, 4);
  put(out, (uint32_t)count, 2);
  put(out, (uint32_t)count, 2);
  put(out, (uint32_t)central_len, 4);
  put(out, (uint32_t)central_at, 4);
  put(out, 0, 2);
}

static int by_name(const void *a, const void *b) { return strcmp(((const struct zip_file *)a)->name, ((const struct zip_file *)b)->name); }

static int plan(const struct zip *z, struct err *err) {
  uint64_t total = END;
  for (size_t i = 0; i < z->count; i++) {
    total += LOCAL + CENTRAL + 2 * strlen(z->files[i].name) + z->files[i].len;
    if (i && strcmp(z->files[i - 1].name, z->files[i].name) == 0)
      return err_set(err, ERR_EXISTS, "%s is in the archive already", z->files[i].name);
  }
  return total > UINT32_MAX ? err_set(err, ERR_LIMIT, "the archive would be larger than 4 GiB: export a shorter period") : 0;
}

int zip_write(struct zip *z, struct buf *out, struct err *err) {
  if (z->count) qsort(z->files, z->count, sizeof *z->files, by_name);
  int r = plan(z, err);
  if (r < 0) return r;
  struct buf central;
  size_t from = out->len;
  buf_init(&central, (size_t)z->count * (CENTRAL + ZIP_NAME) + 1);
  for (size_t i = 0; i < z->count; i++) {
    const struct zip_file *f = &z->files[i];
    uint32_t crc = crc32_of(f->bytes, f->len);
    central_write(&central, f, crc, (uint32_t)(out->len - from));
    local_write(out, f, crc);
    buf_add(out, f->bytes, f->len);
  }
  size_t at = out->len - from;
  buf_add(out, central.data, central.len);
  end_write(out, z->count, central.len, at);
  if (!buf_ok(out) || !buf_ok(&central))
    r = err_set(err, ERR_LIMIT, "the archive is larger than %zu MiB: export a shorter period", out->cap >> 20);
  buf_release(&central);
  return r;
}

/* ---- reading */

static uint32_t get(const char *at, unsigned bytes) {
  uint32_t value = 0;
  for (unsigned i = bytes; i > 0; i--) value = value << 8 | (uint8_t)at[i - 1];
  return value;
}

/* One file and its local header at `at`; its length, 0 when it is none. */
static size_t local_read(const char *bytes, size_t at, size_t end, struct zip_file *f) {
  if (end - at < LOCAL) return 0;
  size_t name_len = get(bytes + at + 26, 2), len = get(bytes + at + 18, 4), left = end - at - LOCAL;
  if (name_len > left || len > left - name_len || !zip_name_valid(bytes + at + LOCAL, name_len)) return 0;
  memcpy(f->name, bytes + at + LOCAL, name_len);
  f->name[name_len] = 0;
  f->bytes = bytes + at + LOCAL + name_len;
  f->len = len;
  struct buf form;
  buf_init(&form, LOCAL + ZIP_NAME);
  local_write(&form, f, crc32_of(f->bytes, f->len));
  bool same = form.len == LOCAL + name_len && memcmp(form.data, bytes + at, form.len) == 0;
  buf_release(&form);
  return same ? LOCAL + name_len + len : 0;
}

/* The directory at the end must say what the files themselves said. */
static int directory_check(const struct zip *z, const char *bytes, size_t at, size_t len, struct err *err) {
  struct buf form;
  uint64_t offset = 0;
  int r = 0;
  buf_init(&form, (size_t)z->count * (CENTRAL + ZIP_NAME) + END + 1);
  for (size_t i = 0; i < z->count; i++) {
    const struct zip_file *f = &z->files[i];
    central_write(&form, f, get(bytes + offset + 14, 4), (uint32_t)offset);
    offset += LOCAL + strlen(f->name) + f->len;
  }
  end_write(&form, z->count, form.len, at);
  if (form.len != len - at || memcmp(form.data, bytes + at, form.len) != 0)
    r = err_set(err, ERR_INVALID, "the archive's directory does not fit its files: it was changed, cut, or made by another program");
  buf_release(&form);
  return r;
}

int zip_read(const void *bytes, size_t len, struct zip *ret, struct err *err) {
  struct zip z = {.count = 0};
  const char *p = bytes;
  size_t at = 0;
  int r = len < END || len > UINT32_MAX ? err_set(err, ERR_INVALID, "it is no archive of ours: %zu bytes", len) : 0;
  while (r == 0 && len - at >= 4 && get(p + at, 4) == LOCAL_MARK) {
    struct zip_file f = {.owned = NULL};
    const char *last = z.count ? z.files[z.count - 1].name : NULL;
    size_t n = z.count < ZIP_FILES ? local_read(p, at, len, &f) : 0;
    if (!n)
      r = err_set(err, ERR_INVALID, "the file at byte %zu (behind %.100s) is damaged, or was not written by us", at,
                  last ? last : "the beginning");
    else if (last && strcmp(last, f.name) >= 0)
      r = err_set(err, ERR_INVALID, "%s stands behind %s: the names are not in order", f.name, last);
    else *file_new(&z) = f, at += n;
  }
  if (r == 0) r = directory_check(&z, p, at, len, err);
  if (r == 0) *ret = z;
  else zip_release(&z);
  return r;
}

const struct zip_file *zip_find(const struct zip *z, const char *name) {
  struct zip_file key;
  snprintf(key.name, sizeof key.name, "%s", name);
  return z->count && strlen(name) < ZIP_NAME ? bsearch(&key, z->files, z->count, sizeof key, by_name) : NULL;
}
