"""Train, judge, explain and deploy a CNN that sorts brain MRI slices; research use only."""

__version__ = "0.2.0"

RESEARCH_USE_ONLY = "Research use only: not a medical device, not for diagnosis."
"""Stands in every output that a person reads."""
