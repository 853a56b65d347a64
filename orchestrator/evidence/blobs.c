#include "evidence/blobs.h"

#include <dirent.h>
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

enum { KEY = 32, NONCE = 12, TAG = 16, RECORD = BLOB_PIECE + TAG, PATH_MOST = 4096 };

struct blobs {
  char folder[PATH_MOST - 128];
  sqlite3 *keys;
};

struct blob_writer {
  struct blobs *of;
  char incident[HEAD_INCIDENT], path[PATH_MOST];
  int fd;
  uint8_t key[KEY];
  EVP_CIPHER_CTX *cipher;
  EVP_MD_CTX *sha256;
  uint64_t size, most, pieces;
  size_t filled;
  uint8_t piece[BLOB_PIECE], record[RECORD];
};

/* ---- keys */

static int keys_error(struct blobs *b, struct err *err, const char *what) {
  return err_set(err, ERR_IO, "the keys of the evidence's files: cannot %s: %s", what, sqlite3_errmsg(b->keys));
}

static int keys_open(struct blobs *b, struct err *err) {
  char path[PATH_MOST];
  snprintf(path, sizeof path, "%s/keys.db", b->folder);
  int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) return err_errno(err, "cannot open %s", path);
  close(fd);
  if (sqlite3_open_v2(path, &b->keys, SQLITE_OPEN_READWRITE, NULL) != SQLITE_OK) return keys_error(b, err, "open");
  sqlite3_busy_timeout(b->keys, 5000);
  /* As for the bodies' keys: a deleted one must not live on. */
  return sqlite3_exec(
             b->keys,
             "PRAGMA journal_mode=DELETE; PRAGMA synchronous=EXTRA; PRAGMA secure_delete=ON; CREATE TABLE IF NOT EXISTS blob "
             "(incident TEXT NOT NULL, sha256 TEXT NOT NULL, mark INTEGER NOT NULL, key BLOB NOT NULL, "
             "PRIMARY KEY (incident, sha256)) WITHOUT ROWID; CREATE TABLE IF NOT EXISTS look (incident TEXT NOT NULL, sha256 TEXT NOT "
             "NULL, time INTEGER NOT NULL, at INTEGER NOT NULL, PRIMARY KEY (incident, sha256)) WITHOUT ROWID; CREATE TRIGGER IF "
             "NOT EXISTS look_no_more AFTER DELETE ON blob BEGIN DELETE FROM look WHERE incident = OLD.incident AND sha256 = "
             "OLD.sha256; END",
             NULL, NULL, NULL) == SQLITE_OK
             ? 0
             : keys_error(b, err, "open");
}

static sqlite3_stmt *keys_statement(struct blobs *b, const char *sql, const char *incident, const char *sha256) {
  sqlite3_stmt *s = NULL;
  if (sqlite3_prepare_v2(b->keys, sql, -1, &s, NULL) != SQLITE_OK || sqlite3_bind_text(s, 1, incident, -1, SQLITE_STATIC) != SQLITE_OK ||
      sqlite3_bind_text(s, 2, sha256, -1, SQLITE_STATIC) != SQLITE_OK) {
    sqlite3_finalize(s);
    return NULL;
  }
  return s;
}

/* key may be NULL. */
static int key_get(struct blobs *b, const char *incident, const char *sha256, uint8_t key[KEY], enum blob_mark *ret, struct err *err) {
  sqlite3_stmt *s = keys_statement(b, "SELECT mark, key FROM blob WHERE incident = ? AND sha256 = ?", incident, sha256);
  int r = 0, step = s ? sqlite3_step(s) : SQLITE_ERROR;
  if (step == SQLITE_DONE) {
    r = err_set(err, ERR_NOT_FOUND, "%s keeps no file %.64s here: it was removed, or lies at another node", incident, sha256);
  } else if (step != SQLITE_ROW || sqlite3_column_bytes(s, 1) != KEY) {
    r = keys_error(b, err, "read");
  } else {
    *ret = (enum blob_mark)sqlite3_column_int(s, 0);
    if (key) memcpy(key, sqlite3_column_blob(s, 1), KEY);
  }
  sqlite3_finalize(s);
  return r;
}

static int key_put(struct blobs *b, const char *incident, const char *sha256, const uint8_t key[KEY], struct err *err) {
  sqlite3_stmt *s = keys_statement(b, "INSERT OR REPLACE INTO blob VALUES (?, ?, 0, ?)", incident, sha256);
  bool ok = s && sqlite3_bind_blob(s, 3, key, KEY, SQLITE_STATIC) == SQLITE_OK && sqlite3_step(s) == SQLITE_DONE;
  int r = ok ? 0 : keys_error(b, err, "write");
  sqlite3_finalize(s);
  return r;
}

