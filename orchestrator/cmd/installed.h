/* installed.h: the playbooks and connectors that are installed, read without `tocsin serve`. */
#ifndef TOCSIN_CMD_INSTALLED_H
#define TOCSIN_CMD_INSTALLED_H

#include <jansson.h>

#include "action/registry.h"
#include "cmd/command.h"
#include "script/script.h"

/* The folder that the settings name for "playbooks", "connectors", "runbooks" or "lists". Borrowed from the settings. */
const char *installed_folder(const json_t *settings, const char *what);
/* The configured connectors; NULL after printing why not. */
struct registry *installed_registry(const struct cli *cli, const json_t *settings);
/* The *.lua files of a folder, without tests, sorted: new array of paths. ERR_IO when there is no such folder. */
int installed_files(const char *folder, json_t **ret, struct err *err);
/* One file. */
int installed_playbook(const char *path, struct declaration **ret, struct err *err);
int installed_connector(const char *path, struct declaration **ret, struct err *err);
/* {instance or file's name: declaration}, also of what is installed and not configured, so that its actions' parameters can be checked. New. */
json_t *installed_connectors(const json_t *settings, const struct registry *registry);
/* {name: declaration} of all playbooks; NULL with err when one cannot be read. New. */
json_t *installed_playbooks(const json_t *settings, struct err *err);

#endif
