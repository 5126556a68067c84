"""Lists in the DNS (RFC 5782): what is asked, what answers mean, and whether a list is well."""
