/* The sandbox: what runs see and yield, what connectors may do, and every known way out of it (tests/lua/escapes). */
#include "script_help.h"

#include <dirent.h>
#include <time.h>

#include "base/buf.h"
#include "script/internal.h"

static const char folder[] = "tests/lua/escapes";
static const struct script_limits small = {.memory = 16 << 20, .burst_ms = 80, .total_ms = 400};

struct play {
  struct declaration *d;
  struct script *script;
  struct script_thread *thread;
  struct script_yield out;
};

static void play_begin(struct play *p, const char *source) {
  struct err err = {0};
  memset(p, 0, sizeof *p);
  p->d = test_playbook(source);
  json_t *uses = test_json("{\"ldap\":[\"lock\",\"find\"],\"rt\":[\"create\"]}");
  if (script_new(p->d, uses, &small, &test_host, &p->script, &err) < 0) fail_msg("%s", err.text);
  json_decref(uses);
  json_t *params = test_json("{\"user\":\"alice\"}"), *settings = test_json("{\"key\":{\"$secret\":\"p.key\"},\"n\":3}");
  p->thread = script_start(p->script, params, settings, &p->out);
  json_decref(params);
  json_decref(settings);
}

static void play_end(struct play *p) {
  script_yield_release(&p->out);
  script_free(p->script);
  declaration_free(p->d);
}

/* A playbook with this body. */
static void play_body(struct play *p, const char *body) {
  char *source = NULL;
  if (asprintf(&source,
               "return playbook { title = 'T', uses = { 'ldap.lock', 'ldap.find', 'rt.create' },\nrun = function(incident, act, p, "
               "settings)\n%s\nend }",
               body) < 0)
    abort();
  play_begin(p, source);
  free(source);
}

static void expect_verb(struct play *p, const char *verb, const char *args) {
  if (p->out.status != SCRIPT_YIELDED) fail_msg("ended: %s", p->out.err.text);
  assert_string_equal(p->out.verb, verb);
  assert_json(p->out.args, args);
  script_yield_release(&p->out);
}

static void answer(struct play *p, const char *step, bool ok, const char *value) {
  json_t *json = value ? test_json(value) : NULL;
  script_yield_release(&p->out);
  script_resume(p->thread, step, ok, json, SCRIPT_TRUSTED, &p->out);
  json_decref(json);
}

static void expect_done(struct play *p, const char *result) {
  if (p->out.status != SCRIPT_DONE) fail_msg("status %d: %s%s", (int)p->out.status, p->out.verb ? p->out.verb : "", p->out.err.text);
  if (result) assert_json(p->out.args, result);
  else assert_null(p->out.args);
}

static void expect_failed(struct play *p, int code, const char *text) {
  if (p->out.status != SCRIPT_FAILED || !strstr(p->out.err.text, text))
    fail_msg("status %d, expected %s, got: %s", (int)p->out.status, text, p->out.err.text);
  assert_int_equal(p->out.err.code, code);
}

/* ---- runs ---------------------------------------------------------------------------------------------------------- */

static void test_the_designs_playbook(void **state) {
  struct play p;
  play_begin(&p, "return playbook {\n title = 'Contain', attack = { 'T1078' }, group = { 'actor.user' }, window = '2h',\n"
                 " when = { a = 'b', none = { ['ip|cidr_in'] = list 'vpn-egress' } }, uses = { 'ldap.lock', 'rt.create' },\n"
                 " params = { user = schema.string { from = 'actor.user' } },\n"
                 " run = function(incident, act, p)\n"
                 "  local locked, why = act.ldap.lock { uid = p.user, because = incident.title }\n"
                 "  if not locked then return incident:hand_over('not locked', why) end\n"
                 "  local ticket = must(act.rt.create { subject = incident.title })\n"
                 "  local answer = incident:ask { 'Keep ' .. p.user .. '?', role = 'responder', options = { 'keep', 'release' }, within = "
                 "'30m', otherwise = 'keep' }\n"
                 "  if answer == 'release' then must(incident:undo(locked)) end\n"
                 "  return ticket.id .. incident:summary()\n"
                 " end }\n");
  assert_string_equal(p.d->name, "test");
  assert_json(json_object_get(p.d->json, "when"), "{\"a\":\"b\",\"none\":{\"ip|cidr_in\":{\"$list\":\"vpn-egress\"}}}");
  assert_int_equal(json_integer_value(json_object_get(p.d->json, "window")), 7200000);
  assert_int_equal(p.out.line, 6);
  expect_verb(&p, "action", "{\"connector\":\"ldap\",\"action\":\"lock\",\"params\":{\"uid\":\"alice\",\"because\":\"the title\"}}");
  answer(&p, "1", true, "{\"already\":false}");
  expect_verb(&p, "action", "{\"connector\":\"rt\",\"action\":\"create\",\"params\":{\"subject\":\"the title\"}}");
  answer(&p, "2", true, "{\"id\":\"7\"}");
  expect_verb(
      &p, "ask",
      "{\"text\":\"Keep alice?\",\"role\":\"responder\",\"options\":[\"keep\",\"release\"],\"within\":1800000,\"otherwise\":\"keep\"}");
  answer(&p, "3", true, "\"release\"");
  expect_verb(&p, "undo", "{\"step\":\"1\"}");
  answer(&p, "4", true, NULL);
  expect_done(&p, "\"7all that happened\"");
  play_end(&p);
}

