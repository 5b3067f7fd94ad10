"""Several kernels in a sandbox."""

import threading
import uuid

import pytest
from lib import contract
from lib.code import FOREVER, Gate


@pytest.fixture
def more(box):
    """Makes further kernels of the module's sandbox; they are deleted afterwards."""
    made = []

    def make(**fields):
        made.append(box.add_kernel(**fields))
        return made[-1]

    yield make
    for kernel in made:
        box.delete("/kernels/" + kernel["id"])


def test_a_sandbox_begins_with_its_main_kernel(sandbox):
    (kernel,) = sandbox.kernels()
    contract.check_kernel(kernel)
    assert (kernel["state"], kernel["generation"]) == ("idle", 1)
    if sandbox.prefix:
        assert kernel["id"] == sandbox.id[3:]
        assert sandbox.get("").expect(200).json()["kernel"] == kernel
    assert sandbox.get("/kernels/" + kernel["id"]).expect(200).json() == kernel


def test_the_state_of_a_kernel(box):
    gate = Gate(box)
    before = box.kernel()["execution_count"]
    running = box.start(gate.code)
    box.wait_started(running["id"])
    assert box.kernel()["state"] == "busy"
    gate.open()
    box.wait(running["id"])
    kernel = box.kernel()
    assert (kernel["state"], kernel["execution_count"]) == ("idle", before + 1)


def test_a_further_kernel_has_a_state_of_its_own(box, more):
    response = box.post("/kernels").expect(201)
    kernel = response.json()
    contract.check_kernel(kernel)
    assert (kernel["state"], kernel["generation"]) == ("idle", 1)
    assert response.headers["Location"] == "%s/kernels/%s" % (box.prefix, kernel["id"])
    assert [k["id"] for k in box.kernels()] == [box.kernel()["id"], kernel["id"]]
    box.ok("mine = 'main'")
    found = box.ok("mine = 'other'\nmine", kernel_id=kernel["id"])
    assert (found["kernel_id"], found["execution_count"]) == (kernel["id"], 1)
    assert box.value("mine") == "'main'"
    assert box.value("mine", kernel_id=kernel["id"]) == "'other'"
    box.delete("/kernels/" + kernel["id"]).expect(204)
    assert [k["id"] for k in box.kernels()] == [box.kernel()["id"]]


def test_ids_of_further_kernels_name_their_sandbox(box, more):
    main = box.kernel()["id"]
    ids = [more()["id"] for _ in range(3)]
    for kid in ids:
        uuid.UUID(kid)
        assert kid[:-3] == main[:-3] and main.endswith("000")
    numbers = [int(kid[-3:], 16) for kid in ids]
    assert numbers == list(range(numbers[0], numbers[0] + 3)) and numbers[0] >= 1


def test_kernels_run_side_by_side(box, more):
    kid = more()["id"]
    gate = Gate(box)
    held = box.start(gate.code)
    box.wait_started(held["id"])
    # The main one waits; this one does not.
    assert box.value("1 + 1", kernel_id=kid) == "2"
    assert box.execution(held["id"])["state"] == "running"
    gate.open()
    assert box.wait(held["id"])["status"] == "ok"


def test_cwd_and_env_of_a_further_kernel(box, more):
    box.put("work/here.txt", b"here").expect(201, 204)
    kid = more(cwd="work", env={"MY_VALUE": "ünïcode =x", "EMPTY": ""})["id"]
    code = "import os; (os.path.basename(os.getcwd()), os.environ['MY_VALUE'], os.environ['EMPTY'])"
    assert box.value(code, kernel_id=kid) == str(("work", "ünïcode =x", ""))
    assert box.value("open('here.txt').read()", kernel_id=kid) == "'here'"
    # They hold after a restart, and nowhere else.
    assert box.restart(kernel_id=kid)["generation"] == 2
    assert box.value(code, kernel_id=kid) == str(("work", "ünïcode =x", ""))
    assert box.value("import os; 'MY_VALUE' in os.environ") == "False"


def test_an_absolute_cwd(box, more):
    kid = more(cwd="/tmp")["id"]
    assert box.value("import os; os.getcwd()", kernel_id=kid) == "'/tmp'"


