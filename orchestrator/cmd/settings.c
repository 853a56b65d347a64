/* `tocsin settings`: every setting explained. The sample is printed from the schema that settings are checked with, so it cannot lie about names and defaults. */
#include "cmd/settings.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "cmd/client.h"
#include "cmd/options.h"
#include "cmd/view.h"
#include "script/script.h"

enum { SAMPLE_CAP = 1 << 20, DEPTH_MOST = 6, FIELDS_MOST = 64 };

/* What stands there where a default would say nothing. */
static const struct {
  const char *path, *lua;
} examples[] = {
    {"redis.socket", "\"/run/redis/redis.sock\""},
    {"redis.host", "\"redis.example\""},
    {"redis.tls_ca", "\"/etc/tocsin/redis-ca.pem\""},
    {"redis.tls_cert", "\"/etc/tocsin/redis-client.pem\""},
    {"redis.tls_key", "\"/etc/tocsin/redis-client.key\""},
    {"redis.user", "\"tocsin\""},
    {"redis.password", "secret \"file:/etc/tocsin/redis.password\""},
    {"redis.sentinels", "{ \"s1.example:26379\", \"s2.example:26379\", \"s3.example:26379\" }"},
    {"redis.master", "\"tocsin\""},
    {"redis.sentinel_user", "\"tocsin\""},
    {"redis.sentinel_password", "secret \"file:/etc/tocsin/sentinel.password\""},
    {"redis.replicas", "1"},
    {"redis_maxmemory", "\"512mb\""},
    {"seal_key", "secret \"file:/etc/tocsin/seal.key\""},
    {"evidence.folder", "\"/var/lib/tocsin-evidence\""},
    {"evidence.origin", "\"example.org/ir/n1\""},
    {"evidence.key", "secret \"file:/etc/tocsin/evidence.key\""},
    {"evidence.classes", "{ standard = \"1095d\", personal = \"90d\" }"},
    {"evidence.adopted", "{ n3 = { folder = \"/srv/tocsin-n3/evidence\", key = \"ir3.example/tocsin/n3+0123abcd+AU…\" } }"},
    {"anchor.tsa", "{\n  { url = \"https://tsa.example/tsr\", ca = \"/etc/tocsin/tsa-ca.pem\" },\n}"},
    {"anchor.witness", "{\n  { url = \"https://witness.example/\", key = \"witness.example/w1+0123abcd+BA…\" },\n}"},
    {"anchor.copy", "{\n  { folder = \"/mnt/evidence-copy\" },\n  { bucket = \"https://s3.example/ir-evidence/n1\", region = "
                    "\"eu-central-1\", lock_days = 400,\n"
                    "    access_key = secret \"file:/etc/tocsin/s3.access\", secret_key = secret \"file:/etc/tocsin/s3.secret\" },\n}"},
    {"api.socket", "\"/run/tocsin/tocsin.sock\""},
    {"api.group", "\"tocsin\""},
    {"webhook.tls_cert", "\"/etc/tocsin/webhook.pem\""},
    {"webhook.tls_key", "\"/etc/tocsin/webhook.key\""},
    {"webhook.sources", "{\n  alertmanager = { token = secret \"file:/etc/tocsin/alertmanager.token\" },\n  github = { format = "
                        "\"github\", signature = secret \"file:/etc/tocsin/github.key\" },\n}"},
    {"connectors", "{\n  corp = ldap { url = \"ldaps://ldap.example\", bind_dn = \"cn=tocsin,dc=example,dc=org\", base = "
                   "\"ou=people,dc=example,dc=org\",\n"
                   "    password = secret \"file:/etc/tocsin/ldap.password\" },\n  rt = rt { url = \"https://rt.example\", token = secret "
                   "\"file:/etc/tocsin/rt.token\",\n    limits = { per_minute = 600 } }, -- in place of the connector's own\n}"},
    {"people", "{\n  alice = { uid = 1000, roles = { \"responder\", \"lead\" }, email = \"alice@example.org\" },\n  siem_robot = { token = "
               "secret \"file:/etc/tocsin/robot.token\", roles = { \"viewer\" } },\n}"},
    {"exercise_notify.action", "\"smtp.send\""},
    {"exercise_notify.participants", "{ \"alice\", \"bob\" }"},
    {"notify", "{\n  mail = { action = \"smtp.send\", roles = { \"responder\" } },\n}"},
    {"guard.protected", "{\n  { type = \"user\", value = \"root\", reason = \"locking it out locks us out\" },\n}"},
    {"guard.budgets", "{\n  { effect = \"contain\", most = 5, within = \"10m\" },\n}"},
    {"guard.approvals", "{\n  { effect = \"destroy\", role = \"lead\", count = 2 },\n}"},
    {"suppress", "{\n  { name = \"deploy window\", when = { [\"raw.rule.id\"] = \"5715\" }, reason = \"deployments log in by SSH\", owner "
                 "= \"alice\", expires = \"2027-01-31\" },\n}"},
    {"playbooks", "{\n  [\"contain-account\"] = { roles = { alice = \"app_orders\" } },\n}"},
};

