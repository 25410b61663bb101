"""From what a client asks to operations: what policy is asked, and what an approval is bound to.

Pure: nothing here asks the server or the policy, and relative paths are told apart from absolute
ones, not looked up.

A word of a command that the text does not tell is ``*`` in ids, without quotes; all others are
quoted as shells quote, so that no two commands have one id.
"""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Iterable, Mapping
from typing import Final

from attrs import define, evolve, field, frozen

from hoopgw.errors import ProtocolViolationError
from hoopgw.events import Access, ContextValue, Operation, Resource, operation_digest
from hoopgw.shell.runners import Words
from hoopgw.shell.running import HOME, Facts
from hoopgw.spi import TargetSettings
from hoopgw.terminal import printable, printable_bytes
from hoopgw_ssh.endpoints import by_shell
from hoopgw_ssh.file_commands import FileCommand, recognise

WORDS_LEVELS: Final = 16
"""Words of a command that have a resource each; all that follow have one together."""
COMMAND_LIMIT: Final = 1_000
"""Characters of a command's id."""
PATH_LIMIT: Final = 4_096
"""Bytes of a path."""
FOLDERS_LIMIT: Final = 48
"""Folders above a file that are told apart."""
TEXT_LIMIT: Final = 4_096
"""Characters of a text that policy sees."""
WORDS_LIMIT: Final = 200
"""Words that policy sees: each question of an operation carries them, and policy does not wait."""
WORDS_SIZE: Final = 4_096
"""Characters of all these."""
UNSEEN: Final = "*"
"""In ids: a word, or more, that is not known."""
_FOLDERS: Final = frozenset(
    {"/bin", "/usr/bin", "/sbin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin"}
)
FORBIDDEN_VARIABLES: Final = frozenset(
    {"PATH", "BASH_ENV", "ENV", "SHELLOPTS", "BASHOPTS", "PS4", "PROMPT_COMMAND", "CDPATH"}
    | {"HOME", "SHELL", "USER", "LOGNAME", "EDITOR", "VISUAL", "PAGER", "LESSOPEN", "LESSCLOSE"}
    | {"PERL5LIB", "PERL5OPT", "PERLLIB", "RUBYLIB", "RUBYOPT", "NODE_OPTIONS", "NODE_PATH"}
    | {"JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS", "CLASSPATH", "LOCPATH", "NLSPATH", "TERMINFO"}
    | {"TERMCAP", "TERMPATH", "HOSTALIASES", "RES_OPTIONS", "LOCALDOMAIN", "RESOLV_HOST_CONF"}
    | {"MALLOC_TRACE", "GCONV_PATH", "GETCONF_DIR", "TMPDIR", "TZDIR", "NIS_PATH", "PSQLRC"}
    | {"MANPAGER", "BROWSER", "SUDO_ASKPASS", "SSH_ASKPASS", "SSH_AUTH_SOCK", "GLOBIGNORE"}
    | {"DBUS_SESSION_BUS_ADDRESS", "KUBECONFIG", "DOCKER_HOST", "XAUTHORITY", "DISPLAY"}
)
"""Variables that make other programs run, or another host be meant."""
_HELD_INPUT: Final = {
    "closed": "it gets no input: that ends at once",
    "open": "its input is not covered: it gets whatever is sent to it later",
    "moved": "it moves files: which bytes these hold is not covered",
}
FORBIDDEN_PREFIXES: Final = ("LD_", "DYLD_", "GIT_", "BASH_", "PYTHON", "_RLD", "SSH_", "SUDO_")


@frozen(kw_only=True)
class Terminal:
    """A terminal that was asked for."""

    name: str
    columns: int
    rows: int
    request: bytes = field(repr=False)
    """As it came: sizes and modes are a part of the digest."""


