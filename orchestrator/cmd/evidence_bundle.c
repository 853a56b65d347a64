/* `tocsin evidence export … -o FILE.zip`: entries from `tocsin serve` (or a file), proofs from the sealed log, views of both. */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/json.h"
#include "build.h"
#include "cmd/client.h"
#include "cmd/evidence_case.h"
#include "cmd/evidence_files.h"
#include "cmd/evidence_log.h"
#include "cmd/evidence_views.h"
#include "cmd/file.h"
#include "cmd/options.h"
#include "evidence/bundle.h"

enum { ARCHIVE_CAP = 2000 << 20, WAIT_MS = 5000, TURN_MS = 200, LIST_MOST = 10000, ANCHOR_CAP = 16 << 20 };

struct export {
  const struct cli *cli;
  const struct options *o;
  struct evidence_case *cases;
  size_t count, entries;
  size_t files;                /* in custody, and in the bundle */
  json_t *missing;             /* such as could not be had: [{"incident", "item", "sha256", "node"}…] */
  struct proof *proofs;        /* of all cases, one behind the other */
  bool sealed;                 /* there is a log; else nothing below */
  char folder[4096], node[48]; /* node: whose log it is; "": not known */
  struct note_verifier key;
  struct reader log;
  struct zip zip;
};

/* ---- the log */

/* --log, or that of the settings' evidence folder. */
static int folder_find(struct export *x) {
  const char *given = options_get(x->o, "log");
  if (given) {
    snprintf(x->folder, sizeof x->folder, "%s", given);
    return EXIT_DONE;
  }
  json_t *settings = cli_settings(x->cli, NULL);
  if (!settings) return EXIT_FAILED;
  snprintf(x->folder, sizeof x->folder, "%s/log", json_str_or(json_object_get(settings, "evidence"), "folder", "tocsin-data/evidence"));
  snprintf(x->node, sizeof x->node, "%s", json_str_or(settings, "node", ""));
  json_decref(settings);
  return EXIT_DONE;
}

/* --key, or this node's own. */
static int key_find(struct export *x) {
  struct err err = {0};
  char own[NOTE_VERIFIER_TEXT];
  const char *key = options_get(x->o, "key");
  int status = key ? EXIT_DONE : evidence_verifier(x->cli, own);
  if (status != EXIT_DONE) return status;
  return evidence_key_read(key ? key : own, &x->key, &err) < 0 ? cli_misuse(x->cli, "%s", err.text) : EXIT_DONE;
}

/* Only its own user and root may read it. */
static int log_missing(struct export *x, bool *ret_none) {
  struct stat st;
  *ret_none = stat(x->folder, &st) < 0 && errno == ENOENT && !options_get(x->o, "log");
  if (*ret_none || access(x->folder, R_OK | X_OK) == 0) return EXIT_DONE;
  return cli_fail(
      x->cli, &(struct err){
                  ERR_DENIED,
                  "the evidence log cannot be read by you; run this as root or as the service's user (sudo), or name another with --log"});
}

static size_t open_count(const struct export *x) {
  size_t n = 0;
  for (size_t i = 0; i < x->entries; i++) n += !x->proofs[i].found;
  return n;
}

/* Once, or until everything is sealed or the time is over. */
static int proofs_collect(struct export *x, int64_t wait_ms, struct err *err) {
  for (int64_t waited = 0;; waited += TURN_MS) {
    reader_close(&x->log);
    int r = reader_open(x->folder, &x->key, &x->log, err);
    if (r == 0) r = proof_collect(&x->log, x->proofs, x->entries, err);
    if (r < 0 || open_count(x) == 0 || waited >= wait_ms) return r;
    nanosleep(&(struct timespec){.tv_nsec = TURN_MS * 1000000L}, NULL);
  }
}

