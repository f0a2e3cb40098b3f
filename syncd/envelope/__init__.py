"""Keys, recipients, sealing and opening, with the cryptography package as it is."""
