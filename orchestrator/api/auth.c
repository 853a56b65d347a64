#include "api/auth.h"

#include <string.h>
#include <strings.h>
#include <sys/socket.h>

static int by_token(struct people *people, const char *authorization, const struct person **ret, struct err *err) {
  static const char scheme[] = "Bearer ";
  if (strncasecmp(authorization, scheme, sizeof scheme - 1) != 0)
    return err_set(err, ERR_DENIED, "this Authorization is not understood; send \"Authorization: Bearer TOKEN\"");
  const char *token = authorization + sizeof scheme - 1;
  const struct person *who = people_by_token(people, token, strlen(token));
  if (!who) return err_set(err, ERR_DENIED, "this token is nobody's; the settings' people name who has one");
  *ret = who;
  return 0;
}

static int by_peer(struct people *people, int fd, const struct person **ret, struct err *err) {
  struct sockaddr_storage address = {0};
  socklen_t len = sizeof address;
  struct ucred peer = {.uid = (uid_t)-1};
  if (getsockname(fd, (struct sockaddr *)&address, &len) < 0) return err_errno(err, "cannot tell what kind of connection this is");
  if (address.ss_family != AF_UNIX) return err_set(err, ERR_DENIED, "who are you? send \"Authorization: Bearer TOKEN\"");
  len = sizeof peer;
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0) return err_errno(err, "cannot tell who connected");
  if (peer.uid == (uid_t)-1) return err_set(err, ERR_DENIED, "the system does not say who connected");
  *ret = people_by_uid(people, peer.uid);
  return 0;
}

int auth_person(struct people *people, int fd, const char *authorization, const struct person **ret, struct err *err) {
  return authorization ? by_token(people, authorization, ret, err) : by_peer(people, fd, ret, err);
}
