// The one event stream of the page: numbers, and news of topics whose parts of the page are drawn again.
import { refresh } from "./page.js";

const numbers = new Intl.NumberFormat("en");
// The second look finds what the stores took in after the first.
const LOOKS_MS = [700, 3000];

export function follow(url) {
  if (!url) return null;
  const stream = new EventSource(url);
  const pill = document.getElementById("live");
  stream.addEventListener("open", () => { pill.hidden = false; pill.classList.remove("lost"); pill.textContent = "live"; });
  stream.addEventListener("error", () => { pill.hidden = false; pill.classList.add("lost"); pill.textContent = "reconnecting"; });
  stream.addEventListener("stats", (event) => show(JSON.parse(event.data)));
  const waiting = new Map();
  stream.addEventListener("news", (event) => {
    const topics = JSON.parse(event.data).topics;
    for (const part of document.querySelectorAll("[data-refresh]")) {
      if (!part.dataset.refresh.split(" ").some((topic) => topics.includes(topic))) continue;
      waiting.get(part)?.forEach(clearTimeout);
      waiting.set(part, LOOKS_MS.map((after) => setTimeout(() => refresh(part), after)));
    }
  });
  addEventListener("pagehide", () => stream.close());
  return stream;
}

let before = null;
function show(stats) {
  const seconds = before ? (stats.at_ms - before.at_ms) / 1000 : 0;
  for (const element of document.querySelectorAll("[data-stat]")) {
    const value = find(stats, element.dataset.stat);
    if (value === undefined) continue;
    element.textContent = numbers.format(value);
    element.classList.toggle("zero", !value);
    if ("hideZero" in element.dataset) element.hidden = !value;
  }
  for (const element of document.querySelectorAll("[data-rate]")) {
    const rate = seconds > 0 ? (find(stats, element.dataset.rate) - find(before, element.dataset.rate)) / seconds : 0;
    element.textContent = numbers.format(rate >= 10 ? Math.round(rate) : Math.round(rate * 10) / 10);
  }
  for (const node of document.querySelectorAll("[data-lag-of]")) {
    node.classList.toggle("behind", (stats.agents[node.dataset.lagOf] || 0) > 1000);
  }
  for (const edge of document.querySelectorAll("path[data-from]")) {
    const topic = stats.topics[edge.dataset.from] ? edge.dataset.from : edge.dataset.to;
    const moved = before && stats.topics[topic] && before.topics[topic] && stats.topics[topic].records > before.topics[topic].records;
    edge.classList.toggle("moving", Boolean(moved));
  }
  before = stats;
}

// "topics.kube~events.records" -> stats.topics["kube.events"].records
function find(stats, path) {
  return path.split(".").reduce((value, part) => value?.[part.replaceAll("~", ".")], stats);
}
