"""Drives jupyter_kernel_client (jupyter-mcp-server is built on it), in its default protocol.

Its other one reads nothing in the release pinned here: what it formats for its log lacks a key.

BASE_URL and TOKEN say where. Prints what it saw as one line of JSON.
"""

import json
import os
import sys
import time

from jupyter_kernel_client import JupyterKernelClient

PATIENCE_S = 45
# Without the slash: it appends one of its own.
PLACE = {"server_url": os.environ["BASE_URL"].rstrip("/"), "token": os.environ["TOKEN"]}


def client(**more):
    return JupyterKernelClient(**PLACE, client_kwargs={"timeout": PATIENCE_S}, **more)


def execute(kernel, code, **more):
    return kernel.execute(code, timeout=PATIENCE_S, **more)


def interrupted(kernel):
    """Interrupts a cell when it says that it runs; returns the name of the error."""
    found = []

    def on_output(message):
        if message["header"]["msg_type"] == "stream":
            kernel.interrupt()
        if message["header"]["msg_type"] == "error":
            found.append(message["content"]["ename"])

    code = "import time\nprint('on', flush=True)\ntime.sleep(300)"
    kernel.execute_interactive(code, timeout=PATIENCE_S, output_hook=on_output)
    return found


def run():
    saw = {}
    first = client()
    first.start()
    try:
        saw["info"] = first.kernel_info["language_info"]["name"]
        saw["simple"] = execute(first, "import sys\nprint('out')\nprint('err', file=sys.stderr)\n6 * 7")
        saw["display"] = execute(first, "from IPython.display import HTML, display\ndisplay(HTML('<b>b</b>'))")
        saw["error"] = execute(first, "1 / 0")
        asked = []

        def answer(message):
            asked.append(message["content"]["prompt"])
            first._manager.client.input("Ada")

        saw["stdin"] = execute(first, "print('hello', input('name? '))", allow_stdin=True, stdin_hook=answer)
        saw["asked"] = asked
        execute(first, "number = 41\ntext = 'x'")
        saw["variables"] = sorted(v["name"] for v in first.list_variables() if v["name"] in ("number", "text"))
        saw["interrupted"] = interrupted(first)

        # A second client at the same kernel, which is not its own to end.
        second = client(kernel_id=first.id)
        second.start()
        saw["shared"] = execute(second, "number + 1")
        second.stop()
        saw["alive"] = first.is_alive() and first.id in [k["id"] for k in first.list_kernels()]

        first.restart()
        saw["restarted"] = execute(first, "number")
        saw["state"] = first.execution_state
        saw["active"] = first.last_activity.isoformat()
    finally:
        # By message: then it asks until the kernel is gone, ten times in as many seconds. (Its stop() would
        # close the socket before it sends the message.)
        start = time.monotonic()
        kernel = first.id
        first._manager.shutdown_kernel(now=False, timeout=10)
        saw["stop_s"] = round(time.monotonic() - start, 2)
    saw["gone"] = kernel not in [k["id"] for k in client().list_kernels()]
    return saw


if __name__ == "__main__":
    print(json.dumps(run()))
    sys.stdout.flush()
    os._exit(0)  # its threads may outlive its clients
