/* paths.h: where a dotted path leads in an alert.
 *
 * A path walks objects and, through arrays, every element. "raw.…" walks the product's own document; there, and under "unmapped.", a key may itself bear
 * dots ("kibana.alert.rule.name", flattened), so both readings are followed. A path that ends at an object stands for its name, else uid, else email_addr.
 * JSON null is no value. Never allocates while walking. */
#ifndef TOCSIN_ROUTE_PATHS_H
#define TOCSIN_ROUTE_PATHS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum { PATH_MAX_TEXT = 256, PATH_MAX_SEGMENTS = 16, PATH_NUMBER = 48 };

struct path {
  char *text;                                                /* the whole path, "raw." included */
  uint16_t start[PATH_MAX_SEGMENTS], end[PATH_MAX_SEGMENTS]; /* of each segment in text; "raw" itself is none */
  uint8_t count;
  uint8_t joined_from; /* from this segment on, keys with dots are tried too */
  bool raw;
};

/* Letters, digits and any other printing character but "|", "=" and quotes; no empty segment. */
int path_compile(const char *text, size_t len, struct path *ret, struct err *err);
void path_release(struct path *p);

/* Return true to stop. */
typedef bool path_visit(void *arg, const json_t *value);
/* Visits every value (scalars; objects only when nothing in them stands for them). True when a visit stopped it. */
bool path_walk(const struct path *p, const json_t *alert, const json_t *raw, path_visit *visit, void *arg);
/* What a path that ends here means; the last step of path_walk. Not for arrays. */
bool path_end(const json_t *value, path_visit *visit, void *arg);

/* The text of a scalar: a string's bytes, a number in its shortest plain form (4.0 is "4"), true or false. False for null, objects and arrays.
 * room holds numbers; *ret is borrowed from it or from the value. */
bool scalar_text(const json_t *value, char room[PATH_NUMBER], const char **ret, size_t *ret_len);

#endif
