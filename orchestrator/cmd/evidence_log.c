/* `tocsin evidence keygen`, and `tocsin evidence verify` of a sealed log's folder. */
#include "cmd/evidence_log.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "cmd/client.h"
#include "anchor/check.h"
#include "cmd/file.h"
#include "cmd/options.h"
#include "cmd/sealing.h"
#include "evidence/verify.h"

enum { KEY_CAP = 4096 };

static int keygen_run(struct cli *cli, const struct options *o) {
  struct note_signer signer;
  struct err err = {0};
  char verifier[NOTE_VERIFIER_TEXT];
  const char *file = options_get(o, "output");
  if (!file) file = "evidence.key";
  if (note_signer_make(options_word(o, 0), &signer, &err) < 0) return cli_misuse(cli, "%s", err.text);
  note_verifier_write(&signer.verifier, verifier);
  int r = evidence_key_write(file, &signer, &err);
  note_signer_wipe(&signer);
  if (r < 0) return cli_fail(cli, &err);
  json_t *value = json_pack("{s:s, s:s}", "verifier", verifier, "file", file);
  if (!cli_json(cli, value))
    printf("%s\n\nThis is the verifier key: hand it to whoever will check your evidence, by a way that they trust.\nThe signing key is in "
           "%s. Keep a copy of it apart from this machine.\n",
           verifier, file);
  json_decref(value);
  return EXIT_DONE;
}

static const struct option_spec keygen_options[] = {
    {.name = "output", .value = "FILE", .text = "where to put the signing key (default: evidence.key); -o for short"}, {0}};

const struct command evidence_keygen = {
    .name = "keygen",
    .args = "NAME",
    .text = "make the key that signs this node's evidence log",
    .more = "NAME becomes the log's name for ever, such as example.com/ir/evidence. The file is for you alone (0600); the verifier key "
            "that is printed is for everyone.",
    .example = "tocsin evidence keygen example.com/ir/evidence -o evidence.key\n",
    .options = keygen_options,
    .least = 1,
    .most = 1,
    .run = keygen_run,
};

/* ---- key */

/* From the key file when it may be read here, else from `tocsin serve`. */
int evidence_verifier(const struct cli *cli, char out[NOTE_VERIFIER_TEXT]) {
  struct note_signer signer;
  json_t *settings = cli_settings(cli, NULL), *answer = NULL;
  if (!settings) return EXIT_FAILED;
  bool here = evidence_key_load(settings, NULL, &signer, NULL) == 0;
  json_decref(settings);
  if (here) {
    note_verifier_write(&signer.verifier, out);
    note_signer_wipe(&signer);
    return EXIT_DONE;
  }
  int status = client_ask(cli, json_pack("{s:s}", "command", "evidence.status"), &answer);
  if (status == EXIT_DONE) snprintf(out, NOTE_VERIFIER_TEXT, "%s", json_str_or(answer, "verifier", ""));
  json_decref(answer);
  return status;
}

static int key_run(struct cli *cli, const struct options *o) {
  char verifier[NOTE_VERIFIER_TEXT];
  int status = evidence_verifier(cli, verifier);
  if (status != EXIT_DONE) return status;
  json_t *value = json_pack("{s:s}", "verifier", verifier);
  if (!cli_json(cli, value)) printf("%s\n", verifier);
  json_decref(value);
  return EXIT_DONE;
}

const struct command evidence_key = {
    .name = "key",
    .text = "print the verifier key of this node's evidence log",
    .more = "Hand it to whoever will check your evidence, early and by a way that they trust: what it did not sign passes no check.",
    .example = "tocsin evidence key\ntocsin evidence verify tocsin-data/evidence/log --key \"$(tocsin evidence key)\"\n",
    .run = key_run,
};

/* ---- verify */

