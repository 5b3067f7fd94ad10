"""jupyter_client's KernelManager with a kernelspec: manager.py NAME

Starts, interrupts, restarts and shuts down a kernel as every Jupyter program does. One line of JSON.
"""

import json
import sys
import time

from jupyter_client.manager import KernelManager

PATIENCE_S = 45


def execute(client, code, on_text=None):
    texts, found = [], {}

    def on_output(message):
        if message["msg_type"] == "stream":
            texts.append(message["content"]["text"])
            if on_text:
                on_text(message["content"]["text"])
        elif message["msg_type"] == "execute_result":
            found["result"] = message["content"]["data"]["text/plain"]

    reply = client.execute_interactive(code, allow_stdin=False, timeout=PATIENCE_S, output_hook=on_output)
    content = reply["content"]
    return {"text": "".join(texts), "status": content["status"], "ename": content.get("ename"), **found}


def run(name):
    saw = {}
    start = time.monotonic()
    manager = KernelManager(kernel_name=name)
    manager.start_kernel()
    client = manager.blocking_client()
    client.start_channels()
    client.wait_for_ready(timeout=PATIENCE_S)
    saw["started_s"] = round(time.monotonic() - start, 3)
    saw["first"] = execute(client, "x = 6\nprint('first')\nx * 7")
    saw["beats"] = client.is_alive()
    code = "import time\nprint('on', flush=True)\ntime.sleep(300)"
    saw["interrupted"] = execute(client, code, on_text=lambda text: manager.interrupt_kernel())
    saw["after"] = execute(client, "x")

    open_ports = manager.get_connection_info(session=False)
    manager.restart_kernel()
    client.wait_for_ready(timeout=PATIENCE_S)
    saw["same_ports"] = manager.get_connection_info(session=False) == open_ports
    saw["restarted"] = execute(client, "x")
    saw["again"] = execute(client, "print('again')")

    client.stop_channels()
    start = time.monotonic()
    manager.shutdown_kernel()
    saw["shut_down_s"] = round(time.monotonic() - start, 3)
    saw["alive"] = manager.is_alive()
    return saw


if __name__ == "__main__":
    print(json.dumps(run(sys.argv[1])))
