/* The string library of scripts: find, match, gmatch, gsub, rep and format are bounded versions of our own. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "script/internal.h"

static void raise_fault(lua_State *L, const struct matcher *m) {
  if (m->fault) luaL_error(L, "%s", m->fault);
}

static void push_capture(lua_State *L, const struct matcher *m, int i) {
  const struct capture *c = &m->captures[i];
  if (c->len == CAPTURE_POSITION) lua_pushinteger(L, c->start - m->subject + 1);
  else lua_pushlstring(L, c->start, (size_t)c->len);
}

/* The captures of a match, or the whole of it when there are none and whole is wanted. */
static int push_captures(lua_State *L, const struct matcher *m, const char *start, const char *end, bool whole) {
  if (m->level == 0 && whole) {
    lua_pushlstring(L, start, (size_t)(end - start));
    return 1;
  }
  luaL_checkstack(L, m->level, "too many captures");
  for (int i = 0; i < m->level; i++) push_capture(L, m, i);
  return m->level;
}

/* The offset that an init argument means: negative counts from the end. May be len + 1: past the end. */
static size_t offset_of(lua_Integer init, size_t len) {
  if (init > 0) return init - 1 > (lua_Integer)len ? len + 1 : (size_t)(init - 1);
  if (init == 0 || init < -(lua_Integer)len) return 0;
  return (size_t)((lua_Integer)len + init);
}

static bool is_plain(const char *pattern, size_t len) {
  for (size_t i = 0; i < len; i++)
    if (strchr("^$*+?.([%-", pattern[i]) && pattern[i]) return false;
  return true;
}

static int find_plain(lua_State *L, const char *s, size_t len, size_t from, const char *what, size_t what_len) {
  const char *found = what_len ? memmem(s + from, len - from, what, what_len) : s + from;
  state_charge(L, len - from);
  if (!found) return lua_pushnil(L), 1;
  lua_pushinteger(L, found - s + 1);
  lua_pushinteger(L, found - s + (lua_Integer)what_len);
  return 2;
}

static int find_or_match(lua_State *L, bool find) {
  size_t len, pattern_len;
  const char *s = luaL_checklstring(L, 1, &len), *pattern = luaL_checklstring(L, 2, &pattern_len);
  size_t from = offset_of(luaL_optinteger(L, 3, 1), len);
  if (from > len) return lua_pushnil(L), 1;
  if (find && (lua_toboolean(L, 4) || is_plain(pattern, pattern_len))) return find_plain(L, s, len, from, pattern, pattern_len);
  struct matcher m;
  matcher_init(&m, L, s, len, pattern, pattern_len);
  bool anchored = pattern_len && *pattern == '^';
  for (const char *at = s + from; at <= s + len; at++) {
    const char *end = matcher_at(&m, at, pattern + anchored);
    raise_fault(L, &m);
    if (end && find) {
      lua_pushinteger(L, at - s + 1);
      lua_pushinteger(L, end - s);
      return 2 + push_captures(L, &m, at, end, false);
    }
    if (end) return push_captures(L, &m, at, end, true);
    if (anchored) break;
  }
  return lua_pushnil(L), 1;
}

static int text_find(lua_State *L) { return find_or_match(L, true); }
static int text_match(lua_State *L) { return find_or_match(L, false); }

/* Upvalues: subject, pattern, where to go on, where the last match ended (an empty match there is none). */
static int gmatch_step(lua_State *L) {
  size_t len, pattern_len;
  const char *s = lua_tolstring(L, lua_upvalueindex(1), &len), *pattern = lua_tolstring(L, lua_upvalueindex(2), &pattern_len);
  lua_Integer from = lua_tointeger(L, lua_upvalueindex(3)), last = lua_tointeger(L, lua_upvalueindex(4));
  struct matcher m;
  matcher_init(&m, L, s, len, pattern, pattern_len);
  for (; from <= (lua_Integer)len; from++) {
    const char *end = matcher_at(&m, s + from, pattern);
    raise_fault(L, &m);
    if (!end || end - s == last) continue;
    lua_pushinteger(L, end - s);
    lua_pushvalue(L, -1);
    lua_replace(L, lua_upvalueindex(3));
    lua_replace(L, lua_upvalueindex(4));
    return push_captures(L, &m, s + from, end, true);
  }
  lua_pushinteger(L, (lua_Integer)len + 1);
  lua_replace(L, lua_upvalueindex(3));
  return 0;
}

static int text_gmatch(lua_State *L) {
  size_t len;
  luaL_checklstring(L, 1, &len);
  luaL_checkstring(L, 2);
  size_t from = offset_of(luaL_optinteger(L, 3, 1), len);
  lua_settop(L, 2);
  lua_pushinteger(L, (lua_Integer)from);
  lua_pushinteger(L, -1);
  lua_pushcclosure(L, gmatch_step, 4);
  return 1;
}

static void room(lua_State *L, size_t len) {
  if (len > SCRIPT_STRING_CAP) luaL_error(L, "the text would be longer than %d MiB", SCRIPT_STRING_CAP >> 20);
}

