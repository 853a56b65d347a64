#include "evidence/bodies.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "evidence/disk.h"
#include "evidence/tiles.h"

enum { AHEAD = 128 << 10, KEY = 32, NONCE = 12, TAG = 16, HEADER = 4, PLACE = 8 + DIGEST_BYTES, PATH_MOST = 4096, KEYS = 16 };

/* To put many at once is a third of the work for each. Not one by one undone when it fails (OR ROLLBACK): the whole batch is. */
#define INSERT "INSERT OR ROLLBACK INTO key VALUES (?, ?)"
#define FOUR ", (?, ?), (?, ?), (?, ?), (?, ?)"
enum { KEY_PUT, KEY_PUT_MANY, KEY_DROP, KEY_DROP_MANY, KEY_FIND, KEY_STATEMENTS };
static const char *const key_sql[KEY_STATEMENTS] = {
    [KEY_PUT] = INSERT,
    [KEY_PUT_MANY] = INSERT ", (?, ?), (?, ?), (?, ?)" FOUR FOUR FOUR, /* KEYS */
    [KEY_DROP] = "DELETE FROM key WHERE entry = ?",
    [KEY_DROP_MANY] = "DELETE FROM key WHERE entry BETWEEN ? AND ?",
    [KEY_FIND] = "SELECT key FROM key WHERE entry = ?",
};

/* Keys that were made and are not in the store yet. */
struct fresh {
  size_t count;
  uint64_t entries[KEYS];
  uint8_t keys[KEYS][KEY];
};

/* Between bodies_read_begin and _end: the file that was read last, and where its next record begins. */
struct reader {
  int fd; /* -1: none */
  uint64_t number;
  unsigned at;
  off_t offset;
  uint8_t *window; /* bytes of the file, read ahead */
  size_t window_len, window_size;
  off_t window_at;
};

struct bodies {
  char folder[PATH_MOST - TILE_PATH];
  sqlite3 *keys;
  sqlite3_stmt *statements[KEY_STATEMENTS]; /* each made when it is first needed: parsing costs as much as running */
  struct reader reader;
  struct disk disk; /* to write to */
  EVP_CIPHER *gcm;  /* looked up once, and its context kept: both cost as much as encrypting a body */
  EVP_CIPHER_CTX *cipher;
};

/* ---- keys */

static int keys_error(struct bodies *b, struct err *err, const char *what) {
  return err_set(err, ERR_IO, "the keys of the evidence's bodies: cannot %s: %s", what, sqlite3_errmsg(b->keys));
}

