/* address.h: an instance's network rules: which addresses may be connected, and which CA is believed.
 *
 * The address is checked on the socket that is really used, after name resolution, so that a name cannot lead elsewhere. Refused unless the
 * rules let them in: link-local, the clouds' metadata addresses, unspecified, broadcast and multicast; IPv6 forms of IPv4 addresses count as
 * what they lead to. Pure. Only transport/ includes it. */
#ifndef TOCSIN_TRANSPORT_ADDRESS_H
#define TOCSIN_TRANSPORT_ADDRESS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/err.h"

enum { ADDRESS_TEXT = 48, MOST_NETWORKS = 64 };

struct network {
  uint8_t address[16];
  unsigned bits; /* of the IPv6 form */
};

struct netrules {
  char *ca_file;
  bool allow_link_local;
  struct network *allow;
  size_t allow_count;
};

/* network may be NULL: no rules, the defaults. */
int netrules_init(struct netrules *rules, const json_t *network, struct err *err);
void netrules_release(struct netrules *rules);
/* Other families than IPv4 and IPv6 (Unix sockets) are let in. */
bool netrules_allow(const struct netrules *rules, const struct sockaddr *address);
bool netrules_allow_text(const struct netrules *rules, const char *address); /* false also when it is none */
void address_text(const struct sockaddr *address, char out[ADDRESS_TEXT]);

#endif
