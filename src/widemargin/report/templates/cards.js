function openCard() {
  const card = location.hash.startsWith("#measure-") && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (card) {
    card.open = true;
    card.scrollIntoView();
  }
}
window.addEventListener("hashchange", openCard);
for (const link of document.querySelectorAll('a[href^="#measure-"]')) {
  link.addEventListener("click", () => setTimeout(openCard)); // the same card again changes no hash
}
openCard();
