/* The sources that runs and containments are bound to, kept in Redis beside the journals by their digest. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "action/internal.h"
#include "base/json.h"

enum { SOURCE_KEY = 96 };
static const int64_t ANEW_US = INT64_C(86400000000); /* what is not kept for good is kept anew after so long */

struct source_call {
  struct actions *all; /* NULL: gone meanwhile */
  char digest[DIGEST_HEX];
  LIST_ENTRY(source_call) next;
};

static void on_kept(void *arg, const struct redis_value *reply, const struct err *err) {
  struct source_call *c = arg;
  if (c->all) LIST_REMOVE(c, next);
  if (c->all && err) json_object_del(c->all->kept, c->digest); /* whoever needs it next tries again */
  free(c);
}

/* On the journal's own lane: Redis has it before the entry that names it. */
void actions_keep_source(struct actions *a, const char *incident, const char *digest, const char *source, size_t len, unsigned days) {
  char key[SOURCE_KEY], seconds[24];
  int64_t now, kept = json_int_or(a->kept, digest, -1);
  if (!source || (kept >= 0 && !days)) return;
  now = clock_boot(clock_system());
  if (kept >= 0 && now - kept < ANEW_US) return;
  struct source_call *c = calloc(1, sizeof *c);
  if (!c) abort();
  c->all = a;
  snprintf(c->digest, sizeof c->digest, "%s", digest);
  snprintf(key, sizeof key, "tocsin:source:%s", digest);
  snprintf(seconds, sizeof seconds, "%llu", (unsigned long long)days * 86400);
  const char *argv[] = {"SET", key, source, "EX", seconds};
  const size_t lens[] = {3, strlen(key), len, 2, strlen(seconds)};
  json_object_set_new(a->kept, digest, json_integer(now));
  LIST_INSERT_HEAD(&a->keeping, c, next);
  if (redis_command(a->deps.redis, redis_lane(a->deps.redis, incident), on_kept, c, days ? 5 : 3, argv, lens, NULL) < 0) {
    struct err err = {.code = ERR_UNAVAILABLE};
    on_kept(c, NULL, &err);
  }
}

void sources_release(struct actions *a) {
  struct source_call *c;
  while ((c = LIST_FIRST(&a->keeping))) {
    LIST_REMOVE(c, next);
    c->all = NULL;
  }
  json_decref(a->kept);
}
