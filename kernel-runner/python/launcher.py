"""Starts ipykernel for the runner: python -X frozen_modules=off launcher.py -f CONNECTION_FILE

It changes how output is delivered and how fast the kernel starts; what a cell means is left alone.
Written for ipykernel 7.4.0. Where a version lacks a part that is changed here, one warning goes to
stderr and the kernel runs without that change. Environment, removed before user code can see it:
  CAESARION_PRIVATE_DIR   a directory of the kernel's own, for what it needs when /tmp is full
  CAESARION_PARENT_PID    the runner's pid as this process sees it; see follow_parent()
HOME, IPYTHONDIR, JUPYTER_*, MPLCONFIGDIR are the runner's to give.
"""

import gc

gc.disable()  # imports make no garbage; main() enables it again
# ruff: noqa: E401, E402
import array, asyncio, codecs, contextlib, fcntl, importlib.util, io, json, mmap, os, select, signal
import sys, tempfile, termios, threading, time, traceback, types

# Bytes at a time; what children may write at once; what they may write a second after that.
CHUNK, BURST, RATE = 1 << 16, 1 << 26, 1 << 25
# Seconds between two looks at the pipe: less than a fork and an exec take.
SHORT = 0.00025
# Characters that are gathered before they are sent; messages that wait for the reader.
GATHERED, IOPUB_QUEUE = 1 << 18, 128


def warn(text):
    print("launcher: " + text, file=sys.__stderr__, flush=True)


def follow_parent():
    """Has Linux kill the kernel when the runner dies (one that is PID 1 takes it along anyway).

    Linux clears this at fork(): children of user code do not have it. The runner may have died just
    before; then its pid is no longer our parent's. Returns libc and its `stdout`, or None twice.
    """
    expected = os.environ.pop("CAESARION_PARENT_PID", "")
    try:
        import ctypes

        libc = ctypes.CDLL(None)
        if libc.prctl(1, signal.SIGKILL, 0, 0, 0) != 0:  # PR_SET_PDEATHSIG
            warn("cannot follow the runner's death: prctl failed")
        return libc, ctypes.c_void_p.in_dll(libc, "stdout")
    except (ImportError, AttributeError, ValueError, OSError) as e:
        warn("cannot follow the runner's death: %s" % e)
        return None, None
    finally:
        if expected.isdigit() and os.getppid() != int(expected):
            os._exit(1)


class LazyModule(types.ModuleType):
    """A module that runs its file when somebody asks for a name it does not have yet."""

    def __getattr__(self, name):
        if name.startswith("__") and name != "__version__":  # inspect and copy ask every module
            raise AttributeError(name)
        if self.__class__ is LazyModule:
            self.__class__ = types.ModuleType
            self.__spec__.loader.exec_module(self)
        return getattr(self, name)


def make_lazy(name, **known):
    """Puts the module into sys.modules, its file not run, with the names in `known`."""
    spec = importlib.util.find_spec(name)
    if spec is not None:
        module = importlib.util.module_from_spec(spec)
        module.__class__ = LazyModule
        module.__dict__.update(known)
        sys.modules[name] = module
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, module)


libc, libc_stdout = follow_parent()
private_dir = os.environ.pop("CAESARION_PRIVATE_DIR", None)
if importlib.util.find_spec("ipykernel") is None:
    sys.exit("ipykernel is not installed for %s (python -m pip install ipykernel)" % sys.executable)
# jupyter_client 8.10: its __init__ imports clients and managers that no kernel uses (40 ms), and
# ipykernel.connect wants one name of it.
make_lazy("jupyter_client")
# If any of these fails, its traceback is what the runner reports.
import jupyter_client.connect

jupyter_client.write_connection_file = jupyter_client.connect.write_connection_file
import traitlets.config
import zmq
from ipykernel import compiler
from ipykernel.iostream import OutStream
from ipykernel.ipkernel import IPythonKernel
from ipykernel.kernelapp import IPKernelApp
from jupyter_client.jsonutil import json_clean, json_default


