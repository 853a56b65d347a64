/* incident.h: the sub-commands of `tocsin incident` that only look; those that change something stand in incident.c. */
#ifndef TOCSIN_CMD_INCIDENT_H
#define TOCSIN_CMD_INCIDENT_H

#include "cmd/command.h"

extern const struct command incident_list, incident_show, incident_follow;

#endif
