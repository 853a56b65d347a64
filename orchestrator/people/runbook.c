#include "people/runbook.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"

enum { MAX_FILE = 1 << 20, MAX_STEPS = 500, MAX_STEP = 2000, MAX_NAME = 64, CODE_INDENT = 4 };

struct reader {
  json_t *steps;
  struct buf step; /* the one being read; wrapped lines are joined to it */
  bool open;
  char fence; /* '`' or '~' inside a code block */
  size_t fence_len;
};

static size_t indent_of(const char *line, size_t len) {
  size_t n = 0;
  for (size_t i = 0; i < len && (line[i] == ' ' || line[i] == '\t'); i++) n += line[i] == '\t' ? 4 : 1;
  return n;
}

static int step_close(struct reader *r, struct err *err) {
  if (!r->open) return 0;
  r->open = false;
  json_t *text = buf_ok(&r->step) ? json_stringn(r->step.data, r->step.len) : NULL;
  if (!buf_ok(&r->step)) return err_set(err, ERR_LIMIT, "step %zu is longer than %d bytes", json_array_size(r->steps) + 1, MAX_STEP);
  if (!text) return err_set(err, ERR_INVALID, "step %zu is not UTF-8 text", json_array_size(r->steps) + 1);
  if (json_array_size(r->steps) == MAX_STEPS) return json_decref(text), err_set(err, ERR_LIMIT, "more than %d steps", MAX_STEPS);
  return json_array_append_new(r->steps, json_pack("{s:I, s:o}", "n", (json_int_t)json_array_size(r->steps) + 1, "text", text))
             ? err_set(err, ERR_MEMORY, "no memory for a runbook")
             : 0;
}

static void trim(const char **p, size_t *len) {
  while (*len && isspace((unsigned char)**p)) ++*p, --*len;
  while (*len && isspace((unsigned char)(*p)[*len - 1])) --*len;
}

/* Skips "[ ] " or "[x] "; true when it was there. */
static bool skip_box(const char **p, size_t *len) {
  if (*len < 3 || (*p)[0] != '[' || !strchr(" xX", (*p)[1]) || !(*p)[1] || (*p)[2] != ']' || (*len > 3 && !isspace((unsigned char)(*p)[3])))
    return false;
  *p += 3, *len -= 3;
  return true;
}

/* Whether the trimmed line begins a list item; *p is moved behind its marker. *ret_step: and is one of the kinds that count as steps. */
static bool item(const char **p, size_t *len, bool *ret_step) {
  const char *s = *p;
  size_t n = *len, digits = 0;
  while (digits < n && digits < 9 && isdigit((unsigned char)s[digits])) digits++;
  bool numbered = digits && digits < n && (s[digits] == '.' || s[digits] == ')'), bullet = n && strchr("-*+", s[0]) && s[0];
  size_t marker = numbered ? digits + 1 : bullet ? 1 : 0;
  if (!marker || (marker < n && !isspace((unsigned char)s[marker]))) return false;
  s += marker, n -= marker;
  trim(&s, &n);
  *ret_step = skip_box(&s, &n) || numbered;
  trim(&s, &n);
  *p = s, *len = n;
  return true;
}

/* Code fences (CommonMark 4.5): what is inside is no list. True when the line belongs to one. */
static bool fenced(struct reader *r, const char *s, size_t len) {
  size_t n = 0;
  char c = len ? s[0] : 0;
  while (n < len && s[n] == c) n++;
  bool marks = (c == '`' || c == '~') && n >= 3;
  if (!r->fence && marks) {
    r->fence = c, r->fence_len = n;
    return true;
  }
  if (!r->fence) return false;
  if (marks && c == r->fence && n >= r->fence_len && n == len) r->fence = 0;
  return true;
}

static int line_read(struct reader *r, const char *line, size_t line_len, size_t number, struct err *err) {
  const char *s = line;
  size_t len = line_len, indent = indent_of(line, line_len);
  bool step = false;
  trim(&s, &len);
  if (!len || s[0] == '#' || fenced(r, s, len)) return step_close(r, err);
  if (!r->open && indent >= CODE_INDENT && !json_array_size(r->steps)) return 0; /* an indented code block: no list has begun */
  if (item(&s, &len, &step)) {
    int rc = step_close(r, err);
    if (rc || !step) return rc;
    if (!len) return err_set(err, ERR_INVALID, "line %zu: a step without text", number);
    r->open = true;
    buf_reset(&r->step);
    buf_add(&r->step, s, len);
    return 0;
  }
  if (!r->open) return 0;
  buf_addc(&r->step, ' ');
  buf_add(&r->step, s, len);
  return 0;
}

static int parse(const char *bytes, size_t len, json_t **ret, struct err *err) {
  struct reader r = {.steps = json_array()};
  size_t number = 0;
  int rc = r.steps ? 0 : err_set(err, ERR_MEMORY, "no memory for a runbook");
  buf_init(&r.step, MAX_STEP);
  for (const char *p = bytes, *end = bytes + len; !rc && p < end;) {
    const char *lf = memchr(p, '\n', (size_t)(end - p)), *stop = lf ? lf : end;
    rc = line_read(&r, p, (size_t)(stop - p), ++number, err);
    p = stop + 1;
  }
  if (!rc) rc = step_close(&r, err);
  buf_release(&r.step);
  if (rc) return json_decref(r.steps), rc;
  *ret = r.steps;
  return 0;
}

static int file_read(int fd, struct buf *out, struct err *err) {
  struct stat st;
  if (fstat(fd, &st) || !S_ISREG(st.st_mode)) return err_set(err, ERR_INVALID, "not a regular file");
  for (;;) {
    char chunk[16384];
    ssize_t n = read(fd, chunk, sizeof chunk);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return err_errno(err, "cannot read it");
    if (n == 0) return 0;
    buf_add(out, chunk, (size_t)n);
    if (!buf_ok(out)) return err_set(err, ERR_LIMIT, "larger than %d bytes", MAX_FILE);
  }
}

int runbook_load(const char *folder, const char *name, json_t **ret, struct err *err) {
  char path[4096];
  struct buf b;
  size_t len = strlen(name);
  if (!len || len > MAX_NAME || strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") != len)
    return err_set(err, ERR_INVALID, "runbook `%.64s`: a name has letters, digits, `-` and `_` only, at most %d", name, MAX_NAME);
  if (snprintf(path, sizeof path, "%s/%s.md", folder, name) >= (int)sizeof path)
    return err_set(err, ERR_INVALID, "runbook %s: the folder's path is too long", name);
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0 && errno == ENOENT) return err_set(err, ERR_NOT_FOUND, "there is no runbook `%s`: create %s", name, path);
  if (fd < 0) return err_errno(err, "%s: cannot open it", path);
  buf_init(&b, MAX_FILE);
  int rc = file_read(fd, &b, err);
  if (!rc) rc = parse(b.data, b.len, ret, err);
  if (rc) err_wrap(err, "%s", path);
  buf_release(&b);
  close(fd);
  return rc;
}
