#include "transport/ldap_form.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/json.h"
#include "transport/form.h"

enum { TEXT_CAP = 64 * 1024, MOST_CHANGES = 64, MOST_VALUES = 1024, LIMIT_DEFAULT = 100, LIMIT_MOST = 1000 };

static const char *const operations[] = {"search", "modify", "password_modify", "add", "delete", "compare", "bind", NULL};

/* ---- escaping --------------------------------------------------------------------------------------- */

/* RFC 4515: all that is not plain text goes as \xx. */
static void escape_filter(struct buf *out, const char *bytes, size_t len) {
  for (size_t i = 0; i < len; i++) {
    unsigned char c = (unsigned char)bytes[i];
    if (c < 32 || c > 126 || strchr("*()\\", c)) buf_addf(out, "\\%02x", c);
    else buf_addc(out, (char)c);
  }
}

/* RFC 4514: hex escapes are legal for every byte, so all but the harmless go that way. */
static void escape_dn(struct buf *out, const char *bytes, size_t len) {
  for (size_t i = 0; i < len; i++) {
    unsigned char c = (unsigned char)bytes[i];
    bool plain = isalnum(c) && c < 128;
    if (plain || (c == ' ' && i > 0 && i + 1 < len) || strchr("-._@/:", c ? c : '*')) buf_addc(out, (char)c);
    else buf_addf(out, "\\%02x", c);
  }
}

static int read_dn(const json_t *form, const char *where, const char *key, char **ret, struct err *err) {
  static const char *const members[] = {"template", "values", NULL};
  const json_t *value = json_object_get(form, key), *values = NULL;
  const char *text;
  struct buf out;
  int r = 0;
  if (!json_is_object(value)) {
    if ((r = form_string(form, where, key, true, &text, err)) < 0) return r;
    if (!(*ret = strdup(text))) abort();
    return 0;
  }
  if ((r = form_members(value, where, members, err)) < 0 || (r = form_string(value, where, "template", true, &text, err)) < 0 ||
      (r = form_list(value, where, "values", &values, err)) < 0)
    return r;
  buf_init(&out, TEXT_CAP);
  if ((r = form_template(text, values, where, escape_dn, &out, err)) == 0) *ret = buf_take(&out, NULL);
  buf_release(&out);
  return r;
}

/* ---- values ----------------------------------------------------------------------------------------- */

static struct berval *new_value(const void *bytes, size_t len) {
  struct berval *value = malloc(sizeof *value);
  if (!value || !(value->bv_val = malloc(len + 1))) abort();
  memcpy(value->bv_val, bytes, len);
  value->bv_val[len] = 0;
  value->bv_len = len;
  return value;
}

/* Active Directory's unicodePwd: the password in double quotes, as UTF-16LE. */
static struct berval *ad_password(const char *text, size_t len) {
  struct buf out;
  buf_init(&out, TEXT_CAP * 2 + 8);
  buf_add(&out, "\"\0", 2);
  for (size_t i = 0; i < len;) {
    unsigned char c = (unsigned char)text[i];
    size_t n = c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4; /* jansson's strings are valid UTF-8 */
    uint32_t u = n == 1 ? c : c & (0x3fU >> (n - 1));
    for (size_t k = 1; k < n; k++) u = u << 6 | ((unsigned char)text[i + k] & 0x3f);
    i += n;
    uint32_t high = u >= 0x10000 ? 0xd800 + ((u - 0x10000) >> 10) : u, low = 0xdc00 + ((u - 0x10000) & 0x3ff);
    buf_addc(&out, (char)(high & 0xff)), buf_addc(&out, (char)(high >> 8));
    if (u >= 0x10000) buf_addc(&out, (char)(low & 0xff)), buf_addc(&out, (char)(low >> 8));
  }
  buf_add(&out, "\"\0", 2);
  struct berval *value = buf_ok(&out) ? new_value(out.data, out.len) : NULL;
  explicit_bzero(out.data, out.len);
  buf_release(&out);
  return value;
}

