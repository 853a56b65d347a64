/* `tocsin evidence redact INCIDENT/SEQ`: the body of an entry goes, its head stays. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/id.h"
#include "base/json.h"
#include "cmd/client.h"
#include "cmd/evidence_files.h"
#include "cmd/evidence_log.h"
#include "cmd/file.h"
#include "cmd/options.h"
#include "cmd/view.h"

enum { COPY_CAP = 256 << 10, WAIT_MS = 60000, TURN_MS = 100 };

/* "INC-000042/7": an entry is meant, where other commands mean a run. */
static int entry_read(const struct cli *cli, const char *word, char id[ID_PATH], json_int_t *ret_seq) {
  char incident[ID_PATH], *end = NULL;
  const char *slash = strrchr(word, '/');
  long long seq = slash ? strtoll(slash + 1, &end, 10) : 0;
  if (!slash || seq < 1 || *end || (size_t)(slash - word) >= sizeof incident)
    return cli_misuse(cli, "write the incident and the number of the entry, as in 42/7; `tocsin incident show 42 --all` numbers them");
  snprintf(incident, sizeof incident, "%.*s", (int)(slash - word), word);
  *ret_seq = seq;
  return client_id(cli, incident, id);
}

/* What stands in the body's place: --with TEXT, or --replace FILE. *ret stays NULL when neither is given. */
static int copy_read(const struct cli *cli, const struct options *o, json_t **ret) {
  const char *text = options_get(o, "with"), *path = options_get(o, "replace");
  struct buf bytes;
  struct err err = {0};
  if (text && path) return cli_misuse(cli, "--with or --replace, not both");
  if (text) *ret = json_string(text);
  buf_init(&bytes, COPY_CAP);
  int r = path ? file_read(path, &bytes, &err) : 0;
  if (path && r == 0) *ret = json_stringn(bytes.data, bytes.len);
  buf_release(&bytes);
  if (r < 0) return cli_fail(cli, &err);
  return (text || path) && !*ret ? cli_misuse(cli, "the copy is not text in UTF-8") : EXIT_DONE;
}

/* Whether that entry took a file into custody which is still kept. */
static int file_kept(const struct cli *cli, const char *id, json_int_t seq, bool *ret) {
  json_t *answer = NULL, *file;
  size_t i;
  int status = client_ask(cli, json_pack("{s:s, s:s}", "command", "evidence.list", "id", id), &answer);
  *ret = false;
  json_array_foreach(json_object_get(answer, "files"), i, file) {
    if (json_int_or(file, "item", 0) == seq && !json_object_get(file, "deleted")) *ret = true;
  }
  json_decref(answer);
  return status;
}

/* A cleaned copy of a file is kept before the file goes; the removal names it. */
static int file_replace(const struct cli *cli, const struct options *o, const char *id, json_int_t seq, json_t **ret_copy) {
  json_t *answer = NULL;
  json_t *facts = json_pack("{s:s, s:o, s:I}", "because", options_get(o, "because"), "source",
                            json_sprintf("file %" JSON_INTEGER_FORMAT " of this incident, with parts taken out", seq), "replaces", seq);
  int status = evidence_file_put(cli, id, options_get(o, "replace"), facts, &answer);
  if (status == EXIT_DONE)
    *ret_copy = json_sprintf("the file was replaced by file %lld, SHA-256 %s", (long long)json_int_or(answer, "item", 0),
                             json_str_or(answer, "sha256", ""));
  json_decref(facts);
  json_decref(answer);
  return status;
}

static int asked(const struct cli *cli, const struct options *o, const char *id, json_int_t seq, bool is_file) {
  char question[ID_PATH + 200];
  snprintf(question, sizeof question, "%s entry %" JSON_INTEGER_FORMAT " of %s will be destroyed for good. Go on?",
           is_file ? "The file, and what is said of it in" : "The body of", seq, id);
  return cli_confirm(cli, options_flag(o, "yes"), question);
}

/* The entry that says that all is gone: its body, borrowed from *ret_answer; NULL: not yet. */
static int ended(const struct cli *cli, const char *id, json_int_t entry, json_t **ret_answer, const json_t **ret) {
  json_t *e;
  size_t i;
  *ret = NULL;
  int status = client_ask(cli, json_pack("{s:s, s:s, s:I}", "command", "incident.entries", "id", id, "from", entry), ret_answer);
  if (status != EXIT_DONE) return status;
  json_array_foreach(json_object_get(*ret_answer, "entries"), i, e) {
    const json_t *body = json_object_get(e, "body");
    if (strcmp(json_str_or(e, "type", ""), "body.removed") == 0 && json_int_or(body, "by", 0) == entry) *ret = body;
  }
  return EXIT_DONE;
}

