# cython: language_level=3, boundscheck=False, wraparound=False
"""What `messages.Headers` does with its pairs, compiled. Optional; the plain functions are the reference."""


def left_out(tuple pairs not None, tuple keys not None, names):
    """Return pairs and keys without those of some names, as `messages.plain_left_out`."""
    cdef list kept = [], left = []
    cdef Py_ssize_t at
    if len(pairs) != len(keys):
        raise ValueError("each pair has its key")
    for at in range(len(pairs)):
        key = keys[at]
        if key not in names:
            kept.append(pairs[at])
            left.append(key)
    return tuple(kept), tuple(left)


def by_key(tuple pairs not None, tuple keys not None):
    """Return all values by key, as `messages.plain_by_key`."""
    cdef dict found = {}
    cdef Py_ssize_t at
    if len(pairs) != len(keys):
        raise ValueError("each pair has its key")
    for at in range(len(pairs)):
        key = keys[at]
        _name, value = pairs[at]
        found[key] = (*found[key], value) if key in found else (value,)
    return found