static struct berval *encode_value(const struct text *text, const char *encoding) {
  if (!encoding) return new_value(text->bytes, text->len);
  if (strcmp(encoding, "ad_password") == 0) return ad_password(text->bytes, text->len);
  size_t len;
  uint8_t *raw = base64_decode(text->bytes, text->len, &len);
  struct berval *value = raw ? new_value(raw, len) : NULL;
  free(raw);
  return value;
}

/* values: a list, or one value standing alone. */
static int read_values(const json_t *values, const char *attribute, const char *encoding, struct berval ***ret, struct err *err) {
  bool list = json_is_array(values);
  size_t count = list ? json_array_size(values) : values && !(json_is_object(values) && json_object_size(values) == 0) ? 1 : 0;
  struct berval **out = calloc(count + 1, sizeof *out);
  int r = 0;
  if (!out) abort();
  if (count > MOST_VALUES) r = err_set(err, ERR_LIMIT, "ldap: %.64s has more than %d values", attribute, MOST_VALUES);
  for (size_t i = 0; r == 0 && i < count; i++) {
    struct text text;
    const json_t *value = list ? json_array_get(values, i) : values;
    if (json_is_boolean(value)) out[i] = json_is_true(value) ? new_value("TRUE", 4) : new_value("FALSE", 5); /* RFC 4517 */
    else if (!form_text(value, &text)) r = err_set(err, ERR_INVALID, "ldap: a value of %.64s is no string", attribute);
    else if (!(out[i] = encode_value(&text, encoding)))
      r = err_set(err, ERR_INVALID, "ldap: a value of %.64s cannot be encoded as %s", attribute, encoding);
  }
  *ret = out; /* also on failure: freed with its LDAPMod */
  return r;
}

static LDAPMod *new_mod(struct ldap_form *q, size_t at, int op, const char *attribute) {
  LDAPMod *mod = calloc(1, sizeof *mod);
  if (!mod || !(mod->mod_type = strdup(attribute))) abort();
  mod->mod_op = op | LDAP_MOD_BVALUES;
  q->mods[at] = mod;
  return mod;
}

static int check_attribute(const char *name, struct err *err) {
  const char *p = name;
  while (isalnum((unsigned char)*p) || *p == '-' || *p == '.' || *p == ';' || *p == '_') p++;
  return *name && !*p ? 0 : err_set(err, ERR_INVALID, "ldap: %.64s is no attribute's name", name);
}

/* ---- operations ------------------------------------------------------------------------------------- */

static int read_scope(const json_t *form, int *ret, struct err *err) {
  const char *scope = json_str_or(form, "scope", "sub");
  if (strcmp(scope, "sub") == 0) *ret = LDAP_SCOPE_SUBTREE;
  else if (strcmp(scope, "one") == 0) *ret = LDAP_SCOPE_ONELEVEL;
  else if (strcmp(scope, "base") == 0) *ret = LDAP_SCOPE_BASE;
  else return err_set(err, ERR_INVALID, "ldap.search: scope must be base, one or sub");
  return 0;
}

static int read_attributes(struct ldap_form *q, const json_t *list, struct err *err) {
  size_t i;
  json_t *item;
  if (!json_array_size(list)) return 0;
  q->attributes = calloc(json_array_size(list) + 1, sizeof *q->attributes);
  if (!q->attributes) abort();
  json_array_foreach(list, i, item) {
    const char *name = json_string_value(item);
    bool all = name && (strcmp(name, "*") == 0 || strcmp(name, "+") == 0);
    if (!name) return err_set(err, ERR_INVALID, "ldap.search: an attribute is no string");
    if (!all && check_attribute(name, err) < 0) return ERR_INVALID;
    if (!(q->attributes[i] = strdup(name))) abort();
  }
  return 0;
}

