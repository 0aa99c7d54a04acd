// The job that is looked at: its stages, its preview, its result frame by frame.

import { ask, blob, follow, json } from "./api.js";
import { remove, showHistory } from "./history.js";
import { problem, short } from "./notice.js";
import { duration, say } from "./words.js";

const $ = (id) => document.getElementById(id);
const STAGES = ["queue", "prepare", "look", "sample", "decode", "done"];
const DECODING = ["loading vae_decoder", "decoding", "writing video"];
const PICTURES = 120; // object URLs that are kept
const FPS = 8;
let video = null;
let step = null; // of the last step event
let stop = null; // ends the events
let pictures = new Map();
let playing = null;
let stepShown = 0;

export async function openJob(id) {
  closeJob();
  stop = new AbortController();
  const { signal } = stop;
  try {
    video = await json(`/v1/videos/${id}`, { signal });
  } catch (error) {
    if (!signal.aborted) problem(error);
    return;
  }
  $("job").hidden = false;
  $("new").hidden = true;
  redrawJob();
  $("job-title").focus();
  poll(signal);
  await follow(id, (kind, data) => told(kind, data, signal), signal);
  if (!signal.aborted) showHistory();
}

export function closeJob() {
  stop?.abort();
  clearInterval(playing);
  playing = null;
  for (const picture of pictures.values()) picture.then((url) => url && URL.revokeObjectURL(url));
  pictures = new Map();
  [video, step] = [null, null];
  $("job").hidden = true;
  $("new").hidden = false;
  for (const id of ["preview", "step-shown", "shown-reference", "shown-pose", "shown-frame"]) $(id).removeAttribute("src");
  $("run").open = false;
}

async function told(kind, data, signal) {
  if (!video || signal.aborted) return;
  if (kind === "deleted") {
    location.hash = "";
    return;
  }
  if (kind === "status" || kind === "warning") return refresh(signal);
  if (kind === "stage") Object.assign(video, { stage: data.stage, seconds_left: null });
  if (kind === "progress" || kind === "step") {
    video.progress = Math.max(video.progress, Math.floor(data.progress));
    video.seconds_left = data.seconds_left ?? null;
  }
  if (kind === "step") {
    step = data;
    showStep(signal);
  }
  drawState();
}

async function refresh(signal) {
  try {
    const found = await json(`/v1/videos/${video.id}`, { signal });
    if (signal.aborted) return;
    if (found.status !== video.status) showHistory();
    video = found;
    redrawJob();
  } catch (error) {
    if (!signal.aborted && error.status !== 404) problem(error);
  }
}

// The place in the queue changes by what happens to others.
async function poll(signal) {
  while (!signal.aborted) {
    await new Promise((resolve) => setTimeout(resolve, 3000));
    if (!signal.aborted && video && ["queued", "paused"].includes(video.status)) await refresh(signal);
  }
}

export function redrawJob() {
  if (!video) return;
  const ended = ["completed", "failed"].includes(video.status);
  $("job-title").textContent = say("job", { id: short(video.id) });
  $("job-error").hidden = !video.error;
  $("job-error").textContent = video.error?.message ?? "";
  $("warnings").hidden = !video.warnings.length;
  $("warnings").querySelector("ul").replaceChildren(...video.warnings.map((text) => {
    const item = document.createElement("li");
    item.textContent = text;
    return item;
  }));
  $("start").hidden = video.status !== "waiting";
  $("cancel").textContent = say(ended ? "delete" : "cancel");
  $("review").hidden = !(video.prepared && !ended && video.status !== "in_progress");
  if (!$("review").hidden) showPreview();
  $("step").hidden = ended || !step;
  $("bar-row").hidden = ended || video.status === "waiting";
  $("result").hidden = video.status !== "completed";
  if (!$("result").hidden) showResult();
  drawState();
}

function stage() {
  if (video.status === "completed") return "done";
  if (video.status === "preparing") return "prepare";
  if (video.status === "waiting") return "look";
  if (video.status !== "in_progress") return "queue";
  return DECODING.includes(video.stage) ? "decode" : "sample";
}

function drawState() {
  const now = STAGES.indexOf(stage());
  if (video.status !== "failed") {
    $("stages").replaceChildren(...STAGES.map((name, index) => {
      const item = document.createElement("li");
      item.textContent = say(`stage.${name}`);
      if (index < now) item.className = "done";
      if (index === now) item.setAttribute("aria-current", "step");
      return item;
    }));
  }
  $("bar").value = video.progress;
  $("percent").textContent = `${video.progress} %`;
  const parts = [say(`status.${video.status}`)];
  if (video.stage && video.status !== "waiting") parts[0] += `: ${say(`doing.${video.stage}`)}`;
  if (video.queue_position !== null && video.status === "queued") {
    parts.push(video.queue_position ? say("queue.ahead", { ahead: video.queue_position }) : say("queue.next"));
  }
  if (video.paused) parts.push(video.paused);
  if (video.seconds_left !== null) parts.push(say("left", { time: duration(video.seconds_left) }));
  if (["waiting", "queued"].includes(video.status) && video.prepared) {
    parts.push(video.estimated_seconds === null ? say("estimate.none") : say("estimate", { time: duration(video.estimated_seconds) }));
  }
  if (video.frames) parts.push(say("job.about", { size: video.size, frames: video.frames, quality: video.settings.quality }));
  // Screen readers say what changes here: a stage, not every percent.
  const text = parts.join(" · ");
  if ($("job-state").textContent !== text) $("job-state").textContent = text;
}

