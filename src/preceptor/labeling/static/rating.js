// Page (a) by keys: 1 to 7 for the quality, a letter for each flag, j and k from field to field.

import { word } from "./words.js";

export function rateByKeys(form, say) {
  const quality = (value) => form.querySelector(`input[name=likert][value="${value}"]`);
  const fields = () => [...form.querySelectorAll("fieldset input")].filter(isStop);

  return (event) => {
    const { key } = event;
    if (/^[1-7]$/.test(key)) {
      set(quality(key), true);
      quality(key).focus({ focusVisible: true });
      say(word("rated", { likert: key }));
      return true;
    }
    if (key === "j" || key === "k") {
      const stops = fields();
      const at = stops.indexOf(document.activeElement);
      const next = key === "j" ? at + 1 : at - 1;
      stops[Math.min(Math.max(next, 0), stops.length - 1)].focus({ focusVisible: true });
      return true;
    }
    const flag = /^[a-z]$/.test(key) && form.querySelector(`input[data-key="${key}"]`);
    if (!flag) return false;
    set(flag, !flag.checked);
    const text = flag.nextElementSibling.textContent;
    say(word(flag.checked ? "flagOn" : "flagOff", { flag: text }));
    return true;
  };
}

// Of a group of radios one is a stop: the chosen one, or the first.
function isStop(input) {
  if (input.type !== "radio") return true;
  const group = input.form.elements.namedItem(input.name);
  const chosen = [...group].find((radio) => radio.checked);
  return input === (chosen ?? group[0]);
}

function set(input, checked) {
  input.checked = checked;
  input.dispatchEvent(new Event("change", { bubbles: true }));
}
