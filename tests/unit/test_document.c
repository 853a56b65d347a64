/* A document's tables are to a script what tables made of the whole document are: every function gives the same of both, or raises the same. */
#include "script_help.h"

#include "script/internal.h"

/* Each is a function of a document; what it returns is compared. */
static const char *const functions[] = {
    "return d",
    "return { d, d }",
    "return { d.a, d.l, d.s, d.n, d.none, d['$secret'], d['$$secret'], d.m and d.m['$secret'], d[1], d.l and d.l[1], d.l and d.l[1.0], d.l "
    "and d.l['1'], "
    "d.l and d.l[0], d.l and d.l[-1], d.l and d.l[99] }",
    "local o = {} for k, v in pairs(d) do o[#o + 1] = k o[#o + 1] = v end return o",
    "local o = {} for k, v in pairs(d.l or {}) do o[#o + 1] = k o[#o + 1] = v end return o",
    "local o = {} for i, v in ipairs(d.l or {}) do o[#o + 1] = { i, v } end return o",
    "local o = {} for i, v in ipairs(d) do o[#o + 1] = { i, v } end return o",
    "return { #d, d.l and #d.l, d.m and #d.m, type(d), d.l and type(d.l), type(d.m) }",
    "return { d == d, d.l == d.l, d.m == d.m, d.m == d.l, rawequal(d, d) }",
    "return { tostring(d), tostring(d.l), string.format('%s', d.m) }",
    "d.x = 1 return d",
    "d.a = nil return d",
    "if d.m then d.m.added = { 1 } d.m.k = nil end return { d, d.m }",
    "if d.l then d.l[#d.l + 1] = 'more' end return d",
    "if d.l then d.l[1] = nil end return #(d.l or {})",
    "d.again = d.m d.m = nil return d",
    "local m = d.m d.m = 5 if m then m.k = 'changed' end return { d, m }",
    "for k in pairs(d) do d[k] = nil end return d",
    "local o = {} for k, v in pairs(d) do d[k] = 1 o[#o + 1] = v end return { o, d }",
    "for k, v in pairs(d) do if type(v) == 'table' then v.seen = true end end return d",
    "local o = {} for i in pairs(d.l or {}) do o[#o + 1] = i if i == 1 then d.l[1] = nil d.l[2] = nil end end return o",
    "local o = {} for i, v in pairs(d.l or {}) do o[#o + 1] = i d.l[#d.l + 1] = v d.l.named = nil end return { o, d.l }",
    "local o = {} for i in pairs(d.l or {}) do o[#o + 1] = i table.remove(d.l) end return { o, d.l }",
    "local o = {} for i in pairs(d.l or {}) do o[#o + 1] = i d.l.named = i end return { o, d.l and d.l.named }",
    "local o, step, t = {}, pairs(d.l or {}) o[1] = { step(t) } o[2] = { step(t) } o[3] = { step(t, 1) } return o",
    "local o, step = {}, pairs(d) o[1] = { step() } d.m = nil o[2] = { step() } d.zz = 1 for k in step do o[#o + 1] = k end return o",
    "local o, k, v = {}, next(d) while k ~= nil do o[#o + 1] = { k, v } k, v = next(d, k) end return o",
    "return { rawget(d, 'a'), rawget(d, 'm'), rawlen(d), d.l and rawlen(d.l), d }",
    "return { getmetatable(d) == nil, d.l and getmetatable(d.l), setmetatable(d, { __index = function(_, k) return k end }).nothing, d.a }",
    "setmetatable(d.l or {}, {}) return d",
    "return { d.l and table.concat(d.l, ',') }",
    "return { d.l and table.unpack(d.l) }",
    "if d.l then table.insert(d.l, 1, 'first') table.remove(d.l) end return d",
    "if d.l then table.sort(d.l, function(a, b) return tostring(a) < tostring(b) end) end return d.l",
    "return table.move(d.l or {}, 1, #(d.l or {}), 1, {})",
    "return array(d.e or {})",
    "return { d.e, array {}, d.o }",
    "return json.encode(d)",
    "return { json.decode(json.encode(d)), d.m }",
    "return (('a l m'):gsub('%a', d))",
    "return { pcall(function() return d.a.b.c.d end) }",
    "return { pcall(function() return d < d end) }",
    "return { pcall(function() return d .. '' end) }",
    "return { pcall(function() return d() end) }",
    "return { pcall(function() d[nil] = 1 end) }",
    "return { pcall(function() d[0 / 0] = 1 end) }",
    "return { select('#', d, d), next({ d }) }",
    "error(d)",
    "error(d.m or d)",
    "error({ message = 'own', d = d })",
    "return nil, d.m",
    "return nil, failure('refused', d)",
    "local deep = d for _ = 1, 60 do deep = { deep } end return deep",
    "local t = { d } t.x = d return t",
    "d.a = d d.l = nil d.m = nil return d",
    "d.a = { d.m } d.l = nil if d.m then d.m.again = d end return d.m",
    "local deep = d.l or d for _ = 1, 101 do deep = { deep } end return deep",
    "return { [d] = 1 }",
    "local s = { [d] = 1 } return s[d]",
    "return { ocsf.get(d, 'm.k'), ocsf.get(d, 'l.1'), ocsf.get(d, 'l.2.x'), ocsf.get(d, 'm.$secret'), ocsf.get(d, 'a.b'), ocsf.get(d, '') "
    "}",
    "if d.m then d.m.k = 'new' end return { ocsf.get(d, 'm.k'), ocsf.first(d, 'none', 'm.k', 'a'), ocsf.has(d, 'm.k'), ocsf.dig(d, 'm.k') "
    "}",
    "return { ocsf.dig(d, 'm.f.g'), ocsf.dig(d, 'm.f.g.h'), ocsf.first(d, 's', 'n', 'l.1'), ocsf.has(d, 'm', 'l'), ocsf.has(d, 'null') }",
    "return { ocsf.list(d.l), ocsf.list(d.e), ocsf.list(d.o), ocsf.list(d.m), ocsf.list(d.null), ocsf.list(d.s), ocsf.copy(d), d.l and "
    "ocsf.copy(d.l) }",
    "local f = ocsf.finding { title = d.s, types = d.l } f.out.actor = d.m ocsf.set(f, 'actor.user.name', 'User Name', d.s) ocsf.user(f, "
    "'actor.user', "
    "d.m or {}) return { ocsf.done(f), d }",
    "return ocsf.event(d)",
    "return { ocsf.event(d), ocsf.event(d), d }",
    "local e = ocsf.event(d) e.k = 'new' e.metadata.version = 2 return { e, d, ocsf.event(e) }",
    "return ocsf.event({ message = d.s or d.message, observables = { { name = 'k', value = d.n or d } } })",
};

