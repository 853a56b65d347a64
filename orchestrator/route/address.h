/* address.h: IP addresses and networks (RFC 4632, RFC 4291) as values.
 *
 * An IPv4 address and its IPv4-mapped IPv6 form (::ffff:192.0.2.1) are the same address; an IPv6 network such as ::/0 holds no IPv4 address. */
#ifndef TOCSIN_ROUTE_ADDRESS_H
#define TOCSIN_ROUTE_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct network {
  uint8_t bytes[16]; /* IPv4 as IPv4-mapped */
  uint8_t bits;      /* 0…128; of an IPv4 network 96 more than written */
  bool v4;
};

/* "192.0.2.1", "2001:db8::1", "fe80::1%eth0" (the zone is dropped). bits is 128. */
bool address_parse(const char *text, size_t len, struct network *ret);
/* An address or a network; ERR_INVALID names what is wrong (bits set behind the prefix: with the network that was meant). */
int network_parse(const char *text, size_t len, struct network *ret, struct err *err);
bool network_has(const struct network *net, const struct network *address);
/* The address cut to its first bits. */
void network_mask(struct network *net, uint8_t bits);

#endif
