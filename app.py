"""Start the app: `python app.py`, here and on a Hugging Face Space."""

from imgcap.captioner import Captioner
from imgcap.settings import get_settings
from imgcap.web.server import serve

if __name__ == "__main__":
    settings = get_settings()
    serve(settings, Captioner(settings))
