/* registry.h: the connectors that are configured: which file, which settings, which state.
 *
 * Settings name instances ({"corp": {"$connector": "ldap", …}}). A connector that needs no settings (alert formats) is there under
 * its own name by itself. What is in force is immutable once built; a reload builds a new one, and both live while old runs need the old.
 * Beside what is in force stand earlier versions of connectors that runs began with, by instance and digest, with today's settings
 * (credentials, limits, network). Never sends anything. */
#ifndef TOCSIN_ACTION_REGISTRY_H
#define TOCSIN_ACTION_REGISTRY_H

#include <jansson.h>

#include "action/form.h"
#include "base/err.h"
#include "base/map.h"
#include "script/script.h"

struct registry;

struct connector {
  const char *instance; /* "corp" */
  const char *name;     /* "ldap" */
  struct declaration *declaration;
  struct connector_state *state;
  const struct map *forms; /* of its actions, by name */
  const json_t *settings;  /* checked, defaults filled in, secrets as slots */
  const json_t *network;   /* for transport; may be NULL */
  int64_t timeout_ms;      /* this and the rest: the file's `limits`, or what the instance's settings put in their place */
  size_t response_cap;
  unsigned concurrent, per_minute; /* 0: no limit */
};

/* folder/<*>.lua are loaded; settings is settings' `connectors`. All or none; an error names file, line or setting. */
int registry_new(const char *folder, const json_t *settings, struct registry **ret, struct err *err);
void registry_free(struct registry *r);
/* By instance, or by connector name when it has one instance only. NULL with err (near miss suggested). */
const struct connector *registry_find(const struct registry *r, const char *name, struct err *err);
/* An earlier version of an instance's connector, from its source. digest: what the source must have (ERR_CONFLICT otherwise: somebody changed
 * it). ERR_NOT_FOUND: no such instance in the settings; ERR_INVALID: it cannot be loaded, or does not take today's settings. Twice is nothing. */
int registry_version_add(struct registry *r, const char *instance, const char *digest, const char *source, size_t len, struct err *err);
/* What runs may be bound to in old and is not in force in r any more, becomes an earlier version in r. Errors are logged. */
void registry_inherit(struct registry *r, const struct registry *old);
/* As registry_find, with this digest; NULL: what is in force. ERR_NOT_FOUND names both digests. */
const struct connector *registry_find_version(const struct registry *r, const char *name, const char *digest, struct err *err);
/* The declaration of one action; NULL with err. Borrowed. */
const json_t *registry_action(const struct connector *c, const char *action, struct err *err);
/* The same, looked up; as long as its connector. */
const struct form *registry_form(const struct connector *c, const char *action, struct err *err);
/* Walk over all instances; at from 0. */
const struct connector *registry_next(const struct registry *r, size_t *at);
/* New {instance: declaration.json} for lint, help and `act`. */
json_t *registry_declarations(const struct registry *r);

#endif
