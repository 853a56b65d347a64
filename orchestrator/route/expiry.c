#include "route/expiry.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"

bool expiry_parse(const char *text, int64_t *ret_us) {
  char full[TIME_TEXT];
  int64_t us;
  if (strlen(text) != 10) return time_parse(text, ret_us);
  snprintf(full, sizeof full, "%sT00:00:00Z", text);
  if (!time_parse(full, &us)) return false;
  *ret_us = us + INT64_C(86400) * 1000000;
  return true;
}
