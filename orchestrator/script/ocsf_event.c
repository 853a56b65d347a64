/* ocsf.event(doc): the finding of an event that speaks OCSF already. It is passed through: its time, severity and names are set right, and its observables are made
 * whole.
 *
 * The finding is made of the document's own values, and leaves the script as it is: Lua sees none of them. What comes as OCSF comes in
 * numbers, and all of it would be taken into Lua only to be taken out again. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "script/ocsf.h"

enum { WITHOUT_MOST = 4 };

struct event {
  lua_State *L; /* whose budget is charged */
  const json_t *doc;
  json_t *out;  /* the finding */
  json_t *seen; /* "path\0value" of what is observed */
  size_t left_off;
  const char *without[WITHOUT_MOST]; /* members of doc that the finding does not have */
  size_t without_count;
};

static const json_t *at(const struct event *e, const json_t *node, const char *path) { return ocsf_node_get(e->L, node, ocsf_word(path)); }
static bool is_table(const json_t *node) { return json_is_object(node) || json_is_array(node); }
static json_t *share(const json_t *node) { return json_incref((json_t *)(uintptr_t)node); }

/* New; NULL: it says nothing. */
static json_t *text_of(const json_t *node) {
  char room[OCSF_NUMBER];
  struct span s;
  if (!ocsf_node_says(node, room, &s)) return NULL;
  return json_is_string(node) && s.len == json_string_length(node) ? share(node) : bridge_text(s.at, s.len);
}

static bool says(const json_t *node) {
  char room[OCSF_NUMBER];
  struct span s;
  return ocsf_node_says(node, room, &s);
}

/* Adds those members of node that the object lacks. */
static void add_members(json_t *object, const json_t *node) {
  json_t *from = (json_t *)(uintptr_t)node;
  for (void *it = json_object_iter(from); it; it = json_object_iter_next(from, it)) {
    const char *name = json_object_iter_key(it);
    size_t len = json_object_iter_key_len(it);
    if (!json_object_getn(object, name, len)) json_object_setn_new_nocheck(object, name, len, share(json_object_iter_value(it)));
  }
}

/* A new object with the members of node. */
static json_t *copy_of(const json_t *node) {
  json_t *copy = json_object();
  add_members(copy, node);
  return copy;
}

/* NULL: it has no such member. */
static inline void set(json_t *object, const char *name, json_t *value_take) {
  if (value_take) json_object_set_new(object, name, value_take);
  else json_object_del(object, name);
}

/* A member of the finding; NULL: it has none, whatever the event has. */
static inline void make(struct event *e, const char *name, json_t *value_take) {
  if (value_take) json_object_set_new(e->out, name, value_take);
  else e->without[e->without_count++] = name;
}

/* The rest of the event's members, once all others are made. */
static void make_rest(struct event *e) {
  add_members(e->out, e->doc);
  while (e->without_count) json_object_del(e->out, e->without[--e->without_count]);
}

/* ---- observables ---------------------------------------------------------------------------------------------- */

/* The members of one object that are worth observing: name, kind… */
static const char *const of_user[] = {"name", "User Name", "email_addr", "Email Address", NULL};
static const char *const of_place[] = {"hostname", "Hostname", "ip", "IP Address", "mac", "MAC Address", NULL};
static const char *const of_process[] = {"name", "Process Name", NULL};
static const char *const of_file[] = {"name", "File Name", NULL};

static json_t *observables(const struct event *e) { return json_object_get(e->out, "observables"); }

static size_t observable_key(char *room, struct span path, struct span value) {
  memcpy(room, path.at, path.len);
  room[path.len] = 0;
  memcpy(room + path.len + 1, value.at, value.len);
  return path.len + 1 + value.len;
}

static json_t *observable(struct span path, const char *kind, json_t *value_take) {
  json_t *o = json_object();
  json_object_set_new(o, "name", json_stringn_nocheck(path.at, path.len));
  json_object_set_new(o, "type", json_string(kind));
  json_object_set_new(o, "type_id", json_integer(ocsf_type_id(ocsf_word(kind))));
  json_object_set_new(o, "value", value_take);
  return o;
}

/* Observes the text that node says, once. */
static void observe(struct event *e, struct span path, const char *kind, const json_t *node) {
  char room[OCSF_NUMBER], key[OCSF_PATH + 1 + OCSF_TEXT];
  struct span value;
  if (!ocsf_node_says(node, room, &value)) return;
  size_t len = observable_key(key, path, value);
  if (json_object_getn(e->seen, key, len)) return;
  if (json_array_size(observables(e)) >= OCSF_OBSERVABLES) {
    e->left_off++;
    return;
  }
  json_array_append_new(observables(e), observable(path, kind, text_of(node)));
  json_object_setn_new_nocheck(e->seen, key, len, json_true());
}

static void observe_members(struct event *e, const json_t *object, struct span path, const char *const *members) {
  char dotted[OCSF_PATH], room[OCSF_PATH];
  struct span base = ocsf_below(e->L, dotted, path, ".");
  for (; is_table(object) && *members; members += 2)
    observe(e, ocsf_below(e->L, room, base, members[0]), members[1], at(e, object, members[0]));
}

