"""Jupyter's contents API over a sandbox's files. (Refusals: test_fault_jupyter_contents.py.)"""

import base64
import hashlib
import json
import random

import nbformat
import pytest
from lib.contents import Contents, check_model

NOTEBOOK = nbformat.v4.new_notebook(
    cells=[
        nbformat.v4.new_markdown_cell("# Grüße €\n\nzwei", id="m1"),
        nbformat.v4.new_code_cell(
            "print(1)\n1/3",
            id="c1",
            execution_count=2,
            outputs=[
                nbformat.v4.new_output("stream", name="stdout", text="1\n"),
                nbformat.v4.new_output(
                    "execute_result", data={"text/plain": "0.3333"}, execution_count=2
                ),
            ],
        ),
    ],
    metadata={"kernelspec": {"name": "python3", "display_name": "P", "language": "python"}},
)


@pytest.fixture
def contents(box):
    yield Contents(box)
    box.ok(
        "import os, shutil\n"
        "for name in os.listdir('.'):\n"
        "    shutil.rmtree(name) if os.path.isdir(name) and not os.path.islink(name) else os.unlink(name)"
    )


# ---- reading ----


def test_the_root_is_a_directory(contents):
    for path in ("", "/"):
        model = contents.request("GET", path).expect(200).json()
        check_model(model, content=True)
        assert (model["name"], model["path"], model["type"]) == ("", "", "directory")
        assert (model["format"], model["content"]) == ("json", [])


def test_a_directory_lists_models_without_content(contents, box):
    box.ok(
        "import os\nos.makedirs('d/sub')\nopen('d/a.txt', 'w').write('abc')\n"
        "open('d/n.ipynb', 'w').write('{}')\nopen('d/b', 'wb').write(b'\\xff')"
    )
    model = contents.model("d")
    assert (model["name"], model["path"], model["type"]) == ("d", "d", "directory")
    for entry in model["content"]:
        assert check_model(entry)["path"] == "d/" + entry["name"]
    assert [(e["name"], e["type"], e["size"], e["mimetype"]) for e in model["content"]] == [
        ("a.txt", "file", 3, "text/plain"),
        ("b", "file", 1, None),
        ("n.ipynb", "notebook", 2, None),
        ("sub", "directory", None, None),
    ]
    assert contents.model("d", "?content=0")["content"] is None
    assert contents.names() == ["d"]


def test_what_is_hidden_or_of_no_use_is_not_listed(contents, box):
    box.ok(
        "import os, socket\n"
        "for n in ['.a', 'x.pyc', 'x.so', 'y~', 'seen', '.caesarion-upload-1']: open(n, 'w')\n"
        "os.mkdir('__pycache__'); os.mkdir('.d'); os.mkfifo('fifo')\n"
        "socket.socket(socket.AF_UNIX).bind('sock')\n"
        "os.symlink('nowhere', 'broken'); os.symlink('/etc/passwd', 'out')\n"
        "os.symlink('seen', 'link'); os.symlink('.', 'loop'); os.symlink('self', 'self')\n"
        "open(b'\\xff', 'w'); open('a\\nb', 'w')"
    )
    found = {e["name"]: e["type"] for e in contents.model()["content"]}
    assert found == {"seen": "file", "link": "file", "loop": "directory"}


def test_a_file_is_text_or_else_base64(contents, box):
    box.put("t", "grün\n".encode()).expect(201)
    box.put("b", bytes(range(256))).expect(201)
    box.put("e.csv", b"").expect(201)
    model = contents.model("t")
    assert (model["format"], model["content"], model["mimetype"]) == ("text", "grün\n", "text/plain")
    model = contents.model("b")
    assert (model["format"], model["mimetype"]) == ("base64", "application/octet-stream")
    assert base64.b64decode(model["content"], validate=True) == bytes(range(256))
    model = contents.model("e.csv")
    assert (model["format"], model["content"], model["mimetype"]) == ("text", "", "text/csv")
    model = contents.model("t", "?type=file&format=base64")
    assert (model["format"], model["content"]) == ("base64", base64.b64encode("grün\n".encode()).decode())
    assert contents.model("t", "?format=text&content=1")["content"] == "grün\n"
    assert contents.model("t", "?content=0")["mimetype"] is None


def test_a_hash_comes_where_asked(contents, box):
    box.put("f.bin", b"abc\xff").expect(201)
    want = hashlib.sha256(b"abc\xff").hexdigest()
    assert contents.model("f.bin")["hash"] is None
    assert contents.model("f.bin", "?hash=1")["hash"] == want
    assert contents.model("f.bin", "?content=0&hash=1")["hash"] == want
    assert contents.model("", "?hash=1")["hash"] is None


