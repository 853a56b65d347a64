#include "people/people.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/digest.h"
#include "base/json.h"
#include "base/map.h"

enum { MAX_PEOPLE = 1000, MAX_NAME = 64, MAX_EMAIL = 254, MAX_ROLES = 32, UID_NAME = 24, KEY_BYTES = 64 };

/* A person, and what establishes them. */
struct member {
  struct person person;
  char *slot; /* of the token, NULL: none */
  uid_t uid;
  bool has_uid;
};

struct people {
  struct member **members; /* sorted by name */
  size_t count;
  struct map by_actor;  /* → struct member */
  struct map strangers; /* "uid:1234" → struct member; made when first seen */
  const struct secrets *secrets;
  json_t *no_roles, *admin_roles;
  uint8_t key[KEY_BYTES];
  size_t key_len;
};

static void member_free(void *arg) {
  struct member *m = arg;
  if (!m) return;
  free(m->person.name);
  free(m->person.email);
  json_decref((json_t *)(uintptr_t)m->person.roles);
  free(m->slot);
  free(m);
}

void people_free(struct people *p) {
  if (!p) return;
  for (size_t i = 0; i < p->count; i++) member_free(p->members[i]);
  map_release(&p->by_actor, NULL);
  map_release(&p->strangers, member_free);
  json_decref(p->no_roles);
  json_decref(p->admin_roles);
  free(p->members);
  explicit_bzero(p->key, sizeof p->key);
  free(p);
}

static void pseudonym(const struct people *p, const char *name, char out[PERSON_ACTOR]) {
  uint8_t mac[DIGEST_BYTES];
  char hex[9];
  digest_hmac_sha256(p->key, p->key_len, name, strlen(name), mac);
  hex_encode(mac, 4, hex);
  snprintf(out, PERSON_ACTOR, "person:%s", hex);
}

/* ---- reading the settings ---- */

/* A name goes into timelines and tables: no control characters, and nothing that reads as a uid or a pseudonym. */
static int name_check(const char *name, struct err *err) {
  size_t len = strlen(name);
  if (!len || len > MAX_NAME) return err_set(err, ERR_INVALID, "people: a name has 1 to %d bytes", MAX_NAME);
  for (size_t i = 0; i < len; i++)
    if ((unsigned char)name[i] < ' ' || name[i] == 0x7f) return err_set(err, ERR_INVALID, "people: a name holds a control character");
  if (name[0] == ' ' || name[len - 1] == ' ') return err_set(err, ERR_INVALID, "people.%s: the name begins or ends with a space", name);
  if (strchr(name, ':')) return err_set(err, ERR_INVALID, "people.%s: a name may not hold `:`", name);
  return 0;
}

static int take_uid(struct member *m, const json_t *value, struct err *err) {
  if (!value || json_is_null(value)) return 0;
  json_int_t uid = json_integer_value(value);
  if (!json_is_integer(value) || uid < 0 || uid >= (json_int_t)UINT32_MAX)
    return err_set(err, ERR_INVALID, "people.%s.uid: write the number that `id -u` shows", m->person.name);
  m->uid = (uid_t)uid;
  m->has_uid = true;
  return 0;
}

static int take_token(const struct people *p, struct member *m, const json_t *value, struct err *err) {
  const char *slot = json_str(value, "$secret");
  if (!value || json_is_null(value)) return 0;
  if (!slot)
    return err_set(err, ERR_INVALID, "people.%s.token: write secret \"file:…\" or secret \"env:…\", never the token itself",
                   m->person.name);
  if (!p->secrets || !secrets_get(p->secrets, slot, NULL))
    return err_set(err, ERR_INVALID, "people.%s.token: the secret is not resolved", m->person.name);
  return (m->slot = strdup(slot)) ? 0 : err_set(err, ERR_MEMORY, "no memory for people");
}

static int take_roles(struct member *m, const json_t *value, struct err *err) {
  size_t i;
  json_t *role;
  bool none = !value || json_is_null(value) || (json_is_object(value) && !json_object_size(value));
  if (!none && (!json_is_array(value) || json_array_size(value) > MAX_ROLES))
    return err_set(err, ERR_INVALID, "people.%s.roles: write a list such as { \"responder\" }, at most %d", m->person.name, MAX_ROLES);
  json_array_foreach(value, i, role) {
    if (!json_is_string(role) || !json_string_length(role))
      return err_set(err, ERR_INVALID, "people.%s.roles: a role is a word such as \"responder\"", m->person.name);
  }
  m->person.roles = none ? json_array() : json_deep_copy(value);
  return m->person.roles ? 0 : err_set(err, ERR_MEMORY, "no memory for people");
}

