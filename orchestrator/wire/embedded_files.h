/* embedded_files.h: the folder of the embedded redis-server: locks, settings file, log, inside wire/ only. */
#ifndef TOCSIN_WIRE_EMBEDDED_FILES_H
#define TOCSIN_WIRE_EMBEDDED_FILES_H

#include <sys/types.h>

#include "wire/embedded.h"

enum { EMBEDDED_PATH = 4096 };

/* Makes the folder and <data>/redis (both 0700 when made here). */
int embedded_folder_make(const char *data, char folder[EMBEDDED_PATH], char socket[EMBEDDED_PATH], struct err *err);
/* Takes a lock on a file of the folder: its descriptor (close-on-exec), or ERR_EXISTS when somebody holds it. */
int embedded_lock(const char *folder, const char *name, int *ret_fd, struct err *err);
int embedded_write_config(const char *folder, const char *maxmemory, struct err *err);
/* The last line of redis.log, for people; "" when there is none. */
void embedded_log_line(const char *folder, char *line, size_t size);
/* The pid that listens on the socket, when it runs under our own uid; 0 otherwise. */
pid_t embedded_listener(const char *socket);
/* The number in redis.pid, 0 when there is none. */
pid_t embedded_pid_file(const char *folder);

#endif
