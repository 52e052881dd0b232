// How long somebody worked: seconds with the tab visible and a sign of life in the last minute.
// The same signs keep the lease.

import { read, write } from "./kept.js";

const MINUTE = 60000;

export function count(form) {
  const name = `clock/${form.dataset.task}`;
  const field = form.elements.namedItem("active_seconds");
  let seconds = Number(read(name)) || 0;
  let last = Date.now();
  let beat = Date.now();
  field.value = seconds;

  for (const sign of ["keydown", "pointerdown", "pointermove", "wheel", "scroll"]) {
    document.addEventListener(sign, () => { last = Date.now(); }, { passive: true });
  }
  setInterval(() => {
    const now = Date.now();
    if (document.visibilityState !== "visible" || now - last > MINUTE) return;
    seconds += 1;
    field.value = seconds;
    if (seconds % 5 === 0) write(name, seconds);
    if (now - beat >= MINUTE) {
      beat = now;
      keepLease(form.dataset.task);
    }
  }, 1000);
  window.addEventListener("pagehide", () => write(name, seconds));
}

async function keepLease(task) {
  const token = document.querySelector("meta[name=csrf]").content;
  try {
    await fetch(`/tasks/${task}/heartbeat`, {
      method: "POST",
      headers: { Accept: "application/json", "X-CSRF-Token": token },
    });
  } catch {
    // The next one may get through; a lease that ran out is no obstacle to a submit.
  }
}
