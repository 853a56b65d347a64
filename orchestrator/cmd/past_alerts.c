#include "cmd/past_alerts.h"

#include <fts.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/json.h"
#include "cmd/client.h"
#include "cmd/evidence_case.h"
#include "cmd/file.h"
#include "cmd/installed.h"
#include "evidence/leaf.h"
#include "evidence/zip.h"
#include "exercise/backtest.h"
#include "intake/normalise.h"

enum { FILE_CAP = 1 << 30, LIST_MOST = 1000000 };

struct reading {
  const struct cli *cli;
  struct normaliser *normaliser;
  struct past *past;
  const char *path;
};

void past_init(struct past *p) { *p = (struct past){json_array(), json_object(), 0}; }

void past_release(struct past *p) {
  json_decref(p->alerts);
  json_decref(p->recorded);
}

/* --- documents ---------------------------------------------------------------------------------------------------- */

static void add(struct reading *r, const struct normalised *n, size_t number) {
  const char *uid = json_string_value(json_at(n->finding, "metadata.uid"));
  int64_t time = json_int_or(n->finding, "time", 0) * 1000;
  json_t *id =
      uid && *uid ? json_sprintf("%s:%s", n->connector->instance, uid) : json_sprintf("%s:%s:%zu", n->connector->instance, r->path, number);
  json_array_append_new(r->past->alerts,
                        json_pack("{s:o, s:I, s:O, s:O}", "id", id, "time", (json_int_t)(time > 0 ? time : clock_wall(clock_system())),
                                  "finding", n->finding, "raw", n->document));
}

static bool document(struct reading *r, const char *text, size_t len, size_t *number) {
  struct normalised n = {0};
  struct err err;
  size_t i;
  json_t *part;
  if (normalise(r->normaliser, NULL, text, len, &n, &err) < 0) return false;
  ++*number;
  if (!n.parts) add(r, &n, *number);
  json_array_foreach(n.parts, i, part) {
    char *alone = json_text(part);
    if (!alone || !document(r, alone, strlen(alone), number)) r->past->unreadable++;
    free(alone);
  }
  normalised_release(&n);
  return true;
}

static bool blank(const char *text, size_t len) {
  for (size_t i = 0; i < len; i++)
    if (!strchr(" \t\r\n", text[i])) return false;
  return true;
}

/* A text of several lines may be one document over all of them, or a document a line. */
static void documents(struct reading *r, const char *text, size_t len) {
  const char *first = memchr(text, '\n', len), *end = text + len;
  json_t *whole = NULL;
  size_t number = 0;
  bool one = !first || blank(first, (size_t)(end - first)) || json_parse(text, len, &whole, NULL) == 0;
  json_decref(whole);
  if (one) {
    if (!document(r, text, len, &number)) r->past->unreadable++;
    return;
  }
  for (const char *line = text; line < end;) {
    const char *stop = memchr(line, '\n', (size_t)(end - line));
    size_t n = (size_t)((stop ? stop : end) - line);
    if (!blank(line, n) && !document(r, line, n, &number)) r->past->unreadable++;
    line += n + 1;
  }
}

/* --- bundles ------------------------------------------------------------------------------------------------------------ */

/* The next line of a file of a bundle; false at its end. */
static bool next_line(const char **at, const char *end, const char **line, size_t *len) {
  if (*at >= end) return false;
  const char *stop = memchr(*at, '\n', (size_t)(end - *at));
  *line = *at;
  *len = (size_t)((stop ? stop : end) - *at);
  *at += *len + 1;
  return true;
}

static int bundled_entry(const char *head, size_t head_len, const char *body, size_t body_len, struct entry **ret, struct err *err) {
  uint8_t *envelope = NULL;
  char leaf[DIGEST_HEX];
  size_t len = 0;
  const char *encoded = memchr(body, ' ', body_len);
  leaf_hash(head, head_len, leaf);
  if (encoded && encoded[1] != '-') {
    char *text = strndup(encoded + 1, body_len - (size_t)(encoded + 1 - body));
    envelope = base64_decode(text, strlen(text), &len);
    free(text);
    if (!envelope) return err_set(err, ERR_INVALID, "a body is not base64");
  }
  int r = entry_read(head, head_len, leaf, envelope, len, ret, err);
  free(envelope);
  return r;
}

static int bundled_case(const struct zip_file *heads, const struct zip_file *bodies, const char *incident, struct past *p,
                        struct err *err) {
  const char *head_at = heads->bytes, *body_at = bodies->bytes, *head, *body;
  size_t head_len, body_len, count = 0, cap = 0;
  struct entry **entries = NULL;
  int r = 0;
  while (r == 0 && next_line(&head_at, heads->bytes + heads->len, &head, &head_len) &&
         next_line(&body_at, bodies->bytes + bodies->len, &body, &body_len)) {
    if (count == cap && !(entries = realloc(entries, (cap = cap ? 2 * cap : 64) * sizeof(struct entry *)))) abort();
    r = bundled_entry(head, head_len, body, body_len, &entries[count], err);
    if (r == 0) count++;
  }
  if (r == 0) backtest_read(incident, entries, count, p->alerts, p->recorded);
  for (size_t i = 0; i < count; i++) entry_free(entries[i]);
  free(entries);
  return r;
}

