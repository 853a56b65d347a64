/* Named lists: each file is read whole, checked, and indexed by folded text and by network, so that a list of any length costs a few look-ups. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/digest.h"
#include "base/map.h"
#include "route/address.h"
#include "route/csv.h"
#include "route/expiry.h"
#include "route/fold.h"
#include "route/near.h"
#include "route/route.h"

enum { MAX_FILE = 16 << 20, MAX_ROWS = 1000000, NET_KEY = 40 };

/* Rows with the same value hang together, the file's last one first; `next` is the index + 1 of the following one. */
struct row {
  int64_t expires; /* INT64_MAX: never */
  size_t next;
};

struct list {
  unsigned refs; /* sets that have it */
  char *source;  /* the file's bytes */
  size_t source_len;
  char digest[DIGEST_HEX];
  json_t *rows;
  struct row *row;
  struct map by_text, by_net; /* folded text, "<hex>/<bits>" → the last such row's index + 1 */
  bool bits4[129], bits6[129];
};

struct lists {
  unsigned refs;
  struct map lists;
  json_t *assets; /* folded id → row */
  char digest[DIGEST_HEX];
};

static void list_free(void *arg) {
  struct list *l = arg;
  if (!l || --l->refs) return;
  free(l->source);
  json_decref(l->rows);
  free(l->row);
  map_release(&l->by_text, NULL);
  map_release(&l->by_net, NULL);
  free(l);
}

void lists_free(struct lists *l) {
  if (!l || --l->refs) return;
  map_release(&l->lists, list_free);
  json_decref(l->assets);
  free(l);
}

static void *as_pointer(size_t n) { return (void *)(uintptr_t)n; }
static size_t as_number(const void *p) { return (size_t)(uintptr_t)p; }

static void chain(struct list *l, struct map *map, const char *key, size_t index) {
  l->row[index].next = as_number(map_put(map, key, as_pointer(index + 1)));
}

static void net_key(const struct network *n, char out[NET_KEY]) {
  hex_encode(n->bytes, sizeof n->bytes, out);
  out[32] = n->v4 ? '4' : '6';
  out[33] = (char)(' ' + n->bits / 16);
  out[34] = (char)('0' + n->bits % 16);
  out[35] = 0;
}

/* A row is found by its text and, when it reads as an address or network, by that: never by both, so that a chain has one kind of link. */
static int index_row(struct list *l, size_t index, const char *value, struct err *err) {
  struct network net;
  size_t len = strlen(value);
  const char *slash = strchr(value, '/');
  if (address_parse(value, slash ? (size_t)(slash - value) : len, &net) || (slash && value + strspn(value, "0123456789.") == slash)) {
    int rc = network_parse(value, len, &net, err);
    if (rc) return rc;
    char key[NET_KEY];
    net_key(&net, key);
    (net.v4 ? l->bits4 : l->bits6)[net.bits] = true;
    chain(l, &l->by_net, key, index);
    return 0;
  }
  char *folded = malloc(len + 1);
  if (!folded) return err_set(err, ERR_MEMORY, "no memory for a list");
  folded[fold_text(value, len, folded)] = 0;
  chain(l, &l->by_text, folded, index);
  free(folded);
  return 0;
}

/* The header's names, each once; `must` is required. */
static int header_check(const json_t *header, const char *must, const char *const *known, struct err *err) {
  size_t i, j;
  json_t *name;
  bool found = false;
  json_array_foreach(header, i, name) {
    const char *text = json_string_value(name);
    for (j = 0; j < i; j++)
      if (strcmp(text, json_string_value(json_array_get(header, j))) == 0)
        return err_set(err, ERR_INVALID, "column `%s` is there twice", text);
    found = found || strcmp(text, must) == 0;
    const char *meant = route_near_miss(text, known);
    if (meant && strcmp(meant, text) != 0) return err_set(err, ERR_INVALID, "unknown column `%s`; did you mean `%s`?", text, meant);
  }
  return found ? 0
               : err_set(err, ERR_INVALID, "no column `%s`: the first line must name the columns, such as %s,reason,owner,expires", must,
                         must);
}