static int prove(struct export *x) {
  struct err err = {0};
  const char *wait = options_get(x->o, "wait");
  int64_t wait_ms = WAIT_MS;
  bool none = false;
  size_t n = 0;
  if (wait && !duration_parse(wait, &wait_ms)) return cli_misuse(x->cli, "--wait is a duration such as 10s, not %.40s", wait);
  int status = folder_find(x);
  if (status == EXIT_DONE) status = log_missing(x, &none);
  if (status == EXIT_DONE && !none) status = key_find(x);
  if (status != EXIT_DONE) return status;
  x->proofs = calloc(x->entries + 1, sizeof *x->proofs);
  if (!x->proofs) abort();
  for (size_t c = 0; c < x->count; c++)
    for (size_t i = 0; i < x->cases[c].count; i++) hex_decode(x->cases[c].entries[i]->leaf, x->proofs[n++].leaf.bytes, DIGEST_BYTES);
  if (none) return EXIT_DONE; /* nothing was ever sealed on this node */
  if (proofs_collect(x, wait_ms, &err) < 0) return cli_fail(x->cli, &err);
  x->sealed = true;
  return EXIT_DONE;
}

/* ---- earlier checkpoints: the one that somebody kept, and the one that was anchored */

static int earlier_add(struct export *x, const char *path, const char *folder, struct err *err) {
  struct checkpoint earlier;
  struct merkle_proof way;
  struct buf note;
  buf_init(&note, NOTE_CAP);
  int r = evidence_checkpoint_read(path, &x->key, &note, &earlier, err);
  if (r == 0) r = proof_consistency(&x->log, &earlier, &way, err);
  if (r == 0) r = bundle_add_earlier(&x->zip, folder, &earlier, note.data, note.len, &way, err);
  buf_release(&note);
  return r;
}

/* "<size>.tsr", "<size>-2.tsr": its size; 0 for names that end otherwise. */
static uint64_t anchored_size(const char *name, const char *suffix) {
  char *end = NULL;
  uint64_t size = strtoull(name, &end, 10);
  const char *dot = strrchr(name, '.');
  return end != name && dot && strcmp(dot, suffix) == 0 ? size : 0;
}

/* The first stamped or cosigned checkpoint that covers every entry of ours: it dates them best. 0: there is none. */
static uint64_t anchored_first(const struct export *x, const char *folder, const char *suffix) {
  DIR *d = opendir(folder);
  struct dirent *e;
  uint64_t least = 0, found = 0;
  for (size_t i = 0; i < x->entries; i++)
    if (x->proofs[i].found && x->proofs[i].index >= least) least = x->proofs[i].index + 1;
  while (d && (e = readdir(d))) {
    uint64_t size = anchored_size(e->d_name, suffix);
    if (size >= least && size <= x->log.checkpoint.size && size && (!found || size < found)) found = size;
  }
  if (d) closedir(d);
  return found;
}

/* Stamps and cosignatures of it, as they lie there. */
static int anchor_files_add(struct export *x, const char *folder, uint64_t size, struct err *err) {
  DIR *d = opendir(folder);
  struct dirent *e;
  char path[4400], name[ZIP_NAME], of[32];
  int r = 0, n = snprintf(of, sizeof of, "%" PRIu64, size);
  while (d && r == 0 && (e = readdir(d))) {
    struct buf bytes;
    bool ours =
        strncmp(e->d_name, of, (size_t)n) == 0 && (e->d_name[n] == '.' || e->d_name[n] == '-') && !anchored_size(e->d_name, ".checkpoint");
    if (!ours || snprintf(path, sizeof path, "%s/%s", folder, e->d_name) >= (int)sizeof path ||
        snprintf(name, sizeof name, "anchors/%s", e->d_name) >= (int)sizeof name || !zip_name_valid(name, strlen(name)))
      continue;
    buf_init(&bytes, ANCHOR_CAP);
    r = file_read(path, &bytes, err);
    if (r == 0) r = zip_add(&x->zip, name, bytes.data, bytes.len, err);
    buf_release(&bytes);
  }
  if (d) closedir(d);
  return r;
}

static int anchored_add(struct export *x, const char *folder, uint64_t size, struct err *err) {
  char path[4400];
  snprintf(path, sizeof path, "%s/%" PRIu64 ".checkpoint", folder, size);
  int r = earlier_add(x, path, "anchors", err);
  return r < 0 ? r : anchor_files_add(x, folder, size, err);
}

