"""Writes a finished run as one TorchScript file that carries everything."""

import io
import warnings
from pathlib import Path

import torch

from tumorscope.export.metadata import metadata_of, to_text
from tumorscope.export.served_network import ServedNetwork
from tumorscope.export.torch_runtimes import METADATA_FILE
from tumorscope.files import write_bytes
from tumorscope.training.run_folder import RunFolder
from tumorscope.training.trained_network import load_weights


def export_torchscript(run: RunFolder, path: Path, *, name: str | None = None) -> Path:
    """Write a run's network as a TorchScript file, whole or not at all.

    Args:
        run: A finished run.
        path: The file.
        name: What the model is called; `tumorscope-` and the recipe's name when left out.

    Returns:
        The path.

    Raises:
        ModelError: The run is not finished.
    """
    trained = load_weights(run.weights_file)
    served = ServedNetwork(trained).eval()
    text = to_text(metadata_of(run, trained, name=name))
    # Not to the path: torch's own writer ends the whole process when the disk is full.
    content = io.BytesIO()
    with warnings.catch_warnings(), torch.inference_mode():
        # Deprecated, and the format that was asked for.
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        # Shapes that are constants of a network at one input size (EfficientNet's padding).
        warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)  # type: ignore[attr-defined]
        traced = torch.jit.trace(served, served.example(), check_trace=False)  # type: ignore[no-untyped-call]
        script = torch.jit.freeze(traced)
        torch.jit.save(script, content, _extra_files={METADATA_FILE: text})
    write_bytes(path, content.getvalue())
    return path
