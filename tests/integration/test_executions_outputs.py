"""What comes out of a cell: streams, rich outputs, display updates, plots, tables, magics, children."""

import base64
import re
import struct

import pytest
from lib import contract
from lib.code import Gate
from lib.process import eventually


def stream_of(name, text):
    return {"output_type": "stream", "name": name, "text": text}


# ---- the execution object ----


def test_the_fields_of_an_execution(box):
    found = box.ok("print('out')\nimport sys; print('err', file=sys.stderr)\n'value'")
    kernel = box.kernel()
    assert found["status"] == "ok" and found["state"] == "done"
    assert found["kernel_id"] == kernel["id"] and found["generation"] == kernel["generation"]
    assert found["code"].startswith("print('out')")
    assert found["execution_count"] == kernel["execution_count"]
    assert found["created_at"] <= found["started_at"] <= found["ended_at"]
    assert 0 < found["duration_ms"] < 60000
    assert (found["stdout"], found["stderr"], found["result"]) == ("out\n", "err\n", "'value'")
    assert found["error"] is None and found["late_outputs"] == []
    assert found["truncated_bytes"] == 0 and found["user_expressions"] == {}
    kinds = sorted(o["output_type"] for o in found["outputs"])
    assert kinds == ["execute_result", "stream", "stream"]
    assert box.execution(found["id"]) == found


def test_code_without_output(box):
    found = box.ok("unused = 1")
    assert found["outputs"] == [] and found["result"] is None
    assert found["stdout"] == found["stderr"] == ""


def test_state_is_kept_between_executions(box):
    box.ok("kept = [1]")
    box.ok("kept.append(2)")
    assert box.value("kept") == "[1, 2]"


def test_code_that_raises(box):
    found = box.execute("print('before')\n1/0")
    assert found["status"] == "error"
    assert found["error"]["ename"] == "ZeroDivisionError"
    assert found["error"]["evalue"] == "division by zero"
    plain = re.sub(r"\x1b\[[0-9;]*m", "", "".join(found["error"]["traceback"]))
    assert "1/0" in plain and "ZeroDivisionError: division by zero" in plain
    assert found["outputs"] == [
        stream_of("stdout", "before\n"),
        dict(found["error"], output_type="error"),
    ]
    assert box.value("'next'") == "'next'"


def test_code_that_does_not_parse(box):
    found = box.execute("def f(:\n  pass")
    assert (found["status"], found["error"]["ename"]) == ("error", "SyntaxError")
    assert box.value("'next'") == "'next'"


@pytest.mark.parametrize("code", ["raise SystemExit(3)", "import sys; sys.exit('bye')"])
def test_system_exit_is_an_error_like_others(box, code):
    found = box.execute(code)
    assert (found["status"], found["error"]["ename"]) == ("error", "SystemExit")
    assert box.value("'next'") == "'next'"


def test_an_interrupt_of_the_code_by_itself_is_an_error(box):
    found = box.execute("raise KeyboardInterrupt('mine')")
    assert (found["status"], found["error"]["ename"]) == ("error", "KeyboardInterrupt")


# ---- streams ----


def test_adjacent_streams_are_merged(box):
    found = box.ok("for i in range(200): print(i, flush=True)")
    text = "".join("%d\n" % i for i in range(200))
    assert found["outputs"] == [stream_of("stdout", text)]
    assert found["stdout"] == text


def test_streams_of_two_names_are_not_merged(box):
    code = "import sys\n" + "".join(
        "print(%d, file=sys.%s, flush=True)\n" % pair
        for pair in ((1, "stdout"), (2, "stdout"), (3, "stderr"), (4, "stdout"))
    )
    found = box.ok(code)
    assert found["outputs"] == [
        stream_of("stdout", "1\n2\n"),
        stream_of("stderr", "3\n"),
        stream_of("stdout", "4\n"),
    ]
    assert (found["stdout"], found["stderr"]) == ("1\n2\n4\n", "3\n")


