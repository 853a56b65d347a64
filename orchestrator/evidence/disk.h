/* disk.h: files of one folder, written so that they survive a power cut, and with a place for tests to break every call.
 *
 * Paths are relative to the folder; folders on the way are made (0700), files are 0600, links are not followed. What disk_write wrote is
 * durable after disk_sync; disk_replace is all or nothing and durable when it returns, with all that was written before it. One process at a
 * time: the folder is locked. */
#ifndef TOCSIN_EVIDENCE_DISK_H
#define TOCSIN_EVIDENCE_DISK_H

#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"

enum disk_call { DISK_MKDIR, DISK_OPEN, DISK_WRITE, DISK_FSYNC, DISK_RENAME, DISK_FSYNC_FOLDER, DISK_UNLINK };

/* Called before each system call that changes something. 0: go on; else the call fails with this errno. A write that fails puts *len bytes down first (0 when left alone). */
typedef int disk_fault_cb(void *arg, enum disk_call call, const char *path, size_t *len);

enum { DISK_FILES = 64, DISK_FOLDERS = 64, DISK_PATH = 128 };

struct disk {
  int fd;
  disk_fault_cb *fault; /* NULL but in tests */
  void *arg;
  bool unchecked;                  /* what is written is not read back to be checked, and may stay in the cache for who reads it next */
  size_t file_count, folder_count; /* written and yet to be synced; with more files the earlier ones are synced on the way */
  struct disk_file {
    int fd;
    char path[DISK_PATH];
  } files[DISK_FILES];
  char folders[DISK_FOLDERS][DISK_PATH];
};

/* ERR_CONFLICT when another process holds it. */
int disk_open(struct disk *d, const char *folder, disk_fault_cb *fault, void *arg, struct err *err);
/* To read only: takes no lock, and the folder must be there. */
int disk_look(struct disk *d, const char *folder, struct err *err);
void disk_close(struct disk *d);
int disk_write(struct disk *d, const char *path, const void *bytes, size_t len, struct err *err);
/* As disk_write, but keeps the first `at` bytes of a file that is there. */
int disk_append(struct disk *d, const char *path, size_t at, const void *bytes, size_t len, struct err *err);
/* All files together: the disk is waited for little longer than for one. */
int disk_sync(struct disk *d, struct err *err);
/* After a failure, before the next write: what was not synced is somebody else's to write anew. */
void disk_forget(struct disk *d);
int disk_replace(struct disk *d, const char *path, const void *bytes, size_t len, struct err *err);
/* Makes sure that what is read from it now will still be there after a power cut. */
int disk_settle(struct disk *d, const char *path, struct err *err);
/* Appends the file to out. ERR_NOT_FOUND, ERR_LIMIT (over out's cap). */
int disk_read(const struct disk *d, const char *path, struct buf *out, struct err *err);
/* Reads it again: ERR_IO when it holds anything but these bytes. disk_replace does so before the rename. */
int disk_expect(const struct disk *d, const char *path, const void *bytes, size_t len, struct err *err);
/* A folder of files, with them; one that is not there is no error. */
int disk_remove_folder(struct disk *d, const char *path, struct err *err);

#endif
