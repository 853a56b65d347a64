/* normalise.h: a product's document to OCSF Detection Findings, by its connector. Pure but for the Lua states it calls. */
#ifndef TOCSIN_INTAKE_NORMALISE_H
#define TOCSIN_INTAKE_NORMALISE_H

#include "action/registry.h"
#include "base/map.h"

struct normaliser;

struct normalised {
  const struct connector *connector;
  json_t *document; /* parsed; a string when it is no JSON (CEF) */
  json_t *parts;    /* several alerts in one body: their documents; NULL: one */
  json_t *finding;  /* NULL when there are parts */
  size_t most;      /* bytes that the finding takes as JSON at most; 0: nobody knows */
};

struct normaliser *normaliser_new(struct registry *registry, const json_t *sources);
void normaliser_free(struct normaliser *n);
/* source: a webhook source's or a connector's name, or NULL: recognised by content. ERR_INVALID says why it is unreadable. */
int normalise(struct normaliser *n, const char *source, const char *text, size_t len, struct normalised *ret, struct err *err);
void normalised_release(struct normalised *n);

#endif
