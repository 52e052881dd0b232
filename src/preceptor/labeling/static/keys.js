// Single keys, which can be switched off; Ctrl+Enter always works.

import { read } from "./kept.js";

export function onKeys(form, press) {
  const help = document.getElementById("keys");
  const helpButton = document.getElementById("keys-button");
  helpButton.addEventListener("click", () => help.showModal());

  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.isComposing || help.open) return;
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      form.requestSubmit(form.querySelector("[data-submit]"));
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey || read("keys") === false) return;
    if (isTyping(event.target)) return;
    if (event.key === "?") {
      help.showModal();
    } else if (event.key === "s") {
      form.requestSubmit(form.querySelector("[data-key=s]"));
    } else if (!press(event)) {
      return;
    }
    event.preventDefault();
  });
}

function isTyping(element) {
  if (element.matches("textarea, select, summary")) return !element.matches("summary");
  return element.matches("input") && !["radio", "checkbox"].includes(element.type);
}
