"""Uploads come in over HTTP, a model's answers go out; and the page that shows them (no torch)."""

from tumorscope.serve.app import create_app
from tumorscope.serve.limits import Limits

__all__ = ["Limits", "create_app"]
