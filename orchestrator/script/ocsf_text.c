#include "script/ocsf_text.h"

#include <ctype.h>
#include <math.h>
#include <string.h>

static bool digit(char c) { return c >= '0' && c <= '9'; }
static bool blank(char c) { return isspace((unsigned char)c) != 0; }

static bool is(struct span s, const char *word) { return strlen(word) == s.len && memcmp(s.at, word, s.len) == 0; }

static bool ends(struct span s, const char *end) {
  size_t n = strlen(end);
  return s.len >= n && memcmp(s.at + s.len - n, end, n) == 0;
}

static const char *find(struct span s, const char *what) { return memmem(s.at, s.len, what, strlen(what)); }

static size_t digits_at(struct span s, size_t from) {
  size_t n = 0;
  while (from + n < s.len && digit(s.at[from + n])) n++;
  return n;
}

bool text_says(struct span *s) {
  static const char *const nothing[] = {"", "-", "null", "(null)", "<NA>", "N/A", "n/a"};
  while (s->len && blank(s->at[0])) s->at++, s->len--;
  while (s->len && blank(s->at[s->len - 1])) s->len--;
  if (s->len > 6) return true;
  for (size_t i = 0; i < sizeof nothing / sizeof *nothing; i++)
    if (is(*s, nothing[i])) return false;
  return true;
}

/* ---- addresses and digests -------------------------------------------------------------------------------- */

static bool is_ipv4(struct span s) {
  size_t at = 0;
  for (int group = 0; group < 4; group++) {
    size_t n = digits_at(s, at);
    int value = 0;
    if (n < 1 || n > 3) return false;
    for (size_t i = 0; i < n; i++) value = value * 10 + (s.at[at + i] - '0');
    if (value > 255) return false;
    at += n;
    if (group < 3 && (at == s.len || s.at[at++] != '.')) return false;
  }
  return at == s.len;
}

/* An IPv4 address behind the last colon counts as two groups: cut off, and a single colon with it. */
static bool cut_ipv4(struct span *s, int *groups) {
  const char *colon = memrchr(s->at, ':', s->len);
  size_t head = (size_t)(colon - s->at) + 1;
  struct span last = {colon + 1, s->len - head};
  if (!memchr(last.at, '.', last.len)) return true;
  if (!is_ipv4(last)) return false;
  s->len = head;
  if (!ends(*s, "::")) s->len--;
  *groups = 2;
  return true;
}

static bool count_groups(struct span s, int *groups) {
  for (size_t at = 0, n; at < s.len; at += n ? n : 1) {
    for (n = 0; at + n < s.len && s.at[at + n] != ':'; n++)
      if (s.at[at + n] == '.') return false;
    if (n > 4) return false;
    *groups += n > 0;
  }
  return true;
}

static bool is_ipv6(struct span s) {
  int groups = 0;
  if (s.len > 45 || !memchr(s.at, ':', s.len) || find(s, ":::")) return false;
  for (size_t i = 0; i < s.len; i++)
    if (!isxdigit((unsigned char)s.at[i]) && s.at[i] != ':' && s.at[i] != '.') return false;
  if (!cut_ipv4(&s, &groups)) return false;
  const char *skipped = find(s, "::");
  if (skipped && find((struct span){skipped + 2, (size_t)(s.at + s.len - skipped) - 2}, "::")) return false;
  if (s.len && s.at[0] == ':' && skipped != s.at) return false;
  if (s.len && s.at[s.len - 1] == ':' && !ends(s, "::")) return false;
  if (!count_groups(s, &groups)) return false;
  return groups == 8 || (skipped && groups < 8);
}

bool text_is_ip(struct span s) { return is_ipv4(s) || is_ipv6(s); }

