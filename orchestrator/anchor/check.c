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

/* Either a log's folder and what lies beside it, or a bundle. */
struct check {
  const char *folder;
  const struct anchor_question *question;
  struct witness_key witness;
  struct reader log;
  struct disk disk; /* anchors/; not in a bundle */
  const struct zip *bundle;
  json_t *result;
};

static void fault(struct check *c, const char *kind, const char *place, const char *text) {
  json_array_append_new(json_object_get(c->result, "faults"), json_pack("{s:s, s:s, s:s}", "kind", kind, "place", place, "text", text));
}

/* A file of anchors/. */
static void fault_in(struct check *c, const char *kind, const char *name, const char *text) {
  char place[300];
  snprintf(place, sizeof place, "anchors/%s", name);
  fault(c, kind, place, text);
}

static int file_get(const struct check *c, const char *name, struct buf *out, struct err *err) {
  char path[ZIP_NAME];
  if (!c->bundle) return disk_read(&c->disk, name, out, err);
  const struct zip_file *f = snprintf(path, sizeof path, "anchors/%s", name) < (int)sizeof path ? zip_find(c->bundle, path) : NULL;
  if (!f) return err_set(err, ERR_NOT_FOUND, "anchors/%s is not in this bundle", name);
  buf_add(out, f->bytes, f->len);
  return buf_ok(out) ? 0 : err_set(err, ERR_LIMIT, "anchors/%s is too long", name);
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
  if (c->bundle || reader_open(c->folder, c->question->key, &now, NULL) < 0) return;
  reader_close(&c->log);
  c->log = now;
}

/* In a bundle the way to the log's checkpoint was walked for the file "<size>.checkpoint": the same must be said there. */
static bool way_fits(struct check *c, const char *name, const struct buf *bytes, size_t text_len, uint64_t size) {
  char path[64];
  struct buf proven;
  snprintf(path, sizeof path, "%" PRIu64 ".checkpoint", size);
  buf_init(&proven, NOTE_FILE_CAP);
  bool fits = file_get(c, path, &proven, NULL) == 0 && proven.len > text_len && memcmp(proven.data, bytes->data, text_len) == 0 &&
              proven.data[text_len] == '\n';
  buf_release(&proven);
  if (!fits) fault_in(c, "missing", name, "nothing shows that the log goes on from it: its checkpoint is not there");
  return fits;
}

/* Signed by the log's key, and a beginning of the log. */
static bool note_fits(struct check *c, const char *name, const struct buf *bytes, struct checkpoint *ret, size_t *ret_text) {
  struct note note;
  struct hash root;
  struct err err = {0};
  if (note_open(bytes->data, bytes->len, c->question->key, 1, &note, &err) < 0 ||
      checkpoint_read(bytes->data, note.text_len, ret, &err) < 0)
    return fault_in(c, note.state == NOTE_UNSIGNED ? "unsigned" : "changed", name, err.text), false;
  if (ret->size > c->log.checkpoint.size) again(c);
  if (ret->size > c->log.checkpoint.size) return fault_in(c, "stale", name, "it covers more entries than this log has"), false;
  *ret_text = note.text_len;
  if (c->bundle) return way_fits(c, name, bytes, note.text_len, ret->size);
  if (reader_root(&c->log, ret->size, &root, &err) < 0) return fault_in(c, "missing", name, err.text), false;
  if (hash_equal(&root, &ret->root)) return true;
  return fault_in(c, "changed", name, "the log does not begin with the entries that were anchored"), false;
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
    int r = file_get(c, name, &reply, &err);
    if (r == 0) r = stamp_check(reply.data, reply.len, note->data, note->len, NULL, c->question->tsa_ca, &stamp, &err);
    buf_release(&reply);
    if (r == 0) newest(c, "stamped", size, stamp.time, stamp.authority);
    else if (r != ERR_NOT_FOUND) fault_in(c, "changed", name, err.text);
  }
}

/* The lines behind a note's text. */
static void lines_check(struct check *c, const char *place, const char *note, size_t len, size_t text_len, uint64_t size) {
  int64_t seconds = 0;
  struct err err = {0};
  int r = witness_check(note + text_len, len - text_len, &c->witness, note, text_len, NULL, &seconds, &err);
  if (r == 0) newest(c, "cosigned", size, seconds * 1000000, c->witness.name);
  else if (r != ERR_NOT_FOUND) fault(c, "changed", place, err.text);
}

