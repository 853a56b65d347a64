"""Journals made by hand, for what no engine would write within a test's time."""
import base64
import hashlib
import json
import os

STORY = {"name": "small", "title": "A <small> one", "summary": "S", "duration": 3600000, "roles": {"lead": "leads"},
         "injects": [{"id": "first", "at": 60000, "message": {"to": ["lead"], "text": "It begins"}}],
         "objectives": [{"id": "awake", "text": "Attend to it", "judge": {"acknowledged": True, "since": "first", "within": 300000},
                         "gap": {"owner": "lead", "days": 14, "text": "Say who is on call"}}]}


def exercise(minute):
    """Of an exercise in which the lead wakes up in that minute."""
    return [(0, "exercise.started", "person:00000009", {"scenario": "small", "story": STORY, "roles": {"lead": "person:00000001"}, "seed": 7, "speed": 60}),
            (1, "exercise.injected", "engine", {"inject": "first", "kind": "message"}), (minute, "incident.noted", "person:00000001", {"text": "<b>here</b>"}),
            (59, "exercise.ended", "engine", {"status": "finished"})]


def entries(incident, said):
    """(head, leaf, envelope) of each (minute, kind, actor, body), chained."""
    made, prev = [], "0" * 64
    for seq, (minute, kind, actor, body) in enumerate(said, 1):
        envelope = os.urandom(32) + json.dumps(body, sort_keys=True, separators=(",", ":")).encode()
        head = {"actor": actor, "body": hashlib.sha256(envelope).hexdigest(), "incident": incident, "node": "n1", "prev": prev, "seq": seq, "size": len(envelope),
                "time": "2026-11-23T18:%02d:00.000000Z" % minute, "type": kind, "v": 1}
        text = json.dumps(head, sort_keys=True, separators=(",", ":"))
        prev = hashlib.sha256(b"\0" + text.encode()).hexdigest()
        made.append((text, prev, envelope))
    return made


def exported(incident, said):
    """As `tocsin evidence export` writes them."""
    return "".join('{"head":%s,"leaf":"%s","body":"%s"}\n' % (json.dumps(head), leaf, base64.b64encode(envelope).decode())
                   for head, leaf, envelope in entries(incident, said))
