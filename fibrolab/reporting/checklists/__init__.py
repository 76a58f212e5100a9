"""Model card, CLAIM and TRIPOD+AI: their questions, and what a run answers of them."""