static const char *example_of(const char *path) {
  for (size_t i = 0; i < sizeof examples / sizeof *examples; i++)
    if (strcmp(examples[i].path, path) == 0) return examples[i].lua;
  return NULL;
}

/* ---- Lua text ---- */

static void line_begin(struct buf *out, unsigned depth) {
  for (unsigned i = 0; i < depth; i++) buf_adds(out, "  ");
}

static void text_add(struct buf *out, const char *text) {
  buf_addc(out, '"');
  for (; *text; text++) {
    if (*text == '"' || *text == '\\') buf_addc(out, '\\');
    buf_addc(out, *text);
  }
  buf_addc(out, '"');
}

/* Durations are kept in milliseconds; people write "24h". */
static void duration_add(struct buf *out, int64_t ms) {
  static const struct {
    int64_t ms;
    const char *unit;
  } units[] = {{86400000, "d"}, {3600000, "h"}, {60000, "m"}, {1000, "s"}};
  for (size_t i = 0; i < sizeof units / sizeof *units; i++)
    if (ms && ms % units[i].ms == 0 && (units[i].ms < 86400000 || ms / units[i].ms > 1)) {
      buf_addf(out, "\"%lld%s\"", (long long)(ms / units[i].ms), units[i].unit);
      return;
    }
  buf_addf(out, "\"%lldms\"", (long long)ms);
}

static void value_add(struct buf *out, const char *type, const json_t *value) {
  size_t i;
  json_t *item;
  if (strcmp(type, "duration") == 0 && json_is_integer(value)) {
    duration_add(out, json_integer_value(value));
  } else if (json_is_string(value)) {
    text_add(out, json_string_value(value));
  } else if (json_is_integer(value)) {
    buf_addf(out, "%lld", (long long)json_integer_value(value));
  } else if (json_is_boolean(value)) {
    buf_adds(out, json_is_true(value) ? "true" : "false");
  } else {
    buf_adds(out, "{");
    json_array_foreach((json_t *)(uintptr_t)value, i, item) {
      buf_adds(out, i ? ", " : " ");
      value_add(out, "string", item);
    }
    buf_adds(out, json_array_size(value) ? " }" : "}");
  }
}

/* "# name = value," with every line of a longer example commented out too. */
static void commented(struct buf *out, unsigned depth, const char *name, const char *lua) {
  line_begin(out, depth);
  buf_addf(out, "--%s = ", name);
  for (; *lua; lua++) {
    buf_addc(out, *lua);
    if (*lua != '\n') continue;
    line_begin(out, depth);
    buf_adds(out, "--");
  }
  buf_adds(out, ",\n");
}

static void bounds_add(struct buf *out, const json_t *rule) {
  const json_t *one_of = json_object_get(rule, "one_of");
  if (json_array_size(one_of)) {
    buf_adds(out, "; one of ");
    for (size_t i = 0; i < json_array_size(one_of); i++) buf_addf(out, "%s%s", i ? ", " : "", json_string_value(json_array_get(one_of, i)));
  }
  if (json_bool_or(rule, "optional", false)) buf_adds(out, "; may be left out");
}

static void rule_add(struct buf *out, unsigned depth, const char *name, const char *path, const json_t *rule);

