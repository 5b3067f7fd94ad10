"""Run as root in a mount namespace of its own: a controller as deploy/systemd/caesarion.service would start it.

No systemd is needed: the mounts, the system call filter, the limits and the user are made as systemd.exec(5) says of
the directives that stand in the file. Each directive must be known here, so that none is added unproven.
"""

import ctypes
import errno
import os
import pathlib
import resource
import shlex
import subprocess
import sys

from ordinary_user import BIN, PYTHON, UID, open_way, prefixes, use

UNIT = pathlib.Path(sys.argv[2])
STATE, RUN, CREDENTIALS = "/var/lib/caesarion", "/run/caesarion", "/run/credentials/caesarion.service"
SPECIFIERS = {"%S": "/var/lib", "%t": "/run", "%d": CREDENTIALS}
TOKEN = "a-token-of-the-service"

# Directives that say nothing about what a process may do, or that only systemd as PID 1 can carry out.
OTHER = {
    "Type", "ExecStart", "User", "Group", "EnvironmentFile", "LoadCredential", "StateDirectory", "StateDirectoryMode",
    "RuntimeDirectory", "RuntimeDirectoryMode", "KillMode", "TimeoutStopSec", "Restart", "RestartSec",
    "RestartPreventExitStatus", "Delegate", "OOMPolicy", "TasksMax", "KeyringMode", "RemoveIPC", "IPAddressDeny",
    "IPAddressAllow", "DevicePolicy",
}  # fmt: skip


def directives():
    found, section = {}, None
    for line in UNIT.read_text().splitlines():
        if line.startswith("["):
            section = line
        elif section == "[Service]" and "=" in line and not line.startswith("#"):
            name, value = line.split("=", 1)
            found.setdefault(name, []).append(value)
    return found


def mount(*args):
    subprocess.run(["mount", *args], check=True)


# ---- mounts ----


def protect_home(value):
    assert value == "yes"
    for tree in [*prefixes(), str(BIN)]:
        open_way(os.path.join(tree, "x"))  # which covers /root with an empty folder where they lie below it
    mount("-t", "tmpfs", "-o", "mode=0755", "none", "/home")


def protect_kernel_modules(value):
    assert value == "yes"
    if os.path.isdir("/usr/lib/modules"):
        mount("-t", "tmpfs", "-o", "mode=0", "none", "/usr/lib/modules")


def private_tmp(value):
    assert value == "yes"
    keep = BIN if str(BIN).startswith("/tmp/") else None
    assert not keep, "the programs must not lie in /tmp"
    mount("-t", "tmpfs", "-o", "mode=1777", "none", "/tmp")


def private_devices(value):
    assert value == "yes"
    os.mkdir("/tmp/dev")
    mount("-t", "tmpfs", "-o", "mode=0755,nosuid,noexec", "none", "/tmp/dev")
    for name in ("null", "zero", "full", "random", "urandom", "tty"):
        pathlib.Path("/tmp/dev", name).touch()
        mount("--bind", "/dev/" + name, "/tmp/dev/" + name)
    for name in ("shm", "mqueue", "hugepages", "pts"):
        os.mkdir("/tmp/dev/" + name)
    mount("-t", "tmpfs", "-o", "mode=1777", "none", "/tmp/dev/shm")
    mount("-t", "devpts", "-o", "newinstance,ptmxmode=0666,mode=620", "none", "/tmp/dev/pts")
    os.symlink("pts/ptmx", "/tmp/dev/ptmx")
    for name, target in (("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")):
        os.symlink(target, "/tmp/dev/" + name)
    mount("--move", "/tmp/dev", "/dev")


def protect_system(value):
    """All is read-only but /dev, /proc, /sys, the service's own /tmp and its folders."""
    assert value == "strict"
    for folder in ("/var/lib", "/run"):  # so that nothing is left on the host
        mount("-t", "tmpfs", "-o", "mode=0755", "none", folder)
    for folder in (STATE, RUN, CREDENTIALS):
        os.makedirs(folder)
        mount("-t", "tmpfs", "-o", "mode=0700,uid=%d,gid=%d" % (UID, UID), "none", folder)
    token = pathlib.Path(CREDENTIALS, "tokens")
    token.write_text("service:%s:admin\n" % TOKEN)
    token.chmod(0o400)
    os.chown(token, UID, UID)
    spared = ("/dev", "/proc", "/sys", "/tmp", STATE, RUN)
    with open("/proc/self/mountinfo") as f:
        points = [line.split()[4] for line in f]
    for point in points:
        if not any(point == s or point.startswith(s + "/") for s in spared):
            done = subprocess.run(["mount", "-o", "remount,bind,ro", point], capture_output=True)
            covered = done.returncode != 0 and not os.access(point, os.R_OK)
            assert done.returncode == 0 or covered or not os.path.exists(point), (point, done.stderr)


MOUNTS = {  # in this order
    "ProtectHome": protect_home,
    "ProtectKernelModules": protect_kernel_modules,
    "PrivateTmp": private_tmp,
    "PrivateDevices": private_devices,
    "ProtectSystem": protect_system,
}


# ---- the process ----


