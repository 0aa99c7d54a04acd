// What the page has to say of an error, wherever it came from.

import { Refusal } from "./api.js";
import { say } from "./words.js";

const $ = (id) => document.getElementById(id);

export const short = (id) => id.slice(0, 8);

export function problem(error) {
  if (error instanceof Refusal && error.status === 401) {
    $("token-form").hidden = false;
    $("token").focus();
    return;
  }
  const box = $("problem");
  box.textContent = error.status === 0 || error instanceof TypeError ? say("state.away") : error.message;
  box.hidden = false;
}