@pytest.mark.parametrize(
    "body, field",
    [
        ({"cwd": "no-such-folder"}, "cwd"),
        ({"cwd": "../"}, "cwd"),
        ({"cwd": "a/../.."}, "cwd"),
        ({"cwd": 1}, "cwd"),
        ({"env": "A=B"}, "env"),
        ({"env": {"A": 1}}, "env"),
        ({"env": {"": "x"}}, "env"),
        ({"env": {"A=B": "x"}}, "env"),
        ({"env": {"A": "x\0y"}}, None),
        ({"env": {"x" * 257: "x"}}, "env"),
        ({"env": {"A": "x" * 32769}}, "env"),
        ({"env": {str(n): "" for n in range(129)}}, "env"),
        ({"name": "x"}, "name"),
        ([], None),
    ],
)
def test_a_kernel_of_bad_fields_is_invalid_and_not_made(box, body, field):
    members = box.post("/kernels", body).problem("invalid")
    if field:
        assert members.get("field", "").split(".")[0] == field, members
    assert len(box.kernels()) == 1


def test_sixteen_kernels_and_no_more(sandbox):
    made = []
    for _ in range(15):
        made.append(sandbox.add_kernel()["id"])
    assert len(sandbox.kernels()) == 16
    sandbox.post("/kernels", {}).problem("limit")
    assert len(sandbox.kernels()) == 16
    assert sandbox.value("1", kernel_id=made[-1]) == "1"
    sandbox.delete("/kernels/" + made[0]).expect(204)
    assert sandbox.value("1", kernel_id=sandbox.add_kernel()["id"]) == "1"


def test_the_main_kernel_cannot_be_deleted(box):
    kid = box.kernel()["id"]
    box.delete("/kernels/" + kid).problem("conflict")
    assert box.value("1") == "1"


def test_a_deleted_kernel_is_gone(box, more):
    kid = more()["id"]
    running = box.stream(FOREVER, kernel_id=kid)
    running.until_text("started")
    queued = box.start("1", kernel_id=kid)
    box.delete("/kernels/" + kid).expect(204)
    events = running.all()
    contract.check_log(events)
    assert box.wait(queued["id"])["status"] == "cancelled"
    box.get("/kernels/" + kid).problem("not_found")
    box.delete("/kernels/" + kid).problem("not_found")
    box.post_execute("1", kernel_id=kid).problem("not_found")
    box.interrupt(kernel_id=kid).problem("not_found")
    box.post("/restart", {"kernel_id": kid}).problem("not_found")
    assert box.value("1") == "1"


def test_interrupt_and_restart_of_one_kernel_leave_the_others(box, more):
    kid = more()["id"]
    box.ok("kept = 'main'")
    gate = Gate(box)
    main = box.start(gate.code)
    box.wait_started(main["id"])
    other = box.stream(FOREVER, kernel_id=kid)
    other.until_text("started")
    box.interrupt(kernel_id=kid).expect(204)
    assert other.all()[-1]["status"] == "interrupted"
    assert box.restart(kernel_id=kid)["id"] == kid
    assert box.kernel(kid)["generation"] == 2
    assert box.execution(main["id"])["state"] == "running"
    gate.open()
    assert box.wait(main["id"])["status"] == "ok"
    assert box.value("kept") == "'main'"


def test_the_death_of_one_kernel_leaves_the_others(box, more):
    kid = more()["id"]
    box.ok("kept = 'still'")
    assert box.execute("import os; os._exit(1)", kernel_id=kid)["status"] == "kernel_died"
    assert box.value("'kept' in globals()", kernel_id=kid) == "False"
    assert box.value("kept") == "'still'"


@pytest.mark.parametrize("kid", ["x", "00000000-1111-4222-8333-444444444000", "%20", "..", "0" * 36])
def test_unknown_and_malformed_kernel_ids_are_not_found(box, kid):
    box.get("/kernels/" + kid).problem("not_found")
    box.delete("/kernels/" + kid).problem("not_found")
    box.post_execute("1", kernel_id=kid).problem("not_found")


def test_many_kernels_at_once(sandbox):
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(sandbox.add_kernel()["id"])) for _ in range(4)
    ]
    for t in threads:
        t.start()
    for t in threads:
        t.join(90)
    assert len(set(found)) == 4
    assert {k["id"] for k in sandbox.kernels()} == set(found) | {sandbox.kernel()["id"]}
    assert [sandbox.value("1", kernel_id=kid) for kid in found] == ["1"] * 4