class Bytes(io.BufferedIOBase):
    """The `buffer` of a Stream: what takes bytes, in their place among the text. OutStream has none."""

    mode = "wb"

    def __init__(self, stream):
        self.raw, self._stream = self, stream
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    @property
    def name(self):
        return self._stream.name

    def writable(self):
        return True

    def write(self, data):
        self._stream.write(self._decoder.decode(data))
        return memoryview(data).nbytes

    def flush(self):
        self._stream.flush()

    def fileno(self):
        return self._stream.fileno()

    def isatty(self):
        return self._stream.isatty()

    def close(self):
        pass  # it ends with the kernel


class Stream(OutStream):
    """sys.stdout or sys.stderr, and the pipe in place of fd 1 or 2 for C code and children.

    ipykernel's thread reads the pipe when it gets to it: what a child wrote may come after the
    reply (1 in 7 with 13 kB). It decodes 1000 bytes at a time, which spoils characters that lie
    across two, and copies all to the original fd, where a slow reader would stop it. Here the
    thread and drain() take turns under `_pipe_lock`, and nothing is copied.
    """

    flush_interval = 0.01  # seconds; ipykernel's 0.2 is a lag people see

    def __init__(self, *args, **kwargs):
        self._pipe_lock = threading.RLock()  # a signal handler prints, too
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._pipe_ino, self._sending, self._unsent = None, False, 0
        self._next_look, self._descriptor = 0.0, -1
        self.buffer = Bytes(self)
        super().__init__(*args, **kwargs)

    line_buffering, write_through, newlines, errors = False, False, None, "replace"

    def reconfigure(self, *, encoding=None, errors=None, newline=None, **buffering):
        """As TextIOWrapper's. The text is sent as it is, so only what no wrapper would take counts."""
        codecs.lookup(encoding or "utf-8"), codecs.lookup_error(errors or "strict")
        if newline not in (None, "", "\n", "\r", "\r\n"):
            raise ValueError("illegal newline value: %r" % newline)
        if unknown := set(buffering) - {"line_buffering", "write_through"}:
            raise TypeError("reconfigure() got an unexpected keyword argument %r" % unknown.pop())

    def _watch_pipe_fd(self):
        fd = self._fid
        os.set_blocking(fd, False)
        try:
            fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, 1 << 20)  # 64 KiB: a flood waits often
        except (OSError, AttributeError):
            pass  # the user's share of pipe memory is used up; Python before 3.10
        poller = select.poll()
        poller.register(fd, select.POLLIN)
        unsent, credit, then = 0, BURST, time.monotonic()
        while self._should_watch:
            poller.poll(5000)  # ms: that the fd was closed wakes nobody
            with self._pipe_lock:
                self._check_pipe()
                size = self._read_pipe(CHUNK)
            if size == 0:
                return
            unsent += size or 0
            if unsent >= 1 << 20:
                # `yes` writes 5 GB/s. Unpaced, this thread keeps the main one from the lock, and
                # what no client can read as fast piles up in ZeroMQ: 16 GB in two minutes.
                super().flush()
                now = time.monotonic()
                credit = min(BURST, credit + (now - then) * RATE) - unsent
                then, unsent = now, 0
                if credit < 0:
                    time.sleep(-credit / RATE)

    def _read_pipe(self, size):
        """Returns how many bytes it moved to the buffer, None if there are none, 0 at the end."""
        try:
            data = os.read(self._fid, size)
        except BlockingIOError:
            return None
        self.write(self._decoder.decode(data), look=False)
        return len(data)

    def _check_pipe(self):
        """Ends the kernel where user code closed descriptors that are not its own.

        ZeroMQ's are gone as well then: a dead kernel is replaced, one half alive is waited for.
        """
        try:
            ino = os.fstat(self._fid).st_ino
        except OSError:
            ino = -1
        if self._pipe_ino not in (None, ino):
            os._exit(1)
        self._pipe_ino = ino

    def write(self, string, look=True, clock=time.perf_counter):
        # A child's lines stay before what is printed after its end. No child lives as short as
        # SHORT, and a loop of prints need not look every time.
        if look and clock() > self._next_look:
            self.drain()
            self._next_look = clock() + SHORT
        # Code prints faster than anybody reads: what waits would take all of the sandbox's memory.
        size = super().write(string)
        if self._is_master_process():
            self._unsent += len(string)
            if self._unsent >= GATHERED:
                self.flush()
        return size

    def drain(self):
        """Moves what is in the pipe at this moment to the buffer, not what is added meanwhile."""
        if self._fid is None or not self._is_master_process():
            return
        waiting = array.array("i", [0])
        with self._pipe_lock:
            self._check_pipe()
            fcntl.ioctl(self._fid, termios.FIONREAD, waiting)
            rest = waiting[0]
            while rest > 0:
                rest -= self._read_pipe(min(rest, CHUNK)) or rest

    def fileno(self):
        # ipykernel's is the fd from before the capture: what subprocess.run(..., stdout=sys.stdout)
        # prints would not be seen. Not fd 1 itself: who redirects that (wurlitzer) wants another one
        # to write to meanwhile.
        super().fileno()
        try:
            if os.fstat(self._descriptor).st_ino == os.fstat(self._fid).st_ino:
                return self._descriptor
        except OSError:
            pass  # user code closed it
        return self._original_stdstream_fd

    def _setup_stream_redirects(self, name):
        super()._setup_stream_redirects(name)
        self._descriptor = os.dup(self._original_stdstream_fd)
        setattr(sys, "__%s__" % name, Raw(self, getattr(sys, "__%s__" % name)))

    def flush(self):
        # ipykernel hands over two events to the IOPub thread and waits. With nothing to send, nor
        # on its way to that thread's queue (which carries `idle` too), 0.1 ms for nothing.
        if self._buffers or self._sending or not self._is_master_process():
            super().flush()

    def _flush(self):
        self._unsent = 0
        self._sending = True  # before the buffers are taken: flush() looks at those first
        try:
            super()._flush()
        finally:
            self._sending = False


