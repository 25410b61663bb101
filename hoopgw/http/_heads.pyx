# cython: language_level=3, boundscheck=False, wraparound=False
"""What `heads` does with each message, compiled: reading a whole head, and writing one.

Optional; the plain functions of `heads` are the reference. A twin takes what is plainly good: each
field once and on one line, no ``Expect``, a path as target, HTTP/1.1. All else, and whatever is wrong,
it leaves to the plain function, from the beginning. Which bytes may be in a name, a value or a target
is asked of the expressions of `heads` when this is loaded, so that there is one list of each.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_DecodeASCII
from libc.stdint cimport uint8_t
from libc.string cimport memchr, memcmp, memcpy

from hoopgw.http import heads
from hoopgw.http.messages import REASONS, Headers, RequestHead, ResponseHead

cdef extern from "Python.h":
    const char *PyUnicode_AsUTF8AndSize(object text, Py_ssize_t *size) except NULL

cdef uint8_t _NAME[256]
cdef uint8_t _VALUE[256]
cdef uint8_t _TARGET[256]
cdef uint8_t _LABEL[256]
cdef dict _KNOWN = heads._KNOWN
cdef dict _METHODS = {each.encode(): each for each in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")}
cdef dict _LINES = {
    (status, reason): b"HTTP/1.1 %d %b\r\n" % (status, reason) for status, reason in REASONS.items()
}
cdef frozenset _LONE = frozenset({b"keep-alive", b"close", b"upgrade"})
cdef object _REASONS = REASONS
cdef object _HEADERS = Headers
cdef object _REQUEST = RequestHead
cdef object _RESPONSE = ResponseHead
cdef object _plain_request = heads.plain_request_head
cdef object _plain_response = heads.plain_response_head
cdef object _plain_encode_request = heads.plain_encode_request
cdef object _plain_encode_response = heads.plain_encode_response


cdef void _prepare():
    cdef int each
    cdef bytes one
    for each in range(256):
        one = bytes((each,))
        _NAME[each] = heads._NAME.fullmatch(one) is not None and each != c"_"  # some are confused
        _VALUE[each] = one not in heads._CONTROLS
        _TARGET[each] = heads._REQUEST_LINE.match(b"GET /" + one + b" HTTP/1.1\r\n") is not None
        _LABEL[each] = one.isalnum() or one in (b"_", b"-")


_prepare()


# Reading


cdef object _fields(bytes block, Py_ssize_t at, Py_ssize_t most):
    """Return the fields from ``at`` on; None where the plain function must look."""
    cdef const uint8_t *data = <const uint8_t *>PyBytes_AS_STRING(block)
    cdef Py_ssize_t end = PyBytes_GET_SIZE(block) - 2, begin, stop
    cdef list pairs = [], keys = []
    cdef dict by_name = {}
    cdef bytes name, key, value
    if end < at or end < 2 or memcmp(data + end - 2, b"\r\n\r\n", 4) != 0:
        return None
    # The CR at the end is neither of a name nor of a value: no loop below runs past it.
    while at < end:
        begin = at
        while _NAME[data[at]]:
            at += 1
        if at == begin or data[at] != c":":
            return None
        name = PyBytes_FromStringAndSize(<const char *>data + begin, at - begin)
        at += 1
        while data[at] == c" " or data[at] == c"\t":
            at += 1
        begin = at
        while _VALUE[data[at]]:
            at += 1
        if at + 2 > end or data[at] != c"\r" or data[at + 1] != c"\n":
            return None
        stop = at
        while stop > begin and (data[stop - 1] == c" " or data[stop - 1] == c"\t"):
            stop -= 1
        value = PyBytes_FromStringAndSize(<const char *>data + begin, stop - begin)
        at += 2
        found = _KNOWN.get(name)
        key = <bytes>(name.lower() if found is None else found)
        if key in by_name:
            return None
        if PyBytes_GET_SIZE(key) == 10 and key == b"connection" and value.lower() not in _LONE:
            return None
        pairs.append((name, value))
        keys.append(key)
        by_name[key] = (value,)
        if len(pairs) > most:
            return None
    return _HEADERS(tuple(pairs), by_name, tuple(keys))


cdef bint _is_host(bytes host):
    """Whether it is a plain name, perhaps with a port."""
    cdef const uint8_t *data = <const uint8_t *>PyBytes_AS_STRING(host)
    cdef Py_ssize_t at = 0, size = PyBytes_GET_SIZE(host), begin
    while True:
        begin = at
        while at < size and _LABEL[data[at]]:
            at += 1
        if not 0 < at - begin <= 63 or data[begin] == c"-":
            return False
        if at == size:
            return True
        at += 1
        if data[at - 1] == c":":
            break
        if data[at - 1] != c".":
            return False
    begin = at
    while at < size and c"0" <= data[at] <= c"9":
        at += 1
    return at == size and 0 < at - begin <= 5


def request_head(bytes head not None, limits):
    """Read a request's head, as `heads.plain_request_head`."""
    cdef const uint8_t *data = <const uint8_t *>PyBytes_AS_STRING(head)
    cdef Py_ssize_t at = 0, target, size = PyBytes_GET_SIZE(head)
    # A byte object ends with a NUL, which is in none of the sets.
    while c"A" <= data[at] <= c"Z":
        at += 1
    if not 0 < at <= 32 or data[at] != c" " or data[at + 1] != c"/":
        return _plain_request(head, limits)
    target = at + 1
    method = _METHODS.get(PyBytes_FromStringAndSize(<const char *>data, at))
    at = target
    while _TARGET[data[at]]:
        at += 1
    if (
        method is None
        or at + 11 > size
        or memcmp(data + at, b" HTTP/1.1\r\n", 11) != 0
        or at - 1 + 11 > limits.start_line
    ):
        return _plain_request(head, limits)
    headers = _fields(head, at + 11, limits.headers)
    if headers is None:
        return _plain_request(head, limits)
    cdef dict by_name = headers._by_name
    host = by_name.get(b"host")
    if host is None or b"expect" in by_name or not _is_host(<bytes>(<tuple>host)[0]):
        return _plain_request(head, limits)
    text = PyUnicode_DecodeASCII(<const char *>data + target, at - target, NULL)
    return _REQUEST(method, text, headers, "1.1")


