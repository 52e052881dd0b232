// Two responses side by side by keys: which is better, a tie, or both bad.

import { word } from "./words.js";

export function compareByKeys(form, say) {
  const choices = [...form.querySelectorAll("input[name=choice]")];

  return (event) => {
    const choice = choices.find((radio) => radio.dataset.key === event.key);
    if (!choice) return false;
    choice.checked = true;
    choice.dispatchEvent(new Event("change", { bubbles: true }));
    choice.focus({ focusVisible: true });
    say(word("chosen", { choice: choice.nextElementSibling.firstChild.textContent.trim() }));
    return true;
  };
}