static int log_add(struct export *x, struct err *err) {
  char anchors[4200];
  const char *kept = options_get(x->o, "checkpoint");
  if (!x->sealed) return 0;
  int r = bundle_add_log(&x->zip, &x->log, &x->key, err);
  if (r == 0 && kept) r = earlier_add(x, kept, "log", err);
  snprintf(anchors, sizeof anchors, "%s/../anchors", x->folder);
  uint64_t stamped = anchored_first(x, anchors, ".tsr"), cosigned = anchored_first(x, anchors, ".cosigned");
  if (r == 0 && stamped) r = anchored_add(x, anchors, stamped, err);
  if (r == 0 && cosigned && cosigned != stamped) r = anchored_add(x, anchors, cosigned, err);
  return r;
}

/* ---- incidents */

static int file_collect(void *arg, const void *bytes, size_t len, struct err *err) {
  struct buf *out = arg;
  buf_add(out, bytes, len);
  return buf_ok(out) ? 0 : err_set(err, ERR_LIMIT, "the bundle would be larger than %d MiB", ARCHIVE_CAP >> 20);
}

static bool file_destroyed(const struct evidence_case *c, json_int_t item) {
  for (size_t i = 0; i < c->count; i++) {
    const struct entry *e = c->entries[i];
    if (e->kind == KIND_EVIDENCE_DELETED && e->body && json_int_or(e->body, "item", 0) == item) return true;
  }
  return false;
}

static void file_missing(struct export *x, const struct evidence_case *c, const struct entry *e) {
  json_array_append_new(x->missing, json_pack("{s:s, s:I, s:O*, s:O*}", "incident", c->id, "item", (json_int_t)e->seq, "sha256",
                                              json_object_get(e->body, "sha256"), "node", json_object_get(e->body, "node")));
}

/* One that cannot be had is told, and missing in the bundle, which its verifiers say. That copies were taken is on record. */
static int file_add(struct export *x, const struct evidence_case *c, const struct entry *e, struct err *err) {
  struct buf bytes;
  int r = 0;
  buf_init(&bytes, ARCHIVE_CAP);
  if (evidence_file_get(x->cli, c->id, (long long)e->seq, "for a bundle of evidence", file_collect, &bytes) == EXIT_DONE) {
    r = bundle_add_file(&x->zip, bytes.data, bytes.len, err);
    x->files++;
  } else {
    file_missing(x, c, e);
  }
  buf_release(&bytes);
  return r;
}

/* The files that are still in custody. A journal that comes from a file has none beside it. */
static int files_add(struct export *x, const struct evidence_case *c, struct err *err) {
  int r = 0;
  for (size_t i = 0; r == 0 && i < c->count; i++) {
    const struct entry *e = c->entries[i];
    if (e->kind != KIND_EVIDENCE_COLLECTED || !e->body || file_destroyed(c, (json_int_t)e->seq)) continue;
    if (c->names) r = file_add(x, c, e, err);
    else file_missing(x, c, e);
  }
  return r;
}

static int case_add(struct export *x, const struct evidence_case *c, const struct proof *proofs, json_t *contents, struct err *err) {
  struct bundle_entry *list = calloc(c->count, sizeof *list);
  size_t covered = 0;
  if (!list) abort();
  for (size_t i = 0; i < c->count; i++) {
    const struct entry *e = c->entries[i];
    list[i] = (struct bundle_entry){e->head, e->head_len, e->envelope, e->envelope_len};
    covered += proofs[i].found;
  }
  int r = bundle_add_incident(&x->zip, c->id, list, c->count, proofs, err);
  json_t *seal = x->sealed ? evidence_seal(&x->log.checkpoint, &x->key, covered) : NULL;
  if (r == 0) r = evidence_views_add(&x->zip, c, seal, contents, err);
  if (r == 0) r = files_add(x, c, err);
  json_decref(seal);
  free(list);
  return r;
}

