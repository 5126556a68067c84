"""The filters that come with Postane, one file each; the registry knows them by name."""
