"""Train, judge, explain and deploy a CNN that sorts brain MRI slices; research use only."""

__version__ = "0.1.0"
