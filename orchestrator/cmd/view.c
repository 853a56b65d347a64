#include "cmd/view.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/id.h"
#include "base/json.h"

enum { OUT_CAP = 512 << 20, CELL_CAP = 4096 };

void view_init(struct view *v, bool color, unsigned width) {
  *v = (struct view){.color = color, .width = width, .now = clock_wall(clock_system())};
  buf_init(&v->out, OUT_CAP);
}

void view_release(struct view *v) { buf_release(&v->out); }

void view_flush(struct view *v) {
  fwrite(v->out.data, 1, v->out.len, stdout);
  fflush(stdout);
  buf_reset(&v->out);
}

void view_put(struct view *v, const char *format, ...) {
  char text[1024];
  va_list args;
  va_start(args, format);
  int n = vsnprintf(text, sizeof text, format, args);
  va_end(args);
  if (n > 0) buf_adds(&v->out, text);
}

void view_style(struct view *v, enum style style) {
  static const char *const codes[] = {"\033[0m", "\033[0;1m", "\033[0;2m", "\033[0;31m", "\033[0;32m", "\033[0;33m", "\033[0;34m"};
  if (v->color) buf_adds(&v->out, codes[style]);
}

/* ---- somebody else's words ---- */

/* One code point of well-formed UTF-8 (RFC 3629), or 0 with *ret_len 1 for a byte that is none. */
static uint32_t decode(const unsigned char *p, size_t *ret_len) {
  static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
  size_t n = p[0] < 0x80 ? 1 : (p[0] & 0xe0) == 0xc0 ? 2 : (p[0] & 0xf0) == 0xe0 ? 3 : (p[0] & 0xf8) == 0xf0 ? 4 : 0;
  *ret_len = 1;
  if (n <= 1) return n ? p[0] : 0;
  uint32_t c = p[0] & (0xffu >> (n + 1));
  for (size_t i = 1; i < n; i++) {
    if ((p[i] & 0xc0) != 0x80) return 0;
    c = c << 6 | (p[i] & 0x3f);
  }
  if (c < smallest[n] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff)) return 0;
  *ret_len = n;
  return c;
}

/* Shown by its number: what moves the cursor, hides, turns or breaks the line. */
static bool is_harmful(uint32_t c) {
  return c < 0x20 || (c >= 0x7f && c <= 0x9f) || c == 0xad || c == 0x61c || c == 0x180e || (c >= 0x200b && c <= 0x200f) ||
         (c >= 0x2028 && c <= 0x202e) || (c >= 0x2060 && c <= 0x206f) || c == 0xfeff || (c >= 0xfff0 && c <= 0xfffb) ||
         (c >= 0xe0000 && c <= 0xe0fff) || (c >= 0xe000 && c <= 0xf8ff) || c >= 0xf0000;
}

static unsigned width_of(uint32_t c) {
  static const uint32_t none[][2] = {{0x300, 0x36f},   {0x483, 0x489},   {0x591, 0x5bd},   {0x610, 0x61a},   {0x64b, 0x65f},
                                     {0x1ab0, 0x1aff}, {0x1dc0, 0x1dff}, {0x20d0, 0x20ff}, {0xfe00, 0xfe0f}, {0xfe20, 0xfe2f}};
  static const uint32_t wide[][2] = {{0x1100, 0x115f},   {0x2e80, 0x303e},   {0x3041, 0xa4cf},  {0xac00, 0xd7a3},
                                     {0xf900, 0xfaff},   {0xfe30, 0xfe6f},   {0xff00, 0xff60},  {0xffe0, 0xffe6},
                                     {0x1f300, 0x1f64f}, {0x1f680, 0x1faff}, {0x20000, 0x3fffd}};
  for (size_t i = 0; i < sizeof none / sizeof *none; i++)
    if (c >= none[i][0] && c <= none[i][1]) return 0;
  for (size_t i = 0; i < sizeof wide / sizeof *wide; i++)
    if (c >= wide[i][0] && c <= wide[i][1]) return 2;
  return 1;
}

