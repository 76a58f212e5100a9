"""Quality and use of predicted probabilities: calibration, recalibration, conformal prediction sets."""
