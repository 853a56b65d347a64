/* people.h: who may command: names, uids, tokens and roles from the settings.
 *
 * A person is established by the edge (the Unix peer's uid, an API token), never by a name that a client sends. In journals' heads people appear as
 * pseudonyms, "person:" and 8 hex digits of an HMAC of the name under the installation's key; the table turns them back into names for views.
 * A uid that no setting names is "uid:1234", without roles; only when the settings name nobody at all do root and the daemon's own uid get "admin".
 * "admin" has every role. Tokens are compared in constant time. Immutable once built. */
#ifndef TOCSIN_PEOPLE_PEOPLE_H
#define TOCSIN_PEOPLE_PEOPLE_H

#include <jansson.h>
#include <stdbool.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/secret.h"

enum { PERSON_ACTOR = 24 };

struct person {
  char *name;
  char actor[PERSON_ACTOR]; /* "person:7f3a91c2" */
  char *email;              /* NULL: none */
  const json_t *roles;      /* array of strings; may be empty */
  bool known;               /* named in the settings */
};

struct people;

/* settings: {name: {"uid": n, "token": {"$secret": slot}, "roles": […], "email"}}, at most 1,000. secrets: borrowed, must
 * outlive it; a token put anew counts at once. key: of the pseudonyms, 1 to 64 bytes. ERR_INVALID names the person and member; two people may not share a uid, a token or a pseudonym. */
int people_new(const json_t *settings, const struct secrets *secrets, const void *key, size_t key_len, struct people **ret,
               struct err *err);
void people_free(struct people *p);
/* Borrowed for as long as people lives; never NULL. */
const struct person *people_by_uid(struct people *p, uid_t uid);
/* NULL: no such token. */
const struct person *people_by_token(struct people *p, const char *token, size_t len);
/* The name behind "person:…", or the text itself when it is not one of ours. Borrowed. */
const char *people_name(const struct people *p, const char *actor);
/* Who the settings name so, whatever the case; NULL: nobody. */
const struct person *people_named(const struct people *p, const char *name);
bool person_has_role(const struct person *who, const char *role);
/* Everybody with the role: new [{"name","email","actor"}]. */
json_t *people_with_role(const struct people *p, const char *role);

#endif
