"""Gradio's Blocks as this app uses them."""

from typing import Any, Self

import gradio as gr

from imgcap.web.texts import Labels

PRIVATE: Any = {"api_visibility": "private", "show_progress": "hidden"}
"""Arguments of every event of the page: not in the API, and without Gradio's own signs of progress."""


class Page(gr.Blocks):
    """Blocks that pass to a function what the client sent, without Gradio's own preprocessing.

    Gradio copies the file, or fetches the link, that a payload names before a function of ours has seen it, and ends
    in a traceback where it does not like what it got. So every function of this page judges its own inputs.

    labels: give each component its texts.
    """

    def __init__(self, title: str) -> None:
        super().__init__(title=title, analytics_enabled=False)
        self.labels = Labels()

    def __enter__(self) -> Self:
        """Begin to build the page."""
        super().__enter__()
        return self

    async def preprocess_data(self, block_fn: Any, inputs: list[Any], *_: Any, **__: Any) -> list[Any]:
        """Return the inputs as sent, with the components' values for those left out."""
        return [*inputs, *(block.value for block in block_fn.inputs[len(inputs) :])][: len(block_fn.inputs)]
