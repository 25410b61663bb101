# cython: language_level=3, boundscheck=False, wraparound=False
"""`batch.plain_take` and `merkle.plain_parents`, compiled; those are the reference.

SHA-256 is that of the libcrypto that Python's own `hashlib` uses, called without the objects that
`hashlib` makes for each hash: they take longer than hashing a record does. Where Python brings none
along (`can_hash`), hashes are left to the plain functions.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcmp, memcpy

import hashlib

cdef extern from "dlfcn.h" nogil:
    void *dlopen(const char *name, int flags)
    void *dlsym(void *library, const char *name)
    int RTLD_NOW, RTLD_LOCAL

ctypedef int (*sha_init)(void *) noexcept nogil
ctypedef int (*sha_update)(void *, const void *, size_t) noexcept nogil
ctypedef int (*sha_final)(unsigned char *, void *) noexcept nogil

cdef enum:
    HASH = 32
    FRAME_HEAD = 9  # kind, length, CRC-32
    SESSIONS = 32  # that are counted at once
    DEPTH = 16  # of arrays in a record that is plain

cdef sha_init _init = NULL
cdef sha_update _update = NULL
cdef sha_final _final = NULL
cdef bint _hashes = False
cdef uint32_t[8][256] _crc_tables


# SHA-256


cdef int _find_sha256() except -1:
    """Take the three functions from libcrypto, by way of the module that is linked with it."""
    cdef void *library
    cdef bytes path
    global _init, _update, _final
    try:
        import _hashlib
    except ImportError:
        return 0
    path = (getattr(_hashlib, "__file__", None) or "").encode()
    library = dlopen(PyBytes_AS_STRING(path), RTLD_NOW | RTLD_LOCAL) if path else NULL
    if library != NULL:  # it stays open: so does the module
        _init = <sha_init>dlsym(library, b"SHA256_Init")
        _update = <sha_update>dlsym(library, b"SHA256_Update")
        _final = <sha_final>dlsym(library, b"SHA256_Final")
    return 0


cdef inline void _sha256(uint8_t *to, uint8_t prefix, const uint8_t *data, size_t size) noexcept:
    """Hash what RFC 6962 hashes: a byte that tells leaves from nodes, then the data."""
    cdef uint8_t[256] state  # SHA256_CTX has 112 bytes
    _init(state)
    _update(state, &prefix, 1)
    _update(state, data, size)
    _final(to, state)


cdef bint _agrees() except -1:
    """See whether hashes are those of `hashlib`, over all lengths of the last block."""
    cdef bytes data
    cdef uint8_t[HASH] found
    if _init == NULL or _update == NULL or _final == NULL:
        return False
    for size in range(130):
        data = bytes(range(size))
        _sha256(found, 1, <const uint8_t *>PyBytes_AS_STRING(data), size)
        if PyBytes_FromStringAndSize(<char *>found, HASH) != hashlib.sha256(b"\1" + data).digest():
            return False
    return True


def can_hash():
    """Say whether there is a libcrypto to hash with."""
    return _hashes


def parents(bytes row not None):
    """Return the hashes above neighbours, as `merkle.plain_parents`."""
    cdef Py_ssize_t number, pairs = PyBytes_GET_SIZE(row) // (2 * HASH)
    cdef bytes found = PyBytes_FromStringAndSize(NULL, pairs * HASH)
    cdef const uint8_t *at = <const uint8_t *>PyBytes_AS_STRING(row)
    cdef uint8_t *to = <uint8_t *>PyBytes_AS_STRING(found)
    for number in range(pairs):
        _sha256(to + number * HASH, 1, at + number * 2 * HASH, 2 * HASH)
    return found


# CRC-32, eight bytes at a time: for so little data a call of zlib takes longer than its work


cdef int _make_crc_tables() except -1:
    cdef uint32_t value
    cdef int index, table
    for index in range(256):
        value = <uint32_t>index
        for table in range(8):
            value = value >> 1 ^ (<uint32_t>0xEDB88320 if value & 1 else 0)
        _crc_tables[0][index] = value
    for table in range(1, 8):
        for index in range(256):
            value = _crc_tables[table - 1][index]
            _crc_tables[table][index] = value >> 8 ^ _crc_tables[0][value & 0xFF]
    return 0


cdef inline uint32_t _little(const uint8_t *at) noexcept:
    return at[0] | <uint32_t>at[1] << 8 | <uint32_t>at[2] << 16 | <uint32_t>at[3] << 24


cdef uint32_t _crc(uint32_t crc, const uint8_t *at, Py_ssize_t size) noexcept:
    """Go on with a CRC-32 over some bytes; it begins and ends with all bits turned over."""
    cdef uint32_t low, high
    while size >= 8:
        low, high = crc ^ _little(at), _little(at + 4)
        crc = (
            _crc_tables[7][low & 0xFF]
            ^ _crc_tables[6][low >> 8 & 0xFF]
            ^ _crc_tables[5][low >> 16 & 0xFF]
            ^ _crc_tables[4][low >> 24]
            ^ _crc_tables[3][high & 0xFF]
            ^ _crc_tables[2][high >> 8 & 0xFF]
            ^ _crc_tables[1][high >> 16 & 0xFF]
            ^ _crc_tables[0][high >> 24]
        )
        at += 8
        size -= 8
    while size > 0:
        crc = _crc_tables[0][(crc ^ at[0]) & 0xFF] ^ crc >> 8
        at += 1
        size -= 1
    return crc


# Frames


cdef inline uint32_t _u32(const uint8_t *at) noexcept:
    return <uint32_t>at[0] << 24 | <uint32_t>at[1] << 16 | <uint32_t>at[2] << 8 | at[3]


cdef inline void _put_u32(uint8_t *to, uint32_t value) noexcept:
    to[0], to[1] = <uint8_t>(value >> 24), <uint8_t>(value >> 16)
    to[2], to[3] = <uint8_t>(value >> 8), <uint8_t>value


cdef uint8_t *_put_frame(uint8_t *to, const uint8_t *record, Py_ssize_t size) noexcept:
    """Put a record into the log's frame, as `framing.record_frames`; return what is behind it."""
    to[0] = b"R"
    _put_u32(to + 1, <uint32_t>size)
    _put_u32(to + 5, ~_crc(_crc(0xFFFFFFFF, to, 5), record, size))
    memcpy(to + FRAME_HEAD, record, size)
    return to + FRAME_HEAD + size


