"""Recorded outcomes, put to the real choice and graded with intervals."""
