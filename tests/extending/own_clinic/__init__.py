"""A package of a user's own: one of each thing that fibrolab takes by `_target_`; its YAMLs are in `conf`."""