static int key_change(struct blobs *b, const char *sql, const char *incident, const char *sha256, struct err *err) {
  sqlite3_stmt *s = keys_statement(b, sql, incident, sha256);
  int r = s && sqlite3_step(s) == SQLITE_DONE ? 0 : keys_error(b, err, "write");
  if (r == 0 && sqlite3_changes(b->keys) == 0) r = err_set(err, ERR_NOT_FOUND, "%s keeps no file %.64s here", incident, sha256);
  sqlite3_finalize(s);
  return r;
}

int blob_mark(struct blobs *b, const char *incident, const char *sha256, enum blob_mark mark, struct err *err) {
  static const char *const sql[] = {[BLOB_NEW] = "UPDATE blob SET mark = 0 WHERE incident = ? AND sha256 = ?",
                                    [BLOB_KEPT] = "UPDATE blob SET mark = 1 WHERE incident = ? AND sha256 = ?",
                                    [BLOB_LEAVING] = "UPDATE blob SET mark = 2 WHERE incident = ? AND sha256 = ?"};
  return key_change(b, sql[mark], incident, sha256, err);
}

/* Rows of incident, sha256, mark, time. Takes the statement, which may be NULL. */
static int infos_read(struct blobs *b, sqlite3_stmt *s, struct blob_info **ret, size_t *ret_count, struct err *err) {
  struct blob_info *list = NULL;
  size_t count = 0;
  int step = SQLITE_ERROR;
  while (s && (step = sqlite3_step(s)) == SQLITE_ROW) {
    if (!(list = realloc(list, (count + 1) * sizeof *list))) abort();
    struct blob_info *info = &list[count++];
    snprintf(info->incident, sizeof info->incident, "%s", (const char *)sqlite3_column_text(s, 0));
    snprintf(info->sha256, sizeof info->sha256, "%s", (const char *)sqlite3_column_text(s, 1));
    info->mark = (enum blob_mark)sqlite3_column_int(s, 2);
    info->time = (enum blob_time)sqlite3_column_int(s, 3);
  }
  sqlite3_finalize(s);
  if (step != SQLITE_DONE) {
    free(list);
    return keys_error(b, err, "read");
  }
  *ret = list;
  *ret_count = count;
  return 0;
}

int blobs_unsettled(struct blobs *b, struct blob_info **ret, size_t *ret_count, struct err *err) {
  sqlite3_stmt *s = NULL;
  sqlite3_prepare_v2(b->keys, "SELECT incident, sha256, mark, 0 FROM blob WHERE mark <> 1", -1, &s, NULL);
  return infos_read(b, s, ret, ret_count, err);
}

int blobs_to_look(struct blobs *b, int64_t now, size_t most, struct blob_info **ret, size_t *ret_count, struct err *err) {
  sqlite3_stmt *s = NULL;
  if (sqlite3_prepare_v2(
          b->keys,
          "SELECT incident, sha256, mark, coalesce(time, 0) FROM blob LEFT JOIN look USING (incident, sha256) WHERE mark = 1 "
          "AND coalesce(at, 0) <= ? ORDER BY coalesce(at, 0) LIMIT ?",
          -1, &s, NULL) == SQLITE_OK) {
    sqlite3_bind_int64(s, 1, now);
    sqlite3_bind_int64(s, 2, (sqlite3_int64)most);
  }
  return infos_read(b, s, ret, ret_count, err);
}

int blob_looked(struct blobs *b, const char *incident, const char *sha256, enum blob_time time, int64_t at, struct err *err) {
  sqlite3_stmt *s = keys_statement(b, "INSERT OR REPLACE INTO look VALUES (?, ?, ?, ?)", incident, sha256);
  bool ok =
      s && sqlite3_bind_int(s, 3, (int)time) == SQLITE_OK && sqlite3_bind_int64(s, 4, at) == SQLITE_OK && sqlite3_step(s) == SQLITE_DONE;
  int r = ok ? 0 : keys_error(b, err, "write");
  sqlite3_finalize(s);
  return r;
}

/* ---- files */

