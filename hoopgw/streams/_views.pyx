# cython: language_level=3, boundscheck=False, wraparound=False
"""The compiled twin of what `hoopgw.streams.mask_views` reads a stretch of a stream with.

It finds the same sequences as the pattern there, by hand, and keeps the places of pieces in arrays.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.string cimport memcpy

cdef Py_ssize_t _STRING_LIMIT = 4096
cdef unsigned char _SPECIAL[256]
cdef unsigned char _STAYS[256]
for _byte in range(256):
    _SPECIAL[_byte] = _byte in b"\x1b\x08\x00\x07\x7f\x0e\x0f"
    _STAYS[_byte] = _byte in b"mKhlnqtgpc"


cdef class View:
    """A text of a stream; see `hoopgw.streams.mask_views.View`."""

    cdef readonly bytes text
    cdef Py_ssize_t *at
    cdef Py_ssize_t *raw
    cdef Py_ssize_t count

    def __dealloc__(self):
        PyMem_Free(self.at)
        PyMem_Free(self.raw)

    cdef Py_ssize_t piece(self, const Py_ssize_t *places, Py_ssize_t place):
        """Return the last piece that begins at, or before, a place; -1 if none does."""
        cdef Py_ssize_t low = 0, high = self.count, middle
        while low < high:
            middle = (low + high) // 2
            if places[middle] <= place:
                low = middle + 1
            else:
                high = middle
        return low - 1

    cpdef Py_ssize_t start(self, Py_ssize_t place):
        """Return where the byte at a place of the text is in the stream."""
        cdef Py_ssize_t piece = self.piece(self.at, place)
        return self.raw[piece] + place - self.at[piece]

    cpdef Py_ssize_t end(self, Py_ssize_t place):
        """Return what follows, in the stream, the byte before a place of the text."""
        return self.start(place - 1) + 1 if place else 0

    cpdef Py_ssize_t place(self, Py_ssize_t raw):
        """Return the place of the first byte of the text at, or behind, one of the stream."""
        cdef Py_ssize_t piece = self.piece(self.raw, raw), end
        if piece < 0:
            return 0
        end = self.at[piece + 1] if piece + 1 < self.count else len(self.text)
        return min(self.at[piece] + raw - self.raw[piece], end)


cdef class _Pieces:
    """Pieces of a stream: where each begins, and where it ends; before that, if it is a line end."""

    cdef const unsigned char *p
    cdef Py_ssize_t *starts
    cdef Py_ssize_t *ends
    cdef Py_ssize_t count, read

    def __cinit__(self, Py_ssize_t most):
        self.starts = <Py_ssize_t *>PyMem_Malloc(most * sizeof(Py_ssize_t))
        self.ends = <Py_ssize_t *>PyMem_Malloc(most * sizeof(Py_ssize_t))
        if self.starts == NULL or self.ends == NULL:
            raise MemoryError

    def __dealloc__(self):
        PyMem_Free(self.starts)
        PyMem_Free(self.ends)

    cdef inline void put(self, Py_ssize_t start, Py_ssize_t end):
        self.starts[self.count] = start
        self.ends[self.count] = end
        self.count += 1

    cdef inline void skip(self, Py_ssize_t start, Py_ssize_t end):
        if start > self.read:
            self.put(self.read, start)
        if end > self.read:
            self.read = end

    cdef void take_back(self, Py_ssize_t at):
        cdef Py_ssize_t last
        cdef unsigned char byte
        self.skip(at, at + 1)
        while self.count:
            last = self.ends[self.count - 1] - 1
            byte = self.p[last]
            if byte == 10 or byte == 13:
                return
            if last > self.starts[self.count - 1]:
                self.ends[self.count - 1] = last
            else:
                self.count -= 1
            if not 0x80 <= byte < 0xC0:
                return

    cdef View view(self, Py_ssize_t end):
        cdef Py_ssize_t size = 0, i, n
        cdef View view = View.__new__(View)
        cdef char *text
        if end > self.read:
            self.put(self.read, end)
        n = self.count if self.count else 1
        view.at = <Py_ssize_t *>PyMem_Malloc(n * sizeof(Py_ssize_t))
        view.raw = <Py_ssize_t *>PyMem_Malloc(n * sizeof(Py_ssize_t))
        if view.at == NULL or view.raw == NULL:
            raise MemoryError
        view.count = n
        view.at[0], view.raw[0] = 0, self.read
        for i in range(self.count):
            view.at[i] = size
            view.raw[i] = self.starts[i]
            size += 1 if self.ends[i] < 0 else self.ends[i] - self.starts[i]
        view.text = PyBytes_FromStringAndSize(NULL, size)
        text = PyBytes_AS_STRING(view.text)
        for i in range(self.count):
            if self.ends[i] < 0:
                text[view.at[i]] = 10
            else:
                memcpy(text + view.at[i], self.p + self.starts[i], self.ends[i] - self.starts[i])
        return view


cdef Py_ssize_t _control(const unsigned char *p, Py_ssize_t at, Py_ssize_t end):
    """Return where a control sequence ends whose parameters begin at a place; -1 if it is none."""
    cdef Py_ssize_t stop = min(at + 60, end)
    while at < stop and 0x30 <= p[at] <= 0x3F:
        at += 1
    stop = min(at + 4, end)
    while at < stop and 0x20 <= p[at] <= 0x2F:
        at += 1
    return at + 1 if at < end and 0x40 <= p[at] <= 0x7E else -1


cdef Py_ssize_t _string(const unsigned char *p, Py_ssize_t at, Py_ssize_t end):
    """Return where a control string's text ends that begins at a place; -1 if it is none."""
    cdef Py_ssize_t stop = min(at + _STRING_LIMIT, end)
    while at < stop and p[at] != 0x07 and p[at] != 0x18 and p[at] != 0x1A and p[at] != 0x1B:
        at += 1
    if at < end and p[at] == 0x07:
        return at
    return at if at + 1 < end and p[at] == 0x1B and p[at + 1] == 0x5C else -1


