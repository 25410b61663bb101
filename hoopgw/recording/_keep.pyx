# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""`SpoolRecorder.write_allowed` and `put_off_encoded`, compiled, with the counting around them.

Optional; the plain ones are the reference. Whatever is not the usual case (recording is refused, a
record is too long, the segment has no room) is left to them, with the spool as it was before.
"""

from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_GET_SIZE, PyByteArray_Resize
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcpy

from hoopgw.recording.client import PUT_OFF_LIMIT
from hoopgw.recording.framing import END_WORD, RECORD_LIMIT, SPOOL_HEADER_SIZE

cdef extern from *:
    """
    static void publish(uint64_t *word, uint64_t value) {
        __atomic_store_n(word, value, __ATOMIC_RELEASE);
    }
    """
    void publish(uint64_t *word, uint64_t value) noexcept nogil

cdef Py_ssize_t _PUT_OFF_LIMIT = PUT_OFF_LIMIT
cdef Py_ssize_t _RECORD_LIMIT = RECORD_LIMIT
cdef Py_ssize_t _END = END_WORD
cdef Py_ssize_t _BEGIN = SPOOL_HEADER_SIZE


cdef inline void _put_length(uint8_t *to, Py_ssize_t size) noexcept:
    to[0], to[1] = <uint8_t>(size >> 24), <uint8_t>(size >> 16)
    to[2], to[3] = <uint8_t>(size >> 8), <uint8_t>size


cdef class Keeper:
    """Keeps encoded records in the spool of a `SpoolRecorder`, and counts those allowed."""

    cdef object _recorder, _counters
    cdef object _mapped  # that `_ring` is of
    cdef uint8_t[::1] _ring

    def __init__(self, recorder, counters):
        self._recorder, self._counters = recorder, counters

    def write_allowed(self, bytes record not None):
        """Keep an intent that is allowed, with all that was put off before it."""
        cdef object recorder = self._recorder, writer = self._recorder._writer
        cdef bytearray waiting = recorder._waiting
        cdef Py_ssize_t before = PyByteArray_GET_SIZE(waiting), size = PyBytes_GET_SIZE(record)
        cdef Py_ssize_t offset = writer.offset, end = offset + before + 4 + size
        cdef uint8_t[4] length
        if end > <Py_ssize_t>recorder._bound or size > _RECORD_LIMIT:
            recorder.write_allowed(record)
        else:
            if writer._map is not self._mapped:
                self._ring = writer._map
                self._mapped = writer._map
            _put_length(length, size)
            offset = self._put(offset, <uint8_t *>PyByteArray_AS_STRING(waiting), before)
            offset = self._put(offset, length, 4)
            self._put(offset, <uint8_t *>PyBytes_AS_STRING(record), size)
            publish(<uint64_t *>&self._ring[0] + _END, end)
            writer.offset = end
            if before:
                PyByteArray_Resize(waiting, 0)
            recorder._records += 1
        self._counters["operations_allow"] += 1

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
        """Keep a record with the next intent, or soon."""
        cdef object recorder = self._recorder
        cdef bytearray waiting = recorder._waiting
        cdef Py_ssize_t before = PyByteArray_GET_SIZE(waiting), size = PyBytes_GET_SIZE(record)
        cdef uint8_t *to
        if (
            before > _PUT_OFF_LIMIT
            or size > _RECORD_LIMIT
            or recorder._flush_call is None
            or recorder._stopped
        ):
            recorder.put_off_encoded(record)
            return
        PyByteArray_Resize(waiting, before + 4 + size)
        to = <uint8_t *>PyByteArray_AS_STRING(waiting) + before
        _put_length(to, size)
        memcpy(to + 4, PyBytes_AS_STRING(record), size)
        recorder._records += 1