async function showPreview() {
  if ($("preview").hasAttribute("src")) return;
  const { id } = video;
  try {
    const url = URL.createObjectURL(await blob(`/v1/videos/${id}/preview`));
    if (video?.id !== id) return;
    $("preview").src = url;
    if (!matchMedia("(prefers-reduced-motion: reduce)").matches) $("preview").play().catch(() => {});
    $("preview-missing").hidden = true;
  } catch {
    $("preview").removeAttribute("src");
    $("preview-missing").hidden = false;
  }
}

async function showStep(signal) {
  const now = performance.now();
  if (now - stepShown < 500) return;
  stepShown = now;
  const { step: number, steps } = step;
  try {
    const url = URL.createObjectURL(await blob(`/v1/videos/${video.id}/preview?variant=step`));
    if (signal.aborted) return URL.revokeObjectURL(url);
    const image = $("step-shown");
    const earlier = image.src;
    image.src = url;
    image.alt = say("step.alt", { step: number, steps });
    image.closest("div").setAttribute("aria-label", image.alt);
    if (earlier) URL.revokeObjectURL(earlier);
    $("step").hidden = video.status !== "in_progress";
  } catch { /* the next step has another one */ }
}

function picture(variant, index = 0) {
  const path = `/v1/videos/${video.id}/content?variant=${variant}&index=${index}`;
  if (!pictures.has(path)) {
    pictures.set(path, blob(path).then(URL.createObjectURL, () => null));
    if (pictures.size > PICTURES) {
      const [oldest, url] = pictures.entries().next().value;
      pictures.delete(oldest);
      url.then((made) => made && URL.revokeObjectURL(made));
    }
  }
  return pictures.get(path);
}

function showResult() {
  $("index").max = video.frames - 1;
  for (const name of ["before", "after"]) {
    $(name).textContent = name === "before" ? "‹" : "›";
    $(name).setAttribute("aria-label", say(`frame.${name}`));
  }
  $("play").textContent = say(playing ? "stop" : "play");
  $("index").setAttribute("aria-label", say("frame"));
  picture("reference").then((url) => { if (url && video) $("shown-reference").src = url; });
  $("shown-reference").alt = say("reference");
  showFrame();
}

async function showFrame() {
  const index = Number($("index").value);
  const words = say("frame.of", { index: index + 1, frames: video.frames });
  $("index-shown").textContent = words;
  $("index").setAttribute("aria-valuetext", words);
  $("shown-pose").alt = `${say("pose")}, ${words}`;
  $("shown-frame").alt = `${say("frame")}, ${words}`;
  const [pose, frame] = await Promise.all([picture("pose", index), picture("frame", index)]);
  if (!video || Number($("index").value) !== index) return;
  if (pose) $("shown-pose").src = pose;
  if (frame) $("shown-frame").src = frame;
}

function move(by) {
  $("index").value = (Number($("index").value) + by + video.frames) % video.frames;
  showFrame();
}

function play() {
  clearInterval(playing);
  playing = playing ? null : setInterval(() => move(1), 1000 / FPS);
  $("play").textContent = say(playing ? "stop" : "play");
}

async function download(variant) {
  try {
    const answer = await ask(`/v1/videos/${video.id}/content?variant=${variant}`);
    const name = answer.headers.get("content-disposition").match(/filename="([^"]+)"/)[1];
    const url = URL.createObjectURL(await answer.blob());
    Object.assign(document.createElement("a"), { href: url, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(url), 60_000);
  } catch (error) {
    problem(error);
  }
}

export function setUpJob() {
  $("start").addEventListener("click", async () => {
    try {
      await ask(`/v1/videos/${video.id}/start`, { method: "POST" });
      await refresh(stop.signal);
      $("job-title").focus();
    } catch (error) {
      problem(error);
    }
  });
  $("cancel").addEventListener("click", async () => {
    if (await remove(video.id)) location.hash = "";
  });
  $("close").addEventListener("click", () => {
    location.hash = "";
    $("new").hidden = false;
    $("new-title").focus();
  });
  $("before").addEventListener("click", () => move(-1));
  $("after").addEventListener("click", () => move(1));
  $("play").addEventListener("click", play);
  $("index").addEventListener("input", showFrame);
  for (const one of document.querySelectorAll("[data-variant]")) one.addEventListener("click", () => download(one.dataset.variant));
  $("run").addEventListener("toggle", async () => {
    if (!$("run").open || !video) return;
    $("run").querySelector("pre").textContent = JSON.stringify(await json(`/v1/videos/${video.id}/content?variant=run`), null, 1);
  });
}
