"""Gradio's state of each session, without a copy of the page's configuration.

For each new session, and so for each call of the API, Gradio 6.31 puts together the configuration of every component
once more, on the event loop; that takes as long as a quarter of a blur check. It is read only by deep links, which this
app does not offer. `tests/web/gradio_parts/test_states.py` fails if a new version of Gradio moves the names used here.
"""

from dataclasses import dataclass
from typing import Any, cast

from gradio.blocks import Blocks, BlocksConfig
from gradio.routes import App
from gradio.state_holder import SessionState, StateHolder


@dataclass(frozen=True)
class _WithoutComponents:
    """What `SessionState` reads of a page, as if the page had no components to copy the configuration of."""

    default_config: BlocksConfig
    blocks: dict[int, Any]


class LeanStates(StateHolder):
    """The states of all sessions; their configuration has only the components that an event changed."""

    def __getitem__(self, session_id: str) -> SessionState:
        """Return the state of a session; a new one if there is none."""
        if session_id not in self.session_data:
            page = _WithoutComponents(self.blocks.default_config, {})
            self.session_data[session_id] = SessionState(cast("Blocks", page))
        return super().__getitem__(session_id)


def use_lean_states(app: App, blocks: Blocks) -> None:
    """Have an app that was launched keep lean states of its sessions."""
    app.state_holder = LeanStates()
    app.state_holder.set_blocks(blocks)
