"""How long records stay searchable: who decides it (`policy`), that nothing older is shown (`kept`), and that it goes
(`keeping`). It is not about Kafka's topics: their retention is in the catalogue."""
