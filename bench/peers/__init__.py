"""The servers that are measured, each with the configuration it runs under."""
