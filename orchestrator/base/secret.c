#include "base/secret.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/digest.h"
#include "base/json.h"
#include "base/log.h"
#include "base/map.h"
#include "base/needles.h"

/* The forms in which a value may leave: as it is, base64 at the three alignments, base64url, percent-encoded, and as JSON writes it
 * (once, and once more for JSON that is kept as text; with the control characters as we write them, and as others mostly do). */
enum { FORMS = 13, COMMAND_TIMEOUT_MS = 10000 };

struct form {
  char *bytes;
  size_t len;
};

struct secret {
  char *slot;
  char *bytes;
  size_t len;
  struct form forms[FORMS];
  size_t form_count;
  struct secret *next; /* all values ever put, for redaction */
};

struct secrets {
  struct map slots; /* slot -> current struct secret */
  struct secret *all;
  struct needles *forms; /* of all values; each stands for its struct secret */
  uint8_t key[DIGEST_BYTES];
};

struct secrets *secrets_new(void) {
  struct secrets *s = calloc(1, sizeof *s);
  if (!s) abort();
  map_init(&s->slots);
  s->forms = needles_new();
  random_bytes(s->key, sizeof s->key);
  log_set_secrets(s);
  return s;
}

static void wipe_free(char *bytes, size_t len) {
  if (bytes) explicit_bzero(bytes, len);
  free(bytes);
}

void secrets_free(struct secrets *s) {
  if (!s) return;
  log_set_secrets(NULL);
  for (struct secret *v = s->all, *next; v; v = next) {
    next = v->next;
    wipe_free(v->bytes, v->len);
    for (size_t i = 0; i < v->form_count; i++) wipe_free(v->forms[i].bytes, v->forms[i].len);
    free(v->slot);
    free(v);
  }
  map_release(&s->slots, NULL);
  needles_free(s->forms);
  explicit_bzero(s->key, sizeof s->key);
  free(s);
}

static void add_form(struct secret *v, const char *bytes, size_t len) {
  char *copy = malloc(len + 1);
  if (!copy) abort();
  memcpy(copy, bytes, len);
  copy[len] = 0;
  v->forms[v->form_count++] = (struct form){copy, len};
}

/* base64 of the value inside a longer text: drop the characters at either end that neighbours influence. */
static void add_base64_forms(struct secret *v) {
  for (size_t shift = 0; shift < 3; shift++) {
    size_t len = v->len + shift;
    char *padded = calloc(1, len + 1);
    if (!padded) abort();
    memcpy(padded + shift, v->bytes, v->len);
    char *text = base64_encode(padded, len);
    if (!text) abort();
    size_t start = shift ? shift + 1 : 0, end = len / 3 * 4 + (len % 3 ? len % 3 : 0);
    if (end > start) {
      add_form(v, text + start, end - start);
      bool differs = false;
      for (char *p = text; *p; p++)
        if (*p == '+' || *p == '/') *p = *p == '+' ? '-' : '_', differs = true;
      if (differs) add_form(v, text + start, end - start);
    }
    wipe_free(padded, len);
    wipe_free(text, strlen(text));
  }
}

static void add_percent_form(struct secret *v, const char *hex) {
  char *text = malloc(v->len * 3 + 1), *p = text;
  if (!text) abort();
  for (size_t i = 0; i < v->len; i++) {
    unsigned char c = (unsigned char)v->bytes[i];
    if (isalnum(c) || strchr("-._~", c)) *p++ = (char)c;
    else *p++ = '%', *p++ = hex[c >> 4], *p++ = hex[c & 15];
  }
  *p = 0;
  if ((size_t)(p - text) != v->len) add_form(v, text, (size_t)(p - text));
  wipe_free(text, (size_t)(p - text));
}

/* As JSON in quotes has it, and as that has it when it is quoted again. */
static void add_quoted(struct secret *v, const struct buf *once) {
  struct buf twice;
  buf_init(&twice, SECRET_MAX_BYTES * 12 + 2);
  add_form(v, once->data + 1, once->len - 2);
  buf_add_json_string(&twice, once->data + 1, once->len - 2);
  if (buf_ok(&twice)) add_form(v, twice.data + 1, twice.len - 2);
  if (twice.size) explicit_bzero(twice.data, twice.size);
  buf_release(&twice);
}

