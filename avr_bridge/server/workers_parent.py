"""The process above several workers: it starts them, passes signals on, and replaces who dies or
hangs.

It carries no call and runs no event loop of Trio's: it must outlive whatever happens to them. As
process 1 of a container it buries other orphans too. What a worker does is `workers.py`'s.
"""

from __future__ import annotations

import contextlib
import math
import os
import selectors
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

from avr_bridge.server.console.announce import announce_console
from avr_bridge.server.workers_board import Board, Standing
from avr_bridge.server.workers_orders import DRAIN, HURRY
from avr_bridge.server.workers_place import WorkerPlace, restart_pause_s, status_words
from avr_bridge.server.workers_watch import RUNNING, STARTING, Patience, Watch
from avr_bridge.telemetry import get_logger

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from avr_bridge.config import BridgeConfig

__all__ = ["WorkersParent", "usable_cores"]

BACKLOG = 1024  # as of one process alone: `serve.py`
ENDING = (signal.SIGTERM, signal.SIGINT)

LASTED_S = 30.0
"""A worker that ran so long did not die of its start: the next pause is the first again."""

KILL_AFTER_S = 5.0
"""Beyond AVR_DRAIN_S, or a second signal. One that does not hang has cut all after 1.5 s."""

CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")
"""In a container its limit of processor time: microseconds and their period, or ``max``."""


def usable_cores(quota: Path = CPU_QUOTA) -> int:
    """Cores that this process may use: those it is bound to, or fewer by a container's limit."""
    cores = os.process_cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):
        allowed_us, period_us = quota.read_text().split()
        cores = min(cores, math.ceil(int(allowed_us) / int(period_us)))
    return max(cores, 1)


