"""Tests of `hoopgw.transport`."""
