"""The web server: Gradio's page, the sign-in pages, and the guard in front of every route."""
