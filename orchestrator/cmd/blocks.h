/* blocks.h: the parts that several views share: the paused banner, open questions, what is contained, what is in doubt, the list of incidents.
 *
 * Each prints nothing when there is nothing. Every block says what to type next. */
#ifndef TOCSIN_CMD_BLOCKS_H
#define TOCSIN_CMD_BLOCKS_H

#include "cmd/view.h"

/* {scope: {by, because, since}}: stands above everything else. */
void block_paused(struct view *v, const json_t *paused);
/* Arrays as incident.h says; title NULL: no heading. */
void block_questions(struct view *v, const char *title, const json_t *questions);
void block_answer(struct view *v, const json_t *question); /* "    tocsin answer INC-000042/1/4 keep|release" */
void block_doubt(struct view *v, const char *title, const json_t *in_doubt);
void block_contained(struct view *v, const char *title, const json_t *contained);
void block_handed_over(struct view *v, const char *title, const json_t *runs);
void block_corrective(struct view *v, const char *title, const json_t *actions); /* action.c */
void block_incidents(struct view *v, const json_t *incidents);
void block_runs(struct view *v, const json_t *runs);
/* A heading with a blank line before it. */
void block_title(struct view *v, enum style style, const char *title);
/* "user alice" of {"user": "alice"}; "everything" of nothing. */
void view_target(struct view *v, const json_t *target);
enum style severity_style(const char *severity);

#endif