/* The next piece of text as it may be shown; returns its columns. */
static unsigned piece(const unsigned char *p, size_t *ret_len, char out[16]) {
  uint32_t c = decode(p, ret_len);
  if (c == '\t') {
    snprintf(out, 16, " ");
    return 1;
  }
  if (c == '\n' || c == '\r') snprintf(out, 16, c == '\n' ? "\\n" : "\\r");
  else if (!c) snprintf(out, 16, "\\x%02x", *p);
  else if (is_harmful(c)) snprintf(out, 16, c < 0x100 ? "\\x%02x" : "\\u%04x", (unsigned)c);
  else {
    memcpy(out, p, *ret_len);
    out[*ret_len] = '\0';
    return width_of(c);
  }
  return (unsigned)strlen(out);
}

unsigned text_clean(const char *text, unsigned columns, struct buf *out) {
  unsigned used = 0;
  size_t mark = out->len; /* where a cut would leave room for the dots */
  unsigned mark_used = 0, n;
  for (size_t len; *text; text += len, used += n) {
    char shown[16];
    n = piece((const unsigned char *)text, &len, shown);
    if (columns && used + n > columns) {
      if (out->len > mark) { /* back to the mark; buf only grows at its end */
        out->len = mark;
        out->data[mark] = '\0';
      }
      buf_adds(out, "…");
      return mark_used + 1;
    }
    if (!columns || used + n < columns) {
      buf_adds(out, shown);
      mark = out->len;
      mark_used = used + n;
    } else {
      buf_adds(out, shown);
    }
  }
  return used;
}

unsigned text_columns(const char *text) {
  unsigned used = 0;
  for (size_t len; *text; text += len) {
    char shown[16];
    used += piece((const unsigned char *)text, &len, shown);
  }
  return used;
}

void view_text(struct view *v, const char *text) {
  if (text) text_clean(text, 0, &v->out);
}

void view_id(struct view *v, const char *id) {
  if (id_exercise(id)) view_put(v, "EXERCISE ");
  view_text(v, id);
}

unsigned view_cut(struct view *v, const char *text, unsigned columns) { return text ? text_clean(text, columns, &v->out) : 0; }

void view_pad(struct view *v, unsigned used, unsigned column) {
  do buf_addc(&v->out, ' ');
  while (++used < column);
}

static void indent_add(struct view *v, unsigned indent) {
  buf_addc(&v->out, '\n');
  for (unsigned i = 0; i < indent; i++) buf_addc(&v->out, ' ');
}

/* One line of a block, broken at spaces. */
static void wrapped(struct view *v, const char *line, size_t len, unsigned indent) {
  unsigned room = v->width > indent + 20 ? v->width - indent : 0, used = 0;
  while (len) {
    char word[CELL_CAP];
    size_t n = 0;
    while (n < len && line[n] == ' ') n++;
    while (n < len && line[n] != ' ' && n < sizeof word - 1) n++;
    memcpy(word, line, n);
    word[n] = '\0';
    line += n;
    len -= n;
    const char *shown = word;
    unsigned columns = text_columns(word);
    if (room && used && used + columns > room) {
      indent_add(v, indent);
      while (*shown == ' ') shown++;
      used = 0;
      columns = text_columns(shown);
    }
    text_clean(shown, 0, &v->out);
    used += columns;
  }
}

void view_block(struct view *v, const char *text, unsigned indent) {
  for (bool first = true; text && *text; first = false) {
    size_t len = strcspn(text, "\n"), shown = len;
    if (shown && text[shown - 1] == '\r') shown--;
    if (!first) indent_add(v, indent);
    wrapped(v, text, shown, indent);
    text += len + (text[len] == '\n');
  }
}

static void scalar_add(struct view *v, const json_t *value) {
  if (json_is_string(value)) {
    view_text(v, json_string_value(value));
    return;
  }
  char *text = json_text(value);
  view_text(v, text);
  free(text);
}

void view_value(struct view *v, const json_t *value) {
  const char *key, *between = "";
  json_t *member;
  size_t i;
  if (json_is_array(value)) {
    json_array_foreach((json_t *)(uintptr_t)value, i, member) {
      buf_adds(&v->out, i ? ", " : "");
      scalar_add(v, member);
    }
  } else if (json_is_object(value)) {
    json_object_foreach((json_t *)(uintptr_t)value, key, member) {
      buf_adds(&v->out, between);
      view_text(v, key);
      buf_addc(&v->out, '=');
      scalar_add(v, member);
      between = ", ";
    }
  } else if (value) {
    scalar_add(v, value);
  }
}
