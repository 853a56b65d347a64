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
};

static const char *const documents[] = {
    "{}",
    "{\"a\":1,\"l\":[1,2.5,\"x\"],\"m\":{\"k\":\"v\",\"z\":[{\"x\":null}],\"b\":true},\"s\":\" text "
    "\",\"n\":1.0,\"null\":null,\"e\":[],\"o\":{}}",
    "{\"z\":1,\"y\":2,\"x\":3,\"l\":[{\"x\":1},{\"x\":2}],\"m\":{\"f.g\":{\"h\":7},\"f\":{\"g.h\":8},\"message\":\"m\",\"status\":429}}",
    "{\"$secret\":\"slot\",\"a\":{\"b\":{\"c\":{\"d\":1}}},\"m\":{\"$secret\":\"x\",\"$$secret\":[1],\"k\":{\"$secret\":\"y\"}},\"l\":["
    "\"b\",\"a\"]}",
    "{\"m\":{\"$secret\":\"only\"},\"l\":[[1],[2,[3]]],\"s\":\"\\u0000x\\ud83d\\ude00\",\"message\":\"of the document\"}",
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
      if (strcmp(whole, lazy) != 0) fail_msg("%s\nof %s\n  whole %s\n  lazy  %s", functions[i], documents[k], whole, lazy);
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
      "local e = setmetatable({}, { __index = tostring }) ocsf.observe_event(ocsf.builder {}, { observables = e }) return 1",
      "local e = setmetatable({}, { __index = tostring }) ocsf.observe_event(ocsf.builder {}, { resources = e }) return 1",
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
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_same_as_whole), cmocka_unit_test(test_untouched_is_shared),
                                     cmocka_unit_test(test_kept_beyond_its_call), cmocka_unit_test(test_no_state_between_calls),
                                     cmocka_unit_test(test_loops_end)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
