/* Runs before the first paint, so it is a plain script in the head: the page never flashes in the wrong theme. */
(() => {
  const key = "leukoscope-theme";
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  const order = ["system", "light", "dark"];
  const names = { system: "follow the system", light: "light", dark: "dark" };

  const stored = () => {
    try {
      const value = localStorage.getItem(key);
      return order.includes(value) ? value : "system";
    } catch {
      return "system";
    }
  };

  const apply = () => {
    if (root.hasAttribute("data-theme-fixed")) return;
    const choice = stored();
    const theme = choice === "system" ? (system.matches ? "dark" : "light") : choice;
    if (root.getAttribute("data-bs-theme") === theme) return;
    root.setAttribute("data-bs-theme", theme);
    document.dispatchEvent(new CustomEvent("leukoscope:theme", { detail: theme }));
  };

  const label = () => {
    for (const node of document.querySelectorAll("[data-theme-label]")) {
      node.textContent = `Theme: ${names[stored()]}. Change`;
      node.closest("button").title = `Theme: ${names[stored()]}`;
    }
  };

  apply();
  system.addEventListener("change", apply);
  addEventListener("storage", () => { apply(); label(); });
  document.addEventListener("DOMContentLoaded", label);
  document.addEventListener("click", (event) => {
    if (!event.target.closest?.("[data-theme-toggle]")) return;
    try {
      localStorage.setItem(key, order[(order.indexOf(stored()) + 1) % order.length]);
    } catch { /* private window: the choice lasts as long as the page */ }
    apply();
    label();
  });
})();
