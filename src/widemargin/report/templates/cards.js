function openCard() {
  const card = location.hash.startsWith("#measure-") && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (card) {
    card.open = true;
    card.scrollIntoView();
  }
}
window.addEventListener("hashchange", openCard);
openCard();
