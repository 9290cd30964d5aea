// The data-set tab: the server sends its parts as HTML, in which everything is escaped.
(() => {
  const { text, announce } = window.imgcap;
  const at = (name) => document.querySelector(`#imgcap-dataset [data-dataset="${name}"]`);
  const AGAIN = 3000;
  let asked = 0, timer = 0;

  const showError = (part, sentence) => {
    part.replaceChildren(Object.assign(document.createElement("p"), { className: "imgcap-error", textContent: sentence }));
  };
  const load = async (place, address, quietly = false) => {
    const own = asked += 1, part = at(place);
    clearTimeout(timer);
    part.setAttribute("aria-busy", "true");
    if (!quietly) announce(text("dataset_wait"));
    try {
      const answer = await fetch(`dataset/${address}`);
      if (own !== asked || !part.isConnected) return;
      if (answer.ok) part.innerHTML = await answer.text();
      else {
        const { detail } = await answer.json().catch(() => ({}));
        showError(part, detail ?? text("dataset_failed"));
      }
      if (!quietly) {
        announce(part.querySelector("h3, .imgcap-error")?.textContent ?? "");
        part.focus({ preventScroll: false });
      }
      const progress = part.querySelector("[data-captioned]")?.dataset;
      const unfinished = progress && Number(progress.captioned) < Number(progress.total);
      if (unfinished) timer = setTimeout(() => { if (part.offsetParent && !document.hidden && !part.contains(document.activeElement?.closest("button"))) load(place, address, true); }, AGAIN);
    } catch {
      if (own !== asked) return;
      announce(text("dataset_failed"));
      if (!quietly) showError(part, text("dataset_failed"));
    } finally {
      part.setAttribute("aria-busy", "false");
    }
  };

  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("#imgcap-dataset button");
    if (!button) return;
    if (button.dataset.number) load("picture", `picture?number=${button.dataset.number}`);
    const name = button.dataset.dataset;
    if (name === "random") load("picture", "picture");
    if (name === "best" || name === "worst") load("list", `list?order=${name}`);
  });
  document.addEventListener("submit", (event) => {
    if (event.target !== at("search")) return;
    event.preventDefault();
    load("list", `list?${new URLSearchParams({ q: event.target.elements.q.value })}`);
  });
})();
