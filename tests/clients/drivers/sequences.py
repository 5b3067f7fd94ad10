"""What agents and chat interfaces say to a Jupyter server, message by message, as their sources have it.

    sequences.py smolagents | open_webui | autogen

They are too heavy to install for the few messages they send; the HTTP and WebSocket libraries are theirs, with
the settings they use. BASE_URL and TOKEN say where, MUCH how many bytes much output is. Prints what came as one line of JSON.
"""

import asyncio
import contextlib
import datetime
import json
import os
import sys
import time
import uuid

BASE, TOKEN = os.environ["BASE_URL"].rstrip("/"), os.environ["TOKEN"]
WS_BASE = BASE.replace("http", "ws", 1)
RECEIVE_S = 60
MUCH = int(os.environ["MUCH"])


def collected(found, message):
    """Adds one message to what an execution brought; True when it was the last."""
    kind, content = message["msg_type"], message["content"]
    assert message["channel"] in ("iopub", "shell") and message["msg_id"], message
    if kind == "stream":
        found[content["name"]] += content["text"]
    elif kind in ("execute_result", "display_data"):
        found["results"].append(sorted(content["data"]))
        found["text"].append(content["data"].get("text/plain"))
    elif kind == "error":
        found["error"] = [content["ename"], content["evalue"], len(content["traceback"])]
    return kind == "status" and content["execution_state"] == "idle"


def nothing_yet():
    return {"stdout": "", "stderr": "", "results": [], "text": [], "error": None}