class Raw(io.TextIOBase):
    """sys.__stdout__ or sys.__stderr__: in order with what is printed, while fd 1 or 2 is our pipe."""

    mode = "w"

    def __init__(self, stream, file):
        self._stream, self._file, self.buffer = stream, file, Bytes(self)

    def __getattr__(self, name):
        return getattr(self._file, name)  # encoding, errors, reconfigure(), …

    name = property(lambda self: self._file.name)
    encoding = property(lambda self: self._file.encoding)
    errors = property(lambda self: self._file.errors)

    def write(self, string):
        stream = self._stream
        try:
            ours = os.fstat(stream._original_stdstream_fd).st_ino == os.fstat(stream._fid).st_ino
        except OSError:
            ours = False
        if ours and stream._is_master_process():
            return stream.write(string)
        self._file.write(string)  # user code redirected the descriptor; a forked child
        self._file.flush()
        return len(string)

    def writable(self):
        return True

    def flush(self):
        self._stream.flush()

    def fileno(self):
        return self._file.fileno()

    def isatty(self):
        return self._file.isatty()

    def close(self):
        pass  # fd 1 and 2 are needed by children


def pack(message):
    """A message as JSON that is UTF-8 whatever it holds. jupyter_client 8.10 sends a byte that is
    not UTF-8 for what os.fsdecode() made of one, and fails for other lone surrogates: the line, or the
    error's reply, is lost."""
    options = {"default": json_default, "ensure_ascii": False, "allow_nan": False}
    try:
        text = json.dumps(message, **options)
    except (TypeError, ValueError):  # NaN, keys that are not strings
        text = json.dumps(json_clean(message), **options)
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


class LazyDebugger:
    """ipykernel.debugger.Debugger from the first debug request on (debugpy: 90 ms to import)."""

    def __init__(self, *args):
        self._args, self._real, self._wake = args, None, None

    def __getattr__(self, name):
        if self._real is None:
            import ipykernel.debugger

            ipykernel.debugger.DebugpyClient  # a name it does not have yet: see LazyModule
            self._real = ipykernel.debugger.Debugger(*self._args)
            if self._wake is not None:
                self._wake.set()
        return getattr(self._real, name)

    async def handle_stopped_event(self):  # awaited from the start, on the thread of the requests
        if self._real is None:
            self._wake = asyncio.Event()
            await self._wake.wait()
        await self._real.handle_stopped_event()


class Guarded:
    """What user code put into sys.stdout's place, whose flush() fails, as ipykernel can live with it."""

    def __init__(self, file):
        self._file = file

    def __getattr__(self, name):
        return getattr(self._file, name)

    def flush(self):
        with contextlib.suppress(Exception):
            self._file.flush()


