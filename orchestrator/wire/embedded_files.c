#include "wire/embedded_files.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { LOG_MOST = 8 << 20 };

static int make_private(const char *path, struct err *err) {
  if (mkdir(path, 0700) != 0 && errno != EEXIST) return err_errno(err, "cannot make the folder %s", path);
  struct stat st;
  if (stat(path, &st) != 0) return err_errno(err, "cannot look at the folder %s", path);
  if (!S_ISDIR(st.st_mode)) return err_set(err, ERR_INVALID, "%s is no folder", path);
  if (st.st_uid != geteuid()) return err_set(err, ERR_DENIED, "the folder %s belongs to another user", path);
  return 0;
}

int embedded_folder_make(const char *data, char folder[EMBEDDED_PATH], char socket[EMBEDDED_PATH], struct err *err) {
  struct sockaddr_un limit;
  char full[EMBEDDED_PATH];
  int code = make_private(data, err);
  if (code) return code;
  /* Absolute, because the server has the folder as its own working one. */
  if (!realpath(data, full)) return err_errno(err, "cannot resolve the folder %s", data);
  int n = snprintf(folder, EMBEDDED_PATH, "%.*s/redis", EMBEDDED_PATH - 64, full);
  if ((size_t)n + sizeof "/redis.sock" > sizeof limit.sun_path) {
    return err_set(err, ERR_INVALID, "the data folder's path is too long for a socket in it (%zu bytes at most): %s",
                   sizeof limit.sun_path - sizeof "/redis/redis.sock", full);
  }
  snprintf(socket, EMBEDDED_PATH, "%.*s/redis.sock", EMBEDDED_PATH - 16, folder);
  code = make_private(folder, err);
  if (!code && chmod(folder, 0700) != 0) code = err_errno(err, "cannot close the folder %s to others", folder);
  return code;
}

int embedded_lock(const char *folder, const char *name, int *ret_fd, struct err *err) {
  char path[EMBEDDED_PATH + 32];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) return err_errno(err, "cannot open %s", path);
  if (flock(fd, LOCK_EX | LOCK_NB) == 0) {
    *ret_fd = fd;
    return 0;
  }
  int code = errno == EWOULDBLOCK ? err_set(err, ERR_EXISTS, "%s is locked", path) : err_errno(err, "cannot lock %s", path);
  close(fd);
  return code;
}

/* As Redis writes sizes: digits and an optional unit. Anything else could smuggle a line into the settings. */
static bool size_valid(const char *text) {
  static const char *const units[] = {"", "k", "kb", "m", "mb", "g", "gb"};
  size_t digits = strspn(text, "0123456789");
  if (digits < 1 || digits > 15) return false;
  for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
    if (strcasecmp(text + digits, units[i]) == 0) return true;
  }
  return false;
}

/* Paths are relative to the server's working folder: nothing to quote. */
static const char settings[] = "# Written by tocsin at every start: changes here are lost.\n"
                               "port 0\n"
                               "unixsocket redis.sock\n"
                               "unixsocketperm 600\n"
                               "pidfile redis.pid\n"
                               "logfile redis.log\n"
                               "loglevel warning\n"
                               "daemonize no\n"
                               "databases 1\n"
                               "save \"\"\n"
                               "appendonly yes\n"
                               "appendfsync always\n"
                               "aof-load-truncated no\n"
                               "no-appendfsync-on-rewrite no\n"
                               "rdbcompression no\n"
                               "maxmemory-policy noeviction\n";

int embedded_write_config(const char *folder, const char *maxmemory, struct err *err) {
  if (maxmemory && !size_valid(maxmemory)) {
    return err_set(err, ERR_INVALID, "redis.maxmemory: '%s' is no size (write it like \"2gb\")", maxmemory);
  }
  char path[EMBEDDED_PATH + 32], old[EMBEDDED_PATH + 32];
  struct stat st;
  snprintf(path, sizeof path, "%s/redis.log", folder);
  snprintf(old, sizeof old, "%s/redis.log.old", folder);
  if (stat(path, &st) == 0 && st.st_size > LOG_MOST && rename(path, old) != 0) return err_errno(err, "cannot put %s aside", path);
  snprintf(path, sizeof path, "%s/redis.conf", folder);
  int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
  FILE *f = fd < 0 ? NULL : fdopen(fd, "w");
  if (!f) {
    int code = err_errno(err, "cannot write %s", path);
    if (fd >= 0) close(fd);
    return code;
  }
  fputs(settings, f);
  if (maxmemory) fprintf(f, "maxmemory %s\n", maxmemory);
  bool bad = ferror(f) != 0;
  if (fclose(f) != 0 || bad) return err_errno(err, "cannot write %s", path);
  return 0;
}

void embedded_log_line(const char *folder, char *line, size_t size) {
  char path[EMBEDDED_PATH + 32], bytes[2048];
  line[0] = 0;
  snprintf(path, sizeof path, "%s/redis.log", folder);
  FILE *f = fopen(path, "re");
  if (!f) return;
  if (fseek(f, -(long)(sizeof bytes - 1), SEEK_END) != 0) rewind(f);
  size_t n = fread(bytes, 1, sizeof bytes - 1, f);
  fclose(f);
  while (n && (bytes[n - 1] == '\n' || bytes[n - 1] == 0)) n--;
  bytes[n] = 0;
  const char *last = strrchr(bytes, '\n');
  snprintf(line, size, "%s", last ? last + 1 : bytes);
  for (char *p = line; *p; p++) {
    if (!isprint((unsigned char)*p)) *p = '?';
  }
}

pid_t embedded_listener(const char *socket_path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  struct ucred who = {0};
  socklen_t len = sizeof who;
  memcpy(address.sun_path, socket_path, strnlen(socket_path, sizeof address.sun_path - 1));
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return 0;
  bool good =
      connect(fd, (const struct sockaddr *)&address, sizeof address) == 0 && getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) == 0;
  close(fd);
  return good && who.uid == geteuid() ? who.pid : 0;
}

pid_t embedded_pid_file(const char *folder) {
  char path[EMBEDDED_PATH + 32], text[32] = "";
  snprintf(path, sizeof path, "%s/redis.pid", folder);
  FILE *f = fopen(path, "re");
  if (!f) return 0;
  long pid = fgets(text, sizeof text, f) ? strtol(text, NULL, 10) : 0;
  fclose(f);
  return pid > 1 ? (pid_t)pid : 0;
}
