/* What a playbook's run asks of lists and conditions while it runs. */
#include <string.h>

#include "base/json.h"
#include "base/log.h"
#include "route/route.h"

int lists_look(const struct lists *l, int64_t now_us, const char *what, const json_t *args, json_t **ret, struct err *err) {
  const char *name = json_is_string(args) ? json_string_value(args) : json_str_or(args, "list", json_str_or(args, "name", "")),
             *value = json_str(args, "value");
  json_t *rows = lists_rows(l, name), *row = NULL;
  if (!rows) return err_set(err, ERR_NOT_FOUND, "there is no list \"%s\" in the lists' folder", name);
  if (strcmp(what, "list.rows") == 0) *ret = json_incref(rows);
  else if (value && lists_match(l, name, value, now_us, &row)) *ret = row ? json_incref(row) : json_true();
  else *ret = json_false();
  return 0;
}

bool lists_alert_fits(const struct lists *l, int64_t now_us, const json_t *when, const json_t *alert) {
  struct condition *c = NULL;
  struct err err;
  if (condition_compile(when, l, &c, &err) < 0) {
    log_warning("a condition of a playbook cannot be read: %s", err.text);
    return false;
  }
  bool fits = condition_match(c, alert, json_object_get(alert, "raw"), now_us);
  condition_free(c);
  return fits;
}
