/* `tocsin evidence verify|export`: the journal's chain, also offline. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/id.h"
#include "base/json.h"
#include "cmd/client.h"
#include "cmd/evidence_case.h"
#include "cmd/evidence_files.h"
#include "cmd/evidence_log.h"
#include "cmd/file.h"
#include "cmd/options.h"
#include "journal/journal.h"

enum { FILE_CAP = 2000 << 20 };

static int verified(const struct cli *cli, const char *what, const char *text, size_t len) {
  struct err err = {0};
  uint64_t count = 0, removed = 0;
  bool ok = journal_verify_export(text, len, &count, &removed, &err) == 0;
  if (cli->json) {
    json_t *value = json_pack("{s:s, s:b, s:I, s:I, s:s*}", "what", what, "ok", ok, "entries", (json_int_t)count, "removed",
                              (json_int_t)removed, "why", ok ? NULL : err.text);
    cli_json(cli, value);
    json_decref(value);
  } else if (ok) {
    printf("%s: %" PRIu64 " entries, unbroken: nothing was changed, removed or put in between.\n", what, count);
    if (removed)
      printf("The bodies of %" PRIu64 " of them are gone: entries of type body.removing say which, when, by whom and why.\n", removed);
  } else {
    err_wrap(&err, "%s: the chain is BROKEN", what);
    cli_fail(cli, &err);
  }
  return ok ? EXIT_DONE : EXIT_FAILED;
}

/* What a journal cannot show must not seem to have been checked. */
static int anchors_refuse(const struct cli *cli, const struct options *o) {
  if (!options_get(o, "tsa-ca") && !options_get(o, "witness")) return EXIT_DONE;
  return cli_misuse(cli, "a journal by itself bears no stamps and no cosignatures: --tsa-ca and --witness want a bundle, or a log's folder "
                         "such as evidence/log");
}

static int file_verify(const struct cli *cli, const struct options *o, const char *path) {
  struct buf text;
  struct err err = {0};
  buf_init(&text, FILE_CAP);
  int status;
  if (file_read(path, &text, &err) < 0) status = cli_fail(cli, &err);
  else if (text.len >= 2 && memcmp(text.data, "PK", 2) == 0) status = evidence_bundle_verify(cli, o, path, &text);
  else if ((status = anchors_refuse(cli, o)) == EXIT_DONE) status = verified(cli, path, text.data, text.len);
  buf_release(&text);
  return status;
}

static int verify_run(struct cli *cli, const struct options *o) {
  const char *what = options_word(o, 0);
  char id[ID_PATH];
  struct id parsed;
  json_t *answer = NULL;
  struct stat st;
  if (stat(what, &st) == 0 && S_ISDIR(st.st_mode)) return evidence_log_verify(cli, o, what);
  if (strcmp(what, "-") == 0 || access(what, F_OK) == 0) return file_verify(cli, o, what);
  if (!id_parse(what, &parsed)) return cli_misuse(cli, "there is no file %.200s, and it is no incident's id", what);
  int status = anchors_refuse(cli, o);
  if (status == EXIT_DONE) status = evidence_fetch(cli, what, &answer, id);
  if (status != EXIT_DONE) return status;
  const json_t *lines = json_object_get(answer, "lines");
  status = verified(cli, id, json_string_value(lines) ? json_string_value(lines) : "", json_string_length(lines));
  json_decref(answer);
  return status;
}

static const struct option_spec verify_options[] = {
    {.name = "key", .value = "KEY", .text = "for a bundle or a sealed log: its verifier key, or a file that holds it"},
    {.name = "checkpoint", .value = "FILE", .text = "for these: a checkpoint kept from earlier, which the log must go on from"},
    {.name = "tsa-ca",
     .value = "FILE",
     .text = "for a bundle or a log's folder: a checkpoint must bear a time stamp that leads to this CA (PEM), and no stamp be bad"},
    {.name = "witness", .value = "KEY", .text = "for these: a checkpoint must be cosigned by the witness of this verifier key"},
    {.name = "plain", .text = "for a sealed log of other things than journal entries"},
    {0}};

static const struct command evidence_verify = {
    .name = "verify",
    .args = "INCIDENT|FILE|BUNDLE|FOLDER",
    .text = "check that no entry of a journal was changed, removed or put in between",
    .more = "A file made by `tocsin evidence export` is checked without `tocsin serve` and without any settings. The first broken entry is "
            "named. Exit status 1 when it is broken. A bundle (ZIP) and a folder are sealed: every entry, proof, tile and signature is "
            "checked, "
            "and every fault named by kind and place; what is not signed never passes. The program tocsin-verify checks the same without "
            "sharing any code.",
    .example = "tocsin evidence verify 42\ntocsin evidence verify INC-000042.zip --key "
               "example.com/ir/evidence+…\n",
    .options = verify_options,
    .least = 1,
    .most = 1,
    .run = verify_run,
};