@pytest.mark.parametrize("text", ["ä€😀\n", "tab\tbell\a\x1b[31mred\x1b[0m\r\n", "\x00nul\x7f\u2028\n"])
def test_text_arrives_as_it_was_written(box, text):
    assert box.ok("print(%r, end='')" % text)["stdout"] == text
    assert contract.stream_text(box.log("print(%r, end='')" % text, sse=True)) == text


def test_a_long_line_is_whole(box):
    found = box.ok("print('x' * 1_500_000)")
    assert found["stdout"] == "x" * 1_500_000 + "\n"
    assert contract.stream_text(box.events(found["id"]).all()) == found["stdout"]


# ---- rich outputs ----


def test_a_result_has_every_mime_type(box):
    code = """
class Rich:
    def __repr__(self): return "plain"
    def _repr_html_(self): return "<b>html</b>"
    def _repr_latex_(self): return "$x$"
    def _repr_mimebundle_(self, include=None, exclude=None):
        return {"application/vnd.test+json": {"a": [1, {"b": None}]}}
Rich()
"""
    found = box.ok(code)
    (output,) = found["outputs"]
    assert output["output_type"] == "execute_result"
    assert output["execution_count"] == found["execution_count"]
    assert output["data"]["text/plain"] == found["result"] == "plain"
    assert output["data"]["text/html"] == "<b>html</b>"
    assert output["data"]["application/vnd.test+json"] == {"a": [1, {"b": None}]}


def test_display_carries_data_and_metadata(box):
    code = (
        "from IPython.display import display\n"
        "display({'text/plain': 'p', 'application/json': {'k': [1, 2.5, True, None]}}, raw=True,"
        " metadata={'application/json': {'expanded': True}})"
    )
    (output,) = box.ok(code)["outputs"]
    assert output == {
        "output_type": "display_data",
        "data": {"text/plain": "p", "application/json": {"k": [1, 2.5, True, None]}},
        "metadata": {"application/json": {"expanded": True}},
    }


def test_a_semicolon_hides_the_result_and_the_last_of_many_is_it(box):
    assert box.ok("41 + 1;")["result"] is None
    assert box.value("1\n2\n3") == "3"


def test_a_display_is_updated_in_place(box):
    code = (
        "from IPython.display import display\n"
        "h = display('one', display_id='d1')\nprint('between')\nh.update('two')"
    )
    events = box.log(code)
    shown = contract.outputs(events, "display_data")
    assert [o["transient"]["display_id"] for o in shown] == ["d1"]
    (update,) = [e for e in events if e["type"] == "update_display"]
    assert update["display_id"] == "d1" and update["data"]["text/plain"] == "'two'"
    found = box.execution(events[0]["execution_id"])
    assert [o["output_type"] for o in found["outputs"]] == ["display_data", "stream"]
    assert found["outputs"][0]["data"]["text/plain"] == "'two'"


def test_all_outputs_of_a_display_id_are_updated(box):
    code = (
        "from IPython.display import display, update_display\n"
        "display('a', display_id='twice')\ndisplay('b', display_id='twice')\n"
        "update_display('c', display_id='twice')"
    )
    found = box.ok(code)
    assert [o["data"]["text/plain"] for o in found["outputs"]] == ["'c'", "'c'"]


def test_an_update_of_an_unknown_display_shows_nothing(box):
    code = "from IPython.display import update_display\nupdate_display('x', display_id='nobody')"
    events = box.log(code)
    assert [e["type"] for e in events] == ["started", "update_display", "done"]
    assert box.execution(events[0]["execution_id"])["outputs"] == []


def test_clear_output_clears_at_once(box):
    code = (
        "from IPython.display import clear_output\n"
        "print('gone')\nclear_output()\nprint('stays')"
    )
    events = box.log(code)
    (clear,) = [e for e in events if e["type"] == "clear_output"]
    assert clear["wait"] is False
    found = box.execution(events[0]["execution_id"])
    assert found["outputs"] == [stream_of("stdout", "stays\n")]
    assert found["stdout"] == "gone\nstays\n"  # the whole text, not cleared


