"""The file API: bytes in, bytes out, listings. (What is refused stands in test_fault_requests_files.py.)"""

import hashlib
import random

import pytest
from lib import contract
from lib.client import read_response

SOME = bytes(range(256)) * 4


def test_a_new_file_is_created_and_then_replaced(box):
    box.put("f1", b"one").expect(201)
    assert box.file("f1").expect(200).body == b"one"
    box.put("f1", b"two!").expect(204)
    assert box.file("f1").expect(200).body == b"two!"
    box.remove("f1").expect(204)
    box.file("f1").problem("not_found")
    box.remove("f1").problem("not_found")
    box.put("f1", b"three").expect(201)


def test_code_and_api_see_the_same_files(box):
    box.put("from-api.bin", SOME).expect(201, 204)
    assert box.value("open('from-api.bin', 'rb').read() == bytes(range(256)) * 4") == "True"
    box.ok("_ = open('from-code.bin', 'wb').write(b'\\x00code\\xff')")
    assert box.file("from-code.bin").expect(200).body == b"\x00code\xff"
    box.remove("from-api.bin").expect(204)
    assert box.value("import os; os.path.exists('from-api.bin')") == "False"


def test_the_files_are_the_working_directory(box):
    assert box.put("cwd-probe", b"").expect(201, 204)
    assert box.value("import os; 'cwd-probe' in os.listdir()") == "True"
    if box.prefix:
        assert box.value("os.getcwd()") == "'/uploaded_files'"


@pytest.mark.parametrize("body", [b"", b"\n", "grün €".encode(), SOME])
def test_any_bytes_make_the_round_trip(box, body):
    box.put("bytes", body).expect(201, 204)
    found = box.file("bytes").expect(200)
    assert found.body == body
    assert found.headers["Content-Length"] == str(len(body))


@pytest.mark.parametrize(
    "name", ["a b.txt", "ü€😀", "100%", "%41", "a+b", "q?x", "h#x", "it's \"q\"", "a\\b", "-rf", ".hidden", "~"]
)
def test_any_name_makes_the_round_trip(box, name):
    box.put("names/" + name, name.encode()).expect(201, 204)
    assert box.file("names/" + name).expect(200).body == name.encode()
    assert box.value("import os; %r in os.listdir('names')" % name) == "True"
    assert "names/" + name in [f["path"] for f in box.files("?dir=names")["files"]]
    box.remove("names/" + name).expect(204)
    assert box.value("%r in os.listdir('names')" % name) == "False"


def test_missing_folders_are_made(box):
    box.put("deep/er/and/deeper.txt", b"x").expect(201)
    assert box.value("import os; os.path.isdir('deep/er/and')") == "True"
    assert box.file("deep/er/and/deeper.txt").expect(200).body == b"x"


def test_a_large_file_makes_the_round_trip(box):
    body = random.Random(1).randbytes(30_000_000)
    box.put("large", body).expect(201, 204)
    found = box.file("large").expect(200)
    assert hashlib.sha256(found.body).digest() == hashlib.sha256(body).digest()
    code = "import hashlib; hashlib.sha256(open('large', 'rb').read()).hexdigest()"
    assert box.value(code) == repr(hashlib.sha256(body).hexdigest())
    box.remove("large").expect(204)


def test_a_chunked_upload(box):
    parts = [b"a" * 10, b"b" * 70000, b"c"]
    data = box.head("PUT", "/files/chunked", {"Transfer-Encoding": "chunked"})
    data += b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in parts) + b"0\r\n\r\n"
    box.raw(data, "PUT").expect(201, 204)
    assert box.file("chunked").expect(200).body == b"".join(parts)


def test_expect_100_continue(box):
    head = box.head("PUT", "/files/expected", {"Content-Length": "5", "Expect": "100-continue"})
    with box.connect() as sock:
        sock.sendall(head)
        assert sock.recv(100).startswith(b"HTTP/1.1 100 ")
        sock.sendall(b"hello")
        assert b" 201 " in sock.recv(1000).split(b"\r\n", 1)[0] + b" "
    assert box.file("expected").expect(200).body == b"hello"


