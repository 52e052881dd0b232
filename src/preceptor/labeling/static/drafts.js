// A form saves itself: two seconds after a change at the latest to the server, at once to this
// browser. The server's version number tells whether another tab or device saved in between.

import { forget, read, write } from "./kept.js";
import { word } from "./words.js";

const WAIT = 1200; // ms after the first change that is not saved
const RETRY = 5000;
const NOT_ANSWERS = ["csrf", "key", "draft_version", "active_seconds", "ratings", "rated_input",
  "action", "revealed", "asked"];
const LONGEST_FAREWELL = 60000; // bytes that a browser sends for a page that is going

export function keepDrafts(form) {
  const name = `draft/${form.dataset.task}/${form.dataset.step}`;
  const version = form.elements.namedItem("draft_version");
  const status = document.getElementById("saved");
  let saved = answers(form);
  let timer = null;
  let busy = false;
  let stopped = false;
  let leaving = 0;

  function tell(text, kind = "") {
    status.textContent = text;
    status.dataset.kind = kind;
  }

  function later(wait) {
    if (timer === null && !stopped) timer = setTimeout(save, wait);
  }

  function changed() {
    const now = answers(form);
    if (now === saved || stopped) return;
    write(name, { fields: now, version: version.value, sent: false });
    if (status.dataset.kind !== "offline") tell(word("dirty"), "dirty");
    later(WAIT);
  }

  async function save() {
    clearTimeout(timer);
    timer = null;
    if (busy || stopped || leaving || answers(form) === saved) return;
    busy = true;
    const sent = answers(form);
    const body = new URLSearchParams(new FormData(form));
    body.set("action", "save");
    let answer = null;
    try {
      answer = await fetch(form.getAttribute("action"), {
        method: "POST",
        body,
        headers: { Accept: "application/json" },
        keepalive: body.toString().length < LONGEST_FAREWELL,
      });
    } catch {
      // No connection.
    }
    busy = false;
    if (leaving) return;
    if (answer === null || answer.status >= 500) {
      tell(word("offline"), "offline");
      later(RETRY);
    } else if (answer.ok) {
      const receipt = await answer.json();
      version.value = receipt.version;
      saved = sent;
      if (answers(form) === saved) {
        forget(name);
        const time = new Date().toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
        tell(word("saved", { time }), "saved");
      } else {
        tell(word("dirty"), "dirty");
        changed();
      }
    } else {
      stopped = true;
      await explain(answer);
    }
  }

  async function explain(answer) {
    if (answer.status === 412) {
      tell(word("conflict"), "wrong");
      notice(form, word("conflict"), [[word("compare"), compare]]);
    } else if (answer.status === 401 || answer.status === 403) {
      tell(word("signedOut"), "wrong");
      notice(form, word("signedOut"), []);
    } else {
      stopped = answer.status === 409;
      const told = await answer.json().catch(() => null); // a proxy's answer is a page
      tell(word("refused", { message: told?.error?.message ?? answer.status }), "wrong");
    }
  }

  // The page that shows both is the one that a form without scripts gets.
  function compare() {
    const button = form.querySelector("button[name=action][value=save]");
    form.requestSubmit(button);
  }

  function restore() {
    const entry = read(name);
    if (entry === null || entry.fields === answers(form)) {
      forget(name);
      return;
    }
    const same = entry.version === version.value;
    if (entry.sent && !same) {
      forget(name); // it arrived
      return;
    }
    const use = () => {
      fill(form, entry.fields);
      changed();
    };
    if (same) {
      use();
      tell(word("restored"), "dirty");
    } else {
      notice(form, word("foundOld"), [
        [word("useThem"), use],
        [word("letGo"), () => forget(name)],
      ]);
    }
  }

  form.addEventListener("input", changed);
  form.addEventListener("change", changed);
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState === "hidden") save();
  });
  form.addEventListener("submit", (event) => {
    // A double click is one submit; a page that is still here after a while may try again.
    if (Date.now() - leaving < RETRY) {
      event.preventDefault();
      return;
    }
    leaving = Date.now();
    if (answers(form) !== saved) {
      write(name, { fields: answers(form), version: version.value, sent: true });
    }
    setTimeout(() => { leaving = 0; }, RETRY);
  });
  restore();
}

// What the labeler entered, as one string.
export function answers(form) {
  const fields = new URLSearchParams(new FormData(form));
  for (const name of NOT_ANSWERS) fields.delete(name);
  return fields.toString();
}

export function fill(form, text) {
  const fields = new URLSearchParams(text);
  for (const element of form.elements) {
    if (!element.name || NOT_ANSWERS.includes(element.name)) continue;
    if (element.type === "radio" || element.type === "checkbox") {
      element.checked = fields.getAll(element.name).includes(element.value);
    } else {
      element.value = fields.get(element.name) ?? "";
    }
  }
  form.dispatchEvent(new Event("filled"));
}

function notice(form, text, choices) {
  const box = document.createElement("div");
  box.className = "notice after";
  box.setAttribute("role", "alert");
  const said = document.createElement("span");
  said.textContent = text;
  box.append(said);
  for (const [label, choose] of choices) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "small-button";
    button.textContent = label;
    button.addEventListener("click", () => {
      box.remove();
      choose();
    });
    box.append(button);
  }
  form.prepend(box);
}
