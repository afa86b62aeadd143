-- Makes a token, unless there is one of its name, or $8 others.
WITH made AS (
    INSERT INTO token (name, role, content, digest, created_by, created_at, expires_at)
    SELECT $1::text, $2::text, $3::boolean, $4::bytea, $5::text, $6::timestamptz, $7::timestamptz
    WHERE (SELECT count(*) FROM token) < $8::bigint
    ON CONFLICT (name) DO NOTHING
    RETURNING name
)
SELECT EXISTS (SELECT FROM made) AS made, EXISTS (SELECT FROM token WHERE name = $1::text) AS existed