static void test_a_failure_comes_back(void **state) {
  struct play p;
  play_body(&p, "local ok, why = act.ldap.lock {}\n return { tostring(ok), why.kind, why.message, why.retry }");
  answer(&p, "1", false, "{\"kind\":\"refused\",\"message\":\"no such user\",\"retry\":false}");
  expect_done(&p, "[\"nil\",\"refused\",\"no such user\",false]");
  play_end(&p);
  play_body(&p, "\nlocal x = must(act.ldap.lock {})\nreturn x");
  answer(&p, "1", false, "{\"kind\":\"refused\",\"message\":\"no such user\",\"retry\":false}");
  expect_failed(&p, ERR_INVALID, "playbooks/test.lua:4: refused: no such user");
  assert_non_null(p.out.traceback);
  assert_non_null(strstr(p.out.traceback, "playbooks/test.lua:4"));
  play_end(&p);
}

static void test_hand_over_is_the_end(void **state) {
  struct play p;
  play_body(&p, "incident:hand_over('cannot go on', { kind = 'refused', message = 'because' })\nact.ldap.lock {}");
  expect_verb(&p, "hand_over", "{\"text\":\"cannot go on\",\"why\":\"refused: because\"}");
  answer(&p, "1", true, NULL);
  expect_done(&p, NULL);
  play_end(&p);
}

static const struct {
  const char *body, *verb, *args, *value, *done;
} verbs[] = {
    {"return incident:wait '30m'", "wait", "{\"ms\":1800000}", NULL, "true"},
    {"return incident:wait_for { alert = { a = 1 }, within = '1h' } == nil", "wait_for", "{\"alert\":{\"a\":1},\"within\":3600000}", NULL,
     "true"},
    {"return incident:wait_for { alert = { a = 1 }, within = '1h' }.name", "wait_for", "{\"alert\":{\"a\":1},\"within\":3600000}",
     "{\"name\":\"x\"}", "\"x\""},
    {"return incident:poll { 'ldap.find', params = { uid = 'a' }, every = '10s', within = '1h', when = { locked = true } }.locked", "poll",
     "{\"connector\":\"ldap\",\"action\":\"find\",\"params\":{\"uid\":\"a\"},\"every\":10000,\"within\":3600000,\"until\":{\"locked\":true}"
     "}",
     "{\"locked\":true}", "true"},
    {"return incident:note('n')", "note", "{\"text\":\"n\"}", NULL, "true"},
    {"return incident:severity('high')", "severity", "{\"severity\":\"high\"}", NULL, "true"},
    {"return incident.severity", NULL, NULL, NULL, "\"the severity\""},
    {"return incident:assign('bob')", "assign", "{\"to\":\"bob\"}", NULL, "true"},
    {"return incident:tag('t')", "tag", "{\"tag\":\"t\"}", NULL, "true"},
    {"return incident:close { verdict = 'benign', lessons = 'none' }", "close", "{\"verdict\":\"benign\",\"lessons\":\"none\"}", NULL,
     "true"},
    {"return incident:release_all()", "release", "{\"of\":\"incident\"}", NULL, "true"},
    {"return incident:continue_as { user = 'bob' }", "continue_as", "{\"params\":{\"user\":\"bob\"}}", NULL, NULL},
    {"return incident:ask { 'Sure?', within = '1m', otherwise = 'no', approvals = 2 }", "ask",
     "{\"text\":\"Sure?\",\"within\":60000,\"otherwise\":\"no\",\"approvals\":2}", "\"yes\"", "\"yes\""},
    {"return { #incident.alerts, incident.alerts[2].name, incident.alerts[3] == nil }", NULL, NULL, NULL, "[2,\"two\",true]"},
    {"local n = 0 for _, a in ipairs(incident.alerts) do n = n + a.n end for _, a in pairs(incident.alerts) do n = n + a.n end return n",
     NULL, NULL, NULL, "6"},
    {"return incident:observables('user')", NULL, NULL, NULL, "[{\"type\":\"user\",\"value\":\"v\"}]"},
    {"return incident:observables()[1].type", NULL, NULL, NULL, "\"any\""},
    {"return { now(), random(6), random(5, 5), random() < 1 }", NULL, NULL, NULL, "[1700000000123,1,5,true]"},
    {"return { list('vpn'):match('10.0.0.1').list, list('vpn'):match('x') == nil, list('vpn'):rows()[1] }", NULL, NULL, NULL,
     "[\"vpn\",true,\"vpn\"]"},
    {"return settings.n", NULL, NULL, NULL, "3"},
    {"return must(act.ldap.lock { key = settings.key }) ~= nil", "action",
     "{\"connector\":\"ldap\",\"action\":\"lock\",\"params\":{\"key\":{\"$secret\":\"p.key\"}}}", "null", "true"},
};

