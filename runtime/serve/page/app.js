// The page: a form, the job that is looked at, and the history. The address's fragment names the job.

import { json, Refusal, setToken } from "./api.js";
import { setUpForm, showServer } from "./form.js";
import { drawHistory, setUpHistory, showHistory } from "./history.js";
import { closeJob, openJob, redrawJob, setUpJob } from "./job.js";
import { problem } from "./notice.js";
import { preferred, say, setLanguage } from "./words.js";

const $ = (id) => document.getElementById(id);
const STATE_SECONDS = 10; // between looks at the server; sooner while it is not ready
let next = 0;

async function showState() {
  let text = "";
  let again = STATE_SECONDS;
  try {
    await json("/health/ready");
    text = say("state.ready");
  } catch (error) {
    again = 2;
    text = error instanceof Refusal && error.status ? `${say("state.waiting")} ${error.message}` : say("state.away");
  }
  if ($("server-state").textContent !== text) $("server-state").textContent = text;
  clearTimeout(next);
  next = setTimeout(showState, again * 1000);
}

async function begin() {
  try {
    const found = await json("/v1/engines");
    $("token-form").hidden = true;
    $("problem").hidden = true;
    showServer(found);
    await showHistory();
    route();
  } catch (error) {
    problem(error);
  }
}

function route() {
  const id = location.hash.slice(1);
  if (/^[0-9a-f]{32}$/.test(id)) openJob(id);
  else closeJob();
}

$("language").value = setLanguage(preferred());
$("language").addEventListener("change", () => {
  setLanguage($("language").value);
  showServer();
  drawHistory();
  redrawJob();
  showState();
});
$("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  setToken($("token").value.trim());
  $("token").value = "";
  begin();
});
addEventListener("hashchange", route);
setUpForm((video) => {
  showHistory();
  location.hash = video.id;
});
setUpHistory();
setUpJob();
showState();
begin();

