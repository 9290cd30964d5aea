"""The tabs of Gradio's page, one file for each."""
