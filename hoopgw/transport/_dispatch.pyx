# cython: language_level=3, boundscheck=False, wraparound=False
"""The steps of `reactor` and `stream` that every small statement pays for, compiled.

Optional: `hoopgw.transport.reactor` says whether it is there. What it does is what
`reactor.ready`, `DataTransport.doRead` and `DataTransport.write` do in Python, and whatever is not
so simple (the end of a stream, an error, a short write, a handshake) it leaves to them. It owns no
descriptor and no TLS: it calls ``epoll_wait``, ``recv`` and ``send`` on what they own.
"""

from cpython.memoryview cimport PyMemoryView_FromMemory
from cpython.buffer cimport PyBUF_READ
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.errno cimport EAGAIN, EINTR, errno
from libc.math cimport ceil
from libc.stdint cimport uint32_t, uint64_t

import ssl

from twisted.python.failure import Failure

from hoopgw.transport.stream import DataTransport
from hoopgw.transport.tls import PLAIN, RECORD

cdef extern from "sys/socket.h" nogil:
    ssize_t recv(int fd, void *buffer, size_t size, int flags)
    ssize_t c_send "send"(int fd, const void *data, size_t size, int flags)
    const int MSG_NOSIGNAL
    const int MSG_DONTWAIT

cdef extern from "sys/epoll.h" nogil:
    ctypedef union epoll_data_t:
        int fd
        uint64_t u64
    struct epoll_event:
        uint32_t events
        epoll_data_t data
    int epoll_wait(int epfd, epoll_event *events, int most, int timeout)
    const uint32_t EPOLLIN
    const uint32_t EPOLLOUT
    const uint32_t EPOLLERR
    const uint32_t EPOLLHUP

cdef extern from "time.h" nogil:
    struct timespec:
        long tv_sec
        long tv_nsec
    int clock_gettime(int clock, timespec *now)
    const int CLOCK_MONOTONIC

cdef enum:
    MOST = 64
    SIZE = 262144  # as stream.BUFFER_SIZE

cdef char BUFFER[SIZE]
cdef type _LEG = DataTransport
cdef object _PLAIN = PLAIN
cdef object _RECORD = RECORD
cdef object _WANTS_MORE = ssl.SSLWantReadError
cdef object _CLOSED = ssl.SSLZeroReturnError
cdef object _TLS_ERROR = ssl.SSLError


cdef double _seconds() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return now.tv_sec + now.tv_nsec * 1e-9


def ready(object poller, double wait, dict selectables):
    """Wait for events, and serve the data transports that have some.

    As long as all of them only carry bytes for one another, it waits again, until ``wait`` is over.

    Args:
        poller: a `select.epoll`.
        wait: seconds; negative is for ever.
        selectables: descriptor to what it belongs to.

    Returns:
        What happened to others, as pairs of descriptor and event; None if nothing happened at all.

    """
    cdef epoll_event events[MOST]
    cdef int count, at, fd, timeout, epoll = poller.fileno()
    cdef uint32_t event
    cdef bint python
    cdef double until = _seconds() + wait if wait >= 0 else -1
    cdef list others
    while True:
        timeout = -1 if wait < 0 else <int>ceil(wait * 1000)
        with nogil:
            count = epoll_wait(epoll, events, MOST, timeout)
        if count < 0 and errno != EINTR:
            raise OSError(errno, "epoll_wait")
        if count <= 0:
            return None
        others = []
        python = False
        for at in range(count):
            fd, event = events[at].data.fd, events[at].events
            leg = selectables.get(fd)
            if leg is None:
                continue  # removed by an earlier event of this round
            if type(leg) is not _LEG:
                others.append((fd, event))
                continue
            if event & (EPOLLIN | EPOLLHUP | EPOLLERR):
                python |= _read(leg, fd)
            if event & EPOLLOUT:
                python = True
                if leg.connected:
                    leg.doWrite()
        if others or python:
            return others
        if until >= 0:
            wait = until - _seconds()
            if wait <= 0:
                return others


cdef bint _read(object leg, int fd) except -1:
    """Read once and deliver, as `DataTransport.doRead`; say whether anything but bytes moved."""
    cdef object other = leg._carry_to
    cdef object tls = leg._tls
    cdef ssize_t count
    if leg._closing or (tls is not None and not tls.established):
        leg.doRead()
        return True
    if other is not None and tls is None and other._tls is None and _is_free(other):
        return _carry(leg, other, fd)
    count = recv(fd, BUFFER, SIZE, MSG_DONTWAIT)
    if count <= 0:
        return _not_read(leg, count)
    try:
        data = PyMemoryView_FromMemory(BUFFER, count, PyBUF_READ)
        if tls is None:
            leg.protocol.dataReceived(data)
        else:
            tls.feed(data)
            _deliver(leg, tls)
    except Exception:
        leg.raised()
    return True


cdef bint _is_free(object leg) except -1:
    """Whether what is written goes to the kernel at once."""
    return leg.connected and not leg._closing and not leg._queue


cdef bint _carry(object leg, object other, int fd) except -1:
    """Send to one what came from another; what the kernel does not take is written as ever."""
    cdef ssize_t sent, count = recv(fd, BUFFER, SIZE, MSG_DONTWAIT)
    if count <= 0:
        return _not_read(leg, count)
    sent = c_send(other._fd, BUFFER, count, MSG_NOSIGNAL | MSG_DONTWAIT)
    if sent == count:
        return False
    sent = max(sent, 0)
    other.write(PyMemoryView_FromMemory(BUFFER + sent, count - sent, PyBUF_READ))
    return True


cdef bint _not_read(object leg, ssize_t count) except -1:
    cdef int code = errno
    if count == 0:
        leg.doRead()  # it finds the end, too
    elif code != EAGAIN and code != EINTR:
        leg.broken(code)
    return True


cdef int _deliver(object leg, object tls) except -1:
    """Hand decrypted data to the protocol, as `DataTransport._deliver`."""
    cdef bint more = leg._reading
    cdef Py_ssize_t count
    try:
        while more:
            try:
                count = tls.read(_RECORD, _PLAIN)
            except _WANTS_MORE:
                break
            if count == 0:
                raise _CLOSED
            leg.protocol.dataReceived(_PLAIN[:count])
            if not leg._reading or not leg.connected:
                return 0
            more = tls.incoming.pending > 0
        if tls.outgoing.pending:
            leg._answer(tls)
    except _CLOSED:
        leg.closed()
    except _TLS_ERROR as error:
        leg._fail(error)
    return 0


def write(object leg, bytes data not None):
    """Send now what the kernel takes, as `DataTransport.write`."""
    cdef object tls = leg._tls if type(leg) is _LEG else None
    cdef ssize_t size, sent
    if type(leg) is not _LEG or not data or not _is_free(leg) or (tls is not None and not tls.established):
        leg.write(data)
        return
    if tls is not None:
        try:
            tls.seal(data)
        except _TLS_ERROR as error:
            leg._fail(error)
            return
        data = tls.ciphertext()
    size = PyBytes_GET_SIZE(data)
    sent = c_send(leg._fd, PyBytes_AS_STRING(data), size, MSG_NOSIGNAL | MSG_DONTWAIT)
    if sent != size:
        leg._send(data[max(sent, 0):])