@frozen(kw_only=True)
class Setting:
    """What was set on a channel before something is started on it."""

    terminal: Terminal | None = None
    variables: tuple[tuple[str, bytes], ...] = ()
    """That the target was given."""
    extras: tuple[str, ...] = ()
    """Of ``agent_forward`` and ``x11``: what it may use."""

    @property
    def parts(self) -> list[tuple[str, bytes]]:
        """What of it is in digests."""
        parts = [] if self.terminal is None else [("terminal", self.terminal.request)]
        parts += [(f"variable {name}", value) for name, value in self.variables]
        return parts + [("extra", extra.encode()) for extra in self.extras]

    @property
    def notes(self) -> tuple[str, ...]:
        """Say it to people."""
        terminal = self.terminal
        notes = []
        if terminal is not None:
            size = f"{terminal.columns}x{terminal.rows}"
            notes.append(f"terminal: {printable(terminal.name)} {size}")
        for name, value in self.variables:
            notes.append(f"environment: {printable(name)}={printable_bytes(value[:200])}")
        return (*notes, *self.extras)


@frozen(kw_only=True)
class Asked:
    """An operation, and what comes with it. Implements `hoopgw.sessions.journal.Asked`."""

    operation: Operation
    setting: Setting = Setting()
    notes: tuple[str, ...] = ()
    """What people who approve it should know besides."""
    facts: Facts | None = field(default=None, repr=False)
    """Of a command: what it would do."""
    moves: FileCommand | None = None
    """Of a command that only moves files: which; it is decided by their paths."""

    @property
    def kept(self) -> bytes:
        """What else was set, for the recording."""
        return "\n".join(self.setting.notes).encode("utf-8", "backslashreplace")

    @property
    def shown(self) -> Operation:
        """The operation as people are shown it: what we say stands before what the client says."""
        notes = (*self.setting.notes, *self.notes)
        text = self.operation.text.encode("utf-8", "surrogateescape")
        whole = (*(f"# {note}" for note in notes), text.decode("utf-8", "backslashreplace"))
        return evolve(self.operation, text="\n".join(whole))


