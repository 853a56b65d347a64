/* json_warm.h: brings trees back into the caches that were made a while ago and are about to be used. */
#ifndef TOCSIN_BASE_JSON_WARM_H
#define TOCSIN_BASE_JSON_WARM_H

#include <jansson.h>
#include <stddef.h>

/* Several trees at once: while one value is on its way, others are asked for, where whoever walks a tree alone waits for each. Only asks: nothing is changed, and of what is
 * very large a part is left out. NULL among them is passed over. */
void json_warm(const json_t *const *trees, size_t count);

#endif
