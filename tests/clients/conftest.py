"""Real clients, as they are released, against a sandbox.

place       where a client goes: one sandbox's server, then that of all sandboxes of a caller (drive/places.py)
one         one sandbox's server alone; everywhere: the other one alone

Clients in Python run in an environment of their own (requirements.txt), those in JavaScript from node_modules
(package.json); ./dev test makes both. drivers/ has the programs that use them, one a client; each prints what
it saw, and the test beside it says what that must be.

    pytest tests/clients --reference

sends the drivers to a Jupyter Server from its package instead: where a driver fails there, it is the driver.
"""

import importlib.util
import pathlib
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
INTEGRATION = HERE.parent / "integration"
for path in (str(HERE), str(INTEGRATION)):
    if path not in sys.path:
        sys.path.insert(0, path)

_spec = importlib.util.spec_from_file_location("integration_fixtures", INTEGRATION / "conftest.py")
_fixtures = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_fixtures)

pytest.register_assert_rewrite("drive")
from drive import places  # noqa: E402

controller = _fixtures.controller
shared_controller = _fixtures.shared_controller
pytest_collection_modifyitems = _fixtures.pytest_collection_modifyitems
pytest_runtest_makereport = _fixtures.pytest_runtest_makereport


def pytest_addoption(parser):
    parser.addoption("--reference", action="store_true", help="drive a Jupyter Server in place of Caesarion")


def pytest_configure(config):
    config.addinivalue_line("markers", "ours: about what a Jupyter Server does not do")


@pytest.fixture(scope="session")
def reference_server():
    with places.jupyter_server() as found:
        yield found


def make_place(request, kind):
    if request.config.getoption("--reference"):
        if request.node.get_closest_marker("ours"):
            pytest.skip("a Jupyter Server does not do that")
        yield request.getfixturevalue("reference_server")
        return
    make = places.sandbox if kind == "sandbox" else places.everything
    with make(request.getfixturevalue("shared_controller")) as found:
        yield found


@pytest.fixture(params=["sandbox", "all"])
def place(request):
    if request.param == "all" and request.config.getoption("--reference"):
        pytest.skip("a Jupyter Server is one place")
    yield from make_place(request, request.param)


@pytest.fixture
def everywhere(request):
    yield from make_place(request, "all")


@pytest.fixture
def one(request):
    yield from make_place(request, "sandbox")