/* What is redacted is often JSON already, where a quote or a backslash has another before it, and a control character is an escape: json_write's
 * differ from the usual ones ("\u001B" for "\u001b", "\b" for "\u0008"). */
static void add_json_forms(struct secret *v) {
  struct buf usual, ours;
  buf_init(&usual, SECRET_MAX_BYTES * 6 + 2);
  buf_init(&ours, SECRET_MAX_BYTES * 6 + 2);
  buf_add_json_string(&usual, v->bytes, v->len);
  json_t *text = json_stringn(v->bytes, v->len); /* NULL: it is no text, and can be in no JSON */
  if (text) json_write(text, &ours);
  if (buf_ok(&usual) && usual.len - 2 != v->len) add_quoted(v, &usual);
  if (text && buf_ok(&ours) && (ours.len != usual.len || memcmp(ours.data, usual.data, ours.len) != 0)) add_quoted(v, &ours);
  if (text) explicit_bzero((char *)(uintptr_t)json_string_value(text), v->len);
  json_decref(text);
  if (usual.size) explicit_bzero(usual.data, usual.size);
  if (ours.size) explicit_bzero(ours.data, ours.size);
  buf_release(&usual);
  buf_release(&ours);
}

int secrets_put(struct secrets *s, const char *slot, const void *bytes, size_t len, struct err *err) {
  if (len < SECRET_MIN_BYTES)
    return err_set(err, ERR_INVALID, "the secret %s is shorter than %d bytes, which cannot be kept out of logs safely", slot,
                   SECRET_MIN_BYTES);
  if (len > SECRET_MAX_BYTES) return err_set(err, ERR_INVALID, "the secret %s is longer than %d bytes", slot, SECRET_MAX_BYTES);
  const struct secret *old = map_get(&s->slots, slot);
  if (old && old->len == len && digest_equal(old->bytes, bytes, len)) return 0;
  struct secret *v = calloc(1, sizeof *v);
  if (!v) abort();
  v->slot = strdup(slot);
  v->bytes = malloc(len + 1);
  if (!v->slot || !v->bytes) abort();
  memcpy(v->bytes, bytes, len);
  v->bytes[len] = 0;
  v->len = len;
  add_form(v, v->bytes, len);
  add_base64_forms(v);
  add_percent_form(v, "0123456789ABCDEF");
  add_percent_form(v, "0123456789abcdef");
  add_json_forms(v);
  v->next = s->all;
  s->all = v;
  for (size_t i = 0; i < v->form_count; i++) needles_add(s->forms, v->forms[i].bytes, v->forms[i].len, v);
  map_put(&s->slots, slot, v);
  return 0;
}

const char *secrets_get(const struct secrets *s, const char *slot, size_t *ret_len) {
  const struct secret *v = map_get(&s->slots, slot);
  if (!v) return NULL;
  if (ret_len) *ret_len = v->len;
  return v->bytes;
}

void secrets_drop(struct secrets *s, const char *slot) { map_remove(&s->slots, slot); }

void secrets_fingerprint_key(struct secrets *s, const void *key, size_t len) { digest_sha256(key, len, s->key); }

bool secrets_fingerprint(const struct secrets *s, const char *slot, char out[17]) {
  const struct secret *v = map_get(&s->slots, slot);
  if (!v) return false;
  uint8_t mac[DIGEST_BYTES];
  digest_hmac_sha256(s->key, sizeof s->key, v->bytes, v->len, mac);
  hex_encode(mac, 8, out);
  return true;
}

void secrets_redact(const struct secrets *s, const char *text, size_t len, struct buf *out) {
  const void *of = NULL;
  size_t plain = 0, n = 0;
  for (size_t i = 0; (i = needles_find(s->forms, text, i, len, &of, &n)) < len; plain = i += n) {
    buf_add(out, text + plain, i - plain);
    buf_addf(out, "[secret:%s]", ((const struct secret *)of)->slot);
  }
  buf_add(out, text + plain, len - plain);
}

