/* Messages to participants outside of the engine: marked, and only to those whom they are for. */
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "exercise/exercise.h"

enum { TEXT_CAP = 32 << 10 };

/* Who plays these roles; NULL: one of them is played by nobody in particular, so it is for all. New. */
static json_t *players(const struct exercise *x, const json_t *to) {
  json_t *actors = json_array(), *role, *one = json_is_string(to) ? json_pack("[O]", to) : json_incref((json_t *)(uintptr_t)to);
  size_t i;
  bool anybody = !to;
  json_array_foreach(one, i, role) {
    const char *player = exercise_player(x, json_string_value(role));
    if (!player) anybody = true;
    else if (!exercise_scripted(x, json_string_value(role))) json_array_append_new(actors, json_string(player));
  }
  json_decref(one);
  if (!anybody) return actors;
  json_decref(actors);
  return NULL;
}

void exercise_tell(struct exercise *x, const json_t *to, const char *title, const char *text) {
  bool real = strstr(title, "this is real now") != NULL;
  const struct hall_deps *deps = &x->hall->deps;
  char subject[200];
  struct buf out;
  if (!deps->tell) return;
  json_t *people = players(x, to);
  snprintf(subject, sizeof subject, "EXERCISE %s: %.150s", x->id, title);
  buf_init(&out, TEXT_CAP);
  buf_addf(&out, "%s\n\n%s\n\n%s: tocsin incident show %s\n",
           real ? "THE EXERCISE IS BROKEN OFF. This is no exercise any more." : "EXERCISE, EXERCISE, EXERCISE. Nothing of this is real.",
           text, real ? "What it was" : "EXERCISE. What has happened so far", x->id);
  if (buf_ok(&out)) deps->tell(deps->arg, people, subject, out.data);
  buf_release(&out);
  json_decref(people);
}

/* Alerts come by the engine's own ways, and the world changes unseen. */
void exercise_tell_inject(struct exercise *x, const json_t *inject, const char *step) {
  const char *kind = json_str_or(inject, "kind", "");
  const json_t *what = json_object_get(inject, kind);
  size_t i;
  json_t *option;
  struct buf text;
  if (strcmp(kind, "alert") == 0 || strcmp(kind, "world") == 0) return;
  buf_init(&text, TEXT_CAP);
  if (json_str(what, "from")) buf_addf(&text, "%s: ", json_str(what, "from"));
  buf_adds(&text, json_is_string(what) ? json_string_value(what) : json_str_or(what, "text", ""));
  if (strcmp(kind, "question") == 0) {
    buf_addf(&text, "\n\nAnswer with:  tocsin answer %s/0/%s ", x->id, step);
    json_array_foreach(json_object_get(what, "options"), i, option) buf_addf(&text, "%s%s", i ? " | " : "", json_string_value(option));
  }
  if (buf_ok(&text)) exercise_tell(x, json_is_object(what) ? json_object_get(what, "to") : NULL, kind, text.data);
  buf_release(&text);
}
