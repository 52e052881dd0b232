// What scripts say; the server sends it with the page, from words.py.

const words = JSON.parse(document.body.dataset.words);

export function word(name, values = {}) {
  return words[name].replace(/\{(\w+)\}/g, (_, key) => values[key]);
}
