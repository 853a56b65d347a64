#include "cmd/blocks.h"

#include <stdio.h>
#include <string.h>

#include "base/id.h"
#include "base/json.h"

void block_title(struct view *v, enum style style, const char *title) {
  if (!title) return;
  if (v->out.len) view_put(v, "\n");
  view_style(v, style);
  view_put(v, "%s\n", title);
  view_style(v, STYLE_PLAIN);
}

enum style severity_style(const char *severity) {
  if (strcmp(severity, "high") == 0 || strcmp(severity, "critical") == 0 || strcmp(severity, "fatal") == 0) return STYLE_RED;
  return strcmp(severity, "medium") == 0 ? STYLE_YELLOW : STYLE_PLAIN;
}

void view_target(struct view *v, const json_t *target) {
  const char *type, *between = "";
  json_t *value;
  json_object_foreach((json_t *)(uintptr_t)target, type, value) {
    view_put(v, "%s", between);
    view_text(v, type);
    view_put(v, " ");
    view_value(v, value);
    between = ", ";
  }
}

static void because(struct view *v, const json_t *item) {
  const char *text = json_str(item, "because");
  if (!text || !*text) return;
  view_put(v, ": ");
  view_text(v, text);
}

void block_paused(struct view *v, const json_t *paused) {
  const char *scope;
  json_t *item;
  json_object_foreach((json_t *)(uintptr_t)paused, scope, item) {
    view_style(v, STYLE_RED);
    view_put(v, "PAUSED ");
    if (strcmp(scope, "all") == 0) view_put(v, "everything");
    else view_text(v, scope);
    view_style(v, STYLE_PLAIN);
    view_put(v, " since ");
    view_moment(v, json_int_or(item, "since", v->now));
    view_put(v, " by ");
    view_text(v, json_str_or(item, "by", "?"));
    because(v, item);
    view_put(v, "   (tocsin resume ");
    view_text(v, scope);
    view_put(v, " --because …)\n");
  }
  if (json_object_size(paused)) view_put(v, "\n");
}

void block_answer(struct view *v, const json_t *question) {
  const json_t *options = json_object_get(question, "options");
  size_t i;
  json_t *option;
  view_put(v, "    tocsin answer ");
  view_text(v, json_str_or(question, "id", "?"));
  view_put(v, " ");
  if (!json_array_size(options)) view_put(v, "TEXT");
  json_array_foreach((json_t *)(uintptr_t)options, i, option) {
    const char *text = json_string_value(option);
    bool spaced = text && strchr(text, ' ');
    view_put(v, i ? "|%s" : "%s", spaced ? "\"" : "");
    view_text(v, text);
    if (spaced) view_put(v, "\"");
  }
}

static void deadline(struct view *v, const json_t *question) {
  int64_t until = json_int_or(question, "deadline", 0);
  const char *otherwise = json_str(question, "otherwise");
  if (!until) {
    view_put(v, ", waits for ever");
    return;
  }
  view_put(v, ", until ");
  view_moment(v, until);
  view_put(v, " (");
  view_age(v, until);
  view_put(v, "), then ");
  view_text(v, otherwise ? otherwise : "nothing");
}

void block_questions(struct view *v, const char *title, const json_t *questions) {
  size_t i;
  json_t *q;
  if (!json_array_size(questions)) return;
  block_title(v, STYLE_YELLOW, title);
  json_array_foreach((json_t *)(uintptr_t)questions, i, q) {
    view_put(v, "  ");
    view_style(v, STYLE_BOLD);
    view_id(v, json_str_or(q, "id", "?"));
    view_style(v, STYLE_PLAIN);
    view_put(v, "  ");
    view_block(v, json_str_or(q, "text", ""), 4);
    view_put(v, "\n    asks a ");
    view_text(v, json_str_or(q, "role", "responder"));
    if (json_int_or(q, "approvals", 1) > 1) view_put(v, " (%lld of them)", (long long)json_int_or(q, "approvals", 1));
    view_put(v, ", since ");
    view_moment(v, json_int_or(q, "asked", v->now));
    deadline(v, q);
    view_put(v, "\n");
    block_answer(v, q);
    view_put(v, "\n");
  }
}

/* "  INC-000042/1/3  ldap.lock_account  user alice" */
static void action_line(struct view *v, const json_t *item) {
  view_put(v, "  ");
  view_style(v, STYLE_BOLD);
  view_id(v, json_str_or(item, "id", "?"));
  view_style(v, STYLE_PLAIN);
  view_put(v, "  ");
  view_text(v, json_str_or(item, "connector", "?"));
  view_put(v, ".");
  view_text(v, json_str_or(item, "action", "?"));
  view_put(v, "  ");
  view_target(v, json_object_get(item, "target"));
}

void block_doubt(struct view *v, const char *title, const json_t *in_doubt) {
  size_t i;
  json_t *item;
  if (!json_array_size(in_doubt)) return;
  block_title(v, STYLE_RED, title);
  json_array_foreach((json_t *)(uintptr_t)in_doubt, i, item) {
    action_line(v, item);
    view_put(v, "\n    sent ");
    view_moment(v, json_int_or(item, "since", v->now));
    view_put(v, "; whether it happened is not known");
    if (json_str(item, "why")) {
      view_put(v, ": ");
      view_text(v, json_str(item, "why"));
    }
    view_put(v, "\n");
  }
}

static void contained_status(struct view *v, const json_t *item) {
  const char *status = json_str_or(item, "status", "active");
  if (strcmp(status, "still") == 0) {
    view_style(v, STYLE_RED);
    view_put(v, "  STILL CONTAINED: lifting it failed");
    if (json_str(item, "why")) {
      view_put(v, " (");
      view_text(v, json_str(item, "why"));
      view_put(v, ")");
    }
    view_style(v, STYLE_PLAIN);
  } else if (strcmp(status, "found") == 0) {
    view_put(v, "  found so: it may not be our doing");
  }
}

