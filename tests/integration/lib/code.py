"""Pieces of user code that wait for a sign instead of for time."""

import itertools

_numbers = itertools.count(1)


class Gate:
    """A file that user code waits for. `code` goes into the cell; open() lets it go on."""

    def __init__(self, sandbox):
        self.sandbox = sandbox
        self.name = "gate-%d" % next(_numbers)
        self.code = "import os, time\nwhile not os.path.exists(%r): time.sleep(0.005)\n" % self.name
        # The same where interrupts are counted and said. A handler that raises nothing: an exception
        # could come anywhere, also where nothing catches it.
        self.stubborn_code = (
            "import os, signal, time\n"
            "interrupts = []\n"
            "_ = signal.signal(signal.SIGINT, lambda *_: interrupts.append(1))\n"
            "print('started', flush=True)\n"
            "said = 0\n"
            "while not os.path.exists(%r):\n"
            "    if said < len(interrupts):\n"
            "        print('ignored', flush=True)\n"
            "        said += 1\n"
            "    time.sleep(0.005)\n" % self.name
        )

    def open(self):
        self.sandbox.put(self.name, b"").expect(201, 204)


FOREVER = "print('started', flush=True)\nwhile True: pass"
# Catches the interrupt and comes to rest. (An endless loop would not do: CPython 3.11 finds no handler
# for what it raises at the loop's backward jump.)
FOREVER_CATCHING = (
    "import time\ntry:\n    print('started', flush=True)\n    time.sleep(60)\n"
    "except KeyboardInterrupt:\n    print('caught')"
)
# Never comes to rest.
FOREVER_IGNORING = (
    "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nprint('started', flush=True)\nwhile True: pass"
)