/* The key itself, or a file that holds it. */
int evidence_key_read(const char *text, struct note_verifier *ret, struct err *err) {
  struct buf bytes;
  struct err why = {0};
  if (note_verifier_read(text, ret, &why) == 0) return 0;
  if (access(text, F_OK) != 0) return err_set(err, why.code, "%s", why.text);
  buf_init(&bytes, KEY_CAP);
  int r = file_read(text, &bytes, err);
  if (r == 0) {
    bytes.data[strcspn(bytes.data, "\r\n")] = 0;
    /* A signing key given by mistake must not be repeated in an error. */
    r = strncmp(bytes.data, "PRIVATE+KEY+", 12) == 0
            ? err_set(err, ERR_INVALID, "%s holds the signing key; --key wants the verifier key", text)
            : note_verifier_read(bytes.data, ret, err);
  }
  explicit_bzero(bytes.data, bytes.len);
  buf_release(&bytes);
  return r;
}

int evidence_checkpoint_read(const char *path, const struct note_verifier *key, struct buf *bytes, struct checkpoint *ret,
                             struct err *err) {
  struct note note;
  int r = file_read(path, bytes, err);
  if (r == 0) r = note_open(bytes->data, bytes->len, key, 1, &note, err);
  if (r == 0) r = checkpoint_read(bytes->data, note.text_len, ret, err);
  if (r == 0 && strcmp(ret->origin, key->name) != 0) r = err_set(err, ERR_INVALID, "it is of another log: %s", ret->origin);
  if (r < 0) err_wrap(err, "the earlier checkpoint %.200s", path);
  return r;
}

int evidence_verify_options(const struct cli *cli, const struct options *o, struct evidence_trust *ret) {
  struct err err = {0};
  struct buf bytes;
  const char *key = options_get(o, "key"), *kept = options_get(o, "checkpoint");
  memset(ret, 0, sizeof *ret);
  ret->options = (struct verify_options){.key = &ret->key, .plain = options_flag(o, "plain")};
  if (!key)
    return cli_misuse(
        cli, "sealed evidence is checked against its verifier key: add --key NAME+HASH+BASE64, as `tocsin evidence keygen` printed it");
  if (evidence_key_read(key, &ret->key, &err) < 0) return cli_misuse(cli, "%s", err.text);
  buf_init(&bytes, NOTE_CAP);
  int r = kept ? evidence_checkpoint_read(kept, &ret->key, &bytes, &ret->earlier, &err) : 0;
  buf_release(&bytes);
  if (r < 0) return cli_fail(cli, &err);
  if (kept) ret->options.earlier = &ret->earlier, ret->options.earlier_count = 1;
  return EXIT_DONE;
}

json_t *evidence_removals_json(const struct removal *list, uint64_t count) {
  json_t *out = json_array();
  for (uint64_t i = 0; i < count && i < FAULTS_KEPT; i++) {
    json_t *one = json_pack("{s:s, s:I, s:I}", "incident", list[i].incident, "seq", (json_int_t)list[i].seq, "by", (json_int_t)list[i].by);
    if (list[i].index != UINT64_MAX) json_object_set_new(one, "index", json_integer((json_int_t)list[i].index));
    json_array_append_new(out, one);
  }
  return out;
}

void evidence_removals_print(const struct removal *list, uint64_t count) {
  for (uint64_t i = 0; i < count && i < FAULTS_KEPT; i++) {
    printf("removed body %" PRIu64 " of %s: its entry %" PRIu64, list[i].seq, list[i].incident, list[i].by);
    if (list[i].index != UINT64_MAX) printf(" (entry %" PRIu64 " of the log)", list[i].index);
    printf(" says so\n");
  }
}