def take(bytes data not None, Py_ssize_t limit):
    """Make what a `batch.Batch` holds; ``limit`` is that of a record's bytes.

    Instead of what is wrong with the data, it only says whether something is.
    """
    cdef const uint8_t *start = <const uint8_t *>PyBytes_AS_STRING(data)
    cdef Py_ssize_t taken = 0, many = 0, size, end = PyBytes_GET_SIZE(data)
    cdef bint damaged = False
    while end - taken >= 4:
        size = <Py_ssize_t>_u32(start + taken)
        damaged = not 0 < size <= limit
        if damaged or size > end - taken - 4:
            break
        taken += 4 + size
        many += 1
    cdef bytes frames = PyBytes_FromStringAndSize(NULL, taken + many * (FRAME_HEAD - 4))
    cdef bytes leaves = PyBytes_FromStringAndSize(NULL, many * HASH)
    cdef uint8_t *frame = <uint8_t *>PyBytes_AS_STRING(frames)
    cdef uint8_t *leaf = <uint8_t *>PyBytes_AS_STRING(leaves)
    cdef const uint8_t *record = start + 4
    cdef Tally tally
    cdef Py_ssize_t number
    cdef list counted = [], others = []
    tally.known = tally.newest = 0
    for number in range(many):
        size = <Py_ssize_t>_u32(record - 4)
        frame = _put_frame(frame, record, size)
        _sha256(leaf + number * HASH, 0, record, size)
        if tally.known == SESSIONS:
            _tell(&tally, counted)
        if not _count(&tally, number, record, size):
            others.append((number, PyBytes_FromStringAndSize(<const char *>record, size)))
        record += size + 4
    _tell(&tally, counted)
    return many, taken, damaged, frames, leaves, counted, others


# Counting


cdef struct Seen:
    const uint8_t *session
    Py_ssize_t size
    Py_ssize_t first, last
    Py_ssize_t intents, denied, held


cdef struct Tally:
    Seen[SESSIONS] seen
    int known, newest


cdef enum Kind:
    OTHER  # or not well-formed
    RESULT
    INTENT


cdef struct Text:
    const uint8_t *start
    Py_ssize_t size


