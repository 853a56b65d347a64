#include "cmd/sealing.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/json.h"
#include "base/log.h"
#include "cmd/file.h"
#include "journal/archived.h"
#include "journal/feed.h"

enum { KEY_CAP = 4096, PATH_MOST = 4096 };
static const char KEY_SLOT[] = "evidence.key";

/* ---- the key */

int evidence_key_write(const char *path, const struct note_signer *signer, struct err *err) {
  struct buf text;
  int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600), r = 0;
  if (fd < 0 && errno == EEXIST)
    return err_set(err, ERR_EXISTS, "%s is there already and is not written over: name another file with -o", path);
  if (fd < 0) return err_errno(err, "cannot make %s", path);
  buf_init(&text, KEY_CAP);
  note_signer_write(signer, &text);
  buf_addc(&text, '\n');
  if (write(fd, text.data, text.len) != (ssize_t)text.len || fsync(fd) != 0) r = err_errno(err, "cannot write %s", path);
  if (close(fd) != 0 && r == 0) r = err_errno(err, "cannot write %s", path);
  if (r < 0) unlink(path);
  explicit_bzero(text.data, text.len);
  buf_release(&text);
  return r;
}

static const char *data_folder(const json_t *settings) { return json_str_or(settings, "data", "tocsin-data"); }

static void key_path(const json_t *settings, char out[PATH_MOST]) { snprintf(out, PATH_MOST, "%s/evidence.key", data_folder(settings)); }

const char *evidence_folder(const json_t *settings) {
  return json_str_or(json_object_get(settings, "evidence"), "folder", "tocsin-data/evidence");
}

static int key_file_read(const char *path, struct note_signer *ret, struct err *err) {
  struct stat st;
  struct buf text;
  if (stat(path, &st) != 0)
    return errno == ENOENT ? err_set(err, ERR_NOT_FOUND,
                                     "there is no key %s: `tocsin serve` makes it; name the installation's settings by --settings", path)
                           : err_errno(err, "cannot look at %s", path);
  if (st.st_mode & 077)
    return err_set(err, ERR_DENIED, "others can read the key %s: run chmod 600 on it, and think about who has seen it", path);
  buf_init(&text, KEY_CAP);
  int r = file_read(path, &text, err);
  if (r == 0 && (r = note_signer_read(text.data, ret, err)) < 0) err_wrap(err, "%s", path);
  explicit_bzero(text.data, text.len);
  buf_release(&text);
  return r;
}

int evidence_key_load(const json_t *settings, const struct secrets *secrets, struct note_signer *ret, struct err *err) {
  const json_t *evidence = json_object_get(settings, "evidence");
  const char *slot = json_str(json_object_get(evidence, "key"), "$secret"), *origin = json_str(evidence, "origin");
  const char *text = slot && secrets ? secrets_get(secrets, slot, NULL) : NULL;
  char path[PATH_MOST];
  key_path(settings, path);
  if (slot && !text) return err_set(err, ERR_NOT_FOUND, "the settings name the evidence log's key, and only `tocsin serve` reads it");
  int r = text ? note_signer_read(text, ret, err) : key_file_read(path, ret, err);
  if (r == 0 && origin && strcmp(origin, ret->verifier.name) != 0) {
    r = err_set(err, ERR_INVALID, "the settings call the evidence log %s, and its key is of %s: a log keeps its name for ever", origin,
                ret->verifier.name);
    note_signer_wipe(ret);
  }
  return r;
}

/* Such as "ir1.example.org/tocsin/n1". */
static void origin_make(const struct daemon *d, char out[NOTE_NAME]) {
  char host[65] = "";
  const char *origin = json_str(json_object_get(d->settings, "evidence"), "origin");
  if (gethostname(host, sizeof host - 1) != 0 || !*host) snprintf(host, sizeof host, "localhost");
  if (origin) snprintf(out, NOTE_NAME, "%s", origin);
  else snprintf(out, NOTE_NAME, "%.64s/tocsin/%.40s", host, d->store.node);
}

static int key_make(struct daemon *d, struct note_signer *ret, struct err *err) {
  char path[PATH_MOST], checkpoint[PATH_MOST], origin[NOTE_NAME], verifier[NOTE_VERIFIER_TEXT];
  key_path(d->settings, path);
  snprintf(checkpoint, sizeof checkpoint, "%s/log/checkpoint", evidence_folder(d->settings));
  if (access(checkpoint, F_OK) == 0)
    return err_set(err, ERR_NOT_FOUND, "the evidence log's key %s is gone: restore it from your backup (a new key would end the log in %s)",
                   path, evidence_folder(d->settings));
  origin_make(d, origin);
  int r = note_signer_make(origin, ret, err);
  if (r == 0) r = evidence_key_write(path, ret, err);
  if (r < 0) return r;
  note_verifier_write(&ret->verifier, verifier);
  log_notice("a key for the evidence log was made (%s); hand its verifier key to whoever will check: %s", path, verifier);
  return 0;
}

