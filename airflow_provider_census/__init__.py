"""Reverse ETL for Apache Airflow: push the rows of a SQL model into the tools that need them."""

# Airflow's provider discovery imports this package before its configuration is ready: import nothing here.
__version__ = "0.1.0"
