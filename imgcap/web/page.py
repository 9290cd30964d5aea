"""Build Gradio's page with the bar, the tabs and the endpoints of the API. Each tab has a file in `tabs/`."""

from collections.abc import Callable

import gradio as gr

from imgcap.accounts.accounts import Accounts
from imgcap.captioner import NUM_ALTERNATIVES
from imgcap.reading import LENGTHS
from imgcap.web.endpoints import Endpoints, describe_parameter, parameter_texts
from imgcap.web.gradio_parts.blocks import PRIVATE, Page
from imgcap.web.presentation.rendering import render_bar
from imgcap.web.services import Services
from imgcap.web.tabs.api import build_api_tab
from imgcap.web.tabs.batch import build_batch_tab
from imgcap.web.tabs.caption import build_caption_tab
from imgcap.web.tabs.dataset import build_dataset_tab
from imgcap.web.tabs.how import build_how_tab
from imgcap.web.tabs.live import build_live_tab
from imgcap.web.texts import ENGLISH, LANGUAGES, texts_of

TITLE = "imgcap"
TABS: dict[str, Callable[[Page, Services], None]] = {
    "caption": build_caption_tab,
    "live": build_live_tab,
    "batch": build_batch_tab,
    "dataset": build_dataset_tab,
    "how": build_how_tab,
    "api": build_api_tab,
}
"""The functions that build the tabs, in order. The id gives the text `ID.tab` and the element `imgcap-tab-ID`."""


def build_page(services: Services) -> Page:
    """Return the whole interface with the named endpoints."""
    with Page(TITLE) as page:
        bar = gr.HTML(render_bar("", LANGUAGES[ENGLISH]), padding=False)
        gr.HTML(f"<h1>{page.labels('page.title')}</h1>", padding=False)
        gr.HTML(f'<p class="imgcap-tagline">{page.labels("page.tagline")}</p>', padding=False)
        if services.storage_risk:
            risk = page.labels(f"storage.{services.storage_risk}")
            gr.HTML(f'<p class="imgcap-warning" role="note">{risk}</p>', padding=False, elem_id="imgcap-risk")
        with gr.Tabs(elem_id="imgcap-tabs") as tabs:
            for name, build in TABS.items():
                with gr.Tab(page.labels(f"{name}.tab"), id=name, elem_id=f"imgcap-tab-{name}") as tab:
                    build(page, services)
                tab.select(None, None, None, js=f"() => window.imgcap.keepTab({name!r})", **PRIVATE)
        page.load(None, None, tabs, js=f"() => window.imgcap.openTab({[*TABS]})", **PRIVATE)
        page.load(_greet(services.accounts), None, bar, **PRIVATE)
        _add_endpoints(Endpoints(services.work))
    return page


def _greet(accounts: Accounts) -> Callable[[gr.Request], str]:
    def greet(request: gr.Request) -> str:
        """Return the bar at the top with the name of the signed-in user."""
        return render_bar(accounts.name_of(int(request.username)) or "", texts_of(request))

    return greet


def _add_endpoints(endpoints: Endpoints) -> None:
    texts = parameter_texts(endpoints.caption)
    image = gr.Image(label="image", type="filepath", image_mode=None, visible=False)
    url = gr.Textbox(label="url", visible=False)
    length = gr.Radio(list(LENGTHS), value="normal", label="length", visible=False)
    answer = gr.JSON(label="reading", visible=False)
    alternatives = gr.Number(label="alternatives", value=NUM_ALTERNATIVES, precision=0, visible=False)
    model = gr.Textbox(label="model", value="", visible=False)
    for parameter in (image, url, length, alternatives, model):
        describe_parameter(parameter, texts[str(parameter.label)])
    # Their answers are JSON already: Gradio's postprocessing would only take one more turn of a thread.
    inputs = [image, url, length, alternatives, model]
    gr.on([], endpoints.caption, inputs, answer, api_name="caption", postprocess=False)
    gr.on([], endpoints.check, [image, url], answer, api_name="check", postprocess=False)