class WorkersParent:
    """One run of several workers on one port.

    Args:
        config: All settings; of its own it uses only those of the server.
        workers: How many.
        command: Starts a worker; what `Worker.from_words` takes is put behind it.
        starting: How long a worker may take until it is ready.
    """

    def __init__(
        self,
        config: BridgeConfig,
        workers: int,
        command: Sequence[str],
        *,
        starting: Patience = STARTING,
    ) -> None:
        self._starting = starting
        self._config = config
        self._command = command
        self._children = [WorkerPlace(number) for number in range(1, workers + 1)]
        self._log = get_logger()
        self._board: Board
        self._listening: list[socket.socket] = []
        self._open = False
        self._signals = 0
        self._kill_at_s = math.inf
        self._watch = Watch(time.monotonic())
        self._exit_code = 0

    def run(self) -> int:
        """Serve until a signal, and until all workers have ended then. Only in the main thread.

        Returns:
            The exit code: 0, or 1 where a worker could not start, or had to be killed.

        Raises:
            OSError: A port cannot be had, or no shared memory.
        """
        self._board = Board.create(len(self._children))
        with (
            contextlib.closing(self._board),
            contextlib.ExitStack() as bound,
            selectors.DefaultSelector() as self._selector,
            _woken_by_signals() as woken,
        ):
            for port in self._ports():
                sock = _bound_socket(self._config.server.host, port)
                self._listening.append(bound.enter_context(sock))
            self._woken = woken
            self._selector.register(woken, selectors.EVENT_READ)
            while True:
                self._bury()
                if self._signals and not any(child.process for child in self._children):
                    return self._exit_code
                self._start_those_due()
                self._look_for_hung()
                self._kill_in_time()
                for key, _ in self._selector.select(self._pause_s()):
                    if key.data is None:
                        self._take_signals()
                    else:
                        self._hear(key.data)

    def _ports(self) -> list[int]:
        """Of HTTP, and of AudioSocket if that is on."""
        server = self._config.server
        return [
            server.port,
            *([] if server.audiosocket_port is None else [server.audiosocket_port]),
        ]

    def _pause_s(self) -> float | None:
        """Until something is to be done unasked; None: nothing is."""
        due_s = [child.due_s for child in self._children if not (child.process or self._signals)]
        look_s = math.inf if self._signals else self._watch.due_s
        next_s = min([*due_s, look_s, self._kill_at_s])
        return None if next_s == math.inf else max(next_s - time.monotonic(), 0.0)

    # The workers' lives.

    def _start_those_due(self) -> None:
        for child in self._children:
            if child.process or self._signals or child.due_s > time.monotonic():
                continue
            try:
                self._start(child)
            except OSError as error:
                self._log.error("a worker cannot be started", worker=child.number, error=str(error))
                self._note_death(child)

    def _start(self, child: WorkerPlace) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            listening, *audiosocket = [sock.fileno() for sock in self._listening]
            descriptors = (self._board.fd, listening, theirs.fileno(), *audiosocket)
            place = f"{child.number}/{len(self._children)}"
            words = ":".join([place, *map(str, descriptors)])
            try:
                child.process = subprocess.Popen(
                    [*self._command, words], stdin=subprocess.DEVNULL, pass_fds=descriptors
                )
            except OSError:
                ours.close()
                raise
        ours.setblocking(False)
        child.channel, child.ready, child.started_s = ours, False, time.monotonic()
        child.hangs = child.killed = False
        self._selector.register(ours, selectors.EVENT_READ, child)

    def _hear(self, child: WorkerPlace) -> None:
        """A worker is ready, or has closed its end and will be dead in a moment."""
        if child.channel is None:
            return
        try:
            said = child.channel.recv(64)
        except OSError:
            said = b""
        if not said:
            self._hang_up(child)
            return
        child.ready, child.hangs = True, False
        if self._open:
            child.begin()
            self._log.info("a worker was replaced", worker=child.number)
        elif all(one.ready for one in self._children) and not self._signals:
            self._open_port()

    def _open_port(self) -> None:
        self._open = True
        for sock in self._listening:
            sock.listen(BACKLOG)
        for child in self._children:
            child.begin()
        addresses = [
            f"{scheme}://{_address(sock)}"
            for scheme, sock in zip(("http", "audiosocket"), self._listening, strict=False)
        ]
        self._log.info(
            "listening",
            addresses=addresses,
            model=self._config.model.model,
            workers=len(self._children),
        )
        announce_console(self._config.server, addresses[:1])

    def _look_for_hung(self) -> None:
        """Tell of a worker whose event loop stands still, or that does not become ready, and kill
        it in the end; in the bridge's own drain `_kill_in_time` does."""
        now_s = time.monotonic()
        if self._signals or not self._watch.look(now_s):
            return
        for child in self._children:
            waits_for_others = child.ready and not self._open
            if not child.process or child.killed or waits_for_others:
                continue
            standing = self._board.standing(child.number)
            since_s = child.begun_s if child.ready else child.started_s
            patience = RUNNING if child.ready else self._starting
            silent_s = self._watch.silent_s(standing.beat_s, since_s, now_s)
            told = {"worker": child.number, "silent_s": round(silent_s, 1), "calls": standing.calls}
            if silent_s >= patience.killed_s:
                child.killed = True
                self._log.error("a worker hangs and is killed", **told)
                child.kill(signal.SIGKILL)
            elif silent_s >= patience.told_s and not child.hangs:
                child.hangs = True
                ready = "a worker does not answer" if child.ready else "a worker is not ready"
                self._log.warning(ready, **told)
            elif child.ready and child.hangs and now_s - standing.beat_s < patience.told_s:
                child.hangs = False
                self._log.info("a worker answers again", worker=child.number)

    def _bury(self) -> None:
        """Take the exit status of whoever has died; as process 1 those of strangers too."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            for child in self._children:
                if child.process and child.process.pid == pid:
                    child.process.returncode = os.waitstatus_to_exitcode(status)
                    self._note_end(child, child.process.returncode)

    def _note_end(self, child: WorkerPlace, code: int) -> None:
        child.process = None
        self._hang_up(child)
        calls = self._board.standing(child.number).calls
        self._board.write(child.number, Standing())
        if self._signals:
            if code:
                self._log.error(
                    "a worker died", worker=child.number, status=status_words(code), calls=calls
                )
            return
        log = self._log.error if code else self._log.warning
        log("a worker died", worker=child.number, status=status_words(code), calls=calls)
        self._note_death(child)

    def _note_death(self, child: WorkerPlace) -> None:
        """Have it replaced in a while; or end if the bridge cannot even start."""
        if not self._open:
            self._exit_code = self._exit_code or 1
            self._end(reason="a worker could not start")
            return
        self._board.count_death()
        now_s = time.monotonic()
        lasted = child.ready and now_s - child.started_s >= LASTED_S
        child.deaths = 1 if lasted else child.deaths + 1
        child.due_s = now_s + restart_pause_s(child.deaths)

    def _hang_up(self, child: WorkerPlace) -> None:
        if child.channel is not None:
            self._selector.unregister(child.channel)
            child.channel.close()
            child.channel = None

    # The end.

    def _take_signals(self) -> None:
        try:
            numbers = self._woken.recv(64)
        except BlockingIOError:
            return
        for number in numbers:
            if number in ENDING:
                self._end(signal=signal.Signals(number).name)

    def _end(self, **why: str) -> None:
        """The first time begin the drain, the second time hurry."""
        self._signals += 1
        limit_s = self._config.server.drain_s if self._signals == 1 else 0.0
        self._kill_at_s = min(self._kill_at_s, time.monotonic() + limit_s + KILL_AFTER_S)
        if self._signals <= 2:
            self._log.info("ending", **why)
        for child in self._children:
            child.tell(DRAIN if self._signals == 1 else HURRY)
            if not child.ready:
                child.kill(signal.SIGTERM)  # it does not listen yet: this ends it at once

    def _kill_in_time(self) -> None:
        if time.monotonic() < self._kill_at_s:
            return
        self._kill_at_s = math.inf
        for child in self._children:
            if child.process:
                self._exit_code = 1
                self._log.error("a worker hangs and is killed", worker=child.number)
                child.kill(signal.SIGKILL)


def _address(sock: socket.socket) -> str:
    host, port = sock.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _bound_socket(host: str, port: int) -> socket.socket:
    """Bound, and not listening yet: until the workers are there a caller is refused.

    Raises:
        OSError: The port cannot be had; its ``filename`` says where.
    """
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        raise OSError(error.errno, error.strerror, f"{host}:{port}") from error
    except BaseException:
        sock.close()
        raise
    return sock


@contextlib.contextmanager
def _woken_by_signals() -> Iterator[socket.socket]:
    """A socket on which the number of each signal arrives: the end's, and a child's death."""
    ours, kernels = socket.socketpair()
    with ours, kernels:
        ours.setblocking(False)
        kernels.setblocking(False)
        wakeup_before = signal.set_wakeup_fd(kernels.fileno(), warn_on_full_buffer=False)
        numbers = (*ENDING, signal.SIGCHLD)
        before = {number: signal.signal(number, lambda *_: None) for number in numbers}
        try:
            yield ours
        finally:
            signal.set_wakeup_fd(wakeup_before)
            for number, handler in before.items():
                signal.signal(number, handler)
