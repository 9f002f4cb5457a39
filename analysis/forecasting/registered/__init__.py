"""Forecasts written down before the run: registered with a digest, and scored against what happened.

Records, their files, and their scores. How a forecast is made is `forecasting`; none is changed after registration.
"""
