"""Reports about mail that came back: what was sent from here, and how it is told in a report."""
