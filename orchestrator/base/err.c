#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"

/* It goes into JSON: what a format has cut in the middle of a letter must not cost the whole answer. */
static void mend(struct err *err) { utf8_mend(err->text, strlen(err->text)); }

static void err_vset(struct err *err, int code, const char *format, va_list args) {
  if (!err) return;
  err->code = code;
  vsnprintf(err->text, sizeof err->text, format, args);
  mend(err);
}

int err_set(struct err *err, int code, const char *format, ...) {
  va_list args;
  va_start(args, format);
  err_vset(err, code, format, args);
  va_end(args);
  return code;
}

int err_wrap(struct err *err, const char *format, ...) {
  if (!err) return ERR_INTERNAL;
  char old[sizeof err->text];
  memcpy(old, err->text, sizeof old);
  va_list args;
  va_start(args, format);
  int n = vsnprintf(err->text, sizeof err->text, format, args);
  va_end(args);
  size_t used = n < 0 ? 0 : (size_t)n;
  if (used < sizeof err->text) snprintf(err->text + used, sizeof err->text - used, ": %s", old);
  mend(err);
  return err->code;
}

int err_errno(struct err *err, const char *format, ...) {
  int saved = errno;
  va_list args;
  va_start(args, format);
  err_vset(err, ERR_IO, format, args);
  va_end(args);
  if (err) {
    size_t used = strlen(err->text);
    snprintf(err->text + used, sizeof err->text - used, ": %s", strerror(saved));
    mend(err);
  }
  errno = saved;
  return ERR_IO;
}

const char *err_name(int code) {
  switch (code) {
  case ERR_INVALID: return "invalid";
  case ERR_NOT_FOUND: return "not_found";
  case ERR_EXISTS: return "exists";
  case ERR_DENIED: return "denied";
  case ERR_LIMIT: return "limit";
  case ERR_TIMEOUT: return "timeout";
  case ERR_UNAVAILABLE: return "unavailable";
  case ERR_CONFLICT: return "conflict";
  case ERR_IO: return "io";
  case ERR_MEMORY: return "memory";
  case ERR_CANCELLED: return "cancelled";
  case 0: return "ok";
  default: return "internal";
  }
}
