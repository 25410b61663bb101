# cython: language_level=3, boundscheck=False, wraparound=False
"""`shape.plain_shape`, compiled; that one is the reference, and says why it is sound.

Texts with quoted names are left to it.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.string cimport memchr

cdef enum:
    LIMIT = 4096  # as shape.LIMIT


cdef inline bint _is_word(char byte) noexcept:
    return b"a" <= byte <= b"z" or b"A" <= byte <= b"Z" or b"0" <= byte <= b"9" or byte == b"_"


cdef inline bint _is_digit(char byte) noexcept:
    return b"0" <= byte <= b"9"


cdef inline bint _is_operator(char byte) noexcept:
    """Whether an integer behind it is a value in a query; a minus is no such thing."""
    return byte in b"=<>+*/%"


cdef bint _is(const char *at, const char *end, const char *word, Py_ssize_t size) noexcept:
    """Whether a word in lower case stands here, however it is written."""
    cdef Py_ssize_t each
    if end - at < size:
        return False
    for each in range(size):
        if (at[each] | 0x20 if b"A" <= at[each] <= b"Z" else at[each]) != word[each]:
            return False
    return True


cdef int _kind(const char *at, const char *end) noexcept:
    """Return 1 for a query, 2 for what writes rows, 0 for the rest."""
    cdef int kind = 0
    cdef Py_ssize_t size = 6
    while at < end and (at[0] == b" " or b"\t" <= at[0] <= b"\r"):
        at += 1
    if _is(at, end, b"select", 6):
        kind = 1
    elif _is(at, end, b"with", 4):
        kind, size = 1, 4
    elif _is(at, end, b"insert", 6) or _is(at, end, b"update", 6) or _is(at, end, b"delete", 6):
        kind = 2
    return 0 if kind and at + size < end and _is_word(at[size]) else kind


cdef int _look(const char *start, const char *end) noexcept:
    """Return 0 if the text may have a shape, 1 if it has none, 2 if it has quoted names."""
    cdef const char *at = start
    cdef int found = 0
    cdef char byte
    while at < end:
        byte = at[0]
        if not 32 <= byte < 127 and byte != b"\t" and byte != b"\n" and byte != b"\r":
            return 1
        if byte == b"\\" or byte == b"$" or byte == b";":
            return 1
        if byte == b'"':
            found = 2
        elif at + 1 < end and (
            byte == b"-" and at[1] == b"-" or byte == b"/" and at[1] == b"*"
        ):
            return 1
        elif (byte | 0x20) == b"s" and _is(at, end, b"set_config", 10):
            return 1
        at += 1
    return found


cdef const char *_integer_end(
    const char *start, const char *at, const char *end, bint query
) noexcept:
    """Return where the integer that begins here ends, if it is a value; else NULL."""
    cdef const char *stop = at
    if query:
        if not (at > start and _is_operator((at - 1)[0])) and not (
            at - 1 > start and (at - 1)[0] == b" " and _is_operator((at - 2)[0])
        ):
            return NULL
    elif at > start and (_is_word((at - 1)[0]) or (at - 1)[0] == b"."):
        return NULL
    while stop < end and _is_digit(stop[0]):
        stop += 1
    if stop - at > 18 or (stop < end and (_is_word(stop[0]) or stop[0] == b".")):
        return NULL
    return stop


def shape(bytes text not None):
    """Return what stands for all texts with the same facts; None if that is not certain."""
    cdef const char *start = PyBytes_AS_STRING(text)
    cdef const char *end = start + PyBytes_GET_SIZE(text)
    cdef const char *at = start
    cdef const char *stop
    cdef bytes found
    cdef char *to
    cdef int kind, look
    if end > start and (end - 1)[0] == b";":
        end -= 1
    kind = _kind(start, end)
    if not kind or end - start > LIMIT:
        return None
    look = _look(start, end)
    if look == 1:
        return None
    if look == 2:
        from hoopgw_postgres.shape import plain_shape

        return plain_shape(text)
    found = PyBytes_FromStringAndSize(NULL, end - start)
    to = PyBytes_AS_STRING(found)
    while at < end:
        stop = NULL
        if at[0] == b"'":
            stop = <const char *>memchr(at + 1, b"'", end - at - 1)
            stop = stop + 1 if stop != NULL else NULL
        elif _is_digit(at[0]):
            stop = _integer_end(start, at, end, kind == 1)
        if stop != NULL:
            to[0], at = b"$", stop
        else:
            to[0], at = at[0], at + 1
        to += 1
    return found[: to - PyBytes_AS_STRING(found)]
