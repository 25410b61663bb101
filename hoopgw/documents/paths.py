"""Paths: which values of a document a rule is for.

==============  ==========================================================================
``name``        the member of that name; ``['any name']`` if it is not of letters, digits,
                ``_``, ``-``, ``$`` and ``@`` only
``*``           each member of an object
``[*]``         each element of an array
``**``          any number of members and elements, also none
==============  ==========================================================================

Steps are joined with dots, before brackets there may be none; ``$`` in front is the document
itself, and may be left out: ``value[*].properties.key``, ``**.password``, ``$`` for all of it.
Names are compared after their escapes are decoded. A path that does not fit the document (a name
where an array is) means nothing there.
"""

from __future__ import annotations

import enum
import re
from typing import Final, TypeAlias

from hoopgw.errors import PolicyError

PATH_LIMIT: Final = 1024
"""Characters of a path."""


class Wild(enum.Enum):
    """A step that is no name."""

    MEMBER = "*"
    ELEMENT = "[*]"
    DEEP = "**"


Step: TypeAlias = str | Wild
"""One step of a path: a name, or any."""

_STEP: Final = re.compile(
    r"""(?P<wild>\[\*\]|\*\*|\*)
      | \['(?P<quoted>[^'\\\x00-\x1f]+)'\]
      | (?P<name>[\w$@-]+)""",
    re.VERBOSE,
)


def parse_path(text: str) -> tuple[Step, ...]:
    """Read a path.

    Raises:
        PolicyError: it is none.

    """
    if len(text) > PATH_LIMIT:
        raise PolicyError(f"a path is longer than {PATH_LIMIT} characters")
    at = 1 if text == "$" or text.startswith(("$.", "$[")) else 0
    steps: list[Step] = []
    while at < len(text):
        if text[at] == "." and (steps or at == 1):
            at += 1
        elif text[at] != "[" and (steps or at == 1):
            raise PolicyError(f"path {text!r}: a dot or a bracket is wanted at character {at}")
        step = _STEP.match(text, at)
        if step is None or (text[at] == "[" and text[at - 1 : at] == "."):
            raise PolicyError(f"path {text!r}: no step of a path at character {at}")
        steps.append(Wild(step["wild"]) if step["wild"] else step["quoted"] or step["name"])
        at = step.end()
    if not text:
        raise PolicyError("a path is empty; the document itself is $")
    return tuple(steps)
