-- The checksum of a migration's text.
SELECT sha256(convert_to($1::text, 'UTF8')) AS checksum
