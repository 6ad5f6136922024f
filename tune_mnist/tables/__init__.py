"""Trainings to tables, and what differs beyond noise."""