static int key_get(struct daemon *d, struct note_signer *ret, struct err *err) {
  int r = evidence_key_load(d->settings, d->secrets, ret, err);
  bool named = json_object_get(json_object_get(d->settings, "evidence"), "key") != NULL;
  if (r == ERR_NOT_FOUND && !named) r = key_make(d, ret, err);
  if (r < 0) return r;
  struct buf text;
  buf_init(&text, KEY_CAP);
  note_signer_write(ret, &text);
  r = secrets_put(d->secrets, KEY_SLOT, text.data, text.len, err); /* whatever leaves this process is redacted */
  explicit_bzero(text.data, text.len);
  buf_release(&text);
  return r;
}

/* ---- the feed */

static void on_news(void *arg, const struct sealer_status *status) {
  struct daemon *d = arg;
  if (status->published == d->checkpoints_seen) return;
  d->checkpoints_seen = status->published;
  for (size_t i = 0; i < d->checkpoint_watchers; i++) d->checkpoint_watch[i].cb(d->checkpoint_watch[i].arg, status);
}

void daemon_checkpoint_watch(struct daemon *d, daemon_checkpoint_cb *cb, void *arg) {
  if (d->checkpoint_watchers < sizeof d->checkpoint_watch / sizeof *d->checkpoint_watch)
    d->checkpoint_watch[d->checkpoint_watchers++] = (struct checkpoint_watch){cb, arg};
}

static bool elsewhere(void *arg, const char *node) {
  const struct daemon *d = arg;
  return d->nodes && nodes_state(d->nodes, node) == NODE_ALIVE;
}

/* Logs of nodes that are gone, read in their place. */
static int logs_adopt(struct daemon *d, struct err *err) {
  const char *node;
  json_t *one;
  json_object_foreach(json_object_get(json_object_get(d->settings, "evidence"), "adopted"), node, one) {
    struct note_verifier key;
    if (strcmp(node, d->store.node) == 0) return err_set(err, ERR_INVALID, "evidence.adopted: %.60s is this node itself", node);
    if (note_verifier_read(json_str_or(one, "key", ""), &key, err) < 0) return err_wrap(err, "evidence.adopted.%.60s.key", node), err->code;
    if (!d->store.adopted) {
      if (!(d->store.adopted = calloc(1, sizeof *d->store.adopted))) abort();
      map_init(d->store.adopted);
    }
    archived_free(map_put(d->store.adopted, node, archived_new(json_str_or(one, "folder", ""), &key)));
  }
  return 0;
}

static void adopted_free(void *value) { archived_free(value); }

void daemon_sealing_end(struct daemon *d) {
  archived_free(d->store.archived);
  if (d->store.adopted) map_release(d->store.adopted, adopted_free), free(d->store.adopted);
}

int daemon_sealing_start(struct daemon *d, struct err *err) {
  struct note_signer signer;
  char node[64];
  int r = logs_adopt(d, err);
  if (r == 0) r = key_get(d, &signer, err);
  if (r < 0) return r;
  d->verifier = signer.verifier;
  snprintf(node, sizeof node, "node-%.40s", d->store.node);
  struct feed_options options = {.store = &d->store,
                                 .folder = evidence_folder(d->settings),
                                 .signer = &signer,
                                 .node = node,
                                 .elsewhere = elsewhere,
                                 .news = on_news,
                                 .arg = d};
  r = feed_start(&options, &d->feed, err);
  if (r == 0) d->store.archived = archived_new(evidence_folder(d->settings), &d->verifier);
  note_signer_wipe(&signer);
  return r;
}

/* ---- what is said of it */

bool daemon_sealing_finding(struct daemon *d, char *text, size_t size) {
  struct sealer_status s;
  char trouble[256], age[DURATION_TEXT];
  feed_status(d->feed, &s);
  feed_trouble(d->feed, trouble);
  duration_format(s.age_ms, age);
  int n = snprintf(text, size, "%" PRIu64 " entries are sealed, the last checkpoint is %s old; %zu entries wait", s.size, age, s.waiting);
  if (n > 0 && s.behind) n += snprintf(text + n, size - (size_t)n, ", and those of %zu journals are read from Redis again", s.behind);
  if (n > 0 && (size_t)n < size && s.lag)
    n += snprintf(text + n, size - (size_t)n, "; %" PRIu64 " are not found by a search yet%s%.200s", s.lag, *s.lags_for.text ? ": " : "",
                  s.lags_for.text);
  if (n > 0 && (size_t)n < size && s.failures) snprintf(text + n, size - (size_t)n, "; nothing can be sealed: %.300s", s.last.text);
  else if (n > 0 && (size_t)n < size && *trouble)
    snprintf(text + n, size - (size_t)n, "; %zu journals cannot be sealed whole: %s", s.troubled, trouble);
  return !s.failures && !s.troubled;
}

static void do_evidence_status(void *arg, struct call *call, const struct person *by, const json_t *command) {
  struct daemon *d = arg;
  char verifier[NOTE_VERIFIER_TEXT];
  note_verifier_write(&d->verifier, verifier);
  desk_reply(call, 200,
             json_pack("{s:s, s:s, s:s, s:b, s:o}", "verifier", verifier, "origin", d->verifier.name, "folder",
                       evidence_folder(d->settings), "settled", feed_settled(d->feed), "counts", feed_counts(d->feed)));
}

void daemon_sealing_commands(struct daemon *d) { desk_extend(d->desk, "evidence.status", do_evidence_status, d); }
