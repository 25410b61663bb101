# cython: language_level=3, boundscheck=False, wraparound=False
"""The compiled twin of `hoopgw.streams.mask_finding.PlainFinder`.

Each byte has a code of six bits, the same for bytes that are folded alike, and 0 if no anchor has
it. Three codes in a row are a bit in a table of 32 KiB that says whether some anchor begins so, and
one in another for the three that follow (digits alone would say so too often); only where both say
so, anchors are compared.
"""

cdef unsigned char _FOLD[256]
for _byte in range(256):
    _FOLD[_byte] = _byte | 32 if 65 <= _byte <= 90 else 48 if 48 <= _byte <= 57 else _byte

CODES = 63
"""Different bytes that all anchors may have together."""
cdef int _MOST_ANCHORS = 1024
cdef int _MOST_BYTES = 32


cdef class Anchors:
    """Finds fixed texts. At most 1024 of at most 32 bytes, with at most 63 different ones in all."""

    cdef unsigned int bits[8192]
    cdef unsigned int more[8192]
    cdef unsigned char codes[256]
    cdef unsigned char texts[1024][32]
    cdef int sizes[1024]
    cdef int numbers[1024]
    cdef int first[257]
    cdef readonly tuple anchors

    def __init__(self, tuple anchors):
        cdef int number, i, j, at = 0, code = 0
        cdef bytes text
        if len(anchors) > _MOST_ANCHORS:
            raise ValueError("too many")
        self.anchors = anchors
        for i in range(8192):
            self.bits[i] = self.more[i] = 0
        for i in range(256):
            self.codes[i] = 0
        for text in anchors:
            if not 0 < len(text) <= _MOST_BYTES:
                raise ValueError("too long, or empty")
            for i in text:
                if self.codes[i] == 0:
                    code += 1
                    if code > 63:
                        raise ValueError("too many different bytes")
                    self.codes[i] = code
        for i in range(256):
            self.codes[i] = self.codes[_FOLD[i]]
        for i in range(256):
            self.first[i] = at
            for number, text in enumerate(anchors):
                if text[0] != i:
                    continue
                self.numbers[at] = number
                self.sizes[at] = len(text)
                for j in range(len(text)):
                    self.texts[at][j] = text[j]
                at += 1
        self.first[256] = at
        for text in anchors:
            self.mark(self.bits, text[:3])
            self.mark(self.more, text[3:6])

    cdef void mark(self, unsigned int *bits, bytes text):
        cdef unsigned int i, j, k, code
        for i in range(64):
            if len(text) > 0 and i != self.codes[text[0]]:
                continue
            for j in range(64):
                if len(text) > 1 and j != self.codes[text[1]]:
                    continue
                for k in range(64):
                    if len(text) > 2 and k != self.codes[text[2]]:
                        continue
                    code = (i << 12) | (j << 6) | k
                    bits[code >> 5] |= <unsigned int>1 << (code & 31)

    def find(self, const unsigned char[::1] text not None):
        """Return where they are, in order: the place, and the number of the text."""
        cdef list found = []
        cdef Py_ssize_t size = text.shape[0], i
        cdef unsigned int code, after
        if size == 0 or not self.anchors:
            return found
        cdef const unsigned char *p = &text[0]
        code = self.codes[p[0]] << 6
        if size > 1:
            code |= self.codes[p[1]]
        for i in range(size - 2):
            code = ((code << 6) | self.codes[p[i + 2]]) & 0x3FFFF
            if self.bits[code >> 5] >> (code & 31) & 1:
                if i + 5 < size:
                    after = ((self.codes[p[i + 3]] << 12) | (self.codes[p[i + 4]] << 6)
                             | self.codes[p[i + 5]])
                    if not self.more[after >> 5] >> (after & 31) & 1:
                        continue
                self.compare(p, i, size, found)
        for i in range(max(size - 2, 0), size):
            self.compare(p, i, size, found)
        return found

    cdef void compare(self, const unsigned char *p, Py_ssize_t place, Py_ssize_t size, list found):
        cdef int begin = _FOLD[p[place]], at, j, n
        at = self.first[begin]
        # Of those that stand at one place the one with the smallest number comes first.
        while at < self.first[begin + 1]:
            n = self.sizes[at]
            if n <= size - place:
                j = 1
                while j < n and _FOLD[p[place + j]] == self.texts[at][j]:
                    j += 1
                if j == n:
                    found.append((place, self.numbers[at]))
            at += 1
