"""A recipe makes a plan of a checkpoint; the plan is run; a report falls out."""
