/** What categories and speakers look like: a colour, and always a shape or a word beside it. */

const SVG = "http://www.w3.org/2000/svg";

/**
 * Shapes of the categories, drawn in a 16×16 box: told apart without colour.
 * Ring: neutral; star: happy; drop: sad; triangle: angry; dashed ring: unsure.
 */
const SHAPES = {
  neutral: [["circle", { cx: 8, cy: 8, r: 5, class: "line" }]],
  happy: [["path", { d: "M8 1.5l1.9 4.3 4.6.5-3.4 3.1.9 4.6L8 11.7 4 14l.9-4.6L1.5 6.3l4.6-.5z" }]],
  sad: [
    ["path", { d: "M8 1.5c2.6 3.3 4.4 5.6 4.4 8.1a4.4 4.4 0 0 1-8.8 0C3.6 7.1 5.4 4.8 8 1.5z" }],
  ],
  angry: [["path", { d: "M8 2l6.6 11.8H1.4z" }]],
  unsure: [["circle", { cx: 8, cy: 8, r: 5.2, class: "line dashed" }]],
  other: [["path", { d: "M8 1.8L14.2 8 8 14.2 1.8 8z" }]],
};

/** Return the name under which a category has its colour and shape. */
export function styleName(category) {
  return Object.hasOwn(SHAPES, category) ? category : "other";
}

/** Make the icon of a category; a word has to stand beside it. */
export function categoryIcon(category) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("aria-hidden", "true");
  svg.classList.add("icon");
  for (const [name, attributes] of SHAPES[styleName(category)]) {
    const shape = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) shape.setAttribute(key, value);
    svg.append(shape);
  }
  return svg;
}

/** Make an element of a class with a text; never markup. */
export function element(tag, className = "", text = "") {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text) node.textContent = text;
  return node;
}

/** Make the badge of a category: shape and word. */
export function categoryBadge(category) {
  const badge = element("span", "badge");
  badge.dataset.category = styleName(category);
  badge.append(categoryIcon(category), element("span", "", category));
  return badge;
}

export const SPEAKER_COLOURS = 10;

/** Dashes of a speaker's line: the second thing, beside colour, that tells lines apart. */
const DASHES = [[], [7, 4], [2, 3], [10, 3, 2, 3], [4, 2]];

/** Return the dashes of the speaker who joined as number `index`. */
export function speakerDash(index) {
  return DASHES[index % DASHES.length];
}

/** Return the initials of a name, one or two characters. */
export function monogram(name) {
  const words = name.trim().split(/\s+/);
  const letters =
    words.length > 1 ? [words[0], words.at(-1)].map((word) => [...word][0]) : [...name].slice(0, 2);
  return letters.join("").toLocaleUpperCase();
}

/** Make the round sign of a speaker. */
export function speakerSign(speaker) {
  const sign = element("span", "sign", monogram(speaker.name));
  sign.dataset.speaker = speaker.index % SPEAKER_COLOURS;
  sign.setAttribute("aria-hidden", "true");
  return sign;
}

/** Make a name that can be pressed, to say who that is. */
export function nameButton(speaker, onPress) {
  const button = element("button", "name");
  button.type = "button";
  button.append(element("bdi", "", speaker.name));
  button.title = "Say who this is";
  button.setAttribute("aria-label", `${speaker.name}: say who this is`);
  button.setAttribute("aria-haspopup", "dialog");
  button.addEventListener("click", onPress);
  return button;
}

/** Read the colours in force from the style sheet, for canvases. */
export function readColours() {
  const style = getComputedStyle(document.documentElement);
  const get = (name) => style.getPropertyValue(name).trim();
  const categories = {};
  for (const name of Object.keys(SHAPES)) categories[name] = get(`--c-${name}`);
  const speakers = Array.from({ length: SPEAKER_COLOURS }, (_, n) => get(`--s-${n}`));
  return {
    ink: get("--ink"),
    muted: get("--muted"),
    line: get("--line"),
    panel: get("--panel"),
    accent: get("--accent"),
    categories,
    speakers,
    speaker: (index) => speakers[index % SPEAKER_COLOURS],
  };
}