static const char *const documents[] = {
    "{}",
    "{\"a\":1,\"l\":[1,2.5,\"x\"],\"m\":{\"k\":\"v\",\"z\":[{\"x\":null}],\"b\":true},\"s\":\" text "
    "\",\"n\":1.0,\"null\":null,\"e\":[],\"o\":{}}",
    "{\"z\":1,\"y\":2,\"x\":3,\"l\":[{\"x\":1},{\"x\":2}],\"m\":{\"f.g\":{\"h\":7},\"f\":{\"g.h\":8},\"message\":\"m\",\"status\":429}}",
    "{\"$secret\":\"slot\",\"a\":{\"b\":{\"c\":{\"d\":1}}},\"m\":{\"$secret\":\"x\",\"$$secret\":[1],\"k\":{\"$secret\":\"y\"}},\"l\":["
    "\"b\",\"a\"]}",
    "{\"m\":{\"$secret\":\"only\"},\"l\":[[1],[2,[3]]],\"s\":\"\\u0000x\\ud83d\\ude00\",\"message\":\"of the document\"}",
    "{\"class_uid\":2001,\"time\":1795458121000,\"message\":\" m "
    "\",\"actor\":{\"user\":{\"name\":\"alice\",\"$secret\":1}},\"unmapped\":{\"$secret\":2},"
    "\"observables\":[{\"name\":\"n\",\"value\":7,\"$secret\":3},4],\"finding_info\":{\"uid\":8.5},\"metadata\":{\"$$secret\":5}}",
    "[1,[2,{\"l\":[3]}],{\"m\":4}]",
    "\"a text\"",
    "12",
};

