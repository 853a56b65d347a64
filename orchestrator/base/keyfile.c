#include "base/keyfile.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static int make(int fd, const char *path, uint8_t out[DIGEST_BYTES], struct err *err) {
  random_bytes(out, DIGEST_BYTES);
  if (write(fd, out, DIGEST_BYTES) != DIGEST_BYTES || fsync(fd) != 0) return err_errno(err, "cannot write the key %s", path);
  return 0;
}

int keyfile(const char *folder, const char *name, uint8_t out[DIGEST_BYTES], struct err *err) {
  char path[4096];
  struct stat st;
  snprintf(path, sizeof path, "%s/%s", folder, name);
  int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600), r = 0;
  if (fd < 0) return err_errno(err, "cannot open the key %s", path);
  if (fstat(fd, &st) != 0) {
    r = err_errno(err, "cannot look at the key %s", path);
  } else if (st.st_mode & 077) {
    r = err_set(err, ERR_DENIED, "others can read the key %s: run chmod 600 on it, and think about who has seen it", path);
  } else if (st.st_size == 0) {
    r = make(fd, path, out, err);
  } else if (st.st_size != DIGEST_BYTES || read(fd, out, DIGEST_BYTES) != DIGEST_BYTES) {
    r = err_set(err, ERR_INVALID, "%s is no key of %d bytes: restore it from your backup", path, DIGEST_BYTES);
  }
  close(fd);
  return r;
}
