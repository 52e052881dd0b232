// What was missing when the form was sent: its mark goes once it is there, with the last mark the
// message that told of it.

export function unmarkWhatIsGiven(form) {
  const message = document.querySelector(".notice.wrong[role=alert]");
  const marked = new Set(form.querySelectorAll("[aria-invalid]"));
  if (message === null || marked.size === 0) return;

  function look() {
    for (const field of marked) {
      if (!isGiven(field)) continue;
      field.removeAttribute("aria-invalid");
      marked.delete(field);
    }
    if (marked.size === 0) message.remove();
  }

  for (const event of ["input", "change", "filled"]) form.addEventListener(event, look);
}

function isGiven(field) {
  if (field.matches("textarea")) return field.value.trim() !== "";
  return field.querySelector("input:checked") !== null;
}
