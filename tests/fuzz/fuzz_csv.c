/* Fuzz target: bytes as a CSV file. Every record's fields must be texts, and lines only grow. */
#include <stdint.h>
#include <stdlib.h>

#include "route/csv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct csv csv;
  struct err err;
  json_t *record;
  size_t line, last = 0;
  csv_init(&csv, (const char *)data, size);
  while (csv_next(&csv, &record, &line, &err) == 1) {
    if (line <= last || !json_array_size(record)) abort();
    for (size_t i = 0; i < json_array_size(record); i++)
      if (!json_is_string(json_array_get(record, i))) abort();
    last = line;
    json_decref(record);
  }
  return 0;
}