def response_head(bytes head not None, limits):
    """Read an answer's head, as `heads.plain_response_head`."""
    cdef const uint8_t *data = <const uint8_t *>PyBytes_AS_STRING(head)
    cdef Py_ssize_t at, size = PyBytes_GET_SIZE(head), begin
    cdef int status, each
    if size < 14 or memcmp(data, b"HTTP/1.1 ", 9) != 0:
        return _plain_response(head, limits)
    for each in range(9, 12):
        if not c"0" <= data[each] <= c"9":
            return _plain_response(head, limits)
    status = 100 * (data[9] - c"0") + 10 * (data[10] - c"0") + data[11] - c"0"
    at = 12
    reason = b""
    if data[at] == c" ":
        at = begin = 13
        while _VALUE[data[at]]:
            at += 1
        if at - begin > 0:
            reason = PyBytes_FromStringAndSize(<const char *>data + begin, at - begin)
    if status < 100 or at + 2 > size or data[at] != c"\r" or data[at + 1] != c"\n":
        return _plain_response(head, limits)
    headers = _fields(head, at + 2, limits.headers)
    if headers is None:
        return _plain_response(head, limits)
    return _RESPONSE(status, headers, reason, "1.1")


# Writing


cdef bint _is_line(bytes text):
    """Whether it ends no line."""
    cdef const char *data = PyBytes_AS_STRING(text)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(text)
    return (
        memchr(data, c"\n", size) == NULL
        and memchr(data, c"\r", size) == NULL
        and memchr(data, 0, size) == NULL
    )


cdef bytes _block(bytes line, object pairs):
    """Return a line and the fields behind it; None where the plain function must look."""
    cdef Py_ssize_t size = PyBytes_GET_SIZE(line) + 2
    cdef bytes name, value
    for pair in pairs:
        if type(pair) is not tuple or len(<tuple>pair) != 2:
            return None
        first, second = (<tuple>pair)[0], (<tuple>pair)[1]
        if type(first) is not bytes or type(second) is not bytes:
            return None
        if not _is_line(<bytes>first) or not _is_line(<bytes>second):
            return None
        size += PyBytes_GET_SIZE(first) + PyBytes_GET_SIZE(second) + 4
    cdef bytes found = PyBytes_FromStringAndSize(NULL, size)
    cdef char *to = _put(PyBytes_AS_STRING(found), line)
    for pair in pairs:
        name, value = <bytes>(<tuple>pair)[0], <bytes>(<tuple>pair)[1]
        to = _put(to, name)
        to[0], to[1] = c":", c" "
        to = _put(to + 2, value)
        to[0], to[1] = c"\r", c"\n"
        to += 2
    to[0], to[1] = c"\r", c"\n"
    return found


cdef inline char *_put(char *to, bytes data):
    memcpy(to, PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
    return to + PyBytes_GET_SIZE(data)


def encode_request(str method not None, str target not None, pairs):
    """Return a request's head, as `heads.plain_encode_request`."""
    cdef Py_ssize_t named, size, each
    cdef const char *name = PyUnicode_AsUTF8AndSize(method, &named)
    cdef const char *path = PyUnicode_AsUTF8AndSize(target, &size)
    cdef bytes line, found = None
    cdef char *to
    cdef bint good = named > 0 and size > 0
    if type(pairs) is not tuple and type(pairs) is not list:
        pairs = tuple(pairs)
    for each in range(named):
        good &= c"A" <= name[each] <= c"Z"
    for each in range(size):
        good &= 0x21 <= <uint8_t>path[each] <= 0x7E
    if good:
        line = PyBytes_FromStringAndSize(NULL, named + size + 12)
        to = PyBytes_AS_STRING(line)
        memcpy(to, name, named)
        to[named] = c" "
        memcpy(to + named + 1, path, size)
        memcpy(to + named + 1 + size, b" HTTP/1.1\r\n", 11)
        found = _block(line, pairs)
    return _plain_encode_request(method, target, pairs) if found is None else found


def encode_response(int status, pairs, bytes reason not None=b""):
    """Return an answer's head, as `heads.plain_encode_response`."""
    cdef bytes found = None
    if type(pairs) is not tuple and type(pairs) is not list:
        pairs = tuple(pairs)
    line = _LINES.get((status, reason or _REASONS.get(status)))
    if line is not None:
        found = _block(<bytes>line, pairs)
    return _plain_encode_response(status, pairs, reason) if found is None else found
