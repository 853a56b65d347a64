#include "cmd/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int file_read(const char *path, struct buf *out, struct err *err) {
  bool standard = strcmp(path, "-") == 0;
  int fd = standard ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC), r = 0;
  if (fd < 0) return err_errno(err, "cannot read %s", path);
  for (;;) {
    char block[65536];
    ssize_t n = read(fd, block, sizeof block);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) r = err_errno(err, "cannot read %s", path);
    if (n <= 0) break;
    buf_add(out, block, (size_t)n);
    if (!buf_ok(out)) {
      r = err_set(err, ERR_LIMIT, "%s is larger than %zu bytes", path, out->cap);
      break;
    }
  }
  if (!standard) close(fd);
  return r;
}

static int write_all(int fd, const char *bytes, size_t len) {
  while (len) {
    ssize_t n = write(fd, bytes, len);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return -1;
    bytes += n;
    len -= (size_t)n;
  }
  return 0;
}

int file_write(const char *path, const char *bytes, size_t len, struct err *err) {
  char beside[PATH_MAX];
  if (strcmp(path, "-") == 0) return write_all(STDOUT_FILENO, bytes, len) < 0 ? err_errno(err, "cannot write") : 0;
  if (snprintf(beside, sizeof beside, "%s.new", path) >= (int)sizeof beside)
    return err_set(err, ERR_INVALID, "the name %.100s… is too long", path);
  int fd = open(beside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) return err_errno(err, "cannot write %s", beside);
  bool ok = write_all(fd, bytes, len) == 0 && fsync(fd) == 0;
  int why = errno;
  if (close(fd) < 0 && ok) ok = false, why = errno;
  if (ok && rename(beside, path) == 0) return 0;
  if (ok) why = errno;
  unlink(beside);
  errno = why;
  return err_errno(err, "cannot write %s", path);
}
