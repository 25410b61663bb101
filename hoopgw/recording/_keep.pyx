# cython: language_level=3, boundscheck=False, wraparound=False
"""`SpoolRecorder.write_allowed` and `put_off_encoded`, compiled, with the counting around them.

Optional; the plain ones are the reference. Whatever is not the usual case (recording is refused, a
record is too long, the disk takes not all) is left to them, with the spool as it was before.
"""

from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_GET_SIZE, PyByteArray_Resize
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t
from libc.string cimport memcpy

from hoopgw.recording.client import PUT_OFF_LIMIT
from hoopgw.recording.framing import RECORD_LIMIT

cdef extern from "unistd.h" nogil:
    ssize_t c_write "write"(int fd, const void *data, size_t size)

cdef Py_ssize_t _PUT_OFF_LIMIT = PUT_OFF_LIMIT
cdef Py_ssize_t _RECORD_LIMIT = RECORD_LIMIT


cdef int _frame(bytearray waiting, bytes record) except -1:
    """Put a frame behind those that wait."""
    cdef Py_ssize_t before = PyByteArray_GET_SIZE(waiting), size = PyBytes_GET_SIZE(record)
    cdef uint8_t *to
    PyByteArray_Resize(waiting, before + 4 + size)
    to = <uint8_t *>PyByteArray_AS_STRING(waiting) + before
    to[0], to[1] = <uint8_t>(size >> 24), <uint8_t>(size >> 16)
    to[2], to[3] = <uint8_t>(size >> 8), <uint8_t>size
    memcpy(to + 4, PyBytes_AS_STRING(record), size)
    return 0


cdef class Keeper:
    """Keeps encoded records in the spool of a `SpoolRecorder`, and counts those allowed."""

    cdef object _recorder, _counters

    def __init__(self, recorder, counters):
        self._recorder, self._counters = recorder, counters

    def write_allowed(self, bytes record not None):
        """Keep an intent that is allowed, with all that was put off before it."""
        cdef object recorder = self._recorder, writer = self._recorder._writer
        cdef bytearray waiting = recorder._waiting
        cdef Py_ssize_t before = PyByteArray_GET_SIZE(waiting), size
        cdef ssize_t written
        if writer.offset >= recorder._bound or PyBytes_GET_SIZE(record) > _RECORD_LIMIT:
            recorder.write_allowed(record)
        else:
            _frame(waiting, record)
            size = PyByteArray_GET_SIZE(waiting)
            written = c_write(writer._fd, PyByteArray_AS_STRING(waiting), size)
            if written == size:
                writer.offset += size
                PyByteArray_Resize(waiting, 0)
                recorder._records += 1
            else:
                PyByteArray_Resize(waiting, before)
                if written > 0:
                    writer.cut()
                recorder.write_allowed(record)  # it finds out what is wrong, and says so
        self._counters["operations_allow"] += 1

    def put_off_encoded(self, bytes record not None):
        """Keep a record with the next intent, or soon."""
        cdef object recorder = self._recorder
        cdef bytearray waiting = recorder._waiting
        if (
            PyByteArray_GET_SIZE(waiting) > _PUT_OFF_LIMIT
            or PyBytes_GET_SIZE(record) > _RECORD_LIMIT
            or recorder._flush_call is None
            or recorder._stopped
        ):
            recorder.put_off_encoded(record)
            return
        _frame(waiting, record)
        recorder._records += 1