static void cosigned_check(struct check *c, const char *name, const struct buf *bytes) {
  struct checkpoint checkpoint;
  size_t text_len = 0;
  char place[300];
  snprintf(place, sizeof place, "anchors/%s", name);
  if (note_fits(c, name, bytes, &checkpoint, &text_len)) lines_check(c, place, bytes->data, bytes->len, text_len, checkpoint.size);
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
  if (file_get(c, name, &bytes, &err) < 0) fault_in(c, "missing", name, err.text);
  else if (cosigned) cosigned_check(c, name, &bytes);
  else if (note_fits(c, name, &bytes, &checkpoint, &text_len) && c->question->tsa_ca) stamps_check(c, size_text, checkpoint.size, &bytes);
  buf_release(&bytes);
}

static void folder_check(struct check *c) {
  int fd = dup(c->disk.fd);
  DIR *dir = fd < 0 ? NULL : fdopendir(fd);
  if (!dir) {
    if (fd >= 0) close(fd);
    fault_in(c, "missing", "", "the folder cannot be listed");
    return;
  }
  for (struct dirent *e; (e = readdir(dir));) file_check(c, e->d_name);
  closedir(dir);
}

static int check_begin(struct check *c, const struct anchor_question *question, struct err *err) {
  int r = question->witness ? witness_key_read(question->witness, &c->witness, err) : 0;
  if (r == 0 && question->tsa_ca && access(question->tsa_ca, R_OK) != 0) r = err_errno(err, "cannot read %s", question->tsa_ca);
  return r;
}

/* least: so many entries of the log have to be covered. */
static void check_end(struct check *c, uint64_t least, json_t **ret) {
  static const char *const what[] = {"stamped", "cosigned"}, *const none[] = {"no stamp leads to the given CA",
                                                                              "nothing is cosigned by the given witness"};
  const char *const asked[] = {c->question->tsa_ca, c->question->witness};
  for (size_t i = 0; i < 2; i++) {
    const json_t *found = json_object_get(c->result, what[i]);
    char text[200];
    if (!asked[i]) continue;
    if (json_is_null(found)) {
      fault_in(c, "missing", "", none[i]);
    } else if ((uint64_t)json_int_or(found, "size", 0) < least) {
      snprintf(text, sizeof text, "only the first %lld entries of the log are %s, and what is here goes up to %" PRIu64,
               (long long)json_int_or(found, "size", 0), what[i], least);
      fault_in(c, "missing", "", text);
    }
  }
  *ret = c->result;
}

int anchor_check(const char *log, const struct anchor_question *question, json_t **ret, struct err *err) {
  char path[4096];
  struct check c = {.folder = log, .question = question};
  int r = check_begin(&c, question, err);
  if (r == 0) r = reader_open(log, question->key, &c.log, err);
  if (r < 0) return r;
  snprintf(path, sizeof path, "%s/../anchors", log);
  c.result = json_pack("{s:[], s:n, s:n}", "faults", "stamped", "cosigned");
  if (question->witness) lines_check(&c, "checkpoint", c.log.note, c.log.note_len, c.log.text_len, c.log.checkpoint.size);
  if (disk_look(&c.disk, path, NULL) == 0) {
    folder_check(&c);
    disk_close(&c.disk);
  }
  reader_close(&c.log);
  check_end(&c, 0, ret);
  return 0;
}

int anchor_check_bundle(const struct zip *bundle, const struct bundle_result *checked, const struct anchor_question *question, json_t **ret,
                        struct err *err) {
  static const char anchors[] = "anchors/";
  struct check c = {.question = question, .bundle = bundle, .log = {.checkpoint = checked->checkpoint}};
  const struct zip_file *f = zip_find(bundle, "log/checkpoint");
  struct note note;
  int r = check_begin(&c, question, err);
  if (r < 0) return r;
  c.result = json_pack("{s:[], s:n, s:n}", "faults", "stamped", "cosigned");
  if (question->witness && f && note_open(f->bytes, f->len, question->key, 1, &note, NULL) == 0)
    lines_check(&c, "log/checkpoint", f->bytes, f->len, note.text_len, checked->checkpoint.size);
  for (size_t i = 0; i < bundle->count; i++)
    if (strncmp(bundle->files[i].name, anchors, sizeof anchors - 1) == 0) file_check(&c, bundle->files[i].name + sizeof anchors - 1);
  check_end(&c, checked->covered, ret);
  return 0;
}
