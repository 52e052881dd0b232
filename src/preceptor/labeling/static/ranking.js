// Page (b): the radios are the truth. This adds a ladder that shows the order and takes responses
// moved by pointer or touch, keys for everything, and says what happened.

import { word } from "./words.js";

const UNACCEPTABLE = "unacceptable";
const NONE = "";
const A_MOVE = 5; // px before a press is a drag

export function setUpRanking(form, say) {
  const cards = [...form.querySelectorAll(".card")];
  const positions = cards.map((card) => card.dataset.position);
  const asked = form.querySelector(`input[value=${UNACCEPTABLE}]`) !== null;
  const places = asked ? [...positions, UNACCEPTABLE] : positions;
  const chips = new Map(positions.map((position) => [position, makeChip(position)]));
  const rungs = new Map([NONE, ...places].map((rank) => [rank, makeRung(rank)]));
  document.getElementById("rungs").append(...[...rungs.values()].map((rung) => rung.row));
  document.getElementById("ladder").hidden = false;

  function rankOf(position) {
    return form.elements.namedItem(`rank_${position}`).value;
  }

  function setRank(position, rank) {
    for (const radio of form.elements.namedItem(`rank_${position}`)) {
      radio.checked = radio.value === rank;
    }
    cards[positions.indexOf(position)].dispatchEvent(new Event("change", { bubbles: true }));
    say(described(position));
  }

  function described(position) {
    const rank = rankOf(position);
    const tied = positions.filter((other) => other !== position && rankOf(other) === rank);
    const parts = [placeName(rank)];
    if (tied.length && rank !== NONE) {
      const others = tied.join(`, `).replace(/, (\d+)$/, ` ${word("and")} $1`);
      parts.push(word(tied.length > 1 ? "tiedMany" : "tied", { others }));
    }
    const response = word("response", { position });
    return word("said", { response, place: parts.join(", ") });
  }

  function placeName(rank) {
    if (rank === NONE) return word("notRanked");
    return rank === UNACCEPTABLE ? word("unacceptable") : word("rank", { rank });
  }

  function refresh() {
    const focused = document.activeElement;
    for (const position of positions) {
      const rank = rankOf(position);
      const chip = chips.get(position);
      rungs.get(rank).list.append(chip);
      chip.setAttribute("aria-label", described(position));
      cards[positions.indexOf(position)].classList.toggle("ranked", rank !== NONE);
    }
    for (const { row, list } of rungs.values()) row.classList.toggle("empty", !list.children.length);
    rungs.get(NONE).row.hidden = !rungs.get(NONE).list.children.length;
    if (focused.classList.contains("chip")) focused.focus();
  }

  function makeRung(rank) {
    const row = document.createElement("div");
    row.className = `rung ${rank === UNACCEPTABLE ? "bad" : rank === NONE ? "open" : ""}`;
    row.dataset.rank = rank;
    const label = document.createElement("span");
    label.className = "rung-name";
    label.textContent = rank === NONE || rank === UNACCEPTABLE ? placeName(rank) : rank;
    if (rank === positions[0]) label.textContent = `${rank} ${word("best")}`;
    const list = document.createElement("div");
    list.className = "chips";
    row.append(label, list);
    return { row, list };
  }

  function makeChip(position) {
    const chip = document.createElement("button");
    chip.type = "button";
    chip.className = "chip";
    chip.dataset.position = position;
    chip.textContent = position;
    dragging(chip);
    return chip;
  }

  function goTo(position) {
    const card = cards[positions.indexOf(position)];
    card.focus({ preventScroll: true, focusVisible: true });
    card.scrollIntoView({ block: "nearest" });
  }

  // A chip goes to the rung where it is let go; pressed and let go in place, it shows its card.
  function dragging(chip) {
    let from = null;
    let moved = false;
    const rungUnder = (event) => document.elementsFromPoint(event.clientX, event.clientY)
      .find((element) => element.classList.contains("rung"));
    const end = () => {
      from = null;
      chip.classList.remove("dragged");
      chip.style.transform = "";
      for (const { row } of rungs.values()) row.classList.remove("target");
    };
    chip.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      from = { x: event.clientX, y: event.clientY };
      moved = false;
      chip.setPointerCapture(event.pointerId);
      rungs.get(NONE).row.hidden = false;
    });
    chip.addEventListener("pointermove", (event) => {
      if (from === null) return;
      const [x, y] = [event.clientX - from.x, event.clientY - from.y];
      if (!moved && Math.hypot(x, y) < A_MOVE) return;
      moved = true;
      chip.classList.add("dragged");
      chip.style.transform = `translate(${x}px, ${y}px)`;
      const under = rungUnder(event);
      for (const { row } of rungs.values()) row.classList.toggle("target", row === under);
    });
    chip.addEventListener("pointerup", (event) => {
      if (from === null) return;
      const under = moved ? rungUnder(event) : null;
      end();
      if (under) setRank(chip.dataset.position, under.dataset.rank);
      refresh();
    });
    chip.addEventListener("pointercancel", () => {
      end();
      refresh();
    });
    chip.addEventListener("click", () => {
      if (!moved) goTo(chip.dataset.position);
      moved = false;
    });
  }

  // Which response a key is about: the focused one, else the first without a rank.
  function current() {
    const holder = document.activeElement.closest(".card, .chip");
    if (holder) return holder.dataset.position;
    return positions.find((position) => rankOf(position) === NONE) ?? positions[0];
  }

  function move(position, step) {
    const rank = rankOf(position);
    let at = places.indexOf(rank) + step;
    if (rank === NONE) at = step > 0 ? 0 : positions.length - 1;
    setRank(position, places[Math.min(Math.max(at, 0), places.length - 1)]);
  }

  // The rank of the nearest response that stands better; for one without a rank, of the worst.
  function tie(position) {
    const own = rankOf(position);
    const below = own === NONE ? places.length : places.indexOf(own);
    const better = positions
      .filter((other) => other !== position && rankOf(other) !== NONE)
      .map((other) => places.indexOf(rankOf(other)))
      .filter((at) => at < below);
    if (better.length) setRank(position, places[Math.max(...better)]);
  }

  form.addEventListener("change", refresh);
  form.addEventListener("filled", refresh);
  refresh();

  return (event) => {
    const { key } = event;
    const position = current();
    const at = positions.indexOf(position);
    const here = document.activeElement.closest(".card, .chip") !== null;
    if (key === "j" || key === "k") {
      const next = here ? at + (key === "j" ? 1 : -1) : at;
      goTo(positions[Math.min(Math.max(next, 0), positions.length - 1)]);
    } else if (positions.includes(key)) {
      setRank(position, key);
      if (!here) goTo(position);
    } else if (key === "0" && asked) {
      setRank(position, UNACCEPTABLE);
      if (!here) goTo(position);
    } else if (key === "ArrowUp" || key === "ArrowDown") {
      // In a group of radios these keys are the browser's; with no card they scroll.
      if (!here || event.target.matches("input")) return false;
      move(position, key === "ArrowUp" ? -1 : 1);
    } else if (key === "=") {
      tie(position);
    } else if (key === "o") {
      const long = cards[at].querySelector("details.long");
      if (!long) return false;
      long.open = !long.open;
    } else {
      return false;
    }
    return true;
  };
}