/* Reads a whole file as rows: objects keyed by the header's names. visit checks and keeps one row. */
typedef int take_row(void *arg, json_t *row, struct err *err);
static int rows_read(const char *bytes, size_t len, const char *must, const char *const *known, take_row *take, void *arg,
                     struct err *err) {
  struct csv csv;
  json_t *header = NULL, *record = NULL, *row = NULL;
  size_t line = 0, count = 0;
  csv_init(&csv, bytes, len);
  int rc = csv_next(&csv, &header, &line, err);
  if (rc == 0) return err_set(err, ERR_INVALID, "line 1: the file is empty: its first line must name the columns, `%s` among them", must);
  if (rc < 0) return rc;
  if ((rc = header_check(header, must, known, err))) goto out;
  while ((rc = csv_next(&csv, &record, &line, err)) == 1) {
    if (json_array_size(record) > json_array_size(header))
      rc = err_set(err, ERR_INVALID, "%zu fields, but the first line names %zu", json_array_size(record), json_array_size(header));
    else if (++count > MAX_ROWS) rc = err_set(err, ERR_LIMIT, "more than %d rows", MAX_ROWS);
    if (rc < 0) goto out;
    row = json_object();
    for (size_t i = 0; i < json_array_size(header); i++) {
      json_t *cell = json_array_get(record, i);
      json_object_set_new(row, json_string_value(json_array_get(header, i)), cell ? json_incref(cell) : json_string(""));
    }
    if (!*json_string_value(json_object_get(row, must))) rc = err_set(err, ERR_INVALID, "`%s` is empty", must);
    else rc = take(arg, row, err);
    json_decref(row);
    json_decref(record);
    record = NULL;
    if (rc < 0) goto out;
  }
out:
  if (rc < 0 && err && strncmp(err->text, "line ", 5) != 0) err_wrap(err, "line %zu", line ? line : 1);
  json_decref(record);
  json_decref(header);
  return rc;
}

static int take_list_row(void *arg, json_t *row, struct err *err) {
  struct list *l = arg;
  size_t n = json_array_size(l->rows);
  const char *expires = json_string_value(json_object_get(row, "expires"));
  struct row entry = {.expires = INT64_MAX};
  if (expires && *expires && !expiry_parse(expires, &entry.expires))
    return err_set(err, ERR_INVALID, "expires `%.40s` is no date: write 2027-01-31 (through that day) or 2027-01-31T18:00:00Z", expires);
  if ((n & (n - 1)) == 0) { /* room doubles at powers of two */
    struct row *more = realloc(l->row, (n ? 2 * n : 1) * sizeof *more);
    if (!more) return err_set(err, ERR_MEMORY, "no memory for a list");
    l->row = more;
  }
  l->row[n] = entry;
  json_array_append(l->rows, row);
  return index_row(l, n, json_string_value(json_object_get(row, "value")), err);
}

static int take_asset(void *arg, json_t *row, struct err *err) {
  static const char *const levels[] = {"low", "medium", "high", "critical", NULL};
  json_t *assets = arg;
  const char *id = json_string_value(json_object_get(row, "id")), *level = json_string_value(json_object_get(row, "criticality"));
  bool fits = !level || !*level;
  for (size_t i = 0; !fits && levels[i]; i++) fits = strcmp(level, levels[i]) == 0;
  if (!fits) return err_set(err, ERR_INVALID, "criticality `%.40s`: write low, medium, high or critical", level);
  struct folded f;
  fold_init(&f, id, strlen(id));
  int rc = json_object_getn(assets, f.data, f.len) ? err_set(err, ERR_INVALID, "asset `%.80s` is there twice", id) : 0;
  if (!rc) json_object_setn_nocheck(assets, f.data, f.len, row);
  fold_release(&f);
  return rc;
}

static int take_file(struct lists *l, const char *name, const char *bytes, size_t len, const uint8_t digest[DIGEST_BYTES],
                     struct err *err) {
  static const char *const list_columns[] = {"value", "reason", "owner", "expires", NULL}, *const asset_columns[] = {"id", "owner",
                                                                                                                     "criticality",
                                                                                                                     "tenant", NULL};
  if (strcmp(name, "assets") == 0) return rows_read(bytes, len, "id", asset_columns, take_asset, l->assets, err);
  struct list *list = calloc(1, sizeof *list);
  if (!list || !(list->rows = json_array())) return free(list), err_set(err, ERR_MEMORY, "no memory for a list");
  list->refs = 1;
  list->source = malloc(len + 1);
  if (!list->source) return list_free(list), err_set(err, ERR_MEMORY, "no memory for a list");
  memcpy(list->source, bytes, len);
  list->source[len] = 0;
  list->source_len = len;
  hex_encode(digest, DIGEST_BYTES, list->digest);
  int rc = rows_read(bytes, len, "value", list_columns, take_list_row, list, err);
  if (rc) return list_free(list), rc;
  list_free(map_put(&l->lists, name, list));
  return 0;
}