static int bundle(const char *bytes, size_t len, struct past *p, struct err *err) {
  struct zip z = {0};
  int r = zip_read(bytes, len, &z, err);
  for (size_t i = 0; r == 0 && i < z.count; i++) {
    char incident[ID_INCIDENT] = "", name[ZIP_NAME];
    const char *file = z.files[i].name;
    if (strncmp(file, "incidents/", 10) != 0 || !strstr(file, "/heads")) continue;
    snprintf(incident, sizeof incident, "%.*s", (int)strcspn(file + 10, "/"), file + 10);
    snprintf(name, sizeof name, "incidents/%s/bodies", incident);
    const struct zip_file *bodies = zip_find(&z, name);
    r = bodies ? bundled_case(&z.files[i], bodies, incident, p, err) : err_set(err, ERR_INVALID, "%s is not in it", name);
  }
  zip_release(&z);
  return r;
}

/* --- files and folders ------------------------------------------------------------------------------------------------------- */

static int journal(const char *text, size_t len, struct past *p, struct err *err) {
  struct evidence_case c;
  int r = evidence_case_read(text, len, &c, err);
  if (r < 0) return r;
  backtest_read(c.id, c.entries, c.count, p->alerts, p->recorded);
  evidence_case_release(&c);
  return 0;
}

static int one_file(struct reading *r, const char *path) {
  struct buf text;
  struct err err = {0};
  buf_init(&text, FILE_CAP);
  r->path = path;
  int code = file_read(path, &text, &err);
  if (code == 0 && text.len > 4 && memcmp(text.data, "PK\3\4", 4) == 0) code = bundle(text.data, text.len, r->past, &err);
  else if (code == 0 && text.len > 9 && memcmp(text.data, "{\"head\":\"", 9) == 0) code = journal(text.data, text.len, r->past, &err);
  else if (code == 0) documents(r, text.data, text.len);
  if (code < 0 && err.code != ERR_IO) err_wrap(&err, "%s", path);
  buf_release(&text);
  return code < 0 ? cli_fail(r->cli, &err) : EXIT_DONE;
}

static int by_name(const FTSENT **a, const FTSENT **b) { return strcmp((*a)->fts_name, (*b)->fts_name); }

static int all_files(struct reading *r, const char *folder) {
  char *path = strdup(folder), *paths[] = {path, NULL};
  FTS *walk = fts_open(paths, FTS_PHYSICAL | FTS_NOCHDIR, by_name);
  FTSENT *at;
  int status = EXIT_DONE;
  while (walk && status == EXIT_DONE && (at = fts_read(walk))) {
    if (at->fts_level > 0 && at->fts_name[0] == '.' && at->fts_info == FTS_D) fts_set(walk, at, FTS_SKIP);
    if (at->fts_info == FTS_F && at->fts_name[0] != '.') status = one_file(r, at->fts_path);
  }
  if (walk) fts_close(walk);
  free(path);
  return status;
}

int past_from_path(const struct cli *cli, const json_t *settings, const char *path, struct past *p) {
  struct registry *registry = NULL;
  struct err err = {0};
  struct stat info;
  if (stat(path, &info) < 0) {
    err_errno(&err, "cannot read %s", path);
    return cli_fail(cli, &err);
  }
  if (registry_new(installed_folder(settings, "connectors"), NULL, &registry, &err) < 0) return cli_fail(cli, &err);
  struct reading r = {.cli = cli, .past = p};
  r.normaliser = normaliser_new(registry, json_object_get(json_object_get(settings, "webhook"), "sources"));
  int status = S_ISDIR(info.st_mode) ? all_files(&r, path) : one_file(&r, path);
  normaliser_free(r.normaliser);
  registry_free(registry);
  return status;
}

/* --- the service --------------------------------------------------------------------------------------------------------------- */

int past_each(const struct cli *cli, int64_t since, past_case_cb *cb, void *arg) {
  json_t *answer = NULL, *row;
  size_t i;
  int status = client_ask(cli, json_pack("{s:s, s:i}", "command", "incident.list", "limit", LIST_MOST), &answer);
  json_array_foreach(json_object_get(answer, "incidents"), i, row) {
    struct evidence_case c;
    const char *id = json_str_or(row, "id", "");
    if (status != EXIT_DONE || json_int_or(row, "opened", 0) < since || id_exercise(id)) continue;
    status = evidence_case_open(cli, id, &c);
    if (status != EXIT_DONE) break;
    cb(arg, &c);
    evidence_case_release(&c);
  }
  json_decref(answer);
  return status;
}

static void read_case(void *arg, const struct evidence_case *c) {
  struct past *p = arg;
  backtest_read(c->id, c->entries, c->count, p->alerts, p->recorded);
}

int past_from_service(const struct cli *cli, int64_t since, struct past *p) { return past_each(cli, since, read_case, p); }
