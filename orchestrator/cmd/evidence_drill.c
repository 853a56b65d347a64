/* `tocsin evidence drill`: is what was sealed still there and whole? An incident is restored from the archive, checked, and the result put on record. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/json.h"
#include "cmd/client.h"
#include "cmd/evidence_case.h"
#include "cmd/evidence_log.h"
#include "cmd/file.h"
#include "cmd/options.h"
#include "evidence/archive.h"
#include "evidence/head.h"
#include "evidence/leaf.h"

enum { RESTORED_CAP = 1 << 30, HEAD_CAP = 1 << 20, TRIES = 1000, ENVELOPE_CAP = 256 << 20 };

struct drill {
  const struct cli *cli;
  struct archive *archive;
  char incident[HEAD_INCIDENT], path[64];
  int fd; /* of the restored file; -1: none */
  uint64_t seed, entries, removed;
  bool live; /* `tocsin serve` has it as well, and the two were compared */
  struct buf text;
};

/* ---- which one */

/* splitmix64 (Steele, Lea, Flood 2014): the same seed chooses the same incident of the same log. */
static uint64_t next_random(uint64_t *state) {
  uint64_t z = (*state += 0x9e3779b97f4a7c15u);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

static int head_at(const struct archive *a, uint64_t index, struct head *ret, struct err *err) {
  struct buf text;
  buf_init(&text, HEAD_CAP);
  int r = archive_head(a, index, &text, err);
  if (r == 0 && !head_scan(text.data, text.len, ret)) r = err_set(err, ERR_INVALID, "entry %" PRIu64 " of the log is no head", index);
  buf_release(&text);
  return r;
}

/* By an entry of the log: what happened in many entries is looked at more often. */
static int choose(struct drill *d, struct err *err) {
  uint64_t size = archive_checkpoint(d->archive)->size, state = d->seed, known = 0, read = 0;
  struct head head;
  int r = catalogue_extent(archive_catalogue(d->archive), &known, &read, err); /* what it does not know yet cannot be given back by name */
  if (r < 0) return r;
  if (size > known) size = known;
  for (int i = 0; i < TRIES && size; i++) {
    r = head_at(d->archive, next_random(&state) % size, &head, err);
    if (r < 0) return r;
    if (strncmp(head.incident, "INC-", 4) != 0) continue;
    memcpy(d->incident, head.incident, sizeof d->incident);
    return 0;
  }
  return err_set(err, ERR_NOT_FOUND, "no incident is sealed there yet");
}

/* ---- restoring */

static int restore_entry(struct drill *d, uint64_t seq, struct err *err) {
  struct place place;
  struct buf head, envelope;
  struct merkle_proof proof = {0};
  struct entry *e = NULL;
  char leaf[DIGEST_HEX];
  buf_init(&head, HEAD_CAP);
  buf_init(&envelope, ENVELOPE_CAP);
  int r = archive_find(d->archive, d->incident, seq, &place, err);
  if (r == 0) r = archive_head(d->archive, place.index, &head, err);
  if (r == 0) r = archive_inclusion(d->archive, place.index, &proof, err);
  const struct checkpoint *c = archive_checkpoint(d->archive);
  if (r == 0 && !merkle_verify_inclusion(place.index, c->size, &place.leaf, proof.hashes, proof.count, &c->root))
    r = err_set(err, ERR_INVALID, "index %" PRIu64 " of the log does not lead to the signed root", place.index);
  if (r == 0) {
    leaf_hash(head.data, head.len, leaf);
    r = archive_body(d->archive, &place, &envelope, err);
    if (r == ERR_NOT_FOUND) r = 0; /* removed on purpose, or the check will say so */
  }
  if (r == 0) r = entry_read(head.data, head.len, leaf, envelope.len ? envelope.data : NULL, envelope.len, &e, err);
  if (r == 0) journal_export(e, &d->text);
  if (r < 0) err_wrap(err, "entry %" PRIu64 " of %s", seq, d->incident);
  entry_free(e);
  buf_release(&head);
  buf_release(&envelope);
  return r;
}

static int restored_write(const struct drill *d, struct err *err) {
  const char *bytes = d->text.data;
  for (size_t left = d->text.len; left;) {
    ssize_t n = write(d->fd, bytes, left);
    if (n < 0) return err_errno(err, "cannot write the restored file");
    bytes += n;
    left -= (size_t)n;
  }
  return 0;
}

static int restore(struct drill *d, struct err *err) {
  struct place last;
  int r = archive_last(d->archive, d->incident, &last, err);
  for (uint64_t seq = 1; r == 0 && seq <= last.seq; seq++) r = restore_entry(d, seq, err);
  if (r < 0) return r;
  /* In clear, so it is a file without a name, in memory: whatever ends the process, nothing of it is left. */
  if ((d->fd = memfd_create("tocsin-drill", MFD_CLOEXEC)) < 0) return err_errno(err, "cannot make a file in memory");
  snprintf(d->path, sizeof d->path, "/proc/self/fd/%d", d->fd);
  return restored_write(d, err);
}

/* ---- checking */

/* From the file, as somebody who only has that would. */
static int check(struct drill *d, struct err *err) {
  struct buf again;
  buf_init(&again, RESTORED_CAP);
  int r = file_read(d->path, &again, err);
  if (r == 0) r = journal_verify_export(again.data, again.len, &d->entries, &d->removed, err);
  buf_release(&again);
  return r;
}

/* What `tocsin serve` has begins with the very lines that the archive gave back. An incident that it does not know any more is no fault. */
static int compare(struct drill *d, struct err *err) {
  json_t *answer = NULL;
  int r = 0;
  json_t *command = json_pack("{s:s, s:s}", "command", "incident.export", "id", d->incident);
  long status = 0;
  int asked = client_try(d->cli, command, &status, &answer, NULL);
  json_decref(command);
  if (asked < 0 || status != 200) {
    json_decref(answer);
    return 0;
  }
  const char *lines = json_str_or(answer, "lines", "");
  d->live = true;
  if (strncmp(lines, d->text.data, d->text.len) != 0)
    r = err_set(err, ERR_INVALID, "what `tocsin serve` has of %s differs from the archive; `tocsin evidence verify` names where",
                d->incident);
  json_decref(answer);
  return r;
}

/* ---- the result */

static void said(const struct drill *d, const json_t *value, const char *why) {
  if (cli_json(d->cli, value)) return;
  if (why) printf("%s: NOT whole: %s\n", d->incident[0] ? d->incident : "the archive", why);
  else
    printf("%s: %" PRIu64 " entries restored from the archive, checked one by one against the signed log%s\n", d->incident, d->entries,
           d->live ? ", the same as in `tocsin serve`" : "");
  if (d->removed) printf("  %" PRIu64 " bodies of it were removed on purpose\n", d->removed);
  printf("  chosen with --seed %" PRIu64 "\n", d->seed);
}

static int finish(struct drill *d, const char *why) {
  const struct checkpoint *c = archive_checkpoint(d->archive);
  json_t *answer = NULL, *value = json_pack("{s:s, s:b, s:I, s:I, s:I, s:b, s:I, s:s*}", "incident", d->incident, "ok", why == NULL,
                                            "entries", (json_int_t)d->entries, "removed", (json_int_t)d->removed, "size",
                                            (json_int_t)c->size, "compared", d->live, "seed", (json_int_t)d->seed, "why", why);
  said(d, value, why);
  json_t *command = json_pack("{s:s, s:O}", "command", "evidence.drilled", "result", value);
  int status = client_ask(d->cli, command, &answer);
  json_decref(answer);
  json_decref(value);
  return why ? EXIT_FAILED : status;
}

static int seed_read(const struct cli *cli, const struct options *o, uint64_t *ret) {
  const char *text = options_get(o, "seed");
  char *end = NULL;
  if (text) {
    *ret = strtoull(text, &end, 10);
    if (!*text || *end || *text == '-' || *ret >> 62) return cli_misuse(cli, "--seed is a number, not %.40s", text);
    return EXIT_DONE;
  }
  random_bytes(ret, sizeof *ret);
  *ret >>= 32;
  return EXIT_DONE;
}

static int run(struct cli *cli, const struct options *o) {
  struct drill d = {.cli = cli, .fd = -1};
  struct err err = {0};
  int status = seed_read(cli, o, &d.seed);
  if (status == EXIT_DONE) status = evidence_archive(cli, o, &d.archive);
  if (status != EXIT_DONE) return status;
  buf_init(&d.text, RESTORED_CAP);
  int r = choose(&d, &err);
  if (r == ERR_NOT_FOUND) {
    status = cli_fail(cli, &err);
  } else {
    if (r == 0) r = restore(&d, &err);
    if (r == 0) r = check(&d, &err);
    if (r == 0) r = compare(&d, &err);
    status = finish(&d, r < 0 ? err.text : NULL);
  }
  if (d.fd >= 0) close(d.fd);
  buf_release(&d.text);
  archive_close(d.archive);
  return status;
}

static const struct option_spec options[] = {{.name = "seed", .value = "N", .text = "choose as an earlier drill did (it said its seed)"},
                                             {.name = "folder",
                                              .value = "FOLDER",
                                              .text = "another evidence folder than the settings', such as a copy"},
                                             {.name = "key", .value = "KEY", .text = "its verifier key, or a file that holds it"},
                                             {0}};

const struct command evidence_drill = {
    .name = "drill",
    .text = "restore an incident chosen at random from the archive, check it, and put the result on record",
    .more = "Every entry is read back, its body opened, its place proven to the signed checkpoint, its chain checked from a file of its "
            "own, and all of it compared with "
            "what `tocsin serve` has. Nothing is changed; the restored file is in memory and gone with the command. Exit status 1 when "
            "something is not whole, or when the result could not be put "
            "on record. It "
            "reads the evidence folder itself, so it needs the right to.",
    .example = "tocsin evidence drill\ntocsin evidence drill --folder /mnt/copy/evidence --key key.pub\n",
    .options = options,
    .run = run,
};