enum { FUNCTIONS = sizeof functions / sizeof *functions, DOCUMENTS = sizeof documents / sizeof *documents };

static struct connector_state *make(struct declaration **ret) {
  struct connector_state *c = NULL;
  struct err err = {0};
  struct buf source;
  buf_init(&source, 1 << 20);
  buf_adds(&source, "local kept\nreturn connector { name = 'test', title = 'T', settings = {}, actions = {\n");
  for (int i = 0; i < FUNCTIONS; i++)
    buf_addf(&source, "f%d = { doc = 'd', effect = 'read', result = function() end, request = function(d) %s end },\n", i, functions[i]);
  buf_adds(&source, "keep = { doc = 'd', effect = 'read', result = function() end, request = function(d) kept = d return 1 end },\n} }\n");
  assert_true(buf_ok(&source));
  *ret = test_connector(source.data);
  if (connector_state_new(*ret, NULL, NULL, &c, &err) < 0) fail_msg("%s", err.text);
  buf_release(&source);
  return c;
}

/* What a call gave, as a text: the result, the failure, or the error. */
static char *outcome(struct connector_state *c, const char *function, const json_t *document, enum script_trust trust) {
  struct err err = {0};
  json_t *result = NULL, *failure = NULL, *args = json_pack("[O]", document), *all;
  int r = connector_call(c, function, args, trust, &result, &failure, &err);
  json_decref(args);
  if (r < 0) all = json_pack("{s:i, s:s}", "error", r, "text", err.text);
  else all = json_pack("{s:o*, s:o*}", "result", result, "failure", failure);
  char *text = json_text(all);
  assert_non_null(text);
  json_decref(all);
  return text;
}

/* Which of several members that cannot leave is named is a matter of chance. */
static bool alike(const char *whole, const char *lazy) {
  static const char stays[] = "a value cannot leave the script";
  return strcmp(whole, lazy) == 0 || (strstr(whole, stays) && strstr(lazy, stays));
}

static void test_same_as_whole(void **state) {
  struct declaration *d;
  struct connector_state *c = make(&d);
  int raised = 0;
  for (int k = 0; k < DOCUMENTS; k++) {
    json_t *document = test_json(documents[k]);
    char *before = json_text(document);
    for (int i = 0; i < FUNCTIONS; i++) {
      char path[64];
      snprintf(path, sizeof path, "actions.f%d.request", i);
      char *whole = outcome(c, path, document, SCRIPT_DATA), *lazy = outcome(c, path, document, SCRIPT_DOCUMENT);
      if (!alike(whole, lazy)) fail_msg("%s\nof %s\n  whole %s\n  lazy  %s", functions[i], documents[k], whole, lazy);
      raised += strncmp(whole, "{\"error\"", 8) == 0;
      free(whole);
      free(lazy);
    }
    char *after = json_text(document);
    assert_string_equal(before, after);
    free(before);
    free(after);
    json_decref(document);
  }
  assert_in_range(raised, FUNCTIONS / 2, FUNCTIONS * DOCUMENTS / 2);
  connector_state_free(c);
  declaration_free(d);
}

