// Elements. Text goes in as text and never as markup: paths and names come from users.

const SVG = "http://www.w3.org/2000/svg";

function build(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value !== null && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

/** An element; attributes that are functions listen to the event of that name, those that are null are left out. */
function make(tag, attributes = {}, ...children) {
  return build(document.createElement(tag), attributes, children);
}

function draw(tag, attributes = {}, ...children) {
  return build(document.createElementNS(SVG, tag), attributes, children);
}

const byId = (id) => document.getElementById(id);

const percent = (share, digits = 1) => `${(100 * share).toFixed(digits)}\u202f%`;
const count = (number) => number.toLocaleString("en");
const plural = (number, one, many = `${one}s`) => `${count(number)} ${number === 1 ? one : many}`;

/** Facts in a line, without those that are empty. */
const joined = (...facts) => facts.filter(Boolean).join(" \u00b7 ");

/** Small rates such as FPR: 12 %, 0.10 %, 0.00032 %. */
const rate = (share) => `${Number((100 * share).toPrecision(2))}\u202f%`;

/** A distance, with digits enough to tell neighbours apart where all are near: 0.412, 0.00213. */
const far = (distance) => (Math.abs(distance) < 1000 ? distance.toPrecision(3) : distance.toFixed(0));

/** A difference of percentages, its sign never left out: +1.2, −3.4, 0.0. */
function difference(value) {
  const kind = Math.abs(value) < 0.05 ? "same" : value > 0 ? "gained" : "lost";
  const sign = { same: "", gained: "+", lost: "\u2212" }[kind];
  return make("span", { class: `difference ${kind}` }, `${sign}${Math.abs(value).toFixed(1)}`);
}
