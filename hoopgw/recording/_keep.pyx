# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""`SpoolRecorder.write_allowed` and `put_off_encoded`, compiled, with the counting around them.

Optional; the plain ones are the reference. Whatever is not the usual case (recording is refused, a
record is too long, the segment has no room) is left to them, with the spool as it was before.
"""

from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_GET_SIZE, PyByteArray_Resize
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.string cimport memcpy

from hoopgw.recording import spool
from hoopgw.recording.framing import END_WORD, RECORD_LIMIT, SPOOL_HEADER_SIZE

cdef extern from "Python.h":
    void Py_SET_SIZE(object value, Py_ssize_t size) noexcept

cdef extern from *:
    """
    static void publish(uint64_t *word, uint64_t value) {
        __atomic_store_n(word, value, __ATOMIC_RELEASE);
    }
    """
    void publish(uint64_t *word, uint64_t value) noexcept nogil

cdef Py_ssize_t _OFFSET = spool.OFFSET_CELL
cdef Py_ssize_t _SEGMENTS = spool.SEGMENTS_CELL
cdef Py_ssize_t _BOUND = spool.BOUND_CELL
cdef Py_ssize_t _RECORDS = spool.RECORDS_CELL
cdef Py_ssize_t _WAITING = spool.WAITING_CELL
cdef Py_ssize_t _RECORD_LIMIT = RECORD_LIMIT
cdef Py_ssize_t _END = END_WORD
cdef Py_ssize_t _BEGIN = SPOOL_HEADER_SIZE


cdef inline void _put_length(uint8_t *to, Py_ssize_t size) noexcept:
    to[0], to[1] = <uint8_t>(size >> 24), <uint8_t>(size >> 16)
    to[2], to[3] = <uint8_t>(size >> 8), <uint8_t>size


cdef class Keeper:
    """Keeps encoded records in the spool of a `SpoolRecorder`, and counts those allowed.

    It looks at the numbers that both share, and at no object of Python's: each would be some more
    cold lines of memory.
    """

    cdef object _recorder, _counters
    cdef bytearray _waiting
    cdef int64_t[::1] _cells
    cdef uint8_t[::1] _ring
    cdef int64_t _segments  # when `_ring` was taken

    def __init__(self, recorder, counters):
        self._recorder, self._counters = recorder, counters
        self._waiting, self._cells = recorder._waiting, recorder._cells
        self._segments = -1

    def write_allowed(self, bytes record not None):
        """Keep an intent that is allowed, with all that was put off before it."""
        cdef Py_ssize_t before = PyByteArray_GET_SIZE(self._waiting), size = PyBytes_GET_SIZE(record)
        if self._cells[_OFFSET] + before + 4 + size > self._cells[_BOUND] or size > _RECORD_LIMIT:
            self._recorder.write_allowed(record)
        else:
            self._keep(before, record, size)
            if before:
                # Unlike a resize, it leaves the memory to the next.
                PyByteArray_AS_STRING(self._waiting)[0] = 0
                Py_SET_SIZE(self._waiting, 0)
        self._counters["operations_allow"] += 1

    cdef int _keep(self, Py_ssize_t before, bytes record, Py_ssize_t size) except -1:
        """Put what waits, and a record behind it, into the ring, where there is room for both."""
        cdef int64_t *cells = &self._cells[0]
        cdef Py_ssize_t offset = cells[_OFFSET]
        cdef uint8_t[4] length
        if cells[_SEGMENTS] != self._segments:
            self._ring = self._recorder._writer._map
            self._segments = cells[_SEGMENTS]
        _put_length(length, size)
        if before:
            offset = self._put(offset, <uint8_t *>PyByteArray_AS_STRING(self._waiting), before)
        offset = self._put(offset, length, 4)
        offset = self._put(offset, <uint8_t *>PyBytes_AS_STRING(record), size)
        publish(<uint64_t *>&self._ring[0] + _END, offset)
        cells[_OFFSET] = offset
        cells[_RECORDS] += 1
        return 0

    cdef Py_ssize_t _put(self, Py_ssize_t offset, const uint8_t *data, Py_ssize_t size) noexcept:
        """Copy into the ring, round its end if need be; return the offset behind."""
        cdef Py_ssize_t capacity = self._ring.shape[0] - _BEGIN
        cdef Py_ssize_t at = (offset - _BEGIN) % capacity  # neither is negative
        cdef Py_ssize_t first = min(size, capacity - at)
        cdef uint8_t *ring = &self._ring[0] + _BEGIN
        memcpy(ring + at, data, first)
        memcpy(ring, data + first, size - first)
        return offset + size

    def put_off_encoded(self, bytes record not None):
        """Keep a record now if there is room, else with the next intent, or soon."""
        cdef bytearray waiting = self._waiting
        cdef Py_ssize_t before = PyByteArray_GET_SIZE(waiting), size = PyBytes_GET_SIZE(record)
        cdef uint8_t *to
        if not before and self._cells[_OFFSET] + 4 + size <= self._cells[_BOUND] and size <= _RECORD_LIMIT:
            self._keep(0, record, size)
            return
        if before > self._cells[_WAITING] or size > _RECORD_LIMIT:
            self._recorder.put_off_encoded(record)
            return
        PyByteArray_Resize(waiting, before + 4 + size)
        to = <uint8_t *>PyByteArray_AS_STRING(waiting) + before
        _put_length(to, size)
        memcpy(to + 4, PyBytes_AS_STRING(record), size)
        self._cells[_RECORDS] += 1
