/* Every sample alert against what tests/data/alerts.expected says it must yield, and every normaliser against odd types.
 * Rows under shared/ are checked where ../shared/alerts stands beside the clone, and named as skipped elsewhere. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/json.h"
#include "route/route.h"
#include "script/script.h"

enum { CONNECTORS = 64, COLUMNS = 18, FILE_CAP = 4 << 20, FIRST_OBSERVABLE = 8 };

struct format {
  struct declaration *declaration;
  struct connector_state *state;
  const char *name;
};

static struct format formats[CONNECTORS];
static size_t format_count;
static const char *const columns[COLUMNS] = {"file",    "source",    "severity_id", "product", "uid",  "title",
                                             "time_ms", "first_ms",  "users",       "hosts",   "ips",  "hashes",
                                             "urls",    "resources", "processes",   "files",   "macs", "attacks"};
static size_t found_of[COLUMNS], wanted_of[COLUMNS];
static const char NOTHING[] = "–";

/* ---- files ------------------------------------------------------------------------------------------------- */

static char *file_text(const char *path, size_t *ret_len) {
  struct buf b;
  char chunk[65536];
  size_t n;
  FILE *f = fopen(path, "rb");
  if (!f) return NULL;
  buf_init(&b, FILE_CAP);
  while ((n = fread(chunk, 1, sizeof chunk, f)) > 0) buf_add(&b, chunk, n);
  fclose(f);
  return buf_take(&b, ret_len);
}

static bool ends_with(const char *text, const char *end) {
  size_t a = strlen(text), b = strlen(end);
  return a >= b && strcmp(text + a - b, end) == 0;
}

/* A *.txt is a text; all else is JSON. */
static json_t *document(const char *path) {
  struct err err;
  size_t len;
  json_t *doc = NULL;
  char *text = file_text(path, &len);
  if (!text) return NULL;
  if (ends_with(path, ".txt")) doc = json_stringn(text, len);
  else if (json_parse(text, len, &doc, &err) < 0) fail_msg("%s: %s", path, err.text);
  free(text);
  return doc;
}

static const char *sample_path(const char *file, char out[1024]) {
  if (strncmp(file, "shared/", 7) == 0) snprintf(out, 1024, "../shared/alerts/%s", file + 7);
  else snprintf(out, 1024, "tests/data/alerts/%s", file);
  return out;
}

/* ---- connectors ---------------------------------------------------------------------------------------------- */

static struct connector_state *state_with(const struct declaration *d, const json_t *settings) {
  struct err err;
  json_t *checked = NULL, *empty = json_object();
  struct connector_state *state = NULL;
  const json_t *schema = json_object_get(d->json, "settings");
  if (schema_check(schema ? schema : empty, settings ? settings : empty, d->name, &checked, &err) < 0) fail_msg("%s", err.text);
  if (connector_state_new(d, checked, NULL, &state, &err) < 0) fail_msg("%s: %s", d->name, err.text);
  json_decref(checked);
  json_decref(empty);
  return state;
}

/* Connectors that need settings of their own (a URL, a token) get none here: their alert part does not use them. */
static struct connector_state *state_bare(const struct declaration *d) {
  struct err err;
  struct connector_state *state = NULL;
  json_t *defaults = json_object();
  const char *name;
  json_t *rule;
  json_object_foreach(json_object_get(d->json, "settings"), name, rule) if (json_object_get(rule, "default"))
      json_object_set(defaults, name, json_object_get(rule, "default"));
  if (connector_state_new(d, defaults, NULL, &state, &err) < 0) fail_msg("%s: %s", d->name, err.text);
  json_decref(defaults);
  return state;
}

static int load_all(void **unused) {
  struct dirent **names = NULL;
  int count = scandir("connectors", &names, NULL, alphasort);
  assert_true(count > 0);
  for (int i = 0; i < count; i++) {
    char path[512];
    struct err err;
    size_t len;
    struct declaration *d = NULL;
    snprintf(path, sizeof path, "connectors/%s", names[i]->d_name);
    free(names[i]);
    if (!ends_with(path, ".lua")) continue;
    char *text = file_text(path, &len);
    if (connector_load(path, text, len, &d, &err) < 0) fail_msg("%s", err.text);
    free(text);
    if (!json_is_object(json_object_get(d->json, "alert"))) {
      declaration_free(d);
      continue;
    }
    assert_true(format_count < CONNECTORS);
    formats[format_count++] =
        (struct format){.declaration = d, .state = state_bare(d), .name = json_str(json_object_get(d->json, "alert"), "source")};
  }
  free(names);
  return 0;
}

