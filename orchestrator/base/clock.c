#include "base/clock.h"

#include <ctype.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timex.h>
#include <time.h>
#include <unistd.h>

static int64_t system_now(clockid_t id) {
  struct timespec t;
  clock_gettime(id, &t);
  return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static int64_t system_wall(const struct clock *clock) {
  (void)clock;
  return system_now(CLOCK_REALTIME);
}

static int64_t system_boot(const struct clock *clock) {
  (void)clock;
  return system_now(CLOCK_BOOTTIME);
}

const struct clock *clock_system(void) {
  static const struct clock system = {.wall = system_wall, .boot = system_boot};
  return &system;
}

static int64_t settable_now(const struct clock *clock) { return clock->offset; }

void clock_init_settable(struct clock *clock, int64_t wall) {
  *clock = (struct clock){.wall = settable_now, .boot = settable_now, .offset = wall};
}

void clock_set(struct clock *clock, int64_t wall) { clock->offset = wall; }
int64_t clock_wall(const struct clock *clock) { return clock->wall(clock); }
int64_t clock_boot(const struct clock *clock) { return clock->boot(clock); }

/* Of the loop's thread: no other counts a window. */
static int64_t steady_offset;
static bool steady_known;

void clock_steady_set(int64_t offset) {
  steady_offset = offset;
  steady_known = true;
}

int64_t clock_steady(const struct clock *clock) {
  if (clock != clock_system()) return clock_boot(clock);
  if (!steady_known) clock_steady_set(clock_wall(clock) - clock_boot(clock));
  return clock_boot(clock) + steady_offset;
}

void clock_boot_id(char out[CLOCK_BOOT_ID]) {
  memset(out, 0, CLOCK_BOOT_ID);
  int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return;
  if (read(fd, out, CLOCK_BOOT_ID - 1) < 0) out[0] = 0;
  close(fd);
  out[strcspn(out, "\n")] = 0;
}

/* Asking for it exactly is a call of the kernel. A thread cannot have used more of it than the time that has passed. */
int64_t clock_cpu_near(void) {
  static _Thread_local int64_t known, known_at;
  int64_t now = system_now(CLOCK_MONOTONIC), passed = now - known_at;
  if (known_at && passed < CPU_TIME_NEAR) return known + passed;
  known = system_now(CLOCK_THREAD_CPUTIME_ID);
  known_at = now;
  return known;
}

static inline char *put_two(char *p, unsigned value) {
  p[0] = (char)('0' + value / 10);
  p[1] = (char)('0' + value % 10);
  return p + 2;
}

enum { DAY_SECONDS = 86400, ERA_DAYS = 146097, ERA_YEARS = 400, TO_1970 = 719468 /* days, from 1 March of the year 0 on */ };

/* The day's date by the Gregorian calendar. Counted from March on a leap day ends its year, and all months' lengths follow one rule (Hinnant 2013). */
static void date_of(int64_t day, int64_t *ret_year, unsigned *ret_month, unsigned *ret_day) {
  day += TO_1970;
  int64_t era = (day >= 0 ? day : day - (ERA_DAYS - 1)) / ERA_DAYS;
  unsigned left = (unsigned)(day - era * ERA_DAYS), year = (left - left / 1460 + left / 36524 - left / (ERA_DAYS - 1)) / 365;
  left -= 365 * year + year / 4 - year / 100;
  unsigned month = (5 * left + 2) / 153;
  *ret_day = left - (153 * month + 2) / 5 + 1;
  *ret_month = month < 10 ? month + 3 : month - 9;
  *ret_year = era * ERA_YEARS + year + (month >= 10);
}

/* Rounded down, also before 1970. */
static int64_t split(int64_t value, int64_t unit, unsigned *ret_rest) {
  int64_t whole = value / unit, rest = value % unit;
  *ret_rest = (unsigned)(rest < 0 ? rest + unit : rest);
  return rest < 0 ? whole - 1 : whole;
}

/* Not strftime, whose %Y would leave out the zeros of the year 226, nor gmtime_r, which takes a lock and looks at the time zone: every entry's
 * head has one. */
void time_format(int64_t us, char out[TIME_TEXT]) {
  unsigned rest, second, month, day;
  int64_t year;
  date_of(split(split(us, 1000000, &rest), DAY_SECONDS, &second), &year, &month, &day);
  const unsigned parts[] = {month, day, second / 3600, second / 60 % 60, second % 60};
  if (year < 0 || year > 9999) { /* no time that Tocsin writes: still something that can be read */
    char text[80];
    snprintf(text, sizeof text, "%04lld-%02u-%02uT%02u:%02u:%02u.%06uZ", (long long)year, month, day, parts[2], parts[3], parts[4], rest);
    snprintf(out, TIME_TEXT, "%.*s", TIME_TEXT - 1, text);
    return;
  }
  char *p = put_two(put_two(out, (unsigned)year / 100), (unsigned)year % 100);
  for (int i = 0; i < 5; i++) {
    *p++ = "--T::"[i];
    p = put_two(p, parts[i]);
  }
  *p++ = '.';
  p = put_two(put_two(put_two(p, rest / 10000), rest / 100 % 100), rest % 100);
  *p++ = 'Z';
  *p = 0;
}

static bool digits(const char **p, int count, int *ret) {
  int value = 0;
  for (int i = 0; i < count; i++) {
    if (!isdigit((unsigned char)(*p)[i])) return false;
    value = value * 10 + ((*p)[i] - '0');
  }
  *p += count;
  *ret = value;
  return true;
}

static bool expect(const char **p, const char *any) {
  if (!**p || !strchr(any, **p)) return false;
  (*p)++;
  return true;
}

/* "Z", "+02:00", "+0200", "+01.00" (seen in the wild), "+02" or nothing: minutes east of UTC. */
static bool zone_parse(const char **p, int *ret_minutes) {
  if (!**p || expect(p, "Zz")) {
    *ret_minutes = 0;
    return true;
  }
  int sign = **p == '-' ? -1 : 1, hours, minutes = 0;
  if (!expect(p, "+-") || !digits(p, 2, &hours)) return false;
  expect(p, ":.");
  if (**p && !digits(p, 2, &minutes)) return false;
  if (hours > 23 || minutes > 59) return false;
  *ret_minutes = sign * (hours * 60 + minutes);
  return true;
}

bool time_parse(const char *text, int64_t *ret_us) {
  const char *p = text;
  struct tm tm = {0};
  int year, month, day, zone;
  if (!digits(&p, 4, &year) || !expect(&p, "-") || !digits(&p, 2, &month) || !expect(&p, "-") || !digits(&p, 2, &day) ||
      !expect(&p, "Tt ") || !digits(&p, 2, &tm.tm_hour) || !expect(&p, ":") || !digits(&p, 2, &tm.tm_min))
    return false;
  if (expect(&p, ":") && !digits(&p, 2, &tm.tm_sec)) return false;
  if (month < 1 || month > 12 || day < 1 || day > 31 || tm.tm_hour > 23 || tm.tm_min > 59 || tm.tm_sec > 60) return false;
  int64_t fraction = 0;
  if (expect(&p, ".,")) {
    int64_t unit = 100000;
    if (!isdigit((unsigned char)*p)) return false;
    for (; isdigit((unsigned char)*p); p++, unit /= 10) fraction += (*p - '0') * unit;
  }
  if (!zone_parse(&p, &zone) || *p) return false;
  tm.tm_year = year - 1900;
  tm.tm_mon = month - 1;
  tm.tm_mday = day;
  time_t seconds = timegm(&tm);
  if (tm.tm_mday != day) return false; /* 31 February */
  int64_t utc = (int64_t)seconds - (int64_t)zone * 60;
  if (utc < INT64_C(-62135596800) || utc > INT64_C(253402300799)) return false; /* the years 1 to 9999, in which time_format is exact */
  *ret_us = utc * 1000000 + fraction;
  return true;
}

bool duration_parse(const char *text, int64_t *ret_ms) {
  static const struct {
    const char *name;
    int64_t ms;
  } units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}, {"w", 604800000}};
  if (!isdigit((unsigned char)*text) || strlen(text) > 14) return false;
  char *end;
  long long value = strtoll(text, &end, 10);
  for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
    if (strcmp(end, units[i].name) != 0) continue;
    if (value > INT64_C(315360000000) / units[i].ms) return false;
    *ret_ms = value * units[i].ms;
    return true;
  }
  return false;
}

void duration_format(int64_t ms, char out[DURATION_TEXT]) {
  long long s = (long long)(ms / 1000);
  if (ms < 1000) snprintf(out, DURATION_TEXT, "%lldms", (long long)ms);
  else if (s < 60) snprintf(out, DURATION_TEXT, "%llds", s);
  else if (s < 3600) snprintf(out, DURATION_TEXT, s % 60 ? "%lldm %llds" : "%lldm", s / 60, s % 60);
  else if (s < 86400) snprintf(out, DURATION_TEXT, s / 60 % 60 ? "%lldh %lldm" : "%lldh", s / 3600, s / 60 % 60);
  else snprintf(out, DURATION_TEXT, s / 3600 % 24 ? "%lldd %lldh" : "%lldd", s / 86400, s / 3600 % 24);
}

bool clock_synchronized(int64_t *ret_most) {
  struct timex t = {.modes = 0};
  bool good = adjtimex(&t) != TIME_ERROR && !(t.status & STA_UNSYNC);
  *ret_most = t.maxerror;
  return good;
}
