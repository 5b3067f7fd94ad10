"""JupyterLab from its package, and a person in front of it (drivers/lab.mjs)."""

import contextlib
import json
import os
import shutil

from lib.process import eventually

from . import programs
from .places import Place

NOTEBOOK = programs.HERE / "notebooks" / "plot_and_slider.ipynb"
# Nothing that would ask the network, or cover the page.
PAGE = {"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}}
BROWSING_S = 200
ENOUGH = 1000  # pixels of a bar's colour


@contextlib.contextmanager
def jupyter_lab(*flags):
    """JupyterLab in a folder of its own with a fresh copy of the notebook; yields (place, folder)."""
    with programs.folder() as home:
        (home / "work").mkdir()
        (home / "config" / "labconfig").mkdir(parents=True)
        (home / "config" / "labconfig" / "page_config.json").write_text(json.dumps(PAGE))
        shutil.copy(NOTEBOOK, home / "work" / "book.ipynb")
        token = os.urandom(12).hex()
        argv = [programs.PYTHON, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ServerApp.port=0",
                "--ServerApp.port_retries=0", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]
        env = programs.environment(home, JUPYTER_TOKEN=token)
        with programs.started([*argv, *flags], env, home / "work") as lab:
            mark = "http://127.0.0.1:"
            line = lab.stderr.wait(lambda text: mark in text and "/lab" in text, 60)
            assert line, programs.words(lab)
            port = line.split(mark, 1)[1].split("/", 1)[0]
            place = Place("http://127.0.0.1:%s/" % port, token, "lab")
            try:
                eventually(lambda: answers(place), 30)
                yield place, home / "work"
            except BaseException:
                print("\n".join(lab.stderr.all()[-60:]))  # pytest shows it where the test failed
                raise


def answers(place):
    with contextlib.suppress(OSError):
        return place.ask("GET", "api")[0] == 200


def browse(url, name):
    """Lets a person do all there is to do with the notebook at this address; returns what was seen."""
    shots = programs.ARTEFACTS
    shots.mkdir(parents=True, exist_ok=True)
    with programs.folder() as home:
        env = programs.environment(home, CHROMIUM=programs.CHROMIUM, PROFILE=home / "profile")
        argv = [programs.NODE, str(programs.HERE / "drivers" / "lab.mjs"), url, str(shots / (name + ".png"))]
        return programs.result(argv, env, programs.HERE, BROWSING_S)


def check_seen(saw):
    plot = saw["plot"]
    assert plot["width"] > 200 and plot["height"] > 120, plot
    assert all(count > ENOUGH for count in plot["counts"]), plot
    # The bars are 3, 1 and 2 high.
    red, green, blue = plot["counts"]
    assert red > 1.3 * blue > 1.3 * 1.5 * green, plot
    assert plot["drawn"] < 0.7 * plot["width"] * plot["height"], plot
    assert saw["before"] == "3" and saw["after"] == "7"
    assert saw["prompts"] == ["[1]:", "[2]:", "[3]:"], saw


def check_saved(book):
    """The notebook as it was saved: its outputs."""
    plot, slider, value = [cell for cell in book["cells"] if cell["cell_type"] == "code"]
    assert "image/png" in plot["outputs"][0]["data"], plot
    assert "application/vnd.jupyter.widget-view+json" in slider["outputs"][0]["data"], slider
    assert value["outputs"][0]["text"] == "the kernel's n is 7\n", value
    assert [c["execution_count"] for c in (plot, slider, value)] == [1, 2, 3]


@contextlib.contextmanager
def in_front(server, pages):
    """drivers/front.mjs: JupyterLab's page from `pages`, everything else from `server`; yields (url, process)."""
    with programs.folder() as home:
        env = programs.environment(home, SERVER_TOKEN=server.token)
        argv = [programs.NODE, str(programs.HERE / "drivers" / "front.mjs"), server.url, pages.url]
        with programs.started(argv, env, programs.HERE) as front:
            port = front.stdout.wait(lambda line: True, 20)
            assert port, programs.words(front)
            yield "http://127.0.0.1:%s/" % port, front
