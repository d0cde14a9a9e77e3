// The keyboard: / searches, j and k move through rows, Enter opens, g and a letter goes to a page, ? helps.
export function keyboard({ theme }) {
  let went = 0;
  let at = -1;
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, select, textarea, dialog *")) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    if (Date.now() - went < 1500) {
      went = 0;
      const link = document.querySelector(`nav a[data-key="${CSS.escape(event.key)}"]`);
      if (link) { event.preventDefault(); link.click(); }
      return;
    }
    const actions = {
      "/": () => document.querySelector('input[type="search"]')?.focus(),
      "?": () => document.getElementById("keys").showModal(),
      t: theme,
      l: () => document.querySelector('[data-do="tail"]')?.click(),
      g: () => { went = Date.now(); },
      j: () => { at = move(at, 1); },
      k: () => { at = move(at, -1); },
      Enter: () => open(at),
    };
    if (!actions[event.key] || (event.key === "Enter" && at < 0) || (event.key === "Enter" && event.target.matches("a, button, summary"))) return;
    event.preventDefault();
    actions[event.key]();
  });
}

function rows() {
  return [...document.querySelectorAll("[data-rows] > *, [data-rows] > tbody > tr")].filter((row) => !row.matches("thead, tbody, .empty"));
}

function move(at, by) {
  const all = rows();
  if (!all.length) return -1;
  const next = Math.min(all.length - 1, Math.max(0, at + by));
  all.forEach((row, number) => row.classList.toggle("at", number === next));
  all[next].scrollIntoView({ block: "nearest" });
  return next;
}

function open(at) {
  const row = rows()[at];
  if (!row) return;
  if (row.matches("details")) row.open = !row.open;
  else row.querySelector("a.row, a.name, a")?.click();
}
