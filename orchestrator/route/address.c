#include "route/address.h"

#include <arpa/inet.h>
#include <string.h>

enum { TEXT = 64 };

bool address_parse(const char *text, size_t len, struct network *ret) {
  char copy[TEXT];
  if (!len || len >= sizeof copy || memchr(text, 0, len)) return false;
  memcpy(copy, text, len);
  copy[len] = 0;
  char *zone = strchr(copy, '%');
  if (zone && strchr(copy, ':')) *zone = 0;
  struct network n = {.bits = 128};
  static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
  if (inet_pton(AF_INET, copy, n.bytes + 12) == 1) {
    memcpy(n.bytes, mapped, sizeof mapped);
    n.v4 = true;
  } else if (inet_pton(AF_INET6, copy, n.bytes) == 1) {
    n.v4 = memcmp(n.bytes, mapped, sizeof mapped) == 0;
  } else {
    return false;
  }
  *ret = n;
  return true;
}

void network_mask(struct network *net, uint8_t bits) {
  for (unsigned i = 0; i < 16; i++) {
    unsigned keep = bits > i * 8 ? bits - i * 8u : 0;
    if (keep < 8) net->bytes[i] &= (uint8_t)(0xff00u >> keep);
  }
  net->bits = bits;
}

static bool prefix_parse(const char *text, size_t len, unsigned most, unsigned *ret) {
  unsigned n = 0;
  if (!len || len > 3) return false;
  for (size_t i = 0; i < len; i++) {
    if (text[i] < '0' || text[i] > '9') return false;
    n = n * 10 + (unsigned)(text[i] - '0');
  }
  if (n > most || (len > 1 && text[0] == '0')) return false;
  *ret = n;
  return true;
}

int network_parse(const char *text, size_t len, struct network *ret, struct err *err) {
  const char *slash = memchr(text, '/', len);
  size_t host = slash ? (size_t)(slash - text) : len;
  struct network n, cut;
  if (!address_parse(text, host, &n))
    return err_set(err, ERR_INVALID, "`%.*s` is not an address or network: write 192.0.2.0/24 or 2001:db8::/32", (int)(len > 80 ? 80 : len),
                   text);
  if (slash) {
    bool dotted = !memchr(text, ':', host);
    unsigned bits;
    if (!prefix_parse(slash + 1, len - host - 1, dotted ? 32 : 128, &bits))
      return err_set(err, ERR_INVALID, "`%.*s` ends in no prefix length: write a number up to %d after the slash",
                     (int)(len > 80 ? 80 : len), text, dotted ? 32 : 128);
    n.bits = (uint8_t)(dotted ? bits + 96 : bits);
    n.v4 = n.v4 && n.bits >= 96;
  }
  cut = n;
  network_mask(&cut, n.bits);
  if (memcmp(cut.bytes, n.bytes, 16) != 0) {
    char meant[INET6_ADDRSTRLEN];
    inet_ntop(n.v4 ? AF_INET : AF_INET6, n.v4 ? cut.bytes + 12 : cut.bytes, meant, sizeof meant);
    return err_set(err, ERR_INVALID,
                   "`%.*s` has bits set behind its prefix: write %s/%d for the network or leave the prefix out for the address", (int)len,
                   text, meant, n.v4 ? n.bits - 96 : n.bits);
  }
  *ret = n;
  return 0;
}

bool network_has(const struct network *net, const struct network *address) {
  if (net->v4 != address->v4) return false;
  struct network cut = *address;
  network_mask(&cut, net->bits);
  return memcmp(cut.bytes, net->bytes, 16) == 0;
}
