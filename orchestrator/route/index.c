#include "route/index.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/map.h"
#include "route/fold.h"

enum {
  PREFIX_MOST = 32,
  PREFIX_ROOM = 3 * PREFIX_MOST + 3
}; /* longer prefixes are held by their first bytes; folding shortens to a third at most */

/* One exact value or prefix of one path. */
struct entry {
  uint64_t hash;
  char *text;
  size_t len;
  uint32_t path;
  bool prefix;
  size_t uses; /* how many conditions name it: what makes it a good or a bad place */
  uint32_t *triggers;
  size_t count, size;
};

struct use {
  size_t longest;    /* of the exact values, 0 with `exact` false: none */
  uint64_t prefixes; /* bit n: there is a prefix of n bytes */
  bool exact;
};

/* A place in the tree of paths in use. */
struct place {
  char *name;
  struct map by_name;
  struct place **children;
  size_t count;
  uint32_t path; /* + 1; 0: none ends here */
  bool joined;   /* keys below may bear dots */
};

struct index {
  struct entry **table;
  size_t table_size, entry_count;
  struct map path_ids; /* text → id + 1 */
  size_t path_count, use_size;
  struct use *uses;
  struct place alert, raw;
  size_t trigger_count; /* highest trigger + 1 */
};

/* FNV-1a. What strangers send is only looked up, never put in, so the hash needs no key. */
static uint64_t hash_more(uint64_t h, const char *bytes, size_t len) {
  for (size_t i = 0; i < len; i++) h = (h ^ (uint8_t)bytes[i]) * UINT64_C(0x100000001b3);
  return h;
}
static uint64_t hash_start(uint32_t path, bool prefix) {
  return (UINT64_C(0xcbf29ce484222325) ^ ((uint64_t)path << 1 | prefix)) * UINT64_C(0x100000001b3);
}
static size_t spread(uint64_t h) { return (size_t)(h ^ h >> 29 ^ h >> 47); }

struct index *index_new(void) {
  struct index *x = calloc(1, sizeof *x);
  if (!x) return NULL;
  map_init(&x->path_ids);
  x->raw.joined = true;
  x->table_size = 64;
  x->table = calloc(x->table_size, sizeof(struct entry *));
  return x->table ? x : (free(x), NULL);
}

static void place_release(struct place *p) {
  for (size_t i = 0; i < p->count; i++) {
    place_release(p->children[i]);
    free(p->children[i]);
  }
  map_release(&p->by_name, NULL);
  free(p->children);
  free(p->name);
}

void index_free(struct index *x) {
  if (!x) return;
  for (size_t i = 0; i < x->table_size; i++) {
    if (!x->table[i]) continue;
    free(x->table[i]->text);
    free(x->table[i]->triggers);
    free(x->table[i]);
  }
  place_release(&x->alert);
  place_release(&x->raw);
  map_release(&x->path_ids, NULL);
  free(x->table);
  free(x->uses);
  free(x);
}

/* ---- entries ---- */

static struct entry *find(const struct index *x, uint64_t hash, uint32_t path, bool prefix, const char *text, size_t len) {
  for (size_t i = spread(hash);; i++) {
    struct entry *e = x->table[i & (x->table_size - 1)];
    if (!e) return NULL;
    if (e->hash == hash && e->path == path && e->prefix == prefix && e->len == len && memcmp(e->text, text, len) == 0) return e;
  }
}

static void put(struct entry **table, size_t size, struct entry *e) {
  size_t i = spread(e->hash);
  while (table[i & (size - 1)]) i++;
  table[i & (size - 1)] = e;
}

static bool grow(struct index *x) {
  size_t size = 2 * x->table_size;
  struct entry **table = calloc(size, sizeof(struct entry *));
  if (!table) return false;
  for (size_t i = 0; i < x->table_size; i++)
    if (x->table[i]) put(table, size, x->table[i]);
  free(x->table);
  x->table = table;
  x->table_size = size;
  return true;
}

static struct entry *entry_new(struct index *x, uint64_t hash, uint32_t path, bool prefix, const char *text, size_t len) {
  if (2 * x->entry_count >= x->table_size && !grow(x)) return NULL;
  struct entry *e = calloc(1, sizeof *e);
  if (!e || !(e->text = malloc(len + 1))) return free(e), NULL;
  memcpy(e->text, text, len);
  e->hash = hash, e->len = len, e->path = path, e->prefix = prefix;
  put(x->table, x->table_size, e);
  x->entry_count++;
  return e;
}

/* Whether the index can hold this test: equal to one of some texts, or beginning with one. */
static bool holds(const struct condition *t) {
  return t->kind == NODE_TEST && (t->test == TEST_EQUAL || t->test == TEST_STARTS) && !t->absent && t->text_count &&
         t->text_count == t->value_count;
}

