"""Vendors that fail on purpose, for the demo, fault drills and tests."""
