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

void disk_forget(struct disk *d) {
  while (d->file_count) close(d->files[--d->file_count].fd);
  d->folder_count = 0;
}

void disk_close(struct disk *d) {
  disk_forget(d);
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

/* All on their way first, so that the first that is waited for takes the others along. */
static int files_sync(struct disk *d, struct err *err) {
  int r = 0;
  for (size_t i = 0; i < d->file_count; i++) sync_file_range(d->files[i].fd, 0, 0, SYNC_FILE_RANGE_WRITE);
  for (size_t i = 0; r == 0 && i < d->file_count; i++) {
    const struct disk_file *f = &d->files[i];
    if (broken(d, DISK_FSYNC, f->path, NULL) || fsync(f->fd) != 0) r = err_errno(err, "cannot sync %s", f->path);
    /* Out of the cache: what is read back to be checked should come from the disk. */
    if (r == 0 && !d->unchecked) posix_fadvise(f->fd, 0, 0, POSIX_FADV_DONTNEED);
  }
  while (d->file_count) {
    const struct disk_file *f = &d->files[--d->file_count];
    if (close(f->fd) != 0 && r == 0) r = err_errno(err, "cannot close %s", f->path);
  }
  return r;
}

int disk_sync(struct disk *d, struct err *err) {
  int r = files_sync(d, err);
  for (size_t i = 0; r == 0 && i < d->folder_count; i++) r = folder_fsync(d, d->folders[i], err);
  d->folder_count = 0;
  return r;
}

static bool folder_known(const struct disk *d, const char *path, size_t len) {
  for (size_t i = 0; i < d->folder_count; i++)
    if (memcmp(d->folders[i], path, len) == 0 && !d->folders[i][len]) return true;
  return false;
}

static int folder_add(struct disk *d, const char *path, size_t len, struct err *err) {
  int r = d->folder_count == DISK_FOLDERS ? disk_sync(d, err) : 0;
  if (r < 0) return r;
  memcpy(d->folders[d->folder_count], path, len);
  d->folders[d->folder_count++][len] = 0;
  return 0;
}

/* Makes every folder on the way. Each is synced later, also one that was there: a crash may have left it unsynced. */
static int folders_make(struct disk *d, const char *path, struct err *err) {
  char part[DISK_PATH];
  int r = folder_known(d, ".", 1) ? 0 : folder_add(d, ".", 1, err);
  for (const char *slash = strchr(path, '/'); r == 0 && slash; slash = strchr(slash + 1, '/')) {
    size_t len = (size_t)(slash - path);
    if (folder_known(d, path, len)) continue;
    memcpy(part, path, len);
    part[len] = 0;
    struct stat st;
    if (fstatat(d->fd, part, &st, AT_SYMLINK_NOFOLLOW) != 0 &&
        (broken(d, DISK_MKDIR, part, NULL) || (mkdirat(d->fd, part, 0700) != 0 && errno != EEXIST)))
      return err_errno(err, "cannot make the folder %s", part);
    r = folder_add(d, part, len, err);
  }
  return r;
}

static int bytes_write(struct disk *d, const struct disk_file *f, size_t at, const char *bytes, size_t len, struct err *err) {
  size_t torn = 0;
  bool fails = broken(d, DISK_WRITE, f->path, &torn);
  int error = errno;
  if (fails && torn < len) len = torn;
  while (len) {
    ssize_t n = pwrite(f->fd, bytes, len, (off_t)at);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return err_errno(err, "cannot write %s", f->path);
    bytes += n;
    at += (size_t)n;
    len -= (size_t)n;
  }
  if (!fails) return 0;
  errno = error;
  return err_errno(err, "cannot write %s", f->path);
}

int disk_append(struct disk *d, const char *path, size_t at, const void *bytes, size_t len, struct err *err) {
  if (strlen(path) >= DISK_PATH) return err_set(err, ERR_INVALID, "the path %s is too long", path);
  int r = d->file_count == DISK_FILES ? files_sync(d, err) : 0;
  if (r == 0) r = folders_make(d, path, err);
  if (r < 0) return r;
  struct disk_file *f = &d->files[d->file_count];
  if (broken(d, DISK_OPEN, path, NULL)) return err_errno(err, "cannot open %s", path);
  f->fd = openat(d->fd, path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW | (at ? 0 : O_TRUNC), 0600);
  if (f->fd < 0) return err_errno(err, "cannot open %s", path);
  snprintf(f->path, sizeof f->path, "%s", path);
  d->file_count++;
  if (at && ftruncate(f->fd, (off_t)at) != 0) return err_errno(err, "cannot cut %s", path);
  return bytes_write(d, f, at, bytes, len, err);
}

int disk_write(struct disk *d, const char *path, const void *bytes, size_t len, struct err *err) {
  return disk_append(d, path, 0, bytes, len, err);
}

int disk_expect(const struct disk *d, const char *path, const void *bytes, size_t len, struct err *err) {
  struct buf found;
  buf_init(&found, len + 1);
  int r = disk_read(d, path, &found, err);
  if (r == 0 && (found.len != len || memcmp(found.data, bytes, len) != 0))
    r = err_set(err, ERR_IO, "%s reads back other than it was written: check this disk and memory", path);
  buf_release(&found);
  return r;
}

int disk_replace(struct disk *d, const char *path, const void *bytes, size_t len, struct err *err) {
  char temporary[DISK_PATH];
  if ((size_t)snprintf(temporary, sizeof temporary, "%s.new", path) >= sizeof temporary)
    return err_set(err, ERR_INVALID, "the path %s is too long", path);
  int r = disk_write(d, temporary, bytes, len, err);
  if (r == 0) r = files_sync(d, err);
  if (r == 0) r = disk_expect(d, temporary, bytes, len, err);
  if (r == 0 && (broken(d, DISK_RENAME, path, NULL) || renameat(d->fd, temporary, d->fd, path) != 0))
    r = err_errno(err, "cannot rename %s", temporary);
  if (r == 0) r = disk_sync(d, err);
  disk_forget(d);
  return r;
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