static json_t *result_json(const char *folder, const struct verify_result *r) {
  json_t *faults = json_array();
  char root[DIGEST_HEX];
  hex_encode(r->root.bytes, DIGEST_BYTES, root);
  for (size_t i = 0; i < r->count; i++) {
    const struct fault *f = &r->faults[i];
    bool entry = strstr(f->place, "entry") != NULL;
    json_t *one = json_pack("{s:s, s:s, s:s}", "kind", fault_name(f->kind), "place", f->place, "text", f->text);
    if (entry)
      json_object_set_new(one, "from", json_integer((json_int_t)f->from)), json_object_set_new(one, "to", json_integer((json_int_t)f->to));
    json_array_append_new(faults, one);
  }
  return json_pack("{s:s, s:b, s:I, s:s, s:I, s:I, s:o, s:o}", "what", folder, "ok", r->count == 0, "entries", (json_int_t)r->size, "root",
                   root, "journals", (json_int_t)r->journals, "more_faults", (json_int_t)r->more, "faults", faults, "removed",
                   evidence_removals_json(r->removals, r->removal_count));
}

static void result_print(const char *folder, const struct note_verifier *key, const struct verify_result *r) {
  for (size_t i = 0; i < r->count; i++) {
    const struct fault *f = &r->faults[i];
    bool entry = strstr(f->place, "entry") != NULL;
    printf("%s %s", fault_name(f->kind), f->place);
    if (entry) printf(" %" PRIu64, f->from);
    if (entry && f->to != f->from) printf("-%" PRIu64, f->to);
    printf(": %s\n", f->text);
  }
  evidence_removals_print(r->removals, r->removal_count);
  if (r->more) printf("and %zu faults more\n", r->more);
  if (r->count) printf("%s: NOT SOUND: %zu faults\n", folder, r->count + r->more);
  else printf("%s: sound: %" PRIu64 " entries of %zu journals, as signed by %s\n", folder, r->size, r->journals, key->name);
}

int evidence_anchors_verify(const struct options *o, const struct evidence_anchored *what, const struct note_verifier *key, json_t *value,
                            struct err *err) {
  struct anchor_question question = {.key = key, .tsa_ca = options_get(o, "tsa-ca"), .witness = options_get(o, "witness")};
  json_t *found;
  if (!question.tsa_ca && !question.witness) return 0;
  int r = what->folder ? anchor_check(what->folder, &question, &found, err)
                       : anchor_check_bundle(what->bundle, what->checked, &question, &found, err);
  if (r < 0) return -1;
  int count = (int)json_array_size(json_object_get(found, "faults"));
  json_object_set_new(value, "anchors", found);
  if (count) json_object_set_new(value, "ok", json_false());
  return count;
}

void evidence_anchors_print(const json_t *found) {
  static const char *const what[] = {"stamped", "cosigned"};
  size_t i;
  json_t *fault;
  json_array_foreach(json_object_get(found, "faults"), i, fault)
      printf("%s %s: %s\n", json_str(fault, "kind"), json_str(fault, "place"), json_str(fault, "text"));
  for (i = 0; i < 2; i++) {
    const json_t *newest = json_object_get(found, what[i]);
    if (json_is_object(newest))
      printf("the first %lld entries were %s at %s by %s\n", (long long)json_int_or(newest, "size", 0), what[i], json_str(newest, "time"),
             json_str(newest, "by"));
  }
}

int evidence_log_verify(const struct cli *cli, const struct options *o, const char *folder) {
  struct evidence_trust trust;
  struct verify_result result;
  struct err err = {0};
  int status = evidence_verify_options(cli, o, &trust);
  if (status != EXIT_DONE) return status;
  if (verify_log(folder, &trust.options, &result, &err) < 0) return cli_fail(cli, &err);
  json_t *value = result_json(folder, &result);
  int anchors = evidence_anchors_verify(o, &(struct evidence_anchored){.folder = folder}, &trust.key, value, &err);
  if (anchors >= 0 && !cli_json(cli, value)) {
    result_print(folder, &trust.key, &result);
    evidence_anchors_print(json_object_get(value, "anchors"));
  }
  json_decref(value);
  bool sound = result.count == 0 && anchors == 0;
  verify_release(&result);
  if (anchors < 0) return cli_fail(cli, &err);
  return sound ? EXIT_DONE : EXIT_FAILED;
}
