/* `tocsin evidence search` and `rebuild`: the sealed log by what its entries say, without `tocsin serve`. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/id.h"
#include "base/json.h"
#include "cmd/client.h"
#include "cmd/evidence_log.h"
#include "cmd/options.h"
#include "cmd/sealing.h"
#include "cmd/view.h"
#include "evidence/archive.h"
#include "evidence/store.h"
#include "journal/entry.h"

enum { HITS = 100, HITS_MOST = 100000, HEAD_CAP = 1 << 16 };

/* ---- search */

struct search {
  struct archive *archive;
  json_t *hits;
};

static bool hit_add(void *arg, uint64_t index, const char *journal, uint64_t seq, int64_t time, const char *kind) {
  struct search *s = arg;
  char at[TIME_TEXT];
  struct buf bytes;
  json_t *head = NULL;
  buf_init(&bytes, HEAD_CAP);
  if (archive_head(s->archive, index, &bytes, NULL) == 0) json_parse_stored(bytes.data, bytes.len, &head, NULL);
  time_format(time, at);
  enum kind k = kind_by_name(kind);
  json_array_append_new(s->hits,
                        json_pack("{s:s, s:I, s:s, s:s, s:s, s:s, s:s, s:I}", "incident", journal, "seq", (json_int_t)seq, "time", at,
                                  "type", kind, "actor", json_str_or(head, "actor", ""), "meaning", k < KIND_COUNT ? kind_meaning(k) : "",
                                  "control", k < KIND_COUNT ? kind_control(k) : "", "index", (json_int_t)index));
  json_decref(head);
  buf_release(&bytes);
  return true;
}

int evidence_extent(struct archive *archive, bool texts, json_t *answer, struct err *err) {
  uint64_t known = 0, read = 0;
  int r = catalogue_extent(archive_catalogue(archive), &known, &read, err);
  if (r == 0) r = archive_renew(archive, err);
  if (r < 0) return r;
  json_object_set_new(answer, "sealed", json_integer((json_int_t)archive_checkpoint(archive)->size));
  json_object_set_new(answer, "searched", json_integer((json_int_t)(texts ? read : known)));
  return 0;
}

void evidence_extent_view(struct view *v, const json_t *answer) {
  json_int_t left = json_int_or(answer, "sealed", 0) - json_int_or(answer, "searched", 0);
  if (left > 0)
    view_put(v, "the newest %lld of %lld sealed entries are not in the catalogue yet: `tocsin serve` adds them when it has less to do\n",
             (long long)left, (long long)json_int_or(answer, "sealed", 0));
}

static void hits_view(struct view *v, const json_t *answer) {
  static const char *const head[] = {"TIME (UTC)", "ENTRY", "WHO", "WHAT", "CONTROL", NULL};
  struct table t;
  size_t i;
  json_t *hit;
  const json_t *hits = json_object_get(answer, "hits");
  table_init(&t, head);
  json_array_foreach((json_t *)(uintptr_t)hits, i, hit) {
    char entry[ID_PATH], when[24];
    snprintf(entry, sizeof entry, "%.60s #%lld", json_str_or(hit, "incident", ""), (long long)json_int_or(hit, "seq", 0));
    snprintf(when, sizeof when, "%.10s %.8s", json_str_or(hit, "time", ""), json_str_or(hit, "time", "0000-00-00T") + 11);
    const char *cells[] = {when, entry, json_str(hit, "actor"), json_str(hit, "type"), json_str(hit, "control")};
    table_row(&t, STYLE_PLAIN, cells);
  }
  table_print(&t, v);
  view_put(v, "%zu entries%s\n", json_array_size(hits),
           json_is_true(json_object_get(answer, "more")) ? "; there are more: raise --limit" : "");
  evidence_extent_view(v, answer);
}

/* The types of entries that are evidence for the control; their count. */
static size_t kinds_of(const char *control, const char *kinds[KIND_COUNT + 1]) {
  size_t n = 0;
  for (int k = 0; k < KIND_COUNT; k++)
    if (strcasecmp(kind_control((enum kind)k), control) == 0) kinds[n++] = kind_name((enum kind)k);
  kinds[n] = NULL;
  return n;
}

int evidence_moment(const struct cli *cli, const struct options *o, const char *name, int64_t *ret) {
  char whole[TIME_TEXT];
  const char *text = options_get(o, name);
  if (!text) return EXIT_DONE;
  snprintf(whole, sizeof whole, "%.10sT00:00:00Z", text);
  if (time_parse(text, ret) || (strlen(text) == 10 && time_parse(whole, ret))) return EXIT_DONE;
  return cli_misuse(cli, "--%s is a day or a time such as 2026-01-31 or 2026-01-31T08:00:00Z, not %.40s", name, text);
}

/* The folder of the settings, opened with its own key or the one given. */
int evidence_archive(const struct cli *cli, const struct options *o, struct archive **ret) {
  struct note_signer signer = {0};
  struct err err = {0};
  json_t *settings = cli_settings(cli, NULL);
  if (!settings) return EXIT_FAILED;
  const char *key = options_get(o, "key"), *folder = options_get(o, "folder");
  int r = key ? evidence_key_read(key, &signer.verifier, &err) : evidence_key_load(settings, NULL, &signer, &err);
  if (r == 0) r = archive_open(folder ? folder : evidence_folder(settings), &signer.verifier, ret, &err);
  note_signer_wipe(&signer);
  json_decref(settings);
  return r < 0 ? cli_fail(cli, &err) : EXIT_DONE;
}

