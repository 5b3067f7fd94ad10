"""What Jupyter's contents API refuses: nothing outside is reached, nothing half-written is left."""

import base64
import json

import pytest
from lib.contents import LIMIT_BODY, LIMIT_ENTRIES, LIMIT_FILE, Contents, refused


def wipe(box):
    box.ok(
        "import os, shutil\n"
        "for name in os.listdir('.'):\n"
        "    shutil.rmtree(name) if os.path.isdir(name) and not os.path.islink(name) else os.unlink(name)"
    )


def everything(box):
    code = "import os; sorted(os.path.join(d, n) for d, ds, fs in os.walk('.') for n in ds + fs)"
    return eval(box.value(code), {"__builtins__": {}})


@pytest.fixture
def contents(box):
    yield Contents(box)
    wipe(box)


def goes_on(contents):
    contents.save("next", "x")
    assert contents.model("next")["content"] == "x"
    contents.delete("next").expect(204)


BAD_PATHS = [
    "/..",
    "/../etc/passwd",
    "/a/../../etc/passwd",
    "/%2e%2e/etc/passwd",
    "/%2e%2e%2fetc%2fpasswd",
    "/./a",
    "/a//b",
    "/a%00",
    "/%ff",
    "/%zz",
    "/a%0ab",
    "/" + "x" * 256,
    "/" + "x/" * 2500 + "x",
]


@pytest.mark.parametrize("path", BAD_PATHS, ids=lambda p: p[:30])
def test_a_path_that_leads_out_or_is_malformed_is_invalid(contents, box, path):
    file = {"type": "file", "format": "text", "content": "bad"}
    refused(contents.request("GET", path), 400, "invalid")
    refused(contents.request("PUT", path, file), 400, "invalid")
    refused(contents.request("POST", path, {}), 400, "invalid")
    refused(contents.request("PATCH", path, {"path": "b"}), 400, "invalid")
    refused(contents.request("DELETE", path), 400, "invalid")
    assert everything(box) == []
    goes_on(contents)


@pytest.mark.parametrize(
    "path", ["..", "../x", "/../x", "a/../b", ".", "a//b", "a\0", "a\n", "", "/", "x" * 256, "x/" * 2500 + "x"]
)
def test_a_path_in_a_body_is_checked_as_well(contents, box, path):
    contents.save("a", "x")
    refused(contents.rename("a", path), 400, "invalid")
    if path:  # an empty one is none
        refused(contents.request("POST", "", {"copy_from": path}), 400, "invalid")
    assert everything(box) == ["./a"]


def test_an_absolute_path_is_one_below_the_root(contents):
    refused(contents.request("GET", "//etc/passwd"), 404, "not_found")
    refused(contents.request("GET", "/%2Fetc/passwd"), 404, "not_found")
    contents.save("a", "x")
    refused(contents.rename("a", "/etc/passwd"), 404, "not_found")
    refused(contents.request("POST", "", {"copy_from": "/etc/passwd"}), 404, "not_found")


@pytest.mark.parametrize("target", ["/etc", "../..", "/proc/1/root", "/proc/self/cwd"])
def test_a_link_that_leads_out_is_forbidden(contents, box, target):
    box.ok("import os; os.symlink(%r, 'link'); os.mkdir('d')" % target)
    contents.save("a", "x")
    for path in ("link", "link/passwd"):
        refused(contents.get(path), 403, "forbidden")
        refused(contents.get(path, "?content=0"), 403, "forbidden")
        refused(contents.rename(path, "b"), 403, "forbidden")
        refused(contents.request("POST", "/d", {"copy_from": path}), 403, "forbidden")
        refused(contents.request("POST", "/" + path, {}), 403, "forbidden")
    model = {"type": "file", "format": "text", "content": "bad"}
    refused(contents.put("link/new", **model), 403, "forbidden")
    refused(contents.put("link/new", type="directory"), 403, "forbidden")
    refused(contents.put("link", **model, chunk=2), 403, "forbidden")
    refused(contents.rename("a", "link/b"), 403, "forbidden")
    refused(contents.delete("link/passwd"), 403, "forbidden")
    assert contents.names() == ["a", "d"]


