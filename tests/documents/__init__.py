"""Tests of `hoopgw.documents`."""
