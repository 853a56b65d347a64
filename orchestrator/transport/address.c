#include "transport/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "transport/form.h"

static void from_v4(const uint8_t v4[4], uint8_t out[16]) {
  memset(out, 0, 10);
  out[10] = out[11] = 0xff;
  memcpy(out + 12, v4, 4);
}

/* Every address as IPv6; the well-known wrappings of IPv4 (compatible, NAT64, 6to4) as the IPv4 they lead to. */
static void canonical(uint8_t a[16]) {
  static const uint8_t zeros[12], nat64[12] = {0, 0x64, 0xff, 0x9b};
  uint8_t v4[4];
  bool small = a[12] == 0 && a[13] == 0 && a[14] == 0 && a[15] <= 1; /* :: and ::1 */
  if ((memcmp(a, zeros, 12) == 0 && !small) || memcmp(a, nat64, 12) == 0) memcpy(v4, a + 12, 4);
  else if (a[0] == 0x20 && a[1] == 0x02) memcpy(v4, a + 2, 4);
  else return;
  from_v4(v4, a);
}

static bool to_bytes(const struct sockaddr *address, uint8_t out[16]) {
  if (address->sa_family == AF_INET) {
    uint8_t v4[4];
    memcpy(v4, &((const struct sockaddr_in *)(const void *)address)->sin_addr, 4);
    from_v4(v4, out);
  } else if (address->sa_family == AF_INET6) {
    memcpy(out, &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr, 16);
    canonical(out);
  } else {
    return false;
  }
  return true;
}

static bool inside(const uint8_t a[16], const uint8_t net[16], unsigned bits) {
  unsigned whole = bits / 8, rest = bits % 8;
  if (memcmp(a, net, whole) != 0) return false;
  return !rest || ((a[whole] ^ net[whole]) & (0xff00 >> rest) & 0xff) == 0;
}

static int parse_network(const char *text, struct network *out, struct err *err) {
  char address[ADDRESS_TEXT];
  const char *slash = strchr(text, '/');
  size_t n = slash ? (size_t)(slash - text) : strlen(text);
  uint8_t v4[4];
  char *end = NULL;
  long bits = slash ? strtol(slash + 1, &end, 10) : -1;
  if (n >= sizeof address || (slash && (end == slash + 1 || *end))) goto bad;
  memcpy(address, text, n);
  address[n] = 0;
  if (inet_pton(AF_INET, address, v4) == 1 && bits <= 32) {
    from_v4(v4, out->address);
    out->bits = 96 + (unsigned)(bits < 0 ? 32 : bits);
    return 0;
  }
  if (inet_pton(AF_INET6, address, out->address) == 1 && bits <= 128) {
    out->bits = (unsigned)(bits < 0 ? 128 : bits);
    return 0;
  }
bad:
  return err_set(err, ERR_INVALID, "network: %.64s is no network such as 10.1.0.0/16", text);
}

int netrules_init(struct netrules *rules, const json_t *network, struct err *err) {
  static const char *const names[] = {"ca_file", "allow_link_local", "allow", NULL};
  const json_t *allow = NULL;
  const char *ca = NULL;
  int r = 0;
  memset(rules, 0, sizeof *rules);
  if (!network || json_is_null(network)) return 0;
  if ((r = form_members(network, "network", names, err)) < 0 || (r = form_string(network, "network", "ca_file", false, &ca, err)) < 0 ||
      (r = form_bool(network, "network", "allow_link_local", false, &rules->allow_link_local, err)) < 0 ||
      (r = form_list(network, "network", "allow", &allow, err)) < 0)
    return r;
  size_t count = json_array_size(allow);
  if (count > MOST_NETWORKS) return err_set(err, ERR_LIMIT, "network: allow has more than %d entries", MOST_NETWORKS);
  rules->allow = calloc(count + 1, sizeof *rules->allow);
  rules->ca_file = ca ? strdup(ca) : NULL;
  if (!rules->allow || (ca && !rules->ca_file)) abort();
  for (; rules->allow_count < count && r == 0; rules->allow_count++) {
    const char *text = json_string_value(json_array_get(allow, rules->allow_count));
    r = parse_network(text ? text : "", &rules->allow[rules->allow_count], err);
  }
  if (r < 0) netrules_release(rules);
  return r;
}

void netrules_release(struct netrules *rules) {
  free(rules->ca_file);
  free(rules->allow);
  memset(rules, 0, sizeof *rules);
}

#define V4(a, b, c, d)                                                                                                                     \
  { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d }

/* The clouds' metadata services: whoever reaches them gets the machine's own credentials. */
static const struct network metadata[] = {{V4(169, 254, 169, 254), 128}, {{0xfd, 0, 0x0e, 0xc2, [14] = 0x02, [15] = 0x54}, 128}};
static const struct network link_local[] = {{V4(169, 254, 0, 0), 112}, {{0xfe, 0x80}, 10}};
/* Unspecified (0.0.0.0/8, ::), multicast, broadcast. */
static const struct network nowhere[] = {
    {V4(0, 0, 0, 0), 104}, {{0}, 128}, {V4(224, 0, 0, 0), 100}, {{0xff}, 8}, {V4(255, 255, 255, 255), 128}};

static bool inside_any(const uint8_t a[16], const struct network *networks, size_t count) {
  for (size_t i = 0; i < count; i++)
    if (inside(a, networks[i].address, networks[i].bits)) return true;
  return false;
}

static bool allow_bytes(const struct netrules *rules, const uint8_t a[16]) {
  if (inside_any(a, rules->allow, rules->allow_count)) return true;
  if (inside_any(a, metadata, sizeof metadata / sizeof *metadata) || inside_any(a, nowhere, sizeof nowhere / sizeof *nowhere)) return false;
  return rules->allow_link_local || !inside_any(a, link_local, sizeof link_local / sizeof *link_local);
}

bool netrules_allow(const struct netrules *rules, const struct sockaddr *address) {
  uint8_t a[16];
  return !to_bytes(address, a) || allow_bytes(rules, a);
}

bool netrules_allow_text(const struct netrules *rules, const char *address) {
  uint8_t a[16], v4[4];
  char plain[ADDRESS_TEXT];
  size_t len = strcspn(address, "%"); /* without the scope of fe80::1%eth0 */
  if (len >= sizeof plain) return false;
  memcpy(plain, address, len);
  plain[len] = 0;
  if (inet_pton(AF_INET, plain, v4) == 1) from_v4(v4, a);
  else if (inet_pton(AF_INET6, plain, a) == 1) canonical(a);
  else return false;
  return allow_bytes(rules, a);
}

void address_text(const struct sockaddr *address, char out[ADDRESS_TEXT]) {
  const void *bytes = address->sa_family == AF_INET ? (const void *)&((const struct sockaddr_in *)(const void *)address)->sin_addr
                                                    : (const void *)&((const struct sockaddr_in6 *)(const void *)address)->sin6_addr;
  if ((address->sa_family != AF_INET && address->sa_family != AF_INET6) || !inet_ntop(address->sa_family, bytes, out, ADDRESS_TEXT))
    snprintf(out, ADDRESS_TEXT, "a local socket");
}
