// The page of reasons by keys: a digit chooses, Ctrl+Enter sends.

const form = document.getElementById("skip");
const reasons = [...form.querySelectorAll("input[name=reason]")];
(reasons.find((reason) => reason.checked) ?? reasons[0]).focus();

document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    form.requestSubmit();
  } else if (/^[1-9]$/.test(event.key) && !event.target.matches("textarea")) {
    const reason = reasons[Number(event.key) - 1];
    if (!reason) return;
    reason.checked = true;
    reason.focus();
  }
});
