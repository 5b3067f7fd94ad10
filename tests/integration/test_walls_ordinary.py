"""What ordinary code needs goes on working behind the walls (namespaces, filter, Landlock, limits)."""

import shutil
import subprocess

import pytest


def passes(box, code, expected, timeout_s=100):
    found = box.ok(code, timeout_s=timeout_s)
    assert found["stdout"] == expected, (found["stdout"], found["stderr"][-2000:])


def program(box, path, text):
    box.put(path, text.encode()).expect(201, 204)


def needs(*programs):
    for name in programs:
        if not shutil.which(name, path="/usr/bin:/bin"):
            pytest.skip(name + " is not on this host")


RUN = "import subprocess\ndone = subprocess.run(%r, shell=True, capture_output=True, text=True)\nprint(done.stdout + done.stderr[-1500:], done.returncode)"


@pytest.mark.parametrize("name", ["numpy", "pandas", "sklearn", "joblib", "scipy", "matplotlib"])
def test_libraries(box, name):
    uses = {
        "numpy": "import numpy as np; a = np.random.rand(400, 400); print((a @ a).shape)",
        "pandas": "import pandas as pd; print(pd.DataFrame({'a': range(9)}).a.sum())",
        "sklearn": "from sklearn.linear_model import LogisticRegression as L; print(L().fit([[0], [1]], [0, 1]).predict([[1]])[0])",
        "joblib": "from joblib import Parallel, delayed; print(sum(Parallel(2)(delayed(abs)(-i) for i in range(9))))",
        "scipy": "import scipy.linalg as l; print(l.det([[2, 0], [0, 3]]))",
        "matplotlib": "import matplotlib; matplotlib.use('agg'); import matplotlib.pyplot as p; p.plot([1]); p.savefig('x.png'); print(1)",
    }
    answers = {"numpy": "(400, 400)", "pandas": "36", "sklearn": "1", "joblib": "36", "scipy": "6.0", "matplotlib": "1"}
    if box.value("import importlib.util as u; u.find_spec(%r) is None" % name) == "True":
        pytest.skip(name + " is not in this environment")
    passes(box, uses[name], answers[name] + "\n")


@pytest.mark.parametrize("way", ["fork", "spawn", "forkserver"])
def test_multiprocessing(box, way):
    program(
        box,
        "mp.py",
        "import multiprocessing as mp, sys\n"
        "from multiprocessing import shared_memory\n"
        "def work(x): return x * x\n"
        "if __name__ == '__main__':\n"
        "    mp.set_start_method(sys.argv[1])\n"
        "    with mp.Pool(2) as pool: print(pool.map(work, range(4)))\n"
        "    with mp.Manager() as m: d = m.dict(); d[1] = 2; print(dict(d))\n"
        "    s = shared_memory.SharedMemory(create=True, size=99); s.close(); s.unlink()\n"
        "    q = mp.Queue(); q.put(5); print(q.get())\n",
    )
    passes(box, "import sys\n" + RUN.replace("%r", "sys.executable + ' mp.py %s'" % way), "[0, 1, 4, 9]\n{1: 2}\n5\n 0\n")


def test_a_compiler(box):
    needs("gcc")
    program(box, "a.c", "#include <stdio.h>\n#include <pthread.h>\nstatic void *f(void *x) { return x; }\n"
            "int main(void) { pthread_t t; return pthread_create(&t, 0, f, 0) || pthread_join(t, 0) || printf(\"built\\n\") < 0; }\n")
    passes(box, RUN % "gcc -o /tmp/a.out a.c -pthread && /tmp/a.out", "built\n 0\n")


def test_node(box):
    needs("node")
    code = ("const c=require('child_process'),w=require('worker_threads'),f=require('fs');"
            "f.promises.readFile('/etc/hostname').then(()=>new w.Worker('process.exit(0)',{eval:true})"
            ".on('exit',()=>console.log(c.execSync('echo child').toString().trim())))")
    program(box, "a.js", code)
    passes(box, RUN % "node a.js", "child\n 0\n")


