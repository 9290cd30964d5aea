"""Choose what computes the captions: ONNX Runtime or PyTorch, int8 or float32, CPU or GPU."""

import importlib.util
import json
from pathlib import Path
from typing import Any, Literal

from imgcap.errors import InputError
from imgcap.inference.engines.engine import Engine
from imgcap.inference.engines.manifest import FOLDER, MANIFEST, check_manifest
from imgcap.inference.files import Description, find_folder
from imgcap.inference.threads import multiplies_int8, usable_cores

EngineName = Literal["auto", "onnx", "torch"]
INSTALL_TORCH = "pip install 'imgcap[torch]'"
INSTALL_ONNX = "pip install onnxruntime"


def open_engine(description: Description, wanted: EngineName, source: str) -> tuple[Engine[Any], str]:
    """Open the engine of a captioner.

    "auto" takes PyTorch if it has a GPU, otherwise ONNX Runtime if the captioner has complete exported files, otherwise
    PyTorch. Among exported files int8 is preferred.

    Args:
        description: description of the captioner.
        wanted: the engine to use.
        source: the captioner's name as the user gave it.

    Returns:
        The engine, and one sentence that says what was chosen and why.

    Raises:
        InputError: the wanted engine, or with "auto" every engine, cannot run; the sentence says what to do.
    """
    if wanted == "torch":
        return _open_torch(description), "PyTorch was asked for."
    if wanted == "auto" and has_gpu():
        return _open_torch(description), "There is a GPU."
    try:
        quantized, reason = choose_precision(description.folder)
        return _open_onnx(description.folder, quantized=quantized), reason
    except InputError as error:
        if wanted == "onnx":
            raise InputError(f"The ONNX engine cannot run: {error}. Run `imgcap export {source}`.") from None
        if not is_installed("torch"):
            raise InputError(
                f"No engine can run the captioner {source!r}: {error}, and PyTorch is not installed; "
                f"run `{INSTALL_TORCH}`, or use a captioner with exported files."
            ) from None
        return _open_torch(description), f"ONNX Runtime cannot be used: {error}."


def find_served_folder(source: str, wanted: EngineName) -> Path:
    """Return the folder of a captioner; from the Hub, only the large files that its engine needs are downloaded.

    Args:
        source: folder or `ID[@REVISION]`.
        wanted: the engine to use.

    Raises:
        InputError: as `find_folder`.
    """
    if Path(source).is_dir():
        return Path(source)
    needs_torch = wanted == "torch" or (wanted == "auto" and has_gpu())
    folder = find_folder(source, weights=needs_torch)
    graphs = [] if needs_torch else [f"{FOLDER}/{name}" for name in preferred_graphs(folder)]
    return find_folder(source, weights=not graphs, graphs=graphs)


def preferred_graphs(folder: Path) -> list[str]:
    """Return the names of the ONNX files to serve from, by the manifest in `folder`; none if there is no manifest."""
    path = folder / FOLDER / MANIFEST
    if not path.is_file():
        return []
    names = list(json.loads(path.read_text()).get("files", {}))
    return [name for name in names if name.endswith("_quantized.onnx")] or names


def choose_precision(folder: Path) -> tuple[bool, str]:
    """Return whether to run the int8 files in `folder`/onnx instead of the float32 files, and why.

    Raises:
        InputError: neither set is complete, or ONNX Runtime is not installed; the text is part of a sentence.
    """
    if not is_installed("onnxruntime"):
        raise InputError(f"onnxruntime is not installed ({INSTALL_ONNX})")
    from imgcap.inference.engines.onnx_engine import GRAPHS, file_name

    try:
        check_manifest(folder, [file_name(graph, quantized=True) for graph in GRAPHS])
    except InputError as error:
        if not (folder / FOLDER / file_name(GRAPHS[0], quantized=False)).is_file():
            raise
        check_manifest(folder, [file_name(graph, quantized=False) for graph in GRAPHS])
        return False, f"{error}."
    if multiplies_int8():
        return True, "The processor multiplies int8."
    return True, "The processor has no int8 dot product, so sums are taken in a slower, exact way."


def has_gpu() -> bool:
    """Return whether PyTorch has a GPU to run on. PyTorch is only imported if the system shows one."""
    if not any(Path(name).exists() for name in ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")) or not is_installed("torch"):
        return False
    from imgcap.inference.engines.device import device

    return bool(device().type != "cpu")


def is_installed(package: str) -> bool:
    """Return whether a package can be imported, without importing it."""
    return importlib.util.find_spec(package) is not None


def _open_onnx(folder: Path, *, quantized: bool) -> Engine[Any]:
    from imgcap.inference.engines.onnx_engine import GRAPHS, OnnxEngine, file_name
    from imgcap.inference.engines.onnx_weights import has_broken_weight

    files = [folder / FOLDER / file_name(graph, quantized=quantized) for graph in GRAPHS]
    try:
        broken = next((path for path in files if has_broken_weight(path)), None)
        engine = OnnxEngine(
            folder / FOLDER, quantized=quantized, threads=usable_cores(), exact_sums=not multiplies_int8()
        )
    except Exception as error:  # onnxruntime's errors have no common base class
        raise InputError(f"{folder / FOLDER} does not load in this version of ONNX Runtime") from error
    if broken is not None:
        raise InputError(f"{broken} holds a weight that is not a finite number")
    return engine


def _open_torch(description: Description) -> Engine[Any]:
    if not is_installed("torch"):
        raise InputError(f"The PyTorch engine cannot run: PyTorch is not installed; run `{INSTALL_TORCH}`.")
    import torch
    from transformers.utils.logging import disable_progress_bar

    from imgcap.inference.checkpoint import load_captioner
    from imgcap.inference.engines.device import device, multiplies_bfloat16
    from imgcap.inference.engines.torch_engine import TorchEngine

    disable_progress_bar()  # the file loads before a bar could help
    torch.set_num_threads(usable_cores())
    model, _ = load_captioner(str(description.folder))
    place = device()
    return TorchEngine(model, place, torch.bfloat16 if multiplies_bfloat16(place) else torch.float32)
