#!/usr/bin/env python3
"""Every rule of layers.py finds the tree that breaks it, and is silent about the tree that does not."""
import os
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import layers  # noqa: E402

TABLE = """
caesarion_folder(lib/base)
caesarion_folder(lib/crypto LINK lib_base PkgConfig::SODIUM)
caesarion_folder(lib/json LINK lib_base PkgConfig::JANSSON)
caesarion_folder(lib/loop LINK lib_base PkgConfig::UV)   # caesarion_folder(lib/base LINK lib_loop)
caesarion_folder(kernel-runner/exec LINK lib_loop lib_json
                                         lib_base)
caesarion_program(caesarion-runner kernel-runner LINK kernel_runner_exec lib_base)
caesarion_folder(controller/pool LINK lib_base)
caesarion_program(caesarion controller LINK controller_pool lib_base)
"""

CLEAN = {
    "CMakeLists.txt": TABLE,
    "lib/base/buf.h": "#pragma once\n#include <stddef.h>\n",
    "lib/base/buf.c": '#include "lib/base/buf.h"\n#include <sys/un.h>\n/* never strcpy(a, b) */\n'
                      'static const char *s = "exit(1) \\" system(";\nvoid f(void)\n{\n    _exit(1);\n'
                      '    h->signal(1);\n    my_select (2);\n    strtoull(0, 0, 0);\n}\n',
    "lib/crypto/hash.c": '#include <sodium.h>\n#include "lib/base/buf.h"\n',
    "lib/json/jsonx.h": "#pragma once\n#include <jansson.h>\n",
    "kernel-runner/exec/exec.h": "#pragma once\n#include <uthash.h>\n#include <uv.h>\n",
    "kernel-runner/exec/exec.c": '#include "kernel-runner/exec/exec.h"\n#include "lib/json/jsonx.h"\n'
                                 '#include <jansson.h>\n',
    "kernel-runner/main.c": '#include "kernel-runner/exec/exec.h"\n',
    "controller/pool/pool.h": "#pragma once\n",
    "controller/main.c": '#include "controller/pool/pool.h"\n',
    "tests/unit/lib/base/test_buf.c": "#include <cmocka.h>\n#include <zmq.h>\nint x(void)\n{\n    exit(1);\n}\n",
    "README.md": "TODO" "(#12): later\n",
}


