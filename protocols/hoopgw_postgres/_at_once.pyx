# cython: language_level=3, boundscheck=False, wraparound=False, auto_pickle=False
"""`at_once.AtOnce`, compiled: the short way of a statement that is simply allowed.

Optional; the plain one is the reference, and has the reasons. This one takes what the plain one
takes, or less: whatever is unusual is left to the usual way before anything was done. It parses,
counts and packs records by itself; who decides, who records and who sends are the same. To save
calls, it looks at what these keep for themselves.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memchr, memcmp, memcpy

from hoopgw.errors import RecorderError
from hoopgw.transport._dispatch import write
from hoopgw_postgres.at_once import ANSWER_LIMIT, LIMIT
from hoopgw_postgres.flow import NAMES_LIMIT, Prepared, Running, Step, Work
from hoopgw_postgres.shape import shape

cdef extern from "time.h" nogil:
    struct timespec:
        long tv_sec
        long tv_nsec
    int clock_gettime(int clock, timespec *now)
    const int CLOCK_REALTIME

cdef object _QUERY = Step.QUERY
cdef object _RUN = Step.RUN
cdef Py_ssize_t _LIMIT = LIMIT
cdef Py_ssize_t _ANSWER_LIMIT = ANSWER_LIMIT
cdef Py_ssize_t _NAMES_LIMIT = NAMES_LIMIT
cdef const char *_EXECUTE_SYNC = b"E\0\0\0\x09\0\0\0\0\0S\0\0\0\x04"
cdef const char *_DESCRIBE = b"D\0\0\0\x06P\0"


# Bytes


cdef inline uint16_t _u16(const uint8_t *at) noexcept:
    return <uint16_t>(at[0] << 8 | at[1])


cdef inline uint32_t _u32(const uint8_t *at) noexcept:
    return <uint32_t>at[0] << 24 | <uint32_t>at[1] << 16 | <uint32_t>at[2] << 8 | at[3]


cdef bint _codes_fit(const uint8_t *at, Py_ssize_t count) noexcept:
    cdef Py_ssize_t each
    for each in range(count):
        if _u16(at + 2 * each) > 1:
            return False
    return True


cdef Py_ssize_t _bound_name(const uint8_t *body, Py_ssize_t size) noexcept:
    """Return the length of the statement's name in a Bind of the unnamed portal; -1 if it is none.

    All that `wire.parse_bind` checks is checked.
    """
    cdef const uint8_t *found
    cdef Py_ssize_t at, name
    cdef uint16_t formats, count, each
    cdef int32_t length
    if size < 2 or body[0]:
        return -1
    found = <const uint8_t *>memchr(body + 1, 0, size - 1)
    if found == NULL:
        return -1
    name = found - body - 1
    at = name + 2
    if at + 2 > size:
        return -1
    formats = _u16(body + at)
    at += 2
    if at + 2 * formats + 2 > size or not _codes_fit(body + at, formats):
        return -1
    at += 2 * formats
    count = _u16(body + at)
    at += 2
    if formats > 1 and formats != count:
        return -1
    for each in range(count):
        if at + 4 > size:
            return -1
        length = <int32_t>_u32(body + at)
        at += 4
        if length < -1:
            return -1
        if length > 0:
            at += length
    if at + 2 > size:
        return -1
    count = _u16(body + at)
    at += 2
    return name if at + 2 * count == size and _codes_fit(body + at, count) else -1


cdef bint _runs_rest(const uint8_t *rest, Py_ssize_t size) noexcept:
    """Whether all that follows a Bind is Execute and Sync, with or without a Describe before."""
    if size == 22 and memcmp(rest, _DESCRIBE, 7) == 0:
        rest, size = rest + 7, 15
    return size == 15 and memcmp(rest, _EXECUTE_SYNC, 15) == 0


# MessagePack, as msgspec writes it


cdef inline uint8_t *_put_uint(uint8_t *to, uint64_t value) noexcept:
    cdef int size
    if value < 128:
        to[0] = <uint8_t>value
        return to + 1
    if value < 1 << 8:
        to[0], size = 0xCC, 1
    elif value < 1 << 16:
        to[0], size = 0xCD, 2
    elif value < <uint64_t>1 << 32:
        to[0], size = 0xCE, 4
    else:
        to[0], size = 0xCF, 8
    to += 1
    while size:
        size -= 1
        to[0] = <uint8_t>(value >> (8 * size))
        to += 1
    return to


cdef inline uint8_t *_put_raw(uint8_t *to, const char *data, Py_ssize_t size) noexcept:
    memcpy(to, data, size)
    return to + size


cdef inline uint8_t *_put_bin(uint8_t *to, const char *data, Py_ssize_t size) noexcept:
    if size < 1 << 8:
        to[0], to[1] = 0xC4, <uint8_t>size
        to += 2
    else:  # less than 64 KB: twice `LIMIT`, with the types, and `ANSWER_LIMIT` are
        to[0], to[1], to[2] = 0xC5, <uint8_t>(size >> 8), <uint8_t>size
        to += 3
    return _put_raw(to, data, size)


cdef inline uint8_t *_put_str(uint8_t *to, const char *data, Py_ssize_t size) noexcept:
    """Put a text of less than 256 bytes."""
    if size < 32:
        to[0] = <uint8_t>(0xA0 | size)
        to += 1
    else:
        to[0], to[1] = 0xD9, <uint8_t>size
        to += 2
    return _put_raw(to, data, size)


cdef inline uint8_t *_put_piece(uint8_t *to, bytes piece) noexcept:
    return _put_raw(to, PyBytes_AS_STRING(piece), PyBytes_GET_SIZE(piece))


cdef inline uint8_t *_put_length(uint8_t *to, uint64_t value) noexcept:
    cdef int byte
    for byte in range(8):
        to[byte] = <uint8_t>(value >> (56 - 8 * byte))
    return to + 8


cdef int64_t _now() noexcept:
    cdef timespec now
    clock_gettime(CLOCK_REALTIME, &now)
    return <int64_t>now.tv_sec * 1000000000 + now.tv_nsec


# The short way


cdef class AtOnce:
    """One session's short way, as `at_once.AtOnce`."""

    cdef object _flow, _answers, _client, _target, _judge, _journal, _policy, _sent
    cdef object _spare  # a Work with its Running that went this way to the end: nobody has it now
    cdef object _write, _put_off
    cdef dict _forms
    cdef bytes _result_head, _result_tail
    # What `_ask` has found:
    cdef object step, prepared, parsed
    cdef bytes text, parameters

    def __init__(self, flow, answers, client, target, judge, journal):
        self._flow, self._answers = flow, answers
        self._client, self._target = client, target
        self._judge, self._journal, self._policy = judge, journal, judge._policy
        self._forms = journal.forms
        self._result_head, self._result_tail = journal.result_form()
        self._write, self._put_off = journal.writers()

    def take(self, data):
        """Take all that the client sent; False, with nothing done, if the usual way must look."""
        cdef object flow = self._flow
        cdef bytes piece
        cdef bint in_transaction
        if not 5 < len(data) <= _LIMIT or flow.failed or flow.skipping or flow.in_segment:
            return False
        if self._answers.tail:
            return False  # the target is in the middle of a message that nobody asked for
        piece = bytes(data)
        in_transaction = flow.touched or flow.status != b"I"
        if not self._ask(piece, in_transaction):
            return False
        judged = self._known(in_transaction)
        if judged is None or not judged.is_plain:
            return False
        work = self._intend(judged)
        if work is None:
            return False
        flow.touched = True
        self._sent = work
        if self.parsed is not None:
            # The target forgets the unnamed statement before it parses another.
            flow.statements.known.pop(b"", None)
            work.prepared = Prepared(self.text, judged, self.parsed)
        work.piece = piece
        flow.pending.append(work)
        write(self._target, piece)
        return True

    cdef bint _ask(self, bytes piece, bint in_transaction) except -1:
        """Find out what a piece would run: step, text, parameters, and where the text is from."""
        cdef const uint8_t *at = <const uint8_t *>PyBytes_AS_STRING(piece)
        cdef Py_ssize_t size = PyBytes_GET_SIZE(piece)
        cdef Py_ssize_t name, end = 1 + <Py_ssize_t>_u32(at + 1)
        if at[0] == b"Q":
            if end != size or memchr(at + 5, 0, size - 5) != at + size - 1:
                return False
            self.step, self.text, self.parameters = _QUERY, piece[5 : size - 1], b""
            self.prepared = self.parsed = None
            return True
        if in_transaction or end < 5 or end >= size:
            return False  # what is bound in a transaction lives on
        if at[0] == b"P":
            return self._ask_parsed(piece, end)
        if at[0] != b"B" or not _runs_rest(at + end, size - end):
            return False
        name = _bound_name(at + 5, end - 5)
        if name < 0:
            return False
        prepared = self._flow.statements.known.get(piece[6 : 6 + name])
        if prepared is None or len(prepared.types) > _LIMIT:
            return False
        self.step, self.text, self.prepared, self.parsed = _RUN, prepared.text, prepared, None
        self.parameters = prepared.types + piece[7 + name : end]
        return True

    cdef bint _ask_parsed(self, bytes piece, Py_ssize_t begin) except -1:
        """Find out what a Parse of the unnamed statement, and a Bind behind it, would run."""
        cdef const uint8_t *at = <const uint8_t *>PyBytes_AS_STRING(piece)
        cdef const uint8_t *found
        cdef Py_ssize_t size = PyBytes_GET_SIZE(piece), end, text_end
        if begin < 9 or begin + 5 > size or at[begin] != b"B" or at[5]:
            return False
        found = <const uint8_t *>memchr(at + 6, 0, begin - 6)
        if found == NULL:
            return False
        text_end = found - at
        if text_end + 3 > begin or text_end + 3 + 4 * _u16(found + 1) != begin:
            return False
        end = begin + 1 + <Py_ssize_t>_u32(at + begin + 1)
        if end < begin + 5 or end >= size or not _runs_rest(at + end, size - end):
            return False
        if len(self._flow.statements) >= _NAMES_LIMIT:
            return False
        if _bound_name(at + begin + 5, end - begin - 5) != 0:
            return False
        self.step, self.prepared = _RUN, None
        self.text, self.parsed = piece[6:text_end], piece[text_end + 3 : begin]
        self.parameters = self.parsed + piece[begin + 7 : end]
        return True

    cdef object _known(self, bint in_transaction):
        """Return what is known of the text, as `Judge.known`."""
        cdef object judge = self._judge, judged = None
        cdef dict decided
        if self._policy.epoch != judge._epoch or judge._outdated:
            return judge.known(self.text, in_transaction)
        decided = judge._decided
        judged = decided.get((self.text, in_transaction))
        if judged is None:
            key = shape(self.text)
            if key is not None:
                judged = decided.get((key, in_transaction))
        return judged

    cdef object _intend(self, object judged):
        """Write the intent, as `Journal.plain`; return what is to be sent, or None: not kept."""
        cdef object journal = self._journal
        cdef int64_t now = _now()
        cdef object form = self._forms.get(judged)
        cdef object named = self.prepared
        cdef int64_t sequence
        try:
            if named is not None:
                named = named.number or journal.text_number(named)
            if form is None or now >= form.until:
                form = journal.form(judged, now)
            sequence = journal.sequence
            self._write(self._packed(form, sequence, now, named))
        except RecorderError:
            return None  # the usual way tells the client
        journal.sequence = sequence + 1
        work, self._spare = self._spare, None
        if work is None:
            return Work(self.step, Running(judged, self.text, sequence, now, None))
        running = work.running
        running.judged, running.text, running.intent, running.started = (
            judged, self.text, sequence, now
        )
        work.step = self.step
        return work

    cdef bytes _packed(self, object form, int64_t sequence, int64_t now, object named):
        cdef bytes head = form.head, middle = form.middle, tail = form.tail
        cdef bytes text = self.text, parameters = self.parameters, digest = self._digest()
        cdef Py_ssize_t most = 64 + len(head) + len(middle) + len(tail) + len(digest)
        cdef bytes packed = PyBytes_FromStringAndSize(NULL, most + len(text) + len(parameters))
        cdef uint8_t *start = <uint8_t *>PyBytes_AS_STRING(packed)
        cdef uint8_t *to = _put_piece(start, head)
        to = _put_uint(to, sequence)
        to = _put_uint(to, now)
        to = _put_piece(to, middle)
        if named is not None:
            to = _put_uint(to, named)
        else:
            to = _put_bin(to, PyBytes_AS_STRING(text), len(text))
        to = _put_bin(to, PyBytes_AS_STRING(parameters), len(parameters))
        to = _put_bin(to, PyBytes_AS_STRING(digest), len(digest))
        to = _put_piece(to, tail)
        return packed[: to - start]

    cdef bytes _digest(self):
        """Return the digest of what would run, as `Journal.plain`."""
        cdef bytes text = self.text, parameters = self.parameters
        cdef bytes data = PyBytes_FromStringAndSize(NULL, 16 + len(text) + len(parameters))
        cdef uint8_t *to = <uint8_t *>PyBytes_AS_STRING(data)
        to = _put_piece(_put_length(to, len(text)), text)
        _put_piece(_put_length(to, len(parameters)), parameters)
        state = self._journal.state.copy()
        state.update(data)
        return state.digest()

    def answered(self, data):
        """Pass the target's answer on, if it is whole; False if the usual way must look."""
        cdef object work = self._sent, flow = self._flow
        cdef bytes answer, tag
        cdef const uint8_t *at
        cdef const uint8_t *last
        cdef uint32_t length
        cdef Py_ssize_t rows = 0
        self._sent = None
        if work is None or not 5 < len(data) <= _ANSWER_LIMIT or len(flow.pending) != 1:
            return False
        answer = bytes(data)
        at = <const uint8_t *>PyBytes_AS_STRING(answer)
        last = at + PyBytes_GET_SIZE(answer) - 6
        if memcmp(last, b"Z\0\0\0\5", 5):
            return False
        tag = b""
        while at < last:
            length = _u32(at + 1)
            if length < 4 or <Py_ssize_t>length >= last - at:
                return False
            if at[0] == b"D":
                rows += 1
            elif at[0] == b"C":
                tag = PyBytes_FromStringAndSize(<const char *>at + 5, max(<Py_ssize_t>length - 5, 0))
            elif at[0] != b"T" and (work.step is _QUERY or (at[0] != b"1" and at[0] != b"2")):
                return False
            at += 1 + length
        if at != last or not tag:
            return False
        self._finish(work, answer, rows, tag)
        return True

    cdef int _finish(self, object work, bytes answer, Py_ssize_t rows, bytes tag) except -1:
        cdef object flow = self._flow, running = work.running
        flow.pending.clear()
        if work.prepared is not None:
            flow.statements.known[b""] = work.prepared
        if not self._note_result(running, answer, rows, tag):
            running.rows, running.sent = rows, len(answer)
            running.outcome = tag.decode("utf-8", "replace")
            running.output.append(answer)
            self._journal.finished(running)
        elif work.prepared is None:
            self._spare = work
        if answer[len(answer) - 1] == b"I" and not flow.portals.known:
            flow.status = b"I"
            flow.copying_in = flow.tainted = flow.touched = False
        else:
            if work.step is _RUN:
                flow.ran_at_once(work.piece, answer[len(answer) - 1 :])
            flow.ready(answer[len(answer) - 1 :])
        write(self._client, answer)
        if flow._awaited is not None:
            flow.answered()  # else there is nobody to tell, and no name was in doubt
        return 0

    cdef bint _note_result(
        self, object running, bytes answer, Py_ssize_t rows, bytes tag
    ) except -1:
        """Note the result as `Journal.finished`; False if it is not of the usual kind."""
        cdef int64_t now = _now(), started = running.started, sequence
        cdef bytes packed, head = self._result_head, tail = self._result_tail
        cdef uint8_t *start
        cdef uint8_t *to
        if now < started or len(tag) > 255 or not tag.isascii():
            return False
        packed = PyBytes_FromStringAndSize(NULL, 96 + len(head) + len(tail) + len(tag) + len(answer))
        sequence = self._journal.sequence
        start = <uint8_t *>PyBytes_AS_STRING(packed)
        to = _put_piece(start, head)
        to = _put_uint(_put_uint(to, sequence), now)
        to = _put_uint(to, running.intent)
        to = _put_str(to, PyBytes_AS_STRING(tag), len(tag))
        to = _put_uint(_put_uint(to, rows), 0)
        to = _put_uint(to, len(answer))
        to = _put_bin(to, PyBytes_AS_STRING(answer), len(answer))
        to = _put_uint(to, now - started)
        to = _put_piece(to, tail)
        self._journal.sequence = sequence + 1
        self._put_off(packed[: to - start])
        return True