static int archive_make(struct export *x, struct buf *out, struct err *err) {
  const char *from = options_get(x->o, "from"), *to = options_get(x->o, "to");
  json_t *incidents = json_array();
  size_t n = 0;
  int r = log_add(x, err);
  for (size_t c = 0; r == 0 && c < x->count; n += x->cases[c++].count) r = case_add(x, &x->cases[c], x->proofs + n, incidents, err);
  json_t *contents =
      json_pack("{s:i, s:s, s:s*, s:s*, s:O}", "v", 1, "made_by", "tocsin " TOCSIN_VERSION, "from", from, "to", to, "incidents", incidents);
  if (json_array_size(x->missing)) json_object_set(contents, "files_missing", x->missing);
  if (x->sealed) json_object_set_new(contents, "log", evidence_seal(&x->log.checkpoint, &x->key, x->entries - open_count(x)));
  if (r == 0) r = evidence_contents_add(&x->zip, contents, err);
  if (r == 0) r = bundle_finish(&x->zip, err);
  if (r == 0) r = zip_write(&x->zip, out, err);
  json_decref(contents);
  json_decref(incidents);
  return r;
}

/* Another node made the entry, and seals it: its name. NULL: this one did, or nobody knows. New. */
static char *sealed_by_other(const struct export *x, const struct entry *e) {
  json_t *head = NULL;
  if (json_parse(e->head, e->head_len, &head, NULL) < 0) return NULL;
  const char *node = json_str_or(head, "node", x->node);
  char *other = *x->node && strcmp(node, x->node) != 0 ? strdup(node) : NULL;
  json_decref(head);
  return other;
}

/* Of an incident that this log knows nothing of one line says all. */
static void not_sealed_said(const struct export *x, const struct evidence_case *c, const struct proof *proofs) {
  size_t open = 0;
  for (size_t i = 0; i < c->count; i++) open += !proofs[i].found;
  bool none = open == c->count;
  for (size_t i = 0, told = 0; i < c->count && !(none && told); i++) {
    if (proofs[i].found) continue;
    char *other = sealed_by_other(x, c->entries[i]);
    if (other && none) printf("  not in this log: all of %s, which node %s seals: export it there\n", c->id, other), told++;
    else if (other) printf("  not in this log: entry %zu of %s, which node %s seals\n", i + 1, c->id, other);
    else printf("  not sealed yet: entry %zu of %s\n", i + 1, c->id);
    free(other);
  }
}

static void said(const struct export *x, const char *file) {
  size_t open = x->sealed ? open_count(x) : x->entries, n = 0;
  json_t *value =
      json_pack("{s:s, s:I, s:I, s:I, s:I, s:O}", "file", file, "incidents", (json_int_t)x->count, "entries", (json_int_t)x->entries,
                "not_sealed", (json_int_t)open, "files", (json_int_t)x->files, "files_missing", x->missing);
  size_t at;
  json_t *missing;
  if (!cli_json(x->cli, value)) {
    printf("Written to %s: %zu incident%s, %zu entries, %zu of them proven to be in the log.\n", file, x->count, x->count == 1 ? "" : "s",
           x->entries, x->entries - open);
    if (!x->sealed) printf("There is no sealed log at %s: this bundle proves nothing yet, and no verifier will pass it.\n", x->folder);
    for (size_t c = 0; x->sealed && open && c < x->count; n += x->cases[c++].count) not_sealed_said(x, &x->cases[c], x->proofs + n);
    if (x->files) printf("%zu file%s in custody, in clear: in its folder blobs.\n", x->files, x->files == 1 ? "" : "s");
    json_array_foreach(x->missing, at, missing)
        printf("NOT in it: file %lld of %s, which lies at node %s; no verifier will pass it.\n", (long long)json_int_or(missing, "item", 0),
               json_str_or(missing, "incident", ""), json_str_or(missing, "node", "?"));
    if (x->sealed) printf("Check it anywhere: tocsin evidence verify %s --key …, or tocsin-verify %s --key …\n", file, file);
  }
  json_decref(value);
}