static int keys_do(struct bodies *b, const char *sql, struct err *err) {
  return sqlite3_exec(b->keys, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : keys_error(b, err, "write");
}

static int keys_open(struct bodies *b, struct err *err) {
  char path[PATH_MOST];
  snprintf(path, sizeof path, "%s/keys.db", b->folder);
  int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) return err_errno(err, "cannot open %s", path);
  close(fd);
  if (sqlite3_open_v2(path, &b->keys, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK) return keys_error(b, err, "open");
  sqlite3_busy_timeout(b->keys, 5000);
  /* A deleted key must not live on in a free page or in what is left of a journal: its bytes go with each transaction, and are never written over by the next. With the file they would
   * go, too, but to make and remove one for each batch costs more, most of all on an ext4 without a journal: it looks at all that was removed lately whenever it makes a file. */
  return keys_do(b,
                 "PRAGMA journal_mode=TRUNCATE; PRAGMA synchronous=EXTRA; PRAGMA secure_delete=ON; CREATE TABLE IF NOT EXISTS key (entry "
                 "INTEGER PRIMARY KEY, key BLOB NOT NULL)",
                 err);
}

static int statement_make(struct bodies *b, int what, const char *doing, struct err *err) {
  sqlite3_stmt **s = &b->statements[what];
  if (*s || sqlite3_prepare_v3(b->keys, key_sql[what], -1, SQLITE_PREPARE_PERSISTENT, s, NULL) == SQLITE_OK) return 0;
  return keys_error(b, err, doing);
}

/* Of these entries; keys NULL: they go. */
static int key_run(struct bodies *b, int what, const uint64_t *entries, uint8_t (*keys)[KEY], size_t count, struct err *err) {
  int r = statement_make(b, what, "write", err), at = 1;
  if (r < 0) return r;
  sqlite3_stmt *s = b->statements[what];
  bool ok = true;
  for (size_t i = 0; ok && i < count; i++) {
    ok = sqlite3_bind_int64(s, at++, (sqlite3_int64)entries[i]) == SQLITE_OK;
    if (ok && keys) ok = sqlite3_bind_blob(s, at++, keys[i], KEY, SQLITE_STATIC) == SQLITE_OK;
  }
  if (!ok || sqlite3_step(s) != SQLITE_DONE) r = keys_error(b, err, "write");
  sqlite3_reset(s);
  sqlite3_clear_bindings(s); /* a key is bound only as long as the caller holds it */
  return r;
}

static int fresh_put(struct bodies *b, struct fresh *f, struct err *err) {
  int r = 0;
  if (f->count == KEYS) r = key_run(b, KEY_PUT_MANY, f->entries, f->keys, KEYS, err);
  else
    for (size_t i = 0; r == 0 && i < f->count; i++) r = key_run(b, KEY_PUT, &f->entries[i], &f->keys[i], 1, err);
  OPENSSL_cleanse(f, sizeof *f);
  return r;
}

static int key_get(struct bodies *b, uint64_t index, uint8_t key[KEY], struct err *err) {
  int r = statement_make(b, KEY_FIND, "read", err);
  if (r < 0) return r;
  sqlite3_stmt *s = b->statements[KEY_FIND];
  sqlite3_bind_int64(s, 1, (sqlite3_int64)index);
  int step = sqlite3_step(s);
  if (step == SQLITE_ROW && sqlite3_column_bytes(s, 0) == KEY) memcpy(key, sqlite3_column_blob(s, 0), KEY);
  else if (step == SQLITE_DONE) r = err_set(err, ERR_NOT_FOUND, "the body of entry %" PRIu64 " was removed", index);
  else r = keys_error(b, err, "read");
  sqlite3_reset(s);
  return r;
}

int bodies_remove(struct bodies *b, uint64_t index, struct err *err) {
  int r = key_run(b, KEY_DROP, &index, NULL, 1, err);
  if (r == 0 && sqlite3_changes(b->keys) == 0)
    r = err_set(err, ERR_NOT_FOUND, "the body of entry %" PRIu64 " was removed before, or never was", index);
  return r;
}

/* ---- one record */

static void place_write(uint64_t index, const struct hash *leaf, uint8_t out[PLACE]) {
  for (int i = 0; i < 8; i++) out[i] = (uint8_t)(index >> (56 - 8 * i));
  memcpy(out + 8, leaf->bytes, DIGEST_BYTES);
}

/* *ret_new: what the context is to be made, once; to name it again would make it anew, which costs more than encrypting a body. */
static EVP_CIPHER_CTX *cipher_of(struct bodies *b, const EVP_CIPHER **ret_new) {
  if (!b->gcm) b->gcm = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
  if (!b->cipher) b->cipher = EVP_CIPHER_CTX_new();
  if (!b->gcm || !b->cipher) return NULL;
  *ret_new = EVP_CIPHER_CTX_get0_cipher(b->cipher) ? NULL : b->gcm;
  return b->cipher;
}

static bool encrypt(struct bodies *b, const uint8_t key[KEY], const uint8_t place[PLACE], const struct body *body, uint8_t *nonce_out_tag) {
  const EVP_CIPHER *new = NULL;
  EVP_CIPHER_CTX *c = cipher_of(b, &new);
  int n = 0;
  uint8_t *out = nonce_out_tag + NONCE;
  return c && EVP_EncryptInit_ex2(c, new, key, nonce_out_tag, NULL) == 1 && EVP_EncryptUpdate(c, NULL, &n, place, PLACE) == 1 &&
         EVP_EncryptUpdate(c, out, &n, body->bytes, (int)body->len) == 1 && EVP_EncryptFinal_ex(c, out + n, &n) == 1 &&
         EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_GCM_GET_TAG, TAG, out + body->len) == 1;
}

static bool decrypt(struct bodies *b, const uint8_t key[KEY], const uint8_t place[PLACE], const uint8_t *nonce_in_tag, size_t len,
                    uint8_t *out) {
  const EVP_CIPHER *new = NULL;
  EVP_CIPHER_CTX *c = cipher_of(b, &new);
  int n = 0;
  const uint8_t *in = nonce_in_tag + NONCE;
  return c && EVP_DecryptInit_ex2(c, new, key, nonce_in_tag, NULL) == 1 && EVP_DecryptUpdate(c, NULL, &n, place, PLACE) == 1 &&
         EVP_DecryptUpdate(c, out, &n, in, (int)len) == 1 &&
         EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_GCM_SET_TAG, TAG, (void *)(uintptr_t)(in + len)) == 1 && EVP_DecryptFinal_ex(c, out + n, &n) == 1;
}

