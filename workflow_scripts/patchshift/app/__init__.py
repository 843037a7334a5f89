"""What a user calls by name, beside the workflow: `patchshift --help`."""
