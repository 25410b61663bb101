"""Where a reader of JSON stands: what comes next, and the containers that are open."""

from __future__ import annotations

import enum

from attrs import define

from hoopgw.documents.automaton import State


class Next(enum.IntEnum):
    """What comes next."""

    VALUE = 0
    FIRST_ELEMENT = 1
    """A value, or the end of an array."""
    ELEMENT = 2
    FIRST_MEMBER = 3
    """A name, or the end of an object."""
    MEMBER = 4
    COLON = 5
    AFTER = 6
    """A comma, or the end of what is open."""
    END = 7
    IN_STRING = 8
    """The rest of a string that is passed, or passed over, as it comes."""


@define(eq=False)
class Frame:
    """An open container."""

    state: State
    is_object: bool
    seen: int = 0
    """The bits of the members that were there."""
    kept: bool = False
    """Whether something of it was sent, where something may be left out."""

    @property
    def drops(self) -> bool:
        """Whether something of it may be left out."""
        state = self.state
        return state.drops_members if self.is_object else state.drops_elements
