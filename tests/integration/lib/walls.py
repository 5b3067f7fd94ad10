"""What the tests of the walls share: controllers as root and as an ordinary user, and raw system calls."""

import functools
import os
import platform
import subprocess
import sys

import pytest

from .hostile import FLAGS
from .starts import spawn_as_ordinary_user

KINDS = ["root", "ordinary"]


@functools.cache
def _namespaces():
    code = "import ctypes, sys; sys.exit(ctypes.CDLL(None).unshare(0x10000000) != 0)"
    return subprocess.run([sys.executable, "-I", "-c", code]).returncode == 0


def walled(make, kind, *flags, **options):
    """A controller of small sandboxes that runs as `kind`; skips where that cannot be had."""
    if kind == "root":
        if os.geteuid() != 0:
            pytest.skip("running a controller as root needs root")
        return make(*FLAGS, *flags, check_fds=False, **options)
    if os.geteuid() != 0:
        return make(*FLAGS, *flags, check_fds=False, **options)
    if not _namespaces():
        pytest.skip("no user namespace can be made here, so nobody but root can be had")
    it = make(*FLAGS, *flags, check_fds=False, start=False, **options)
    it.spawn = lambda *more: spawn_as_ordinary_user(it)
    return it.start()


MACHINE = platform.machine()
# System calls by number: neither Python nor the C library has functions for most of them.
CALLS = {
    # name: (x86_64, aarch64)
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "fanotify_init": (300, 262),
    "fanotify_mark": (301, 263),
    "syslog": (103, 116),
    "acct": (163, 89),
    "kexec_load": (246, 104),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "reboot": (169, 142),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "migrate_pages": (256, 238),
    "move_pages": (279, 239),
    "vhangup": (153, 58),
    "kcmp": (312, 272),
    "process_madvise": (440, 440),
    "pidfd_getfd": (438, 438),
    "io_setup": (206, 0),
    "io_submit": (209, 2),
    "clone": (56, 220),
    "clone3": (435, 435),
    "prlimit64": (302, 261),
    "setpriority": (141, 140),
    "ioprio_set": (251, 30),
    "sched_setscheduler": (144, 119),
    "sched_setparam": (142, 118),
    "sched_setattr": (314, 274),
    "sched_setaffinity": (203, 122),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "tgkill": (234, 131),
}

# Inside: call("name", …) is 0 and above, or the negative errno's name.
CODE = (
    """
import ctypes, errno, os
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
NUMBERS = %r
def call(name, *args):
    args = [ctypes.c_long(a) if isinstance(a, int) else a for a in args]
    ctypes.set_errno(0)
    r = libc.syscall(ctypes.c_long(NUMBERS[name]), *args)
    return r if r >= 0 else errno.errorcode[ctypes.get_errno()]
"""
    % {name: numbers[MACHINE == "aarch64"] for name, numbers in CALLS.items()}
)


