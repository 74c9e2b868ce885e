"""Calls in processes of their own, forked in milliseconds from one that has imported what they need.

A nursery is a process beside the one that wants calls carried out. For each call it forks a guard, which forks the
child that does the work, waits for it and says how it ended. What a child has taken of memory goes back with it; one
that is killed takes nothing else along. Children end as soon as the process that wanted them is gone, however that
went, because the line to it breaks.
"""

import contextlib
import importlib
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, NoReturn

from widemargin.errors import RunError

__all__ = ["ChildDiedError", "Nursery", "TracebackError", "child_traceback", "serve"]

START = "import sys; sys.path[:] = sys.argv[2:]; from widemargin.zoo.nursery import serve; serve(int(sys.argv[1]))"
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
PRELOADED = ("widemargin.zoo.run", "torch._dynamo", "sklearn.datasets.data", "sklearn.model_selection", "scipy.stats")
"""What every run needs, some of it imported late: by optimizers, the digits, margins."""

INTERRUPTION = {signal.SIGINT}
OUT_OF_MEMORY_SCORE = "500"
"""Where memory runs out, the kernel takes children before the process that wants them."""


class ChildDiedError(Exception):
    """A child ended without an answer."""


def child_traceback(error: BaseException) -> str:
    """Return where in the child an error was raised; for a death, its words."""
    return str(error.__cause__ or error)


class TracebackError(Exception):
    """Carries the text of a traceback from another process."""


class Nursery:
    """Where children come from; for use by many threads at once, each waiting for its own child.

    Args:
        threads: Threads of torch and of other libraries in each child.
    """

    def __init__(self, threads: int = 1) -> None:
        self._threads = threads
        self._lock = threading.Lock()
        self._lines: set[socket.socket] = set()
        self._control: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Nursery":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all children and the nursery."""
        self.end_children()
        with self._lock:
            self._end()

    def end_children(self) -> None:
        """End all children; whoever waits for one hears that it died."""
        with self._lock:
            for line in self._lines:
                with contextlib.suppress(OSError):  # it broke already
                    line.shutdown(socket.SHUT_RDWR)

    def call(self, function: Callable[..., Any], *arguments: Any, on_told: Callable[[Any], None]) -> Any:
        """Return what a function returns that is called in a new process.

        Args:
            function: Called with the arguments and, last, a function that tells this process something.
            *arguments: What can be pickled.
            on_told: Called here with whatever the function tells.

        Raises:
            ChildDiedError: The child was killed, or left without an answer.
            RunError: No process can be started.
            Exception: What the function raised; see :func:`child_traceback`.
        """
        ours, theirs = socket.socketpair()
        with ours, theirs:
            with self._lock:
                self._fork(theirs)
                self._lines.add(ours)
            theirs.close()
            try:
                with Connection(os.dup(ours.fileno())) as line:
                    request = (function, arguments, self._threads, self._environment())
                    return _answer(line, pickle.dumps(request), on_told)
            finally:
                with self._lock:
                    self._lines.discard(ours)

    def _environment(self) -> dict[str, str]:
        """Return this process's variables as they are now, but for those that number threads."""
        return os.environ | dict.fromkeys(THREAD_VARIABLES, str(self._threads))

    def _fork(self, line: socket.socket) -> None:
        while True:
            control = self._control or self._start()
            try:
                socket.send_fds(control, [b"1"], [line.fileno()])
                return
            except OSError:  # it was killed, and is replaced
                self._end()

    def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-c", START, str(theirs.fileno()), *sys.path]
        before = signal.pthread_sigmask(signal.SIG_BLOCK, INTERRUPTION)  # until the nursery has learned to ignore it
        try:
            self._process = subprocess.Popen(command, env=self._environment(), pass_fds=[theirs.fileno()])
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            theirs.close()
        self._control = ours
        if not ours.recv(1):
            self._end()
            raise RunError("the process that runs are trained beside ended as it started. See what it wrote above.")
        return ours

    def _end(self) -> None:
        if self._control is not None and self._process is not None:
            self._control.close()
            self._process.kill()  # its children are not: they end with their lines
            self._process.wait()
        self._control = self._process = None


def _answer(line: Connection, request: bytes, on_told: Callable[[Any], None]) -> Any:
    try:
        line.send_bytes(request)
        while True:
            kind, *content = line.recv()
            if kind == "told":
                on_told(*content)
            elif kind == "returned":
                return content[0]
            elif kind == "raised":
                raise content[0] from TracebackError(content[1])
            else:
                raise ChildDiedError(_how_it_ended(content[0]))
    except (EOFError, ConnectionError):
        raise ChildDiedError("its process and all that watched over it were killed") from None


def _how_it_ended(code: int) -> str:
    if code == -signal.SIGKILL:
        return "its process was killed (SIGKILL), most likely for want of memory: use fewer with --jobs"
    return f"its process was killed ({signal.Signals(-code).name})" if code < 0 else f"its process left with {code}"


def serve(descriptor: int) -> None:
    """Fork a guard and its child for every line that comes in; the nursery's own process does this."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that wants the calls
    signal.pthread_sigmask(signal.SIG_UNBLOCK, INTERRUPTION)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # guards are not waited for
    for name in PRELOADED:
        importlib.import_module(name)
    with socket.socket(fileno=descriptor) as control:
        with contextlib.suppress(OSError):  # whoever started it is gone already; so does the loop find
            control.sendall(b"1")
        while True:
            _, descriptors, _, _ = socket.recv_fds(control, 1, 1)
            if not descriptors:
                return
            if os.fork() == 0:
                control.close()
                _guard(Connection(descriptors[0]))
            os.close(descriptors[0])


def _guard(line: Connection) -> NoReturn:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if (child := os.fork()) == 0:
        _work(line)
    _, status = os.waitpid(child, 0)
    with contextlib.suppress(OSError):  # whoever wanted to know is gone
        line.send(("ended", os.waitstatus_to_exitcode(status)))
    os._exit(0)


def _work(line: Connection) -> NoReturn:
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:  # where there is one
        file.write(OUT_OF_MEMORY_SCORE)
    try:
        function, arguments, threads, environment = pickle.loads(line.recv_bytes())
        os.environ.clear()
        os.environ.update(environment)
        threading.Thread(target=_end_with, args=(line,), daemon=True).start()
        import torch

        torch.set_num_threads(threads)
        line.send(("returned", function(*arguments, lambda *told: line.send(("told", *told)))))
    except BaseException as error:
        text = traceback.format_exc()
        with contextlib.suppress(OSError):
            line.send(("raised", _that_travels(error), text))
    os._exit(0)


def _end_with(line: Connection) -> None:
    """Leave at once when the line breaks; nothing else is to be read from it."""
    os.read(line.fileno(), 1)
    os._exit(1)


def _that_travels(error: BaseException) -> BaseException:
    """Return the error, or its words where it cannot be pickled."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # whatever its class does not allow
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
