/* Secrets that Tocsin makes or receives: sealed in Redis before the entry that first needs them, delivered before the old one dies. */
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "action/internal.h"
#include "base/json.h"
#include "base/keyfile.h"

enum { GCM_NONCE = 12, GCM_TAG = 16, PASSWORD_CHARS = 32 };

/* --- the key ------------------------------------------------------------------------------------------------------ */

int actions_seal_key(const json_t *setting, const struct secrets *secrets, const char *data, uint8_t out[DIGEST_BYTES], struct err *err) {
  const char *slot = json_str(setting, "$secret");
  size_t len;
  if (!slot) return keyfile(data, "seal.key", out, err);
  const char *key = secrets_get(secrets, slot, &len);
  if (!key || len < 16) return err_set(err, ERR_INVALID, "seal_key needs at least 16 bytes");
  digest_sha256(key, len, out);
  return 0;
}

int sealed_init(struct actions *a, struct err *err) {
  int r = actions_seal_key(a->deps.seal_key, a->deps.secrets, a->deps.data, a->seal_key, err);
  if (r < 0) return r;
  digest_key_init(&a->step_key, a->seal_key, sizeof a->seal_key);
  secrets_fingerprint_key(a->deps.secrets, a->seal_key, sizeof a->seal_key);
  return 0;
}

/* nonce ‖ ciphertext ‖ tag, base64; the slot's name is authenticated with it. The caller frees. */
static char *seal(const struct actions *a, const char *slot, const char *bytes, size_t len) {
  uint8_t *out = malloc(GCM_NONCE + len + GCM_TAG);
  EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
  int n, total = 0;
  if (!out || !ctx) abort();
  random_bytes(out, GCM_NONCE);
  if (EVP_EncryptInit_ex(ctx, EVP_aes_256_gcm(), NULL, a->seal_key, out) != 1 ||
      EVP_EncryptUpdate(ctx, NULL, &n, (const uint8_t *)slot, (int)strlen(slot)) != 1 ||
      EVP_EncryptUpdate(ctx, out + GCM_NONCE, &n, (const uint8_t *)bytes, (int)len) != 1)
    abort();
  total = n;
  if (EVP_EncryptFinal_ex(ctx, out + GCM_NONCE + total, &n) != 1 ||
      EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_GET_TAG, GCM_TAG, out + GCM_NONCE + len) != 1)
    abort();
  EVP_CIPHER_CTX_free(ctx);
  char *text = base64_encode(out, GCM_NONCE + len + GCM_TAG);
  free(out);
  if (!text) abort();
  return text;
}

static bool unseal(const struct actions *a, const char *slot, const char *text, size_t text_len, char **ret, size_t *ret_len) {
  size_t len;
  uint8_t *in = base64_decode(text, text_len, &len);
  if (!in || len < GCM_NONCE + GCM_TAG) {
    free(in);
    return false;
  }
  size_t plain = len - GCM_NONCE - GCM_TAG;
  char *out = malloc(plain + 1);
  EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
  int n;
  if (!out || !ctx) abort();
  bool ok = EVP_DecryptInit_ex(ctx, EVP_aes_256_gcm(), NULL, a->seal_key, in) == 1 &&
            EVP_DecryptUpdate(ctx, NULL, &n, (const uint8_t *)slot, (int)strlen(slot)) == 1 &&
            EVP_DecryptUpdate(ctx, (uint8_t *)out, &n, in + GCM_NONCE, (int)plain) == 1 &&
            EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_SET_TAG, GCM_TAG, in + GCM_NONCE + plain) == 1 &&
            EVP_DecryptFinal_ex(ctx, (uint8_t *)out + plain, &n) == 1;
  EVP_CIPHER_CTX_free(ctx);
  free(in);
  if (!ok) {
    free(out);
    return false;
  }
  out[plain] = 0;
  *ret = out;
  *ret_len = plain;
  return true;
}

/* --- making and receiving ------------------------------------------------------------------------------------------- */

static void slot_name(const struct action *x, const char *param, char out[ID_PATH * 2]) {
  snprintf(out, ID_PATH * 2, "%s:%s", x->id, param);
}