/* No key of a body outlives the batch or the read that it was for. */
static void cipher_forget(struct bodies *b) {
  EVP_CIPHER_CTX_free(b->cipher); /* wiped by libcrypto */
  b->cipher = NULL;
}

static size_t record_length(size_t len) { return HEADER + (len ? NONCE + len + TAG : 0); }

/* Makes the record; its key is among the fresh ones. */
static int record_add(struct bodies *b, uint64_t index, const struct body *body, struct fresh *fresh, struct buf *out, struct err *err) {
  uint8_t place[PLACE];
  const uint8_t header[HEADER] = {(uint8_t)(body->len >> 24), (uint8_t)(body->len >> 16), (uint8_t)(body->len >> 8), (uint8_t)body->len};
  if (body->len > BODY_MAX) return err_set(err, ERR_LIMIT, "a body of %zu bytes is too long for the evidence", body->len);
  buf_add(out, header, HEADER);
  uint8_t *record = body->len ? (uint8_t *)buf_extend(out, record_length(body->len) - HEADER) : NULL;
  if (!buf_ok(out)) return err_set(err, ERR_MEMORY, "no memory for a body of %zu bytes", body->len);
  if (!body->len) return 0;
  uint8_t *key = fresh->keys[fresh->count];
  random_bytes(key, KEY);
  random_bytes(record, NONCE);
  place_write(index, &body->leaf, place);
  fresh->entries[fresh->count++] = index;
  if (!encrypt(b, key, place, body, record)) return err_set(err, ERR_INTERNAL, "encrypting a body failed");
  return fresh->count < KEYS ? 0 : fresh_put(b, fresh, err);
}

/* ---- files */

static void path_of(const char *folder, uint64_t number, char out[PATH_MOST]) {
  char tile[TILE_PATH];
  tile_path(TILE_ENTRIES, number, TILE_WIDTH, tile);
  snprintf(out, PATH_MOST, "%s/bodies/%s", folder, tile + strlen("tile/entries/"));
}

static void file_path(const struct bodies *b, uint64_t number, char out[PATH_MOST]) { path_of(b->folder, number, out); }

/* Where record `at` begins, when record `from` begins at *ret; ERR_INVALID when the file ends before it. */
static int record_find_from(int fd, unsigned from, unsigned at, off_t *ret, struct err *err) {
  off_t offset = *ret;
  for (unsigned i = from; i < at; i++) {
    uint8_t header[HEADER];
    if (pread(fd, header, HEADER, offset) != HEADER) return err_set(err, ERR_INVALID, "a file of bodies holds only %u of its records", i);
    offset += (off_t)record_length((size_t)header[0] << 24 | (size_t)header[1] << 16 | (size_t)header[2] << 8 | header[3]);
  }
  struct stat st;
  if (fstat(fd, &st) != 0) return err_errno(err, "cannot look at a file of bodies");
  if (offset > st.st_size) return err_set(err, ERR_INVALID, "a file of bodies ends in the middle of record %u", at);
  *ret = offset;
  return 0;
}

static int record_find(int fd, unsigned at, off_t *ret, struct err *err) {
  *ret = 0;
  return record_find_from(fd, 0, at, ret, err);
}

static void reader_close(struct reader *reader) {
  if (reader->fd >= 0) close(reader->fd);
  free(reader->window);
  *reader = (struct reader){.fd = -1};
}

/* len bytes at an offset, and `ahead` more for the next; NULL when they are not there. Good until the next call. */
static const uint8_t *reader_bytes(struct reader *reader, off_t at, size_t len, size_t ahead) {
  if (at >= reader->window_at && at + (off_t)len <= reader->window_at + (off_t)reader->window_len)
    return reader->window + (at - reader->window_at);
  if (len + ahead > reader->window_size) {
    free(reader->window);
    reader->window_size = reader->window_len = 0;
    if (!(reader->window = malloc(len + ahead))) return NULL;
    reader->window_size = len + ahead;
  }
  ssize_t n = pread(reader->fd, reader->window, reader->window_size, at);
  reader->window_at = at;
  reader->window_len = n > 0 ? (size_t)n : 0;
  return reader->window_len >= len ? reader->window : NULL;
}

