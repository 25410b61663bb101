"""Tests for `hoopgw.http`."""
