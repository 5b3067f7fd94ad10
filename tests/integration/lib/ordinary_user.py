"""Run in a mount namespace of its own: a controller as an ordinary user, on this checkout's programs.

Folders on the way to Python and to the programs that only root may enter are covered by an empty one that
all may, with the tree bound back at its own path: what an installation outside /root looks like.
"""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.request

UID = int(os.environ["ORDINARY_UID"])
PYTHON = sys.argv[1]
FLAGS = os.environ.get("ORDINARY_FLAGS", "").split()
BIN = pathlib.Path(os.environ.get("CAESARION_BIN") or pathlib.Path(__file__).resolve().parents[3] / "build/bin")


def closed_folder(path):
    """The first folder on the way that others may not enter, or None."""
    for folder in reversed(pathlib.Path(path).parents):
        if not folder.stat().st_mode & 0o001:
            return folder
    return None


def open_way(path):
    path = os.path.realpath(path)
    folder = closed_folder(path)
    if folder is None:
        return
    inner = pathlib.Path(*pathlib.Path(path).parts[: len(folder.parts) + 1])
    keep = tempfile.mkdtemp(prefix="cz-keep-")
    subprocess.run(["mount", "--bind", inner, keep], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=0755", "cover", folder], check=True)
    inner.mkdir(mode=0o755)
    subprocess.run(["mount", "--move", keep, inner], check=True)
    os.rmdir(keep)


def prefixes():
    code = "import sys; print(sys.prefix); print(sys.base_prefix)"
    return subprocess.run([PYTHON, "-c", code], check=True, capture_output=True, text=True).stdout.split()


def main():
    for tree in [*prefixes(), str(BIN)]:
        open_way(os.path.join(tree, "x"))
    home = pathlib.Path(tempfile.mkdtemp(prefix="cz-user-", dir="/tmp"))
    os.chown(home, UID, UID)
    (home / "r").mkdir(mode=0o700)
    os.chown(home / "r", UID, UID)
    env = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(home),
        "XDG_RUNTIME_DIR": str(home / "r"),
        "CAESARION_PYTHON": PYTHON,
        "ASAN_OPTIONS": "detect_leaks=0",
    }
    me = ["setpriv", "--reuid=%d" % UID, "--regid=%d" % UID, "--clear-groups", "--no-new-privs"]
    process = subprocess.Popen(
        [*me, str(BIN / "caesarion"), "--listen", "127.0.0.1:0", "--warm", "0", *FLAGS],
        env=env,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        use(process.stdout.readline())
    finally:
        process.terminate()
        status = process.wait(40)
        shutil.rmtree(home, ignore_errors=True)
    assert status == 0, status
    print("ordinary user: ok")


def use(ready):
    found = re.match(r"caesarion ready at (http://[^/]+)/\?token=(\S+)", ready)
    assert found, ready

    def call(method, path, body=None):
        request = urllib.request.Request(
            found[1] + path,
            None if body is None else json.dumps(body).encode(),
            {"Authorization": "Bearer " + found[2], "Content-Type": "application/json"},
            method=method,
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read() or "null")

    box = "/api/sandboxes/" + call("POST", "/api/sandboxes")["id"]
    code = "import os; print(os.getuid(), os.getpid() > 1, sorted(os.listdir('/home') if os.path.exists('/home') else []))"
    done = call("POST", box + "/execute", {"code": code})
    assert done["stdout"] == "1000 True []\n", done
    done = call("POST", box + "/execute", {"code": "import socket; socket.create_connection(('127.0.0.1', 1), 1)"})
    assert done["status"] == "error", done
    call("DELETE", box)


if __name__ == "__main__":
    main()
