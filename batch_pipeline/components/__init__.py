"""The Dagster component: one YAML file is one job."""