/* The address ends up in a mail's envelope: one address, nothing that could begin another line or recipient. */
static int take_email(struct member *m, const json_t *value, struct err *err) {
  if (!value || json_is_null(value)) return 0;
  const char *text = json_string_value(value), *sign = text ? strchr(text, '@') : NULL;
  bool fits = sign && sign > text && sign[1] && strlen(text) <= MAX_EMAIL && strlen(text) == json_string_length(value);
  for (const char *c = text; fits && *c; c++) fits = (unsigned char)*c > ' ' && (unsigned char)*c != 0x7f && !strchr("<>,;\"", *c);
  if (!fits) return err_set(err, ERR_INVALID, "people.%s.email: write one address such as \"alice@example.org\"", m->person.name);
  return (m->person.email = strdup(text)) ? 0 : err_set(err, ERR_MEMORY, "no memory for people");
}

static int members_check(const char *name, const json_t *value, struct err *err) {
  static const char *const known[] = {"uid", "token", "roles", "email"};
  const char *key;
  json_t *item;
  if (!json_is_object(value)) return err_set(err, ERR_INVALID, "people.%s: write { uid = …, token = …, roles = { … }, email = … }", name);
  json_object_foreach((json_t *)(uintptr_t)value, key, item) {
    bool found = false;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) found = found || strcmp(known[i], key) == 0;
    if (!found) return err_set(err, ERR_INVALID, "people.%s: unknown member `%.40s`; there are uid, token, roles, email", name, key);
  }
  return 0;
}

static int member_new(const struct people *p, const char *name, const json_t *value, struct member **ret, struct err *err) {
  int rc = name_check(name, err);
  if (!rc) rc = members_check(name, value, err);
  if (rc) return rc;
  struct member *m = calloc(1, sizeof *m);
  if (!m || !(m->person.name = strdup(name))) rc = err_set(err, ERR_MEMORY, "no memory for people");
  if (!rc) rc = take_uid(m, json_object_get(value, "uid"), err);
  if (!rc) rc = take_token(p, m, json_object_get(value, "token"), err);
  if (!rc) rc = take_roles(m, json_object_get(value, "roles"), err);
  if (!rc) rc = take_email(m, json_object_get(value, "email"), err);
  if (rc) return member_free(m), rc;
  m->person.known = true;
  pseudonym(p, name, m->person.actor);
  *ret = m;
  return 0;
}

static int by_name(const void *a, const void *b) {
  return strcmp((*(struct member *const *)a)->person.name, (*(struct member *const *)b)->person.name);
}

static bool same_token(const struct people *p, const struct member *a, const struct member *b) {
  size_t a_len = 0, b_len = 0;
  if (!a->slot || !b->slot) return false;
  const char *x = secrets_get(p->secrets, a->slot, &a_len), *y = secrets_get(p->secrets, b->slot, &b_len);
  return x && y && a_len == b_len && digest_equal(x, y, a_len);
}

/* Two people with one uid, token or pseudonym would be one person in every record. */
static int distinct(const struct people *p, struct err *err) {
  for (size_t i = 0; i < p->count; i++)
    for (size_t j = 0; j < i; j++) {
      const struct member *a = p->members[j], *b = p->members[i];
      const char *what = a->has_uid && b->has_uid && a->uid == b->uid    ? "uid"
                         : same_token(p, a, b)                           ? "token"
                         : strcmp(a->person.actor, b->person.actor) == 0 ? "pseudonym; change one name"
                                                                         : NULL;
      if (what) return err_set(err, ERR_INVALID, "people: %s and %s have the same %s", a->person.name, b->person.name, what);
    }
  return 0;
}

