"""Audits a data set: near-duplicates, leaks, shortcuts, suspect files."""