enum { BEGINNING = 4 /* fewer bytes tell nothing, and many a word ends with them */ };

/* Where, at or after `from`, the end of the text begins that is the beginning of the form, but not all of it; else len. */
static size_t begins_at_end(const struct form *f, const char *text, size_t from, size_t len) {
  const char *p;
  if (len >= f->len && from < len - f->len + 1) from = len - f->len + 1;
  for (; from + BEGINNING <= len && (p = memchr(text + from, f->bytes[0], len - from)); from++) {
    from = (size_t)(p - text);
    if (from + BEGINNING <= len && memcmp(p, f->bytes, len - from) == 0) return from;
  }
  return len;
}

size_t secrets_cut(const struct secrets *s, const char *text, size_t len) {
  const void *of;
  size_t shown = len, from = 0, n;
  for (size_t i = 0; (i = needles_find(s->forms, text, i, len, &of, &n)) < len;) from = i += n; /* those are redacted as a whole */
  for (const struct secret *v = s->all; v; v = v->next)
    for (size_t i = 0; i < v->form_count; i++) {
      size_t at = begins_at_end(&v->forms[i], text, from, len);
      if (at < shown) shown = at;
    }
  return shown;
}

bool secrets_shown(const struct secrets *s, const char *text, size_t len) {
  const void *of;
  size_t n;
  return needles_find(s->forms, text, 0, len, &of, &n) < len;
}

static char *redacted(const struct secrets *s, const char *text, size_t len, size_t *ret_len) {
  struct buf out;
  buf_init(&out, len * 64 + 4096); /* a value of 6 bytes becomes the name of its slot, at most */
  secrets_redact(s, text, len, &out);
  char *clean = buf_take(&out, ret_len);
  if (!clean) abort();
  return clean;
}

static bool shown_in(const struct secrets *s, const json_t *value) {
  size_t i;
  json_t *item;
  const char *key;
  if (json_is_string(value)) return secrets_shown(s, json_string_value(value), json_string_length(value));
  json_array_foreach(value, i, item) if (shown_in(s, item)) return true;
  json_object_foreach((json_t *)(uintptr_t)value, key, item) if (secrets_shown(s, key, strlen(key)) || shown_in(s, item)) return true;
  return false;
}

static json_t *redact_string(const struct secrets *s, const json_t *value) {
  size_t n;
  char *clean = redacted(s, json_string_value(value), json_string_length(value), &n);
  json_t *result = json_stringn(clean, n);
  free(clean);
  return result;
}

static void redact_member(const struct secrets *s, json_t *to, const char *key, const json_t *value) {
  size_t n;
  char *clean = secrets_shown(s, key, strlen(key)) ? redacted(s, key, strlen(key), &n) : NULL;
  json_object_set_new(to, clean ? clean : key, secrets_redact_json(s, value));
  free(clean);
}

json_t *secrets_redact_json(const struct secrets *s, const json_t *value) {
  size_t n;
  json_t *result, *item;
  const char *key;
  if (!shown_in(s, value)) return json_incref((json_t *)(uintptr_t)value);
  if (json_is_string(value)) return redact_string(s, value);
  if (json_is_array(value)) {
    result = json_array();
    json_array_foreach(value, n, item) json_array_append_new(result, secrets_redact_json(s, item));
    return result;
  }
  result = json_object();
  json_object_foreach((json_t *)(uintptr_t)value, key, item) redact_member(s, result, key, item);
  return result;
}

static int put_and_wipe(struct secrets *s, const char *slot, struct buf *value, struct err *err) {
  if (value->len && value->data[value->len - 1] == '\n') value->data[--value->len] = 0;
  int r = secrets_put(s, slot, value->data, value->len, err);
  explicit_bzero(value->data, value->len);
  return r;
}

