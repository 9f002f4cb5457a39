// What zooming the chart `svg` of a report does: where its marks and ticks are, by buttons, a drag, keys and in print.
const zooming = (window, svg) => {
  const figure = svg.closest('figure');
  const dots = () => [...svg.querySelectorAll('.m circle')].map((e) => [+e.getAttribute('cx'), +e.getAttribute('cy'), e.style.display !== 'none']);
  const ticks = (axis) => [...svg.querySelectorAll(`.zt text[text-anchor=${axis}]`)].map((e) => [+e.getAttribute('x'), +e.getAttribute('y'), e.textContent]);
  const state = () => ({ dots: dots(), x: ticks('middle'), y: ticks('end'), zoomed: svg.classList.contains('zoomed') });
  const [closer, farther, all] = figure.querySelectorAll('.zb button');
  const [left, top, right, bottom] = svg.dataset.box.split(' ').map(Number);
  const frame = svg.getBoundingClientRect();
  const scale = frame.width / svg.viewBox.baseVal.width;
  const at = (a, b) => ({ bubbles: true, cancelable: true, clientX: frame.left + scale * (left + a * (right - left)), clientY: frame.top + scale * (bottom - b * (bottom - top)) });
  const mouse = (target, name, a, b) => target.dispatchEvent(new window.PointerEvent(name, { ...at(a, b), pointerType: 'mouse' }));
  const found = { box: [left, top, right, bottom], axes: [svg.dataset.x, svg.dataset.y], whole: state(), enabled: [!closer.disabled, !farther.disabled] };
  closer.click();
  found.closer = state();
  window.dispatchEvent(new window.Event('beforeprint'));
  found.print = state();
  window.dispatchEvent(new window.Event('afterprint'));
  found.printed = state();
  all.click();
  found.all = state();
  mouse(svg, 'pointerdown', 0.25, 0.5);
  mouse(window, 'pointermove', 0.75, 1);
  mouse(window, 'pointerup', 0.75, 1);
  found.dragged = state();
  svg.dispatchEvent(new window.MouseEvent('dblclick', { bubbles: true }));
  found.reset = state();
  svg.dispatchEvent(new window.WheelEvent('wheel', { ...at(0.5, 0.5), deltaY: -100 }));
  found.scrolled = state();
  const free = svg.dispatchEvent(new window.WheelEvent('wheel', { ...at(0.5, 0.5), deltaY: -100, ctrlKey: true }));
  found.wheeled = { ...state(), free };
  figure.dispatchEvent(new window.KeyboardEvent('keydown', { key: '0', bubbles: true }));
  found.keyed = state();
  return found;
};

// What a reader would notice of a report in `window`, as plain values.
const look = (window) => {
  const { document } = window;
  const all = (query, element = document) => [...element.querySelectorAll(query)];
  const shown = (element) => element.getClientRects().length > 0;
  const charts = all('main figure svg.ch').filter(shown);

  const cut = [];
  for (const svg of charts) {
    const frame = svg.closest('figure').getBoundingClientRect();
    for (const text of all('text', svg)) {
      const box = text.getBoundingClientRect();
      if (box.width && (box.left < frame.left - 1 || box.right > frame.right + 1)) cut.push(text.textContent);
      if (box.width && box.height < 8) cut.push(`small: ${text.textContent}`);
    }
  }

  // Contrast as WCAG 2 defines it.
  const channel = (value) => (value / 255 <= 0.03928 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4);
  const luminance = (colour) => {
    const [r, g, b] = colour.match(/[\d.]+/g).slice(0, 3).map(Number).map(channel);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const colour = window.getComputedStyle(e).backgroundColor;
      if (!/, 0\)$/.test(colour)) return colour;
    }
    return 'rgb(255, 255, 255)';
  };
  const pale = [];
  for (const e of all('p, td, th, h1, h2, h3, figcaption span, nav a, summary span, .badges span, .badges b')) {
    if (!shown(e) || !e.textContent.trim()) continue;
    const a = luminance(window.getComputedStyle(e).color);
    const b = luminance(behind(e));
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) pale.push(`${e.className} ${ratio.toFixed(2)} ${e.textContent.slice(0, 30)}`);
  }

  const press = (element, key) => element.dispatchEvent(new window.KeyboardEvent('keydown', { key, bubbles: true }));
  const figure = document.querySelector('figure');
  figure.focus();
  press(figure, 'ArrowRight');
  const tip = document.getElementById('tip').textContent;
  const rail = document.querySelector('.pca');
  for (let k = 0; rail && k < 3; k += 1) press(rail, 'ArrowDown');

  return {
    zoom: document.querySelector('.zb') ? zooming(window, charts.find((svg) => svg.dataset.box)) : null, // live pages have none
    title: document.title,
    scroll: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    charts: charts.length,
    empty: charts.filter((svg) => svg.getBoundingClientRect().height < 40).length,
    cut,
    pale: [...new Set(pale)],
    figures: all('main figure').length,
    unnamed: all('main figure svg[role=img]').filter((svg) => !svg.getAttribute('aria-label')).length,
    focusable: all('main figure[tabindex="0"]').length,
    tip,
    kept: rail ? document.querySelector('.pcout').textContent : '',
    downloads: all('a[download]').length,
    fetched: window.performance.getEntriesByType('resource').map((entry) => entry.name),
    fonts: [...document.fonts].filter((font) => font.status === 'loaded').map((font) => font.family),
  };
};

// Look at `text` in a frame of each width, and leave what was seen in the page.
const lookAt = (text, widths) => {
  const seen = { errors: [] };
  for (const width of widths) document.getElementById(`w${width}`).srcdoc = text;
  window.onload = () => setTimeout(() => {
    for (const width of widths) {
      try {
        seen[width] = look(document.getElementById(`w${width}`).contentWindow);
      } catch (error) {
        seen.errors.push(String(error));
      }
    }
    document.getElementById('seen').textContent = JSON.stringify(seen);
  }, 300);
};