@define(eq=False)
class Place:
    """Where a session works: the resources that what it asks for can name.

    Args:
        target: the target's settings.
        account: on the host.
        chain: ids of the hops, root first; a part of every digest.

    """

    target: TargetSettings
    account: str
    chain: tuple[str, ...] = ()
    host: Resource = field(init=False)
    _parts: tuple[tuple[str, bytes], ...] = field(init=False, repr=False)
    _labels: Mapping[str, frozenset[str]] = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        environment = self.target.environment
        above = (Resource(type="Hoopgw::Environment", id=environment),) if environment else ()
        target = Resource(type="Hoopgw::Target", id=self.target.name, parents=above)
        self.host = Resource(type="Ssh::Host", id=self.target.name, parents=(target,))
        self._labels = {name: frozenset(labels) for name, labels in self.target.labels.items()}
        self._parts = (
            ("protocol", b"ssh"),
            ("target", self.target.name.encode()),
            ("account", self.account.encode()),
            ("chain", "\0".join(self.chain).encode()),
        )

    # Resources

    def program(self, name: str) -> Resource:
        """Return the resource of a program, by how it is called."""
        return self._below(self.host, "Program", program_id(name))

    def command(self, words: Words) -> Resource:
        """Return the resource of a simple command, in that of each command it begins with."""
        assert words[0] is not None
        found = self.program(words[0])
        written = shlex.quote(found.id)
        if len(written) > COMMAND_LIMIT:
            return self._below(found, "Command", UNSEEN)
        found = self._below(found, "Command", written)
        single, rest = words[1:WORDS_LEVELS], words[WORDS_LEVELS:]
        for shown in (*map(_written, single), " ".join(map(_written, rest))):
            if not shown:
                break
            is_long = len(written) + len(shown) > COMMAND_LIMIT
            written = f"{written} {UNSEEN if is_long else shown}"
            found = self._below(found, "Command", written)
            if is_long:
                break
        return found

    def path(self, path: str) -> Resource:
        """Return the resource of a file or folder: absolute, or below ``~``; without ``..``."""
        found, whole = self.host, ""
        for at, part in enumerate(path.split("/")):
            if at and not part:
                continue  # of "/" itself
            whole = f"{whole.rstrip('/')}/{part}" if at else part or "/"
            labels = self._labels.get(whole, frozenset()) | found.labels
            found = Resource(type="Ssh::Path", id=whole, parents=(found,), labels=labels)
        return found

    def endpoint(self, host: str, port: int | str) -> Resource:
        """Return the resource of what a forward leads to."""
        written = f"[{host}]" if ":" in host else host
        whole = self._below(self.host, "Endpoint", written)
        return self._below(whole, "Endpoint", f"{written}:{port}")

    def socket(self, path: str) -> Resource:
        """Return the resource of a socket in the host's file system."""
        return self._below(self.host, "Endpoint", path)

    def pattern(self, name: str, within: Iterable[Resource], labels: frozenset[str]) -> Resource:
        """Return the resource of something that outputs are searched for, for policy's ``see``."""
        parents = tuple(within) or (self.host,)
        return Resource(type="Ssh::Pattern", id=name, parents=parents, labels=labels)

    def _below(self, parent: Resource, kind: str, name: str) -> Resource:
        return Resource(type=f"Ssh::{kind}", id=name, parents=(parent,))

    # Operations

    def connect(self) -> Operation:
        """Return the operation that opening a session is."""
        return self.operation("connect", (self._access("connect", self.host),), "")

    def exec(self, text: bytes, facts: Facts, setting: Setting, held_input: str) -> Asked:
        """Return what running a command is.

        Args:
            text: of the command.
            facts: of it.
            setting: what was set before.
            held_input: what becomes of its input if people approve it: ``closed`` or ``open``.

        """
        moves = recognise(text) if setting.terminal is None else None
        held_input = held_input if moves is None else "moved"
        operation = self.operation(
            "exec",
            self._accesses(facts) if moves is None else self._moved(moves),
            text.decode("utf-8", "surrogateescape"),
            (("input", held_input.encode()), *setting.parts),
            self._context(setting, facts, text),
        )
        notes = (_HELD_INPUT[held_input],)
        return Asked(operation=operation, setting=setting, notes=notes, facts=facts, moves=moves)

    def _moved(self, command: FileCommand) -> list[Access]:
        """Return what a command does that only moves files: nothing but that runs."""
        return [self._access(use.action, self.path(use.path)) for use in command.uses]

    def shell(self, setting: Setting) -> Asked:
        """Return what an interactive shell is."""
        accesses = (self._access("shell", self.host),)
        operation = self.operation("shell", accesses, "", setting.parts, self._context(setting))
        note = "an interactive shell: who approves it approves whatever is typed"
        return Asked(operation=operation, setting=setting, notes=(note,))

    def gated_shell(self, setting: Setting) -> Asked:
        """Return what a shell is of which each line is asked for by itself."""
        accesses = (self._access("gated_shell", self.host),)
        context = self._context(setting)
        operation = self.operation("gated_shell", accesses, "", setting.parts, context)
        note = "a gated shell: who approves it approves none of its lines"
        return Asked(operation=operation, setting=setting, notes=(note,))

    def subsystem(self, name: str, setting: Setting) -> Asked:
        """Return what starting a subsystem is."""
        resource = self._below(self.host, "Subsystem", name)
        accesses = (self._access("subsystem", resource),)
        context = self._context(setting)
        operation = self.operation("subsystem", accesses, name, setting.parts, context)
        note = f"the subsystem {printable(name)}: who approves it approves whatever it is asked"
        return Asked(operation=operation, setting=setting, notes=(note,))

    def tunnel(self, action: str, where: Resource, text: str, request: bytes) -> Asked:
        """Return what a forward, or what may use one, is: ``forward``, ``listen``, ``x11`` ..."""
        accesses = (self._access(action, where),)
        return Asked(operation=self.operation(action, accesses, text, (("request", request),)))

    def variable(self, name: str, value: bytes) -> Operation:
        """Return the operation that setting a variable is."""
        accesses = (self._variable(name),)
        return self.operation("setenv", accesses, name, (("value", value),))

    def files(
        self,
        action: str,
        accesses: Iterable[tuple[str, str]],
        text: str,
        parts: Iterable[tuple[str, bytes]] = (),
    ) -> Asked:
        """Return what something done to files is.

        Args:
            action: for people: ``rename``.
            accesses: actions of policy, each with a path as `path` takes it.
            text: what is asked for, as people read it.
            parts: whatever else an approval is bound to.

        """
        wanted = [self._access(each, self.path(path)) for each, path in accesses]
        return Asked(operation=self.operation(action, wanted, text, parts))

    def operation(
        self,
        action: str,
        accesses: Iterable[Access],
        text: str,
        parts: Iterable[tuple[str, bytes]] = (),
        context: Mapping[str, ContextValue] | None = None,
    ) -> Operation:
        """Return an operation of this session."""
        done = (("action", action.encode()), ("said", text.encode("utf-8", "surrogateescape")))
        return Operation(
            protocol="ssh",
            target=self.target.name,
            action=action,
            accesses=tuple(dict.fromkeys(accesses)),
            text=text,
            context=self._context(Setting()) if context is None else context,
            digest=operation_digest((*self._parts, *done, *parts)),
        )

    def _access(self, action: str, resource: Resource) -> Access:
        return Access(action=f"Ssh::{action}", resource=resource)

    def _connection(self, host: str, port: str) -> Access:
        """Return a connection of the shell's own; services count as what they are written as."""
        try:
            endpoint = by_shell(host, port)
        except ProtocolViolationError:
            return self._access("unknown", self.host)
        shown = endpoint.port if port.isdecimal() else port
        return self._access("forward", self.endpoint(endpoint.host, shown))

    def _variable(self, name: str) -> Access:
        if is_forbidden(name):
            return self._access("unknown", self.host)
        return self._access("setenv", self._below(self.host, "Variable", name))

    def _accesses(self, facts: Facts) -> list[Access]:
        """Return all that a command does, in the order of its text."""
        found = [self._access("run", self.command(words)) for words in facts.runs]
        files = [("read", path) for path in facts.reads]
        for action, path in (*files, *(("write", path) for path in facts.writes)):
            if path.count("/") > FOLDERS_LIMIT:
                found.append(self._access("unknown", self.host))
            else:
                found.append(self._access(action, self.path(path)))
        found += [self._connection(*where) for where in facts.connects]
        found += [self._variable(name) for name in facts.variables]
        if facts.unknown or not found:
            found.append(self._access("unknown", self.host))
        return found

    def _context(
        self, setting: Setting, facts: Facts | None = None, text: bytes = b""
    ) -> dict[str, ContextValue]:
        terminal = setting.terminal
        shown = text.decode("utf-8", "backslashreplace")
        opaque = set() if facts is None else set(facts.opaque)
        words = {
            w for words in ([] if facts is None else facts.runs) for w in words if w is not None
        }
        if len(words) > WORDS_LIMIT or sum(map(len, words)) > WORDS_SIZE:
            opaque.add("words")
            words = set()
        if len(shown) > TEXT_LIMIT:
            opaque.add("text")
            shown = ""
        return {
            "account": self.account,
            "pty": terminal is not None,
            "columns": terminal.columns if terminal else 0,
            "rows": terminal.rows if terminal else 0,
            "constructs": () if facts is None else tuple(sorted(facts.constructs)),
            "words": tuple(sorted(words)),
            "text": shown,
            "opaque": tuple(sorted(opaque)),
        }


