// The API tab: fills a token into the snippets and copies them. It also corrects Gradio's own panel on the API.
(() => {
  const text = (key) => window.imgcap.texts[`script.${key}`];
  const PLACEHOLDER = "imgcap_YOUR_TOKEN";

  document.addEventListener("input", (event) => {
    if (event.target.id !== "imgcap-token") return;
    const token = event.target.value.trim().replace(/[^\w-]/g, "") || PLACEHOLDER;
    for (const place of document.querySelectorAll(".imgcap-token")) place.textContent = token;
  });

  document.addEventListener("click", async (event) => {
    const button = event.target.closest?.("[data-imgcap-copy]");
    if (!button) return;
    const code = button.parentElement.querySelector("code");
    const label = button.textContent;
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = text("copied_short");
    } catch {
      getSelection().selectAllChildren(code);
      button.textContent = text("selected");
    }
    document.querySelector("[role=status].imgcap-visually-hidden")?.replaceChildren(button.textContent);
    setTimeout(() => { button.textContent = label; }, 2500);
  });

  // The panel names the component behind a parameter, offers MCP, which is off, and a recorder that records nothing.
  const ABOUT_COMPONENT = /^The (input|output) value that (is provided|appears) in the "?[^"]*"? \w+\s+component\.\s*/;
  const tidy = (panel) => {
    for (const line of panel.querySelectorAll("p.desc")) {
      if (ABOUT_COMPONENT.test(line.textContent)) line.textContent = line.textContent.replace(ABOUT_COMPONENT, "");
    }
    for (const choice of panel.querySelectorAll("li.snippet")) {
      if (choice.textContent.trim() === "MCP") choice.remove();
    }
    const lead = panel.querySelector(".client-doc > p");
    if (lead && lead.textContent !== text("api_panel")) lead.textContent = text("api_panel");
    panel.querySelector("#start-api-recorder")?.remove();
    for (const line of panel.querySelectorAll("p")) {
      if (line.textContent.includes("API Recorder")) line.textContent = line.textContent.replace(/\s*Or use the.*/s, "");
    }
  };
  new MutationObserver(() => {
    const panel = document.querySelector(".api-docs");
    if (panel) tidy(panel);
  }).observe(document.documentElement, { childList: true, subtree: true });
})();
