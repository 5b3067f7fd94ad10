"""jupyter console --existing, as a person types into it and leaves with Ctrl-D (`exit` would end the kernel)."""

from drive import native, programs

SCRIPT = """\
x = 6
print("it is", x * 7)
name = input("name? ")
Ada
"hello " + name
1 / 0
x
"""


def test_console_at_an_existing_kernel(one):
    with native.attached(one) as file, programs.folder() as home:
        (home / "script").write_text(SCRIPT)
        command = 'exec "$0" -m jupyter_console --existing "$1" --simple-prompt <"$2" 2>&1'
        argv = ["/bin/sh", "-c", command, programs.PYTHON, str(file), str(home / "script")]
        said = "\n".join(programs.finished(argv, programs.environment(home), home))
        for words in ("it is 42", "name? ", "'hello Ada'", "division by zero", "]: 6", "keeping kernel alive"):
            assert words in said, said
        if one.box:
            # The same kernel, after the console has left.
            assert one.box.value("x + 1") == "7"
            codes = [e["code"] for e in one.box.executions()]
            assert 'print("it is", x * 7)' in codes, codes
