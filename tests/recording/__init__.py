"""Tests for `hoopgw.recording`."""
