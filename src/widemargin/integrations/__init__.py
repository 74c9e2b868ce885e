"""At home in other people's tools; each is imported only when it is used."""