/* blobs/ab/cdef…; ERR_INVALID when the digest is none. */
static int path_of(const struct blobs *b, const char *incident, const char *sha256, char out[PATH_MOST], struct err *err) {
  uint8_t digest[DIGEST_BYTES];
  char hex[DIGEST_HEX];
  if (strlen(sha256) != DIGEST_HEX - 1 || !hex_decode(sha256, digest, DIGEST_BYTES))
    return err_set(err, ERR_INVALID, "\"%.64s\" is no SHA-256 digest", sha256);
  const struct digest_part parts[] = {{incident, strlen(incident) + 1}, {digest, DIGEST_BYTES}};
  digest_sha256_parts(parts, 2, digest);
  hex_encode(digest, DIGEST_BYTES, hex);
  snprintf(out, PATH_MOST, "%s/blobs/%.2s/%s", b->folder, hex, hex + 2);
  return 0;
}

static int folder_sync(const char *path, struct err *err) {
  int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;
  if (fd < 0 || fsync(fd) != 0) r = err_errno(err, "cannot sync %s", path);
  if (fd >= 0) close(fd);
  return r;
}

static int folder_make(const char *path, struct err *err) {
  return mkdir(path, 0700) == 0 || errno == EEXIST ? 0 : err_errno(err, "cannot make %s", path);
}

static void parent(char *path) { *strrchr(path, '/') = 0; }

/* What stands under its last name is there after a power cut. */
static int file_publish(const struct blobs *b, const char *from, const char *to, struct err *err) {
  char folder[PATH_MOST], top[PATH_MOST];
  snprintf(folder, sizeof folder, "%s", to);
  parent(folder);
  snprintf(top, sizeof top, "%s/blobs", b->folder);
  int r = folder_make(folder, err);
  if (r == 0 && rename(from, to) != 0) r = err_errno(err, "cannot rename %s", from);
  if (r == 0) r = folder_sync(folder, err);
  return r < 0 ? r : folder_sync(top, err);
}

/* What is left in blobs/new/ was never finished: it has no key, and nobody can read it. */
int blobs_clear(struct blobs *b, struct err *err) {
  char path[PATH_MOST];
  snprintf(path, sizeof path, "%s/blobs/new", b->folder);
  DIR *d = opendir(path);
  if (!d) return err_errno(err, "cannot list %s", path);
  for (struct dirent *e; (e = readdir(d));)
    if (e->d_name[0] != '.') unlinkat(dirfd(d), e->d_name, 0);
  closedir(d);
  return 0;
}

int blobs_open(const char *folder, struct blobs **ret, struct err *err) {
  struct blobs *b = calloc(1, sizeof *b);
  char path[PATH_MOST];
  if (!b) abort();
  int r = (size_t)snprintf(b->folder, sizeof b->folder, "%s", folder) < sizeof b->folder
              ? 0
              : err_set(err, ERR_INVALID, "the path of the evidence folder is too long");
  if (r == 0) r = folder_make(b->folder, err);
  snprintf(path, sizeof path, "%s/blobs", b->folder);
  if (r == 0) r = folder_make(path, err);
  if (r == 0) r = folder_sync(b->folder, err);
  snprintf(path, sizeof path, "%s/blobs/new", b->folder);
  if (r == 0) r = folder_make(path, err);
  if (r == 0) r = keys_open(b, err);
  if (r == 0) *ret = b;
  else blobs_close(b);
  return r;
}

void blobs_close(struct blobs *b) {
  if (!b) return;
  sqlite3_close(b->keys);
  free(b);
}

/* ---- pieces */

static void nonce_of(uint64_t piece, bool last, uint8_t out[NONCE]) {
  memset(out, 0, NONCE);
  out[0] = last;
  for (int i = 0; i < 8; i++) out[4 + i] = (uint8_t)(piece >> (56 - 8 * i));
}

static bool encrypt(EVP_CIPHER_CTX *c, const uint8_t key[KEY], const uint8_t nonce[NONCE], const uint8_t *in, size_t len, uint8_t *out) {
  int n = 0;
  return EVP_EncryptInit_ex(c, EVP_aes_256_gcm(), NULL, key, nonce) == 1 && EVP_EncryptUpdate(c, out, &n, in, (int)len) == 1 &&
         EVP_EncryptFinal_ex(c, out + n, &n) == 1 && EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_GCM_GET_TAG, TAG, out + len) == 1;
}

static bool decrypt(EVP_CIPHER_CTX *c, const uint8_t key[KEY], const uint8_t nonce[NONCE], uint8_t *in, size_t len, uint8_t *out) {
  int n = 0;
  return EVP_DecryptInit_ex(c, EVP_aes_256_gcm(), NULL, key, nonce) == 1 && EVP_DecryptUpdate(c, out, &n, in, (int)len) == 1 &&
         EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_GCM_SET_TAG, TAG, in + len) == 1 && EVP_DecryptFinal_ex(c, out + n, &n) == 1;
}

