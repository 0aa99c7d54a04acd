// The list of videos, and their deletion.

import { ask, json } from "./api.js";
import { problem, short } from "./notice.js";
import { say } from "./words.js";

const $ = (id) => document.getElementById(id);
let listed = [];

function sure(id) {
  const dialog = $("sure");
  $("sure-title").textContent = say("sure.title", { id: short(id) });
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true }));
}

export async function remove(id) {
  if (!(await sure(id))) return false;
  try {
    await ask(`/v1/videos/${id}`, { method: "DELETE" });
  } catch (error) {
    if (error.status !== 404) problem(error);
  }
  await showHistory();
  $("history-title").tabIndex = -1;
  $("history-title").focus();
  return true;
}

export async function showHistory(after = null) {
  try {
    const page = await json(`/v1/videos?limit=10${after ? `&after=${after}` : ""}`);
    listed = after ? [...listed, ...page.data] : page.data;
    $("more").hidden = !page.has_more;
    drawHistory();
  } catch (error) {
    problem(error);
  }
}

export function drawHistory() {
  $("history-none").hidden = listed.length > 0;
  $("jobs").replaceChildren(...listed.map((video) => {
    const item = document.createElement("li");
    const about = document.createElement("div");
    about.className = "about";
    const when = new Date(video.created_at * 1000).toLocaleString(document.documentElement.lang);
    about.textContent = `${short(video.id)} · ${say(`status.${video.status}`)} · ${when}`;
    const buttons = document.createElement("div");
    buttons.className = "buttons";
    buttons.append(button("open", video.id, () => { location.hash = video.id; }), button("delete", video.id, async () => {
      if (await remove(video.id) && location.hash.slice(1) === video.id) location.hash = "";
    }, "danger"));
    item.append(about, buttons);
    return item;
  }));
}

function button(word, id, act, kind = "") {
  const made = document.createElement("button");
  made.type = "button";
  made.className = kind;
  made.textContent = say(word);
  made.setAttribute("aria-label", `${say(word)} ${short(id)}`);
  made.addEventListener("click", act);
  return made;
}

export function setUpHistory() {
  $("more").addEventListener("click", () => showHistory(listed.at(-1).id));
}
