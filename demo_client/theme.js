// Not a module: it has to run before the first paint, or a dark page would flash white.
(() => {
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  let chosen = null;
  try {
    chosen = localStorage.getItem("streamser.theme");
  } catch {
    // Storage may be forbidden; then the choice lasts as long as the page.
  }

  /** Put the theme in force; canvases listen for `themechange`. */
  function apply() {
    const theme = chosen ?? (dark.matches ? "dark" : "light");
    document.documentElement.dataset.theme = theme;
    window.dispatchEvent(new Event("themechange"));
  }

  window.switchTheme = () => {
    chosen = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
    try {
      localStorage.setItem("streamser.theme", chosen);
    } catch {
      // As above.
    }
    apply();
  };
  dark.addEventListener("change", apply);
  apply();
})();
