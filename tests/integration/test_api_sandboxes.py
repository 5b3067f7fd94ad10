"""Sandboxes: made, shown, listed, removed; whose they are; what they are given."""

import threading
import time

import pytest
from lib import contract
from lib.client import Api
from lib.code import FOREVER, Gate
from lib.process import eventually


@pytest.fixture
def make(shared_controller):
    """Makes sandboxes of a caller; they are deleted afterwards."""
    made = []

    def make_one(owner="alice", headers=None, **fields):
        info = shared_controller.api(owner).create(headers=headers, **fields)
        shared_controller.hold_logs()
        made.append(info["id"])
        return info

    yield make_one
    for sid in made:
        shared_controller.admin.delete("/api/sandboxes/" + sid).expect(204)


# ---- POST ----


def test_a_sandbox_is_ready_when_it_is_answered(alice, make):
    response = alice.post("/api/sandboxes").expect(201)
    found = response.json()
    contract.check_sandbox(found)
    assert response.headers["Location"] == "/api/sandboxes/" + found["id"]
    assert (found["status"], found["ready"], found["owner"]) == ("ready", True, "alice")
    assert found["name"] is None and found["labels"] == {} and found["session_id"] is None
    assert (found["exec_timeout_s"], found["idle_timeout_s"]) == (300, 3600)
    assert (found["kernel"]["state"], found["kernel"]["generation"]) == ("idle", 1)
    assert alice.box(found).value("6 * 7") == "42"
    alice.delete(response.headers["Location"]).expect(204)


@pytest.mark.parametrize("body", [b"", b"{}", b" {} "])
def test_without_fields_everything_has_its_default(alice, body):
    found = alice.api(
        "POST", "/api/sandboxes", body=body, headers={"Content-Type": "application/json"}
    ).expect(201)
    alice.delete(found.headers["Location"]).expect(204)


def test_all_fields_of_a_sandbox(alice, make):
    found = make(
        name="My sandbox ü",
        idle_timeout_s=120.5,
        exec_timeout_s=7,
        max_lifetime_s=100,
        env={"A": "1"},
        labels={"team": "x y", "a/b": ""},
    )
    contract.check_sandbox(found)
    assert found["name"] == "My sandbox ü"
    assert (found["idle_timeout_s"], found["exec_timeout_s"]) == (120.5, 7)
    assert found["labels"] == {"team": "x y", "a/b": ""}
    assert alice.get("/api/sandboxes/" + found["id"]).expect(200).json()["labels"] == found["labels"]


def test_expires_at_is_the_earlier_of_idle_and_lifetime(alice, make):
    def left(info):
        import datetime

        end = datetime.datetime.fromisoformat(info["expires_at"].replace("Z", "+00:00"))
        return end.timestamp() - time.time()

    assert 90 < left(make(idle_timeout_s=1000, max_lifetime_s=100)) <= 101
    assert 45 < left(make(idle_timeout_s=50, max_lifetime_s=100)) <= 51


def test_env_is_seen_by_the_kernel_also_after_a_restart_and_by_further_kernels(alice, make):
    env = {"SECRET_KEY": "s3cr3t ü=", "EMPTY": "", "PATH_LIKE": "/a:/b"}
    box = alice.box(make(env=env))
    code = "import os; [os.environ.get(k) for k in ('SECRET_KEY', 'EMPTY', 'PATH_LIKE')]"
    expected = repr(list(env.values()))
    assert box.value(code) == expected
    assert box.value("import subprocess; subprocess.check_output(['printenv', 'PATH_LIKE'])") == "b'/a:/b\\n'"
    box.restart()
    assert box.value(code) == expected
    box.execute("import os; os._exit(1)")
    assert box.value(code) == expected
    kid = box.add_kernel(env={"EMPTY": "filled"})["id"]
    assert box.value(code, kernel_id=kid) == repr(["s3cr3t ü=", "filled", "/a:/b"])


def test_env_leaves_no_trace_in_counts_logs_or_arguments(shared_controller, alice, make):
    secret = "verySecretValue123"
    box = alice.box(make(env={"TOKEN_X": secret}))
    found = box.ok("1")
    assert found["execution_count"] == 1
    assert [e["id"] for e in box.executions()] == [found["id"]]
    for pid in [shared_controller.pid] + shared_controller.process.descendants():
        with open("/proc/%d/cmdline" % pid, "rb") as f:
            assert secret.encode() not in f.read()
    assert secret not in "\n".join(shared_controller.process.stderr.all())
    assert secret not in "\n".join(shared_controller.runner_log(box.id))
    assert secret not in alice.get("/api/sandboxes/" + box.id).text
    assert secret not in alice.get("/api/sandboxes").text


def test_no_token_is_in_an_argument_or_environment(shared_controller, box):
    words = [t.encode() for t in shared_controller.tokens.values()]
    for pid in [shared_controller.pid] + shared_controller.process.descendants():
        for name in ("cmdline", "environ"):
            try:
                with open("/proc/%d/%s" % (pid, name), "rb") as f:
                    text = f.read()
            except OSError:
                continue
            assert not [w for w in words if w in text], (pid, name)
    assert box.value("import os; [k for k in os.environ if 'CAESARION_TOKEN' in k or 'KEY' in k]") == "[]"


