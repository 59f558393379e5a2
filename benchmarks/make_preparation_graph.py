"""Writes the preparation as a graph, which `tumorscope export --input pixels` joins to networks.

    python benchmarks/make_preparation_graph.py

After a change of `images/preparation.py` and `export/preparation_graph.py`; a test compares the
stored file with what this would write.
"""

import onnx

from tumorscope.export.preparation_graph import build_preparation
from tumorscope.inference.complete_file import GRAPH

if __name__ == "__main__":
    onnx.save(build_preparation(), GRAPH)
    print(f"written: {GRAPH}")
