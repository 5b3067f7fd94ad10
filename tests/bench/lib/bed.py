"""What is measured side by side: a fresh sandbox and a fresh kernel of each competitor, so that no
single process's luck decides."""

import contextlib

from .report import Failure


class Bed:
    warm_up = 3  # executions of each competitor before the first that counts

    def __init__(self, controller, *servers):
        with contextlib.ExitStack() as stack:
            controller.await_warm()
            self.sandbox = stack.enter_context(controller.create())
            self.competitors = self.compete(stack, *servers)
            # The refilled pool's kernel has come up: it shall not start while we measure.
            controller.await_warm()
            for subject, c in self.competitors.items():
                try:
                    c.latency(self.warm_up, "pass")
                except Exception as e:
                    raise Failure("%s: %s" % (subject, e)) from e
            self._stack = stack.pop_all()

    def compete(self, stack, *servers):
        """The competitors by name; `stack` ends what they need."""
        raise NotImplementedError

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self._stack.close()
