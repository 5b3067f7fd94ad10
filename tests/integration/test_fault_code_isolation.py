"""What a sandbox sees of the host, of other sandboxes and of secrets (design, section Trust): nothing."""

import hashlib
import hmac
import os
import socket

import pytest
from lib.controller import ROOT
from lib.hostile import end, fresh, goes_on, of_host, small, status_of

SECRET = "hush-a9b8c7d6e5f4"


@pytest.fixture(scope="module")
def hostile(module_controller):
    with small(module_controller, env={"SECRET_X": SECRET}) as controller:
        yield controller


@pytest.fixture
def victim(hostile):
    with fresh(hostile) as box:
        yield box


# ---- the host ----


def test_the_kernel_inherits_no_descriptor_of_the_runner(hostile, victim):
    runner, (kernel,) = of_host(hostile, victim.id)

    def links(pid):
        return {os.readlink("/proc/%d/fd/%s" % (pid, n)) for n in os.listdir("/proc/%d/fd" % pid)}

    inside = links(kernel)
    shared = inside & links(runner) - {"/dev/null"}
    # One pipe joins them, which carries the kernel's last words; anonymous inodes have no identity.
    pipes = {link for link in shared if not link.startswith("anon_inode:")}
    assert len(pipes) == 1 and pipes.pop().startswith("pipe:"), shared
    named = {link for link in inside if not link.startswith(("pipe:", "socket:", "anon_inode:"))}
    assert named == {"/dev/null"}, named
    goes_on(victim)


def test_the_environment_is_cleared(hostile, victim):
    names = victim.value("import os; ' '.join(sorted(os.environ))").strip("'").split()
    expected = {"PATH", "HOME", "USER", "LANG", "TZ", "TERM", "IPYTHONDIR", "MPLBACKEND", "MPLCONFIGDIR"}
    assert expected <= set(names), names
    assert not [
        n for n in names if n.startswith(("CAESARION", "SECRET", "XDG_RUNTIME", "SSH", "ASAN", "AWS"))
    ], names
    # What the process was started with, and its children's environment.
    for found in (
        victim.ok("print(open('/proc/self/environ').read())")["stdout"],
        victim.ok("import subprocess; subprocess.run(['env']); None")["stdout"],
    ):
        assert SECRET not in found and "TOKEN" not in found and str(hostile.dir) not in found, found
    goes_on(victim)


def test_paths_of_the_host_are_invisible(hostile, victim):
    for path in (hostile.state_dir, hostile.runtime_dir, hostile.token_file, hostile.home):
        assert victim.value("import os; os.path.exists(%r)" % str(path)) == "False"
    for path in (
        "/home",
        "/var",
        "/srv",
        "/boot",
        "/sys",
        "/mnt",
        "/srv",
        "/etc/shadow",
        "/etc/ssh",
        str(ROOT / "README.md"),
    ):
        assert victim.value("os.path.exists(%r)" % path) == "False", path
    assert victim.value("open('/etc/passwd').read().count(chr(10))") == "3"
    assert (
        victim.value("[n for n in os.listdir('/dev') if n.startswith(('sd', 'vd', 'mem', 'kmsg', 'kvm'))]")
        == "[]"
    )
    found = victim.execute("open('/etc/shadow')")
    assert (found["status"], found["error"]["ename"]) == ("error", "FileNotFoundError")
    assert victim.value("os.uname().nodename") == "'sandbox'"
    goes_on(victim)


def test_there_is_no_network(hostile, victim):
    host, port = hostile.address
    abstract = "caesarion-test-%d" % os.getpid()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("\0" + abstract)
        listening.listen(1)
        code = """
import socket
def outcome(family, address):
    s = socket.socket(family)
    s.settimeout(5)
    try: s.connect(address)
    except OSError as e: return type(e).__name__ + str(e.errno)
    return 'connected'
print(outcome(socket.AF_INET, (%r, %d)))
print(outcome(socket.AF_INET, ('192.0.2.1', 80)))
print(outcome(socket.AF_INET6, ('2001:db8::1', 80)))
print(outcome(socket.AF_UNIX, chr(0) + %r))
print([name for _, name in socket.if_nameindex()])
"""
        lines = victim.ok(code % (host, port, abstract))["stdout"].splitlines()
    # ECONNREFUSED from its own loopback, ENETUNREACH.
    assert lines == [
        "ConnectionRefusedError111",
        "OSError101",
        "OSError101",
        "ConnectionRefusedError111",
        "['lo']",
    ], lines
    found = victim.execute("socket.getaddrinfo('example.org', 80)")
    assert (found["status"], found["error"]["ename"]) == ("error", "gaierror"), found
    goes_on(victim)


def test_the_runners_socket_cannot_be_reached_from_inside(hostile, victim):
    code = """
import glob, os, socket
found = []
for top, folders, names in os.walk('/'):
    folders[:] = [f for f in folders if os.path.join(top, f) not in ('/proc', '/usr', '/sys')]
    for name in names:
        path = os.path.join(top, name)
        try:
            if os.path.exists(path) and not os.path.isfile(path) and os.stat(path).st_mode >> 12 == 12:
                found.append(path)
        except OSError: pass
print([p for p in found if not p.startswith('/run/caesarion/k-')])
print([line.split()[-1] for line in open('/proc/net/unix') if '.sock' in line])
# ipykernel has one of its own, for the output of forked children.
own = [os.readlink('/proc/self/fd/' + n) for n in os.listdir('/proc/self/fd') if os.path.exists('/proc/self/fd/' + n)]
lines = [line.split() for f in ('tcp', 'tcp6', 'udp') for line in list(open('/proc/net/' + f))[1:]]
print([w for w in lines if 'socket:[%s]' % w[9] not in own])
"""
    assert victim.ok(code)["stdout"] == "[]\n[]\n[]\n"
    goes_on(victim)