class Layers(unittest.TestCase):
    def findings(self, changes):
        with tempfile.TemporaryDirectory() as root:
            for path, text in {**CLEAN, **changes}.items():
                full = os.path.join(root, path)
                os.makedirs(os.path.dirname(full), exist_ok=True)
                with open(full, "w", encoding="utf-8") as f:
                    f.write(text)
            return layers.check_tree(root)[0]

    def found(self, path, text, expected, line=None):
        """`text` in `path` gives exactly one finding, which begins with the rule and place expected."""
        found = self.findings({path: text})
        self.assertEqual(len(found), 1, found)
        where = f"{path}:{line}: " if line else f"{path}:"
        self.assertTrue(found[0].startswith(where), found[0])
        self.assertIn(expected, found[0])

    def test_clean_tree_has_no_findings(self):
        self.assertEqual(self.findings({}), [])

    def test_include_outside_the_row(self):
        self.found("lib/base/x.c", '\n#include "lib/json/jsonx.h"\n', "does not link lib_json", 2)
        self.found("controller/pool/x.c", '#include "lib/json/jsonx.h"\n', "[layers]")

    def test_links_are_not_inherited(self):
        self.found("kernel-runner/main.c", '#include "lib/json/jsonx.h"\n', "[layers]")

    def test_runner_includes_controller(self):
        self.found("kernel-runner/exec/x.c", '#include "controller/pool/pool.h"\n',
                   "kernel-runner never depends on controller")

    def test_controller_includes_runner(self):
        self.found("controller/pool/x.c", '#include "kernel-runner/exec/exec.h"\n',
                   "controller never depends on kernel-runner")

    def test_lib_includes_program(self):
        self.found("lib/base/x.c", '#include "controller/pool/pool.h"\n', "[layers]")

    def test_include_not_from_the_root(self):
        self.found("lib/base/x.c", '#include "buf.h"\n', "[include]")
        self.found("lib/base/x.c", '#include "../base/buf.h"\n', "[include]")

    def test_generated_header_named_in_cmake_is_known(self):
        self.assertEqual(self.findings({
            "lib/base/x.c": '#include "page_html.h"\n',
            "cmake/Embed.cmake": "embed(page_html.h)\n"}), [])

    def test_third_party_headers(self):
        for header in ("sodium.h", "sodium/utils.h", "microhttpd.h", "curl/curl.h", "zmq.h", "jansson.h", "uv.h",
                       "wslay/wslay.h", "nettle/sha1.h", "cmocka.h", "openssl/ssl.h", "zlib.h"):
            with self.subTest(header=header):
                self.found("controller/pool/x.c", f"#include <{header}>\n", "[third-party]", 1)

    def test_include_in_a_comment_is_none(self):
        self.assertEqual(self.findings({"lib/base/x.c": "/*\n#include <zmq.h>\n*/\n"}), [])

    def test_folder_without_row(self):
        self.found("lib/extra/x.c", "", "has no row")
        self.found("lib/base/sub/x.h", "#pragma once\n", "has no row")

    def test_banned_functions(self):
        for name in layers.BANNED:
            with self.subTest(function=name):
                self.found("lib/base/x.c", f"void f(void)\n{{\n    {name} (1);\n}}\n", f"{name}() is banned", 3)

    def test_paths_that_user_code_may_bend(self):
        for call in (*layers.BY_PATH, "fstatat(AT_FDCWD, p", "openat (AT_FDCWD, p"):
            with self.subTest(call=call):
                text = f"void f(void)\n{{\n    {call if '(' in call else call + '(p'});\n}}\n"
                self.found("kernel-runner/exec/x.c", text, "[by-path]", 3)
        fine = "void f(void)\n{\n    fstat(1); unlinkat(fd, p, 0); s->open(p); openat(fd, p);\n}\n"
        self.assertEqual(self.findings({"kernel-runner/exec/x.c": fine}), [])
        self.assertEqual(self.findings({"lib/base/x.c": "void f(void)\n{\n    open(p);\n}\n"}), [])

    def test_exceptions_that_nothing_needs_any_more(self):
        layers.BY_PATH_ALLOWED["kernel-runner/exec/x.c"] = ("open stat", "a test")
        try:
            self.found("kernel-runner/exec/x.c", "void f(void)\n{\n    open(p);\n}\n", "allows stat()")
        finally:
            del layers.BY_PATH_ALLOWED["kernel-runner/exec/x.c"]

    def test_waiters_are_told_by_the_loop(self):
        body = "static void %s(void *ctx)\n{\n    %s;\n}\n"
        calls = ("c->done(c->ctx)", "op->claim_done(ctx, 1)", "w->fn(w->ctx)", "g.cfg.done(x)", "done(ctx, NULL)")
        for call in calls:
            with self.subTest(call=call):
                self.found("controller/pool/x.c", body % ("finish", call), "[waiter] finish() calls", 3)
                self.assertEqual(self.findings({"controller/pool/x.c": body % ("tell_end", call)}), [])
        self.found("controller/pool/x.c", body % ("finish", "tell_end(x)"), "which only the loop may call", 3)
        for fine in ("loop_post(&p, l, tell_end, p)", "spec_done(&s)", "x->done = done", "cfg.fn = fn"):
            with self.subTest(call=fine):
                self.assertEqual(self.findings({"controller/pool/x.c": body % ("finish", fine)}), [])

    def test_machine_paths(self):
        for path in ("/home/" "jo/x", "/Users/" "jo/x", "/root/" ".cache"):
            with self.subTest(path=path):
                self.found("notes.md", f"see {path}\n", "[machine-path]", 1)

    def test_open_ends(self):
        self.found("lib/base/x.c", "/* TODO" ": more */\n", "[open-end]", 1)
        self.found("dev", "# FIXME" "\n", "[open-end]", 1)

    def test_header_without_pragma_once(self):
        self.found("lib/base/x.h", "int x;\n", "[pragma-once]")

    def test_table_with_unknown_link(self):
        self.found("CMakeLists.txt", TABLE + "caesarion_folder(lib/ws LINK lib_nothing)\n", "has no row")

    def test_table_that_links_lib_to_a_program(self):
        self.found("CMakeLists.txt", TABLE + "caesarion_folder(lib/ws LINK controller_pool)\n",
                   "never depends on a program")

    def test_table_that_links_program_to_program(self):
        self.found("CMakeLists.txt", TABLE + "caesarion_folder(controller/web LINK kernel_runner_exec)\n",
                   "never depends on a program")

    def test_table_with_cycle(self):
        self.found("CMakeLists.txt", TABLE + "caesarion_folder(lib/a LINK lib_b)\n"
                   "caesarion_folder(lib/b LINK lib_a)\n", "cycle: lib/a → lib/b → lib/a")

    def test_long_functions_are_reported_and_do_not_fail(self):
        body = "int f(void)\n{\n" + "    x();\n" * 99 + "}\n"
        self.assertEqual([x[2] for x in layers.long_functions(body)], [101])
        self.assertEqual(list(layers.long_functions(body.replace("    x();\n", "", 1))), [])
        self.assertEqual(self.findings({"lib/base/x.c": body}), [])

    def test_exit_status_and_output(self):
        script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "layers.py")
        with tempfile.TemporaryDirectory() as root:
            with open(os.path.join(root, "CMakeLists.txt"), "w", encoding="utf-8") as f:
                f.write(TABLE)
            run = subprocess.run([sys.executable, script, root], capture_output=True, text=True)
            self.assertEqual((run.returncode, run.stdout), (0, ""), run.stderr)
            with open(os.path.join(root, "a.md"), "w", encoding="utf-8") as f:
                f.write("TODO" "\n")
            run = subprocess.run([sys.executable, script, root], capture_output=True, text=True)
            self.assertEqual(run.returncode, 1)
            self.assertIn("a.md:1: [open-end]", run.stdout)


if __name__ == "__main__":
    unittest.main()
