// What can be done with a reading: copy, edit and speak its caption, see where the model looked, compare the map.
(() => {
  const { text, announce } = window.imgcap;
  const find = (selector) => document.querySelector(`.imgcap-reading ${selector}`);
  const captionText = () => find(".imgcap-caption")?.textContent ?? "";
  const isCalm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;
  let announced = "";
  let focused = "";

  // Speech. This browser keeps the voice, its speed and whether captions are spoken without being asked for.
  const speech = "speechSynthesis" in window;
  const visit = new Map();
  const openStorage = () => {
    try {
      return localStorage;
    } catch {  // refused in another site's frame where third-party data are blocked: then it is kept for this visit
      return { getItem: (name) => visit.get(name) ?? null, setItem: (name, value) => visit.set(name, value) };
    }
  };
  const storage = openStorage();
  const kept = (name, otherwise) => storage.getItem(`imgcap-${name}`) ?? otherwise;
  const keep = (name, value) => storage.setItem(`imgcap-${name}`, value);
  const speak = (words) => {
    speechSynthesis.cancel();
    const saying = new SpeechSynthesisUtterance(words);
    saying.lang = "en";
    saying.rate = Number(kept("rate", 1));
    saying.voice = speechSynthesis.getVoices().find((voice) => voice.voiceURI === kept("voice", "")) ?? null;
    speechSynthesis.speak(saying);
  };
  Object.assign(window.imgcap, { speak, kept, keep });
  const listVoices = () => {
    const list = document.getElementById("imgcap-voice");
    if (!list) return;
    const english = speechSynthesis.getVoices().filter((voice) => voice.lang.startsWith("en"));
    list.replaceChildren(new Option(text("voice_default"), ""), ...english.map((voice) => new Option(voice.name, voice.voiceURI)));
    list.value = kept("voice", "");
    if (list.selectedIndex < 0) list.selectedIndex = 0;
  };
  const showVoice = (settings) => {
    settings.hidden = false;
    listVoices();
    document.getElementById("imgcap-rate").value = kept("rate", 1);
    document.getElementById("imgcap-auto-speak").checked = kept("auto-speak", "") === "yes";
  };
  if (speech) speechSynthesis.addEventListener?.("voiceschanged", listVoices);
  document.addEventListener("change", ({ target }) => {
    if (target.id === "imgcap-voice") keep("voice", target.value);
    if (target.id === "imgcap-rate") keep("rate", target.value);
    if (target.id === "imgcap-auto-speak") keep("auto-speak", target.checked ? "yes" : "");
  });

  // Gradio replaces the reading as a whole. Announce what is new, and give the focus back to the button that had it.
  const notice = () => {
    const reading = document.querySelector(".imgcap-reading");
    const sentence = reading?.dataset.announce ?? "";
    if (sentence !== announced) {
      announce(announced = sentence);
      forget();
      if (sentence && innerWidth < 640) reading.scrollIntoView({ block: "nearest", behavior: isCalm() ? "auto" : "smooth" });
      if (speech && captionText() && kept("auto-speak", "") === "yes") speak(captionText());
    }
    const button = find("[data-imgcap=speak]");
    if (speech && button?.hidden) button.hidden = false;
    const settings = document.querySelector(".imgcap-voice[hidden]");
    if (speech && settings) showVoice(settings);
    for (const title of document.querySelectorAll("fieldset:not([aria-label]) > [data-testid=block-info]")) {
      title.parentElement.setAttribute("aria-label", title.textContent.trim());  // Gradio names no group of choices
    }
    if (focused && document.activeElement === document.body) find(`[data-imgcap=${focused}]`)?.focus();
  };
  new MutationObserver(notice).observe(document.documentElement, { childList: true, subtree: true, attributes: true, attributeFilter: ["data-announce", "data-step", "hidden"] });
  document.addEventListener("focusin", ({ target }) => { focused = target.closest?.(".imgcap-reading") ? target.dataset.imgcap ?? "" : ""; });
  document.addEventListener("pointerdown", () => { focused = ""; });

  const copy = async (button) => {
    try {
      await navigator.clipboard.writeText(captionText());
      button.textContent = text("copied_short");
      announce(text("copied"));
    } catch {
      getSelection().selectAllChildren(find(".imgcap-caption"));
      button.textContent = text("selected");
      announce(text("selected"));
    }
    setTimeout(() => { button.textContent = text("copy"); }, 2500);
  };

  // The caption is edited in place; the server keeps the user's words beside the model's.
  const edit = (open) => {
    const form = find(".imgcap-edit");
    form.hidden = !open;
    find(".imgcap-caption").hidden = open;
    find("#imgcap-own-error").textContent = "";
    if (!open) {
      find("[data-imgcap=edit]").focus();
      return;
    }
    const field = form.elements.caption;
    field.value = captionText();
    field.focus();
    field.select();
  };
  const save = async (fields, done) => {
    const entryShown = () => find("[data-imgcap=edit]")?.closest(".imgcap-reading").dataset.entry;
    const entry = entryShown();
    // A failure is told in the server's sentence or in ours, never in the browser's own words about fetch or JSON.
    const fail = (sentence) => {
      if (entryShown() !== entry || find(".imgcap-edit").hidden) window.imgcap.warn(sentence, "", "history/edit");
      else find("#imgcap-own-error").textContent = sentence;
    };
    try {
      const answer = await fetch("./history/edit", { method: "POST", headers: { accept: "application/json" }, body: new URLSearchParams({ entry, ...fields }) });
      const said = await answer.json();
      if (!answer.ok) { fail(said.detail ?? text("not_saved")); return; }
      if (entryShown() !== entry) { announce(text(done)); return; }  // another photo is shown by now
      find(".imgcap-caption").textContent = said.caption;
      find(".imgcap-written").hidden = said.caption === said.written;
      find(".imgcap-look")?.toggleAttribute("hidden", said.caption !== said.written);
      edit(false);
      announce(text(done));
    } catch {
      fail(text("not_saved"));
    }
  };
  document.addEventListener("submit", (event) => {
    if (!event.target.matches(".imgcap-edit")) return;
    event.preventDefault();
    save({ caption: event.target.elements.caption.value }, "saved");
  });
  document.addEventListener("keydown", (event) => {
    const form = event.target.closest?.(".imgcap-edit");
    if (!form) return;
    if (event.key === "Escape") edit(false);
    if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      form.requestSubmit();
    }
  });

  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("[data-imgcap]");
    const actions = {
      copy: () => copy(button), speak: () => speak(captionText()), edit: () => edit(true), cancel: () => edit(false),
      restore: () => save({ restore: "1" }, "restored"), "try-voice": () => speak(captionText() || "A man is looking at a camera."),
    };
    actions[button?.dataset.imgcap]?.();
  });

  // Where the model looked: the rest of the photo darkens.
  const DARKEST = 0.82;
  const forget = () => document.querySelectorAll(".imgcap-attention, .imgcap-glance").forEach((canvas) => canvas.remove());
  const shownBox = (picture) => {  // the box of an image shown with `object-fit: contain`
    const box = picture.getBoundingClientRect();
    const scale = Math.min(box.width / picture.naturalWidth, box.height / picture.naturalHeight);
    const [width, height] = [picture.naturalWidth * scale, picture.naturalHeight * scale];
    return { left: box.left + (box.width - width) / 2, top: box.top + (box.height - height) / 2, width, height };
  };
  const look = (button) => {
    const frame = document.getElementById("imgcap-photo");
    const picture = frame?.querySelector("img");
    if (!picture?.naturalWidth) return;
    forget();
    const cells = button.dataset.imgcapLook.match(/../g).map((digits) => parseInt(digits, 16) / 255);
    const side = Math.round(Math.sqrt(cells.length));
    const shade = new ImageData(side, side);
    cells.forEach((cell, place) => { shade.data[4 * place + 3] = 255 * DARKEST * (1 - cell); });
    const small = Object.assign(document.createElement("canvas"), { width: side, height: side });
    small.getContext("2d").putImageData(shade, 0, 0);
    const shown = shownBox(picture);
    const outer = frame.getBoundingClientRect();
    const cover = Object.assign(document.createElement("canvas"), { className: "imgcap-attention", width: shown.width, height: shown.height });
    cover.setAttribute("aria-hidden", "true");
    Object.assign(cover.style, { left: `${shown.left - outer.left - frame.clientLeft}px`, top: `${shown.top - outer.top - frame.clientTop}px`, width: `${shown.width}px`, height: `${shown.height}px` });
    const context = cover.getContext("2d");
    context.imageSmoothingQuality = "high";
    context.drawImage(small, 0, 0, cover.width, cover.height);
    frame.append(cover);
    if (outer.bottom < 80) glance(button, picture, cover);
  };
  // On a phone the photo may have scrolled away: then a small copy is shown beneath the words.
  const glance = (button, picture, cover) => {
    const copy = Object.assign(document.createElement("canvas"), { className: "imgcap-glance", width: cover.width, height: cover.height });
    copy.setAttribute("aria-hidden", "true");
    const context = copy.getContext("2d");
    for (const layer of [picture, cover]) context.drawImage(layer, 0, 0, copy.width, copy.height);
    button.parentElement.after(copy);
  };
  const lookOf = (event) => event.target.closest?.("[data-imgcap-look]");
  const restore = () => {
    const current = document.activeElement?.closest?.("[data-imgcap-look]");
    if (current) look(current);
    else forget();
  };
  document.addEventListener("pointerover", (event) => { if (lookOf(event)) look(lookOf(event)); });
  document.addEventListener("pointerout", (event) => { if (lookOf(event)) restore(); });
  document.addEventListener("focusin", (event) => { if (lookOf(event)) look(lookOf(event)); });
  document.addEventListener("focusout", (event) => { if (lookOf(event)) forget(); });
  document.addEventListener("keydown", (event) => {
    const word = lookOf(event);
    if (!word) return;
    if (event.key === "Escape") forget();
    const words = [...word.parentElement.children];
    const steps = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1, Home: -words.length, End: words.length };
    if (!(event.key in steps)) return;
    event.preventDefault();
    const place = Math.min(Math.max(words.indexOf(word) + steps[event.key], 0), words.length - 1);
    words.forEach((one, index) => { one.tabIndex = index === place ? 0 : -1; });
    words[place].focus();
  });

  document.addEventListener("input", ({ target }) => {
    if (target.matches?.("[data-imgcap-compare]")) {
      target.closest("figure").querySelector(".imgcap-compare").style.setProperty("--share", `${target.value}%`);
    }
  });
})();
