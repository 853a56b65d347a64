"""People are told of questions by mail; when nobody can be told, the deadline waits and the failure is on record."""
from harness import *
from smtp import Smtp

ASK = """return playbook {
  title = "Ask", uses = {}, params = {},
  run = function(incident)
    return incident:ask { "Is it raining?", role = "responder", options = { "yes", "no" }, within = "%s", otherwise = "no" }
  end,
}
"""


def settings(port):
    return {"connectors": {"mail": Raw('smtp { url = "smtp://127.0.0.1:%d", starttls = "never", from = "tocsin@example.org", to = { "oncall@example.org" } }' % port)},
            "folders": {"playbooks": "{folder}/playbooks"}, "notify": {"oncall": {"action": "mail.send", "roles": ["responder"]}}}


def kinds(tocsin, incident="INC-000001"):
    return [e["type"] for e in tocsin.json("incident", "show", incident)["entries"]]


with Smtp() as mail:
    tocsin = Tocsin(settings(mail.port))
    tocsin.write("playbooks/triage-only.lua", ASK % "1h")
    with tocsin:
        tocsin.xadd({"id": "one", "message": "look\r\nBcc: stranger@example.org"})
        tocsin.wait_for(lambda: mail.messages, "a mail is sent")
        text = mail.messages[0]["text"] if mail.messages else ""
        like(text, r"tocsin answer INC-000001/1/1 yes \| no", "it says how to answer")
        unlike(text, r"(?m)^Bcc:", "a title with line breaks makes no header")
        like(text, r"(?mi)^Message-ID:", "it has a Message-ID")
        tocsin.wait_for(lambda: "question.notified" in kinds(tocsin), "that somebody was told is on record")
        is_(tocsin.run("answer", "1/1/1", "yes").status, 0, "the answer is taken")
        tocsin.wait_for(lambda: "run.finished" in kinds(tocsin), "the run goes on")

dead = free_port()
tocsin = Tocsin(settings(dead))
tocsin.write("playbooks/triage-only.lua", ASK % "1s")
with tocsin:
    tocsin.xadd({"id": "two", "message": "nobody can be told"})
    tocsin.wait_for(lambda: any(e["type"] == "question.notified" and not e["body"]["ok"] for e in tocsin.json("incident", "show", 1)["entries"]),
                    "the failed delivery is on record", 60)
    waiting = [q for q in tocsin.json("now")["questions"] if q.get("waiting_for_channel")]
    is_(len(waiting), 1, "the question waits for its channel")
    unlike(" ".join(kinds(tocsin)), "question.expired", "its deadline stands still")
    is_(tocsin.run("answer", "1/1/1", "no").status, 0, "it can be answered all the same")
done()
