/* `tocsin evidence verify BUNDLE.zip`: the provable part (evidence/bundle.h), then the views, made anew from it. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "build.h"
#include "cmd/evidence_log.h"
#include "cmd/evidence_views.h"
#include "cmd/options.h"

/* Views that differ from what their entries give. */
struct views {
  json_t *differing;   /* names of files */
  const char *why_not; /* they could not be compared; NULL: they were */
};

static size_t proven_count(const struct zip *z, const char *incident) {
  char name[ZIP_NAME];
  snprintf(name, sizeof name, "incidents/%.80s/proofs", incident);
  const struct zip_file *f = zip_find(z, name);
  size_t n = 0;
  for (size_t i = 0; f && i < f->len; i++) n += f->bytes[i] == '\n' && !(i >= 2 && f->bytes[i - 1] == '-' && f->bytes[i - 2] == ' ');
  return n;
}

static void compare(struct views *v, const struct zip *z, const struct zip *again) {
  for (size_t i = 0; i < again->count; i++) {
    const struct zip_file *a = &again->files[i], *b = zip_find(z, a->name);
    if (!b || a->len != b->len || memcmp(a->bytes, b->bytes, a->len) != 0) json_array_append_new(v->differing, json_string(a->name));
  }
}

static int views_make(const struct zip *z, const json_t *contents, const struct evidence_trust *trust, const struct bundle_result *r,
                      struct zip *out, struct err *err) {
  json_t *rows = json_array(), *row, *again = json_deep_copy(contents);
  size_t i;
  int e = 0;
  json_array_foreach(json_object_get(contents, "incidents"), i, row) {
    struct evidence_case c;
    const char *id = json_str_or(row, "id", "");
    if (e < 0 || (e = evidence_case_from_bundle(z, id, &c, err)) < 0) break;
    json_t *seal = evidence_seal(&r->checkpoint, &trust->key, proven_count(z, id));
    e = evidence_views_add(out, &c, seal, rows, err);
    json_decref(seal);
    evidence_case_release(&c);
  }
  if (e == 0 && json_array_size(rows) != r->incidents) e = err_set(err, ERR_INVALID, "contents.json does not name every incident");
  json_object_set(again, "incidents", rows);
  json_object_set_new(again, "log", evidence_seal(&r->checkpoint, &trust->key, r->proven));
  if (e == 0) e = evidence_contents_add(out, again, err);
  json_decref(again);
  json_decref(rows);
  return e;
}

static void views_check(struct views *v, const struct buf *bytes, const struct evidence_trust *trust, const struct bundle_result *r) {
  struct zip z = {.count = 0}, again = {.count = 0};
  struct err err = {0};
  json_t *contents = NULL;
  if (zip_read(bytes->data, bytes->len, &z, &err) < 0) return;
  const struct zip_file *f = zip_find(&z, "contents.json");
  if (!f || json_parse(f->bytes, f->len, &contents, &err) < 0) {
    json_array_append_new(v->differing, json_string("contents.json"));
  } else if (strcmp(json_str_or(contents, "made_by", ""), "tocsin " TOCSIN_VERSION) != 0) {
    v->why_not = "they were made by another version of Tocsin";
  } else {
    int e = views_make(&z, contents, trust, r, &again, &err);
    if (e < 0) json_array_append_new(v->differing, json_string("contents.json"));
    compare(v, &z, &again);
  }
  json_decref(contents);
  zip_release(&again);
  zip_release(&z);
}

