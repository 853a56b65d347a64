#include "transport/mail.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/digest.h"
#include "base/json.h"
#include "transport/form.h"

enum { LINE_MOST = 990, WORD_BYTES = 42, BASE64_LINE_BYTES = 57, ADDRESS_MOST = 254 };

static bool is_ascii(const char *text, size_t len) {
  for (size_t i = 0; i < len; i++)
    if ((unsigned char)text[i] > 126) return false;
  return true;
}

/* local@domain, plain ASCII, nothing that could end the address. */
static int check_address(const char *address, const char *where, struct err *err) {
  const char *at = address ? strchr(address, '@') : NULL;
  bool ok = at && at > address && at[1] && strlen(address) <= ADDRESS_MOST && is_ascii(address, strlen(address));
  for (const char *p = address; ok && *p; p++) ok = (unsigned char)*p > 32 && !strchr("<>()[],;:\\\"", *p);
  return ok ? 0 : err_set(err, ERR_INVALID, "smtp: %s: this is no mail address such as name@corp.example", where);
}

/* ---- headers ---------------------------------------------------------------------------------------- */

/* RFC 2047: words of base64, each whole characters, folded. Plain text stays as it is. */
static void add_encoded(struct buf *out, const char *text) {
  size_t len = strlen(text);
  if (is_ascii(text, len) && !strstr(text, "=?")) {
    buf_adds(out, text);
    return;
  }
  for (size_t i = 0; i < len;) {
    size_t n = len - i < WORD_BYTES ? len - i : WORD_BYTES;
    while (i + n < len && ((unsigned char)text[i + n] & 0xc0) == 0x80) n--;
    char *word = base64_encode(text + i, n);
    buf_addf(out, "%s=?UTF-8?B?%s?=", i ? "\r\n " : "", word ? word : "");
    free(word);
    i += n;
  }
}

static void add_date(struct buf *out, int64_t now_us) {
  static const char days[] = "SunMonTueWedThuFriSat", months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
  time_t seconds = (time_t)(now_us / 1000000);
  struct tm tm;
  gmtime_r(&seconds, &tm);
  buf_addf(out, "Date: %.3s, %d %.3s %d %02d:%02d:%02d +0000\r\n", days + tm.tm_wday * 3, tm.tm_mday, months + tm.tm_mon * 3,
           tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec);
}

/* The same key gives the same Message-ID: whoever gets a mail twice sees that it is one. */
static void make_id(struct mail *m, const char *key) {
  uint8_t digest[DIGEST_BYTES];
  char hex[DIGEST_HEX];
  if (key) digest_sha256(key, strlen(key), digest);
  else random_bytes(digest, sizeof digest);
  hex_encode(digest, 16, hex);
  snprintf(m->message_id, sizeof m->message_id, "<%.32s.tocsin@%.80s>", hex, strchr(m->from, '@') + 1);
}

static int add_extra(struct mail *m, const json_t *headers, struct err *err) {
  const char *name;
  json_t *value;
  json_object_foreach((json_t *)(uintptr_t)headers, name, value) {
    const char *text = json_string_value(value);
    bool ok = strncmp(name, "X-", 2) == 0 && strlen(name) < 64 && text && strlen(text) == json_string_length(value) &&
              strlen(text) < LINE_MOST / 2 && !text_has_line_break(text);
    for (const char *p = name; ok && *p; p++) ok = isalnum((unsigned char)*p) || *p == '-';
    if (!ok) return err_set(err, ERR_INVALID, "smtp: headers: %.64s must be an X-… name with one line of text", name);
    buf_addf(&m->text, "%s: ", name);
    add_encoded(&m->text, text);
    buf_adds(&m->text, "\r\n");
  }
  return 0;
}

static int add_head(struct mail *m, const json_t *form, const char *key, int64_t now_us, struct err *err) {
  const char *subject, *reply_to;
  const json_t *headers;
  size_t i;
  json_t *to;
  int r;
  if ((r = form_string(form, "smtp", "subject", true, &subject, err)) < 0 ||
      (r = form_string(form, "smtp", "reply_to", false, &reply_to, err)) < 0 ||
      (r = form_object(form, "smtp", "headers", &headers, err)) < 0 || (reply_to && (r = check_address(reply_to, "reply_to", err)) < 0))
    return r;
  if (text_has_line_break(subject) || strlen(subject) > SUBJECT_CAP)
    return err_set(err, ERR_INVALID, "smtp: subject must be one line of at most %d bytes", SUBJECT_CAP);
  make_id(m, key);
  add_date(&m->text, now_us);
  buf_addf(&m->text, "Message-ID: %s\r\nFrom: <%s>\r\n", m->message_id, m->from);
  json_array_foreach(m->to, i, to) buf_addf(&m->text, "%s<%s>", i ? ",\r\n " : "To: ", json_string_value(to));
  buf_adds(&m->text, "\r\n");
  if (reply_to) buf_addf(&m->text, "Reply-To: <%s>\r\n", reply_to);
  buf_adds(&m->text, "Subject: ");
  add_encoded(&m->text, subject);
  buf_adds(&m->text, "\r\nAuto-Submitted: auto-generated\r\n");
  return add_extra(m, headers, err);
}

