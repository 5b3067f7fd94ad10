"""A proxy in front of a runner's socket that can break connections, as networks do."""

import os
import socket
import threading

from .process import eventually

PASS, REFUSE, SWALLOW = "pass", "refuse", "swallow"


class Cutter:
    """Takes the place of the socket at `path`; what connects from now on goes through it.

    Connections that the controller had before go on without it: see `box_behind`.

    mode: PASS hands bytes on both ways; REFUSE closes what connects; SWALLOW hands the request on
    and closes when the runner has begun to answer.
    """

    def __init__(self, path):
        self.path = str(path)
        self.real = self.path + ".real"
        self.mode = PASS
        self.accepted = 0
        self.pairs = []
        self.lock = threading.Lock()
        os.rename(self.path, self.real)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen(64)
        self.thread = threading.Thread(target=self._accept)
        self.thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.thread.join(10)
        self.listener.close()
        self.cut()
        if os.path.exists(self.path):
            os.rename(self.real, self.path)
        else:
            os.unlink(self.real)  # the sandbox has ended, its backend has removed what it knew

    def _accept(self):
        while True:
            try:
                front, _ = self.listener.accept()
            except OSError:
                return
            self.accepted += 1
            if self.mode == REFUSE:
                front.close()
                continue
            back = socket.socket(socket.AF_UNIX)
            try:
                back.connect(self.real)
            except OSError:
                front.close()
                back.close()
                continue
            with self.lock:
                self.pairs.append((front, back))
            for source, target, up in ((front, back, True), (back, front, False)):
                threading.Thread(target=self._pump, args=(source, target, up), daemon=True).start()

    def _pump(self, source, target, up):
        try:
            while True:
                data = source.recv(65536)
                if not data or (self.mode == SWALLOW and not up):
                    break
                target.sendall(data)
        except OSError:
            pass
        for end in (source, target):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def cut(self):
        """Breaks all connections that are open now."""
        with self.lock:
            pairs, self.pairs = self.pairs, []
        for pair in pairs:
            for end in pair:
                try:
                    end.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
                end.close()

    def wait_attempts(self, more):
        """Until so many more connections have been tried."""
        want = self.accepted + more
        eventually(lambda: self.accepted >= want, 20, "%d more connections" % more)


class BoxBehind:
    """A sandbox whose new connections go through a Cutter: what the controller had kept alive is busy.

    Its main kernel runs nothing; the readers that keep the old connections busy follow an execution
    of another one, which waits for `input()`.
    """

    def __init__(self, controller, **fields):
        self.controller = controller
        self.box = controller.sandbox(**fields)
        (path,) = controller.socket_dir.glob("*.sock")
        self.busy = []
        kernel = self.box.add_kernel()["id"]
        blocker = self.box.start("input()", kernel_id=kernel, allow_stdin=True)["id"]
        self.box.wait_started(blocker)
        self.cutter = Cutter(path)
        while not self.cutter.accepted:
            reader = self.box.events(blocker)
            reader.until("input_request")
            self.busy.append(reader)
            assert len(self.busy) < 64, "all connections went past the proxy"

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.cutter.__exit__()
        for reader in self.busy:
            reader.close()