class Arg(ctypes.Structure):
    _fields_ = [("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64)]


ALLOW, EQ = 0x7FFF0000, 4
seccomp = ctypes.CDLL("libseccomp.so.2")
seccomp.seccomp_init.restype = ctypes.c_void_p
seccomp.seccomp_rule_add_array.argtypes = [ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint, ctypes.c_void_p]
seccomp.seccomp_load.argtypes = [ctypes.c_void_p]


def group(name):
    """The calls of a group such as @mount, as this host's systemd has them."""
    said = subprocess.run(["systemd-analyze", "syscall-filter", name], check=True, capture_output=True, text=True).stdout
    found = set()
    for line in said.splitlines()[1:]:
        word = line.strip()
        if word and not word.startswith("#"):
            found |= group(word) if word.startswith("@") else {word}
    return found


def allowed_calls(lines):
    calls = group("@default")
    for line in lines:
        remove = line.startswith("~")
        for word in line.lstrip("~").split():
            named = group(word) if word.startswith("@") else {word}
            calls = calls - named if remove else calls | named
    return calls


def filter_of(unit):
    """A libseccomp filter; loading it is the child's."""
    calls = allowed_calls(unit["SystemCallFilter"])
    for name, removed in (
        ("ProtectKernelModules", "@module"),
        ("ProtectClock", "@clock"),
        ("PrivateDevices", "@raw-io"),
    ):
        if unit[name] == ["yes"]:
            calls -= group(removed)
    assert unit["SystemCallErrorNumber"] == ["EPERM"] and unit["SystemCallArchitectures"] == ["native"]
    families = [getattr(__import__("socket"), name) for name in unit["RestrictAddressFamilies"][0].split()]
    ctx = seccomp.seccomp_init(0x00050000 | errno.EPERM)

    def add(name, *args):
        number = seccomp.seccomp_syscall_resolve_name(name.encode())
        if number >= 0:
            array = (Arg * len(args))(*args)
            assert seccomp.seccomp_rule_add_array(ctx, ALLOW, number, len(args), array) == 0, name

    compared = {"socket", "personality", "sched_setscheduler"}
    for name in sorted(calls - compared):
        add(name)
    for family in families:
        add("socket", Arg(0, EQ, family, 0))
    assert unit["LockPersonality"] == ["yes"] and unit["RestrictRealtime"] == ["yes"]
    for same in (0, 0xFFFFFFFF):
        add("personality", Arg(0, EQ, same, 0))
    for policy in (os.SCHED_OTHER, os.SCHED_BATCH, os.SCHED_IDLE):
        add("sched_setscheduler", Arg(1, EQ, policy, 0))
    return ctx


def environment(unit):
    env = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin", "HOME": STATE, "ASAN_OPTIONS": "detect_leaks=0"}
    for line in unit["Environment"]:
        for pair in shlex.split(line):
            name, value = pair.split("=", 1)
            for short, full in SPECIFIERS.items():
                value = value.replace(short, full)
            env[name] = value
    env.update(CAESARION_PYTHON=PYTHON, CAESARION_LISTEN="127.0.0.1:0", CAESARION_WARM="0", CAESARION_MEMORY="256Mi")
    return env


def main():
    unit = directives()
    names = set(MOUNTS) | OTHER
    for name, apply in MOUNTS.items():
        apply(*unit[name])
    ctx = filter_of(unit)
    known = names | {
        "SystemCallFilter", "SystemCallErrorNumber", "SystemCallArchitectures", "RestrictAddressFamilies",
        "LockPersonality", "RestrictRealtime", "ProtectClock", "Environment", "UMask", "LimitNOFILE", "LimitCORE",
        "NoNewPrivileges", "CapabilityBoundingSet", "AmbientCapabilities", "PrivateMounts",
    }  # fmt: skip
    assert set(unit) <= known, "prove these here, too: %r" % (set(unit) - known)
    assert unit["CapabilityBoundingSet"] == unit["AmbientCapabilities"] == [""]
    assert unit["NoNewPrivileges"] == ["yes"] and unit["PrivateMounts"] == ["yes"]
    me = ["setpriv", "--reuid=%d" % UID, "--regid=%d" % UID, "--clear-groups", "--bounding-set=-all", "--inh-caps=-all"]

    def before_exec():
        os.umask(int(unit["UMask"][0], 8))
        nofile = min(int(unit["LimitNOFILE"][0]), resource.getrlimit(resource.RLIMIT_NOFILE)[1])
        resource.setrlimit(resource.RLIMIT_NOFILE, (nofile, nofile))
        assert unit["LimitCORE"] == ["0"]
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        # With no_new_privs. Closed before the user is left: its calls (@setuid, capset) are allowed.
        failed = seccomp.seccomp_load(ctx)
        assert failed == 0, failed

    process = subprocess.Popen(
        [*me, str(BIN / "caesarion")], env=environment(unit), preexec_fn=before_exec, stdout=subprocess.PIPE, text=True
    )
    try:
        ready = process.stdout.readline()
        status = pathlib.Path("/proc/%d/status" % process.pid).read_text()
        for line in ("NoNewPrivs:\t1", "CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "Seccomp:\t2"):
            assert line in status, (line, status)
        assert "Uid:\t%d\t" % UID in status
        # Not dumpable: its files in /proc are root's.
        assert os.stat("/proc/%d/environ" % process.pid).st_uid == 0
        use(ready.replace("\n", "?token=%s\n" % TOKEN))
    finally:
        process.terminate()
        status = process.wait(40)
    assert status == 0, status
    print("as a service: ok")


main()
