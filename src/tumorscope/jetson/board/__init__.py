"""What runs on a Jetson: copied into every bundle, so Python 3.6, NumPy and Pillow 5.1 are enough.

`classify.py`, `verify.py` and `benchmark.py` stand in the bundle's folder itself, and so do the
files that are no Python; the other modules stay where they are, below `tumorscope/jetson/board`.
"""

import importlib
import sys

for _name, _package in (("numpy", "python3-numpy"), ("PIL", "python3-pil")):
    try:
        importlib.import_module(_name)
    except ImportError:
        sys.exit(f"no {_name} for this Python: sudo apt-get install {_package}, or pip install")
