#!/usr/bin/env python3
"""Checks the rules of the tree that no compiler knows (standard library only).

The may-include table is read from the caesarion_folder() and caesarion_program() rows of
CMakeLists.txt, so that the linker and this script cannot disagree. Every finding is one line
`path:line: [rule] sentence`; any finding makes the exit status 1. The length of functions is only
reported.

    layers.py [ROOT]
"""
import os
import re
import sys
from dataclasses import dataclass, field

SKIPPED_FOLDERS = re.compile(r"^(\..+|build.*|__pycache__|node_modules|cmake-build.*)$")
KEPT_DOT_FOLDERS = {".ci", ".github"}
C_FILES = (".c", ".h")
TEXT_FILES = C_FILES + (".py", ".md", ".txt", ".cmake", ".sh", ".json", ".yml", ".yaml", ".toml")
TEXT_NAMES = {"dev", "run", "Dockerfile"}
# This folder names what it forbids.
OWN_FOLDER = "tests/lint"

BANNED = {
    "strcpy": "use buf_append or memcpy with a known length",
    "strcat": "use buf_append",
    "sprintf": "use snprintf or buf_printf",
    "strtok": "use the functions of lib/base/parse.h",
    "gets": "it cannot be used safely",
    "atoi": "use the functions of lib/base/parse.h, which report errors",
    "strtol": "use the functions of lib/base/parse.h, which report errors",
    "rand": "use the random functions of lib/crypto",
    "system": "start children without a shell",
    "popen": "start children without a shell",
    "exit": "return to main, or _exit in a child",
    "signal": "use the signals of lib/loop, or sigaction",
    "sleep": "wait for the event, with a deadline timer",
    "usleep": "wait for the event, with a deadline timer",
    "select": "use the event loop",
    "alloca": "use lib/base/mem.h",
}
BANNED_CALL = re.compile(r"(?<![\w.])(?<!->)(%s)\s*\(" % "|".join(BANNED))

# Where user code can write, a path may become a link at any moment; there things are opened by
# lib/base/beneath.h, removed by lib/base/tree.h, and made by descriptor.
BENT_FOLDERS = re.compile(r"^(kernel-runner|controller/backends)/")
BY_PATH = ("nftw ftw mkdtemp mkstemp mkostemp tmpfile chdir chroot stat lstat open creat fopen freopen unlink rmdir "
           "remove rename opendir scandir glob mkdir chmod chown lchown access truncate symlink link readlink realpath "
           "utimes mknod mkfifo").split()
BY_PATH_CALL = re.compile(r"(?<![\w.])(?<!->)(?:(%s)\s*\(|(\w+at2?)\s*\(\s*AT_FDCWD\b)" % "|".join(BY_PATH))
# What may be called by path, and why no user code bends that path.
BY_PATH_ALLOWED = {
    "kernel-runner/files/file_root.c": ("mkdir realpath", "once at the start, before any user code"),
    "kernel-runner/serve.c": ("open unlink", "what the operator named, once at the start"),
    "kernel-runner/kernel/kernel_spawn.c": ("open", "/dev/null, on a read-only /dev"),
    "kernel-runner/kernel/proc_table.c": ("open opendir", "numbers below /proc, which nobody writes"),
    "kernel-runner/kernel/kernel_dir.c": ("chmod", "a descriptor of ours below /proc/self/fd"),
    "kernel-runner/kernel/leftovers.c": ("chmod fopen open opendir",
                                         "/proc, and /dev/shm itself: a mount on a read-only /dev"),
    "kernel-runner/kernel/mem_cgroup.c": ("open", "/proc and /sys, which nobody writes"),
    "kernel-runner/kernel/mem_objects.c": ("open opendir stat", "/proc, and tmpfs that are mounts"),
    "kernel-runner/kernel/mem_scan.c": ("fopen", "/proc"),
    "kernel-runner/kernel/mem_sockets.c": ("fopen", "/proc"),
    "kernel-runner/kernel/mem_watch.c": ("stat", "tmpfs that are mounts"),
    "controller/backends/backend_local.c": ("access mkdir realpath stat", "the operator's folders, at the start"),
    "controller/backends/local_adopt.c": ("opendir", "the folder of all sandboxes, 0700 and the controller's"),
    "controller/backends/local_cgroup.c": ("access mkdir open rmdir", "below /sys/fs/cgroup"),
    "controller/backends/local_dir.c": ("chown mkdir open unlink",
                                        "a sandbox's folder, 0700 and the controller's: what lies below its spill/, "
                                        "files/ and run directory is only ever removed, by tree_remove()"),
    "controller/backends/local_hint.c": ("open", "/proc/sys"),
    "controller/backends/local_launch.c": ("access readlink stat", "the host's system folders"),
    "controller/backends/local_peer.c": ("open", "/proc"),
    "controller/backends/local_python.c": ("access readlink realpath stat", "the operator's Python, at the start"),
    "controller/backends/local_remount.c": ("open", "/proc"),
    "controller/backends/local_spawn.c": ("chdir open", "the files folder of a sandbox that has run no code yet, "
                                                        "and /dev/null"),
    "controller/backends/local_stage.c": ("mkdir open", "a mount namespace that the controller just made"),
    "controller/backends/local_start.c": ("open", "spill/ of a sandbox that has run no code yet"),
    "controller/backends/local_uid.c": ("open opendir", "/proc and /etc"),
}

