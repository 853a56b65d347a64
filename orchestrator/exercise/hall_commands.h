/* hall_commands.h: what facilitators say (hall.h lists it). Only for exercise/. */
#ifndef TOCSIN_EXERCISE_HALL_COMMANDS_H
#define TOCSIN_EXERCISE_HALL_COMMANDS_H

#include "exercise/exercise.h"

struct exercise *hall_find(const struct hall *h, const char *id); /* NULL: not at this node, or over */
void hall_commands(struct hall *h);
void hall_refuse(struct call *call, int status, const char *text);
void hall_fail(struct call *call, const struct err *err);

/* hall_lists.c */
desk_extra_cb hall_list, hall_incidents;
/* The command's exercise; refuses what names none. */
bool hall_id_of(struct call *call, const json_t *command, char out[ID_INCIDENT]);

#endif