/* A replacement text: %0 is the match, %1 to %9 its captures, %% a percent sign. */
static void add_template(lua_State *L, luaL_Buffer *b, const struct matcher *m, const char *start, const char *end) {
  size_t len;
  const char *t = lua_tolstring(L, 3, &len);
  for (size_t i = 0; i < len; i++) {
    if (t[i] != '%') {
      luaL_addchar(b, t[i]);
      continue;
    }
    char c = ++i < len ? t[i] : 0;
    if (c == '%') luaL_addchar(b, '%');
    else if (c == '0' || (c == '1' && m->level == 0)) luaL_addlstring(b, start, (size_t)(end - start));
    else if (c >= '1' && c <= '9' && c - '1' < m->level) {
      push_capture(L, m, c - '1');
      luaL_addvalue(b);
    } else luaL_error(L, "invalid use of '%%' in the replacement text");
  }
}

static void add_replacement(lua_State *L, luaL_Buffer *b, const struct matcher *m, const char *start, const char *end) {
  int type = lua_type(L, 3);
  if (type == LUA_TSTRING || type == LUA_TNUMBER) {
    add_template(L, b, m, start, end);
    return;
  }
  if (type == LUA_TTABLE) {
    if (m->level) push_capture(L, m, 0);
    else lua_pushlstring(L, start, (size_t)(end - start));
    lua_gettable(L, 3);
  } else {
    lua_pushvalue(L, 3);
    int n = push_captures(L, m, start, end, true);
    lua_call(L, n, 1);
  }
  if (!lua_toboolean(L, -1)) {
    lua_pop(L, 1);
    lua_pushlstring(L, start, (size_t)(end - start));
  } else if (!lua_isstring(L, -1)) {
    luaL_error(L, "invalid replacement value (a %s)", luaL_typename(L, -1));
  }
  luaL_addvalue(b);
}

static int text_gsub(lua_State *L) {
  size_t len, pattern_len;
  const char *s = luaL_checklstring(L, 1, &len), *pattern = luaL_checklstring(L, 2, &pattern_len);
  int type = lua_type(L, 3);
  luaL_argexpected(L, type == LUA_TSTRING || type == LUA_TNUMBER || type == LUA_TTABLE || type == LUA_TFUNCTION, 3,
                   "string/function/table");
  if (type == LUA_TNUMBER) lua_tostring(L, 3);
  lua_Integer most = luaL_optinteger(L, 4, (lua_Integer)len + 1), count = 0;
  bool anchored = pattern_len && *pattern == '^';
  const char *at = s, *last = NULL, *subject_end = s + len;
  struct matcher m;
  matcher_init(&m, L, s, len, pattern, pattern_len);
  luaL_Buffer b;
  luaL_buffinit(L, &b);
  while (count < most) {
    const char *end = matcher_at(&m, at, pattern + anchored);
    raise_fault(L, &m);
    if (end && end != last) {
      count++;
      add_replacement(L, &b, &m, at, end);
      room(L, luaL_bufflen(&b));
      at = last = end;
    } else if (at < subject_end) {
      luaL_addchar(&b, *at++);
    } else {
      break;
    }
    if (anchored) break;
  }
  luaL_addlstring(&b, at, (size_t)(subject_end - at));
  luaL_pushresult(&b);
  lua_pushinteger(L, count);
  return 2;
}

static int text_rep(lua_State *L) {
  size_t len, separator_len;
  const char *s = luaL_checklstring(L, 1, &len);
  lua_Integer n = luaL_checkinteger(L, 2);
  const char *separator = luaL_optlstring(L, 3, "", &separator_len);
  size_t each = len + separator_len;
  if (n <= 0 || each == 0) return lua_pushliteral(L, ""), 1;
  if ((lua_Unsigned)n > SCRIPT_STRING_CAP / each) room(L, SCRIPT_STRING_CAP + 1);
  luaL_Buffer b;
  size_t total = each * (size_t)n - separator_len, done = each < total ? each : total;
  char *out = luaL_buffinitsize(L, &b, total + separator_len);
  memcpy(out, s, len);
  if (separator_len && n > 1) memcpy(out + len, separator, separator_len);
  while (done < total) { /* what is there already, once more */
    size_t more = done < total - done ? done : total - done;
    memcpy(out + done, out, more);
    done += more;
  }
  luaL_pushresultsize(&b, total);
  state_charge(L, each * (size_t)n / 64);
  return 1;
}

/* One conversion of format, as C understands it, checked: flags, at most two digits of width and of precision. */
static size_t read_conversion(lua_State *L, const char *f, const char *end, char *spec, size_t size) {
  size_t n = 0, digits = 0;
  spec[n++] = '%';
  while (f < end && strchr("-+ #0", *f) && *f && n < 7) spec[n++] = *f++;
  while (f < end && isdigit((unsigned char)*f) && digits++ < 2) spec[n++] = *f++;
  if (f < end && *f == '.') {
    spec[n++] = *f++;
    for (digits = 0; f < end && isdigit((unsigned char)*f) && digits++ < 2;) spec[n++] = *f++;
  }
  if (f >= end || !*f || !strchr("diouxXcsqaAeEfFgG", *f)) luaL_error(L, "invalid conversion in the format");
  (void)size;
  spec[n] = 0;
  return n;
}

