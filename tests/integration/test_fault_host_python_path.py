"""A virtual environment whose .pth files name folders outside of it, as an editable install does."""

import os
import shutil
import subprocess

import pytest
from lib.controller import PYTHON
from lib.hostile import end, goes_on
from lib.starts import USAGE, refused

SECRET = "TOKEN=hush-of-the-project"


def make_venv(folder):
    base = subprocess.run([PYTHON, "-c", "import sys; print(sys.base_prefix)"], check=True, capture_output=True, text=True)
    python = os.path.join(base.stdout.strip(), "bin/python3")
    subprocess.run([python, "-m", "venv", "--without-pip", folder], check=True)
    (site,) = folder.glob("lib/python*/site-packages")
    return site


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """An environment with the ipykernel of the tests' own; every user may enter it."""
    folder = tmp_path_factory.mktemp("editable")
    for parent in (folder, folder.parent, folder.parent.parent):
        parent.chmod(0o755)
    site_of = make_venv(folder / "venv")
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = subprocess.run([PYTHON, "-c", code], check=True, capture_output=True, text=True).stdout.strip()
    heavy = shutil.ignore_patterns("numpy*", "pandas*", "scipy*", "matplotlib*", "torch*", "sklearn*", "__pycache__")
    shutil.copytree(site, site_of, dirs_exist_ok=True, symlinks=True, ignore=heavy)
    for name in ("project", "home"):
        (folder / name).mkdir(mode=0o755)
        (folder / name / ".env").write_text(SECRET)
        (folder / name / (name + "_module.py")).write_text("value = 42\n")
    (site_of / "__editable__.project.pth").write_text("%s\n%s\n" % (folder / "project", folder / "home"))
    return folder


def start(controller, place, *flags, **options):
    return controller(
        "--python", place / "venv/bin/python", "--memory", "256Mi", *flags, env={"HOME": str(place / "home")}, **options
    )


def left_out(it):
    return {line["path"]: line["detail"] for line in it.logs if line["event"] == "python_path_left_out"}


def exists(box, path):
    return box.value("__import__('os').path.exists(%r)" % str(path)) == "True"


def test_what_a_pth_names_is_not_bound_and_said_once(controller, place):
    it = start(controller, place)
    said = left_out(it)
    assert set(said) == {str(place / "project"), str(place / "home")}, said
    assert "--python-path" in said[str(place / "project")]
    assert "no sandbox may see" in said[str(place / "home")]
    box = it.sandbox()
    assert not exists(box, place / "project") and not exists(box, place / "home")
    assert box.execute("import project_module")["error"]["ename"] == "ModuleNotFoundError"
    assert SECRET not in box.ok("import os; print(os.popen('cat /proc/self/mountinfo').read())")["stdout"]
    goes_on(box)
    end(box)
    assert len([line for line in it.logs if line["event"] == "python_path_left_out"]) == 2


def test_what_the_operator_allows_is_bound_read_only_but_never_home(controller, place):
    it = start(controller, place, "--python-path", place)
    assert set(left_out(it)) == {str(place / "home")}
    box = it.sandbox()
    assert box.value("__import__('project_module').value") == "42"
    found = box.execute("open(%r, 'w')" % str(place / "project/new"))
    assert found["error"]["ename"] == "OSError", found["error"]
    assert not exists(box, place / "home")
    goes_on(box)
    end(box)


def test_an_environment_that_is_home_itself_is_refused(controller, tmp_path):
    make_venv(tmp_path)
    (tmp_path / ".env").write_text(SECRET)
    reason = refused(
        controller,
        "--python",
        tmp_path / "bin/python",
        env={"HOME": str(tmp_path)},
        status=USAGE,
        says=[str(tmp_path), "no sandbox may see", "virtual environment in a folder of its own"],
    )
    assert SECRET not in reason


@pytest.mark.parametrize("path,says", [("relative", "not an absolute path"), ("/nonexistent/x", "No such file")])
def test_a_python_path_that_is_none_is_refused(controller, path, says):
    refused(controller, "--python-path", path, status=USAGE, says=["--python-path " + path, says])
