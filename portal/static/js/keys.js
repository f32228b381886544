/* Shortcuts are declared where they act: data-key="n" on a button, link, radio or field. "?" lists what the page has. */
const storageKey = "leukoscope-shortcuts";
const dialog = document.getElementById("shortcuts-dialog");
const list = dialog?.querySelector("[data-shortcut-list]");
const enabledBox = dialog?.querySelector("[data-shortcuts-enabled]");

const enabled = () => {
  try { return localStorage.getItem(storageKey) !== "off"; } catch { return true; }
};

const isTyping = (target) =>
  target instanceof Element &&
  (target.isContentEditable ||
    target.matches("textarea, select, input:not([type=radio]):not([type=checkbox]):not([type=button])"));

const isUsable = (node) => !node.matches(":disabled, [aria-disabled=true]") && node.checkVisibility();

const keyNodes = () => [...document.querySelectorAll("[data-key]")].filter(isUsable);

const describe = (node) => {
  const words = node.dataset.keyLabel || node.getAttribute("aria-label");
  if (words) return words;
  const copy = node.cloneNode(true);
  copy.querySelectorAll("kbd").forEach((cap) => cap.remove());
  return copy.textContent.replace(/\s+/g, " ").trim();
};

const act = (node) => {
  if (node.matches("input:not([type=radio]):not([type=checkbox]), textarea, select")) {
    node.focus();
    node.select?.();
  } else {
    node.click();
  }
};

const showList = () => {
  const rows = new Map();
  for (const node of keyNodes()) {
    for (const key of node.dataset.key.split(" ")) {
      if (!rows.has(key)) rows.set(key, describe(node));
    }
  }
  rows.set("?", "Show this list");
  list.replaceChildren(
    ...[...rows].flatMap(([key, text]) => {
      const term = document.createElement("dt");
      const cap = document.createElement("kbd");
      cap.textContent = key;
      term.append(cap);
      const meaning = document.createElement("dd");
      meaning.textContent = text;
      return [term, meaning];
    }),
  );
  enabledBox.checked = enabled();
  dialog.showModal();
};

document.addEventListener("keydown", (event) => {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  if (event.repeat && !["j", "k", "+", "-"].includes(event.key)) return;
  if (isTyping(event.target) || document.querySelector("dialog[open]")) return;
  if (event.key === "?" && dialog) {
    event.preventDefault();
    showList();
    return;
  }
  if (!enabled()) return;
  const node = keyNodes().find((candidate) => candidate.dataset.key.split(" ").includes(event.key));
  if (!node) return;
  event.preventDefault();
  act(node);
});

document.addEventListener("click", (event) => {
  if (dialog && event.target.closest("[data-shortcuts]")) showList();
});

enabledBox?.addEventListener("change", () => {
  try { localStorage.setItem(storageKey, enabledBox.checked ? "on" : "off"); } catch { /* kept for this page only */ }
});

/* Browsers without invoker commands still get their dialogs. */
if (!("commandForElement" in HTMLButtonElement.prototype)) {
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[commandfor]");
    const target = button && document.getElementById(button.getAttribute("commandfor"));
    if (!target) return;
    if (button.getAttribute("command") === "show-modal") target.showModal();
    else target.close();
  });
}
