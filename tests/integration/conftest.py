"""Fixtures of the integration tests: real processes, real kernels, nothing mocked.

controller(*flags, **options)   starts a controller of one's own (lib/controller.py); any number
shared_controller               one for all cheap tests of a worker; do not change what others see
alice, bob, admin               its callers (lib/client.py: Api)
sandbox                         a fresh sandbox of alice in it (Sandbox), deleted afterwards
box                             the same for all tests of a module: leave its kernel idle
make_runner(*flags), runner     a runner without controller and isolation (lib/runner.py)

Whatever a fixture starts is checked at its end: processes, sockets, directories, mounts, descriptors,
threads, sanitizers' reports. CAESARION_BIN names the programs, CAESARION_PYTHON the kernels' Python.
"""

import contextlib
import os

import pytest
from lib.controller import Controller
from lib.runner import Runner

TEST_TIMEOUT_S = 120
# To look at the runner alone: `sandbox` and `box` are then a runner without controller and isolation.
BARE_RUNNER = os.environ.get("CAESARION_TEST_TARGET") == "runner"


def pytest_collection_modifyitems(config, items):
    if config.getoption("timeout"):
        return
    for item in items:
        if not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(TEST_TIMEOUT_S))


LIVING = []  # what a failed test's report should quote


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.failed:
        for thing in LIVING:
            with contextlib.suppress(Exception):
                report.sections.append(("log of " + type(thing).__name__, thing.tail()))
    return report


@contextlib.contextmanager
def ended(kind):
    """A factory of `kind`; what it made is closed and what is wrong then fails the test."""
    made = []

    def make(*flags, **options):
        thing = kind(*flags, **options)
        made.append(thing)
        LIVING.append(thing)
        return thing

    try:
        yield make
    finally:
        wrong = []
        for thing in reversed(made):
            try:
                wrong += thing.close()
            finally:
                LIVING.remove(thing)
        assert not wrong, "\n".join(wrong)


@pytest.fixture
def controller():
    with ended(Controller) as make:
        yield make


@pytest.fixture(scope="module")
def module_controller():
    with ended(Controller) as make:
        yield make


@pytest.fixture(scope="session")
def shared_controller():
    with ended(Controller) as make:
        yield make("--warm", "1")


@pytest.fixture
def alice(shared_controller):
    return shared_controller.alice


@pytest.fixture
def bob(shared_controller):
    return shared_controller.bob


@pytest.fixture
def admin(shared_controller):
    return shared_controller.admin


@contextlib.contextmanager
def a_sandbox(controller):
    box = controller.sandbox()
    try:
        yield box
    finally:
        controller.hold_logs()
        controller.admin.delete("/api/sandboxes/" + box.id).expect(204)


@contextlib.contextmanager
def a_runner():
    with ended(Runner) as make:
        box = make().box()
        box.ok("pass")  # its kernel has started
        yield box


def sandbox_of(request):
    if BARE_RUNNER:
        return a_runner()
    return a_sandbox(request.getfixturevalue("shared_controller"))


@pytest.fixture
def sandbox(request):
    with sandbox_of(request) as box:
        yield box


@pytest.fixture(scope="module")
def module_box(request):
    with sandbox_of(request) as box:
        yield box


@pytest.fixture
def box(module_box):
    yield module_box
    # A test that failed may have left something running that the next would wait for.
    for execution in module_box.executions("?state=queued") + module_box.executions("?state=running"):
        module_box.cancel(execution["id"]).expect(204)


@pytest.fixture
def make_runner():
    with ended(Runner) as make:
        yield make


@pytest.fixture(scope="module")
def runner():
    with ended(Runner) as make:
        yield make()
