"""The web page and the HTTP API (no torch)."""

from tumorscope.serve.app import create_app
from tumorscope.serve.limits import Limits

__all__ = ["Limits", "create_app"]
