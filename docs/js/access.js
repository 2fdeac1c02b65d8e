// What the theme leaves open for readers without a mouse or a screen: names that tell landmarks apart, and boxes that scroll by key.
document$.subscribe(() => {
  const used = new Set()
  const name = (element, words) => {
    let label = words
    for (let number = 2; used.has(label.toLowerCase()); number++) label = `${words} (${number})`
    used.add(label.toLowerCase())
    element.removeAttribute("aria-labelledby")
    element.setAttribute("aria-label", label)
  }
  const words = element => {
    const by = document.getElementById(element.getAttribute("aria-labelledby"))
    return (element.getAttribute("aria-label") || (by && by.textContent) || "Navigation").replace(/\s+/g, " ").trim()
  }
  const search = document.querySelector(".md-search[role=dialog]")
  if (search) search.setAttribute("aria-label", "Search")
  for (const element of document.querySelectorAll("nav:not(.md-code__nav)")) name(element, words(element))

  const scrolling = () => {
    for (const box of document.querySelectorAll(".md-typeset__scrollwrap, .md-typeset pre > code")) {
      if (box.scrollWidth <= box.clientWidth || box.tabIndex === 0) continue
      box.tabIndex = 0
      if (box.tagName === "CODE") continue
      box.setAttribute("role", "region")
      name(box, "Table")
    }
    for (const element of document.querySelectorAll(".md-code__nav:not([aria-label])")) name(element, "Code")
  }
  scrolling()
  new MutationObserver(scrolling).observe(document.querySelector(".md-content") || document.body, { childList: true, subtree: true })
  window.addEventListener("resize", scrolling)
})
