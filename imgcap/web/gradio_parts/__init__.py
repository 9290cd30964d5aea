"""Parts of Gradio that this app replaces or adapts."""
