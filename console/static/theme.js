// Before anything is drawn: the reader's own choice of light or dark. Not a module, so that it runs at once.
try {
  const theme = localStorage.getItem("theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch { /* without storage the system decides */ }
