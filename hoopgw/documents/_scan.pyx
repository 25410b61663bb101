# cython: language_level=3, boundscheck=False, wraparound=False
"""The usual tokens of `JsonMasker`, compiled: what its ``_step`` would do with them, many at once.

Optional; the plain reader is the reference. Whatever is not usual is left to it, with everything
as it was before that token: what is wrong or not whole yet, members that are there again, what is
dropped, counted or refused. So this raises nothing of its own, and takes only what the grammar
allows.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcmp

import re

from hoopgw.documents import leaves
from hoopgw.documents.automaton import DEAD, hints
from hoopgw.documents.frames import Frame
from hoopgw.documents.grammar import DIGITS
from hoopgw.masking.kinds import keyed

cdef enum:
    VALUE = 0
    FIRST_ELEMENT = 1
    ELEMENT = 2
    FIRST_MEMBER = 3
    MEMBER = 4
    COLON = 5
    AFTER = 6
    END = 7

# What happens to a scalar.
cdef enum:
    PASS = 0
    CONSTANT = 1
    CALL = 2
    LEAVE = 3
    HASH = 4

cdef int _FRAMES = 1024
cdef int _NAMES = 60
cdef int _DIGITS = DIGITS
cdef const char *_DIGITS_OF_HEX = b"0123456789abcdef"


cdef struct Node:
    int other, element, names, names_end
    int hints
    uint8_t strings, numbers, literals, containers
    uint8_t left, slow_members, slow_elements, drops, drop, fold, named


cdef struct Name:
    const char *text
    Py_ssize_t size
    uint64_t bit
    int state


cdef struct Open:
    int state
    bint is_object
    bint slow, drops, kept
    uint64_t seen


cdef class Table:
    """The automaton of some rules, in arrays."""

    cdef Node *nodes
    cdef Name *names
    cdef dict index
    cdef list states, effects, strings, numbers, literals, hints, texts

    def __cinit__(self, start):
        self.nodes, self.names = NULL, NULL

    def __dealloc__(self):
        PyMem_Free(self.nodes)
        PyMem_Free(self.names)

    def __init__(self, start):
        self.states, self.index = [DEAD], {DEAD: 0}
        self.strings, self.numbers, self.literals = [], [], []
        self.hints, self.texts, self.effects = [], [], []
        cdef int at = 0, count = 0
        self._add(start)
        while at < len(self.states):
            state = self.states[at]
            for _, after in state.names.values():
                self._add(after)
            self._add(state.other)
            self._add(state.element)
            count += len(state.names)
            at += 1
        self.nodes = <Node *>PyMem_Malloc(len(self.states) * sizeof(Node))
        self.names = <Name *>PyMem_Malloc((count + 1) * sizeof(Name))
        if self.nodes == NULL or self.names == NULL:
            raise MemoryError
        count = 0
        for at, state in enumerate(self.states):
            count = self._fill(at, state, count)

    cdef object _add(self, state):
        if state not in self.index:
            self.index[state] = len(self.states)
            self.states.append(state)

    cdef int _fill(self, int at, state, int count) except -1:
        cdef Node *node = &self.nodes[at]
        cdef Name *name
        cdef bytes text
        effect = state.effect
        node.other, node.element = self.index[state.other], self.index[state.element]
        node.fold, node.named = state.fold_case, bool(state.names)
        node.slow_members = len(state.names) > _NAMES
        node.drops, node.drop = state.drops_members, effect.drop
        node.slow_elements = state.drops_elements
        node.left = bool(effect.drop or effect.refuse or effect.counts)
        node.containers = PASS if effect.whole is None else LEAVE
        node.names = count
        for word, (bit, after) in state.names.items():
            if word.isascii() and not node.slow_members:
                text = word.encode()
                self.texts.append(text)
                name = &self.names[count]
                name.text, name.size = text, len(text)
                name.bit, name.state = bit, self.index[after]
                count += 1
        node.names_end = count
        self._fill_leaves(node, effect)
        return count

    cdef object _fill_leaves(self, Node *node, effect):
        node.strings = node.numbers = node.literals = PASS
        node.hints = -1
        string = number = literal = None
        if effect.strings is not None:
            string = leaves.constant_string(effect.strings)
            node.strings = CALL if string is None else CONSTANT
            if effect.strings == "hash":
                node.strings = HASH
        elif effect.reads_strings:
            node.strings = CALL
        if effect.numbers is not None:
            number = leaves.constant_number(effect.numbers)
            node.numbers = LEAVE if number is None else CONSTANT
            literal, node.literals = leaves.literal(effect, b"true"), CONSTANT
        elif effect.detectors:
            node.numbers = LEAVE
        if effect.detectors and effect.numbers is None and effect.strings is None:
            if not effect.rewrites:
                # Escapes are seen without a pattern.
                patterns = tuple(re.compile(hint.encode()) for hint in hints(effect)[1:])
                if patterns not in self.hints:
                    self.hints.append(patterns)
                node.hints = self.hints.index(patterns)
        self.effects.append(effect)
        self.strings.append(string)
        self.numbers.append(number)
        self.literals.append(literal)


cdef inline bint _is_space(uint8_t c) noexcept:
    return c == 32 or c == 10 or c == 13 or c == 9


cdef inline int _hex(uint8_t c) noexcept:
    if 48 <= c <= 57:
        return c - 48
    c |= 32
    return c - 87 if 97 <= c <= 102 else -1


cdef int _unit(const uint8_t *data, Py_ssize_t size, Py_ssize_t at) noexcept:
    """Return the UTF-16 unit that four hexadecimal digits say; -1 if they are none."""
    cdef int value = 0, digit, i
    if at + 4 > size:
        return -1
    for i in range(4):
        digit = _hex(data[at + i])
        if digit < 0:
            return -1
        value = value * 16 + digit
    return value


cdef Py_ssize_t _string(
    const uint8_t *data, Py_ssize_t size, Py_ssize_t at, uint8_t *unusual
) noexcept:
    """Return the end of a string whose quote was read, -1 if it is not whole or none.

    ``unusual`` becomes 1 if it has escapes, plus 128 if it goes beyond ASCII.
    """
    cdef uint8_t c, seen = 0
    cdef int unit
    while at < size:
        c = data[at]
        if c == 34:
            unusual[0] = seen
            return at + 1
        if c == 92:
            seen |= 1
            if at + 1 >= size:
                return -1
            c = data[at + 1]
            if c == 117:
                unit = _unit(data, size, at + 2)
                if unit < 0 or 0xDC00 <= unit <= 0xDFFF:
                    return -1
                at += 6
                if 0xD800 <= unit <= 0xDBFF:
                    if at + 6 > size or data[at] != 92 or data[at + 1] != 117:
                        return -1
                    unit = _unit(data, size, at + 2)
                    if not 0xDC00 <= unit <= 0xDFFF:
                        return -1
                    at += 6
            elif c in (34, 92, 47, 98, 102, 110, 114, 116):
                at += 2
            else:
                return -1
        elif c < 32:
            return -1
        else:
            seen |= c & 128
            at += 1
    return -1


cdef Py_ssize_t _digits(const uint8_t *data, Py_ssize_t size, Py_ssize_t at) noexcept:
    """Return the end of digits; -1 if there are none, or too many."""
    cdef Py_ssize_t start = at
    while at < size and 48 <= data[at] <= 57:
        at += 1
    return at if 0 < at - start <= _DIGITS else -1


cdef bint _delimited(const uint8_t *data, Py_ssize_t size, Py_ssize_t at) noexcept:
    return at < size and (_is_space(data[at]) or data[at] in (44, 93, 125))


cdef Py_ssize_t _number(const uint8_t *data, Py_ssize_t size, Py_ssize_t at) noexcept:
    """Return the end of a number, -1 if it is not whole or none."""
    if data[at] == 45:
        at += 1
    if at < size and data[at] == 48:
        at += 1
    else:
        at = _digits(data, size, at)
        if at < 0:
            return -1
    if at < size and data[at] == 46:
        at = _digits(data, size, at + 1)
        if at < 0:
            return -1
    if at < size and data[at] | 32 == 101:
        at += 1
        if at < size and data[at] in (43, 45):
            at += 1
        at = _digits(data, size, at)
    return at if at > 0 and _delimited(data, size, at) else -1


cdef Py_ssize_t _literal(const uint8_t *data, Py_ssize_t size, Py_ssize_t at) noexcept:
    """Return the end of a literal, -1 if it is not whole or none."""
    cdef Py_ssize_t end = -1
    if at + 4 < size and (memcmp(data + at, b"true", 4) == 0 or memcmp(data + at, b"null", 4) == 0):
        end = at + 4
    elif at + 5 < size and memcmp(data + at, b"false", 5) == 0:
        end = at + 5
    return end if end > 0 and _delimited(data, size, end) else -1


cdef class Scanner:
    """Reads for one `JsonMasker`; between calls, all that it knows is in that."""

    cdef Table table
    cdef Open *frames
    cdef Py_ssize_t depth_limit, name_limit, text_limit
    # Of one call.
    cdef object masker, stack, out
    cdef const uint8_t *data
    cdef Py_ssize_t size, at, sent
    cdef int depth, low, bottom, mute, expect, following, masked, budget
    cdef list hinted
    # The states of tokens, once one was made.
    cdef object inner, outer

    def __cinit__(self, Table table not None, masker):
        self.frames = <Open *>PyMem_Malloc(_FRAMES * sizeof(Open))
        if self.frames == NULL:
            raise MemoryError

    def __dealloc__(self):
        PyMem_Free(self.frames)

    def __init__(self, Table table not None, masker):
        self.table = table
        self.depth_limit = masker.limits.depth
        self.name_limit = masker.limits.name
        self.text_limit = masker.limits.text

    def scan(self, masker):
        """Read usual tokens from where the masker stands, as many as there are."""
        cdef const uint8_t[::1] view
        if masker._scanned or not self._enter(masker):
            return
        view = masker._buffer  # which cannot be resized meanwhile
        self.size = view.shape[0]
        if self.at < self.size:
            self.data = &view[0]
            while self.budget > 0 and self._token():
                pass
        self._leave(masker)

    cdef bint _enter(self, masker) except -1:
        """Take over where the masker stands; say whether that is usual."""
        self.expect = masker._expect
        self.stack = masker._stack
        self.depth = self.low = self.bottom = len(self.stack)
        if self.expect >= END or self.depth >= _FRAMES:
            return False
        self.following = 0
        if self.expect <= ELEMENT or self.expect == COLON:
            self.following = self.table.index.get(masker._next, -1)
            if self.following < 0:
                return False
        if self.depth and not self._load():
            return False
        self.masker, self.out = masker, masker._out
        self.at, self.sent, self.mute = masker._at, masker._sent, masker._mute
        self.budget, self.masked = masker._steps, 0
        self.hinted = [-1] * len(self.table.hints)
        return True

    cdef bint _load(self) except -1:
        """Take over the frame on top."""
        frame = self.stack[self.depth - 1]
        cdef int state = self.table.index.get(frame.state, -1)
        if state < 0:
            return False
        cdef Open *top = self._fill(state, frame.is_object)
        if not top.slow:
            top.seen, top.kept = frame.seen, frame.kept
        self.low = self.depth - 1
        return True

    cdef Open *_fill(self, int state, bint is_object) noexcept:
        cdef Open *top = &self.frames[self.depth - 1]
        cdef Node *node = &self.table.nodes[state]
        top.state, top.is_object, top.seen, top.kept = state, is_object, 0, False
        top.drops = is_object and node.drops
        top.slow = node.slow_members if is_object else node.slow_elements
        return top

    cdef object _leave(self, masker):
        """Put back where the masker stands."""
        cdef int at
        for at in range(self.low, min(self.bottom, self.depth)):
            if not self.frames[at].slow:
                self.stack[at].seen = self.frames[at].seen
                self.stack[at].kept = self.frames[at].kept
        del self.stack[self.bottom :]
        for at in range(self.bottom, self.depth):
            state = self.table.states[self.frames[at].state]
            frame = Frame(state, self.frames[at].is_object, self.frames[at].seen)
            frame.kept = self.frames[at].kept
            self.stack.append(frame)
        masker._at, masker._sent, masker._mute = self.at, self.sent, self.mute
        masker._expect, masker._steps = self.expect, self.budget
        masker._next = self.table.states[self.following]
        masker.masked += self.masked
        self.masker = self.stack = self.out = None

    cdef bint _token(self) except -1:
        """Read one token; say whether it was a usual one."""
        cdef Py_ssize_t at = self.at
        cdef const uint8_t *data = self.data
        cdef uint8_t c
        while at < self.size and _is_space(data[at]):
            at += 1
        if at >= self.size or self.expect >= END:
            return False
        c = data[at]
        if self.expect <= ELEMENT:
            if self.expect == FIRST_ELEMENT and c == 93:
                return self._close(at + 1)
            return self._value(at, c)
        if self.expect <= MEMBER:
            if self.expect == FIRST_MEMBER and c == 125:
                return self._close(at + 1)
            return c == 34 and self._name(at)
        if self.expect == COLON:
            if c != 58:
                return False
            self.at, self.expect = at + 1, VALUE
            return True
        cdef Open *top = &self.frames[self.depth - 1]
        if c == 44 and not top.slow:
            if top.drops:
                self._flush(at)
                self.sent = at + 1
            self.at = at + 1
            self.expect = MEMBER if top.is_object else ELEMENT
            self.following = self.table.nodes[top.state].element
            return True
        return c == (125 if top.is_object else 93) and self._close(at + 1)

    cdef bint _close(self, Py_ssize_t end) except -1:
        """End a container."""
        self.depth -= 1
        if self.bottom > self.depth:
            self.bottom = self.depth
        self._ended(end)
        if self.depth == 0:
            return False
        if self.depth - 1 < self.low and not self._load():
            raise AssertionError("an open container has a state that no rule leads to")
        return True

    cdef object _ended(self, Py_ssize_t end):
        self.at = end
        if self.mute == self.depth:
            self.sent, self.mute = end, -1
        self.expect = AFTER if self.depth else END

    cdef bint _name(self, Py_ssize_t start) except -1:
        """Read a name and its colon."""
        cdef Open *top = &self.frames[self.depth - 1]
        cdef uint8_t unusual = 0
        cdef Py_ssize_t end, at
        cdef int following = 0
        if top.slow:
            return False
        end = at = _string(self.data, self.size, start + 1, &unusual)
        if end < 0 or end - start > self.name_limit:
            return False
        while at < self.size and _is_space(self.data[at]):
            at += 1
        if at >= self.size or self.data[at] != 58:
            return False
        if top.state:
            following = self._lookup(top, start + 1, end - start - 2, unusual)
            if following < 0:
                return False
            if top.drops:
                self._keep_or_drop(top, self.table.nodes[following].drop)
        self.at, self.expect, self.following = at + 1, VALUE, following
        return True

    cdef object _keep_or_drop(self, Open *top, bint drop):
        """Begin a member where some are left out: the comma belongs to what is kept."""
        self._flush(self.at)
        if drop:
            self.mute = self.depth
            self.masked += 1
        else:
            if top.kept:
                self.out.append(b",")
            top.kept = True

    cdef int _lookup(
        self, Open *top, Py_ssize_t start, Py_ssize_t size, uint8_t unusual
    ) except -2:
        """Return the state of a member; -1 if it was there, and the plain reader has to decide."""
        cdef Node *node = &self.table.nodes[top.state]
        cdef Name *name
        cdef Py_ssize_t at
        cdef uint8_t c
        cdef int index
        if not node.named:
            return node.other
        if unusual:
            return self._unusual(top, start, size)
        for index in range(node.names, node.names_end):
            name = &self.table.names[index]
            if name.size != size:
                continue
            for at in range(size):
                c = self.data[start + at]
                if node.fold and 65 <= c <= 90:
                    c += 32
                if c != <uint8_t>name.text[at]:
                    break
            else:
                if top.seen & name.bit:
                    return -1
                top.seen |= name.bit
                return name.state
        return node.other

    cdef int _unusual(self, Open *top, Py_ssize_t start, Py_ssize_t size) except -2:
        """Return the same for a name with escapes, or beyond ASCII."""
        cdef bytes raw = PyBytes_FromStringAndSize(<char *>self.data + start - 1, size + 2)
        cdef uint64_t bit
        self.budget -= 1
        bit, state = self.table.states[top.state].member(leaves.decode(raw))
        if top.seen & bit:
            return -1
        top.seen |= bit
        return self.table.index[state]

    cdef bint _value(self, Py_ssize_t start, uint8_t c) except -1:
        """Read a scalar, or the beginning of a container."""
        cdef int state = 0 if self.mute >= 0 else self.following
        cdef Node *node = &self.table.nodes[state]
        cdef Py_ssize_t end
        cdef uint8_t unusual = 0
        if node.left or (self.expect != VALUE and self.frames[self.depth - 1].slow):
            return False
        if c == 34:
            end = _string(self.data, self.size, start + 1, &unusual)
            if end < 0:
                return False
            if node.strings and not self._leaf(
                state, node.strings, self.table.strings, start, end, unusual & 1
            ):
                return False
        elif c == 123 or c == 91:
            if node.containers or self.depth >= self.depth_limit or self.depth >= _FRAMES:
                return False
            self.depth += 1
            self._fill(state, c == 123)
            self.at = start + 1
            self.expect = FIRST_MEMBER if c == 123 else FIRST_ELEMENT
            self.following = self.table.nodes[state].element
            return True
        elif c == 45 or 48 <= c <= 57:
            end = _number(self.data, self.size, start)
            if end < 0:
                return False
            if node.numbers and not self._leaf(
                state, node.numbers, self.table.numbers, start, end, False
            ):
                return False
        else:
            end = _literal(self.data, self.size, start)
            if end < 0:
                return False
            if c != 110 and node.literals:
                self._leaf(state, node.literals, self.table.literals, start, end, False)
        self._ended(end)
        return True

    cdef bint _leaf(
        self, int state, uint8_t code, list constants, Py_ssize_t start, Py_ssize_t end,
        bint escaped
    ) except -1:
        """Pass or replace a scalar; say whether that was done."""
        cdef bytes shown, raw
        cdef int group
        if code == CONSTANT:
            shown = constants[state]
            if len(shown) != end - start or memcmp(<char *>shown, self.data + start, end - start):
                self._replace(start, end, shown)
            return True
        group = self.table.nodes[state].hints
        if group >= 0 and not escaped:
            if self.hinted[group] < start:
                self.budget -= 1
                self.hinted[group] = self.masker._hinted(self.table.hints[group], start)
            if self.hinted[group] >= end:
                return True
        if code == LEAVE or end - start > self.text_limit:
            return False
        raw = PyBytes_FromStringAndSize(<char *>self.data + start, end - start)
        if code == HASH:
            self.budget -= 2 + <int>((end - start) // 512)
            self._replace(start, end, self._hashed(raw, escaped))
            return True
        self.budget -= self.masker._cost(self.table.effects[state], end - start)
        shown = leaves.string(
            self.table.effects[state], raw, self.masker.key, self.masker.rewrite
        )
        if shown != raw:
            self._replace(start, end, shown)
        return True

    cdef bytes _hashed(self, bytes raw, bint escaped):
        """Return the token of a string; as `leaves.hashed`, which is the reference."""
        cdef bytes digest, shown
        cdef char *out
        cdef const uint8_t *raised
        cdef int at
        if escaped:
            return leaves.hashed(raw, self.masker.key)
        if self.inner is None:
            self.inner, self.outer = keyed(self.masker.key)
        inside, outside = self.inner.copy(), self.outer.copy()
        inside.update(raw[1 : len(raw) - 1])
        outside.update(inside.digest())
        digest = outside.digest()
        shown = PyBytes_FromStringAndSize(NULL, 34)
        out, raised = shown, digest
        out[0] = out[33] = 34
        for at in range(16):
            out[1 + 2 * at] = _DIGITS_OF_HEX[raised[at] >> 4]
            out[2 + 2 * at] = _DIGITS_OF_HEX[raised[at] & 15]
        return shown

    cdef object _replace(self, Py_ssize_t start, Py_ssize_t end, bytes shown):
        """Put something out in place of a value."""
        self._flush(start)
        self.out.append(shown)
        self.sent = end
        self.masked += 1

    cdef object _flush(self, Py_ssize_t end):
        """Put out what was passed, up to here; only called where all is put out."""
        if end > self.sent:
            self.out.append(PyBytes_FromStringAndSize(<char *>self.data + self.sent, end - self.sent))
        self.sent = end
