// Live tail on the logs page: records that match the filters, newest first, as the stream of the page brings them.
import { localTimes } from "./page.js";

export function tail(stream) {
  const button = document.querySelector('[data-do="tail"]');
  const lines = document.getElementById("lines");
  if (!button || !lines || !stream) return;
  const limit = Number(lines.dataset.limit);
  let on = new URLSearchParams(location.search).has("tail");
  let waiting = [];

  const set = (value) => {
    on = value;
    button.setAttribute("aria-pressed", String(on));
    const url = new URL(location);
    if (on) url.searchParams.set("tail", "1"); else url.searchParams.delete("tail");
    history.replaceState(null, "", url);
    if (on && !document.body.dataset.live.includes("tail=1")) location.reload();
  };
  button.addEventListener("click", () => set(!on));
  if (on) button.setAttribute("aria-pressed", "true");

  stream.addEventListener("message", (event) => { if (on) waiting.push(row(JSON.parse(event.data))); });
  stream.addEventListener("gap", (event) => { if (on) waiting.push(gap(JSON.parse(event.data))); });
  // Drawn a few times a second, however many come; a line the reader has opened stays where it is.
  setInterval(() => {
    if (!waiting.length || document.hidden) return;
    const fresh = waiting.slice(-limit).reverse();
    waiting = [];
    lines.querySelector(".empty")?.remove();
    lines.prepend(...fresh);
    localTimes(lines);
    while (lines.children.length > limit) lines.lastElementChild.remove();
  }, 300);
}

function row(event) {
  const record = event.record || {};
  const about = record.kubernetes || {};
  const text = lineOf(record);
  const line = make("details", `line new ${level(text)}`);
  const summary = make("summary");
  const time = make("time", "", event.time);
  time.dateTime = event.time;
  summary.append(time, make("span", "from", about.pod_name || record.cluster || ""), make("span", "text", text.trimEnd()));
  const body = make("div", "more-of");
  const link = make("a", "place", `${event.topic}/${event.partition}/${event.offset}`);
  link.href = `/records/${event.topic}/${event.partition}/${event.offset}`;
  body.append(link, make("pre", "", JSON.stringify(record, null, 2)));
  line.append(summary, body);
  return line;
}

// The same as console/lines.py: a structured line with its message first.
function lineOf(record) {
  const line = record.log ?? record.message ?? record.msg;
  if (typeof line !== "string") return JSON.stringify(line ?? record);
  if (!line.startsWith("{")) return line;
  try {
    const fields = JSON.parse(line);
    const name = ["message", "msg", "event"].find((each) => typeof fields[each] === "string");
    if (!name) return line;
    const unshown = new Set([name, "level", "timestamp", "time", "ts", "@timestamp", "logger"]);
    const rest = Object.entries(fields).filter(([key]) => !unshown.has(key)).map(([key, value]) => `${key}=${typeof value === "object" ? JSON.stringify(value) : value}`);
    return [String(fields.level ?? "").toUpperCase(), fields[name], ...rest].filter(Boolean).join(" ");
  } catch { return line; }
}

function gap(event) {
  return make("p", "line gap", `${event.to - event.from} records of ${event.topic}/${event.partition} are not shown here (${event.reason})`);
}

function level(text) {
  const head = text.slice(0, 300);
  if (/\b(error|fatal|panic|critical|exception)\b/i.test(head)) return "error";
  return /\bwarn(ing)?\b/i.test(head) ? "warning" : "";
}

function make(name, classes = "", text = "") {
  const element = document.createElement(name);
  if (classes) element.className = classes;
  if (text) element.textContent = text;
  return element;
}
