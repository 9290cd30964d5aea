"""Draw how the captioner works: `python -m scripts.architecture` writes docs/architecture.svg."""

from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

TARGET = Path(__file__).resolve().parent.parent / "docs" / "architecture.svg"
WIDTH, HEIGHT = 900, 470
STYLE = """
  svg { color-scheme: light dark; background: #ffffff; font: 15px system-ui, sans-serif; }
  rect { fill: #eef4f8; stroke: #0b5f99; stroke-width: 1.5; } rect.end { fill: #ebf6f0; stroke: #14633c; }
  rect.refused { fill: #fdf1eb; stroke: #9c2f00; } text { fill: #17212b; text-anchor: middle; }
  .small { font-size: 12.5px; fill: #51606e; } path { fill: none; stroke: #51606e; stroke-width: 1.5; }
  marker path { fill: #51606e; stroke: none; }
  @media (prefers-color-scheme: dark) {
    svg { background: #10161c; } rect { fill: #18212a; stroke: #7cc0ee; } rect.end { fill: #10291c; stroke: #8fdcb1; }
    rect.refused { fill: #33190d; stroke: #ffb596; } text { fill: #e9eef2; } .small { fill: #a5b3bf; }
    path { stroke: #a5b3bf; } marker path { fill: #a5b3bf; }
  }
"""


@dataclass(frozen=True)
class Box:
    """A box with a title and lines below it; x and y are the pixels of its upper left corner."""

    x: int
    y: int
    width: int
    title: str
    lines: tuple[str, ...]
    kind: str = ""

    @property
    def height(self) -> int:
        """Height in pixels."""
        return 38 + 18 * len(self.lines)

    def draw(self) -> str:
        """Return the box as SVG."""
        middle = self.x + self.width // 2
        texts = [f'<text x="{middle}" y="{self.y + 25}">{escape(self.title)}</text>']
        texts += [
            f'<text class="small" x="{middle}" y="{self.y + 45 + 18 * row}">{escape(line)}</text>'
            for row, line in enumerate(self.lines)
        ]
        frame = (
            f'<rect class="{self.kind}" x="{self.x}" y="{self.y}" width="{self.width}" height="{self.height}" rx="9"/>'
        )
        return "\n".join([frame, *texts])


PHOTO = Box(20, 20, 160, "Photo", ("upright, sRGB",))
CHECK = Box(250, 20, 210, "Blur check", ("variance of the Laplacian", "against the threshold"))
REFUSED = Box(640, 20, 240, "Message, no caption", ("below the threshold",), "refused")
ENCODER = Box(250, 160, 210, "ResNet50", ("without its 1000-way top", "7 x 7 grid of 2048 channels"))
ATTENTION = Box(20, 300, 250, "Attention LSTM", ("asks, with eight heads,", "where in the grid to look"))
LANGUAGE = Box(330, 300, 250, "Language LSTM", ("reads the place looked at", "and the words so far"))
WORDS = Box(640, 300, 240, "Softmax over words", ("the next word, until the end token",))
CAPTION = Box(490, 178, 110, "Caption", (), "end")
NOTE = Box(640, 160, 240, "Beam search", ("five captions at a time;", "the best one is shown"))
ARROWS = (
    (180, 52, 250, 52, ""), (460, 52, 640, 52, "invalid"), (355, 94, 355, 160, "valid"), (290, 234, 200, 300, "grid"),
    (270, 338, 330, 338, ""), (580, 338, 640, 338, ""), (760, 300, 760, 234, ""), (640, 197, 600, 197, ""),
)  # fmt: skip
LOOP = "M 680 356 C 680 450, 145 460, 145 378"
"""Path from the softmax back to the attention LSTM, which reads the word just written."""


def picture() -> str:
    """Return the image as SVG."""
    boxes = (PHOTO, CHECK, REFUSED, ENCODER, ATTENTION, LANGUAGE, WORDS, CAPTION, NOTE)
    arrows = [f'<path d="M {a} {b} L {c} {d}" marker-end="url(#tip)"/>' for a, b, c, d, _ in ARROWS]
    arrows.append(f'<path d="{LOOP}" marker-end="url(#tip)"/>')
    labels = [
        f'<text class="small" x="{(a + c) // 2 + 28}" y="{(b + d) // 2 - 6}">{label}</text>'
        for a, b, c, d, label in ARROWS
        if label
    ]
    labels.append('<text class="small" x="400" y="445">the word just written is read next</text>')
    tip = '<marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">'
    title = "<title>A photo is checked for blur; a sharp one is encoded, and a decoder writes its caption</title>"
    parts = [f"<style>{STYLE}</style>", f'<defs>{tip}<path d="M 0 0 L 8 4 L 0 8 z"/></marker></defs>']
    return "\n".join([head, title, *parts, *arrows, *(box.draw() for box in boxes), *labels, "</svg>"]) + "\n"


if __name__ == "__main__":
    TARGET.write_text(picture())
