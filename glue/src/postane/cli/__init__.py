"""The command `postane`: one file a noun, thin over the verbs of `admin` and the processes of `daemon`."""
