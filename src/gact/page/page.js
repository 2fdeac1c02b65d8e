"use strict";
// Everything is readable without this script: it moves the line over the chart, saves it, and sorts and filters the table.
(() => {
  const all = (selector, from = document) => [...from.querySelectorAll(selector)];
  const data = JSON.parse(document.getElementById("data").textContent) || {};
  document.documentElement.classList.add("js");

  const sized = (bytes) => {
    const units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let at = 0;
    for (; bytes >= 999.5 && at < 4; at++) bytes /= 1024;
    return (at === 0 || bytes >= 100 ? bytes.toFixed(0) : String(Number(bytes.toPrecision(3)))) + " " + units[at];
  };

  const made = (tag, ...content) => {
    const found = document.createElement(tag);
    found.append(...content);
    return found;
  };

  const drawings = all(".chart svg");
  if (data.chart && drawings.length) chart(data.chart);
  const grid = document.getElementById("grid");
  if (grid) table(grid);

  function chart(told) {
    const slider = document.getElementById("moment");
    const readout = document.getElementById("readout");
    for (const radio of all("input[name=stack]"))
      radio.addEventListener("change", () => {
        for (const stack of all("g.stack")) stack.toggleAttribute("hidden", stack.dataset.way !== radio.value);
      });

    const nearest = (points, place) => {
      let low = 0, high = points.length - 1;
      while (low < high) {
        const middle = (low + high) >> 1;
        if (points[middle][0] < place) low = middle + 1;
        else high = middle;
      }
      return low && place - points[low - 1][0] < points[low][0] - place ? low - 1 : low;
    };

    const show = (place, visible) => {
      const spoken = [];
      readout.replaceChildren();
      for (const way of told.ways) {
        if (!way.points.length) continue;
        const [, size, name, ...parts] = way.points[nearest(way.points, place)];
        const held = parts.map((each, at) => [told.kinds[at], each]).filter((each) => each[1]);
        const listed = held.map(([kind, each]) => kind + " " + sized(each)).join(", ");
        const title = made("span", way.name + " ", made("b", sized(size)));
        readout.append(made("div", title, made("small", told.names[name]), made("small", listed)));
        spoken.push(way.name + " " + sized(size) + ", " + told.names[name]);
      }
      slider.setAttribute("aria-valuetext", spoken.join("; "));
      for (const drawing of drawings) {
        const width = drawing.viewBox.baseVal.width;
        const x = told.left + place * (width - told.left - told.right);
        const cursor = drawing.querySelector(".cursor");
        cursor.setAttribute("transform", "translate(" + x + ")");
        cursor.setAttribute("visibility", visible ? "visible" : "hidden");
      }
    };

    slider.addEventListener("input", () => show(slider.value / 1000, true));
    for (const drawing of drawings)
      drawing.addEventListener("pointermove", (event) => {
        const box = drawing.getBoundingClientRect();
        const width = drawing.viewBox.baseVal.width;
        const x = ((event.clientX - box.left) / box.width) * width;
        const place = Math.min(Math.max((x - told.left) / (width - told.left - told.right), 0), 1);
        slider.value = Math.round(place * 1000);
        show(place, true);
      });
    const first = told.ways[0] ? told.ways[0].points : [];
    const highest = first.reduce((best, each) => (each[1] > best[1] ? each : best), first[0] || [0, 0]);
    slider.value = Math.round(highest[0] * 1000);
    show(highest[0], false);
    for (const button of all("[data-export]")) button.addEventListener("click", () => save(button.dataset.export));
  }

  // The drawing for wide windows with the colours of the moment written into it, since a file has no style sheet.
  function drawn() {
    const source = document.querySelector(".chart svg.wide");
    const copy = source.cloneNode(true);
    const shown = source.style.display;
    source.style.display = "block";
    const names = ["fill", "stroke", "stroke-width", "stroke-dasharray", "stroke-linejoin", "paint-order", "font", "display"];
    const copies = all("*", copy);
    all("*", source).forEach((each, at) => {
      const style = getComputedStyle(each);
      for (const name of names) copies[at].style.setProperty(name, style.getPropertyValue(name));
    });
    source.style.display = shown;
    copies.forEach((each) => { if (each.style.display === "none" || each.matches(".cursor")) each.remove(); });
    copy.style.background = getComputedStyle(document.body).backgroundColor;
    copy.removeAttribute("class");
    return new XMLSerializer().serializeToString(copy);
  }

  function save(kind) {
    const picture = new Blob([drawn()], {type: "image/svg+xml"});
    if (kind === "svg") return download(picture, "gact-memory.svg");
    const image = new Image();
    image.onload = () => {
      const canvas = document.createElement("canvas");
      canvas.width = 2 * image.width;
      canvas.height = 2 * image.height;
      const context = canvas.getContext("2d");
      context.fillStyle = getComputedStyle(document.body).backgroundColor;
      context.fillRect(0, 0, canvas.width, canvas.height);
      context.drawImage(image, 0, 0, canvas.width, canvas.height);
      URL.revokeObjectURL(image.src);
      canvas.toBlob((blob) => download(blob, "gact-memory.png"));
    };
    image.src = URL.createObjectURL(picture);
  }

  function download(blob, name) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }

  function table(grid) {
    const body = grid.tBodies[0];
    const heads = all("th", grid);
    const value = (row, at) => {
      const cell = row.cells[at];
      return cell.dataset.v === undefined ? cell.textContent : Number(cell.dataset.v);
    };
    heads.forEach((head, at) =>
      head.firstChild.addEventListener("click", () => {
        const number = head.classList.contains("n");
        const now = head.getAttribute("aria-sort");
        const down = now ? now === "ascending" : number;
        for (const each of heads) each.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const sign = down ? -1 : 1;
        const keyed = [...body.rows].map((row) => [value(row, at), row]);
        keyed.sort(([a], [b]) => sign * (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), undefined, {numeric: true})));
        body.append(...keyed.map((each) => each[1]));
      }));
    const filter = document.getElementById("filter");
    const code = document.getElementById("code");
    const count = document.getElementById("count");
    const column = Number(code.dataset.column);
    const narrow = () => {
      const wanted = filter.value.toLowerCase();
      let shown = 0;
      for (const row of body.rows) {
        const fits = row.textContent.toLowerCase().includes(wanted) && row.cells[column].textContent.startsWith(code.value);
        row.hidden = !fits;
        shown += fits;
      }
      count.textContent = shown === body.rows.length ? shown + " rows" : shown + " of " + body.rows.length + " rows";
    };
    filter.addEventListener("input", narrow);
    code.addEventListener("change", narrow);
  }
})();