static int free_all(void **unused) {
  for (size_t i = 0; i < format_count; i++) {
    connector_state_free(formats[i].state);
    declaration_free(formats[i].declaration);
  }
  return 0;
}

static json_t *ask_as(struct connector_state *state, const char *name, const char *function, const json_t *doc, const char *what,
                      enum script_trust trust) {
  struct err err;
  json_t *ret = NULL, *failure = NULL, *args = json_pack("[O]", doc);
  if (connector_call(state, function, args, trust, &ret, &failure, &err) < 0) {
    char *text = json_text(doc);
    fail_msg("%s of %s raised on %s: %s\n%.600s", function, name, what, err.text, text ? text : "");
  }
  json_decref(args);
  json_decref(failure);
  return ret;
}

/* Calls a pure function of `alert` with one document; the connector must not raise. NULL for nil. A document that is read where it lies
 * gives what one that was made in Lua gives. */
static json_t *ask(struct connector_state *state, const char *name, const char *function, const json_t *doc, const char *what) {
  json_t *whole = ask_as(state, name, function, doc, what, SCRIPT_DATA), *ret = ask_as(state, name, function, doc, what, SCRIPT_DOCUMENT);
  if (whole != ret && !json_equal(whole, ret)) fail_msg("%s of %s: another result of %s as a document", function, name, what);
  json_decref(whole);
  return ret;
}

/* Most products send one alert a body, and their connectors have no split. */
static json_t *parts_of(const struct format *f, struct connector_state *state, const json_t *doc, const char *what) {
  bool splits = json_object_get(json_object_get(f->declaration->json, "alert"), "split") != NULL;
  return splits ? ask(state, f->name, "alert.split", doc, what) : NULL;
}

static const struct format *recognised(const json_t *doc, const char *what) {
  const struct format *best = NULL;
  double most = 0;
  for (size_t i = 0; i < format_count; i++) {
    json_t *sure = ask(formats[i].state, formats[i].name, "alert.recognise", doc, what);
    if (!json_is_number(sure)) fail_msg("recognise of %s gave no number for %s", formats[i].name, what);
    if (json_number_value(sure) > most) {
      most = json_number_value(sure);
      best = &formats[i];
    }
    json_decref(sure);
  }
  return best;
}

/* ---- comparing ---------------------------------------------------------------------------------------------------- */

static int by_text(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

/* The values of a column in one order, joined by "|". */
static char *joined(char *const *values, size_t count) {
  struct buf b;
  const char **sorted = calloc(count + 1, sizeof *sorted);
  assert_non_null(sorted);
  for (size_t i = 0; i < count; i++) sorted[i] = values[i];
  qsort(sorted, count, sizeof *sorted, by_text);
  buf_init(&b, 1 << 20);
  for (size_t i = 0; i < count; i++) {
    if (i) buf_addc(&b, '|');
    buf_adds(&b, sorted[i]);
  }
  if (!count) buf_adds(&b, NOTHING);
  free(sorted);
  return buf_take(&b, NULL);
}

static char *joined_text(const char *text) {
  char *copy = strdup(text), *values[256], *rest = copy;
  size_t count = 0;
  assert_non_null(copy);
  for (char *value; (value = strsep(&rest, "|")) && count < 256;) values[count++] = value;
  char *all = joined(values, count);
  free(copy);
  return all;
}

static int column_of(const json_t *observable) {
  static const struct {
    const char *type, *column;
    int id;
  } kinds[] = {
      {"User Name", "users", 4}, {"Email Address", "users", 5}, {"Hostname", "hosts", 1},          {"IP Address", "ips", 2},
      {"Hash", "hashes", 8},     {"URL String", "urls", 6},     {"Resource UID", "resources", 10}, {"Process Name", "processes", 9},
      {"File Name", "files", 7}, {"MAC Address", "macs", 3}};
  const char *type = json_str_or(observable, "type", "");
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
    if (strcmp(kinds[i].type, type) != 0) continue;
    assert_int_equal(json_int_or(observable, "type_id", -1), kinds[i].id);
    for (int c = 0; c < COLUMNS; c++)
      if (strcmp(columns[c], kinds[i].column) == 0) return c;
  }
  fail_msg("an observable of the unknown type \"%s\"", type);
  return -1;
}

