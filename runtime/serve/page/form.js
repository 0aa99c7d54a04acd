// The form: files, settings, consent, and the upload.

import { upload } from "./api.js";
import { say } from "./words.js";

const $ = (id) => document.getElementById(id);
const FIELDS = ["reference", "driving", "keypoints", "case"];
let engines = [];
let server = null;
let shown = null;

export function showServer(found = null) {
  if (found) [engines, server] = [found.data, found.server];
  if (!server) return;
  const select = $("engines");
  const chosen = select.value;
  select.replaceChildren(...engines.map((one) => new Option(`${one.id} (${one.width}x${one.height}, ${one.backend})`, one.id)));
  if (chosen) select.value = chosen;
  $("engines-row").hidden = engines.length < 2;
  $("keypoints-hint").textContent = say(server.photo_and_video ? "keypoints.may" : "keypoints.must");
  $("consent-kept").textContent = say("consent.kept", { days: server.keep_days });
  if (!server.keypoints) {
    document.querySelector("[name=source][value=video]").disabled = true;
    document.querySelector("[name=source][value=case]").checked = true;
    showSource();
  }
  showEngines();
}

const engineSet = () => engines.find((one) => one.id === $("engines").value) ?? engines[0];
const source = () => document.querySelector("[name=source]:checked").value;

function showEngines() {
  const one = engineSet();
  const chosen = document.querySelector("[name=quality]:checked")?.value ?? "balanced";
  const labels = one.qualities.map((name) => {
    const label = document.createElement("label");
    const input = Object.assign(document.createElement("input"), { type: "radio", name: "quality", value: name });
    input.checked = name === chosen;
    const words = document.createElement("span");
    words.textContent = say(`quality.${name}`);
    label.append(input, words);
    return label;
  });
  $("quality").replaceChildren($("quality").querySelector("legend"), ...labels);
  if (!document.querySelector("[name=quality]:checked")) document.querySelector("[name=quality]").checked = true;
  $("refine").disabled = !one.refine;
  $("refine").checked = $("refine").checked && one.refine;
  $("refine-hint").textContent = say(one.refine ? "refine.hint" : "refine.not");
}

function showSource() {
  $("of-video").hidden = source() !== "video";
  $("of-case").hidden = source() !== "case";
}

function showFile(field) {
  const file = $(field).files[0];
  $(`${field}-name`).textContent = file ? `${file.name} (${(file.size / 1e6).toFixed(1)} MB)` : "";
  if (field !== "reference") return;
  if (shown) URL.revokeObjectURL(shown);
  shown = file ? URL.createObjectURL(file) : null;
  $("reference-shown").hidden = !file;
  if (file) $("reference-shown").src = shown;
}

function missing() {
  if (source() === "case") {
    if (!$("case").files[0]) return ["missing.case", "case"];
  } else {
    if (!$("reference").files[0]) return ["missing.photo", "reference"];
    if (!$("driving").files[0]) return ["missing.video", "driving"];
    if (!server.photo_and_video && !$("keypoints").files[0]) return ["missing.keypoints", "keypoints"];
  }
  return $("consent").checked ? null : ["missing.consent", "consent"];
}

// Of the folded part, what was changed: all else is as the server has it.
function options() {
  const changed = {};
  for (const input of document.querySelectorAll("[data-option]")) {
    const name = input.dataset.option;
    const plain = input.tagName === "SELECT" ? input.options[0].value : "";
    if (input.type === "checkbox") {
      if (input.checked) changed[name] = true;
    } else if (input.validity.badInput) {
      changed[name] = ""; // no number: the server says so
    } else if (input.value.trim() !== plain) {
      changed[name] = input.type === "number" ? input.valueAsNumber : input.value.trim();
    }
  }
  return changed;
}

function complain(text, field) {
  $("form-problem").textContent = text;
  $("form-problem").hidden = !text;
  if (text && field) $(field).focus();
}

async function send(accepted) {
  const lacking = missing();
  if (lacking) return complain(say(lacking[0]), lacking[1]);
  complain("");
  const form = new FormData();
  const settings = { engines: engineSet().id, quality: document.querySelector("[name=quality]:checked").value, review: true };
  if ($("refine").checked) settings.refine = {};
  if (source() === "video") {
    settings.prepare = options();
    if ($("faceless").checked) settings.identity = "none";
    if ($("person").value.trim()) settings.person = $("person").value.trim();
  }
  form.append("settings", new Blob([JSON.stringify(settings)], { type: "application/json" }));
  let size = 0;
  for (const field of source() === "case" ? ["case"] : ["reference", "driving", "keypoints"]) {
    const file = $(field).files[0];
    if (file) form.append(field, file);
    size += file?.size ?? 0;
  }
  if (size > server.max_upload_bytes) return complain(say("too.large", { size: Math.floor(server.max_upload_bytes / 1e6) }));
  $("submit").disabled = true;
  $("upload").hidden = false;
  try {
    // The key makes a repeated request the same job, if the answer got lost on the way.
    accepted(await upload(form, crypto.getRandomValues(new Uint32Array(4)).join("-"), (share) => { $("upload-bar").value = share; }));
  } catch (error) {
    complain(error.status ? error.message : say("state.away"), FIELDS.includes(error.param) ? error.param : null);
  } finally {
    $("submit").disabled = false;
    $("upload").hidden = true;
  }
}

export function setUpForm(accepted) {
  $("form").addEventListener("submit", (event) => {
    event.preventDefault();
    send(accepted);
  });
  for (const radio of document.querySelectorAll("[name=source]")) radio.addEventListener("change", showSource);
  $("engines").addEventListener("change", showEngines);
  for (const field of FIELDS) {
    const input = $(field);
    const zone = document.querySelector(`[data-field=${field}]`);
    input.addEventListener("change", () => showFile(field));
    zone.addEventListener("dragover", (event) => { event.preventDefault(); zone.classList.add("over"); });
    zone.addEventListener("dragleave", () => zone.classList.remove("over"));
    zone.addEventListener("drop", (event) => {
      event.preventDefault();
      zone.classList.remove("over");
      if (event.dataTransfer.files.length) {
        input.files = event.dataTransfer.files;
        showFile(field);
      }
    });
  }
}
