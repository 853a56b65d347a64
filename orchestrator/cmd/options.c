#include "cmd/options.h"

#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

enum { WORD_CAP = 64, NAMES_CAP = 32, KEY_CAP = 64 };

const struct option_spec options_common[] = {
    {.name = "json", .text = "print JSON instead of text"},
    {.name = "settings", .value = "FILE", .text = "the settings (default: $TOCSIN_SETTINGS, ./tocsin.lua, /etc/tocsin/tocsin.lua)"},
    {.name = "socket", .value = "PATH", .text = "the socket of `tocsin serve` (default: as in the settings)"},
    {.name = "help", .text = "say what this does, with an example"},
    {0},
};

struct given {
  const struct option_spec *spec;
  const char *value;
  struct given *next;
};

struct options {
  struct given *given;
  const char **words;
  unsigned count;
  json_t *params;
};

static size_t least(size_t a, size_t b) { return a < b ? a : b; }

/* Edits between two short words: insert, remove, replace, swap neighbours. */
static size_t distance(const char *a, const char *b) {
  size_t rows[3][WORD_CAP + 1], la = strlen(a), lb = strlen(b);
  if (la > WORD_CAP || lb > WORD_CAP) return WORD_CAP;
  for (size_t j = 0; j <= lb; j++) rows[0][j] = j;
  for (size_t i = 1; i <= la; i++) {
    size_t *now = rows[i % 3], *before = rows[(i - 1) % 3], *two = rows[(i + 1) % 3];
    now[0] = i;
    for (size_t j = 1; j <= lb; j++) {
      now[j] = least(least(before[j] + 1, now[j - 1] + 1), before[j - 1] + (a[i - 1] != b[j - 1]));
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) now[j] = least(now[j], two[j - 2] + 1);
    }
  }
  return rows[la % 3][lb];
}

const char *near_miss(const char *word, const char *const *candidates) {
  const char *best = NULL;
  size_t most = strlen(word) / 3 + 1;
  for (; *candidates; candidates++) {
    size_t d = distance(word, *candidates), n = strlen(word);
    if (d > 0 && n >= 3 && strncmp(word, *candidates, n) == 0) d = 1; /* the beginning of it */
    if (d <= most && d < strlen(*candidates)) {
      best = *candidates;
      most = d ? d - 1 : 0;
      if (!d) break;
    }
  }
  return best;
}

/* root_cause, as it stands in answers and entries, is root-cause here too. */
static bool same_name(const char *a, const char *b, size_t len) {
  for (size_t i = 0; i < len; i++)
    if (a[i] != b[i] && !(a[i] == '-' && b[i] == '_')) return false;
  return a[len] == '\0';
}

static const struct option_spec *find(const struct option_spec *list, const char *name, size_t len) {
  for (; list && list->name; list++)
    if (strlen(list->name) == len && same_name(list->name, name, len)) return list;
  return NULL;
}

static void names_add(const struct option_spec *list, const char **names, size_t *count) {
  for (; list && list->name; list++)
    if (*count < NAMES_CAP - 1) names[(*count)++] = list->name;
}

static int unknown(const struct command *command, const char *word, size_t len, struct err *err) {
  const char *names[NAMES_CAP] = {NULL}, *near;
  size_t count = 0;
  char name[WORD_CAP];
  names_add(command->options, names, &count);
  names_add(options_common, names, &count);
  snprintf(name, sizeof name, "%.*s", (int)least(len, sizeof name - 1), word);
  if ((near = near_miss(name, names))) return err_set(err, ERR_INVALID, "there is no option --%s; did you mean --%s?", name, near);
  return err_set(err, ERR_INVALID, "there is no option --%s; --help lists those that there are", name);
}

static void given_add(struct options *o, const struct option_spec *spec, const char *value) {
  struct given *g = calloc(1, sizeof *g);
  if (!g) abort();
  *g = (struct given){.spec = spec, .value = value, .next = o->given};
  o->given = g; /* the last one given is found first */
}

/* A file may be called anything. What is text travels as JSON, and must not get lost on the way. */
static bool fits(const struct option_spec *spec, const char *value) {
  size_t len = strlen(value), n;
  if (strstr(spec->value, "FILE") || strstr(spec->value, "FOLDER") || strstr(spec->value, "PATH")) return true;
  for (size_t i = 0; i < len; i += n)
    if ((n = utf8_length((const unsigned char *)value + i, len - i)) == 0) return false;
  return true;
}

