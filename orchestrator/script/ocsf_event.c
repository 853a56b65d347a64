/* ocsf.observe_event(f, doc): what an event that is OCSF already bears: the observables that it lists, and what stands at OCSF's own places. */
#include "script/ocsf.h"

/* The members of one object that are worth observing: name, kind… */
static const char *const of_user[] = {"name", "User Name", "email_addr", "Email Address", NULL};
static const char *const of_place[] = {"hostname", "Hostname", "ip", "IP Address", "mac", "MAC Address", NULL};
static const char *const of_process[] = {"name", "Process Name", NULL};
static const char *const of_file[] = {"name", "File Name", NULL};

struct at {
  lua_State *L;
  int f; /* index of the builder */
  const char *prefix;
};

static void observe_one(const struct at *a, int index, struct span member, struct span path, const char *kind) {
  int top = lua_gettop(a->L);
  if (ocsf_push_at(a->L, index, member) && ocsf_push_text(a->L, top + 1)) ocsf_observe_text(a->L, a->f, path, ocsf_word(kind), top + 2);
  lua_settop(a->L, top);
}

static void observe_members(const struct at *a, int index, struct span path, const char *const *members) {
  char dotted[OCSF_PATH], room[OCSF_PATH];
  struct span base = ocsf_below(a->L, dotted, path, ".");
  for (; lua_istable(a->L, index) && *members; members += 2)
    observe_one(a, index, ocsf_word(members[0]), ocsf_below(a->L, room, base, members[0]), members[1]);
}

/* The elements of the list at `member` of the value at index, one after the other, to `each`. */
static void for_each(const struct at *a, int index, const char *member, void (*each)(const struct at *a, int index, struct span path),
                     struct span path) {
  int top = lua_gettop(a->L);
  if (ocsf_push_at(a->L, index, ocsf_word(member))) {
    ocsf_push_list(a->L, top + 1);
    for (lua_Integer i = 1; lua_geti(a->L, top + 2, i) != LUA_TNIL; i++) {
      state_charge(a->L, 8); /* a list may answer without end */
      each(a, top + 3, path);
      lua_settop(a->L, top + 2);
    }
  }
  lua_settop(a->L, top);
}

static void observe_hash(const struct at *a, int index, struct span path) {
  char room[OCSF_PATH];
  observe_one(a, index, ocsf_word("value"), ocsf_below(a->L, room, path, ".hashes.value"), "Hash");
}

static void observe_file(const struct at *a, int index, struct span path) {
  if (!lua_istable(a->L, index)) return;
  observe_members(a, index, path, of_file);
  for_each(a, index, "hashes", observe_hash, path);
}

/* An object at a path of the value at index, with its path below the prefix. */
static bool push_object(const struct at *a, int index, const char *path, char room[OCSF_PATH], struct span *ret_path) {
  if (!ocsf_push_at(a->L, index, ocsf_word(path)) || !lua_istable(a->L, -1)) return false;
  *ret_path = ocsf_below(a->L, room, ocsf_word(a->prefix), path);
  return true;
}

static void observe_process(const struct at *a, int index, const char *path) {
  char room[OCSF_PATH], inner[OCSF_PATH];
  struct span at;
  int top = lua_gettop(a->L);
  if (push_object(a, index, path, room, &at)) {
    observe_members(a, top + 1, at, of_process);
    if (ocsf_push_at(a->L, top + 1, ocsf_word("file"))) observe_file(a, top + 2, ocsf_below(a->L, inner, at, ".file"));
  }
  lua_settop(a->L, top);
}

static void observe_places(const struct at *a, int index) {
  static const struct {
    const char *path, *const *members;
  } places[] = {{"actor.user", of_user}, {"user", of_user}, {"device", of_place}, {"src_endpoint", of_place}, {"dst_endpoint", of_place}};
  char room[OCSF_PATH];
  struct span path;
  int top = lua_gettop(a->L);
  if (!lua_istable(a->L, index)) return;
  for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
    if (push_object(a, index, places[i].path, room, &path)) observe_members(a, top + 1, path, places[i].members);
    lua_settop(a->L, top);
  }
  observe_process(a, index, "actor.process");
  observe_process(a, index, "process");
  if (push_object(a, index, "file", room, &path)) observe_file(a, top + 1, path);
  lua_settop(a->L, top);
  observe_one(a, index, ocsf_word("url.url_string"), ocsf_below(a->L, room, ocsf_word(a->prefix), "url.url_string"), "URL String");
  observe_one(a, index, ocsf_word("query.hostname"), ocsf_below(a->L, room, ocsf_word(a->prefix), "query.hostname"), "Hostname");
}

/* One that the event lists stays as it is. */
static void keep_observable(const struct at *a, int index, struct span path) {
  lua_State *L = a->L;
  lua_getfield(L, a->f, "observables");
  lua_Integer n = luaL_len(L, -1);
  if (!lua_istable(L, index) || n >= OCSF_OBSERVABLES) return;
  int top = lua_gettop(L);
  lua_getfield(L, index, "name");
  lua_getfield(L, index, "value");
  if (!ocsf_push_text(L, top + 1) || !ocsf_push_text(L, top + 2)) return;
  lua_getfield(L, a->f, "seen");
  lua_pushvalue(L, top + 3);
  lua_pushlstring(L, "", 1);
  lua_pushvalue(L, top + 4);
  lua_concat(L, 3);
  lua_pushboolean(L, 1);
  lua_settable(L, -3);
  lua_pushvalue(L, index);
  lua_seti(L, top, n + 1);
}

static void observe_evidence(const struct at *a, int index, struct span path) {
  observe_places(&(struct at){a->L, a->f, "evidences."}, index);
}

static void observe_resource(const struct at *a, int index, struct span path) {
  int top = lua_gettop(a->L);
  for (int i = 0; i < 2; i++) {
    if (ocsf_push_at(a->L, index, ocsf_word(i ? "name" : "uid")) && ocsf_push_text(a->L, top + 1)) {
      ocsf_observe_text(a->L, a->f, path, ocsf_word("Resource UID"), top + 2);
      return;
    }
    lua_settop(a->L, top);
  }
}

int ocsf_observe_event(lua_State *L) {
  enum { NESTED = 40 }; /* places on the stack */
  const struct at a = {L, 1, ""};
  lua_settop(L, 2);
  luaL_checkstack(L, NESTED, "nested too deep");
  for_each(&a, 2, "observables", keep_observable, (struct span){0});
  observe_places(&a, 2);
  for_each(&a, 2, "evidences", observe_evidence, (struct span){0});
  for_each(&a, 2, "resources", observe_resource, ocsf_word("resources.uid"));
  return 0;
}