/* The entry of the i-th value. Values that heed case are folded here: the index never does. */
static struct entry *entry_of(struct index *x, const struct condition *t, size_t i, bool make) {
  uint32_t path = (uint32_t)(uintptr_t)map_get(&x->path_ids, t->path.text);
  bool prefix = t->test == TEST_STARTS;
  struct folded f;
  if (!path && make) map_put(&x->path_ids, t->path.text, (void *)(uintptr_t)(path = (uint32_t)++x->path_count));
  fold_init(&f, t->values[i].text, t->values[i].len);
  size_t len = prefix && f.len > PREFIX_MOST ? PREFIX_MOST : f.len;
  uint64_t hash = hash_more(hash_start(path, prefix), f.data, len);
  struct entry *e = find(x, hash, path, prefix, f.data, len);
  if (!e && make) e = entry_new(x, hash, path, prefix, f.data, len);
  fold_release(&f);
  return e;
}

int index_count(struct index *x, const struct condition *c, struct err *err) {
  if (c->kind == NODE_NONE) return 0;
  for (size_t i = 0; i < c->count; i++) {
    int rc = index_count(x, c->children[i], err);
    if (rc) return rc;
  }
  for (size_t i = 0; holds(c) && i < c->value_count; i++) {
    struct entry *e = entry_of(x, c, i, true);
    if (!e) return err_set(err, ERR_MEMORY, "no memory for the triggers' index");
    e->uses++;
  }
  return 0;
}

/* ---- choosing and adding ---- */

/* How crowded the places are that would hold c; SIZE_MAX: none can. An `any` needs one for each of its branches. */
static size_t crowd(struct index *x, const struct condition *c) {
  size_t sum = 0, best = SIZE_MAX;
  if (c->kind == NODE_NONE) return SIZE_MAX;
  if (c->kind == NODE_TEST) {
    if (!holds(c)) return SIZE_MAX;
    for (size_t i = 0; i < c->value_count; i++) sum += entry_of(x, c, i, false)->uses;
    return sum;
  }
  for (size_t i = 0; i < c->count; i++) {
    size_t one = crowd(x, c->children[i]);
    if (one < best) best = one;
    sum = one == SIZE_MAX || sum == SIZE_MAX ? SIZE_MAX : sum + one;
  }
  return c->kind == NODE_ANY ? sum : best;
}

static struct place *place_child(struct place *p, const char *name, size_t len) {
  char key[PATH_MAX_TEXT + 1];
  memcpy(key, name, len);
  key[len] = 0;
  struct place *child = map_get(&p->by_name, key);
  if (child) return child;
  struct place **more = realloc(p->children, (p->count + 1) * sizeof *more);
  if (!more) return NULL;
  p->children = more;
  if (!(child = calloc(1, sizeof *child)) || !(child->name = strdup(key))) return free(child), NULL;
  child->joined = p->joined;
  p->children[p->count++] = child;
  map_put(&p->by_name, key, child);
  return child;
}

static bool path_place(struct index *x, const struct path *path, uint32_t id) {
  struct place *p = path->raw ? &x->raw : &x->alert;
  for (unsigned i = 0; p && i < path->count; i++) {
    p = place_child(p, path->text + path->start[i], (size_t)(path->end[i] - path->start[i]));
    if (p && i + 1u >= path->joined_from) p->joined = true;
  }
  if (p) p->path = id;
  return p != NULL;
}

static struct use *use_of(struct index *x, uint32_t path) {
  if (path >= x->use_size) {
    size_t size = x->path_count + 1;
    struct use *more = realloc(x->uses, size * sizeof *more);
    if (!more) return NULL;
    memset(more + x->use_size, 0, (size - x->use_size) * sizeof *more);
    x->uses = more;
    x->use_size = size;
  }
  return &x->uses[path];
}

static bool entry_add(struct index *x, const struct path *path, struct entry *e, uint32_t trigger) {
  struct use *use = use_of(x, e->path);
  if (!use || !path_place(x, path, e->path)) return false;
  if (e->count && e->triggers[e->count - 1] == trigger) return true;
  if (e->count == e->size) {
    size_t size = e->size ? 2 * e->size : 2;
    uint32_t *more = realloc(e->triggers, size * sizeof *more);
    if (!more) return false;
    e->triggers = more;
    e->size = size;
  }
  e->triggers[e->count++] = trigger;
  if (e->prefix) use->prefixes |= UINT64_C(1) << e->len;
  else use->exact = true, use->longest = e->len > use->longest ? e->len : use->longest;
  return true;
}

static bool add_best(struct index *x, const struct condition *c, uint32_t trigger) {
  if (c->kind == NODE_TEST) {
    for (size_t i = 0; i < c->value_count; i++)
      if (!entry_add(x, &c->path, entry_of(x, c, i, false), trigger)) return false;
    return true;
  }
  const struct condition *best = NULL;
  size_t least = SIZE_MAX;
  for (size_t i = 0; i < c->count; i++) {
    if (c->kind == NODE_ANY && !add_best(x, c->children[i], trigger)) return false;
    size_t one = c->kind == NODE_ALL ? crowd(x, c->children[i]) : SIZE_MAX;
    if (one < least) least = one, best = c->children[i];
  }
  return c->kind == NODE_ANY || add_best(x, best, trigger);
}

