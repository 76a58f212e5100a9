"""A user's package: one part of each kind that fibrolab takes by `_target_`; its YAMLs are in `conf`."""
