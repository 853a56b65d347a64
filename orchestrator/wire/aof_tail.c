#include "wire/aof_tail.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { MOST_ARGS = 1 << 20, MOST_ARG = 512 << 20, LINE = 32, COPY = 1 << 20 };

/* --- reading ---------------------------------------------------------------------------------------- */

enum outcome { WHOLE, ENDED /* the file is over in the middle */, WRONG /* a byte that cannot be */, BROKEN /* the disk says no */ };

struct reader {
  FILE *file;
  int64_t at, size;
};

/* "<mark><digits>\r\n" to a number. */
static enum outcome read_number(struct reader *r, int mark, int64_t most, int64_t *ret) {
  int64_t n = 0;
  int digits = 0;
  for (int i = 0;; i++) {
    int c = getc(r->file);
    if (c == EOF) return ferror(r->file) ? BROKEN : ENDED;
    r->at++;
    if (i == 0) {
      if (c != mark) return WRONG;
    } else if (c >= '0' && c <= '9') {
      n = n * 10 + (c - '0');
      if (++digits > 10 || n > most) return WRONG;
    } else if (c == '\r' && digits) {
      break;
    } else {
      return WRONG;
    }
  }
  int c = getc(r->file);
  if (c == EOF) return ferror(r->file) ? BROKEN : ENDED;
  r->at++;
  if (c != '\n') return WRONG;
  *ret = n;
  return WHOLE;
}

/* Passes over len bytes; the first ones are kept in word when it is given. */
static enum outcome read_bytes(struct reader *r, int64_t len, char word[LINE]) {
  char part[4096];
  if (word) word[0] = 0;
  if (len > r->size - r->at) return ENDED;
  if (len > 1 << 16) { /* no need to look at a long value */
    if (fseeko(r->file, len, SEEK_CUR) != 0) return BROKEN;
    r->at += len;
    return WHOLE;
  }
  for (int64_t left = len; left > 0;) {
    size_t want = left < (int64_t)sizeof part ? (size_t)left : sizeof part;
    if (fread(part, 1, want, r->file) != want) return ferror(r->file) ? BROKEN : ENDED;
    if (word && left == len && len < LINE) {
      memcpy(word, part, want);
      word[want] = 0;
    }
    left -= (int64_t)want;
    r->at += (int64_t)want;
  }
  return WHOLE;
}

static enum outcome read_line_end(struct reader *r) {
  static const char end[] = "\r\n";
  for (int i = 0; i < 2; i++) {
    int c = getc(r->file);
    if (c == EOF) return ferror(r->file) ? BROKEN : ENDED;
    r->at++;
    if (c != end[i]) return WRONG;
  }
  return WHOLE;
}

/* A note of Redis' own ("#TS:1700000000\r\n"). */
static enum outcome read_note(struct reader *r) {
  for (int i = 0; i < 1024; i++) {
    int c = getc(r->file);
    if (c == EOF) return ferror(r->file) ? BROKEN : ENDED;
    r->at++;
    if (c == '\n') return WHOLE;
  }
  return WRONG;
}

/* One command; its name, when it is short, in name. */
static enum outcome read_command(struct reader *r, char name[LINE]) {
  name[0] = 0;
  int c = getc(r->file);
  if (c == EOF) return ferror(r->file) ? BROKEN : ENDED;
  ungetc(c, r->file);
  if (c == '#') return read_note(r);
  int64_t args, len;
  enum outcome o = read_number(r, '*', MOST_ARGS, &args);
  if (o == WHOLE && args < 1) return WRONG;
  for (int64_t i = 0; o == WHOLE && i < args; i++) {
    o = read_number(r, '$', MOST_ARG, &len);
    if (o == WHOLE) o = read_bytes(r, len, i == 0 ? name : NULL);
    if (o == WHOLE) o = read_line_end(r);
  }
  return o;
}

static int scan(struct reader *r, struct aof_tail *tail, struct err *err) {
  int64_t multi = -1; /* where an open transaction began */
  enum outcome o = WHOLE;
  while (r->at < r->size) {
    int64_t began = r->at;
    char name[LINE];
    o = read_command(r, name);
    if (o != WHOLE) {
      tail->good = multi >= 0 ? multi : began;
      break;
    }
    if (strcasecmp(name, "MULTI") == 0 && multi < 0) multi = began;
    else if (strcasecmp(name, "EXEC") == 0) multi = -1;
    tail->good = multi >= 0 ? multi : r->at;
  }
  if (o == BROKEN) return err_errno(err, "cannot read %s", tail->path);
  if (o == WRONG) tail->damaged = r->at > 0 ? r->at - 1 : 0;
  else tail->torn = tail->good < tail->size;
  return 0;
}

