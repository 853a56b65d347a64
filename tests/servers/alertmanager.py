"""A real Prometheus Alertmanager that sends firing and resolved alerts to a webhook and keeps silences."""
import datetime
import json
import urllib.request

from common import Server, main, program


class Alertmanager(Server):
    name = "alertmanager"

    def __init__(self, webhook="http://127.0.0.1:9/", token="webhook-token", folder=None, port=None):
        super().__init__(folder, port)
        self.webhook, self.token = webhook, token

    def prepare(self):
        token = self.write("token", self.token)
        # JSON is YAML.
        self.write("alertmanager.yml", json.dumps({
            "route": {"receiver": "tocsin", "group_by": ["alertname", "user"], "group_wait": "100ms", "group_interval": "1s",
                      "repeat_interval": "1h"},
            "receivers": [{"name": "tocsin", "webhook_configs": [{
                "url": self.webhook, "send_resolved": True,
                "http_config": {"authorization": {"type": "Bearer", "credentials_file": token}}}]}],
        }))

    def command(self):
        return [program("prometheus-alertmanager", "prometheus-alertmanager"), "--config.file", self.path("alertmanager.yml"),
                "--storage.path", self.path("data"), "--web.listen-address", "127.0.0.1:%d" % self.port, "--cluster.listen-address="]

    def ready(self):
        try:
            with urllib.request.urlopen(self.url + "/-/ready", timeout=5) as answer:
                return answer.status == 200
        except OSError:
            return False

    @property
    def url(self):
        return "http://127.0.0.1:%d" % self.port

    def call(self, method, path, body=None):
        request = urllib.request.Request(self.url + path, method=method, data=None if body is None else json.dumps(body).encode(),
                                         headers={"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            text = answer.read()
            return json.loads(text) if text else None

    def fire(self, labels, annotations=None, ends=None):
        """An alert as Prometheus would post it; ends="now" resolves it."""
        now = datetime.datetime.now(datetime.timezone.utc)
        alert = {"labels": labels, "annotations": annotations or {}, "startsAt": (now - datetime.timedelta(minutes=1)).isoformat()}
        if ends == "now":
            alert["endsAt"] = now.isoformat()
        self.call("POST", "/api/v2/alerts", [alert])

    def silences(self):
        return self.call("GET", "/api/v2/silences")

    def info(self):
        known = super().info()
        known.update(url=self.url, webhook=self.webhook)
        return known


if __name__ == "__main__":
    main(Alertmanager, ("webhook", "where alerts are sent"), ("token", "bearer token of the webhook"))