static int read_search(struct ldap_form *q, const json_t *form, struct err *err) {
  static const char *const members[] = {"base", "scope", "filter", "values", "attributes", "limit", NULL};
  const json_t *values, *attributes;
  const char *filter;
  int64_t limit;
  struct buf out;
  int r;
  if ((r = form_members(form, "ldap.search", members, err)) < 0 || (r = read_dn(form, "ldap.search", "base", &q->dn, err)) < 0 ||
      (r = read_scope(form, &q->scope, err)) < 0 || (r = form_string(form, "ldap.search", "filter", false, &filter, err)) < 0 ||
      (r = form_list(form, "ldap.search", "values", &values, err)) < 0 ||
      (r = form_list(form, "ldap.search", "attributes", &attributes, err)) < 0 ||
      (r = form_integer(form, "ldap.search", "limit", LIMIT_DEFAULT, 1, LIMIT_MOST, &limit, err)) < 0 ||
      (r = read_attributes(q, attributes, err)) < 0)
    return r;
  q->limit = (int)limit;
  buf_init(&out, TEXT_CAP);
  r = form_template(filter ? filter : "(objectClass=*)", values, "ldap.search.filter", escape_filter, &out, err);
  if (r == 0) q->filter = buf_take(&out, NULL);
  buf_release(&out);
  return r;
}

static int read_change(struct ldap_form *q, size_t at, const json_t *change, struct err *err) {
  static const char *const members[] = {"op", "attribute", "values", "encoding", NULL};
  static const struct {
    const char *name;
    int op;
  } ops[] = {{"add", LDAP_MOD_ADD}, {"delete", LDAP_MOD_DELETE}, {"replace", LDAP_MOD_REPLACE}, {"increment", LDAP_MOD_INCREMENT}};
  const char *op, *attribute, *encoding;
  int r, found = -1;
  if ((r = form_members(change, "ldap.modify.changes", members, err)) < 0 ||
      (r = form_string(change, "ldap.modify.changes", "op", true, &op, err)) < 0 ||
      (r = form_string(change, "ldap.modify.changes", "attribute", true, &attribute, err)) < 0 ||
      (r = check_attribute(attribute, err)) < 0 || (r = form_string(change, "ldap.modify.changes", "encoding", false, &encoding, err)) < 0)
    return r;
  for (size_t i = 0; i < 4; i++)
    if (strcmp(ops[i].name, op) == 0) found = ops[i].op;
  if (found < 0) return err_set(err, ERR_INVALID, "ldap.modify: op must be add, delete, replace or increment");
  if (encoding && strcmp(encoding, "base64") != 0 && strcmp(encoding, "ad_password") != 0)
    return err_set(err, ERR_INVALID, "ldap.modify: encoding must be base64 or ad_password");
  LDAPMod *mod = new_mod(q, at, found, attribute);
  return read_values(json_object_get(change, "values"), attribute, encoding, &mod->mod_bvalues, err);
}

static int read_modify(struct ldap_form *q, const json_t *form, struct err *err) {
  static const char *const members[] = {"dn", "changes", NULL};
  const json_t *changes;
  size_t i;
  json_t *change;
  int r;
  if ((r = form_members(form, "ldap.modify", members, err)) < 0 || (r = read_dn(form, "ldap.modify", "dn", &q->dn, err)) < 0 ||
      (r = form_list(form, "ldap.modify", "changes", &changes, err)) < 0)
    return r;
  size_t count = json_array_size(changes);
  if (count < 1 || count > MOST_CHANGES) return err_set(err, ERR_INVALID, "ldap.modify: changes must be a list of 1 to %d", MOST_CHANGES);
  if (!(q->mods = calloc(count + 1, sizeof *q->mods))) abort();
  json_array_foreach(changes, i, change) if (r == 0) r = read_change(q, i, change, err);
  return r;
}

static int read_add(struct ldap_form *q, const json_t *form, struct err *err) {
  static const char *const members[] = {"dn", "attributes", NULL};
  const json_t *attributes;
  const char *name;
  json_t *values;
  size_t i = 0;
  int r;
  if ((r = form_members(form, "ldap.add", members, err)) < 0 || (r = read_dn(form, "ldap.add", "dn", &q->dn, err)) < 0 ||
      (r = form_object(form, "ldap.add", "attributes", &attributes, err)) < 0)
    return r;
  if (!(q->mods = calloc(json_object_size(attributes) + 1, sizeof *q->mods))) abort();
  json_object_foreach((json_t *)(uintptr_t)attributes, name, values) {
    if ((r = check_attribute(name, err)) < 0) return r;
    LDAPMod *mod = new_mod(q, i++, LDAP_MOD_ADD, name);
    if ((r = read_values(values, name, NULL, &mod->mod_bvalues, err)) < 0) return r;
  }
  return 0;
}

