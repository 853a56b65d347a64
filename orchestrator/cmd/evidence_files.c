/* `tocsin evidence add|list|get|…`: files in custody. The bytes travel in pieces, so that neither side holds a file in memory. */
#include "cmd/evidence_files.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/digest.h"
#include "base/id.h"
#include "base/json.h"
#include "base/utf8.h"
#include "cmd/client.h"
#include "cmd/options.h"
#include "cmd/view.h"

enum { BLOCK = 1 << 20, BASE64_MOST = 1 << 20 };

/* INCIDENT [ITEM]: as the words of a command; new command object, NULL after printing. */
static json_t *asked(const struct cli *cli, const struct options *o, const char *command, bool item) {
  char id[ID_PATH], *end = NULL;
  if (client_id(cli, options_word(o, 0), id) != EXIT_DONE) return NULL;
  id[strcspn(id, "/")] = '\0';
  json_t *ask = json_pack("{s:s, s:s}", "command", command, "id", id);
  if (!item) return ask;
  long long n = strtoll(options_word(o, 1), &end, 10);
  if (*end || n < 1) {
    cli_misuse(cli, "\"%.40s\" is no file's number; `tocsin evidence list %s` shows them", options_word(o, 1), id);
    json_decref(ask);
    return NULL;
  }
  json_object_set_new(ask, "item", json_integer(n));
  return ask;
}

static void give(json_t *ask, const struct options *o, const char *option, const char *as) {
  const char *text = options_get(o, option);
  if (text) json_object_set_new(ask, as, json_string(text));
}

/* ---- add */

struct source {
  int fd;
  const char *path;
  struct stat st;
  char sha256[DIGEST_HEX];
};

static int source_open(const char *path, struct source *s, struct err *err) {
  /* Not to be kept waiting by a pipe that nobody writes to. */
  *s = (struct source){.fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY), .path = path};
  if (s->fd < 0 && errno == ENOENT) return err_set(err, ERR_NOT_FOUND, "there is no file %.400s", path);
  if (s->fd < 0) return err_errno(err, "cannot read %.400s", path);
  if (fstat(s->fd, &s->st) < 0) return err_errno(err, "cannot look at %.400s", path);
  if (S_ISDIR(s->st.st_mode)) return err_set(err, ERR_INVALID, "%.400s is a folder: pack it (tar, zip), and add that", path);
  if (!S_ISREG(s->st.st_mode)) return err_set(err, ERR_INVALID, "%.400s is no ordinary file: copy it into one, and add that", path);
  return 0;
}

