"""Tests. Only what they share is a package: `tests.support`."""