static void test_every_verb(void **state) {
  for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++) {
    struct play p;
    play_body(&p, verbs[i].body);
    if (verbs[i].verb) {
      expect_verb(&p, verbs[i].verb, verbs[i].args);
      answer(&p, "1", true, verbs[i].value);
    }
    expect_done(&p, verbs[i].done);
    play_end(&p);
  }
}

static const char *const mistakes[][2] = {
    {"incident:ask { 'Sure?', within = '1m' }", "test.lua:3: a question needs `otherwise`"},
    {"incident:ask { 'Sure?', within = '1m', options = { 'a' }, otherwise = 'b' }", "`otherwise` must be one of `options`"},
    {"incident:ask { 'Sure?', otherwise = 'b' }", "`within` must be a time"},
    {"incident:ask { 'Sure?', within = '1m', otherwise = 'b', rolle = 'x' }", "incident:ask knows no `rolle`"},
    {"incident.ask { 'Sure?' }", "test.lua:3: write incident:ask with a colon"},
    {"incident:wait(30)", "must be a time like"},
    {"incident:poll { 'rt.nothing', within = '1m', when = {} }", "is not in this playbook's `uses`"},
    {"act.ldap.loock {}", "`loock` is not in this playbook's `uses`; did you mean `lock`?"},
    {"act.ldap.lock 'x'", "act.ldap.lock takes a table of parameters"},
    {"act.ldap.lock { uid = { type } }", "a value cannot leave the script: it.params.uid[1] is a function, which cannot be passed on"},
    {"incident:undo {}", "incident:undo takes what an action returned"},
    {"return incident.broken", "the host says no"},
    {"return incidnt.title", "unknown name `incidnt`"},
    {"return pairz", "unknown name `pairz`; did you mean `pairs`?"},
    {"incident:parallel({ 1 })", "write incident:parallel(list"},
    {"x = 1", "`x` is not declared"},
    {"return settings.key .. 'x'", "a secret cannot be read"},
    {"return json.encode(settings)", "a secret cannot be read"},
    {"return settings.key.x", "a secret cannot be read"},
    {"return ('%d'):format('x')", "number expected"},
};

static void test_mistakes_say_what_to_do(void **state) {
  for (size_t i = 0; i < sizeof mistakes / sizeof *mistakes; i++) {
    struct play p;
    play_body(&p, mistakes[i][0]);
    expect_failed(&p, ERR_INVALID, mistakes[i][1]);
    play_end(&p);
  }
}

static void test_secrets_show_nothing(void **state) {
  struct play p;
  play_body(&p, "return { tostring(settings.key), ('%s'):format(settings.key), settings.key == settings.key, settings.key == 'p.key', "
                "type(settings.key) }");
  expect_done(&p, "[\"[secret]\",\"[secret]\",true,false,\"userdata\"]");
  play_end(&p);
}