int index_add(struct index *x, const struct condition *c, uint32_t trigger, struct err *err) {
  if (crowd(x, c) == SIZE_MAX)
    return err_set(err, ERR_INVALID,
                   "needs one exact or |startswith condition that always applies, such as [\"metadata.product.name\"] = \"Wazuh\": the "
                   "others (|re, |contains, |cidr, "
                   "comparisons, named lists, none) only filter after it, and each branch of any = { … } needs its own");
  if (!add_best(x, c, trigger)) return err_set(err, ERR_MEMORY, "no memory for the triggers' index");
  if (trigger >= x->trigger_count) x->trigger_count = trigger + 1;
  return 0;
}

/* ---- looking up ---- */

struct search {
  const struct index *x;
  uint64_t *seen; /* a bit per trigger */
  uint32_t *found;
  size_t count, size;
  uint32_t path;
};

static void take(struct search *s, const struct entry *e) {
  for (size_t i = 0; e && i < e->count; i++) {
    uint32_t t = e->triggers[i];
    if (s->seen[t / 64] >> t % 64 & 1) continue;
    s->seen[t / 64] |= UINT64_C(1) << t % 64;
    if (s->count == s->size) {
      s->size = s->size ? 2 * s->size : 16;
      if (!(s->found = realloc(s->found, s->size * sizeof *s->found))) abort(); /* as base/map: a trigger must not be lost */
    }
    s->found[s->count++] = t;
  }
}

static void prefixes(struct search *s, uint64_t lengths, const char *text, size_t len) {
  char folded[PREFIX_ROOM];
  size_t n = fold_text(text, len > PREFIX_ROOM ? PREFIX_ROOM : len, folded);
  uint64_t hash = hash_start(s->path, true);
  for (size_t i = 1; i <= n && lengths >> i; i++) {
    hash = hash_more(hash, folded + i - 1, 1);
    if (lengths >> i & 1) take(s, find(s->x, hash, s->path, true, folded, i));
  }
}

static bool look_up(void *arg, const json_t *value) {
  struct search *s = arg;
  const struct use *use = &s->x->uses[s->path];
  char room[PATH_NUMBER];
  const char *text;
  size_t len;
  if (!scalar_text(value, room, &text, &len)) return false;
  if (use->exact && len <= 3 * use->longest) {
    struct folded f;
    fold_init(&f, text, len);
    take(s, find(s->x, hash_more(hash_start(s->path, false), f.data, f.len), s->path, false, f.data, f.len));
    fold_release(&f);
  }
  if (use->prefixes) prefixes(s, use->prefixes, text, len);
  return false;
}

static void walk(struct search *s, const struct place *p, const json_t *node, unsigned depth);

/* A member of the document: its key leads one place down, or several where keys may bear dots. */
static void member(struct search *s, const struct place *p, const char *key, const json_t *value, unsigned depth) {
  char part[PATH_MAX_TEXT + 1];
  size_t len = strlen(key), from = 0;
  bool joined = p->joined;
  if (len > PATH_MAX_TEXT) return;
  while (p && from <= len) {
    size_t n = joined ? strcspn(key + from, ".") : len - from;
    memcpy(part, key + from, n);
    part[n] = 0;
    p = map_get(&p->by_name, part);
    from += n + 1;
  }
  if (p) walk(s, p, value, depth);
}

static void walk(struct search *s, const struct place *p, const json_t *node, unsigned depth) {
  size_t i;
  json_t *item;
  if (json_is_array(node)) {
    json_array_foreach(node, i, item) if (depth < 128) walk(s, p, item, depth + 1);
    return;
  }
  if (p->path) {
    s->path = p->path;
    path_end(node, look_up, s);
  }
  if (!p->count || !json_is_object(node)) return;
  if (p->joined || p->count > json_object_size(node)) {
    for (void *it = json_object_iter((json_t *)(uintptr_t)node); it; it = json_object_iter_next((json_t *)(uintptr_t)node, it)) {
      const char *key = json_object_iter_key(it);
      if (strlen(key) == json_object_iter_key_len(it)) member(s, p, key, json_object_iter_value(it), depth);
    }
    return;
  }
  for (i = 0; i < p->count; i++)
    if ((item = json_object_get(node, p->children[i]->name))) walk(s, p->children[i], item, depth);
}

static int ascending(const void *a, const void *b) {
  uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
  return (x > y) - (x < y);
}

uint32_t *index_find(const struct index *x, const json_t *alert, const json_t *raw, size_t *ret_count) {
  struct search s = {.x = x, .seen = calloc(x->trigger_count / 64 + 1, sizeof(uint64_t))};
  if (!s.seen) abort();
  if (alert) walk(&s, &x->alert, alert, 0);
  if (raw) walk(&s, &x->raw, raw, 0);
  free(s.seen);
  if (s.count > 1) qsort(s.found, s.count, sizeof *s.found, ascending);
  *ret_count = s.count;
  return s.found;
}