/* Stands at that record, from the last one on when it lies behind that in the same file. */
static int reader_seek(struct bodies *b, uint64_t index, struct err *err) {
  struct reader *reader = &b->reader;
  uint64_t number = index / TILE_WIDTH;
  unsigned at = (unsigned)(index % TILE_WIDTH);
  if (reader->fd < 0 || reader->number != number || reader->at > at) {
    char path[PATH_MOST];
    reader_close(reader);
    file_path(b, number, path);
    reader->fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    reader->number = number;
    if (reader->fd < 0) return err_errno(err, "cannot open %s", path);
  }
  int r = reader->at == at ? 0 : record_find_from(reader->fd, reader->at, at, &reader->offset, err);
  if (r < 0) reader_close(reader);
  else reader->at = at;
  return r;
}

/* Records go in from place `at` on; what was there is cut off. Durable after disk_sync. */
static int file_append(struct bodies *b, uint64_t number, unsigned at, const struct buf *records, struct err *err) {
  char path[PATH_MOST];
  off_t offset = 0;
  int fd = -1, r = 0;
  file_path(b, number, path);
  if (at && (fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW)) < 0 && errno != ENOENT) r = err_errno(err, "cannot open %s", path);
  if (r == 0 && at) r = record_find(fd, at, &offset, err);
  if (fd >= 0) close(fd);
  return r < 0 ? r : disk_append(&b->disk, path + strlen(b->folder) + 1, (size_t)offset, records->data, records->len, err);
}

/* All keys of a batch go in by one transaction, by which those go that a batch left there which was not published. */
static int keys_begin(struct bodies *b, uint64_t first, size_t count, struct err *err) {
  const uint64_t range[] = {first, first + count - 1};
  int r = keys_do(b, "BEGIN IMMEDIATE", err);
  return r < 0 ? r : key_run(b, KEY_DROP_MANY, range, NULL, 2, err);
}

static int keys_end(struct bodies *b, int r, struct fresh *fresh, struct err *err) {
  if (r == 0) r = fresh_put(b, fresh, err);
  OPENSSL_cleanse(fresh, sizeof *fresh);
  cipher_forget(b);
  if (r == 0) r = keys_do(b, "COMMIT", err);
  if (r < 0 && !sqlite3_get_autocommit(b->keys)) keys_do(b, "ROLLBACK", NULL);
  return r;
}

/* Up to the end of a file, encrypted. */
static int records_append(struct bodies *b, uint64_t first, const struct body *list, size_t count, struct fresh *fresh, struct buf *records,
                          struct err *err) {
  int r = 0;
  buf_reset(records);
  for (size_t i = 0; r == 0 && i < count; i++) r = record_add(b, first + i, &list[i], fresh, records, err);
  return r < 0 ? r : file_append(b, first / TILE_WIDTH, (unsigned)(first % TILE_WIDTH), records, err);
}

/* File by file, so that the records of a few hundred bodies at a time are in memory, and that in the same place. */
int bodies_append(struct bodies *b, uint64_t first, const struct body *list, size_t count, struct err *err) {
  if (!count) return 0;
  struct fresh fresh = {.count = 0};
  struct buf records;
  buf_init(&records, SIZE_MAX / 2);
  disk_forget(&b->disk);
  int r = keys_begin(b, first, count, err);
  for (size_t i = 0, n; r == 0 && i < count; i += n) {
    size_t room = TILE_WIDTH - (first + i) % TILE_WIDTH;
    n = count - i < room ? count - i : room;
    r = records_append(b, first + i, list + i, n, &fresh, &records, err);
  }
  r = keys_end(b, r, &fresh, err);
  buf_release(&records);
  return r < 0 ? r : disk_sync(&b->disk, err);
}

