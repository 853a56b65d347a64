#include "evidence/disk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* True when a test wants the call to fail; errno is set then. */
static bool broken(struct disk *d, enum disk_call call, const char *path, size_t *len) {
  size_t none = 0;
  int error = d->fault ? d->fault(d->arg, call, path, len ? len : &none) : 0;
  if (error) errno = error;
  return error != 0;
}

int disk_open(struct disk *d, const char *folder, disk_fault_cb *fault, void *arg, struct err *err) {
  memset(d, 0, sizeof *d);
  d->fault = fault;
  d->arg = arg;
  if (mkdir(folder, 0700) != 0 && errno != EEXIST) return err_errno(err, "cannot make the folder %s", folder);
  d->fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (d->fd < 0) return err_errno(err, "cannot open the folder %s", folder);
  if (flock(d->fd, LOCK_EX | LOCK_NB) == 0) return 0;
  int r =
      errno == EWOULDBLOCK ? err_set(err, ERR_CONFLICT, "another process writes to %s", folder) : err_errno(err, "cannot lock %s", folder);
  disk_close(d);
  return r;
}

int disk_look(struct disk *d, const char *folder, struct err *err) {
  memset(d, 0, sizeof *d);
  d->fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  return d->fd < 0 ? err_errno(err, "cannot open the folder %s", folder) : 0;
}

void disk_close(struct disk *d) {
  if (d->fd > 0) close(d->fd);
  d->fd = -1;
}

static int folder_fsync(struct disk *d, const char *path, struct err *err) {
  if (broken(d, DISK_FSYNC_FOLDER, path, NULL)) return err_errno(err, "cannot sync the folder %s", path);
  int fd = openat(d->fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW), r = 0;
  if (fd < 0 || fsync(fd) != 0) r = err_errno(err, "cannot sync the folder %s", path);
  if (fd >= 0) close(fd);
  return r;
}

int disk_sync(struct disk *d, struct err *err) {
  int r = 0;
  for (size_t i = 0; r == 0 && i < d->count; i++) r = folder_fsync(d, d->unsynced[i], err);
  d->count = 0;
  return r;
}

static int unsynced_add(struct disk *d, const char *path, size_t len, struct err *err) {
  for (size_t i = 0; i < d->count; i++)
    if (strlen(d->unsynced[i]) == len && memcmp(d->unsynced[i], path, len) == 0) return 0;
  int r = d->count == DISK_FOLDERS ? disk_sync(d, err) : 0;
  if (r < 0) return r;
  memcpy(d->unsynced[d->count], path, len);
  d->unsynced[d->count++][len] = 0;
  return 0;
}

/* Makes every folder on the way. Each is synced later, also one that was there: a crash may have left it unsynced. */
static int folders_make(struct disk *d, const char *path, struct err *err) {
  char part[DISK_PATH];
  int r = unsynced_add(d, ".", 1, err);
  for (const char *slash = strchr(path, '/'); r == 0 && slash; slash = strchr(slash + 1, '/')) {
    size_t len = (size_t)(slash - path);
    memcpy(part, path, len);
    part[len] = 0;
    struct stat st;
    if (fstatat(d->fd, part, &st, AT_SYMLINK_NOFOLLOW) != 0 &&
        (broken(d, DISK_MKDIR, part, NULL) || (mkdirat(d->fd, part, 0700) != 0 && errno != EEXIST)))
      return err_errno(err, "cannot make the folder %s", part);
    r = unsynced_add(d, part, len, err);
  }
  return r;
}

static int bytes_write(struct disk *d, int fd, const char *path, const char *bytes, size_t len, struct err *err) {
  size_t torn = 0;
  bool fails = broken(d, DISK_WRITE, path, &torn);
  int error = errno;
  if (fails && torn < len) len = torn;
  while (len) {
    ssize_t n = write(fd, bytes, len);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return err_errno(err, "cannot write %s", path);
    bytes += n;
    len -= (size_t)n;
  }
  if (!fails) return 0;
  errno = error;
  return err_errno(err, "cannot write %s", path);
}

