#include "api/listen.h"

#include <errno.h>
#include <grp.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { BACKLOG = 128 };

static int group_find(const char *name, gid_t *ret, struct err *err) {
  errno = 0;
  const struct group *g = getgrnam(name);
  if (!g) return err_set(err, ERR_NOT_FOUND, "there is no Unix group \"%s\" (setting api.group); make it with: groupadd %s", name, name);
  *ret = g->gr_gid;
  return 0;
}

/* Only a folder that we make gets its mode and group; one that is there is its maker's. */
static int folder_make(const char *path, const gid_t *gid, struct err *err) {
  char *copy = strdup(path);
  if (!copy) abort();
  const char *folder = dirname(copy);
  int r = 0;
  if (mkdir(folder, 0700) == 0) {
    if (gid && (chown(folder, (uid_t)-1, *gid) < 0 || chmod(folder, 0750) < 0))
      r = err_errno(err, "cannot give %s to the group of api.group", folder);
  } else if (errno != EEXIST) {
    r = err_errno(err, "cannot make the folder %s for the socket", folder);
  }
  free(copy);
  return r;
}

static int stale_remove(const struct sockaddr_un *address, struct err *err) {
  const char *path = address->sun_path;
  struct stat st;
  if (lstat(path, &st) < 0) return errno == ENOENT ? 0 : err_errno(err, "cannot look at %s", path);
  if (!S_ISSOCK(st.st_mode))
    return err_set(err, ERR_EXISTS, "%s is there and is no socket; move it away, or change the setting api.socket", path);
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return err_errno(err, "cannot make a socket");
  int answered = connect(fd, (const struct sockaddr *)address, sizeof *address), why = errno;
  close(fd);
  /* Refused means that nobody listens; a full queue (EAGAIN) is somebody. */
  if (answered == 0 || why != ECONNREFUSED)
    return err_set(err, ERR_EXISTS, "somebody answers on %s already: is another `tocsin serve` running?", path);
  if (unlink(path) < 0) return err_errno(err, "cannot remove the old socket %s", path);
  return 0;
}

/* Nobody gets in before it listens. Never by umask, which is that of every thread: a folder that another one makes meanwhile would be shut to us. */
static int bind_and_listen(int fd, const struct sockaddr_un *address, const gid_t *gid, struct err *err) {
  const char *path = address->sun_path;
  if (bind(fd, (const struct sockaddr *)address, sizeof *address) < 0 || chmod(path, 0660) < 0)
    return err_errno(err, "cannot make the socket %s", path);
  if (gid && chown(path, (uid_t)-1, *gid) < 0) return err_errno(err, "cannot give %s to the group of api.group", path);
  if (listen(fd, BACKLOG) < 0) return err_errno(err, "cannot listen on %s", path);
  return 0;
}

int listen_unix(const char *path, const char *group, int *ret_fd, struct err *err) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  gid_t gid = 0;
  int fd = -1, r = 0;
  if (strlen(path) >= sizeof address.sun_path)
    return err_set(err, ERR_INVALID, "the socket's path is too long (%zu bytes, at most %zu): choose a shorter api.socket", strlen(path),
                   sizeof address.sun_path - 1);
  memcpy(address.sun_path, path, strlen(path) + 1);
  if (group && (r = group_find(group, &gid, err)) < 0) return r;
  if ((r = folder_make(path, group ? &gid : NULL, err)) < 0) return r;
  if ((r = stale_remove(&address, err)) < 0) return r;
  fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return err_errno(err, "cannot make a socket");
  if ((r = bind_and_listen(fd, &address, group ? &gid : NULL, err)) < 0) {
    close(fd);
    return r;
  }
  *ret_fd = fd;
  return 0;
}
