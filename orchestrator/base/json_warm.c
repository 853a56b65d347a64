#include "base/json_warm.h"

#include <stdint.h>

enum { WAITING = 256 };

/* What was asked for and not looked at yet, oldest first: a value, or a member of an object. */
struct waiting {
  json_t *value; /* or the object */
  void *member;  /* or NULL */
};

struct queue {
  struct waiting ring[WAITING];
  size_t first, count;
};

static void ask(struct queue *q, json_t *value, void *member) {
  if (q->count == WAITING || !value) return;
  __builtin_prefetch(member ? member : value);
  q->ring[(q->first + q->count++) % WAITING] = (struct waiting){value, member};
}

static void ask_member(struct queue *q, json_t *object, void *member) {
  if (member) ask(q, object, member);
}

static void look_at(struct queue *q, json_t *value) {
  size_t i;
  json_t *item;
  switch (json_typeof(value)) {
  case JSON_OBJECT: ask_member(q, value, json_object_iter(value)); break;
  case JSON_ARRAY: json_array_foreach(value, i, item) ask(q, item, NULL); break;
  case JSON_STRING: __builtin_prefetch(json_string_value(value)); break;
  default: break;
  }
}

void json_warm(const json_t *const *trees, size_t count) {
  struct queue q;
  q.first = q.count = 0;
  for (size_t i = 0; i < count; i++) ask(&q, (json_t *)(uintptr_t)trees[i], NULL);
  while (q.count) {
    struct waiting w = q.ring[q.first];
    q.first = (q.first + 1) % WAITING;
    q.count--;
    if (!w.member) {
      look_at(&q, w.value);
      continue;
    }
    ask(&q, json_object_iter_value(w.member), NULL);
    ask_member(&q, w.value, json_object_iter_next(w.value, w.member));
  }
}
