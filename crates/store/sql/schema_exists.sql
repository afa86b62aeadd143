-- Whether any migration was ever applied.
SELECT to_regclass('schema_version') IS NOT NULL AS found
