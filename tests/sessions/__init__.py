"""Tests of `hoopgw.sessions`."""
