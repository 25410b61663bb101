"""Tests for `hoopgw.grants`."""
