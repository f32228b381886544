/* Relative times and turnaround clocks, ticking in place. Times come from the server; only the difference is made here. */
const minute = 60_000;
const units = [
  [60 * 24 * 14, null, ""],
  [60 * 24 * 2, 60 * 24, "days"],
  [60 * 2, 60, "h"],
  [1, 1, "min"],
];

export function relative(from, now) {
  const minutes = Math.floor((now - from) / minute);
  if (minutes < -1) return null;
  if (minutes < 1) return "just now";
  for (const [least, divisor, word] of units) {
    if (minutes >= least) return divisor ? `${Math.floor(minutes / divisor)} ${word} ago` : null;
  }
  return null;
}

export function elapsed(from, until) {
  const minutes = Math.max(0, Math.floor((until - from) / minute));
  const days = Math.floor(minutes / 1440);
  const clock = `${String(Math.floor((minutes % 1440) / 60)).padStart(2, "0")}:${String(minutes % 60).padStart(2, "0")}`;
  return days ? `${days} d ${clock}` : clock;
}

export function level(share) {
  if (share >= 1) return "over";
  return share >= 0.75 ? "near" : "within";
}

const moment = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "short" });

const words = { within: "within target", near: "target is near", over: "over target" };

function tickTime(node, now) {
  const from = Date.parse(node.dateTime);
  const text = relative(from, now) ?? node.title.replace(/:\d\d$/, "");
  if (text && node.textContent !== text) node.textContent = text;
}

function tickTurnaround(node, now) {
  const from = Date.parse(node.dataset.tatSince);
  const until = node.dataset.tatUntil ? Date.parse(node.dataset.tatUntil) : now;
  node.querySelector("[data-tat-text]").textContent = elapsed(from, until);
  const target = Number(node.dataset.tatTarget);
  if (!node.title) node.title = `Submitted ${moment.format(from)}${target ? `; target ${elapsed(0, target * 1000)}` : ""}`;
  if (!target) return;
  const share = (until - from) / 1000 / target;
  node.dataset.level = level(share);
  node.querySelector("[data-tat-fill]")?.setAttribute("width", String(Math.min(100, Math.max(2, share * 100))));
  const word = node.querySelector("[data-tat-word]");
  if (word) word.textContent = words[node.dataset.level];
}

function tick() {
  const now = Date.now();
  document.querySelectorAll("time[data-relative]").forEach((node) => tickTime(node, now));
  document.querySelectorAll("[data-tat-since]").forEach((node) => tickTurnaround(node, now));
}

tick();
setInterval(tick, 15_000);
document.addEventListener("htmx:afterSettle", tick);
