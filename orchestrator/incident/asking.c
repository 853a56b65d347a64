/* What people are asked, by those who are awake and those who sleep, and how an answer finds its question. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "incident/internal.h"
#include "incident/list.h"

enum { LIST_ASKING = 1000, LIST_MOST = 10000 };

/* Who is awake and who sleeps is taken in one moment; what the sleepers ask is then read. */
void asking_begin(struct call *call, list_cb *cb) {
  int64_t wanted = json_int_or(call->command, "limit", LIST_ASKING);
  size_t limit = wanted > 0 && wanted <= LIST_MOST ? (size_t)wanted : LIST_ASKING;
  call->answer = json_pack("{s:o, s:I}", "questions", questions_open(call->desk->deps.questions), "questions_total",
                           (json_int_t)questions_count(call->desk->deps.questions) + sleepers_questions(call->desk->sleepers));
  desk_list_asking(call->desk, limit, cb, call);
}

void asking_end(struct call *call, const json_t *sleeping) {
  json_object_set_new(call->answer, "questions",
                      view_questions(call->desk, json_incref(json_object_get(call->answer, "questions")), sleeping));
}

struct answering {
  struct call *call;
  char id[ID_PATH];
};

static void answer_in(struct incident *inc, void *arg, const struct err *err) {
  struct answering *a = arg;
  struct call *call = a->call;
  struct journal *journal = NULL;
  struct err why;
  const char *answer = call_text(call, "answer");
  if (err) call_fail(call, err);
  else if (question_answer(call->desk->deps.questions, a->id, call->by, answer, &journal, &why) < 0) call_fail(call, &why);
  else call_answer_durable(call, journal, json_pack("{s:s, s:s}", "id", a->id, "answer", answer));
  free(a);
}

/* Of those that sleep only the run that asks. */
static enum wakes answer_wakes(const struct incident *inc, const void *arg, json_t *runs) {
  const struct answering *a = arg;
  const char *at = strchr(a->id, '/');
  if (!at || !json_object_get(json_object_get(journal_state(inc->journal), "questions"), at + 1)) return WAKES_NONE;
  incident_wake(inc, at + 1, runs);
  return WAKES_SOME;
}

/* A sleeper, or one that is just being loaded, has its question again once the run that asks is where its journal ends. */
void asking_answer(struct call *call, const char *incident, const char *full) {
  struct answering *a = calloc(1, sizeof *a);
  if (!a) abort();
  a->call = call;
  snprintf(a->id, sizeof a->id, "%s", full);
  const struct incident *at = map_get(&call->desk->incidents, incident);
  if (sleepers_have(call->desk->sleepers, incident) || (at && at->loading))
    incident_with_some(call->desk, incident, false, answer_wakes, answer_in, a);
  else answer_in(NULL, a, NULL);
}
