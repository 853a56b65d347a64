/* copy.c: a copy of the log elsewhere: tiles, entry bundles and encrypted bodies, then the checkpoint that covers them, then stamps and cosignatures of it and of what lies before it.
 * Never keys.db.
 *
 * At every moment, also one at which it was interrupted, what the copy holds is a sound log up to its own checkpoint, and no stamp speaks of more. The copy's checkpoint says how far it has
 * come: a later round goes on there. What is put is read back and compared. */
#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "anchor/internal.h"
#include "base/json.h"
#include "evidence/bodies.h"

enum { FILE_CAP = 1 << 30, NOTE_FILE_CAP = 1 << 16 };

struct copy {
  struct anchor *anchor;
  const struct reader *log;
  struct store *store;
  uint64_t from;  /* what the copy's checkpoint covers */
  uint64_t whole; /* up to where the copy has stamps, too */
  uint64_t files, bytes;
};

static int copy_file(struct copy *c, const char *path, const struct buf *bytes, struct err *err) {
  struct buf again;
  if (atomic_load(&c->anchor->stop)) return err_set(err, ERR_CANCELLED, "Tocsin is stopping");
  int r = c->store->put(c->store, path, bytes->data, bytes->len, err);
  if (r < 0) return r;
  buf_init(&again, bytes->len + 1);
  r = c->store->get(c->store, path, bytes->len + 1, &again, err);
  if (r == 0 && (again.len != bytes->len || memcmp(again.data, bytes->data, bytes->len) != 0))
    r = err_set(err, ERR_IO, "%s reads back other than it was written", path);
  buf_release(&again);
  c->files++;
  c->bytes += bytes->len;
  return r;
}

/* How far the copy has come; what it holds must be a beginning of this log. */
static int copy_begin(struct copy *c, struct err *err) {
  struct checkpoint there;
  struct note note;
  struct hash root;
  struct buf bytes;
  buf_init(&bytes, NOTE_FILE_CAP);
  int r = c->store->get(c->store, "log/checkpoint", NOTE_FILE_CAP, &bytes, err);
  if (r == ERR_NOT_FOUND) {
    buf_release(&bytes);
    return 0;
  }
  if (r == 0 && (r = note_open(bytes.data, bytes.len, &c->anchor->key, 1, &note, err)) < 0) err_wrap(err, "the copy's checkpoint");
  if (r == 0) r = checkpoint_read(bytes.data, note.text_len, &there, err);
  if (r == 0 && there.size > c->log->checkpoint.size)
    r = err_set(err, ERR_CONFLICT,
                "the copy holds %" PRIu64 " entries, this log only %" PRIu64
                ": it was cut or set back; check it with tocsin evidence verify",
                there.size, c->log->checkpoint.size);
  if (r == 0) r = reader_root(c->log, there.size, &root, err);
  if (r == 0 && !hash_equal(&root, &there.root))
    r = err_set(err, ERR_CONFLICT,
                "the copy holds other entries than this log: one of the two was rewritten; compare them with tocsin evidence verify");
  if (r == 0) c->from = there.size;
  buf_release(&bytes);
  return r;
}

static int copy_tiles(struct copy *c, int level, struct err *err) {
  char path[TILE_PATH], whole[TILE_PATH + 8];
  int r = 0;
  for (uint64_t i = tile_nodes(level, c->from) / TILE_WIDTH; r == 0; i++) {
    struct buf bytes;
    unsigned width = tile_width(level, i, c->log->checkpoint.size);
    if (!width) break;
    buf_init(&bytes, BUNDLE_CAP);
    tile_path(level, i, width, path);
    snprintf(whole, sizeof whole, "log/%s", path);
    r = reader_tile(c->log, level, i, &bytes, err);
    if (r == 0) r = copy_file(c, whole, &bytes, err);
    buf_release(&bytes);
  }
  return r;
}

static int copy_bodies(struct copy *c, struct err *err) {
  char tile[TILE_PATH], path[TILE_PATH + 8];
  uint64_t size = c->log->checkpoint.size;
  int r = 0;
  for (uint64_t i = c->from / TILE_WIDTH; r == 0 && i * TILE_WIDTH < size; i++) {
    struct buf bytes;
    buf_init(&bytes, FILE_CAP);
    tile_path(TILE_ENTRIES, i, TILE_WIDTH, tile);
    snprintf(path, sizeof path, "bodies/%s", tile + strlen("tile/entries/"));
    r = bodies_records(c->anchor->folder, i, tile_width(TILE_ENTRIES, i, size), &bytes, err);
    if (r == 0) r = copy_file(c, path, &bytes, err);
    buf_release(&bytes);
  }
  return r;
}

