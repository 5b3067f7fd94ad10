"""Thousands of requests that wait for the same thing: each is answered, and the next is served."""

import json
import selectors
import time

PATCHES = 2000
SESSIONS = "/jupyter/api/sessions"


def storm(api, method, path, body, count, deadline_s=60):
    """So many requests at once, each on a connection of its own; their statuses."""
    data = json.dumps(body).encode()
    head = {"Content-Type": "application/json", "Content-Length": str(len(data)), "Connection": "close"}
    request = api.head(method, path, head) + data
    socks, statuses = [], []
    try:
        for _ in range(count):
            socks.append(api.connect())
        for sock in socks:
            sock.sendall(request)
        with selectors.DefaultSelector() as ready:
            for sock in socks:
                sock.setblocking(False)
                ready.register(sock, selectors.EVENT_READ, bytearray())
            end = time.monotonic() + deadline_s
            while ready.get_map():
                events = ready.select(max(0.0, end - time.monotonic()))
                assert events, "%d of %d were answered within %d s" % (len(statuses), count, deadline_s)
                for key, _ in events:
                    more = key.fileobj.recv(65536)
                    key.data.extend(more)
                    if not more:
                        ready.unregister(key.fileobj)
                        statuses.append(int(key.data.split(b" ", 2)[1]) if key.data else 0)
    finally:
        for sock in socks:
            sock.close()
    return statuses


def test_two_thousand_moves_of_one_session_at_the_limit(controller):
    c = controller("--max-sandboxes", "2")
    body = {"path": "a.ipynb", "type": "notebook", "name": "a"}
    session = c.alice.post(SESSIONS, body).expect(201).json()
    wanted = {"kernel": {"name": "python3"}}
    found = storm(c.alice, "PATCH", SESSIONS + "/" + session["id"], wanted, PATCHES)
    assert len(found) == PATCHES and c.alive
    # One moves at a time; while there is no room the others hear so, and its old sandbox may be gone.
    assert set(found) <= {200, 404, 429, 502, 503}, sorted(set(found))
    assert 200 in found and 429 in found, sorted(set(found))
    kernels = c.alice.get("/jupyter/api/kernels").expect(200).json()
    assert 1 <= len(kernels) <= 2
    box = c.alice.box({"id": "sb-" + kernels[0]["id"]})
    assert box.value("'next'") == "'next'"