/* The elements of the list at `member` of node to `each`; what is no list is one of itself. */
static void for_each(struct event *e, const json_t *node, const char *member,
                     void (*each)(struct event *e, const json_t *node, struct span path), struct span path) {
  const json_t *list = at(e, node, member), *item;
  size_t i;
  if (list && !json_is_array(list) && !(json_is_object(list) && !json_object_size(list))) each(e, list, path);
  json_array_foreach(list, i, item) {
    state_charge(e->L, 8);
    each(e, item, path);
  }
}

static void observe_hash(struct event *e, const json_t *hash, struct span path) { observe(e, path, "Hash", at(e, hash, "value")); }

static void observe_file(struct event *e, const json_t *file, struct span path) {
  char room[OCSF_PATH];
  if (!is_table(file)) return;
  observe_members(e, file, path, of_file);
  for_each(e, file, "hashes", observe_hash, ocsf_below(e->L, room, path, ".hashes.value"));
}

static void observe_process(struct event *e, const json_t *process, struct span path) {
  char room[OCSF_PATH];
  if (!is_table(process)) return;
  observe_members(e, process, path, of_process);
  observe_file(e, at(e, process, "file"), ocsf_below(e->L, room, path, ".file"));
}

static void observe_places(struct event *e, const json_t *node, const char *prefix) {
  static const struct {
    const char *path, *const *members;
  } places[] = {{"actor.user", of_user}, {"user", of_user}, {"device", of_place}, {"src_endpoint", of_place}, {"dst_endpoint", of_place}};
  char room[OCSF_PATH];
  const struct span before = ocsf_word(prefix);
  if (!is_table(node)) return;
  for (size_t i = 0; i < sizeof places / sizeof *places; i++)
    observe_members(e, at(e, node, places[i].path), ocsf_below(e->L, room, before, places[i].path), places[i].members);
  observe_process(e, at(e, node, "actor.process"), ocsf_below(e->L, room, before, "actor.process"));
  observe_process(e, at(e, node, "process"), ocsf_below(e->L, room, before, "process"));
  observe_file(e, at(e, node, "file"), ocsf_below(e->L, room, before, "file"));
  observe(e, ocsf_below(e->L, room, before, "url.url_string"), "URL String", at(e, node, "url.url_string"));
  observe(e, ocsf_below(e->L, room, before, "query.hostname"), "Hostname", at(e, node, "query.hostname"));
}

/* One that the event lists stays as it is. */
static void keep_observable(struct event *e, const json_t *listed, struct span none) {
  char name_room[OCSF_NUMBER], value_room[OCSF_NUMBER], key[2 * OCSF_TEXT + 1];
  struct span name, value;
  if (!json_is_object(listed) || json_array_size(observables(e)) >= OCSF_OBSERVABLES) return;
  if (!ocsf_node_says(json_object_get(listed, "name"), name_room, &name)) return;
  if (!ocsf_node_says(json_object_get(listed, "value"), value_room, &value)) return;
  json_object_setn_new_nocheck(e->seen, key, observable_key(key, name, value), json_true());
  json_array_append_new(observables(e), share(listed));
}

static void observe_evidence(struct event *e, const json_t *evidence, struct span none) { observe_places(e, evidence, "evidences."); }

static void observe_resource(struct event *e, const json_t *resource, struct span path) {
  const json_t *uid = at(e, resource, "uid");
  observe(e, path, "Resource UID", says(uid) ? uid : at(e, resource, "name"));
}

/* How many were left off stands beside what is not mapped, if that is an object. */
static void tell_left_off(struct event *e) {
  json_t *unmapped = json_object_get(e->out, "unmapped"), *own;
  if (!e->left_off || (unmapped && !json_is_object(unmapped)) || json_object_get(unmapped, "observables_left_off")) return;
  own = copy_of(unmapped);
  json_object_set_new(own, "observables_left_off", json_integer((json_int_t)e->left_off));
  json_object_set_new(e->out, "unmapped", own);
}

static void observe_all(struct event *e) {
  const struct span none = {0};
  for_each(e, e->doc, "observables", keep_observable, none);
  observe_places(e, e->doc, "");
  for_each(e, e->doc, "evidences", observe_evidence, none);
  for_each(e, e->doc, "resources", observe_resource, ocsf_word("resources.uid"));
  if (!json_array_size(observables(e))) json_object_del(e->out, "observables");
  tell_left_off(e);
}

/* ---- what it says of itself ----------------------------------------------------------------------------------- */

static const char *severity_word(int64_t id) {
  static const char *const words[] = {"Unknown", "Informational", "Low", "Medium", "High", "Critical", "Fatal"};
  return id >= 0 && id < (int64_t)(sizeof words / sizeof *words) ? words[id] : id == 99 ? "Other" : NULL;
}

static void set_severity(struct event *e) {
  const json_t *word = at(e, e->doc, "severity");
  int64_t id;
  if (!ocsf_node_integer(at(e, e->doc, "severity_id"), &id))
    id = json_is_string(word) ? text_severity((struct span){json_string_value(word), json_string_length(word)}) : 0;
  if (!severity_word(id)) id = 0;
  make(e, "severity_id", json_integer(id));
  make(e, "severity", json_string(severity_word(id)));
}

