// Talks to the server. Everything goes through fetch, because the token cannot be put into an address.

const KEPT = "token";

export class Refusal extends Error {
  constructor(status, error) {
    super(error?.message ?? `HTTP ${status}`);
    this.status = status;
    this.param = error?.param;
  }
}

export const token = () => sessionStorage.getItem(KEPT);
export const setToken = (value) => sessionStorage.setItem(KEPT, value);

const headers = () => (token() ? { Authorization: `Bearer ${token()}` } : {});

export async function ask(path, options = {}) {
  const answer = await fetch(path, { ...options, headers: { ...headers(), ...options.headers } });
  if (!answer.ok) throw new Refusal(answer.status, (await answer.json().catch(() => ({}))).error);
  return answer;
}

export const json = async (path, options) => (await ask(path, options)).json();
export const blob = async (path) => (await ask(path)).blob();

// XMLHttpRequest, because fetch does not tell how much was sent.
export function upload(form, key, told) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", "/v1/videos");
    for (const [name, value] of Object.entries(headers())) request.setRequestHeader(name, value);
    request.setRequestHeader("Idempotency-Key", key);
    request.upload.onprogress = (event) => event.lengthComputable && told(event.loaded / event.total);
    request.onerror = () => reject(new Refusal(0, null));
    request.onload = () => {
      let answer = {};
      try { answer = JSON.parse(request.responseText); } catch { /* not from this server */ }
      request.status === 202 ? resolve(answer) : reject(new Refusal(request.status, answer.error));
    };
    request.send(form);
  });
}

// Server-sent events from the last one seen. Returns when the job has ended, and connects again until then.
export async function follow(job, told, signal) {
  let last = null;
  while (!signal.aborted) {
    try {
      const answer = await ask(`/v1/videos/${job}/events`, { signal, headers: last ? { "Last-Event-ID": last } : {} });
      if (answer.status === 204) return;
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      let kept = "";
      for (;;) {
        const { value, done } = await reader.read();
        if (done) break;
        const blocks = (kept + value).split("\n\n");
        kept = blocks.pop();
        for (const block of blocks) {
          const fields = Object.fromEntries(block.split("\n").map((line) => line.split(/: (.*)/s)));
          if (fields.id) last = fields.id;
          if (!fields.event) continue;
          const data = JSON.parse(fields.data);
          told(fields.event, data);
          if (fields.event === "deleted" || ["completed", "failed"].includes(data.status)) return;
        }
      }
    } catch (error) {
      if (signal.aborted || (error instanceof Refusal && error.status === 404)) return;
    }
    await new Promise((resolve) => setTimeout(resolve, 2000));
  }
}