def guard_streams():
    """ipykernel flushes sys.stdout and sys.stderr before a reply and before `idle`. Where user code left
    a closed file or something without flush() there, neither would ever come."""
    for name in ("stdout", "stderr"):
        file = getattr(sys, name, None)
        if isinstance(file, (Stream, Guarded)):
            continue
        try:
            file.flush()
        except Exception:
            setattr(sys, name, Guarded(file))


class Kernel(IPythonKernel):
    """Every execute_request gets its reply, after all that the cell and its children wrote."""

    _stopped = (KeyboardInterrupt, asyncio.CancelledError)
    control_msg_types = [*IPythonKernel.control_msg_types, "withdraw_request"]
    _withdrawn = set()  # the control thread adds, the main one looks and takes out

    async def withdraw_request(self, stream, ident, parent):
        """The runner's: an execute_request that waits in the shell's queue is not to be run."""
        self._withdrawn.add(str(parent["content"].get("msg_id")))

    def should_handle(self, stream, msg, idents):
        if msg["header"]["msg_id"] not in self._withdrawn:
            return super().should_handle(stream, msg, idents)
        self._withdrawn.discard(msg["header"]["msg_id"])
        self._send_abort_reply(stream, msg, idents)
        return False

    def set_parent(self, ident, parent, channel="shell"):
        super().set_parent(ident, parent, channel)
        if channel == "shell":
            # ipykernel tells whatever stands in sys.stdout's place, if that can be told: with a
            # StringIO, a Tee or a log file there, our streams would speak for an old cell for ever.
            for stream in self.parent.streams:
                stream.set_parent(parent)

    def pre_handler_hook(self):
        # ipykernel's lets an interrupt raise from here on, also just before execute_request() is
        # entered, where it would cost the reply and `idle`. That one lets it in when it is ready.
        request = self.get_parent("shell") or {}
        if request.get("header", {}).get("msg_type") == "execute_request":
            self.saved_sigint_handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
        else:
            super().pre_handler_hook()

    def post_handler_hook(self):
        super().post_handler_hook()
        guard_streams()

    @contextlib.contextmanager
    def _cancel_on_sigint(self, future):
        """While a cell awaits, SIGINT cancels it. ipykernel's handler schedules that on the loop from
        the loop's own thread, which wakes nobody: a cell that only waits would wait on."""
        loop = asyncio.get_running_loop()
        with super()._cancel_on_sigint(future):
            cancel = signal.getsignal(signal.SIGINT)

            def handle(*args):
                cancel(*args)
                loop.call_soon_threadsafe(int)  # for its wake-up

            signal.signal(signal.SIGINT, handle)
            yield

    async def execute_request(self, stream, ident, parent):
        try:
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGINT, signal.default_int_handler)
            await super().execute_request(stream, ident, parent)
        except self._stopped:  # before do_execute(): ipykernel logs it and never replies
            reply = self._interrupted()
            self.session.send(stream, "execute_reply", reply, parent, ident=ident)

    async def do_execute(self, *args, cell_meta=None, cell_id=None, **kwargs):
        try:
            reply = await super().do_execute(*args, cell_meta=cell_meta, cell_id=cell_id, **kwargs)
        except self._stopped:  # as it was about to return
            reply = self._interrupted()
        except MemoryError:  # IPython could not say so
            self.parent.reserve.give()
            reply = dict(self._interrupted(), ename="MemoryError")
        if threading.current_thread() is threading.main_thread():
            # An interrupt from here on would cost the reply. post_handler_hook() sets it anew.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        for file in (sys.__stdout__, sys.__stderr__):
            try:
                file.flush()
            except Exception:
                pass  # user code closed it
        if libc is not None:
            libc.fflush(libc_stdout)
        for stream in self.parent.streams:
            stream.drain()
            stream.flush()
        self.parent.reserve.take()
        guard_streams()
        return reply

    def _interrupted(self):
        error = {"status": "error", "ename": "KeyboardInterrupt", "evalue": "", "traceback": []}
        return dict(error, execution_count=self.execution_count, user_expressions={}, payload=[])


