"""Tests of `hoopgw.identity.callers`."""