/* 32 characters of 62: 190 bits, nothing that needs quoting anywhere. */
static void password_make(char out[PASSWORD_CHARS + 1]) {
  static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
  for (int i = 0; i < PASSWORD_CHARS;) {
    uint8_t byte;
    random_bytes(&byte, 1);
    if (byte < 248) out[i++] = alphabet[byte % 62]; /* 248 = 4 × 62: no character is likelier */
  }
  out[PASSWORD_CHARS] = 0;
}

int sealed_generate(struct action *x, const json_t *schema, json_t *params, struct err *err) {
  const char *name;
  json_t *rule;
  json_object_foreach((json_t *)(uintptr_t)schema, name, rule) {
    char slot[ID_PATH * 2], password[PASSWORD_CHARS + 1];
    if (strcmp(json_str_or(rule, "type", ""), "generated") != 0) continue;
    if (json_object_get(params, name)) return err_set(err, ERR_INVALID, "%s is made by Tocsin and cannot be given", name);
    slot_name(x, name, slot);
    if (!secrets_get(x->all->deps.secrets, slot, NULL)) { /* after a restart the sealed one is used again */
      password_make(password);
      int r = secrets_put(x->all->deps.secrets, slot, password, PASSWORD_CHARS, err);
      explicit_bzero(password, sizeof password);
      if (r < 0) return r;
    }
    json_object_set_new(params, name, json_pack("{s:s}", "$secret", slot));
  }
  return 0;
}

int sealed_take_returns(struct action *x, const json_t *schema, json_t **returns, bool *ret_any, struct err *err) {
  const char *name;
  json_t *rule;
  json_object_foreach((json_t *)(uintptr_t)schema, name, rule) {
    const json_t *value = json_object_get(*returns, name);
    char slot[ID_PATH * 2];
    if (strcmp(json_str_or(rule, "type", ""), "secret") != 0 || !json_is_string(value)) continue;
    slot_name(x, name, slot);
    int r = secrets_put(x->all->deps.secrets, slot, json_string_value(value), json_string_length(value), err);
    if (r < 0) return r;
    size_t len;
    const char *bytes = secrets_get(x->all->deps.secrets, slot, &len);
    char key[128], *text = seal(x->all, slot, bytes, len);
    snprintf(key, sizeof key, "tocsin:{%s}:sealed", journal_incident(x->journal));
    /* The journal's own lane: Redis has it before the outcome's entry. */
    redis_call(x->all->deps.redis, redis_lane(x->all->deps.redis, journal_incident(x->journal)), NULL, NULL, NULL, "HSET", key, slot, text,
               NULL);
    free(text);
    if (!*ret_any) { /* it may be a part of the response itself */
      json_t *own = json_copy(*returns);
      json_decref(*returns);
      *returns = own;
    }
    json_object_set_new(*returns, name, json_pack("{s:s}", "$secret", slot));
    *ret_any = true;
  }
  return 0;
}

/* --- delivering -------------------------------------------------------------------------------------------------------- */

/* After a restart, or a brake pulled between delivery and intent: it lies there already, and the old one beside it must stay the old one. */
static bool lies_there(const char *path, const char *bytes, size_t len) {
  char *held = malloc(len + 2);
  if (!held) abort();
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  ssize_t n = fd < 0 ? -1 : read(fd, held, len + 2);
  if (fd >= 0) close(fd);
  bool same = n == (ssize_t)len + 1 && memcmp(held, bytes, len) == 0 && held[len] == '\n';
  explicit_bzero(held, len + 2);
  free(held);
  return same;
}

/* Who could read the old secret can read the new one, nobody else: its owner, group and mode, without any right for all others. */
static int like_before(int fd, const char *path) {
  struct stat st;
  if (lstat(path, &st) != 0 || !S_ISREG(st.st_mode)) return fchmod(fd, 0600);
  if ((st.st_uid != geteuid() || st.st_gid != getegid()) && fchown(fd, st.st_uid, st.st_gid) != 0) return -1;
  return fchmod(fd, st.st_mode & 0640);
}

