"""Where a client can go: base URL, token, and what is true there."""

import contextlib
import dataclasses
import json
import os
import urllib.request

from lib.client import Sandbox
from lib.controller import PYTHON as KERNEL_PYTHON
from lib.process import eventually

from . import programs


@dataclasses.dataclass
class Place:
    url: str  # the Jupyter Server's base URL, with a slash at its end
    token: str
    kind: str  # "sandbox", "all" or "reference"
    box: Sandbox | None = None  # the sandbox of a "sandbox"

    @property
    def ours(self):
        return self.kind != "reference"

    @property
    def env(self):
        return {"BASE_URL": self.url, "TOKEN": self.token, "REFERENCE": "" if self.ours else "1"}

    def ask(self, method, path, body=None, headers=()):
        """One request to the Jupyter API; returns (status, what came as JSON or bytes)."""
        request = urllib.request.Request(
            self.url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": "token " + self.token, **dict(headers)},
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                data = answer.read()
                kind = answer.headers.get("Content-Type") or ""
                return answer.status, json.loads(data) if kind.startswith("application/json") else data
        except urllib.error.HTTPError as e:
            with e:
                return e.code, e.read()

    def kernels(self):
        status, found = self.ask("GET", "api/kernels")
        assert status == 200, (status, found)
        return found


def url_of(controller, path):
    return "http://%s:%d%s" % (*controller.address, path)


@contextlib.contextmanager
def sandbox(controller):
    """One sandbox's server: /api/sandboxes/{id}/jupyter/."""
    box = controller.sandbox()
    try:
        yield Place(url_of(controller, box.prefix + "/jupyter/"), controller.tokens["alice"], "sandbox", box)
    finally:
        controller.hold_logs()
        controller.admin.delete("/api/sandboxes/" + box.id).expect(204, 404)


@contextlib.contextmanager
def everything(controller):
    """The server of all sandboxes of a caller, bob: /jupyter/. What clients left is deleted."""
    bob = controller.bob
    try:
        yield Place(url_of(controller, "/jupyter/"), controller.tokens["bob"], "all")
    finally:
        controller.hold_logs()
        for info in bob.get("/api/sandboxes").expect(200).json()["sandboxes"]:
            bob.delete("/api/sandboxes/" + info["id"]).expect(204, 404)


@contextlib.contextmanager
def jupyter_server():
    """Jupyter Server from its package, with the kernels' own Python: a driver that fails here is wrong."""
    with programs.folder() as home:
        spec = home / "data" / "kernels" / "python3"
        spec.mkdir(parents=True)
        (home / "work").mkdir()
        argv = [KERNEL_PYTHON, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        words = {"argv": argv, "display_name": "Python 3", "language": "python"}
        (spec / "kernel.json").write_text(json.dumps(words))
        token = os.urandom(12).hex()
        env = programs.environment(home, JUPYTER_TOKEN=token)
        argv = [programs.PYTHON, "-m", "jupyter_server", "--ServerApp.port=0", "--ServerApp.port_retries=0",
                "--ServerApp.open_browser=False", "--allow-root", "--ServerApp.base_url=/some/base/",
                # By default it drops what is printed fast.
                "--ZMQChannelsWebsocketConnection.iopub_data_rate_limit=1e12"]
        with programs.started(argv, env, home / "work") as server:
            mark = "http://127.0.0.1:"
            line = server.stderr.wait(lambda text: mark in text, 60)
            assert line, programs.words(server)
            port = line.split(mark, 1)[1].split("/", 1)[0]
            place = Place("http://127.0.0.1:%s/some/base/" % port, token, "reference")

            def listens():  # it names its address before it listens there
                with contextlib.suppress(OSError):
                    return place.ask("GET", "api")[0] == 200

            eventually(listens, 30)
            yield place