static int file_write(struct disk *d, const char *path, const void *bytes, size_t len, struct err *err) {
  if (broken(d, DISK_OPEN, path, NULL)) return err_errno(err, "cannot open %s", path);
  int fd = openat(d->fd, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) return err_errno(err, "cannot open %s", path);
  int r = bytes_write(d, fd, path, bytes, len, err);
  if (r == 0 && (broken(d, DISK_FSYNC, path, NULL) || fsync(fd) != 0)) r = err_errno(err, "cannot sync %s", path);
  /* Out of the cache: what is read back to be checked should come from the disk. */
  if (r == 0) posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
  if (close(fd) != 0 && r == 0) r = err_errno(err, "cannot close %s", path);
  return r;
}

int disk_write(struct disk *d, const char *path, const void *bytes, size_t len, struct err *err) {
  if (strlen(path) >= DISK_PATH) return err_set(err, ERR_INVALID, "the path %s is too long", path);
  int r = folders_make(d, path, err);
  return r < 0 ? r : file_write(d, path, bytes, len, err);
}

int disk_replace(struct disk *d, const char *path, const void *bytes, size_t len, struct err *err) {
  char temporary[DISK_PATH];
  if ((size_t)snprintf(temporary, sizeof temporary, "%s.new", path) >= sizeof temporary)
    return err_set(err, ERR_INVALID, "the path %s is too long", path);
  int r = disk_write(d, temporary, bytes, len, err);
  if (r < 0) return r;
  if (broken(d, DISK_RENAME, path, NULL) || renameat(d->fd, temporary, d->fd, path) != 0)
    return err_errno(err, "cannot rename %s", temporary);
  return disk_sync(d, err);
}

int disk_settle(struct disk *d, const char *path, struct err *err) {
  int fd = openat(d->fd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW), r = 0;
  if (fd < 0) return errno == ENOENT ? err_set(err, ERR_NOT_FOUND, "there is no %s", path) : err_errno(err, "cannot open %s", path);
  if (broken(d, DISK_FSYNC, path, NULL) || fsync(fd) != 0) r = err_errno(err, "cannot sync %s", path);
  close(fd);
  return r < 0 ? r : folder_fsync(d, ".", err);
}

int disk_read(const struct disk *d, const char *path, struct buf *out, struct err *err) {
  char piece[65536];
  int fd = openat(d->fd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW), r = 0;
  if (fd < 0)
    return errno == ENOENT || errno == ENOTDIR ? err_set(err, ERR_NOT_FOUND, "%s is missing", path)
                                               : err_errno(err, "cannot open %s", path);
  for (;;) {
    ssize_t n = read(fd, piece, sizeof piece);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) r = err_errno(err, "cannot read %s", path);
    if (n <= 0) break;
    buf_add(out, piece, (size_t)n);
    if (!buf_ok(out)) {
      r = err_set(err, ERR_LIMIT, "%s is larger than %zu bytes", path, out->cap);
      break;
    }
  }
  close(fd);
  return r;
}

int disk_remove_folder(struct disk *d, const char *path, struct err *err) {
  int r = 0, fd = openat(d->fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0) return errno == ENOENT ? 0 : err_errno(err, "cannot open the folder %s", path);
  DIR *dir = fdopendir(fd);
  if (!dir) {
    close(fd);
    return err_errno(err, "cannot list the folder %s", path);
  }
  for (struct dirent *e; r == 0 && (e = readdir(dir));) {
    if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
    if (broken(d, DISK_UNLINK, e->d_name, NULL) || unlinkat(fd, e->d_name, 0) != 0)
      r = err_errno(err, "cannot remove %s/%s", path, e->d_name);
  }
  if (r == 0 && (broken(d, DISK_UNLINK, path, NULL) || unlinkat(d->fd, path, AT_REMOVEDIR) != 0))
    r = err_errno(err, "cannot remove %s", path);
  closedir(dir);
  return r;
}
