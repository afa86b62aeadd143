-- Records a migration, in its own transaction.
INSERT INTO schema_version (version, name, checksum, oldest_program)
VALUES ($1::integer, $2::text, sha256(convert_to($3::text, 'UTF8')), $4::integer)