def connecting(target: TargetSettings, account: str, place: str) -> Operation:
    """Return the operation that opening a session would be; see `hoopgw.spi.ProtocolSpec`."""
    del place
    return Place(target, account).connect()


def _written(word: str | None) -> str:
    return UNSEEN if word is None else shlex.quote(word)


def program_id(name: str) -> str:
    """Return the name by which policy knows a program: its own, where it is the system's."""
    if "/" not in name:
        return name
    written = re.sub(r"/(?:\.?/)+", "/", name)
    folder, base = posixpath.split(written)
    return base if folder in _FOLDERS and base not in ("", ".", "..") else written


def is_forbidden(variable: str) -> bool:
    """Whether a variable is never set for a client: others run, or are meant, because of it."""
    return variable in FORBIDDEN_VARIABLES or variable.startswith(FORBIDDEN_PREFIXES)


def file_path(path: bytes, folder: str = HOME) -> str | None:
    """Return a path as `Place.path` takes it; None if it cannot be told.

    Args:
        path: as a client wrote it; ``..`` is resolved by the text alone.
        folder: that it is relative to.

    """
    try:
        text = path.decode()
    except UnicodeDecodeError:
        return None
    if not text or len(path) > PATH_LIMIT or not text.isprintable():
        return None
    found = posixpath.normpath(
        "/" + text.lstrip("/") if text.startswith("/") else f"{folder}/{text}"
    )
    root = found.partition("/")[0]
    if root not in ("", HOME) or found.count("/") > FOLDERS_LIMIT:
        return None
    return found
