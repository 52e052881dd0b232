// A task's page, with scripts: it saves itself, counts time, and answers to keys.

import { answerByKeys } from "./answering.js";
import { count } from "./clock.js";
import { compareByKeys } from "./comparing.js";
import { keepDrafts } from "./drafts.js";
import { read, write } from "./kept.js";
import { onKeys } from "./keys.js";
import { unmarkWhatIsGiven } from "./missing.js";
import { setUpRanking } from "./ranking.js";
import { rateByKeys } from "./rating.js";

const form = document.getElementById("work");
const said = document.getElementById("said");

function say(text) {
  said.textContent = text;
}

function keysOf(step) {
  if (step === "rank") return setUpRanking(form, say);
  if (step === "compare") return compareByKeys(form, say);
  if (step === "write") return () => false;
  return form.querySelector(".question") ? answerByKeys(form, say) : rateByKeys(form, say);
}

unmarkWhatIsGiven(form); // before a draft of this browser fills it
onKeys(form, keysOf(form.dataset.step));
keepDrafts(form);
count(form);

// Once asked for, what may disturb is shown on every page of the task.
const reveal = document.getElementById("reveal");
if (reveal) {
  reveal.checked ||= read("shown") === form.dataset.task;
  reveal.addEventListener("change", () => write("shown", reveal.checked && form.dataset.task));
}