static void holders(struct view *v, const json_t *item) {
  const json_t *list = json_object_get(item, "holders");
  if (json_array_size(list) < 2) return;
  view_put(v, "; held by ");
  view_value(v, list);
}

void block_contained(struct view *v, const char *title, const json_t *contained) {
  size_t i;
  json_t *item;
  if (!json_array_size(contained)) return;
  block_title(v, STYLE_YELLOW, title);
  json_array_foreach((json_t *)(uintptr_t)contained, i, item) {
    int64_t lift = json_int_or(item, "lift_at", 0);
    action_line(v, item);
    if (json_bool_or(item, "simulated", false)) view_put(v, "  [simulated]");
    contained_status(v, item);
    view_put(v, "\n    since ");
    view_moment(v, json_int_or(item, "since", v->now));
    view_put(v, " (");
    view_age(v, json_int_or(item, "since", v->now));
    view_put(v, ")");
    if (lift) {
      view_put(v, ", lifts by itself at ");
      view_moment(v, lift);
    }
    because(v, item);
    holders(v, item);
    view_put(v, "\n    tocsin release ");
    view_text(v, json_str_or(item, "incident", "INC"));
    view_put(v, " --because …\n");
  }
}

void block_handed_over(struct view *v, const char *title, const json_t *runs) {
  size_t i;
  json_t *run;
  if (!json_array_size(runs)) return;
  block_title(v, STYLE_YELLOW, title);
  json_array_foreach((json_t *)(uintptr_t)runs, i, run) {
    view_put(v, "  ");
    view_style(v, STYLE_BOLD);
    view_id(v, json_str_or(run, "id", "?"));
    view_style(v, STYLE_PLAIN);
    view_put(v, "  ");
    view_text(v, json_str_or(run, "playbook", ""));
    view_put(v, ": ");
    view_block(v, json_str_or(run, "text", "gave its work to a person"), 4);
    view_put(v, "\n");
  }
}

/* What an incident's row should make one look at. */
static void needs(const json_t *item, char *out, size_t size) {
  long long questions = (long long)json_int_or(item, "questions", 0), doubt = (long long)json_int_or(item, "in_doubt", 0),
            contained = (long long)json_int_or(item, "contained", 0);
  char a[40] = "", b[40] = "", c[40] = "";
  const char *uncertain = json_object_get(item, "uncertain") ? "UNCERTAIN " : "";
  if (questions) snprintf(a, sizeof a, "%lld asked ", questions);
  if (doubt) snprintf(b, sizeof b, "%lld IN DOUBT ", doubt);
  if (contained) snprintf(c, sizeof c, "%lld contained", contained);
  snprintf(out, size, "%s%s%s%s", uncertain, a, b, c);
}

static void age_text(const struct view *v, int64_t us, char *out, size_t size) {
  struct view age = {.now = v->now};
  buf_init(&age.out, 256);
  view_age(&age, us);
  snprintf(out, size, "%s", age.out.data);
  buf_release(&age.out);
}

void block_incidents(struct view *v, const json_t *incidents) {
  static const char *const head[] = {"ID", "SEVERITY", "STATUS", "OWNER", "OPENED", "ALERTS", "NEEDS", "TITLE", NULL};
  struct table t;
  size_t i;
  json_t *item;
  if (!json_array_size(incidents)) return;
  table_init(&t, head);
  table_spare(&t, 5);
  table_spare(&t, 3);
  table_spare(&t, 2);
  table_spare(&t, 4);
  json_array_foreach((json_t *)(uintptr_t)incidents, i, item) {
    char age[32], alerts[24], need[128], title[300];
    const char *severity = json_str_or(item, "severity", "unknown");
    snprintf(title, sizeof title, "%s%s", id_exercise(json_str(item, "id")) ? "EXERCISE: " : "", json_str_or(item, "title", ""));
    age_text(v, json_int_or(item, "opened", v->now), age, sizeof age);
    snprintf(alerts, sizeof alerts, "%lld", (long long)json_int_or(item, "alerts", 0));
    needs(item, need, sizeof need);
    const char *cells[] = {
        json_str(item, "id"), severity, json_str(item, "status"), json_str_or(item, "owner", "-"), age, alerts, need, title};
    table_row(&t, severity_style(severity), cells);
  }
  table_print(&t, v);
}

void block_runs(struct view *v, const json_t *runs) {
  static const char *const head[] = {"RUN", "PLAYBOOK", "STATUS", "STEP", "BEGAN", "WAITS FOR", NULL};
  struct table t;
  size_t i;
  json_t *run;
  if (!json_array_size(runs)) return;
  table_init(&t, head);
  table_spare(&t, 4);
  table_spare(&t, 3);
  json_array_foreach((json_t *)(uintptr_t)runs, i, run) {
    char age[32] = "-";
    const char *status = json_str_or(run, "status", "?");
    if (json_int_or(run, "started", 0)) age_text(v, json_int_or(run, "started", 0), age, sizeof age);
    const char *waits = json_str(run, "waiting_for");
    char name[192];
    snprintf(name, sizeof name, "%.150s%s", json_str_or(run, "playbook", "?"), json_bool_or(run, "shadow", false) ? " (shadow)" : "");
    const char *cells[] = {json_str(run, "id"), name, status, json_str_or(run, "step", ""), age, waits ? waits : json_str(run, "error")};
    table_row(&t, strcmp(status, "failed") == 0 || strcmp(status, "handed_over") == 0 ? STYLE_YELLOW : STYLE_PLAIN, cells);
  }
  table_print(&t, v);
}
