// The data-set tab: the server sends its parts as HTML, in which everything is escaped.
(() => {
  const { text, announce } = window.imgcap;
  const at = (name) => document.querySelector(`#imgcap-dataset [data-dataset="${name}"]`);
  const AGAIN = 3000;
  const asked = {}, timers = {};  // by part: a request for one does not end what is asked for the other
  let newest = 0;  // what was asked for last by hand; only that is announced and gets the focus

  const showError = (part, sentence) => {
    part.replaceChildren(Object.assign(document.createElement("p"), { className: "imgcap-error", textContent: sentence }));
  };
  const load = async (place, address, quietly = false) => {
    const own = asked[place] = (asked[place] ?? 0) + 1, part = at(place), turn = quietly ? 0 : (newest += 1);
    clearTimeout(timers[place]);
    part.setAttribute("aria-busy", "true");
    if (!quietly) announce(text("dataset_wait"));
    try {
      const answer = await fetch(`dataset/${address}`);
      const said = answer.ok ? await answer.text() : (await answer.json().catch(() => ({}))).detail ?? text("dataset_failed");
      if (own !== asked[place] || !part.isConnected) return;
      if (quietly && (answer.status === 429 || answer.status >= 500)) { follow(place, part, address); return; }
      if (answer.ok) part.innerHTML = said;
      else showError(part, said);
      if (turn === newest) {
        announce(part.querySelector("h3, .imgcap-error")?.textContent ?? "");
        part.focus({ preventScroll: false });
      }
      const progress = part.querySelector("[data-captioned]")?.dataset;
      const unfinished = progress && Number(progress.captioned) < Number(progress.total);
      if (unfinished) follow(place, part, address);
    } catch {
      if (own !== asked[place]) return;
      if (quietly) { follow(place, part, address); return; }  // the server is away for a moment
      announce(text("dataset_failed"));
      showError(part, text("dataset_failed"));
    } finally {
      if (own === asked[place]) part.setAttribute("aria-busy", "false");
    }
  };
  // Asks again for what is unfinished, but not while nobody sees it or somebody's focus would be lost.
  const follow = (place, part, address) => {
    timers[place] = setTimeout(() => {
      if (!part.isConnected) return;
      if (part.offsetParent && !document.hidden && !part.contains(document.activeElement?.closest("button"))) load(place, address, true);
      else follow(place, part, address);
    }, AGAIN);
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