/* "path=value" of each element that belongs to the column. */
static char *observed(const json_t *finding, int column) {
  char *values[512];
  size_t count = 0, i;
  json_t *o;
  bool attacks = strcmp(columns[column], "attacks") == 0;
  json_array_foreach(attacks ? json_at(finding, "finding_info.attacks") : json_object_get(finding, "observables"), i, o) {
    char text[4096];
    if (!attacks && column_of(o) != column) continue;
    if (attacks) snprintf(text, sizeof text, "%s", json_str_or(json_object_get(o, "technique"), "uid", "?"));
    else snprintf(text, sizeof text, "%s=%s", json_str_or(o, "name", "?"), json_str_or(o, "value", "?"));
    assert_true(count < 512);
    values[count++] = strdup(text);
  }
  found_of[column] += count;
  char *all = joined(values, count);
  for (i = 0; i < count; i++) free(values[i]);
  return all;
}

static char *single(const json_t *finding, const char *source, const char *column) {
  static const struct {
    const char *column, *path;
  } at[] = {{"severity_id", "severity_id"},
            {"product", "metadata.product.name"},
            {"uid", "metadata.uid"},
            {"title", "finding_info.title"},
            {"time_ms", "time"},
            {"first_ms", "start_time"},
            {"first_ms", "finding_info.first_seen_time"}};
  char text[32];
  if (strcmp(column, "source") == 0) return strdup(source);
  for (size_t i = 0; i < sizeof at / sizeof *at; i++) {
    if (strcmp(at[i].column, column) != 0) continue;
    const json_t *v = json_at(finding, at[i].path);
    if (json_is_string(v)) return strdup(json_string_value(v));
    if (!v) continue;
    if (!json_is_integer(v)) return strdup(NOTHING);
    snprintf(text, sizeof text, "%lld", (long long)json_integer_value(v));
    return strdup(text);
  }
  return strdup(NOTHING);
}

/* What every finding must be, whatever it came from. */
static void check_shape(const json_t *finding, const char *file) {
  assert_int_equal(json_int_or(finding, "class_uid", 0), 2004);
  assert_int_equal(json_int_or(finding, "category_uid", 0), 2);
  int64_t activity = json_int_or(finding, "activity_id", -1);
  if (json_int_or(finding, "type_uid", 0) != 200400 + activity) fail_msg("%s: type_uid does not fit activity_id", file);
  if (!json_str(finding, "severity") || !json_str(finding, "message")) fail_msg("%s: no severity or no message", file);
  const json_t *meta = json_object_get(finding, "metadata");
  if (!json_str(meta, "version") || !json_str(json_object_get(meta, "product"), "name")) fail_msg("%s: incomplete metadata", file);
}

static size_t compare_row(const json_t *finding, const char *source, char *const *want) {
  size_t wrong = 0;
  check_shape(finding, want[0]);
  for (int c = 1; c < COLUMNS; c++) {
    bool many = c >= FIRST_OBSERVABLE;
    char *got = many ? observed(finding, c) : single(finding, source, columns[c]);
    char *expected = many ? joined_text(want[c]) : strdup(want[c]);
    if (strcmp(want[c], NOTHING) != 0) {
      wanted_of[c] += 1;
      for (const char *p = want[c]; many && (p = strchr(p, '|')); p++) wanted_of[c]++;
    }
    if (!many && strcmp(got, NOTHING) != 0) found_of[c]++;
    if (strcmp(got, expected) != 0) {
      print_error("%s, %s\n  expected %s\n  found    %s\n", want[0], columns[c], expected, got);
      wrong++;
    }
    free(got);
    free(expected);
  }
  return wrong;
}

/* ---- one document ---------------------------------------------------------------------------------------------------- */

struct parsed {
  const char *source;
  json_t *findings; /* array */
};

