/* log.h: the daemon's own log, one logfmt line per event on standard error (systemd's journal reads it
 * there; a "<N>" prefix gives the syslog priority when JOURNAL_STREAM is set).
 *
 * Only the edges log. Every line passes through secrets_redact. The log is for whoever runs Tocsin; what
 * happened in an incident is in its journal. */
#ifndef TOCSIN_BASE_LOG_H
#define TOCSIN_BASE_LOG_H

struct secrets;

enum log_level { LOG_ERROR = 3, LOG_WARNING = 4, LOG_NOTICE = 5, LOG_INFO = 6, LOG_DEBUG = 7 };

void log_set_level(enum log_level most);
/* The store that every line is redacted with; NULL for none. secrets_new sets it. */
void log_set_secrets(const struct secrets *secrets);
void log_line(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...) log_line(LOG_ERROR, __VA_ARGS__)
#define log_warning(...) log_line(LOG_WARNING, __VA_ARGS__)
#define log_notice(...) log_line(LOG_NOTICE, __VA_ARGS__)
#define log_info(...) log_line(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_line(LOG_DEBUG, __VA_ARGS__)

#endif