/* Fewer than len only at the end. */
static ssize_t read_full(int fd, char *out, size_t len, off_t at) {
  size_t done = 0;
  while (done < len) {
    ssize_t n = pread(fd, out + done, len - done, at + (off_t)done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return -1;
    if (n == 0) break;
    done += (size_t)n;
  }
  return (ssize_t)done;
}

static int source_digest(struct source *s, struct err *err) {
  char *block = malloc(BLOCK);
  struct digest_stream *d = digest_stream_new();
  ssize_t n;
  if (!block) abort();
  for (off_t at = 0; (n = read_full(s->fd, block, BLOCK, at)) > 0; at += n) digest_stream_add(d, block, (size_t)n);
  digest_stream_end(d, s->sha256);
  free(block);
  return n < 0 ? err_errno(err, "cannot read %.400s", s->path) : 0;
}

static int piece_send(const struct cli *cli, const json_t *begun, const char *id, int64_t at, const char *bytes, size_t len) {
  char *data = base64_encode(bytes, len);
  json_t *answer = NULL;
  int status = client_ask(cli,
                          json_pack("{s:s, s:s, s:O, s:I, s:s}", "command", "evidence.piece", "id", id, "upload",
                                    json_object_get(begun, "upload"), "offset", (json_int_t)at, "data", data),
                          &answer);
  json_decref(answer);
  free(data);
  return status;
}

/* What is there when it is read for the second time; the other side compares. */
static int pieces_send(const struct cli *cli, const struct source *s, const json_t *begun, const char *id) {
  size_t piece = (size_t)json_int_or(begun, "piece", 1);
  char *block = malloc(piece);
  int status = EXIT_DONE;
  ssize_t n = 0;
  if (!block) abort();
  for (off_t at = 0; status == EXIT_DONE && at < s->st.st_size; at += n) {
    size_t want = s->st.st_size - at < (off_t)piece ? (size_t)(s->st.st_size - at) : piece;
    n = read_full(s->fd, block, want, at);
    if (n < 0) status = cli_fail(cli, &(struct err){ERR_IO, "the file cannot be read any more; nothing was kept"});
    if (n <= 0) break; /* shorter now: the other side says so */
    status = piece_send(cli, begun, id, at, block, (size_t)n);
  }
  free(block);
  return status;
}

static void local_time(char out[40]) {
  time_t now = time(NULL);
  struct tm t;
  char zone[8];
  localtime_r(&now, &t);
  strftime(out, 30, "%Y-%m-%dT%H:%M:%S", &t);
  strftime(zone, sizeof zone, "%z", &t); /* +0100 */
  snprintf(out + strlen(out), 10, "%.3s:%s", zone, zone + 3);
}

/* A file may be called anything; the record has text. */
static json_t *path_text(const char *path) {
  char *copy = strdup(path);
  if (!copy) abort();
  utf8_mend(copy, strlen(copy));
  json_t *text = json_string(copy);
  free(copy);
  return text;
}

static json_t *begin_make(const char *id, const struct source *s, const json_t *facts) {
  char now[40];
  const char *slash = strrchr(s->path, '/');
  json_t *ask = json_pack("{s:s, s:s}", "command", "evidence.begin", "id", id);
  local_time(now);
  json_object_set_new(ask, "collected", json_string(now));
  json_object_set_new(ask, "from", path_text(s->path));
  json_object_set_new(ask, "name", path_text(slash ? slash + 1 : s->path));
  json_object_set_new(ask, "size", json_integer(s->st.st_size));
  json_object_set_new(ask, "sha256_before", json_string(s->sha256));
  json_object_update(ask, (json_t *)(uintptr_t)facts);
  return ask;
}

static void added(struct view *v, const json_t *answer) {
  view_put(v, "Kept as file %lld of ", (long long)json_int_or(answer, "item", 0));
  view_id(v, json_str_or(answer, "id", ""));
  view_put(v, ": %lld bytes, SHA-256 %s\n", (long long)json_int_or(answer, "size", 0), json_str_or(answer, "sha256", ""));
}

static int source_add(const struct cli *cli, const char *id, const struct source *s, const json_t *facts, json_t **ret_answer) {
  json_t *begun = NULL;
  int status = client_ask(cli, begin_make(id, s, facts), &begun);
  if (status == EXIT_DONE) status = pieces_send(cli, s, begun, id);
  if (status == EXIT_DONE)
    status =
        client_ask(cli, json_pack("{s:s, s:s, s:O}", "command", "evidence.finish", "id", id, "upload", json_object_get(begun, "upload")),
                   ret_answer);
  json_decref(begun);
  return status;
}

int evidence_file_put(const struct cli *cli, const char *incident, const char *path, const json_t *facts, json_t **ret_answer) {
  struct source s;
  struct err err = {0};
  char *socket = client_socket(cli); /* found once, not for every piece */
  if (!socket) return EXIT_FAILED;
  struct cli once = *cli;
  once.socket_option = socket;
  int r = source_open(path, &s, &err);
  if (r == 0) r = source_digest(&s, &err);
  int status = r < 0 ? cli_fail(cli, &err) : source_add(&once, incident, &s, facts, ret_answer);
  if (s.fd >= 0) close(s.fd);
  free(socket);
  return status;
}

static int add_run(struct cli *cli, const struct options *o) {
  static const char *const texts[][2] = {{"because", "because"}, {"source", "source"},   {"from", "from"},   {"to", "to"},
                                         {"tool", "tool"},       {"by", "collected_by"}, {"class", "class"}, {"hold", "hold"},
                                         {"time", "collected"},  {"name", "name"}};
  int64_t when;
  const char *time_given = options_get(o, "time");
  if (time_given && !time_parse(time_given, &when))
    return cli_misuse(cli, "--time: \"%.60s\" is no time; write 2026-11-23T18:42:00+01:00", time_given);
  json_t *ask = asked(cli, o, "evidence.begin", false), *facts = json_object(), *answer = NULL;
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) give(facts, o, texts[i][0], texts[i][1]);
  int status = ask ? evidence_file_put(cli, json_str_or(ask, "id", ""), options_word(o, 1), facts, &answer) : EXIT_USAGE;
  if (status == EXIT_DONE) client_print(cli, answer, added);
  json_decref(ask);
  json_decref(facts);
  json_decref(answer);
  return status;
}