static json_t *result_json(const char *path, const struct bundle_result *r, const struct views *v) {
  json_t *faults = json_array(), *name;
  size_t i;
  for (i = 0; i < r->count; i++) {
    const struct bundle_fault *f = &r->faults[i];
    json_t *one = json_pack("{s:s, s:s, s:s}", "kind", fault_name(f->kind), "place", f->place, "text", f->text);
    if (f->seq)
      json_object_set_new(one, "seq", json_integer((json_int_t)f->seq)), json_object_set_new(one, "incident", json_string(f->incident));
    json_array_append_new(faults, one);
  }
  json_array_foreach(v->differing, i, name) {
    json_array_append_new(faults, json_pack("{s:s, s:o, s:s}", "kind", "changed", "place", json_sprintf("file %s", json_string_value(name)),
                                            "text", "it is not what its entries give"));
  }
  return json_pack("{s:s, s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:b, s:o, s:o}", "what", path, "ok", json_array_size(faults) == 0, "incidents",
                   (json_int_t)r->incidents, "entries", (json_int_t)r->entries, "proven", (json_int_t)r->proven, "files",
                   (json_int_t)r->files, "files_destroyed", (json_int_t)r->files_destroyed, "more_faults", (json_int_t)r->more,
                   "views_compared", v->why_not == NULL && r->count == 0, "faults", faults, "removed",
                   evidence_removals_json(r->removals, r->removed));
}

static void result_print(const char *path, const struct evidence_trust *trust, const struct bundle_result *r, const struct views *v,
                         const json_t *anchors) {
  size_t i;
  json_t *name;
  for (i = 0; i < r->count; i++) printf("%s %s: %s\n", fault_name(r->faults[i].kind), r->faults[i].place, r->faults[i].text);
  json_array_foreach(v->differing, i, name) printf("changed file %s: it is not what its entries give\n", json_string_value(name));
  evidence_removals_print(r->removals, r->removed);
  if (r->more) printf("and %zu faults more\n", r->more);
  size_t count = r->count + r->more + json_array_size(v->differing) + json_array_size(json_object_get(anchors, "faults"));
  evidence_anchors_print(anchors);
  if (count) {
    printf("%s: NOT SOUND: %zu fault%s\n", path, count, count == 1 ? "" : "s");
    return;
  }
  printf("%s: sound: %" PRIu64 " entries of %zu incident%s, all in the log of %" PRIu64 " entries that %s signed\n", path, r->entries,
         r->incidents, r->incidents == 1 ? "" : "s", r->checkpoint.size, trust->key.name);
  if (r->files) printf("%" PRIu64 " file%s in custody: as collected\n", r->files, r->files == 1 ? "" : "s");
  if (r->files_destroyed)
    printf("%" PRIu64 " file%s destroyed: by whom and why is in an entry of type evidence.deleted\n", r->files_destroyed,
           r->files_destroyed == 1 ? " was" : "s were");
  if (v->why_not) printf("its reports were not compared with the entries: %s\n", v->why_not);
}

/* Of a bundle that could be read at all. */
static int anchors_check(const struct options *o, const struct buf *bytes, const struct evidence_trust *trust,
                         const struct bundle_result *r, json_t *value, struct err *err) {
  struct zip z = {.count = 0};
  int count = 0;
  if (zip_read(bytes->data, bytes->len, &z, NULL) == 0)
    count = evidence_anchors_verify(o, &(struct evidence_anchored){.bundle = &z, .checked = r}, &trust->key, value, err);
  zip_release(&z);
  return count;
}

int evidence_bundle_verify(const struct cli *cli, const struct options *o, const char *path, const struct buf *bytes) {
  struct evidence_trust trust;
  struct bundle_result r;
  struct err err = {0};
  int status = evidence_verify_options(cli, o, &trust);
  if (status != EXIT_DONE) return status;
  struct views v = {.differing = json_array()};
  if (bundle_verify(bytes->data, bytes->len, &trust.options, &r, &err) < 0) return json_decref(v.differing), cli_fail(cli, &err);
  if (r.count == 0) views_check(&v, bytes, &trust, &r);
  json_t *value = result_json(path, &r, &v);
  int anchors = anchors_check(o, bytes, &trust, &r, value, &err);
  if (anchors < 0) status = cli_fail(cli, &err);
  else if (!cli_json(cli, value)) result_print(path, &trust, &r, &v, json_object_get(value, "anchors"));
  if (anchors >= 0) status = r.count || anchors || json_array_size(v.differing) ? EXIT_FAILED : EXIT_DONE;
  json_decref(value);
  json_decref(v.differing);
  bundle_release(&r);
  return status;
}