cdef Py_ssize_t _escape(const unsigned char *p, Py_ssize_t at, Py_ssize_t end):
    """Return where an escape ends whose second byte is at a place; -1 if it is none."""
    cdef Py_ssize_t stop = min(at + 4, end), begin = at
    while at < stop and 0x20 <= p[at] <= 0x2F:
        at += 1
    return at + 1 if at < end and at > begin and 0x30 <= p[at] <= 0x7E else (
        at + 1 if at < end and at == begin and 0x30 <= p[at] <= 0x7E else -1)


def read(bytes raw, Py_ssize_t end):
    """Return the text as printed, the joined one or None, and where control strings' texts are."""
    cdef const unsigned char *p = <const unsigned char *>PyBytes_AS_STRING(raw)
    cdef Py_ssize_t at = 0, specials = 0, stop, text
    cdef bint moves = False
    cdef list strings = []
    cdef _Pieces printed, joined
    for at in range(end):
        specials += _SPECIAL[p[at]]
    printed, joined = _Pieces(2 * specials + 2), _Pieces(2 * specials + 2)
    printed.p = joined.p = p
    at = 0
    while at < end:
        if not _SPECIAL[p[at]]:
            at += 1
            continue
        stop = -1
        if p[at] == 0x08:
            moves = True
            joined.take_back(at)
        elif p[at] != 0x1B:
            stop = at + 1
            printed.skip(at, stop)
        elif at + 1 < end:
            if p[at + 1] == 0x5B:
                stop = _control(p, at + 2, end)
                if stop >= 0:
                    printed.skip(at, stop)
                    if not _STAYS[p[stop - 1]]:
                        moves = True
                        printed.put(at, -1)
            elif p[at + 1] in (0x5D, 0x50, 0x58, 0x5E, 0x5F):
                text = _string(p, at + 2, end)
                if text >= 0:
                    stop = text + (1 if p[text] == 0x07 else 2)
                    printed.skip(at, stop)
                    if text > at + 2:
                        strings.append((at + 2, text))
            else:
                stop = _escape(p, at + 1, end)
                if stop >= 0:
                    printed.skip(at, stop)
                    if stop == at + 2 and p[at + 1] in (0x38, 0x44, 0x45, 0x4D, 0x63):
                        moves = True
                        printed.put(at, -1)
        if stop >= 0:
            joined.skip(at, stop)
            at = stop
        else:
            at += 1
    return printed.view(end), joined.view(end) if moves else None, strings
