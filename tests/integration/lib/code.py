"""Pieces of user code that wait for a sign instead of for time."""

import itertools

_numbers = itertools.count(1)


class Gate:
    """A file that user code waits for. `code` goes into the cell; open() lets it go on."""

    def __init__(self, sandbox):
        self.sandbox = sandbox
        self.name = "gate-%d" % next(_numbers)
        self.code = "import os, time\nwhile not os.path.exists(%r): time.sleep(0.005)\n" % self.name
        # The same where an interrupt is swallowed.
        self.stubborn_code = (
            "import os, time\n"
            "while not os.path.exists(%r):\n"
            "    try:\n"
            "        time.sleep(0.005)\n"
            "    except KeyboardInterrupt:\n"
            "        print('ignored', flush=True)\n" % self.name
        )

    def open(self):
        self.sandbox.put(self.name, b"").expect(201, 204)


FOREVER = "print('started', flush=True)\nwhile True: pass"
# Catches the interrupt and comes to rest. (An endless loop would not do: CPython 3.11 finds no handler
# for what it raises at the loop's backward jump.)
FOREVER_CATCHING = (
    "import time\nprint('started', flush=True)\n"
    "try:\n    time.sleep(60)\nexcept KeyboardInterrupt:\n    print('caught')"
)
# Never comes to rest.
FOREVER_IGNORING = (
    "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nprint('started', flush=True)\nwhile True: pass"
)
