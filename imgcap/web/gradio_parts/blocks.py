"""Adapt Gradio's Blocks to this app."""

from typing import Any, Self

import gradio as gr

from imgcap.web.texts import Labels

PRIVATE: Any = {"api_visibility": "private", "show_progress": "hidden"}
"""Arguments of every event of the page, which keep it out of the API and hide Gradio's own progress bars."""


class Page(gr.Blocks):
    """Blocks that pass the client's inputs to a function unchanged, without Gradio's own preprocessing.

    Gradio's preprocessing copies the file or fetches the link of a payload before this app can check it, and raises an
    exception for inputs that it does not accept. Therefore every function of this page checks its own inputs.

    labels: gives each component its texts.
    """

    def __init__(self, title: str) -> None:
        super().__init__(title=title, analytics_enabled=False)
        self.labels = Labels()

    def __enter__(self) -> Self:
        """Begin to build the page."""
        super().__enter__()
        return self

    async def preprocess_data(self, block_fn: Any, inputs: list[Any], *_: Any, **__: Any) -> list[Any]:
        """Return the inputs as sent, with the components' values for missing ones."""
        return [*inputs, *(block.value for block in block_fn.inputs[len(inputs) :])][: len(block_fn.inputs)]