static bool time_of(const struct event *e, const char *number, const char *text, int64_t *ret_ms) {
  return ocsf_node_time(e->L, at(e, e->doc, number), ret_ms) || ocsf_node_time(e->L, at(e, e->doc, text), ret_ms);
}

/* A start behind the event's own time is not believed. time NULL: it has none. */
static void set_times(struct event *e, const int64_t *time) {
  int64_t start;
  bool began = time_of(e, "start_time", "start_time_dt", &start) && (!time || start <= *time);
  make(e, "time", time ? json_integer(*time) : NULL);
  make(e, "start_time", began ? json_integer(start) : NULL);
}

/* What the event was, when it was none of these. */
static void set_class(struct event *e) {
  int64_t activity = 1, class;
  ocsf_node_integer(at(e, e->doc, "activity_id"), &activity);
  if (ocsf_node_integer(at(e, e->doc, "class_uid"), &class) && class != OCSF_CLASS) {
    json_t *unmapped = copy_of(json_object_get(e->doc, "unmapped"));
    set(unmapped, "class_uid", json_integer(class));
    set(unmapped, "class_name", text_of(at(e, e->doc, "class_name")));
    make(e, "unmapped", unmapped);
    make(e, "category_name", NULL);
  }
  make(e, "class_uid", json_integer(OCSF_CLASS));
  make(e, "class_name", json_string("Detection Finding"));
  make(e, "category_uid", json_integer(2));
  make(e, "activity_id", json_integer(activity));
  make(e, "type_uid", json_integer((json_int_t)((uint64_t)activity + OCSF_CLASS * UINT64_C(100)))); /* as Lua adds: any number may come */
}

/* ---- metadata and finding_info -------------------------------------------------------------------------------- */

/* A scanner that finds the same again sends the same finding uid with a new time: that is news, so without an id of its own the time belongs to the event's. */
static json_t *event_uid(const json_t *finding, const int64_t *time) {
  char number[OCSF_NUMBER], room[OCSF_TEXT + OCSF_NUMBER];
  struct span uid;
  if (!ocsf_node_says(finding, number, &uid)) return NULL;
  memcpy(room, uid.at, uid.len);
  if (time) uid.len += (size_t)snprintf(room + uid.len, OCSF_NUMBER, "@%" PRId64, *time);
  return bridge_text(room, uid.len);
}

static void set_metadata(struct event *e, const int64_t *time) {
  const json_t *finding = at(e, e->doc, "finding_info.uid");
  json_t *meta = copy_of(at(e, e->doc, "metadata"));
  if (!says(json_object_get(meta, "uid"))) set(meta, "uid", event_uid(finding, time));
  if (!says(json_object_get(meta, "correlation_uid"))) set(meta, "correlation_uid", text_of(finding));
  if (!is_table(json_object_get(meta, "product"))) set(meta, "product", json_pack("{s:s}", "name", "Unknown"));
  if (!says(json_object_get(meta, "version"))) set(meta, "version", json_string("1.3.0"));
  make(e, "metadata", meta);
}

static json_t *title_of(const struct event *e) {
  static const char *const paths[] = {"finding_info.title", "finding.title", "message", "class_name"};
  for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
    json_t *title = text_of(at(e, e->doc, paths[i]));
    if (title) return title;
  }
  return json_string("Alert without a title");
}

static void set_finding_info(struct event *e) {
  const json_t *info = at(e, e->doc, "finding_info"), *attacks = at(e, e->doc, "attacks");
  json_t *own = copy_of(is_table(info) ? info : at(e, e->doc, "finding")), *title = title_of(e),
         *message = text_of(at(e, e->doc, "message")), *name = text_of(json_object_get(own, "title"));
  set(own, "title", name ? name : json_incref(title));
  if (is_table(attacks) && !json_object_get(own, "attacks")) set(own, "attacks", share(attacks));
  make(e, "finding_info", own);
  make(e, "message", message ? message : json_incref(title));
  json_decref(title);
}

int ocsf_event(lua_State *L) {
  int64_t time;
  lua_settop(L, 1);
  document_let_go(L);
  const json_t *doc = ocsf_node_of(L, 1);
  bool ordinary = !doc && lua_istable(L, 1);
  if (ordinary) doc = document_hold(L, bridge_pull(L, 1));
  struct event e = {.L = L, .doc = doc, .out = document_hold(L, json_object()), .seen = document_hold(L, json_object())};
  const int64_t *when = time_of(&e, "time", "time_dt", &time) ? &time : NULL;
  set_class(&e);
  set_severity(&e);
  set_times(&e, when);
  set_metadata(&e, when);
  set_finding_info(&e);
  make(&e, "observables", json_array());
  make_rest(&e);
  observe_all(&e);
  if (ordinary) bridge_push(L, e.out, SCRIPT_TRUSTED); /* the names in it are the script's already */
  else document_push_own(L, e.out);
  document_let_go(L);
  return 1;
}