static int read_password(struct ldap_form *q, const json_t *form, struct err *err) {
  static const char *const members[] = {"dn", "new", "old", NULL};
  int r;
  if ((r = form_members(form, "ldap.password_modify", members, err)) < 0 ||
      (r = read_dn(form, "ldap.password_modify", "dn", &q->dn, err)) < 0 ||
      (r = form_string(form, "ldap.password_modify", "new", true, &q->new_password, err)) < 0)
    return r;
  if (!*q->new_password) return err_set(err, ERR_INVALID, "ldap.password_modify: new is empty");
  return form_string(form, "ldap.password_modify", "old", false, &q->old_password, err);
}

static int read_compare(struct ldap_form *q, const json_t *form, struct err *err) {
  static const char *const members[] = {"dn", "attribute", "value", NULL};
  const char *attribute, *value;
  int r;
  if ((r = form_members(form, "ldap.compare", members, err)) < 0 || (r = read_dn(form, "ldap.compare", "dn", &q->dn, err)) < 0 ||
      (r = form_string(form, "ldap.compare", "attribute", true, &attribute, err)) < 0 || (r = check_attribute(attribute, err)) < 0 ||
      (r = form_string(form, "ldap.compare", "value", true, &value, err)) < 0)
    return r;
  if (!(q->compare_attribute = strdup(attribute))) abort();
  q->compare_value = (struct berval){strlen(value), (char *)(uintptr_t)value};
  return 0;
}

static int read_delete(struct ldap_form *q, const json_t *form, struct err *err) {
  static const char *const members[] = {"dn", NULL};
  int r = form_members(form, "ldap.delete", members, err);
  return r < 0 ? r : read_dn(form, "ldap.delete", "dn", &q->dn, err);
}

static int read_bind(struct ldap_form *q, const json_t *form, struct err *err) {
  static const char *const members[] = {"dn", "password", NULL};
  int r;
  if (q->bind_dn) return err_set(err, ERR_INVALID, "ldap.bind: bind_dn is not used when a credential is tested");
  if ((r = form_members(form, "ldap.bind", members, err)) < 0 || (r = read_dn(form, "ldap.bind", "dn", &q->dn, err)) < 0 ||
      (r = form_string(form, "ldap.bind", "password", true, &q->new_password, err)) < 0)
    return r;
  return *q->new_password && *q->dn ? 0 : err_set(err, ERR_INVALID, "ldap.bind: an empty dn or password would be anonymous");
}

/* ---- the whole -------------------------------------------------------------------------------------- */

static int read_who(struct ldap_form *q, const json_t *form, struct err *err) {
  int r;
  if ((r = form_string(form, "ldap", "url", true, &q->url, err)) < 0 ||
      (r = form_bool(form, "ldap", "starttls", false, &q->starttls, err)) < 0 ||
      (r = form_string(form, "ldap", "bind_dn", false, &q->bind_dn, err)) < 0 ||
      (r = form_string(form, "ldap", "password", false, &q->password, err)) < 0)
    return r;
  bool plain = strncmp(q->url, "ldap://", 7) == 0;
  if (!plain && strncmp(q->url, "ldaps://", 8) != 0 && strncmp(q->url, "ldapi://", 8) != 0)
    return err_set(err, ERR_INVALID, "ldap: url must begin with ldap://, ldaps:// or ldapi://");
  if (strpbrk(q->url, " ,?") ||
      (strncmp(q->url, "ldapi", 5) != 0 && strchr(strstr(q->url, "://") + 3, '/') && strchr(strstr(q->url, "://") + 3, '/')[1]))
    return err_set(err, ERR_INVALID, "ldap: url holds more than a host and a port");
  if (q->starttls && !plain) return err_set(err, ERR_INVALID, "ldap: starttls goes with ldap:// only");
  if (!q->bind_dn != !q->password) return err_set(err, ERR_INVALID, "ldap: bind_dn and password go together");
  if (q->bind_dn && (!*q->bind_dn || !*q->password))
    return err_set(err, ERR_INVALID, "ldap: an empty bind_dn or password would be anonymous");
  return 0;
}

