"""The runner follows no path that user code can bend while it holds anything of the host."""

import pathlib

import pytest
from lib.hostile import fresh, goes_on
from lib.process import eventually
from lib.walls import KINDS, walled

MARK = "seen by nobody inside"


@pytest.fixture(scope="module", params=KINDS)
def walls(request, module_controller):
    it = walled(module_controller, request.param)
    (it.state_dir / "host-file").write_text(MARK)
    yield it
    it.hold_logs()
    it.delete_all()


@pytest.fixture
def victim(walls):
    with fresh(walls) as box:
        yield box


def spill_fd(box):
    """The number under which PID 1 holds a folder of the host."""
    return int(box.value("words = open('/proc/1/cmdline').read().split(chr(0)); int(words[words.index('--spill-fd') + 1])"))


def ways_out(box):
    fd = spill_fd(box)
    yield from ("/proc/self/fd/%d%s" % (fd, up) for up in ("", "/..", "/../..", "/../../../.."))
    yield from ("/proc/1/fd/%d" % fd, "/proc/self/root", "/proc/self/cwd", "/proc/thread-self/root/tmp")


def refused(message):
    message.problem("invalid", "cwd")


def test_a_cwd_through_a_magic_link_is_refused(victim):
    """S1: with PYTHONPATH at a folder of its own, sitecustomize ran in the host's."""
    victim.ok("open('sitecustomize.py', 'w').write('import os; open(\"/tmp/out\", \"w\").write(os.getcwd())')")
    for way in ways_out(victim):
        refused(victim.post("/kernels", json={"cwd": way, "env": {"PYTHONPATH": "/uploaded_files"}}))
        victim.ok("import os\nos.path.lexists('l') and os.unlink('l')\nos.symlink(%r, 'l')" % way)
        for cwd in ("l", "/uploaded_files/l", "l/..", "l/../.."):
            refused(victim.post("/kernels", json={"cwd": cwd}))
    assert victim.value("os.path.exists('/tmp/out')") == "False"
    assert len(victim.kernels()) == 1
    goes_on(victim)


def test_a_notebook_behind_a_magic_link_gets_no_kernel(victim):
    # The main kernel, which stands in the files root, is the first session's.
    victim.post("/jupyter/api/sessions", json={"name": "", "type": "notebook", "path": "a.ipynb"}).expect(201)
    for way in ways_out(victim):
        victim.ok("import os\nos.path.lexists('l') and os.unlink('l')\nos.symlink(%r, 'l')" % way)
        refused(victim.post("/jupyter/api/kernels", json={"name": "python3", "path": "l/n.ipynb"}))
        session = {"kernel": {"name": "python3"}, "name": "n", "type": "notebook", "path": "l/n.ipynb"}
        refused(victim.post("/jupyter/api/sessions", json=session))
    assert len(victim.kernels()) == 1
    goes_on(victim)


def test_ordinary_links_inside_go_on_working(victim):
    victim.ok("import os\nos.mkdir('real')\nos.symlink('real', 'near')\nos.symlink('/tmp', 'far')")
    for cwd, there in (("near", "/uploaded_files/real"), ("/uploaded_files/far", "/tmp"), ("/", "/")):
        kid = victim.add_kernel(cwd=cwd)["id"]
        assert victim.value("import os; os.getcwd()", kernel_id=kid) == repr(there)
        victim.delete("/kernels/" + kid).expect(204)
    found = victim.post("/jupyter/api/kernels", json={"name": "python3", "path": "near/n.ipynb"}).expect(201).json()
    assert victim.value("import os; os.getcwd()", kernel_id=found["id"]) == "'/uploaded_files/real'"


def test_a_folder_bent_later_starts_the_kernel_in_the_files_root(victim):
    """S1 by user code alone: the folder of a kernel becomes a link, and the kernel is killed."""
    victim.ok("import os\nos.mkdir('work')")
    kid = victim.add_kernel(cwd="work")["id"]
    generation = 1
    for way in ways_out(victim):
        victim.ok(
            "import os\nos.path.isdir('work') and not os.path.islink('work') and os.rename('work', 'old%d')\n"
            "os.path.lexists('work') and os.unlink('work')\nos.symlink(%r, 'work')" % (generation, way)
        )
        victim.restart(kernel_id=kid)
        generation += 1
        found = victim.ok("import os; print(os.getcwd())", kernel_id=kid, timeout_s=60)
        assert found["stdout"] == "/uploaded_files\n", (way, found["stdout"])
    goes_on(victim)


def test_removal_of_a_kernels_folder_follows_no_link(walls, victim):
    """S3: of 200 files of the host, nftw() by path took some."""
    precious = walls.state_dir / "precious"
    precious.mkdir(exist_ok=True)
    for i in range(50):
        (precious / str(i)).write_text(MARK)
    spill = pathlib.Path(walls.state_dir, "sandboxes", victim.id, "spill")
    for i in range(20):
        (spill / str(i)).write_text(MARK)
    fd = spill_fd(victim)
    bend = """
import os, shutil
mine = os.environ['JUPYTER_RUNTIME_DIR']
os.rename(mine, os.path.dirname(mine) + '/was')
os.symlink(%r, mine)
"""
    for way in ("/proc/self/fd/%d" % fd, "/proc/self/fd/%d/../../../precious" % fd, "/proc/self/fd/%d/.." % fd):
        victim.ok(bend % way)
        victim.restart()
        victim.ok("import os, shutil; shutil.rmtree('/run/caesarion/was')", timeout_s=60)
        eventually(lambda: "True" == victim.value("len(os.listdir('/run/caesarion')) == 1"))
        assert len(list(precious.iterdir())) == 50 and len(list(spill.iterdir())) == 20
        assert (walls.state_dir / "host-file").read_text() == MARK
    goes_on(victim, generation=4)


def test_a_run_directory_that_is_a_link_is_made_anew(walls, victim):
    fd = spill_fd(victim)
    victim.ok(
        "import os\nrun = os.path.dirname(os.environ['JUPYTER_RUNTIME_DIR'])\n"
        "os.rename(run, run + '-was')\nos.symlink('/proc/self/fd/%d', run)" % fd
    )
    victim.restart()
    goes_on(victim, generation=2)
    spill = pathlib.Path(walls.state_dir, "sandboxes", victim.id, "spill")
    assert list(spill.iterdir()) == []
    assert victim.value("import os; os.path.islink('/run/caesarion')") == "False"


def test_a_kernels_folder_with_many_files_does_not_hold_the_loop(victim):
    """R9: 400,000 files there blocked every request for 5 s. Now /run has room for 16,384."""
    victim.ok(
        "import os\nd = os.environ['JUPYTER_RUNTIME_DIR'] + '/many'\nos.mkdir(d)\n"
        "fd = os.open(d, os.O_RDONLY)\n"
        "for i in range(15000): os.mknod(str(i), 0o600, dir_fd=fd)",
        timeout_s=60,
    )
    victim.restart()
    goes_on(victim, generation=2)
    count = "import os; sum(name.startswith('k-') for name in os.listdir('/run/caesarion'))"
    eventually(lambda: victim.value(count) == "1", 30)
