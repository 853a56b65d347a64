/* testfile.h: a playbook's test file (tests/lua/README.md): data, loaded in a sandbox of its own, as JSON.
 *
 * `return tests { ["what it shows"] = { alert = …, answers = {…}, expect = {…} }, … }`. An expected action is written { "ldap.lock_account", uid = "alice" }
 * and comes out as {"action": "ldap.lock_account", "params": {"uid": "alice"}}. Runs nothing, decides nothing. */
#ifndef TOCSIN_SCRIPT_TESTFILE_H
#define TOCSIN_SCRIPT_TESTFILE_H

#include <jansson.h>

#include "base/err.h"

/* New {name: test}. The error names file and line, or the test and its unknown member. */
int testfile_load(const char *file, const char *source, size_t len, json_t **ret, struct err *err);

#endif
