"""How often and how soon: budgets and greylisting, as values."""
