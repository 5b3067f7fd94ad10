"""What ZeroMQ clients need: a connection file to attach by, or a kernelspec to start."""

import contextlib
import json
import re
import signal

from lib.controller import BIN
from lib.controller import PYTHON as KERNEL_PYTHON
from lib.process import eventually, sanitizer_reports

from . import programs

ATTACH = str(BIN / "caesarion-attach")
READY = "caesarion-attach ready: "
SPEC = "caesarion"


def root_of(place):
    """The address of the controller, which is what caesarion-attach takes."""
    return re.sub(r"(/api/sandboxes/[^/]+)?/jupyter/$", "", place.url)


@contextlib.contextmanager
def attached(place, *flags):
    """caesarion-attach to the sandbox of a place, as long as the block lasts; yields the connection file."""
    with programs.folder() as home:
        file = home / "kernel.json"
        if not place.ours:
            with stock_kernel(home, file):
                yield file
            return
        env = {**programs.environment(home), "CAESARION_TOKEN": place.token}
        argv = [ATTACH, place.box.id, "--url", root_of(place), "-f", str(file), *flags]
        with programs.started(argv, env, home) as attach:
            line = attach.stdout.wait(lambda text: True, 30)
            assert line and line.startswith(READY), programs.words(attach)
            assert file.stat().st_mode & 0o777 == 0o600
            assert json.loads(file.read_text())["signature_scheme"] == "hmac-sha256"
            yield file
            assert attach.alive, programs.words(attach)
            attach.signal(signal.SIGTERM)
            assert attach.wait_exit(10) == 0, programs.words(attach)
            assert attach.wait_all_gone(10) == []
            assert not file.exists(), "the connection file was left"
            attach.stderr.wait_end(5)
            assert not sanitizer_reports(attach.stderr.all()), programs.words(attach)


@contextlib.contextmanager
def stock_kernel(home, file):
    """A kernel as it comes, for --reference."""
    argv = [KERNEL_PYTHON, "-m", "ipykernel_launcher", "-f", str(file)]
    with programs.started(argv, programs.environment(home), home) as kernel:
        eventually(lambda: file.exists() and "hb_port" in file.read_text(), 60)
        assert kernel.alive, programs.words(kernel)
        yield


@contextlib.contextmanager
def kernelspec(place):
    """A home in which Jupyter finds the kernelspec SPEC; yields (home, environment)."""
    with programs.folder() as home:
        env = programs.environment(home, JUPYTER_PATH=home / "prefix" / "share" / "jupyter")
        if place.ours:
            argv = [ATTACH, "--install-kernelspec", "--url", root_of(place), "--prefix", str(home / "prefix")]
            programs.finished([*argv, "--name", SPEC], {**env, "CAESARION_TOKEN": place.token}, home)
        else:
            spec = home / "data" / "kernels" / SPEC
            spec.mkdir(parents=True)
            argv = [KERNEL_PYTHON, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
            words = {"argv": argv, "display_name": "Python (Caesarion)", "language": "python"}
            (spec / "kernel.json").write_text(json.dumps(words))
        (home / "work").mkdir()
        yield home, env
