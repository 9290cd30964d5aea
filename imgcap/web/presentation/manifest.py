"""Build the web app manifest, with which browsers offer to install the app."""

from typing import Any

from imgcap.web.texts import Texts

ICONS = (
    ("icon.svg", "any", "image/svg+xml", "any"),
    ("icon-192.png", "192x192", "image/png", "any"),
    ("icon-512.png", "512x512", "image/png", "any"),
    ("icon-maskable-512.png", "512x512", "image/png", "maskable"),
)


def build_manifest(texts: Texts, root: str) -> dict[str, Any]:
    """Return the manifest of the app under the path `root`, as its JSON."""
    return {
        "name": "imgcap",
        "short_name": "imgcap",
        "description": texts("page.tagline"),
        "lang": texts.language,
        "id": f"{root}/",
        "start_url": f"{root}/",
        "scope": f"{root}/",
        "display": "standalone",
        "background_color": "#f6f8fa",
        "theme_color": "#0b5f99",
        "icons": [
            {"src": f"{root}/pages/{name}", "sizes": sizes, "type": kind, "purpose": purpose}
            for name, sizes, kind, purpose in ICONS
        ],
    }
