"""Clinical context: serum markers and stiffness, alone and as comparators; cohort, subgroups, net benefit."""
