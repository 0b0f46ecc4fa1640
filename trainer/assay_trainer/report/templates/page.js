"use strict";
(() => {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const charts = read("chart-data");
  const images = read("image-data");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const palettes = {
    light: ["#8a5a00", "#2867b2", "#11734b", "#b3352b", "#7546a8", "#4f6a74", "#a8437f"],
    dark: ["#e0b04c", "#6fa8ec", "#63cf9c", "#f08b80", "#b794e8", "#9db4bd", "#e58bc0"],
  };

  const trace = (chart) => (series) => {
    const common = { name: series.name, x: series.steps, y: series.values };
    if (chart.stacked) return { ...common, type: "bar" };
    const few = series.steps.length <= 25;
    return { ...common, type: "scatter", mode: few ? "lines+markers" : "lines",
      line: { width: 2 }, marker: { size: 5 } };
  };

  const layout = (chart) => {
    const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
    const axis = { gridcolor: color("--line"), zerolinecolor: color("--line"), linecolor: color("--line"),
      automargin: true };
    return {
      colorway: palettes[dark.matches ? "dark" : "light"],
      paper_bgcolor: "transparent", plot_bgcolor: "transparent",
      font: { color: color("--soft"), size: 11, family: getComputedStyle(document.body).fontFamily },
      margin: { l: 40, r: 8, t: 8, b: 30 }, barmode: "stack", bargap: 0.15, hovermode: "x unified",
      hoverlabel: { bgcolor: color("--card"), bordercolor: color("--line"), font: { color: color("--ink") } },
      showlegend: chart.series.length > 1, legend: { orientation: "h", y: -0.18, traceorder: "normal" },
      xaxis: { ...axis, title: { text: "step", standoff: 4 }, rangemode: "tozero" },
      yaxis: { ...axis, rangemode: "tozero" },
    };
  };

  const draw = () => {
    for (const figure of document.querySelectorAll("figure[data-chart]")) {
      const chart = charts[figure.dataset.stage][Number(figure.dataset.chart)];
      Plotly.react(figure.querySelector(".plot"), chart.series.map(trace(chart)), layout(chart),
        { responsive: true, displayModeBar: false });
    }
  };

  const showFrames = (root) => {
    for (const image of root.querySelectorAll("img[data-frame]:not([src])")) {
      image.src = images[image.dataset.frame];
    }
  };

  const stagePicker = document.getElementById("pick-stage");
  const stepPicker = document.getElementById("pick-step");
  const sampled = [...document.querySelectorAll(".sampled")];

  const showStep = () => {
    for (const part of sampled) {
      part.hidden = part.dataset.stage !== stagePicker.value || part.dataset.step !== stepPicker.value;
      if (!part.hidden) showFrames(part);
    }
  };

  const showStage = () => {
    const steps = sampled.filter((part) => part.dataset.stage === stagePicker.value)
      .map((part) => part.dataset.step);
    stepPicker.replaceChildren(...steps.map((step) => new Option(step, step)));
    stepPicker.value = steps.at(-1);
    showStep();
  };

  draw();
  dark.addEventListener("change", draw);
  showFrames(document.getElementById("datasets"));
  if (stagePicker) {
    stagePicker.addEventListener("change", showStage);
    stepPicker.addEventListener("change", showStep);
    showStage();
  }
})();
