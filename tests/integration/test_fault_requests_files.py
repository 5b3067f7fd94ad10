"""Bad paths and uploads of the file API: nothing outside is reached, nothing half-written is left."""

import socket
import struct

import pytest
from lib.client import read_response
from lib.process import eventually

# A client that leaves is noticed within a second, by the controller and by the runner behind it.
GONE_S = 3


def goes_on(box):
    """The next upload and the next execution go well, and the folder holds nothing else."""
    box.put("next", b"bytes").expect(201)
    assert box.file("next").expect(200).body == b"bytes"
    box.remove("next").expect(204)
    assert box.value("'next'") == "'next'"


def everywhere(box):
    """All names below the files' root, hidden ones too, as the kernel sees them."""
    code = "import os; sorted(os.path.join(d, n) for d, ds, fs in os.walk('.') for n in ds + fs)"
    return eval(box.value(code), {"__builtins__": {}})


@pytest.fixture
def clean(box):
    yield box
    box.ok(
        "import os, shutil\n"
        "for name in os.listdir('.'):\n"
        "    shutil.rmtree(name) if os.path.isdir(name) and not os.path.islink(name) else os.unlink(name)"
    )


# ---- paths ----

ESCAPES = [
    "..",
    "../etc/passwd",
    "../../../../../../etc/passwd",
    "a/../../etc/passwd",
    "a/..",
    "./a",
    ".",
    "%2e%2e",
    "%2e%2e/etc/passwd",
    "%2e%2e%2fetc%2fpasswd",
    "..%2fetc%2fpasswd",
    "a/%2e%2e/%2E%2E/etc/passwd",
    "%2e",
    "/etc/passwd",
    "//etc/passwd",
    "%2fetc%2fpasswd",
    "%2Fetc/passwd",
    "a//b",
    "a/",
    "a%00",
    "%00",
    "a%00/../../etc/passwd",
    "%ff",
    "%c0%ae%c0%ae/etc/passwd",
    "%ed%a0%80",
    "%zz",
    "%2",
    "a%0ab",
    "a%7f",
    "x" * 256,
    "é".encode().hex("%", 1).join(["%", ""]) * 128,
    "x" * 5000,
    "x/" * 2500 + "x",
    "%78" * 1700,
]


@pytest.mark.parametrize("path", ESCAPES, ids=lambda p: p[:40])
def test_a_path_that_leads_out_or_is_malformed_is_invalid(box, path):
    before = everywhere(box)
    box.get("/files/" + path).problem("invalid")
    box.api("PUT", "/files/" + path, body=b"bad").problem("invalid")
    box.delete("/files/" + path).problem("invalid")
    box.delete("/files/" + path + "?recursive=true").problem("invalid")
    assert everywhere(box) == before
    goes_on(box)


@pytest.mark.parametrize(
    "path", [p for p in ESCAPES if not p.startswith("%z") and p not in ("%2", "a/")]
)
def test_a_folder_that_leads_out_or_is_malformed_is_refused(box, path):
    found = box.get("/files?dir=" + path)
    found.problem("invalid" if found.status == 400 else "not_found")
    assert found.status == 400 or "%00" in path, found  # a NUL is no part of a text: taken literally
    goes_on(box)


def test_the_root_is_no_file(box):
    box.get("/files/").problem("invalid", field="path")
    box.api("PUT", "/files/", body=b"bad").problem("invalid", field="path")
    box.delete("/files/").problem("invalid", field="path")
    goes_on(box)


def test_a_path_that_is_escaped_twice_is_a_name(clean):
    """%252e%252e names a file called %2e%2e: nothing decodes it again."""
    clean.api("PUT", "/files/%252e%252e%252fa", body=b"a").expect(201)
    assert everywhere(clean) == ["./%2e%2e%2fa"]
    assert clean.get("/files/%252e%252e%252fa").expect(200).body == b"a"


def test_a_path_of_the_limit(clean):
    part = "p" * 255
    path = "/".join([part] * 15) + "/" + "q" * 255  # 4,095 bytes
    clean.put(path, b"deep").expect(201)
    assert clean.file(path).expect(200).body == b"deep"
    clean.put(path + "q", b"deep").problem("invalid")
    clean.put(path + "/q", b"deep").problem("invalid")
    goes_on(clean)


