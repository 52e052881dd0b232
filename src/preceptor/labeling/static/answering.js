// A page of questions by keys: a key answers the question in hand, or else the first open one that
// knows it, and goes on to the next; j and k from question to question.

import { word } from "./words.js";

export function answerByKeys(form, say) {
  const questions = [...form.querySelectorAll(".question")];
  const radios = (question) => [...question.querySelectorAll("input")];
  const chosen = (question) => radios(question).find((radio) => radio.checked);
  const isOpen = (question) => chosen(question) === undefined;

  function goTo(question) {
    (chosen(question) ?? radios(question)[0]).focus({ focusVisible: true });
  }

  return (event) => {
    const { key } = event;
    const held = document.activeElement.closest(".question");
    const at = questions.indexOf(held);
    if (key === "j" || key === "k") {
      const next = at + (key === "j" ? 1 : -1);
      goTo(questions[Math.min(Math.max(next, 0), questions.length - 1)]);
      return true;
    }
    const wanted = (question) => radios(question).find((radio) => radio.dataset.key === key);
    const order = [...(held ? [held] : []), ...questions.filter(isOpen), ...questions];
    const question = order.find(wanted);
    if (question === undefined) return false;
    const radio = wanted(question);
    radio.checked = true;
    radio.dispatchEvent(new Event("change", { bubbles: true }));
    const name = question.querySelector("legend").firstChild.textContent.trim();
    const choice = radio.nextElementSibling.firstChild.textContent.trim();
    say(word("said", { response: name, place: choice }));
    const next = questions[questions.indexOf(question) + 1];
    goTo(next !== undefined && isOpen(next) ? next : question);
    return true;
  };
}
