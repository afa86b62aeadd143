-- Reports to be posted from $4 until $5: $1 whose, $2 where each goes, $3 its body.
INSERT INTO tls_post (domain, uri, body, next_at, expires_at)
SELECT $1::text, uri, $3::bytea, $4::timestamptz, $5::timestamptz FROM unnest($2::text[]) AS n (uri)
