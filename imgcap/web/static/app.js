// What HTML alone cannot do on Gradio's page: announce a reading, copy a caption, speak it.
(() => {
  const text = (key) => window.imgcap.texts[`script.${key}`];
  const live = document.createElement("div");
  live.setAttribute("role", "status");
  live.className = "imgcap-visually-hidden";
  const announce = (text) => { live.textContent = text; };
  const captionText = () => document.getElementById("imgcap-caption")?.textContent ?? "";
  let announced = "";

  // On a phone the reading lies below the photo and its controls.
  const scrollTo = (reading) => {
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    reading.scrollIntoView({ block: "nearest", behavior: calm ? "auto" : "smooth" });
  };

  // Gradio replaces the reading as a whole, which screen readers do not notice; this region stays and changes.
  const notice = () => {
    if (!live.isConnected) document.body.append(live);
    const reading = document.querySelector(".imgcap-reading");
    const text = reading?.dataset.announce ?? "";
    if (text !== announced) {
      announce(announced = text);
      if (text && innerWidth < 640) scrollTo(reading);
    }
    const speak = reading?.querySelector("[data-imgcap=speak]");
    if (speak?.hidden && "speechSynthesis" in window) speak.hidden = false;
  };
  new MutationObserver(notice).observe(document.documentElement, { childList: true, subtree: true, attributes: true, attributeFilter: ["data-announce"] });

  const copy = async (button) => {
    try {
      await navigator.clipboard.writeText(captionText());
      button.textContent = text("copied");
    } catch {
      const range = document.createRange();
      range.selectNodeContents(document.getElementById("imgcap-caption"));
      getSelection().removeAllRanges();
      getSelection().addRange(range);
      button.textContent = text("selected");
    }
    announce(button.textContent);
    setTimeout(() => { button.textContent = text("copy"); }, 2500);
  };

  const speak = () => {
    speechSynthesis.cancel();
    const words = new SpeechSynthesisUtterance(captionText());
    words.lang = "en";
    speechSynthesis.speak(words);
  };

  // Gradio shows what the server refuses as it came, JSON and all. Say it as a sentence, with the way to sign in again.
  const refuse = (sentence, signIn) => {
    let notice = document.getElementById("imgcap-refusal");
    if (!notice) {
      notice = document.createElement("div");
      notice.id = "imgcap-refusal";
      notice.setAttribute("role", "alert");
      document.body.prepend(notice);
    }
    notice.replaceChildren(sentence);
    if (signIn) {
      const link = document.createElement("a");
      link.href = signIn;
      link.textContent = text("sign_in");
      notice.append(" ", link);
    }
    const close = document.createElement("button");
    close.type = "button";
    close.textContent = text("close");
    close.addEventListener("click", () => notice.remove());
    notice.append(" ", close);
  };
  const ask = window.fetch;
  window.fetch = async (...request) => {
    const answer = await ask(...request);
    const isOurs = new URL(answer.url || location.href, location.href).origin === location.origin;
    if (!isOurs || ![401, 403, 404, 408, 413, 429, 503].includes(answer.status)) return answer;
    const { detail, sign_in } = await answer.clone().json().catch(() => ({}));
    if (typeof detail !== "string") return answer;
    const sentence = answer.status === 401 ? text("signed_out") : detail;
    refuse(sentence, sign_in);
    return new Response(answer.status === 401 ? sentence : JSON.stringify({ detail }), answer);
  };

  // Gradio takes only files whose type begins with image/, and browsers do not know the type of HEIC everywhere. The
  // server judges a file by its content, so every file gets a type that Gradio lets through.
  const isTyped = (file) => file.type.startsWith("image/");
  const typed = (files) => {
    const transfer = new DataTransfer();
    for (const file of files) {
      transfer.items.add(isTyped(file) ? file : new File([file], file.name, { type: "image/x-unknown" }));
    }
    return transfer;
  };
  const inPhoto = (event) => event.target.closest?.("#imgcap-photo");
  document.addEventListener("change", (event) => {
    const input = event.target;
    if (input.type !== "file" || !inPhoto(event) || [...input.files].every(isTyped)) return;
    event.stopImmediatePropagation();
    input.files = typed(input.files).files;
    input.dispatchEvent(new Event("change", { bubbles: true }));
  }, true);
  document.addEventListener("drop", (event) => {
    const files = [...(event.dataTransfer?.files ?? [])];
    if (!inPhoto(event) || !files.length || files.every(isTyped)) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    event.target.dispatchEvent(new DragEvent("drop", { bubbles: true, cancelable: true, dataTransfer: typed(files) }));
  }, true);
  document.addEventListener("click", (event) => {  // a chooser that filters by image/* hides them, too
    if (event.target.type === "file" && inPhoto(event)) event.target.accept = "";
  }, true);

  // Browsers cannot show every kind that the server reads (HEIC, TIFF): then the server's decoded copy is shown.
  document.addEventListener("error", (event) => {
    const picture = event.target;
    if (picture.tagName !== "IMG" || !inPhoto(event)) return;
    const path = decodeURIComponent(picture.src.split("/gradio_api/file=")[1] ?? "");
    if (path) picture.src = `./preview?path=${encodeURIComponent(path)}`;
  }, true);

  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("[data-imgcap]");
    if (button?.dataset.imgcap === "copy") copy(button);
    if (button?.dataset.imgcap === "speak") speak();
  });
})();