int bodies_read(struct bodies *b, uint64_t index, const struct hash *leaf, struct buf *out, struct err *err) {
  struct reader *reader = &b->reader;
  bool in_a_row = !sqlite3_get_autocommit(b->keys);
  uint8_t key[KEY] = {0}, place[PLACE];
  char *room = NULL, *text = NULL;
  const uint8_t *header, *record;
  int r = key_get(b, index, key, err);
  if (r < 0) return r;
  if ((r = reader_seek(b, index, err)) < 0) goto out;
  if (!(header = reader_bytes(reader, reader->offset, HEADER, in_a_row ? AHEAD : 0))) {
    r = err_set(err, ERR_INVALID, "the body of entry %" PRIu64 " is missing", index);
    goto out;
  }
  size_t len = (size_t)header[0] << 24 | (size_t)header[1] << 16 | (size_t)header[2] << 8 | header[3], rest = NONCE + len + TAG;
  place_write(index, leaf, place);
  record = len && len <= BODY_MAX ? reader_bytes(reader, reader->offset + HEADER, rest, in_a_row ? AHEAD : 0) : NULL;
  if (record) room = buf_extend(out, len);
  /* What does not fit is still looked at: its length may be what was changed. */
  if (record) text = room ? room : malloc(len);
  if (!text || !decrypt(b, key, place, record, len, (uint8_t *)text)) {
    if (room) *room = 0, out->len -= len; /* nothing of it is handed out */
    r = err_set(err, ERR_INVALID, "the body of entry %" PRIu64 " was changed", index);
    goto out;
  }
  reader->at++;
  reader->offset += (off_t)record_length(len);
  if (!room) r = err_set(err, ERR_LIMIT, "the body of entry %" PRIu64 " is larger than %zu bytes", index, out->cap);
out:
  OPENSSL_cleanse(key, sizeof key);
  if (!room) free(text);
  if (!in_a_row) reader_close(reader), cipher_forget(b);
  return r;
}

void bodies_read_begin(struct bodies *b) { keys_do(b, "BEGIN", NULL); }

void bodies_read_end(struct bodies *b) {
  reader_close(&b->reader);
  cipher_forget(b);
  if (!sqlite3_get_autocommit(b->keys)) keys_do(b, "COMMIT", NULL);
}

int bodies_records(const char *folder, uint64_t number, unsigned count, struct buf *out, struct err *err) {
  char path[PATH_MOST], piece[65536];
  off_t end = 0;
  path_of(folder, number, path);
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0) return err_errno(err, "cannot open %s", path);
  int r = record_find(fd, count, &end, err);
  for (off_t at = 0; r == 0 && at < end;) {
    size_t want = (size_t)(end - at) < sizeof piece ? (size_t)(end - at) : sizeof piece;
    ssize_t n = pread(fd, piece, want, at);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) r = n < 0 ? err_errno(err, "cannot read %s", path) : err_set(err, ERR_INVALID, "%s was cut", path);
    else buf_add(out, piece, (size_t)n), at += n;
  }
  close(fd);
  if (r == 0 && !buf_ok(out)) r = err_set(err, ERR_LIMIT, "%s is larger than %zu bytes", path, out->cap);
  return r;
}

int bodies_open(const char *folder, struct bodies **ret, struct err *err) {
  struct bodies *b = calloc(1, sizeof *b);
  if (!b) abort();
  b->reader.fd = -1;
  int r = 0;
  if ((size_t)snprintf(b->folder, sizeof b->folder, "%s", folder) >= sizeof b->folder)
    r = err_set(err, ERR_INVALID, "the path of the evidence folder is too long");
  if (r == 0) r = disk_open(&b->disk, folder, NULL, NULL, err);
  b->disk.unchecked = true; /* each body is checked when it is read */
  if (r == 0) r = keys_open(b, err);
  if (r == 0) *ret = b;
  else bodies_close(b);
  return r;
}

int bodies_look(const char *folder, struct bodies **ret, struct err *err) {
  struct bodies *b = calloc(1, sizeof *b);
  char path[PATH_MOST];
  if (!b) abort();
  b->reader.fd = -1;
  int r = 0;
  if ((size_t)snprintf(b->folder, sizeof b->folder, "%s", folder) >= sizeof b->folder)
    r = err_set(err, ERR_INVALID, "the path of the evidence folder is too long");
  snprintf(path, sizeof path, "%s/keys.db", b->folder);
  if (r == 0 && sqlite3_open_v2(path, &b->keys, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK)
    r = keys_error(b, err, "open");
  if (r == 0) sqlite3_busy_timeout(b->keys, 5000);
  if (r == 0) *ret = b;
  else bodies_close(b);
  return r;
}

void bodies_close(struct bodies *b) {
  if (!b) return;
  reader_close(&b->reader);
  cipher_forget(b);
  EVP_CIPHER_free(b->gcm);
  for (int i = 0; i < KEY_STATEMENTS; i++) sqlite3_finalize(b->statements[i]);
  sqlite3_close(b->keys);
  disk_close(&b->disk);
  free(b);
}