/* ---- parallel -------------------------------------------------------------------------------------------------------- */

static void test_branches(void **state) {
  struct play p;
  struct script_yield out[3];
  struct script_thread *branch[3];
  play_body(&p, "local results = incident:parallel({ 'a', 'b', 'c' }, { max = 2 }, function(name)\n"
                "  if name == 'c' then error('c broke') end\n  return must(act.ldap.lock { uid = name })\nend)\n"
                "must(incident:undo(results[2].result))\n"
                "return { results[1].result.uid, results[3].ok, results[3].error }");
  expect_verb(&p, "parallel", "{\"count\":3,\"max\":2,\"stop_on_error\":false}");
  for (size_t i = 0; i < 3; i++) branch[i] = script_branch(p.thread, i + 1, &out[i]);
  assert_json(out[1].args, "{\"connector\":\"ldap\",\"action\":\"lock\",\"params\":{\"uid\":\"b\"}}");
  assert_int_equal(out[2].status, SCRIPT_FAILED);
  assert_non_null(strstr(out[2].err.text, "c broke"));
  for (int i = 1; i >= 0; i--) { /* the second ends first */
    char step[8], value[32];
    snprintf(step, sizeof step, "1.%d.1", i + 1);
    snprintf(value, sizeof value, "{\"uid\":\"%c\"}", "AB"[i]);
    json_t *json = test_json(value);
    script_yield_release(&out[i]);
    script_resume(branch[i], step, true, json, SCRIPT_TRUSTED, &out[i]);
    assert_int_equal(out[i].status, SCRIPT_DONE);
    assert_json(out[i].args, value);
    json_decref(json);
  }
  for (int i = 0; i < 3; i++) script_yield_release(&out[i]);
  answer(&p, "1", true,
         "[{\"ok\":true,\"result\":{\"uid\":\"A\"}},{\"ok\":true,\"result\":{\"uid\":\"B\"}},{\"ok\":false,\"error\":\"c broke\"}]");
  expect_verb(&p, "undo", "{\"step\":\"1.2.1\"}");
  answer(&p, "2", true, NULL);
  expect_done(&p, "[\"A\",false,\"c broke\"]");
  play_end(&p);
}

static void test_nothing_in_parallel(void **state) {
  struct play p;
  play_body(&p, "return #incident:parallel({}, function() end)");
  expect_done(&p, "0");
  play_end(&p);
}

/* ---- the same in every replay ------------------------------------------------------------------------------------------ */

static void test_the_same_again(void **state) {
  char *first = NULL;
  for (int round = 0; round < 20; round++) {
    struct play p;
    play_body(&p, "local t, out = {}, {}\nfor i = 1, 50 do t['k' .. i * 7919 % 101] = i end\n"
                  "for k, v in pairs(t) do out[#out + 1] = k .. v .. tostring(t) end\nreturn table.concat(out, ' ')");
    assert_int_equal(p.out.status, SCRIPT_DONE);
    char *text = json_text(p.out.args);
    if (first) assert_string_equal(text, first);
    else first = strdup(text);
    free(text);
    play_end(&p);
  }
  free(first);
}

/* ---- escapes ------------------------------------------------------------------------------------------------------------ */

static const char *status_word(const struct script_yield *out) {
  if (out->status == SCRIPT_DONE) return "done";
  if (out->status == SCRIPT_YIELDED) return out->verb;
  return err_name(out->err.code);
}

/* Answers every yield, until an end or a hand-over. */
static void play_out(struct script *s, struct script_yield *out) {
  struct script_thread *t = script_start(s, NULL, NULL, out);
  for (int i = 0; i < 100000 && out->status == SCRIPT_YIELDED && strcmp(out->verb, "hand_over") != 0; i++) {
    struct script_yield inner = {0};
    if (strcmp(out->verb, "parallel") == 0) {
      script_branch(t, 1, &inner);
      if (inner.status == SCRIPT_FAILED) {
        script_yield_release(out);
        *out = inner;
        return;
      }
      script_yield_release(&inner);
    }
    script_yield_release(out);
    script_resume(t, "1", true, NULL, SCRIPT_DATA, out);
  }
}

