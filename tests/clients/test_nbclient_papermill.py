"""nbclient (jupyter execute) and papermill: a notebook from its first cell to its last, in a kernel that they start by name."""

import nbformat
from drive import native, programs

BOOK = programs.HERE / "notebooks" / "parameters.ipynb"


def check_executed(path, n):
    book = nbformat.read(path, 4)
    cells = {c.id: c for c in book.cells}
    table = cells["table"].outputs
    assert table[0]["text"] == "sum %d\n" % sum(i * i for i in range(n)), table
    assert "<table" in table[1]["data"]["text/html"], table
    assert "image/png" in cells["plot"].outputs[0]["data"]
    assert "application/vnd.jupyter.widget-view+json" in cells["widget"].outputs[0]["data"]
    assert cells["fail"].outputs[0]["data"]["text/plain"] == "'all done'"


def test_nbclient(everywhere):
    with native.kernelspec(everywhere) as (home, env):
        target = home / "work" / "done.ipynb"
        argv = [programs.script("jupyter-execute"), "--kernel_name", native.SPEC, "--timeout", "60"]
        programs.finished([*argv, "--output", str(target), str(BOOK)], env, home / "work")
        check_executed(target, 3)
    if everywhere.ours:
        assert everywhere.kernels() == [], "the sandbox was left"


def papermill(home, env, target, *parameters):
    argv = [programs.PYTHON, "-m", "papermill", str(BOOK), str(target), "-k", native.SPEC]
    argv += ["--no-progress-bar", "--execution-timeout", "60", *parameters]
    return programs.finished(argv, env, home / "work")


def test_papermill(everywhere):
    with native.kernelspec(everywhere) as (home, env):
        target = home / "work" / "done.ipynb"
        papermill(home, env, target, "-p", "n", "5")
        check_executed(target, 5)
    if everywhere.ours:
        assert everywhere.kernels() == [], "the sandbox was left"


def test_papermill_stops_at_an_error(everywhere):
    with native.kernelspec(everywhere) as (home, env):
        target = home / "work" / "done.ipynb"
        try:
            papermill(home, env, target, "-p", "fail", "True")
        except programs.Failed as e:
            assert "AssertionError: as asked" in str(e), e
        else:
            raise AssertionError("papermill took a failed notebook for a good one")
        book = nbformat.read(target, 4)
        ids = {c.id: c for c in book.cells}
        assert ids["fail"].outputs[0]["ename"] == "AssertionError"
        assert ids["widget"].outputs
    if everywhere.ours:
        assert everywhere.kernels() == [], "the sandbox was left"