static const struct option_spec add_options[] = {
    {.name = "because", .value = "TEXT", .text = "why it is collected", .required = true},
    {.name = "source", .value = "TEXT", .text = "what it comes from: a host, a disk, a product, with its serial number or address"},
    {.name = "from", .value = "PLACE", .text = "where it lay (default: the path given)"},
    {.name = "to", .value = "PLACE", .text = "where it goes (default: the node's evidence folder)"},
    {.name = "tool", .value = "NAME VERSION", .text = "with what it was collected, such as \"dd (coreutils) 9.1\""},
    {.name = "by", .value = "NAME", .text = "who collected it, when that was somebody else"},
    {.name = "time", .value = "TIME", .text = "when, with its zone (default: now)"},
    {.name = "name", .value = "NAME", .text = "what it is called (default: the file's name)"},
    {.name = "class", .value = "CLASS", .text = "how long it is kept at least: one of the setting evidence.classes"},
    {.name = "hold", .value = "TEXT", .text = "puts it under a legal hold at once, for this reason"},
    {0}};

const struct command evidence_add = {
    .name = "add",
    .args = "INCIDENT FILE",
    .text = "take a file into custody",
    .more = "The file is read twice: its digest before, and while it is kept; when they differ, nothing is kept. It is encrypted under a "
            "key of its own, read back from the disk, "
            "and only then named by an entry. What the setting evidence.file_most_mib says is the largest.",
    .example = "tocsin evidence add 42 memory.lime --because \"memory of web1 before the reboot\" --source \"web1, 10.0.0.7\" --tool "
               "\"LiME 1.9.1\"\n",
    .options = add_options,
    .least = 2,
    .most = 2,
    .run = add_run,
};

/* ---- list */

static void row_show(struct table *t, const json_t *file) {
  char item[24], size[24], until[TIME_TEXT], state[300];
  snprintf(item, sizeof item, "%lld", (long long)json_int_or(file, "item", 0));
  snprintf(size, sizeof size, "%lld", (long long)json_int_or(file, "size", 0));
  if (!json_object_get(file, "size")) size[0] = 0;
  time_format(json_int_or(file, "retain_until", 0), until);
  until[json_object_get(file, "retain_until") ? 10 : 0] = 0;
  bool is_deleted = json_object_get(file, "deleted") != NULL, is_held = json_object_get(file, "hold") != NULL;
  const char *to = json_str(file, "to");
  if (is_deleted) snprintf(state, sizeof state, "%s", json_bool_or(file, "removed", false) ? "removed with its entry" : "deleted");
  else
    snprintf(state, sizeof state, "%s%s%.100s%s", is_held ? "HOLD " : "", to ? "with " : "kept at ",
             to ? to : json_str_or(file, "node", "?"), to && !json_object_get(file, "acknowledged") ? ", not acknowledged" : "");
  const char *cells[] = {item,  json_str_or(file, "name", ""),  size, json_str_or(file, "by", ""), json_str_or(file, "class", ""), until,
                         state, json_str_or(file, "sha256", "")};
  table_row(t, is_deleted ? STYLE_DIM : STYLE_PLAIN, cells);
}

static void list_show(struct view *v, const json_t *answer) {
  static const char *const head[] = {"FILE", "NAME", "BYTES", "BY", "CLASS", "KEPT UNTIL", "STATE", "SHA-256", NULL};
  const json_t *files = json_object_get(answer, "files");
  struct table t;
  if (!json_array_size(files)) {
    view_put(v, "No file is in custody.\n");
    return;
  }
  table_init(&t, head);
  table_spare(&t, 4);
  for (size_t i = 0; i < json_array_size(files); i++) row_show(&t, json_array_get(files, i));
  table_print(&t, v);
}

static int list_run(struct cli *cli, const struct options *o) {
  json_t *ask = asked(cli, o, "evidence.list", false);
  return ask ? client_show(cli, ask, list_show) : EXIT_USAGE;
}

