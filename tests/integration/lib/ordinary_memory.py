"""Run in a mount namespace of its own: attacks on memory, by a controller as an ordinary user who can make no
cgroup. Everything runs in one that we make, to measure it, and to stop at 3 GiB what is not stopped.

stdin: {"cgroup": folder, "attacks": {name: code}}; the last line of stdout: {name: [status, oom, bytes, next]}.
"""

import json
import os
import sys
import urllib.request

import ordinary_user


def read(folder, name):
    with open(os.path.join(folder, name)) as f:
        return int(f.read())


def write(folder, name, value):
    with open(os.path.join(folder, name), "w") as f:
        f.write(str(value))


def used(folder, what):
    return read(folder, "memory.%s_in_bytes" % what) + read(folder, "memory.kmem.tcp.%s_in_bytes" % what)


def main():
    asked = json.load(sys.stdin)
    folder = asked["cgroup"]
    write(folder, "cgroup.procs", os.getpid())
    found = {}

    def use(ready):
        url, _, token = ready.split()[-1].partition("?token=")

        def call(method, path, body=None):
            request = urllib.request.Request(
                url.rstrip("/") + path,
                None if body is None else json.dumps(body).encode(),
                {"Authorization": "Bearer " + token, "Content-Type": "application/json"},
                method=method,
            )
            with urllib.request.urlopen(request, timeout=90) as answer:
                return json.loads(answer.read() or "null")

        for name, code in asked["attacks"].items():
            box = "/api/sandboxes/" + call("POST", "/api/sandboxes")["id"]
            call("POST", box + "/execute", {"code": "1"})
            before = used(folder, "usage")
            write(folder, "memory.max_usage_in_bytes", 0)
            write(folder, "memory.kmem.tcp.max_usage_in_bytes", 0)
            done = call("POST", box + "/execute", {"code": code, "timeout_s": 60})
            most = used(folder, "max_usage") - before
            after = call("POST", box + "/execute", {"code": "6 * 7"})
            found[name] = [done["status"], (done["error"] or {}).get("oom"), most, after["result"]]
            call("DELETE", box)

    ordinary_user.use = use
    ordinary_user.main()
    print(json.dumps(found))


main()