def test_what_code_writes_has_new_times_and_sizes(contents, box):
    first = contents.save("f", "one")
    box.ok("import os; open('f', 'a').write('two'); os.utime('f', (1.5, 1.5)); os.chmod('f', 0o444)")
    found = contents.model("f")
    assert found["last_modified"] == "1970-01-01T00:00:01.500000Z" and found["size"] == 6
    assert found["created"] >= first["created"]
    box.ok("os.utime('f', ns=(2**62, 2**62)); os.utime('f', (-5, -5))")
    assert contents.model("f")["last_modified"] == "1970-01-01T00:00:00.000000Z"


def test_a_link_within_is_followed(contents, box):
    box.ok("import os; os.makedirs('d/e'); open('d/e/f', 'w').write('x'); os.symlink('d/e', 'l')")
    assert contents.names("l") == ["f"]
    assert contents.model("l/f")["content"] == "x"
    contents.save("l/new", "y")
    assert box.value("open('d/e/new').read()") == "'y'"


@pytest.mark.parametrize("name", ["a b.txt", "ü€😀", "100%", "%41", "a+b", "q?x#", "it's \"q\"", "a\\b", "~"])
def test_any_name_makes_the_round_trip(contents, box, name):
    contents.create(type="directory")
    path = "Untitled Folder/" + name
    contents.save(path, name)
    assert contents.model(path)["content"] == name
    assert contents.names("Untitled Folder") == ([] if name == "~" else [name])
    assert box.value("open(%r).read()" % path) == repr(name)
    contents.delete(path).expect(204)
    contents.get(path).expect(404)


def test_slashes_around_a_path_do_not_matter(contents):
    contents.save("f", "x")
    for address in ("/f", "//f", "/f/", "/%2Ff"):
        assert contents.request("GET", address).expect(200).json()["path"] == "f"


# ---- creating ----


def test_untitled_files_count_up(contents):
    assert contents.create(type="file", ext=".txt")["path"] == "untitled.txt"
    assert contents.create(type="file", ext=".txt")["path"] == "untitled1.txt"
    assert contents.create(type="file", ext=".txt")["path"] == "untitled2.txt"
    assert contents.create(type="file")["path"] == "untitled"
    assert contents.create(type="something", ext=".tar.gz")["path"] == "untitled.tar.gz"
    assert contents.create(type="something", ext=".tar.gz")["path"] == "untitled1.tar.gz"
    assert contents.create()["path"] == "untitled1"
    assert contents.made(contents.request("POST", "/", body=""))["path"] == "untitled2"
    assert contents.model("untitled.txt")["content"] == ""


