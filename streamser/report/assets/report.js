"use strict";
(() => {
  const root = document.documentElement;
  const one = (selector, inside = document) => inside.querySelector(selector);
  const all = (selector, inside = document) => [...inside.querySelectorAll(selector)];
  const AFTER_S = 0.15; // what ends softly is heard to its end
  const STILL = matchMedia("(prefers-reduced-motion: reduce)");

  // Colours: the system's, or the other ones.
  const theme = one("#theme");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  theme.hidden = false;
  theme.addEventListener("click", () => {
    const now = root.dataset.theme ?? (dark.matches ? "dark" : "light");
    root.dataset.theme = now === "dark" ? "light" : "dark";
  });

  // When it was, in the reader's own time zone.
  for (const time of all("header time")) {
    const when = new Date(time.dateTime);
    time.textContent = new Intl.DateTimeFormat(undefined, {
      dateStyle: "long",
      timeStyle: "short",
    }).format(when);
    time.title = `${time.dateTime} (UTC)`;
  }

  const rows = all(".row");
  const wide = one(".wide");
  const head = one("#head");
  const length = Math.max(1, ...rows.map((row) => Number(row.dataset.end)));
  const whole = Number(one("#main").dataset.length) || length;

  // The width of the time axis.
  const tracks = one(".tracks");
  const zoom = one(".zoom");
  if (zoom) {
    zoom.hidden = whole < 60_000;
    zoom.addEventListener("click", ({ target }) => {
      const chip = target.closest("[data-zoom]");
      if (!chip) return;
      const scroller = one(".scroller");
      const middle = (scroller.scrollLeft + scroller.clientWidth / 2) / scroller.scrollWidth;
      tracks.dataset.zoom = chip.dataset.zoom;
      for (const each of all(".chip", zoom))
        each.setAttribute("aria-pressed", String(each === chip));
      scroller.scrollLeft = middle * scroller.scrollWidth - scroller.clientWidth / 2;
    });
  }

  // Sound: an utterance is played to its end; the player goes on as it likes.
  const clips = all("audio");
  let playing = null; // {row, until}
  const show = (row) => {
    for (const each of rows)
      if (each !== row) {
        each.classList.remove("now");
        each.removeAttribute("aria-current");
      }
    if (!row) return;
    row.classList.add("now");
    row.setAttribute("aria-current", "true");
  };
  const stop = () => {
    if (!playing) return;
    clips[playing.row.dataset.clip].pause();
    playing = null;
  };
  const hear = (row) => {
    const clip = clips[row.dataset.clip];
    if (!clip) return;
    for (const other of clips) if (other !== clip) other.pause();
    playing = { row, until: Number(row.dataset.to) / 1000 + AFTER_S };
    clip.currentTime = Number(row.dataset.from) / 1000;
    clip.play().catch(() => {
      one("#now").textContent = "This browser cannot play the sound.";
      playing = null;
    });
    show(row);
    one("#now").textContent = one(".name", row).textContent + " " + one(".at", row).textContent;
  };
  const follow = () => {
    const clip = clips.find((each) => !each.paused);
    document.body.classList.toggle("is-playing", Boolean(clip && playing));
    if (!clip) return;
    const now = clip.currentTime;
    if (playing && (now >= playing.until || now < Number(playing.row.dataset.from) / 1000 - 1)) {
      const over = now >= playing.until;
      playing = null;
      if (over) clip.pause();
    }
    const ms = now * 1000;
    const mine = rows.filter((row) => row.dataset.clip === clip.dataset.clip);
    if (mine.length && head) {
      const behind = Number(mine[0].dataset.start) - Number(mine[0].dataset.from);
      head.hidden = false;
      head.style.left = `${(100 * (ms + behind)) / whole}%`;
    }
    if (!playing) {
      const row = mine.find((each) => ms >= each.dataset.from && ms < each.dataset.to);
      if (row && !row.classList.contains("now")) {
        show(row);
        reveal(row);
      }
    }
    if (!clip.paused) requestAnimationFrame(follow);
  };
  for (const clip of clips) {
    clip.addEventListener("play", () => requestAnimationFrame(follow));
    clip.addEventListener("pause", follow);
    // A page that is not seen draws no frames, but an utterance must end there, too.
    clip.addEventListener("timeupdate", () => document.hidden && follow());
  }

  /** Bring a row into view: in the transcript's own box where it has one. */
  const reveal = (row) => {
    const box = one(".scroll");
    if (box.scrollHeight > box.clientHeight + 1) {
      // Near its top: the player, or the edge of the window, may cover the rest.
      const place = row.offsetTop - 0.2 * box.clientHeight;
      box.scrollTo({ top: place, behavior: STILL.matches ? "auto" : "smooth" });
    }
  };
  const choose = (row) => {
    reveal(row);
    if (row.dataset.clip !== undefined) return hear(row);
    show(row);
    const { top, bottom } = row.getBoundingClientRect();
    if (bottom < 0 || top > innerHeight) row.scrollIntoView({ block: "center" });
  };

  one(".scroll").addEventListener("click", ({ target }) => {
    const button = target.closest(".hear");
    if (!button) return;
    const row = button.closest(".row");
    if (playing?.row === row) stop();
    else hear(row);
  });
  for (const link of all("[data-at]"))
    link.addEventListener("click", (event) => {
      event.preventDefault();
      const at = Number(link.dataset.at);
      const before = rows.filter((row) => row.dataset.start <= at);
      if (before.length) choose(before.at(-1));
    });

  // What a mark in a chart is: its row, on a card beside it.
  const tip = one("#tip");
  const marked = (target) => {
    const mark = target.closest?.("[data-u]");
    return mark ? document.getElementById(`u${mark.dataset.u}`) : null;
  };
  document.addEventListener("click", ({ target }) => {
    const row = marked(target);
    if (row) choose(row);
  });
  document.addEventListener("pointermove", (event) => {
    const row = event.pointerType === "touch" ? null : marked(event.target);
    tip.hidden = !row;
    if (!row) return;
    tip.replaceChildren(
      ...all(".row-head, .text, .values", row).map((part) => {
        const copy = part.cloneNode(true);
        one(".hear", copy)?.remove();
        return copy;
      }),
    );
    const { offsetWidth: width, offsetHeight: height } = tip;
    const left = Math.min(Math.max(8, event.clientX - width / 2), innerWidth - width - 8);
    const above = event.clientY - height - 16;
    tip.style.left = `${left}px`;
    tip.style.top = `${above < 8 ? event.clientY + 20 : above}px`;
  });
  addEventListener("scroll", () => (tip.hidden = true), { passive: true, capture: true });
  wide?.addEventListener("click", (event) => {
    // Between the marks: from there on.
    if (clips.length !== 1 || marked(event.target)) return;
    const { left, width } = wide.getBoundingClientRect();
    playing = null;
    clips[0].currentTime = (((event.clientX - left) / width) * whole) / 1000;
    clips[0].play().catch(() => {});
  });
})();
