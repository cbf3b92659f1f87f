// Updates the monitoring page and searches streams by name. Without it the page shows the state when it was loaded.
"use strict";

const REFRESH_MS = 10_000;

function narrow() {
  const words = document.getElementById("find").value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const row of document.querySelectorAll("#streams tr[data-stream]")) {
    row.hidden = !words.every((word) => row.dataset.stream.toLowerCase().includes(word));
  }
}

function openNames() {
  return new Set([...document.querySelectorAll("#streams details[open]")].map((one) => one.closest("tr").dataset.stream));
}

async function refresh() {
  if (document.hidden) return;
  let fresh;
  try {
    const response = await fetch(location.href, { cache: "no-store" });
    if (!response.ok) return;
    fresh = new DOMParser().parseFromString(await response.text(), "text/html");
  } catch {
    return;
  }
  // Do not replace what the user is typing in, has opened or has focused.
  if (document.activeElement?.closest("#streams, .conditions")) return;
  const open = openNames();
  for (const selector of [".conditions", "#streams", "#streams-heading", ".jobs"]) {
    const [old, next] = [document.querySelector(selector), fresh.querySelector(selector)];
    if (old && next) old.replaceChildren(...next.childNodes);
  }
  for (const row of document.querySelectorAll("#streams tr[data-stream]")) {
    const details = row.querySelector("details");
    if (details && open.has(row.dataset.stream)) details.open = true;
  }
  narrow();
}

document.getElementById("find").addEventListener("input", narrow);
setInterval(refresh, REFRESH_MS);
