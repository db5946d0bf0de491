// How the caches do, as GET /v1/cache/stats says. The key lives in the page's form and nowhere else.

import { el } from "/docs/dom.js";
import { figuresOf, namespacesOf } from "./caches.js";

const EVERY_MS = 15_000;
const DAY_MS = 86_400_000;

const form = document.getElementById("key-form");
const status = document.getElementById("status");
const shown = document.getElementById("shown");
let waiting;
let asking;

function say(text, bad = false) {
  status.textContent = text;
  status.classList.toggle("bad", bad);
}

async function ask(signal) {
  const start = new Date(Date.now() - document.getElementById("days").value * DAY_MS).toISOString();
  const answer = await fetch(`/v1/cache/stats?${new URLSearchParams({ start })}`, {
    headers: { authorization: `Bearer ${document.getElementById("key").value.trim()}` },
    credentials: "omit", cache: "no-store", redirect: "error", signal,
  });
  const body = await answer.json();
  if (!answer.ok) throw new Error(body.error?.message ?? `The gateway answered ${answer.status}.`);
  return body;
}

async function show() {
  clearTimeout(waiting);
  asking?.abort();
  const mine = (asking = new AbortController());
  try {
    const report = await ask(mine.signal);
    if (mine.signal.aborted) return;
    shown.replaceChildren(
      el("h2", {}, "Caches"), figuresOf(report), el("h2", {}, "Similar answers by namespace"), namespacesOf(report.semantic),
    );
    say(`As of ${new Date().toLocaleTimeString()}`);
  } catch (error) {
    if (mine.signal.aborted) return;
    say(error instanceof TypeError ? "The gateway cannot be reached." : error.message, true);
  }
  waiting = setTimeout(show, EVERY_MS);
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  shown.replaceChildren();
  say("Asking…");
  show();
});
document.getElementById("days").addEventListener("change", () => form.requestSubmit());
