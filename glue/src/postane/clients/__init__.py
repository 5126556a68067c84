"""What mail programs ask of a provider: autoconfig, autodiscover, profiles, PACC, SRV, MTA-STS, from one model."""
