"""Model card and the checklists CLAIM and TRIPOD+AI, completed as far as the records of a run allow."""