/* --- the file --------------------------------------------------------------------------------------- */

/* The manifest's last "file <name> seq <n> type i" line. Names with a slash or a quote are none of ours. */
static int last_incr(const char *folder, char name[256], struct err *err) {
  char path[AOF_PATH], line[1024], found[256], type;
  snprintf(path, sizeof path, "%.*s/appendonlydir/appendonly.aof.manifest", AOF_PATH - 64, folder);
  FILE *f = fopen(path, "re");
  if (!f && errno == ENOENT) return err_set(err, ERR_NOT_FOUND, "there is no %s", path);
  if (!f) return err_errno(err, "cannot open %s", path);
  name[0] = 0;
  while (fgets(line, sizeof line, f)) {
    if (sscanf(line, "file %255s seq %*u type %c", found, &type) != 2 || type != 'i') continue;
    if (strpbrk(found, "/\"")) continue;
    memcpy(name, found, sizeof found);
  }
  fclose(f);
  return name[0] ? 0 : err_set(err, ERR_NOT_FOUND, "%s names no incremental file", path);
}

int aof_tail_find(const char *folder, struct aof_tail *ret, struct err *err) {
  struct aof_tail tail = {.damaged = -1};
  char name[256];
  int code = last_incr(folder, name, err);
  if (code) return code;
  snprintf(tail.path, sizeof tail.path, "%.*s/appendonlydir/%s", AOF_PATH - 512, folder, name);
  struct reader r = {.file = fopen(tail.path, "re")};
  if (!r.file) return err_errno(err, "cannot open %s", tail.path);
  struct stat st;
  if (fstat(fileno(r.file), &st) != 0) code = err_errno(err, "cannot stat %s", tail.path);
  else setvbuf(r.file, NULL, _IOFBF, 1 << 18);
  if (!code) {
    tail.size = r.size = st.st_size;
    code = scan(&r, &tail, err);
  }
  fclose(r.file);
  if (!code) *ret = tail;
  return code;
}

static int copy_bytes(int from, int to, const char *path, struct err *err) {
  char *bytes = malloc(COPY);
  if (!bytes) return err_set(err, ERR_MEMORY, "no memory to copy %s", path);
  int code = 0;
  for (ssize_t n; !code && (n = read(from, bytes, COPY)) != 0;) {
    if (n < 0) code = err_errno(err, "cannot read %s", path);
    for (ssize_t done = 0; !code && done < n;) {
      ssize_t w = write(to, bytes + done, (size_t)(n - done));
      if (w < 0) code = err_errno(err, "cannot copy %s", path);
      else done += w;
    }
  }
  free(bytes);
  return code;
}

/* The folder too must know of the copy before the original changes. */
static int sync_folder(const char *path, struct err *err) {
  char copy[AOF_PATH];
  snprintf(copy, sizeof copy, "%s", path);
  int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return err_errno(err, "cannot open the folder of %s", path);
  int code = fsync(fd) == 0 ? 0 : err_errno(err, "cannot sync the folder of %s", path);
  close(fd);
  return code;
}

int aof_tail_cut(const struct aof_tail *tail, struct err *err) {
  if (!tail->torn || tail->damaged >= 0) return err_set(err, ERR_INVALID, "%s has no torn tail", tail->path);
  char copy[AOF_PATH + 64], stamp[32];
  time_t now = time(NULL);
  struct tm utc;
  strftime(stamp, sizeof stamp, "%Y%m%dT%H%M%SZ", gmtime_r(&now, &utc));
  snprintf(copy, sizeof copy, "%s.torn-%s-%d", tail->path, stamp, (int)getpid());
  int code = 0, from = open(tail->path, O_RDWR | O_CLOEXEC), to = -1;
  if (from < 0) {
    code = err_errno(err, "cannot open %s", tail->path);
    goto out;
  }
  to = open(copy, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (to < 0) {
    code = err_errno(err, "cannot make %s", copy);
    goto out;
  }
  code = copy_bytes(from, to, tail->path, err);
  if (!code && fsync(to) != 0) code = err_errno(err, "cannot sync %s", copy);
  if (!code) code = sync_folder(tail->path, err);
  if (!code && (ftruncate(from, tail->good) != 0 || fsync(from) != 0)) code = err_errno(err, "cannot cut %s", tail->path);
out:
  if (from >= 0) close(from);
  if (to >= 0) close(to);
  return code;
}
