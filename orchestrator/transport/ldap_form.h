/* ldap_form.h: the `ldap` form in libldap's terms, values escaped, nothing sent. Only ldap.c includes it. */
#ifndef TOCSIN_TRANSPORT_LDAP_FORM_H
#define TOCSIN_TRANSPORT_LDAP_FORM_H

#include <jansson.h>
#include <ldap.h>
#include <stdbool.h>

#include "base/digest.h"
#include "base/err.h"

enum ldap_operation { LDAP_SEARCH, LDAP_MODIFY, LDAP_PASSWORD_MODIFY, LDAP_ADD, LDAP_DELETE, LDAP_COMPARE, LDAP_TEST_BIND };

struct ldap_form {
  const char *url, *bind_dn, *password; /* borrowed from the form; bind_dn NULL: anonymous */
  bool starttls;
  enum ldap_operation operation;
  char *dn; /* of the operation; a search's base */
  int scope, limit;
  char *filter;
  char **attributes; /* NULL: all */
  LDAPMod **mods;
  const char *old_password, *new_password;
  char *compare_attribute;
  struct berval compare_value;
};

/* Borrows from form. On failure everything is released. */
int ldap_form_init(struct ldap_form *q, const json_t *form, struct err *err);
void ldap_form_release(struct ldap_form *q);
/* RFC 4511's name of a result code ("noSuchObject"). Static. */
const char *ldap_code_name(int code);

#endif