# ---- Idempotency-Key ----


def test_a_repeated_key_makes_one_sandbox(alice, make):
    headers = {"Idempotency-Key": "create-%s" % time.time()}
    first = make(headers=headers, name="n")
    again = alice.post("/api/sandboxes", {"name": "n"}, headers=headers).expect(200)
    assert again.json()["id"] == first["id"]
    assert again.headers["Location"] == "/api/sandboxes/" + first["id"]


def test_a_key_with_another_body_is_a_conflict(alice, make):
    headers = {"Idempotency-Key": "other-%s" % time.time()}
    make(headers=headers, name="n")
    alice.post("/api/sandboxes", {"name": "m"}, headers=headers).problem("conflict")


def test_one_key_at_once_makes_one_sandbox(alice, admin):
    headers = {"Idempotency-Key": "at-once-%s" % time.time()}
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(alice.post("/api/sandboxes", {}, headers=headers)))
        for _ in range(4)
    ]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
    assert sorted(r.status for r in found) == [200, 200, 200, 201]
    ids = {r.json()["id"] for r in found}
    assert len(ids) == 1
    admin.delete("/api/sandboxes/" + ids.pop()).expect(204)


def test_keys_of_two_callers_are_apart(alice, make):
    headers = {"Idempotency-Key": "shared-%s" % time.time()}
    assert make("alice", headers)["id"] != make("bob", headers)["id"]


def test_a_key_is_free_again_when_its_sandbox_is_gone(alice, make):
    headers = {"Idempotency-Key": "free-%s" % time.time()}
    first = make(headers=headers)
    alice.delete("/api/sandboxes/" + first["id"]).expect(204)
    assert make(headers=headers)["id"] != first["id"]


# ---- GET ----


def test_get_shows_the_kernel_as_it_is(alice, make):
    box = alice.box(make())
    gate = Gate(box)
    box.wait_started(box.start(gate.code)["id"])
    found = box.get("").expect(200).json()
    contract.check_sandbox(found)
    assert found["kernel"] == box.kernel() and found["kernel"]["state"] == "busy"
    gate.open()


def test_activity_moves_with_use_and_not_with_looking(alice, make):
    box = alice.box(make(idle_timeout_s=100))
    before = box.get("").json()
    box.kernels()
    box.files()
    assert box.get("").json()["last_activity_at"] == before["last_activity_at"]
    box.ok("1")
    after = box.get("").json()
    assert after["last_activity_at"] > before["last_activity_at"]
    assert after["expires_at"] > before["expires_at"]


def test_the_list_has_no_kernels_and_no_pool(shared_controller, alice, make):
    made = [make(name="l%d" % n)["id"] for n in range(2)]
    found = alice.get("/api/sandboxes").expect(200).json()
    assert set(found) == {"sandboxes", "continue"}
    for item in found["sandboxes"]:
        contract.check_sandbox(item, kernel=False)
        assert item["owner"] == "alice"
    assert set(made) <= {s["id"] for s in found["sandboxes"]}
    everybodys = shared_controller.admin.get("/api/sandboxes").expect(200).json()["sandboxes"]
    assert all(s["owner"] for s in everybodys)


def test_the_list_by_label_and_status(alice, make):
    mark = "m%d" % time.time_ns()
    one = make(labels={"mark": mark, "n": "1"})["id"]
    two = make(labels={"mark": mark, "n": "2"})["id"]

    def ids(query):
        return [s["id"] for s in alice.get("/api/sandboxes" + query).expect(200).json()["sandboxes"]]

    assert ids("?label=mark=" + mark) == [one, two]
    assert ids("?label=mark%3D" + mark + "&status=ready") == [one, two]
    assert ids("?label=mark=nobody") == []
    assert ids("?label=mark=%s&status=failed" % mark) == []


def test_the_list_by_pages(alice, make):
    mark = "p%d" % time.time_ns()
    made = [make(labels={"mark": mark})["id"] for _ in range(5)]
    seen, after = [], ""
    for _ in range(3):
        found = alice.get("/api/sandboxes?limit=2&label=mark=%s%s" % (mark, after)).expect(200).json()
        seen.append([s["id"] for s in found["sandboxes"]])
        if not found["continue"]:
            break
        after = "&continue=" + found["continue"]
    assert seen == [made[0:2], made[2:4], made[4:5]] and found["continue"] is None


@pytest.mark.parametrize(
    "query, field",
    [
        ("limit=0", "limit"),
        ("limit=x", "limit"),
        ("limit=-1", "limit"),
        ("status=asleep", "status"),
        ("label=nokey", "label"),
        ("label==v", "label"),
        ("continue=x", "continue"),
    ],
)
def test_a_bad_query_of_the_list_is_invalid(alice, query, field):
    alice.get("/api/sandboxes?" + query).problem("invalid", field=field)


# ---- DELETE ----


