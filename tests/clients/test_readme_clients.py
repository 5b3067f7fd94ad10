"""The README's ```sh blocks about Jupyter clients, run as printed in a shell where $URL and $TOKEN are set."""

import contextlib
import json
import os
import re
import urllib.request

import pytest
from drive import native, programs
from lib.controller import BIN, ROOT
from lib.process import eventually

SECTION = (ROOT / "README.md").read_text().split("\n## Jupyter clients\n")[1].split("\n## ")[0]
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", SECTION, re.M | re.S)
CELL = {"cell_type": "code", "execution_count": None, "id": "a", "metadata": {}, "outputs": [], "source": "print(6 * 7)"}


def block_with(word):
    (found,) = [b for b in BLOCKS if word in b]
    return found


@contextlib.contextmanager
def shell(place, script, **extra):
    """A shell in a folder where build/bin is what was built; yields (process, folder)."""
    with programs.folder() as home:
        (home / "build").mkdir()
        os.symlink(BIN, home / "build" / "bin")
        book = {"cells": [CELL], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
        (home / "in.ipynb").write_text(json.dumps(book))
        env = programs.environment(home, URL=native.root_of(place), TOKEN=place.token, **extra)
        with programs.started(["/bin/bash", "-euo", "pipefail", "-c", script], env, home) as process:
            yield process, home


@pytest.mark.ours
def test_jupyter_lab_with_its_kernels_here(everywhere):
    extra = {"JUPYTER_ALLOW_ROOT": "1", "JUPYTER_PORT": "0", "JUPYTER_TOKEN": "t0", "BROWSER": "true"}
    # JupyterLab refuses to run as root without being told so; a user is not.
    script = block_with("jupyter lab").replace("jupyter lab", "jupyter lab --allow-root --no-browser --ServerApp.port=0")
    with shell(everywhere, script, **extra) as (lab, _):
        mark = "http://127.0.0.1:"
        line = lab.stderr.wait(lambda text: mark in text and "/lab" in text, 90)
        assert line, programs.words(lab)
        url = mark + line.split(mark, 1)[1].split("/", 1)[0] + "/api/kernelspecs?token=t0"
        specs = eventually(lambda: ask(url), 30)
        assert specs["kernelspecs"]["python3"]["spec"]["display_name"] == "Python 3 (Caesarion)"


def ask(url):
    with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=10) as answer:
        return json.load(answer)
    return None


@pytest.mark.ours
def test_a_console_attaches(one):
    attach = "SANDBOX=%s\n%s" % (one.box.id, block_with("-f kernel.json"))
    with shell(one, attach) as (process, home):
        line = process.stdout.wait(lambda text: True, 60)
        assert line and line.startswith(native.READY), programs.words(process)
        # A person types; here the lines come from a pipe.
        typed = "print(6 * 7)\nexit(keep_kernel=True)\n"
        console = "printf '%s' | %s --simple-prompt" % (typed.replace("\n", "\\n"), block_with("--existing").strip())
        env = programs.environment(home)
        said = programs.finished(["/bin/bash", "-euo", "pipefail", "-c", console], env, home)
        assert any("42" in line for line in said), said


@pytest.mark.ours
def test_jupyter_starts_kernels_in_sandboxes(everywhere):
    with shell(everywhere, block_with("--install-kernelspec")) as (process, home):
        assert process.wait_exit(100) == 0, programs.words(process)
        process.stdout.wait_end(5)
        assert any(line.split()[:1] == ["caesarion"] for line in process.stdout.all()), programs.words(process)
        (cell,) = [c for c in json.loads((home / "out.ipynb").read_text())["cells"] if c["cell_type"] == "code"]
        assert cell["outputs"][0]["text"] in ("42\n", ["42\n"]), cell
    eventually(lambda: everywhere.kernels() == [], 20)
