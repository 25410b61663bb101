"""Whether the compiled twins are there to be tested."""

from __future__ import annotations

import os

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from hoopgw.transport import accelerated
from tests.support.twins import ADVICE, not_built, twins


class TwinsTests(SynchronousTestCase):
    """What ``setup.py`` names."""

    def test_they_are_built(self) -> None:
        """Where a change lands, all of them are tested; elsewhere it is said that they are not."""
        missing = not_built()
        if missing and os.environ.get("CI"):
            self.fail(f"not built, so not tested: {', '.join(missing)}; {ADVICE}")
        if missing:
            raise SkipTest(f"not built: {', '.join(missing)}")

    def test_they_are_found_by_name(self) -> None:
        """All of setup.py's table, and a name that is none is not taken for built."""
        self.assertIn("hoopgw.transport._dispatch", twins())
        self.assertFalse(accelerated.is_built("hoopgw.transport._no_such_module"))
