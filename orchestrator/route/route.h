/* route.h: which playbooks want an alert, which group it belongs to, and whether it is suppressed.
 *
 * Triggers use Sigma's field modifiers (Sigma specification 2.0: contains, startswith, endswith, cidr, gte, gt, lte, lt, re, exists, all, cased…; plus list
 * membership) on OCSF names ("actor.user.name"), or "raw.…" for the product's own document. A path walks objects and, through arrays, every element; a path that ends at
 * an object with a "name" or "uid" member matches that ("actor.user" = actor.user.name, else .uid, else .email_addr). Strings compare without case (simple folding, fold.h) unless |cased;
 * |re heeds case unless |re|i follows. Numbers and their texts are the same (4, 4.0 and "4"). null means absent. Values in a list are OR (|all: AND); members are AND; any = {…} and none = {…} combine: of a table they take its members,
 * of a list of tables whole tables. A list of tables as `when` is OR. A named list is {"$list": name}. "*" is no wildcard and refused in plain values.
 * Every trigger needs one exact or prefix condition, which one index over all playbooks holds: matching does not walk every playbook.
 * Pure: no I/O beyond reading the files it is told to load; no clock but the time given. */
#ifndef TOCSIN_ROUTE_ROUTE_H
#define TOCSIN_ROUTE_ROUTE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct condition; /* a compiled `when` */
struct lists;     /* named lists and assets */
struct router;    /* an index over triggers and suppression rules; immutable once built (reload builds a new one) */

/* lists: borrowed, must outlive it; NULL when none. ERR_INVALID names the member and what to write instead. */
int condition_compile(const json_t *when, const struct lists *lists, struct condition **ret, struct err *err);
void condition_free(struct condition *c);
bool condition_match(const struct condition *c, const json_t *alert, const json_t *raw, int64_t now_us);

/* CSV (RFC 4180) files of a folder: value, reason, owner, expires; assets.csv: id, owner, criticality, tenant. Expired rows do not match.
 * All or none: an error names file and line. A missing folder is an empty set. */
int lists_load(const char *folder, struct lists **ret, struct err *err);
void lists_free(struct lists *l);          /* lets go of it */
struct lists *lists_hold(struct lists *l); /* once more: lists_free then has to be called once more */
/* New {name: digest} of those whose names stand in one of these texts (NULL ends them). */
json_t *lists_pins(const struct lists *l, const char *const *texts);
const char *lists_source(const struct lists *l, const char *list, size_t *ret_len); /* the file's bytes, NULL: no such list; borrowed */
/* As l, with these versions {name: digest} in place of its own; sources {digest: text} has those that l has not. ERR_NOT_FOUND names the one that nobody has. To be let go of. */
int lists_with(struct lists *l, const json_t *pins, const json_t *sources, struct lists **ret, struct err *err);
/* What a run may ask (run.h's world): "list.match" {list, value}, "list.rows" {list}. */
int lists_look(const struct lists *l, int64_t now_us, const char *what, const json_t *args, json_t **ret, struct err *err);
/* Does the alert ("raw" in it) fit the `when`? One that cannot be compiled fits nothing, and is logged. */
bool lists_alert_fits(const struct lists *l, int64_t now_us, const json_t *when, const json_t *alert);
bool lists_match(const struct lists *l, const char *list, const char *value, int64_t now_us,
                 json_t **ret_row); /* ret_row: borrowed {"value","reason",…}; may be NULL. A row that is an address or network matches
 * addresses by value, all others match without case; of rows with one value the file's last that has not expired. */
json_t *lists_rows(const struct lists *l, const char *list); /* borrowed array, NULL: no such list */
json_t *lists_asset(const struct lists *l, const char *id);  /* borrowed, or NULL */
const char *lists_digest(const struct lists *l);             /* of everything loaded, hex */

/* One trigger: playbook name, its `when` (NULL: only by hand), its group fields, its window. */
struct trigger {
  const char *playbook;
  const json_t *when;
  const json_t *group; /* array of paths, or NULL */
  int64_t window_ms;
  bool shadow; /* it only says what it would do */
};
/* A suppression rule: {"name", "when", "reason", "owner", "expires" (RFC 3339 or date)}. All but name required; "starts" is optional. Days are UTC
 * and count whole: a rule that expires on a date holds through that day. Rules need an exact or prefix condition as triggers do. */
int router_new(const struct trigger *triggers, size_t count, const json_t *suppress, const struct lists *lists, struct router **ret,
               struct err *err);
void router_free(struct router *r);

/* A group's canonical key: actor.user="alice"|src_endpoint.ip="10.0.0.1","10.0.0.2". Paths are sorted, values folded, sorted and written as JSON
 * strings, so that no value can imitate another key; a field without value stays empty; over 300 bytes it is "sha256:<hex>". */
struct route_match {
  const char *playbook; /* borrowed from the router */
  char *group;          /* NULL: a group of its own (no group fields, or none of them has a value) */
  int64_t window_ms;
  bool shadow; /* wants no incident: it looks on in the one that the alert goes to without it */
};
/* Both are filled: a suppressed alert's matches are what would have run. */
struct routing {
  struct route_match *matches; /* in the triggers' order */
  size_t count;
  const char *suppressed_by; /* rule's name, or NULL; borrowed */
  json_t *suppression;       /* borrowed rule, or NULL */
};
void router_match(const struct router *r, const json_t *alert, const json_t *raw, int64_t now_us, struct routing *out);
void routing_release(struct routing *out);

/* Every value at a path, in order, without repetition, as strings (what `from` means). New array. */
json_t *path_values(const json_t *alert, const json_t *raw, const char *path);
/* [{"type", "value", "path"}] of an alert: its OCSF observables. New array.
 * type: OCSF's caption ("IP Address") or a short word: host, ip, mac, user, email, url, file, hash, process, resource, port… */
json_t *alert_observables(const json_t *alert, const char *type /* NULL: all */);

#endif