def test_a_deleted_sandbox_is_gone_with_all_that_ran_in_it(shared_controller, alice, make):
    box = alice.box(make())
    stream = box.stream(FOREVER)
    stream.until_text("started")
    queued = box.stream("1")
    queued.until("queued")
    box.delete("").expect(204)
    shared_controller.hold_logs()
    for log in (stream, queued):
        events = log.all()
        contract.check_log(events)
    assert stream.seen[-1]["status"] in ("interrupted", "kernel_died", "cancelled", "sandbox_lost")
    assert queued.seen[-1]["status"] in ("cancelled", "sandbox_lost")
    box.get("").problem("not_found")
    box.post_execute("1").problem("not_found")
    box.get("/files").problem("not_found")
    assert box.id not in [s["id"] for s in alice.get("/api/sandboxes").json()["sandboxes"]]
    assert not (shared_controller.state_dir / "sandboxes" / box.id).exists()
    box.delete("").expect(204)


def test_deleting_one_that_never_was(alice):
    alice.delete("/api/sandboxes/" + contract.unknown_sandbox()).expect(204)
    alice.delete("/api/sandboxes/x").problem("not_found")
    alice.delete("/api/sandboxes/" + contract.unknown_sandbox()[:-1] + "1").problem("not_found")


def test_deleting_twice_at_once(alice, make):
    box = alice.box(make())
    found = []
    threads = [threading.Thread(target=lambda: found.append(box.delete("").status)) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
    assert found == [204] * 4
    box.get("").problem("not_found")


# ---- owners ----


def test_others_sandboxes_do_not_exist(alice, bob, make):
    mine = make("alice")
    theirs = bob.box(mine)
    for method, path in (
        ("GET", ""),
        ("GET", "/executions"),
        ("GET", "/kernels"),
        ("GET", "/files"),
        ("POST", "/interrupt"),
        ("POST", "/restart"),
        ("PUT", "/files/x"),
    ):
        theirs.api(method, path).problem("not_found")
    theirs.post_execute("1").problem("not_found")
    # 204 for what does not exist for them, and nothing is done.
    theirs.delete("").expect(204)
    assert alice.box(mine).value("'here'") == "'here'"
    assert mine["id"] not in [s["id"] for s in bob.get("/api/sandboxes").json()["sandboxes"]]


def test_an_admin_sees_and_touches_all(admin, make):
    ids = {make("alice")["id"], make("bob")["id"]}
    listed = {s["id"]: s["owner"] for s in admin.get("/api/sandboxes").json()["sandboxes"]}
    assert ids <= set(listed) and {listed[i] for i in ids} == {"alice", "bob"}
    for sid in ids:
        assert admin.box(sid).value("1") == "1"
        admin.box(sid).delete("").expect(204)
        admin.box(sid).get("").problem("not_found")


def test_a_sandbox_of_an_admin_is_the_admins(admin, alice, make):
    mine = make("admin")
    assert mine["owner"] == "admin"
    alice.box(mine).get("").problem("not_found")


# ---- limits and the pool ----


def test_max_sandboxes_at_n_and_above(controller):
    c = controller("--max-sandboxes", "2")
    first, second = c.sandbox(), c.sandbox("bob")
    members = c.alice.post("/api/sandboxes").problem("limit")
    assert members["retryable"] is True
    first.delete("").expect(204)
    third = c.sandbox()
    assert third.value("1") == "1" and second.value("1") == "1"


def test_a_claim_from_the_pool_starts_no_kernel(controller):
    c = controller("--warm", "1")
    c.wait_log(event="sandbox_state", to="warm")
    box = c.sandbox(name="claimed", env={"A": "b"}, exec_timeout_s=5)
    assert 'caesarion_pool_claimed_total{source="warm"} 1' in c.admin.get("/metrics").text
    assert box.info["exec_timeout_s"] == 5
    assert box.value("import os; os.environ['A']") == "'b'"
    # The pool fills again, in the background.

    def warm_so_far():
        return [e for e in c.logs if e.get("event") == "sandbox_state" and e.get("to") == "warm"]

    eventually(lambda: len(warm_so_far()) >= 2, 30, "a second warm sandbox")


def test_an_idle_sandbox_ends_itself(controller):
    c = controller()
    box = c.sandbox(idle_timeout_s=1)
    c.wait_log(event="sandbox_state", sandbox=box.id, to="gone", timeout=30)
    box.get("").problem("not_found")
    box.post_execute("1").problem("not_found")


def test_what_runs_is_not_idle(controller):
    c = controller()
    box = c.sandbox(idle_timeout_s=1)
    found = box.ok("import time; time.sleep(2.5); 'awake'")
    assert found["result"] == "'awake'"
    assert box.value("1") == "1"


def test_a_lifetime_ends_a_sandbox_in_use(controller):
    c = controller()
    box = c.sandbox(max_lifetime_s=2)
    stream = box.stream(FOREVER)
    events = stream.all()
    contract.check_log(events)
    assert events[-1]["status"] in ("cancelled", "interrupted", "kernel_died", "sandbox_lost")
    c.wait_log(event="sandbox_state", sandbox=box.id, to="gone", timeout=30)
    box.get("").problem("not_found")
    assert isinstance(c.sandbox(), Api)