bool text_is_hash(struct span s) {
  bool more = false;
  if (s.len != 32 && s.len != 40 && s.len != 64 && s.len != 128) return false;
  for (size_t i = 0; i < s.len; i++) {
    if (!isxdigit((unsigned char)s.at[i])) return false;
    more = more || s.at[i] != '0';
  }
  return more;
}

bool text_is_email(struct span s) {
  const char *at = memchr(s.at, '@', s.len);
  if (!at || at == s.at) return false;
  for (size_t i = 0; i < s.len; i++)
    if (blank(s.at[i]) || (s.at[i] == '@' && s.at + i != at)) return false;
  struct span domain = {at + 1, (size_t)(s.at + s.len - at) - 1};
  return domain.len > 2 && memchr(domain.at + 1, '.', domain.len - 2);
}

bool text_host_port(struct span s, struct span *ret_host, struct span *ret_port) {
  const char *colon = memrchr(s.at, ':', s.len);
  if (!colon) return false;
  size_t host = (size_t)(colon - s.at), from = 0;
  struct span port = {colon + 1, s.len - host - 1};
  if (!port.len || digits_at(port, 0) != port.len) return false;
  if (host && s.at[host - 1] == ']') host--;
  if (host && s.at[0] == '[') from = 1;
  for (size_t i = from; i < host; i++)
    if (s.at[i] == '[' || s.at[i] == ']') return false;
  if (from >= host) return false;
  *ret_host = (struct span){s.at + from, host - from};
  *ret_port = port;
  return true;
}

/* ---- time ------------------------------------------------------------------------------------------------- */

bool epoch_integer_ms(int64_t n, int64_t *ret_ms) {
  if (n < 100000000) return false;
  *ret_ms = n < 100000000000 ? n * 1000 : n < 100000000000000 ? n : n < 100000000000000000 ? n / 1000 : n / 1000000;
  return true;
}

bool epoch_number_ms(double n, int64_t *ret_ms) {
  if (!(n >= 1e8 && n < 0x1p63)) return false;
  *ret_ms = n < 1e11 ? (int64_t)floor(n * 1000 + 0.5) : n < 1e14 ? (int64_t)n : n < 1e17 ? (int64_t)n / 1000 : (int64_t)n / 1000000;
  return true;
}

bool text_is_number(struct span s) {
  size_t n = digits_at(s, 0), at = n;
  if (at < s.len && s.at[at] == '.') at++;
  return n && at + digits_at(s, at) == s.len;
}

/* Takes exactly n digits off the front. */
static bool take_number(struct span *s, size_t n, int *ret) {
  int value = 0;
  if (s->len < n) return false;
  for (size_t i = 0; i < n; i++) {
    if (!digit(s->at[i])) return false;
    value = value * 10 + (s->at[i] - '0');
  }
  s->at += n, s->len -= n;
  *ret = value;
  return true;
}

static bool take_char(struct span *s, const char *any) {
  if (!s->len || !s->at[0] || !strchr(any, s->at[0])) return false;
  s->at++, s->len--;
  return true;
}

struct moment {
  int year, month, day, hour, minute, second;
};

static bool take_clock(struct span *s, struct moment *m) {
  return take_number(s, 2, &m->hour) && take_char(s, ":") && take_number(s, 2, &m->minute) && take_char(s, ":") &&
         take_number(s, 2, &m->second);
}

static bool take_iso(struct span *s, struct moment *m) {
  return take_number(s, 4, &m->year) && take_char(s, "-") && take_number(s, 2, &m->month) && take_char(s, "-") &&
         take_number(s, 2, &m->day) && take_char(s, "Tt ") && take_clock(s, m);
}