static struct parsed normalise(const char *file, const json_t *doc, const char *path) {
  char settings_path[1100];
  const struct format *f = recognised(doc, file);
  if (!f) fail_msg("nobody recognised %s, not even generic", file);
  snprintf(settings_path, sizeof settings_path, "%s.settings", path);
  json_t *settings = document(settings_path);
  struct connector_state *own = settings ? state_with(f->declaration, settings) : NULL, *state = own ? own : f->state;
  json_t *parts = parts_of(f, state, doc, file), *findings = json_array();
  if (!json_is_array(parts) || json_array_size(parts) < 2) {
    json_decref(parts);
    parts = json_pack("[O]", doc);
  }
  size_t i;
  json_t *part;
  json_array_foreach(parts, i, part) {
    json_t *finding = ask(state, f->name, "alert.normalise", part, file);
    if (!json_is_object(finding)) fail_msg("normalise of %s gave no table for %s", f->name, file);
    json_array_append_new(findings, finding);
  }
  json_decref(parts);
  json_decref(settings);
  connector_state_free(own);
  return (struct parsed){.source = f->name, .findings = findings};
}

static size_t check_row(char *const *want, bool *ret_skipped) {
  char file[512], path[1024];
  snprintf(file, sizeof file, "%s", want[0]);
  char *hash = strchr(file, '#');
  size_t nth = hash ? strtoul(hash + 1, NULL, 10) : 1;
  if (hash) *hash = 0;
  json_t *doc = document(sample_path(file, path));
  *ret_skipped = !doc && strncmp(file, "shared/", 7) == 0;
  if (*ret_skipped) return 0;
  if (!doc) fail_msg("%s is missing", path);
  struct parsed parsed = normalise(file, doc, path);
  const json_t *finding = json_array_get(parsed.findings, nth - 1);
  if (!finding) fail_msg("%s bears only %zu alerts", file, json_array_size(parsed.findings));
  if (!hash && json_array_size(parsed.findings) != 1) fail_msg("%s was split into %zu alerts", file, json_array_size(parsed.findings));
  size_t wrong = compare_row(finding, parsed.source, want);
  json_decref(parsed.findings);
  json_decref(doc);
  return wrong;
}

static void test_expected(void **unused) {
  size_t rows = 0, skipped = 0, wrong = 0, line_number = 0;
  char *text = file_text("tests/data/alerts.expected", NULL), *rest = text;
  assert_non_null(text);
  for (char *line; (line = strsep(&rest, "\n"));) {
    char *cells[COLUMNS] = {NULL};
    int n = 0;
    bool skip = false;
    if (!*line) continue;
    for (char *cell; n < COLUMNS && (cell = strsep(&line, "\t"));) cells[n++] = cell;
    if (n != COLUMNS || line) fail_msg("tests/data/alerts.expected:%zu has not %d cells", line_number + 1, COLUMNS);
    if (line_number++ == 0) {
      for (int c = 0; c < COLUMNS; c++) assert_string_equal(cells[c], columns[c]);
      continue;
    }
    wrong += check_row(cells, &skip);
    rows += !skip;
    skipped += skip;
    if (skip) print_message("skipped: %s (no ../shared/alerts here)\n", cells[0]);
  }
  free(text);
  print_message("%zu alerts checked, %zu skipped; per field, found of expected:", rows, skipped);
  for (int c = 2; c < COLUMNS; c++) print_message(" %s %zu/%zu", columns[c], found_of[c], wanted_of[c]);
  print_message("\n");
  assert_int_equal(wrong, 0);
  assert_true(rows >= 28);
}

/* Each sample that we ship stands in the list. */
static void test_none_forgotten(void **unused) {
  size_t folders = 0;
  char *text = file_text("tests/data/alerts.expected", NULL);
  struct dirent **names = NULL;
  int count = scandir("tests/data/alerts", &names, NULL, alphasort);
  for (int i = 0; i < count; i++) {
    char folder[512];
    DIR *dir;
    snprintf(folder, sizeof folder, "tests/data/alerts/%s", names[i]->d_name);
    bool hidden = names[i]->d_name[0] == '.';
    if (!hidden && (dir = opendir(folder))) {
      folders++;
      for (struct dirent *e; (e = readdir(dir));) {
        char file[1024];
        snprintf(file, sizeof file, "\n%s/%s", names[i]->d_name, e->d_name);
        if (e->d_name[0] != '.' && !ends_with(file, ".settings") && !strstr(text, file)) fail_msg("%s is not in alerts.expected", file + 1);
      }
      closedir(dir);
    }
    free(names[i]);
  }
  free(names);
  free(text);
  assert_int_equal(folders, format_count);
}