def shortened(found):
    """Much output as its length and whether it is what was printed."""
    text = found["stdout"]
    if len(text) > 1000:
        found["stdout"] = [len(text), text == "0123456789abcde\n" * (len(text) // 16)]
    return found


# ---- smolagents: requests and websocket-client; its token in each URL, a socket for each run ----


def smolagents():
    import requests
    import websocket

    ready = requests.get(f"{BASE}/api/kernelspecs?token={TOKEN}", timeout=2)
    assert ready.status_code == 200, ready.text
    made = requests.post(f"{BASE}/api/kernels?token={TOKEN}", timeout=60)  # no body at all
    assert made.status_code == 201, (made.status_code, made.text)
    kernel = made.json()["id"]

    def run(code):
        start = time.monotonic()
        with contextlib.closing(
            websocket.create_connection(f"{WS_BASE}/api/kernels/{kernel}/channels?token={TOKEN}")
        ) as ws:
            ws.settimeout(RECEIVE_S)  # it has none; a test has
            msg_id = str(uuid.uuid4())
            header = {
                "msg_id": msg_id,
                "username": "anonymous",
                "session": str(uuid.uuid4()),
                "msg_type": "execute_request",
                "version": "5.0",
            }
            content = {
                "code": code,
                "silent": False,
                "store_history": True,
                "user_expressions": {},
                "allow_stdin": False,
            }
            # No date, no channel, no buffers.
            ws.send(json.dumps({"header": header, "parent_header": {}, "metadata": {}, "content": content}))
            found = nothing_yet()
            while True:
                message = json.loads(ws.recv())
                if message.get("parent_header", {}).get("msg_id") == msg_id and collected(found, message):
                    break
            found["ms"] = round((time.monotonic() - start) * 1000, 1)
            return shortened(found)

    runs = [
        run("import json\nx = {'a': [1, 2]}\nprint('log of a step')"),
        run("print(x['a'])\nlen(x)"),
        run("class FinalAnswerException(BaseException):\n    pass\nraise FinalAnswerException('safe:' + json.dumps(x))"),
        run("x['b']"),
        run(f"print('0123456789abcde\\n' * ({MUCH} // 16), end='')"),
    ]
    requests.delete(f"{BASE}/api/kernels/{kernel}?token={TOKEN}", timeout=60).raise_for_status()
    return {"runs": runs}


# ---- Open WebUI: aiohttp and websockets; a kernel for each run ----


async def open_webui():
    import aiohttp
    import websockets

    async def run(code):
        start = time.monotonic()
        params = {"token": TOKEN}
        found = nothing_yet()
        async with aiohttp.ClientSession(trust_env=True, base_url=BASE + "/") as session:
            async with session.post(url="api/kernels", params=params) as response:  # no body at all
                response.raise_for_status()
                kernel = (await response.json())["id"]
            async with websockets.connect(f"{WS_BASE}/api/kernels/{kernel}/channels?token={TOKEN}") as ws:
                msg_id = uuid.uuid4().hex
                header = {
                    "msg_id": msg_id,
                    "msg_type": "execute_request",
                    "username": "user",
                    "session": uuid.uuid4().hex,
                    "date": "",
                    "version": "5.3",
                }
                content = {
                    "code": code,
                    "silent": False,
                    "store_history": True,
                    "user_expressions": {},
                    "allow_stdin": False,
                    "stop_on_error": True,
                }
                await ws.send(
                    json.dumps(
                        {
                            "header": header,
                            "parent_header": {},
                            "metadata": {},
                            "content": content,
                            "channel": "shell",
                        }
                    )
                )
                while True:
                    message = json.loads(await asyncio.wait_for(ws.recv(), RECEIVE_S))
                    if message.get("parent_header", {}).get("msg_id") == msg_id and collected(found, message):
                        break
            async with session.delete(f"api/kernels/{kernel}", params=params) as response:
                response.raise_for_status()
            async with session.get("api/kernels", params=params) as response:
                found["gone"] = kernel not in [k["id"] for k in await response.json()]
        found["ms"] = round((time.monotonic() - start) * 1000, 1)
        return shortened(found)

    plot = "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()"
    return {
        "runs": [
            await run("import sys\nprint(6 * 7)\nprint('aside', file=sys.stderr)"),
            await run(plot),
            await run("1 / 0"),
            await run(f"print('0123456789abcde\\n' * ({MUCH} // 16), end='')"),
        ]
    }


# ---- autogen: requests, aiohttp and websockets; tokens in headers, one socket for all runs ----


async def autogen():
    import aiohttp
    import requests
    import websockets

    headers = {"Authorization": f"token {TOKEN}"}
    specs = requests.get(f"{BASE}/api/kernelspecs", headers=headers, timeout=60).json()
    before = requests.get(f"{BASE}/api/kernels", headers=headers, timeout=60).json()
    own_session = uuid.uuid4().hex

    async def send(ws, kind, content):
        msg_id = uuid.uuid4().hex
        header = {
            "username": "autogen",
            "version": "5.0",
            "session": own_session,
            "msg_id": msg_id,
            "msg_type": kind,
            "date": datetime.datetime.now().isoformat(),
        }
        message = {"header": header, "parent_header": {}, "channel": "shell", "content": content}
        await ws.send(json.dumps({**message, "metadata": {}, "buffers": {}}))
        return msg_id

    async def wait_for_ready(ws):
        msg_id = await send(ws, "kernel_info_request", {})
        while True:
            message = json.loads(await asyncio.wait_for(ws.recv(), RECEIVE_S))
            if message["parent_header"].get("msg_id") == msg_id and message["msg_type"] == "kernel_info_reply":
                return

    async def execute(ws, code):
        content = {"code": code, "silent": False, "store_history": True, "user_expressions": {}}
        msg_id = await send(ws, "execute_request", {**content, "allow_stdin": False, "stop_on_error": True})
        found = nothing_yet()
        while True:
            message = json.loads(await asyncio.wait_for(ws.recv(), RECEIVE_S))
            if message.get("parent_header", {}).get("msg_id") != msg_id:
                continue
            # An error is the end for it: reply and idle are left for the next execution to skip.
            if collected(found, message) or found["error"]:
                return shortened(found)

    async with aiohttp.ClientSession() as session:
        body = {"name": specs["default"]}
        async with session.post(f"{BASE}/api/kernels", headers=headers, json=body) as response:
            kernel = (await response.json())["id"]
        url = f"{WS_BASE}/api/kernels/{kernel}/channels"
        async with websockets.connect(url, additional_headers=headers) as ws:
            await wait_for_ready(ws)
            runs = [await execute(ws, code) for code in ("x = 1\nprint(x)", "1 / 0")]
            # What is sent on sight of an error may be aborted with what was queued: its agents try again.
            for _ in range(3):
                second = await execute(ws, "x + 1")
                if second["text"]:
                    break
            runs.append(second)
        async with session.post(f"{BASE}/api/kernels/{kernel}/restart", headers=headers) as response:
            response.raise_for_status()
        async with websockets.connect(url, additional_headers=headers) as ws:
            await wait_for_ready(ws)
            runs.append(await execute(ws, f"print('0123456789abcde\\n' * ({MUCH} // 16), end='')"))
            runs.append(await execute(ws, "x"))
        async with session.delete(f"{BASE}/api/kernels/{kernel}", headers=headers) as response:
            response.raise_for_status()
    after = requests.get(f"{BASE}/api/kernels", headers=headers, timeout=60).json()
    return {"runs": runs, "before": [k["id"] for k in before], "after": [k["id"] for k in after]}


if __name__ == "__main__":
    ran = globals()[sys.argv[1]]()
    print(json.dumps(asyncio.run(ran) if asyncio.iscoroutine(ran) else ran))