/* "Nov 23 2026 10:00:00" */
static bool take_named(struct span *s, struct moment *m) {
  static const char months[] = "jan feb mar apr may jun jul aug sep oct nov dec ";
  char name[5] = "";
  if (s->len < 4 || s->at[3] != ' ') return false;
  for (int i = 0; i < 4; i++) name[i] = (char)tolower((unsigned char)s->at[i]);
  const char *found = strstr(months, name);
  if (!found || strlen(name) < 4) return false;
  m->month = (int)(found - months) / 4 + 1;
  for (s->at += 3, s->len -= 3; take_char(s, " ");) {}
  if (!take_number(s, digits_at(*s, 0) == 1 ? 1 : 2, &m->day)) return false;
  return take_char(s, " ") && take_number(s, 4, &m->year) && take_char(s, " ") && take_clock(s, m);
}

static bool zone_ms(struct span s, int64_t *ret) {
  int hours, minutes = 0;
  while (s.len && blank(s.at[0])) s.at++, s.len--;
  while (s.len && blank(s.at[s.len - 1])) s.len--;
  *ret = 0;
  if (!s.len || is(s, "Z") || is(s, "z") || is(s, "UTC") || is(s, "GMT")) return true;
  bool west = s.at[0] == '-';
  if (!take_char(&s, "+-") || !take_number(&s, 2, &hours)) return false;
  take_char(&s, ":.");
  if (s.len > 2 || !take_number(&s, s.len, &minutes)) return false;
  *ret = (int64_t)(hours * 60 + minutes) * 60000 * (west ? -1 : 1);
  return true;
}

/* Days since 1970-01-01 of a date in the Gregorian calendar; years begin in March so that leap days come last. */
static int64_t days(int year, int month, int day) {
  if (month <= 2) year--;
  int64_t era = year / 400, of_era = year - era * 400;
  int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
  return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

bool text_time(struct span s, int64_t *ret_ms) {
  struct moment m;
  struct span rest = s;
  int64_t shift;
  int ms = 0;
  if (!take_iso(&rest, &m)) {
    rest = s;
    if (!take_named(&rest, &m)) return false;
  }
  if (rest.len && (rest.at[0] == '.' || rest.at[0] == ',') && digits_at(rest, 1)) {
    size_t n = digits_at(rest, 1);
    for (size_t i = 0; i < 3; i++) ms = ms * 10 + (i < n ? rest.at[1 + i] - '0' : 0);
    rest.at += 1 + n, rest.len -= 1 + n;
  }
  if (m.year < 1970 || m.month < 1 || m.month > 12 || m.day < 1 || m.day > 31 || m.hour > 24 || m.minute > 59 || m.second > 60)
    return false;
  if (!zone_ms(rest, &shift)) return false;
  *ret_ms = ((days(m.year, m.month, m.day) * 24 + m.hour) * 60 + m.minute) * 60000 + m.second * 1000 + ms - shift;
  return true;
}

/* ---- severity ----------------------------------------------------------------------------------------------- */

int text_severity(struct span s) {
  static const struct {
    const char *word;
    int id;
  } words[] = {{"unknown", 0}, {"info", 1},  {"information", 1}, {"informational", 1}, {"debug", 1},     {"none", 1},     {"ok", 1},
               {"notice", 2},  {"low", 2},   {"minor", 2},       {"medium", 3},        {"moderate", 3},  {"warn", 3},     {"warning", 3},
               {"high", 4},    {"error", 4}, {"err", 4},         {"major", 4},         {"important", 4}, {"severe", 4},   {"critical", 5},
               {"crit", 5},    {"alert", 5}, {"page", 5},        {"very-high", 5},     {"very high", 5}, {"veryhigh", 5}, {"emergency", 6},
               {"emerg", 6},   {"fatal", 6}, {"panic", 6},       {"disaster", 6}};
  char lower[16];
  if (!s.len || s.len >= sizeof lower) return -1;
  for (size_t i = 0; i < s.len; i++) lower[i] = (char)tolower((unsigned char)s.at[i]);
  for (size_t i = 0; i < sizeof words / sizeof *words; i++)
    if (*words[i].word == *lower && is((struct span){lower, s.len}, words[i].word)) return words[i].id;
  return -1;
}
