"""/openapi.json against the running server: what it promises is what is answered, for good and bad requests.

schemathesis makes the requests from the document, always the same ones. Well-formed random ids name
nothing, so they are replaced by those of things that exist.
"""

import json
import re

import hypothesis
import pytest
import schemathesis
from lib.contract import unknown_sandbox
from lib.controller import ROOT
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

EXAMPLES = 30
# Jupyter's contents: 400 depends on what is there, and what is not understood is passed over.
LENIENT = [positive_data_acceptance, negative_data_rejection]
METHODS = ("get", "put", "post", "patch", "delete")
# Only for the names of the tests; what is tested is what the server sends.
DOCUMENT = json.loads((ROOT / "controller/web/openapi.json").read_text())
OPERATIONS = [
    (method, path)
    for path, item in DOCUMENT["paths"].items()
    for method in METHODS
    if method in item and not path.endswith("/channels")  # a WebSocket
]
SANDBOX = re.compile(r"^sb-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{9}000$")
UUID = re.compile(r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")
MADE = re.compile(r"^(/api/sandboxes/[^/]+(/kernels/[^/]+)?|(/api/sandboxes/[^/]+)?/jupyter/api/(kernels|sessions)/[^/]+)$")
EXECUTION = re.compile(r"^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,63}$")


@pytest.fixture(scope="module")
def world(module_controller):
    """A controller with a sandbox in which one of everything exists."""
    c = module_controller("--max-sandboxes", "1000", "--exec-timeout", "5s", "--warm", "2")
    box = c.sandbox()
    box.done = box.ok("1")["id"]
    box.main = box.kernel()["id"]
    box.put("file.txt", b"content").expect(201)
    box.spare = box.main[:-3] + "fff"
    session = {"path": "a.ipynb", "type": "notebook", "kernel": {"id": box.main}}
    box.session = box.post("/jupyter/api/sessions", session).expect(201).json()["id"]
    return c, box


@pytest.fixture(scope="module")
def openapi(world):
    c, _ = world
    url = "http://%s:%d" % c.address
    schema = schemathesis.openapi.from_url(
        url + "/openapi.json", headers={"Authorization": "Bearer " + c.alice.token}
    )
    schema.config.update(base_url=url)
    return schema


def use_what_exists(case, mode, box):
    parameters = case.path_parameters or {}
    if SANDBOX.match(str(parameters.get("id", ""))):
        # The sandbox itself must outlive the test.
        whole = case.path.endswith("{id}") and case.method.upper() == "DELETE"
        parameters["id"] = unknown_sandbox() if whole else box.id
    if UUID.match(str(parameters.get("kid", ""))):
        # Jupyter clients may end a main kernel, and their sandbox with it.
        ends = "/jupyter/" in case.path and case.method.upper() == "DELETE"
        parameters["kid"] = box.spare if ends else box.main
    if UUID.match(str(parameters.get("sid", ""))) and case.method.upper() != "DELETE":
        parameters["sid"] = box.session
    if EXECUTION.match(str(parameters.get("eid", ""))):
        parameters["eid"] = box.done
    if case.path.endswith("/kernels") and isinstance(case.body, dict) and mode.is_positive:
        case.body.pop("cwd", None)  # it must exist


def ask(case, mode, c, box):
    # In any JSON a NUL is refused, which a schema of unknown fields cannot say.
    hypothesis.assume(mode.is_negative or "\\u0000" not in json.dumps(case.body, default=repr))
    use_what_exists(case, mode, box)
    response = case.call(headers={"Authorization": "Bearer " + c.alice.token}, timeout=60)
    made = response.headers.get("Location", [""])[0]
    if response.status_code == 201 and MADE.match(made):
        c.alice.delete(made)
    case.validate_response(response, excluded_checks=LENIENT if "/contents" in case.path else [])


GOOD = [(*operation, GenerationMode.POSITIVE) for operation in OPERATIONS]
# Those two take nothing that could be wrong.
BAD = [(*o, GenerationMode.NEGATIVE) for o in OPERATIONS if o[1] not in ("/healthz", "/readyz")]


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "method, path, mode", GOOD + BAD, ids=["%s %s, %s" % (m, p, mode.value) for m, p, mode in GOOD + BAD]
)
def test_answers_are_what_openapi_promises(method, path, mode, world, openapi):
    c, box = world
    cases = openapi[path][method].as_strategy(generation_mode=mode)

    @hypothesis.settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(case=cases)
    def check(case):
        ask(case, mode, c, box)

    check()


def test_the_sandbox_has_survived_it(world):
    _, box = world
    assert box.value("6 * 7") == "42"
    assert box.file("file.txt").status in (200, 404)
