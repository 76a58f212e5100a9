"""Clinical context: serum markers and stiffness as comparators, cohort table, subgroups, decision curves."""