/* A rename that a power cut may forget would leave the old secret there, which the server no longer takes. */
static int folder_sync(const char *path) {
  char folder[4096];
  snprintf(folder, sizeof folder, "%s", path);
  char *slash = strrchr(folder, '/');
  slash[slash == folder] = 0;
  int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return -1;
  int r = fsync(fd);
  close(fd);
  return r;
}

/* A file beside the target, fsynced and renamed over it: a reader sees the old secret or the new one, never half of one. */
static int deliver_file(const char *path, const char *bytes, size_t len, struct err *err) {
  char temporary[4096];
  if (path[0] != '/' || strlen(path) > sizeof temporary - 16)
    return err_set(err, ERR_INVALID, "deliver = \"file:%s\": name the full path", path);
  if (lies_there(path, bytes, len)) return 0;
  snprintf(temporary, sizeof temporary, "%s.new", path);
  unlink(temporary); /* ours of a process that was killed; another's is not written into, whatever it is */
  int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600), r = 0;
  if (fd < 0) return err_errno(err, "cannot deliver the new secret to %s", path);
  if (like_before(fd, path) != 0 || write(fd, bytes, len) != (ssize_t)len || write(fd, "\n", 1) != 1 || fsync(fd) != 0)
    r = err_errno(err, "cannot deliver the new secret to %s", path);
  close(fd);
  char previous[4096];
  snprintf(previous, sizeof previous, "%.4000s.previous", path);
  unlink(previous);
  if (r == 0 && link(path, previous) != 0 && errno != ENOENT) r = err_errno(err, "cannot keep the old secret of %s beside it", path);
  if (r == 0 && (rename(temporary, path) != 0 || folder_sync(path) != 0)) r = err_errno(err, "cannot deliver the new secret to %s", path);
  if (r < 0) unlink(temporary);
  return r;
}

/* Where the settings want this action's secret: connectors.<instance>.deliver, one text or {target value: text}. */
static const char *destination(const struct action *x) {
  const json_t *deliver = json_object_get(x->connector->settings, "deliver");
  if (json_is_string(deliver)) return json_string_value(deliver);
  const char *key;
  json_t *value;
  json_object_foreach(x->target, key, value) {
    const char *to = json_string_value(value) ? json_str(deliver, json_string_value(value)) : NULL;
    if (to) return to;
  }
  return NULL;
}

static int deliver(struct action *x, const char *slot, struct err *err) {
  const char *to = destination(x), *bytes;
  char print[17] = "";
  size_t len;
  int r = 0;
  secrets_fingerprint(x->all->deps.secrets, slot, print);
  if (to && strncmp(to, "file:", 5) == 0) {
    bytes = secrets_get(x->all->deps.secrets, slot, &len);
    r = deliver_file(to + 5, bytes, len, err);
    x->delivered = r == 0;
  } else if (to) {
    r = err_set(err, ERR_INVALID, "deliver = \"%s\": only \"file:/path\" is known", to);
  }
  if (r < 0) return r;
  char of[ID_PATH];
  snprintf(of, sizeof of, "%s", strrchr(slot, ':') ? strrchr(slot, ':') + 1 : slot);
  if (to)
    journal_add(x->journal, KIND_SECRET_DELIVERED, "engine", x->run, x->step,
                json_pack("{s:s, s:s, s:s}", "name", of, "fingerprint", print, "to", to));
  return 0;
}

void sealed_settle(struct action *x, bool ok) {
  const char *to = x->delivered ? destination(x) : NULL;
  char previous[4096];
  x->delivered = false;
  if (!to || strncmp(to, "file:", 5) != 0) return;
  snprintf(previous, sizeof previous, "%.4000s.previous", to + 5);
  if (ok) {
    unlink(previous);
    return;
  }
  bool back = rename(previous, to + 5) == 0;
  journal_add(x->journal, KIND_SECRET_DELIVERED, "engine", x->run, x->step,
              json_pack("{s:s, s:b, s:b}", "to", to, "taken_back", 1, "ok", back));
}

struct keeping {
  struct action *x;
  size_t waiting;
  bool failed;
  struct err err;
  sealed_cb *cb;
};