const struct command evidence_list = {.name = "list",
                                      .args = "INCIDENT",
                                      .text = "the files in custody: who has them, how long they are kept, what is under a hold",
                                      .example = "tocsin evidence list 42\n",
                                      .least = 1,
                                      .most = 1,
                                      .run = list_run};

/* ---- get */

struct getting {
  evidence_piece_cb *take;
  void *arg;
  struct digest_stream *digest;
  int64_t at, size;
  char sha256[DIGEST_HEX];
};

static int piece_take(struct getting *g, const json_t *answer, struct err *err) {
  const char *data = json_str_or(answer, "data", "");
  size_t len = 0;
  uint8_t *bytes = base64_decode(data, strlen(data), &len);
  g->size = json_int_or(answer, "size", -1);
  snprintf(g->sha256, sizeof g->sha256, "%s", json_str_or(answer, "sha256", ""));
  int r = bytes && g->size >= 0 && (len || g->at == g->size) ? 0 : err_set(err, ERR_INTERNAL, "the file did not come whole");
  if (r == 0) digest_stream_add(g->digest, bytes, len);
  if (r == 0 && len) r = g->take(g->arg, bytes, len, err);
  g->at += (int64_t)len;
  free(bytes);
  return r;
}

int evidence_file_get(const struct cli *cli, const char *incident, long long item, const char *because, evidence_piece_cb *take,
                      void *arg) {
  struct getting g = {.take = take, .arg = arg, .digest = digest_stream_new(), .size = -1};
  struct err err = {0};
  char again[DIGEST_HEX];
  int status = EXIT_DONE;
  do {
    json_t *answer = NULL;
    status = client_ask(cli,
                        json_pack("{s:s, s:s, s:I, s:I, s:s}", "command", "evidence.get", "id", incident, "item", (json_int_t)item,
                                  "offset", (json_int_t)g.at, "because", because),
                        &answer);
    if (status == EXIT_DONE && piece_take(&g, answer, &err) < 0) status = cli_fail(cli, &err);
    json_decref(answer);
  } while (status == EXIT_DONE && g.at < g.size);
  digest_stream_end(g.digest, again);
  if (status == EXIT_DONE && strcmp(again, g.sha256) != 0)
    status = cli_fail(cli, &(struct err){ERR_INVALID, "the file that came is not the one that was collected: its digest differs"});
  return status;
}

struct sink {
  int fd;
  const char *path;
};

static int sink_write(void *arg, const void *bytes, size_t len, struct err *err) {
  const struct sink *s = arg;
  const char *at = bytes;
  while (len) {
    ssize_t n = write(s->fd, at, len);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return err_errno(err, "cannot write %.400s", s->path);
    at += n, len -= (size_t)n;
  }
  return 0;
}

