"""A made-up product with its connector and playbook, and a sink in its place that remembers every effect.

Every alert is about one user; `run` does three things to it: one that may be repeated under its key, one that can be looked
for, one that can be neither. The sink knows what really happened, so a test can count.
"""
import json
import os
import shutil
import threading

from harness import ROOT
from sink import Sink

# A person is asked first, and may say yes to an effect that can neither be repeated nor looked for.
ASKER = """
return playbook {
  title = "Ask first", when = { ["metadata.product.name"] = "Asker" }, group = { "actor.user" }, window = "1h",
  uses = { "product.once" }, params = { user = schema.string { from = "actor.user" } },
  run = function(incident, act, p)
    local answer = incident:ask { "Go on with " .. p.user .. "?", role = "responder", options = { "yes", "no" }, within = "4h", otherwise = "no" }
    if answer == "yes" then must(act.product.once { user = p.user }) end
    return answer
  end,
}
"""

CONNECTOR = """
local user = schema.string { max = 200 }
local function put(name)
  return function(p, settings)
    return { http = { method = "POST", url = settings.url, path = { name, p.user }, json = { user = p.user }, idempotency_key = "header" } }
  end
end
local function result(response)
  if response.status ~= 200 then return nil, failure("refused", response) end
  if type(response.body) ~= "table" then error("no JSON") end
  return { already = response.body.already == true }
end
local function action(name, effect, more)
  local a = { doc = "d", docs = "https://product.example/", effect = effect, target = { user = "user" }, params = { user = user },
              returns = { already = schema.boolean { optional = true } }, request = put(name), result = result,
              simulate = function() return { already = false } end }
  for k, v in pairs(more or {}) do a[k] = v end
  return a
end
return connector {
  name = "product", title = "Product", docs = "https://product.example/", settings = { url = schema.url {} },
  limits = { timeout = "2s", concurrent = 16, response_kib = 64 },
  actions = {
    again = action("again", "record", { idempotent = true }),
    seen = action("seen", "record", { probe = "is_seen" }),
    once = action("once", "record"),
    lock = action("lock", "contain", { undo = "unlock", probe = "is_locked" }),
    unlock = action("unlock", "contain", { lifts = "lock" }),
    is_seen = { doc = "d", docs = "https://product.example/", effect = "read", params = { user = user }, returns = { happened = schema.boolean {} },
                request = function(p, settings) return { http = { method = "GET", url = settings.url, path = { "is-seen", p.user } } } end,
                result = function(r) return { happened = r.body.happened } end, simulate = function() return { happened = true } end },
    is_locked = { doc = "d", docs = "https://product.example/", effect = "read", params = { user = user }, returns = { happened = schema.boolean {} },
                request = function(p, settings) return { http = { method = "GET", url = settings.url, path = { "is-locked", p.user } } } end,
                result = function(r) return { happened = r.body.happened } end, simulate = function() return { happened = true } end },
  },
}
"""

EFFECTS = """
return playbook {
  title = "Three effects", when = { ["metadata.product.name"] = "Product" }, group = { "actor.user" }, window = "1h",
  uses = { "product.again", "product.seen", "product.once" }, params = { user = schema.string { from = "actor.user" } },
  run = function(incident, act, p)
    must(act.product.again { user = p.user })
    must(act.product.seen { user = p.user })
    must(act.product.once { user = p.user })
    return "three effects"
  end,
}
"""

LOCK = """
return playbook {
  title = "Lock a user", when = { ["metadata.product.name"] = "Locker" }, group = { "actor.user" }, window = "1h",
  uses = { "product.lock" }, params = { user = schema.string { from = "actor.user" } },
  run = function(incident, act, p)
    local locked, why = act.product.lock { user = p.user, because = "alert" }
    if not locked then return incident:hand_over("not locked", why) end
  end,
}
"""

TRIAGE = """
return playbook {
  title = "Look at it", uses = {}, run = function(incident, act, p) incident:note("nobody's alert") end,
}
"""


def alert(user, uid, product="Product", **more):
    return dict({"class_uid": 2004, "category_uid": 2, "activity_id": 1, "type_uid": 200401, "severity_id": 3, "time": 1763900000000, "message": "m",
                 "metadata": {"version": "1.3.0", "uid": uid, "product": {"name": product, "vendor_name": "T"}},
                 "finding_info": {"uid": uid, "title": "about %s" % user}, "actor": {"user": {"name": user}}}, **more)


class Product(Sink):
    """slow: how long an answer takes, so that there is always something under way."""

    def __init__(self, slow=0.0):
        super().__init__()
        self.slow, self.locked, self.guard = slow, {}, threading.Lock()
        for path in ("/again/", "/seen/", "/once/", "/is-seen/", "/lock/", "/unlock/", "/is-locked/"):
            self.behave(path, self.respond)

    def respond(self, request):
        if self.slow:
            self.stopping.wait(self.slow)
        what, user = request["path"].strip("/").split("/", 1)
        with self.guard:
            if what in ("lock", "unlock"):
                already = self.locked.get(user, False) == (what == "lock")
                self.locked[user] = what == "lock"
                return {"body": {"already": already}}
            if what == "is-locked":
                return {"body": {"happened": self.locked.get(user, False)}}
        if what == "is-seen":
            return {"body": {"happened": bool(self.count("seen", user))}}
        return {"body": {"already": False}}

    def count(self, what, user):
        return len([r for r in self.seen("/%s/" % what) if r["path"] == "/%s/%s" % (what, user)])

    def keys(self, what, user):
        return {r["headers"].get("Idempotency-Key") for r in self.seen("/%s/" % what) if r["path"] == "/%s/%s" % (what, user)}


def content(folder):
    """Writes the connector and the playbooks below folder; what goes into the settings' `folders`."""
    connectors, playbooks = os.path.join(folder, "connectors"), os.path.join(folder, "playbooks")
    shutil.copytree(os.path.join(ROOT, "connectors"), connectors, dirs_exist_ok=True)
    os.makedirs(os.path.join(playbooks, "lists"), exist_ok=True)
    for path, text in ((os.path.join(connectors, "product.lua"), CONNECTOR), (os.path.join(playbooks, "effects.lua"), EFFECTS),
                       (os.path.join(playbooks, "lock.lua"), LOCK), (os.path.join(playbooks, "triage-only.lua"), TRIAGE)):
        with open(path, "w", encoding="utf-8") as out:
            out.write(text)
    return {"connectors": connectors, "playbooks": playbooks, "lists": os.path.join(playbooks, "lists")}


def conservation(tocsin):
    """Counts as Redis has them: accepted = attached + duplicate + suppressed + dead + split + waiting."""
    with tocsin.redis() as redis:
        info = redis.call("XINFO", "STREAM", "tocsin:alerts")
        counts = redis.call("HGETALL", "{tocsin:alerts}:counts")

    def pairs(flat):
        return {_text(flat[i]): flat[i + 1] for i in range(0, len(flat), 2)}
    info, counts = pairs(info), {k: int(v) for k, v in pairs(counts).items()}
    counts.update(accepted=int(info["entries-added"]), waiting=int(info["length"]))
    counts["difference"] = counts["accepted"] - counts["waiting"] - sum(counts.get(k, 0) for k in ("attached", "duplicate", "suppressed", "dead", "split"))
    return counts


def _text(value):
    return value.decode() if isinstance(value, bytes) else value


def entries(tocsin, incident):
    return tocsin.json("incident", "show", incident)["entries"]


__all__ = ["Product", "alert", "content", "conservation", "entries", "json"]
