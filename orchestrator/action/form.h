/* form.h: one action of a connector as its file declares it: what does not change from call to call, looked up once.
 *
 * Belongs to the connector (registry.h) and lives as long; everything in it is borrowed from there. Pure. */
#ifndef TOCSIN_ACTION_FORM_H
#define TOCSIN_ACTION_FORM_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

enum effect { EFFECT_READ, EFFECT_RECORD, EFFECT_NOTIFY, EFFECT_CONTAIN, EFFECT_DESTROY };
const char *effect_name(enum effect effect);
int effect_by_name(const char *name); /* -1: none */

enum { FORM_FUNCTION = 256 };

struct form {
  const char *name;
  enum effect effect;
  const json_t *params, *returns, *target; /* as declared; NULL: not */
  const char *resolve, *probe, *lifts;     /* other actions of the connector; NULL: none */
  bool idempotent;                         /* it may be sent again */
  bool contains;                           /* what it does can be lifted, or is said never to be */
  bool simulates;                          /* has a simulate() */
  bool generates;                          /* some parameter is a secret that Tocsin makes */
  int64_t timeout_ms, settle_ms;
  char request[FORM_FUNCTION], result[FORM_FUNCTION], simulate[FORM_FUNCTION]; /* its functions' places in the file */
  json_t *word_connector, *word_action, *word_effect, *word_version;           /* as entries tell of it; its own */
};

/* declared: {"effect", "params", …}, or NULL for an action of which nothing is known but name and effect. */
void form_init(struct form *f, const char *instance, const char *version, const char *name, enum effect effect, const json_t *declared,
               int64_t timeout_ms);
void form_release(struct form *f); /* legal on a zeroed struct */

#endif
