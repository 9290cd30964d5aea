// The batch tab: sends files, follows the batch on the server, and draws its table.
(() => {
  const { text } = window.imgcap;
  const fill = (key, values) => text(key).replace(/\{(\w+)\}/g, (_, name) => values[name]);
  const at = (name) => document.querySelector(`#imgcap-batch [data-batch="${name}"]`);
  const PARALLEL = 2, TRIES = 5, POLL = 1000, SPOKEN_EVERY = 15000;

  let batch = null;  // the last report, without its items
  let items = new Map();  // number -> item
  let rows = new Map();  // number -> table row
  let waiting = [];  // files to be sent
  let sending = new Map();  // file -> share that has been sent
  let sent = 0, timer = 0, asking = null, spoken = "", spokenAt = 0;

  const announce = (sentence, now = false) => {
    if (sentence === spoken || (!now && Date.now() - spokenAt < SPOKEN_EVERY)) return;
    window.imgcap.announce(spoken = sentence);
    spokenAt = Date.now();
  };
  const isShown = () => !document.hidden && Boolean(document.getElementById("imgcap-batch")?.offsetParent);
  const spell = (seconds) => seconds < 90 ? fill("batch_seconds", { number: Math.max(1, Math.round(seconds)) })
    : fill("batch_minutes", { number: Math.round(seconds / 60) });

  // Sending. XMLHttpRequest reports how much of a file has been sent; fetch does not.
  const addError = (sentence) => {
    const line = document.createElement("li");
    line.textContent = sentence;
    at("errors").append(line);
    at("errors").hidden = false;
  };
  const post = (file, length) => new Promise((resolve) => {
    const request = new XMLHttpRequest();
    request.upload.addEventListener("progress", (event) => { sending.set(file, event.loaded / event.total); showProgress(); });
    request.addEventListener("loadend", () => resolve(request));
    request.open("POST", `batch/files?${new URLSearchParams({ name: file.name, length })}`);
    request.send(file);
  });
  const send = async (file, length) => {
    for (let tries = 1; ; tries += 1) {
      const request = await post(file, length);
      if (request.status === 200) return;
      const again = [0, 429, 503].includes(request.status) && tries < TRIES;
      if (!again) {
        let detail = text("batch_not_sent");
        try { detail = JSON.parse(request.responseText).detail ?? detail; } catch { /* no JSON: the sentence above */ }
        addError(`${file.name}: ${request.status === 401 ? text("signed_out") : detail}`);
        return;
      }
      await new Promise((resolve) => setTimeout(resolve, 1000 * Math.min(60, Number(request.getResponseHeader("Retry-After")) || 2 * tries)));
    }
  };
  const sendNext = async (length) => {
    const file = waiting.shift();
    if (!file) return;
    sending.set(file, 0);
    await send(file, length);
    sending.delete(file);
    sent += 1;
    askAfresh();
    await sendNext(length);
    if (!waiting.length && !sending.size) { sent = 0; showProgress(); }
  };
  const give = (files) => {
    if (!files.length) return;
    at("errors").replaceChildren();
    at("errors").hidden = true;
    const idle = PARALLEL - sending.size;
    waiting.push(...files);
    for (let place = 0; place < idle; place += 1) sendNext(at("length").value);
    showProgress();
  };

  // Following.
  const ask = () => asking ??= follow().finally(() => { asking = null; });
  const askAfresh = async () => {
    await asking;  // a request that began earlier may not know the new state
    await ask();
  };
  const follow = async () => {
    clearTimeout(timer);
    let away = false;  // the server, for a moment
    try {
      const answer = await fetch(`batch/state?${new URLSearchParams({ id: batch?.id ?? "", since: batch?.version ?? "" })}`);
      if (answer.ok) take(await answer.json());
      else away = answer.status === 429 || answer.status >= 500;
    } catch { away = true; }
    const goesOn = batch?.state === "running" || sending.size || away;
    if (goesOn) timer = setTimeout(ask, isShown() && !away ? POLL : 10 * POLL);
  };
  const command = async (name, fields = {}) => {
    const meant = { id: batch?.id ?? "", ...fields };  // another tab may have begun another batch
    const answer = await fetch(`batch/${name}`, { method: "POST", body: new URLSearchParams(meant) }).catch(() => null);
    if (!answer) {
      window.imgcap.warn(text(name === "edit" ? "not_saved" : "dataset_failed"), "", `batch/${name}`);
      return false;
    }
    if (answer.status === 400) addError((await answer.json()).detail);
    await askAfresh();
    return answer.ok;
  };
  const take = (report) => {
    if (report.id !== batch?.id) { items = new Map(); rows = new Map(); at("rows")?.replaceChildren(); }
    for (const item of report.items) items.set(item.number, item);
    const changed = report.items.map((item) => item.number);
    batch = report;
    if (!document.getElementById("imgcap-batch")) return;
    for (const number of changed) draw(items.get(number));
    if (changed.length) arrange();
    showProgress();
  };
  const showProgress = () => {
    if (!at("progress")) return;
    const files = waiting.length + sending.size, total = batch?.total ?? 0;
    const done = (batch?.done ?? 0) + (batch?.failed ?? 0);
    at("present").hidden = !total && !files;
    at("progress").max = Math.max(1, total + files);
    at("progress").value = done + 0.5 * [...sending.values()].reduce((sum, share) => sum + share, 0);
    let sentence = fill("batch_done", { done, total });
    if (files) sentence = `${fill("batch_sending", { number: sent + sending.size, total: sent + files })} ${total ? sentence : ""}`;
    else if (batch?.state === "finished") sentence = fill("batch_finished", { done: batch.done, failed: batch.failed });
    else if (batch?.state === "cancelled") sentence += ` ${text("batch_cancelled")}`;
    else if (batch?.wait_seconds) sentence += ` ${fill("batch_allowance", { time: spell(batch.wait_seconds) })}`;
    else if (batch?.seconds_left) sentence += ` ${fill("batch_left", { time: spell(batch.seconds_left) })}`;
    at("progress-text").textContent = sentence.trim();
    at("cancel").hidden = batch?.state !== "running";
    at("resume").hidden = !(batch?.state === "cancelled" || (batch?.state === "finished" && batch.failed));
    at("resume").textContent = text(batch?.state === "cancelled" ? "batch_resume" : "batch_retry");
    if (total) announce(sentence.trim(), batch?.state !== "running" && !files);
  };

  // The table. Names and captions are only ever set as text.
  const cell = (row, name, ...content) => {
    const made = row.insertCell();
    made.dataset.label = at("rows").dataset[name] ?? "";
    made.append(...content);
    return made;
  };
  const badge = (verdict) => document.querySelector(`#imgcap-batch template[data-verdict="${verdict}"]`).content.cloneNode(true);
  const stateOf = (item) => item.state === "failed" ? "failed" : item.state !== "done" ? "waiting" : item.valid ? "valid" : "invalid";
  const draw = (item) => {
    const old = rows.get(item.number);
    if (old?.contains(document.activeElement) && document.activeElement.tagName === "TEXTAREA") return;
    const row = document.createElement("tr"), done = item.state === "done";
    row.dataset.state = stateOf(item);
    const picture = new Image();
    picture.alt = "";
    picture.loading = "lazy";
    picture.width = picture.height = 96;
    if (done) picture.src = `batch/${item.number}.jpg?id=${batch.id}`;
    cell(row, "photo", done ? picture : "");
    const name = document.createElement("th");
    name.scope = "row";
    name.textContent = item.name;
    row.append(name);
    cell(row, "variance", done ? item.variance : "–");
    cell(row, "verdict", done ? badge(item.valid ? "valid" : item.reason ?? "blurred") : text(`batch_${item.state}`));
    cell(row, "caption", ...captionOf(item));
    old?.replaceWith(row);
    rows.set(item.number, row);
  };
  const captionOf = (item) => {
    const parts = [];
    if (item.error) {
      const error = document.createElement("p");
      error.className = "imgcap-error";
      error.textContent = item.error;
      parts.push(error);
    }
    if (item.state !== "done") return parts;
    const field = document.createElement("textarea");
    field.rows = 2;
    field.maxLength = Number(at("rows").dataset.maxCaption);
    field.value = item.text ?? "";
    field.lang = item.edited === null ? "en" : "";
    field.setAttribute("aria-label", fill("batch_caption_of", { name: item.name }));
    if (!item.caption) field.placeholder = text("batch_no_caption");
    field.addEventListener("change", () => save(item, field.value));
    field.addEventListener("keydown", (event) => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) field.blur(); });
    parts.push(field);
    const doubts = [item.sure, item.warned].filter(Boolean);
    if (doubts.length) {
      const line = document.createElement("p");
      line.className = "imgcap-doubts";
      line.textContent = doubts.join(" · ");
      parts.push(line);
    }
    if (item.edited !== null && item.caption) {
      const restore = document.createElement("button");
      restore.type = "button";
      restore.className = "imgcap-small";
      restore.textContent = text("batch_restore");
      restore.title = item.caption;
      restore.addEventListener("click", () => save(item, ""));
      parts.push(restore);
    }
    return parts;
  };
  const save = async (item, caption) => {
    if (!await command("edit", { number: item.number, caption })) return;  // what was typed stays in the field
    announce(text("batch_saved"), true);
    if (!items.has(item.number)) return;
    draw(items.get(item.number));
    arrange();
  };
  const ORDER = ["valid", "invalid", "failed", "waiting"];
  const sorts = {
    sent: (one, other) => one.number - other.number,
    name: (one, other) => one.name.localeCompare(other.name, undefined, { numeric: true }),
    sharpest: (one, other) => (other.blur_variance ?? -1) - (one.blur_variance ?? -1),
    softest: (one, other) => (one.blur_variance ?? Infinity) - (other.blur_variance ?? Infinity),
    verdict: (one, other) => ORDER.indexOf(stateOf(one)) - ORDER.indexOf(stateOf(other)),
  };
  const arrange = () => {
    const wanted = at("filter").value, order = [...items.values()].sort((one, other) => sorts[at("sort").value](one, other) || one.number - other.number);
    const shown = order.filter((item) => wanted === "all" || stateOf(item) === wanted).map((item) => rows.get(item.number));
    const body = at("rows");
    if (shown.length === body.rows.length && shown.every((row, place) => body.rows[place] === row)) return;
    const focused = document.activeElement;
    body.replaceChildren(...shown);
    if (body.contains(focused)) focused.focus();
  };

  document.addEventListener("click", (event) => {
    const name = event.target.closest?.("#imgcap-batch [data-batch]")?.dataset.batch;
    if (name === "cancel" || name === "resume") command(name);
    if (name === "delete" && window.confirm(text("batch_delete"))) { waiting = []; command("delete"); }
  });
  document.addEventListener("change", (event) => {
    const name = event.target.closest?.("#imgcap-batch [data-batch]")?.dataset.batch;
    if (name === "files") { give([...event.target.files]); event.target.value = ""; }
    if (name === "filter" || name === "sort") arrange();
  });
  for (const kind of ["dragover", "dragleave", "drop"]) {
    document.addEventListener(kind, (event) => {
      const root = document.getElementById("imgcap-batch");
      if (!root?.offsetParent || !event.dataTransfer?.types.includes("Files")) return;
      event.preventDefault();
      event.stopImmediatePropagation();
      at("drop").classList.toggle("imgcap-over", kind === "dragover");
      if (kind === "drop") give([...event.dataTransfer.files]);
    }, true);
  }
  window.addEventListener("beforeunload", (event) => { if (sending.size) event.preventDefault(); });
  document.addEventListener("visibilitychange", () => { if (isShown()) ask(); });
  // Gradio makes the tab when it is first opened, and may make it again; everything is then drawn again.
  let root = null;
  const seen = new IntersectionObserver((entries) => { if (entries.some((entry) => entry.isIntersecting)) ask(); });
  new MutationObserver(() => {
    const now = document.getElementById("imgcap-batch");
    if (now === root) return;
    root = now;
    if (!root) return;
    rows = new Map();
    for (const item of items.values()) draw(item);
    arrange();
    showProgress();
    seen.observe(root);
  }).observe(document.documentElement, { childList: true, subtree: true });
})();
