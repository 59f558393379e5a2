"""`tumorscope export`: a run comes in, a model file that agrees with its network goes out."""

import argparse
from pathlib import Path

from tumorscope.cli.main import DISCLAIMER
from tumorscope.cli.show import console, progress, table, write_json
from tumorscope.errors import ModelError
from tumorscope.export import EDGE_OPSET, FORMATS, Exported, Verification, export_run, newest_opset
from tumorscope.training.run_folder import RunFolder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    width = max(len(name) for name in FORMATS)
    lines = [f"  {name:{width}}  {kind.summary}" for name, kind in FORMATS.items()]
    parser.description = "\n".join(["Make a model file of a run. The formats are", "", *lines])
    parser.add_argument("run_folder", type=Path, metavar="RUN", help="a run folder")
    parser.add_argument(
        "--format", default="onnx", choices=FORMATS, metavar="NAME", help="default: onnx"
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="the file (default: in the run's folder)"
    )
    parser.add_argument(
        "--batch", default="dynamic", metavar="N", help="images a call: a number, or dynamic"
    )
    parser.add_argument(
        "--opset",
        default=str(EDGE_OPSET),
        metavar="N",
        help=f"ONNX operator set: {EDGE_OPSET} for TensorRT 8.2 (default), another, or newest",
    )
    parser.add_argument(
        "--data",
        type=Path,
        action="append",
        metavar="DIR",
        help="where the run's data is now (default: where it was)",
    )
    parser.add_argument(
        "--name", metavar="NAME", help="what the model is called (default: after its recipe)"
    )
    parser.add_argument(
        "--no-verify", action="store_true", help="do not compare the file with the network"
    )
    parser.add_argument("--json", metavar="FILE", help="write the figures, too; - for the screen")


def run(options: argparse.Namespace) -> int:
    """Write the file and show how it compares with the network."""
    newest = options.opset == "newest"
    exported = export_run(
        RunFolder(options.run_folder),
        options.format,
        options.out,
        opset=newest_opset() if newest else _number(options.opset, "--opset", "newest"),
        batch=None if options.batch == "dynamic" else _number(options.batch, "--batch", "dynamic"),
        data=options.data,
        name=options.name,
        check=not options.no_verify,
        progress=progress,
    )
    if options.json:
        write_json(options.json, exported.to_json())
    if options.json != "-":
        _say(exported)
    return 0


def _number(text: str, option: str, word: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ModelError(f"{option} takes a number or '{word}', not '{text}'") from None


def _say(exported: Exported) -> None:
    out = console()
    found = exported.verification
    if found is not None:
        out.print(
            table(
                f"{exported.path.name} and the trained network on {found.images:,} images "
                f"({exported.origin})",
                ("", exported.format.name, "network"),
                _rows(found),
            )
        )
        out.print(f"allowed: {exported.format.tolerance}")
    if exported.origin == "phantoms":
        out.print("The run's data is not where it was, so these are phantoms; --data says where.")
    if exported.missing:
        out.print(f"not for a Jetson Nano: TensorRT 8.2 has no {', '.join(exported.missing)}")
    out.print(f"{'written' if found else 'written, not verified'}: {exported.path}")
    out.print(DISCLAIMER)


def _rows(found: Verification) -> list[tuple[str, str, str]]:
    rows = [
        ("runtime", found.runtime, "PyTorch"),
        ("accuracy", f"{found.accuracy:.2%}", f"{found.network_accuracy:.2%}"),
        ("same label", f"{found.label_agreement:.2%}", ""),
        ("largest probability difference", f"{found.largest_difference:.1e}", ""),
        ("mean probability difference", f"{found.mean_difference:.1e}", ""),
        (
            "milliseconds, one image",
            f"{found.milliseconds:.2f}",
            f"{found.network_milliseconds:.2f}",
        ),
        ("megabytes", f"{found.size / 1e6:.2f}", f"{found.network_size / 1e6:.2f}"),
    ]
    if found.heatmap_difference is not None:
        rows.insert(5, ("largest heatmap difference", f"{found.heatmap_difference:.1%}", ""))
    return rows
