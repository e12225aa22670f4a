"""Buttons that copy a formula: all that the page needs a script for."""

__all__ = ["SCRIPT"]

SCRIPT = """
for (const code of document.querySelectorAll("code.copyable")) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Copy";
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(code);
      button.textContent = "Press Ctrl+C";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
  code.after(button);
}
"""
