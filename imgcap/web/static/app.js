// What every tab of Gradio's page needs: a live region for screen readers, and refusals shown as sentences.
// The script at the head of the page (imgcap/web/gate/head.py) has set window.imgcap = { language, texts }.
(() => {
  const text = (key) => window.imgcap.texts[`script.${key}`];
  const live = document.createElement("div");
  live.setAttribute("role", "status");
  live.className = "imgcap-visually-hidden";

  // Gradio replaces what it renders as a whole, which screen readers do not notice; this region stays and changes.
  const announce = (sentence) => {
    if (!live.isConnected) document.body.append(live);
    live.textContent = sentence;
  };

  const notice = () => document.getElementById("imgcap-refusal");
  // `about` is the address that the sentence is about: it ends when that address answers well again.
  const warn = (sentence, signIn = "", about = "") => {
    let shown = notice();
    if (!shown) {
      shown = document.createElement("div");
      shown.id = "imgcap-refusal";
      shown.setAttribute("role", "alert");
      document.body.prepend(shown);
    }
    shown.dataset.path = new URL(about, location.href).pathname;
    shown.replaceChildren(sentence);
    if (signIn) {
      const link = document.createElement("a");
      link.href = signIn;
      link.textContent = text("sign_in");
      shown.append(" ", link);
    }
    const close = document.createElement("button");
    close.type = "button";
    close.textContent = text("close");
    close.addEventListener("click", () => shown.remove());
    shown.append(" ", close);
  };

  // Gradio would show the server's refusal as raw JSON. Show its sentence instead, with a link to sign in again.
  const ask = window.fetch;
  window.fetch = async (...request) => {
    const answer = await ask(...request);
    const { origin, pathname } = new URL(answer.url || location.href, location.href);
    const isOurs = origin === location.origin;
    // What was said about a refusal ends when the same is allowed again.
    if (isOurs && answer.ok && notice()?.dataset.path === pathname) notice().remove();
    if (!isOurs || /\/(gradio_api\/mcp|monitoring)\//.test(answer.url) || ![401, 403, 404, 408, 413, 429, 503].includes(answer.status)) return answer;
    const { detail, sign_in } = await answer.clone().json().catch(() => ({}));
    if (typeof detail !== "string") return answer;
    const sentence = answer.status === 401 ? text("signed_out") : detail;
    warn(sentence, sign_in, pathname);
    return new Response(answer.status === 401 ? sentence : JSON.stringify({ detail }), answer);
  };

  // Gradio's components fade from one colour to another. If the device switches between light and dark, texts and their
  // backgrounds would fade at different paces, and some texts could not be read meanwhile; so they change at once.
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    document.documentElement.classList.add("imgcap-at-once");
    requestAnimationFrame(() => requestAnimationFrame(() => document.documentElement.classList.remove("imgcap-at-once")));
  });

  // The open tab is in the address (/#batch), so that a reload, the browser's Back and a bookmark lead to it.
  const wanted = location.hash.slice(1);
  const keepTab = (name) => {
    history.replaceState(history.state, "", name === "caption" ? location.pathname + location.search : `#${name}`);
  };
  const openTab = (names) => ({ ...(names.includes(wanted) ? { selected: wanted } : {}), __type__: "update" });

  Object.assign(window.imgcap, { text, announce, warn, keepTab, openTab });
})();