static void add_integer(lua_State *L, luaL_Buffer *b, int arg, char *spec, size_t n, char c) {
  char text[160];
  if (c == 'c') {
    luaL_addchar(b, (char)luaL_checkinteger(L, arg));
    return;
  }
  memcpy(spec + n, "ll", 2);
  spec[n + 2] = c == 'i' ? 'd' : c;
  spec[n + 3] = 0;
  _Pragma("GCC diagnostic push") _Pragma("GCC diagnostic ignored \"-Wformat-nonliteral\"") int len =
      snprintf(text, sizeof text, spec, (long long)luaL_checkinteger(L, arg));
  _Pragma("GCC diagnostic pop") luaL_addlstring(b, text, (size_t)len);
}

static void add_float(lua_State *L, luaL_Buffer *b, int arg, char *spec, size_t n, char c) {
  char text[512]; /* 308 digits before the point and 99 after it */
  spec[n] = c;
  spec[n + 1] = 0;
  _Pragma("GCC diagnostic push") _Pragma("GCC diagnostic ignored \"-Wformat-nonliteral\"") int len =
      snprintf(text, sizeof text, spec, luaL_checknumber(L, arg));
  _Pragma("GCC diagnostic pop") luaL_addlstring(b, text, (size_t)len);
}

static void add_text(lua_State *L, luaL_Buffer *b, const char *s, size_t len, const char *spec) {
  const char *dot = strchr(spec, '.');
  size_t width = 0, most = len;
  for (const char *p = spec + 1; *p && *p != '.'; p++)
    if (isdigit((unsigned char)*p)) width = width * 10 + (size_t)(*p - '0');
  if (dot) {
    most = 0;
    for (const char *p = dot + 1; *p; p++) most = most * 10 + (size_t)(*p - '0');
  }
  if (most < len) len = most;
  bool left = strchr(spec, '-') != NULL;
  for (size_t i = len; !left && i < width; i++) luaL_addchar(b, ' ');
  luaL_addlstring(b, s, len);
  for (size_t i = len; left && i < width; i++) luaL_addchar(b, ' ');
}

static void add_quoted(lua_State *L, luaL_Buffer *b, const char *s, size_t len) {
  luaL_addchar(b, '"');
  for (size_t i = 0; i < len; i++) {
    char code[8];
    unsigned char c = (unsigned char)s[i];
    if (c == '"' || c == '\\') luaL_addchar(b, '\\'), luaL_addchar(b, s[i]);
    else if (c == '\n') luaL_addstring(b, "\\n");
    else if (iscntrl(c)) snprintf(code, sizeof code, "\\%03u", c), luaL_addstring(b, code);
    else luaL_addchar(b, s[i]);
  }
  luaL_addchar(b, '"');
}

static int text_format(lua_State *L) {
  size_t len;
  const char *f = luaL_checklstring(L, 1, &len), *end = f + len;
  int arg = 1, top = lua_gettop(L);
  char spec[24];
  luaL_Buffer b;
  /* %s and %q see only strings: what stands there becomes one by the tostring that shows no address. Done first, below the buffer. */
  for (const char *p = f; p < end; p++) {
    if (*p != '%' || ++p >= end || *p == '%') continue;
    p += read_conversion(L, p, end, spec, sizeof spec) - 1;
    if (++arg > top) return luaL_argerror(L, arg, "no value");
    if (*p == 's' || (*p == 'q' && lua_type(L, arg) != LUA_TSTRING)) {
      safe_tostring(L, arg, NULL);
      lua_replace(L, arg);
    }
  }
  luaL_buffinit(L, &b);
  arg = 1;
  for (; f < end; f++) {
    if (*f != '%') {
      luaL_addchar(&b, *f);
      continue;
    }
    if (*++f == '%') {
      luaL_addchar(&b, '%');
      continue;
    }
    size_t n = read_conversion(L, f, end, spec, sizeof spec), value_len;
    f += n - 1;
    arg++;
    if (strchr("diouxXc", *f)) add_integer(L, &b, arg, spec, n, *f);
    else if (strchr("aAeEfFgG", *f)) add_float(L, &b, arg, spec, n, *f);
    else {
      const char *value = lua_tolstring(L, arg, &value_len);
      if (*f == 's') add_text(L, &b, value, value_len, spec);
      else add_quoted(L, &b, value, value_len);
    }
    room(L, luaL_bufflen(&b));
  }
  luaL_pushresult(&b);
  return 1;
}

int text_not_callable(lua_State *L) { return luaL_error(L, "attempt to call a string value"); }

void open_string(lua_State *L) {
  static const luaL_Reg own[] = {{"find", text_find}, {"format", text_format}, {"gmatch", text_gmatch},
                                 {"gsub", text_gsub}, {"match", text_match},   {"rep", text_rep},
                                 {NULL, NULL}};
  luaL_setfuncs(L, own, 0);
}
