"""Tests of shell commands taken apart."""
