"""What holds for every test: settings of hypothesis, and no process is left behind."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

# Both cores are shared by all tests, so how long one example takes says nothing.
settings.register_profile(
    "suite", deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=100
)
settings.register_profile("thorough", parent=settings.get_profile("suite"), max_examples=5000)
settings.load_profile(os.environ.get("HOOPGW_HYPOTHESIS", "suite"))