static const char *each_generated(const struct action *x, void **at, const json_t *schema, char slot[ID_PATH * 2]) {
  for (void *it = *at ? json_object_iter_next((json_t *)(uintptr_t)schema, *at) : json_object_iter((json_t *)(uintptr_t)schema); it;
       it = json_object_iter_next((json_t *)(uintptr_t)schema, it)) {
    if (strcmp(json_str_or(json_object_iter_value(it), "type", ""), "generated") != 0) continue;
    *at = it;
    slot_name(x, json_object_iter_key(it), slot);
    return json_object_iter_key(it);
  }
  return NULL;
}

static void all_kept(struct keeping *k) {
  struct action *x = k->x;
  const json_t *schema = x->form->params;
  char slot[ID_PATH * 2];
  void *at = NULL;
  if (!k->failed && !x->abandoned) {
    while (each_generated(x, &at, schema, slot)) {
      char print[17] = "";
      secrets_fingerprint(x->all->deps.secrets, slot, print);
      journal_add(x->journal, KIND_SECRET_SEALED, "engine", x->run, x->step, json_pack("{s:s, s:s}", "slot", slot, "fingerprint", print));
      if (deliver(x, slot, &k->err) < 0) k->failed = true;
    }
  }
  k->cb(x, k->failed ? &k->err : NULL);
  free(k);
}

static void on_kept(void *arg, const struct redis_value *reply, const struct err *err) {
  struct keeping *k = arg;
  if (err && !k->failed) k->failed = true, k->err = *err;
  if (--k->waiting == 0) all_kept(k);
}

void sealed_keep(struct action *x, sealed_cb *cb) {
  const json_t *schema = x->form->params;
  char slot[ID_PATH * 2], key[128];
  void *at = NULL;
  if (x->attempt || x->simulated || x->effect == EFFECT_READ || !x->form->generates) {
    cb(x, NULL);
    return;
  }
  struct keeping *k = calloc(1, sizeof *k);
  if (!k) abort();
  *k = (struct keeping){.x = x, .waiting = 1, .cb = cb};
  snprintf(key, sizeof key, "tocsin:{%s}:sealed", journal_incident(x->journal));
  for (at = NULL; each_generated(x, &at, schema, slot);) {
    size_t len;
    struct err err;
    const char *bytes = secrets_get(x->all->deps.secrets, slot, &len);
    char *text = seal(x->all, slot, bytes, len);
    k->waiting++;
    if (redis_call_safe(x->all->deps.redis, redis_lane(x->all->deps.redis, journal_incident(x->journal)), on_kept, k, &err, "HSET", key,
                        slot, text, NULL) < 0)
      on_kept(k, NULL, &err);
    free(text);
  }
  on_kept(k, NULL, NULL);
}

/* --- after a restart, and for `secret take` ------------------------------------------------------------------------------ */

struct unsealing {
  struct actions *a;
  actions_brake_cb *cb;
  void *arg;
};

static void on_sealed(void *arg, const struct redis_value *reply, const struct err *err) {
  struct unsealing *u = arg;
  for (size_t i = 0; !err && i + 1 < redis_count(reply); i += 2) {
    const char *slot = redis_string(redis_item(reply, i), NULL);
    size_t len, plain_len;
    const char *text = redis_string(redis_item(reply, i + 1), &len);
    char *plain;
    if (!unseal(u->a, slot, text, len, &plain, &plain_len)) continue;
    secrets_put(u->a->deps.secrets, slot, plain, plain_len, NULL);
    explicit_bzero(plain, plain_len);
    free(plain);
  }
  u->cb(u->arg, err);
  free(u);
}

int actions_unseal(struct actions *a, const char *incident, actions_brake_cb *cb, void *arg, struct err *err) {
  char key[128];
  struct unsealing *u = calloc(1, sizeof *u);
  if (!u) abort();
  *u = (struct unsealing){a, cb, arg};
  snprintf(key, sizeof key, "tocsin:{%s}:sealed", incident);
  int r = redis_call(a->deps.redis, redis_lane(a->deps.redis, incident), on_sealed, u, err, "HGETALL", key, NULL);
  if (r < 0) free(u);
  return r;
}
