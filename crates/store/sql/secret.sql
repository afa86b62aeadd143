-- A secret of the installation.
SELECT value FROM secret WHERE name = $1::text
