"""Collect the content of a Space's repository: this package, its start file, its requirements and its front matter."""

from huggingface_hub import HfApi, SpaceCard, SpaceCardData
from huggingface_hub.hf_api import RepoFile

from imgcap.errors import InputError
from imgcap.hub.checkpoint import package_files, requirements
from imgcap.hub.push import Content, one_sentence
from imgcap.inference.files import FILES, WEIGHTS, split_revision

PYTHON = "3.12"
"""The Python version that both this package's tests and ZeroGPU have."""
TORCH = frozenset({"torch", "torchvision", "transformers"})
"""Packages that compute captions without ONNX files. ZeroGPU has older versions than this package asks for."""
EXTRAS = ("alt-text", "dataset")
"""Optional parts of the app that a Space has."""
OWNED = ("imgcap/*",)

APP = '''"""The app on a Hugging Face Space."""

from imgcap.cli.serve import serve

serve()
'''

CARD = """---
{{ card_data }}
---

# imgcap

Give a photo, see how sharp it is, and read what is in it. A blurred photo gets a plain message and no caption.

Captions are written by [{{ model }}](https://huggingface.co/{{ model }}). Sign in with your
Hugging Face account, or register with a name and a password.

## Your own copy

"Duplicate this Space" makes one. Variables come along and secrets do not, so set these anew:

| name | what |
|---|---|
| `IMGCAP_DATABASE_URL` | a PostgreSQL, `postgresql://user:password@host/name`; else accounts end with a restart |
| `IMGCAP_FIRST_USER`, `IMGCAP_FIRST_PASSWORD` | an account that is made at the start, unless one of that name exists |
| `IMGCAP_OPEN_REGISTRATION` | `0` lets nobody else register |
"""


def space_content(api: HfApi, model: str) -> Content:
    """Return the content of a Space's repository.

    Args:
        api: client that reads the model's repository.
        model: Hub id of the captioner, or `NAME@REVISION`. With ONNX files the Space needs no PyTorch. A public model
            is downloaded while the Space is built, so that the Space does not download it at each start.

    Raises:
        InputError: the Hub has no such captioner, or cannot be reached.
    """
    name, revision = split_revision(model)
    with one_sentence(name, "model"):
        info = api.model_info(name, revision=revision)
        tree = api.list_repo_tree(name, recursive=True, revision=revision)
        there = {entry.path for entry in tree if isinstance(entry, RepoFile)}
    missing = [file for file in FILES if file not in there]
    if missing:
        raise InputError(f"The model {model!r} is no captioner of imgcap, since it lacks {missing[0]}: push one first.")
    onnx = "onnx/export.json" in there
    preload = " ".join([name, ",".join(_served(there)), *([revision] if revision else [])])
    data = SpaceCardData(
        title="imgcap", emoji="📷", colorFrom="indigo", colorTo="green", sdk="gradio", sdk_version=_gradio(),
        python_version=PYTHON, app_file="app.py", pinned=False, license="mit", models=[name], hf_oauth=True,
        short_description="A caption for a sharp photo, none for a blurred one",
        preload_from_hub=None if info.private else [preload],
    )  # fmt: skip
    card = SpaceCard.from_template(data, template_str=CARD, model=name)
    packages = requirements(*EXTRAS, without=TORCH if onnx else frozenset())
    return Content(
        "space",
        {
            "README.md": f"{card}\n".encode(),
            "app.py": APP.encode(),
            "requirements.txt": "".join(f"{package}\n" for package in packages).encode(),
            **{f"imgcap/{path}": file for path, file in package_files().items()},
        },
        OWNED,
    )


def _served(files: set[str]) -> list[str]:
    """Return which files of a model's repository the app downloads, as `find_served_folder` does."""
    graphs = {file for file in files if file.startswith("onnx/") and file.endswith(".onnx")}
    graphs = {file for file in graphs if file.endswith("_quantized.onnx")} or graphs
    small = {file for file in files if file.endswith((".json", ".md", ".safetensors")) and file != WEIGHTS}
    return sorted(small | (graphs or {WEIGHTS}))


def _gradio() -> str:
    """Return the version of Gradio that this package asks for."""
    [gradio] = [one for one in requirements() if one.startswith("gradio==")]
    return gradio.removeprefix("gradio==")