# ---- ranges and conditions ----


@pytest.fixture
def ranged(box):
    box.put("ranged", SOME).expect(201, 204)
    return box


@pytest.mark.parametrize(
    "value, first, last",
    [
        ("bytes=0-0", 0, 0),
        ("bytes=0-3", 0, 3),
        ("bytes=100-199", 100, 199),
        ("bytes=1000-", 1000, 1023),
        ("bytes=-24", 1000, 1023),
        ("bytes=-5000", 0, 1023),
        ("bytes=1000-99999", 1000, 1023),
        ("bytes=1023-1023", 1023, 1023),
        ("bytes=0-", 0, 1023),
    ],
)
def test_a_range_is_a_part(ranged, value, first, last):
    found = ranged.file("ranged", {"Range": value}).expect(206)
    assert found.body == SOME[first : last + 1]
    assert found.headers["Content-Range"] == "bytes %d-%d/1024" % (first, last)
    assert found.headers["Content-Length"] == str(last + 1 - first)


@pytest.mark.parametrize("value", ["bytes=1024-", "bytes=5000-6000", "bytes=-0"])
def test_a_range_beyond_the_end_is_not_satisfiable(ranged, value):
    found = ranged.file("ranged", {"Range": value})
    found.problem("range_not_satisfiable")
    assert found.headers["Content-Range"] == "bytes */1024"
    assert ranged.file("ranged").expect(200).body == SOME


@pytest.mark.parametrize("value", ["lines=1-2", "bytes", "bytes=x-y", "bytes=5-2", "items=0-1"])
def test_a_range_of_another_kind_is_ignored(ranged, value):
    assert ranged.file("ranged", {"Range": value}).expect(200).body == SOME


def test_an_etag_follows_the_content(ranged):
    etag = ranged.file("ranged").expect(200).headers["ETag"]
    assert etag.startswith('"') and etag.endswith('"')
    assert ranged.file("ranged").expect(200).headers["ETag"] == etag
    put = ranged.put("ranged", b"other").expect(204)
    other = ranged.file("ranged").expect(200).headers["ETag"]
    assert other != etag and put.headers["ETag"] == other
    ranged.ok("_ = open('ranged', 'a').write('more')")
    assert ranged.file("ranged").expect(200).headers["ETag"] not in (etag, other)


def test_if_none_match(ranged):
    etag = ranged.file("ranged").expect(200).headers["ETag"]
    for value in (etag, '"x", ' + etag, "*", "W/" + etag):
        found = ranged.file("ranged", {"If-None-Match": value}).expect(304)
        assert found.body == b"" and found.headers["ETag"] == etag
    assert ranged.file("ranged", {"If-None-Match": '"x"'}).expect(200).body == SOME


def test_if_range(ranged):
    etag = ranged.file("ranged").expect(200).headers["ETag"]
    same = {"Range": "bytes=0-3", "If-Range": etag}
    assert ranged.file("ranged", same).expect(206).body == SOME[:4]
    other = {"Range": "bytes=0-3", "If-Range": '"x"'}
    assert ranged.file("ranged", other).expect(200).body == SOME


def test_head_is_get_without_the_body(ranged):
    get = ranged.file("ranged").expect(200)
    head = ranged.api("HEAD", "/files/ranged").expect(200)
    assert head.body == b""
    for name in ("Content-Length", "ETag", "Content-Type"):
        assert head.headers[name] == get.headers[name]
    missing = ranged.api("HEAD", "/files/no-such-file")
    assert missing.status == 404 and missing.body == b""


def test_types_of_files(box):
    for name, kind in (("t.txt", "text/plain"), ("t.png", "image/png"), ("t.csv", "text/csv")):
        box.put(name, b"x").expect(201, 204)
        assert box.file(name).expect(200).headers["Content-Type"].split(";")[0] == kind