# A completion: x->done(…), x->claim_done(…), w->fn(…), or done(…) of a local copy.
WAITER_FOLDERS = {"controller/sandbox", "controller/pool", "controller/jupyter", "controller/routes"}
WAITER_CALL = re.compile(r"(?:(?:->|\.)(?:\w*done|fn)|(?<![\w>.])done)\s*\(")
TELL_CALL = re.compile(r"(?<![\w>.])(tell_\w+)\s*\(")

# Third-party headers: a pattern, the library's name, the folders that may include it, and the link
# token whose holders may as well. None in place of folders: everybody.
THIRD_PARTY = [
    (re.compile(r"^sodium(\.h$|/)"), "libsodium", {"lib/crypto"}, None),
    (re.compile(r"^microhttpd"), "libmicrohttpd", {"lib/http"}, None),
    (re.compile(r"^curl/"), "libcurl", {"lib/httpc"}, None),
    (re.compile(r"^zmq"), "libzmq", {"lib/jupyter"}, None),
    (re.compile(r"^jansson"), "jansson", {"lib/json"}, "lib_json"),
    (re.compile(r"^uv(\.h$|/)"), "libuv", {"lib/loop"}, "lib_loop"),
    (re.compile(r"^wslay/"), "wslay", {"lib/ws"}, None),
    (re.compile(r"^nettle/"), "nettle", {"lib/ws", "lib/crypto"}, None),
    (re.compile(r"^seccomp(\.h$|/)"), "libseccomp", {"kernel-runner/kernel"}, None),
    (re.compile(r"^ut(hash|list|array|string|stack|ringbuffer)\.h$"), "uthash", None, None),
    (re.compile(r"^cmocka"), "cmocka", set(), None),
]
SYSTEM_HEADER = re.compile(
    r"^((sys|linux|arpa|net|netinet|bits|asm|asm-generic)/[\w./-]+|(aio|alloca|argp|assert|byteswap|complex"
    r"|ctype|dirent|dlfcn|elf|endian|errno|error|execinfo|fcntl|features|fenv|float|fnmatch|ftw|getopt|glob"
    r"|grp|iconv|ifaddrs|inttypes|iso646|langinfo|libgen|limits|link|locale|malloc|math|mntent|mqueue|netdb"
    r"|paths|poll|pthread|pty|pwd|regex|resolv|sched|search|semaphore|setjmp|shadow|signal|spawn|stdalign"
    r"|stdarg|stdatomic|stdbool|stddef|stdint|stdio|stdio_ext|stdlib|stdnoreturn|string|strings|syslog"
    r"|termios|threads|time|[a-z]*intrin|uchar|ucontext|unistd|utime|utmp|utmpx|wait|wchar|wctype|wordexp"
    r"|sanitizer/\w+|valgrind/\w+)\.h)$")

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*(?:"([^"\n]+)"|<([^>\n]+)>)', re.M)
MACHINE_PATH = re.compile(r"/root/\.|/home/\w+/\w|/Users/\w+/\w")
OPEN_END = re.compile(r"\b(?:TODO|FIXME)\b(?!\s*\(#\d+\))")
MAX_FUNCTION = 100


@dataclass
class Row:
    folder: str
    line: int
    links: set = field(default_factory=set)


def target_name(folder):
    return folder.replace("/", "_").replace("-", "_")


def read(path):
    with open(path, encoding="utf-8", errors="surrogateescape") as f:
        return f.read()


