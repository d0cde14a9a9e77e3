// Small things of every page.
const format = new Intl.DateTimeFormat(undefined, { day: "2-digit", month: "short", hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3, hourCycle: "h23" });

// Times come in UTC and are shown in the reader's own time; the title keeps what was sent.
export function localTimes(root) {
  for (const time of root.querySelectorAll("time[datetime]")) {
    const moment = new Date(time.dateTime);
    if (!isNaN(moment)) time.textContent = format.format(moment).replace(",", "");
  }
}

// Filters that were left or chosen apply at once; empty ones do not clutter the URL.
export function autoSubmit() {
  for (const form of document.querySelectorAll("form[data-auto]")) {
    form.addEventListener("change", () => form.requestSubmit());
    form.addEventListener("submit", () => {
      for (const field of form.elements) if (field.name && !field.value) field.disabled = true;
      setTimeout(() => { for (const field of form.elements) field.disabled = false; }, 0);
    });
  }
}

export function theme() {
  const now = document.documentElement.dataset.theme || "system";
  const next = { system: "light", light: "dark", dark: "system" }[now];
  if (next === "system") delete document.documentElement.dataset.theme; else document.documentElement.dataset.theme = next;
  try { localStorage.setItem("theme", next); } catch { /* only for this page then */ }
}

// Put the server's fresh rendering of a part in its place, keeping what is open and where the reader is.
export async function refresh(part) {
  const answer = await fetch(location.href, { headers: { Accept: "text/html" }, credentials: "same-origin" });
  if (!answer.ok || answer.redirected) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById(part.id);
  if (!fresh || part.contains(document.activeElement) && document.activeElement.matches("input, select, textarea")) return;
  localTimes(fresh);
  part.replaceChildren(...fresh.childNodes);
}
