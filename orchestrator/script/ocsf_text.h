/* ocsf_text.h: what a text from a product's alert is: a time, an address, a digest. Pure; says no to whatever it does not know. */
#ifndef TOCSIN_SCRIPT_OCSF_TEXT_H
#define TOCSIN_SCRIPT_OCSF_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct span {
  const char *at;
  size_t len;
};

/* Without blanks around it; false when it says nothing ("", "-", "null", "N/A"…). */
bool text_says(struct span *s);
bool text_is_ip(struct span s);
bool text_is_hash(struct span s); /* the hexadecimal digits of an MD5, SHA-1, SHA-256 or SHA-512 */
bool text_is_email(struct span s);
/* "host:80", "[::1]:443": its two parts; false when it is none. */
bool text_host_port(struct span s, struct span *ret_host, struct span *ret_port);
/* Milliseconds since 1970 from ISO 8601 and its relatives, or CEF's "Nov 23 2026 10:00:00". No zone means UTC. */
bool text_time(struct span s, int64_t *ret_ms);
/* Digits, perhaps with a point: an epoch number for epoch_ms. */
bool text_is_number(struct span s);
/* Epoch numbers come as seconds, ms, µs or ns: their size tells. False: too small to be a date of our days. */
bool epoch_integer_ms(int64_t n, int64_t *ret_ms);
bool epoch_number_ms(double n, int64_t *ret_ms);
/* An OCSF severity id from a product's word; -1 for a word that is none. */
int text_severity(struct span s);

#endif
