"""The tabs of Gradio's page, one a file."""
