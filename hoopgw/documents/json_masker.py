"""JSON on its way: values replaced by path, everything else passed byte for byte.

A `JsonMasker` has no clock and no I/O; it keeps what it must look at as a whole (a name, a string
that is masked by what it says) and a frame for each open container, and no more, however long the
document is. It reads with the regular expressions of `hoopgw.documents.grammar`.

Invariants, each with a test in ``tests/documents``:

- The output does not depend on how the input was cut.
- What comes out is what a simple recursion over ``json.loads`` says, and outside of what is
  replaced it is the same bytes.
- What is no JSON, is not UTF-8 (also UTF-16, or a byte order mark), nests too deep, or goes on
  after its end, ends in `DocumentError` and in nothing else. What came out before is then a part of
  a document without its end.
- One call does a bounded amount of work.

A document of no bytes at all is taken as one: answers without content say JSON, too.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from attrs import define, field

from hoopgw.documents import grammar, leaves
from hoopgw.documents.arrivals import Arrivals, beyond, fault
from hoopgw.documents.automaton import DEAD, NOTHING, REPEATED, Effect, State
from hoopgw.documents.frames import Frame, Next
from hoopgw.documents.grammar import LITERAL, NUMBER, PUNCTUATION, STRING
from hoopgw.documents.limits import Limits
from hoopgw.documents.rules import Rules
from hoopgw.errors import DocumentError

if TYPE_CHECKING:
    from hoopgw.documents._scan import Scanner

STEPS: Final = 2000
"""Tokens that one piece reads one by one: about 5 ms."""
_LOOK: Final = 256
"""Bytes of a text that is looked at for which it counts as a token more."""
_REPEATED: Final = State(REPEATED)
_REPEATED.join({}, DEAD, DEAD)
_OBJECT, _COMMA, _COLON, _QUOTE = b'{,:"'

# What comes next: plain numbers, because they are compared for each token.
_VALUE, _FIRST_ELEMENT, _ELEMENT = map(int, (Next.VALUE, Next.FIRST_ELEMENT, Next.ELEMENT))
_FIRST_MEMBER, _MEMBER, _NEEDS_COLON = map(int, (Next.FIRST_MEMBER, Next.MEMBER, Next.COLON))
_AFTER, _END, _IN_STRING = map(int, (Next.AFTER, Next.END, Next.IN_STRING))


@define(eq=False, kw_only=True)
class JsonMasker:
    """Masks one document, or with ``lines`` one in each line (NDJSON, Kubernetes' watches)."""

    rules: Rules
    key: bytes = field(default=b"", repr=False)
    """For tokens."""
    rewrite: Callable[[str, str], str] | None = None
    limits: Limits = field(factory=Limits)
    lines: bool = False
    plain: bool = False
    """Do without the compiled twin, where it is there."""
    masked: int = field(default=0, init=False)
    counts: dict[str, int] = field(factory=dict, init=False)
    """Of `Count` rules."""
    _scanner: Scanner | None = field(default=None, init=False, repr=False)
    _arrived: Arrivals = field(init=False, repr=False)
    _buffer: bytearray = field(factory=bytearray, init=False, repr=False)
    _at: int = field(default=0, init=False)
    """Where reading goes on in the buffer."""
    _sent: int = field(default=0, init=False)
    """Up to where the buffer was put out, or replaced."""
    _scanned: int = field(default=0, init=False)
    """Up to where a string that is waited for was read; 0 if none is."""
    _hints: dict[re.Pattern[bytes], int] = field(factory=dict, init=False, repr=False)
    """Where each pattern was found next in the buffer."""
    _small: bytearray | None = field(default=None, init=False, repr=False)
    """The buffer in small letters, for them."""
    _out: list[bytes] = field(factory=list, init=False, repr=False)
    _stack: list[Frame] = field(factory=list, init=False, repr=False)
    _expect: int = field(default=_VALUE, init=False)
    _next: State = field(init=False, repr=False)
    """The state of the value that comes next."""
    _mute: int = field(default=-1, init=False)
    """The depth of the value that is not put out; -1 if all is."""
    _steps: int = field(default=0, init=False)
    _busy: bool = field(default=False, init=False)
    _finished: bool = field(default=False, init=False)
    _line_ended: bool = field(default=False, init=False)
    _failed: str | None = field(default=None, init=False)
    _utf8: codecs.IncrementalDecoder = field(
        factory=codecs.getincrementaldecoder("utf-8"), init=False, repr=False
    )

    def __attrs_post_init__(self) -> None:
        self._next = self.rules.start
        self._arrived = Arrivals(self.limits.total)
        if not self.plain:
            self._scanner = self.rules.scanner(self)

    @property
    def received(self) -> int:
        """Bytes that were read."""
        return self._arrived.taken

    @property
    def held(self) -> int:
        """Bytes that were read, and wait for what follows them."""
        return len(self._buffer)

    def receive_data(self, data: bytes) -> None:
        """Store what came."""
        self._arrived.put(data)

    def receive_end(self) -> None:
        """Note that nothing follows."""
        self._arrived.end()

    def next_piece(self) -> bytes | None:
        """Read a slice; see `Masker`."""
        if self._failed is not None:
            raise DocumentError(self._failed)
        try:
            if not self._busy and not self._refill():
                return None
            self._work()
            piece = self._take()
            if self._finished and not self._busy:
                piece = self._finish(piece)
        except DocumentError as error:
            self._failed = str(error)
            self._arrived.clear()
            self._buffer.clear()
            self._out.clear()
            raise
        return piece

    def _refill(self) -> bool:
        """Take the next slice of what arrived; say whether there is anything to do."""
        if self._arrived:
            data = self._arrived.take()
            try:
                self._utf8.decode(data)
            except UnicodeDecodeError:
                raise self._fault("it is not UTF-8") from None
            self._buffer += data
            return True
        if not self._arrived.is_ended or self._finished:
            return False
        self._finished = True
        self._buffer += b"\n"  # a number at the end has an end then; not put out
        return True

    def _finish(self, piece: bytes) -> bytes:
        """Look whether the document was whole."""
        if self._expect != _END or self._buffer:
            if self._arrived.taken:
                raise self._fault("it ends before it is whole")
            return b""
        return piece[:-1]

    def _take(self) -> bytes:
        """Give what can be put out, and forget what was read."""
        self._flush(self._at)
        if self._scanned:
            self._scanned -= self._at
        del self._buffer[: self._at]
        self._at = self._sent = 0
        self._hints.clear()
        self._small = None
        piece = b"".join(self._out)
        self._out.clear()
        return piece

    def _work(self) -> None:
        """Read tokens until the buffer, or the time for one piece, is used up."""
        self._steps = STEPS
        self._busy = True
        while self._steps > 0:
            self._steps -= 1
            if self._scanner is not None:
                self._scanner.scan(self)
            if not self._step():
                self._busy = False
                return

    def _step(self) -> bool:
        """Read one token, and a run before it; say whether there was one."""
        expect = self._expect
        if expect in (_FIRST_MEMBER, _MEMBER):
            self._run(self._stack[-1].state, is_object=True)
            return self._name()
        if expect in (_FIRST_ELEMENT, _ELEMENT):
            self._run(self._stack[-1].state, is_object=False)
            expect = self._expect
        elif expect == _IN_STRING:
            return self._string_goes_on()
        elif expect == _END:
            return self._between_lines()
        if self._scanned and not self._string_is_whole():
            return False
        token = grammar.TOKEN.match(self._buffer, self._at)
        if token is None:
            return self._lacks()
        kind = token.lastindex or 0
        if kind != PUNCTUATION:
            if expect not in (_VALUE, _FIRST_ELEMENT, _ELEMENT):
                raise self._fault("a value stands where none may be", token.start(kind))
            self._scalar(kind, token.start(kind), token.end())
        else:
            self._punctuation(self._buffer[token.end() - 1], token.end())
        return True

    # Runs.

    def _run(self, state: State, *, is_object: bool) -> None:
        """Pass what nothing has to be decided about."""
        if self._scanned or self._scanner or len(self._stack) + grammar.NESTED > self.limits.depth:
            return
        runs = self.rules.runs.of(state)
        pattern = runs.members if is_object else runs.elements
        if pattern is None:
            return
        end = self._hinted(runs.hints, self._at)
        run = pattern.match(self._buffer, self._at, end)
        if run is not None and run.end() > self._at:
            self._at = run.end()
            self._expect = _MEMBER if is_object else _ELEMENT

    def _hinted(self, hints: tuple[re.Pattern[bytes], ...], at: int) -> int:
        """Return up to where detectors find nothing."""
        nearest = len(self._buffer)
        for hint in hints:
            place = self._hints.get(hint, -1)
            if place < at:
                if self._small is None:
                    self._small = self._buffer.lower()
                found = hint.search(self._small, at)
                place = self._hints[hint] = len(self._small) if found is None else found.start()
            nearest = min(nearest, place)
        return nearest

    def _punctuation(self, character: int, end: int) -> None:
        expect = self._expect
        if expect == _AFTER and character == _COMMA:
            frame = self._stack[-1]
            if frame.drops:
                self._flush(end - 1)
                self._sent = end
            self._at = end
            self._expect = _MEMBER if frame.is_object else _ELEMENT
            self._next = frame.state.element
        elif character in b"{[" and expect in (_VALUE, _FIRST_ELEMENT, _ELEMENT):
            self._open(character == _OBJECT, end)
        elif expect == _NEEDS_COLON and character == _COLON:
            self._at, self._expect = end, _VALUE
        elif character in b"}]" and self._may_close(character):
            self._stack.pop()
            self._value_ended(end)
        else:
            raise self._fault(f"{chr(character)!r} stands where it may not", end - 1)

    def _may_close(self, character: int) -> bool:
        if not self._stack:
            return False
        if self._stack[-1].is_object:
            return character == ord("}") and self._expect in (_AFTER, _FIRST_MEMBER)
        return character == ord("]") and self._expect in (_AFTER, _FIRST_ELEMENT)

    def _open(self, is_object: bool, end: int) -> None:
        """Begin an object or array."""
        if len(self._stack) >= self.limits.depth:
            raise self._fault(f"it nests deeper than {self.limits.depth}", end - 1)
        effect = self._begin_value(end - 1)
        state = self._next
        if effect.whole is not None and self._mute < 0:
            self._replace(end - 1, leaves.container(effect.whole, is_object=is_object))
            self._mute = len(self._stack)
        if self._mute >= 0:
            state = DEAD
        self._stack.append(Frame(state, is_object))
        self._at = end
        self._expect = _FIRST_MEMBER if is_object else _FIRST_ELEMENT
        self._next = state.element

    def _name(self) -> bool:
        """Read a member's name, or the end of an object."""
        name = grammar.NAME.match(self._buffer, self._at)
        if name is None:
            token = grammar.TOKEN.match(self._buffer, self._at)
            if token is None:
                return self._lacks()
            if token.lastindex != PUNCTUATION:
                raise self._fault("a name stands in no quotes", token.start(token.lastindex or 0))
            self._punctuation(self._buffer[token.end() - 1], token.end())
            return True
        start, end = name.span(1)
        if end - start > self.limits.name:
            raise self._fault(f"a name is longer than {self.limits.name} bytes", start)
        frame, state = self._stack[-1], DEAD
        if frame.state is not DEAD:
            bit, state = frame.state.member(leaves.decode(name[1]))
            if frame.seen & bit:
                state = _REPEATED
            frame.seen |= bit
            if frame.drops:
                self._keep_or_drop(frame, state.effect)
        self._next = state
        self._at = name.end()
        self._expect = _NEEDS_COLON if name.group(2) is None else _VALUE
        return True

    def _keep_or_drop(self, frame: Frame, effect: Effect) -> None:
        """Begin a member or element where some are left out: the comma belongs to what is kept."""
        self._flush(self._at)
        if self._mute >= 0:
            return
        if effect.drop:
            self._mute = len(self._stack)
            self.masked += 1
        else:
            if frame.kept:
                self._out.append(b",")
            frame.kept = True

    def _begin_value(self, start: int) -> Effect:
        """Do what is due at a value, whatever it is; return its effect."""
        if self._mute >= 0:
            return NOTHING
        effect = self._next.effect
        if effect is NOTHING:
            return effect
        if self._expect in (_FIRST_ELEMENT, _ELEMENT) and self._stack[-1].drops:
            self._keep_or_drop(self._stack[-1], effect)
            if self._mute >= 0:
                return NOTHING
        if effect.refuse:
            raise self._fault(effect.refuse[0], start)
        for name in effect.counts:
            self._count(name)
        return effect

    def _count(self, name: str) -> None:
        count = self.counts[name] = self.counts.get(name, 0) + 1
        limit = self.limits.counts.get(name)
        if limit is not None and count > limit:
            raise beyond(f"it has more than {limit} {name}")

    # Scalars.

    def _scalar(self, kind: int, start: int, end: int) -> None:
        """Pass or replace a string, number or literal."""
        effect = self._begin_value(start)
        if effect is not NOTHING and self._mute < 0:
            if kind == STRING:
                shown = self._shown(effect, start, end)
            elif kind == NUMBER:
                shown = leaves.number(effect, bytes(self._buffer[start:end]), self.key)
            else:
                assert kind == LITERAL
                shown = leaves.literal(effect, bytes(self._buffer[start:end]))
            if shown is not None and shown != self._buffer[start:end]:
                self._replace(start, shown)
                self._sent = end
        self._value_ended(end)

    def _shown(self, effect: Effect, start: int, end: int) -> bytes | None:
        """Return what stands for a string; None for itself."""
        if effect.strings is None and not effect.reads_strings:
            return None
        constant = None if effect.strings is None else leaves.constant_string(effect.strings)
        if constant is not None:
            return constant
        self._check_text(start, end)
        self._steps -= self._cost(effect, end - start)
        return leaves.string(effect, bytes(self._buffer[start:end]), self.key, self.rewrite)

    def _cost(self, effect: Effect, size: int) -> int:
        """Return for how many tokens a string counts that has to be looked at."""
        return (2 + 2 * len(effect.detectors)) * (1 + size // _LOOK)

    def _check_text(self, start: int, end: int) -> None:
        if end - start > self.limits.text:
            raise self._fault(f"a masked text is longer than {self.limits.text} bytes", start)

    def _value_ended(self, end: int) -> None:
        self._at = end
        if self._mute == len(self._stack):
            self._flush(end)
            self._mute = -1
        self._expect = _AFTER if self._stack else _END

    # Output.

    def _flush(self, end: int) -> None:
        """Put out what was passed, up to here."""
        if self._mute < 0 and end > self._sent:
            self._out.append(bytes(self._buffer[self._sent : end]))
        self._sent = end

    def _replace(self, start: int, shown: bytes) -> None:
        """Put out a value in place of the one that begins here."""
        self._flush(start)
        self._out.append(shown)
        self.masked += 1

    # What is not whole yet.

    def _lacks(self) -> bool:
        """Find out what is missing at the end of the buffer; nothing but its end may be wrong."""
        space = grammar.SPACE.match(self._buffer, self._at)
        assert space is not None
        at = self._at = space.end()
        if at == len(self._buffer):
            return False
        first = self._buffer[at]
        if first == _QUOTE:
            return self._open_string(at)
        rest = bytes(self._buffer[at : at + grammar.NUMBER_LIMIT + 1])
        if rest in grammar.OPEN_LITERALS or grammar.OPEN_NUMBER.fullmatch(rest):
            return False
        raise self._fault("it is no JSON", at)

    def _open_string(self, at: int) -> bool:
        """Begin a string whose end did not come; go on at once if it need not be held."""
        if self._expect in (_FIRST_MEMBER, _MEMBER):
            self._scan(at + 1)
            if len(self._buffer) - at > self.limits.name:
                raise self._fault(f"a name is longer than {self.limits.name} bytes", at)
            return False
        if self._expect not in (_VALUE, _FIRST_ELEMENT, _ELEMENT):
            raise self._fault("a value stands where none may be", at)
        effect = NOTHING if self._mute >= 0 else self._next.effect
        kind = effect.strings
        constant = None if kind is None else leaves.constant_string(kind)
        if constant is None and (kind is not None or effect.reads_strings) and not effect.drop:
            self._scanned = self._scan(at + 1)
            self._check_text(at, len(self._buffer))
            return False
        self._begin_value(at)
        if constant is not None and self._mute < 0:
            self._replace(at, constant)
            self._mute = len(self._stack)
        self._at, self._expect = at + 1, _IN_STRING
        return True

    def _scan(self, start: int) -> int:
        """Read what there is of a string; return up to where."""
        body = grammar.BODY.match(self._buffer, start)
        assert body is not None
        end = body.end()
        rest = bytes(self._buffer[end : end + 12])
        if rest and rest[0] != _QUOTE and not grammar.OPEN_ESCAPE.fullmatch(rest):
            raise self._fault("a string has a character or an escape that may not be there", end)
        return end

    def _string_is_whole(self) -> bool:
        """Read on in a string that is held; say whether its end has come."""
        end = self._scan(self._scanned)
        if end < len(self._buffer) and self._buffer[end] == _QUOTE:
            self._scanned = 0
            return True
        self._scanned = end
        self._check_text(self._at, end)
        return False

    def _string_goes_on(self) -> bool:
        """Pass, or pass over, more of a long string."""
        end = self._at = self._scan(self._at)
        if end == len(self._buffer) or self._buffer[end] != _QUOTE:
            return False
        self._value_ended(end + 1)
        return True

    # Lines.

    def _between_lines(self) -> bool:
        """Read what follows a document: space, or with ``lines`` the next."""
        space = grammar.SPACE.match(self._buffer, self._at)
        assert space is not None
        end = space.end()
        if b"\n" in self._buffer[self._at : end]:
            self._line_ended = True
        self._at = end
        if end == len(self._buffer):
            return False
        if not self.lines or not self._line_ended:
            raise self._fault("something follows its end", end)
        self._line_ended = False
        self._next, self._expect = self.rules.start, _VALUE
        return True

    def _fault(self, what: str, at: int | None = None) -> DocumentError:
        read = self._arrived.taken - len(self._buffer) + self._finished
        return fault(what, None if at is None else read + at)
