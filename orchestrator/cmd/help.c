#include "cmd/help.h"

#include <stdio.h>
#include <string.h>

#include "cmd/options.h"
#include "cmd/view.h"

static void heading(struct view *v, const char *text) {
  view_style(v, STYLE_BOLD);
  view_put(v, "\n%s\n", text);
  view_style(v, STYLE_PLAIN);
}

static void options_print(struct view *v, const struct option_spec *list) {
  for (; list && list->name; list++) {
    view_put(v, "  --%s%s%s", list->name, list->value ? " " : "", list->value ? list->value : "");
    view_pad(v, 4 + (unsigned)(strlen(list->name) + (list->value ? 1 + strlen(list->value) : 0)), 26);
    view_block(v, list->text, 26);
    view_put(v, "%s\n", list->required ? " (required)" : "");
  }
}

static void usage(struct view *v, const struct command *c, const char *path) {
  view_put(v, "tocsin%s%s", *path ? " " : "", path);
  if (c->subs) view_put(v, c->run ? " [COMMAND]" : " COMMAND");
  if (c->args) view_put(v, " %s", c->args);
  for (const struct option_spec *s = c->options; s && s->name; s++)
    if (s->required) view_put(v, " --%s %s", s->name, s->value);
  view_put(v, " [options]\n");
}

static void subs_print(struct view *v, const struct command *c) {
  heading(v, "Commands");
  for (const struct command *const *sub = c->subs; *sub; sub++) {
    view_put(v, "  %s", (*sub)->name);
    view_pad(v, 2 + (unsigned)strlen((*sub)->name), 14);
    view_block(v, (*sub)->text, 14);
    view_put(v, "\n");
  }
}

static void example_print(struct view *v, const char *lines) {
  heading(v, "Example");
  for (size_t n; *lines; lines += n) {
    lines += strspn(lines, " ");
    n = strcspn(lines, "\n") + 1;
    view_put(v, "  %.*s", (int)n, lines);
  }
}

int help_print(const struct cli *cli, const struct command *c, const char *path) {
  struct view v;
  view_init(&v, cli->color, cli->width ? cli->width : 110);
  usage(&v, c, path);
  view_put(&v, "\n");
  view_block(&v, c->text, 0);
  view_put(&v, "\n");
  if (c->more) {
    view_put(&v, "\n");
    view_block(&v, c->more, 0);
    view_put(&v, "\n");
  }
  if (c->subs) subs_print(&v, c);
  heading(&v, "Options");
  options_print(&v, c->options);
  options_print(&v, options_common);
  if (c->example) example_print(&v, c->example);
  view_flush(&v);
  view_release(&v);
  return EXIT_DONE;
}