static int get_run(struct cli *cli, const struct options *o) {
  json_t *ask = asked(cli, o, "evidence.get", true);
  struct err err = {0};
  if (!ask) return EXIT_USAGE;
  struct sink s = {.path = options_get(o, "output")};
  bool standard = strcmp(s.path, "-") == 0;
  s.fd = standard ? dup(STDOUT_FILENO) : open(s.path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
  int status = EXIT_DONE;
  if (s.fd < 0) {
    err_errno(&err, "cannot make %.400s", s.path);
    status = cli_fail(cli, &err);
  } else {
    status = evidence_file_get(cli, json_str_or(ask, "id", ""), json_int_or(ask, "item", 0), options_get(o, "because"), sink_write, &s);
    if (status == EXIT_DONE && !standard && fsync(s.fd) < 0) err_errno(&err, "cannot write %.400s", s.path), status = cli_fail(cli, &err);
    close(s.fd);
    if (status != EXIT_DONE && !standard) unlink(s.path);
    if (status == EXIT_DONE && !standard && !cli->json)
      printf("Written to %s: it is what was collected. That a copy was taken is on record.\n", s.path);
  }
  json_decref(ask);
  return status;
}

static const struct option_spec get_options[] = {
    {.name = "output", .value = "FILE", .text = "a new file (0600), or - for standard output; -o for short", .required = true},
    {.name = "because", .value = "TEXT", .text = "what the copy is for", .required = true},
    {0}};

const struct command evidence_get = {.name = "get",
                                     .args = "INCIDENT ITEM",
                                     .text = "take a copy of a kept file, on record",
                                     .example = "tocsin evidence get 42 7 -o memory.lime --because \"analysis of the loader\"\n",
                                     .options = get_options,
                                     .least = 2,
                                     .most = 2,
                                     .run = get_run};

/* ---- what only makes an entry */

static void recorded(struct view *v, const json_t *answer) {
  view_put(v, "On record: file %lld of ", (long long)json_int_or(answer, "item", 0));
  view_id(v, json_str_or(answer, "id", ""));
  view_put(v, ", entry %lld.\n", (long long)json_int_or(answer, "seq", 0));
}

static int entry_run(struct cli *cli, const struct options *o, const char *command) {
  json_t *ask = asked(cli, o, command, true);
  if (!ask) return EXIT_USAGE;
  give(ask, o, "because", "because");
  if (strcmp(command, "evidence.transfer") == 0) give(ask, o, "to", "to");
  return client_show(cli, ask, recorded);
}

static int transfer_run(struct cli *cli, const struct options *o) { return entry_run(cli, o, "evidence.transfer"); }
static int acknowledge_run(struct cli *cli, const struct options *o) { return entry_run(cli, o, "evidence.acknowledge"); }
static int hold_run(struct cli *cli, const struct options *o) { return entry_run(cli, o, "evidence.hold"); }
static int release_run(struct cli *cli, const struct options *o) { return entry_run(cli, o, "evidence.release_hold"); }

static int delete_run(struct cli *cli, const struct options *o) {
  int status = cli_confirm(cli, options_flag(o, "yes"), "The file and its key are destroyed, for good. Delete it?");
  return status == EXIT_DONE ? entry_run(cli, o, "evidence.delete") : status;
}

static const struct option_spec because_options[] = {{.name = "because", .value = "TEXT", .text = "why", .required = true}, {0}};
static const struct option_spec transfer_options[] = {{.name = "to", .value = "NAME", .text = "who receives it", .required = true},
                                                      {.name = "because", .value = "TEXT", .text = "why", .required = true},
                                                      {0}};
static const struct option_spec acknowledge_options[] = {
    {.name = "because", .value = "TEXT", .text = "how somebody acknowledged it whom the settings do not name: a receipt, a letter"}, {0}};
static const struct option_spec delete_options[] = {{.name = "because", .value = "TEXT", .text = "why", .required = true},
                                                    {.name = "yes", .text = "do not ask"},
                                                    {0}};

#define ON_ITEM .args = "INCIDENT ITEM", .least = 2, .most = 2
const struct command evidence_transfer = {ON_ITEM,
                                          .name = "transfer",
                                          .text = "write down that a kept file was handed over",
                                          .example =
                                              "tocsin evidence transfer 42 7 --to \"State police, Sgt. Doe\" --because \"case 2026/117\"\n",
                                          .options = transfer_options,
                                          .run = transfer_run};
const struct command evidence_acknowledge = {ON_ITEM,
                                             .name = "acknowledge",
                                             .text = "acknowledge that a file was received",
                                             .more = "A receiver whom the settings name does it in person.",
                                             .example = "tocsin evidence acknowledge 42 7 --because \"signed receipt no. 117\"\n",
                                             .options = acknowledge_options,
                                             .run = acknowledge_run};
const struct command evidence_hold = {ON_ITEM,
                                      .name = "hold",
                                      .text = "put a kept file under a legal hold: nobody may delete it",
                                      .example = "tocsin evidence hold 42 7 --because \"litigation\"\n",
                                      .options = because_options,
                                      .run = hold_run};
const struct command evidence_release_hold = {ON_ITEM,
                                              .name = "release-hold",
                                              .text = "lift a legal hold; needs the role \"lead\"",
                                              .example = "tocsin evidence release-hold 42 7 --because \"settled\"\n",
                                              .options = because_options,
                                              .run = release_run};
const struct command evidence_delete = {ON_ITEM,
                                        .name = "delete",
                                        .text = "destroy a kept file and its key, on record",
                                        .more =
                                            "Refused under a legal hold, and before the end of its class's time but to the role \"lead\".",
                                        .example = "tocsin evidence delete 42 7 --because \"its time is over\"\n",
                                        .options = delete_options,
                                        .run = delete_run};