static int file_read(int folder, const char *file, struct buf *out, struct err *err) {
  struct stat st;
  int rc = 0, fd = openat(folder, file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return err_errno(err, "cannot open it");
  if (fstat(fd, &st) || !S_ISREG(st.st_mode)) rc = err_set(err, ERR_INVALID, "not a regular file");
  while (!rc) {
    char chunk[16384];
    ssize_t n = read(fd, chunk, sizeof chunk);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) rc = err_errno(err, "cannot read it");
    if (n <= 0) break;
    buf_add(out, chunk, (size_t)n);
    if (!buf_ok(out)) rc = err_set(err, ERR_LIMIT, "larger than %d bytes", MAX_FILE);
  }
  close(fd);
  return rc;
}

static int list_name(const char *file, char name[80], struct err *err) {
  size_t len = strlen(file) - 4;
  if (len >= 64 || strspn(file, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") != len)
    return err_set(err, ERR_INVALID, "a list's name has letters, digits, `-` and `_` only, at most 64");
  memcpy(name, file, len);
  name[len] = 0;
  return 0;
}

static int is_csv(const struct dirent *e) {
  size_t len = strlen(e->d_name);
  return e->d_name[0] != '.' && len > 4 && strcmp(e->d_name + len - 4, ".csv") == 0;
}

static int load_one(struct lists *l, int folder, const char *file, struct buf *digests, struct err *err) {
  struct buf b;
  char name[80];
  uint8_t digest[DIGEST_BYTES];
  buf_init(&b, MAX_FILE);
  int rc = list_name(file, name, err);
  if (!rc) rc = file_read(folder, file, &b, err);
  if (!rc) digest_sha256(b.data, b.len, digest);
  if (!rc) rc = take_file(l, name, b.data, b.len, digest, err);
  if (!rc) {
    buf_add(digests, name, strlen(name) + 1);
    buf_add(digests, digest, sizeof digest);
  }
  buf_release(&b);
  return rc;
}

int lists_load(const char *folder, struct lists **ret, struct err *err) {
  struct dirent **files = NULL;
  struct buf digests;
  uint8_t digest[DIGEST_BYTES];
  int rc = 0, count = 0, fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0 && errno != ENOENT) return err_errno(err, "lists: cannot open %s", folder);
  struct lists *l = calloc(1, sizeof *l);
  if (l) l->refs = 1;
  buf_init(&digests, 1 << 20);
  if (!l || !(l->assets = json_object())) rc = err_set(err, ERR_MEMORY, "no memory for lists");
  if (!rc && fd >= 0 && (count = scandirat(fd, ".", &files, is_csv, alphasort)) < 0) rc = err_errno(err, "lists: cannot read %s", folder);
  for (int i = 0; i < count; i++) {
    if (!rc && (rc = load_one(l, fd, files[i]->d_name, &digests, err))) err_wrap(err, "%s/%s", folder, files[i]->d_name);
    free(files[i]);
  }
  free(files);
  if (!rc && !buf_ok(&digests)) rc = err_set(err, ERR_LIMIT, "%s: too many lists", folder);
  if (!rc) {
    digest_sha256(digests.data, digests.len, digest);
    hex_encode(digest, sizeof digest, l->digest);
  }
  buf_release(&digests);
  if (fd >= 0) close(fd);
  if (rc) return lists_free(l), rc;
  *ret = l;
  return 0;
}

/* --- versions ---------------------------------------------------------------------------------------------------- */

struct lists *lists_hold(struct lists *l) {
  if (l) l->refs++;
  return l;
}

json_t *lists_pins(const struct lists *l, const char *const *texts) {
  json_t *pins = json_object();
  size_t at = 0;
  const char *name;
  void *value;
  while (l && map_next(&l->lists, &at, &name, &value))
    for (const char *const *text = texts; *text; text++)
      if (strstr(*text, name)) json_object_set_new(pins, name, json_string(((struct list *)value)->digest));
  return pins;
}

const char *lists_source(const struct lists *l, const char *list, size_t *ret_len) {
  const struct list *found = l ? map_get(&l->lists, list) : NULL;
  if (found) *ret_len = found->source_len;
  return found ? found->source : NULL;
}

static struct lists *copy_of(struct lists *l) {
  struct lists *copy = calloc(1, sizeof *copy);
  size_t at = 0;
  const char *name;
  void *value;
  if (!copy) abort();
  copy->refs = 1;
  copy->assets = l ? json_incref(l->assets) : json_object();
  memcpy(copy->digest, l ? l->digest : "", l ? DIGEST_HEX : 1);
  while (l && map_next(&l->lists, &at, &name, &value)) {
    ((struct list *)value)->refs++;
    map_put(&copy->lists, name, value);
  }
  return copy;
}

static int take_version(struct lists *l, const char *name, const char *wanted, const json_t *source, struct err *err) {
  uint8_t digest[DIGEST_BYTES];
  char hex[DIGEST_HEX];
  if (!json_is_string(source)) return err_set(err, ERR_NOT_FOUND, "the list %s of digest %s is not to be found any more", name, wanted);
  digest_sha256(json_string_value(source), json_string_length(source), digest);
  hex_encode(digest, sizeof digest, hex);
  if (strcmp(hex, wanted) != 0)
    return err_set(err, ERR_CONFLICT, "the kept source of the list %s was changed: its digest is %s", name, hex);
  return take_file(l, name, json_string_value(source), json_string_length(source), digest, err);
}

int lists_with(struct lists *l, const json_t *pins, const json_t *sources, struct lists **ret, struct err *err) {
  struct lists *versions = NULL;
  const char *name;
  json_t *pin;
  int rc = 0;
  json_object_foreach((json_t *)(uintptr_t)pins, name, pin) {
    const char *wanted = json_string_value(pin) ? json_string_value(pin) : "";
    const struct list *now = l ? map_get(&l->lists, name) : NULL;
    if (rc || (now && strcmp(now->digest, wanted) == 0)) continue;
    if (!versions) versions = copy_of(l);
    rc = take_version(versions, name, wanted, json_object_get(sources, wanted), err);
  }
  if (rc) return lists_free(versions), rc;
  *ret = versions ? versions : lists_hold(l);
  return 0;
}

/* --- asking ------------------------------------------------------------------------------------------------------ */

/* The first row of a chain that has not expired; index + 1, or 0. */
static size_t alive(const struct list *l, size_t at, int64_t now_us) {
  while (at && l->row[at - 1].expires <= now_us) at = l->row[at - 1].next;
  return at;
}

static size_t find_network(const struct list *l, const struct network *address, int64_t now_us) {
  const bool *bits = address->v4 ? l->bits4 : l->bits6;
  for (int i = 128; i >= 0; i--) {
    if (!bits[i]) continue;
    struct network cut = *address;
    char key[NET_KEY];
    network_mask(&cut, (uint8_t)i);
    net_key(&cut, key);
    size_t at = alive(l, as_number(map_get(&l->by_net, key)), now_us);
    if (at) return at;
  }
  return 0;
}

static size_t find_text(const struct list *l, const char *value, int64_t now_us) {
  size_t len = strlen(value);
  if (len > 3 * CSV_MAX_FIELD) return 0; /* folding shortens to a third at most */
  char folded[3 * CSV_MAX_FIELD + 1];
  folded[fold_text(value, len, folded)] = 0;
  return alive(l, as_number(map_get(&l->by_text, folded)), now_us);
}

bool lists_match(const struct lists *l, const char *list, const char *value, int64_t now_us, json_t **ret_row) {
  const struct list *found = l ? map_get(&l->lists, list) : NULL;
  struct network address;
  if (!found || !value) return false;
  size_t at = address_parse(value, strlen(value), &address) ? find_network(found, &address, now_us) : find_text(found, value, now_us);
  if (at && ret_row) *ret_row = json_array_get(found->rows, at - 1);
  return at != 0;
}

json_t *lists_rows(const struct lists *l, const char *list) {
  const struct list *found = l ? map_get(&l->lists, list) : NULL;
  return found ? found->rows : NULL;
}

json_t *lists_asset(const struct lists *l, const char *id) {
  if (!l || !id) return NULL;
  struct folded f;
  fold_init(&f, id, strlen(id));
  json_t *row = json_object_getn(l->assets, f.data, f.len);
  fold_release(&f);
  return row;
}

const char *lists_digest(const struct lists *l) { return l ? l->digest : ""; }
