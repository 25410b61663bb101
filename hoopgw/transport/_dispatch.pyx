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
cdef unsigned char[::1] _PLAIN_BYTES = PLAIN
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
    cdef object tls = leg._tls
    cdef ssize_t count
    if leg._closing or (tls is not None and not tls.established):
        leg.doRead()
        return True
    count = recv(fd, BUFFER, SIZE, MSG_DONTWAIT)
    if count <= 0:
        return _not_read(leg, count)
    try:
        if tls is not None:
            tls.feed(PyMemoryView_FromMemory(BUFFER, count, PyBUF_READ))
            return _deliver(leg, tls)
        return _hand_on(leg, BUFFER, count)
    except Exception:
        leg.raised()
    return True


cdef bint _is_free(object leg) except -1:
    """Whether what is written goes to the kernel at once."""
    return leg.connected and not leg._closing and not leg._queue


cdef bint _hand_on(object leg, char *data, ssize_t count) except -1:
    """Give what came to the protocol, or send it on where that is all that the protocol would do.

    What the kernel does not take is written as ever. Says whether anything but bytes moved.
    """
    cdef object other = leg._carry_to
    cdef ssize_t sent
    if other is None or other._tls is not None or not _is_free(other):
        leg.protocol.dataReceived(PyMemoryView_FromMemory(data, count, PyBUF_READ))
        return True
    sent = c_send(other._fd, data, count, MSG_NOSIGNAL | MSG_DONTWAIT)
    if sent == count:
        return False
    sent = max(sent, 0)
    other.write(PyMemoryView_FromMemory(data + sent, count - sent, PyBUF_READ))
    return True


cdef bint _not_read(object leg, ssize_t count) except -1:
    cdef int code = errno
    if count == 0:
        leg.doRead()  # it finds the end, too
    elif code != EAGAIN and code != EINTR:
        leg.broken(code)
    return True


cdef bint _deliver(object leg, object tls) except -1:
    """Hand decrypted data on, as `DataTransport._deliver`; say as `_hand_on` what moved."""
    cdef bint more = leg._reading, python = False
    cdef Py_ssize_t count
    try:
        while more:
            try:
                count = tls.read(_RECORD, _PLAIN)
            except _WANTS_MORE:
                break
            if count == 0:
                raise _CLOSED
            python |= _hand_on(leg, <char *>&_PLAIN_BYTES[0], count)
            if not leg._reading or not leg.connected:
                return True
            more = tls.incoming.pending > 0
        if tls.outgoing.pending:
            python = True
            leg._answer(tls)
    except _CLOSED:
        python = True
        leg.closed()
    except _TLS_ERROR as error:
        python = True
        leg._fail(error)
    return python


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
