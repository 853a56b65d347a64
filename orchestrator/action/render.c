/* An action's request: what the connector's request() makes of its parameters, and the bytes that stay of it. */
#include <stdlib.h>
#include <string.h>

#include "action/internal.h"
#include "base/json.h"
#include "base/slab.h"

static void request_digest(struct action *x) {
  uint8_t digest[DIGEST_BYTES];
  struct buf text;
  char near[2048];
  buf_lend(&text, near, sizeof near, SIZE_MAX / 2);
  json_write(x->request, &text);
  digest_sha256(text.data, text.len, digest);
  hex_encode(digest, sizeof digest, x->digest);
  slab_free(x->rendered);
  x->rendered = buf_ok(&text) ? slab_alloc(text.len) : NULL;
  if (x->rendered) memcpy(x->rendered, text.data, x->rendered_len = text.len);
  buf_release(&text);
}

json_t *action_request(struct action *x) {
  if (!x->request && x->rendered && json_parse_stored(x->rendered, x->rendered_len, &x->request, NULL) < 0) abort();
  return x->request;
}

void action_request_sent(struct action *x) {
  if (!x->rendered) return;
  json_decref(x->request);
  x->request = NULL;
}

static int ask(struct action *x, const json_t *found, json_t **ret, json_t **ret_failure, struct err *err) {
  struct connector_state *state = x->connector->state;
  if (!found) return connector_call_with(state, x->form->request, x->params, SCRIPT_TRUSTED, ret, ret_failure, err);
  json_t *args = json_pack("[O, O]", x->params, found);
  int r = connector_call(state, x->form->request, args, SCRIPT_TRUSTED, ret, ret_failure, err);
  json_decref(args);
  return r;
}

int action_render(struct action *x, const json_t *found, struct err *err) {
  json_t *request = NULL, *failure = NULL;
  int r = ask(x, found, &request, &failure, err);
  if (r == 0 && failure) r = err_set(err, ERR_INVALID, "%s", json_str_or(failure, "message", "request() refused the parameters"));
  if (r == 0 && !json_is_object(request))
    r = err_set(err, ERR_INVALID, "request() of %s.%s returned no table", x->connector->instance, x->name);
  json_decref(failure);
  if (r < 0) {
    json_decref(request);
    return r;
  }
  x->request = request;
  if (x->effect != EFFECT_READ) request_digest(x); /* nobody is asked about a read, and no intent names it */
  return 0;
}