static int query_make(const struct cli *cli, const struct options *o, struct catalogue_query *q, const char *kinds[KIND_COUNT + 1],
                      char incident[ID_PATH]) {
  const char *control = options_get(o, "control"), *word = options_get(o, "incident"), *limit = options_get(o, "limit");
  char *end = NULL;
  unsigned long most = limit ? strtoul(limit, &end, 10) : HITS;
  q->match = options_word(o, 0);
  q->most = most + 1;
  if (limit && (*end || most < 1 || most > HITS_MOST)) return cli_misuse(cli, "--limit is a number from 1 to %d", HITS_MOST);
  if (control && !kinds_of(control, kinds))
    return cli_misuse(cli, "no entry is evidence for the control %.40s; they read like A.5.26", control);
  if (control) q->kinds = kinds;
  int status = evidence_moment(cli, o, "from", &q->from);
  if (status == EXIT_DONE) status = evidence_moment(cli, o, "to", &q->to);
  if (status == EXIT_DONE && word && strncmp(word, "node-", 5) == 0) q->journal = word;
  else if (status == EXIT_DONE && word && (status = client_id(cli, word, incident)) == EXIT_DONE) q->journal = incident;
  return status;
}

static int search_run(struct cli *cli, const struct options *o) {
  const char *kinds[KIND_COUNT + 1];
  char incident[ID_PATH];
  struct catalogue_query q = {.match = NULL};
  struct search s = {.archive = NULL};
  struct err err = {0};
  int status = query_make(cli, o, &q, kinds, incident);
  if (status == EXIT_DONE) status = evidence_archive(cli, o, &s.archive);
  if (status != EXIT_DONE) return status;
  s.hits = json_array();
  json_t *answer = json_pack("{s:O}", "hits", s.hits);
  /* How far it reaches is asked first: what comes in meanwhile is found, and not promised. */
  int r = evidence_extent(s.archive, q.match, answer, &err);
  if (r == 0) r = catalogue_search(archive_catalogue(s.archive), &q, hit_add, &s, &err);
  if (r < 0) {
    status = cli_fail(cli, &err);
  } else {
    bool more = json_array_size(s.hits) == q.most;
    if (more) json_array_remove(s.hits, q.most - 1);
    json_object_set_new(answer, "more", json_boolean(more));
    client_print(cli, answer, hits_view);
  }
  json_decref(answer);
  json_decref(s.hits);
  archive_close(s.archive);
  return status;
}

static const struct option_spec search_options[] = {
    {.name = "from", .value = "TIME", .text = "not before this day or time (UTC)"},
    {.name = "to", .value = "TIME", .text = "before this day or time (UTC)"},
    {.name = "control", .value = "CONTROL", .text = "only what is evidence for this control of ISO 27001 Annex A, like A.5.26"},
    {.name = "incident", .value = "INCIDENT", .text = "only this incident's, or a node's: node-n1"},
    {.name = "limit", .value = "N", .text = "so many at most, the newest first (default: 100)"},
    {.name = "folder", .value = "FOLDER", .text = "another evidence folder than the settings'"},
    {.name = "key", .value = "KEY", .text = "its verifier key, or a file that holds it"},
    {0}};

const struct command evidence_search = {
    .name = "search",
    .args = "[WORDS]",
    .text = "find sealed entries by what they say: actors, kinds, targets and texts",
    .more = "WORDS are words, \"a phrase\", AND, OR, NOT, a beginning with a star. It reads the evidence folder itself, so it needs the "
            "right to, and not "
            "`tocsin serve`. What was removed is not found.",
    .example =
        "tocsin evidence search 'alice AND contain' --from 2026-01-01 --control A.5.26\ntocsin evidence search --incident 42 --json\n",
    .options = search_options,
    .most = 1,
    .run = search_run,
};

/* ---- rebuild */

static int rebuild_run(struct cli *cli, const struct options *o) {
  struct note_signer signer = {0};
  struct store *store = NULL;
  struct err err = {0};
  json_t *settings = cli_settings(cli, NULL);
  if (!settings) return EXIT_FAILED;
  int r = evidence_key_load(settings, NULL, &signer, &err);
  if (r == 0 && (r = store_open(evidence_folder(settings), &signer, NULL, NULL, &store, &err)) == ERR_CONFLICT)
    err_set(&err, r,
            "`tocsin serve` writes there: stop it first (or remove the damaged catalogue.db and start it again: it makes it anew)");
  if (r == 0) r = store_rebuild(store, &err);
  note_signer_wipe(&signer);
  if (r < 0) cli_fail(cli, &err);
  json_t *value = r == 0 ? json_pack("{s:s, s:I}", "folder", evidence_folder(settings), "entries", (json_int_t)store_size(store)) : NULL;
  if (value && !cli_json(cli, value))
    printf("%s: the catalogue of %" PRIu64 " entries was made anew\n", evidence_folder(settings), store_size(store));
  json_decref(value);
  store_close(store);
  json_decref(settings);
  return r < 0 ? EXIT_FAILED : EXIT_DONE;
}

const struct command evidence_rebuild = {
    .name = "rebuild",
    .text = "make the catalogue of the sealed log anew",
    .more = "The catalogue is derived from the log alone; damage to it loses nothing.",
    .example = "tocsin evidence rebuild\n",
    .run = rebuild_run,
};