/* "123.tsr", "123-2.tsr", "123.cosigned", "123.checkpoint": beyond what the copy has for sure. */
static bool is_new(const struct copy *c, const char *name) {
  char *end;
  unsigned long long size = strtoull(name, &end, 10);
  const char *dot = strrchr(name, '.');
  return end != name && dot && size >= c->whole && size <= c->log->checkpoint.size &&
         (strcmp(dot, ".tsr") == 0 || strcmp(dot, ".cosigned") == 0 || strcmp(dot, ".checkpoint") == 0);
}

static int copy_anchors(struct copy *c, struct err *err) {
  char path[ANCHOR_FILE + 256];
  int fd = dup(c->anchor->disk.fd), r = 0;
  DIR *dir = fd < 0 ? NULL : fdopendir(fd);
  if (!dir) {
    if (fd >= 0) close(fd);
    return err_errno(err, "cannot list the folder of stamps");
  }
  rewinddir(dir);
  for (struct dirent *e; r == 0 && (e = readdir(dir));) {
    struct buf bytes;
    if (!is_new(c, e->d_name)) continue;
    buf_init(&bytes, NOTE_CAP);
    snprintf(path, sizeof path, "anchors/%s", e->d_name);
    r = disk_read(&c->anchor->disk, e->d_name, &bytes, err);
    if (r == 0) r = copy_file(c, path, &bytes, err);
    buf_release(&bytes);
  }
  closedir(dir);
  return r;
}

/* The checkpoint, with the cosignatures of its witnesses when there are some. */
static int copy_checkpoint(struct copy *c, struct err *err) {
  char path[ANCHOR_FILE];
  struct note opened;
  struct buf note;
  snprintf(path, sizeof path, "%" PRIu64 ".cosigned", c->log->checkpoint.size);
  buf_init(&note, NOTE_FILE_CAP);
  int r = disk_read(&c->anchor->disk, path, &note, err);
  bool fits = r == 0 && note_open(note.data, note.len, &c->anchor->key, 1, &opened, NULL) == 0 && opened.text_len == c->log->text_len &&
              memcmp(note.data, c->log->note, opened.text_len) == 0;
  if (!fits) buf_reset(&note), buf_add(&note, c->log->note, c->log->note_len);
  r = r < 0 && r != ERR_NOT_FOUND ? r : copy_file(c, "log/checkpoint", &note, err);
  buf_release(&note);
  return r;
}

static int copy_run(struct copy *c, struct err *err) {
  int r = copy_begin(c, err);
  if (c->from < c->whole) c->whole = c->from; /* another place of the same name */
  for (int level = TILE_ENTRIES; r == 0 && level < TILE_LEVELS; level++) r = copy_tiles(c, level, err);
  if (r == 0) r = copy_bodies(c, err);
  if (r == 0) r = copy_checkpoint(c, err);
  return r < 0 ? r : copy_anchors(c, err);
}

/* ---- a folder */

struct folder {
  struct store store;
  struct disk disk;
};

static int folder_put(struct store *s, const char *path, const void *bytes, size_t len, struct err *err) {
  return disk_replace(&((struct folder *)s)->disk, path, bytes, len, err);
}

static int folder_get(struct store *s, const char *path, size_t cap, struct buf *out, struct err *err) {
  return disk_read(&((struct folder *)s)->disk, path, out, err);
}

int copy_target(struct anchor *a, struct target *t, const struct reader *log, json_t **ret_event, struct err *err) {
  struct folder folder = {.store = {folder_put, folder_get}};
  struct bucket bucket;
  struct copy c = {.anchor = a, .log = log, .whole = t->size};
  const char *path = json_str(t->settings, "folder");
  int r = 0;
  if (path) {
    r = disk_open(&folder.disk, path, NULL, NULL, err);
    c.store = &folder.store;
  } else {
    bucket_init(&bucket, a, t);
    c.store = &bucket.store;
  }
  if (r < 0) return r;
  r = copy_run(&c, err);
  if (path) disk_close(&folder.disk);
  if (r == 0)
    *ret_event = json_pack("{s:I, s:I, s:I}", "from", (json_int_t)c.from, "files", (json_int_t)c.files, "bytes", (json_int_t)c.bytes);
  return r;
}
