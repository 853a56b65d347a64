#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

static char empty[1] = "";

void buf_init(struct buf *b, size_t cap) { *b = (struct buf){.data = empty, .cap = cap}; }

void buf_lend(struct buf *b, char *storage, size_t size, size_t cap) {
  *b = (struct buf){.data = storage, .size = size, .cap = cap, .lent = true};
  storage[0] = 0;
}

void buf_release(struct buf *b) {
  if (b->size && !b->lent) free(b->data);
  buf_init(b, b->cap);
}

void buf_reset(struct buf *b) {
  b->len = 0;
  b->failed = false;
  if (b->size) b->data[0] = 0;
}

bool buf_ok(const struct buf *b) { return !b->failed; }

static char *grown(const struct buf *b, size_t size) {
  if (!b->lent) return realloc(b->size ? b->data : NULL, size);
  char *data = malloc(size);
  if (data) memcpy(data, b->data, b->len + 1);
  return data;
}

static bool buf_room(struct buf *b, size_t more) {
  if (b->failed) return false;
  if (more > b->cap || b->len > b->cap - more) {
    b->failed = true;
    return false;
  }
  size_t need = b->len + more + 1;
  if (need <= b->size) return true;
  size_t size = b->size ? b->size : 256;
  while (size < need) size *= 2;
  char *data = grown(b, size);
  if (!data) {
    b->failed = true;
    return false;
  }
  b->data = data;
  b->size = size;
  b->lent = false;
  return true;
}

void buf_add(struct buf *b, const void *bytes, size_t len) {
  if (!len || !buf_room(b, len)) return;
  memcpy(b->data + b->len, bytes, len);
  b->len += len;
  b->data[b->len] = 0;
}

char *buf_extend(struct buf *b, size_t len) {
  if (!buf_room(b, len)) return NULL;
  char *room = b->data + b->len;
  b->len += len;
  b->data[b->len] = 0;
  return room;
}

void buf_addc(struct buf *b, char c) {
  if (!buf_room(b, 1)) return;
  b->data[b->len++] = c;
  b->data[b->len] = 0;
}

void buf_addf(struct buf *b, const char *format, ...) {
  va_list args, again;
  va_start(args, format);
  va_copy(again, args);
  int n = vsnprintf(NULL, 0, format, args);
  va_end(args);
  if (n < 0) b->failed = true;
  else if (n > 0 && buf_room(b, (size_t)n)) {
    vsnprintf(b->data + b->len, (size_t)n + 1, format, again);
    b->len += (size_t)n;
  }
  va_end(again);
}

void buf_add_json_string(struct buf *b, const char *bytes, size_t len) {
  const unsigned char *p = (const unsigned char *)bytes;
  buf_addc(b, '"');
  size_t plain = 0; /* start of the run that needs no escape */
  size_t i = 0;
  while (i < len) {
    while (i < len && p[i] >= 0x20 && p[i] < 0x80 && p[i] != '"' && p[i] != '\\') i++;
    if (i == len) break;
    size_t n = p[i] < 0x20 || p[i] == '"' || p[i] == '\\' ? 0 : utf8_length(p + i, len - i);
    if (n) {
      i += n;
      continue;
    }
    buf_add(b, bytes + plain, i - plain);
    switch (p[i]) {
    case '"': buf_adds(b, "\\\""); break;
    case '\\': buf_adds(b, "\\\\"); break;
    case '\n': buf_adds(b, "\\n"); break;
    case '\r': buf_adds(b, "\\r"); break;
    case '\t': buf_adds(b, "\\t"); break;
    default:
      if (p[i] < 0x20) buf_addf(b, "\\u%04x", p[i]);
      else buf_adds(b, "\xef\xbf\xbd");
    }
    i++;
    plain = i;
  }
  buf_add(b, bytes + plain, len - plain);
  buf_addc(b, '"');
}

void buf_consume(struct buf *b, size_t n) {
  if (n >= b->len) {
    buf_reset(b);
    return;
  }
  memmove(b->data, b->data + n, b->len - n + 1);
  b->len -= n;
}

char *buf_take(struct buf *b, size_t *ret_len) {
  if (b->failed) return NULL;
  char *data = b->lent ? grown(b, b->len + 1) : b->size ? b->data : calloc(1, 1);
  if (!data) return NULL;
  if (ret_len) *ret_len = b->len;
  buf_init(b, b->cap);
  return data;
}