def test_untitled_folders_and_notebooks_count_up(contents, box):
    assert contents.create(type="directory")["path"] == "Untitled Folder"
    assert contents.create(type="directory")["path"] == "Untitled Folder 1"
    assert contents.create(type="notebook")["path"] == "Untitled.ipynb"
    assert contents.create(ext=".ipynb")["path"] == "Untitled1.ipynb"
    found = contents.create("Untitled Folder", type="notebook")
    assert (found["path"], found["type"]) == ("Untitled Folder/Untitled.ipynb", "notebook")
    text = box.file(found["path"]).body.decode()
    assert text == json.dumps(
        {"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}, indent=1
    ) + "\n"
    nbformat.validate(nbformat.reads(text, as_version=nbformat.NO_CONVERT))


def test_put_without_a_body_creates_below_a_directory(contents):
    contents.create(type="directory")
    found = contents.request("PUT", "/Untitled%20Folder", body="")
    assert contents.made(found)["path"] == "Untitled Folder/untitled"


def test_copies_are_named_after_their_original(contents, box):
    data = random.Random(4).randbytes(3_000_000)
    box.put("a.tar.gz", data).expect(201)
    contents.save_notebook("n.ipynb", NOTEBOOK)
    contents.create(type="directory")
    assert contents.create(copy_from="/a.tar.gz")["path"] == "a-Copy1.tar.gz"
    assert contents.create(copy_from="a.tar.gz")["path"] == "a-Copy2.tar.gz"
    assert contents.create(copy_from="a-Copy1.tar.gz")["path"] == "a-Copy3.tar.gz"
    assert contents.create("Untitled Folder", copy_from="a-Copy1.tar.gz")["name"] == "a.tar.gz"
    assert contents.create("Untitled Folder", copy_from="n.ipynb")["name"] == "n.ipynb"
    found = contents.create("Untitled Folder", copy_from="n.ipynb")
    assert (found["name"], found["type"]) == ("n-Copy1.ipynb", "notebook")
    assert box.file("a-Copy3.tar.gz").body == data
    assert box.file("Untitled Folder/n-Copy1.ipynb").body == box.file("n.ipynb").body


# ---- saving ----


def test_a_new_file_is_created_and_then_saved(contents, box):
    assert contents.save("f.txt", "one\n")["size"] == 4
    assert contents.save("f.txt", "zwölf\n\x00", status=200)["size"] == 8
    assert box.file("f.txt").body == "zwölf\n\x00".encode()
    data = bytes(range(256)) * 100
    lines = base64.encodebytes(data).decode()  # with line ends, as Python makes it
    contents.save("f.bin", lines, format="base64")
    assert box.file("f.bin").body == data


def test_what_a_new_file_lacks_is_filled_in(contents):
    assert contents.made(contents.put("d", type="directory"))["type"] == "directory"
    assert contents.made(contents.put("d", type="directory"), 200)["type"] == "directory"
    assert contents.made(contents.put("a", type="file"))["size"] == 0
    assert contents.made(contents.put("b.txt", path="b.txt", name="b.txt"))["type"] == "file"
    assert contents.made(contents.put("n.ipynb", name="n.ipynb"))["type"] == "notebook"
    assert contents.model("n.ipynb")["content"]["nbformat"] == 4


def test_unknown_members_and_types_of_bodies_are_taken(contents):
    whole = dict(contents.save("f", "x"), content="y", format="text", anything=[1])
    for kind in ("text/plain;charset=UTF-8", "application/json", "application/x-strange"):
        found = contents.request("PUT", "/f", whole, headers={"Content-Type": kind})
        contents.made(found, 200)
    assert contents.model("f")["content"] == "y"


def test_permissions_survive_a_save(contents, box):
    box.ok("import os; open('run.sh', 'w').write('old'); os.chmod('run.sh', 0o755)")
    contents.save("run.sh", "new", status=200)
    assert box.value("oct(os.stat('run.sh').st_mode & 0o777)") == "'0o755'"


def test_a_save_replaces_the_file_at_once(contents, box):
    contents.save("f", "old")
    box.ok("f = open('f')")
    contents.save("f", "new!", status=200)
    assert box.value("f.read(), open('f').read()") == "('old', 'new!')"


# ---- notebooks ----


def test_a_notebook_saved_is_one_that_nbformat_reads(contents, box):
    saved = contents.save_notebook("n.ipynb", NOTEBOOK)
    assert (saved["type"], saved["format"]) == ("notebook", None)
    text = box.file("n.ipynb").body.decode()
    found = nbformat.reads(text, as_version=4)
    nbformat.validate(found)
    assert found == NOTEBOOK
    assert text == json.dumps(json.loads(text), indent=1, ensure_ascii=False) + "\n"
    model = contents.model("n.ipynb", "?type=notebook&format=json")
    assert model["format"] == "json" and nbformat.from_dict(model["content"]) == NOTEBOOK
    contents.save_notebook("n.ipynb", model["content"], status=200)
    assert box.file("n.ipynb").body.decode() == text
    assert contents.model("n.ipynb", "?type=file")["content"] == text
    box.ok("import json; json.load(open('n.ipynb'))['cells'][1]['outputs'][0]")


def test_no_number_of_a_notebook_changes(contents, box):
    numbers = "[1.10, 1e+05, -0.0, 123456789012345678901234567890, 0.1e-7, 1E400]"
    body = '{"type":"notebook","content":{"cells":[],"metadata":{"x":%s,"é":"\\u00e9\\/"}}}' % numbers
    contents.request("PUT", "/n.ipynb", body=body).expect(201)
    text = box.file("n.ipynb").body.decode()
    for token in (*numbers.strip("[]").split(", "), '"\\u00e9\\/"', '"é": '):
        assert token in text, token
    answer = contents.get("n.ipynb").expect(200).text
    assert '{"cells":[],"metadata":{"x":%s,' % numbers.replace(" ", "") in answer


def test_no_cell_is_trusted_because_the_file_says_so(contents, box):
    cell = {"cell_type": "code", "metadata": {"trusted": True, "keep": 1}, "source": "", "outputs": []}
    contents.save_notebook("saved.ipynb", {"cells": [cell], "nbformat": 4})
    assert "trusted" not in box.file("saved.ipynb").text
    box.ok("import json; json.dump({'cells': [%r]}, open('found.ipynb', 'w'))" % cell)
    for name in ("saved.ipynb", "found.ipynb"):
        assert contents.model(name)["content"]["cells"][0]["metadata"] == {"keep": 1}


def test_any_file_can_be_asked_for_as_a_notebook(contents):
    contents.save("data.json", '{"a": [1]}')
    assert contents.model("data.json", "?type=notebook")["content"] == {"a": [1]}


# ---- uploads in chunks ----


def test_an_upload_in_chunks_is_put_together(contents, box):
    data = random.Random(5).randbytes((3 << 20) + 1234)
    parts = [data[i : i + (1 << 20)] for i in range(0, len(data), 1 << 20)]
    contents.save("big.bin", "what was there before")
    for number, part in enumerate(parts, 1):
        model = {
            **{"type": "file", "format": "base64", "name": "big.bin", "path": "big.bin"},
            **{"chunk": number if number < len(parts) else -1},
            **{"content": base64.b64encode(part).decode()},
        }
        found = contents.made(contents.request("PUT", "/big.bin", model), 200)
        assert found["size"] == sum(map(len, parts[:number]))
    assert box.file("big.bin").body == data
    assert contents.made(contents.put("t", type="file", format="text", content="ä", chunk=1))
    contents.put("t", type="file", format="text", content="ö", chunk=-1).expect(200)
    assert contents.model("t")["content"] == "äö"


# ---- renaming and deleting ----


def test_a_file_is_renamed_and_moved(contents):
    contents.save("a", "x")
    contents.create(type="directory")
    found = contents.made(contents.rename("a", "b.ipynb"), 200)
    assert (found["path"], found["type"]) == ("b.ipynb", "notebook")
    assert contents.made(contents.rename("b.ipynb", "/Untitled Folder/c/"), 200)["path"] == (
        "Untitled Folder/c"
    )
    contents.get("a").expect(404)
    assert contents.made(contents.rename("Untitled Folder", "d ü"), 200)["type"] == "directory"
    assert contents.model("d ü/c")["content"] == "x"


def test_a_rename_to_itself_changes_nothing(contents):
    contents.save("a", "x")
    assert contents.made(contents.rename("a", "/a"), 200)["path"] == "a"
    assert contents.made(contents.request("PATCH", "/a", {}), 200)["path"] == "a"
    assert contents.model("a")["content"] == "x"


def test_files_links_and_empty_directories_are_deleted(contents, box):
    contents.save("a", "x")
    contents.create(type="directory")
    box.ok("import os; os.symlink('/etc', 'out'); os.mkfifo('fifo'); os.symlink('no', 'broken')")
    for path in ("a", "Untitled Folder", "out", "fifo", "broken"):
        found = contents.delete(path).expect(204)
        assert found.body == b""
    assert box.value("os.listdir()") == "[]"
    assert box.value("os.path.isdir('/etc')") == "True"


# ---- checkpoints ----


def test_no_checkpoint_is_kept(contents):
    saved = contents.save("n.ipynb", "{}")
    address = "/n.ipynb/checkpoints"
    assert contents.request("GET", address).expect(200).json() == []
    made = contents.request("POST", address).expect(201).json()
    assert made == {"id": "saved", "last_modified": saved["last_modified"]}
    assert contents.request("GET", address).expect(200).json() == []
    for method in ("POST", "DELETE"):
        contents.request(method, address + "/saved").expect(404)


def test_a_directory_may_be_called_checkpoints(contents):
    """(Jupyter Server answers with a list of checkpoints for it.)"""
    contents.put("model", type="directory").expect(201)
    contents.put("model/checkpoints", type="directory").expect(201)
    contents.save("model/checkpoints/step-1", "weights")
    assert contents.names("model/checkpoints") == ["step-1"]
    assert contents.model("model/checkpoints/step-1")["content"] == "weights"
    assert contents.create("model/checkpoints")["path"] == "model/checkpoints/untitled"
    assert contents.request("GET", "/model/checkpoints/step-1/checkpoints").expect(200).json() == []
    contents.delete("model/checkpoints/step-1").expect(204)


def test_heads_and_methods(contents):
    contents.save("a", "x")
    found = contents.request("HEAD", "/a").expect(200)
    assert found.body == b"" and int(found.headers["Content-Length"]) > 100
    contents.request("POST", "/a/b/c").expect(404)
    contents.request("DELETE", "").expect(405)
