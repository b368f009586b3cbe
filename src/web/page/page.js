// Fetches the page again every few seconds and puts its content in place. Everything works without.
"use strict";
(() => {
  const every_ms = 3000;
  const status = document.getElementById("live");
  if (!document.body.hasAttribute("data-live") || !status) return;
  const busy = () => {
    const at = document.activeElement;
    const selected = String(getSelection());
    return document.hidden || selected !== "" || (at && /^(INPUT|SELECT|TEXTAREA|BUTTON)$/.test(at.tagName));
  };
  const keep = () => [...document.querySelectorAll("main details")].map((one) => one.open);
  const here = new URL(location.href);
  // What was said once need not be said again.
  here.searchParams.delete("said");
  here.hash = "";
  let failed = false;
  const say = (text) => { if (status.textContent !== text) status.textContent = text; };
  const refresh = async () => {
    try {
      if (!busy()) {
        const answer = await fetch(here, { credentials: "same-origin", signal: AbortSignal.timeout(10000) });
        if (!answer.ok) throw new Error(String(answer.status));
        const next = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("main");
        if (next && !busy()) {
          const open = keep(), at = document.activeElement, href = at && at.getAttribute("href");
          document.querySelector("main").replaceWith(next);
          document.querySelectorAll("main details").forEach((one, n) => { one.open = Boolean(open[n]); });
          if (href) document.querySelector(`main a[href="${CSS.escape(href)}"]`)?.focus({ preventScroll: true });
        }
        failed = false;
      }
    } catch (_) { failed = true; }
    say(failed ? "No answer: these are old figures." : "Live");
    setTimeout(refresh, every_ms);
  };
  say("Live");
  setTimeout(refresh, every_ms);
})();