def test_without_isolation_the_runners_socket_wants_its_token(controller):
    plain = controller("--isolation", "none", "--memory", "256Mi", check_fds=False)
    box = plain.sandbox()
    with open("/proc/net/unix") as f:
        paths = {line.split()[-1] for line in f if box.id[3:] in line and line.rstrip().endswith(".sock")}
    assert len(paths) == 1, paths
    code = """
import http.client, socket
def ask(path, headers):
    c = http.client.HTTPConnection('runner')
    c.sock = socket.socket(socket.AF_UNIX); c.sock.settimeout(20); c.sock.connect(path)
    c.request('POST', '/execute', '{"code":"1"}', dict(headers, **{'Content-Type': 'application/json'}))
    return c.getresponse().status
hashes = [w for w in open('/proc/%d/cmdline' % __import__('os').getppid()).read().split(chr(0)) if len(w) == 64]
print(ask(PATH, {}), ask(PATH, {'Authorization': 'Bearer x'}), ask(PATH, {'Authorization': 'Bearer ' + hashes[0]}))
"""
    found = box.ok("PATH = %r\n" % paths.pop() + code)
    assert found["stdout"] == "401 401 401\n", found["stdout"]
    goes_on(box)
    end(box)


# ---- others ----


def test_sandboxes_have_a_user_of_their_own_on_the_host(hostile, victim):
    if os.geteuid() != 0:
        pytest.skip("only root can give each sandbox a user")
    with fresh(hostile) as other:
        uids = []
        for box in (victim, other):
            runner, rest = of_host(hostile, box.id)
            mine = {
                u
                for pid in (runner, *rest)
                for u in status_of(pid)["Uid"].split() + status_of(pid)["Gid"].split()
            }
            assert len(mine) == 1, mine
            uids += mine
        assert uids[0] != uids[1] and not {"0", "1000", str(os.geteuid())} & set(uids), uids


def test_two_sandboxes_neither_see_nor_signal_each_other(hostile, victim):
    with fresh(hostile) as other:
        other.ok(
            "import subprocess; p = subprocess.Popen(['sleep', '654321'])\nopen('/tmp/mark', 'w').write('x')"
        )
        runner, rest = of_host(hostile, other.id)
        found = victim.ok(
            "import glob, os\n"
            "print([p for p in glob.glob('/proc/*/cmdline') if b'654321' in open(p, 'rb').read()])\n"
            "print(os.path.exists('/tmp/mark'), os.listdir('/uploaded_files'))\n"
            "for pid in %r:\n"
            "    try: os.kill(pid, 9); print('killed')\n"
            "    except ProcessLookupError: pass\n"
            "try: os.kill(-1, 9)\n"
            "except ProcessLookupError: pass" % [runner, *rest]
        )
        assert found["stdout"] == "[]\nFalse []\n", found["stdout"]
        goes_on(victim)
        assert other.value("p.poll() is None") == "True"
        goes_on(other)


# ---- secrets ----


def test_tokens_and_the_key_are_nowhere_to_be_read(hostile, victim):
    key = (hostile.state_dir / "key").read_bytes()
    token = hmac.new(key, b"caesarion sandbox token\n" + victim.id.encode(), hashlib.sha256).hexdigest()
    runner, rest = of_host(hostile, victim.id)
    # The derivation is the product's: the hash in the runner's arguments is that of this token.
    with open("/proc/%d/cmdline" % runner) as f:
        words = f.read().split("\0")
    assert words[words.index("--token-hash") + 1] == hashlib.sha256(token.encode()).hexdigest()
    secrets = [token.encode(), key, key.hex().encode(), *(t.encode() for t in hostile.tokens.values())]
    goes_on(victim)
    seen = {}
    for pid in (hostile.pid, *hostile.process.descendants()):
        for name in ("cmdline", "environ"):
            with open("/proc/%d/%s" % (pid, name), "rb") as f:
                seen["%s of %d" % (name, pid)] = f.read()
    seen["log"] = "\n".join(hostile.process.stderr.all() + hostile.process.stdout.all()).encode()
    seen["runner's log"] = "\n".join(hostile.runner_log(victim.id)).encode()
    inside = victim.ok(
        "import glob\nfor p in glob.glob('/proc/*/cmdline') + glob.glob('/proc/*/environ') + glob.glob('/run/**', recursive=True):\n"
        "    try: print(p, open(p, 'rb').read())\n    except OSError: pass"
    )
    seen["what code reads"] = inside["stdout"].encode()
    for where, text in seen.items():
        for secret in secrets:
            assert secret not in text, where
        if "of %d" % hostile.pid not in where:
            assert SECRET.encode() not in text, where
    assert b"--token-hash" in seen["what code reads"]  # which opens nothing:
    goes_on(victim)
