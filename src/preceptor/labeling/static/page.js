// On every page: times as the reader's clock has them, the end of an undo, signing out.

import { forget, read, write } from "./kept.js";

for (const element of document.querySelectorAll(".needs-script")) element.hidden = false;
for (const element of document.querySelectorAll(".without-script")) element.hidden = true;

for (const element of document.querySelectorAll("time")) {
  const at = new Date(element.dateTime);
  const today = at.toDateString() === new Date().toDateString();
  const day = today ? {} : { day: "numeric", month: "short" };
  element.textContent = at.toLocaleString([], { ...day, hour: "2-digit", minute: "2-digit" });
}

// What was submitted need not be kept here any longer.
for (const element of document.querySelectorAll("[data-done]")) {
  forget(`draft/${element.dataset.done}/`);
  forget(`clock/${element.dataset.done}`);
}

const LONGEST_TIMER = 2 ** 31 - 1; // ms; a longer one would fire at once
for (const form of document.querySelectorAll("[data-left]")) {
  const left = Number(form.dataset.left) * 1000;
  if (left < LONGEST_TIMER) setTimeout(() => { form.hidden = true; }, left);
}

document.querySelector(".sign-out")?.addEventListener("submit", () => {
  for (const beginning of ["draft/", "clock/", "shown"]) forget(beginning);
});

// What scrolls sideways is reached by Tab, moved by arrows and named by the heading above it; where
// all of it fits it is no stop.
const headings = [...document.querySelectorAll("main :is(h1, h2, h3)")];
const scrollers = new ResizeObserver((entries) => {
  for (const { target } of entries) {
    if (target.scrollWidth > target.clientWidth) {
      const above = headings.filter((heading) => heading.compareDocumentPosition(target) & 4).at(-1);
      target.tabIndex = 0;
      target.ariaLabel = above?.textContent ?? document.title;
      if (target.localName !== "figure") target.role = "group";
    } else {
      for (const name of ["tabindex", "aria-label", "role"]) target.removeAttribute(name);
    }
  }
});
for (const element of document.querySelectorAll(".scroll, figure, .sample")) scrollers.observe(element);

document.querySelector("[data-focus]")?.focus();

const keysOn = document.getElementById("keys-on");
if (keysOn) {
  keysOn.checked = read("keys") !== false;
  document.body.classList.toggle("keys", keysOn.checked);
  keysOn.addEventListener("change", () => {
    write("keys", keysOn.checked);
    document.body.classList.toggle("keys", keysOn.checked);
  });
}