/* Its name is what whoever made it says. */
static void bundles_print(const json_t *answer) {
  struct view v;
  size_t i;
  json_t *b;
  view_init(&v, false, 0);
  json_array_foreach(json_object_get(answer, "bundles"), i, b) {
    char time[TIME_TEXT];
    time_format(json_int_or(b, "time", 0), time);
    view_put(&v, "  handed out before, and still with it: ");
    view_text(&v, json_str_or(b, "file", "a bundle"));
    view_put(&v, ", made %s, SHA-256 %s\n", time, json_str_or(b, "sha256", "?"));
  }
  if (v.out.len) fputs(v.out.data, stdout);
  view_release(&v);
}

static void turn(void) { nanosleep(&(struct timespec){.tv_nsec = TURN_MS * 1000000L}, NULL); }

/* The daemon goes on by itself; this only waits to say how it ended. */
static int wait_end(const struct cli *cli, json_t *answer, const char *id) {
  json_int_t entry = json_int_or(answer, "entry", 0);
  const json_t *body = NULL;
  int status = EXIT_DONE;
  for (int waited = 0; status == EXIT_DONE && !body && waited < WAIT_MS; waited += TURN_MS) {
    json_t *entries = NULL;
    status = ended(cli, id, entry, &entries, &body);
    if (body) json_object_set_new(answer, "redis", json_string(json_str_or(body, "redis", "")));
    else if (status == EXIT_DONE) turn();
    json_decref(entries);
  }
  if (status != EXIT_DONE) return status;
  json_object_set_new(answer, "removed", json_boolean(body != NULL));
  if (cli_json(cli, answer)) return body ? EXIT_DONE : EXIT_FAILED;
  if (body)
    printf("Removed: the body of entry %lld of %s is gone; its head stays, and entry %lld says why (Redis: %s).\n",
           (long long)json_int_or(answer, "seq", 0), id, (long long)entry, json_str_or(answer, "redis", ""));
  else
    printf("Begun (entry %lld), and not at its end yet: it goes on by itself, and an entry body.removed will say so.\n", (long long)entry);
  bundles_print(answer);
  return body ? EXIT_DONE : EXIT_FAILED;
}

static int redact_run(struct cli *cli, const struct options *o) {
  char id[ID_PATH];
  json_int_t seq = 0;
  json_t *copy = NULL, *answer = NULL;
  bool is_file = false;
  const char *replace = options_get(o, "replace");
  int status = entry_read(cli, options_word(o, 0), id, &seq);
  if (status == EXIT_DONE) status = file_kept(cli, id, seq, &is_file);
  if (status == EXIT_DONE && !(is_file && replace)) status = copy_read(cli, o, &copy);
  if (status == EXIT_DONE) status = asked(cli, o, id, seq, is_file);
  if (status == EXIT_DONE && is_file && replace) status = file_replace(cli, o, id, seq, &copy);
  if (status == EXIT_DONE)
    status = client_ask(cli,
                        json_pack("{s:s, s:s, s:I, s:s, s:O*}", "command", "incident.redact", "id", id, "seq", seq, "because",
                                  options_get(o, "because"), "copy", copy),
                        &answer);
  if (status == EXIT_DONE) status = wait_end(cli, answer, id);
  json_decref(answer);
  json_decref(copy);
  return status;
}

static const struct option_spec redact_options[] = {
    {.name = "because", .value = "TEXT", .text = "why; it stays on record, so it must not repeat what is removed", .required = true},
    {.name = "with", .value = "TEXT", .text = "what is read in its place, marked as a copy"},
    {.name = "replace",
     .value = "FILE",
     .text = "the same from a file (256 KiB at most); of an entry that took a file into custody: the file that is kept in its place"},
    {.name = "yes", .text = "do not ask first"},
    {0}};

const struct command evidence_redact = {
    .name = "redact",
    .args = "INCIDENT/SEQ",
    .text = "remove what an entry says, and keep the proof that it was there",
    .more = "For a secret or personal data that must not stay. The body goes from Redis and its file, from the folded state, and from the "
            "evidence log of every node (its key is destroyed); the head stays, so that everything still verifies and reports the removal. "
            "An entry says who had it removed, when and why, before anything is destroyed; after a crash it goes on. Needs the role admin. "
            "An entry that took a file into custody takes it along: file and key are destroyed, but never under a legal hold. "
            "Refused while a run, a question, an action or a containment still needs the entry. Bundles handed out before, and backups of "
            "Redis or keys.db, still bear it: they are listed, and yours to call back.",
    .example = "tocsin evidence redact 42/7 --because \"alice's password in a pasted log\"\n"
               "tocsin evidence redact 42/7 --because \"names of patients\" --with \"mail of a patient, names removed\" --yes\n"
               "tocsin evidence redact 42/9 --because \"a private mailbox\" --replace mailbox-cleaned.mbox\n",
    .options = redact_options,
    .least = 1,
    .most = 1,
    .run = redact_run,
};
