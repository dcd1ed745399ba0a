// Hides boxes with a score below the slider's.
const slider = document.getElementById("threshold");
if (slider) {
  const boxes = document.querySelectorAll("[data-score]");
  const show = () => {
    const threshold = Number(slider.value);
    document.getElementById("threshold-value").textContent = threshold.toFixed(2);
    for (const box of boxes) {
      box.setAttribute("visibility", Number(box.dataset.score) < threshold ? "hidden" : "visible");
    }
  };
  slider.addEventListener("input", show);
  show();
}