static int by_name(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

/* The fields of an object come in no order of their own. Returns the count; names has room for FIELDS_MOST. */
static size_t sorted_names(const json_t *fields, const char **names) {
  size_t n = 0;
  const char *key;
  json_t *rule;
  json_object_foreach((json_t *)(uintptr_t)fields, key, rule) if (n < FIELDS_MOST) names[n++] = key;
  qsort(names, n, sizeof *names, by_name);
  return n;
}

static void fields_add(struct buf *out, unsigned depth, const char *name, const char *path, const json_t *fields) {
  const char *names[FIELDS_MOST];
  size_t n = sorted_names(fields, names);
  line_begin(out, depth);
  buf_addf(out, "--%s = {\n", name);
  for (size_t i = 0; i < n; i++) {
    char below[256];
    snprintf(below, sizeof below, "%s.%s", path, names[i]);
    rule_add(out, depth + 1, names[i], below, json_object_get(fields, names[i]));
  }
  line_begin(out, depth);
  buf_adds(out, "--},\n");
}

static void rule_add(struct buf *out, unsigned depth, const char *name, const char *path, const json_t *rule) {
  const char *type = json_str_or(rule, "type", "string"), *example = example_of(path);
  const json_t *fields = json_object_get(rule, "fields"), *value = json_object_get(rule, "default");
  line_begin(out, depth);
  buf_addf(out, "-- %s", json_str_or(rule, "doc", name));
  bounds_add(out, rule);
  buf_addc(out, '\n');
  if (json_object_size(fields) && depth < DEPTH_MOST) {
    fields_add(out, depth, name, path, fields);
  } else if (example) {
    commented(out, depth, name, example);
  } else {
    struct buf lua;
    buf_init(&lua, 4096);
    value_add(&lua, type, value);
    commented(out, depth, name, lua.data);
    buf_release(&lua);
  }
  if (depth == 1) buf_addc(out, '\n');
}

void settings_sample(struct buf *out) {
  json_t *all = settings_describe(), *rule;
  const char *name;
  buf_adds(out,
           "-- tocsin.lua: the settings of Tocsin. Printed by `tocsin settings --sample`.\n"
           "--\n"
           "-- Every setting stands here at its default, or with an example where there is none, commented out by `--` without a space:\n"
           "-- take the two dashes away from a line to set it, and from the lines of the braces around it.\n"
           "-- Secrets never stand here: `secret \"file:PATH\"` (refused when others may read it), `secret \"env:NAME\"` or\n"
           "-- `secret \"command:/PROGRAM ARG\"` say where each is. `tocsin doctor` checks this file; `tocsin reload` takes it.\n\n"
           "return {\n");
  json_object_foreach(all, name, rule) rule_add(out, 1, name, name, rule);
  buf_adds(out, "}\n");
  json_decref(all);
}

/* ---- the command ---- */

static void rows_add(struct table *t, const char *path, const json_t *schema) {
  const char *names[FIELDS_MOST];
  size_t n = sorted_names(schema, names);
  for (size_t i = 0; i < n; i++) {
    const char *key = names[i];
    const json_t *rule = json_object_get(schema, key);
    char below[256];
    struct buf value;
    snprintf(below, sizeof below, "%s%s%s", path, *path ? "." : "", key);
    buf_init(&value, 4096);
    const json_t *fields = json_object_get(rule, "fields"), *fallback = json_object_get(rule, "default");
    if (fallback && !json_object_size(fields)) value_add(&value, json_str_or(rule, "type", ""), fallback);
    const char *cells[] = {below, json_str(rule, "type"), value.data, json_str(rule, "doc")};
    table_row(t, STYLE_PLAIN, cells);
    buf_release(&value);
    if (json_object_size(fields)) rows_add(t, below, fields);
  }
}

static void describe_view(struct view *v, const json_t *all) {
  static const char *const head[] = {"SETTING", "TYPE", "DEFAULT", "MEANING", NULL};
  struct table t;
  table_init(&t, head);
  rows_add(&t, "", all);
  table_print(&t, v);
}

static int run(struct cli *cli, const struct options *o) {
  if (options_flag(o, "sample")) {
    struct buf text;
    buf_init(&text, SAMPLE_CAP);
    settings_sample(&text);
    fwrite(text.data, 1, text.len, stdout);
    buf_release(&text);
    return EXIT_DONE;
  }
  json_t *all = settings_describe();
  client_print(cli, all, describe_view);
  json_decref(all);
  return EXIT_DONE;
}

static const struct option_spec settings_options[] = {{.name = "sample", .text = "print a tocsin.lua with every setting explained"}, {0}};

const struct command cmd_settings = {
    .name = "settings",
    .text = "every setting with its type, default and meaning",
    .example = "tocsin settings\ntocsin settings --sample > tocsin.lua\n",
    .options = settings_options,
    .run = run,
};