/* One "--name…" at argv[0]; *ret_used is how many words it took. */
static int option_take(const struct command *command, struct options *o, int argc, char *const *argv, int *ret_used, struct err *err) {
  const char *name = argv[0] + 2, *equals = strchr(name, '=');
  size_t len = equals ? (size_t)(equals - name) : strlen(name);
  const struct option_spec *spec = find(command->options, name, len);
  if (!spec) spec = find(options_common, name, len);
  if (!spec) return unknown(command, name, len, err);
  if (!spec->value) {
    if (equals) return err_set(err, ERR_INVALID, "--%s takes no value", spec->name);
    given_add(o, spec, "");
    *ret_used = 1;
    return 0;
  }
  if (!equals && argc < 2) return err_set(err, ERR_INVALID, "--%s needs a value: --%s %s", spec->name, spec->name, spec->value);
  const char *value = equals ? equals + 1 : argv[1];
  if (!fits(spec, value)) return err_set(err, ERR_INVALID, "--%s: this is not text in UTF-8", spec->name);
  given_add(o, spec, value);
  *ret_used = equals ? 1 : 2;
  return 0;
}

/* key=value, where key is a name such as a playbook's parameter has. */
static bool param_take(struct options *o, const char *word) {
  size_t n = strspn(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-");
  char key[KEY_CAP];
  if (!n || n >= sizeof key || word[n] != '=') return false;
  memcpy(key, word, n);
  key[n] = '\0';
  json_t *value = json_string(word + n + 1);
  if (!value) return false; /* not UTF-8 */
  json_object_set_new(o->params, key, value);
  return true;
}

/* The only two short forms: -h, and -o FILE where there is an --output. */
static int short_take(const struct command *command, struct options *o, int argc, char *const *argv, int *ret_used, struct err *err) {
  const struct option_spec *output = find(command->options, "output", 6);
  if (strcmp(argv[0], "-h") == 0) {
    given_add(o, find(options_common, "help", 4), "");
    return 0;
  }
  if (strcmp(argv[0], "-o") != 0 || !output)
    return err_set(
        err, ERR_INVALID,
        "%.40s: options are written with two dashes, and --help lists them (a word that begins with a dash goes after a lone --)", argv[0]);
  if (argc < 2) return err_set(err, ERR_INVALID, "-o needs a value: -o %s", output->value);
  given_add(o, output, argv[1]);
  *ret_used = 2;
  return 0;
}

static int word_take(const struct command *command, struct options *o, int argc, char *const *argv, int *ret_used, struct err *err) {
  if (strncmp(argv[0], "--", 2) == 0) return option_take(command, o, argc, argv, ret_used, err);
  if (argv[0][0] == '-' && argv[0][1]) return short_take(command, o, argc, argv, ret_used, err);
  if (!command->params || !param_take(o, argv[0])) o->words[o->count++] = argv[0];
  return 0;
}

int options_parse(const struct command *command, int argc, char *const *argv, struct options **ret, struct err *err) {
  struct options *o = calloc(1, sizeof *o);
  bool over = false;
  int r = 0, used;
  if (!o || !(o->words = calloc((size_t)argc + 1, sizeof *o->words))) abort();
  o->params = json_object();
  for (int i = 0; r == 0 && i < argc; i += used) {
    used = 1;
    if (over) o->words[o->count++] = argv[i];
    else if (strcmp(argv[i], "--") == 0) over = true;
    else r = word_take(command, o, argc - i, argv + i, &used, err);
  }
  if (r < 0) {
    options_free(o);
    return r;
  }
  *ret = o;
  return 0;
}

int options_check(const struct command *command, const struct options *o, struct err *err) {
  for (const struct option_spec *s = command->options; s && s->name; s++)
    if (s->required && !options_get(o, s->name)) return err_set(err, ERR_INVALID, "--%s %s is missing: %s", s->name, s->value, s->text);
  if (o->count < command->least)
    return err_set(err, ERR_INVALID, "something is missing; it is written: tocsin %s %s", command->name, command->args);
  if (o->count > command->most) {
    bool bare = !command->args;
    return err_set(err, ERR_INVALID, "\"%.60s\" is one word too many; it is written: tocsin %s%s%s", o->words[command->most], command->name,
                   bare ? "" : " ", bare ? "" : command->args);
  }
  return 0;
}

void options_free(struct options *o) {
  if (!o) return;
  for (struct given *g = o->given, *next; g; g = next) {
    next = g->next;
    free(g);
  }
  json_decref(o->params);
  free(o->words);
  free(o);
}

const char *options_get(const struct options *o, const char *name) {
  for (const struct given *g = o->given; g; g = g->next)
    if (strcmp(g->spec->name, name) == 0) return g->value;
  return NULL;
}

bool options_flag(const struct options *o, const char *name) { return options_get(o, name) != NULL; }
unsigned options_count(const struct options *o) { return o->count; }
const char *options_word(const struct options *o, unsigned i) { return i < o->count ? o->words[i] : NULL; }
json_t *options_params(const struct options *o) { return o->params; }
