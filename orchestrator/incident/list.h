/* list.h: the states of many incidents, newest first. Reads only. */
#ifndef TOCSIN_INCIDENT_LIST_H
#define TOCSIN_INCIDENT_LIST_H

#include "incident/incident.h"

/* states: borrowed array of folded states; NULL with err. */
typedef void list_cb(void *arg, const json_t *states, const struct err *err);
/* Those of the incidents that sleep and ask something: the ones that fell asleep first. */
void desk_list_asking(struct desk *d, size_t limit, list_cb *cb, void *arg);
void desk_list(struct desk *d, bool open, bool recent, size_t limit, list_cb *cb, void *arg);

void desk_list_of(struct desk *d, json_t *ids_take, list_cb *cb, void *arg); /* of these */

struct call;
/* The call's answer becomes {"questions", "questions_total"}: those that are awake at once; cb brings the sleepers' states, for asking_end. */
void asking_begin(struct call *call, list_cb *cb);
void asking_end(struct call *call, const json_t *sleeping);
/* incident: "INC-000042"; full: the question's id. Answers the call. */
void asking_answer(struct call *call, const char *incident, const char *full);

#endif