OUTSIDE = {
    "a file": "/etc/passwd",
    "a folder": "/etc",
    "the root": "/",
    "up": "..",
    "up and down": "../etc",
    "far up": "../../../../../../../etc/passwd",
    "the runner": "/proc/1/root",
    "itself by an absolute name": "/uploaded_files",
    "through /proc": "/proc/self/cwd/x",
    "nothing": "/nowhere",
}


@pytest.mark.parametrize("target", OUTSIDE.values(), ids=OUTSIDE)
def test_a_link_that_leads_out_is_forbidden(clean, target):
    deeper = "../" + target if target.startswith("..") else target
    clean.ok(
        "import os; os.symlink(%r, 'link'); os.mkdir('d'); os.symlink(%r, 'd/link')" % (target, deeper)
    )
    for link in ("link", "d/link"):
        clean.file(link).problem("forbidden")
        clean.file(link + "/passwd").problem("forbidden")
        clean.put(link + "/new", b"bad").problem("forbidden")
        clean.put(link + "/deep/new", b"bad").problem("forbidden")
        clean.remove(link + "/passwd").problem("forbidden")
        clean.get("/files?dir=" + link).problem("forbidden")
    found = clean.get("/files?recursive=true").expect(200).json()["files"]
    assert not [f for f in found if "link/" in f["path"]], found
    # The link itself can be replaced and removed; what it points at stays as it is.
    clean.put("link", b"mine").expect(201, 204)
    assert clean.file("link").body == b"mine"
    clean.remove("d/link").expect(204)
    assert clean.value("open('/etc/passwd').read()[:5]") == "'root:'"
    goes_on(clean)


def test_links_in_a_circle_are_refused(clean):
    clean.ok("import os; os.symlink('b', 'a'); os.symlink('a', 'b'); os.symlink('.', 'here')")
    found = clean.file("a")
    assert found.status in (400, 403, 404), found
    found = clean.put("a/x", b"bad")
    assert found.status in (400, 403, 404), found
    assert len(clean.get("/files?recursive=true").expect(200).json()["files"]) <= 3
    goes_on(clean)


def test_a_link_that_changes_while_it_is_used_never_leads_out(clean):
    """User code swaps a folder for a link to /etc as fast as it can."""
    clean.ok(
        "import os, threading\n"
        "os.mkdir('real'); open('real/passwd', 'w').write('inside')\n"
        "os.symlink('/etc', 'out')\n"
        "stop = False\n"
        "def swap():\n"
        "    while not stop:\n"
        "        os.rename('real', 'd'); os.rename('d', 'real')\n"
        "        os.rename('out', 'd'); os.rename('d', 'out')\n"
        "swapper = threading.Thread(target=swap); swapper.start()"
    )
    seen = set()
    for _ in range(150):
        found = clean.file("d/passwd")
        seen.add(found.status)
        assert found.status in (403, 404) or found.body == b"inside", found
        found = clean.put("d/new", b"new")
        assert found.status in (201, 204, 403, 404, 409), found
    clean.ok("stop = True; swapper.join()")
    assert clean.value("import os; os.path.exists('/etc/new')") == "False"
    assert clean.value("[n for n in os.listdir('real') if n.startswith('.')]") == "[]"
    goes_on(clean)


@pytest.mark.parametrize("name", [".caesarion-upload-", ".caesarion-upload-x", "d/.caesarion-upload-00"])
def test_names_of_uploads_under_way_are_reserved(box, name):
    box.put(name, b"bad").problem("invalid")
    goes_on(box)


# ---- full files ----

FILES_MAX = 4 << 20


@pytest.fixture(scope="module")
def small(module_controller):
    """A sandbox whose files may take 4 MiB."""
    controller = module_controller("--files-max", "4Mi")
    return controller.sandbox()


def chunked(body, size=65536):
    parts = [body[i : i + size] for i in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in parts) + b"0\r\n\r\n"


def send(box, name, body, as_chunks):
    headers = {"Transfer-Encoding": "chunked"} if as_chunks else None
    return box.put(name, chunked(body) if as_chunks else body, headers)