# How it is served, by the name; "saved": a browser shall not show it.
ACTIVE = {
    "a.html": "text/html",
    "a.svg": "image/svg+xml",
    "a.xhtml": "saved application/xhtml+xml",
    "a.xml": "saved application/xml",
    "a.js": "text/plain",
    "a.mjs": "text/plain",
    "a.css": "text/plain",
    "a.wasm": "text/plain",
    "a.pdf": "application/pdf",
    "a.zip": "saved application/zip",
    "a": "saved application/octet-stream",
}


@pytest.mark.parametrize("prefix", ["/files/", "/jupyter/files/"])
def test_a_browser_runs_nothing_of_what_user_code_wrote(box, prefix):
    for name, kind in ACTIVE.items():
        box.put(name, b"alert(1)").expect(201, 204)
        found = box.get(prefix + name).expect(200)
        saved, _, kind = kind.rpartition(" ")
        assert found.headers["Content-Type"].split(";")[0] == kind
        policy = found.headers["Content-Security-Policy"]
        assert policy.startswith("sandbox; default-src 'none'") and "script" not in policy
        assert found.headers.get_all("X-Content-Type-Options") == ["nosniff"]
        assert found.headers["Cross-Origin-Resource-Policy"] == "same-origin"
        disposition = found.headers.get("Content-Disposition")
        assert disposition == ("attachment; filename*=UTF-8''" + name if saved else None), name
        for purpose in ("script", "style", "worker", "serviceworker", "object", "embed"):
            box.get(prefix + name, headers={"Sec-Fetch-Dest": purpose}).problem("forbidden")
        for purpose in ("document", "empty", "image"):
            box.get(prefix + name, headers={"Sec-Fetch-Dest": purpose}).expect(200)
        framed = box.get(prefix + name, headers={"Sec-Fetch-Dest": "iframe"})
        assert framed.status == (200 if name == "a.pdf" else 403)
    found = box.get(prefix + "a.html?download=1").expect(200)
    assert found.headers["Content-Disposition"] == "attachment; filename*=UTF-8''a.html"
    assert found.body == b"alert(1)"


# ---- folders ----


def test_a_folder_is_no_file(box):
    box.put("folder/x", b"").expect(201, 204)
    box.file("folder").problem("conflict")
    box.put("folder", b"x").problem("conflict")
    box.put("folder/x/y", b"x").problem("conflict")
    assert box.file("folder/x").expect(200).body == b""


def test_a_folder_that_is_not_empty_is_removed_only_when_asked(box):
    box.put("tree/a/b", b"1").expect(201, 204)
    box.remove("tree").problem("conflict")
    assert box.file("tree/a/b").expect(200).body == b"1"
    box.delete("/files/tree?recursive=true").expect(204)
    box.file("tree/a/b").problem("not_found")
    box.ok("import os; os.mkdir('empty')")
    box.remove("empty").expect(204)
    assert box.value("os.path.exists('empty')") == "False"


def test_a_link_inside_is_followed_and_removed_as_a_link(box):
    box.put("target", b"through").expect(201, 204)
    box.ok("import os\nif os.path.lexists('link'): os.unlink('link')\nos.symlink('target', 'link')")
    assert box.file("link").expect(200).body == b"through"
    box.remove("link").expect(204)
    assert box.file("target").expect(200).body == b"through"


# ---- listings ----


@pytest.fixture
def tree(box):
    for name in ("list/b.txt", "list/a.txt", "list/sub/c.txt", "list/sub/deep/d.txt"):
        box.put(name, name.encode()).expect(201, 204)
    return box


def test_a_listing_of_a_folder(tree):
    found = tree.files("?dir=list")
    assert set(found) == {"files", "continue"} and found["continue"] is None
    assert [(f["path"], f["type"]) for f in found["files"]] == [
        ("list/a.txt", "file"),
        ("list/b.txt", "file"),
        ("list/sub", "directory"),
    ]
    for item in found["files"]:
        assert set(item) == {"path", "type", "size", "modified_at"}
        contract.check_time(item["modified_at"])
    assert found["files"][0]["size"] == len("list/a.txt")


