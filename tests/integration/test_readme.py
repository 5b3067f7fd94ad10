"""The README: its ```bash blocks are run as printed, in their order, in one shell; its options exist."""

import json
import re
import subprocess

import pytest
from lib.contract import check_execution, check_log
from lib.controller import BIN, ROOT, clean_env

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```bash\n(.*?)^```$", README, re.M | re.S)
MARK = "--- block %d ---"


@pytest.fixture(scope="module")
def printed(module_controller):
    """What each block printed, by its number; the shell stops at the first command that fails."""
    c = module_controller("--warm", "1")
    script = "set -euo pipefail\n" + "\n".join(
        "printf '\\n%s\\n'\n%s" % (MARK % n, block) for n, block in enumerate(BLOCKS)
    )
    env = dict(clean_env(c.home), URL="http://%s:%d" % c.address, TOKEN=c.tokens["alice"])
    found = subprocess.run(
        ["bash", "-c", script],
        env=env,
        cwd=c.home,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=90,
    )
    c.hold_logs()
    text = found.stdout + found.stderr
    assert found.returncode == 0, text
    assert found.stderr == "", text
    left = c.alice.get("/api/sandboxes").expect(200).json()["sandboxes"]
    assert left == [], "the examples leave a sandbox behind"
    parts = re.split(r"\n--- block \d+ ---\n", found.stdout)[1:]
    assert len(parts) == len(BLOCKS)
    return parts


def objects(text):
    """The JSON objects in a text, one after the other, with or without newlines between them."""
    decoder, found, at = json.JSONDecoder(), [], text.find("{")
    while at >= 0:
        try:
            value, end = decoder.raw_decode(text, at)
        except ValueError:
            end = at + 1
        else:
            found.append(value)
        at = text.find("{", end)
    return found


def block_with(printed, word):
    """What the first block that contains this word printed."""
    for block, text in zip(BLOCKS, printed):
        if word in block:
            return text
    raise AssertionError("no block of the README has %r" % word)


def test_there_are_examples():
    assert len(BLOCKS) >= 6
    for word in ("/api/sandboxes", "/execute", "application/x-ndjson", "/files/", "respond-async"):
        assert any(word in block for block in BLOCKS), word


def test_the_examples_run_as_printed(printed):
    """The fixture runs them; every execution they show has the shape of the contract."""
    executions = [o for text in printed for o in objects(text) if "late_outputs" in o]
    assert len(executions) >= 4
    for found in executions:
        check_execution(found)
    assert {e["status"] for e in executions} <= {"ok", "timeout"}


def test_the_first_example_keeps_state(printed):
    assert [e["stdout"] for e in objects(block_with(printed, "x * 2"))] == ["", "42\n"]


def test_the_live_example_shows_every_event(printed):
    events = [o for o in objects(block_with(printed, "x-ndjson")) if "seq" in o]
    check_log(events)
    assert events[-1]["status"] == "ok"


def test_the_file_example_gives_the_file_back(printed):
    text = block_with(printed, "data.csv")
    assert text.rstrip().endswith("a,b\n1,2\n3,4")
    assert [e["result"] for e in objects(text) if "result" in e] == ["{'a': 4, 'b': 6}"]


def test_the_timeout_example_keeps_the_state(printed):
    first, second = objects(block_with(printed, "timeout_s"))
    assert (first["status"], second["status"], second["result"]) == ("timeout", "ok", "21")


def test_the_options_of_the_readme_exist_with_these_defaults():
    text = subprocess.run(
        [str(BIN / "caesarion"), "--help"], env=clean_env("/tmp"), capture_output=True, text=True, timeout=30
    ).stdout
    section = README.split("\n## Options\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (`--[^|]*) \| ([^|]*) \|", section, re.M)
    assert len(rows) >= 8
    for names, defaults in rows:
        flags = re.findall(r"`(--[\w-]+)`", names)
        for flag in flags:
            assert re.search(re.escape(flag) + r"\b", text), flag
        # A row with as many defaults as flags states them in order.
        values = [v.strip(" `") for v in defaults.split(",")] if defaults.strip() else []
        if len(values) == len(flags) and not any(" " in v for v in values):
            for flag, value in zip(flags, values):
                at = text.index(flag + " ") if flag + " " in text else text.index(flag)
                assert value in text[at : at + 400], (flag, value)


def test_the_test_command_is_printed_as_ci_runs_it():
    fenced = re.findall(r"^```\w*\n(.*?)^```$", README, re.M | re.S)
    assert any("./dev test" in block.splitlines() for block in fenced)
