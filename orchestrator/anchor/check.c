#include "anchor/check.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "anchor/stamp.h"
#include "anchor/witness.h"
#include "base/clock.h"
#include "base/json.h"
#include "evidence/reader.h"

enum { NOTE_FILE_CAP = 1 << 18, SUFFIXES = 8 };

struct check {
  const char *folder;
  const struct anchor_question *question;
  struct witness_key witness;
  struct reader log;
  struct disk disk; /* anchors/ */
  json_t *result;
};

static void fault(struct check *c, const char *kind, const char *name, const char *text) {
  json_array_append_new(json_object_get(c->result, "faults"),
                        json_pack("{s:s, s:s+, s:s}", "kind", kind, "place", "anchors/", name, "text", text));
}

static void newest(struct check *c, const char *what, uint64_t size, int64_t time, const char *by) {
  char when[TIME_TEXT];
  if ((uint64_t)json_int_or(json_object_get(c->result, what), "size", 0) > size) return;
  time_format(time, when);
  json_object_set_new(c->result, what, json_pack("{s:I, s:s, s:s}", "size", (json_int_t)size, "time", when, "by", by));
}

/* It may have grown while we looked. */
static void again(struct check *c) {
  struct reader now;
  if (reader_open(c->folder, c->question->key, &now, NULL) < 0) return;
  reader_close(&c->log);
  c->log = now;
}

/* Signed by the log's key, and a beginning of the log. */
static bool note_fits(struct check *c, const char *name, const struct buf *bytes, struct checkpoint *ret, size_t *ret_text) {
  struct note note;
  struct hash root;
  struct err err = {0};
  if (note_open(bytes->data, bytes->len, c->question->key, 1, &note, &err) < 0 ||
      checkpoint_read(bytes->data, note.text_len, ret, &err) < 0)
    return fault(c, note.state == NOTE_UNSIGNED ? "unsigned" : "changed", name, err.text), false;
  if (ret->size > c->log.checkpoint.size) again(c);
  if (ret->size > c->log.checkpoint.size) return fault(c, "stale", name, "it covers more entries than this log has"), false;
  if (reader_root(&c->log, ret->size, &root, &err) < 0) return fault(c, "missing", name, err.text), false;
  if (!hash_equal(&root, &ret->root)) return fault(c, "changed", name, "the log does not begin with the entries that were anchored"), false;
  *ret_text = note.text_len;
  return true;
}

static void stamps_check(struct check *c, const char *size_text, uint64_t size, const struct buf *note) {
  for (int i = 1; i <= SUFFIXES; i++) {
    char name[64];
    struct buf reply;
    struct stamp stamp;
    struct err err = {0};
    if (i == 1) snprintf(name, sizeof name, "%s.tsr", size_text);
    else snprintf(name, sizeof name, "%s-%d.tsr", size_text, i);
    buf_init(&reply, STAMP_CAP);
    int r = disk_read(&c->disk, name, &reply, &err);
    if (r == 0) r = stamp_check(reply.data, reply.len, note->data, note->len, NULL, c->question->tsa_ca, &stamp, &err);
    buf_release(&reply);
    if (r == 0) newest(c, "stamped", size, stamp.time, stamp.authority);
    else if (r != ERR_NOT_FOUND) fault(c, "changed", name, err.text);
  }
}

static void cosigned_check(struct check *c, const char *name, const struct buf *bytes) {
  struct checkpoint checkpoint;
  size_t text_len = 0;
  int64_t seconds = 0;
  struct err err = {0};
  if (!note_fits(c, name, bytes, &checkpoint, &text_len)) return;
  int r = witness_check(bytes->data + text_len, bytes->len - text_len, &c->witness, bytes->data, text_len, NULL, &seconds, &err);
  if (r == 0) newest(c, "cosigned", checkpoint.size, seconds * 1000000, c->witness.name);
  else if (r != ERR_NOT_FOUND) fault(c, "changed", name, err.text);
}

static void file_check(struct check *c, const char *name) {
  char size_text[32];
  const char *dot = strchr(name, '.');
  size_t n = dot ? (size_t)(dot - name) : 0, text_len;
  struct checkpoint checkpoint;
  struct buf bytes;
  struct err err = {0};
  bool note = dot && strcmp(dot, ".checkpoint") == 0, cosigned = dot && strcmp(dot, ".cosigned") == 0 && c->question->witness;
  if (n == 0 || n >= sizeof size_text || (!note && !cosigned)) return;
  snprintf(size_text, sizeof size_text, "%.*s", (int)n, name);
  buf_init(&bytes, NOTE_FILE_CAP);
  if (disk_read(&c->disk, name, &bytes, &err) < 0) fault(c, "missing", name, err.text);
  else if (cosigned) cosigned_check(c, name, &bytes);
  else if (note_fits(c, name, &bytes, &checkpoint, &text_len) && c->question->tsa_ca) stamps_check(c, size_text, checkpoint.size, &bytes);
  buf_release(&bytes);
}

static void folder_check(struct check *c) {
  int fd = dup(c->disk.fd);
  DIR *dir = fd < 0 ? NULL : fdopendir(fd);
  if (!dir) {
    if (fd >= 0) close(fd);
    fault(c, "missing", "", "the folder cannot be listed");
    return;
  }
  for (struct dirent *e; (e = readdir(dir));) file_check(c, e->d_name);
  closedir(dir);
}

int anchor_check(const char *log, const struct anchor_question *question, json_t **ret, struct err *err) {
  char path[4096];
  struct check c = {.folder = log, .question = question};
  int r = question->witness ? witness_key_read(question->witness, &c.witness, err) : 0;
  if (r < 0) return r;
  if (question->tsa_ca && access(question->tsa_ca, R_OK) != 0) return err_errno(err, "cannot read %s", question->tsa_ca);
  if ((r = reader_open(log, question->key, &c.log, err)) < 0) return r;
  snprintf(path, sizeof path, "%s/../anchors", log);
  c.result = json_pack("{s:[], s:n, s:n}", "faults", "stamped", "cosigned");
  if (disk_look(&c.disk, path, NULL) == 0) {
    folder_check(&c);
    disk_close(&c.disk);
  }
  if (question->tsa_ca && json_is_null(json_object_get(c.result, "stamped"))) fault(&c, "missing", "", "no stamp leads to the given CA");
  if (question->witness && json_is_null(json_object_get(c.result, "cosigned")))
    fault(&c, "missing", "", "nothing is cosigned by the given witness");
  reader_close(&c.log);
  *ret = c.result;
  return 0;
}
