// What JavaScript adds to the pages: local times, live numbers, live lists, live tail, the keyboard.
import { follow } from "./live.js";
import { keyboard } from "./keys.js";
import { localTimes, autoSubmit, theme } from "./page.js";
import { tail } from "./tail.js";

localTimes(document);
autoSubmit();
const stream = follow(document.body.dataset.live);
tail(stream);
keyboard({ theme });
document.querySelector('[data-do="theme"]')?.addEventListener("click", theme);
document.querySelector('[data-do="keys"]')?.addEventListener("click", () => document.getElementById("keys").showModal());