def test_clear_output_that_waits_clears_with_the_next_output(box):
    code = "from IPython.display import clear_output, display\nprint('old')\nclear_output(wait=True)\n"
    events = box.log(code)
    assert [e["wait"] for e in events if e["type"] == "clear_output"] == [True]
    assert box.execution(events[0]["execution_id"])["outputs"] == [stream_of("stdout", "old\n")]
    found = box.ok(code + "display('new')")
    assert [o["output_type"] for o in found["outputs"]] == ["display_data"]
    assert found["stdout"] == "old\n"


def test_a_progress_loop_leaves_only_its_last_line(box):
    code = (
        "from IPython.display import clear_output\n"
        "for i in range(20):\n    clear_output(wait=True)\n    print('step', i, flush=True)"
    )
    assert box.ok(code)["outputs"] == [stream_of("stdout", "step 19\n")]


def test_a_matplotlib_plot_is_a_png(box):
    code = (
        "import matplotlib.pyplot as plt\n"
        "fig, ax = plt.subplots(figsize=(3, 2), dpi=100)\nax.plot([1, 4, 9])\nplt.show()"
    )
    found = box.ok(code)
    (plot,) = [o for o in found["outputs"] if o["output_type"] == "display_data"]
    png = base64.b64decode(plot["data"]["image/png"])
    assert png.startswith(b"\x89PNG\r\n\x1a\n") and png[-8:-4] == b"IEND"
    assert all(100 <= size <= 400 for size in struct.unpack(">II", png[16:24]))
    assert plot["data"]["text/plain"].startswith("<Figure size")


def test_a_plot_appears_without_show(box):
    found = box.ok("import matplotlib.pyplot as plt\n_ = plt.plot([1, 2])")
    assert "image/png" in found["outputs"][-1]["data"]


def test_a_pandas_table_is_html_and_text(box):
    found = box.ok("import pandas as pd\npd.DataFrame({'a': [1, 2], 'b': ['x', '<y>']})")
    (table,) = found["outputs"]
    assert "<table" in table["data"]["text/html"] and "&lt;y&gt;" in table["data"]["text/html"]
    assert found["result"].split() == ["a", "b", "0", "1", "x", "1", "2", "<y>"]


def test_what_people_expect_can_be_imported(box):
    names = "numpy, pandas, matplotlib, openpyxl, PIL, scipy"
    box.ok("import " + names)


def test_an_excel_file_makes_the_round_trip(box):
    box.ok("import pandas as pd; pd.DataFrame({'a': [1, 2]}).to_excel('t.xlsx', index=False)")
    assert box.file("t.xlsx").expect(200).body[:2] == b"PK"
    assert box.value("int(pd.read_excel('t.xlsx')['a'].sum())") == "3"


# ---- options of a request ----


def test_user_expressions_are_evaluated(box):
    found = box.ok("ue = 20", user_expressions={"sum": "ue + 1", "bad": "1/0"})
    good, bad = found["user_expressions"]["sum"], found["user_expressions"]["bad"]
    assert good["status"] == "ok" and good["data"]["text/plain"] == "21"
    assert bad["status"] == "error" and bad["ename"] == "ZeroDivisionError"
    done = box.log("pass", user_expressions={"x": "'y'"})[-1]
    assert done["user_expressions"]["x"]["data"]["text/plain"] == "'y'"


def test_silent_counts_nothing_and_shows_no_result(box):
    before = box.ok("1")["execution_count"]
    found = box.ok("silent_ran = True\n'unseen'", silent=True)
    assert found["outputs"] == [] and found["result"] is None
    assert box.value("silent_ran") == "True"
    assert box.ok("2")["execution_count"] == before + 2


def test_store_history_false_leaves_the_count(box):
    before = box.ok("1")["execution_count"]
    found = box.ok("'shown'", store_history=False)
    assert found["result"] == "'shown'"
    assert box.ok("2")["execution_count"] == before + 1
    assert box.value("'shown' in str(In[-3:-1])") == "False"


def test_execution_counts_go_up_by_one(box):
    counts = [box.ok("pass")["execution_count"] for _ in range(5)]
    assert counts == list(range(counts[0], counts[0] + 5))


# ---- IPython ----


