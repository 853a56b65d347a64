/* index.h: from an alert to the few triggers that could match it.
 *
 * Each trigger hangs at the exact values or prefixes of one of its conditions: the one that the fewest triggers share. Looking up walks the alert and a tree
 * of the paths in use side by side, always along the smaller of the two, and asks one hash table per value; so the cost depends on the alert and on what
 * comes out, not on how many triggers there are. Finds a superset: the caller checks each candidate in full. Built once, then never changed. */
#ifndef TOCSIN_ROUTE_INDEX_H
#define TOCSIN_ROUTE_INDEX_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "route/condition.h"

struct index;

/* Two passes: count every condition first, then add each trigger, so that the choice is a good one. */
struct index *index_new(void); /* NULL: no memory */
void index_free(struct index *x);
int index_count(struct index *x, const struct condition *c, struct err *err);
/* ERR_INVALID when the condition has nothing that an index can hold. */
int index_add(struct index *x, const struct condition *c, uint32_t trigger, struct err *err);

/* Candidates in ascending order without repetition, malloc'ed; *ret_count may be 0 (then NULL is fine). */
uint32_t *index_find(const struct index *x, const json_t *alert, const json_t *raw, size_t *ret_count);

#endif
