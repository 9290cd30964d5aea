// What HTML alone cannot do on Gradio's page: announce a reading, copy a caption, speak it.
(() => {
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
      button.textContent = "Copied";
    } catch {
      const range = document.createRange();
      range.selectNodeContents(document.getElementById("imgcap-caption"));
      getSelection().removeAllRanges();
      getSelection().addRange(range);
      button.textContent = "Selected: press Ctrl+C";
    }
    announce(button.textContent);
    setTimeout(() => { button.textContent = "Copy caption"; }, 2500);
  };

  const speak = () => {
    speechSynthesis.cancel();
    const words = new SpeechSynthesisUtterance(captionText());
    words.lang = "en";
    speechSynthesis.speak(words);
  };

  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("[data-imgcap]");
    if (button?.dataset.imgcap === "copy") copy(button);
    if (button?.dataset.imgcap === "speak") speak();
  });
})();
