#include "exercise/pseudonym.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "base/buf.h"
#include "base/json.h"

enum { USER_NAME = 4, EMAIL_ADDRESS = 5, NAME_MOST = 128, TEXT_MOST = 8 << 20 };

static bool nobodys(const char *name) {
  static const char *const accounts[] = {"root", "admin", "administrator", "system", "nobody", "guest", "daemon", "service", "user"};
  for (size_t i = 0; i < sizeof accounts / sizeof *accounts; i++)
    if (strcmp(name, accounts[i]) == 0) return true;
  return false;
}

static bool of_word(unsigned char c) { return isalnum(c) || c == '_' || c >= 0x80; }

/* The part of an account's name that is the person's, in small letters; false: there is none, or no person's. */
static bool person(const char *value, char out[NAME_MOST]) {
  const char *from = value;
  for (const char *p = value; *p; p++)
    if (*p == '\\' || *p == '/') from = p + 1;
  size_t len = strcspn(from, "@");
  if (len < 2 || len >= NAME_MOST || !of_word((unsigned char)from[0]) || !of_word((unsigned char)from[len - 1])) return false;
  for (size_t i = 0; i < len; i++) out[i] = (char)tolower((unsigned char)from[i]);
  out[len] = '\0';
  return !nobodys(out);
}

void pseudonyms_find(const json_t *alerts, json_t *names) {
  size_t i, k;
  json_t *alert, *o;
  json_array_foreach(alerts, i, alert) {
    const json_t *inner = json_object_get(alert, "alert");
    const json_t *observables = json_object_get(inner ? inner : alert, "observables");
    json_array_foreach(observables, k, o) {
      char name[NAME_MOST];
      int64_t type = json_int_or(o, "type_id", 0);
      if ((type != USER_NAME && type != EMAIL_ADDRESS) || !person(json_str_or(o, "value", ""), name) || json_object_get(names, name))
        continue;
      json_object_set_new(names, name, json_sprintf("user-%zu", json_object_size(names) + 1));
    }
  }
}

/* The longest name that stands at p as a word. */
static const char *named(const char *text, const char *p, const json_t *names, size_t *ret_len) {
  const char *name, *found = NULL;
  json_t *pseudonym;
  *ret_len = 0;
  if (p > text && of_word((unsigned char)p[-1])) return NULL;
  json_object_foreach((json_t *)(uintptr_t)names, name, pseudonym) {
    size_t len = strlen(name);
    if (len <= *ret_len || strncasecmp(p, name, len) != 0 || of_word((unsigned char)p[len])) continue;
    *ret_len = len;
    found = json_string_value(pseudonym);
  }
  return found;
}

static json_t *text_put(const char *text, const json_t *names) {
  struct buf b;
  buf_init(&b, TEXT_MOST);
  for (const char *p = text; *p;) {
    size_t len;
    const char *pseudonym = named(text, p, names, &len);
    if (pseudonym) buf_adds(&b, pseudonym), p += len;
    else buf_addc(&b, *p++);
  }
  json_t *out = json_stringn(b.data ? b.data : "", b.len);
  buf_release(&b);
  return out;
}

json_t *pseudonyms_put(const json_t *value, const json_t *names) {
  const char *key;
  size_t i;
  json_t *member, *out;
  if (json_is_string(value)) return text_put(json_string_value(value), names);
  if (json_is_array(value)) {
    out = json_array();
    json_array_foreach(value, i, member) json_array_append_new(out, pseudonyms_put(member, names));
    return out;
  }
  if (!json_is_object(value)) return json_deep_copy(value);
  out = json_object();
  json_object_foreach((json_t *)(uintptr_t)value, key, member) json_object_set_new(out, key, pseudonyms_put(member, names));
  return out;
}