static int read_all(int fd, struct buf *out, int64_t deadline_us, struct err *err) {
  for (;;) {
    int64_t left = deadline_us ? (deadline_us - clock_boot(clock_system())) / 1000 : -1;
    if (deadline_us && left <= 0) return err_set(err, ERR_TIMEOUT, "it did not finish within %d s", COMMAND_TIMEOUT_MS / 1000);
    struct pollfd p = {.fd = fd, .events = POLLIN};
    int ready = poll(&p, 1, (int)left);
    if (ready < 0 && errno == EINTR) continue;
    if (ready == 0) continue;
    char chunk[4096];
    ssize_t n = read(fd, chunk, sizeof chunk);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return err_errno(err, "cannot read it");
    if (n == 0) return 0;
    buf_add(out, chunk, (size_t)n);
    explicit_bzero(chunk, sizeof chunk);
    if (!buf_ok(out)) return err_set(err, ERR_LIMIT, "it is longer than %d bytes", SECRET_MAX_BYTES);
  }
}

static int resolve_file(const char *path, struct buf *out, struct err *err) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return err_errno(err, "cannot open the file %s", path);
  struct stat st;
  int r = 0;
  if (fstat(fd, &st) != 0) r = err_errno(err, "cannot look at the file %s", path);
  else if (!S_ISREG(st.st_mode)) r = err_set(err, ERR_INVALID, "%s is not a regular file", path);
  else if (st.st_mode & 077)
    r = err_set(err, ERR_DENIED, "the file %s can be read or written by others (mode %03o): run chmod 600 on it", path,
                (unsigned)(st.st_mode & 0777));
  else r = read_all(fd, out, 0, err);
  close(fd);
  return r;
}

enum { COMMAND_WORDS = 32 };

static int resolve_command(const char *line, struct buf *out, struct err *err) {
  char *copy = strdup(line), *words[COMMAND_WORDS + 1], *rest = copy;
  if (!copy) abort();
  size_t count = 0;
  for (char *w; (w = strtok_r(rest, " ", &rest)) && count < COMMAND_WORDS;) words[count++] = w;
  words[count] = NULL;
  int r, pipes[2], status;
  pid_t child = -1;
  extern char **environ;
  posix_spawn_file_actions_t actions;
  if (!count || words[0][0] != '/') {
    free(copy);
    return err_set(err, ERR_INVALID, "a command needs the full path of its program");
  }
  if (pipe2(pipes, O_CLOEXEC) != 0) {
    free(copy);
    return err_errno(err, "cannot make a pipe");
  }
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, pipes[1], STDOUT_FILENO);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  int spawned = posix_spawn(&child, words[0], &actions, NULL, words, environ);
  posix_spawn_file_actions_destroy(&actions);
  close(pipes[1]);
  if (spawned != 0) {
    r = err_set(err, ERR_IO, "cannot start %s: %s", words[0], strerror(spawned));
  } else {
    r = read_all(pipes[0], out, clock_boot(clock_system()) + (int64_t)COMMAND_TIMEOUT_MS * 1000, err);
    if (r < 0) kill(child, SIGKILL);
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {}
    if (r == 0 && (!WIFEXITED(status) || WEXITSTATUS(status) != 0)) r = err_set(err, ERR_UNAVAILABLE, "%s failed", words[0]);
  }
  close(pipes[0]);
  free(copy);
  return r;
}

int secrets_resolve(struct secrets *s, const char *slot, const char *source, struct err *err) {
  struct buf value;
  buf_init(&value, SECRET_MAX_BYTES);
  int r;
  if (strncmp(source, "env:", 4) == 0) {
    const char *v = getenv(source + 4);
    if (v) r = 0, buf_adds(&value, v);
    else r = err_set(err, ERR_NOT_FOUND, "the environment variable %s is not set", source + 4);
  } else if (strncmp(source, "file:", 5) == 0) {
    r = resolve_file(source + 5, &value, err);
  } else if (strncmp(source, "command:", 8) == 0) {
    r = resolve_command(source + 8, &value, err);
  } else {
    r = err_set(err, ERR_INVALID, "a secret is named as \"env:NAME\", \"file:PATH\" or \"command:/PATH ARG\"");
  }
  if (r == 0) r = put_and_wipe(s, slot, &value, err);
  if (r < 0) err_wrap(err, "secret %s", slot);
  if (value.size) explicit_bzero(value.data, value.size);
  buf_release(&value);
  return r;
}
