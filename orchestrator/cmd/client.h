/* client.h: one question to `tocsin serve` over its socket.
 *
 * Prints what went wrong and what to do about it; callers only pass the exit status on. Who asks is established by the other side. */
#ifndef TOCSIN_CMD_CLIENT_H
#define TOCSIN_CMD_CLIENT_H

#include "cmd/command.h"

/* Sends the command (taken over). EXIT_DONE with a new answer, or EXIT_FAILED after printing why. */
int client_ask(const struct cli *cli, json_t *command_take, json_t **ret);
/* The same without printing: the status that the desk gave (or 0: nobody answered) with err filled in. For `doctor` and `follow`. */
int client_try(const struct cli *cli, const json_t *command, long *ret_status, json_t **ret, struct err *err);
/* Prints an answer: as JSON with --json, otherwise by `show`. client_show asks first. */
struct view;
void client_print(const struct cli *cli, const json_t *answer, void (*show)(struct view *v, const json_t *answer));
int client_show(const struct cli *cli, json_t *command_take, void (*show)(struct view *v, const json_t *answer));
/* "42", "inc-42" → "INC-000042"; with a run and a step too. EXIT_USAGE after printing when it is no id. out: ID_PATH. */
int client_id(const struct cli *cli, const char *text, char *out);
/* The socket's path: --socket, $TOCSIN_SOCKET, or the settings'. The caller frees. NULL after printing. */
char *client_socket(const struct cli *cli);

#endif