static int unexpected;

static void expect_ending(const char *file, const char *kind, const char *text, const char *got_kind, const struct script_yield *out) {
  char *json = out->args ? json_text(out->args) : NULL;
  const char *got = strcmp(got_kind, "done") == 0 && json ? json : out->err.text;
  if (strcmp(kind, got_kind) != 0 || !strstr(got, text))
    unexpected++, print_error("%s: expected %s %s, got %s %s\n", file, kind, text, got_kind, got);
  free(json);
}

/* Twice: the second time in the memory of the first, which must not have left anything there. */
static void escape(const char *file, const char *source, size_t len, int time) {
  char kind[16], text[128] = "";
  if (sscanf(source, "-- expect: %15s%*[ ]%127[^\n]", kind, text) < 1) fail_msg("%s does not say what to expect", file);
  struct declaration *d = NULL;
  struct script *s = NULL;
  struct script_yield out = {0};
  const char *got = "load";
  int r = playbook_load(file, source, len, &d, &out.err);
  if (r == 0) {
    json_t *uses = test_json("{\"ldap\":[\"lock\"]}");
    struct script_limits limits = small;
    if (strcmp(kind, "memory") == 0) limits.burst_ms *= 8, limits.total_ms *= 8; /* a busy machine takes long to hand out memory */
    assert_int_equal(script_new(d, uses, &limits, &test_host, &s, &out.err), 0);
    json_decref(uses);
    play_out(s, &out);
    got = status_word(&out);
    size_t peak;
    script_memory(s, &peak);
    assert_true(peak <= small.memory);
  }
  expect_ending(file, kind, text, got, &out);
  script_yield_release(&out);
  script_free(s);
  declaration_free(d);
  if (time == 1) escape(file, source, len, 2);
}

static void test_escapes(void **state) {
  struct dirent **names;
  int n = scandir(folder, &names, NULL, alphasort), count = 0;
  assert_true(n > 0);
  for (int i = 0; i < n; i++) {
    char path[512], source[8192];
    size_t len = strlen(names[i]->d_name);
    if (len > 4 && strcmp(names[i]->d_name + len - 4, ".lua") == 0) {
      snprintf(path, sizeof path, "%s/%s", folder, names[i]->d_name);
      FILE *f = fopen(path, "r");
      assert_non_null(f);
      size_t size = fread(source, 1, sizeof source - 1, f);
      fclose(f);
      source[size] = 0;
      escape(path, source, size, 1);
      count++;
    }
    free(names[i]);
  }
  free(names);
  assert_int_equal(unexpected, 0);
  assert_true(count >= 90);
  print_message("%d escapes tried\n", count);
}

static void test_bytecode_is_refused(void **state) {
  struct declaration *d = test_playbook("return playbook { title = 'x', run = function() end }");
  struct declaration *other = NULL;
  struct err err = {0};
  assert_int_equal(playbook_load("playbooks/evil.lua", d->code->bytes.data, d->code->bytes.len, &other, &err), ERR_INVALID);
  if (!strstr(err.text, "bytecode")) fail_msg("%s", err.text);
  declaration_free(d);
}

/* A run that was ended stays ended, and the memory it held is all given back with it. */
static void test_an_ended_run_stays_ended(void **state) {
  struct play p;
  play_body(&p, "while true do pcall(function() while true do end end) end");
  expect_failed(&p, ERR_LIMIT, "CPU time");
  answer(&p, "1", true, NULL);
  expect_done(&p, NULL);
  play_end(&p);
}

static const char keeper[] = "local seen, kept, maker = 0, {}, nil\n"
                             "return playbook { title = 'T', uses = { 'ldap.lock' }, run = function(incident, act, p)\n"
                             "  seen = seen + 1\n"
                             "  kept[#kept + 1] = p.user\n"
                             "  maker = maker or function() return seen end\n"
                             "  local big = {}\n"
                             "  for i = 1, 5000 do big['key' .. i] = { i, tostring(i) } end\n"
                             "  local text = ('x'):rep(200000)\n"
                             "  local alerts = incident.alerts\n"
                             "  local co = { pcall(error, { text, big, alerts }) }\n"
                             "  act.ldap.lock { n = #kept, seen = maker(), of = kept[1], long = #text, alerts = #alerts, failed = co[1] }\n"
                             "end }\n";