static bool is_zip(const char *file) {
  size_t n = file ? strlen(file) : 0;
  return n > 4 && strcmp(file + n - 4, ".zip") == 0;
}

static int lines_export(const struct cli *cli, const char *word, const char *file) {
  char id[ID_PATH], name[ID_PATH + 8];
  struct err err = {0};
  json_t *answer = NULL;
  int status = evidence_fetch(cli, word, &answer, id);
  if (status != EXIT_DONE) return status;
  const json_t *lines = json_object_get(answer, "lines");
  snprintf(name, sizeof name, "%s.jsonl", id);
  if (!file) file = name;
  if (!json_is_string(lines)) err_set(&err, ERR_INTERNAL, "the answer holds no journal");
  if (err.code || file_write(file, json_string_value(lines), json_string_length(lines), &err) < 0) status = cli_fail(cli, &err);
  else if (strcmp(file, "-") != 0 && !cli->json) printf("Written to %s. Check it anywhere: tocsin evidence verify %s\n", file, file);
  json_decref(answer);
  return status;
}

static int export_run(struct cli *cli, const struct options *o) {
  const char *file = options_get(o, "output"), *word = options_count(o) ? options_word(o, 0) : NULL;
  bool period = options_get(o, "from") || options_get(o, "to");
  if (!word == !period) return cli_misuse(cli, "say which: an incident, or --from and --to for all of a period");
  if (is_zip(file)) return evidence_bundle_export(cli, o, word, file);
  if (period) return cli_misuse(cli, "a period is exported as a bundle: -o FILE.zip");
  return lines_export(cli, word, file);
}

static const struct option_spec export_options[] = {
    {.name = "output",
     .value = "FILE",
     .text =
         "where to: FILE.zip is a bundle, anything else the journal's lines (default: INCIDENT.jsonl; - is standard output); -o for short"},
    {.name = "from", .value = "TIME", .text = "for a period's bundle: incidents that were open at this time or later (RFC 3339)"},
    {.name = "to", .value = "TIME", .text = "and that were opened before this time"},
    {.name = "key", .value = "KEY", .text = "for a bundle: the log's verifier key, or a file that holds it (default: this node's)"},
    {.name = "log", .value = "FOLDER", .text = "the sealed log (default: this node's)"},
    {.name = "checkpoint", .value = "FILE", .text = "a checkpoint kept from earlier, to prove that the log goes on from it"},
    {.name = "wait", .value = "DURATION", .text = "how long to wait for entries that are not sealed yet (default: 5s)"},
    {0}};

static const struct command evidence_export = {
    .name = "export",
    .args = "[INCIDENT|FILE]",
    .text = "an incident's journal as a file, or a bundle that proves it",
    .more =
        "A bundle is one ZIP for somebody who does not trust us: every head and body, the proof that each stands in the signed log, a "
        "report to "
        "read, a table, OCSF and STIX, and the digest of every file. It is checked by tocsin evidence verify, by tocsin-verify, or by hand "
        "(runbooks/verify-evidence.md). Entries that are not sealed yet are waited for, then named.",
    .example = "tocsin evidence export 42 -o case.jsonl\ntocsin evidence export 42 -o INC-000042.zip\n"
               "tocsin evidence export --from 2026-01-01T00:00:00Z --to 2026-04-01T00:00:00Z -o Q1.zip\n",
    .options = export_options,
    .least = 0,
    .most = 1,
    .run = export_run,
};

static const struct command *const subs[] = {&evidence_add,
                                             &evidence_list,
                                             &evidence_get,
                                             &evidence_transfer,
                                             &evidence_acknowledge,
                                             &evidence_hold,
                                             &evidence_release_hold,
                                             &evidence_delete,
                                             &evidence_verify,
                                             &evidence_export,
                                             &evidence_report,
                                             &evidence_search,
                                             &evidence_coverage,
                                             &evidence_rebuild,
                                             &evidence_drill,
                                             &evidence_redact,
                                             &evidence_key,
                                             &evidence_keygen,
                                             NULL};

const struct command cmd_evidence = {.name = "evidence",
                                     .text = "check and hand out what is on record",
                                     .example =
                                         "tocsin evidence export 42 -o INC-000042.zip\ntocsin evidence report 42 -o INC-000042.html\n",
                                     .subs = subs};