static int piece_out(struct blob_writer *w, bool last, struct err *err) {
  uint8_t nonce[NONCE];
  nonce_of(w->pieces++, last, nonce);
  if (!encrypt(w->cipher, w->key, nonce, w->piece, w->filled, w->record)) return err_set(err, ERR_INTERNAL, "encrypting a file failed");
  for (size_t done = 0, len = w->filled + TAG; done < len;) {
    ssize_t n = write(w->fd, w->record + done, len - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return err_errno(err, "the file cannot be kept in the evidence folder");
    done += (size_t)n;
  }
  w->filled = 0;
  return 0;
}

/* ---- writing */

int blob_begin(struct blobs *b, const char *incident, uint64_t most, struct blob_writer **ret, struct err *err) {
  struct blob_writer *w = calloc(1, sizeof *w);
  uint8_t name[16];
  char text[2 * sizeof name + 1];
  if (!w || strlen(incident) >= sizeof w->incident) abort();
  *w = (struct blob_writer){.of = b, .most = most, .cipher = EVP_CIPHER_CTX_new(), .sha256 = EVP_MD_CTX_new()};
  if (!w->cipher || !w->sha256 || EVP_DigestInit_ex(w->sha256, EVP_sha256(), NULL) != 1) abort();
  memcpy(w->incident, incident, strlen(incident) + 1);
  random_bytes(w->key, sizeof w->key);
  random_bytes(name, sizeof name);
  hex_encode(name, sizeof name, text);
  snprintf(w->path, sizeof w->path, "%s/blobs/new/%s", b->folder, text);
  w->fd = open(w->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (w->fd < 0) {
    int r = err_errno(err, "cannot make %s", w->path);
    blob_cancel(w);
    return r;
  }
  *ret = w;
  return 0;
}

int blob_write(struct blob_writer *w, const void *bytes, size_t len, struct err *err) {
  const uint8_t *at = bytes;
  if (len > w->most - w->size) return err_set(err, ERR_LIMIT, "the file is larger than the %" PRIu64 " bytes that it may have", w->most);
  if (EVP_DigestUpdate(w->sha256, bytes, len) != 1) abort();
  w->size += len;
  while (len) {
    size_t n = len < BLOB_PIECE - w->filled ? len : BLOB_PIECE - w->filled;
    /* A full piece goes out when there is another byte: only then it is not the last. */
    int r = n == 0 ? piece_out(w, false, err) : 0;
    if (r < 0) return r;
    memcpy(w->piece + w->filled, at, n);
    w->filled += n, at += n, len -= n;
  }
  return 0;
}

void blob_cancel(struct blob_writer *w) {
  if (!w) return;
  if (w->fd >= 0) {
    close(w->fd);
    unlink(w->path);
  }
  EVP_CIPHER_CTX_free(w->cipher);
  EVP_MD_CTX_free(w->sha256);
  OPENSSL_cleanse(w, sizeof *w);
  free(w);
}

/* The key before the name: a name without its key would be a file that nobody can read. */
static int writer_publish(struct blob_writer *w, const char *sha256, struct err *err) {
  enum blob_mark mark;
  char path[PATH_MOST];
  int r = key_get(w->of, w->incident, sha256, NULL, &mark, err);
  if (r == 0 && mark != BLOB_NEW) return err_set(err, ERR_EXISTS, "%s keeps this very file already (SHA-256 %s)", w->incident, sha256);
  if (r < 0 && r != ERR_NOT_FOUND) return r;
  r = path_of(w->of, w->incident, sha256, path, err);
  if (r == 0) r = key_put(w->of, w->incident, sha256, w->key, err);
  if (r == 0) r = file_publish(w->of, w->path, path, err);
  return r;
}

int blob_finish(struct blob_writer *w, const char *expected, char ret_sha256[DIGEST_HEX], uint64_t *ret_size, struct err *err) {
  uint8_t digest[DIGEST_BYTES];
  char hex[DIGEST_HEX];
  uint64_t size = w->size;
  int r = piece_out(w, true, err);
  if (r == 0 && fsync(w->fd) != 0) r = err_errno(err, "the file cannot be kept in the evidence folder");
  if (EVP_DigestFinal_ex(w->sha256, digest, NULL) != 1) abort();
  hex_encode(digest, sizeof digest, hex);
  if (r == 0 && expected && strcmp(hex, expected) != 0)
    r = err_set(err, ERR_CONFLICT, "the file changed while it was read: nothing was kept (its digest was %.64s, and then %s)", expected,
                hex);
  if (r == 0) r = writer_publish(w, hex, err);
  blob_cancel(w);
  if (r < 0) return r;
  memcpy(ret_sha256, hex, DIGEST_HEX);
  *ret_size = size;
  return 0;
}

/* ---- reading */

static int changed(struct err *err, const char *incident, const char *sha256) {
  return err_set(err, ERR_INVALID, "the file %.64s of %s was changed where it is kept", sha256, incident);
}

/* Every piece has its whole length but the last; a file cut between two pieces has no last one. */
static int pieces_read(int fd, EVP_CIPHER_CTX *c, const uint8_t key[KEY], uint64_t offset, size_t len, struct buf *out) {
  static _Thread_local uint8_t record[RECORD], piece[BLOB_PIECE];
  uint8_t nonce[NONCE];
  struct stat st;
  if (fstat(fd, &st) != 0 || st.st_size < TAG) return ERR_INVALID;
  uint64_t pieces = ((uint64_t)st.st_size + RECORD - 1) / RECORD;
  for (uint64_t i = offset / BLOB_PIECE; i < pieces && len; i++) {
    ssize_t n = pread(fd, record, RECORD, (off_t)(i * RECORD));
    nonce_of(i, i + 1 == pieces, nonce);
    if (n < TAG || (i + 1 < pieces && n != RECORD) || !decrypt(c, key, nonce, record, (size_t)n - TAG, piece)) return ERR_INVALID;
    size_t skip = offset > i * BLOB_PIECE ? (size_t)(offset - i * BLOB_PIECE) : 0, have = (size_t)n - TAG;
    if (skip >= have) break;
    size_t take = have - skip < len ? have - skip : len;
    buf_add(out, piece + skip, take);
    len -= take;
  }
  return buf_ok(out) ? 0 : ERR_LIMIT;
}

int blob_read(struct blobs *b, const char *incident, const char *sha256, uint64_t offset, size_t len, struct buf *out, struct err *err) {
  char path[PATH_MOST];
  uint8_t key[KEY];
  enum blob_mark mark;
  int r = path_of(b, incident, sha256, path, err);
  if (r == 0) r = key_get(b, incident, sha256, key, &mark, err);
  if (r < 0) return r;
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0) {
    r = errno == ENOENT ? err_set(err, ERR_INVALID, "the file %.64s of %s is missing where it is kept", sha256, incident)
                        : err_errno(err, "cannot open a kept file");
    OPENSSL_cleanse(key, sizeof key);
    return r;
  }
  EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
  if (!c) abort();
  r = pieces_read(fd, c, key, offset, len, out);
  EVP_CIPHER_CTX_free(c);
  OPENSSL_cleanse(key, sizeof key);
  close(fd);
  if (r == ERR_LIMIT) return err_set(err, ERR_LIMIT, "the piece that was asked for is too large");
  return r < 0 ? changed(err, incident, sha256) : 0;
}

int blob_remove(struct blobs *b, const char *incident, const char *sha256, struct err *err) {
  char path[PATH_MOST];
  int r = path_of(b, incident, sha256, path, err);
  if (r < 0) return r;
  if (unlink(path) == 0) {
    parent(path);
    r = folder_sync(path, err);
  } else if (errno != ENOENT) {
    r = err_errno(err, "cannot remove a kept file");
  }
  return r < 0 ? r : key_change(b, "DELETE FROM blob WHERE incident = ? AND sha256 = ?", incident, sha256, err);
}

int blobs_count(struct blobs *b, struct blob_counts *ret, struct err *err) {
  sqlite3_stmt *s = NULL;
  char path[PATH_MOST];
  int step = SQLITE_ERROR;
  struct blob_counts counts = {0};
  if (sqlite3_prepare_v2(b->keys,
                         "SELECT incident, sha256, coalesce(time, 0) FROM blob LEFT JOIN look USING (incident, sha256) WHERE mark = 1", -1,
                         &s, NULL) == SQLITE_OK)
    while ((step = sqlite3_step(s)) == SQLITE_ROW) {
      unsigned time = (unsigned)sqlite3_column_int(s, 2);
      const char *incident = (const char *)sqlite3_column_text(s, 0), *sha256 = (const char *)sqlite3_column_text(s, 1);
      counts.kept++;
      counts.times[time < BLOB_TIMES ? time : BLOB_IN_TIME]++;
      if (path_of(b, incident, sha256, path, NULL) < 0 || access(path, R_OK) != 0) counts.missing++;
    }
  sqlite3_finalize(s);
  if (step != SQLITE_DONE) return keys_error(b, err, "read");
  *ret = counts;
  return 0;
}
