#include "exercise/internal.h"

const char *const condition_groups[] = {"all", "any", "none", NULL};

const struct leaf_name condition_leaves[] = {
    {"fired", LEAF_INJECT},     {"acknowledged", LEAF_TRUE}, {"contained", LEAF_TARGET},  {"released", LEAF_TARGET},
    {"done", LEAF_ACTION},      {"asked", LEAF_QUESTION},    {"answered", LEAF_QUESTION}, {"silent", LEAF_QUESTION},
    {"decided_by", LEAF_COUNT}, {"note", LEAF_WORDS},        {"tagged", LEAF_TEXT},       {"severity", LEAF_SEVERITY},
    {"assigned", LEAF_TRUE},    {"ticked", LEAF_TICK},       {"started", LEAF_TEXT},      {"closed", LEAF_TRUE},
    {NULL, LEAF_TRUE}};
