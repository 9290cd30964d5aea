"""`imgcap serve`: start the app as `python app.py` does, for an installed copy, which has no app.py."""


def serve() -> None:
    """Start the web app. Settings are environment variables, such as IMGCAP_PORT."""
    from imgcap.captioner import Captioner
    from imgcap.settings import get_settings
    from imgcap.web.server import serve as run

    settings = get_settings()
    run(settings, Captioner(settings))
