"""Tests for `hoopgw.policy`."""
