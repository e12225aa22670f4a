// What can be done without a mouse.

const KEYS = [
  ["j \u2193", "next query"],
  ["k \u2191", "previous query"],
  ["Enter", "open the query"],
  ["Esc", "close"],
  ["a", "activation maps beside the images of an open query"],
  ["/", "search in paths"],
  ["t", "light or dark"],
  ["?", "these keys"],
];

const inDialog = {
  j: () => moveInDialog(1), ArrowRight: () => moveInDialog(1), ArrowDown: () => moveInDialog(1),
  k: () => moveInDialog(-1), ArrowLeft: () => moveInDialog(-1), ArrowUp: () => moveInDialog(-1),
  a: () => toggleMaps(),
};
const inPage = {
  j: () => moveFocus(1), k: () => moveFocus(-1),
  "/": () => byId("filters").elements.text.focus(),
  t: () => toggleTheme(), "?": () => byId("keys").showModal(),
};
// Arrows scroll the page, unless a row has the focus.
const inRow = { ArrowDown: inPage.j, ArrowUp: inPage.k };

function actionOf({ key, target }) {
  if (byId("keys").open) return undefined;
  if (dialog.open) return inDialog[key];
  if (target.matches("input:not([type=checkbox]), select")) return key === "Escape" ? () => target.blur() : undefined;
  return inPage[key] ?? (target.closest(".row") ? inRow[key] : undefined);
}

function startKeys() {
  const rows = KEYS.map(([keys, what]) =>
    make("div", {}, make("dt", {}, ...keys.split(" ").map((key) => make("kbd", {}, key))), make("dd", {}, what)),
  );
  const close = make("button", { type: "button", click: () => byId("keys").close() }, "Close");
  byId("keys").append(make("h2", { id: "keys-title" }, "Keys"), make("dl", {}, ...rows), close);
  byId("show-keys").addEventListener("click", inPage["?"]);
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const action = actionOf(event);
    if (!action) return;
    event.preventDefault();
    action();
  });
}