def test_what_is_no_file_is_not_read(contents, box):
    box.ok("import os, socket; os.mkfifo('fifo'); socket.socket(socket.AF_UNIX).bind('sock')")
    model = {"type": "file", "format": "text", "content": "bad"}
    for path in ("fifo", "sock"):
        refused(contents.get(path), 400, "invalid")
        refused(contents.get(path, "?content=0"), 400, "invalid")
        refused(contents.request("POST", "", {"copy_from": path}), 400, "invalid")
        refused(contents.put(path, **model), 409, "conflict")
        refused(contents.put(path, **model, chunk=-1), 409, "conflict")
        refused(contents.put(path, type="directory"), 400, "invalid")
    goes_on(contents)


def test_a_directory_is_no_file_and_a_file_no_directory(contents):
    contents.put("d", type="directory").expect(201)
    contents.save("d/f", "x")
    model = {"type": "file", "format": "text", "content": "bad"}
    refused(contents.get("d", "?type=file"), 400, "invalid")
    refused(contents.get("d", "?type=notebook"), 400, "invalid")
    refused(contents.get("d/f", "?type=directory"), 400, "invalid")
    refused(contents.get("d/f/g"), 404, "not_found")
    refused(contents.put("d", **model), 409, "conflict")
    refused(contents.put("d", **model, chunk=2), 409, "conflict")
    refused(contents.put("d/f", type="directory"), 400, "invalid")
    refused(contents.request("POST", "/d/f", {"type": "file"}), 400, "invalid")
    refused(contents.request("POST", "", {"copy_from": "d"}), 400, "invalid")
    assert contents.model("d/f")["content"] == "x"


def test_what_is_missing_is_not_found(contents):
    model = {"type": "file", "format": "text", "content": "bad"}
    refused(contents.get("no"), 404, "not_found")
    refused(contents.get("no/no"), 404, "not_found")
    refused(contents.delete("no"), 404, "not_found")
    refused(contents.rename("no", "a"), 404, "not_found")
    refused(contents.put("no/a", **model), 404, "not_found")
    refused(contents.put("no/a", type="directory"), 404, "not_found")
    refused(contents.put("a", **model, chunk=2), 404, "not_found")
    refused(contents.request("POST", "/no", {}), 404, "not_found")
    refused(contents.request("POST", "", {"copy_from": "no"}), 404, "not_found")
    refused(contents.request("GET", "/no/checkpoints"), 404, "not_found")
    refused(contents.request("POST", "/no/checkpoints"), 404, "not_found")
    assert contents.names() == []


def test_hidden_files_are_denied(contents, box):
    contents.save("a", "x")
    box.ok("import os; os.mkdir('.d'); open('.d/f', 'w'); open('.h', 'w')")
    before = everything(box)
    model = {"type": "file", "format": "text", "content": "bad"}
    for path in (".h", ".d/f", ".d"):
        refused(contents.get(path), 404, "not_found")
        refused(contents.put(path, **model), 400, "invalid")
        refused(contents.delete(path), 400, "invalid")
        refused(contents.rename(path, "b"), 400, "invalid")
        refused(contents.rename("a", path), 400, "invalid")
        refused(contents.request("POST", "", {"copy_from": path}), 400, "invalid")
    refused(contents.request("POST", "/.d", {}), 400, "invalid")
    refused(contents.put(".caesarion-upload-1", **model), 400, "invalid")
    assert everything(box) == before


def test_nothing_is_overwritten_by_a_rename(contents):
    contents.save("a", "a")
    contents.save("b", "b")
    contents.put("d", type="directory").expect(201)
    contents.put("e", type="directory").expect(201)
    for path, to in (("a", "b"), ("a", "d"), ("d", "a"), ("d", "e")):
        refused(contents.rename(path, to), 409, "conflict")
    refused(contents.rename("a", "no/a"), 404, "not_found")
    refused(contents.rename("d", "d/x"), 400, "invalid")
    refused(contents.request("PATCH", "/", {"path": "z"}), 400, "invalid")
    refused(contents.request("PATCH", "/a", body=""), 400, "invalid")
    assert contents.names() == ["a", "b", "d", "e"]
    assert contents.model("b")["content"] == "b"