def test_java(box, tmp_path):
    needs("java", "javac")
    (tmp_path / "A.java").write_text(
        "public class A { public static void main(String[] a) throws Exception {\n"
        'Thread t = new Thread(() -> System.out.println("thread")); t.setPriority(1); t.start(); t.join(); } }'
    )
    # Compiled here: a sandbox has no /etc/java-*, which a compiler reads.
    subprocess.run(["javac", "-d", tmp_path, tmp_path / "A.java"], check=True)
    for compiled in tmp_path.glob("*.class"):
        box.put(compiled.name, compiled.read_bytes()).expect(201, 204)
    passes(box, RUN % "java -Xmx64m -cp . A", "thread\n 0\n")


def test_strace_and_gdb_on_own_children(box):
    needs("strace", "gdb")
    passes(box, RUN % "strace -f -o /tmp/st sh -c 'true; /bin/echo x' && grep -q /bin/echo /tmp/st", "x\n 0\n")
    found = box.ok(RUN % "sleep 60 & p=$!; gdb -q -batch -p $p -ex 'info inferiors' 2>&1 | grep -c process; kill $p")
    assert found["stdout"].endswith(" 0\n") and int(found["stdout"].split()[0]) > 0, found["stdout"]
    # A debugger switches randomisation off by personality().
    passes(box, RUN % "setarch -R true; gdb -q -batch -ex run --args /bin/true 2>&1 | grep -c 'exited normally'", "1\n 0\n")


def test_terminals_threads_and_loops(box):
    passes(
        box,
        "import asyncio, os, pty, subprocess, threading\n"
        "pid, fd = pty.fork()\n"
        "if pid == 0: os.execvp('sh', ['sh', '-c', 'stty size >/dev/null && echo tty'])\n"
        "print(os.read(fd, 9).split()[0].decode(), os.waitpid(pid, 0)[1])\n"
        "t = [threading.Thread(target=print, args=('t',)) for _ in range(3)]\n"
        "[x.start() for x in t]; [x.join() for x in t]\n"
        "async def ask():\n"
        "    p = await asyncio.create_subprocess_exec('echo', 'a', stdout=subprocess.PIPE)\n"
        "    return (await p.communicate())[0].decode()\n"
        "print(await ask())",
        "tty 0\nt\nt\nt\na\n\n",
    )


def test_ones_own_priority_and_processors(box):
    passes(
        box,
        "import os, resource, signal, subprocess\n"
        "os.sched_setaffinity(0, os.sched_getaffinity(0)); os.setpriority(os.PRIO_PROCESS, 0, os.nice(0))\n"
        "os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0)); os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))\n"
        "resource.setrlimit(resource.RLIMIT_CORE, (0, 0)); resource.prlimit(os.getppid(), resource.RLIMIT_CPU)\n"
        "print(subprocess.run(['nice', '-n', '3', 'taskset', '1', 'ionice', '-c3', 'chrt', '-b', '0', 'echo', 'ok'],\n"
        "                     capture_output=True, text=True).stdout)\n"
        "import ctypes; print(os.nice(5) - os.nice(0))",
        "ok\n\n0\n",
    )


def test_files_links_and_renames(box):
    passes(
        box,
        "import os, pathlib, shutil, subprocess, tempfile\n"
        "d = pathlib.Path('d'); shutil.rmtree(d, True); (d / 'a').mkdir(parents=True); (d / 'b').mkdir()\n"
        "(d / 'a' / 'f').write_text('12345'); os.rename(d / 'a' / 'f', d / 'b' / 'g'); os.truncate(d / 'b' / 'g', 2)\n"
        "os.link(d / 'b' / 'g', d / 'a' / 'h'); os.symlink('../b/g', d / 'a' / 's'); os.mkfifo(d / 'a' / 'p')\n"
        "print((d / 'a' / 's').read_text(), tempfile.TemporaryFile().write(b'x'))\n"
        "shutil.move(d / 'b' / 'g', '/tmp/moved'); print(os.stat('/tmp/moved').st_size)\n"
        "print(subprocess.run(['bash', '-c', 'cat <(echo process) /dev/fd/3 3</dev/null'], capture_output=True, text=True).stdout)\n"
        "fd = os.memfd_create('m'); print(os.write(os.open('/proc/self/fd/%d' % fd, os.O_WRONLY), b'ab'))",
        "12 1\n2\nprocess\n\n2\n",
    )