int people_new(const json_t *settings, const struct secrets *secrets, const void *key, size_t key_len, struct people **ret,
               struct err *err) {
  const char *name;
  json_t *value;
  bool nobody = !settings || json_is_null(settings) || (json_is_array(settings) && !json_array_size(settings));
  if (!nobody && !json_is_object(settings))
    return err_set(err, ERR_INVALID, "people: write people = { alice = { uid = 1000, roles = { \"responder\" } } }");
  if (!key_len || key_len > KEY_BYTES) return err_set(err, ERR_INVALID, "people: the pseudonyms' key has 1 to %d bytes", KEY_BYTES);
  if (json_object_size(settings) > MAX_PEOPLE) return err_set(err, ERR_LIMIT, "people: more than %d", MAX_PEOPLE);
  struct people *p = calloc(1, sizeof *p);
  if (!p) return err_set(err, ERR_MEMORY, "no memory for people");
  map_init(&p->by_actor);
  map_init(&p->strangers);
  memcpy(p->key, key, key_len);
  p->key_len = key_len;
  p->secrets = secrets;
  p->no_roles = json_array();
  p->admin_roles = json_pack("[s]", "admin");
  p->members = calloc(json_object_size(settings) + 1, sizeof *p->members);
  int rc = p->members && p->no_roles && p->admin_roles ? 0 : err_set(err, ERR_MEMORY, "no memory for people");
  json_object_foreach((json_t *)(uintptr_t)settings, name, value) {
    if (rc || (rc = member_new(p, name, value, &p->members[p->count], err))) break;
    p->count++;
  }
  if (!rc && p->count > 1) qsort(p->members, p->count, sizeof(struct member *), by_name);
  if (!rc) rc = distinct(p, err);
  if (rc) return people_free(p), rc;
  for (size_t i = 0; i < p->count; i++) map_put(&p->by_actor, p->members[i]->person.actor, p->members[i]);
  *ret = p;
  return 0;
}

/* ---- asking ---- */

/* Whoever the settings do not name. A pseudonym that a named person bears already stays theirs in views. */
static const struct person *stranger(struct people *p, uid_t uid) {
  char name[UID_NAME];
  snprintf(name, sizeof name, "uid:%u", (unsigned)uid);
  struct member *m = map_get(&p->strangers, name);
  if (m) return &m->person;
  bool admin = !p->count && (uid == 0 || uid == geteuid());
  if (!(m = calloc(1, sizeof *m)) || !(m->person.name = strdup(name))) abort(); /* as base/map: nobody else's name will do */
  m->person.roles = json_incref(admin ? p->admin_roles : p->no_roles);
  pseudonym(p, name, m->person.actor);
  map_put(&p->strangers, name, m);
  if (!map_get(&p->by_actor, m->person.actor)) map_put(&p->by_actor, m->person.actor, m);
  return &m->person;
}

const struct person *people_by_uid(struct people *p, uid_t uid) {
  for (size_t i = 0; i < p->count; i++)
    if (p->members[i]->has_uid && p->members[i]->uid == uid) return &p->members[i]->person;
  return stranger(p, uid);
}

/* Every token is compared, over digests of equal length, whether or not one has fitted already: the time tells neither which nor how much of it fits. */
const struct person *people_by_token(struct people *p, const char *token, size_t len) {
  uint8_t given[DIGEST_BYTES], held[DIGEST_BYTES];
  const struct person *found = NULL;
  if (!token || len < SECRET_MIN_BYTES || len > SECRET_MAX_BYTES) return NULL;
  digest_sha256(token, len, given);
  for (size_t i = 0; i < p->count; i++) {
    size_t held_len = 0;
    const char *bytes = p->members[i]->slot ? secrets_get(p->secrets, p->members[i]->slot, &held_len) : NULL;
    if (!bytes) continue;
    digest_sha256(bytes, held_len, held);
    if (digest_equal(given, held, sizeof held)) found = &p->members[i]->person;
  }
  explicit_bzero(given, sizeof given);
  explicit_bzero(held, sizeof held);
  return found;
}

const char *people_name(const struct people *p, const char *actor) {
  const struct member *m = actor ? map_get(&p->by_actor, actor) : NULL;
  return m ? m->person.name : actor;
}

const struct person *people_named(const struct people *p, const char *name) {
  for (size_t i = 0; i < p->count; i++)
    if (strcasecmp(p->members[i]->person.name, name) == 0) return &p->members[i]->person;
  return NULL;
}

bool person_has_role(const struct person *who, const char *role) {
  return who && (json_array_has(who->roles, role) || json_array_has(who->roles, "admin"));
}

json_t *people_with_role(const struct people *p, const char *role) {
  json_t *list = json_array();
  for (size_t i = 0; i < p->count; i++) {
    const struct person *who = &p->members[i]->person;
    if (person_has_role(who, role))
      json_array_append_new(list, json_pack("{s:s, s:s*, s:s}", "name", who->name, "email", who->email, "actor", who->actor));
  }
  return list;
}
