"""The data card in a browser: no wider than the window, and to be read by day and by night."""

from collections.abc import Iterator

import pytest
from chromium import Chromium, find_program
from corpora import built, everything, recipe_of

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(find_program() is None, reason="no chromium: apt-get install chromium"),
]
CONTRASTS = """(() => {
  const parts = color => color.match(/[\\d.]+/g).map(Number);
  const light = color => parts(color).slice(0, 3).map(c => c / 255)
    .map(c => c <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4)
    .reduce((sum, c, at) => sum + c * [.2126, .7152, .0722][at], 0);
  const ground = node => {
    for (; node; node = node.parentElement) {
      const color = getComputedStyle(node).backgroundColor;
      if (parts(color).length < 4 || parts(color)[3] > 0) return color;
    }
    return "rgb(255, 255, 255)";
  };
  const texts = "p, th, td, h1, h2, h3, a, code, b, blockquote, summary, dt, dd, .soft";
  return [...document.querySelectorAll(texts)]
    .filter(node => node.textContent.trim()).map(node => {
      const [a, b] = [getComputedStyle(node).color, ground(node)].map(light);
      return [(Math.max(a, b) + .05) / (Math.min(a, b) + .05), node.outerHTML.slice(0, 80)];
    }).sort((x, y) => x[0] - y[0])[0];
})()"""


@pytest.fixture(scope="module")
def card(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    """A card with every step, weights that are wrong, and files that are passed over."""
    folder = tmp_path_factory.mktemp("card")
    values = everything(folder)
    values["sources"][0] |= {"name": "a-source-of-a-very-long-name-" * 3, "weight": 0.5}
    (folder / "raw" / ("picture" * 20 + ".png")).write_bytes(b"")
    recipe = recipe_of(folder, **values, name="a-corpus-of-a-very-long-name." * 5)
    built(recipe, folder / "out")
    browser = Chromium(tmp_path_factory.mktemp("chromium"))
    browser.open((folder / "out" / "corpus.html").as_uri())
    browser.js("document.querySelectorAll('details').forEach(one => one.open = true)")
    yield browser
    browser.close()


@pytest.mark.parametrize("width", [1280, 640, 390, 320])
def test_the_card_is_not_wider_than_the_window(card: Chromium, width: int):
    card.resize(width, 900)
    over = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert card.js(over) <= 0
    assert not card.complaints


@pytest.mark.parametrize("dark", [False, True])
def test_every_text_stands_out_by_day_and_by_night(card: Chromium, dark: bool):
    card.dark(dark)
    contrast, where = card.js(CONTRASTS)
    assert contrast >= 4.5, where
    background = card.js("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(255, 255, 255)") != dark