/* ---- odd types ------------------------------------------------------------------------------------------------------------ */

static json_t *odd; /* array of values that no product sends there */

static size_t try_all(const json_t *doc, const char *what) {
  for (size_t i = 0; i < format_count; i++) {
    json_decref(ask(formats[i].state, formats[i].name, "alert.recognise", doc, what));
    json_decref(parts_of(&formats[i], formats[i].state, doc, what));
    json_t *finding = ask(formats[i].state, formats[i].name, "alert.normalise", doc, what);
    if (!json_is_object(finding)) fail_msg("normalise of %s gave no table for a changed %s", formats[i].name, what);
    json_decref(finding);
  }
  return format_count;
}

/* Replaces each member in turn, three levels deep, and lets the connector that knows the format (or all) have a try. */
static size_t mutate(const struct format *f, json_t *whole, json_t *at, int depth, const char *what) {
  size_t tried = 0, i;
  void *it;
  if (!json_is_object(at) || depth > 3) return 0;
  json_t *names = json_array(), *name, *value;
  for (it = json_object_iter(at); it; it = json_object_iter_next(at, it))
    json_array_append_new(names, json_string(json_object_iter_key(it)));
  json_array_foreach(names, i, name) {
    const char *key = json_string_value(name);
    json_t *was = json_incref(json_object_get(at, key));
    size_t k;
    json_array_foreach(odd, k, value) {
      json_object_set(at, key, value);
      json_decref(ask(f->state, f->name, "alert.recognise", whole, what));
      json_decref(parts_of(f, f->state, whole, what));
      json_t *finding = ask(f->state, f->name, "alert.normalise", whole, what);
      if (!json_is_object(finding)) fail_msg("normalise of %s gave no table for a changed %s", f->name, what);
      json_decref(finding);
      tried++;
    }
    json_object_set(at, key, was);
    tried += mutate(f, whole, was, depth + 1, what);
    json_t *element = json_array_get(was, 0);
    tried += mutate(f, whole, element, depth + 1, what);
    json_decref(was);
  }
  json_decref(names);
  return tried;
}

static void fresh_state(struct format *f) { /* a state's CPU budget is for one life */
  connector_state_free(f->state);
  f->state = state_bare(f->declaration);
}

static void test_odd_types(void **unused) {
  size_t tried = 0, i;
  json_t *value;
  odd = json_pack("[n, {}, [], i, f, s, b, [i, s], {s:n}, [n], [[]], [{}]]", -1, 1.5, "x", 1, 7, "y", "a");
  assert_non_null(odd);
  json_array_foreach(odd, i, value) tried += try_all(value, "an odd value");
  struct dirent **names = NULL;
  for (size_t k = 0; k < format_count; k++) {
    char folder[300];
    snprintf(folder, sizeof folder, "tests/data/alerts/%s", formats[k].name);
    int count = scandir(folder, &names, NULL, alphasort);
    for (int n = 0; n < count; n++) {
      char path[600];
      snprintf(path, sizeof path, "%s/%s", folder, names[n]->d_name);
      free(names[n]);
      json_t *doc = ends_with(path, ".json") ? document(path) : NULL;
      if (doc) tried += mutate(&formats[k], doc, doc, 1, path);
      json_decref(doc);
      fresh_state(&formats[k]);
    }
    free(names);
  }
  json_decref(odd);
  print_message("%zu changed documents were normalised\n", tried);
  assert_true(tried > 3000);
}