/* Which incidents touch the period, the oldest first. */
static int period_list(const struct export *x, json_t **ret) {
  int64_t from = INT64_MIN, to = INT64_MAX;
  json_t *answer = NULL;
  const char *a = options_get(x->o, "from"), *b = options_get(x->o, "to");
  if ((a && !time_parse(a, &from)) || (b && !time_parse(b, &to)) || from >= to)
    return cli_misuse(x->cli, "--from and --to are times such as 2026-01-01T00:00:00Z, the one before the other");
  int status = client_ask(x->cli, json_pack("{s:s, s:i}", "command", "incident.list", "limit", LIST_MOST), &answer);
  if (status != EXIT_DONE) return status;
  const json_t *rows = json_object_get(answer, "incidents");
  *ret = json_array();
  for (size_t i = json_array_size(rows); i > 0; i--) {
    const json_t *row = json_array_get(rows, i - 1);
    int64_t opened = json_int_or(row, "opened", 0), updated = json_int_or(row, "updated", 0);
    if (opened < to && updated >= from) json_array_append(*ret, json_object_get(row, "id"));
  }
  if (json_array_size(rows) >= LIST_MOST)
    status = cli_misuse(x->cli, "there are more than %d incidents: export a shorter period", LIST_MOST);
  json_decref(answer);
  return status;
}

static int cases_open(struct export *x, const char *incident) {
  json_t *ids = NULL;
  int status = incident ? EXIT_DONE : period_list(x, &ids);
  if (incident) ids = json_pack("[s]", incident);
  x->cases = calloc(json_array_size(ids) + 1, sizeof *x->cases);
  if (!x->cases) abort();
  for (size_t i = 0; status == EXIT_DONE && i < json_array_size(ids); i++) {
    status = evidence_case_open(x->cli, json_string_value(json_array_get(ids, i)), &x->cases[x->count]);
    if (status == EXIT_DONE) x->entries += x->cases[x->count++].count;
  }
  if (status == EXIT_DONE && !x->count) status = cli_fail(x->cli, &(struct err){ERR_NOT_FOUND, "no incident was open in that period"});
  json_decref(ids);
  return status;
}

/* On record before it is handed out: whoever removes something later learns who has it. Journals that came from files have no desk to tell. */
static int exported(const struct export *x, const char *file, const struct buf *bytes) {
  const char *slash = strrchr(file, '/');
  uint8_t digest[DIGEST_BYTES];
  char hex[DIGEST_HEX], name[256];
  int status = EXIT_DONE;
  digest_sha256(bytes->data, bytes->len, digest);
  hex_encode(digest, sizeof digest, hex);
  snprintf(name, sizeof name, "%s", slash ? slash + 1 : file);
  for (size_t c = 0; status == EXIT_DONE && c < x->count; c++) {
    json_t *answer = NULL;
    if (!x->cases[c].names) continue;
    status =
        client_ask(x->cli,
                   json_pack("{s:s, s:s, s:s, s:s}", "command", "incident.exported", "id", x->cases[c].id, "sha256", hex, "file", name),
                   &answer);
    json_decref(answer);
  }
  return status;
}

int evidence_bundle_export(const struct cli *cli, const struct options *o, const char *incident, const char *file) {
  struct export x = {.cli = cli, .o = o, .missing = json_array()};
  struct buf out;
  struct err err = {0};
  buf_init(&out, ARCHIVE_CAP);
  int status = cases_open(&x, incident);
  if (status == EXIT_DONE) status = prove(&x);
  if (status == EXIT_DONE && archive_make(&x, &out, &err) < 0) status = cli_fail(cli, &err);
  if (status == EXIT_DONE) status = exported(&x, file, &out);
  if (status == EXIT_DONE && file_write(file, out.data, out.len, &err) < 0) status = cli_fail(cli, &err);
  if (status == EXIT_DONE) said(&x, file);
  if (status == EXIT_DONE && json_array_size(x.missing)) status = EXIT_FAILED;
  json_decref(x.missing);
  for (size_t i = 0; i < x.count; i++) evidence_case_release(&x.cases[i]);
  free(x.cases);
  free(x.proofs);
  reader_close(&x.log);
  zip_release(&x.zip);
  buf_release(&out);
  return status;
}
