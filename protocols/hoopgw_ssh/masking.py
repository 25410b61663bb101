"""Masks what a channel shows: policy's sights become rules for its output.

What outputs are searched for is the target's (``detect``, ``patterns``); whether a principal sees
it, and what it sees instead, is policy's: ``see`` on ``Ssh::Pattern``, in the commands and files
whose output it is. A command that names a file with labels shows nothing at all, unless policy lets
the principal ``see`` that ``Ssh::Path``: its output is the file, whatever it was made into.

That goes by the words of a command. ``cd /etc; cat shadow`` names no file that has labels, and a
program may read what it likes: who must not see a file must not be able to run what reads it. In a
shell nothing is known of commands: there only patterns are looked for.

What is no text is left as it is: subsystems, and what moves files (`hoopgw_ssh.file_channels`).
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any, Final

from attrs import define, field, frozen
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from hoopgw.errors import ConfigError, PolicyError, ProtocolViolationError
from hoopgw.events import Resource
from hoopgw.policy.decision import Hidden, Sight
from hoopgw.spi import TargetSettings
from hoopgw.streams.mask_rules import RULES, STANDARD, Rule, Rules, detected, of_literal, of_pattern
from hoopgw.streams.masks import OutputMask, StreamMask, Withheld
from hoopgw.terminal import printable
from hoopgw_ssh.channels import Request
from hoopgw_ssh.inspector import Passage
from hoopgw_ssh.operations import Asked, Place
from hoopgw_ssh.visit import Visit
from hoopgw_ssh.wire import Reader

DETECT: Final = "detect"
PATTERNS: Final = "patterns"
DETECTED: Final = tuple(name for name in STANDARD if name != "email")
"""What is looked for where a target does not say. No e-mail addresses: any binary has what looks
like one here and there, and what a client gets should be what a command has put out."""
_PERSONAL: Final = frozenset({"email", "ssn", "card"})
"""Detectors with the labels ``pii`` and ``pii.<name>``; others have ``secret`` and
``secret.<name>``."""
_KEYS: Final = frozenset({"pattern", "text", "labels"})
_BREAKS: Final = re.compile(r"[\s;|&<>()'\"`]+")
_GLOB: Final = frozenset("*?[")
_WITHIN: Final = frozenset({"Ssh::Command", "Ssh::Path"})
"""Resources in which a pattern is, for policy."""


@frozen
class Sought:
    """Something that outputs are searched for."""

    name: str
    labels: frozenset[str]
    text: str = ""
    is_literal: bool = False

    def rule(self, kind: str) -> Rule:
        """Return its rule. Raises `PolicyError`."""
        if not self.text:
            return detected(self.name, kind)
        if self.is_literal:
            return of_literal(self.name, self.text.encode(), kind)
        return of_pattern(self.name, self.text, kind)


def sought(target: TargetSettings) -> tuple[Sought, ...]:
    """Return what a target's outputs are searched for.

    Raises:
        ConfigError: an option makes no sense.

    """
    where = f"targets.{target.name}"
    names = target.options.get(DETECT, list(DETECTED))
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ConfigError(f'{where}.{DETECT}: expected a list like ["card", "jwt"]')
    found = {name: Sought(name, _labels(name)) for name in names}
    tables = target.options.get(PATTERNS, {})
    if not isinstance(tables, dict):
        raise ConfigError(f"{where}.{PATTERNS}: expected a table of tables")
    for name, table in tables.items():
        if name in found:
            raise ConfigError(f"{where}.{PATTERNS}.{name}: is the name of a detector")
        found[name] = _pattern(f"{where}.{PATTERNS}.{name}", name, table)
    return tuple(found.values())


def _labels(name: str) -> frozenset[str]:
    family = "pii" if name in _PERSONAL else "secret"
    return frozenset({family, f"{family}.{name}"})


def check_outputs(target: TargetSettings) -> None:
    """Check what a target says of outputs. Raises `ConfigError`."""
    where = f"targets.{target.name}"
    found = sought(target)
    if len(found) > RULES:
        raise ConfigError(f"{where}: {len(found)} patterns; {RULES} is most")
    for each in found:
        try:
            each.rule("redact")
        except PolicyError as error:
            option = PATTERNS if each.text else DETECT
            raise ConfigError(f"{where}.{option}: {error}") from None
    for path in target.labels:
        plain = posixpath.normpath(path)
        if not path.startswith(("/", "~/")) or plain != path or path.startswith("//"):
            raise ConfigError(
                f'{where}.labels."{path[:80]}": expected a path like "/etc/shadow" or "~/.ssh"'
            )


def _pattern(where: str, name: str, table: Any) -> Sought:
    if not isinstance(table, dict) or table.keys() - _KEYS:
        raise ConfigError(f'{where}: expected a table like {{ pattern = "X-[0-9]{{6}}" }}')
    texts = [table[key] for key in ("pattern", "text") if key in table]
    if len(texts) != 1 or not isinstance(texts[0], str) or not texts[0]:
        raise ConfigError(f"{where}: expected either a pattern or a text")
    labels = table.get("labels", [])
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise ConfigError(f'{where}.labels: expected a list like ["internal.ticket"]')
    return Sought(name, frozenset(labels), texts[0], "text" in table)


def masked(visit: Visit, asked: Asked) -> Masks | None:
    """Return what is to stand in a channel, next to the target; None if nothing is looked for."""
    operation = asked.operation
    if operation.action not in ("exec", "shell"):
        return None
    place = Place(visit.target, visit.account)
    within = [a.resource for a in operation.accesses if a.resource.type in _WITHIN]
    looked_for = {
        each: place.pattern(each.name, within, each.labels) for each in sought(visit.target)
    }
    paths = {path: place.path(path) for path in _labelled(visit.target, asked)}
    if not looked_for and not paths:
        return None
    terminal = asked.setting.terminal
    return Masks(
        visit.context.clock,
        _Look(visit, looked_for, paths),
        lambda: visit.context.policy.epoch,
        has_terminal=terminal is not None,
        columns=0 if terminal is None else terminal.columns,
    )


@frozen(eq=False)
class _Look:
    """Says what is masked, by what policy says now."""

    visit: Visit
    looked_for: Mapping[Sought, Resource]
    paths: Mapping[str, Resource]
    """Labelled files that are named."""

    def __call__(self) -> Rules | bytes:
        """Return rules, or what is said where nothing is shown."""
        visit, fields = self.visit, (*self.looked_for.values(), *self.paths.values())
        sights = visit.context.policy.sights(visit.principal, fields, visit.session)
        if any(_kind(sights[path]) is not None for path in self.paths):
            named = printable(", ".join(sorted(self.paths)))
            return f"hoopgw: this shows {named}, which you may not see in clear\r\n".encode()
        shown = ((each, _kind(sights[each.name])) for each in self.looked_for)
        wanted = tuple((each, kind) for each, kind in shown if kind is not None)
        return _rules(wanted, visit.context.mask_key())


def _kind(sight: Sight | Hidden) -> str | None:
    """Return the mask kind, or None if it is shown in clear."""
    return "redact" if isinstance(sight, Hidden) else sight.mask


@lru_cache(256)
def _rules(wanted: tuple[tuple[Sought, str], ...], key: bytes) -> Rules:
    """Return compiled rules: the same for all who see the same."""
    return Rules(tuple(each.rule(kind) for each, kind in wanted), key)


def _labelled(target: TargetSettings, asked: Asked) -> Iterable[str]:
    """Give the labelled files and folders that a command names.

    A word may name one behind something else (``if=/etc/shadow``), and by a pattern.
    """
    facts = asked.facts
    if facts is None or not target.labels:
        return
    words = {word for run in facts.runs for word in run if word is not None}
    words.update(facts.reads, facts.writes)
    # A pattern for names is no word that is known.
    words.update(word for word in _BREAKS.split(asked.operation.text) if not _GLOB.isdisjoint(word))
    for path in target.labels:
        if path in asked.operation.text or any(
            _names(word[at:], path)
            for word in words
            for at, sign in enumerate(word)
            if sign in "/~"
        ):
            yield path


def _names(word: str, path: str) -> bool:
    plain = posixpath.normpath(word)
    plain = plain[1:] if plain.startswith("//") else plain
    if plain == path or plain.startswith(f"{path}/"):
        return True
    return not _GLOB.isdisjoint(plain) and fnmatchcase(path, plain)


@define(eq=False)
class Masks:
    """Stands in a channel. Implements `Inspector` and `Attentive`.

    Standard output and standard error are streams of their own: a secret that is half in one and
    half in the other is not seen as one.

    Args:
        clock: for what silence lets go.
        look: says what is masked now: by which rules, or everything, and what is said instead.
        epoch: changes when that may have changed.
        has_terminal: whether what is typed comes back.
        columns: the terminal's width.

    """

    _clock: IReactorTime = field(repr=False)
    _look: Callable[[], Rules | bytes] = field(repr=False)
    _epoch: Callable[[], object] = field(repr=False)
    has_terminal: bool = False
    columns: int = 0
    _now: Rules | bytes = field(init=False, repr=False)
    _seen: object = field(init=False, repr=False)
    """The epoch of these."""
    _streams: dict[int | None, OutputMask] = field(factory=dict, init=False, repr=False)
    _calls: dict[int | None, IDelayedCall] = field(factory=dict, init=False, repr=False)
    _before: int = field(default=0, init=False)
    """Secrets that were masked by what was masked before."""
    _passage: Passage = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._seen, self._now = self._epoch(), self._look()

    @property
    def masked(self) -> int:
        """Secrets that were masked until now."""
        return self._before + sum(mask.masked for mask in self._streams.values())

    def attach(self, passage: Passage) -> None:
        """Take the way back into the channel."""
        self._passage = passage

    def to_target(self, data: bytes) -> bytes:
        """Take note of what is typed."""
        if self.has_terminal:
            self._stream(None).typed(data)
        return data

    def input_ended(self) -> bytes:
        """Return nothing: it keeps no input back."""
        return b""

    def to_client(self, data: bytes, code: int | None) -> bytes:
        """Pass on what can be no secret."""
        if self._epoch() != self._seen:
            self._look_again()
        mask = self._stream(code)
        shown = mask.feed(data)
        self._wait(code, mask.wait)
        return shown

    def rest(self, code: int | None) -> bytes:
        """Return what is left: the stream has ended."""
        self._wait(code, None)
        mask = self._streams.get(code)
        return b"" if mask is None else mask.rest()

    def requested(self, request: Request) -> None:
        """Take note of how wide the terminal is."""
        if request.name != b"window-change":
            return
        try:
            self.columns = Reader(request.data).uint32()
        except ProtocolViolationError:
            return  # the target will not know what to do with it, either
        for mask in self._streams.values():
            mask.resize(self.columns)

    def abandoned(self) -> None:
        """Do nothing: what it shows on is shown to nobody."""

    def ended(self, status: Request | None) -> None:
        """Wait for nothing any more."""
        del status
        for code in list(self._calls):
            self._wait(code, None)

    def _stream(self, code: int | None) -> OutputMask:
        mask = self._streams.get(code)
        if mask is None:
            now = self._now
            mask = Withheld(now) if isinstance(now, bytes) else StreamMask(now)
            self._streams[code] = mask
            mask.resize(self.columns)
        return mask

    def _look_again(self) -> None:
        """Mask by what policy says now: it, or what the principal was granted, has changed."""
        self._seen, now = self._epoch(), self._look()
        if now == self._now:
            return
        self._now = now
        for code, mask in list(self._streams.items()):
            rest = self.rest(code)  # what was kept back was masked by what held when it came
            del self._streams[code]
            self._before += mask.masked
            if rest:
                self._passage.to_client(rest, code)

    def _wait(self, code: int | None, seconds: float | None) -> None:
        call = self._calls.get(code)
        if seconds is None:
            if call is not None:
                del self._calls[code]
                call.cancel()
        elif call is not None:
            call.reset(seconds)
        else:
            self._calls[code] = self._clock.callLater(seconds, self._let_go, code)

    def _let_go(self, code: int | None) -> None:
        del self._calls[code]
        mask = self._streams[code]
        shown = mask.let_go()
        self._wait(code, mask.wait)
        if shown:
            self._passage.to_client(shown, code)