def parse_table(cmake_text):
    """The rows of CMakeLists.txt: folder → Row."""
    text = re.sub(r"#[^\n]*", "", cmake_text)
    rows = {}
    for m in re.finditer(r"\bcaesarion_(folder|program)\s*\(([^)]*)\)", text):
        words = m.group(2).split()
        if m.group(1) == "program":
            words = words[1:]
        if not words:
            continue
        row = Row(words[0], text.count("\n", 0, m.start()) + 1)
        row.links = {w for w in words[1:] if w != "LINK"}
        rows[row.folder] = row
    return rows


def program_of(folder):
    return folder.split("/")[0]


def check_table(rows):
    """The table itself: lib links only lib, the programs never each other, and no cycles."""
    by_target = {target_name(r.folder): r for r in rows.values()}
    for row in rows.values():
        for link in sorted(row.links):
            other = by_target.get(link)
            if other is None:
                if "::" not in link:
                    yield (row.line, "table", f"{row.folder} links {link}, which has no row")
                continue
            home, away = program_of(row.folder), program_of(other.folder)
            if home != away and away != "lib":
                yield (row.line, "table", f"{row.folder} may not link {other.folder}: "
                       f"{'what is in lib' if home == 'lib' else 'a program'} never depends on a program")
    done, path = set(), []

    def visit(row):
        if row.folder in path:
            yield (row.line, "table", "cycle: " + " → ".join(path[path.index(row.folder):] + [row.folder]))
            return
        if row.folder in done:
            return
        path.append(row.folder)
        for link in sorted(row.links):
            if link in by_target:
                yield from visit(by_target[link])
        path.pop()
        done.add(row.folder)

    for row in rows.values():
        yield from visit(row)


def blank(match):
    return re.sub(r"[^\n]", " ", match.group(0))


TOKEN = re.compile(r"/\*.*?\*/|//[^\n]*|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'", re.S)


def without_comments(text):
    return TOKEN.sub(lambda m: blank(m) if m.group(0)[0] == "/" else m.group(0), text)


def without_comments_and_strings(text):
    return TOKEN.sub(blank, text)


def line_of(text, offset):
    return text.count("\n", 0, offset) + 1


def check_third_party(folder, row, header):
    for pattern, library, folders, link in THIRD_PARTY:
        if not pattern.search(header):
            continue
        if folders is None or folder in folders or (link and link in row.links):
            return None
        where = ", ".join(sorted(folders)) or "tests"
        more = f" and what links {link}" if link else ""
        return f"<{header}> belongs to {library}; only {where}{more} may include it"
    if SYSTEM_HEADER.match(header):
        return None
    return f"<{header}> is no known header: if a new library is meant, say in layers.py which folder owns it"


def check_includes(root, rows, cmake_text, path, text):
    folder = os.path.dirname(path)
    row = rows.get(folder)
    if row is None:
        yield (1, "folder", f"{folder} has no row in CMakeLists.txt, so nothing builds this file")
        return
    for m in INCLUDE.finditer(without_comments(text)):
        line = line_of(text, m.start())
        quoted, angle = m.groups()
        if angle:
            problem = check_third_party(folder, row, angle)
            if problem:
                yield (line, "third-party", problem)
            continue
        if not os.path.isfile(os.path.join(root, quoted)):
            if os.path.basename(quoted) not in cmake_text:
                yield (line, "include", f'"{quoted}" is not a path from the root of the repository')
            continue
        other = os.path.dirname(os.path.normpath(quoted))
        if other == folder:
            continue
        home, away = program_of(folder), program_of(other)
        if home != away and away != "lib":
            yield (line, "layers", f'{folder} may not include "{quoted}": {home} never depends on {away}')
        elif target_name(other) not in row.links:
            yield (line, "layers", f'{folder} may not include "{quoted}": its row in CMakeLists.txt '
                   f"does not link {target_name(other)}")


def check_banned(text):
    code = without_comments_and_strings(text)
    for m in BANNED_CALL.finditer(code):
        yield (line_of(code, m.start()), "banned", f"{m.group(1)}() is banned: {BANNED[m.group(1)]}")


def check_by_path(path, text):
    if not BENT_FOLDERS.match(path):
        return
    code = without_comments_and_strings(text)
    allowed = BY_PATH_ALLOWED.get(path, ("", ""))[0].split()
    for m in BY_PATH_CALL.finditer(code):
        name = m.group(1) or m.group(2)
        if name not in allowed:
            yield (line_of(code, m.start()), "by-path", f"{name}() follows a path that user code may bend: use "
                   "lib/base/beneath.h or lib/base/tree.h, or say in layers.py why nobody can")
    for name in sorted(set(allowed) - {m.group(1) or m.group(2) for m in BY_PATH_CALL.finditer(code)}):
        yield (1, "by-path", f"layers.py allows {name}(), which is not called here any more")


