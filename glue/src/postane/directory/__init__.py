"""The directory as a mail dialogue asks it: who is this recipient, is this login right, may it send as that."""
