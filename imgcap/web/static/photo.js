// Ways to choose a photo that Gradio's component lacks: examples, paste and drop anywhere, and files of any type.
(() => {
  const { text, warn } = window.imgcap;
  const UPLOAD = "gradio_api/upload";
  const photo = () => document.getElementById("imgcap-photo");
  const isShown = () => photo()?.offsetParent !== null && photo() !== null;
  const inPhoto = (event) => event.target.closest?.("#imgcap-photo");

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

  // The component has a file input while it takes uploads; the first button beneath it makes it do so.
  const findInput = async () => {
    const find = () => photo().querySelector("input[type=file]");
    if (!find()) photo().querySelector("[data-testid=source-select] button")?.click();
    for (let tries = 0; tries < 60 && !find(); tries += 1) await new Promise((done) => setTimeout(done, 50));
    return find();
  };

  const give = async (file) => {
    const input = await findInput();
    if (!input) return;
    input.files = typed([file]).files;
    input.dispatchEvent(new Event("change", { bubbles: true }));
    photo().scrollIntoView({ block: "nearest" });
  };

  const follow = (link) => {
    const field = document.querySelector("#imgcap-link input, #imgcap-link textarea");
    field.value = link;
    field.dispatchEvent(new Event("input", { bubbles: true }));
    setTimeout(() => document.getElementById("imgcap-fetch").click(), 50);
  };

  // Takes a file if there is one, else a link. Returns whether there was either.
  const take = (transfer) => {
    const file = [...(transfer?.files ?? [])][0];
    if (file) {
      give(file);
      return true;
    }
    const link = (transfer?.getData("text/uri-list") || transfer?.getData("text/plain") || "").trim();
    if (!/^https?:\/\/\S+$/.test(link)) return false;
    follow(link);
    return true;
  };

  document.addEventListener("change", (event) => {
    const input = event.target;
    if (input.type !== "file" || !inPhoto(event) || [...input.files].every(isTyped)) return;
    event.stopImmediatePropagation();
    input.files = typed(input.files).files;
    input.dispatchEvent(new Event("change", { bubbles: true }));
  }, true);
  document.addEventListener("click", (event) => {  // a chooser that filters by image/* hides them, too
    if (event.target.type === "file" && inPhoto(event)) event.target.accept = "";
  }, true);

  const isEditable = (element) => element.closest?.("input:not([type=file]), textarea, select, [contenteditable]");
  document.addEventListener("paste", (event) => {
    if (!isShown() || (isEditable(event.target) && !event.clipboardData?.files.length)) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    if (!take(event.clipboardData)) warn(text("no_picture"), "", UPLOAD);
  }, true);

  const drags = (event) => isShown() && [...(event.dataTransfer?.types ?? [])].some((type) => /Files|uri-list/.test(type));
  const mark = (dragging) => document.body.classList.toggle("imgcap-dragging", dragging);
  document.addEventListener("dragover", (event) => {
    if (!drags(event)) return;
    event.preventDefault();
    mark(true);
  }, true);
  document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) mark(false); }, true);
  document.addEventListener("drop", (event) => {
    mark(false);
    if (!drags(event)) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    if (!take(event.dataTransfer)) warn(text("no_picture"), "", UPLOAD);
  }, true);

  document.addEventListener("click", async (event) => {
    const name = event.target.closest?.("[data-imgcap-example]")?.dataset.imgcapExample;
    if (!name) return;
    try {
      const answer = await fetch(`./pages/examples/${name}.jpg`);
      if (!answer.ok) throw new Error(answer.statusText);
      await give(new File([await answer.blob()], `${name}.jpg`, { type: "image/jpeg" }));
    } catch {
      warn(text("example_failed"), "", UPLOAD);
    }
  });

  document.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey) || !event.target.closest?.("#imgcap-link")) return;
    event.preventDefault();
    document.getElementById("imgcap-fetch").click();
  });

  // Browsers cannot show every kind that the server reads (HEIC, TIFF): then the server's decoded copy is shown.
  document.addEventListener("error", (event) => {
    const picture = event.target;
    if (picture.tagName !== "IMG" || !inPhoto(event)) return;
    const path = decodeURIComponent(picture.src.split("/gradio_api/file=")[1] ?? "");
    if (path) picture.src = `./preview?path=${encodeURIComponent(path)}`;
    else picture.classList.add("imgcap-unreadable");  // the server cannot read it either: no broken picture is shown
  }, true);
  document.addEventListener("load", (event) => { event.target.classList?.remove("imgcap-unreadable"); }, true);
})();