def functions_of(code):
    """(name, offset, end) of the functions of a C file; braces in column 0 delimit."""
    for m in re.finditer(r"^\{$.*?^\}", code, re.S | re.M):
        names = re.findall(r"(\w+)\s*\(", code[:m.start()].rsplit("\n}", 1)[-1].rsplit(";", 1)[-1])
        if names:
            yield names[0], m.start(), m.end()


def check_waiters(path, text):
    """Whoever completes something posts: the callbacks of waiters are called in tell_ functions, and those by the loop."""
    if os.path.dirname(path) not in WAITER_FOLDERS or not path.endswith(".c"):
        return
    code = without_comments_and_strings(text)
    for name, start, end in functions_of(code):
        if name.startswith("tell_"):
            continue
        for m in WAITER_CALL.finditer(code, start, end):
            yield (line_of(code, m.start()), "waiter", f"{name}() calls a waiter's callback: post a tell_ function "
                   "that does (loop_post)")
        for m in TELL_CALL.finditer(code, start, end):
            yield (line_of(code, m.start()), "waiter", f"{name}() calls {m.group(1)}(), which only the loop may call")


def check_words(text):
    for m in MACHINE_PATH.finditer(text):
        yield (line_of(text, m.start()), "machine-path", f"{m.group(0)} is a path of one machine")
    for m in OPEN_END.finditer(text):
        yield (line_of(text, m.start()), "open-end", f"{m.group(0)} without an issue number, as in (#12)")


def long_functions(text):
    """(line, name, length) of functions longer than MAX_FUNCTION lines; braces in column 0 delimit."""
    lines = text.split("\n")
    start = None
    for i, line in enumerate(lines):
        if line.rstrip() == "{":
            start = i
        elif line.startswith("}") and start is not None:
            length = i - start + 1
            if line.rstrip() == "}" and length > MAX_FUNCTION:
                head = " ".join(lines[max(0, start - 6):start])
                names = re.findall(r"(\w+)\s*\(", head)
                yield (start + 1, names[-1] if names else "?", length)
            start = None


def files_of(root):
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(f for f in folders if not SKIPPED_FOLDERS.match(f) or f in KEPT_DOT_FOLDERS)
        for name in sorted(names):
            path = os.path.relpath(os.path.join(folder, name), root)
            if name.endswith(TEXT_FILES) or name in TEXT_NAMES or name.startswith("Dockerfile"):
                yield path


def check_tree(root):
    """Returns (findings, long functions): lists of printable lines."""
    findings, long = [], []

    def add(path, problems):
        findings.extend(f"{path}:{line}: [{rule}] {text}" for line, rule, text in problems)

    cmake_text = read(os.path.join(root, "CMakeLists.txt"))
    rows = parse_table(cmake_text)
    add("CMakeLists.txt", check_table(rows))
    generated = cmake_text
    for path in files_of(root):
        if path.endswith(".cmake") or os.path.basename(path) == "CMakeLists.txt":
            generated += read(os.path.join(root, path))
    for path in files_of(root):
        if (path + "/").startswith(OWN_FOLDER + "/"):
            continue
        text = read(os.path.join(root, path))
        add(path, check_words(text))
        if not path.endswith(C_FILES):
            continue
        if path.endswith(".h") and not re.search(r"^#pragma once$", text, re.M):
            add(path, [(1, "pragma-once", "a header says #pragma once")])
        if path.startswith("tests/"):
            continue
        add(path, check_includes(root, rows, generated, path, text))
        add(path, check_banned(text))
        add(path, check_by_path(path, text))
        add(path, check_waiters(path, text))
        long.extend(f"{path}:{line}: {name} has {length} lines" for line, name, length in long_functions(text))
    return findings, long


def main(argv):
    root = os.path.abspath(argv[1] if len(argv) > 1 else os.path.join(os.path.dirname(__file__), "../.."))
    findings, long = check_tree(root)
    for text in findings:
        print(text)
    if long:
        print(f"For information, functions longer than {MAX_FUNCTION} lines:")
        for text in long:
            print(f"    {text}")
    if findings:
        print(f"{len(findings)} finding(s).")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