def test_top_level_await(box):
    assert box.value("import asyncio\nawait asyncio.sleep(0.01, 'slept')") == "'slept'"
    found = box.execute("await asyncio.wait_for(asyncio.sleep(60), 0.01)")
    assert (found["status"], found["error"]["ename"]) == ("error", "TimeoutError")
    assert box.value("await asyncio.sleep(0, 1)") == "1"


def test_magics(box):
    timed = box.ok("%time sum(range(1000))")
    assert timed["result"] == "499500" and "Wall time" in timed["stdout"]
    assert box.ok("%%bash\necho from bash; echo to err >&2")["stdout"] == "from bash\n"
    box.put("seen-by-ls", b"").expect(201, 204)
    assert "seen-by-ls" in box.ok("!ls")["stdout"]
    assert box.value("lines = !printf 'a\\nb\\n'\nlist(lines)") == "['a', 'b']"
    assert "%nosuchmagic" in box.execute("%nosuchmagic")["stderr"]
    assert box.value("1") == "1"


def test_a_cell_magic_that_fails_is_an_error(box):
    found = box.execute("%%bash\nexit 7")
    assert (found["status"], found["error"]["ename"]) == ("error", "CalledProcessError")
    assert box.value("1") == "1"


def test_help_by_question_mark_does_not_hang(box):
    assert box.execute("len?")["status"] == "ok"
    assert box.value("1") == "1"


# ---- children and threads ----


@pytest.mark.parametrize("turn", range(5))
def test_output_of_a_child_comes_before_done(box, turn):
    # One write for the line: the child's output may come between two.
    code = "import subprocess\n_ = subprocess.run(['seq', '1', '3000'])\nprint('python\\n', end='')"
    events = box.log(code)
    text = contract.stream_text(events, "stdout")
    # All of both; what the interpreter and what the child wrote come by two ways, so in no fixed order.
    assert text.replace("python\n", "", 1) == "".join("%d\n" % n for n in range(1, 3001))
    assert events[-1]["type"] == "done"


def test_output_written_to_the_descriptors_is_seen(box):
    code = "import os\n_ = os.write(1, b'raw out\\n')\n_ = os.write(2, b'raw err\\n')\n_ = os.system('echo sys')"
    found = box.ok(code)
    assert "raw out\n" in found["stdout"] and "sys\n" in found["stdout"]
    assert "raw err\n" in found["stderr"]


def test_output_of_a_thread_after_the_cell_is_late(box):
    gate = Gate(box)
    code = (
        "import threading\ndef late():\n"
        + "".join("    %s\n" % line for line in gate.code.splitlines())
        + "    print('late words', flush=True)\nt = threading.Thread(target=late)\nt.start()\nprint('cell')"
    )
    found = box.ok(code)
    assert found["stdout"] == "cell\n" and found["late_outputs"] == []
    events = box.events(found["id"]).all()
    gate.open()
    late = eventually(lambda: box.execution(found["id"])["late_outputs"], 10, "late outputs")
    assert "".join(o["text"] for o in late) == "late words\n"
    again = box.execution(found["id"])
    contract.check_execution(again)
    assert again["stdout"] == "cell\n"
    # The log is closed: nothing comes after done.
    assert box.events(found["id"]).all() == events
    assert box.ok("1")["outputs"][0]["data"]["text/plain"] == "1"


def test_output_follows_its_execution_whatever_stands_in_place_of_stdout(sandbox):
    first = sandbox.ok("import io, os, sys; ours = sys.stdout; sys.stdout = io.StringIO(); sys.stdout = sys.__stdout__")
    found = sandbox.ok("print('first'); _ = os.system('echo child')")
    assert sorted(found["stdout"].split()) == ["child", "first"]
    sandbox.ok("with open('log', 'w') as sys.stdout: print('to the file')")
    found = sandbox.ok("_ = os.system('echo child'); 1")  # the file is closed, and cannot be flushed
    assert (found["stdout"], found["result"]) == ("child\n", "1")
    sandbox.ok("sys.stdout = ours")
    assert sandbox.ok("print('back')")["stdout"] == "back\n"
    assert sandbox.execution(first["id"])["late_outputs"] == []