@pytest.mark.parametrize("as_chunks", [False, True], ids=["length", "chunked"])
def test_a_file_as_large_as_all_files_is_taken_and_above_is_no_space(small, as_chunks):
    body = bytes(range(256)) * (FILES_MAX // 256)
    send(small, "whole", body, as_chunks).expect(201)
    assert small.file("whole").body == body
    small.remove("whole").expect(204)
    send(small, "whole", body + b"!", as_chunks).problem("no_space")
    small.file("whole").problem("not_found")
    assert everywhere(small) == []
    goes_on(small)


@pytest.mark.parametrize("as_chunks", [False, True], ids=["length", "chunked"])
def test_an_upload_that_finds_no_space_leaves_the_old_file(small, as_chunks):
    old = b"old" * (1 << 19)
    small.put("file", old).expect(201)
    etag = small.file("file").headers["ETag"]
    send(small, "file", b"x" * (3 << 20), as_chunks).problem("no_space")
    send(small, "folder/new", b"x" * (3 << 20), as_chunks).problem("no_space")
    found = small.file("file").expect(200)
    assert found.body == old and found.headers["ETag"] == etag
    assert everywhere(small) == ["./file"]
    small.remove("file").expect(204)
    goes_on(small)


def test_an_upload_far_too_large_is_no_space(small):
    send(small, "file", b"x" * (65 << 20), False).problem("no_space")
    assert everywhere(small) == []
    goes_on(small)


def test_files_filled_by_code_are_no_space_until_there_is_some(small):
    small.put("kept", b"kept").expect(201)
    found = small.execute("with open('fill', 'wb', 0) as f:\n    while True: f.write(bytes(65536))")
    assert (found["status"], found["error"]["ename"]) == ("error", "OSError"), found
    small.put("more", b"x" * 65536).problem("no_space")
    small.put("kept", b"y" * 65536).problem("no_space")
    assert small.file("kept").body == b"kept"
    assert small.value("'next'") == "'next'"
    small.remove("fill").expect(204)
    small.put("more", b"x" * 65536).expect(201)
    for name in ("more", "kept"):
        small.remove(name).expect(204)
    goes_on(small)


# ---- clients that leave ----


def leave(box, name, sent, announced=1 << 20, chunks=False, reset=False):
    """A client that goes in mid-upload."""
    headers = {"Transfer-Encoding": "chunked"} if chunks else {"Content-Length": str(announced)}
    with box.connect() as sock:
        if reset:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        body = b"%x\r\n" % announced + b"x" * sent if chunks else b"x" * sent
        sock.sendall(box.head("PUT", box.path(name), headers) + body)


WAYS = {
    "after the headers": {"sent": 0},
    "after a byte": {"sent": 1},
    "in the middle": {"sent": 100_000},
    "before the last byte": {"sent": (1 << 20) - 1},
    "inside a chunk": {"sent": 1000, "chunks": True},
    "by a reset": {"sent": 100_000, "reset": True},
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_client_gone_in_mid_upload_leaves_nothing(clean, way):
    clean.put("old", b"old").expect(201)
    for n in range(3):
        leave(clean, "old", **way)
        leave(clean, "new", **way)
        leave(clean, "folder-%d/deep/new" % n, **way)
    eventually(lambda: everywhere(clean) == ["./old"], GONE_S)
    assert clean.file("old").body == b"old"
    clean.file("new").problem("not_found")
    goes_on(clean)


def test_fifty_clients_gone_at_once_leave_nothing(clean):
    for n in range(50):
        leave(clean, "new-%d" % n, sent=n * 1000)
    eventually(lambda: everywhere(clean) == [], GONE_S)
    goes_on(clean)


def test_an_upload_is_not_seen_before_it_is_whole(clean):
    clean.put("file", b"old").expect(201)
    with clean.connect() as sock:
        sock.sendall(
            clean.head("PUT", clean.path("file"), {"Content-Length": "300000"}) + b"n" * 299_999
        )
        eventually(lambda: len(everywhere(clean)) == 2, 10)  # its temporary file is there
        assert clean.file("file").body == b"old"
        assert [f["path"] for f in clean.files()["files"]] == ["file"]
        sock.sendall(b"n")
        assert read_response(sock).status == 204
    assert clean.file("file").body == b"n" * 300_000
    goes_on(clean)


def test_code_that_takes_the_folder_away_in_mid_upload_gets_no_half_file(clean):
    with clean.connect() as sock:
        sock.sendall(
            clean.head("PUT", clean.path("d/file"), {"Content-Length": "200000"}) + b"n" * 100_000
        )
        eventually(lambda: len(everywhere(clean)) == 2, 10)
        clean.ok("import shutil; shutil.rmtree('d')")
        sock.sendall(b"n" * 100_000)
        found = read_response(sock)
    assert found.status in (201, 409), found
    assert everywhere(clean) in ([], ["./d", "./d/file"])
    goes_on(clean)