/* ---- body ------------------------------------------------------------------------------------------- */

static void to_crlf(const char *text, size_t len, struct buf *out) {
  for (size_t i = 0; i < len; i++) {
    if (text[i] == '\r' && i + 1 < len && text[i + 1] == '\n') continue;
    if (text[i] == '\n' || text[i] == '\r') buf_adds(out, "\r\n");
    else buf_addc(out, text[i]);
  }
  if (out->len < 2 || out->data[out->len - 1] != '\n') buf_adds(out, "\r\n");
}

static bool plain_lines(const struct buf *text) {
  size_t line = 0;
  for (size_t i = 0; i < text->len; i++) {
    line = text->data[i] == '\n' ? 0 : line + 1;
    if (line > LINE_MOST || !text->data[i]) return false;
  }
  return is_ascii(text->data, text->len);
}

static int add_body(struct mail *m, const json_t *form, struct err *err) {
  const json_t *text = json_object_get(form, "text");
  struct buf lines;
  if (!json_is_string(text)) return err_set(err, ERR_INVALID, "smtp: text must be a string");
  buf_init(&lines, MAIL_CAP / 2);
  to_crlf(json_string_value(text), json_string_length(text), &lines);
  bool plain = plain_lines(&lines), ok = buf_ok(&lines);
  buf_addf(&m->text, "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: %s\r\n\r\n",
           plain ? "7bit" : "base64");
  if (plain) buf_add(&m->text, lines.data, lines.len);
  for (size_t i = 0; !plain && i < lines.len; i += BASE64_LINE_BYTES) {
    char *line = base64_encode(lines.data + i, lines.len - i < BASE64_LINE_BYTES ? lines.len - i : BASE64_LINE_BYTES);
    buf_addf(&m->text, "%s\r\n", line ? line : "");
    wipe_string(line);
  }
  buf_release(&lines);
  return ok && buf_ok(&m->text) ? 0 : err_set(err, ERR_LIMIT, "smtp: the mail is longer than %d bytes", MAIL_CAP / 2);
}

static int read_envelope(struct mail *m, const json_t *form, struct err *err) {
  const char *starttls;
  size_t i;
  json_t *to;
  int r;
  if ((r = form_string(form, "smtp", "url", true, &m->url, err)) < 0 ||
      (r = form_string(form, "smtp", "starttls", false, &starttls, err)) < 0 ||
      (r = form_string(form, "smtp", "user", false, &m->user, err)) < 0 ||
      (r = form_string(form, "smtp", "password", false, &m->password, err)) < 0 ||
      (r = form_string(form, "smtp", "from", true, &m->from, err)) < 0 || (r = form_list(form, "smtp", "to", &m->to, err)) < 0 ||
      (r = check_address(m->from, "from", err)) < 0)
    return r;
  const char *host = strncmp(m->url, "smtp://", 7) == 0 ? m->url + 7 : strncmp(m->url, "smtps://", 8) == 0 ? m->url + 8 : NULL;
  if (!host || !*host || strpbrk(host, "/@?# ") || text_has_line_break(host))
    return err_set(err, ERR_INVALID, "smtp: url must be smtp://host:port or smtps://host:port");
  if (starttls && strcmp(starttls, "required") != 0 && strcmp(starttls, "never") != 0)
    return err_set(err, ERR_INVALID, "smtp: starttls must be \"required\" or \"never\"");
  if (!m->user != !m->password) return err_set(err, ERR_INVALID, "smtp: user and password go together");
  m->starttls = m->url[4] == ':' && (!starttls || strcmp(starttls, "required") == 0);
  size_t count = json_array_size(m->to);
  if (count < 1 || count > MOST_RECIPIENTS)
    return err_set(err, ERR_INVALID, "smtp: to must be a list of 1 to %d addresses", MOST_RECIPIENTS);
  json_array_foreach(m->to, i, to) if ((r = check_address(json_string_value(to), "to", err)) < 0) return r;
  return 0;
}

int mail_init(struct mail *m, const json_t *form, const char *key, int64_t now_us, struct err *err) {
  static const char *const members[] = {"url",      "starttls", "user", "password", "from", "to",
                                        "reply_to", "subject",  "text", "headers",  NULL};
  int r;
  memset(m, 0, sizeof *m);
  buf_init(&m->text, MAIL_CAP);
  if ((r = form_members(form, "smtp", members, err)) < 0 || (r = read_envelope(m, form, err)) < 0 ||
      (r = add_head(m, form, key, now_us, err)) < 0 || (r = add_body(m, form, err)) < 0)
    mail_release(m);
  return r;
}

void mail_release(struct mail *m) {
  if (m->text.size) explicit_bzero(m->text.data, m->text.len);
  buf_release(&m->text);
}