def test_the_root_and_full_directories_are_not_deleted(contents):
    contents.put("d", type="directory").expect(201)
    contents.save("d/f", "x")
    assert "not empty" in refused(contents.delete("d"), 400, "invalid")["detail"]
    refused(contents.request("DELETE", "/"), 400, "invalid")
    assert contents.names("d") == ["f"]


@pytest.mark.parametrize(
    "query", ["format=xml", "content=2", "content=", "hash=yes", "format=json", "format=", "type=file&format=json"]
)
def test_bad_queries_are_invalid(contents, query):
    contents.save("a", "x")
    refused(contents.get("a", "?" + query), 400, "invalid")


BODIES = {
    "not JSON": "{",
    "a list": "[1]",
    "a text": '"x"',
    "more than one": "{}{}",
    "not UTF-8": b'{"type":"file","format":"text","content":"\xff"}',
    "type is a number": '{"type":1}',
    "no format": '{"type":"file","content":"x"}',
    "a strange format": '{"type":"file","format":"xml","content":"x"}',
    "a file in JSON": '{"type":"file","format":"json","content":{}}',
    "an object as text": '{"type":"file","format":"text","content":{"a":1}}',
    "a number as text": '{"type":"file","format":"text","content":1}',
    "bad base64": '{"type":"file","format":"base64","content":"Zm9*"}',
    "base64 cut": '{"type":"file","format":"base64","content":"Zm9vY"}',
    "base64 behind its end": '{"type":"file","format":"base64","content":"Zg==Zg=="}',
    "a notebook as text": '{"type":"notebook","format":"json","content":"{}"}',
    "a notebook that is a list": '{"type":"notebook","content":[]}',
    "too deep": '{"type":"notebook","content":' + '{"a":' * 130 + "1" + "}" * 130 + "}",
    "a copy": '{"copy_from":"a","type":"file"}',
    "chunk 0": '{"type":"file","format":"text","content":"x","chunk":0}',
    "chunk -2": '{"type":"file","format":"text","content":"x","chunk":-2}',
    "a chunk's text": '{"type":"file","format":"text","content":"x","chunk":"1"}',
    "a chunk of a notebook": '{"type":"notebook","content":{},"chunk":1}',
    "a chunk without content": '{"type":"file","format":"text","chunk":1}',
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_a_bad_body_changes_nothing(contents, box, body):
    contents.save("old", "old")
    for path in ("/old", "/new"):
        refused(contents.request("PUT", path, body=body), 400, "invalid")
    assert everything(box) == ["./old"]
    assert contents.model("old")["content"] == "old"
    goes_on(contents)


def test_an_old_file_needs_its_type_and_content(contents):
    contents.save("old", "old")
    refused(contents.put("old", content="x", format="text"), 400, "invalid")
    refused(contents.put("old", type="file", format="text"), 400, "invalid")
    refused(contents.put("old", type="file", format="text", content=None), 400, "invalid")
    assert contents.model("old")["content"] == "old"


@pytest.mark.parametrize("ext", ["/x", "/../x", ".\n", "." + "x" * 255, ".a\0", 1, ["a"]])
def test_a_bad_extension_is_invalid(contents, ext):
    refused(contents.request("POST", "", {"type": "file", "ext": ext}), 400, "invalid")
    assert contents.names() == []


@pytest.mark.parametrize("text", ["", "{", "[]", "1", '{"a":1}x', "{'a':1}", '{"a":NaN}', b"\xff", b"{}\0"])
def test_a_notebook_that_is_none_is_unreadable(contents, box, text):
    box.put("n.ipynb", text if isinstance(text, bytes) else text.encode()).expect(201)
    found = refused(contents.get("n.ipynb"), 400, "invalid")
    assert found["detail"].startswith("Unreadable Notebook"), found
    assert contents.model("n.ipynb", "?content=0")["type"] == "notebook"
    assert contents.model("n.ipynb", "?type=file")["size"] == len(text)


def test_what_is_not_text_is_not_given_as_text(contents, box):
    box.put("b", b"abc\xff").expect(201)
    refused(contents.get("b", "?format=text"), 400, "invalid")
    assert contents.model("b")["format"] == "base64"


# ---- sizes ----


def sized(size, prefix='{"type":"file","format":"text","content":"', suffix='"}'):
    return prefix + "x" * (size - len(prefix) - len(suffix)) + suffix


@pytest.mark.parametrize("as_chunks", [False, True], ids=["length", "chunked"])
def test_a_body_at_the_limit_is_saved_and_above_it_is_too_large(contents, box, as_chunks):
    def put(body):
        headers = {"Transfer-Encoding": "chunked"} if as_chunks else None
        if as_chunks:
            body = "%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
        return contents.request("PUT", "/f", body=body, headers=headers)

    contents.made(put(sized(LIMIT_BODY)))
    found = refused(put(sized(LIMIT_BODY + 1)), 413, "too_large")
    assert "/files" in found["detail"]
    assert everything(box) == ["./f"]
    goes_on(contents)


def test_a_file_at_the_limit_is_returned_and_above_it_is_too_large(contents, box):
    box.put("f", b"\xff" * LIMIT_FILE).expect(201)
    assert base64.b64decode(contents.model("f")["content"]) == b"\xff" * LIMIT_FILE
    assert contents.model("f", "?content=0&hash=1")["hash"]
    box.ok("open('f', 'ab').write(b'!')")
    assert "/files" in refused(contents.get("f"), 413, "too_large")["detail"]
    model = contents.model("f", "?content=0&hash=1")
    assert model["size"] == LIMIT_FILE + 1 and model["hash"] is None
    box.put("n.ipynb", b'{"a":"' + b"x" * (LIMIT_FILE - 8) + b'"}').expect(201)
    assert len(contents.model("n.ipynb")["content"]["a"]) == LIMIT_FILE - 8
    box.ok("open('n.ipynb', 'ab').write(b' ')")
    refused(contents.get("n.ipynb"), 413, "too_large")


def test_a_file_of_nothing_but_escapes_is_returned(contents, box):
    box.put("f", b"\x01" * LIMIT_FILE).expect(201)
    assert contents.get("f").expect(200).text.count("\\u0001") == LIMIT_FILE


def test_a_notebook_that_could_not_be_read_again_is_not_saved(contents, box):
    frame = '{\n "a": "%s"\n}\n'  # as it is laid out
    fits = "x" * (LIMIT_FILE - len(frame) + 2)
    contents.save_notebook("n.ipynb", {"a": fits})
    assert contents.model("n.ipynb")["size"] == LIMIT_FILE
    # Too long when laid out, but not else.
    contents.save_notebook("n.ipynb", {"a": fits + "x"}, status=200)
    assert contents.model("n.ipynb")["content"] == {"a": fits + "x"}
    refused(contents.put("n.ipynb", type="notebook", content={"a": fits + "x" * 9}), 413, "too_large")
    assert contents.model("n.ipynb")["content"] == {"a": fits + "x"}


def test_a_small_body_is_bounded_too(contents):
    path = {"path": "a", "x": "y" * (1 << 20)}
    refused(contents.request("PATCH", "/a", path), 413, "too_large")
    refused(contents.request("POST", "", path), 413, "too_large")


def test_a_directory_of_many_files_is_cut_by_name_and_says_so(contents, box):
    box.ok("for i in range(%d): open('f%%06d' %% i, 'w').close()" % LIMIT_ENTRIES)
    found = contents.get().expect(200)
    assert found.headers.get("X-Caesarion-Truncated") is None
    assert len(found.json()["content"]) == LIMIT_ENTRIES
    box.ok("for i in range(%d, 25000): open('f%%06d' %% i, 'w').close()" % LIMIT_ENTRIES)
    found = contents.get().expect(200)
    assert found.headers["X-Caesarion-Truncated"] == "true"
    names = [entry["name"] for entry in found.json()["content"]]
    assert names == ["f%06d" % i for i in range(LIMIT_ENTRIES)]


def test_names_that_are_all_taken_are_a_conflict(contents, box):
    box.ok(
        "import os\nopen('untitled', 'w')\nfor i in range(1, 10000): open('untitled%d' % i, 'w').close()"
    )
    refused(contents.request("POST", "", {}), 409, "conflict")
    assert box.value("len(os.listdir())") == "10000"
    contents.delete("untitled9999").expect(204)
    assert contents.create()["path"] == "untitled9999"


# ---- full files ----

FILES_MAX = 4 << 20


@pytest.fixture(scope="module")
def small_controller(module_controller):
    return module_controller("--files-max", "4Mi")


@pytest.fixture
def small(small_controller):
    box = small_controller.sandbox()
    yield Contents(box)
    small_controller.hold_logs()
    small_controller.admin.delete("/api/sandboxes/" + box.id).expect(204)


def test_full_files_are_no_space_and_leave_what_was_there(small):
    box = small.box
    small.save("kept", "kept")
    part = "x" * (1 << 20)
    small.put("up", type="file", format="text", content=part, chunk=1).expect(201)
    small.put("up", type="file", format="text", content=part, chunk=2).expect(200)
    small.put("up", type="file", format="text", content=part, chunk=3).expect(200)
    found = small.put("up", type="file", format="text", content=part, chunk=4)
    refused(found, 507, "no_space")
    assert small.model("up", "?content=0")["size"] == 3 << 20  # no part of the chunk
    refused(small.put("kept", type="file", format="text", content=part), 507, "no_space")
    refused(small.put("new", type="file", format="text", content=part), 507, "no_space")
    refused(small.request("POST", "", {"copy_from": "up"}), 507, "no_space")
    refused(small.put("big", type="file", format="text", content=part * 5), 507, "no_space")
    assert small.model("kept")["content"] == "kept"
    assert everything(box) == ["./kept", "./up"]
    small.delete("up").expect(204)
    small.save("new", part)


def test_the_limit_holds_where_the_file_system_has_none(make_runner):
    box = make_runner("--files-max", "4Mi").box()
    small = Contents(box)
    part = "x" * (1 << 20)
    for number in (1, 2, 3, 4):
        small.put("up", type="file", format="text", content=part, chunk=number).expect(200, 201)
    refused(small.put("up", type="file", format="text", content="x", chunk=-1), 507, "no_space")
    refused(small.put("f", type="file", format="text", content="x"), 507, "no_space")
    refused(small.request("POST", "", {"type": "notebook"}), 507, "no_space")
    small.delete("up").expect(204)
    small.save("f", part * 4)
    assert small.names() == ["f"]


def test_files_that_change_under_a_request_do_no_harm(contents, box):
    """Code swaps files, links and directories while they are read, saved, moved and deleted."""
    running = box.start(
        "import os, shutil, itertools\n"
        "os.makedirs('d', exist_ok=True)\n"
        "for i in itertools.count():\n"
        "    for make in (lambda: open('d/x', 'w').write('i' * i), lambda: os.symlink('/etc/passwd', 'd/x'),\n"
        "                 lambda: os.mkdir('d/x'), lambda: os.mkfifo('d/x'), lambda: os.symlink('..', 'd/x')):\n"
        "        try: make()\n"
        "        except OSError: pass\n"
        "        try: os.rmdir('d/x') if os.path.isdir('d/x') and not os.path.islink('d/x') else os.unlink('d/x')\n"
        "        except OSError: pass\n"
    )
    box.wait_started(running["id"])
    seen = set()
    for _ in range(150):
        for found in (
            contents.get("d/x"),
            contents.get("d"),
            contents.put("d/x", type="file", format="text", content="mine"),
            contents.put("d/x", type="file", format="text", content="mine", chunk=2),
            contents.rename("d/x", "d/y"),
            contents.delete("d/y"),
            contents.delete("d/x"),
        ):
            seen.add(found.status)
            assert b"root:" not in found.body, found
            assert found.status < 500, found
    box.cancel(running["id"]).expect(204)
    assert 200 in seen
    goes_on(contents)


def test_a_client_gone_in_mid_save_leaves_nothing(contents, box):
    body = json.dumps({"type": "file", "format": "text", "content": "x" * 100_000}).encode()
    for sent in (0, 1, 1000, len(body) - 1):
        with box.connect() as sock:
            headers = {"Content-Length": str(len(body))}
            head = box.head("PUT", "/jupyter/api/contents/f", headers)
            sock.sendall(head + body[:sent])
    assert everything(box) == []
    goes_on(contents)
