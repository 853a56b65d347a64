/* The pattern matcher against Lua's own: the same answer for every pattern, or a refusal; and its budgets. */
#include "script_help.h"

#include <lauxlib.h>
#include <lualib.h>

#include "script/internal.h"

/* Both states run this and must say the same. */
static const char probe[] =
    "local s, p = ...\n"
    "local out = {}\n"
    "local function add(...) for i = 1, select('#', ...) do out[#out + 1] = tostring((select(i, ...))) end out[#out + 1] = '|' end\n"
    "local function try(f, ...) local r = table.pack(pcall(f, ...)) if r[1] then add(table.unpack(r, 2, r.n)) else add('error') end end\n"
    "try(string.find, s, p) try(string.find, s, p, 3) try(string.find, s, p, -2) try(string.match, s, p)\n"
    "try(string.gsub, s, p, '<%0>') try(string.gsub, s, p, '%1', 2) try(string.gsub, s, p, { a = 'X', b = false })\n"
    "try(string.gsub, s, p, function(a) return a and #tostring(a) end)\n"
    "try(function() local n = 0 for a, b in string.gmatch(s, p) do add(a, b) n = n + 1 if n > 50 then break end end end)\n"
    "return table.concat(out, ',')";

static char *run_probe(lua_State *L, const char *s, size_t s_len, const char *p, size_t p_len) {
  lua_pushlstring(L, s, s_len);
  lua_pushlstring(L, p, p_len);
  int status = lua_pcall(L, 2, 1, 0);
  if (status != LUA_OK) fail_msg("probe: %s", lua_tostring(L, -1));
  char *text = strdup(lua_tostring(L, -1));
  lua_settop(L, 0);
  return text;
}

/* Each of our answers is an error or the same as theirs. */
static bool no_other_answer(const char *ours, const char *theirs) {
  for (;;) {
    size_t n = strcspn(ours, "|"), m = strcspn(theirs, "|");
    if (strncmp(ours, ",error", 6) != 0 && strncmp(ours, "error", 5) != 0 && (n != m || strncmp(ours, theirs, n) != 0)) return false;
    if (!ours[n] || !theirs[m]) return !ours[n] && !theirs[m];
    ours += n + 1, theirs += m + 1;
  }
}

static void compare(lua_State *ours, lua_State *theirs, const char *s, size_t s_len, const char *p, size_t p_len) {
  if (luaL_loadstring(theirs, probe) != LUA_OK || state_load(ours, probe, sizeof probe - 1, "=probe", NULL) != LUA_OK)
    fail_msg("the probe does not compile");
  char *a = run_probe(ours, s, s_len, p, p_len), *b = run_probe(theirs, s, s_len, p, p_len);
  /* A malformed pattern may be refused by us where Lua, which looks at captures late, happens not to notice. */
  bool stricter = strstr(b, "error") && strstr(a, "error");
  if (strcmp(a, b) != 0 && !(stricter && no_other_answer(a, b)))
    fail_msg("text \"%s\", pattern \"%s\":\n ours   %s\n theirs %s", s, p, a, b);
  free(a);
  free(b);
}

static uint64_t seed = 88172645463325252u;
static size_t pick(size_t n) {
  seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
  return (size_t)(seed % n);
}

static void test_the_same_as_lua(void **state) {
  static const char *const parts[] = {"a",    "b",  ".",  "%a", "%d", "%s", "%w", "%A", "[ab]", "[^a]", "[a-c]", "[%d_]",  "[]a]",
                                      "[a-]", "*",  "+",  "-",  "?",  "(",  ")",  "()", "%1",   "%2",   "%b()",  "%f[%w]", "^",
                                      "$",    "%%", "%.", "x",  "[",  "]",  "%",  "[^", "1",    " ",    "%f",    "%b",     "\xff"};
  static const char letters[] = "abcabc12 _()x.%\xff\n";
  struct state *s = NULL;
  assert_int_equal(state_new(STATE_CONNECTOR, NULL, &s, NULL), 0);
  lua_State *theirs = luaL_newstate();
  luaL_openlibs(theirs);
  for (int i = 0; i < 20000; i++) {
    char text[32], pattern[64] = "";
    size_t len = pick(16), used = 0;
    for (size_t k = 0; k < len; k++) text[k] = letters[pick(sizeof letters - 1)];
    text[len] = 0;
    for (size_t k = pick(7); k > 0; k--) {
      const char *part = parts[pick(sizeof parts / sizeof *parts)];
      memcpy(pattern + used, part, strlen(part));
      used += strlen(part);
    }
    pattern[used] = 0;
    compare(s->L, theirs, text, len, pattern, used);
  }
  lua_close(theirs);
  state_free(s);
}

static const struct {
  const char *text, *pattern;
  bool matches;
  int code;
} patterns[] = {
    {"abc", "b", true, 0},          {"abc", "^b", false, 0},      {"abc", "c$", true, 0},         {"", "", true, 0},
    {"ab12", "^%x+$", true, 0},     {"ab12g", "^%x+$", false, 0}, {"x", "[", false, ERR_INVALID}, {"x", "%", false, ERR_INVALID},
    {"x", "(", false, ERR_INVALID}, {"a]", "[]]", true, 0},       {"a$b", "$b", true, 0},
};

static void test_pattern_match(void **state) {
  for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++) {
    struct err err = {0};
    bool got = pattern_match(patterns[i].text, strlen(patterns[i].text), patterns[i].pattern, &err);
    if (got != patterns[i].matches || err.code != patterns[i].code)
      fail_msg("\"%s\" with \"%s\": %d, %s", patterns[i].text, patterns[i].pattern, got, err.text);
  }
}

static void test_costly_patterns_end(void **state) {
  char text[5001], pattern[241] = "";
  memset(text, 'a', 5000);
  text[5000] = 0;
  for (int i = 0; i < 40; i++) memcpy(pattern + 2 * i, "a?", 2), pattern[80 + i] = 'a';
  pattern[120] = 0;
  struct err err = {0};
  assert_false(pattern_match(text, 40, pattern, &err) && err.code == 0);
  assert_int_equal(err.code, ERR_LIMIT);
  err.code = 0;
  assert_false(pattern_match(text, 5000, ".-.-.-.-b", &err));
  assert_int_equal(err.code, ERR_LIMIT);
  char *deep = malloc(4097);
  for (int i = 0; i < 2048; i++) memcpy(deep + 2 * i, "a?", 2);
  deep[4096] = 0;
  err.code = 0;
  assert_false(pattern_match(text, 5000, deep, &err));
  assert_int_equal(err.code, ERR_INVALID);
  free(deep);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_the_same_as_lua), cmocka_unit_test(test_pattern_match),
                                     cmocka_unit_test(test_costly_patterns_end)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