cdef const uint8_t *_skip(const uint8_t *at, const uint8_t *end, int depth) noexcept:
    """Return what follows a value; NULL if it is cut off, or not of a usual kind."""
    cdef uint8_t kind
    cdef Py_ssize_t size = 0, items = 0
    if at == NULL or at >= end or depth > DEPTH:
        return NULL
    kind = at[0]
    at += 1
    if kind < 0x80 or kind >= 0xE0 or kind in (0xC0, 0xC2, 0xC3):
        return at
    if 0xA0 <= kind < 0xC0:
        size = kind & 0x1F
    elif 0x90 <= kind < 0xA0:
        items = kind & 0x0F
    elif kind in (0xCC, 0xD0):
        size = 1
    elif kind in (0xCD, 0xD1):
        size = 2
    elif kind in (0xCA, 0xCE, 0xD2):
        size = 4
    elif kind in (0xCB, 0xCF, 0xD3):
        size = 8
    elif kind in (0xC4, 0xD9) and end - at >= 1:
        size = 1 + <Py_ssize_t>at[0]
    elif kind in (0xC5, 0xDA) and end - at >= 2:
        size = 2 + (<Py_ssize_t>at[0] << 8 | at[1])
    elif kind in (0xC6, 0xDB) and end - at >= 4:
        size = 4 + <Py_ssize_t>_u32(at)
    elif kind == 0xDC and end - at >= 2:
        size, items = 2, <Py_ssize_t>at[0] << 8 | at[1]
    else:
        return NULL
    if size > end - at:
        return NULL
    at += size
    while items > 0 and at != NULL:
        at = _skip(at, end, depth + 1)
        items -= 1
    return at


cdef const uint8_t *_text(const uint8_t *at, const uint8_t *end, Text *found) noexcept:
    """Read a text of ASCII; return what follows it, NULL if it is something else."""
    cdef Py_ssize_t index
    if at == NULL or at >= end:
        return NULL
    if 0xA0 <= at[0] < 0xC0:
        found.start, found.size = at + 1, at[0] & 0x1F
    elif end - at >= 2 and at[0] == 0xD9:
        found.start, found.size = at + 2, at[1]
    else:
        return NULL
    if found.size > end - found.start:
        return NULL
    for index in range(found.size):
        if found.start[index] >= 0x80:
            return NULL
    return found.start + found.size


cdef const uint8_t *_whole_number(const uint8_t *at, const uint8_t *end) noexcept:
    if at != NULL and at < end and (at[0] < 0x80 or at[0] >= 0xE0 or 0xCC <= at[0] <= 0xD3):
        return _skip(at, end, 0)
    return NULL


cdef inline bint _is(Text text, const char *word, Py_ssize_t size) noexcept:
    return text.size == size and memcmp(text.start, word, size) == 0


cdef Kind _read(const uint8_t *at, const uint8_t *end, Text *session, Text *decision) noexcept:
    """Read a result or an intent; the decision of an intent only."""
    cdef Text tag, action
    cdef Py_ssize_t items, read, number
    cdef Kind kind = RESULT
    if end - at < 3:
        return OTHER
    if 0x90 <= at[0] < 0xA0:
        items, at = at[0] & 0x0F, at + 1
    elif at[0] == 0xDC:
        items, at = <Py_ssize_t>at[1] << 8 | at[2], at + 3
    else:
        return OTHER
    at = _text(_text(at, end, &tag), end, session)
    read = 2
    if at == NULL:
        return OTHER
    if _is(tag, b"intent", 6):
        kind = INTENT
        at = _whole_number(_whole_number(at, end), end)  # sequence and time
        at = _text(at, end, &action)
        for number in range(4):  # resources, text, parameters, digest
            at = _skip(at, end, 0)
        at = _text(at, end, decision)
        read = 10
    elif not _is(tag, b"result", 6):
        return OTHER
    while read < items and at != NULL:
        at = _skip(at, end, 0)
        read += 1
    return kind if at == end and read == items else OTHER


cdef bint _count(Tally *tally, Py_ssize_t number, const uint8_t *record, Py_ssize_t size) noexcept:
    """Count a record; False if it is left to whoever decodes it. There must be room for one."""
    cdef Text session, decision
    cdef Seen *one = NULL
    cdef int each, index
    cdef Kind kind = _read(record, record + size, &session, &decision)
    if kind == OTHER:
        return False
    for each in range(tally.known):
        index = (tally.newest + each) % tally.known
        one = &tally.seen[index]
        if one.size == session.size and not memcmp(one.session, session.start, one.size):
            break
        one = NULL
    if one == NULL:
        index = tally.known
        tally.known += 1
        one = &tally.seen[index]
        one.session, one.size, one.first = session.start, session.size, number
        one.intents = one.denied = one.held = 0
    tally.newest, one.last = index, number
    if kind == INTENT:
        one.intents += 1
        one.denied += _is(decision, b"deny", 4)
        one.held += _is(decision, b"review", 6)
    return True


cdef int _tell(Tally *tally, list counted) except -1:
    """Note what was counted so far, and begin anew."""
    cdef int index
    cdef Seen *one
    for index in range(tally.known):
        one = &tally.seen[index]
        counted.append(
            (
                (<const char *>one.session)[: one.size].decode("ascii"),
                one.first,
                one.last,
                one.intents,
                one.denied,
                one.held,
            )
        )
    tally.known = tally.newest = 0
    return 0


_make_crc_tables()
_find_sha256()
_hashes = _agrees()