/* 10,000 observables in one alert fit into a state's budgets. */
static void test_many_observables(void **unused) {
  json_t *ips = json_array();
  for (int i = 0; i < 10050; i++) {
    char text[32];
    snprintf(text, sizeof text, "10.%d.%d.%d", i / 65536, i / 256 % 256, i % 256);
    json_array_append_new(ips, json_object());
    json_object_set_new(json_array_get(ips, (size_t)i), "ip", json_string(text));
  }
  json_t *doc = json_pack("{s:s, s:s, s:s, s:{s:o}}", "eventType", "x", "published", "2026-11-23T18:30:00Z", "legacyEventType", "x",
                          "request", "ipChain", ips);
  const struct format *f = recognised(doc, "10,050 addresses");
  assert_string_equal(f->name, "okta");
  json_t *finding = ask(f->state, f->name, "alert.normalise", doc, "10,050 addresses");
  assert_int_equal(json_array_size(json_object_get(finding, "observables")), 10000);
  assert_int_equal(json_integer_value(json_at(finding, "unmapped.observables_left_off")), 50);
  json_decref(finding);
  json_decref(doc);
}

/* ---- who wants it -------------------------------------------------------------------------------------------------------- */

/* The first playbook of ours whose trigger fits the sample, or "none". All triggers must compile against our lists. */
static const char *wanted_by(const char *file, const struct lists *lists, const char *const *names, char out[64]) {
  struct err err;
  char path[1024];
  json_t *doc = document(sample_path(file, path));
  assert_non_null(doc);
  struct parsed parsed = normalise(file, doc, path);
  snprintf(out, 64, "none");
  for (; *names; names++) {
    struct declaration *d = NULL;
    struct condition *condition = NULL;
    size_t len;
    snprintf(path, sizeof path, "playbooks/%s.lua", *names);
    char *text = file_text(path, &len);
    if (!text || playbook_load(path, text, len, &d, &err) < 0) fail_msg("%s: %s", path, text ? err.text : "missing");
    free(text);
    const json_t *when = json_object_get(d->json, "when");
    if (condition_compile(when, lists, &condition, &err) < 0) fail_msg("%s: %s", path, err.text);
    if (strcmp(out, "none") == 0 && condition_match(condition, json_array_get(parsed.findings, 0), doc, 1795459317000000))
      snprintf(out, 64, "%s", *names);
    condition_free(condition);
    declaration_free(d);
  }
  json_decref(parsed.findings);
  json_decref(doc);
  return out;
}

static void test_triggers(void **unused) {
  static const char *const names[] = {"contain-account", "leaked-credential", "isolate-and-ticket", NULL};
  static const char *const samples[][2] = {
      {"wazuh/compromised-account.json", "contain-account"},
      {"wazuh/failed-login.json", "none"},
      {"wazuh/sudo.json", "none"},
      {"wazuh/sysmon.json", "isolate-and-ticket"},
      {"github/secret-active.json", "leaked-credential"},
      {"github/dependabot.json", "none"},
      {"okta/locked.json", "none"},
      {"falco/shell-in-container.json", "none"},
      {"suricata/download.json", "none"},
  };
  struct lists *lists = NULL;
  struct err err;
  char out[64];
  if (lists_load("playbooks/lists", &lists, &err) < 0) fail_msg("%s", err.text);
  for (size_t i = 0; i < sizeof samples / sizeof *samples; i++) {
    const char *got = wanted_by(samples[i][0], lists, names, out);
    if (strcmp(got, samples[i][1]) != 0) fail_msg("%s is wanted by %s, not by %s", samples[i][0], got, samples[i][1]);
  }
  lists_free(lists);
}

/* What `from` finds for the demo's playbook. */
static void test_from(void **unused) {
  json_t *doc = document("tests/data/alerts/wazuh/compromised-account.json");
  struct parsed parsed = normalise("wazuh/compromised-account.json", doc, "tests/data/alerts/wazuh/compromised-account.json");
  json_t *users = path_values(json_array_get(parsed.findings, 0), doc, "actor.user");
  assert_int_equal(json_array_size(users), 1);
  assert_string_equal(json_string_value(json_array_get(users, 0)), "alice");
  json_decref(users);
  json_decref(parsed.findings);
  json_decref(doc);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_expected),         cmocka_unit_test(test_none_forgotten), cmocka_unit_test(test_odd_types),
      cmocka_unit_test(test_many_observables), cmocka_unit_test(test_triggers),       cmocka_unit_test(test_from),
  };
  return cmocka_run_group_tests_name("alerts", tests, load_all, free_all);
}