static void keeper_begin(struct play *p, const struct script_limits *limits, const char *uses_text, const char *user) {
  struct err err = {0};
  json_t *uses = test_json(uses_text), *params = json_pack("{s:s}", "user", user);
  if (script_new(p->d, uses, limits, &test_host, &p->script, &err) < 0) fail_msg("%s", err.text);
  p->thread = script_start(p->script, params, NULL, &p->out);
  json_decref(params);
  json_decref(uses);
}

/* A run gets the memory of one that is over, and finds nothing of it: no upvalue, no table, no used-up time or memory. */
static void test_a_run_leaves_nothing_for_the_next(void **state) {
  static const char uses[] = "{\"ldap\":[\"lock\"]}";
  const void *memory = NULL;
  size_t used = 0, peak = 0, again;
  for (int i = 0; i < 50; i++) {
    struct play p = {.d = test_playbook(keeper)};
    char user[32], expected[160];
    snprintf(user, sizeof user, "user-%02d", i);
    keeper_begin(&p, &small, uses, user);
    snprintf(expected, sizeof expected,
             "{\"connector\":\"ldap\",\"action\":\"lock\",\"params\":{\"n\":1,\"seen\":1,\"of\":\"%s\",\"long\":200000,\"alerts\":2,"
             "\"failed\":false}}",
             user);
    if (i == 0) memory = script_state(p.script), used = script_memory(p.script, &peak);
    assert_ptr_equal(script_state(p.script), memory);
    assert_int_equal(script_memory(p.script, &again), used);
    assert_int_equal(again, peak);
    expect_verb(&p, "action", expected);
    if (i % 2) answer(&p, "1", true, NULL); /* or it is dropped while it waits */
    play_end(&p);
  }
}

/* Only of the same text, uses and limits, and nothing that has asked the host while it was made. */
static void test_memory_is_passed_on_to_the_same_only(void **state) {
  static const char uses[] = "{\"ldap\":[\"lock\"]}";
  struct script_limits other = small;
  struct play p = {.d = test_playbook(keeper)};
  other.memory += 1;
  keeper_begin(&p, &small, uses, "alice");
  const struct state *first = script_state(p.script);
  script_yield_release(&p.out);
  script_free(p.script);
  keeper_begin(&p, &other, uses, "alice");
  assert_ptr_not_equal(script_state(p.script), first);
  script_yield_release(&p.out);
  script_free(p.script);
  keeper_begin(&p, &small, "{\"ldap\":[\"find\"]}", "alice");
  assert_ptr_not_equal(script_state(p.script), first);
  script_trim(); /* what is in use stays */
  script_trim();
  answer(&p, "1", true, NULL);
  play_end(&p);
  script_trim();
  p = (struct play){.d = test_playbook("local _, at = pcall(function() return now() end)\n"
                                       "return playbook { title = 'T', run = function(incident) incident:note(tostring(at)) end }")};
  for (int i = 0; i < 2; i++) {
    keeper_begin(&p, &small, "{}", "alice");
    assert_null(script_state(p.script)->spare);
    script_yield_release(&p.out);
    script_free(p.script);
  }
  p.script = NULL;
  play_end(&p);
}

/* Waiting is free: only CPU time counts, so the wall clock may go on between bursts. */
static void test_budget_counts_cpu_time(void **state) {
  struct play p;
  play_body(&p, "for _ = 1, 5 do act.ldap.lock {} end return 'through'");
  for (int i = 0; i < 5; i++) {
    struct timespec pause = {.tv_nsec = 30000000};
    nanosleep(&pause, NULL);
    answer(&p, "1", true, NULL);
  }
  expect_done(&p, "\"through\"");
  play_end(&p);
}

/* ---- what scripts can name ------------------------------------------------------------------------------------------------ */

struct walk {
  struct buf *out;
  const void *seen[512];
  size_t count;
};

static bool first_time(struct walk *w, const void *p) {
  for (size_t i = 0; i < w->count; i++)
    if (w->seen[i] == p) return false;
  assert_true(w->count < 512);
  w->seen[w->count++] = p;
  return true;
}

