/* hall_commands.h: what facilitators say (hall.h lists it). Only for exercise/. */
#ifndef TOCSIN_EXERCISE_HALL_COMMANDS_H
#define TOCSIN_EXERCISE_HALL_COMMANDS_H

#include "exercise/exercise.h"

struct exercise *hall_find(const struct hall *h, const char *id); /* NULL: not at this node, or over */
void hall_commands(struct hall *h);

#endif
