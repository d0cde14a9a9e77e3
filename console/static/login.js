// Who follows a link from another site arrives without the (same-site) cookie: when there is a session, go on with it.
const next = document.body.dataset.next;
if (next && next !== "/" && !document.querySelector(".refused")) {
  fetch("/api/v1/me", { credentials: "same-origin" }).then((answer) => { if (answer.ok) location.replace(next); }, () => {});
}
