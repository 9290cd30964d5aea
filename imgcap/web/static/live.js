// The live tab: small frames are judged several times a second; a view that is sharp, still and new gets a caption.
(() => {
  const { text, announce, speak, kept, keep } = window.imgcap;
  const at = (name) => document.querySelector(`#imgcap-live [data-live="${name}"]`);
  const FRAME = 640, CAPTION = 1024;  // pixels of the longer side; the blur check works at 375 of the shorter
  const EVERY = 200;  // shortest time from the beginning of one frame to that of the next, in milliseconds
  const STILL = 0.035, CHANGED = 0.1;  // mean differences of grey, 0 to 1: below it is still, above it has changed
  const STILL_FOR = 800, APART = 2500, IDLE = 180000;  // milliseconds
  const EARLIER = 8;
  const SPEAK = "live-speak";

  let inFlight = Promise.resolve();
  let stream = null, facing = "environment", timer = 0, run = 0;
  let before = null, described = null, stillSince = 0, movedAt = 0, describedAt = 0, pausedUntil = 0, describing = false;

  // The verdict changes with every move and is only shown; captions and the camera's state are announced, too.
  const MANY = new Set(["live_blurred", "live_moving", "live_ready", "live_same", "live_writing"]);
  const say = (key) => {
    if (!at("state")) return;
    at("state").textContent = text(key);
    if (!MANY.has(key)) announce(text(key));
  };
  const canvas = document.createElement("canvas");
  const tiny = Object.assign(document.createElement("canvas"), { width: 32, height: 24 });
  const tinyContext = tiny.getContext("2d", { willReadFrequently: true });

  const jpeg = (video, longest) => new Promise((resolve) => {
    const scale = Math.min(1, longest / Math.max(video.videoWidth, video.videoHeight));
    canvas.width = Math.round(video.videoWidth * scale);
    canvas.height = Math.round(video.videoHeight * scale);
    canvas.getContext("2d").drawImage(video, 0, 0, canvas.width, canvas.height);
    canvas.toBlob(resolve, "image/jpeg", 0.85);
  });
  const grey = (video) => {
    tinyContext.drawImage(video, 0, 0, tiny.width, tiny.height);
    const { data } = tinyContext.getImageData(0, 0, tiny.width, tiny.height);
    return Float32Array.from({ length: data.length / 4 }, (_, place) => (data[4 * place] + 2 * data[4 * place + 1] + data[4 * place + 2]) / 1020);
  };
  const difference = (one, other) => one.reduce((sum, value, place) => sum + Math.abs(value - other[place]), 0) / one.length;

  const start = async () => {
    stop("");
    const own = run += 1;
    if (!navigator.mediaDevices?.getUserMedia) return say("live_insecure");
    say("live_asking");
    try {
      const wanted = { video: { facingMode: { ideal: facing }, width: { ideal: 1280 }, height: { ideal: 720 } } };
      const opened = await navigator.mediaDevices.getUserMedia(wanted);
      if (own !== run || !at("video")) return opened.getTracks().forEach((track) => track.stop());
      stream = opened;
    } catch (error) {
      const known = { NotAllowedError: "live_denied", SecurityError: "live_denied", NotFoundError: "live_none", OverconstrainedError: "live_none", NotReadableError: "live_taken" };
      return say(known[error.name] ?? "live_failed");
    }
    const video = at("video");
    stream.getTracks().forEach((track) => track.addEventListener("ended", () => { if (own === run) stop("live_lost"); }));
    video.srcObject = stream;
    await video.play().catch(() => {});
    video.classList.toggle("imgcap-mirror", stream.getVideoTracks()[0]?.getSettings().facingMode === "user");
    const cameras = (await navigator.mediaDevices.enumerateDevices()).filter((device) => device.kind === "videoinput");
    if (own !== run) return;
    show(true, cameras.length > 1);
    before = described = null;
    movedAt = performance.now();
    describedAt = pausedUntil = stillSince = 0;
    say("live_on");
    await inFlight.catch(() => {});  // the server answers one frame at a time
    if (own === run) look(own);
  };
  const stop = (why) => {
    run += 1;
    clearTimeout(timer);
    stream?.getTracks().forEach((track) => track.stop());
    stream = null;
    if ("speechSynthesis" in window) speechSynthesis.cancel();
    if (!at("video")) return;
    at("video").srcObject = null;
    show(false, false);
    if (why) say(why);
  };
  const show = (on, several) => {
    const focused = document.activeElement;
    at("start").hidden = on;
    at("stop").hidden = !on;
    at("switch").hidden = !several;
    if (focused === at("start") && on) at("stop").focus();
    if (focused === at("stop") && !on) at("start").focus();
    if (on) return;
    at("verdict").hidden = true;
    date(true);
  };

  const look = async (own) => {
    const began = performance.now();
    let pause = EVERY;
    try {
      pause = await (inFlight = step(own, began));
    } catch {
      pause = 2000;  // the server is away for a moment
    }
    if (own === run) timer = setTimeout(() => look(own), Math.max(20, pause - (performance.now() - began)));
  };
  const step = async (own, now) => {
    const video = at("video");
    if (!video || document.hidden || !video.offsetParent) { stop("live_hidden"); return EVERY; }
    if (now - movedAt > IDLE) { stop("live_idle"); return EVERY; }
    if (!video.videoWidth) return EVERY;
    const view = grey(video);
    const still = before !== null && difference(view, before) < STILL;
    before = view;
    if (!still) stillSince = 0;
    else stillSince ||= now;
    const changed = described === null || difference(view, described) > CHANGED;
    if (changed) movedAt = now;
    date(described !== null && changed);
    const answer = await fetch("live/frame", { method: "POST", body: await jpeg(video, FRAME) });
    if (own !== run) return EVERY;
    if (!answer.ok) return refused(answer);
    const reading = await answer.json();
    if (own !== run) return EVERY;
    at("verdict").innerHTML = reading.html;  // safe: the server makes it from numbers alone
    at("verdict").hidden = false;
    at("verdict").dataset.valid = reading.valid;
    const settled = stillSince && now - stillSince >= STILL_FOR;
    if (reading.valid && changed && settled && !describing && now >= pausedUntil && now - describedAt >= APART) describe(own, view);
    else if (!describing) say(!reading.valid ? "live_blurred" : changed && !settled ? "live_moving" : changed ? "live_ready" : "live_same");
    return EVERY;
  };
  // A caption belongs to the view it was written for; it would be wrong for any other.
  const date = (past) => {
    at("described").classList.toggle("imgcap-past", past);
    at("which").textContent = text(past ? "live_before" : "live_now");
  };
  const refused = async (answer) => {
    if (answer.status === 401) stop("signed_out");
    const wait = Number(answer.headers.get("Retry-After")) || 2;
    return 1000 * Math.min(60, wait);
  };
  const describe = async (own, view) => {
    describing = true;
    say("live_writing");
    try {
      const answer = await fetch("live/caption", { method: "POST", body: await jpeg(at("video"), CAPTION) });
      if (own !== run) return;
      if (!answer.ok) { pausedUntil = performance.now() + await refused(answer); return; }
      const reading = await answer.json();
      if (own !== run) return;
      describedAt = performance.now();
      if (!reading.caption) return;  // it moved meanwhile
      described = view;
      tell(reading);
    } catch {
      pausedUntil = performance.now() + 5000;
    } finally {
      describing = false;
    }
  };
  const tell = (reading) => {
    const old = at("caption").textContent;
    if (old && old !== reading.caption) {
      const line = document.createElement("li");
      line.textContent = old;
      at("list").prepend(line);
      while (at("list").children.length > EARLIER) at("list").lastChild.remove();
      at("earlier").hidden = false;
    }
    at("caption").textContent = reading.caption;
    at("sure").textContent = [reading.sure, reading.warned].filter(Boolean).join(" ");
    date(false);
    at("described").hidden = false;
    if (old === reading.caption) return;
    if (at("speak").checked && "speechSynthesis" in window) speak(reading.caption);
    else announce(reading.caption);  // not both at once
  };

  document.addEventListener("click", (event) => {
    const name = event.target.closest?.("#imgcap-live [data-live]")?.dataset.live;
    if (name === "start") start();
    if (name === "stop") stop("live_off");
    if (name === "switch") { facing = facing === "user" ? "environment" : "user"; start(); }
  });
  document.addEventListener("change", (event) => {
    if (event.target === at("speak")) keep(SPEAK, event.target.checked ? "yes" : "");
  });
  document.addEventListener("visibilitychange", () => { if (document.hidden && stream) stop("live_hidden"); });
  let root = null;
  new MutationObserver(() => {
    const now = document.getElementById("imgcap-live");
    if (now === root) return;
    if (stream) stop("");
    root = now;
    if (root) at("speak").checked = kept(SPEAK, "") === "yes";
  }).observe(document.documentElement, { childList: true, subtree: true });
})();