/* The value at the top: its path and type, then everything that a script could reach through it. */
static void walk_value(struct walk *w, lua_State *L, const char *path) {
  assert_true(lua_checkstack(L, 12));
  int value = lua_gettop(L);
  if (*path) buf_addf(w->out, "%s %s\n", path, lua_isnumber(L, value) ? "number" : luaL_typename(L, value));
  if (luaL_getmetafield(L, value, "__metatable") == LUA_TNIL && lua_getmetatable(L, value))
    buf_addf(w->out, "%s has a metatable that scripts can get\n", path);
  lua_settop(L, value);
  if (!lua_istable(L, value) || !first_time(w, lua_topointer(L, value))) return;
  push_contents(L, value);
  push_sorted_keys(L, -1);
  for (lua_Integer i = 1, n = (lua_Integer)lua_rawlen(L, value + 2); i <= n; i++) {
    char name[256];
    lua_rawgeti(L, value + 2, i);
    snprintf(name, sizeof name, "%s%s%s", path, *path ? "." : "", luaL_tolstring(L, -1, NULL));
    lua_pop(L, 1);
    lua_rawget(L, value + 1);
    if (strncmp(name, "ocsf.", 5) == 0) assert_true(lua_isfunction(L, -1)); /* pure Lua of ours: its names may come and go */
    else walk_value(w, L, name);
    lua_settop(L, value + 2);
  }
  lua_settop(L, value);
}

static void list_names(struct buf *out, const char *title, lua_State *L) {
  struct walk w = {.out = out};
  buf_addf(out, "# %s\n", title);
  globals_force(L);
  globals_push_env(L);
  walk_value(&w, L, "");
  lua_settop(L, 0);
}

static void test_reachable_names(void **state) {
  struct buf found, expected;
  buf_init(&found, 1 << 20);
  buf_init(&expected, 1 << 20);
  struct play p;
  play_body(&p, "incident:wait '1s'");
  list_names(&found, "a run", script_state(p.script)->L);
  play_end(&p);
  struct state *s = NULL;
  assert_int_equal(state_new(STATE_CONNECTOR, NULL, &s, NULL), 0);
  list_names(&found, "a connector", s->L);
  state_free(s);
  FILE *f = fopen("tests/data/lua_globals.expected", "r");
  char line[256];
  while (f && fgets(line, sizeof line, f)) buf_adds(&expected, line);
  if (f) fclose(f);
  if (strcmp(found.data, expected.data) != 0) {
    fputs(found.data, stderr);
    fail_msg("what scripts can reach is not what tests/data/lua_globals.expected says");
  }
  buf_release(&found);
  buf_release(&expected);
}

static void test_the_prelude_is_the_files(void **state) {
  static const char *const files[PRELUDE_PARTS] = {
      [PRELUDE_COMMON] = "prelude",  [PRELUDE_RUN] = "run",           [PRELUDE_VERBS] = "verbs",
      [PRELUDE_DECLARE] = "declare", [PRELUDE_SETTINGS] = "settings", [PRELUDE_OCSF] = "ocsf"};
  for (int i = 0; i < PRELUDE_PARTS; i++) {
    char path[128];
    size_t len;
    const char *text = prelude_text((enum prelude_part)i, &len);
    snprintf(path, sizeof path, "orchestrator/script/%s.lua", files[i]);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    char *file = malloc(len + 2);
    assert_int_equal(fread(file, 1, len + 1, f), len);
    assert_memory_equal(file, text, len);
    free(file);
    fclose(f);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_the_designs_playbook),
      cmocka_unit_test(test_a_failure_comes_back),
      cmocka_unit_test(test_hand_over_is_the_end),
      cmocka_unit_test(test_every_verb),
      cmocka_unit_test(test_mistakes_say_what_to_do),
      cmocka_unit_test(test_secrets_show_nothing),
      cmocka_unit_test(test_branches),
      cmocka_unit_test(test_nothing_in_parallel),
      cmocka_unit_test(test_the_same_again),
      cmocka_unit_test(test_escapes),
      cmocka_unit_test(test_bytecode_is_refused),
      cmocka_unit_test(test_an_ended_run_stays_ended),
      cmocka_unit_test(test_a_run_leaves_nothing_for_the_next),
      cmocka_unit_test(test_memory_is_passed_on_to_the_same_only),
      cmocka_unit_test(test_budget_counts_cpu_time),
      cmocka_unit_test(test_reachable_names),
      cmocka_unit_test(test_the_prelude_is_the_files),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