def test_a_recursive_listing(tree):
    found = tree.files("?dir=list&recursive=true")["files"]
    assert [f["path"] for f in found] == [
        "list/a.txt",
        "list/b.txt",
        "list/sub",
        "list/sub/c.txt",
        "list/sub/deep",
        "list/sub/deep/d.txt",
    ]


def test_a_listing_of_everything_begins_at_the_root(tree):
    paths = [f["path"] for f in tree.files()["files"]]
    assert "list" in paths and "list/a.txt" not in paths
    assert paths == sorted(paths)
    assert "list/sub/deep/d.txt" in [f["path"] for f in tree.files("?recursive=true")["files"]]


def test_a_listing_by_pages(box):
    box.ok("import os\nos.makedirs('pages', exist_ok=True)\nfor n in range(25): open('pages/%02d' % n, 'w').close()")
    seen, after, pages = [], "", 0
    while True:
        found = box.files("?dir=pages&limit=10" + after)
        seen += [f["path"] for f in found["files"]]
        pages += 1
        if found["continue"] is None:
            break
        assert len(found["files"]) == 10
        after = "&continue=" + found["continue"]
    assert seen == ["pages/%02d" % n for n in range(25)]
    assert pages == 3


def test_links_and_other_things_are_listed_as_what_they_are(box):
    box.ok(
        "import os\nos.makedirs('kinds', exist_ok=True)\n"
        "os.path.lexists('kinds/l') or os.symlink('/etc/passwd', 'kinds/l')\n"
        "os.path.lexists('kinds/p') or os.mkfifo('kinds/p')"
    )
    kinds = {f["path"]: f["type"] for f in box.files("?dir=kinds&recursive=true")["files"]}
    assert kinds == {"kinds/l": "symlink", "kinds/p": "other"}
    box.file("kinds/l").problem("forbidden")
    found = box.file("kinds/p")
    assert found.status in (403, 404, 409), found  # and above all it does not hang


@pytest.mark.parametrize(
    "query, field",
    [
        ("?limit=0", "limit"),
        ("?limit=1001", "limit"),
        ("?limit=x", "limit"),
        ("?recursive=maybe", "recursive"),
        ("?continue=%21", "continue"),
    ],
)
def test_a_bad_query_of_a_listing_is_invalid(box, query, field):
    box.get("/files" + query).problem("invalid", field=field)


def test_a_listing_of_what_is_no_folder(box):
    box.put("plain", b"").expect(201, 204)
    box.get("/files?dir=plain").problem("not_found")
    box.get("/files?dir=no-such").problem("not_found")
    box.get("/files?dir=../etc").problem("invalid")


def test_a_thousand_entries_are_a_page(box):
    box.ok("import os\nos.makedirs('kilo', exist_ok=True)\nfor n in range(1001): open('kilo/%04d' % n, 'w').close()")
    first = box.files("?dir=kilo")
    assert len(first["files"]) == 1000 and first["continue"]
    rest = box.files("?dir=kilo&continue=" + first["continue"])
    assert [f["path"] for f in rest["files"]] == ["kilo/1000"] and rest["continue"] is None
    box.delete("/files/kilo?recursive=true").expect(204)


def test_a_download_that_is_not_read_to_its_end_hurts_nobody(box):
    body = random.Random(2).randbytes(8_000_000)
    box.put("half", body).expect(201, 204)
    sock, message = box.open("GET", "/files/half")
    assert message.read(1000) == body[:1000]
    sock.close()
    message.close()
    assert box.file("half").expect(200).body == body


def test_several_requests_on_one_connection(box):
    with box.connect() as sock:
        for n in range(5):
            body = b"%d" % n
            sock.sendall(box.head("PUT", "/files/kept", {"Content-Length": str(len(body))}) + body)
            assert read_response(sock, "PUT").status in (201, 204)
            sock.sendall(box.head("GET", "/files/kept"))
            assert read_response(sock).body == body
