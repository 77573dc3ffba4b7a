"""Where models are read from: an Airflow connection as the source of a sync."""
