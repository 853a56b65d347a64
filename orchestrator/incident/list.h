/* list.h: the states of many incidents, newest first. Reads only. */
#ifndef TOCSIN_INCIDENT_LIST_H
#define TOCSIN_INCIDENT_LIST_H

#include "incident/incident.h"

/* states: borrowed array of folded states; NULL with err. */
typedef void list_cb(void *arg, const json_t *states, const struct err *err);
void desk_list(struct desk *d, bool open, bool recent, size_t limit, list_cb *cb, void *arg);

#endif