/* Any sequence of these, by pairs of variables X, Y and a key K. */
static const char *const moves[] = {
    "X = g(Y, K)",
    "X = { Y }",
    "X = { k = Y }",
    "X = ocsf.copy(Y)",
    "X = ocsf.list(Y)",
    "p(function() X[K] = Y end)",
    "p(function() X[K] = nil end)",
    "p(function() X[K] = null end)",
    "p(table.insert, X, 7)",
    "p(table.insert, X, 1, Y)",
    "p(table.remove, X)",
    "p(table.sort, X, function(a, b) return tostring(a) < tostring(b) end)",
    "p(table.move, X, 1, 2, 1, Y)",
    "p(function() local o = {} for k, v in pairs(X) do o[#o + 1] = { k, v } if k == K then Y[K] = nil Y.n = 1 end end return o end)",
    "p(function() local o = {} for k, v in ipairs(X) do o[k] = v if k > 20 then break end end return o end)",
    "p(function() return #X == #Y end)",
    "p(function() return X == Y end)",
    "p(next, X)",
    "p(next, X, K)",
    "p(rawget, X, K)",
    "p(rawlen, X)",
    "p(setmetatable, X, { __index = Y })",
    "p(json.encode, X)",
    "p(table.unpack, X)",
    "p(table.concat, X)",
    "p(array, X)",
    "p(ocsf.dig, X, 'm.f.g')",
    "p(ocsf.get, X, 'l.1')",
    "p(ocsf.first, X, 'l.1', 'm.k', 's')",
    "p(ocsf.put, { out = X }, 'm.q.r', Y)",
    "p(function() local f = ocsf.builder {} ocsf.user(f, 'user', Y) return f end)",
    "p(function() return json.encode(ocsf.event(X)) end)",
    "p(function() local e = ocsf.event(X) e.metadata.version = K e.k = 'new' return json.encode(e) end)",
};

static unsigned dice(unsigned *seed, size_t sides) {
  *seed = *seed * 1103515245u + 12345u;
  return (*seed >> 16) % (unsigned)sides;
}

/* A function of the document that makes some moves, and returns all that it has seen. */
static void add_moves(struct buf *out, unsigned *seed) {
  static const char *const names[] = {"d", "x", "y", "d"};
  static const char *const keys[] = {"'a'", "'l'", "'m'", "'k'", "'z'", "'x'", "1", "2", "'$secret'", "'$$secret'", "'e'", "1.0", "-1"};
  buf_adds(out, "local x, y, o = g(d, 'm'), g(d, 'l'), {} local function p(...) o[#o + 1] = { pcall(...) } end ");
  for (unsigned n = 2 + dice(seed, 7); n; n--) {
    const char *name[] = {names[dice(seed, 4)], names[dice(seed, 4)]}, *key = keys[dice(seed, sizeof keys / sizeof *keys)];
    for (const char *m = moves[dice(seed, sizeof moves / sizeof *moves)]; *m; m++) {
      if (*m == 'X' || *m == 'Y') buf_adds(out, name[*m - 'X']);
      else if (*m == 'K') buf_adds(out, key);
      else buf_addc(out, *m);
    }
    buf_addc(out, ' ');
  }
  buf_adds(out, dice(seed, 2) ? "return { o, d, x, y }" : "return { o = o, y = y, d = d }");
}

static void test_same_after_any_moves(void **state) {
  enum { ROUNDS = 400 };
  unsigned seed = 20;
  for (int round = 0; round < ROUNDS; round++) {
    struct connector_state *c = NULL;
    struct err err = {0};
    struct buf source;
    buf_init(&source, 1 << 16);
    buf_adds(&source,
             "local function g(t, k) if type(t) == 'table' then return t[k] end end return connector { name = 'test', title = 'T', "
             "settings = {}, actions = { f = { doc = 'd', effect = 'read', result = function() end, request = function(d) ");
    add_moves(&source, &seed);
    buf_adds(&source, " end } } }");
    assert_true(buf_ok(&source));
    struct declaration *d = test_connector(source.data);
    if (connector_state_new(d, NULL, NULL, &c, &err) < 0) fail_msg("%s", err.text);
    for (int k = 0; k < DOCUMENTS; k++) {
      json_t *document = test_json(documents[k]), *before = json_deep_copy(document);
      char *whole = outcome(c, "actions.f.request", document, SCRIPT_DATA),
           *lazy = outcome(c, "actions.f.request", document, SCRIPT_DOCUMENT);
      if (!alike(whole, lazy)) fail_msg("%s\nof %s\n  whole %s\n  lazy  %s", source.data, documents[k], whole, lazy);
      assert_true(json_equal(document, before));
      free(whole);
      free(lazy);
      json_decref(before);
      json_decref(document);
    }
    buf_release(&source);
    connector_state_free(c);
    declaration_free(d);
  }
}

