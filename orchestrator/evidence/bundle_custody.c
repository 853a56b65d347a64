/* Checking a bundle's files in custody. An entry whose body was removed names nobody: each such one lets one file be there that nobody names, or one be missing. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "evidence/bundle_check.h"

static const char BLOBS[] = "blobs/";

struct custody_file {
  char sha256[DIGEST_HEX], incident[HEAD_INCIDENT], node[48]; /* node: on whose disk it lay; "": not said */
  uint64_t seq;
  bool destroyed;
};

static void file_add(struct check *c, const struct head *head, const json_t *body, const char *sha256) {
  if (c->file_count == ZIP_FILES) {
    check_fault(c, FAULT_MISSING, "file", head->seq, head->incident, "a bundle cannot hold so many files");
    return;
  }
  if ((c->file_count & (c->file_count - 1)) == 0) {
    struct custody_file *grown = realloc(c->files, (c->file_count ? 2 * c->file_count : 1) * sizeof *grown);
    if (!grown) abort();
    c->files = grown;
  }
  struct custody_file *f = &c->files[c->file_count++];
  *f = (struct custody_file){.seq = head->seq};
  snprintf(f->sha256, sizeof f->sha256, "%s", sha256);
  snprintf(f->incident, sizeof f->incident, "%s", head->incident);
  snprintf(f->node, sizeof f->node, "%.47s", json_str_or(body, "node", ""));
}

/* The same content may have been collected anew afterwards: that comes later. */
static void file_destroyed(struct check *c, const struct head *head, const char *sha256) {
  for (size_t i = 0; i < c->file_count; i++) {
    struct custody_file *f = &c->files[i];
    if (strcmp(f->sha256, sha256) == 0 && strcmp(f->incident, head->incident) == 0) f->destroyed = true;
  }
}

void custody_note(struct check *c, const struct head *head, const char *body, size_t len) {
  json_t *value = NULL;
  if (head->file == HEAD_NO_FILE) return;
  if (!body && head->file == HEAD_COLLECTED) c->names_removed++;
  if (!body && head->file == HEAD_DELETED) c->ends_removed++;
  if (!body || json_parse_stored(body, len, &value, NULL) < 0) return;
  const char *sha256 = json_str_or(value, "sha256", "");
  if (strlen(sha256) == DIGEST_HEX - 1 && head->file == HEAD_COLLECTED) file_add(c, head, value, sha256);
  else if (strlen(sha256) == DIGEST_HEX - 1) file_destroyed(c, head, sha256);
  json_decref(value);
}

static bool is_named(const struct check *c, const char *sha256) {
  for (size_t i = 0; i < c->file_count; i++)
    if (strcmp(c->files[i].sha256, sha256) == 0) return true;
  return false;
}

static void blob_check(struct check *c, const struct zip_file *f) {
  const char *name = f->name + sizeof BLOBS - 1;
  uint8_t digest[DIGEST_BYTES];
  char hex[DIGEST_HEX];
  bool named = is_named(c, name);
  digest_sha256(f->bytes, f->len, digest);
  hex_encode(digest, sizeof digest, hex);
  if (!named && !c->names_removed) {
    check_file_fault(c, FAULT_ADDED, f->name, "no entry says that it was collected");
  } else if (strcmp(hex, name) != 0) {
    check_file_fault(c, FAULT_CHANGED, f->name, "it is not what was collected");
  } else {
    if (!named) c->names_removed--;
    c->result->files++;
  }
}

static void file_check(struct check *c, const struct custody_file *f) {
  char name[ZIP_NAME];
  snprintf(name, sizeof name, "%s%s", BLOBS, f->sha256);
  bool there = zip_find(&c->zip, name) != NULL, unsure = !f->destroyed && !there && c->ends_removed;
  if (unsure) c->ends_removed--;
  if (f->destroyed || unsure) c->result->files_destroyed++;
  else if (!there)
    check_fault(c, FAULT_MISSING, "file", f->seq, f->incident,
                "it was collected%s%s, no entry says that it was destroyed, and it is not here", *f->node ? " at node " : "", f->node);
}

void custody_check(struct check *c) {
  for (size_t i = 0; i < c->file_count; i++) file_check(c, &c->files[i]);
  for (size_t i = 0; i < c->zip.count; i++)
    if (strncmp(c->zip.files[i].name, BLOBS, sizeof BLOBS - 1) == 0) blob_check(c, &c->zip.files[i]);
  free(c->files);
}
