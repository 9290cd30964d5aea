"""Define the theme of Gradio's page: the system's fonts, light and dark colours."""

from pathlib import Path

import gradio as gr

STATIC = Path(__file__).parents[1] / "static"
CSS = [STATIC / name for name in ("nav.css", "app.css", "sheet.css", "tabs.css")]
FAVICON = STATIC / "icon.png"
HEAD = (STATIC / "head.html").read_text(encoding="utf-8")

_BLUE = gr.themes.Color(
    "#eef6fc",
    "#d6e9f7",
    "#aed4ef",
    "#7cc0ee",
    "#3f97d1",
    "#0b5f99",
    "#0b5f99",
    "#094d7c",
    "#083f66",
    "#06304d",
    "#04202f",
)
_SANS = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "sans-serif"]
_MONO = ["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace"]

THEME = gr.themes.Base(
    primary_hue=_BLUE, secondary_hue=_BLUE, neutral_hue="slate", radius_size="lg", font=_SANS, font_mono=_MONO
).set(
    body_background_fill="#f5f7f9",
    body_background_fill_dark="#10161c",
    body_text_color="#17212b",
    body_text_color_dark="#e9eef2",
    body_text_color_subdued="#51606e",
    body_text_color_subdued_dark="#a5b3bf",
    block_background_fill="#ffffff",
    block_background_fill_dark="#18212a",
    block_border_color="#c9d2da",
    block_border_color_dark="#3b4956",
    block_label_text_color="#17212b",
    block_label_text_color_dark="#e9eef2",
    block_title_text_color="#17212b",
    block_title_text_color_dark="#e9eef2",
    input_background_fill="#ffffff",
    input_background_fill_dark="#10161c",
    input_border_color="#51606e",
    input_border_color_dark="#a5b3bf",
    input_placeholder_color="#5b6a78",
    input_placeholder_color_dark="#a5b3bf",
    button_secondary_background_fill="#ffffff",
    button_secondary_background_fill_dark="#18212a",
    button_secondary_border_color="#0b5f99",
    button_secondary_border_color_dark="#7cc0ee",
    button_secondary_text_color="#0b5f99",
    button_secondary_text_color_dark="#7cc0ee",
    link_text_color="#0b5f99",
    link_text_color_dark="#7cc0ee",
)