int ldap_form_init(struct ldap_form *q, const json_t *form, struct err *err) {
  static const char *const members[] = {"url", "starttls", "bind_dn", "password", "search", "modify", "password_modify",
                                        "add", "delete",   "compare", "bind",     NULL};
  typedef int reader(struct ldap_form *, const json_t *, struct err *);
  static reader *const readers[] = {read_search, read_modify, read_password, read_add, read_delete, read_compare, read_bind};
  size_t at;
  int r;
  memset(q, 0, sizeof *q);
  if ((r = form_members(form, "ldap", members, err)) < 0 || (r = form_one_of(form, "ldap", operations, &at, err)) < 0 ||
      (r = read_who(q, form, err)) < 0)
    return r;
  q->operation = (enum ldap_operation)at;
  r = readers[at](q, json_object_get(form, operations[at]), err);
  if (r < 0) ldap_form_release(q);
  return r;
}

void ldap_form_release(struct ldap_form *q) {
  for (LDAPMod **m = q->mods; m && *m; m++) {
    for (struct berval **v = (*m)->mod_bvalues; v && *v; v++) {
      explicit_bzero((*v)->bv_val, (*v)->bv_len);
      free((*v)->bv_val);
      free(*v);
    }
    free((*m)->mod_bvalues);
    free((*m)->mod_type);
    free(*m);
  }
  free(q->mods);
  for (char **a = q->attributes; a && *a; a++) free(*a);
  free(q->attributes);
  free(q->dn);
  free(q->filter);
  free(q->compare_attribute);
  memset(q, 0, sizeof *q);
}

const char *ldap_code_name(int code) {
  static const char *const known[] = {[0] = "success",
                                      [1] = "operationsError",
                                      [2] = "protocolError",
                                      [3] = "timeLimitExceeded",
                                      [4] = "sizeLimitExceeded",
                                      [5] = "compareFalse",
                                      [6] = "compareTrue",
                                      [7] = "authMethodNotSupported",
                                      [8] = "strongerAuthRequired",
                                      [10] = "referral",
                                      [11] = "adminLimitExceeded",
                                      [12] = "unavailableCriticalExtension",
                                      [13] = "confidentialityRequired",
                                      [14] = "saslBindInProgress",
                                      [16] = "noSuchAttribute",
                                      [17] = "undefinedAttributeType",
                                      [18] = "inappropriateMatching",
                                      [19] = "constraintViolation",
                                      [20] = "attributeOrValueExists",
                                      [21] = "invalidAttributeSyntax",
                                      [32] = "noSuchObject",
                                      [33] = "aliasProblem",
                                      [34] = "invalidDNSyntax",
                                      [36] = "aliasDereferencingProblem",
                                      [48] = "inappropriateAuthentication",
                                      [49] = "invalidCredentials",
                                      [50] = "insufficientAccessRights",
                                      [51] = "busy",
                                      [52] = "unavailable",
                                      [53] = "unwillingToPerform",
                                      [54] = "loopDetect",
                                      [64] = "namingViolation",
                                      [65] = "objectClassViolation",
                                      [66] = "notAllowedOnNonLeaf",
                                      [67] = "notAllowedOnRDN",
                                      [68] = "entryAlreadyExists",
                                      [69] = "objectClassModsProhibited",
                                      [71] = "affectsMultipleDSAs",
                                      [80] = "other"};
  const char *name = code >= 0 && (size_t)code < sizeof known / sizeof *known ? known[code] : NULL;
  return name ? name : "unknown";
}
