"""The states of Gradio's sessions, which hold no copy of the page's configuration."""

import gradio as gr
import httpx
from gradio.state_holder import SessionState
from running import SHARP

from imgcap.web.gradio_parts.states import LeanStates
from imgcap.web.server import Server


def states_of(page: gr.Blocks) -> LeanStates:
    page.state_session_capacity = 2
    states = LeanStates()
    states.set_blocks(page)
    return states


def test_a_new_session_copies_no_configuration_and_has_the_pages_functions():
    with gr.Blocks() as page:
        text, kept = gr.Textbox("hello"), gr.State(["kept"])
        text.change(lambda value: value, text, text)
    state, usual = states_of(page)["one"], SessionState(page)
    assert usual.config_values
    assert not state.config_values
    assert state.blocks_config.fns == usual.blocks_config.fns
    assert state[text._id] is text
    assert state[kept._id] == ["kept"]


def test_what_an_event_changes_is_the_sessions_own():
    with gr.Blocks() as page:
        text = gr.Textbox("hello")
    states = states_of(page)
    states["one"][text._id] = gr.Textbox("changed", render=False)
    states["one"]._update_value_in_config(text._id, "typed")
    assert states["one"][text._id].value == "changed"
    assert states["one"].config_values[text._id]["props"]["value"] == "typed"
    assert states["two"][text._id].value == "hello"


def test_the_oldest_sessions_are_forgotten():
    with gr.Blocks() as page:
        gr.Textbox()
    states = states_of(page)
    for session in ("one", "two", "three"):
        assert states[session]
    assert list(states.session_data) == ["two", "three"]


def test_the_app_keeps_lean_states(launched: Server, member: httpx.Client):
    with SHARP.open("rb") as file:
        path = member.post("/gradio_api/upload", files={"files": ("coffee.jpg", file)}).json()[0]
    asked = member.post("/gradio_api/call/check", json={"data": [{"path": path}, None], "session_hash": "lean"})
    told = member.get(f"/gradio_api/call/check/{asked.json()['event_id']}").text
    assert "event: complete" in told
    states = launched.demo.state_holder
    assert isinstance(states, LeanStates)
    assert launched.demo.app.state_holder is states
    assert 0 < len(states["lean"].config_values) < len(launched.demo.blocks) / 4
