#include "journal/missing.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

void missing_note(struct missing *m, const struct entry *e) {
  uint64_t removes = entry_removes(e);
  for (size_t i = 0; removes && i < m->count; i++) {
    if (m->list[i] != removes) continue;
    memmove(&m->list[i], &m->list[i + 1], (--m->count - i) * sizeof *m->list);
    m->removed++;
    break;
  }
  if (e->envelope_len) return;
  if ((m->count & (m->count - 1)) == 0) {
    uint64_t *grown = realloc(m->list, (m->count ? 2 * m->count : 1) * sizeof *grown);
    if (!grown) abort();
    m->list = grown;
  }
  m->list[m->count++] = e->seq;
}

int missing_check(const struct missing *m, struct err *err) {
  if (!m->count) return 0;
  return err_set(err, ERR_INVALID, "entry %" PRIu64 " is broken: its body is missing, and no entry says that it was removed", m->list[0]);
}
