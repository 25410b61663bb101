"""The command that runs with a child's identity: started paused, waited for, signalled.

It is forked before the broker's threads begin, and waits until its identity is served: only then
does it become the program that was asked for. It gets the terminal, standard input, output and
error, and no other open file. Signals that are sent to us go on to it; those of the terminal
reach it anyway, as it is in the same process group.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import pwd
import signal
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NoReturn

from attrs import define, frozen

from hoopgw.client.errors import BAD_REQUEST, Refused

NOT_FOUND: Final = 127
NOT_EXECUTABLE: Final = 126
"""Exit statuses, as shells have them."""
SIGNALLED: Final = 128
PASSED_ON: Final = (
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGTERM,
    signal.SIGUSR1,
    signal.SIGUSR2,
)
_WAITED: Final = (*PASSED_ON, signal.SIGCHLD)
_BY_KERNEL: Final = 0x80  # SI_KERNEL: the terminal has sent it, to the whole process group
_PR_SET_DUMPABLE: Final = 4  # prctl(2)
_PR_SET_NO_NEW_PRIVS: Final = 38
_DEFAULTS: Final = (*_WAITED, signal.SIGPIPE, signal.SIGXFSZ, signal.SIGTSTP)


@frozen
class Account:
    """Another user of this machine."""

    name: str
    uid: int
    gid: int
    home: str

    @classmethod
    def find(cls, name: str) -> Account:
        """Look one up. Raises `Refused` if there is none, or we may not become it."""
        if os.geteuid() != 0:
            raise Refused(BAD_REQUEST, "--user needs root: only root can become another user")
        try:
            found = pwd.getpwnam(name)
        except KeyError as error:
            raise Refused(BAD_REQUEST, f"there is no user {name[:64]!r} here") from error
        if found.pw_uid == 0:
            raise Refused(BAD_REQUEST, "root would be isolated from nothing")
        return cls(found.pw_name, found.pw_uid, found.pw_gid, found.pw_dir)


@define(eq=False)
class Paused:
    """A command that waits to be let go."""

    pid: int
    _go: int
    """Our end of its pipe; -1 when it is closed."""

    def release(self, environment: Mapping[str, str]) -> None:
        """Let it become its program, with this environment."""
        text = b"".join(
            os.fsencode(f"{name}={value}") + b"\0" for name, value in environment.items()
        )
        with os.fdopen(self._go, "wb") as pipe:
            self._go = -1
            pipe.write(len(text).to_bytes(8, "big") + text)

    def give_up(self) -> None:
        """End it before it has begun."""
        if self._go >= 0:
            os.close(self._go)
            self._go = -1
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self.pid, 0)


def hide_memory() -> None:
    """Keep processes of the same user from reading this one's memory, unless they are root's.

    As ssh-agent does: no ptrace, no ``/proc/PID/mem``, ``environ`` or ``fd``, no core (prctl(2)).
    """
    _prctl(_PR_SET_DUMPABLE, 0)


def block_signals() -> None:
    """Keep signals for `wait`. Before any thread begins, as each inherits this."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _WAITED)


def shares_terminal() -> bool:
    """Whether a command would get a terminal from us, which it could type into and read from."""
    return any(os.isatty(number) for number in (0, 1, 2))


def start_paused(command: Sequence[str], account: Account | None, *, apart: bool = False) -> Paused:
    """Fork a command that waits for `Paused.release`; call `block_signals` before.

    Args:
        command: the program, found by the PATH that it will have, and its arguments.
        account: the user to become, for good: what is set-uid does not help it either.
        apart: in a session of its own, from which it cannot open our terminal.

    """
    waits, goes = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        try:
            os.close(goes)
            _become(waits, command, account, apart=apart)
        finally:
            os._exit(NOT_EXECUTABLE)  # never back into the parent's code
    os.close(waits)
    return Paused(pid, goes)


def wait(pid: int, *, apart: bool = False) -> int:
    """Pass signals on until a command ends; return what a shell would give as its status.

    Args:
        pid: of the command.
        apart: whether the terminal's own signals do not reach it by themselves.

    """
    while True:
        found = signal.sigwaitinfo(_WAITED)
        if found.si_signo == signal.SIGCHLD:
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended == pid:
                code = os.waitstatus_to_exitcode(status)
                return code if code >= 0 else SIGNALLED - code
        elif apart or found.si_code != _BY_KERNEL:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, found.si_signo)


def is_closed_to(path: Path, uid: int) -> bool:
    """Whether a user other than root cannot read a file, by the owner and mode of its folders.

    Args:
        path: the file.
        uid: of the user; access lists and groups are not looked at, so any group counts as theirs.

    """
    for place in (path, *path.resolve().parents):
        try:
            found = place.stat()
        except FileNotFoundError:
            continue
        needed = stat.S_IRGRP | stat.S_IROTH if place == path else stat.S_IXGRP | stat.S_IXOTH
        if found.st_uid != uid and not found.st_mode & needed:
            return True
    return False


def _become(
    waits: int, command: Sequence[str], account: Account | None, *, apart: bool
) -> NoReturn:
    """Turn this process into the command."""
    if apart:
        os.setsid()
    if account is not None:
        os.initgroups(account.name, account.gid)
        os.setresgid(account.gid, account.gid, account.gid)
        os.setresuid(account.uid, account.uid, account.uid)
        _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    environment = _environment(waits)
    if environment is None:
        os._exit(NOT_EXECUTABLE)  # whoever started it has given up
    for number in _DEFAULTS:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _WAITED)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    try:
        os.execvpe(command[0], list(command), environment)  # noqa: S606  # that is what we are for
    except OSError as error:
        text = f"hoopgw: {command[0]}: {os.strerror(error.errno or errno.ENOEXEC)}\n"
        os.write(2, text.encode(errors="replace"))
        os._exit(NOT_FOUND if error.errno == errno.ENOENT else NOT_EXECUTABLE)


def _environment(waits: int) -> dict[str, str] | None:
    with os.fdopen(waits, "rb") as pipe:
        head = pipe.read(8)
        if len(head) < 8:
            return None
        text = pipe.read(int.from_bytes(head, "big"))
    pairs = (os.fsdecode(item).partition("=") for item in text.split(b"\0") if item)
    return {name: value for name, _, value in pairs}


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
