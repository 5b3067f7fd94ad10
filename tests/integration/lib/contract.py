"""The shapes that design and OpenAPI promise, written down once, by hand."""

import re
import uuid

PROBLEMS = {
    "invalid": 400,
    "unauthorized": 401,
    "forbidden": 403,
    "not_found": 404,
    "method_not_allowed": 405,
    "not_acceptable": 406,
    "conflict": 409,
    "generation_mismatch": 409,
    "kernel_dead": 409,
    "no_input_pending": 409,
    "expired": 410,
    "too_large": 413,
    "uri_too_long": 414,
    "unsupported_media_type": 415,
    "range_not_satisfiable": 416,
    "limit": 429,
    "header_too_large": 431,
    "internal": 500,
    "sandbox_lost": 502,
    "sandbox_failed": 502,
    "unavailable": 503,
    "timeout": 504,
    "no_space": 507,
}

EVENT_KEYS = {
    "queued": {"execution_id", "position"},
    "started": {"execution_id", "execution_count", "kernel_id", "generation"},
    "output": {"output"},
    "update_display": {"display_id", "data", "metadata"},
    "clear_output": {"wait"},
    "input_request": {"prompt", "password"},
    "truncated": {"after_bytes"},
    "done": {
        "status",
        "execution_count",
        "duration_ms",
        "generation",
        "truncated_bytes",
        "error",
        "user_expressions",
    },
}

OUTPUT_KEYS = {
    "stream": {"name", "text"},
    "display_data": {"data", "metadata"},
    "execute_result": {"data", "metadata", "execution_count"},
    "error": {"ename", "evalue", "traceback"},
}

STATUSES = {
    "ok",
    "error",
    "timeout",
    "interrupted",
    "cancelled",
    "aborted",
    "kernel_died",
    "sandbox_lost",
}

EXECUTION_KEYS = {
    "id",
    "status",
    "state",
    "kernel_id",
    "generation",
    "code",
    "execution_count",
    "created_at",
    "started_at",
    "ended_at",
    "duration_ms",
    "outputs",
    "stdout",
    "stderr",
    "result",
    "error",
    "late_outputs",
    "truncated_bytes",
    "user_expressions",
}

SANDBOX_KEYS = {
    "id",
    "name",
    "owner",
    "status",
    "ready",
    "created_at",
    "last_activity_at",
    "expires_at",
    "session_id",
    "labels",
    "exec_timeout_s",
    "idle_timeout_s",
}

KERNEL_KEYS = {"id", "state", "execution_count", "generation"}
KERNEL_STATES = {"starting", "idle", "busy", "restarting", "dead"}
SANDBOX_STATES = {"creating", "ready", "terminating", "failed"}
TIME = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$")


def unknown_sandbox():
    """A well-formed id that names no sandbox."""
    return "sb-" + str(uuid.uuid4())[:-3] + "000"


def check_time(text):
    assert isinstance(text, str) and TIME.match(text), text


def check_output(output, saved=False):
    """One nbformat output. `transient` is a live thing and absent from what a notebook saves."""
    kind = output["output_type"]
    keys = set(output) - {"output_type"}
    if kind in ("display_data", "execute_result") and not saved:
        keys.discard("transient")
    assert keys == OUTPUT_KEYS[kind], output
    if kind == "stream":
        assert output["name"] in ("stdout", "stderr") and isinstance(output["text"], str), output


def check_error(status, error):
    if status in ("ok", "cancelled", "aborted"):
        assert error is None, (status, error)
    elif status == "error":
        assert set(error) == {"ename", "evalue", "traceback"}, error
        assert all(isinstance(line, str) for line in error["traceback"]), error
    elif status == "kernel_died":
        assert set(error) == {"ename", "evalue", "signal", "exit_code", "oom"}, error
        assert error["ename"] == "KernelDied", error
    elif status == "sandbox_lost":
        assert set(error) == {"ename", "evalue"} and error["ename"] == "SandboxLost", error
    elif error is not None:
        assert set(error) == {"ename", "evalue", "traceback"}, error


def check_event(event):
    kind = event["type"]
    assert set(event) == EVENT_KEYS[kind] | {"seq", "type"}, event
    if kind == "output":
        check_output(event["output"])
    elif kind == "done":
        assert event["status"] in STATUSES, event
        check_error(event["status"], event["error"])
        duration = event["duration_ms"]  # null: it never ran
        assert (duration is None or duration >= 0) and event["truncated_bytes"] >= 0, event
        assert isinstance(event["user_expressions"], dict), event
    elif kind == "clear_output":
        assert isinstance(event["wait"], bool), event
    elif kind == "started":
        uuid.UUID(event["kernel_id"])
        assert event["generation"] >= 1, event


def check_log(events, first=1, ended=True):
    """seq without a gap from `first`, known keys, at most one of queued and started, one done at the end."""
    for n, event in enumerate(events):
        assert event["seq"] == first + n, "a gap at %d: %r" % (first + n, event)
        check_event(event)
    kinds = [e["type"] for e in events]
    if ended:
        assert kinds.count("done") == 1 and kinds[-1] == "done", kinds
    if first == 1 and kinds[0] != "done":
        status = events[-1].get("status")
        assert kinds.count("started") <= 1 and kinds.count("queued") <= 1, kinds
        body = [k for k in kinds if k not in ("queued", "done")]
        if body:
            assert body[0] == "started", kinds
        elif ended:
            assert status in ("cancelled", "aborted", "sandbox_lost"), events


def check_execution(found):
    assert set(found) == EXECUTION_KEYS, sorted(set(found) ^ EXECUTION_KEYS)
    assert found["state"] in ("queued", "running", "done"), found
    done = found["state"] == "done"
    assert (found["status"] in STATUSES) if done else (found["status"] is None), found
    check_time(found["created_at"])
    if done:
        check_time(found["ended_at"])
        check_error(found["status"], found["error"])
    for output in found["outputs"]:
        check_output(output, saved=True)
    for output in found["late_outputs"]:
        check_output(output)
    for name in ("stdout", "stderr"):
        assert isinstance(found[name], str), found
    assert isinstance(found["user_expressions"], dict), found


def check_sandbox(found, kernel=True):
    assert set(found) == SANDBOX_KEYS | ({"kernel"} if kernel else set()), sorted(found)
    assert found["id"].startswith("sb-") and found["id"].endswith("000"), found
    uuid.UUID(found["id"][3:])
    assert found["status"] in SANDBOX_STATES, found
    for name in ("created_at", "last_activity_at", "expires_at"):
        check_time(found[name])
    assert isinstance(found["labels"], dict), found
    if kernel:
        check_kernel(found["kernel"])
        assert found["kernel"]["id"] == found["id"][3:], found


def check_kernel(found):
    assert set(found) == KERNEL_KEYS, found
    uuid.UUID(found["id"])
    assert found["state"] in KERNEL_STATES, found
    assert found["generation"] >= 1, found


def stream_text(events, name=None):
    """What the stream outputs of these events say together."""
    return "".join(
        e["output"]["text"]
        for e in events
        if e["type"] == "output"
        and e["output"]["output_type"] == "stream"
        and name in (None, e["output"]["name"])
    )


def outputs(events, kind=None):
    found = [e["output"] for e in events if e["type"] == "output"]
    return [o for o in found if kind in (None, o["output_type"])]