/* What nobody changed is handed back as it is, not as a copy. */
static void test_untouched_is_shared(void **state) {
  struct declaration *d;
  struct connector_state *c = make(&d);
  struct err err = {0};
  json_t *document = test_json("{\"m\":{\"k\":[1,2,3]}}"), *args = json_pack("[O]", document), *result = NULL, *failure = NULL;
  assert_int_equal(connector_call(c, "actions.f0.request", args, SCRIPT_DOCUMENT, &result, &failure, &err), 0);
  assert_ptr_equal(result, document);
  json_decref(result);
  json_decref(args);
  json_decref(document);
  connector_state_free(c);
  declaration_free(d);
}

/* Of what speaks OCSF the finding is made of the document's own values; of several findings in one call only the first can be. */
static void test_event_is_made_of_its_document(void **state) {
  struct declaration *d = test_connector("return connector { name = 'test', title = 'T', settings = {}, actions = { f = { doc = 'd', "
                                         "effect = 'read', result = function() end, "
                                         "request = function(d) return { ocsf.event(d), ocsf.event(d), ocsf.event(d) } end } } }");
  struct connector_state *c = NULL;
  struct err err = {0};
  if (connector_state_new(d, NULL, NULL, &c, &err) < 0) fail_msg("%s", err.text);
  json_t *document = test_json("{\"class_uid\":2004,\"message\":\"m\",\"actor\":{\"user\":{\"name\":\"alice\"}}}"),
         *args = json_pack("[O]", document), *result = NULL, *failure = NULL;
  assert_int_equal(connector_call(c, "actions.f.request", args, SCRIPT_DOCUMENT, &result, &failure, &err), 0);
  const json_t *first = json_array_get(result, 0), *second = json_array_get(result, 1);
  assert_ptr_equal(json_object_get(first, "actor"), json_object_get(document, "actor"));
  assert_ptr_equal(json_object_get(first, "message"), json_object_get(document, "message"));
  assert_ptr_not_equal(json_object_get(second, "actor"), json_object_get(document, "actor"));
  assert_true(json_equal(first, second) && json_equal(first, json_array_get(result, 2)));
  assert_int_equal(first->refcount, 1);
  json_decref(result);
  json_decref(args);
  json_decref(document);
  connector_state_free(c);
  declaration_free(d);
}

/* A connector that keeps a table beyond its call is told off, and finds nothing in it: the document is gone. */
static void test_kept_beyond_its_call(void **state) {
  struct declaration *d;
  struct connector_state *c = make(&d);
  json_t *document = test_json("{\"a\":1}");
  char *text = outcome(c, "actions.keep.request", document, SCRIPT_DOCUMENT);
  assert_non_null(strstr(text, "connector functions must be pure"));
  free(text);
  json_decref(document);
  connector_state_free(c);
  declaration_free(d);
}