class App(IPKernelApp):
    blocking_class = None  # ConnectionFileMixin's default imports all of jupyter_client
    streams = ()

    def _bind_socket(self, s, port):
        if s.socket_type in (zmq.PUB, zmq.XPUB):
            # Above its limit ZeroMQ drops messages, `idle` too, unless told to wait for the reader.
            s.sndhwm = IOPUB_QUEUE
            s.setsockopt(zmq.XPUB_NODROP, 1)
        return super()._bind_socket(s, port)

    def init_io(self):
        self.session.pack = pack
        super().init_io()
        self.streams = [s for s in (sys.stdout, sys.stderr) if isinstance(s, Stream)]

    def initialize(self, argv=None):
        super().initialize(argv)
        if self.iopub_thread.socket.sndhwm != IOPUB_QUEUE:
            warn("IOPub drops messages above a limit: output may be lost")
        if len(self.streams) != 2:
            warn("output of children may come after the reply")


class Reserve:
    """Address space that is given back for the answer when user code has used up its own: a traceback
    is made, sent and replied with memory too, and without a reply the cell would seem to run on."""

    size = 1 << 25

    def __init__(self):
        self._space = None
        self.take()

    def take(self):
        if self._space is None:
            try:
                self._space = mmap.mmap(-1, self.size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            except (OSError, MemoryError):
                pass  # what was used up is still held: the next cell may free it

    def give(self):
        if self._space is not None:
            self._space.close()
            self._space = None

    def show(self, shell, etype, value, tb, tb_offset=None):
        """IPython's custom exception handler for MemoryError."""
        self.give()
        lines = shell.InteractiveTB.structured_traceback(etype, value, tb, tb_offset=tb_offset)
        shell._showtraceback(etype, value, lines)
        traceback.clear_frames(tb)  # what functions held that failed; IPython keeps the traceback
        return lines


class Forgotten(dict):
    """IPython's record of outputs, which takes entries and keeps none."""

    def __missing__(self, execution_count):
        return []


def keep_no_outputs(shell):
    """IPython 9 keeps all that is ever printed and shown, for %notebook: memory of a kernel that
    serves for days, and time at each print."""
    if hasattr(shell, "_tee"):
        type(shell)._tee = lambda self, channel: contextlib.nullcontext()
    if hasattr(shell.history_manager, "outputs"):
        shell.history_manager.outputs = Forgotten()


def main():
    config = {
        # 1 is "the parent is init": no thread that polls it, no advice about Ctrl-C on stdout.
        "IPKernelApp": {"parent_handle": 1, "outstream_class": __name__ + ".Stream"},
        # ipykernel sleeps 0.5 ms before a reply for clients that do not wait for `idle`.
        "Kernel": {"_execute_sleep": 0.0},
        "HistoryManager": {"hist_file": ":memory:"},  # no database; In, Out, %history work
    }
    if importlib.util.find_spec("debugpy"):
        make_lazy("ipykernel.debugger", _is_debugpy_available=True, Debugger=LazyDebugger)
    if sys.path and sys.path[0] == os.path.dirname(os.path.abspath(__file__)):
        del sys.path[0]  # this file's folder is no place for user code to import from
    if private_dir:
        # A cell's code gets a file name below gettempdir(), which fails when it can write nowhere.
        # The kernel's names go to its own directory; user code has TMPDIR or /tmp, unprobed:
        # large temporary files must not fill what the kernel needs.
        if not hasattr(compiler, "get_tmp_directory"):
            warn("cells may fail when /tmp is full")
        names = "%s/ipykernel_%d" % (private_dir, os.getpid())
        compiler.get_tmp_directory = lambda: names
        public_dir = os.environ.get("TMPDIR") or "/tmp"
        tempfile.tempdir = public_dir if os.path.isdir(public_dir) else private_dir
    app = App.instance(config=traitlets.config.Config(config), kernel_class=Kernel)
    app.initialize(sys.argv[1:])
    keep_no_outputs(app.shell)
    app.reserve = Reserve()
    app.shell.set_custom_exc((MemoryError,), app.reserve.show)
    gc.enable()
    gc.freeze()  # what is here stays: collections need not look at it, forked children not copy it
    app.start()


if __name__ == "__main__":
    main()
