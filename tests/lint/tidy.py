#!/usr/bin/env python3
"""clang-tidy over every .c of a configured build, several at once, with a memory of the clean ones.

A file is looked at again only when something that clang-tidy sees has changed: the key of the cache
is a hash of the tool, its configuration, the command and the preprocessed source with its comments
(where NOLINT stands). Hints that do not gate are kept with the verdict and shown again.

The analyzer cannot follow what uthash and utlist do to their links, and takes every element that was
removed and freed for one that is still in the list: its findings about freed memory whose path leads
through these two headers are left out, and those about null links inside them (the sanitizers watch
the same lines in the tests). Of other findings the path is not printed; `clang-tidy -p build-check
FILE` shows it.
analyzer.h, beside this, tells the analyzer what it cannot know of our error functions.

    tidy.py --build DIR --cache DIR [--jobs N] [--source ROOT] [FILE...]
"""
import argparse
import concurrent.futures
import hashlib
import json
import os
import re
import shlex
import subprocess
import sys

NOISE = re.compile(r"^\d+ (warnings?|errors?)( and \d+ errors?)? (generated|treated as errors?)\.$|^Suppressed ")
FINDING = re.compile(r"^\S.*?:\d+:\d+: (warning|error): ")
NOTE = re.compile(r"^\S.*?:\d+:\d+: note: ")
BLIND = re.compile(r"\[clang-analyzer-unix\.Malloc\b")
NULL = re.compile(r"\[clang-analyzer-core\.NullDereference\b")
POINTER_SIZE = re.compile(r"'sizeof\(A\*\)'; pointer to aggregate")
LISTS = re.compile(r"/ut(hash|list)\.h:")


def judge(output):
    """(what is worth printing, the number of errors in it)"""
    said, errors, finding = [], 0, []

    def close():
        nonlocal errors
        if not finding or (BLIND.search(finding[0]) and any(LISTS.search(line) for line in finding)):
            return
        # Of arrays of pointers; what it is meant to find, gcc's -Wsizeof-pointer-memaccess finds.
        if POINTER_SIZE.search(finding[0]):
            return
        # A macro of the lists that itself is where the finding stands: two notes of three lines.
        if NULL.search(finding[0]) and any(LISTS.search(line) for line in finding[3:9]):
            return
        match = FINDING.match(finding[0])
        errors += bool(match) and match.group(1) == "error"
        for line in finding:
            if NOTE.match(line):
                break
            said.append(line + "\n")

    for line in output.splitlines():
        if NOISE.match(line):
            continue
        if FINDING.match(line):
            close()
            finding = []
        finding.append(line)
    close()
    return "".join(said), errors


def compile_args(entry):
    """The compiler and its options, without the output and the input."""
    words = entry.get("arguments") or shlex.split(entry["command"])
    while os.path.basename(words[0]) in ("ccache", "sccache", "distcc"):
        words = words[1:]
    kept, skip = [], False
    for word in words:
        if skip:
            skip = False
        elif word in ("-o", "-MF", "-MT", "-MQ"):
            skip = True
        elif word not in ("-c", "-MD", "-MMD", entry["file"]):
            kept.append(word)
    return kept


class Tidy:
    def __init__(self, args):
        self.args = args
        self.tool = args.clang_tidy
        version = subprocess.run([self.tool, "--version"], capture_output=True, text=True, check=True).stdout
        self.base = version
        self.model = os.path.join(os.path.dirname(os.path.abspath(__file__)), "analyzer.h")
        for name in (__file__, self.model, *(os.path.join(args.source, d, ".clang-tidy") for d in ("", "tests"))):
            with open(name, encoding="utf-8") as f:
                self.base += f.read()

    def key(self, entry):
        command = compile_args(entry)
        source = subprocess.run(command + ["-E", "-C", entry["file"]], cwd=entry["directory"],
                                capture_output=True)
        if source.returncode != 0:
            return None
        text = "\0".join([self.base, *command, entry["file"]]).encode()
        return hashlib.sha256(text + b"\0" + source.stdout).hexdigest()

    def check(self, entry):
        """(file, clean, from the cache, what clang-tidy said)"""
        name = os.path.relpath(entry["file"], self.args.source)
        key = self.key(entry)
        cached = os.path.join(self.args.cache, key) if key else None
        if cached and os.path.exists(cached):
            with open(cached, encoding="utf-8") as f:
                return name, True, True, f.read()
        command = [self.tool, "--quiet", "-p", self.args.build, entry["file"]]
        if name != "lib/base/err.c":
            command += ["--extra-arg=-include", f"--extra-arg={self.model}"]
        run = subprocess.run(command, capture_output=True, text=True)
        said, errors = judge(run.stdout)
        if run.returncode != 0 and not FINDING.search(run.stdout):
            said, errors = run.stdout + run.stderr, 1
        if not errors and cached:
            temporary = f"{cached}.{os.getpid()}"
            with open(temporary, "w", encoding="utf-8") as f:
                f.write(said)
            os.replace(temporary, cached)
        return name, not errors, False, said


def main():
    parser = argparse.ArgumentParser(description="clang-tidy with a cache")
    parser.add_argument("--build", required=True)
    parser.add_argument("--cache", required=True)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--source", default=os.path.join(os.path.dirname(os.path.abspath(__file__)), "../.."))
    parser.add_argument("--clang-tidy", default="clang-tidy")
    parser.add_argument("files", nargs="*")
    args = parser.parse_args()
    args.source = os.path.realpath(args.source)
    args.build = os.path.abspath(args.build)
    os.makedirs(args.cache, exist_ok=True)

    with open(os.path.join(args.build, "compile_commands.json"), encoding="utf-8") as f:
        entries = json.load(f)
    wanted = {os.path.realpath(f) for f in args.files}
    chosen = {}
    for entry in entries:
        path = os.path.realpath(os.path.join(entry["directory"], entry["file"]))
        generated = path.startswith(args.build + os.sep)
        if path.startswith(args.source + os.sep) and not generated and (not wanted or path in wanted):
            chosen[path] = {**entry, "file": path}
    if not chosen:
        sys.exit("tidy: the build knows no such file.")

    tidy, failed, remembered = Tidy(args), [], 0
    with concurrent.futures.ThreadPoolExecutor(max(1, args.jobs)) as pool:
        for name, clean, cached, said in pool.map(tidy.check, [chosen[p] for p in sorted(chosen)]):
            remembered += cached
            if said.strip():
                print(said, end="", flush=True)
            if not clean:
                failed.append(name)
    print(f"clang-tidy: {len(chosen)} files, {remembered} unchanged since they were clean", file=sys.stderr)
    if failed:
        sys.exit(f"clang-tidy: findings in {', '.join(failed)}")


if __name__ == "__main__":
    main()