/* Nothing that a call leaves behind is there for the next, wherever a file may hide it. */
static void test_no_state_between_calls(void **state) {
  static const char *const files[][2] = {
      {"local n = 0", "n = n + 1 return n"},
      {"local said", "if said == false then return 2 end said = false return 1"},
      {"local said = false", "if said == nil then return 2 end said = nil return 1"},
      {"local function counter() local n = 0 return function() n = n + 1 return n end end local helpers = { count = counter() }",
       "return helpers.count()"},
      {"local function counter() local n = 0 return function() n = n + 1 return n end end local helpers = { deep = { { counter() } } }",
       "return helpers.deep[1][1]()"},
      {"local n = 0 local called = setmetatable({}, { __call = function() n = n + 1 return n end })", "return called()"},
      {"local seen = {} local called = setmetatable({}, { __call = function() seen[#seen + 1] = 1 return #seen end })", "return called()"},
      {"local mt = { __index = function(t, k) t[k] = 'there' return 'absent' end } local cache = setmetatable({}, mt)",
       "return cache.x == 'absent' and 1 or 2"},
      {"local n = 0 local cache = setmetatable({}, { __index = function() n = n + 1 return n end })", "return cache.x"},
      {"local step = pairs({ a = 1, b = 2 })", "return step()"},
  };
  for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
    char source[1024];
    struct connector_state *c = NULL;
    struct err err = {0};
    snprintf(source, sizeof source,
             "%s return connector { name = 'test', title = 'T', settings = {}, actions = { f = { doc = 'd', effect = 'read', result = "
             "function() end, request = function(d) %s end } } }",
             files[i][0], files[i][1]);
    struct declaration *d = test_connector(source);
    if (connector_state_new(d, NULL, NULL, &c, &err) < 0) fail_msg("%s", err.text);
    json_t *document = test_json("{}");
    char *first = outcome(c, "actions.f.request", document, SCRIPT_DOCUMENT),
         *second = outcome(c, "actions.f.request", document, SCRIPT_DATA);
    if (strcmp(first, second) != 0) fail_msg("%s\n  first  %s\n  second %s", files[i][0], first, second);
    free(first);
    free(second);
    json_decref(document);
    connector_state_free(c);
    declaration_free(d);
  }
}

/* What goes on for ever inside a C function ends with the budget all the same. */
static void test_loops_end(void **state) {
  static const char *const bodies[] = {
      "local t = {} for i = 1, 100 do t[('a.'):rep(i) .. 'a'] = t end t.a = t return ocsf.dig(t, ('a.'):rep(100) .. 'z')",
      "local e = {} for i = 1, 10000 do e[i] = { uid = 'x' } end while true do pcall(ocsf.event, { resources = e }) end",
      "local t = {} t.a = t local p = ('a.'):rep(500000) while true do ocsf.has(t, p, p, p, p, p, p, p, p) end",
      "local t = {} t.a = t local p = ('a.'):rep(500000) while true do ocsf.put({ out = t }, p, 1) end",
  };
  for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
    char source[1024];
    struct connector_state *c = NULL;
    struct err err = {0};
    snprintf(source, sizeof source,
             "return connector { name = 'test', title = 'T', settings = {}, actions = { f = { doc = 'd', effect = 'read', result = "
             "function() end, request = function(d) %s end } } }",
             bodies[i]);
    struct declaration *d = test_connector(source);
    if (connector_state_new(d, NULL, &(struct script_limits){.burst_ms = 100}, &c, &err) < 0) fail_msg("%s", err.text);
    json_t *args = test_json("[{}]"), *result = NULL, *failure = NULL;
    assert_int_equal(connector_call(c, "actions.f.request", args, SCRIPT_DOCUMENT, &result, &failure, &err), ERR_LIMIT);
    json_decref(args);
    connector_state_free(c);
    declaration_free(d);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_same_as_whole),
                                     cmocka_unit_test(test_same_after_any_moves),
                                     cmocka_unit_test(test_untouched_is_shared),
                                     cmocka_unit_test(test_event_is_made_of_its_document),
                                     cmocka_unit_test(test_kept_beyond_its_call),
                                     cmocka_unit_test(test_no_state_between_calls),
                                     cmocka_unit_test(test_loops_end)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
