#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/secret.h"

static enum log_level level_max = LOG_INFO;
static const struct secrets *redact_with;

void log_set_level(enum log_level most) { level_max = most; }
void log_set_secrets(const struct secrets *secrets) { redact_with = secrets; }

static const char *const level_names[] = {"", "", "", "error", "warning", "notice", "info", "debug"};

void log_line(enum log_level level, const char *format, ...) {
  if (level > level_max) return;
  char text[4096];
  va_list args;
  va_start(args, format);
  int n = vsnprintf(text, sizeof text, format, args);
  va_end(args);
  if (n < 0) return;
  size_t len = (size_t)n < sizeof text ? (size_t)n : sizeof text - 1;
  char when[TIME_TEXT];
  time_format(clock_wall(clock_system()), when);
  struct buf clean, line;
  buf_init(&clean, 65536);
  buf_init(&line, 131072);
  if (redact_with && (size_t)n > len) len = secrets_cut(redact_with, text, len);
  if (redact_with) secrets_redact(redact_with, text, len, &clean);
  else buf_add(&clean, text, len);
  if (getenv("JOURNAL_STREAM")) buf_addf(&line, "<%d>", (int)level);
  else buf_addf(&line, "time=%s ", when);
  buf_addf(&line, "level=%s msg=", level_names[level]);
  buf_add_json_string(&line, clean.data, clean.len);
  buf_addc(&line, '\n');
  /* One write per line, so that lines of several processes do not mix; a full disk is nobody's fault here. */
  if (write(STDERR_FILENO, line.data, line.len) < 0) (void)0;
  buf_release(&clean);
  buf_release(&line);
}
