# cython: language_level=3, boundscheck=False, wraparound=False
"""The compiled twin of `hoopgw.documents.lookout.look`.

Blocks of bytes are looked at with a condition on two that follow one another, which the compiler
does for many at once; only where it holds somewhere, each byte is looked at as the pattern says.
"""

cdef extern from *:
    """
    typedef unsigned char byte_t;

    #if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__)
    #define FOR_THIS_PROCESSOR __attribute__((target_clones("avx2", "default")))
    #else
    #define FOR_THIS_PROCESSOR
    #endif

    /* Whether some byte of n may be a part of a sign, by itself and the one that follows it: 1;
       whether some is not of ASCII: 2. */
    FOR_THIS_PROCESSOR
    static int may_have_sign(const byte_t *p, Py_ssize_t n)
    {
        byte_t found = 0, wide = 0;
        Py_ssize_t i;
        for (i = 0; i < n; i++) {
            byte_t c = p[i], next = p[i + 1], low = (byte_t)(c | 32);
            byte_t escape = (byte_t)-(c == 92);
            byte_t slash = (byte_t)((byte_t)-(c == 47) & (byte_t)((byte_t)-(next == 47) | (byte_t)-(next < 32)));
            byte_t scheme = (byte_t)((byte_t)-(next == 58)
                & (byte_t)((byte_t)-(c < 32) | (byte_t)-(low == 112) | (byte_t)-(low == 115) | (byte_t)-(c == 191)));
            byte_t control = (byte_t)((byte_t)-(c < 32)
                & (byte_t)((byte_t)-(c != 9) & (byte_t)-(c != 10) & (byte_t)-(c != 13)));
            wide |= c;
            found |= (byte_t)(escape | slash | scheme | control);
        }
        return (found != 0) | (wide & 128 ? 2 : 0);
    }

    /* Whether what URLs are read without ends before the byte at i. */
    static int is_ignored(const byte_t *p, Py_ssize_t i)
    {
        if (i < 1)
            return 0;
        if (p[i - 1] < 32)
            return 1;
        return i > 1 && p[i - 2] == 92 && (p[i - 1] == 'n' || p[i - 1] == 'r' || p[i - 1] == 't');
    }

    static int is_sign(const byte_t *p, Py_ssize_t i, Py_ssize_t size)
    {
        byte_t c = p[i], next = i + 1 < size ? p[i + 1] : 'x', third = i + 2 < size ? p[i + 2] : 'x';
        if (c == 92)
            return i + 1 < size && next != '"' && next != 'b' && next != 'f' && next != 'n'
                && next != 'r' && next != 't';
        if (c == '/')
            return next == '/' || next < 32
                || (next == 92 && i + 2 < size && (third == 'n' || third == 'r' || third == 't'));
        if (c < 32)
            return c != 9 && c != 10 && c != 13;
        if (c != ':')
            return 0;
        if (is_ignored(p, i))
            return 1;
        if (i > 0 && (p[i - 1] | 32) == 's')
            i -= 1;
        else if (i > 1 && p[i - 1] == 0xbf && p[i - 2] == 0xc5)
            i -= 2;
        if (p[i] != ':' && is_ignored(p, i))
            return 1;
        if (i < 1 || (p[i - 1] | 32) != 'p')
            return 0;
        return is_ignored(p, i - 1) || (i > 1 && (p[i - 2] | 32) == 't');
    }
    """
    ctypedef unsigned char byte_t
    int may_have_sign(const byte_t *p, Py_ssize_t n)
    bint is_sign(const byte_t *p, Py_ssize_t i, Py_ssize_t size)

cdef Py_ssize_t _BLOCK = 256


def look(const byte_t[::1] data not None):
    """Say what is here: 1 is a sign, 2 is no sign, but more than ASCII, 0 is neither."""
    cdef Py_ssize_t size = data.shape[0], at = 0, end, i
    cdef int found, wide = 0
    if size == 0:
        return 0
    cdef const byte_t *p = &data[0]
    while at < size:
        end = min(at + _BLOCK, size)
        # The last byte has none behind it that could be read.
        found = may_have_sign(p + at, end - at if end < size else end - at - 1)
        wide |= found
        if found & 1 or end == size:
            # It is told at its first slash, or its colon, which may be a little before or behind the
            # bytes that made us look: the backslash of an escape.
            for i in range(max(at - 1, 0), min(end + 2, size)):
                if is_sign(p, i, size):
                    return 1
        at = end
    return 2 if wide & 2 or p[size - 1] > 127 else 0
